//! The seal that every page carries: magic, version, kind, CRC-32, own address, volume, sequence.
//! Always: a page that was torn, rotted, misdirected or written by somebody else does not check.
//! Intent log pages carry one such seal per sector instead; see `log_page`.

use super::bytes::{put, u16_at, u32_at, u64_at, u128_at};
use super::{Damage, VERSION};
use crate::units::{PAGE_BYTES, Page, VolumeId};

/// First bytes of every sealed page.
pub const MAGIC: [u8; 8] = *b"LOCKSTEP";

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = AT_MAGIC + 8;
const AT_KIND: usize = AT_VERSION + 2;
const AT_SLOT: usize = AT_KIND + 1;
const AT_CRC: usize = AT_SLOT + 1;
const AT_ADDRESS: usize = AT_CRC + 4;
const AT_VOLUME: usize = AT_ADDRESS + 8;
const AT_SEQUENCE: usize = AT_VOLUME + 16;
/// First byte after the seal.
pub const SEAL_END: usize = AT_SEQUENCE + 8;
/// Where bodies begin: spare room after the seal is zero and checked by each format.
pub const HEADER_BYTES: usize = 64;
const _: () = assert!(SEAL_END + 16 == HEADER_BYTES);

/// What a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageKind {
    /// A superblock slot.
    Superblock = 1,
    /// A transaction of the intent log.
    IntentLog = 2,
    /// Bits of 31 regions.
    Bitmap = 3,
    /// A slot of the data tail.
    Tail = 4,
}

/// What a seal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// Kind of page.
    pub kind: PageKind,
    /// Slot for kinds that have two places, else 0.
    pub slot: u8,
    /// Page number on the cluster partition; for tails the slot.
    pub address: u64,
    /// The volume.
    pub volume: VolumeId,
    /// Order among writes of the kind.
    pub sequence: u64,
}

/// A seal as it stands, without belief: for inspection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawSeal {
    /// Stored version.
    pub version: u16,
    /// Stored kind.
    pub kind: u8,
    /// Stored slot.
    pub slot: u8,
    /// Stored checksum.
    pub crc: u32,
    /// Stored address.
    pub address: u64,
    /// Stored volume.
    pub volume: VolumeId,
    /// Stored sequence.
    pub sequence: u64,
}

/// CRC-32 of `bytes` with the four bytes at `crc_at` taken as zero.
pub(super) fn crc_without(bytes: &[u8], crc_at: usize) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&bytes[..crc_at]);
    hash.update(&[0; 4]);
    hash.update(&bytes[crc_at + 4..]);
    hash.finalize()
}

/// Completes a page whose body is written: seal fields first, checksum last.
pub fn seal(page: &mut Page, seal: &Seal) {
    put(page, AT_MAGIC, &MAGIC);
    put(page, AT_VERSION, &VERSION.to_le_bytes());
    page[AT_KIND] = seal.kind as u8;
    page[AT_SLOT] = seal.slot;
    put(page, AT_ADDRESS, &seal.address.to_le_bytes());
    put(page, AT_VOLUME, &seal.volume.0.to_le_bytes());
    put(page, AT_SEQUENCE, &seal.sequence.to_le_bytes());
    let crc = crc_without(page, AT_CRC);
    put(page, AT_CRC, &crc.to_le_bytes());
}

/// The seal's fields, believed or not; `None` when the magic is missing.
pub fn raw(page: &Page) -> Option<RawSeal> {
    (page[..AT_VERSION] == MAGIC).then(|| RawSeal {
        version: u16_at(page, AT_VERSION),
        kind: page[AT_KIND],
        slot: page[AT_SLOT],
        crc: u32_at(page, AT_CRC),
        address: u64_at(page, AT_ADDRESS),
        volume: VolumeId(u128_at(page, AT_VOLUME)),
        sequence: u64_at(page, AT_SEQUENCE),
    })
}

/// Checks that the page is whole, of this version and of that kind, slot and address.
/// The volume is the caller's to compare: who reads a superblock does not know it yet.
pub fn check(page: &Page, kind: PageKind, slot: u8, address: u64) -> Result<Seal, Damage> {
    let Some(raw) = raw(page) else {
        let blank = page.iter().all(|byte| *byte == 0);
        return Err(if blank { Damage::Blank } else { Damage::Magic });
    };
    let computed = crc_without(page, AT_CRC);
    // The checksum comes first: a rotten version byte is rot, not a page of the future.
    if computed != raw.crc {
        return Err(Damage::Checksum { stored: raw.crc, computed });
    }
    if raw.version != VERSION {
        return Err(Damage::Version { found: raw.version });
    }
    if raw.kind != kind as u8 {
        return Err(Damage::Kind { found: raw.kind });
    }
    if raw.slot != slot {
        return Err(Damage::Slot { expected: slot, found: raw.slot });
    }
    if raw.address != address {
        return Err(Damage::Address { expected: address, found: raw.address });
    }
    Ok(Seal { kind, slot, address, volume: raw.volume, sequence: raw.sequence })
}

/// Checks that the page belongs to the volume.
pub fn check_volume(seal: &Seal, expected: VolumeId) -> Result<(), Damage> {
    if seal.volume == expected {
        Ok(())
    } else {
        Err(Damage::Volume { expected, found: seal.volume })
    }
}

/// Checks that spare bytes are zero: what a later version puts there must not be ignored.
pub fn check_zero(page: &Page, range: std::ops::Range<usize>) -> Result<(), Damage> {
    assert!(range.end <= PAGE_BYTES, "spare range outside the page");
    match page[range.clone()].iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(n) => Err(Damage::Reserved { at: range.start + n }),
    }
}
