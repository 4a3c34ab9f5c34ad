//! From the pages of a stopped engine to what it knew, and the pages of a fresh copy.
//! Always: changes nothing, so it may be repeated at any crash point with the same outcome.
//! Survives damage anywhere but in both superblock slots: what is lost counts as dirty.

use super::Damage;
use super::bitmap::Bitmap;
use super::intent_log::{IntentLog, LogHealth};
use super::layout::SUPERBLOCK_PAGES;
use super::superblock::{self, SlotHealth, Superblock};
use super::tail::Tail;
use crate::units::{Page, PairTag};
use std::fmt;

/// What a stopped engine knew.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The newest sound superblock, as stored.
    pub superblock: Superblock,
    /// Slot that does not hold it. The caller writes `superblock.encode(slot)` there, durably,
    /// before its first update: otherwise a torn update of the other slot would bring an older
    /// superblock back, or none.
    pub heal: Option<u8>,
    /// The intent log, empty when it was lost (then every bit of the bitmap is set).
    pub log: IntentLog,
    /// The bitmap, with everything dirty that could not be read.
    pub bitmap: Bitmap,
    /// Whether the data partition is the one that the superblock describes.
    pub tail: TailVerdict,
    /// Serial of the data device at hand, to be stored once the copy is distrusted or filled.
    pub device_serial: String,
    /// What was damaged, for the log and the operator.
    pub findings: Vec<Finding>,
}

/// Whether the data partition belongs to the superblock (R21).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TailVerdict {
    /// It does.
    Matches,
    /// It does; the engine stopped between raising the counter here and there. The next life is
    /// `superblock.life + 1` again, in both tail slots.
    OneAhead,
    /// It does not, or nothing proves it: the data counts as Inconsistent.
    Swapped {
        /// What differs.
        reason: SwapReason,
    },
}

/// What tells that a data partition is not the one that was left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SwapReason {
    /// Neither tail slot can be read.
    NoTail {
        /// Damage of slot 0 and slot 1.
        slots: Box<[Damage; 2]>,
    },
    /// The tail was written for another volume or node.
    OtherCopy {
        /// What it says.
        tail: Tail,
    },
    /// The tail was written by another `format`.
    Tag {
        /// Tag of the tail.
        tail: PairTag,
        /// Tag of the superblock.
        superblock: PairTag,
    },
    /// Data and metadata are of different times: one was restored.
    Life {
        /// Counter of the tail.
        tail: u64,
        /// Counter of the superblock.
        superblock: u64,
    },
    /// The data device is another one.
    Serial {
        /// Serial of the device.
        device: String,
        /// Serial in the superblock.
        superblock: String,
    },
}

impl fmt::Display for SwapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SwapReason::NoTail { slots } => {
                write!(f, "its tail is unusable: slot 0 {}; slot 1 {}", slots[0], slots[1])
            }
            SwapReason::OtherCopy { tail } => {
                write!(f, "its tail is of volume {}, node {}", tail.volume, tail.node)
            }
            SwapReason::Tag { tail, superblock } => {
                write!(f, "its tail has pair tag {tail}, the superblock has {superblock}")
            }
            SwapReason::Life { tail, superblock } => {
                write!(f, "its life counter is {tail}, the superblock's is {superblock}")
            }
            SwapReason::Serial { device, superblock } => {
                write!(f, "its serial is {device}, the superblock was made for {superblock}")
            }
        }
    }
}

/// One thing that was not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// One superblock slot is older or damaged; the other one serves.
    Superblock(SlotHealth),
    /// Intent can't be known: everything counts as dirty.
    LogLost,
    /// A bitmap page can't be used: its blocks count as dirty.
    BitmapPage {
        /// Page within the bitmap.
        page: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// One tail slot is damaged; the other one serves.
    TailSlot {
        /// The slot.
        slot: u8,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The data partition is not the one that was left.
    Swapped(SwapReason),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Superblock(SlotHealth::Both) => f.write_str("superblock: both slots agree"),
            Finding::Superblock(SlotHealth::Behind { slot }) => {
                write!(
                    f,
                    "superblock slot {slot} is one update behind; the engine rewrites it at start"
                )
            }
            Finding::Superblock(SlotHealth::Damaged { slot, damage }) => {
                write!(f, "superblock slot {slot} {damage}; the engine rewrites it at start")
            }
            Finding::LogLost => f.write_str(
                "intent log can't be rebuilt; every block counts as dirty and will be compared",
            ),
            Finding::BitmapPage { page, damage } => {
                write!(f, "bitmap page {page} {damage}; its blocks count as dirty")
            }
            Finding::TailSlot { slot, damage } => {
                write!(f, "data tail slot {slot} {damage}; the other slot serves")
            }
            Finding::Swapped(reason) => write!(
                f,
                "the data partition is not the one that was left: {reason}; it counts as \
                 Inconsistent until it is resynced or adopted"
            ),
        }
    }
}

