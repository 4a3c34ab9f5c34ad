//! Requests: an operator's, or the decider's own. Each is answered exactly once.

use super::attempt::Open;
use super::state::{Claim, Op, Phase, is_connected};
use super::{Decider, GIVE_UP};
use crate::decide::event::{RequestId, Verb};
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{Refused, Step, Waiting};
use crate::decide::transition::{self, Inputs, Transition};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{LinkState, Tick};

impl Op {
    /// A request that nobody has to be answered for.
    pub fn own(verb: Verb, now: Tick) -> Op {
        Op {
            request: None,
            verb,
            phase: Phase::Check,
            asked: now,
            waiting: None,
            shown: None,
            fence: false,
            unstored: false,
        }
    }
}

impl Decider {
    pub(super) fn asked(&mut self, request: RequestId, verb: Verb, now: Tick) {
        if let Some(op) = &mut self.op {
            let joins = op.request.is_none() && op.verb == verb;
            if joins {
                op.request = Some(request);
                return;
            }
            let says_more = verb == Verb::Start { without_peer: true }
                && op.verb == Verb::Start { without_peer: false }
                && op.phase == Phase::Check;
            if !matches!(verb, Verb::ForcePromote) && !says_more {
                return self.reply(request, Err(Refused::Busy));
            }
            // An operator who forces does not wait, nor one who says that the peer serves nothing.
            self.finish(Err(Refused::Busy), now);
        }
        if !self.engines.are_there() && !matches!(verb, Verb::Release) {
            return self.reply(request, Err(Refused::EngineAway));
        }
        self.op = Some(Op { request: Some(request), ..Op::own(verb, now) });
        self.arbiter.retry_at = now;
        if matches!(verb, Verb::ForcePromote) {
            self.arbiter.failures = 0; // It gets its chance before anything is forced.
        }
        self.doubt();
    }

    fn reply(&mut self, request: RequestId, result: Result<(), Refused>) {
        self.steps.push_back(Step::Reply { request, result });
    }

    /// Ends the request under way. Says true: there may be more to do.
    pub(super) fn finish(&mut self, result: Result<(), Refused>, now: Tick) -> bool {
        if let Some(op) = self.op.take() {
            if let Some(request) = op.request {
                self.reply(request, result);
            }
            // One of this node's own that got nowhere is not begun again at once. It must not wait
            // long: what it needs may be there by then, and a peer's boot grace counts on it.
            if matches!(op.verb, Verb::Takeover) && op.request.is_none() {
                self.auto_at = now.after(self.times().arbiter_attempt);
            }
        }
        true
    }

