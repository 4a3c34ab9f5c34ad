//! What a failover group of the simulated cluster is: a mirror, a mount on it, an address, and the
//! programs that need both. Its settings, its monitors and the odds of its faults come from the
//! seed; every other seed has a group, the others know the mirror alone.

use super::partition::{GROUP, VOLUME};
use super::random::Random;
use lockstep_ctl::decide::settings::{
    FinalAction, GroupIndex, GroupSettings, MonitorIndex, MonitorSettings, OnNoResponse, Recovery,
    ResourceIndex, ResourceKind, ResourceSettings, Target, Timing,
};
use lockstep_engine::units::{NodeId, Span};

/// The only group.
pub const G: GroupIndex = GroupIndex(0);
/// Its resources, in order.
pub const MIRROR: ResourceIndex = ResourceIndex(0);
/// See `MIRROR`.
pub const FS: ResourceIndex = ResourceIndex(1);
/// See `MIRROR`.
pub const VIP: ResourceIndex = ResourceIndex(2);
/// The programs that clients talk to. See `MIRROR`.
pub const APP: ResourceIndex = ResourceIndex(3);
/// Resources that are no mirror.
pub const HANDS: [ResourceIndex; 3] = [FS, VIP, APP];
/// What watches the programs, when there are monitors.
pub const OF_APP: MonitorIndex = MonitorIndex(0);
/// What watches the node, when there are monitors.
pub const OF_NODE: MonitorIndex = MonitorIndex(1);

/// Faults and wishes that only a group has, with their usual weights.
pub const KINDS: &[(&str, u64)] = &[
    ("start-fails", 6),
    ("stop-fails", 4),
    ("kill-fails", 5),
    ("hangs", 5),
    ("slow-hands", 4),
    ("app-dies", 6),
    ("sick-app", 6),
    ("sick-node", 4),
    ("host-refuses", 2),
    ("group-start", 4),
    ("group-stop", 5),
    ("group-move", 6),
    ("group-failover", 6),
    ("resource-verb", 4),
    ("cluster-stop", 4),
    ("cluster-start", 4),
    ("suspend", 3),
    ("resume", 3),
    ("monitor-verb", 3),
    ("fence-theme", 5),
    ("restart-theme", 5),
];

/// How a group is set up.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// What `Node` is opened with.
    pub settings: GroupSettings,
    /// The same.
    pub monitors: Vec<MonitorSettings>,
    /// Odds in a thousand that a fault is one of the group's own.
    pub share: u64,
    /// Odds of each kind, by its place in `KINDS`.
    pub odds: Vec<u64>,
}

impl GroupPlan {
    /// The group of a seed, if it has one. Draws from a source of its own, so that the rest of the
    /// plan is the same with and without.
    pub fn of_seed(seed: u64, failover_auto: bool) -> Option<GroupPlan> {
        if seed.is_multiple_of(2) {
            return None;
        }
        let mut random = Random::new(seed ^ 0x0067_726f_7570);
        let mut odds: Vec<u64> =
            KINDS.iter().map(|(_, weight)| weight * [0, 0, 1, 1, 4][random.index(5)]).collect();
        odds[0] += 1;
        let nodes =
            if random.chance(700) { [NodeId::A, NodeId::B] } else { [NodeId::B, NodeId::A] };
        let settings = GroupSettings {
            id: GROUP,
            name: "db".to_owned(),
            startup_auto: random.chance(850),
            failover_auto,
            failback_auto: random.chance(300),
            nodes,
            volumes: vec![VOLUME],
            resources: resources(&mut random),
        };
        let monitors = if random.chance(600) { monitors(&mut random) } else { Vec::new() };
        let share = [100, 250, 500][random.index(3)];
        Some(GroupPlan { settings, monitors, share, odds })
    }

