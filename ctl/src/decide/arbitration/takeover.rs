//! Takeover: evidence that the primary is dead, silence, the end of its lease, the write (§1.2).
//! Always: from the moment a takeover is prepared until it is closed, this node answers neither
//! pings nor heartbeats; an owner never answers the heartbeats of the other.

use super::Decider;
use super::attempt::Open;
use super::state::{EngineSide, Op, Phase, Purpose};
use super::view::EvidenceView;
use crate::decide::event::{PeerBeat, Verb};
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Note, Refused, Step, Waiting};
use crate::decide::transition::{self, Author, Copy, Inputs, Transition};
use lockstep_engine::units::{Generation, LinkState, Nonce, Role, Tick, Version};

impl Decider {
    pub(super) fn heartbeat(&mut self, beat: PeerBeat, now: Tick) {
        self.peer.heard = now;
        if self.answering {
            self.peer.answered = now;
        }
        let (prompted, at) = self.peer.prompted;
        let version = beat.version.unwrap_or(Version(0));
        let again = now >= at.after(self.times().heartbeat_timeout);
        if version > self.highest() && (version > prompted || again) {
            self.peer.prompted = (version, now);
            self.doubt();
        }
        self.peer.beat = Some(beat);
    }

    /// Last sign of the peer on any link. A link with a session is a sign.
    pub(super) fn link_heard(&self, now: Tick) -> Tick {
        let heard = self.engines.iter().map(|engine| match &engine.status {
            Some(status) if status.link == LinkState::Down => {
                status.peer_heard.unwrap_or(engine.seen)
            }
            _ => now, // Without the engine nobody listens.
        });
        heard.max().unwrap_or(now)
    }

    /// When the silence of all links and heartbeats becomes evidence, if nothing is heard before.
    fn evident_at(&self, now: Tick) -> Tick {
        self.link_heard(now).max(self.peer.heard).after(self.times().heartbeat_timeout)
    }

    /// Whether the peer has released the group at the version of `record`.
    fn has_released(&self, record: &Record) -> bool {
        let released = self.peer.beat.as_ref().and_then(|beat| beat.released);
        record.owner == Some(self.me().peer()) && released == Some(record.version)
    }

    pub(super) fn was_released(&self, open: &Open) -> bool {
        open.base.as_ref().is_some_and(|base| self.has_released(base))
    }

    /// Evidence for a takeover from `record`.
    pub(super) fn evident(&self, record: &Record, now: Tick) -> bool {
        Mutant::TakeoverWithoutEvidence.on()
            || self.has_released(record)
            || now >= self.evident_at(now)
    }

    /// R13: after this tick no answer of this node supports a lease of the old primary: neither of
    /// its daemon nor of any of its engines.
    pub(super) fn answers_over_at(&self, now: Tick) -> Tick {
        let times = self.times();
        let last = self.engines.iter().map(|engine| last_pong(engine, now));
        let last = last.max().unwrap_or(now).max(self.peer.answered);
        if Mutant::TakeoverBeforeLease.on() {
            return now; // R13
        }
        last.after(times.lease).after(times.fence).after(times.margin)
    }

    /// From when on a release may be acted on. Its group answers nothing any more; an engine that
    /// the other daemon has lost, and not fenced, may: until it shows itself on the link as one
    /// that serves nobody, or until the lease that this node's answers gave it is over (R13).
    fn released_over_at(&self, now: Tick) -> Tick {
        if Mutant::TakeoverBeforeLease.on() {
            return now;
        }
        let times = self.times();
        let over_at = |engine: &EngineSide| {
            let last = match &engine.status {
                Some(status) if status.link == LinkState::Up => {
                    if status.peer_role == Some(Role::Secondary) {
                        return now;
                    }
                    now
                }
                Some(status) if status.link == LinkState::Down => last_pong(engine, now),
                _ => now,
            };
            last.after(times.lease).after(times.margin)
        };
        self.engines.iter().map(over_at).max().unwrap_or(now)
    }

    /// Whether a takeover is between its preparation and its end.
    fn is_taking_over(&self) -> bool {
        let phase = self.op.filter(|op| matches!(op.verb, Verb::Takeover)).map(|op| op.phase);
        let prepared = phase.is_some_and(|phase| phase != Phase::Check);
        let open = self.open.as_ref().is_some_and(|o| o.transition == Transition::Takeover);
        prepared || open || self.claim.is_some_and(|claim| claim.gated)
    }

