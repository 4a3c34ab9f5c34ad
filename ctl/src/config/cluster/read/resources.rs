//! The tables `[[groups.resources]]`.

use super::aws;
use super::groups::FINAL_ACTIONS;
use crate::act::resource::spec::{AddressSpec, ExecSpec, FsKind, FsSpec, Fsck, Spec, UnitSpec};
use crate::config::cluster::read::NO_ADDRESS;
use crate::config::cluster::section::{Section, Value};
use crate::config::cluster::{Volume, Wrong};
use crate::decide::settings::{FinalAction, ResourceKind, ResourceSettings};
use lockstep_engine::units::{Span, VolumeId};
use std::path::PathBuf;

/// Most retries and failovers of anything.
pub(super) const COUNT_MAX: u32 = 100;
/// Longest name of an interface that the kernel takes.
const INTERFACE_BYTES_MAX: usize = 15;

/// A resource as the file has it.
pub(super) struct Entry {
    pub settings: ResourceSettings,
    pub spec: Spec,
}

#[derive(Clone, Copy)]
enum Kind {
    Mirror,
    Fs,
    Exec,
    Unit,
    Address,
    Vip,
    Eip,
}

const KINDS: &[(&str, Kind)] = &[
    ("mirror", Kind::Mirror),
    ("fs", Kind::Fs),
    ("exec", Kind::Exec),
    ("unit", Kind::Unit),
    ("address", Kind::Address),
    ("aws_vip", Kind::Vip),
    ("aws_eip", Kind::Eip),
];

/// A resource with nothing said about it. Its times depend on what it is.
pub(super) fn defaults(name: &str, kind: ResourceKind) -> ResourceSettings {
    ResourceSettings {
        name: name.to_owned(),
        kind,
        after: Vec::new(),
        start_timeout: Span::millis(60_000),
        stop_timeout: Span::millis(60_000),
        start_retries: 1,
        failovers_max: 1,
        start_failed: FinalAction::None,
        stop_failed: FinalAction::Shutdown,
    }
}

/// Reads one table; `after` is read by the group, which then looks for unknown keys.
pub(super) fn read(table: &Section<'_>, volumes: &[Volume]) -> Entry {
    let name = table.same("name").need("name = \"fs\"").name().unwrap_or_default();
    let kind = table.same("type").need("type = \"fs\"");
    let word = kind.word(KINDS);
    let (spec, kind, start_ms, stop_ms) = match word {
        Some(Kind::Mirror) => {
            table.is_a("mirror");
            let id = mirror(table, volumes);
            (Spec::Mirror(id), ResourceKind::Mirror(id), 60_000, 60_000)
        }
        Some(Kind::Fs) => {
            table.is_a("fs");
            (Spec::Fs(fs(table, volumes)), ResourceKind::Other, 120_000, 300_000)
        }
        Some(Kind::Exec) => {
            table.is_a("exec");
            (exec(table), ResourceKind::Programs, 60_000, 60_000)
        }
        Some(Kind::Unit) => {
            table.is_a("unit");
            (unit(table), ResourceKind::Programs, 90_000, 90_000)
        }
        Some(Kind::Address) => {
            table.is_a("address");
            (address(table), ResourceKind::Address, 10_000, 10_000)
        }
        Some(Kind::Vip) => {
            table.is_a("aws_vip");
            (aws::vip(table), ResourceKind::Address, 120_000, 10_000)
        }
        Some(Kind::Eip) => {
            table.is_a("aws_eip");
            (aws::eip(table), ResourceKind::Other, 120_000, 60_000)
        }
        None => {
            table.ignore();
            (Spec::Unit(UnitSpec { unit: String::new() }), ResourceKind::Other, 60_000, 60_000)
        }
    };
    let default = defaults(&name, kind);
    let count = |key, default| table.same(key).number32(0, COUNT_MAX).unwrap_or(default);
    let action = |key, default| table.same(key).word(FINAL_ACTIONS).unwrap_or(default);
    let time = |key, ms| table.own(key).time().unwrap_or(Span::millis(ms));
    let settings = ResourceSettings {
        start_timeout: time("start_timeout", start_ms),
        stop_timeout: time("stop_timeout", stop_ms),
        start_retries: count("start_retries", default.start_retries),
        failovers_max: count("failovers_max", default.failovers_max),
        start_failed: action("start_failed", default.start_failed),
        stop_failed: action("stop_failed", default.stop_failed),
        ..default
    };
    Entry { settings, spec }
}

/// The volume that a key names, if it is one.
pub(super) fn volume<'v>(table: &Section<'_>, volumes: &'v [Volume]) -> Option<&'v Volume> {
    let value = table.same("volume");
    let name = value.name()?;
    let found = volumes.iter().find(|volume| volume.id.name == name);
    if found.is_none() {
        value.no_such("volume", &name, volumes.iter().map(|volume| volume.id.name.as_str()));
    }
    found
}

