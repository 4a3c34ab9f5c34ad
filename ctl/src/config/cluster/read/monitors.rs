//! The tables `[[monitors]]`, and the automatic monitors that no table replaces.

use super::aws;
use super::groups::FINAL_ACTIONS;
use super::resources::{COUNT_MAX, volume};
use crate::act::probe::spec::{Require, Spec};
use crate::act::resource::spec::{Command, Spec as Resource};
use crate::config::cluster::section::{Section, Value};
use crate::config::cluster::{ArbiterSpec, Group, Monitor, Volume, Wrong, automatic};
use crate::decide::settings::{
    FinalAction, GroupIndex, MonitorSettings, OnNoResponse, Recovery, ResourceIndex, Target, Timing,
};
use lockstep_engine::units::Span;
use std::path::PathBuf;

/// Most monitors in the file.
const MONITORS_MAX: usize = 256;

const REQUIRE: &[(&str, Require)] = &[("any", Require::Any), ("all", Require::All)];
const NO_RESPONSE: &[(&str, OnNoResponse)] = &[
    ("ignore", OnNoResponse::Ignore),
    ("warn", OnNoResponse::Warn),
    ("recover", OnNoResponse::Recover),
];

#[derive(Clone, Copy)]
enum Kind {
    Ping,
    Port,
    Exec,
    Process,
    Disk,
    Mirror,
    Resource,
    Vip,
    Eip,
    Zone,
}

const KINDS: &[(&str, Kind)] = &[
    ("ping", Kind::Ping),
    ("port", Kind::Port),
    ("exec", Kind::Exec),
    ("process", Kind::Process),
    ("disk", Kind::Disk),
    ("mirror", Kind::Mirror),
    ("resource", Kind::Resource),
    ("aws_vip", Kind::Vip),
    ("aws_eip", Kind::Eip),
    ("aws_az", Kind::Zone),
];

/// What else the file says that a monitor may speak of.
struct World<'v> {
    volumes: &'v [Volume],
    groups: &'v [Group],
    /// Nothing but its own probe tells this node that it is isolated.
    alone: bool,
}

/// The monitors of the file, then the automatic ones.
pub(super) fn read(
    root: &Section<'_>,
    volumes: &[Volume],
    groups: &[Group],
    arbiter: &ArbiterSpec,
) -> Vec<Monitor> {
    let alone = matches!(arbiter, ArbiterSpec::None { .. });
    let world = World { volumes, groups, alone };
    let tables = root.sections("monitors", MONITORS_MAX);
    let mut monitors: Vec<Monitor> = tables.iter().map(|table| monitor(table, &world)).collect();
    automatic::add(&mut monitors, volumes, groups);
    monitors
}

fn monitor(table: &Section<'_>, world: &World<'_>) -> Monitor {
    let name = table.same("name").need("name = \"gateway\"").name().unwrap_or_default();
    let kind = table.same("type").need("type = \"ping\"");
    let (spec, default) = match kind.word(KINDS) {
        Some(Kind::Ping) => {
            table.is_a("ping");
            (ping(table), automatic::isolation(world.alone))
        }
        Some(Kind::Port) => {
            table.is_a("port");
            (port(table), automatic::isolation(world.alone))
        }
        Some(Kind::Exec) => {
            table.is_a("exec");
            let command = table.own("command").need("command = [\"/usr/local/bin/check\"]");
            (Spec::Exec(command.command().unwrap_or_else(nothing)), automatic::report(30_000))
        }
        Some(Kind::Process) => {
            table.is_a("process");
            (process(table), automatic::report(10_000))
        }
        Some(Kind::Disk) => {
            table.is_a("disk");
            disk(table, world)
        }
        Some(Kind::Mirror) => {
            table.is_a("mirror");
            let id = volume(table, world.volumes).map(|volume| volume.id.id);
            if !table.has("volume") {
                table.lacks("volume", "volume = \"orders\"");
            }
            (Spec::Mirror(id.unwrap_or_default()), automatic::report(10_000))
        }
        Some(Kind::Resource) => {
            table.is_a("resource");
            resource(table, world)
        }
        Some(Kind::Vip) => {
            table.is_a("aws_vip");
            of_type(table, world, "aws_vip", |spec| matches!(spec, Resource::AwsVip(_)))
        }
        Some(Kind::Eip) => {
            table.is_a("aws_eip");
            of_type(table, world, "aws_eip", |spec| matches!(spec, Resource::AwsEip(_)))
        }
        Some(Kind::Zone) => {
            table.is_a("aws_az");
            (aws::zone(table), automatic::zone())
        }
        None => {
            table.ignore();
            (Spec::Exec(nothing()), automatic::report(30_000))
        }
    };
    let (settings, script) = settings(table, world, MonitorSettings { name, ..default });
    table.finish();
    Monitor { settings, spec, script, automatic: false }
}

