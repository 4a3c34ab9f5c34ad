//! Facts of groups, resources and monitors. What only decisions read is taken over live; what an
//! effect was started with asks for a restart of the resource.

use super::Facts;
use crate::act::probe::spec::{Require, Spec as Probe};
use crate::act::resource::spec::{
    AddressSpec, Command, EipSpec, ExecSpec, FsKind, FsSpec, Fsck, Spec, UnitSpec, VipSpec,
};
use crate::config::cluster::{Group, Local, Monitor, show_span};
use crate::decide::settings::{
    FinalAction, GroupIndex, GroupSettings, MonitorSettings, OnNoResponse, Recovery, ResourceIndex,
    ResourceSettings, Target, Timing,
};
use lockstep_engine::units::VolumeId;

fn command(command: &Command) -> String {
    let Command { program, args } = command;
    let parts = std::iter::once(program.display().to_string()).chain(args.iter().cloned());
    parts.map(|part| format!("{part:?}")).collect::<Vec<_>>().join(" ")
}

fn auto(auto: bool) -> &'static str {
    if auto { "auto" } else { "manual" }
}

fn action(action: FinalAction) -> &'static str {
    match action {
        FinalAction::None => "none",
        FinalAction::StopGroup => "stop_group",
        FinalAction::StopCluster => "stop_cluster",
        FinalAction::Shutdown => "shutdown",
        FinalAction::Reboot => "reboot",
        FinalAction::Panic => "panic",
    }
}

fn volume_name(local: &Local, id: VolumeId) -> String {
    let found = local.volumes.iter().find(|volume| volume.id.id == id);
    found.map_or_else(|| id.to_string(), |volume| volume.id.name.clone())
}

pub(super) fn group(root: &mut Facts<'_>, local: &Local, group: &Group) {
    let Group { settings, specs, implicit: _ } = group;
    let GroupSettings {
        id,
        name,
        startup_auto,
        failover_auto,
        failback_auto,
        nodes,
        volumes,
        resources,
    } = settings;
    let mut at = root.below(&["groups", name]);
    at.there(id);
    at.put("startup", auto(*startup_auto));
    at.put("failover", auto(*failover_auto));
    at.put("failback", auto(*failback_auto));
    at.list("nodes", nodes);
    let names: Vec<String> = volumes.iter().map(|id| volume_name(local, *id)).collect();
    at.put("volumes", names.join(", "));
    let order = resources.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    at.put("order", order);
    for (one, spec) in resources.iter().zip(specs) {
        let mut at = at.below(&["resources", &one.name]);
        at.there(kind(spec));
        let after = one.after.iter().map(|n| resources[n.0].name.as_str());
        at.list("after", after);
        resource(&mut at, one);
        self::spec(&mut at, local, spec);
    }
}

fn resource(at: &mut Facts<'_>, settings: &ResourceSettings) {
    let ResourceSettings {
        name: _,
        kind: _,
        after: _,
        start_timeout,
        stop_timeout,
        start_retries,
        failovers_max,
        start_failed,
        stop_failed,
    } = settings;
    at.put("start_timeout", show_span(*start_timeout));
    at.put("stop_timeout", show_span(*stop_timeout));
    at.put("start_retries", start_retries);
    at.put("failovers_max", failovers_max);
    at.put("start_failed", action(*start_failed));
    at.put("stop_failed", action(*stop_failed));
}

fn kind(spec: &Spec) -> &'static str {
    match spec {
        Spec::Mirror(_) => "mirror",
        Spec::Fs(_) => "fs",
        Spec::Exec(_) => "exec",
        Spec::Unit(_) => "unit",
        Spec::Address(_) => "address",
        Spec::AwsVip(_) => "aws_vip",
        Spec::AwsEip(_) => "aws_eip",
    }
}

