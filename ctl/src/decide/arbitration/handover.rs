//! An owner that passes the group on, in order or not: move, stop, release.
//! Always: every engine is secondary before the write is sent; each is secondary or not there
//! before a release is announced, and what was announced is never served at that version, nor by an
//! engine that comes back.

use super::attempt::Open;
use super::state::{EngineSide, Op, Phase, Purpose};
use super::{Decider, ENGINE_PATIENCE, GIVE_UP};
use crate::decide::event::Verb;
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Refused, Waiting};
use crate::decide::transition::{self, Inputs, Transition};
use lockstep_engine::units::{Mirror, Tick};

impl Decider {
    pub(super) fn move_turn(&mut self, phase: Phase, now: Tick) -> bool {
        match phase {
            Phase::Check => {
                let Some(record) = self.checked_record(now) else { return false };
                if !self.owns(&record) || !self.engines.are_primary() {
                    return self.finish(Err(Refused::NotPrimary), now);
                }
                if !record.has_both() || !self.is_in_sync() {
                    return self.finish(Err(Refused::NotInSync), now);
                }
                if Mutant::MoveBeforeDemote.on() {
                    return self.enter(Phase::Demoted);
                }
                self.demote(now)
            }
            Phase::Demote => self.demoting(now),
            Phase::Demoted => {
                if self.open.is_some() {
                    return false; // A shrink that became necessary in between.
                }
                let Some(record) = self.base() else { return false };
                let inputs = Inputs { was_in_sync: true, ..self.inputs() };
                let author = self.author();
                match transition::move_(&record, author, &inputs) {
                    Ok(next) => {
                        self.begin(Transition::Move, Some(record), next);
                        self.enter(Phase::Swap)
                    }
                    Err(why) => self.finish(Err(why), now), // The claim stands: it serves again.
                }
            }
            _ => {
                self.wait(Waiting::Arbiter);
                false
            }
        }
    }

    pub(super) fn stop_turn(&mut self, phase: Phase, now: Tick) -> bool {
        match phase {
            Phase::Check => {
                let Some(record) = self.checked_record(now) else { return false };
                if !self.owns(&record) {
                    return self.finish(Err(Refused::NotPrimary), now);
                }
                if self.engines.are_quiet() && !self.left_in_order(&record) {
                    return self.finish(Err(Refused::NotPrimary), now);
                }
                if let Some(open) = &mut self.open {
                    open.held = false; // The stop that a release has stored is sent after all,
                    open.stored = false; // when it is stored everywhere.
                    return self.enter(Phase::Swap);
                }
                if self.engines.are_quiet() {
                    return self.enter(Phase::Demoted);
                }
                self.demote(now)
            }
            Phase::Demote => self.demoting(now),
            Phase::Demoted => {
                if self.open.is_some() {
                    return false;
                }
                let Some(record) = self.base() else { return false };
                if !self.left_in_order(&record) {
                    return self.finish(Err(Refused::NotPrimary), now);
                }
                let inputs = self.inputs();
                let author = self.author();
                match transition::stop(&record, author, &inputs) {
                    Ok(next) => {
                        self.begin(Transition::Stop, Some(record), next);
                        self.enter(Phase::Swap)
                    }
                    Err(why) => self.finish(Err(why), now),
                }
            }
            _ => {
                self.wait(Waiting::Arbiter);
                false
            }
        }
    }

    /// Whether the engines gave their volumes up with everything drained and flushed: a fence or a
    /// crash leaves acknowledged writes that only this host's power keeps, and a record that says
    /// "stopped" would let a peer that may start do so without them.
    fn left_in_order(&self, record: &Record) -> bool {
        let barred = !record.is_member(self.me().peer());
        let clean = self.engines.all(|status| {
            !status.primary_boot.is_some() && status.dirty_blocks == 0 && status.hot_regions == 0
        });
        barred || clean
    }

    /// Whether every volume is in sync with the peer over a link that is up.
    pub fn is_in_sync(&self) -> bool {
        self.engines.are_connected() && self.engines.all(|s| s.mirror == Mirror::InSync)
    }

    fn demote(&mut self, now: Tick) -> bool {
        self.command_serving(Purpose::Demote, &EngineCommand::Demote, now);
        self.enter(Phase::Demote)
    }

    /// Ends when all engines are secondary; a refusal ends the request.
    fn demoting(&mut self, now: Tick) -> bool {
        self.wait(Waiting::Engine);
        if self.engines.calling(|p| *p == Purpose::Demote) {
            return false;
        }
        if self.engines.are_quiet() {
            return self.enter(Phase::Demoted);
        }
        // One that was being promoted when the others were told.
        self.command_serving(Purpose::Demote, &EngineCommand::Demote, now);
        false
    }

