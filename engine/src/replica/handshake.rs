//! Sessions and verdicts: who drives, what differs, whether the peer counts (R5, R9, R20, R42).
//! Only the driver decides: the primary, or without one the node whose copy wins. The other obeys.
//! Always: our hello leaves only when every disk write of earlier sessions has ended.

use super::Replica;
use super::action::{Action, DropReason, Note};
use super::event::BufId;
use super::generation::Kinship;
use super::mutant::Mutant;
use super::settings::AckMode;
use super::slab::Key;
use super::state::{Grow, Link, Remote, Stage, Then};
use crate::limits::{FLAP_CALM, FLAP_WINDOW, FLAPS_MAX};
use crate::units::{
    BootId, DiskState, Epoch, InSyncMark, NodeId, Role, Session, Span, StartId, VolumeRecord,
};
use crate::wire::message::{ByeReason, Hello, Message, SyncKind};

impl Replica {
    pub(super) fn on_link_up(
        &mut self,
        session: Session,
        peer: NodeId,
        peer_boot: BootId,
        peer_start: StartId,
    ) {
        if self.link.is_some() {
            self.lose_session(self.set.times.grace);
        }
        let stopping = self.leaving.as_ref().is_some_and(|leaving| leaving.stop);
        if peer != self.peer || (stopping && !self.serves()) {
            let why = DropReason::Said(ByeReason::Stopping);
            self.out.push_back(Action::DropLink { session, why });
            return;
        }
        self.counters.sessions += 1;
        self.link = Some(Link {
            session,
            peer_life: (peer_boot, peer_start),
            heard: self.now,
            hello_sent: false,
            hello_serial: 0,
            hello: None,
            next_ping: self.now,
        });
        self.peer_heard = Some(self.now);
        self.peer_boot = Some(peer_boot);
        self.split_brain = false;
        self.set_stage(Stage::Greeting);
        self.greet_when_reaped();
    }

    /// R20: nothing of an earlier session may still be on its way to our disk when we greet.
    pub(super) fn greet_when_reaped(&mut self) {
        let reaped = self.follow.is_empty() && (self.serves() || !self.writes_at_disk());
        let reaped = reaped || Mutant::GreetBeforeReaped.on();
        if self.link.as_ref().is_some_and(|link| !link.hello_sent) && reaped {
            if let Some(link) = &mut self.link {
                link.hello_sent = true;
            }
            self.say_hello();
        }
    }

    /// Tells the peer our state, and looks at the verdict again.
    pub(super) fn say_hello(&mut self) {
        let Some(link) = &mut self.link else { return };
        if !link.hello_sent {
            return;
        }
        link.hello_serial += 1;
        let serial = link.hello_serial;
        let hello = self.hello(serial);
        self.send(Message::Hello(Box::new(hello)));
        self.judge();
    }

    fn hello(&self, serial: u64) -> Hello {
        let sb = self.meta.get();
        Hello {
            node: self.node,
            serial,
            role: self.role,
            disk: self.disk,
            record: self.record,
            generation: sb.generation,
            base: sb.base,
            history: sb.history,
            needs_full: sb.needs_full,
            mark: self.power_mark(),
            boot: self.set.boot,
            start: self.set.start,
            dirty_blocks: self.dirty.bitmap.count(),
            hot_regions: self.dirty.hot(),
            size: sb.size,
            life: self.life_told,
            life_heard: sb.life_heard,
        }
    }

    /// Proof that this copy has every acknowledged write of its generation: the mark that the
    /// primary gave, or having been the primary in this boot (R42).
    fn power_mark(&self) -> Option<InSyncMark> {
        let sb = self.meta.get();
        let was_primary = sb.primary_boot.is_some() && sb.primary_boot == self.set.boot;
        let own = InSyncMark { generation: sb.generation, boot: self.set.boot };
        self.mark.or(was_primary.then_some(own))
    }

    pub(super) fn on_hello(&mut self, hello: Box<Hello>) {
        let Some(link) = &mut self.link else { return };
        if link.hello.as_ref().is_some_and(|last| last.serial >= hello.serial) {
            return;
        }
        let first = link.hello.is_none();
        link.hello = Some(hello);
        if first {
            self.note(Note::PeerConnected);
        }
        // What it says of its copy counts in decisions, also where nothing follows from it here.
        self.out.push_back(Action::StatusChanged);
        self.judge();
    }

