//! Which regions are being written: the table in memory, and the ring of transactions that can
//! rebuild it after a crash. Each transaction carries its changes and a window of the table at a
//! rolling cursor, so that one cycle of transactions repeats the whole table.
//! Always: a region stands in the table before the transaction that adds it is reported, and the
//! writer starts no write to it before that transaction is durable. Up to `LOG_FLIGHT_MAX`
//! transactions may be in flight at once, in any order.
//! Survives: every one of those torn, dropped or durable (over-reports, never under-reports).
//! Rot and misdirection where they could hide a transaction, or a part of the table: `Lost`.

use super::bytes::index;
use super::layout::{LOG_FLIGHT_MAX, Layout};
use super::log_page::{self, FREE, Seen, Transaction, Update};
use crate::units::{Page, RegionIndex, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

pub use super::log_page::UPDATES_MAX;

/// Far beyond what any device lives to see: a sequence above it is not ours.
const SEQUENCE_MAX: u64 = 1 << 62;

/// Whether the table could be rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogHealth {
    /// Every region with open intent is in the table.
    Intact,
    /// Something may be missing: everything may differ. The log that comes with it is empty.
    Lost,
}

/// The intent table of one copy.
#[derive(Clone, Debug)]
pub struct IntentLog {
    layout: Layout,
    volume: VolumeId,
    /// Region of each entry, or `FREE`: what the ring repeats.
    table: Vec<u32>,
    /// Entry of each region that is in.
    slots: BTreeMap<u32, u32>,
    /// One bit per region: the question that every write asks.
    hot: Vec<u64>,
    free: Vec<u32>,
    sequence: u64,
    since: u64,
    cursor: u32,
    lost: bool,
}

impl IntentLog {
    /// The empty log as `format` leaves it: every page of the ring written once.
    pub fn new(layout: Layout, volume: VolumeId) -> IntentLog {
        let mut log = IntentLog::blank(layout, volume);
        let written = layout.log_pages();
        let entries = written * u64::from(layout.window()) % u64::from(layout.intent_regions());
        log.cursor = u32::try_from(entries).expect("less than a table of u32 entries");
        log.sequence = written;
        log.since = written + 1;
        log
    }

    /// Before the first page of the ring was written.
    pub(super) fn blank(layout: Layout, volume: VolumeId) -> IntentLog {
        let capacity = layout.intent_regions();
        IntentLog {
            layout,
            volume,
            table: vec![FREE; capacity as usize],
            slots: BTreeMap::new(),
            hot: vec![0; index(layout.regions().div_ceil(64))],
            free: (0..capacity).rev().collect(),
            sequence: 0,
            since: 1,
            cursor: 0,
            lost: false,
        }
    }

    /// Entries of the table.
    pub fn capacity(&self) -> u32 {
        self.layout.intent_regions()
    }

