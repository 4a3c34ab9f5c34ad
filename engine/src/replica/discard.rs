//! Histories that parted: telling that both copies went on alone, and giving up the one here.
//! Always: nobody but an operator ends a split. A copy that is the only member under its own record
//! does not take the record of a peer that calls itself the same: whoever learned it would forget
//! which side it was. A copy that was given up is like a new one, and is filled whole.

use super::Replica;
use super::action::{Action, Note, Refusal};
use super::event::CmdId;
use super::state::Then;
use crate::limits::{ATTEMPTS_MAX, HISTORY_MAX};
use crate::units::{BootId, DiskState, Generation, Members, VolumeRecord};
use crate::wire::message::{ByeReason, Hello};

impl Replica {
    /// Whether this copy went on alone by its own record, and so did that of the peer: no chain of
    /// records leads from one to the other. One that an operator forced is learned, and one whose
    /// way may have led over an attempt that is still open here.
    fn went_on_apart(&self, hello: &Hello) -> bool {
        let sb = self.meta.get();
        let (Some(ours), Some(theirs)) = (&sb.record, &hello.record) else { return false };
        let alone = |record: &VolumeRecord, node| record.members == Members::only(node);
        let worth = !sb.needs_full && !hello.needs_full;
        alone(ours, self.node)
            && alone(theirs, self.peer)
            && worth
            && !theirs.forced
            && !sb.attempts.iter().flatten().any(|one| one.wanted.members.contains(self.peer))
    }

    /// Ends the session with a peer that went on alone as well, whether its record is of the same
    /// version or a higher one. Says whether it did.
    pub(super) fn refuse_apart(&mut self, hello: &Hello) -> bool {
        let version = |record: &Option<VolumeRecord>| record.map_or(0, |one| one.version.0);
        let ours = &self.meta.get().record;
        let nonce = |record: &Option<VolumeRecord>| record.map(|one| one.nonce);
        let same = nonce(ours) == nonce(&hello.record);
        // A lower one may learn yet; if it does not, it says so.
        if same || version(ours) > version(&hello.record) || !self.went_on_apart(hello) {
            return false;
        }
        self.split_brain = true;
        self.note(Note::SplitBrain);
        self.say_bye(ByeReason::TwoRecords);
        true
    }

    /// The peer ended the session: does it say that both went on alone?
    pub(super) fn told_apart(&self, reason: ByeReason) -> bool {
        let hello = self.link.as_ref().and_then(|link| link.hello.as_deref());
        match reason {
            ByeReason::Unrelated => true,
            ByeReason::TwoRecords => {
                let alone = |record: Option<VolumeRecord>, node| {
                    record.is_some_and(|record| record.members == Members::only(node))
                };
                let theirs = hello.is_none_or(|hello| alone(hello.record, self.peer));
                alone(self.meta.get().record, self.node) && theirs
            }
            _ => false,
        }
    }

    /// Gives this copy up: an operator keeps the other one. Stops answering first.
    pub(super) fn discard(&mut self, cmd: CmdId) {
        if self.meta_failed || self.disk_failed {
            let refusal = if self.meta_failed { Refusal::MetadataFailed } else { Refusal::BadDisk };
            return self.reply(cmd, Err(refusal));
        }
        self.fence();
        if self.link.is_some() {
            self.say_bye(ByeReason::Replaced);
        }
        self.disk = DiskState::Inconsistent;
        if self.mark.take().is_some() {
            self.out.push_back(Action::KeepMark { mark: None });
        }
        self.store(Then::Discarded { cmd }, |sb| {
            sb.record = None;
            sb.attempts = [None; ATTEMPTS_MAX];
            sb.generation = Generation::NONE;
            sb.base = Generation::NONE;
            sb.history = [Generation::NONE; HISTORY_MAX];
            sb.disk = DiskState::Inconsistent;
            sb.needs_full = true;
            sb.primary_boot = BootId::NONE;
            sb.mark = None;
            sb.diverged = false;
        });
    }

    /// The copy is given up for good.
    pub(super) fn discarded(&mut self, cmd: CmdId) {
        self.record = None;
        self.split_brain = false;
        self.note(Note::Discarded);
        self.reply(cmd, Ok(()));
        self.out.push_back(Action::StatusChanged);
        self.recheck = true;
        self.say_hello();
    }
}