    /// Compares both hellos and acts on what follows. Runs again after every hello of either side.
    pub(super) fn judge(&mut self) {
        let Some(link) = &self.link else { return };
        let (true, Some(hello)) = (link.hello_sent, link.hello.clone()) else { return };
        if hello.size != self.meta.get().size {
            self.say_bye(ByeReason::WrongSize);
            return;
        }
        if self.judge_life(&hello) || self.judge_record(&hello) {
            return;
        }
        match (self.role, hello.role) {
            (Role::Primary | Role::Demoting, Role::Secondary) => self.drive(&hello),
            (Role::Secondary, Role::Primary | Role::Demoting) => self.set_stage(Stage::Following),
            (Role::Secondary, Role::Secondary) => self.judge_secondaries(&hello),
            (Role::Promoting, _) | (_, Role::Promoting) => self.set_stage(Stage::Idle),
            _ => self.say_bye(ByeReason::Protocol),
        }
    }

    /// The peer remembers a later life of this copy: it was restored from something old (R21).
    fn judge_life(&mut self, hello: &Hello) -> bool {
        if hello.life > self.meta.get().life_heard {
            let heard = hello.life;
            self.meta.update(|sb| sb.life_heard = heard);
        }
        let trusts = Mutant::TrustRestoredSnapshot.on() || Mutant::ForgetHeardLife.on(); // R21
        if hello.life_heard <= self.meta.get().life || trusts {
            return false;
        }
        self.distrust(hello.life_heard);
        true
    }

    /// Both sides must hold the same record before anything is decided: the older one learns.
    fn judge_record(&mut self, hello: &Hello) -> bool {
        if self.refuse_apart(hello) {
            return true;
        }
        let version = |record: &Option<VolumeRecord>| record.map_or(0, |r| r.version.0);
        let (ours, theirs) = (version(&self.meta.get().record), version(&hello.record));
        if ours < theirs {
            if let Some(record) = hello.record {
                self.learn(record, None);
            }
            return true;
        }
        if ours > theirs || self.record != self.meta.get().record {
            return true;
        }
        let nonce = |record: &Option<VolumeRecord>| record.map(|r| r.nonce);
        if nonce(&self.record) != nonce(&hello.record) {
            self.say_bye(ByeReason::TwoRecords);
            return true;
        }
        false
    }

    /// This node is primary: what is the peer's copy worth?
    fn drive(&mut self, hello: &Hello) {
        let Some(record) = self.record else { return };
        if hello.needs_full && self.sync.as_ref().is_some_and(|s| s.kind == SyncKind::Incremental) {
            // Our hello told the peer that its copy was set back (R21): what the bitmap says of
            // it counts no more. The next session begins with that.
            self.say_bye(ByeReason::Replaced);
        } else if record.members.contains(self.peer) {
            self.drive_member(hello, &record);
        } else if self.grow_holds(hello) {
            // A hello in the middle of a grow changes nothing.
        } else if self.peer_may_be_member() {
            // An attempt that names the peer is open: nothing moves before it is closed (R4).
            self.set_stage(Stage::Blocked { shrink: false });
        } else {
            self.drive_stranger(hello);
        }
    }

    fn drive_member(&mut self, hello: &Hello, record: &VolumeRecord) {
        let good = matches!(hello.disk, DiskState::UpToDate | DiskState::Consistent)
            && hello.generation == record.generation
            && self.meta.get().generation == record.generation
            && !hello.needs_full;
        let mark = InSyncMark { generation: record.generation, boot: hello.boot };
        let marked = hello.mark == Some(mark) || Mutant::KeepAcksOfDeadLife.on(); // R42
        // Blocks that the peer alone has open have to be made equal as well, and meanwhile its
        // reports count: without the mark they would be worth nothing against ours (R42).
        let equal = self.dirty.bitmap.count() == 0 && hello.dirty_blocks == 0;
        let quiet = equal && self.dirty.hot() == 0;
        let replicating = self.stage.replicates() || self.stage == Stage::Marking;
        if !good && replicating {
            // Writes are on their way to a copy that does not count any more.
            self.peer_disk_failed();
        } else if !good
            || self.reconcile_stuck
            || (!quiet && !replicating && (!marked || self.reports_void(hello)))
        {
            self.set_stage(Stage::Blocked { shrink: true });
        } else if replicating || self.stage == Stage::Preparing {
            // A hello in mid-session (a record was learned) changes nothing.
            if self.stage == Stage::Growing(Grow::Recording) {
                self.grown();
            }
        } else if !equal {
            if Mutant::ClearBitsOnEqualGeneration.on() {
                self.dirty.bitmap.clear_all(); // R9
            }
            self.begin_sync(SyncKind::Reconcile);
        } else {
            self.give_mark();
        }
    }

