//! Arbitration of one failover group on one node: when to change the record, and what the engines
//! and the peer are told before and after (SAFETY §1.1, §1.2).
//! Always: at most one attempt is open, its nonce is on every engine's disk before its request is
//! sent, and nothing else is decided before it is closed (R4).
//! Survives: lost, late and repeated replies; restarts of any engine at any point; its own restart,
//! with what the engines have stored. Every rule is a level, not an edge: after each event the
//! whole state is looked at again, so no event is waited for that may be lost.

mod attempt;
mod commands;
mod engines;
mod handover;
mod lease;
mod operator;
mod primary;
mod reading;
mod seat;
mod state;
mod takeover;
mod view;

pub use view::{ArbiterView, AttemptView, EvidenceView, View};

use super::event::{Event, PeerBeat, StepId};
use super::ids::Ids;
use super::keeper;
use super::record::Record;
use super::step::{Note, Step};
use super::transition::{Author, Copy, Inputs};
use attempt::Open;
use engines::Engines;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{
    BootId, ClusterId, Generation, GroupId, NodeId, Nonce, Span, Tick, Version, VolumeId,
    VolumeRecord,
};
use state::{Arbiter, Backoff, Claim, EngineSide, Op, Peer};
use std::collections::VecDeque;

/// The arbiter is probed this long after its last answer, to notice its loss early (R11).
pub const PROBE_EVERY: Span = Span::millis(10_000);
/// A request that nothing was sent for is refused after this long without arbiter or engine.
pub const GIVE_UP: Span = Span::millis(10_000);
/// Longest wait between two tries of what was refused.
pub const BACKOFF_MAX: Span = Span::millis(60_000);
/// A decider without a group gives it up when one of its engines has been away for this long.
pub const ENGINE_PATIENCE: Span = Span::millis(10_000);
/// Steps of one request that may follow each other without an event.
const TURNS_MAX: usize = 16;

/// What a decider is opened with; never changed while it lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The group whose record is decided on.
    pub group: GroupId,
    /// Its volumes. None: its record has a seat in their place, which its keeper stores.
    pub volumes: Vec<VolumeId>,
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
    ids: Ids,
    steps: VecDeque<Step>,
    last_step: u64,
    wall_ms: u64,
    wake: Option<Tick>,
    arbiter: Arbiter,
    engines: Engines,
    peer: Peer,
    open: Option<Open>,
    op: Option<Op>,
    claim: Option<Claim>,
    /// A forced record that the engines serve under while the arbiter is away.
    local: Option<Record>,
    /// This node has given up the group at that version.
    released: Option<Version>,
    /// This node has moved the group away with that version.
    moved_away: Option<Version>,
    /// This node does not promote at that version without an operator.
    given_up: Option<Version>,
    /// A version that may have been released with nothing stored about it: by this decider; or, as
    /// the arbiter's when this one began unless its engines were all serving then, by an earlier
    /// one. Nothing is promoted under it.
    maybe_released: Option<Version>,
    /// The release of that version is this decider's own, for want of an engine: it may be undone.
    unheard: Option<Version>,
    answering: bool,
    fenced: bool,
    noted: EvidenceView,
    /// Since when the peer answers without a gap: what a seat grows by.
    answered_since: Option<Tick>,
    /// Since when a promotion waits for a sign of the peer.
    leaseless_since: Option<Tick>,
    auto_at: Tick,
    needs_at: Tick,
}

impl Decider {
    /// A decider that knows nothing yet. Poll it at once: it begins with a read.
    pub fn new(settings: Settings, now: Tick) -> Decider {
        let peer = Peer {
            heard: settings.heartbeats_from,
            beat: None,
            answered: now,
            lease_from: None,
            prompted: (Version(0), now),
        };
        let seat = [keeper::seat_of(settings.group)];
        let volumes = if settings.volumes.is_empty() { &seat[..] } else { &settings.volumes };
        let mut decider = Decider {
            engines: Engines::new(volumes, now),
            ids: Ids::new(settings.entropy),
            settings,
            steps: VecDeque::new(),
            last_step: 0,
            wall_ms: 0,
            wake: None,
            arbiter: Arbiter::default(),
            peer,
            open: None,
            op: None,
            claim: None,
            local: None,
            released: None,
            moved_away: None,
            given_up: None,
            maybe_released: None,
            unheard: None,
            answering: true,
            fenced: false,
            noted: EvidenceView::None,
            answered_since: None,
            leaseless_since: None,
            auto_at: Tick(0),
            needs_at: Tick(0),
        };
        decider.settle(now);
        decider
    }

    /// Tells what happened. `wall_ms` is wall-clock time and only goes into `since`.
    pub fn handle(&mut self, event: Event, wall_ms: u64, now: Tick) {
        self.wall_ms = wall_ms;
        match event {
            Event::Engine(status) => self.engine_status(*status, now),
            Event::EngineGone { volume } => self.engine_gone(volume, now),
            Event::EngineDone { id, refused } => self.engine_done(id, refused, now),
            Event::ArbiterRead { id, result } => self.read_ended(id, result, now),
            Event::ArbiterSwapped { id, result } => self.swap_ended(id, result, now),
            Event::Heartbeat(beat) => self.heartbeat(beat, now),
            Event::HeartbeatAnswered { sent } => {
                self.peer.lease_from = self.peer.lease_from.max(Some(sent));
            }
            Event::Operator { request, verb } => self.asked(request, verb, now),
            Event::Wake => {}
        }
        self.settle(now);
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
        PeerBeat {
            boot: self.settings.boot,
            released: self.released,
            version: self.newest().map(|newest| newest.record.version),
        }
    }

