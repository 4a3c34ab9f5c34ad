//! Faults of a group, and operators who want something of it at any moment: what may go wrong with
//! resources, monitors and hosts, and the verbs of group, cluster service and monitors.

use super::chaos::Fault;
use super::group::{APP, FS, G, HANDS, KINDS, OF_APP, OF_NODE, VIP};
use super::hands::{Finding, Trouble};
use super::world::{What, World};
use lockstep_ctl::decide::group::GroupVerb;
use lockstep_ctl::decide::node::{ClusterVerb, MonitorVerb, Verb};
use lockstep_ctl::decide::settings::MonitorIndex;
use lockstep_engine::units::{NodeId, Span};

/// What may go wrong with a group, or be wanted of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupFault {
    /// Something stands in the way of a resource.
    Hand(NodeId, usize, Trouble),
    /// The programs die.
    AppDies(NodeId),
    /// A monitor finds something else than there is.
    Sick(NodeId, MonitorIndex, Finding),
    /// The host does not do as it is told.
    HostRefuses(NodeId),
    /// An operator wants something.
    Wish(NodeId, Verb),
}

impl World {
    /// A random fault of the group, if it is the group's turn.
    pub fn group_chaos(&mut self) -> bool {
        let Some(plan) = &self.plan.group else { return false };
        let (share, odds) = (plan.share, plan.odds.clone());
        if !self.random.chance(share) {
            return false;
        }
        let mut left = self.random.below(odds.iter().sum());
        let mut kind = 0;
        while left >= odds[kind] {
            left -= odds[kind];
            kind += 1;
        }
        let serving = [NodeId::A, NodeId::B].into_iter().find(|node| self.serves(*node));
        let node = match serving {
            Some(node) if self.random.chance(600) => node,
            _ if self.random.chance(500) => NodeId::A,
            _ => NodeId::B,
        };
        match (KINDS[kind].0, serving) {
            ("fence-theme" | "restart-theme", None) => return true,
            ("fence-theme", Some(node)) => return self.play_fence(node),
            ("restart-theme", Some(node)) => return self.play_restart(node),
            _ => {}
        }
        if let Some(fault) = self.group_fault_of(KINDS[kind].0, node) {
            self.faults += 1;
            self.check_marks("at a fault");
            self.inject(Fault::Group(fault), None);
        }
        true
    }

    /// The owner is cut off, and what its fast fence has to kill does not die (R13).
    fn play_fence(&mut self, node: NodeId) -> bool {
        let killed = [VIP, APP][self.random.index(2)];
        let long = self.delay_us(12_000_000, 20_000_000);
        let fault = Fault::Group(GroupFault::Hand(node, killed.0, Trouble::Kill));
        self.queue.after(Span(0), What::Fault { fault, length: long });
        self.queue.after(Span(0), What::Fault { fault: Fault::Isolate(node), length: long });
        true
    }

    /// The owner is cut off without its engine, and its daemon restarts about when the lease ends.
    fn play_restart(&mut self, node: NodeId) -> bool {
        let long = self.delay_us(12_000_000, 20_000_000);
        let fault = Fault::Isolate(node);
        self.queue.after(Span(0), What::Fault { fault, length: long });
        let fault = Fault::KillEngine(node);
        self.queue.after(Span(0), What::Fault { fault, length: long });
        for _ in 0..self.random.within(1, 3) {
            let at = self.delay_us(1_000_000, 5_000_000);
            let length = self.delay_us(1_000, 400_000);
            let fault = Fault::KillDaemon(node);
            self.queue.after(at, What::Fault { fault, length });
        }
        true
    }

