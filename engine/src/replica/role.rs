//! Records and roles (SAFETY §1.1): what a daemon commands, under which conditions it is done.
//! Always: a record is durable before it loosens anything; it tightens and fences at once. No role
//! without a record that says so.

use super::Replica;
use super::action::{Action, Note, Refusal};
use super::event::{CmdId, Command};
use super::mutant::Mutant;
use super::settings::AckMode;
use super::state::{Grow, Remote, Stage, Then};
use crate::format::superblock::Superblock;
use crate::units::{
    BootId, DiskState, Generation, InSyncMark, Members, OpenAttempt, Role, Span, VolumeRecord,
};
use crate::wire::message::{ByeReason, SyncKind};

/// A promotion on its way.
pub(super) struct Promotion {
    pub cmd: CmdId,
    /// The record is durable; what is left of following must end.
    pub stored: bool,
}

/// An orderly demotion or stop on its way.
pub(super) struct Leaving {
    pub cmd: CmdId,
    /// The process is to end.
    pub stop: bool,
    pub step: LeavingStep,
    /// The checkpoint that retires everything has begun; an earlier one had to end first, because
    /// its bitmap pages are on their way and count as clean already.
    pub retiring: bool,
}

/// The steps, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LeavingStep {
    /// Waits for every operation to end.
    Draining,
    /// Waits for the flush of both nodes.
    Flushing,
    /// Waits for intent to be retired.
    Retiring,
    /// Waits for the superblock.
    Storing,
}

impl Replica {
    pub(super) fn on_command(&mut self, cmd: CmdId, what: Command) {
        match what {
            Command::Learn { record } => self.learn(record, Some(cmd)),
            Command::Promote { record } => self.promote(cmd, record),
            Command::Demote => self.demote(cmd, false),
            Command::Fence => {
                self.fence();
                self.reply(cmd, Ok(()));
            }
            Command::Attempt { attempt } => self.store_attempt(cmd, attempt),
            Command::PrepareTakeover => self.set_silent(cmd, true),
            Command::CancelTakeover => self.set_silent(cmd, false),
            Command::Mark { mark } => self.take_mark(cmd, mark),
            Command::PauseSync { paused } => {
                self.sync_paused = paused;
                if let Some(sync) = self.sync.as_mut().filter(|s| s.kind != SyncKind::Reconcile) {
                    sync.paused = paused;
                }
                self.out.push_back(Action::StatusChanged);
                self.reply(cmd, Ok(()));
            }
            Command::Verify { start } => self.on_verify_command(cmd, start),
            Command::Shutdown => self.demote(cmd, true),
            Command::Discard => self.discard(cmd),
            Command::Attend { suspend_max } => {
                self.suspend_max = suspend_max;
                self.reply(cmd, Ok(()));
            }
        }
    }

    fn set_silent(&mut self, cmd: CmdId, silent: bool) {
        if self.role != Role::Secondary {
            self.reply(cmd, Err(Refusal::Busy));
            return;
        }
        self.silent = silent;
        self.out.push_back(Action::StatusChanged);
        self.reply(cmd, Ok(()));
    }

    /// A mark that the daemon kept while this engine was restarted on the same boot.
    fn take_mark(&mut self, cmd: CmdId, mark: InSyncMark) {
        let sb = self.meta.get();
        let fits = mark.boot == self.set.boot
            && mark.generation == sb.generation
            && sb.disk == DiskState::UpToDate
            && self.set.ack == AckMode::Written
            && self.role == Role::Secondary;
        if !fits {
            self.reply(cmd, Err(Refusal::StaleMark));
            return;
        }
        self.mark = Some(mark);
        self.reply(cmd, Ok(()));
        self.say_hello();
    }

    /// Orders a record against the one that is stored.
    fn check_order(&self, record: &VolumeRecord) -> Result<(), Refusal> {
        let Some(stored) = &self.meta.get().record else { return Ok(()) };
        if record.version < stored.version {
            return Err(Refusal::OlderRecord);
        }
        if record.version == stored.version && record.nonce != stored.nonce {
            return Err(Refusal::OtherNonce);
        }
        Ok(())
    }

