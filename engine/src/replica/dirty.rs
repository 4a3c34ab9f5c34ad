//! What may differ between the two nodes: the bitmap, and the regions with open intent.
//! Always: a region has durable intent before a write to it is sent anywhere (R15); bitmap ∪ intent
//! covers every block that may differ (P4). May over-report, never under-report.

use super::mutant::Mutant;
use crate::format::bitmap::Bitmap;
use crate::format::intent_log::{IntentLog, UPDATES_MAX};
use crate::format::layout::Layout;
use crate::limits::INTENT_FULL_PERCENT;
use crate::units::{Extent, Page, RegionIndex, Span, Tick};

/// A region with intent.
#[derive(Clone, Copy, Debug)]
struct Hot {
    region: RegionIndex,
    /// The intent is on disk.
    durable: bool,
    /// Writes inside the replica.
    inflight: u32,
    /// End of the last write.
    last: Tick,
    /// Writes that ended here since the region became hot: a checkpoint sees that it is late.
    touched: u64,
    /// The peer has reported writes here that no flush of the peer has covered yet.
    peer_unflushed: bool,
}

/// Whether a write may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entered {
    /// All its regions have durable intent.
    Hot,
    /// An intent transaction must become durable first.
    Cold,
    /// The table has no room: a checkpoint must retire regions first. Nothing was counted.
    Full,
}

/// A region as a checkpoint saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub region: RegionIndex,
    touched: u64,
}

/// Bitmap and intent.
pub(super) struct Dirty {
    pub bitmap: Bitmap,
    log: IntentLog,
    /// Per region of the volume: position in `slots` plus one, or zero.
    position: Vec<u32>,
    slots: Vec<Hot>,
    adds: Vec<RegionIndex>,
    drops: Vec<Candidate>,
    /// Regions of the transaction that is being written.
    writing: Option<Vec<RegionIndex>>,
    /// Blocks of the volume.
    blocks: u64,
    /// Empty transactions still to write, so that no damaged page of the ring is left.
    refresh: u64,
    log_cycle: u64,
}

impl Dirty {
    /// Takes over what recovery found: every region with intent counts as dirty whole (R22).
    pub fn open(bitmap: Bitmap, log: IntentLog, layout: Layout, now: Tick) -> Dirty {
        let hot: Vec<RegionIndex> = log.regions().collect();
        let mut dirty = Dirty {
            bitmap,
            position: vec![0; usize::try_from(layout.regions()).expect("fits the address space")],
            slots: Vec::with_capacity(log.capacity() as usize),
            adds: Vec::with_capacity(UPDATES_MAX),
            drops: Vec::new(),
            writing: None,
            blocks: layout.blocks(),
            refresh: 0,
            log_cycle: layout.log_cycle(),
            log,
        };
        for region in hot {
            let slot = dirty.push_slot(region, now);
            slot.durable = true;
            slot.peer_unflushed = true;
            if !Mutant::ForgetIntentOnCrash.on() {
                dirty.set_region(region); // R22
            }
        }
        dirty
    }

    /// Marks every block of a region; the last region may end before its last block.
    pub fn set_region(&mut self, region: RegionIndex) {
        let blocks = region.blocks();
        self.bitmap.set(blocks.start..blocks.end.min(self.blocks));
    }

    fn push_slot(&mut self, region: RegionIndex, now: Tick) -> &mut Hot {
        let fresh = Hot {
            region,
            durable: false,
            inflight: 0,
            last: now,
            touched: 0,
            peer_unflushed: false,
        };
        self.slots.push(fresh);
        let place = self.slots.len();
        self.position[region.0 as usize] = u32::try_from(place).expect("table is bounded");
        &mut self.slots[place - 1]
    }

    fn slot(&mut self, region: u64) -> Option<&mut Hot> {
        let index = usize::try_from(region).expect("checked at admission");
        let place = self.position[index] as usize;
        if place == 0 { None } else { self.slots.get_mut(place - 1) }
    }

    fn remove_slot(&mut self, region: RegionIndex) {
        let place = std::mem::take(&mut self.position[region.0 as usize]) as usize;
        assert!(place > 0, "dropped a region without intent");
        self.slots.swap_remove(place - 1);
        if let Some(moved) = self.slots.get(place - 1) {
            let moved = moved.region.0 as usize;
            self.position[moved] = u32::try_from(place).expect("table is bounded");
        }
    }

    /// Regions with intent.
    pub fn hot(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("table is bounded")
    }

    /// Counts a write into its regions, or says that there is no room.
    pub fn enter(&mut self, at: Extent, now: Tick) -> Entered {
        let missing = at.regions().filter(|region| self.slot_of(*region).is_none()).count();
        if self.slots.len() + missing > self.log.capacity() as usize {
            return Entered::Full;
        }
        let mut all_durable = true;
        for region in at.regions() {
            if self.slot_of(region).is_none() {
                let region = RegionIndex(u32::try_from(region).expect("checked at admission"));
                self.push_slot(region, now);
                self.adds.push(region);
            }
            let slot = self.slot(region).expect("pushed above");
            slot.inflight += 1;
            all_durable &= slot.durable;
        }
        if all_durable || Mutant::WriteBeforeIntent.on() { Entered::Hot } else { Entered::Cold }
    }