    /// Brings both kinds of answers to where they have to be.
    pub(super) fn keep_silence(&mut self, now: Tick) {
        let taking = self.is_taking_over();
        let owner = self.newest().is_some_and(|newest| self.owns(&newest.record));
        let answer = !(taking || owner) || Mutant::AnswerWhileTakingOver.on();
        if answer != self.answering {
            self.answering = answer;
            self.steps.push_back(Step::AnswerHeartbeats(answer));
        }
        for volume in self.engines.which(|engine| {
            let silent = engine.status.as_ref().map(|status| status.silent);
            let under_way = |p: &Purpose| matches!(p, Purpose::Prepare | Purpose::Cancel);
            silent == Some(!taking) && !engine.calling(under_way)
        }) {
            let Some(engine) = self.engines.of(volume) else { continue };
            let at = engine.other.at;
            if now < at {
                self.wake_at(at);
            } else if taking {
                self.command(volume, Purpose::Prepare, EngineCommand::PrepareTakeover, now);
            } else {
                self.command(volume, Purpose::Cancel, EngineCommand::CancelTakeover, now);
            }
        }
    }

    /// One turn of a takeover; true when its phase has changed.
    pub(super) fn takeover_turn(&mut self, phase: Phase, now: Tick) -> bool {
        match phase {
            Phase::Check => self.check_takeover(now),
            Phase::Prepare | Phase::Lease => self.wait_takeover(phase, now),
            Phase::Promote => {
                let gated = self.claim.is_some_and(|claim| claim.gated);
                self.wait(if gated { Waiting::Lease } else { Waiting::Engine });
                false
            }
            _ => {
                self.wait(Waiting::Arbiter);
                false
            }
        }
    }

    fn check_takeover(&mut self, now: Tick) -> bool {
        let Some(record) = self.checked_record(now) else { return false };
        if self.owns(&record) {
            return self.finish(Err(Refused::AlreadyPrimary), now);
        }
        let inputs = Inputs { evidence: true, lease_over: true, ..self.inputs() };
        let author = self.author();
        if let Err(why) = transition::takeover(&record, author, &inputs) {
            return self.finish(Err(why), now);
        }
        if self.evident(&record, now) {
            return self.enter(Phase::Prepare);
        }
        let timeout = self.times().heartbeat_timeout;
        let Some(op) = &self.op else { return false };
        // Whoever asks right after a crash asks before link and heartbeats can have gone silent.
        let late = op.asked.after(timeout).after(timeout);
        // What was on its way when the request came may be a dead one's last word.
        let alive = self.peer.heard >= op.asked.after(self.times().margin);
        if alive || now >= late {
            return self.finish(Err(Refused::PeerAlive), now);
        }
        self.wait(Waiting::Evidence);
        let at = self.evident_at(now).min(late);
        self.wake_at(at);
        false
    }

    /// Silent and waiting for the lease to end; a sign of life of the peer ends the takeover.
    fn wait_takeover(&mut self, phase: Phase, now: Tick) -> bool {
        let Some(record) = self.arbiter.known.clone() else { return false };
        if record.owner == Some(self.me()) || !record.is_member(self.me()) {
            return self.finish(Err(Refused::Lost), now);
        }
        if !self.evident(&record, now) {
            return self.finish(Err(Refused::PeerAlive), now);
        }
        if !self.engines.are_silent() {
            self.wait(Waiting::Engine);
            return false;
        }
        if phase == Phase::Prepare {
            return self.enter(Phase::Lease);
        }
        let released = self.has_released(&record);
        let over_at = if released { self.released_over_at(now) } else { self.answers_over_at(now) };
        if now < over_at {
            self.wait(Waiting::Lease);
            self.wake_at(over_at);
            return false;
        }
        if self.open.is_some() {
            return false;
        }
        let inputs = Inputs { evidence: true, lease_over: true, ..self.inputs() };
        let author = self.author();
        match transition::takeover(&record, author, &inputs) {
            Ok(next) => {
                self.begin(Transition::Takeover, Some(record), next);
                self.enter(Phase::Swap)
            }
            Err(why) => self.finish(Err(why), now),
        }
    }

