//! The simulated operator: creates the volume, starts what nobody serves, and after healing does
//! what a person would do with broken devices. Never forces while an orderly way exists.

use super::judge::{index, show_tick};
use super::necessity::Way;
use super::partition::{blank_disk, blank_superblock};
use super::world::{What, World};
use lockstep_ctl::decide::event::Verb;
use lockstep_engine::units::{DiskState, NodeId, Span};

/// How long after healing before the operator accepts loss where a copy is gone for good.
const DESPAIR: Span = Span::millis(60_000);
/// How long before the operator goes to the machines: stops what only seems to live, or says that
/// it serves nothing.
const GO_THERE: Span = Span::millis(30_000);
/// How long a host is off whose group another one is to take over.
const SWITCHED_OFF: Span = Span::millis(25_000);
/// The operator looks this often.
const OPERATOR: Span = Span::millis(2_000);

impl World {
    /// The operator looks: creates the volume, starts what is down, replaces what is broken.
    pub fn operator_tick(&mut self) {
        let now = self.now();
        self.queue.after(OPERATOR, What::OperatorTick);
        self.check_held(Span::millis(60_000));
        let served = [NodeId::A, NodeId::B].into_iter().any(|node| self.serves(node));
        if served && (!self.healed || self.group_is_up()) {
            self.idle_since = now;
            self.bring_back_daemons();
        }
        let Some(record) = self.arbiter.record.clone() else {
            self.operator(NodeId::A, Verb::Create { both_blank: true });
            return;
        };
        if self.healed {
            self.repair();
        }
        let young = record.version.0 == 1 && self.plan.group.is_none();
        if !young && now.since(self.idle_since) < self.plan.patience {
            return;
        }
        let down = now.since(self.idle_since.max(self.healed_at));
        if self.healed && self.plan.group.is_some() && !self.group_operator(down) {
            return;
        }
        let down = Span(down.0.saturating_sub(self.group_patience().0));
        if self.healed && down > DESPAIR && self.despair() {
            return;
        }
        if self.healed && down > GO_THERE && self.go_there() {
            return;
        }
        let members: Vec<NodeId> = Vec::from(self.members());
        let spoiled = |node: &NodeId| members.contains(node) && !self.good(*node);
        let node = match record.owner {
            // A person reads in `status` that this copy can't serve.
            Some(owner) if spoiled(&owner) && self.random.chance(800) => owner.peer(),
            Some(owner) if self.random.chance(600) => owner,
            // A person may be wrong about who is a member.
            _ if self.random.chance(250) => [NodeId::A, NodeId::B][self.random.index(2)],
            _ => members[self.random.index(members.len())],
        };
        let verb = match record.owner {
            Some(owner) if owner != node => Verb::Takeover,
            _ => Verb::Start { without_peer: false },
        };
        self.operator(node, verb);
    }

    /// P6: nothing is held longer than the engine's own limit, and the time to find out.
    pub fn check_held(&mut self, slack: Span) {
        let now = self.now();
        let limit = self.plan.times.suspend_max.unwrap_or(Span(u64::MAX / 2));
        let limit = limit.plus(slack);
        for node in [NodeId::A, NodeId::B] {
            if let Some(since) = self.oldest_request(node)
                && now.since(since) > limit
                && self.hosts[index(node)].frozen_until <= now
            {
                let text = format!(
                    "P6: node {node}: a request of {} is still unanswered; {}",
                    show_tick(since),
                    self.describe()
                );
                self.judge.violate(text);
            }
        }
    }