/// Reads everything. `read` gives a page of the cluster partition, `None` when the device does
/// not; `tail` are the two slots at the superblock's tail offset; `device_serial` is empty when
/// the data device has none.
///
/// Fails only when the superblock can't be had. Changes nothing on disk. After `LogLost` see
/// `IntentLog::trust`.
pub fn recover(
    read: &mut dyn FnMut(u64) -> Option<Page>,
    tail: [Option<Page>; 2],
    device_serial: &str,
) -> Result<Recovered, Damage> {
    let slots = SUPERBLOCK_PAGES.map(&mut *read);
    let (superblock, health) = superblock::choose([slots[0].as_ref(), slots[1].as_ref()])?;
    let mut findings = Vec::new();
    let heal = health.slot();
    if health != SlotHealth::Both {
        findings.push(Finding::Superblock(health));
    }
    let layout = superblock.layout();
    let (log, log_health) = IntentLog::recover(layout, superblock.volume, read);
    let mut bitmap = Bitmap::new(layout, superblock.volume);
    load_bitmap(&mut bitmap, layout.bitmap_pages(), layout.bitmap_first(), read, &mut findings);
    if log_health == LogHealth::Lost {
        bitmap.set_all();
        findings.push(Finding::LogLost);
    }
    let tail = judge_tail(&superblock, &tail, device_serial, &mut findings);
    let device_serial = device_serial.to_owned();
    Ok(Recovered { superblock, heal, log, bitmap, tail, device_serial, findings })
}

fn load_bitmap(
    bitmap: &mut Bitmap,
    pages: u64,
    first: u64,
    read: &mut dyn FnMut(u64) -> Option<Page>,
    findings: &mut Vec<Finding>,
) {
    for page in 0..pages {
        let loaded = match read(first + page) {
            None => Err(Damage::Unreadable),
            Some(bytes) => bitmap.load_page(page, &bytes),
        };
        if let Err(damage) = loaded {
            bitmap.set(bitmap.blocks_of_page(page));
            findings.push(Finding::BitmapPage { page, damage });
        }
    }
}

/// The verdict over the tail slots at hand.
fn judge_tail(
    superblock: &Superblock,
    slots: &[Option<Page>; 2],
    device_serial: &str,
    findings: &mut Vec<Finding>,
) -> TailVerdict {
    let decode = |slot: u8| {
        let page = slots[usize::from(slot)].as_ref();
        page.ok_or(Damage::Unreadable).and_then(|bytes| Tail::decode(bytes, slot))
    };
    let sound = match (decode(0), decode(1)) {
        (Err(first), Err(second)) => Err(Box::new([first, second])),
        (Ok(tail), Err(damage)) => {
            findings.push(Finding::TailSlot { slot: 1, damage });
            Ok(vec![tail])
        }
        (Err(damage), Ok(tail)) => {
            findings.push(Finding::TailSlot { slot: 0, damage });
            Ok(vec![tail])
        }
        (Ok(first), Ok(second)) => Ok(vec![first, second]),
    };
    let reason = match sound {
        Err(slots) => Some(SwapReason::NoTail { slots }),
        Ok(tails) => match compare(superblock, &tails, device_serial) {
            Ok(true) => return TailVerdict::OneAhead,
            Ok(false) => None,
            Err(reason) => Some(reason),
        },
    };
    match reason {
        None => TailVerdict::Matches,
        Some(reason) => {
            findings.push(Finding::Swapped(reason.clone()));
            TailVerdict::Swapped { reason }
        }
    }
}

/// Whether the tail is one life ahead, or what differs. Identity must hold in every sound slot,
/// the counter in the newest.
fn compare(sb: &Superblock, tails: &[Tail], device_serial: &str) -> Result<bool, SwapReason> {
    for tail in tails {
        if (tail.volume, tail.node) != (sb.volume, sb.node) {
            return Err(SwapReason::OtherCopy { tail: *tail });
        }
        if tail.pair_tag != sb.pair_tag {
            return Err(SwapReason::Tag { tail: tail.pair_tag, superblock: sb.pair_tag });
        }
    }
    if !device_serial.is_empty() && !sb.serial.is_empty() && device_serial != sb.serial {
        let (device, superblock) = (device_serial.to_string(), sb.serial.clone());
        return Err(SwapReason::Serial { device, superblock });
    }
    let life = tails.iter().map(|tail| tail.life).max().unwrap_or(0);
    match life.checked_sub(sb.life) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(SwapReason::Life { tail: life, superblock: sb.life }),
    }
}

/// Every page of a freshly formatted cluster partition, and the two tail slots. The superblock
/// comes last: until then the partition reads as not formatted, provided that the caller wiped
/// both slots before.
pub fn fresh(superblock: &Superblock, emit: &mut dyn FnMut(u64, Box<Page>)) -> [Box<Page>; 2] {
    let layout = superblock.layout();
    let mut log = IntentLog::blank(layout, superblock.volume);
    for _ in 0..layout.log_pages() {
        let (address, page) = log.transaction(&[], &[]);
        emit(address, page);
    }
    let mut bitmap = Bitmap::new(layout, superblock.volume);
    for page in 0..layout.bitmap_pages() {
        let (address, page) = bitmap.encode_page(page);
        emit(address, page);
    }
    for (slot, address) in (0u8..).zip(SUPERBLOCK_PAGES) {
        emit(address, superblock.encode(slot));
    }
    let tail = Tail {
        volume: superblock.volume,
        node: superblock.node,
        pair_tag: superblock.pair_tag,
        life: superblock.life,
    };
    [tail.encode(0), tail.encode(1)]
}
