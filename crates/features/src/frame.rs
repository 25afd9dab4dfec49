//! Bytes as a checked frame, packed where it is worth it.
//!
//! A frame is its length, its length unpacked, a CRC-32C over both and what follows, and pieces: each
//! stands for [`PIECE`] bytes, the last for what is left, behind its own length. A piece as long as
//! what it stands for is that itself; another is a zstd block. Whether packing will gain anything is
//! judged before it is tried: much of a snapshot is hashes and low digits, which take longest to try
//! and gain nothing. Integers are little-endian. Knows nothing of what the bytes mean.

use std::io::Read;

use zstd::bulk::{Compressor, Decompressor};

use crate::Error;

/// Bytes that a piece stands for.
const PIECE: usize = 1 << 16;
/// Fast: planes of bytes do most of the packing.
const LEVEL: i32 = 1;
/// A frame never unpacks to more; one customer of 20 million postings would.
const BYTES_MAX: usize = 1 << 30;
/// Bytes of a frame before its pieces.
const HEAD: usize = 12;
/// One byte in so many is looked at to judge a piece; odd, so that no byte of words is left out.
const SAMPLED: usize = 17;

/// Makes frames.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> Self {
        let compressor = Compressor::new(LEVEL).expect("there is memory for a compressor");
        Self { compressor, packed: vec![0; zstd::zstd_safe::compress_bound(PIECE)] }
    }

    /// Appends a frame of these bytes.
    pub(crate) fn frame(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(HEAD + raw.len());
        out.extend_from_slice(&[0; HEAD]);
        for piece in raw.chunks(PIECE) {
            let packed = match self.pack(piece) {
                Some(len) => &self.packed[..len],
                None => piece,
            };
            out.extend_from_slice(&length(packed.len()));
            out.extend_from_slice(packed);
        }
        let (head, pieces) = out[start..].split_at_mut(HEAD);
        head[..4].copy_from_slice(&length(pieces.len()));
        head[4..8].copy_from_slice(&length(raw.len()));
        let checksum = checksum(&head[..8], pieces);
        head[8..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Packs a piece, if that makes it smaller, and returns to how many bytes.
    fn pack(&mut self, piece: &[u8]) -> Option<usize> {
        if noise(piece) {
            return None;
        }
        let packed = self.compressor.compress_to_buffer(piece, &mut self.packed[..]);
        packed.ok().filter(|len| *len < piece.len())
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("frames are bounded").to_le_bytes()
}

fn checksum(head: &[u8], pieces: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), pieces)
}

/// Whether nearly all values are about equally frequent, by the chance that two bytes are equal: it
/// is 1 in 256 when all are, and in 160 when packing could save about a twelfth.
fn noise(piece: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    let mut sampled = 0_u64;
    for byte in piece.iter().step_by(SAMPLED) {
        counts[usize::from(*byte)] += 1;
        sampled += 1;
    }
    let pairs: u64 = counts.iter().map(|count| count * count.saturating_sub(1)).sum();
    sampled >= 1_024 && pairs * 160 < sampled * (sampled - 1)
}

/// Reads frames.
pub(crate) struct Unpacker {
    decompressor: Decompressor<'static>,
    pieces: Vec<u8>,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        let decompressor = Decompressor::new().expect("there is memory for a decompressor");
        Self { decompressor, pieces: Vec::new() }
    }

    /// Reads a frame and unpacks it, in place of what is in `raw`.
    pub(crate) fn frame(&mut self, input: &mut impl Read, raw: &mut Vec<u8>) -> Result<(), Error> {
        let mut head = [0; HEAD];
        input.read_exact(&mut head).map_err(|_| damaged("cut off"))?;
        let field =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (len, raw_len) = (field(0), field(4) as usize);
        self.pieces.clear();
        // Grows with what is there, not with what is promised.
        let read = input.take(len.into()).read_to_end(&mut self.pieces);
        if read.ok() != Some(len as usize) {
            return Err(damaged("cut off"));
        }
        if checksum(&head[..8], &self.pieces) != field(8) {
            return Err(damaged("a checksum does not match"));
        }
        if raw_len > BYTES_MAX {
            return Err(damaged("a section is too large"));
        }
        raw.clear();
        let mut pieces = &self.pieces[..];
        while raw.len() < raw_len {
            let wanted = PIECE.min(raw_len - raw.len());
            let (len, after) =
                pieces.split_first_chunk::<4>().ok_or(damaged("a piece is missing"))?;
            let len = u32::from_le_bytes(*len) as usize;
            let (piece, after) =
                after.split_at_checked(len).ok_or(damaged("a piece is cut off"))?;
            pieces = after;
            if len == wanted {
                raw.extend_from_slice(piece);
                continue;
            }
            let from = raw.len();
            raw.resize(from + wanted, 0);
            let unpacked = self.decompressor.decompress_to_buffer(piece, &mut raw[from..]);
            if unpacked.ok() != Some(wanted) {
                return Err(damaged("a piece does not unpack"));
            }
        }
        if pieces.is_empty() { Ok(()) } else { Err(damaged("more pieces than were written")) }
    }
}

fn damaged(what: &'static str) -> Error {
    Error::Damaged { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &mut &[u8]) -> Result<Vec<u8>, Error> {
        let mut raw = Vec::new();
        Unpacker::new().frame(input, &mut raw)?;
        Ok(raw)
    }

    /// Noise, or bytes of few values, of a length.
    fn bytes(len: usize, values: u64) -> Vec<u8> {
        let mut seed = 9_u64;
        let mut byte = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((seed >> 33) & (values - 1)).to_le_bytes()[0]
        };
        (0..len).map(|_| byte()).collect()
    }

    #[test]
    fn frames_come_back_one_after_the_other() {
        let mixed = [bytes(PIECE, 256), bytes(PIECE, 4), bytes(PIECE + 7, 256)].concat();
        let all = [Vec::new(), bytes(5, 256), bytes(PIECE, 2), mixed, bytes(3 * PIECE + 1, 16)];
        let mut packer = Packer::new();
        let mut out = Vec::new();
        all.iter().for_each(|raw| packer.frame(raw, &mut out));
        let mut rest = &out[..];
        for raw in &all {
            assert!(read(&mut rest).unwrap() == *raw);
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn only_what_gains_is_packed() {
        let packed = |values| {
            let mut out = Vec::new();
            Packer::new().frame(&bytes(4 * PIECE, values), &mut out);
            out.len()
        };
        assert_eq!(packed(256), HEAD + 4 * (PIECE + 4));
        assert!(packed(64) < PIECE * 4 * 7 / 8);
        assert!(packed(4) < PIECE * 4 / 3);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_damage() {
        let mut out = Vec::new();
        Packer::new().frame(&bytes(300, 4), &mut out);
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&mut &flipped[..]).is_err(), "bit {bit}");
        }
        for len in 0..out.len() {
            assert!(read(&mut &out[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_length_that_nothing_stands_behind_takes_no_memory() {
        let (len, raw_len) = (length(0), length(BYTES_MAX));
        let head = [len, raw_len].concat();
        let forged = [&head[..], &checksum(&head, &[]).to_le_bytes()].concat();
        assert!(read(&mut &forged[..]).is_err());
    }
}