    fn slot_of(&self, region: u64) -> Option<&Hot> {
        let index = usize::try_from(region).ok()?;
        let place = *self.position.get(index)? as usize;
        if place == 0 { None } else { self.slots.get(place - 1) }
    }

    /// Whether every region of a write that has entered has durable intent now.
    pub fn is_ready(&self, at: Extent) -> bool {
        at.regions().all(|region| self.slot_of(region).is_some_and(|slot| slot.durable))
    }

    /// A write has ended on both legs.
    pub fn leave(&mut self, at: Extent, peer_reported: bool, now: Tick) {
        for region in at.regions() {
            let slot = self.slot(region).expect("a write in flight keeps its region hot");
            assert!(slot.inflight > 0, "a write left a region twice");
            slot.inflight -= 1;
            slot.last = now;
            slot.touched += 1;
            slot.peer_unflushed |= peer_reported;
            if Mutant::ClearIntentOnAck.on() && slot.inflight == 0 && slot.durable {
                let late = Candidate { region: slot.region, touched: slot.touched };
                self.drops.push(late);
            }
        }
    }

    /// Whether recovery could not tell which regions had intent.
    pub fn is_log_lost(&self) -> bool {
        self.log.is_lost()
    }

    /// The bitmap with every bit that recovery set is durable: the log counts again.
    pub fn trust_log(&mut self) {
        self.log.trust();
        self.refresh = self.log_cycle;
    }

    /// The next log transaction, unless one is being written or nothing is wanted.
    pub fn next_transaction(&mut self) -> Option<(u64, Box<Page>)> {
        let idle = self.adds.is_empty() && self.drops.is_empty() && self.refresh == 0;
        if self.writing.is_some() || idle {
            return None;
        }
        let count = self.adds.len().min(UPDATES_MAX);
        let adds: Vec<RegionIndex> = self.adds.drain(..count).collect();
        let mut drops = Vec::new();
        while adds.len() + drops.len() < UPDATES_MAX {
            let Some(candidate) = self.drops.pop() else { break };
            if self.is_unchanged(candidate) {
                self.remove_slot(candidate.region);
                drops.push(candidate.region);
            }
        }
        if adds.is_empty() && drops.is_empty() {
            self.refresh = self.refresh.checked_sub(1)?;
        }
        let transaction = self.log.transaction(&adds, &drops);
        self.writing = Some(adds);
        Some(transaction)
    }

    /// The transaction is durable: its regions may be written.
    pub fn transaction_done(&mut self) {
        let adds = self.writing.take().expect("no transaction was being written");
        for region in adds {
            self.slot(u64::from(region.0)).expect("its writes keep it hot").durable = true;
        }
    }

    /// Whether drops that were asked for are still under way.
    pub fn is_dropping(&self) -> bool {
        !self.drops.is_empty() || self.writing.is_some()
    }

    /// Whether the table is full enough for a checkpoint (R16).
    pub fn is_crowded(&self) -> bool {
        self.slots.len() as u64 * 100
            >= u64::from(self.log.capacity()) * u64::from(INTENT_FULL_PERCENT)
    }

    /// Regions without writes in flight, idle for `idle`, or all of them when `idle` is `None`.
    pub fn candidates(&self, idle: Option<Span>, now: Tick) -> Vec<Candidate> {
        self.slots
            .iter()
            .filter(|slot| slot.durable && slot.inflight == 0)
            .filter(|slot| idle.is_none_or(|idle| now.since(slot.last) >= idle))
            .map(|slot| Candidate { region: slot.region, touched: slot.touched })
            .collect()
    }

    /// Whether no write has touched the region since the checkpoint saw it.
    pub fn is_unchanged(&self, candidate: Candidate) -> bool {
        self.slot_of(u64::from(candidate.region.0)).is_some_and(|slot| {
            slot.durable && slot.inflight == 0 && slot.touched == candidate.touched
        })
    }

    /// A flush of the peer has covered everything it reported in this region.
    pub fn peer_flushed(&mut self, candidate: Candidate) {
        if let Some(slot) = self.slot(u64::from(candidate.region.0)) {
            slot.peer_unflushed = false;
        }
    }

    /// Whether the peer may have lost reported writes of this region with its power.
    pub fn is_peer_unflushed(&self, region: RegionIndex) -> bool {
        self.slot_of(u64::from(region.0)).is_some_and(|slot| slot.peer_unflushed)
    }

    /// Drops the intent of these regions with the next transactions, unless written meanwhile.
    pub fn drop_intent(&mut self, candidates: &[Candidate]) {
        self.drops.extend_from_slice(candidates);
    }

    /// The peer's reports are void (R42), or nobody knows them: regions with intent are dirty.
    pub fn dirty_hot(&mut self) {
        for index in 0..self.slots.len() {
            self.set_region(self.slots[index].region);
        }
    }

    /// As `dirty_hot`, only where the peer has reported writes that it may have lost.
    pub fn dirty_unflushed(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index].peer_unflushed || self.slots[index].inflight > 0 {
                self.set_region(self.slots[index].region);
            }
        }
    }

    /// Both copies are known equal and flushed.
    pub fn all_equal(&mut self) {
        self.bitmap.clear_all();
        for slot in &mut self.slots {
            slot.peer_unflushed = false;
        }
    }
}
