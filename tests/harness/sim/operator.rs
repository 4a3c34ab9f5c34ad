//! The simulated operator: creates the volume, starts what nobody serves, and after healing does
//! what a person would do with broken devices. Never forces while an orderly way exists.

use super::judge::{index, show_tick};
use super::partition::{blank_disk, blank_superblock};
use super::world::{What, World};
use lockstep_ctl::decide::event::Verb;
use lockstep_engine::units::{DiskState, NodeId, Span};

/// How long before the operator accepts loss where a copy is gone for good.
const DESPAIR: Span = Span::millis(60_000);
/// The operator looks this often.
const OPERATOR: Span = Span::millis(2_000);

impl World {
    /// The operator looks: creates the volume, starts what is down, replaces what is broken.
    pub fn operator_tick(&mut self) {
        let now = self.now();
        self.queue.after(OPERATOR, What::OperatorTick);
        self.check_held(Span::millis(60_000));
        if [NodeId::A, NodeId::B].into_iter().any(|node| self.serves(node)) {
            self.idle_since = now;
        }
        let Some(record) = self.arbiter.record.clone() else {
            self.operator(NodeId::A, Verb::Create { both_blank: true });
            return;
        };
        if self.healed {
            self.repair();
        }
        let young = record.version.0 == 1;
        if !young && now.since(self.idle_since) < self.plan.patience {
            return;
        }
        let desperate = self.healed && now.since(self.idle_since) > DESPAIR;
        if desperate && self.despair() {
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
        let spared = |node: &NodeId| members.contains(*node) && !self.hosts[index(*node)].hurt;
        !both.iter().any(spared) && !both.iter().any(usable)
    }

    /// A member's copy is gone for good and the other one can't prove that it has everything: the
    /// operator accepts loss.
    fn despair(&mut self) -> bool {
        let hopeless = [NodeId::A, NodeId::B]
            .into_iter()
            .any(|node| self.members().contains(node) && !self.good(node));
        if !hopeless {
            return false;
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
            self.operator(node, Verb::ForcePromote);
        }
        best.is_some()
    }
}