    /// Takes a record in. `cmd` is the command that brought it; none when the peer did.
    pub(super) fn learn(&mut self, record: VolumeRecord, cmd: Option<CmdId>) {
        let refused = self.check_order(&record).err();
        if let Some(refusal) = refused.or(self.meta_failed.then_some(Refusal::MetadataFailed)) {
            if let Some(cmd) = cmd {
                self.reply(cmd, Err(refusal));
            }
            return;
        }
        let member = record.members.contains(self.node);
        let ours = member && record.primary == Some(self.node);
        if !ours && self.role != Role::Secondary && !Mutant::ServeWhenReplaced.on() {
            self.fence(); // R14
        }
        let known = self.meta.get().record == Some(record);
        self.store(Then::Learned { record, cmd }, |sb| {
            if !known {
                accept_record(sb, record, member);
            }
        });
    }

    /// The record is durable.
    pub(super) fn learned(&mut self, record: VolumeRecord, cmd: Option<CmdId>) {
        let newest = self.record.is_none_or(|known| known.version <= record.version);
        if newest && self.record != Some(record) {
            self.record = Some(record);
            self.note(Note::RecordLearned);
            self.act_on_record(&record);
        }
        if let Some(cmd) = cmd {
            self.reply(cmd, Ok(()));
        }
    }

    fn act_on_record(&mut self, record: &VolumeRecord) {
        let stored = self.meta.get().disk;
        if stored != DiskState::UpToDate {
            self.disk = stored;
        } else if record.version.0 == 1 && self.disk != DiskState::UpToDate {
            self.disk = DiskState::UpToDate;
        }
        self.reconcile_stuck &= record.members == Members::BOTH;
        if !record.members.contains(self.node) && self.mark.take().is_some() {
            self.out.push_back(Action::KeepMark { mark: None });
        }
        if self.serves() && record.primary == Some(self.node) {
            if record.members == Members::only(self.node) {
                if matches!(self.stage, Stage::Away | Stage::Blocked { .. }) {
                    self.give_up_remote(Remote::Lost);
                }
            } else if self.stage == Stage::Growing(Grow::Recording) {
                self.grown();
            }
        }
        self.recheck = true;
        self.say_hello();
    }

    /// R4: the attempt is durable before its request is sent; until a newer record is known, both
    /// outcomes count.
    fn store_attempt(&mut self, cmd: CmdId, attempt: OpenAttempt) {
        let grows = attempt.wanted.members.contains(self.peer) && self.role == Role::Primary;
        let unasked = grows && !self.peer_required();
        let stored = self.meta.get().record.map_or(0, |record| record.version.0);
        let attempts = &self.meta.get().attempts;
        let known = attempts.iter().flatten().any(|open| *open == attempt);
        let free = attempts.iter().position(Option::is_none);
        let refusal = if self.meta_failed {
            Some(Refusal::MetadataFailed)
        } else if attempt.expected.0 < stored {
            Some(Refusal::OlderRecord)
        } else if unasked {
            Some(Refusal::Busy)
        } else if !known && free.is_none() {
            Some(Refusal::TooManyAttempts)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.reply(cmd, Err(refusal));
            return;
        }
        self.store(Then::Replied { cmd }, |sb| {
            if let (false, Some(slot)) = (known, free) {
                sb.attempts[slot] = Some(attempt);
            }
        });
        self.recheck = true;
    }

    /// The promote conditions of SAFETY §1.1.
    fn check_promote(&self, record: &VolumeRecord) -> Result<(), Refusal> {
        self.check_order(record)?;
        let sb = self.meta.get();
        if record.primary != Some(self.node) {
            return Err(Refusal::NotPrimaryInRecord);
        }
        if !record.members.contains(self.node) && !Mutant::PromoteNotMember.on() {
            return Err(Refusal::NotMember); // R3
        }
        if self.meta_failed || self.disk_failed || self.disk == DiskState::Failed {
            return Err(Refusal::BadDisk);
        }
        if record.forced || Mutant::PromoteNotMember.on() {
            return Ok(());
        }
        if !matches!(self.disk, DiskState::UpToDate | DiskState::Consistent) || sb.needs_full {
            return Err(Refusal::BadDisk);
        }
        let lazy = sb.generation == record.parent && record.writer == self.node;
        if sb.generation != record.generation && !lazy {
            return Err(Refusal::OtherGeneration);
        }
        Ok(())
    }