    /// Whether a grow under way is still worth something after this hello of the peer. What it has
    /// stored for (4) it loses with any record that it learns without being a member in it, and
    /// with its disk: the steps begin anew then. Before (4) it is inconsistent as it should be.
    fn grow_holds(&self, hello: &Hello) -> bool {
        match self.stage {
            Stage::Growing(Grow::Recording) => hello.disk == DiskState::UpToDate,
            Stage::Growing(_) => hello.disk != DiskState::Failed,
            _ => false,
        }
    }

    /// The peer is not a member: it becomes a resync target, unless it went its own way.
    fn drive_stranger(&mut self, hello: &Hello) {
        let reconciling = self.sync.as_ref().is_some_and(|s| s.kind == SyncKind::Reconcile);
        let under_way = match self.stage {
            Stage::Preparing => !reconciling,
            Stage::Syncing => true,
            _ => false,
        };
        if under_way {
            return;
        }
        if self.writes_with(Remote::Sent).is_empty() {
            self.give_up_remote(Remote::Lost);
        }
        if hello.disk == DiskState::Failed || self.waits_for_calm() {
            self.set_stage(Stage::Idle);
            return;
        }
        if self.pieces_on_the_way() {
            // They belong to members that were being made equal, and no order holds them back
            // until the target has prepared for more (R26). The next session begins without them.
            self.say_bye(ByeReason::Replaced);
            return;
        }
        match self.kinship(hello) {
            Kinship::Tracked => {
                // Reports of a life that nobody compares with are void too: this node may have
                // been started, or have taken over, since it last counted them.
                if self.synced_life.is_none() || self.reports_void(hello) {
                    self.dirty.dirty_unflushed();
                    self.void_reports();
                }
                self.begin_sync(SyncKind::Incremental);
                if Mutant::ClearBitsOnEqualGeneration.on() {
                    self.dirty.bitmap.clear_all(); // R9
                }
            }
            Kinship::Untracked => {
                self.void_reports();
                self.begin_sync(SyncKind::Full);
            }
            Kinship::Unrelated => {
                self.split_brain = true;
                self.note(Note::SplitBrain);
                self.say_bye(ByeReason::Unrelated);
            }
        }
    }

    /// A link that was lost again and again gets no resync, and so no chance to hold writes as a
    /// member's link, before it has held for a while (§3.1, link flapping).
    fn waits_for_calm(&mut self) -> bool {
        let flapping = self.losses.len() == FLAPS_MAX
            && self.losses.front().is_some_and(|first| self.now.since(*first) < FLAP_WINDOW);
        let calm = self.losses.back().map(|last| last.after(FLAP_CALM));
        self.calm_at = calm.filter(|at| flapping && *at > self.now);
        self.calm_at.is_some()
    }

    /// Whether the peer may have lost writes that it reported since both were last in sync: its
    /// host was started anew, or, where reports come from memory, its engine (R42). A node that
    /// does not know has taken everything with intent as dirty when it opened.
    fn reports_void(&self, hello: &Hello) -> bool {
        let Some((boot, start)) = self.synced_life else { return false };
        let rebooted = boot != hello.boot && !Mutant::KeepAcksOfDeadLife.on();
        let restarted = start != hello.start && !Mutant::KeepReportsOfDeadEngine.on();
        rebooted || (self.set.ack == AckMode::Received && restarted)
    }