    fn group_fault_of(&mut self, kind: &str, node: NodeId) -> Option<GroupFault> {
        let one = self.random.below(2) == 0;
        let any = HANDS[self.random.index(HANDS.len())];
        let hand = |trouble| Some(GroupFault::Hand(node, any.0, trouble));
        let monitors = self.plan.group.as_ref().is_some_and(|plan| !plan.monitors.is_empty());
        let findings = [Finding::Wrong, Finding::NoAnswer, Finding::Nothing];
        let finding = findings[self.random.index(findings.len())];
        let wish = |verb| Some(GroupFault::Wish(node, verb));
        let group = |verb| wish(Verb::Group(G, verb));
        let cluster = |verb| wish(Verb::Cluster(verb));
        let monitor = if one { OF_APP } else { OF_NODE };
        match kind {
            "start-fails" => hand(Trouble::Start),
            "stop-fails" => hand(Trouble::Stop),
            "kill-fails" => {
                let killed = if one { VIP } else { APP };
                Some(GroupFault::Hand(node, killed.0, Trouble::Kill))
            }
            "hangs" => hand(Trouble::Hang),
            "slow-hands" => hand(Trouble::Slow),
            // Nobody would see it.
            "app-dies" if !monitors => None,
            "app-dies" => Some(GroupFault::AppDies(node)),
            "sick-app" | "sick-node" if !monitors => None,
            "sick-app" => Some(GroupFault::Sick(node, OF_APP, finding)),
            "sick-node" => Some(GroupFault::Sick(node, OF_NODE, finding)),
            "host-refuses" => Some(GroupFault::HostRefuses(node)),
            "group-start" => group(GroupVerb::Start { without_peer: false }),
            "group-stop" => group(GroupVerb::Stop),
            "group-move" => group(GroupVerb::Move),
            "group-failover" => group(GroupVerb::Failover),
            "resource-verb" if one => group(GroupVerb::ResourceStop(any)),
            "resource-verb" => group(GroupVerb::ResourceStart(any)),
            "cluster-stop" => cluster(ClusterVerb::Stop { hand_over: one }),
            "cluster-start" => cluster(ClusterVerb::Start),
            "suspend" => cluster(ClusterVerb::Suspend),
            "resume" => cluster(ClusterVerb::Resume),
            _ if !monitors => None,
            _ => {
                let verbs = [
                    MonitorVerb::Suspend,
                    MonitorVerb::Resume,
                    MonitorVerb::Fail(true),
                    MonitorVerb::Fail(false),
                ];
                let verb = verbs[self.random.index(verbs.len())];
                wish(Verb::Monitor(monitor, verb))
            }
        }
    }

    /// Makes a fault of a group happen. Says whether it has an end.
    pub fn group_fault(&mut self, fault: GroupFault) -> bool {
        match fault {
            GroupFault::Hand(node, resource, trouble) => {
                self.host(node).notes.hands[resource].trouble = Some(trouble);
                true
            }
            GroupFault::AppDies(node) => {
                self.app_dies(node);
                false
            }
            GroupFault::Sick(node, monitor, finding) => {
                self.host(node).notes.findings[monitor.0] = finding;
                true
            }
            GroupFault::HostRefuses(node) => {
                self.host(node).notes.refuses = true;
                true
            }
            GroupFault::Wish(node, verb) => {
                self.wish(node, verb);
                false
            }
        }
    }

    /// Ends a fault of a group.
    pub fn end_group_fault(&mut self, fault: GroupFault) {
        match fault {
            GroupFault::Hand(node, resource, _) => {
                self.host(node).notes.hands[resource].trouble = None;
            }
            GroupFault::Sick(node, monitor, _) => {
                self.host(node).notes.findings[monitor.0] = Finding::Truth;
            }
            GroupFault::HostRefuses(node) => self.host(node).notes.refuses = false,
            GroupFault::AppDies(_) | GroupFault::Wish(..) => {}
        }
    }

    /// Ends all of them, and what operators have asked of monitors.
    pub fn heal_group(&mut self) {
        let Some(plan) = &self.plan.group else { return };
        let monitors = plan.monitors.len();
        for node in [NodeId::A, NodeId::B] {
            let notes = &mut self.host(node).notes;
            notes.findings = Default::default();
            notes.refuses = false;
            for resource in [FS, VIP, APP] {
                notes.hands[resource.0].trouble = None;
            }
            for monitor in (0..monitors).map(MonitorIndex) {
                self.wish(node, Verb::Monitor(monitor, MonitorVerb::Resume));
                self.wish(node, Verb::Monitor(monitor, MonitorVerb::Fail(false)));
            }
        }
    }
}
