//! The command line: one table of verbs, from which help and usage errors are derived.
//! Always: results on stdout, progress and errors on stderr, and an exit code of `exit::Exit`.

mod aws;
pub mod client;
mod cluster;
mod config;
mod doctor;
mod force;
mod generate;
mod hint;
mod interrupt;
mod mirror;
pub(crate) mod show;
#[cfg(test)]
mod tutorials;
mod wait;

use crate::act::launch;
use crate::config::Config;
use crate::config::cluster::NodeView;
use crate::daemon::Source;
use crate::demo::{self, attend, service};
use crate::exit::Exit;
use clap::{Args, CommandFactory, Parser, Subcommand};
use client::To;
use hint::Reached;
use lockstep_engine::units::NodeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

/// Where the daemon listens unless told otherwise.
const SOCKET: &str = "/run/lockstep/daemon.sock";

/// Exit codes, for the end of the help.
fn exit_codes() -> String {
    let lines = Exit::TABLE.iter().map(|(exit, meaning)| format!("  {}  {meaning}", exit.code()));
    format!("Exit codes:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Keeps one block device identical on two machines and moves the service that lives on it.
#[derive(Parser, Debug)]
#[command(
    name = "lockstep",
    version = lockstep_nbd::VERSION,
    after_help = exit_codes(),
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run this node's daemon
    Daemon(DaemonArgs),
    /// Where groups run, whether it is safe to lose a node now, what to do next
    Status(cluster::StatusArgs),
    /// The cluster service on this node
    Cluster(cluster::ServiceArgs),
    /// Bring groups up and down, move them
    Group(cluster::GroupArgs),
    /// Bring single resources up and down
    Resource(cluster::ResourceArgs),
    /// Look at monitors, suspend them, make them fail for a rehearsal
    Monitor(cluster::MonitorArgs),
    /// What happened here, oldest first
    Events(cluster::EventsArgs),
    /// What would happen, and why
    WhatIf(cluster::WhatIfArgs),
    /// Look at the mirror and change it
    Mirror(MirrorArgs),
    /// Check, compare, write and show the configuration of the cluster
    Config(config::ConfigArgs),
    /// Prepare what the cluster needs in AWS
    Aws(aws::AwsArgs),
    /// Look at this host and say what is not well, and what to do
    Doctor(doctor::DoctorArgs),
    /// Collect status, events, logs and metadata for somebody who helps; no key goes in
    SupportBundle(doctor::BundleArgs),
    /// Show a failover on this machine: two nodes in a temporary directory, no root needed
    Demo(demo::DemoArgs),
    /// Write manual pages and shell completions
    Generate(generate::GenerateArgs),
    #[command(name = launch::DETACH_VERB, hide = true)]
    DetachEngine { program: PathBuf, config: PathBuf },
    #[command(name = attend::ATTEND_VERB, hide = true)]
    DemoProcess {
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    #[command(name = service::SERVICE_VERB, hide = true)]
    DemoService(service::ServiceArgs),
}

#[derive(Args, Debug)]
struct DaemonArgs {
    /// Configuration of the cluster, the same file on both nodes
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    cluster: Option<PathBuf>,
    /// Which node this is [default: the one with this host's name]
    #[arg(long, value_name = "a|b", requires = "cluster", value_parser = node_id)]
    node: Option<NodeId>,
    /// Configuration file of this node alone, for a lab with one volume
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    config: Option<PathBuf>,
    /// Log JSON lines
    #[arg(long)]
    log_json: bool,
}

#[derive(Args, Debug)]
struct MirrorArgs {
    /// Socket of the daemon [default: /run/lockstep/daemon.sock]
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Configuration file that names the socket
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The volume, when there are several
    #[arg(long, value_name = "NAME", global = true)]
    volume: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Stop waiting after this many seconds; the request goes on in the daemon
    #[arg(long, value_name = "SECONDS", global = true)]
    timeout: Option<u64>,
    #[command(subcommand)]
    verb: MirrorVerb,
}

/// What can be done with a mirror.
#[derive(Subcommand, Debug)]
pub(crate) enum MirrorVerb {
    /// Where it runs, whether it is safe to lose a node now, what would be lost, what to do next
    Status {
        /// Everything, for machines
        #[arg(long)]
        json: bool,
        /// Show it again at every change until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Write the first record: this node's copy counts, the peer is filled from it
    Create {
        /// Both copies are blank, so nothing has to be copied
        #[arg(long)]
        both_blank: bool,
    },
    /// Serve the volume on this node
    Start {
        /// The peer is dead for certain: do not wait for it
        #[arg(long)]
        without_peer: bool,
    },
    /// Take over here, once the silence of the primary is evidence
    Takeover,
    /// Hand the volume over to the peer, in order
    Move,
    /// Stop serving, in order; nobody is primary then
    Stop,
    /// Let resync go on and wait until both copies are equal
    Resync,
    /// Compare both copies and wait for the result; what differs is repaired
    Verify {
        /// Stop a comparison that runs
        #[arg(long)]
        stop: bool,
    },
    /// Hold resync back
    Pause,
    /// Let resync go on
    Resume,
    /// Histograms and counters of the engine, as JSON
    Stats,
    /// Make a copy the truth that may lack acknowledged writes: shows the loss first
    ForcePromote {
        /// Name of the volume, instead of typing it at the question
        #[arg(long, value_name = "VOLUME")]
        yes_i_lose: Option<String>,
    },
    /// After both copies went on alone: give up the one here and be filled from the peer's
    DiscardLocal {
        /// Name of the volume, instead of typing it at the question
        #[arg(long, value_name = "VOLUME")]
        yes_i_lose: Option<String>,
    },
}

/// Verbs that only look, or that have nothing to do with a daemon: no dry run is needed.
const LOOKING: &[&str] = &[
    "doctor",
    "support-bundle",
    "daemon",
    "status",
    "monitor list",
    "events",
    "what-if node-down",
    "mirror status",
    "mirror stats",
    "config check",
    "config diff",
    "config init",
    "config show",
    "aws iam-policy",
    "aws plan",
    "demo",
    "generate",
];

/// Every verb that changes something through a daemon, as it is typed, without its arguments: each
/// has a dry run.
pub fn changing_verbs() -> Vec<String> {
    fn collect(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let path = format!("{path} {}", verb.get_name()).trim_start().to_owned();
            if verb.get_subcommands().next().is_some() {
                collect(verb, &path, found);
            } else if !LOOKING.contains(&path.as_str()) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&Cli::command(), "", &mut found);
    found
}

/// Runs the command line.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to stdout.
            let usage = error.use_stderr();
            if error.print().is_err() {
                return Exit::Failed;
            }
            return if usage { Exit::Usage } else { Exit::Ok };
        }
    };
    match cli.verb {
        Verb::Daemon(args) => daemon(&args),
        Verb::Status(args) => cluster::status(&args),
        Verb::Cluster(args) => cluster::service(&args),
        Verb::Group(args) => cluster::group(&args),
        Verb::Resource(args) => cluster::resource(&args),
        Verb::Monitor(args) => cluster::monitor(&args),
        Verb::Events(args) => cluster::events(&args),
        Verb::WhatIf(args) => cluster::what_if(&args),
        Verb::Mirror(args) => mirror(args),
        Verb::Config(args) => config::run(&args.verb),
        Verb::Aws(args) => aws::run(&args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::SupportBundle(args) => doctor::bundle(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Generate(args) => generate::run(&args),
        Verb::DetachEngine { program, config } => {
            let cause = launch::detach(&program, &config);
            show::error(&format!(
                "{}: {cause}; is the engine installed next to lockstep?",
                program.display()
            ));
            Exit::Failed
        }
        Verb::DemoProcess { parent, program, args } => {
            let cause = attend::attend(parent, &program, &args);
            show::error(&format!("{}: {cause}; start `lockstep demo` again", program.display()));
            Exit::Failed
        }
        Verb::DemoService(args) => service::run(&args).unwrap_or_else(|cause| {
            show::error(&format!("the service of the demo: {cause}; see its logs with --keep"));
            Exit::Failed
        }),
    }
}

fn daemon(args: &DaemonArgs) -> Exit {
    let view = match (&args.config, &args.cluster) {
        (Some(config), _) => of_node(config).map(|view| (view, None)),
        (None, Some(cluster)) => Source::open(cluster, args.node)
            .map(|(view, source)| (view, Some(source)))
            .map_err(|error| error.to_string()),
        (None, None) => Err("name a configuration with --cluster".to_owned()),
    };
    let (view, source) = match view {
        Ok(view) => view,
        Err(error) => {
            show::error(&error);
            return Exit::Usage;
        }
    };
    let filter = EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if args.log_json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
    match crate::daemon::run(view, source) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            show::error(&error.to_string());
            Exit::Failed
        }
    }
}

