//! Everything that happens because time passes: pings, silence, leases, holds, lives (§1.2, R13).

use super::Replica;
use super::action::{Action, DropReason, Note};
use super::event::DiskError;
use super::ids::Waiter;
use super::mutant::Mutant;
use super::state::{Grow, Kind, Mend, Remote, Stage, Then};
use crate::format::tail::Tail;
use crate::units::{Role, Span, Tick};
use crate::wire::message::{ByeReason, Message};

/// How often slow watches look: progress of the peer and of a resync.
const WATCH: Span = Span::millis(500);

impl Replica {
    /// The next time at which `Event::Wake` is wanted.
    pub fn deadline(&self) -> Option<Tick> {
        let mut next = [None; 11];
        if let Some(link) = &self.link {
            next[0] = Some(link.next_ping);
            next[1] = Some(link.heard.after(self.set.times.link_dead));
            next[2] = self.stage_limit().map(|limit| self.stage_since.after(limit));
            next[3] = Some(self.next_watch);
        }
        if self.serves() {
            next[4] = self.shrink_at.filter(|at| *at > self.now && self.stage == Stage::Away);
            next[6] = self.suspend_deadline();
        }
        let lives = self.lives() && self.storing_life.is_none();
        next[5] = lives.then_some(self.next_life);
        next[7] = self.checkpoint_deadline();
        next[10] = self.calm_at;
        next[9] = self.sync_deadline();
        next[8] = self.told.lease.then_some(self.lease_until);
        next.into_iter().flatten().min()
    }

    fn suspend_deadline(&self) -> Option<Tick> {
        let at = self.held_since?.after(self.suspend_limit()?);
        Some(at).filter(|_| !Mutant::SuspendForever.on()) // R14
    }

    pub(super) fn run_timers(&mut self) {
        self.watch_link();
        self.watch_stage();
        self.watch_hold();
        if self.calm_at.is_some_and(|at| at <= self.now) {
            self.calm_at = None;
            self.judge();
        }
        if self.lives() && self.now >= self.next_life && self.storing_life.is_none() {
            let life = self.meta.get().life + 1;
            self.advance_life(life);
        }
        if self.now >= self.next_watch {
            self.next_watch = self.now.after(WATCH);
            self.watch_acks();
            self.watch_sync_progress();
        }
        let leased = self.now < self.lease_until;
        if leased != self.told.lease {
            self.told.lease = leased;
            self.out.push_back(Action::StatusChanged);
        }
        let need = self.need();
        if need != self.told.need {
            self.told.need = need;
            self.out.push_back(Action::StatusChanged);
        }
    }

    fn watch_link(&mut self) {
        let Some(link) = &mut self.link else { return };
        if self.now.since(link.heard) >= self.set.times.link_dead {
            self.drop_session(DropReason::Silent, Span(0));
            return;
        }
        if self.now >= link.next_ping {
            link.next_ping = self.now.after(self.set.times.ping);
            self.send(Message::Ping { stamp: self.now.0 });
        }
    }

    /// How long a stage may last in which the peer owes something and clients may be waiting.
    fn stage_limit(&self) -> Option<Span> {
        match self.stage {
            Stage::Greeting | Stage::Marking => Some(self.set.times.hello),
            Stage::Preparing | Stage::Growing(Grow::Persisting) => Some(self.set.times.ack_timeout),
            Stage::Following if self.serves() => Some(self.set.times.hello),
            Stage::Idle if self.serves() && self.peer_required() => Some(self.set.times.hello),
            _ => None,
        }
    }

    fn watch_stage(&mut self) {
        let late = self.stage_limit().is_some_and(|max| self.now.since(self.stage_since) >= max);
        if late && self.link.is_some() && self.peer_required() {
            self.drop_session(DropReason::HelloLate, Span(0));
        } else if late && self.link.is_some() && self.stage != Stage::Idle {
            self.drop_session(DropReason::HelloLate, self.set.times.grace);
        }
    }