    /// Needs no arbiter: the peer takes over with what it reads.
    pub(super) fn release_turn(&mut self, phase: Phase, now: Tick) -> bool {
        match phase {
            Phase::Check => self.check_release(now),
            Phase::Store => {
                self.wait(Waiting::Engine);
                let stored = self.open.as_ref().is_none_or(|open| open.stored);
                if stored { self.enter(Phase::Demote) } else { false }
            }
            Phase::Demote => self.release_demote(now),
            _ => {
                let Some(base) = self.base().filter(|base| self.owns(base)) else {
                    return self.finish(Ok(()), now); // The peer has it already.
                };
                self.claim = None;
                self.given_up = Some(base.version);
                let own = self.op.is_some_and(|op| op.request.is_none());
                let away = !self.engines.are_there();
                self.unheard = Some(base.version).filter(|_| own && away);
                self.announce(Some(base.version));
                self.finish(Ok(()), now)
            }
        }
    }

    fn check_release(&mut self, now: Tick) -> bool {
        let away = self.engines.are_away();
        let give_up_at = self.op.map_or(now, |op| op.asked).after(GIVE_UP);
        let Some(record) = self.base() else {
            if away && now < give_up_at {
                self.wait(Waiting::Engine); // It tells of a record, or the arbiter does.
                self.wake_at(give_up_at);
                return false;
            }
            let why = if away { Refused::EngineAway } else { Refused::NoRecord };
            return self.finish(Err(why), now);
        };
        if !self.owns(&record) {
            return self.finish(Err(Refused::NotPrimary), now);
        }
        if self.released == Some(record.version) {
            return self.finish(Ok(()), now);
        }
        if !record.has_both() {
            return self.finish(Err(Refused::NotInSync), now);
        }
        let held = |open: &Open| open.held && open.expected == record.version;
        if self.open.as_ref().is_some_and(held) {
            // An engine has gone since the stop was stored.
            return self.enter(if away { Phase::Demoted } else { Phase::Demote });
        }
        if self.open.is_some() {
            if now >= give_up_at {
                return self.finish(Err(Refused::ArbiterAway), now);
            }
            self.wait(Waiting::Arbiter);
            self.wake_at(give_up_at);
            return false;
        }
        if away {
            // Nothing can be stored. It need not be: this decider promotes nothing under what it
            // has released, one that comes after it nothing under what it finds (`write_anew`),
            // and an engine nothing by itself.
            return self.enter(Phase::Demoted);
        }
        let author = self.author();
        match transition::give_up(&record, author) {
            Ok(next) => {
                self.begin(Transition::Stop, Some(record), next);
                if let Some(open) = &mut self.open {
                    open.held = true;
                }
                self.enter(Phase::Store)
            }
            Err(why) => self.finish(Err(why), now),
        }
    }

    /// Those that are there; what the others serve is fenced when they come back (`guard_lease`).
    fn release_demote(&mut self, now: Tick) -> bool {
        self.wait(Waiting::Engine);
        let under_way = |p: &Purpose| matches!(p, Purpose::Demote | Purpose::Fence);
        if self.engines.calling(under_way) {
            return false;
        }
        if self.engines.rest() {
            return self.enter(Phase::Demoted);
        }
        if self.op.is_some_and(|op| op.fence) {
            self.fence_engines(now);
        } else {
            self.command_serving(Purpose::Demote, &EngineCommand::Demote, now);
        }
        false
    }

    /// Without a group that decides it: an owner of which an engine stays away lets the peer have
    /// it, as long as that is heard. When the engine is back first, whoever writes first has it.
    pub(super) fn release_without_engine(&mut self, now: Tick) {
        let held = self.open.as_ref().is_some_and(|open| open.held);
        let free = self.open.is_none() || held;
        let idle = self.settings.auto_takeover && self.op.is_none() && free;
        let Some(base) = self.base().filter(|base| idle && self.owns(base) && base.has_both())
        else {
            return;
        };
        if self.released == Some(base.version) {
            let back = self.engines.are_quiet() && !self.engines.any_spoiled();
            if self.unheard != self.released || !back || !self.is_confirmed(&base) {
                return;
            }
            if held {
                self.withdraw_release();
            } else {
                self.write_anew(&base, now);
            }
            return;
        }
        let heard = now < self.peer.heard.after(self.times().heartbeat_timeout);
        let gone = self.engines.iter().filter(|engine| engine.status.is_none());
        let Some(since) = gone.map(|engine: &EngineSide| engine.away_since).min() else { return };
        let at = since.after(ENGINE_PATIENCE);
        if !heard || held {
            return;
        }
        if now < at {
            return self.wake_at(at);
        }
        self.op = Some(Op::own(Verb::Release, now));
        while self.op_turn(now) {}
    }
}
