//! Flushes: of clients, and of our own for checkpoints, growth, resync and hand-over (R16, R17).
//! Always: a client's flush is answered when every node that may be a member has made stable what
//! was answered before; local and remote flushes run in parallel, each kind batched.

use super::Replica;
use super::action::{Action, Answered};
use super::event::{DiskError, ReqId};
use super::ids::Waiter;
use super::mutant::Mutant;
use crate::wire::message::{ByeReason, Message, Status};

/// Who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FlushFor {
    Client(ReqId),
    Checkpoint,
    /// The round that asked: another one's flush proves nothing.
    Grow(u64),
    /// See `Grow`.
    Reconciled(u64),
    SyncTarget,
    Leaving,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leg {
    NotNeeded,
    Wanted,
    Running,
    Done,
    /// The session ended or the disk refused: nothing is known.
    Void,
}

struct FlushOp {
    who: FlushFor,
    local: Leg,
    remote: Leg,
}

/// Flushes under way.
#[derive(Default)]
pub(super) struct Flushes {
    ops: Vec<FlushOp>,
    local_running: bool,
    remote_running: Option<u64>,
    next_token: u64,
    /// Client flushes that wait until every intent region is reconciled (R41).
    held: Vec<ReqId>,
    /// The flush that follows a reconcile is under way.
    pub reconciled: bool,
}

impl Flushes {
    pub fn is_idle(&self) -> bool {
        self.ops.is_empty() && self.held.is_empty()
    }

    fn has_clients(&self) -> bool {
        !self.held.is_empty() || self.ops.iter().any(|op| matches!(op.who, FlushFor::Client(_)))
    }

    pub fn clients_waiting(&self) -> usize {
        let running = self.ops.iter().filter(|op| matches!(op.who, FlushFor::Client(_)));
        running.count() + self.held.len()
    }
}

impl Replica {
    pub(super) fn admit_flush(&mut self, req: ReqId) {
        if self.flush_must_wait() {
            self.flushes.held.push(req);
        } else {
            self.start_flush(FlushFor::Client(req), self.peer_required());
        }
    }

    /// The restarted engine does not know in which life the peer reported: until every intent
    /// region is equal again, no flush means anything.
    fn flush_must_wait(&self) -> bool {
        self.peer_required() && self.dirty.bitmap.count() > 0
    }

    /// Starts a flush of this node, and of the peer when `remote`.
    pub(super) fn start_flush(&mut self, who: FlushFor, remote: bool) {
        self.again = true;
        let local = if who == FlushFor::SyncTarget { Leg::Done } else { Leg::Wanted };
        let remote = if remote { Leg::Wanted } else { Leg::NotNeeded };
        self.flushes.ops.push(FlushOp { who, local, remote });
    }

    pub(super) fn pump_flushes(&mut self) {
        if !self.flushes.held.is_empty() && !self.flush_must_wait() {
            for req in std::mem::take(&mut self.flushes.held) {
                self.start_flush(FlushFor::Client(req), self.peer_required());
            }
        }
        if self.flushes.ops.is_empty() {
            return;
        }
        self.require_remote();
        self.start_local();
        self.start_remote();
        self.end_flushes();
    }

    /// A membership that became tighter after a flush was admitted counts for it (R27 1).
    fn require_remote(&mut self) {
        if !self.peer_required() {
            return;
        }
        for op in &mut self.flushes.ops {
            let client = matches!(op.who, FlushFor::Client(_));
            if client && matches!(op.remote, Leg::NotNeeded | Leg::Void) {
                op.remote = Leg::Wanted;
            }
        }
    }

    fn start_local(&mut self) {
        if self.flushes.local_running || (self.disk_failed && self.serves()) {
            return; // A flush behind a failed one would prove nothing.
        }
        for op in &mut self.flushes.ops {
            if op.local == Leg::Wanted {
                op.local = Leg::Running;
                self.flushes.local_running = true;
            }
        }
        if self.flushes.local_running {
            self.out.push_back(Action::DiskFlush { op: Waiter::LocalFlush.id() });
        }
    }

    fn start_remote(&mut self) {
        if self.flushes.remote_running.is_some() || !self.stage.flushes() {
            return;
        }
        let mut wanted = false;
        for op in &mut self.flushes.ops {
            if op.remote == Leg::Wanted {
                op.remote = Leg::Running;
                wanted = true;
            }
        }
        if wanted {
            self.flushes.next_token += 1;
            let token = self.flushes.next_token;
            self.flushes.remote_running = Some(token);
            self.send(Message::Flush { token });
        }
    }

