//! Arbitration of one failover group on one node: when to change the record, and what the engine
//! and the peer are told before and after (SAFETY §1.1, §1.2).

mod view;

pub use view::{ArbiterView, AttemptView, EvidenceView, View};

use super::event::{Event, PeerBeat};
use super::step::Step;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{BootId, ClusterId, GroupId, NodeId, Tick, VolumeId};
use std::collections::VecDeque;

/// What a decider is opened with; never changed while it lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The group whose record is decided on.
    pub group: GroupId,
    /// Its volume.
    pub volume: VolumeId,
    /// Boot of this host.
    pub boot: BootId,
    /// Times of SAFETY §1.2.
    pub times: Times,
    /// Seed of nonces and generations: new random bytes for every start of the daemon.
    pub entropy: [u8; 32],
    /// Since when this daemon listens to heartbeats.
    pub heartbeats_from: Tick,
    /// Take over without an operator when the evidence is complete.
    pub auto_takeover: bool,
}

/// Decides for one group on one node.
#[derive(Clone, Debug)]
pub struct Decider {
    settings: Settings,
    steps: VecDeque<Step>,
    wake: Option<Tick>,
}

impl Decider {
    /// A decider that knows nothing yet. Poll it at once: it begins with a read.
    pub fn new(settings: Settings, now: Tick) -> Decider {
        Decider { settings, steps: VecDeque::new(), wake: Some(now) }
    }

    /// Tells what happened. `wall_ms` is wall-clock time and only goes into `since`.
    pub fn handle(&mut self, _event: Event, _wall_ms: u64, _now: Tick) {
        self.wake = None;
    }

    /// The next thing to do, in order; `None` when there is nothing until the next event.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call `handle` with `Event::Wake` at the latest.
    pub fn deadline(&self) -> Option<Tick> {
        self.wake
    }

    /// What the next heartbeat to the peer has to say.
    pub fn beat(&self) -> PeerBeat {
        PeerBeat { boot: self.settings.boot, released: None, version: None }
    }

    /// What is known and waited for, for `status`.
    pub fn view(&self) -> View {
        View::default()
    }
}
