//! The mirror state machine. Told what happened (`handle`), asked what to do (`poll_action`), asked
//! when to be woken (`deadline`). One file per concern; this one owns the whole and hands out work.
//! Always: an answer is given only when every node that may be a member holds what it promises.
//! Survives: a crash of either node or of this process between any two actions.

pub mod action;
mod bits;
mod checkpoint;
mod dirty;
mod discard;
pub mod event;
mod fence;
mod flush;
mod follow;
mod generation;
mod grow;
mod handshake;
mod ids;
mod meta;
pub mod mutant;
mod overlap;
mod pace;
mod piece;
mod read;
mod resync;
mod role;
mod sampling;
pub mod settings;
mod slab;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod timers;
mod verify;
mod write;

use crate::format::layout::Layout;
use crate::format::recover::{Finding, Recovered, SwapReason, TailVerdict};
use crate::format::superblock::Superblock;
use crate::limits::{CLIENT_OPS_MAX, FLAPS_MAX, INTERNAL_BUFS, SYNC_OPS_MAX};
use crate::units::{
    Counters, DiskState, Epoch, InSyncMark, NodeId, Role, Session, Tick, VolumeRecord,
};
use crate::wire::message::Message;
use action::{Action, Answered, Note, Refusal};
use checkpoint::Checkpoint;
use dirty::Dirty;
use event::{BufId, CmdId, DiskError, Event, OpId, ReqId, Request};
use flush::Flushes;
use follow::Follow;
use ids::Waiter;
use meta::Meta;
use mutant::Mutant;
use overlap::Overlap;
use pace::{Bounds, Pace};
use role::{Leaving, Promotion};
use settings::{AckMode, Settings};
use slab::{Key, Slab};
use state::{Kind, Link, Op, Pending, Stage, Sync, Then, Verify};
use std::collections::VecDeque;

/// Turns of the pump per event: each ends in a state that the next one may move on, and the chain
/// of stages is shorter than this.
const PUMP_TURNS_MAX: usize = 8;

/// What the daemon was last told, so that each change is told once.
#[derive(Default)]
struct Told {
    need: Option<crate::units::Need>,
    /// Whether the lease was valid.
    lease: bool,
}

/// One node's half of a mirrored volume.
pub struct Replica {
    set: Settings,
    now: Tick,
    node: NodeId,
    peer: NodeId,
    layout: Layout,

    // What is durable, and what is being made durable.
    meta: Meta,
    pending: VecDeque<Pending>,
    /// The record that is acted on: durable. `meta` may already have a newer one on its way.
    record: Option<VolumeRecord>,
    adopting: bool,
    storing_life: Option<u64>,
    writing_life: u64,
    /// The life counter that is durable in tail and superblock: what the peer may be told.
    life_told: u64,
    next_life: Tick,
    dirty: Dirty,
    checkpoint: Option<Checkpoint>,
    next_checkpoint: Tick,

    // What this node is.
    role: Role,
    disk: DiskState,
    promotion: Option<Promotion>,
    leaving: Option<Leaving>,
    mark: Option<InSyncMark>,
    disk_failed: bool,
    meta_failed: bool,
    split_brain: bool,

    // The peer.
    link: Option<Link>,
    stage: Stage,
    stage_since: Tick,
    round: u64,
    peer_heard: Option<Tick>,
    peer_boot: Option<crate::units::BootId>,
    /// Life of the peer in which both were last in sync (R42); nothing is known after a start.
    synced_life: Option<(crate::units::BootId, crate::units::StartId)>,
    /// When a missing member counts as dead.
    shrink_at: Option<Tick>,
    /// When the last sessions were lost.
    losses: VecDeque<Tick>,
    /// A flapping link is given no resync before then.
    calm_at: Option<Tick>,
    lease_until: Tick,
    silent: bool,
    pong_sent: Option<Tick>,
    follow: Follow,

    // Work.
    ops: Slab<Op>,
    next_seq: u64,
    locks: Overlap,
    granted: Vec<Key>,
    gated: VecDeque<Key>,
    /// Gates may have opened.
    recheck: bool,
    /// A flush or a step of leaving was started behind its turn of the pump.
    again: bool,
    intent_waits: Vec<Key>,
    table_waits: VecDeque<Key>,
    flushes: Flushes,
    sync: Option<Sync>,
    pace: Pace,
    /// Bytes of data that travelled in the last round, which may be over.
    sync_sent: u64,
    sync_paused: bool,
    /// What members must have made equal can be read on neither side: see `reconcile_stuck`.
    reconcile_stuck: bool,
    /// Operations admitted before this number must drain before the peer counts (R27 2).
    tighten_seq: u64,
    verify: Option<Verify>,
    verify_mismatches: u64,
    bufs: Vec<u32>,
    held_since: Option<Tick>,
    suspend_max: Option<crate::units::Span>,
    acked_at: Tick,
    next_watch: Tick,
    told: Told,

