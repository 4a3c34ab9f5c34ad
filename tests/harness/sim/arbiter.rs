//! The simulated arbiter: one record with compare-and-set.
//! A request travels, lands, and its reply travels back; either may be lost or late. A request may
//! land after its time-out, after later reads, and after the restart of its sender (R4).
//! Always: requests take effect one at a time, each at most once.

use lockstep_ctl::decide::event::{ReadResult, StepId, SwapResult};
use lockstep_ctl::decide::record::Record;
use lockstep_engine::units::{NodeId, Version};
use std::collections::BTreeMap;

/// What a request wants.
#[derive(Clone, Debug)]
pub enum Want {
    /// The record.
    Read,
    /// A conditional write.
    Swap {
        /// Version it is conditional on; `None`: no record.
        expected: Option<Version>,
        /// What it installs.
        next: Record,
    },
}

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Of a read.
    Read(ReadResult),
    /// Of a conditional write.
    Swap(SwapResult),
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub node: NodeId,
    /// Which of its daemons.
    pub run: u64,
    /// Its name for it.
    pub step: StepId,
    /// What it wants.
    pub want: Want,
    /// The reply is lost.
    pub lose_reply: bool,
}

/// The store and what travels to it.
#[derive(Default)]
pub struct Arbiter {
    /// The stored record.
    pub record: Option<Record>,
    /// No request lands and none is answered.
    pub down: bool,
    /// Nodes (a, b) that can't reach it.
    pub cut: [bool; 2],
    /// Replies lost to a node from now on: how many.
    pub lose_replies: [u32; 2],
    /// Nanoseconds added before a request of a node lands.
    pub late: [u64; 2],
    /// The record before the last change.
    before: Option<Record>,
    /// The newest record, while an older one stands in its place.
    newest: Option<Record>,
    waiting: BTreeMap<u64, Request>,
    next: u64,
}

impl Arbiter {
    /// Takes a request that will land later.
    pub fn send(&mut self, request: Request) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, request);
        self.next
    }

    /// Who sent a request that is still on its way.
    pub fn sender(&self, id: u64) -> Option<NodeId> {
        self.waiting.get(&id).map(|request| request.node)
    }

    /// Writes on their way that would still take effect.
    pub fn may_land(&self) -> impl Iterator<Item = (&Request, &Record)> {
        let now = self.record.as_ref().map(|record| record.version);
        self.waiting.values().filter_map(move |request| match &request.want {
            Want::Swap { expected, next } if *expected == now => Some((request, next)),
            _ => None,
        })
    }

    /// The newest record that was ever stored.
    pub fn newest(&self) -> Option<&Record> {
        self.newest.as_ref().or(self.record.as_ref())
    }

    /// A request is lost.
    pub fn drop_request(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// A request lands: its reply, and the record if it has changed.
    pub fn land(&mut self, id: u64) -> Option<(Request, Reply, Option<Record>)> {
        let request = self.waiting.remove(&id)?;
        let (reply, changed) = match &request.want {
            Want::Read => (Reply::Read(self.read()), None),
            Want::Swap { expected, next } => {
                let (result, changed) = self.swap(*expected, next);
                (Reply::Swap(result), changed)
            }
        };
        Some((request, reply, changed))
    }

    /// Sets the record back by one; not while a write is on its way. Says whether it did.
    pub fn roll_back(&mut self) -> bool {
        let writes = |request: &Request| matches!(request.want, Want::Swap { .. });
        if self.newest.is_some() || self.waiting.values().any(writes) {
            return false;
        }
        let Some(before) = self.before.clone() else { return false };
        self.newest = self.record.replace(before);
        true
    }

    /// Whether an older record stands in the place of the newest.
    pub fn is_rolled_back(&self) -> bool {
        self.newest.is_some()
    }

    /// The newest record is back.
    pub fn roll_forward(&mut self) {
        if let Some(newest) = self.newest.take() {
            self.record = Some(newest);
        }
    }

    fn read(&self) -> ReadResult {
        self.record.clone().map_or(ReadResult::Absent, ReadResult::Found)
    }

    fn swap(&mut self, expected: Option<Version>, next: &Record) -> (SwapResult, Option<Record>) {
        if self.record.as_ref().map(|record| record.version) == expected {
            self.before = self.record.replace(next.clone());
            return (SwapResult::Won, Some(next.clone()));
        }
        match &self.record {
            Some(now) if now.nonce == next.nonce => (SwapResult::Won, None),
            Some(now) => (SwapResult::Lost(now.clone()), None),
            None => (SwapResult::Unknown, None),
        }
    }

    /// The answer that the sender makes up when none came in time.
    pub fn timed_out(want: &Want) -> Reply {
        match want {
            Want::Read => Reply::Read(ReadResult::Failed),
            Want::Swap { .. } => Reply::Swap(SwapResult::Unknown),
        }
    }
}
