//! What is known of the record: reads, freshness, rollback.
//! Always: `known` only rises; it is fresh only after an exchange that began after the last reason
//! to doubt it.

use super::attempt::Open;
use super::state::{EngineSide, Outcome, ReadCall};
use super::{BACKOFF_MAX, Decider, PROBE_EVERY};
use crate::decide::event::{ReadResult, StepId};
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{Note, Step};
use lockstep_engine::units::{Span, Tick, Version};

impl Decider {
    /// Something has happened that makes a new read necessary.
    pub(super) fn doubt(&mut self) {
        self.arbiter.fresh = false;
        if let Some(read) = &mut self.arbiter.read {
            read.doubted = true;
        }
    }

    /// Highest version that this node has seen anywhere.
    pub(super) fn highest(&self) -> Version {
        self.newest().map_or(Version(0), |newest| newest.record.version)
    }

    pub(super) fn read_if_due(&mut self, now: Tick) {
        if let Some(read) = &self.arbiter.read {
            let at = read.deadline;
            return self.wake_at(at);
        }
        let probe_at = self.arbiter.probe_at;
        let due = if self.arbiter.fresh { probe_at } else { self.arbiter.retry_at };
        if now < due {
            return self.wake_at(due);
        }
        let deadline = now.after(self.times().arbiter_attempt);
        let (id, floor) = (self.next_id(), self.highest());
        self.arbiter.read = Some(ReadCall { id, deadline, doubted: false, floor });
        self.steps.push_back(Step::Read { id });
        self.wake_at(deadline);
    }

    pub(super) fn expire_read(&mut self, now: Tick) {
        if self.arbiter.read.is_some_and(|read| read.deadline <= now) {
            self.arbiter.read = None;
            self.arbiter_silent(now);
        }
    }

    pub(super) fn read_ended(&mut self, id: StepId, result: ReadResult, now: Tick) {
        let Some(read) = self.arbiter.read.take_if(|read| read.id == id) else {
            return; // Given up long ago; what it says may be old.
        };
        let found = match result {
            ReadResult::Failed => return self.arbiter_silent(now),
            ReadResult::Found(record) => Some(record),
            ReadResult::Absent => None,
        };
        self.arbiter_spoke(now);
        let version = found.as_ref().map_or(Version(0), |record| record.version);
        if version < read.floor && !Mutant::BelieveRollback.on() {
            return self.older_than_seen(found);
        }
        if self.arbiter.rolled_back && version >= self.highest() {
            self.arbiter.rolled_back = false;
        }
        match found {
            Some(record) => self.learned_of(record, now),
            None => self.arbiter.absent = true,
        }
        self.arbiter.fresh = !read.doubted;
        let old_version = |open: &mut Open| open.expected == version;
        if Mutant::CloseAttemptByReading.on()
            && let Some(open) = self.open.take_if(old_version)
        {
            self.closed((open, Outcome::NotHappened), now); // R4
        }
    }

    /// §3.1: deleted or rolled back, unless it is a forced record on its way to the arbiter.
    fn older_than_seen(&mut self, found: Option<Record>) {
        self.arbiter.fresh = true; // Asking again at once would not help; the probe will.
        let forced = self.stored().filter(|seen| seen.whole).map(|seen| seen.record);
        let forced = forced.filter(|seen| {
            let stored = found.as_ref().map_or(Version(0), |record| record.version);
            seen.forced && seen.writer == self.me() && seen.version.0 == stored.0 + 1
        });
        if let (Some(seen), Some(stored)) = (forced, &found) {
            let newer_known =
                self.arbiter.known.as_ref().is_some_and(|r| r.version > stored.version);
            if !newer_known && self.open.is_none() {
                self.open = Some(Open::forced(stored.clone(), seen));
                self.arbiter.known = found;
            }
            return;
        }
        self.rolled_back();
    }

    pub(super) fn rolled_back(&mut self) {
        if !self.arbiter.rolled_back {
            self.arbiter.rolled_back = true;
            self.note(Note::ArbiterRolledBack);
        }
    }

    /// The same version with two nonces: two arbiters, or two forced nodes. Nobody merges them.
    pub(super) fn agree(&mut self) {
        let known = self.arbiter.known.as_ref().map(|known| (known.version, known.nonce));
        let stored = self.engines.iter().filter_map(EngineSide::last_record);
        let mut seen: Vec<_> = stored.map(|seen| (seen.version, seen.nonce)).chain(known).collect();
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1) {
            self.rolled_back();
        }
    }

    /// A record was read or written: what it closes and ends follows from its version.
    pub(super) fn learned_of(&mut self, record: Record, now: Tick) {
        self.arbiter.absent = false;
        let newer = |known: &Record| record.version > known.version;
        if !self.arbiter.known.as_ref().is_none_or(newer) {
            let known = self.arbiter.known.as_ref();
            if known.is_some_and(|k| k.version == record.version && k.nonce != record.nonce) {
                self.rolled_back();
            }
            return;
        }
        let version = record.version;
        if self.arbiter.known.is_none() && !self.all_serve_at(version) {
            self.maybe_released = Some(version);
        }
        self.arbiter.known = Some(record);
        if self.local.as_ref().is_some_and(|local| local.version <= version) {
            self.local = None;
        }
        if self.released.is_some_and(|released| released < version) {
            self.announce(None);
        }
        if let Some(open) = self.open.take_if(|open| open.expected < version) {
            let outcome = self.outcome(&open);
            self.closed((open, outcome), now);
        }
    }

    pub(super) fn arbiter_spoke(&mut self, now: Tick) {
        self.arbiter.answered = true;
        self.arbiter.failures = 0;
        self.arbiter.retry_at = now;
        self.arbiter.probe_at = now.after(PROBE_EVERY);
    }

    pub(super) fn arbiter_silent(&mut self, now: Tick) {
        let first = self.times().arbiter_attempt;
        let urgent = self.op.is_some() || self.open.is_some();
        let doublings = if urgent { 0 } else { self.arbiter.failures.min(3) };
        self.arbiter.failures += 1;
        let wait = Span(first.0 << doublings).min(BACKOFF_MAX);
        self.arbiter.retry_at = now.after(wait);
        self.arbiter.probe_at = now.after(wait);
    }

    pub(super) fn announce(&mut self, released: Option<Version>) {
        if self.released != released {
            self.maybe_released = released.or(self.maybe_released);
            self.released = released;
            self.steps.push_back(Step::AnnounceRelease(released));
        }
    }
}