    /// Regions in the table.
    pub fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("bounded by the capacity")
    }

    /// Whether no region is in the table.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the region is in the table.
    pub fn contains(&self, region: RegionIndex) -> bool {
        self.hot.get(region.0 as usize / 64).is_some_and(|word| word >> (region.0 % 64) & 1 == 1)
    }

    /// Regions in the table, in the order of its entries.
    pub fn regions(&self) -> impl Iterator<Item = RegionIndex> + '_ {
        self.table.iter().filter(|region| **region != FREE).map(|region| RegionIndex(*region))
    }

    /// Sequence of the last transaction.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether transactions still say that intent was lost. See `trust`.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// After `Lost`: the bitmap with every bit set (or a superblock that says `needs_full`) is
    /// durable, so the ring may count again. Until this is called every transaction says that
    /// intent was lost, and recovery says `Lost` again: a crash in between forgets nothing.
    /// The ring reads as intact once a full cycle was written after this; a caller that wants it
    /// at once writes `log_cycle()` empty transactions.
    pub fn trust(&mut self) {
        self.lost = false;
    }

    /// Applies drops, then adds, and encodes: the page to write and its address. Adding what is in
    /// or dropping what is not changes nothing.
    ///
    /// # Panics
    /// When the changes are more than `UPDATES_MAX`, do not fit the table, or name a region
    /// outside the volume: the caller counts.
    pub fn transaction(&mut self, add: &[RegionIndex], drop: &[RegionIndex]) -> (u64, Box<Page>) {
        assert!(add.len() + drop.len() <= UPDATES_MAX, "too many changes for a transaction");
        let mut updates = Vec::with_capacity(add.len() + drop.len());
        for region in drop {
            if let Some(slot) = self.take(region.0) {
                updates.push(Update { slot, region: FREE });
            }
        }
        for region in add {
            assert!(u64::from(region.0) < self.layout.regions(), "intent outside the volume");
            if !self.contains(*region) {
                let slot = self.free.pop().expect("the caller keeps within the capacity");
                self.place(slot, region.0);
                updates.push(Update { slot, region: region.0 });
            }
        }
        let (window_first, window) = self.next_window();
        self.sequence += 1;
        let transaction = Transaction {
            sequence: self.sequence,
            since: self.since,
            capacity: self.capacity(),
            lost: self.lost,
            updates,
            window_first,
            window,
        };
        let address = self.layout.log_first() + self.sequence % self.layout.log_pages();
        (address, log_page::encode(&transaction, address, self.volume))
    }

    fn take(&mut self, region: u32) -> Option<u32> {
        let slot = self.slots.remove(&region)?;
        self.table[slot as usize] = FREE;
        self.hot[region as usize / 64] &= !(1 << (region % 64));
        self.free.push(slot);
        Some(slot)
    }

    fn place(&mut self, slot: u32, region: u32) {
        self.table[slot as usize] = region;
        self.slots.insert(region, slot);
        self.hot[region as usize / 64] |= 1 << (region % 64);
    }

    fn next_window(&mut self) -> (u32, Vec<u32>) {
        let first = self.cursor;
        let entries = self.table.iter().cycle().skip(first as usize);
        let window = entries.take(self.layout.window() as usize).copied().collect();
        self.cursor = (first + self.layout.window()) % self.capacity();
        (first, window)
    }

    /// Rebuilds the log from its ring. `read` gives the page at an address of the cluster
    /// partition, `None` when the device does not. Reads each page of the ring once.
    pub fn recover(
        layout: Layout,
        volume: VolumeId,
        read: &mut dyn FnMut(u64) -> Option<Page>,
    ) -> (IntentLog, LogHealth) {
        let ring = Ring::scan(layout, volume, read);
        let mut log = IntentLog::blank(layout, volume);
        if let Some((table, newest)) = ring.rebuild() {
            log.adopt(&table);
            log.sequence = newest.sequence;
            log.cursor = (newest.window_first + layout.window()) % layout.intent_regions();
            log.since = log.sequence + 1;
            return (log, LogHealth::Intact);
        }
        // A whole turn of the ring ahead: whatever old page turns up again is out of the chain.
        log.sequence = ring.highest + layout.log_pages();
        log.since = log.sequence + 1;
        log.lost = true;
        (log, LogHealth::Lost)
    }

    fn adopt(&mut self, table: &[u32]) {
        self.free.clear();
        for (slot, region) in (0..).zip(table) {
            // A region may stand twice when a power loss took the transaction that moved it.
            if *region != FREE && !self.slots.contains_key(region) {
                self.place(slot, *region);
            } else {
                self.free.push(slot);
            }
        }
        self.free.reverse();
    }
}

/// Every page of the ring, by place.
struct Ring {
    layout: Layout,
    pages: Vec<Seen>,
    /// Highest sequence of a sound sector in its place.
    highest: u64,
}

impl Ring {
    fn scan(layout: Layout, volume: VolumeId, read: &mut dyn FnMut(u64) -> Option<Page>) -> Ring {
        let mut ring = Ring { layout, pages: Vec::new(), highest: 0 };
        for place in 0..layout.log_pages() {
            let address = layout.log_first() + place;
            let seen = match read(address) {
                None => Seen::Damaged(super::Damage::Unreadable),
                Some(page) => log_page::read(&page, address, volume),
            };
            let newest = match &seen {
                Seen::Whole(transaction) => transaction.sequence,
                Seen::Torn { newest } => *newest,
                Seen::Damaged(_) => 0,
            };
            let sound = match &seen {
                Seen::Whole(transaction) => ring.makes_sense(transaction),
                _ => true,
            };
            if newest % layout.log_pages() == place && newest < SEQUENCE_MAX && sound {
                ring.highest = ring.highest.max(newest);
                ring.pages.push(seen);
            } else {
                let name = "log transaction";
                ring.pages.push(Seen::Damaged(super::Damage::Field { name, value: newest }));
            }
        }
        ring
    }

