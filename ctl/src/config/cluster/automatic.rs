//! What monitors do unless told otherwise (REFERENCE §3.3, §4), and those that come by themselves
//! with a resource. Always: a monitor in the file that looks at the same thing replaces the
//! automatic one.

use super::{Group, Monitor, Volume};
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::Spec as Resource;
use crate::decide::settings::{
    FinalAction, GroupIndex, MonitorSettings, OnNoResponse, Recovery, ResourceIndex, Target, Timing,
};
use lockstep_engine::units::{Span, VolumeId};

/// Reactivations of a resource that fails.
const REACTIVATIONS_MAX: u32 = 3;
/// Failovers after that.
const FAILOVERS_MAX: u32 = 1;

/// What is done about an error of that target.
pub(super) fn chain(target: Option<Target>) -> Recovery {
    let (reactivations_max, failovers_max, final_action) = match target {
        Some(Target::Resource(..) | Target::Group(_)) => {
            (REACTIVATIONS_MAX, FAILOVERS_MAX, FinalAction::None)
        }
        Some(Target::Node) => (0, 0, FinalAction::Shutdown),
        None => (0, 0, FinalAction::None),
    };
    let (scripts_max, fences) = (0, false);
    Recovery { target, scripts_max, reactivations_max, failovers_max, final_action, fences }
}

fn monitor(interval_ms: u64, timeout_ms: u64, retries: u32, recovery: Recovery) -> MonitorSettings {
    MonitorSettings {
        name: String::new(),
        interval: Span::millis(interval_ms),
        timeout: Span::millis(timeout_ms),
        retries,
        wait_before_start: Span(0),
        timing: Timing::Always,
        on_no_response: OnNoResponse::Warn,
        recovery,
    }
}

/// Only reports.
pub(super) fn report(interval_ms: u64) -> MonitorSettings {
    monitor(interval_ms, 5_000, 1, chain(None))
}

/// Tells that this node is isolated, within four seconds. Where no store says who may serve, it
/// must go even though it can't see whether the other node is well; where one does, the fast fence
/// has stopped the group anyway, and shutting down the last node would help nobody.
pub(super) fn isolation(alone: bool) -> MonitorSettings {
    let recovery = Recovery { fences: alone, ..chain(Some(Target::Node)) };
    monitor(1_000, 1_000, 2, recovery)
}

/// The status of a resource while it is on.
fn resource(group: GroupIndex, resource: ResourceIndex) -> MonitorSettings {
    let recovery = chain(Some(Target::Resource(group, resource)));
    let timing = Timing::WhileActive(group, resource);
    MonitorSettings { timing, ..monitor(10_000, 5_000, 1, recovery) }
}

/// An address that AWS leads here: asking AWS more often would cost others their share of calls.
fn address(group: GroupIndex, resource: ResourceIndex) -> MonitorSettings {
    MonitorSettings {
        interval: Span::millis(60_000),
        timeout: Span::millis(30_000),
        ..self::resource(group, resource)
    }
}

/// As `resource`, in the time that its type has.
pub(super) fn of_resource(groups: &[Group], g: GroupIndex, r: ResourceIndex) -> MonitorSettings {
    match groups[g.0].specs[r.0] {
        Resource::AwsVip(_) | Resource::AwsEip(_) => address(g, r),
        _ => resource(g, r),
    }
}

/// The zone of this node: reports.
pub(super) fn zone() -> MonitorSettings {
    MonitorSettings { timeout: Span::millis(30_000), ..report(60_000) }
}

/// The partitions of a volume: its group goes to the other node, since restarting mends no disk.
pub(super) fn disk(group: Option<GroupIndex>) -> MonitorSettings {
    let recovery = chain(group.map(Target::Group));
    monitor(10_000, 5_000, 1, Recovery { reactivations_max: 0, ..recovery })
}

/// Both partitions of a volume on this node.
pub(super) fn disk_of(volume: &Volume) -> Probe {
    Probe::Disk { paths: vec![volume.data.clone(), volume.cluster_partition.clone()] }
}

/// The group that holds a volume.
pub(super) fn group_of(groups: &[Group], volume: VolumeId) -> Option<GroupIndex> {
    let holds = |group: &Group| group.settings.volumes.contains(&volume);
    groups.iter().position(holds).map(GroupIndex)
}

/// Adds the monitors that come with resources.
pub(super) fn add(monitors: &mut Vec<Monitor>, volumes: &[Volume], groups: &[Group]) {
    let mut found: Vec<(String, Probe, MonitorSettings)> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        for (r, spec) in group.specs.iter().enumerate() {
            let (group_name, name) = (&group.settings.name, &group.settings.resources[r].name);
            let watched = match spec {
                Resource::Fs(_) | Resource::Unit(_) | Resource::Address(_) => true,
                Resource::AwsVip(_) | Resource::AwsEip(_) => true,
                Resource::Exec(exec) => exec.status.is_some(),
                Resource::Mirror(_) => false,
            };
            if watched {
                let (group, resource) = (group_name.clone(), name.clone());
                let probe = Probe::Resource { group, resource };
                let settings = of_resource(groups, GroupIndex(g), ResourceIndex(r));
                found.push((format!("{group_name}/{name}"), probe, settings));
            }
        }
    }
    for volume in volumes {
        let (id, name) = (volume.id.id, &volume.id.name);
        found.push((format!("mirror:{name}"), Probe::Mirror(id), report(10_000)));
        let settings = disk(group_of(groups, id));
        found.push((format!("disk:{name}"), disk_of(volume), settings));
    }
    for (name, spec, settings) in found {
        if !monitors.iter().any(|own| own.spec == spec) {
            let settings = MonitorSettings { name, ..settings };
            monitors.push(Monitor { settings, spec, script: None, automatic: true });
        }
    }
}