    /// The group of stories: nothing is left to chance, nothing watches it.
    pub fn plain() -> GroupPlan {
        let mut resources = resources(&mut Random::new(0));
        for resource in &mut resources {
            resource.start_timeout = Span::millis(3_000);
            resource.stop_timeout = Span::millis(3_000);
            resource.start_retries = 1;
            resource.failovers_max = 1;
            resource.start_failed = FinalAction::StopGroup;
            resource.stop_failed = FinalAction::None;
        }
        let settings = GroupSettings {
            id: GROUP,
            name: "db".to_owned(),
            startup_auto: true,
            failover_auto: true,
            failback_auto: false,
            nodes: [NodeId::A, NodeId::B],
            volumes: vec![VOLUME],
            resources,
        };
        GroupPlan { settings, monitors: Vec::new(), share: 0, odds: Vec::new() }
    }

    /// What the plan is, for the line of a seed.
    pub fn words(&self) -> String {
        let of = |(name, on): (&str, bool)| if on { format!(" {name}") } else { String::new() };
        let flags: String = [
            ("startup", self.settings.startup_auto),
            ("failback", self.settings.failback_auto),
            ("monitors", !self.monitors.is_empty()),
        ]
        .map(of)
        .concat();
        let odds = KINDS.iter().zip(&self.odds).filter(|(_, odds)| **odds > 0);
        let odds: String = odds.map(|((name, _), odds)| format!(" {name}={odds}")).collect();
        format!("group best on {}{flags}, one in {}‰:{odds}", self.settings.nodes[0], self.share)
    }

    /// Whether the fast fence takes a resource down.
    pub fn is_killable(&self, resource: ResourceIndex) -> bool {
        let kind = self.settings.resources.get(resource.0).map(|resource| resource.kind);
        matches!(kind, Some(ResourceKind::Address | ResourceKind::Programs))
    }
}

fn resources(random: &mut Random) -> Vec<ResourceSettings> {
    let mut one = |name: &str, kind, after: &[ResourceIndex]| ResourceSettings {
        name: name.to_owned(),
        kind,
        after: after.to_vec(),
        start_timeout: Span::millis(random.within(1_500, 4_000)),
        stop_timeout: Span::millis(random.within(1_500, 4_000)),
        start_retries: [0, 1, 2][random.index(3)],
        failovers_max: [0, 1, 2][random.index(3)],
        start_failed: [FinalAction::StopGroup, FinalAction::None, FinalAction::Reboot]
            [random.index(3)],
        stop_failed: [
            FinalAction::None,
            FinalAction::Reboot,
            FinalAction::Shutdown,
            FinalAction::StopCluster,
            FinalAction::Panic,
        ][random.index(5)],
    };
    vec![
        one("mirror", ResourceKind::Mirror(VOLUME), &[]),
        one("fs", ResourceKind::Other, &[MIRROR]),
        one("vip", ResourceKind::Address, &[MIRROR]),
        one("app", ResourceKind::Programs, &[FS, VIP]),
    ]
}

fn monitors(random: &mut Random) -> Vec<MonitorSettings> {
    let mut one = |name: &str, timing, target, links: [u32; 3], final_action| MonitorSettings {
        name: name.to_owned(),
        interval: Span::millis(2_000),
        timeout: Span::millis(800),
        retries: [0, 1, 2][random.index(3)],
        wait_before_start: Span::millis(1_000),
        timing,
        on_no_response: [OnNoResponse::Ignore, OnNoResponse::Warn, OnNoResponse::Recover]
            [random.index(3)],
        recovery: Recovery {
            target: Some(target),
            scripts_max: links[0],
            reactivations_max: links[1],
            failovers_max: links[2],
            final_action,
            fences: random.chance(150),
        },
    };
    let app = Target::Resource(G, APP);
    vec![
        one("app-port", Timing::WhileActive(G, APP), app, [1, 2, 1], FinalAction::StopGroup),
        one("node", Timing::Always, Target::Node, [0, 0, 1], FinalAction::Reboot),
    ]
}