/// Stands in for a program.
fn nothing() -> Command {
    Command { program: PathBuf::new(), args: Vec::new() }
}

fn ping(table: &Section<'_>) -> Spec {
    let value = table.own("targets").need("targets = [\"10.0.1.1\"]");
    let entries = value.list("a list of IP addresses such as [\"10.0.1.1\"]");
    if value.is_there() && entries.is_empty() {
        value.fail(Wrong::Missing { example: "targets = [\"10.0.1.1\"]" });
    }
    let targets = entries.iter().filter_map(Value::ip).collect();
    Spec::Ping { targets, require: table.same("require").word(REQUIRE).unwrap_or(Require::Any) }
}

fn port(table: &Section<'_>) -> Spec {
    let wanted = "a host name or an IP address";
    let value = table.own("host").need("host = \"10.0.1.1\"");
    let host = value.text(wanted).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !host.chars().all(plain) {
        value.fail(Wrong::Expected { wanted, found: format!("\"{host}\"") });
    }
    let port = table.own("port").need("port = 443").port().unwrap_or(0);
    Spec::Port { host: host.to_owned(), port }
}

fn process(table: &Section<'_>) -> Spec {
    let executable = table.own("executable").need("executable = \"/usr/sbin/nginx\"").path();
    let least = table.own("least").number32(1, 100_000).unwrap_or(1);
    Spec::Process { executable: executable.unwrap_or_default(), least }
}

fn disk(table: &Section<'_>, world: &World<'_>) -> (Spec, MonitorSettings) {
    let on = volume(table, world.volumes);
    let value = table.own("paths");
    if table.has("volume") {
        if value.is_there() {
            value.fail(Wrong::Both { other: "volume" });
        }
        let spec = on.map_or(Spec::Disk { paths: Vec::new() }, automatic::disk_of);
        let group = on.and_then(|volume| automatic::group_of(world.groups, volume.id.id));
        return (spec, automatic::disk(group));
    }
    let value = value.need("volume = \"orders\", or paths = [\"/dev/disk/by-id/…\"]");
    let entries = value.list("a list of absolute paths");
    if value.is_there() && entries.is_empty() {
        value.fail(Wrong::Missing { example: "paths = [\"/dev/disk/by-id/…\"]" });
    }
    let paths = entries.iter().filter_map(Value::path).collect();
    (Spec::Disk { paths }, automatic::disk(None))
}

fn resource(table: &Section<'_>, world: &World<'_>) -> (Spec, MonitorSettings) {
    let value = table.same("resource").need("resource = \"orders/fs\"");
    let stand_in = || Spec::Resource { group: String::new(), resource: String::new() };
    let Some((group, resource)) = resource_named(&value, world) else {
        return (stand_in(), automatic::report(10_000));
    };
    let settings = &world.groups[group.0].settings;
    let spec = Spec::Resource {
        group: settings.name.clone(),
        resource: settings.resources[resource.0].name.clone(),
    };
    (spec, automatic::of_resource(world.groups, group, resource))
}

/// As `resource`, of a resource of one type.
fn of_type(
    table: &Section<'_>,
    world: &World<'_>,
    kind: &'static str,
    is_it: impl Fn(&Resource) -> bool,
) -> (Spec, MonitorSettings) {
    let found = resource(table, world);
    let named = table.same("resource").text("").and_then(|text| find(text, world));
    if let Some((g, r)) = named.filter(|(g, r)| !is_it(&world.groups[g.0].specs[r.0])) {
        let name = world.groups[g.0].settings.resources[r.0].name.clone();
        let wrong = Wrong::OtherType { name, wanted: kind };
        table.notes.at_key(&table.key("resource"), wrong);
    }
    found
}

/// The resource that a text such as `orders/fs` names.
fn resource_named(value: &Value<'_, '_>, world: &World<'_>) -> Option<(GroupIndex, ResourceIndex)> {
    let text = value.text("a group and a resource, such as \"orders/fs\"")?;
    let found = find(text, world);
    if found.is_none() {
        let names = all(world);
        value.no_such("resource", text, names.iter().map(String::as_str));
    }
    found
}

