//! One failover group on one node: when its resources go up and down, and what it asks of
//! arbitration (REFERENCE §1, §2; SAFETY R13).
//! Always: a resource is on by right only while the newest record names this node as owner and its
//! lease has not ended; nothing is passed on while a resource may still be on, except after a
//! confirmed fast fence; every effect has a deadline. Every rule is a level, not an edge: after
//! each event all is looked at again. Survives: effects that never report, a daemon that starts in
//! the middle of anything.

mod descend;
mod event;
mod fence;
mod operator;
mod resources;
mod rest;
mod rise;
mod state;
mod view;

pub use event::{
    Act, Around, Engines, Event, GroupVerb, Loss, Note, Order, Outcome, Part, PeerGroup, Refused,
    Step,
};
pub use state::{Ending, Power, State, TABLE};
pub use view::{GroupView, Memory, ResourceView};

use super::mutant::Mutant;
use super::settings::{GroupSettings, ResourceKind};
use super::step;
use crate::decide::event::StepId;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{NodeId, Span, Tick, Version};
use resources::Call;
use state::{Asked, Resource};
use std::collections::{BTreeMap, VecDeque};

/// A status check may take this long.
pub const CHECK_MAX: Span = Span::millis(10_000);
/// An effect that reports this long after its deadline counts as lost.
pub const REPORT_SLACK: Span = Span::millis(1_000);
/// What could not be cleaned up is tried again after this long.
pub const CLEAN_AGAIN: Span = Span::millis(10_000);
/// A kill that failed is tried again after this long.
pub const KILL_AGAIN: Span = Span::millis(100);
/// An owner whose engine stays away for this long gives the group up if the peer can have it.
pub const ENGINE_PATIENCE: Span = Span::millis(10_000);
/// An owner that does not serve waits this long for arbitration to serve by itself.
pub const OWNER_PATIENCE: Span = Span::millis(1_000);
/// A node leaves the start of a group to a better one for this long.
pub const START_PATIENCE: Span = Span::millis(15_000);
/// Longest wait between two tries of what arbitration has refused.
pub const CLAIM_AGAIN_MAX: Span = Span::millis(60_000);

/// Decides for one group on one node.
#[derive(Clone, Debug)]
pub struct Group {
    settings: GroupSettings,
    node: NodeId,
    times: Times,
    state: State,
    /// Since when it is in that state.
    entered: Tick,
    resources: Vec<Resource>,
    calls: BTreeMap<StepId, Call>,
    ending: Ending,
    asked: Option<Asked>,
    /// A verb that was sent to arbitration and is not answered.
    arbitrating: bool,
    /// An operator has stopped it: nobody starts it but an operator.
    stopped: bool,
    /// It failed here for good: this node does not want it until an operator says so.
    barred: bool,
    /// An operator makes this node the owner by force: what the peer says of a stop is over.
    forced: bool,
    /// The peer was out of the members while this node owned it: it may fail back.
    may_fail_back: bool,
    /// The fast fence is confirmed and nothing was started since.
    fence_confirmed: bool,
    /// The final action for a late fence was asked for.
    fence_late: bool,
    /// Automatic claims: not before, and how many were refused under `claim_key`.
    claim_at: Tick,
    claims_refused: u32,
    claim_key: (Option<Version>, bool, bool),
    refused: Option<step::Refused>,
    /// Since when the group has no owner, as seen here.
    ownerless_since: Option<Tick>,
    engines_away_since: Option<Tick>,
    /// Since when this node owns it and serves nothing of it.
    idle_owner_since: Option<Tick>,
    /// The cluster service was stopped here without passing the group on.
    held_down: bool,
    /// All engines were seen not to serve since the fence began.
    engines_quiet: bool,
    last_loss: Option<Loss>,
    steps: VecDeque<Step>,
    wake: Option<Tick>,
    last_step: u64,
}

impl Group {
    /// A group of which nothing is known. Handle `Wake` at once: it begins with status checks.
    pub fn new(
        settings: GroupSettings,
        node: NodeId,
        times: Times,
        memory: Memory,
        now: Tick,
    ) -> Group {
        let wanted = |name: &String| !memory.off.contains(name);
        let known = settings.resources.iter().map(|resource| &resource.name);
        Group {
            node,
            times,
            state: State::Asking,
            entered: now,
            resources: known.map(|name| Resource::new(now, wanted(name))).collect(),
            calls: BTreeMap::new(),
            ending: Ending::Stop,
            asked: None,
            arbitrating: false,
            stopped: memory.stopped,
            barred: memory.barred,
            forced: false,
            may_fail_back: false,
            fence_confirmed: false,
            fence_late: false,
            claim_at: now,
            claims_refused: 0,
            claim_key: (None, false, false),
            refused: None,
            ownerless_since: None,
            engines_away_since: None,
            idle_owner_since: None,
            held_down: memory.held_down,
            engines_quiet: false,
            last_loss: None,
            steps: VecDeque::new(),
            wake: None,
            last_step: 0,
            settings,
        }
    }

    /// Tells what happened; `around` is what everything else looks like now.
    pub fn handle(&mut self, event: Event, around: &Around, now: Tick) {
        match event {
            Event::Done { id, outcome } => self.done(id, outcome, around, now),
            Event::Arbitrated { result } => self.arbitrated(result, around, now),
            Event::Operator { request, verb } => self.operator(request, verb, around, now),
            Event::Order(order) => self.order(order, around, now),
            Event::Wake => {}
        }
        self.settle(around, now);
    }

