//! The verbs of a cluster: ask this node's daemon, wait, show, exit with a code for scripts.

use super::client::{self, CallError, Connection, To};
use super::hint::Reached;
use super::mirror::{act, failed};
use super::{SOCKET, node_id, show};
use crate::act::events::{Entry, Weight};
use crate::api::control::{GroupWant, Tell, Verb};
use crate::decide::node::{ClusterVerb, MonitorVerb};
use crate::exit::Exit;
use crate::status::cluster::ClusterReport;
use crate::status::cluster_render::render;
use crate::status::words::age;
use clap::{Args, Subcommand};
use lockstep_engine::units::NodeId;
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for an answer that the daemon gives by itself.
const ANSWER: Duration = Duration::from_secs(5);

/// Which daemon, and how long.
#[derive(Args, Debug)]
pub(crate) struct Reach {
    /// Socket of the daemon [default: /run/lockstep/daemon.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Stop waiting after this many seconds; the request goes on in the daemon
    #[arg(long, value_name = "SECONDS", global = true)]
    timeout: Option<u64>,
}

/// The same for verbs that change something.
#[derive(Args, Debug)]
pub(crate) struct Change {
    #[command(flatten)]
    reach: Reach,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    dry_run: bool,
}

impl Reach {
    fn socket(&self) -> PathBuf {
        show::reached(Reached { config: None, socket: self.socket.clone() });
        self.socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET))
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs)
    }
}