    /// The newest record that this node knows, and whether it knows all of it.
    pub fn known(&self) -> Option<(Record, bool)> {
        self.newest().map(|newest| (newest.record, newest.whole))
    }

    /// Looks at everything once and asks for what is due. Every wait names its end in `wake`.
    fn settle(&mut self, now: Tick) {
        self.wake = None;
        self.expire_calls(now);
        self.expire_read(now);
        self.fill_seat(now);
        self.agree();
        self.watch_peer(now);
        self.guard_lease(now);
        for _ in 0..TURNS_MAX {
            self.give_marks(now);
            self.learn(now);
            self.create_seat(now);
            self.observe_claim();
            self.drive_open(now);
            if !self.op_turn(now) {
                break;
            }
        }
        self.serve(now);
        self.stand_down(now);
        self.needs(now);
        self.auto_takeover(now);
        self.release_what_cannot_serve(now);
        self.release_without_engine(now);
        self.keep_silence(now);
        self.drive_open(now);
        self.read_if_due(now);
        self.show_progress();
        if let Some(at) = self.wake {
            // Never a deadline that has passed: a driver that honours it must see time move.
            self.wake = Some(at.max(now.after(Span::millis(1))));
        }
    }

    fn wake_at(&mut self, at: Tick) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn next_id(&mut self) -> StepId {
        self.last_step += 1;
        StepId(self.last_step)
    }

    fn note(&mut self, note: Note) {
        self.steps.push_back(Step::Note(note));
    }

    fn me(&self) -> NodeId {
        self.settings.node
    }

    fn times(&self) -> &Times {
        &self.settings.times
    }

    /// Newest record that this node has seen anywhere: of the arbiter, stored by the engines, or
    /// forced. An engine stores its own part only, so that a record which not every engine has may
    /// be known by its head alone: who owns it, and some of the members.
    fn newest(&self) -> Option<Newest> {
        let whole = [self.local.as_ref(), self.arbiter.known.as_ref()];
        // The last of equals wins, which is the arbiter's.
        let whole = whole.into_iter().flatten().max_by_key(|record| record.version);
        let whole = whole.map(|record| Newest { record: record.clone(), whole: true });
        match (whole, self.stored()) {
            (Some(whole), Some(stored)) if stored.record.version > whole.record.version => {
                Some(stored)
            }
            (whole, stored) => whole.or(stored),
        }
    }

    /// Newest record that an engine has stored, put together from the parts of all that have it.
    fn stored(&self) -> Option<Newest> {
        let part = |engine: &EngineSide| Some((engine.volume, *engine.last_record()?));
        let parts: Vec<(VolumeId, VolumeRecord)> = self.engines.iter().filter_map(part).collect();
        let (_, head) = parts.iter().max_by_key(|(_, part)| part.version)?;
        let settings = &self.settings;
        let record = Record::of_parts(settings.cluster, settings.group, head, &parts);
        Some(Newest { whole: record.volumes.len() == self.engines.count(), record })
    }

    /// Newest record that this node has seen, while all of it is known; else a read has to show it,
    /// since nothing may be decided on what is older.
    fn base(&self) -> Option<Record> {
        self.newest().filter(|newest| newest.whole).map(|newest| newest.record)
    }

    /// Whether the record speaks of the volumes that this node is configured with, and no others.
    fn is_of_volumes(&self, record: &Record) -> bool {
        let known = |engine: &EngineSide| record.for_volume(engine.volume).is_some();
        record.volumes.len() == self.engines.count() && self.engines.iter().all(known)
    }

    fn owns(&self, record: &Record) -> bool {
        record.owner == Some(self.me())
    }

    fn author(&mut self) -> Author {
        Author {
            node: self.settings.node,
            boot: self.settings.boot,
            nonce: Nonce(self.ids.draw()),
            since: self.wall_ms,
        }
    }

    /// What the transitions need to know of this node's copies: of those whose engines are there.
    fn inputs(&mut self) -> Inputs {
        let mut copies = Vec::new();
        for engine in self.engines.iter() {
            let Some(status) = &engine.status else { continue };
            let copy = Copy::of(status, Generation(self.ids.draw()));
            copies.push(Copy { quiet: engine.is_at_rest(), ..copy });
        }
        Inputs { copies, ..Inputs::default() }
    }
}

/// The newest record known.
#[derive(Clone, Debug)]
struct Newest {
    /// Without the volumes whose part is not known.
    record: Record,
    /// Every part of it is known.
    whole: bool,
}

impl Backoff {
    /// Counts a failure and puts the next try off.
    fn failed(&mut self, first: Span, now: Tick) {
        let wait = Span(first.0 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures += 1;
        self.at = now.after(wait);
    }
}