    /// Repairs devices: starts engines again, replaces disks, formats what can't be read.
    fn repair(&mut self) {
        for node in [NodeId::A, NodeId::B] {
            let spare = self.members().contains(node.peer()) && self.good(node.peer());
            let failed = self.disk_state(node) == Some(DiskState::Failed);
            let refused = self.host(node).refused.is_some() && self.host(node).engine.is_none();
            if self.host(node).broken {
                self.host(node).broken = false;
                self.kill_engine(node, Some(Span::millis(500)));
            } else if refused && spare {
                let tag = self.random.wide();
                let (blocks, regions) = (self.plan.blocks, self.plan.intent_regions);
                let host = self.host(node);
                let fresh = blank_superblock(node, blocks, regions, tag, &host.serial);
                host.disk = blank_disk(&fresh);
                host.content_lost = true;
                host.refused = None;
                self.say(|| format!("{node}: formatted again"));
            } else if failed && (spare || !self.members().contains(node)) {
                self.power_off(node);
                self.host(node).disk.swap();
                self.new_device(node);
                self.queue.after(Span::millis(500), What::PowerOn { node });
                self.say(|| format!("{node}: disk replaced"));
            }
        }
    }

    fn disk_state(&self, node: NodeId) -> Option<DiskState> {
        let engine = self.hosts[index(node)].engine.as_ref()?;
        let status = engine.replica.status();
        Some(if status.needs_full { DiskState::Inconsistent } else { status.disk })
    }

    fn good(&self, node: NodeId) -> bool {
        let state = self.disk_state(node);
        matches!(state, Some(DiskState::UpToDate | DiskState::Consistent))
            && !self.hosts[index(node)].content_lost
    }

    /// Every member's disks were hit by faults and no copy is usable: nothing but a backup helps
    /// (§3.1, DP).
    pub fn last_copy_lost(&self) -> bool {
        let usable = |node: &NodeId| {
            let state = self.disk_state(*node);
            state != Some(DiskState::Failed) && state != Some(DiskState::Inconsistent)
        };
        let members = self.members();
        let both = [NodeId::A, NodeId::B];
        let spared = |node: &NodeId| {
            let host = &self.hosts[index(*node)];
            members.contains(*node) && !host.hurt
        };
        !both.iter().any(spared) && !both.iter().any(usable)
    }

    /// A daemon that the operator stopped may run again: somebody serves.
    fn bring_back_daemons(&mut self) {
        for node in [NodeId::A, NodeId::B] {
            if self.healed && !self.host(node).wants_daemon {
                self.host(node).wants_daemon = true;
                self.queue.after(Span::millis(100), What::DaemonStart { node });
            }
        }
    }

    /// What takes the operator's word, or hands.
    fn go_there(&mut self) -> bool {
        match self.way_out() {
            Some((node, Way::StartAlone)) => {
                self.operator(node, Verb::Start { without_peer: true });
                true
            }
            Some((node, Way::TakeoverFromSilence)) => {
                self.silence(node.peer());
                self.operator(node, Verb::Takeover);
                true
            }
            _ => false,
        }
    }

    /// Nothing of this host is to be heard until the other one has taken over.
    fn silence(&mut self, node: NodeId) {
        if self.plan.group.is_some() {
            // Its resources would go on without a daemon.
            if self.host(node).power {
                self.power_off(node);
                self.queue.after(SWITCHED_OFF, What::PowerOn { node });
            }
            return;
        }
        self.host(node).wants_daemon = false;
        self.kill_daemon(node, None);
    }

    /// Nothing but loss is left: the operator accepts it. P5: where a way is left, nobody would
    /// have come here.
    fn despair(&mut self) -> bool {
        let spoiled = self.spoiled_by_itself();
        if let Some((node, way)) = self.way_out() {
            let text =
                format!("P5: nobody serves, though {node} could {way:?}: {}", self.describe());
            self.judge.violate(text);
            return true;
        }
        if let Some((node, obstacle)) = spoiled {
            let what = obstacle.words();
            let text = format!("P5: {node} {what} without a fault: {}", self.describe());
            self.judge.violate(text);
            return true;
        }
        let both = [NodeId::A, NodeId::B];
        let best = both
            .into_iter()
            .find(|node| self.good(*node) && self.members().contains(*node))
            .or_else(|| {
                let old = |node: &NodeId| self.disk_state(*node) == Some(DiskState::Outdated);
                both.into_iter().find(|node| self.good(*node) || old(node))
            });
        if let Some(node) = best {
            self.cause = Some(self.why_none());
            self.operator(node, Verb::ForcePromote);
        }
        best.is_some()
    }
}