/// A node as people type it.
pub(crate) fn node_id(text: &str) -> Result<NodeId, String> {
    match text {
        "a" => Ok(NodeId::A),
        "b" => Ok(NodeId::B),
        _ => Err("the nodes are called a and b".to_owned()),
    }
}

/// The view of a file for one node alone: there is nothing to compare with the other one.
fn of_node(path: &Path) -> Result<NodeView, String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    crate::daemon::view_of(&config).map_err(|error| error.to_string())
}

fn mirror(args: MirrorArgs) -> Exit {
    let socket = match (&args.socket, &args.config) {
        (Some(socket), _) => Some(socket.clone()),
        (None, Some(path)) => match Config::load(path) {
            Ok(config) => Some(config.daemon_socket),
            Err(error) => {
                show::error(&error.to_string());
                return Exit::Usage;
            }
        },
        (None, None) => None,
    };
    show::reached(Reached { config: args.config, socket: socket.clone() });
    let socket = socket.unwrap_or_else(|| PathBuf::from(SOCKET));
    let (volume, dry_run) = (args.volume.as_deref(), args.dry_run);
    mirror::run(To { socket: &socket, volume, dry_run }, args.timeout, &args.verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_that_starts_with_a_capital_and_no_full_stop() {
        fn check(command: &clap::Command) {
            for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
                let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
                let name = verb.get_name();
                assert!(about.starts_with(|c: char| c.is_uppercase()), "{name}: {about}");
                assert!(!about.ends_with('.'), "{name}: {about}");
                check(verb);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn every_verb_that_changes_something_has_a_dry_run() {
        let verbs = changing_verbs();
        assert!(verbs.len() >= 20 && verbs.contains(&"mirror pause".to_owned()), "{verbs:?}");
        for verb in &verbs {
            // As many arguments as it takes: names, all of them.
            let given = (0..4).map(|names| {
                let line = format!("lockstep {verb} --dry-run{}", " x".repeat(names));
                Cli::try_parse_from(line.split(' ')).is_ok()
            });
            assert!(given.into_iter().any(|fine| fine), "{verb} --dry-run");
        }
    }

    #[test]
    fn the_destructive_verb_is_a_word_of_its_own() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("lockstep mirror force-promote --yes-i-lose db"));
        assert!(!parse("lockstep mirror start --force"));
        assert!(parse("lockstep mirror --socket /x status --json"));
        assert!(parse("lockstep mirror takeover --timeout 5 --config /x"));
        assert!(!parse("lockstep mirror status --socket /x --config /y"));
    }
}
