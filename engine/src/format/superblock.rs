//! The superblock: who this copy is, what it is worth, what was promised.
//! Every update writes slot 0 and, when that is durable, slot 1 with the same sequence. After a
//! crash the slot that `choose` did not take is written again, as chosen, before the next update.
//! Always: at rest both slots hold the same, and at most one is ever torn.
//! Survives: a crash between or within the two writes, and damage of either slot at rest.

use super::checksum::{self, PageKind, Seal};
use super::layout::{Layout, SUPERBLOCK_PAGES};
use super::{Damage, superblock_bytes};
use crate::limits::{ATTEMPTS_MAX, HISTORY_MAX};
use crate::units::{
    BootId, ClusterId, DiskState, Generation, GroupId, InSyncMark, NodeId, OpenAttempt, PAGE_BYTES,
    Page, PairTag, VolumeId, VolumeRecord,
};

/// Everything that a superblock says. The replica owns one and rewrites it whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Raised with every write; the newest valid slot wins.
    pub sequence: u64,
    /// Identity, fixed at `format`.
    pub cluster: ClusterId,
    /// Group whose record speaks for the volume.
    pub group: GroupId,
    /// The volume.
    pub volume: VolumeId,
    /// Which node of the pair this is.
    pub node: NodeId,
    /// Exported bytes.
    pub size: u64,
    /// Entries of the intent table, fixed at `format`.
    pub intent_regions: u32,
    /// Binds the data partition (R21).
    pub pair_tag: PairTag,
    /// Byte offset of the data tail on the data partition.
    pub tail_offset: u64,
    /// Serial or WWID of the data device, empty for files. At most 64 bytes.
    pub serial: String,
    /// Own life counter (R21).
    pub life: u64,
    /// Highest life counter heard of the peer.
    pub life_heard: u64,
    /// What the copy is worth. `Consistent` is never stored: it is `UpToDate` not yet confirmed.
    pub disk: DiskState,
    /// The copy must be filled whole before it counts.
    pub needs_full: bool,
    /// Generation of the data.
    pub generation: Generation,
    /// Generation in which both copies were last equal: base of the bitmap.
    pub base: Generation,
    /// Earlier generations, newest first.
    pub history: [Generation; HISTORY_MAX],
    /// Last accepted record.
    pub record: Option<VolumeRecord>,
    /// Conditional writes that may still land (R4).
    pub attempts: [Option<OpenAttempt>; ATTEMPTS_MAX],
    /// Boot in which this node last became primary; `NONE` after an orderly demotion or stop.
    pub primary_boot: BootId,
    /// In-sync mark that this node was given (R42). Worth something on the boot it names only: a
    /// restart of the engine keeps it, a reboot does not.
    pub mark: Option<InSyncMark>,
    /// The node was forced to primary at least once since the copies were last equal.
    pub diverged: bool,
}

impl Superblock {
    /// Longest `serial` in bytes.
    pub const SERIAL_BYTES_MAX: usize = superblock_bytes::SERIAL_BYTES_MAX;

    /// Where things stand on the cluster partition of this copy.
    pub fn layout(&self) -> Layout {
        Layout::new(self.size, self.intent_regions)
    }

    /// The page of slot 0 or 1.
    ///
    /// # Panics
    /// When `disk` is `Consistent` or `serial` is too long: neither may ever be stored.
    pub fn encode(&self, slot: u8) -> Box<Page> {
        let mut page: Box<Page> = Box::new([0; PAGE_BYTES]);
        superblock_bytes::put_body(&mut page, self);
        let (kind, address) = (PageKind::Superblock, SUPERBLOCK_PAGES[usize::from(slot)]);
        let (volume, sequence) = (self.volume, self.sequence);
        checksum::seal(&mut page, &Seal { kind, slot, address, volume, sequence });
        page
    }

    /// The superblock in the page of slot 0 or 1.
    pub fn decode(bytes: &Page, slot: u8) -> Result<Superblock, Damage> {
        let address = SUPERBLOCK_PAGES[usize::from(slot)];
        let seal = checksum::check(bytes, PageKind::Superblock, slot, address)?;
        superblock_bytes::get_body(bytes, &seal)
    }
}

/// State of the slot that was not chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotHealth {
    /// Both slots say the same.
    Both,
    /// The slot holds an earlier sequence: an update was cut short.
    Behind {
        /// The older slot.
        slot: u8,
    },
    /// The slot can't be used: an update was cut short, or rot.
    Damaged {
        /// The slot.
        slot: u8,
        /// What is wrong with it.
        damage: Damage,
    },
}

impl SlotHealth {
    /// The slot that must be written again before the next update, if one must.
    pub fn slot(&self) -> Option<u8> {
        match self {
            SlotHealth::Both => None,
            SlotHealth::Behind { slot } | SlotHealth::Damaged { slot, .. } => Some(*slot),
        }
    }
}

/// The superblock of the newest sound slot; `None` is a slot that the device does not return.
/// Two damaged slots are an error, and so are two sound ones that contradict each other.
pub fn choose(slots: [Option<&Page>; 2]) -> Result<(Superblock, SlotHealth), Damage> {
    let decode = |slot: u8, page: Option<&Page>| {
        page.ok_or(Damage::Unreadable).and_then(|bytes| Superblock::decode(bytes, slot))
    };
    match (decode(0, slots[0]), decode(1, slots[1])) {
        (Err(first), Err(second)) => {
            Err(Damage::BothSlots { first: Box::new(first), second: Box::new(second) })
        }
        (Ok(found), Err(damage)) => Ok((found, SlotHealth::Damaged { slot: 1, damage })),
        (Err(damage), Ok(found)) => Ok((found, SlotHealth::Damaged { slot: 0, damage })),
        (Ok(first), Ok(second)) if first == second => Ok((first, SlotHealth::Both)),
        (Ok(first), Ok(second))
            if first.sequence == second.sequence || first.volume != second.volume =>
        {
            Err(Damage::SlotsDisagree {
                sequences: [first.sequence, second.sequence],
                volumes: [first.volume, second.volume],
            })
        }
        (Ok(first), Ok(second)) if first.sequence > second.sequence => {
            Ok((first, SlotHealth::Behind { slot: 1 }))
        }
        (Ok(_), Ok(second)) => Ok((second, SlotHealth::Behind { slot: 0 })),
    }
}
