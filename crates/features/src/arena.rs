//! Memory of ledgers: large, zeroed, growing in place, on huge pages once it is worth it.
//!
//! Owns all unsafe code of this crate: a range of address space is reserved once and made
//! accessible from the front as it is needed, so growing copies nothing, moves nothing and stalls
//! nothing. The first 2 MiB stay on small pages, so that small tables stay small; the rest asks
//! for huge pages, which halve the cost of a random access. Knows nothing of what it holds.
#![allow(unsafe_code, reason = "address space is reserved and huge pages are asked of the system")]

use std::ptr::NonNull;

use crate::{ledger::Header, posting::Posting};

const HUGE_PAGE_BYTES: usize = 2 << 20;
/// What the first growth makes accessible.
const FIRST_BYTES: usize = 64 << 10;
/// What is reserved at first, where the system lets us: 24 million customers of 2.6 kB.
const RESERVED_BYTES: usize = 64 << 30;

/// Values that any bytes are valid for, zero bytes among them.
///
/// # Safety
/// The type has no padding, no invalid bit pattern and no destructor.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: two u64 in C layout fill the 16 bytes of the alignment.
unsafe impl Plain for Posting {}
// SAFETY: integers in C layout; `ledger` checks at compile time that they fill the 64 bytes.
unsafe impl Plain for Header {}

/// A growing array of zeroed values that never moves while it fits its reservation.
pub(crate) struct Region<T: Plain> {
    base: NonNull<T>,
    reserved: usize,
    accessible: usize,
}

// SAFETY: the region owns its memory as a vector does.
unsafe impl<T: Plain + Send> Send for Region<T> {}
// SAFETY: as above; sharing gives reads only.
unsafe impl<T: Plain + Sync> Sync for Region<T> {}

impl<T: Plain> Region<T> {
    /// An empty array.
    pub(crate) fn new() -> Self {
        let mut reserved = RESERVED_BYTES;
        loop {
            if let Some(region) = Self::reserve(reserved) {
                return region;
            }
            // A system that counts address space gets a smaller reservation; growth then moves.
            assert!(reserved > HUGE_PAGE_BYTES, "the system has no address space left");
            reserved /= 4;
        }
    }

    fn reserve(bytes: usize) -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice aliases nothing.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        #[cfg(target_os = "linux")]
        if bytes > HUGE_PAGE_BYTES {
            // SAFETY: the range lies within the mapping. Advice may be refused: it is only speed.
            unsafe {
                libc::madvise(
                    base.byte_add(HUGE_PAGE_BYTES),
                    bytes - HUGE_PAGE_BYTES,
                    libc::MADV_HUGEPAGE,
                )
            };
        }
        Some(Self { base: NonNull::new(base.cast())?, reserved: bytes, accessible: 0 })
    }

    /// Makes room for `len` values in all; what is new is zero.
    pub(crate) fn grow_to(&mut self, len: usize) {
        let needed = len.checked_mul(size_of::<T>()).expect("what is asked for is in memory soon");
        if needed <= self.accessible {
            return;
        }
        let ahead = needed + (needed / 8).min(64 * HUGE_PAGE_BYTES);
        let wanted = match ahead {
            0..HUGE_PAGE_BYTES => ahead.next_power_of_two().max(FIRST_BYTES),
            _ => ahead.next_multiple_of(HUGE_PAGE_BYTES),
        };
        if wanted > self.reserved {
            self.move_to(wanted.saturating_mul(2));
        }
        // SAFETY: the range is the front of the mapping.
        let refused = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mprotect(self.base.as_ptr().cast(), wanted, access)
        };
        assert!(refused == 0, "the system has no memory left for {wanted} bytes of ledgers");
        self.accessible = wanted;
    }

    /// Copies everything into a larger reservation.
    fn move_to(&mut self, reserved: usize) {
        let mut larger = Self::reserve(reserved).expect("the system has address space left");
        larger.grow_to(self.len());
        larger[..self.len()].copy_from_slice(self);
        *self = larger;
    }
}

impl<T: Plain> std::ops::Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the accessible front holds zeroes or what was written, both valid for `Plain`;
        // a page is aligned for every such type.
        unsafe {
            let len = self.accessible / size_of::<T>();
            std::slice::from_raw_parts(self.base.as_ptr(), len)
        }
    }
}

impl<T: Plain> std::ops::DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe {
            let len = self.accessible / size_of::<T>();
            std::slice::from_raw_parts_mut(self.base.as_ptr(), len)
        }
    }
}

impl<T: Plain> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows it any more. It cannot fail for a whole
        // mapping.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.reserved) };
    }
}

/// Postings as the words they consist of.
pub(crate) fn words(postings: &[Posting]) -> &[u64] {
    // SAFETY: a posting is two u64 in C layout without padding.
    unsafe { std::slice::from_raw_parts(postings.as_ptr().cast(), postings.len() * 2) }
}

/// Postings as the words they consist of, to write.
pub(crate) fn words_mut(postings: &mut [Posting]) -> &mut [u64] {
    // SAFETY: as in `words`; every pair of words is a valid posting.
    unsafe { std::slice::from_raw_parts_mut(postings.as_mut_ptr().cast(), postings.len() * 2) }
}

/// Asks for a value's cache line ahead of its use; does nothing beyond the end.
pub(crate) fn prefetch<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = values.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and cannot fault; SSE is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}

#[cfg(test)]
mod tests;