    /// Clients wait for a decision: since when, and not for ever (R14).
    fn watch_hold(&mut self) {
        match (self.is_holding(), self.held_since) {
            (true, None) => {
                self.held_since = Some(self.now);
                self.note(Note::Holding);
            }
            (false, Some(_)) => {
                self.held_since = None;
                self.note(Note::Released);
            }
            _ => {}
        }
        if self.suspend_deadline().is_some_and(|at| at <= self.now) {
            self.note(Note::SuspendedTooLong);
            self.fence();
        }
    }

    /// R30: a peer that answers pings but reports nothing is dead.
    fn watch_acks(&mut self) {
        let owes = self.is_remote_flush_running()
            || self.ops.iter().any(|(_, op)| match &op.kind {
                Kind::Write(write) => write.remote == Remote::Sent,
                Kind::Piece(piece) => {
                    let asked = piece.mend == Some(Mend::Asked);
                    asked || piece.acks > 0 || (piece.digests && piece.mine.is_some())
                }
                _ => false,
            });
        if !owes || self.link.is_none() {
            self.acked_at = self.now;
        } else if self.now.since(self.acked_at) >= self.set.times.ack_timeout
            && !Mutant::WaitForeverForReports.on()
        {
            self.send(Message::Bye(ByeReason::NoProgress));
            self.drop_session(DropReason::NoProgress, Span(0));
        }
    }

    /// A secondary's answer extends the primary's lease; one that prepares a takeover, or has an
    /// open attempt at one, is silent (R13).
    pub(super) fn on_ping(&mut self, stamp: u64) {
        let silent = self.is_silent() && !Mutant::PongWhileTakingOver.on(); // R13
        if self.role == Role::Secondary && !silent {
            self.pong_sent = Some(self.now);
            self.send(Message::Pong { stamp });
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        let me = Some(self.node);
        let mut attempts = self.meta.get().attempts.iter().flatten();
        self.silent || attempts.any(|attempt| attempt.wanted.primary == me)
    }

    pub(super) fn on_pong(&mut self, stamp: u64) {
        if stamp > self.now.0 {
            return;
        }
        let until = Tick(stamp).after(self.set.times.lease);
        if until > self.lease_until {
            self.lease_until = until;
            self.recheck |= !self.gated.is_empty();
        }
    }

    /// Whether this copy changes, so that an older state of it must show (R21).
    fn lives(&self) -> bool {
        self.serves() || (self.link.is_some() && self.stage == Stage::Following)
    }

    // --- life counter (R21): tail first, then superblock, then the peer ---

    pub(super) fn advance_life(&mut self, counter: u64) {
        self.next_life = self.now.after(self.set.times.life_interval);
        if self.storing_life.is_some_and(|storing| storing >= counter) || self.meta_failed {
            return;
        }
        let writing = self.storing_life.replace(counter).is_some();
        if !writing {
            self.write_tail(counter);
        }
    }

    fn write_tail(&mut self, counter: u64) {
        let sb = self.meta.get();
        let tail = Tail { volume: sb.volume, node: sb.node, pair_tag: sb.pair_tag, life: counter };
        let slot = u8::from(counter % 2 == 1);
        self.writing_life = counter;
        let bytes = tail.encode(slot);
        self.out.push_back(Action::TailWrite { op: Waiter::Tail.id(), slot, bytes });
    }

    pub(super) fn on_tail_done(&mut self, result: Result<(), DiskError>) {
        let counter = self.writing_life;
        match result {
            Ok(()) => self.store(Then::LifeStored { counter }, |sb| sb.life = counter),
            Err(error) => {
                self.storing_life = None;
                self.fail_disk(error);
            }
        }
    }

    pub(super) fn life_stored(&mut self, counter: u64) {
        self.life_told = counter;
        self.send(Message::Life { counter });
        match self.storing_life {
            Some(wanted) if wanted > counter => self.write_tail(wanted),
            _ => self.storing_life = None,
        }
    }

    pub(super) fn on_life(&mut self, counter: u64) {
        if counter > self.meta.get().life_heard {
            self.meta.update(|sb| sb.life_heard = counter);
        }
    }
}
