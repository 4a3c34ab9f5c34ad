//! One block as a register (R43): which values were written, which were read, and what follows.
//!
//! Each value has a cluster of operations: its write, once that counts, and the reads that returned
//! it. `low` is the first end, `high` the last begin in the cluster. A value comes before another
//! when its `low` is before the other's `high`; a history is wrong as soon as two values each come
//! before the other. Kept per sector, because an unanswered write may be torn by a power loss.
//! An unanswered write may take effect or not, but not after its connection has ended.
//!
//! Always: instants are unique and grow; `u64::MAX` is "not yet".

use super::disk::Block;

/// Values that a block may have before old ones are forgotten. High, because a read that began
/// long ago, on a host that stood still, may return one of them.
const VALUES_KEPT: usize = 100;

/// What the client knows of its write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Not answered, connection alive.
    Pending,
    /// Answered Ok.
    Acked,
    /// Answered with an error, connection gone, or lost in a power loss that allowed it.
    Maybe,
}

/// One value of a block.
#[derive(Clone, Debug)]
pub struct Value {
    /// Stamp, unique within the run.
    pub stamp: u64,
    /// Instant at which the write was asked for.
    pub begin: u64,
    /// Instant at which it was answered or its connection ended.
    pub end: u64,
    /// What the client knows.
    pub fate: Fate,
    /// A flush or FUA covers it: no power loss may take it.
    pub durable: bool,
    /// Hosts (a, b) that lost power after the value came to their disk, and no flush covers it.
    pub exposed: [bool; 2],
    seen: u8,
    low: [u64; 8],
    high: [u64; 8],
}

impl Value {
    fn active(&self, sector: usize) -> bool {
        self.fate == Fate::Acked || self.seen & (1 << sector) != 0
    }

    /// First end in the cluster, if the value is, or were, in effect.
    fn low(&self, sector: usize) -> u64 {
        self.low[sector].min(self.end)
    }

    fn high(&self, sector: usize) -> u64 {
        self.high[sector].max(self.begin)
    }
}

/// Two values of which each must come before the other.
#[derive(Debug)]
pub struct Conflict {
    /// Sector in which it showed.
    pub sector: usize,
    /// The value that was read, found or answered.
    pub stamp: u64,
    /// The one that it contradicts; `None` when nobody ever wrote the value.
    pub against: Option<u64>,
}

/// The history of one block.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its values, oldest request first.
    pub values: Vec<Value>,
}

impl Default for Register {
    fn default() -> Register {
        let blank = Value {
            stamp: 0,
            begin: 0,
            end: 0,
            fate: Fate::Acked,
            durable: true,
            exposed: [false; 2],
            seen: 0,
            low: [u64::MAX; 8],
            high: [0; 8],
        };
        Register { values: vec![blank] }
    }
}

impl Register {
    /// A write of `stamp` is asked for.
    pub fn begin(&mut self, stamp: u64, at: u64) {
        // A zero written again is a new value: the older zero must have been overwritten for good.
        self.values.retain(|value| value.stamp != stamp);
        self.values.push(Value {
            stamp,
            begin: at,
            end: u64::MAX,
            fate: Fate::Pending,
            durable: false,
            exposed: [false; 2],
            seen: 0,
            low: [u64::MAX; 8],
            high: [0; 8],
        });
    }

    /// The value of a stamp.
    pub fn value(&mut self, stamp: u64) -> Option<&mut Value> {
        self.values.iter_mut().rev().find(|value| value.stamp == stamp)
    }

    /// The write of `stamp` was answered Ok.
    pub fn acked(&mut self, stamp: u64, at: u64, durable: bool) -> Option<Conflict> {
        let index = self.values.iter().position(|value| value.stamp == stamp)?;
        let value = &mut self.values[index];
        value.end = at;
        value.fate = Fate::Acked;
        value.durable |= durable;
        (0..8).find_map(|sector| self.conflict(index, sector, 0, u64::MAX, false))
    }

    /// The write of `stamp` will not be answered Ok any more.
    pub fn gave_up(&mut self, stamp: u64, at: u64) {
        if let Some(value) = self.value(stamp)
            && value.fate == Fate::Pending
        {
            value.fate = Fate::Maybe;
            value.end = at;
        }
    }