    fn promote(&mut self, cmd: CmdId, record: VolumeRecord) {
        if self.role == Role::Primary && self.check_promote(&record).is_ok() {
            self.learn(record, Some(cmd));
            return;
        }
        if self.role != Role::Secondary || self.leaving.is_some() {
            self.reply(cmd, Err(Refusal::Busy));
            return;
        }
        if let Err(refusal) = self.check_promote(&record) {
            self.reply(cmd, Err(refusal));
            return;
        }
        self.role = Role::Promoting;
        self.promotion = Some(Promotion { cmd, stored: false });
        let boot = self.set.boot;
        let known = self.meta.get().record == Some(record);
        self.store(Then::Promoted { record, cmd }, |sb| {
            if !known {
                accept_record(sb, record, true);
            }
            sb.primary_boot = boot;
            sb.mark = None;
            if record.forced {
                sb.disk = DiskState::UpToDate;
                sb.needs_full = false;
                sb.diverged = true;
            }
        });
        self.out.push_back(Action::StatusChanged);
    }

    pub(super) fn promotion_stored(&mut self, record: VolumeRecord, cmd: CmdId) {
        let newest = self.record.is_none_or(|known| known.version <= record.version);
        if newest {
            self.record = Some(record);
        }
        match &mut self.promotion {
            Some(promotion) if promotion.cmd == cmd && newest => promotion.stored = true,
            _ => self.reply(cmd, Err(Refusal::Busy)),
        }
    }

    /// Serves once nothing of following is left at the disk.
    pub(super) fn pump_promotion(&mut self) {
        let ready = self.promotion.as_ref().is_some_and(|promotion| promotion.stored);
        if !ready || !self.follow.is_empty() {
            return;
        }
        let Some(promotion) = self.promotion.take() else { return };
        self.role = Role::Primary;
        self.disk = DiskState::UpToDate;
        self.silent = false;
        self.reconcile_stuck = false;
        if self.mark.take().is_some() {
            self.out.push_back(Action::KeepMark { mark: None });
        }
        self.shrink_at = Some(self.now.after(self.set.times.link_dead));
        if self.link.is_some() {
            self.set_stage(Stage::Greeting);
        }
        self.next_life = self.now;
        self.out.push_back(Action::Clients { open: true });
        self.note(Note::Promoted);
        self.reply(promotion.cmd, Ok(()));
        self.recheck = true;
        self.say_hello();
    }

    fn demote(&mut self, cmd: CmdId, stop: bool) {
        let allowed = self.role == Role::Primary || (stop && self.role == Role::Secondary);
        if !allowed || self.leaving.is_some() {
            let refusal =
                if self.role == Role::Primary { Refusal::Busy } else { Refusal::NotPrimary };
            self.reply(cmd, Err(refusal));
            return;
        }
        if self.role == Role::Primary {
            self.role = Role::Demoting;
            self.out.push_back(Action::Clients { open: false });
        }
        if let Some(sync) = self.sync.as_mut().filter(|s| s.kind != SyncKind::Reconcile) {
            sync.paused = true;
        }
        self.verify = None;
        if self.role == Role::Secondary {
            self.say_bye(ByeReason::Stopping);
        }
        self.leaving = Some(Leaving { cmd, stop, step: LeavingStep::Draining, retiring: false });
        self.out.push_back(Action::StatusChanged);
    }

    pub(super) fn pump_leaving(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        let before = leaving.step;
        self.step_leaving();
        self.again |= self.leaving.as_ref().is_some_and(|leaving| leaving.step != before);
    }