    counters: Counters,
    out: VecDeque<Action>,
}

/// Why a replica can't be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenRefused {
    /// The superblock describes a volume of no size.
    EmptyVolume,
}

/// Every buffer that belongs to the replica, the first one on top.
fn all_bufs() -> Vec<u32> {
    (0..u32::try_from(INTERNAL_BUFS).expect("few buffers")).rev().collect()
}

/// The mark of the superblock, if it still proves something: a reboot voids it, and so does a
/// restart where reports come from memory (R42).
fn kept_mark(sb: &Superblock, settings: &Settings) -> Option<InSyncMark> {
    let written = settings.ack == AckMode::Written;
    sb.mark.filter(|mark| mark.boot == settings.boot && written)
}

fn pace_bounds(settings: &Settings) -> Bounds {
    let Settings { sync_rate_floor, sync_rate_max, sync_delay_target, .. } = *settings;
    Bounds { floor: sync_rate_floor, cap: sync_rate_max, target: sync_delay_target }
}

impl Replica {
    /// Takes over what recovery found. The role is secondary, the disk at best `Consistent` (R10).
    pub fn open(
        settings: Settings,
        recovered: Recovered,
        now: Tick,
    ) -> Result<Replica, OpenRefused> {
        if recovered.superblock.size == 0 {
            return Err(OpenRefused::EmptyVolume);
        }
        let swapped = !matches!(recovered.tail, TailVerdict::Matches | TailVerdict::OneAhead);
        let tail_life = match &recovered.tail {
            TailVerdict::Swapped { reason: SwapReason::Life { tail, .. } } => *tail,
            _ => 0,
        };
        let serial = recovered.device_serial.clone();
        let damaged = recovered.findings.clone();
        let mut replica = Replica::assemble(settings, recovered, now);
        for finding in &damaged {
            if let (true, Finding::BitmapPage { page, .. }) =
                (Mutant::TrustDamagedBitmap.on(), finding)
            {
                let blocks = replica.dirty.bitmap.blocks_of_page(*page);
                replica.dirty.bitmap.clear(blocks); // R23
            }
        }
        if swapped && !Mutant::TrustRestoredSnapshot.on() {
            replica.distrust_device(tail_life, serial); // R21
        }
        if replica.dirty.is_log_lost() {
            // Everything is dirty; the log counts again once the bitmap says so on disk.
            replica.start_full_checkpoint();
        }
        if replica.meta.get().disk == DiskState::Failed {
            // Somebody has mended or replaced the device: what it holds is to be filled whole.
            replica.disk = DiskState::Inconsistent;
            replica.store(Then::DistrustStored, |sb| {
                sb.disk = DiskState::Inconsistent;
                sb.needs_full = true;
            });
        }
        replica.pump();
        Ok(replica)
    }

    fn assemble(settings: Settings, recovered: Recovered, now: Tick) -> Replica {
        let sb = recovered.superblock;
        let layout = Layout::new(sb.size, sb.intent_regions);
        Replica {
            now,
            node: sb.node,
            peer: sb.node.peer(),
            layout,
            record: sb.record,
            adopting: false,
            storing_life: None,
            writing_life: 0,
            life_told: sb.life,
            next_life: now,
            dirty: Dirty::open(recovered.bitmap, recovered.log, layout, now),
            checkpoint: None,
            next_checkpoint: now,
            role: Role::Secondary,
            disk: if sb.disk == DiskState::UpToDate { DiskState::Consistent } else { sb.disk },
            promotion: None,
            leaving: None,
            mark: kept_mark(&sb, &settings),
            disk_failed: false,
            meta_failed: false,
            split_brain: false,
            link: None,
            stage: Stage::Away,
            stage_since: now,
            round: 0,
            peer_heard: None,
            peer_boot: None,
            synced_life: None,
            shrink_at: None,
            losses: VecDeque::with_capacity(FLAPS_MAX),
            calm_at: None,
            lease_until: Tick(0),
            silent: false,
            pong_sent: None,
            follow: Follow::default(),
            ops: Slab::with_capacity(CLIENT_OPS_MAX + SYNC_OPS_MAX),
            next_seq: 0,
            locks: Overlap::new(CLIENT_OPS_MAX + SYNC_OPS_MAX),
            granted: Vec::with_capacity(CLIENT_OPS_MAX),
            gated: VecDeque::new(),
            recheck: false,
            again: false,
            intent_waits: Vec::new(),
            table_waits: VecDeque::new(),
            flushes: Flushes::default(),
            sync: None,
            pace: Pace::new(pace_bounds(&settings), now),
            sync_sent: 0,
            sync_paused: false,
            reconcile_stuck: false,
            tighten_seq: 0,
            verify: None,
            verify_mismatches: 0,
            bufs: all_bufs(),
            held_since: None,
            suspend_max: settings.times.suspend_max,
            acked_at: now,
            next_watch: now,
            told: Told::default(),
            counters: Counters::default(),
            out: VecDeque::with_capacity(4 * CLIENT_OPS_MAX),
            pending: VecDeque::new(),
            meta: Meta::open(sb, recovered.heal),
            set: settings,
        }
    }