fn spec(at: &mut Facts<'_>, local: &Local, spec: &Spec) {
    match spec {
        Spec::Mirror(id) => at.put("volume", volume_name(local, *id)),
        Spec::Fs(fs) => {
            let FsSpec { device, mount_point, kind, options, fsck, mount_retries, kill_holders } =
                fs;
            at.path("device", device);
            at.path("mount_point", mount_point);
            at.put("fs", if *kind == FsKind::Xfs { "xfs" } else { "ext4" });
            at.put("options", options);
            let fsck = match fsck {
                Fsck::Never => "never".to_owned(),
                Fsck::Always => "always".to_owned(),
                Fsck::Every(n) => format!("every {n}"),
            };
            at.put("fsck", fsck);
            at.put("mount_retries", mount_retries);
            at.put("kill_holders", kill_holders);
        }
        Spec::Exec(ExecSpec { start, stop, status }) => {
            at.put("start", command(start));
            at.put("stop", command(stop));
            if let Some(status) = status {
                at.put("status", command(status));
            }
        }
        Spec::Unit(UnitSpec { unit }) => at.put("unit", unit),
        Spec::Address(AddressSpec { address, prefix, interface }) => {
            at.put("address", address);
            at.put("prefix", prefix);
            at.put("interface", interface);
        }
        Spec::AwsVip(VipSpec { address, interface, vpc, eni }) => {
            at.put("address", address);
            at.put("interface", interface);
            at.put("vpc", vpc);
            at.maybe("eni", eni.as_ref());
        }
        Spec::AwsEip(EipSpec { allocation, eni, interface }) => {
            at.put("allocation", allocation);
            at.maybe("eni", eni.as_ref());
            at.maybe("interface", interface.as_ref());
        }
    }
}

fn resource_name(local: &Local, group: GroupIndex, resource: ResourceIndex) -> String {
    let settings = &local.groups[group.0].settings;
    format!("{}/{}", settings.name, settings.resources[resource.0].name)
}

pub(super) fn monitor(root: &mut Facts<'_>, local: &Local, monitor: &Monitor) {
    let Monitor { settings, spec, script, automatic: _ } = monitor;
    let MonitorSettings {
        name,
        interval,
        timeout,
        retries,
        wait_before_start,
        timing,
        on_no_response,
        recovery,
    } = settings;
    let mut at = root.below(&["monitors", name]);
    probe(&mut at, local, spec);
    at.put("interval", show_span(*interval));
    at.put("timeout", show_span(*timeout));
    at.put("retries", retries);
    at.put("wait_before_start", show_span(*wait_before_start));
    if let Timing::WhileActive(group, resource) = timing {
        at.put("while_active", resource_name(local, *group, *resource));
    }
    let no_response = match on_no_response {
        OnNoResponse::Ignore => "ignore",
        OnNoResponse::Warn => "warn",
        OnNoResponse::Recover => "recover",
    };
    at.put("on_no_response", no_response);
    at.maybe("script", script.as_ref().map(command));
    let Recovery { target, scripts_max, reactivations_max, failovers_max, final_action, fences } =
        recovery;
    let target = match target {
        None => "none".to_owned(),
        Some(Target::Node) => "node".to_owned(),
        Some(Target::Group(n)) => format!("group {}", local.groups[n.0].settings.name),
        Some(Target::Resource(group, resource)) => {
            format!("resource {}", resource_name(local, *group, *resource))
        }
    };
    at.put("target", target);
    at.put("scripts_max", scripts_max);
    at.put("reactivations_max", reactivations_max);
    at.put("failovers_max", failovers_max);
    at.put("final_action", action(*final_action));
    at.put("fences", fences);
}

fn probe(at: &mut Facts<'_>, local: &Local, spec: &Probe) {
    match spec {
        Probe::Ping { targets, require } => {
            at.there("ping");
            at.list("targets", targets);
            at.put("require", if *require == Require::Any { "any" } else { "all" });
        }
        Probe::Port { host, port } => {
            at.there("port");
            at.put("host", host);
            at.put("port", port);
        }
        Probe::Exec(program) => {
            at.there("exec");
            at.put("command", command(program));
        }
        Probe::Mirror(id) => {
            at.there("mirror");
            at.put("volume", volume_name(local, *id));
        }
        Probe::Disk { paths } => {
            at.there("disk");
            at.list("paths", paths.iter().map(|path| path.display()));
        }
        Probe::Process { executable, least } => {
            at.there("process");
            at.path("executable", executable);
            at.put("least", least);
        }
        Probe::Resource { group, resource } => {
            at.there("resource");
            at.put("resource", format!("{group}/{resource}"));
        }
        Probe::AwsZone { zone } => {
            at.there("aws_az");
            at.maybe("zone", zone.as_ref());
        }
    }
}