    /// Answers and continues what is complete.
    fn end_flushes(&mut self) {
        let required = self.peer_required() && !Mutant::FlushLocallyOnly.on(); // R17
        let adopted = self.peer_required() || self.adopted();
        let reachable = self.peer_required() || self.stage.flushes();
        let mut index = 0;
        while index < self.flushes.ops.len() {
            let op = &self.flushes.ops[index];
            let client = matches!(op.who, FlushFor::Client(_));
            let remote = match op.remote {
                Leg::Done | Leg::NotNeeded => true,
                Leg::Void => !client,
                Leg::Wanted if !client => !reachable,
                Leg::Wanted | Leg::Running => client && !required,
            };
            let remote = remote && (!client || !required || op.remote == Leg::Done);
            if op.local == Leg::Done && remote && (adopted || !client) {
                let op = self.flushes.ops.swap_remove(index);
                self.end_flush(op.who, op.remote == Leg::Done);
            } else {
                if op.local == Leg::Done && remote && !adopted {
                    self.adopt();
                }
                index += 1;
            }
        }
    }

    fn end_flush(&mut self, who: FlushFor, remote_done: bool) {
        match who {
            FlushFor::Client(req) => {
                self.counters.flushes += 1;
                self.answer(req, Answered::Ok);
            }
            FlushFor::Checkpoint => self.checkpoint_flushed(remote_done),
            FlushFor::Grow(round) => self.grow_flushed(round, remote_done),
            FlushFor::Reconciled(round) => self.reconcile_flushed(round, remote_done),
            FlushFor::SyncTarget => self.target_flushed(remote_done),
            FlushFor::Leaving => self.leaving_flushed(remote_done),
        }
    }

    pub(super) fn on_local_flushed(&mut self, result: Result<(), DiskError>) {
        self.flushes.local_running = false;
        if let Err(error) = result {
            // The kernel may have dropped what it could not write: this copy is not to be trusted.
            self.fail_disk(error);
            self.fail_flushes();
            return;
        }
        for op in &mut self.flushes.ops {
            if op.local == Leg::Running {
                op.local = Leg::Done;
            }
        }
        self.end_flushes();
    }

    /// What the flush was for ends without it: clients get an error, or wait for the hand-over
    /// when the peer is a member.
    fn fail_flushes(&mut self) {
        let hand_over = self.peer_is_member();
        let mut failed = Vec::new();
        self.flushes.ops.retain_mut(|op| {
            if op.local != Leg::Running {
                return true;
            }
            op.local = Leg::Void;
            let keep = hand_over && matches!(op.who, FlushFor::Client(_));
            if !keep {
                failed.push(op.who);
            }
            keep
        });
        for who in failed {
            match who {
                FlushFor::Client(req) => self.answer(req, Answered::IoError),
                FlushFor::Checkpoint => self.put_off_checkpoint(),
                FlushFor::Leaving => self.fence(),
                FlushFor::Grow(_) | FlushFor::Reconciled(_) | FlushFor::SyncTarget => {
                    self.flushes.reconciled = false;
                    self.say_bye(ByeReason::Failed);
                }
            }
        }
    }

    pub(super) fn on_flush_done(&mut self, token: u64, status: Status) {
        if self.flushes.remote_running != Some(token) {
            return;
        }
        self.flushes.remote_running = None;
        self.acked_at = self.now;
        for op in &mut self.flushes.ops {
            if op.remote == Leg::Running {
                op.remote = if status == Status::Ok { Leg::Done } else { Leg::Void };
            }
        }
        if status == Status::IoError {
            self.peer_disk_failed();
        }
    }

    pub(super) fn is_remote_flush_running(&self) -> bool {
        self.flushes.remote_running.is_some()
    }

    /// Another resync begins in the same session: what the target is flushing for the earlier one
    /// says nothing of what this one will send (R16).
    pub(super) fn disown_target_flush(&mut self) {
        self.flushes.ops.retain(|op| op.who != FlushFor::SyncTarget);
    }

    /// The session is gone: what the peer was flushing is not known. Clients' flushes are asked
    /// again in the next session, or need the peer no more; our own end without it.
    pub(super) fn void_remote_flushes(&mut self) {
        self.flushes.remote_running = None;
        self.disown_target_flush();
        for op in &mut self.flushes.ops {
            if matches!(op.remote, Leg::Running | Leg::Wanted) {
                let client = matches!(op.who, FlushFor::Client(_));
                op.remote = if client { Leg::Wanted } else { Leg::Void };
            }
        }
    }

    /// This node may not answer any more.
    pub(super) fn abort_client_flushes(&mut self) {
        if !self.flushes.has_clients() {
            return;
        }
        let mut reqs = std::mem::take(&mut self.flushes.held);
        for op in &self.flushes.ops {
            if let FlushFor::Client(req) = op.who {
                reqs.push(req);
            }
        }
        self.flushes.ops.retain(|op| !matches!(op.who, FlushFor::Client(_)));
        for req in reqs {
            self.answer(req, Answered::IoError);
        }
    }
}
