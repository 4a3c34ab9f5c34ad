//! How the values go together: what no single key shows. Always: every rule looks at everything, so
//! that all mistakes are told at once; stand-ins of values that could not be read are passed over.

mod unique;

use super::order::waits_for;
use super::read::NO_ADDRESS;
use super::section::Notes;
use super::{ArbiterSpec, Cluster, Group, Local, Monitor, Wrong};
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::Spec as Resource;
use crate::decide::record::VOLUMES_MAX;
use crate::decide::settings::{FinalAction, ResourceSettings, Target, Timing};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{NodeId, Span};
use std::net::IpAddr;

/// Looks at both readings, each with its notes.
pub(super) fn check(cluster: &Cluster, notes: [&Notes; 2]) {
    for (node, notes) in [NodeId::A, NodeId::B].into_iter().zip(notes) {
        let local = cluster.local(node);
        times(local, notes);
        unique::local(local, notes);
        groups(local, notes);
        monitors(cluster, local, notes);
        probe(local, notes);
    }
    unique::across(cluster, notes[1]);
    families(cluster, notes[0]);
}

/// The inequalities of SAFETY §1.2.
fn times(local: &Local, notes: &Notes) {
    let times = &local.times;
    let sum = |parts: &[Span]| parts.iter().fold(Span(0), |sum, part| sum.plus(*part));
    let attempts = Span(times.arbiter_attempt.0.saturating_mul(Times::ARBITER_ATTEMPTS));
    let four = |span: Span| Span(span.0.saturating_mul(4));
    let rule = |key: &str, small, small_is, large, large_is, equal| {
        let holds = if equal { small_is <= large_is } else { small_is < large_is };
        if !holds {
            notes.at_key(key, Wrong::Times { small, small_is, large, large_is, equal });
        }
    };
    let decided = sum(&[times.link_dead, times.grace, attempts]);
    let small = "link_dead + grace + 2 × arbiter_attempt";
    rule("times.lease", small, decided, "lease", times.lease, false);
    let fenced = sum(&[times.lease, times.fence]);
    let timeout = times.heartbeat_timeout;
    rule("times.lease", "lease + fence", fenced, "heartbeat.timeout", timeout, true);
    rule("times.ping", "4 × ping", four(times.ping), "link_dead", times.link_dead, true);
    let interval = four(local.heartbeat.interval);
    let key = "heartbeat.interval";
    rule(key, "4 × heartbeat.interval", interval, "heartbeat.timeout", timeout, true);
    let bare = |group: &Group| !group.implicit && group.settings.volumes.is_empty();
    if local.groups.iter().any(bare) {
        // Its lease lives on heartbeats alone, and an owner shrinks in time for both attempts.
        let patience = Span(times.lease.0.saturating_sub(attempts.0));
        let large = "lease - 2 × arbiter_attempt (there is a group without mirrors)";
        rule(key, "4 × heartbeat.interval", interval, large, patience, true);
    }
}

fn groups(local: &Local, notes: &Notes) {
    for (g, group) in local.groups.iter().enumerate().filter(|(_, group)| !group.implicit) {
        if group.specs.is_empty() {
            notes.at_key(&format!("groups[{g}]"), Wrong::NoResources);
        }
        let volumes = group.settings.volumes.len();
        if volumes > VOLUMES_MAX {
            let wrong = Wrong::TooMany { found: volumes, found_max: VOLUMES_MAX };
            notes.at_key(&format!("groups[{g}].resources"), wrong);
        }
        for (r, spec) in group.specs.iter().enumerate() {
            let Resource::Fs(fs) = spec else { continue };
            if !fs.device.as_os_str().is_empty() {
                after_its_mirror(local, notes, (g, group), r, &fs.device);
            }
        }
    }
}

/// A file system on a volume can only be mounted once the volume is served here.
fn after_its_mirror(
    local: &Local,
    notes: &Notes,
    (g, group): (usize, &Group),
    r: usize,
    device: &std::path::Path,
) {
    let on = local.volumes.iter().find(|volume| volume.device.as_deref() == Some(device));
    let Some(volume) = on else { return };
    let mirror = group.specs.iter().position(|spec| *spec == Resource::Mirror(volume.id.id));
    let after = |resource: &ResourceSettings| resource.after.iter().map(|n| n.0).collect();
    let edges: Vec<Vec<usize>> = group.settings.resources.iter().map(after).collect();
    if mirror.is_some_and(|mirror| waits_for(&edges, r, mirror)) {
        return;
    }
    let mirror = mirror.map(|n| group.settings.resources[n].name.clone());
    let wrong = Wrong::BeforeMirror { mirror, volume: volume.id.name.clone() };
    notes.at_key(&notes.resource(g, r), wrong);
}