    pub(super) fn wait(&mut self, waiting: Waiting) {
        if let Some(op) = &mut self.op {
            op.waiting = Some(waiting);
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) -> bool {
        if let Some(op) = &mut self.op {
            op.phase = phase;
        }
        true
    }

    pub(super) fn show_progress(&mut self) {
        let Some(op) = &mut self.op else { return };
        if let (Some(waiting), Some(request)) = (op.waiting, op.request)
            && op.shown != op.waiting
        {
            op.shown = op.waiting;
            self.steps.push_back(Step::Progress { request, waiting });
        }
    }

    /// One turn of the request under way; true when another may follow at once.
    pub(super) fn op_turn(&mut self, now: Tick) -> bool {
        let Some(op) = self.op else { return false };
        if !self.engines.are_there() && !matches!(op.verb, Verb::Release) {
            if op.phase == Phase::Swap {
                return false; // Decided by what closes the attempt.
            }
            let at = op.asked.after(GIVE_UP);
            if now >= at {
                return self.finish(Err(Refused::EngineAway), now);
            }
            self.wait(Waiting::Engine);
            self.wake_at(at);
            return false;
        }
        match op.verb {
            Verb::Create { both_blank } => self.create_turn(op.phase, both_blank, now),
            Verb::Start { without_peer } => self.start_turn(op.phase, without_peer, now),
            Verb::Takeover => self.takeover_turn(op.phase, now),
            Verb::Move => self.move_turn(op.phase, now),
            Verb::Stop => self.stop_turn(op.phase, now),
            Verb::ForcePromote => self.force_turn(op.phase, now),
            Verb::Release => self.release_turn(op.phase, now),
        }
    }

    /// Waits for a conclusive read and for earlier attempts to be closed. Refuses for want of an
    /// arbiter after a while: nothing was sent. Returns true when both are there.
    fn is_settled(&mut self, now: Tick) -> bool {
        // What an older read said may be over: a takeover that is put off for it loses against the
        // boot grace of the old primary (§1.2).
        if self.arbiter.rolled_back && self.arbiter.fresh {
            self.finish(Err(Refused::ArbiterRolledBack), now);
            return false;
        }
        if self.arbiter.fresh && self.open.as_ref().is_none_or(|open| open.held) {
            return true;
        }
        let Some(op) = &self.op else { return false };
        let at = op.asked.after(GIVE_UP);
        if now >= at && self.arbiter.failures > 0 {
            self.finish(Err(Refused::ArbiterAway), now);
            return false;
        }
        self.wait(Waiting::Arbiter);
        if now < at {
            self.wake_at(at);
        }
        false
    }

    /// A fresh record that the engines have learned, with no attempt open.
    pub(super) fn checked_record(&mut self, now: Tick) -> Option<Record> {
        if !self.is_settled(now) {
            return None;
        }
        let Some(record) = self.arbiter.known.clone() else {
            self.finish(Err(Refused::NoRecord), now);
            return None;
        };
        if !self.is_of_volumes(&record) {
            self.finish(Err(Refused::OtherVolumes), now);
            return None;
        }
        if !self.engines_are_told(&record) {
            let asked = self.op.map_or(now, |op| op.asked);
            let at = asked.after(GIVE_UP);
            let word = self.engines.iter().find_map(|engine| engine.learn_refused.clone());
            if let (Some(word), true) = (word, now >= at) {
                self.finish(Err(Refused::Engine(word)), now);
            } else if now < at {
                self.wake_at(at);
            }
            return None;
        }
        Some(record)
    }

    fn create_turn(&mut self, phase: Phase, both_blank: bool, now: Tick) -> bool {
        if phase != Phase::Check {
            self.wait(Waiting::Arbiter);
            return false;
        }
        if !self.is_settled(now) {
            return false;
        }
        let inputs = self.inputs();
        let author = self.author();
        let (cluster, group) = (self.settings.cluster, self.settings.group);
        let known = self.arbiter.known.clone();
        let id = (cluster, group);
        match transition::create(known.as_ref(), id, both_blank, author, &inputs) {
            Ok(first) => {
                self.begin(Transition::Create, None, first);
                self.enter(Phase::Swap)
            }
            Err(why) => self.finish(Err(why), now),
        }
    }

    fn start_turn(&mut self, phase: Phase, without_peer: bool, now: Tick) -> bool {
        match phase {
            Phase::Check => {}
            Phase::Promote => {
                if self.claim.is_none() {
                    return self.finish(Err(Refused::Lost), now);
                }
                self.wait(Waiting::Engine);
                return false;
            }
            _ => {
                self.wait(Waiting::Arbiter);
                return false;
            }
        }
        if self.released.is_some() && self.engines.any_spoiled() {
            // What the peer may take over with stays said: nothing here can serve instead.
            return self.finish(Err(Refused::BadCopy), now);
        }
        self.withdraw_release();
        if without_peer && self.try_create_seat(false, now) {
            self.wait(Waiting::Arbiter);
            return false;
        }
        let Some(record) = self.checked_record(now) else { return false };
        if self.owns(&record) && self.engines.are_primary() {
            return self.finish(Err(Refused::AlreadyPrimary), now);
        }
        if let (true, Some(claim)) = (self.owns(&record), self.claim)
            && claim.epoch == record.epoch
        {
            return self.enter(Phase::Promote); // It serves as soon as it may.
        }
        self.given_up = None;
        let peer_dead = without_peer || self.boot_grace_over(now);
        let inputs = Inputs { peer_dead, ..self.inputs() };
        let author = self.author();
        let greeting = self.engines.any(|status| status.link == LinkState::Greeting);
        let greets = greeting && !without_peer;
        let vouched = without_peer && self.is_seat() && self.evident(&record, now);
        let barred = record.owner == Some(self.me().peer()) || !record.is_member(self.me());
        let next = if vouched && barred {
            // No data is at stake: an operator who says that the peer is dead may have the group.
            transition::force(&record, author, &inputs)
        } else {
            transition::start(&record, author, &inputs)
        };
        match next {
            Ok(next) if !greets => {
                self.begin(Transition::Start, Some(record), next);
                self.enter(Phase::Swap)
            }
            Ok(_) | Err(Refused::NotInSync) => {
                let connected = self.engines.any(is_connected) || greets;
                self.wait(if connected { Waiting::Reconcile } else { Waiting::BootGrace });
                let at = self.boot_grace_at(now);
                if !connected && at > now {
                    self.wake_at(at);
                }
                false
            }
            Err(why) => self.finish(Err(why), now),
        }
    }

    /// When a peer that lives and reaches the arbiter would have won (§1.2).
    fn boot_grace_at(&self, now: Tick) -> Tick {
        let grace = Times::boot_grace(self.times());
        // An engine listens since it was seen; what it heard before that counts too.
        let seen = self.engines.iter().map(|engine| engine.seen).max();
        let link = self.link_heard(now).max(seen.unwrap_or(now));
        link.max(self.peer.heard).max(self.settings.heartbeats_from).after(grace)
    }

    fn boot_grace_over(&self, now: Tick) -> bool {
        Mutant::StartWithoutGrace.on() || now >= self.boot_grace_at(now)
    }

    /// An operator starts here what was released here: the stored stop is closed, unsent.
    pub(super) fn withdraw_release(&mut self) {
        // Stored or not, the peer may have been told, and act on it late: nobody serves this one.
        self.maybe_released = self.released.or(self.maybe_released);
        self.announce(None);
        if let Some(open) = self.open.as_mut().filter(|open| open.held) {
            open.held = false;
            open.adopted = true;
            open.transition = Transition::Start; // No request wants it: the unchanged record goes.
        }
    }

    fn force_turn(&mut self, phase: Phase, now: Tick) -> bool {
        let away = self.arbiter.failures >= 2;
        match phase {
            Phase::Check if self.arbiter.rolled_back => {
                self.finish(Err(Refused::ArbiterRolledBack), now)
            }
            Phase::Check => self.check_force(away, now),
            Phase::Swap if away => self.force_alone(now),
            Phase::Promote => {
                self.wait(Waiting::Engine);
                false
            }
            _ => {
                self.wait(Waiting::Arbiter);
                false
            }
        }
    }

    fn check_force(&mut self, away: bool, now: Tick) -> bool {
        if !away && (!self.arbiter.fresh || self.open.is_some()) {
            self.wait(Waiting::Arbiter);
            return false;
        }
        let Some(base) = self.base() else {
            return self.finish(Err(Refused::NoRecord), now);
        };
        if self.owns(&base) && self.engines.are_primary() {
            return self.finish(Err(Refused::AlreadyPrimary), now);
        }
        let inputs = self.inputs();
        let author = self.author();
        match transition::force(&base, author, &inputs) {
            Ok(next) => {
                self.announce(None);
                self.given_up = None;
                self.open = None; // Closed by this one, which is conditional on the same version.
                self.begin(Transition::Force, Some(base), next);
                self.enter(Phase::Swap)
            }
            Err(why) => self.finish(Err(why), now),
        }
    }

    /// The arbiter does not answer an operator who forces: serve, write the record when it does.
    fn force_alone(&mut self, now: Tick) -> bool {
        let Some(open) = &self.open else { return self.enter(Phase::Check) };
        if open.transition != Transition::Force || !open.stored {
            self.wait(Waiting::Engine);
            return false;
        }
        let wanted = open.wanted.clone();
        self.claim = Some(Claim { epoch: wanted.epoch, gated: false, moved: false });
        self.local = Some(wanted);
        let changed = self.enter(Phase::Promote);
        self.serve(now);
        changed
    }

    /// The attempt of the request under way is closed.
    pub(super) fn op_closed(&mut self, open: &Open, won: bool, now: Tick) {
        let Some(op) = self.op.filter(|op| op.phase == Phase::Swap) else { return };
        let owner = self.arbiter.known.as_ref().and_then(|record| record.owner);
        let mine = owner == Some(self.me());
        match (op.verb, open.transition) {
            (Verb::Create { .. }, Transition::Create) if !won => {
                self.finish(Err(Refused::RecordExists), now);
            }
            (Verb::Create { .. }, Transition::Create) | (Verb::Move, Transition::Move) if won => {
                self.finish(Ok(()), now);
            }
            (Verb::Move, Transition::Move) => {
                self.finish(Err(Refused::Lost), now);
            }
            (Verb::Stop, Transition::Stop) if won || owner.is_none() => {
                self.finish(Ok(()), now);
            }
            (Verb::Stop, Transition::Stop) if mine => {
                self.enter(Phase::Demoted);
            }
            (Verb::Takeover, Transition::Takeover)
            | (Verb::Start { .. }, Transition::Start)
            | (Verb::ForcePromote, Transition::Force)
                if won =>
            {
                self.enter(Phase::Promote);
            }
            (Verb::Start { .. }, Transition::Start) if owner != Some(self.me().peer()) => {
                self.enter(Phase::Check);
            }
            (Verb::ForcePromote, Transition::Force) => {
                self.enter(Phase::Check);
            }
            (Verb::Takeover, _) => {
                let alive = self.arbiter.known.as_ref().is_some_and(|record| {
                    record.is_member(self.me()) && !self.evident(record, now)
                });
                let why = if alive { Refused::PeerAlive } else { Refused::Lost };
                self.finish(Err(why), now);
            }
            _ => {
                self.finish(Err(Refused::Lost), now);
            }
        }
    }
}