    /// Nobody is primary: intent regions of members are made equal before anyone starts (R42).
    fn judge_secondaries(&mut self, hello: &Hello) {
        if matches!(self.stage, Stage::Preparing | Stage::Reconciling) {
            return;
        }
        let differs = self.dirty.bitmap.count() > 0 || hello.dirty_blocks > 0;
        let both = self.record.is_some_and(|record| {
            record.members.contains(self.node)
                && record.members.contains(self.peer)
                && self.meta.get().generation == record.generation
                && hello.generation == record.generation
        });
        let sound = |disk| matches!(disk, DiskState::UpToDate | DiskState::Consistent);
        if !both || !differs || !sound(self.disk) || !sound(hello.disk) {
            self.set_stage(Stage::Idle);
            return;
        }
        if self.winner(hello) == self.node {
            self.begin_sync(SyncKind::Reconcile);
        } else {
            self.set_stage(Stage::Following);
        }
    }

    /// The member that did not lose power wins; both did or neither: the last primary.
    fn winner(&self, hello: &Hello) -> NodeId {
        let generation = self.meta.get().generation;
        let kept =
            |mark: Option<InSyncMark>, boot: BootId| mark == Some(InSyncMark { generation, boot });
        let mine = kept(self.power_mark(), self.set.boot);
        let theirs = kept(hello.mark, hello.boot);
        if mine != theirs {
            return if mine { self.node } else { self.peer };
        }
        let last = self.record.and_then(|record| record.primary);
        let with_intent = match (self.dirty.hot() > 0, hello.hot_regions > 0) {
            (true, false) => self.node,
            (false, true) => self.peer,
            _ => NodeId::A,
        };
        last.unwrap_or(with_intent)
    }

    /// Ends the session from this side, and says why.
    pub(super) fn say_bye(&mut self, reason: ByeReason) {
        self.send(Message::Bye(reason));
        self.drop_session(DropReason::Said(reason), self.set.times.grace);
    }

    pub(super) fn drop_session(&mut self, why: DropReason, until_shrink: Span) {
        let Some(link) = &self.link else { return };
        let session = link.session;
        self.out.push_back(Action::DropLink { session, why });
        self.lose_session(until_shrink);
    }

    /// The session is over. What it carried is sorted: reported stays reported (R42), the rest is
    /// sent again or becomes dirty. A member that does not return within `until_shrink` is dead.
    pub(super) fn lose_session(&mut self, until_shrink: Span) {
        self.link = None;
        if self.losses.len() == FLAPS_MAX {
            self.losses.pop_front();
        }
        self.losses.push_back(self.now);
        self.calm_at = None;
        self.sync = None;
        self.reconcile_stuck = false;
        self.sync_sent = 0;
        self.verify = None;
        self.set_stage(Stage::Away);
        let due = self.now.after(until_shrink);
        self.shrink_at = Some(self.shrink_at.map_or(due, |at| at.min(due)));
        self.lose_pieces();
        self.lose_peer_reads();
        self.void_remote_flushes();
        for key in self.writes_with(Remote::Sent) {
            self.set_remote(key, Remote::Lost);
        }
        if !self.peer_required() {
            self.give_up_remote(Remote::Lost);
        }
        self.lose_follow_session();
        self.recheck = true;
        self.out.push_back(Action::StatusChanged);
    }

    /// A frame of the peer: only of this session, and nothing of an older epoch (R5, R20).
    pub(super) fn on_frame(
        &mut self,
        session: Session,
        epoch: Epoch,
        message: Message,
        buf: Option<BufId>,
    ) {
        let any = self.link.is_some() && Mutant::AcceptOldSession.on(); // R20
        if !self.is_live(session) && !any {
            self.refuse_frame(buf);
            return;
        }
        if let Some(link) = &mut self.link {
            link.heard = self.now;
        }
        self.peer_heard = Some(self.now);
        let fenced = epoch < self.stored_epoch() && !Mutant::AcceptOldEpoch.on(); // R5
        if fenced && changes_data(&message) {
            self.refuse_frame(buf);
            self.note(Note::OldEpochRefused);
            self.say_bye(ByeReason::OldEpoch);
            return;
        }
        self.on_message(message, buf);
    }

    /// Epoch of the newest record seen, durable or on its way.
    fn stored_epoch(&self) -> Epoch {
        self.meta.get().record.map_or(Epoch(0), |record| record.epoch)
    }

