//! What a partition seems to hold, so that `format` does not overwrite it by mistake.
//! Always: looks only; an unknown content is no proof of emptiness.

use crate::device::{Device, DeviceError};
use std::fmt;

/// Something that a partition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// ext2, ext3 or ext4.
    Ext {
        /// Bytes that it spans.
        bytes: u64,
    },
    /// XFS.
    Xfs {
        /// Bytes that it spans.
        bytes: u64,
    },
    /// Btrfs.
    Btrfs,
    /// Swap space.
    Swap,
    /// A physical volume of LVM.
    Lvm,
    /// An encrypted container.
    Luks,
    /// A partition table, or a boot sector as FAT and NTFS have it.
    PartitionTable,
}

impl Content {
    /// Bytes that it spans, where that can be told.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Content::Ext { bytes } | Content::Xfs { bytes } => Some(bytes),
            _ => None,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Ext { bytes } => write!(f, "an ext file system of {bytes} bytes"),
            Content::Xfs { bytes } => write!(f, "an xfs file system of {bytes} bytes"),
            Content::Btrfs => f.write_str("a btrfs file system"),
            Content::Swap => f.write_str("swap space"),
            Content::Lvm => f.write_str("an LVM physical volume"),
            Content::Luks => f.write_str("a LUKS container"),
            Content::PartitionTable => f.write_str("a partition table or boot sector"),
        }
    }
}

fn le32(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 4].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn be(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

// ext2/3/4: the superblock is at byte 1024.
const EXT: usize = 1024;
const EXT_64BIT: u64 = 0x80;

fn ext_bytes(page: &[u8]) -> u64 {
    let low = le32(page, EXT + 0x04);
    let wide = le32(page, EXT + 0x60) & EXT_64BIT != 0;
    let high = if wide { le32(page, EXT + 0x150) } else { 0 };
    let shift = le32(page, EXT + 0x18).min(53) + 10;
    // A superblock that overflows is no file system that could be adopted.
    (high << 32 | low).saturating_mul(1 << shift.min(63))
}

/// What the first pages tell.
pub fn look(device: &Device) -> Result<Option<Content>, DeviceError> {
    if device.size() < 4096 {
        return Ok(None);
    }
    let page = device.read_at(0)?;
    let has = |at: usize, magic: &[u8]| page[at..].starts_with(magic);
    if has(0, b"XFSB") {
        return Ok(Some(Content::Xfs { bytes: be(&page, 4, 4).saturating_mul(be(&page, 8, 8)) }));
    }
    if has(EXT + 0x38, &[0x53, 0xef]) {
        return Ok(Some(Content::Ext { bytes: ext_bytes(&page) }));
    }
    if has(0, b"LUKS\xba\xbe") {
        return Ok(Some(Content::Luks));
    }
    if has(4086, b"SWAPSPACE2") || has(4086, b"SWAP-SPACE") {
        return Ok(Some(Content::Swap));
    }
    if [0, 512, 1024, 1536].into_iter().any(|at| has(at, b"LABELONE")) {
        return Ok(Some(Content::Lvm));
    }
    const BTRFS: u64 = 65_536;
    if device.size() >= BTRFS + 4096 && device.read_at(BTRFS)?[64..].starts_with(b"_BHRfS_M") {
        return Ok(Some(Content::Btrfs));
    }
    if has(512, b"EFI PART") || has(510, &[0x55, 0xaa]) {
        return Ok(Some(Content::PartitionTable));
    }
    Ok(None)
}
