//! The data tail: two small pages on the data partition that tie it to its cluster partition (R21).
//! The life counter goes up here first, then in the superblock, so after a crash the tail equals
//! the superblock or is one ahead. Written slot 0, then slot 1, then the superblock, each when the
//! one before is durable; the next life is always the superblock's plus one.
//! Always: no sound tail, or one of another life, means that the data is not what we left.

use super::Damage;
use super::bytes::{put, u64_at, u128_at};
use super::checksum::{self, HEADER_BYTES, PageKind, SEAL_END, Seal};
use crate::units::{NodeId, PAGE_BYTES, Page, PairTag, VolumeId};

const PAIR_TAG: usize = HEADER_BYTES;
const LIFE: usize = PAIR_TAG + 16;
const NODE: usize = LIFE + 8;
const SPARE: usize = NODE + 1;
const _: () = assert!(SPARE == 89 && SPARE < PAGE_BYTES);

/// What the data partition says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The volume.
    pub volume: VolumeId,
    /// The node.
    pub node: NodeId,
    /// The same as in the superblock.
    pub pair_tag: PairTag,
    /// Life counter; also the sequence of the page.
    pub life: u64,
}

impl Tail {
    /// Byte offset on the data partition of slot 0 or 1.
    pub const fn slot_offset(tail_offset: u64, slot: u8) -> u64 {
        tail_offset + slot as u64 * PAGE_BYTES as u64
    }

    /// The page of slot 0 or 1.
    pub fn encode(&self, slot: u8) -> Box<Page> {
        let mut page: Box<Page> = Box::new([0; PAGE_BYTES]);
        put(&mut page[..], PAIR_TAG, &self.pair_tag.0.to_le_bytes());
        put(&mut page[..], LIFE, &self.life.to_le_bytes());
        page[NODE] = self.node.to_byte();
        let (kind, address) = (PageKind::Tail, u64::from(slot));
        let (volume, sequence) = (self.volume, self.life);
        checksum::seal(&mut page, &Seal { kind, slot, address, volume, sequence });
        page
    }

    /// The tail in the page of slot 0 or 1.
    pub fn decode(bytes: &Page, slot: u8) -> Result<Tail, Damage> {
        let seal = checksum::check(bytes, PageKind::Tail, slot, u64::from(slot))?;
        checksum::check_zero(bytes, SEAL_END..HEADER_BYTES)?;
        checksum::check_zero(bytes, SPARE..PAGE_BYTES)?;
        let life = u64_at(bytes, LIFE);
        if life != seal.sequence {
            return Err(Damage::Field { name: "life", value: life });
        }
        let byte = bytes[NODE];
        let bad_node = Damage::Field { name: "node", value: u64::from(byte) };
        Ok(Tail {
            volume: seal.volume,
            node: NodeId::from_byte(byte).ok_or(bad_node)?,
            pair_tag: PairTag(u128_at(bytes, PAIR_TAG)),
            life,
        })
    }
}