fn find(text: &str, world: &World<'_>) -> Option<(GroupIndex, ResourceIndex)> {
    let (group, resource) = text.split_once('/')?;
    let g = world.groups.iter().position(|one| one.settings.name == group)?;
    let resources = &world.groups[g].settings.resources;
    let r = resources.iter().position(|one| one.name == resource)?;
    Some((GroupIndex(g), ResourceIndex(r)))
}

fn all(world: &World<'_>) -> Vec<String> {
    let one = |group: &Group| {
        let name = group.settings.name.clone();
        let resources = group.settings.resources.iter();
        resources.map(move |resource| format!("{name}/{}", resource.name)).collect::<Vec<_>>()
    };
    world.groups.iter().flat_map(one).collect()
}

/// What a recovery is about: `none`, `node`, `group NAME` or `resource GROUP/NAME`.
fn target(table: &Section<'_>, world: &World<'_>, default: Option<Target>) -> Option<Target> {
    let wanted = "\"none\", \"node\", \"group NAME\" or \"resource GROUP/NAME\"";
    let value = table.same("target");
    let Some(text) = value.text(wanted) else { return default };
    match text.split_once(' ').unwrap_or((text, "")) {
        ("none", "") => None,
        ("node", "") => Some(Target::Node),
        ("group", name) => {
            let found = world.groups.iter().position(|group| group.settings.name == name);
            if found.is_none() {
                let there = world.groups.iter().map(|group| group.settings.name.as_str());
                value.no_such("group", name, there);
            }
            found.map(|n| Target::Group(GroupIndex(n)))
        }
        ("resource", name) => {
            let found = find(name, world);
            if found.is_none() {
                let names = all(world);
                value.no_such("resource", name, names.iter().map(String::as_str));
            }
            found.map(|(group, resource)| Target::Resource(group, resource))
        }
        _ => {
            value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
            default
        }
    }
}

/// The settings that every monitor has.
fn settings(
    table: &Section<'_>,
    world: &World<'_>,
    default: MonitorSettings,
) -> (MonitorSettings, Option<Command>) {
    let time = |key, default| table.own(key).time().unwrap_or(default);
    let count = |key, default| table.same(key).number32(0, COUNT_MAX).unwrap_or(default);
    let wait = table.own("wait_before_start").span(Span(0), Span::millis(3_600_000));
    let while_active = table.same("while_active");
    let timing = if while_active.is_there() {
        let found = resource_named(&while_active, world);
        found.map_or(Timing::Always, |(group, resource)| Timing::WhileActive(group, resource))
    } else {
        default.timing
    };
    let target = target(table, world, default.recovery.target);
    // What was chosen for one target says nothing about another.
    let chain =
        if target == default.recovery.target { default.recovery } else { automatic::chain(target) };
    let script = table.own("script").command();
    let scripts = table.same("scripts_max");
    if scripts.is_there() && !table.has("script") {
        let example = "script = [\"/usr/local/bin/repair\"]";
        scripts.fail(Wrong::Needs { other: "script", example });
    }
    let scripts_max = scripts.number32(0, COUNT_MAX).unwrap_or(u32::from(script.is_some()));
    let action = table.same("final_action").word(FINAL_ACTIONS);
    let recovery = Recovery {
        target,
        scripts_max,
        reactivations_max: count("reactivations_max", chain.reactivations_max),
        failovers_max: count("failovers_max", chain.failovers_max),
        final_action: action.unwrap_or(chain.final_action),
        fences: table.same("fences").flag().unwrap_or(chain.fences),
    };
    if target.is_none() && action.is_some_and(|action| action != FinalAction::None) {
        let example = "target = \"node\"";
        let wrong = Wrong::Needs { other: "target", example };
        table.notes.at_key(&table.key("final_action"), wrong);
    }
    let no_response = table.same("on_no_response").word(NO_RESPONSE);
    let settings = MonitorSettings {
        name: default.name,
        interval: time("interval", default.interval),
        timeout: time("timeout", default.timeout),
        retries: count("retries", default.retries),
        wait_before_start: wait.unwrap_or(default.wait_before_start),
        timing,
        on_no_response: no_response.unwrap_or(default.on_no_response),
        recovery,
    };
    (settings, script)
}
