//! What groups start and monitors look at: programs, units, mount points, interfaces.

use super::{Around, Checks};
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::links;
use crate::act::resource::spec::{FsKind, FsSpec, Spec};
use crate::act::suits::{Lack, is_program, of_monitor, of_resource};
use std::path::Path;

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    for group in &around.own.groups {
        for (spec, settings) in group.specs.iter().zip(&group.settings.resources) {
            let what = format!("{}/{}", group.settings.name, settings.name);
            let lacks = of_resource(&what, spec);
            match spec {
                Spec::Mirror(_) => {}
                Spec::Fs(fs) => file_system(checks, &what, fs, &lacks),
                Spec::Exec(_) => commands(checks, &what, &lacks),
                Spec::Unit(unit) => unit_known(checks, &what, &unit.unit),
                Spec::Address(address) => interface(checks, &what, &address.interface, &lacks),
                Spec::AwsVip(vip) => interface(checks, &what, &vip.interface, &lacks),
                Spec::AwsEip(eip) => {
                    if let Some(name) = &eip.interface {
                        interface(checks, &what, name, &lacks);
                    }
                }
            }
        }
    }
    for monitor in &around.own.monitors {
        let what = format!("monitor {}", monitor.settings.name);
        if matches!(monitor.spec, Probe::Exec(_)) || monitor.script.is_some() {
            commands(checks, &what, &of_monitor(&what, monitor));
        }
    }
}

fn commands(checks: &mut Checks, what: &str, lacks: &[Lack]) {
    let program = |lack: &Lack| match lack {
        Lack::Program { path, .. } => Some(path.display().to_string()),
        _ => None,
    };
    let mut missing: Vec<String> = lacks.iter().filter_map(program).collect();
    missing.dedup();
    if missing.is_empty() {
        checks.pass(what, "its programs are there");
    } else {
        checks.fail(
            what,
            format!("no program that may be run: {}", missing.join(", ")),
            "install it on both nodes, outside of the mirrored file system, and chmod +x",
        );
    }
}

fn file_system(checks: &mut Checks, what: &str, spec: &FsSpec, lacks: &[Lack]) {
    let tool = match spec.kind {
        FsKind::Ext4 => "e2fsck",
        FsKind::Xfs => "xfs_repair",
    };
    let folders = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];
    if !folders.iter().any(|folder| is_program(&Path::new(folder).join(tool))) {
        checks.warn(what, format!("{tool} is not installed"), "apt-get install e2fsprogs xfsprogs");
    }
    if lacks.is_empty() {
        checks.pass(what, format!("mount point {} is there", spec.mount_point.display()));
    } else {
        checks.fail(
            what,
            format!("mount point {} is no directory", spec.mount_point.display()),
            format!("mkdir -p {}", spec.mount_point.display()),
        );
    }
}

fn unit_known(checks: &mut Checks, what: &str, unit: &str) {
    let template = unit
        .split_once('@')
        .map(|(name, rest)| format!("{name}@.{}", rest.rsplit('.').next().unwrap_or("service")));
    let folders = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"];
    let more = ["/lib/systemd/system", "/run/systemd/generator"];
    let names = [Some(unit.to_owned()), template];
    let there = names.iter().flatten().any(|name| {
        folders.iter().chain(&more).any(|folder| Path::new(folder).join(name).exists())
    });
    if there {
        let wanted = Path::new("/etc/systemd/system/multi-user.target.wants").join(unit);
        if wanted.exists() {
            return checks.fail(
                what,
                format!("{unit} is enabled: it starts at boot on both nodes"),
                format!("systemctl disable {unit}; the group starts it"),
            );
        }
        checks.pass(what, format!("{unit} is known and not enabled"));
    } else {
        checks.fail(what, format!("{unit} is not known"), "install it on both nodes");
    }
}

fn interface(checks: &mut Checks, what: &str, interface: &str, lacks: &[Lack]) {
    if lacks.is_empty() {
        return checks.pass(what, format!("interface {interface} is there"));
    }
    let known = links::read().unwrap_or_default();
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    checks.fail(
        what,
        format!("no interface {interface}; there are {}", names.join(", ")),
        "correct `interface`; it may differ between the nodes",
    );
}
