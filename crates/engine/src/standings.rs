//! Bytes of standings: `lens` knows no serialization, so its plain vectors are written here.
//!
//! Each vector as its count and little-endian values, one after the other, compressed as a whole;
//! columns of one kind lie together, which is what makes them small. The snapshot's frame holds
//! the checksum.

use cardlens_lens::{AxisParts, Parts};

/// Fast, and most of what slower levels reach on these columns.
const LEVEL: i32 = 1;
/// More than any partition that fits into memory; a corrupt length must not allocate beyond it.
const BYTES_MAX: usize = 1 << 34;

/// The bytes of standings.
#[must_use]
pub fn encode(parts: &Parts) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, &parts.held, |v| v.to_le_bytes());
    put(&mut bytes, &parts.pending, |v| v.to_le_bytes());
    put(&mut bytes, &parts.sequence, |v| v.to_le_bytes());
    put(&mut bytes, &parts.margin, |v| v.to_le_bytes());
    for axis in [&parts.tier, &parts.lifecycle] {
        put(&mut bytes, &axis.current, |v| v.to_le_bytes());
        put(&mut bytes, &axis.pending, |v| v.to_le_bytes());
        put(&mut bytes, &axis.since, |v| v.to_le_bytes());
        put(&mut bytes, &axis.pending_since, |v| v.to_le_bytes());
    }
    put(&mut bytes, &parts.since, |v| v.to_le_bytes());
    put(&mut bytes, &parts.pending_since, |v| v.to_le_bytes());
    let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
    framed.extend(zstd::bulk::compress(&bytes, LEVEL).unwrap_or_default());
    framed
}

/// The standings that [`encode`] wrote.
///
/// # Errors
/// The bytes are damaged.
pub fn decode(framed: &[u8]) -> Result<Parts, String> {
    let (len, compressed) = framed.split_first_chunk::<8>().ok_or("the standings are cut off")?;
    let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
    if len > BYTES_MAX {
        return Err(format!("the standings claim {len} bytes"));
    }
    let bytes = zstd::bulk::decompress(compressed, len).map_err(|e| e.to_string())?;
    let mut rest = bytes.as_slice();
    let mut parts = Parts {
        held: get(&mut rest, u64::from_le_bytes)?,
        pending: get(&mut rest, u64::from_le_bytes)?,
        sequence: get(&mut rest, u32::from_le_bytes)?,
        margin: get(&mut rest, i16::from_le_bytes)?,
        ..Parts::default()
    };
    for axis in [&mut parts.tier, &mut parts.lifecycle] {
        *axis = AxisParts {
            current: get(&mut rest, u8::from_le_bytes)?,
            pending: get(&mut rest, u8::from_le_bytes)?,
            since: get(&mut rest, u16::from_le_bytes)?,
            pending_since: get(&mut rest, u16::from_le_bytes)?,
        };
    }
    parts.since = get(&mut rest, u16::from_le_bytes)?;
    parts.pending_since = get(&mut rest, u16::from_le_bytes)?;
    if rest.is_empty() { Ok(parts) } else { Err("bytes follow the standings".into()) }
}

fn put<T: Copy, const N: usize>(bytes: &mut Vec<u8>, values: &[T], le: impl Fn(T) -> [u8; N]) {
    bytes.extend_from_slice(&(values.len() as u64).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| le(*value)));
}

fn get<T, const N: usize>(rest: &mut &[u8], le: impl Fn([u8; N]) -> T) -> Result<Vec<T>, String> {
    let cut = || "the standings are cut off".to_owned();
    let (count, tail) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let count = usize::try_from(u64::from_le_bytes(*count)).map_err(|_| cut())?;
    let size = count.checked_mul(N).filter(|size| *size <= tail.len()).ok_or_else(cut)?;
    let (values, after) = tail.split_at(size);
    *rest = after;
    let (values, _) = values.as_chunks::<N>();
    Ok(values.iter().map(|value| le(*value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let axis = AxisParts {
            current: vec![1, 255],
            pending: vec![254, 0],
            since: vec![20_000, 0],
            pending_since: vec![0, 20_001],
        };
        let parts = Parts {
            held: vec![5, 0],
            pending: vec![0, 2],
            sequence: vec![7, 0],
            margin: vec![-12, 3],
            tier: axis.clone(),
            lifecycle: axis,
            since: vec![1, 2, 3, 4],
            pending_since: vec![4, 3, 2, 1],
        };
        let bytes = encode(&parts);
        assert_eq!(decode(&bytes), Ok(parts));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err());
        }
    }
}