fn mirror(table: &Section<'_>, volumes: &[Volume]) -> VolumeId {
    let found = volume(table, volumes);
    if !table.has("volume") {
        table.lacks("volume", "volume = \"orders\"");
    }
    found.map(|volume| volume.id.id).unwrap_or_default()
}

fn fs(table: &Section<'_>, volumes: &[Volume]) -> FsSpec {
    let mount_point = table.own("mount_point").need("mount_point = \"/srv/orders\"").path();
    let kinds = [("ext4", FsKind::Ext4), ("xfs", FsKind::Xfs)];
    let kind = table.same("fs").need("fs = \"xfs\"").word(&kinds);
    let options = table.own("options").text("mount options such as \"noatime,nodev\"");
    FsSpec {
        device: fs_device(table, volumes).unwrap_or_default(),
        mount_point: mount_point.unwrap_or_default(),
        kind: kind.unwrap_or(FsKind::Ext4),
        options: options.unwrap_or_default().to_owned(),
        fsck: fsck(table),
        mount_retries: table.same("mount_retries").number32(0, COUNT_MAX).unwrap_or(3),
        kill_holders: table.same("kill_holders").flag().unwrap_or(true),
    }
}

/// Where the file system lies: where the kernel shows a volume, or a device of its own.
fn fs_device(table: &Section<'_>, volumes: &[Volume]) -> Option<PathBuf> {
    let device = table.own("device");
    let on = volume(table, volumes);
    if table.has("volume") {
        if device.is_there() {
            device.fail(Wrong::Both { other: "volume" });
        }
        let found = on?;
        if found.device.is_none() {
            let (other, example) = ("device in the volume", "device = \"/dev/lockstep/orders\"");
            table.notes.at_key(&table.key("volume"), Wrong::Needs { other, example });
        }
        return found.device.clone();
    }
    device.need("volume = \"orders\", or device = \"/dev/disk/by-id/…\"").path()
}

fn fsck(table: &Section<'_>) -> Fsck {
    let value = table.same("fsck");
    let wanted = "\"never\", \"always\" or \"every N\" with N from 1 to 1000";
    match value.text(wanted) {
        None | Some("never") => Fsck::Never,
        Some("always") => Fsck::Always,
        Some(text) => {
            let n = text.strip_prefix("every ").and_then(|n| n.trim().parse::<u32>().ok());
            match n.filter(|n| (1..=1000).contains(n)) {
                Some(n) => Fsck::Every(n),
                None => {
                    value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
                    Fsck::Never
                }
            }
        }
    }
}

fn exec(table: &Section<'_>) -> Spec {
    let stand_in =
        || crate::act::resource::spec::Command { program: PathBuf::new(), args: Vec::new() };
    let start = table.own("start").need("start = [\"/usr/local/bin/orders\", \"start\"]").command();
    let stop = table.own("stop").need("stop = [\"/usr/local/bin/orders\", \"stop\"]").command();
    let status = table.own("status").command();
    Spec::Exec(ExecSpec {
        start: start.unwrap_or_else(stand_in),
        stop: stop.unwrap_or_else(stand_in),
        status,
    })
}

fn unit(table: &Section<'_>) -> Spec {
    let wanted = "the full name of a unit, such as \"postgresql@15-main.service\"";
    let value = table.own("unit").need("unit = \"postgresql@15-main.service\"");
    let unit = value.text(wanted).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:\\".contains(c);
    let typed = unit
        .rsplit_once('.')
        .is_some_and(|(name, kind)| !name.is_empty() && !name.starts_with('-') && !kind.is_empty());
    let good = unit.is_empty() || (typed && unit.chars().all(plain));
    if !good {
        value.fail(Wrong::Expected { wanted, found: format!("\"{unit}\"") });
    }
    Spec::Unit(UnitSpec { unit: unit.to_owned() })
}

fn address(table: &Section<'_>) -> Spec {
    let address = table.own("address").need("address = \"10.1.0.5\"").ip().unwrap_or(NO_ADDRESS);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = table.own("prefix").number(1, u64::from(bits));
    let value = table.own("interface").need("interface = \"eth0\"");
    Spec::Address(AddressSpec {
        address,
        prefix: prefix.and_then(|n| u8::try_from(n).ok()).unwrap_or(bits),
        interface: interface(&value).unwrap_or_default(),
    })
}

/// The name of an interface.
pub(super) fn interface(value: &Value<'_, '_>) -> Option<String> {
    let interface = value.text("the name of an interface, such as \"eth0\"")?;
    let plain = |c: char| !c.is_whitespace() && c != '/';
    if interface.len() > INTERFACE_BYTES_MAX || !interface.chars().all(plain) {
        let wanted = "the name of an interface, such as \"eth0\", of at most 15 letters";
        value.fail(Wrong::Expected { wanted, found: format!("\"{interface}\"") });
    }
    Some(interface.to_owned())
}
