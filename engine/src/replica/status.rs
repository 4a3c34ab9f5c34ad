//! What the replica tells of itself.

use super::Replica;
use super::state::{Grow, Stage};
use crate::limits::ATTEMPTS_MAX;
use crate::units::{
    BLOCK_BYTES, LinkState, Members, Mirror, OpenAttempt, Role, Status, VolumeRecord,
};

impl Replica {
    /// Whether this process is to end: another one may serve here soon.
    pub fn is_stopping(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.stop)
    }

    /// Whether the last record is one under which this node may serve, now or later.
    pub fn may_serve(&self) -> bool {
        let names = |record: &VolumeRecord| {
            record.primary == Some(self.node) && record.members.contains(self.node)
        };
        self.record.as_ref().is_some_and(names)
    }

    /// A snapshot for the daemon and for people.
    pub fn status(&self) -> Status {
        let sb = self.meta.get();
        let hello = self.link.as_ref().and_then(|link| link.hello.as_ref());
        let alone = self.record.is_some_and(|r| r.members == Members::only(self.node));
        let sync = self.sync.as_ref();
        let mut attempts: Vec<OpenAttempt> = Vec::with_capacity(ATTEMPTS_MAX);
        attempts.extend(self.meta.open_attempts());
        Status {
            volume: sb.volume,
            node: self.node,
            boot: self.set.boot,
            start: self.set.start,
            primary_boot: sb.primary_boot,
            role: self.role,
            disk: self.disk,
            peer_disk: hello.map(|hello| hello.disk),
            peer_role: hello.map(|hello| hello.role),
            generation: sb.generation,
            record: self.record,
            epoch: self.epoch(),
            attempts,
            link: self.link_state(),
            peer_heard: self.peer_heard,
            peer_boot: self.peer_boot,
            pong_sent: self.pong_sent,
            silent: self.is_silent(),
            lease_until: if alone { None } else { Some(self.lease_until) },
            mirror: self.mirror(),
            need: self.need(),
            held_since: self.held_since,
            dirty_blocks: self.dirty.bitmap.count(),
            hot_regions: self.dirty.hot(),
            reconcile_pending: self.reconcile_pending(),
            reconcile_stuck: self.reconcile_stuck,
            sync_done_blocks: sync.map_or(0, |sync| sync.done),
            sync_total_blocks: sync.map_or(0, |sync| sync.total),
            sync_sent_bytes: self.sync_sent,
            sync_paused: self.sync_paused,
            verify_done_blocks: self.verify.as_ref().map(|verify| verify.compared),
            verify_mismatches: self.verify_mismatches,
            mark: self.mark,
            split_brain: self.split_brain,
            needs_full: sb.needs_full,
            client_ops: u32::try_from(self.ops.len()).unwrap_or(u32::MAX),
            // The replica does not know of connections; the shell fills it in.
            client_ops_dead: 0,
            device: None,
            stopping: self.is_stopping(),
            counters: self.counters,
        }
    }

    /// Exported bytes.
    pub fn size(&self) -> u64 {
        self.layout.blocks() * BLOCK_BYTES
    }

    fn link_state(&self) -> LinkState {
        match (&self.link, self.stage) {
            (None, _) => LinkState::Down,
            (Some(link), _) if link.hello.is_none() || !link.hello_sent => LinkState::Greeting,
            (Some(_), _) => LinkState::Up,
        }
    }

    /// Members differ where intent is open: nobody may start before that is made equal (R42).
    fn reconcile_pending(&self) -> bool {
        let both = self.record.is_some_and(|record| record.members == Members::BOTH);
        let hello = self.link.as_ref().and_then(|link| link.hello.as_ref());
        let differs = self.dirty.bitmap.count() > 0
            || (hello.is_some_and(|hello| hello.dirty_blocks > 0)
                && self.stage == Stage::Following);
        both && self.role == Role::Secondary && differs
    }

    fn mirror(&self) -> Mirror {
        match self.stage {
            Stage::Following if self.disk == crate::units::DiskState::Inconsistent => {
                Mirror::SyncTarget
            }
            Stage::Following => Mirror::InSync,
            Stage::Preparing | Stage::Syncing => Mirror::SyncSource,
            Stage::Growing(Grow::Draining | Grow::Flushing | Grow::Persisting) => Mirror::Growing,
            Stage::Growing(Grow::Recording) => Mirror::Growing,
            Stage::Reconciling => Mirror::Reconciling,
            Stage::Mirrored => Mirror::InSync,
            Stage::Away | Stage::Greeting | Stage::Blocked { .. } | Stage::Marking => {
                if !self.serves() {
                    Mirror::Idle
                } else if self.peer_required() {
                    Mirror::Holding
                } else {
                    Mirror::Solo
                }
            }
            Stage::Idle if self.serves() => Mirror::Solo,
            Stage::Idle => Mirror::Idle,
        }
    }
}
