//! An owner that passes the group on, in order or not: move, stop, release.
//! Always: the engine is secondary before the write is sent or the release is announced.

use super::attempt::Stored;
use super::state::{Phase, Purpose};
use super::{Decider, GIVE_UP};
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Refused, Waiting};
use crate::decide::transition::{self, Inputs, Transition};
use lockstep_engine::units::{Mirror, Role, Tick};

impl Decider {
    pub(super) fn move_turn(&mut self, phase: Phase, now: Tick) -> bool {
        match phase {
            Phase::Check => {
                let Some(record) = self.checked_record(now) else { return false };
                let status = self.engine.status.as_ref();
                if !self.owns(&record) || self.engine.role() != Some(Role::Primary) {
                    return self.finish(Err(Refused::NotPrimary), now);
                }
                let in_sync = status.is_some_and(|status| status.mirror == Mirror::InSync);
                if !record.has_both() || !in_sync || !self.engine.is_connected() {
                    return self.finish(Err(Refused::NotInSync), now);
                }
                if Mutant::MoveBeforeDemote.on() {
                    return self.enter(Phase::Demoted);
                }
                self.demote(now)
            }
            Phase::Demote => self.demoting(),
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
                if self.engine.is_quiet() && !self.left_in_order(&record) {
                    return self.finish(Err(Refused::NotPrimary), now);
                }
                if let Some(open) = &mut self.open {
                    open.held = false; // The stop that a release has stored is sent after all.
                    return self.enter(Phase::Swap);
                }
                if self.engine.is_quiet() {
                    return self.enter(Phase::Demoted);
                }
                self.demote(now)
            }
            Phase::Demote => self.demoting(),
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

    /// Whether the engine gave the volume up with everything drained and flushed: a fence or a
    /// crash leaves acknowledged writes that only this host's power keeps, and a record that says
    /// "stopped" would let the peer start without them.
    fn left_in_order(&self, record: &Record) -> bool {
        let alone = record.is_alone(self.me());
        let clean = self.engine.status.as_ref().is_some_and(|status| {
            !status.primary_boot.is_some() && status.dirty_blocks == 0 && status.hot_regions == 0
        });
        alone || clean
    }

    fn demote(&mut self, now: Tick) -> bool {
        self.command(Purpose::Demote, EngineCommand::Demote, now);
        self.enter(Phase::Demote)
    }

    /// Ends when the engine is secondary; a refusal ends the request.
    fn demoting(&mut self) -> bool {
        self.wait(Waiting::Engine);
        let under_way = self.engine.calling(|p| *p == Purpose::Demote);
        if self.engine.is_quiet() && !under_way { self.enter(Phase::Demoted) } else { false }
    }

    /// Needs no arbiter: the peer takes over with what it reads.
    pub(super) fn release_turn(&mut self, phase: Phase, now: Tick) -> bool {
        match phase {
            Phase::Check => self.check_release(now),
            Phase::Store => {
                self.wait(Waiting::Engine);
                let stored = self.open.as_ref().is_none_or(|open| open.stored == Stored::Yes);
                if stored { self.enter(Phase::Demote) } else { false }
            }
            Phase::Demote => self.release_demote(now),
            _ => {
                let Some(base) = self.base().filter(|base| self.owns(base)) else {
                    return self.finish(Ok(()), now); // The peer has it already.
                };
                self.claim = None;
                self.given_up = Some(base.version);
                self.announce(Some(base.version));
                self.finish(Ok(()), now)
            }
        }
    }

    fn check_release(&mut self, now: Tick) -> bool {
        let Some(record) = self.base() else {
            return self.finish(Err(Refused::NoRecord), now);
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
        if self.open.is_some() {
            let at = self.op.map_or(now, |op| op.asked).after(GIVE_UP);
            if now >= at {
                return self.finish(Err(Refused::ArbiterAway), now);
            }
            self.wait(Waiting::Arbiter);
            self.wake_at(at);
            return false;
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

    fn release_demote(&mut self, now: Tick) -> bool {
        self.wait(Waiting::Engine);
        let under_way = |p: &Purpose| matches!(p, Purpose::Demote | Purpose::Fence);
        if self.engine.calling(under_way) {
            return false;
        }
        if self.engine.is_quiet() {
            return self.enter(Phase::Demoted);
        }
        if self.op.is_some_and(|op| op.fence) {
            if now < self.engine.fence.at {
                self.wake_at(self.engine.fence.at);
                return false;
            }
            self.command(Purpose::Fence, EngineCommand::Fence, now);
        } else {
            self.command(Purpose::Demote, EngineCommand::Demote, now);
        }
        false
    }
}
