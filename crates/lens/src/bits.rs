//! Kernels over columns of values and words of bits, 64 rows to a word.
//!
//! A comparison of `n` rows is `n` bits; 4,096 rows are 512 bytes and stay in the first-level
//! cache, while their `i64` column is 32 KiB and is read once. Bits beyond the last row are zero
//! after a comparison and mean nothing after a negation.

use arrow_array::{Array, BooleanArray};

/// Words that hold the bits of some rows.
pub(crate) fn words(rows: usize) -> usize {
    rows.div_ceil(64)
}

/// The place of a float in IEEE 754's total order, as arrow compares floats: a greater float has a
/// greater key.
pub(crate) fn total_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Sets the bit of every value for which `holds`.
#[inline]
pub(crate) fn collect<T: Copy>(values: &[T], out: &mut [u64], holds: impl Fn(T) -> bool) {
    for (word, values) in out.iter_mut().zip(values.chunks(64)) {
        let mut bits = 0;
        for (place, value) in values.iter().enumerate() {
            bits |= u64::from(holds(*value)) << place;
        }
        *word = bits;
    }
}

/// The bits of a condition that DataFusion evaluated; NULL is false.
pub(crate) fn copy(values: &BooleanArray, out: &mut [u64]) {
    out.fill(0);
    for (word, bits) in out.iter_mut().zip(values.values().bit_chunks().iter_padded()) {
        *word = bits;
    }
    if let Some(nulls) = values.nulls() {
        for (word, valid) in out.iter_mut().zip(nulls.inner().bit_chunks().iter_padded()) {
            *word &= valid;
        }
    }
}

/// Adds a weight to the score of every row whose bit is set.
pub(crate) fn add(bits: &[u64], weight: i32, scores: &mut [i32]) {
    for (word, scores) in bits.iter().zip(scores.chunks_exact_mut(64)) {
        if *word == 0 {
            continue;
        }
        for (byte, scores) in word.to_le_bytes().iter().zip(scores.chunks_exact_mut(8)) {
            let masks = &MASKS[usize::from(*byte)];
            for (score, mask) in scores.iter_mut().zip(masks) {
                *score += mask & weight;
            }
        }
    }
}

/// For every byte: all ones where its bit is set.
static MASKS: [[i32; 8]; 256] = {
    let mut masks = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                masks[byte][bit] = -1;
            }
            bit += 1;
        }
        byte += 1;
    }
    masks
};

/// Turns 64 words of 64 bits over their diagonal: bit `j` of word `i` becomes bit `i` of word `j`.
///
/// Source: H. S. Warren, "Hacker's Delight", 7-3, with the bits counted from the lowest.
pub(crate) fn transpose(block: &mut [u64; 64]) {
    let mut width = 32;
    let mut mask: u64 = 0x0000_0000_ffff_ffff;
    while width != 0 {
        let mut row = 0;
        while row < 64 {
            let swap = (block[row] >> width ^ block[row + width]) & mask;
            block[row] ^= swap << width;
            block[row + width] ^= swap;
            row = (row + width + 1) & !width;
        }
        width >>= 1;
        mask ^= mask << width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_order_is_that_of_the_standard() {
        let values = [-f64::NAN, f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1e-300, 2.0, f64::INFINITY];
        for a in values {
            for b in values {
                assert_eq!(total_order(a).cmp(&total_order(b)), a.total_cmp(&b), "{a} {b}");
            }
        }
    }

    #[test]
    fn transposes() {
        let mut block = [0; 64];
        let bit = |row: usize, column: usize| (row * 31 + column * 17) % 7 < 3;
        for (row, word) in block.iter_mut().enumerate() {
            *word = (0..64).fold(0, |word, column| word | u64::from(bit(row, column)) << column);
        }
        transpose(&mut block);
        for (column, word) in block.iter().enumerate() {
            for row in 0..64 {
                assert_eq!(*word >> row & 1 == 1, bit(row, column), "{row} {column}");
            }
        }
    }

    #[test]
    fn collects_copies_and_adds() {
        let values: Vec<i64> = (0..150).collect();
        let mut out = vec![u64::MAX; words(values.len())];
        collect(&values, &mut out, |value| value % 3 == 0);
        let booleans: BooleanArray = (0..200).map(|v| (v % 5 != 0).then_some(v % 2 == 0)).collect();
        let mut copied = vec![0; words(150)];
        copy(&booleans.slice(7, 150), &mut copied);
        let mut scores = vec![5; 192];
        add(&out, -3, &mut scores);
        for row in 0..150 {
            assert_eq!(out[row / 64] >> (row % 64) & 1 == 1, row % 3 == 0);
            assert_eq!(scores[row], if row % 3 == 0 { 2 } else { 5 });
            let source = row + 7;
            let expected = source % 5 != 0 && source % 2 == 0;
            assert_eq!(copied[row / 64] >> (row % 64) & 1 == 1, expected, "{row}");
        }
        assert_eq!(out[2] >> 22, 0);
    }
}