impl Change {
    /// Carries a verb out and says that it is done.
    fn run(&self, verb: Verb, done: &str) -> Exit {
        let socket = self.reach.socket();
        let to = To { dry_run: self.dry_run, ..To::from(&socket) };
        act(to, self.reach.timeout(), verb, done).unwrap_or_else(|error| failed(&error))
    }
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
    /// Everything, for machines
    #[arg(long)]
    json: bool,
    /// Show it again at every change until interrupted
    #[arg(long)]
    watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ServiceArgs {
    #[command(flatten)]
    change: Change,
    #[command(subcommand)]
    verb: ServiceVerb,
}

#[derive(Subcommand, Debug)]
enum ServiceVerb {
    /// Take part again
    Start,
    /// Bring every group down here and take no part
    Stop {
        /// Do not pass groups to the other node: they stay down
        #[arg(long)]
        hold_down: bool,
    },
    /// Decide nothing without an operator but what safety asks for
    Suspend,
    /// Decide again
    Resume,
}

#[derive(Args, Debug)]
pub(crate) struct GroupArgs {
    #[command(flatten)]
    change: Change,
    #[command(subcommand)]
    verb: GroupVerb,
}

#[derive(Subcommand, Debug)]
enum GroupVerb {
    /// Bring it up here
    Start {
        /// Name of the group
        group: String,
        /// The other node is dead for certain: do not wait for it
        #[arg(long)]
        without_peer: bool,
    },
    /// Bring it down; it stays down until somebody starts it
    Stop {
        /// Name of the group
        group: String,
    },
    /// Bring it down here and up on the other node, in order
    Move {
        /// Name of the group
        group: String,
    },
    /// Pass it on although not in order; on the other node: take it over once that is safe
    Failover {
        /// Name of the group
        group: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ResourceArgs {
    #[command(flatten)]
    change: Change,
    #[command(subcommand)]
    verb: ResourceVerb,
}

#[derive(Subcommand, Debug)]
enum ResourceVerb {
    /// Bring one up, with what it needs being up
    Start {
        /// Name of the group
        group: String,
        /// Name of the resource
        resource: String,
    },
    /// Bring one down, with everything that depends on it
    Stop {
        /// Name of the group
        group: String,
        /// Name of the resource
        resource: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct MonitorArgs {
    #[command(flatten)]
    change: Change,
    #[command(subcommand)]
    verb: MonitorWant,
}

#[derive(Subcommand, Debug)]
enum MonitorWant {
    /// All of them, with what they found
    List {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// No probes until resumed
    Suspend {
        /// Name of the monitor
        monitor: String,
    },
    /// Probes again
    Resume {
        /// Name of the monitor
        monitor: String,
    },
    /// Fail on purpose, for a rehearsal
    Fail {
        /// Name of the monitor
        monitor: String,
        /// No longer
        #[arg(long)]
        off: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    reach: Reach,
    /// Only those with higher numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// At most so many, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    most: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct WhatIfArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    what: WhatIf,
}

#[derive(Subcommand, Debug)]
enum WhatIf {
    /// That node is lost now
    NodeDown {
        /// a or b
        #[arg(value_parser = node_id)]
        node: NodeId,
        /// For machines
        #[arg(long)]
        json: bool,
    },
}

fn ended(result: Result<Exit, CallError>) -> Exit {
    result.unwrap_or_else(|error| failed(&error))
}

fn show_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => show::machine(&text),
        Err(cause) => show::error(&format!("{cause}; this is a defect, report it")),
    }
}

/// `status`
pub(crate) fn status(args: &StatusArgs) -> Exit {
    ended(if args.watch { watch(args) } else { status_once(args) })
}

fn exit_of(report: &ClusterReport) -> Exit {
    let split = |group: &crate::status::cluster::GroupReport| {
        group.mirrors.iter().any(|mirror| mirror.summary.split_brain)
    };
    if report.groups.iter().any(split) {
        Exit::SplitBrain
    } else if report.safe {
        Exit::Ok
    } else {
        Exit::Degraded
    }
}

fn fetch(reach: &Reach) -> Result<ClusterReport, CallError> {
    client::cluster(&reach.socket(), reach.timeout().or(Some(ANSWER)))
}

fn status_once(args: &StatusArgs) -> Result<Exit, CallError> {
    let report = fetch(&args.reach)?;
    if args.json {
        show_json(&report);
    } else {
        show::result(&render(&report));
    }
    Ok(exit_of(&report))
}

fn watch(args: &StatusArgs) -> Result<Exit, CallError> {
    let socket = args.reach.socket();
    let mut connection = Connection::open(&socket, client::deadline(args.reach.timeout()))?;
    connection.ask(Verb::WatchCluster)?;
    let mut last = String::new();
    loop {
        let Tell::Cluster(report) = connection.line()? else {
            return Err(CallError::Confused { socket });
        };
        let screen = render(&report);
        if args.json {
            show_json(&report);
        } else if screen != last {
            show::result(&format!("{screen}\n"));
            last = screen;
        }
    }
}

/// `cluster`
pub(crate) fn service(args: &ServiceArgs) -> Exit {
    let (verb, done) = match args.verb {
        ServiceVerb::Start => (ClusterVerb::Start, "this node takes part"),
        ServiceVerb::Stop { hold_down } => {
            (ClusterVerb::Stop { hand_over: !hold_down }, "stopped: this node takes no part")
        }
        ServiceVerb::Suspend => (ClusterVerb::Suspend, "suspended: what runs goes on"),
        ServiceVerb::Resume => (ClusterVerb::Resume, "decisions are made again"),
    };
    args.change.run(Verb::Service(verb), done)
}

/// `group`
pub(crate) fn group(args: &GroupArgs) -> Exit {
    let (name, want, done) = match &args.verb {
        GroupVerb::Start { group, without_peer } => {
            (group, GroupWant::Start { without_peer: *without_peer }, "is up here")
        }
        GroupVerb::Stop { group } => (group, GroupWant::Stop, "is down"),
        GroupVerb::Move { group } => (group, GroupWant::Move, "was handed to the other node"),
        GroupVerb::Failover { group } => (group, GroupWant::Failover, "failed over"),
    };
    let done = format!("group {name} {done}");
    args.change.run(Verb::Group { name: name.clone(), want }, &done)
}

/// `resource`
pub(crate) fn resource(args: &ResourceArgs) -> Exit {
    let (group, resource, up) = match &args.verb {
        ResourceVerb::Start { group, resource } => (group, resource, true),
        ResourceVerb::Stop { group, resource } => (group, resource, false),
    };
    let name = resource.clone();
    let want = if up {
        GroupWant::ResourceStart { resource: name }
    } else {
        GroupWant::ResourceStop { resource: name }
    };
    let done = format!("resource {resource} is {}", if up { "on" } else { "off" });
    args.change.run(Verb::Group { name: group.clone(), want }, &done)
}

/// `monitor`
pub(crate) fn monitor(args: &MonitorArgs) -> Exit {
    let (name, want, done) = match &args.verb {
        MonitorWant::List { json } => return ended(list_monitors(&args.change.reach, *json)),
        MonitorWant::Suspend { monitor } => (monitor, MonitorVerb::Suspend, "is suspended"),
        MonitorWant::Resume { monitor } => (monitor, MonitorVerb::Resume, "probes again"),
        MonitorWant::Fail { monitor, off: false } => {
            (monitor, MonitorVerb::Fail(true), "fails on purpose; end it with --off")
        }
        MonitorWant::Fail { monitor, off: true } => {
            (monitor, MonitorVerb::Fail(false), "fails no longer")
        }
    };
    let done = format!("monitor {name} {done}");
    args.change.run(Verb::Monitor { name: name.clone(), want }, &done)
}

fn list_monitors(reach: &Reach, json: bool) -> Result<Exit, CallError> {
    let monitors = fetch(reach)?.monitors;
    if json {
        show_json(&monitors);
        return Ok(Exit::Ok);
    }
    for monitor in &monitors {
        let suspended = if monitor.suspended { ", suspended" } else { "" };
        let dummy = if monitor.dummy { ", fails on purpose" } else { "" };
        let why = monitor.cause.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        show::result(&format!("{}  {}{suspended}{dummy}{why}", monitor.name, monitor.health));
    }
    Ok(Exit::Ok)
}

/// `events`
pub(crate) fn events(args: &EventsArgs) -> Exit {
    ended(list_events(args))
}

fn list_events(args: &EventsArgs) -> Result<Exit, CallError> {
    let socket = args.reach.socket();
    let verb = Verb::Events { after: args.after, most: args.most };
    let timeout = args.reach.timeout().or(Some(ANSWER));
    let Tell::Events(events) = client::call(&socket, verb, timeout, |_| {})? else {
        return Err(CallError::Confused { socket });
    };
    let now = crate::act::clock::wall_ms();
    for event in &events {
        if args.json {
            match serde_json::to_string(event) {
                Ok(line) => show::machine(&line),
                Err(cause) => show::error(&format!("event {}: {cause}", event.number)),
            }
        } else {
            show::result(&line_of(event, now));
        }
    }
    Ok(Exit::Ok)
}

fn line_of(event: &Entry, now_ms: u64) -> String {
    let weight = match event.weight {
        Weight::Info => "info   ",
        Weight::Warning => "warning",
        Weight::Alarm => "ALARM  ",
    };
    let ago = age(now_ms.saturating_sub(event.at_ms));
    format!("{:>6}  {ago:>8} ago  {weight}  {}", event.number, event.message)
}

/// `what-if`
pub(crate) fn what_if(args: &WhatIfArgs) -> Exit {
    ended(dry_decision(args))
}

fn dry_decision(args: &WhatIfArgs) -> Result<Exit, CallError> {
    let WhatIf::NodeDown { node, json } = args.what;
    let socket = args.reach.socket();
    let timeout = args.reach.timeout().or(Some(ANSWER));
    let told = client::call(&socket, Verb::WhatIf { node }, timeout, |_| {})?;
    let Tell::WhatIf(findings) = told else { return Err(CallError::Confused { socket }) };
    if json {
        show_json(&findings);
    } else {
        for found in &findings {
            let word = if found.survives { "goes on" } else { "STOPS" };
            show::result(&format!("group {}: {word}", found.group));
            for because in &found.because {
                show::result(&format!("  {because}"));
            }
        }
    }
    let all = findings.iter().all(|found| found.survives);
    Ok(if all { Exit::Ok } else { Exit::Degraded })
}