    pub(super) fn refuse_frame(&mut self, buf: Option<BufId>) {
        self.counters.frames_refused += 1;
        if let Some(buf) = buf {
            self.free(buf);
        }
    }

    fn on_message(&mut self, message: Message, buf: Option<BufId>) {
        match message {
            Message::Ping { stamp } => self.on_ping(stamp),
            Message::Pong { stamp } => self.on_pong(stamp),
            Message::Hello(hello) => self.on_hello(hello),
            Message::SyncBegin { round, kind, generation } => {
                self.on_sync_begin(round, kind, generation);
            }
            Message::Bits { round, first_word, words } => self.on_bits(round, first_word, &words),
            Message::BitsTaken { round } => self.on_bits_taken(round),
            Message::SyncReady { round } => self.on_sync_ready(round),
            Message::Flush { token } => self.on_peer_flush(token),
            Message::FlushDone { token, status } => self.on_flush_done(token, status),
            Message::MakeUpToDate { round, generation } => {
                self.on_make_up_to_date(round, generation);
            }
            Message::UpToDateDone { round } => self.on_up_to_date_done(round),
            Message::DropBits { .. } => self.on_drop_bits(),
            Message::Life { counter } => self.on_life(counter),
            Message::Bye(reason) => {
                self.split_brain |= self.told_apart(reason);
                self.drop_session(DropReason::PeerSaid(reason), self.set.times.grace);
            }
            Message::Write { token, at, fua } => self.on_peer_write(token, at, fua, buf),
            Message::SyncWrite { token, at } => self.on_peer_write(token, at, false, buf),
            Message::Zero { token, at, punch, fua } => self.on_peer_zero(token, at, punch, fua),
            Message::Ack { token, status } => self.on_ack(Key(token), status),
            Message::Read { token, at } => self.on_peer_read_request(token, at, false),
            Message::DigestRequest { token, at } => self.on_peer_read_request(token, at, true),
            Message::ReadDone { token, status, .. } => self.on_peer_read(Key(token), status, buf),
            Message::Digests { token, status, digests } => {
                self.on_peer_digests(Key(token), status, digests);
            }
        }
    }

    /// The device at hand is not the one that was left: it must be filled whole, and from then on
    /// it is ours. Its tail is written only after that is stored, or a crash would trust it.
    pub(super) fn distrust_device(&mut self, tail_life: u64, serial: String) {
        self.note(Note::DiskSwapped);
        self.disk = DiskState::Inconsistent;
        self.mark = None;
        let life = self.meta.get().life.max(tail_life);
        self.store(Then::SwapStored { life }, |sb| {
            sb.mark = None;
            sb.disk = DiskState::Inconsistent;
            sb.needs_full = true;
            sb.mark = None;
            sb.serial = serial;
        });
    }

    pub(super) fn bind_device(&mut self, life: u64) {
        self.advance_life(life + 1);
        self.advance_life(life + 2);
        self.say_hello();
    }

    /// A resumed or new copy is not the one that the metadata describes (R21): it must be filled
    /// whole. A primary that finds out stops answering.
    pub(super) fn distrust(&mut self, heard: u64) {
        let known = self.meta.get().needs_full && self.storing_life.is_some_and(|l| l > heard);
        if self.disk_failed || (known && self.disk == DiskState::Inconsistent) {
            return;
        }
        self.note(Note::DiskSwapped);
        self.disk = DiskState::Inconsistent;
        self.mark = None;
        self.out.push_back(Action::KeepMark { mark: None });
        if self.serves() && self.peer_is_member() {
            self.disk_failed = true;
        } else if self.serves() {
            self.fence();
        }
        self.store(Then::DistrustStored, |sb| {
            sb.disk = DiskState::Inconsistent;
            sb.needs_full = true;
            sb.mark = None;
        });
        self.advance_life(heard + 1);
    }
}

/// Whether a message may change data, metadata or what counts: those are fenced by epoch.
fn changes_data(message: &Message) -> bool {
    !matches!(
        message,
        Message::Ping { .. } | Message::Pong { .. } | Message::Hello(_) | Message::Bye(_)
    )
}