fn monitors(cluster: &Cluster, local: &Local, notes: &Notes) {
    for (n, monitor) in local.monitors.iter().enumerate().filter(|(_, one)| !one.automatic) {
        let settings = &monitor.settings;
        let key = |key: &str| format!("monitors[{n}].{key}");
        if settings.timeout > settings.interval {
            let (small, large) = ("timeout", "interval");
            let (small_is, large_is) = (settings.timeout, settings.interval);
            let wrong = Wrong::Times { small, small_is, large, large_is, equal: true };
            notes.at_key(&key("timeout"), wrong);
        }
        if !tells_isolation(local, monitor) {
            continue;
        }
        // The worst case: the target goes just after a probe was answered.
        let probes = settings.interval.0.saturating_mul(u64::from(settings.retries) + 1);
        let detected = Span(probes).plus(settings.timeout);
        let timeout = local.times.heartbeat_timeout;
        if detected >= timeout {
            notes.at_key(&key("interval"), Wrong::Late { detected, timeout });
        }
        for (t, address) in targets(monitor).into_iter().enumerate() {
            if is_node(cluster, address) {
                let at = match &monitor.spec {
                    Probe::Ping { .. } => key(&format!("targets[{t}]")),
                    _ => key("host"),
                };
                notes.at_key(&at, Wrong::NodeAsTarget { address: address.to_string() });
            }
        }
    }
}

/// Whether a node decides by this monitor that it is cut off.
fn tells_isolation(local: &Local, monitor: &Monitor) -> bool {
    let reaches = matches!(monitor.spec, Probe::Ping { .. } | Probe::Port { .. });
    let recovery = &monitor.settings.recovery;
    let stops = recovery.target == Some(Target::Node)
        && !matches!(recovery.final_action, FinalAction::None);
    let named =
        matches!(&local.arbiter, ArbiterSpec::None { probe } if *probe == monitor.settings.name);
    reaches && (stops || named)
}

fn targets(monitor: &Monitor) -> Vec<IpAddr> {
    match &monitor.spec {
        Probe::Ping { targets, .. } => targets.clone(),
        Probe::Port { host, .. } => host.parse().into_iter().collect(),
        _ => Vec::new(),
    }
}

fn is_node(cluster: &Cluster, address: IpAddr) -> bool {
    let of = |local: &Local| {
        let interconnects = local.interconnects.iter();
        let paths = interconnects.flat_map(|one| [Some(one.address), one.reach]).flatten();
        let hosts = local.hosts.iter().flat_map(|host| host.addresses.clone());
        paths.chain(hosts).any(|own| own == address && own != NO_ADDRESS)
    };
    of(&cluster.a) || of(&cluster.b)
}

/// Without a store, a node must be able to tell that it is the isolated one.
fn probe(local: &Local, notes: &Notes) {
    let ArbiterSpec::None { probe } = &local.arbiter else { return };
    let bare = |group: &Group| !group.implicit && group.settings.volumes.is_empty();
    for (g, group) in local.groups.iter().enumerate().filter(|(_, group)| bare(group)) {
        if !group.specs.is_empty() {
            let group = group.settings.name.clone();
            notes.at_key(&format!("groups[{g}].resources"), Wrong::NoStoreForSeat { group });
        }
    }
    if probe.is_empty() {
        return;
    }
    let mut own = local.monitors.iter().filter(|monitor| !monitor.automatic);
    let Some(monitor) = own.clone().find(|monitor| monitor.settings.name == *probe) else {
        let there = own.map(|monitor| monitor.settings.name.as_str());
        let near = super::units::near(probe, there).map(str::to_owned);
        let wrong = Wrong::NoSuch { kind: "monitor", name: probe.clone(), near };
        return notes.at_key("arbiter.probe", wrong);
    };
    let reaches = matches!(monitor.spec, Probe::Ping { .. } | Probe::Port { .. });
    if !reaches || monitor.settings.timing != Timing::Always {
        return notes.at_key("arbiter.probe", Wrong::Probe { name: probe.clone() });
    }
    // The owner has to know whether it is cut off before its lease ends (DECISIONS 20).
    let four = Span(monitor.settings.interval.0.saturating_mul(4));
    if four > local.times.lease {
        let small = "4 × interval of the arbiter's probe";
        let (large, large_is) = ("times.lease", local.times.lease);
        let wrong = Wrong::Times { small, small_is: four, large, large_is, equal: true };
        let n = own.position(|one| one.settings.name == *probe).unwrap_or(0);
        notes.at_key(&format!("monitors[{n}].interval"), wrong);
    }
}

/// Both ends of an interconnect speak the same protocol.
fn families(cluster: &Cluster, notes: &Notes) {
    for (n, (a, b)) in cluster.a.interconnects.iter().zip(&cluster.b.interconnects).enumerate() {
        let known = a.address != NO_ADDRESS && b.address != NO_ADDRESS;
        if known && a.address.is_ipv4() != b.address.is_ipv4() {
            let wrong = Wrong::Families { a: a.address.to_string(), b: b.address.to_string() };
            notes.at_key(&format!("interconnects[{n}].address"), wrong);
        }
    }
}