    /// Tells what happened. `now` never goes back.
    pub fn handle(&mut self, event: Event, now: Tick) {
        self.now = self.now.max(now);
        match event {
            Event::Request { req, what } => self.on_request(req, what),
            Event::DiskDone { op, result } => self.on_disk_done(op, result),
            Event::DigestsDone { op, digests } => self.on_digests_done(op, digests),
            Event::LinkUp { session, peer, peer_boot, peer_start } => {
                self.on_link_up(session, peer, peer_boot, peer_start);
            }
            Event::LinkDown { session } => {
                if self.is_live(session) {
                    self.lose_session(self.set.times.grace);
                }
            }
            Event::Frame { session, epoch, message, buf } => {
                self.on_frame(session, epoch, message, buf);
            }
            Event::Command { cmd, what } => self.on_command(cmd, what),
            Event::Wake => {}
        }
        self.pump();
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// Everything that follows from the event, until nothing more does.
    fn pump(&mut self) {
        self.run_timers();
        for _ in 0..PUMP_TURNS_MAX {
            self.run_due();
            if self.recheck {
                self.recheck = false;
                self.open_gates();
            }
            self.pump_stage();
            self.pump_flushes();
            self.pump_checkpoint();
            self.pump_leaving();
            self.pump_promotion();
            if !std::mem::take(&mut self.again) && !self.recheck {
                break;
            }
        }
        self.pump_metadata();
    }

    /// Starts the metadata writes that are wanted.
    fn pump_metadata(&mut self) {
        if self.meta_failed {
            return;
        }
        if let Some((page, bytes)) = self.dirty.next_transaction() {
            self.out.push_back(Action::MetaWrite { op: Waiter::Intent.id(), page, bytes });
        }
        if let Some((page, bytes)) = self.meta.next_write() {
            self.out.push_back(Action::MetaWrite { op: Waiter::Superblock.id(), page, bytes });
        }
    }

    fn on_request(&mut self, req: ReqId, what: Request) {
        if self.role != Role::Primary {
            if let Request::Write { buf, .. } = what {
                self.out.push_back(Action::Free { buf });
            }
            self.answer(req, Answered::ShuttingDown);
            return;
        }
        match what {
            Request::Read { at, buf } => self.admit_read(req, at, buf),
            Request::Write { at, buf, fua } => self.admit_write(req, at, Some(buf), false, fua),
            Request::Zero { at, punch, fua } => self.admit_write(req, at, None, punch, fua),
            Request::Flush => self.admit_flush(req),
        }
    }

    fn on_disk_done(&mut self, op: OpId, result: Result<(), DiskError>) {
        match Waiter::of(op) {
            Some(Waiter::Op(key)) => self.on_op_disk(key, result),
            Some(Waiter::Follow(key)) => self.on_follow_disk(key, result),
            Some(Waiter::LocalFlush) => self.on_local_flushed(result),
            Some(Waiter::FollowFlush) => self.on_follow_flushed(result),
            Some(Waiter::BitmapPage(page)) => self.on_bitmap_page(page, result),
            Some(Waiter::Intent) => match result {
                Ok(()) => self.on_intent_durable(),
                Err(error) => self.fail_metadata(error),
            },
            Some(Waiter::Superblock) => match result {
                Ok(()) => {
                    if let Some((page, bytes)) = self.meta.write_done() {
                        let op = Waiter::Superblock.id();
                        self.out.push_back(Action::MetaWrite { op, page, bytes });
                    }
                }
                Err(error) => self.fail_metadata(error),
            },
            Some(Waiter::Tail) => self.on_tail_done(result),
            None => panic!("a completion names no operation of ours"),
        }
    }

    fn on_op_disk(&mut self, key: Key, result: Result<(), DiskError>) {
        let Some(op) = self.ops.get(key) else {
            panic!("a disk operation ended after its owner was gone");
        };
        match op.kind {
            Kind::Read(_) => self.on_read_done(key, result),
            Kind::Write(_) => self.on_write_done(key, result),
            Kind::Piece(_) => self.on_piece_disk(key, result),
            Kind::Repair(_) => self.on_repair_disk(key, result),
        }
    }

    fn on_digests_done(&mut self, op: OpId, digests: Box<[crate::units::Digest]>) {
        match Waiter::of(op) {
            Some(Waiter::Op(key)) => self.on_piece_digests(key, digests),
            Some(Waiter::Follow(key)) => self.on_follow_digests(key, digests),
            _ => panic!("digests for an operation that asked for none"),
        }
    }

    /// Superblock changes that have become durable, in order.
    fn run_due(&mut self) {
        while self.pending.front().is_some_and(|first| self.meta.is_due(first.ticket)) {
            let Some(Pending { then, .. }) = self.pending.pop_front() else { return };
            self.run_then(then);
        }
    }

    fn run_then(&mut self, then: Then) {
        match then {
            Then::Learned { record, cmd } => self.learned(record, cmd),
            Then::Promoted { record, cmd } => self.promotion_stored(record, cmd),
            Then::Adopted => self.adoption_stored(),
            Then::Replied { cmd } => self.reply(cmd, Ok(())),
            Then::TargetReady { session, round, kind } => {
                self.target_ready(session, round, kind);
            }
            Then::UpToDate { session, round } => self.up_to_date_stored(session, round),
            Then::LifeStored { counter } => self.life_stored(counter),
            Then::DemoteStored => self.demote_stored(),
            Then::StopStored => self.out.push_back(Action::Stopped),
            Then::Discarded { cmd } => self.discarded(cmd),
            Then::DistrustStored => self.say_hello(),
            Then::SwapStored { life } => self.bind_device(life),
        }
    }

    /// Changes the superblock and continues with `then` when that is durable.
    fn store(&mut self, then: Then, change: impl FnOnce(&mut Superblock)) {
        let ticket = self.meta.update(change);
        self.pending.push_back(Pending { ticket, then });
    }

    // --- small things that every file uses ---

    fn answer(&mut self, req: ReqId, result: Answered) {
        if result != Answered::Ok {
            self.counters.errors += 1;
        }
        self.out.push_back(Action::Answer { req, result });
    }

    fn reply(&mut self, cmd: CmdId, result: Result<(), Refusal>) {
        self.out.push_back(Action::Reply { cmd, result });
    }

    fn note(&mut self, note: Note) {
        self.out.push_back(Action::Note(note));
        self.out.push_back(Action::StatusChanged);
    }

    fn free(&mut self, buf: BufId) {
        match buf.as_internal() {
            Some(index) => self.bufs.push(index),
            None => self.out.push_back(Action::Free { buf }),
        }
    }

    /// Sends in the live session; `false` when there is none.
    fn send(&mut self, message: Message) -> bool {
        self.send_payload(message, None, 0)
    }

    fn send_payload(&mut self, message: Message, buf: Option<BufId>, skip: u32) -> bool {
        let epoch = self.epoch();
        let Some(link) = &self.link else { return false };
        self.out.push_back(Action::Send { session: link.session, epoch, message, buf, skip });
        true
    }

    fn is_live(&self, session: Session) -> bool {
        self.link.as_ref().is_some_and(|link| link.session == session)
    }

    fn epoch(&self) -> Epoch {
        self.record.map_or(Epoch(0), |record| record.epoch)
    }

    fn serves(&self) -> bool {
        matches!(self.role, Role::Primary | Role::Demoting)
    }

    /// Whether an answer needs the peer's report: it is, or may be, a member, or becomes one (R27).
    fn peer_required(&self) -> bool {
        self.peer_may_be_member() || matches!(self.stage, Stage::Growing(_))
    }

    /// Whether the peer is a member in the record that is acted on, in the one on its way to the
    /// disk, or in one that an open attempt may yet install (R4).
    fn peer_may_be_member(&self) -> bool {
        let peer = self.peer;
        let names = |record: &VolumeRecord| record.members.contains(peer);
        let attempts = self.meta.get().attempts.iter().flatten();
        let mut attempts = attempts.filter(|_| !Mutant::IgnoreOpenAttempt.on()); // R4
        let acted_on = self.record.as_ref().filter(|_| !Mutant::AckBeforeRecord.on()); // R6
        acted_on.is_some_and(names)
            || self.meta.get().record.as_ref().is_some_and(names)
            || attempts.any(|attempt| names(&attempt.wanted))
    }

    /// Whether the peer is a member, in the record that is acted on or in the one on its way.
    fn peer_is_member(&self) -> bool {
        let names = |record: &VolumeRecord| record.members.contains(self.peer);
        self.record.as_ref().is_some_and(names)
            || self.meta.get().record.as_ref().is_some_and(names)
    }

    fn set_stage(&mut self, stage: Stage) {
        if self.stage != stage {
            self.stage = stage;
            self.stage_since = self.now;
            self.recheck = true;
            self.out.push_back(Action::StatusChanged);
        }
    }

    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }
}
