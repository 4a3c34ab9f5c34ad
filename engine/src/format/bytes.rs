//! Little-endian integers at fixed places of a page.
//! Always: offsets are constants of the calling format, so a place outside the page is a bug.

/// `N` bytes at `at`.
pub(super) fn get<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&from[at..at + N]);
    out
}

/// Writes `bytes` at `at`.
pub(super) fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn u16_at(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(get(from, at))
}

pub(super) fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(from, at))
}

pub(super) fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(from, at))
}

pub(super) fn u128_at(from: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(get(from, at))
}

/// Index of memory that a count of blocks, words or pages names. Bounds in `limits` keep every
/// such count far below the address space.
pub(super) fn index(n: u64) -> usize {
    usize::try_from(n).expect("counts of a volume fit the address space")
}