    /// The same without an operator, when the group allows it.
    pub(super) fn auto_takeover(&mut self, now: Tick) {
        let idle = self.op.is_none() && self.open.is_none() && self.claim.is_none();
        if !self.settings.auto_takeover || !idle || !self.engines.are_quiet() {
            return;
        }
        let Some(record) = self.base() else { return };
        if record.owner != Some(self.me().peer()) || !self.evident(&record, now) {
            return; // `watch_peer` wakes when silence becomes evidence.
        }
        let inputs = Inputs { evidence: true, lease_over: true, ..self.inputs() };
        let author = self.author();
        if transition::takeover(&record, author, &inputs).is_err() {
            return; // Not a member, no mark, bad copy: a status or a record has to change that.
        }
        if now < self.auto_at {
            return self.wake_at(self.auto_at);
        }
        self.op = Some(Op::own(Verb::Takeover, now));
        self.doubt();
        self.op_turn(now);
    }

    /// What the table of transitions says against a takeover with the copies here, were the peer
    /// dead.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn may_take_over(&self) -> Result<(), Refused> {
        let record = self.arbiter.known.as_ref().ok_or(Refused::NoRecord)?;
        let fresh = Generation(u128::MAX);
        let copies = self
            .engines
            .statuses()
            .map(|status| Copy { connected: false, ..Copy::of(status, fresh) });
        let copies = copies.collect();
        let inputs = Inputs { copies, evidence: true, lease_over: true, ..Inputs::default() };
        let (node, boot) = (self.me(), self.settings.boot);
        let author = Author { node, boot, nonce: Nonce(1), since: 0 };
        transition::takeover(record, author, &inputs).map(|_| ())
    }

    /// Notes when silence becomes evidence, or only half of it.
    pub(super) fn watch_peer(&mut self, now: Tick) {
        let timeout = self.times().heartbeat_timeout;
        let beat_at = self.peer.heard.after(timeout);
        let link_at = self.link_heard(now).after(timeout);
        let seen = match (now >= beat_at, now >= link_at) {
            (true, true) => EvidenceView::Silent,
            (false, false) => EvidenceView::None,
            _ => EvidenceView::HalfSilent,
        };
        for at in [beat_at, link_at] {
            // A link with a session, or without an engine to watch it, has no such moment.
            if at > now && (at == beat_at || self.link_heard(now) < now) {
                self.wake_at(at);
            }
        }
        if seen == self.noted {
            return;
        }
        self.noted = seen;
        match seen {
            EvidenceView::Silent => self.note(Note::Evidence),
            EvidenceView::HalfSilent => self.note(Note::HalfSilent),
            _ => {}
        }
    }

    /// Evidence as people see it.
    pub(super) fn evidence_view(&self) -> EvidenceView {
        match self.base() {
            Some(record) if self.has_released(&record) => EvidenceView::Released,
            _ => self.noted,
        }
    }

    /// §1.2: after its host rebooted, an owner does not resume in silence; it releases, since no
    /// engine of this boot has served under that record: the superblock says so, and so it stays.
    /// One whose copy can't serve any more releases as an operator would, with a stop stored first
    /// (a copy may fail in memory alone). What could not be stored, `write_anew` keeps.
    pub(super) fn release_what_cannot_serve(&mut self, now: Tick) {
        let idle = self.op.is_none() && self.open.is_none();
        let Some(known) = &self.arbiter.known else { return };
        let boot = self.settings.boot;
        // A boot is the host's: an engine that was primary in this one speaks for all.
        let rebooted = self.engines.any(|status| status.primary_boot.is_some())
            && !self.engines.any(|status| status.primary_boot == boot);
        let ours = self.arbiter.fresh && self.owns(known) && known.has_both();
        let rests = self.engines.are_quiet() && self.engines.all(|s| s.attempts.is_empty());
        let same = self.engines.are_told(known.version);
        if !(idle && ours && rests && same) || self.released.is_some() {
            return;
        }
        if rebooted && self.claim.is_none() {
            let version = known.version;
            self.announce(Some(version));
        } else if self.engines.any_spoiled() {
            self.hand_over(now);
        }
    }
}

/// Last ping that this engine may have answered.
fn last_pong(engine: &EngineSide, now: Tick) -> Tick {
    match &engine.status {
        // A predecessor of this engine may have answered until it died.
        Some(status) if status.silent => status.pong_sent.unwrap_or(Tick(0)).max(engine.seen),
        _ => now,
    }
}