    /// A read that began and ended then has returned `data`.
    pub fn read(&mut self, data: Block, begin: u64, end: u64) -> Option<Conflict> {
        for (sector, stamp) in data.into_iter().enumerate() {
            let Some(index) = self.values.iter().position(|value| value.stamp == stamp) else {
                return Some(Conflict { sector, stamp, against: None });
            };
            if let Some(conflict) = self.conflict(index, sector, begin, end, false) {
                return Some(conflict);
            }
            let value = &mut self.values[index];
            value.seen |= 1 << sector;
            value.low[sector] = value.low[sector].min(end);
            value.high[sector] = value.high[sector].max(begin);
        }
        None
    }

    /// Whether a disk that holds `data` would give a legal answer at this instant.
    /// With `durable` only values that a flush covers count against it.
    pub fn legal(&self, data: Block, now: u64, durable: bool) -> Option<Conflict> {
        for (sector, stamp) in data.into_iter().enumerate() {
            if sector > 0 && stamp == data[sector - 1] && self.values.len() < 2 {
                continue;
            }
            let Some(index) = self.values.iter().position(|value| value.stamp == stamp) else {
                return Some(Conflict { sector, stamp, against: None });
            };
            let found = self.conflict(index, sector, now, now + 1, durable);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Whether value `index`, with one more read of it, contradicts another.
    fn conflict(
        &self,
        index: usize,
        sector: usize,
        begin: u64,
        end: u64,
        durable: bool,
    ) -> Option<Conflict> {
        let value = &self.values[index];
        let low = value.low(sector).min(end);
        let high = value.high(sector).max(begin);
        let against = self.values.iter().enumerate().find(|(other, against)| {
            *other != index
                && against.active(sector)
                && (!durable || against.durable)
                && low < against.high(sector)
                && against.low(sector) < high
        });
        against.map(|(_, against)| Conflict {
            sector,
            stamp: value.stamp,
            against: Some(against.stamp),
        })
    }

    /// Whether an acknowledged `newer` must stay on top of `older` in this sector.
    pub fn reverts(&self, sector: usize, newer: u64, older: u64) -> bool {
        let find = |stamp| self.values.iter().find(|value: &&Value| value.stamp == stamp);
        match (find(newer), find(older)) {
            (Some(newer), Some(older)) => {
                newer.fate == Fate::Acked
                    && older.low(sector) < newer.high(sector)
                    && newer.low(sector) >= older.high(sector)
            }
            _ => false,
        }
    }

    /// A host lost power: what no flush covers may be gone there.
    pub fn expose(&mut self, host: usize) {
        for value in &mut self.values {
            if !value.durable {
                value.exposed[host] = true;
            }
        }
    }

    /// The value came to the disk of a host (again).
    pub fn arrived(&mut self, stamp: u64, host: usize) {
        if let Some(value) = self.value(stamp) {
            value.exposed[host] = false;
        }
    }

    /// This host is bound to hold everything again. A disk that holds `found` is a legal answer
    /// also without a write that nobody has answered yet: such a write may have been reported
    /// before the power loss took it, so that its answer still comes in good faith, and counts as
    /// there only where it is found (seeds 704496 and 702145).
    pub fn rely_on(&mut self, host: usize, found: Option<Block>) {
        for value in &mut self.values {
            let missing = found.is_some_and(|found| found != [value.stamp; 8]);
            if value.fate != Fate::Pending || !missing {
                value.exposed[host] = false;
            }
        }
    }

    /// Values that no member is bound to hold any more count as unanswered.
    pub fn excuse(&mut self, members: &[usize]) {
        for value in &mut self.values {
            let gone = members.iter().all(|host| value.exposed[*host]);
            if gone && !value.durable {
                if value.fate == Fate::Acked {
                    value.fate = Fate::Maybe;
                }
                value.seen = 0;
                value.low = [u64::MAX; 8];
                value.high = [0; 8];
            }
        }
    }

    /// Every value acknowledged before `before` is covered by a flush.
    pub fn cover(&mut self, before: u64) -> bool {
        let mut any = false;
        for value in &mut self.values {
            if value.fate == Fate::Acked && value.end < before && !value.durable {
                value.durable = true;
                value.exposed = [false; 2];
                any = true;
            }
        }
        any
    }

    /// Drops values that a durable later value has made impossible, to keep checks short.
    pub fn prune(&mut self) {
        if self.values.len() < VALUES_KEPT {
            return;
        }
        let Some(keep) =
            self.values.iter().filter(|value| value.durable).map(|value| value.begin).max()
        else {
            return;
        };
        // An answered value that ended before the newest durable one began can't come back; one
        // that does is then a stamp that nobody wrote, which is a violation as well.
        self.values.retain(|value| {
            value.begin >= keep || value.end >= keep || value.fate == Fate::Pending
        });
    }
}