    fn step_leaving(&mut self) {
        // Members that still differ are made equal first.
        let equal =
            self.role != Role::Demoting || !self.peer_is_member() || self.dirty.bitmap.count() == 0;
        let Some(leaving) = &mut self.leaving else { return };
        match leaving.step {
            LeavingStep::Draining => {
                let quiet = self.ops.len() == 0 && self.flushes.clients_waiting() == 0;
                if equal && quiet && self.follow.is_empty() {
                    leaving.step = LeavingStep::Flushing;
                    let remote = self.role == Role::Demoting
                        && (self.peer_required() || self.stage.flushes());
                    self.start_flush(super::flush::FlushFor::Leaving, remote);
                }
            }
            LeavingStep::Retiring if self.checkpoint.is_none() && !leaving.retiring => {
                let begun = self.start_full_checkpoint();
                if let Some(leaving) = &mut self.leaving {
                    leaving.retiring = begun;
                }
            }
            LeavingStep::Retiring if self.checkpoint.is_none() => {
                leaving.step = LeavingStep::Storing;
                let stop = leaving.stop;
                let life = self.meta.get().life + 1;
                self.advance_life(life);
                let then = if stop { Then::StopStored } else { Then::DemoteStored };
                let mark = self.mark_of_leaver();
                self.store(then, |sb| {
                    sb.primary_boot = BootId::NONE;
                    sb.mark = mark.or(sb.mark);
                });
            }
            _ => {}
        }
    }

    pub(super) fn leaving_flushed(&mut self, remote_done: bool) {
        let required = self.role == Role::Demoting && self.peer_required();
        let Some(leaving) = &mut self.leaving else { return };
        if required && !remote_done {
            leaving.step = LeavingStep::Draining;
            return;
        }
        leaving.step = LeavingStep::Retiring;
    }

    /// What an old primary takes with it when both members are in sync: the proof that it holds
    /// every acknowledged write.
    fn mark_of_leaver(&self) -> Option<InSyncMark> {
        let both = self.record.is_some_and(|record| record.members == Members::BOTH);
        let generation = self.meta.get().generation;
        let in_sync = both && self.role == Role::Demoting && self.stage == Stage::Mirrored;
        in_sync.then_some(InSyncMark { generation, boot: self.set.boot })
    }

    /// The volume is handed over: both nodes hold everything, and this one keeps the proof.
    pub(super) fn demote_stored(&mut self) {
        let Some(leaving) = self.leaving.take() else { return };
        if let Some(mark) = self.meta.get().mark {
            self.mark = Some(mark);
            self.out.push_back(Action::KeepMark { mark: self.mark });
        }
        self.role = Role::Secondary;
        if self.link.is_some() {
            self.set_stage(Stage::Greeting);
        }
        self.sync = None;
        self.note(Note::Demoted);
        self.reply(leaving.cmd, Ok(()));
        self.say_hello();
    }

    /// Time that the engine may hold requests when nobody decides.
    pub(super) fn suspend_limit(&self) -> Option<Span> {
        self.suspend_max
    }
}

/// Puts a record into the superblock with everything that follows from it for the copy.
fn accept_record(sb: &mut Superblock, record: VolumeRecord, member: bool) {
    let created = record.version.0 == 1 && member && !sb.generation.is_some();
    sb.record = Some(record);
    for slot in &mut sb.attempts {
        if slot.is_some_and(|attempt| attempt.expected < record.version) {
            *slot = None;
        }
    }
    if created {
        // The first record makes a fresh copy the truth: nothing was ever written before it.
        sb.generation = record.generation;
        sb.base = record.generation;
        sb.history = [Generation::NONE; crate::limits::HISTORY_MAX];
        sb.disk = DiskState::UpToDate;
        sb.needs_full = false;
    }
    if record.primary != Some(sb.node) {
        // Having been primary proves nothing about what another primary has written.
        sb.primary_boot = BootId::NONE;
    }
    if !member {
        sb.mark = None;
        if sb.disk == DiskState::UpToDate {
            sb.disk = DiskState::Outdated;
        }
    }
}