    /// The next thing to do, in order.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call `handle` with `Event::Wake` at the latest.
    pub fn deadline(&self) -> Option<Tick> {
        self.wake
    }

    /// What it is configured to be.
    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the group may be passed on: nothing of it is on here, or what is left of it was
    /// fenced. A release must not be announced before.
    pub fn may_be_released(&self) -> bool {
        if Mutant::ReleaseBeforeFence.on() {
            return true; // §1.2
        }
        match self.state {
            State::Down | State::Claiming | State::Passing => true,
            State::Cleaning => self.fence_confirmed,
            _ => false,
        }
    }

    /// Whether nothing of what rests is left here.
    pub fn is_rested(&self) -> bool {
        let resting = |index: &usize| self.resources[*index].resting;
        (0..self.resources.len()).filter(resting).all(|index| self.is_off(index))
    }

    /// Whether the node may run the group: the record names it, the lease has not ended, and no
    /// engine has stopped serving. An engine that is away may come back to serve.
    pub fn may_run(&self, around: &Around) -> bool {
        self.loss(around).is_none()
    }

    fn loss(&self, around: &Around) -> Option<Loss> {
        if around.version.is_none() {
            return Some(Loss::Unknown);
        }
        if around.owner != Some(self.node) {
            return Some(Loss::Record);
        }
        if Mutant::OutliveLease.on() {
            return None; // R13
        }
        if around.fenced {
            return Some(Loss::Lease);
        }
        let quiet = around.engines == Engines::Quiet && !Mutant::StartBeforePromotion.on();
        quiet.then_some(Loss::Engine)
    }

    /// Looks at everything once and asks for what is due. Every wait names its end in `wake`.
    fn settle(&mut self, around: &Around, now: Tick) {
        self.wake = None;
        self.expire(around, now);
        self.observe(around, now);
        for _ in 0..8 {
            let before = self.state;
            match self.state {
                State::Asking => self.ask(around, now),
                State::Down => self.rest(around, now),
                State::Rising | State::Up | State::Degraded => self.rise(around, now),
                State::Falling => self.descend(around, now),
                State::Fencing => self.fence(around, now),
                State::Cleaning => self.clean(around, now),
                State::Claiming | State::Passing | State::Stuck => {}
            }
            self.fence_if_lost(around, now);
            if self.state == before {
                break;
            }
        }
        if let Some(at) = self.calls.values().map(Call::lost_at).min() {
            self.wake_at(at);
        }
        if let Some(at) = self.wake {
            self.wake = Some(at.max(now.after(Span::millis(1))));
        }
        let online = self.state.is_online();
        assert!(!online || self.may_run(around), "online without the right to: {around:?}");
    }

    /// Remembers what a later rule needs of what is seen only now.
    fn observe(&mut self, around: &Around, now: Tick) {
        let mine = around.owner == Some(self.node);
        if mine && !around.both {
            self.may_fail_back = true;
        }
        if !mine {
            self.may_fail_back = false;
        }
        let ownerless = around.version.is_some() && around.owner.is_none();
        self.ownerless_since = ownerless.then(|| self.ownerless_since.unwrap_or(now));
        let away = around.engines == Engines::Away;
        self.engines_away_since = away.then(|| self.engines_away_since.unwrap_or(now));
        let idle = mine && self.state == State::Down && !self.may_run(around);
        self.idle_owner_since = idle.then(|| self.idle_owner_since.unwrap_or(now));
        let peer_up = around.peer.is_some_and(|peer| peer.state == State::Up);
        if around.owner == Some(self.node.peer()) && peer_up {
            // It runs there: what was tried before to bring it up is over.
            // So is what an operator has stopped here alone: it comes on there with the rest.
            for resource in &mut self.resources {
                (resource.failovers, resource.wanted) = (0, true);
            }
            // Whoever started it there did so after an earlier stop, not after one under way.
            self.stopped &= self.asked.is_some_and(|asked| asked.verb == GroupVerb::Stop);
        }
        let halted = around.peer.is_some_and(|peer| peer.stopped) && ownerless;
        let rests = matches!(self.state, State::Down | State::Claiming);
        self.forced &= !mine;
        if halted && rests && self.asked.is_none() && !self.forced {
            // Both nodes know what an operator wants: it outlives the one that was asked. A claim
            // of this node's own that is under way is ended when it has won.
            self.stopped = true;
        }
        let key = (around.version, around.evidence, around.peer_takes);
        if key != self.claim_key && !Mutant::ClaimOnce.on() {
            self.claim_key = key;
            self.claims_refused = 0;
            self.claim_at = now;
            if self.is_unfit() {
                // Said of a copy as it was: it may have been filled or proven since.
                self.refused = None;
            }
        }
    }

    fn wake_at(&mut self, at: Tick) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn note(&mut self, note: Note) {
        self.steps.push_back(Step::Note(note));
    }

    pub(in crate::decide) fn is_mirror(&self, index: usize) -> bool {
        matches!(self.settings.resources[index].kind, ResourceKind::Mirror(_))
    }

    /// Indices of the resources that are not mirrors.
    fn ours(&self) -> impl Iterator<Item = usize> + use<> {
        let mirrors: Vec<bool> = (0..self.resources.len()).map(|i| self.is_mirror(i)).collect();
        (0..mirrors.len()).filter(move |index| !mirrors[*index])
    }
}