    fn makes_sense(&self, transaction: &Transaction) -> bool {
        let (capacity, regions) = (self.layout.intent_regions(), self.layout.regions());
        let region_ok = |region: u32| region == FREE || u64::from(region) < regions;
        transaction.capacity == capacity
            && transaction.window_first < capacity
            && transaction.window.len() == self.layout.window() as usize
            && transaction.window.iter().all(|region| region_ok(*region))
            && transaction.updates.iter().all(|u| u.slot < capacity && region_ok(u.region))
    }

    fn at(&self, sequence: u64) -> &Seen {
        &self.pages[index(sequence % self.layout.log_pages())]
    }

    fn whole(&self) -> impl Iterator<Item = &Transaction> {
        self.pages.iter().filter_map(|seen| match seen {
            Seen::Whole(transaction) => Some(transaction),
            _ => None,
        })
    }

    /// Last transaction whose changes can't be known, at or below `newest`; `None` when a newer
    /// one may be hidden. Later transactions must repeat the whole table by themselves.
    fn unknown_through(&self, newest: u64) -> Option<u64> {
        let turn = self.layout.log_pages();
        let mut boundaries: BTreeSet<u64> = self.whole().map(|t| t.since).collect();
        boundaries.insert(newest + 1);
        // Power loss takes only what was in flight: transactions just below a life's first.
        let taken_by_crash = |sequence: u64| {
            let reach = sequence + 1..=sequence + LOG_FLIGHT_MAX;
            boundaries.range(reach).next().is_some()
        };
        let mut unknown = newest.checked_sub(turn)?;
        for sequence in newest - turn + 1..=newest {
            let may_be_newer = sequence + turn <= newest + LOG_FLIGHT_MAX;
            match self.at(sequence) {
                Seen::Whole(transaction) if transaction.sequence == sequence => {}
                Seen::Torn { newest: torn } if *torn > newest + LOG_FLIGHT_MAX => return None,
                // In flight behind the newest: the old content is gone, as it was meant to be.
                Seen::Torn { newest: torn } if *torn > newest => unknown = unknown.max(sequence),
                Seen::Whole(_) | Seen::Torn { .. } if taken_by_crash(sequence) => {}
                Seen::Whole(_) | Seen::Torn { .. } => unknown = unknown.max(sequence),
                Seen::Damaged(_) if may_be_newer => return None,
                Seen::Damaged(_) => unknown = unknown.max(sequence),
            }
        }
        Some(unknown)
    }

    /// The table after the newest transaction, and that transaction; `None` when it can't be
    /// known for certain.
    fn rebuild(&self) -> Option<(Vec<u32>, &Transaction)> {
        let newest = self.whole().max_by_key(|transaction| transaction.sequence)?;
        if newest.lost {
            return None;
        }
        let unknown = self.unknown_through(newest.sequence)?;
        let mut table: Vec<Option<u32>> = vec![None; self.layout.intent_regions() as usize];
        for sequence in unknown + 1..=newest.sequence {
            let Seen::Whole(transaction) = self.at(sequence) else { continue };
            if transaction.sequence != sequence {
                continue;
            }
            if transaction.lost {
                // Changes before the loss was written off say nothing.
                table.fill(None);
                continue;
            }
            for update in &transaction.updates {
                table[update.slot as usize] = Some(update.region);
            }
            let slots = (0..table.len()).cycle().skip(transaction.window_first as usize);
            for (slot, region) in slots.zip(&transaction.window) {
                table[slot] = Some(*region);
            }
        }
        let known: Option<Vec<u32>> = table.into_iter().collect();
        known.map(|table| (table, newest))
    }
}
