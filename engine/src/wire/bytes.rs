//! Little-endian integers at fixed places, and the checksum of the link.
//! Always: a place outside the slice is a bug of the caller, who has checked the length before.

use std::sync::OnceLock;

/// A checksum of nothing. Copied for each sum, because making one asks the processor what it can.
static EMPTY: OnceLock<crc32fast::Hasher> = OnceLock::new();

/// CRC-32 (IEEE) of `bytes`, as frames carry it.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = EMPTY.get_or_init(crc32fast::Hasher::new).clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// CRC-32 of a payload that arrives or lies in several pieces.
#[derive(Clone, Default)]
pub struct PayloadCrc(crc32fast::Hasher);

impl PayloadCrc {
    /// Checksum of nothing so far.
    pub fn new() -> PayloadCrc {
        PayloadCrc::default()
    }
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The checksum of everything added.
    pub fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}

/// The `N` bytes at `at`.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array_at(bytes, at))
}

/// Writes `value` at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Whether all of `bytes` are zero, as reserved bytes must be.
pub(crate) fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
