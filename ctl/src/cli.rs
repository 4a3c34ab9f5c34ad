//! The command line: one table of verbs, from which help and usage errors are derived.
//! Always: results on stdout, progress and errors on stderr, and an exit code of `exit::Exit`.

pub mod client;
mod config;
mod force;
mod generate;
mod mirror;
pub(crate) mod show;
mod wait;

use crate::act::launch;
use crate::config::Config;
use crate::demo;
use crate::exit::Exit;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
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
    /// Look at the mirror and change it
    Mirror(MirrorArgs),
    /// Check, compare, write and show the configuration of the cluster
    Config(config::ConfigArgs),
    /// Show a failover on this machine: two nodes in a temporary directory, no root needed
    Demo(demo::DemoArgs),
    /// Write manual pages and shell completions
    Generate(generate::GenerateArgs),
    #[command(name = launch::DETACH_VERB, hide = true)]
    DetachEngine { program: PathBuf, config: PathBuf },
}

#[derive(Args, Debug)]
struct DaemonArgs {
    /// Configuration file of this node
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
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
        Verb::Mirror(args) => mirror(args),
        Verb::Config(args) => config::run(&args.verb),
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
    }
}

fn daemon(args: &DaemonArgs) -> Exit {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            show::error(&error.to_string());
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
    match crate::daemon::run(config) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            show::error(&error.to_string());
            Exit::Failed
        }
    }
}

fn mirror(args: MirrorArgs) -> Exit {
    let socket = match (args.socket, args.config) {
        (Some(socket), _) => socket,
        (None, Some(path)) => match Config::load(&path) {
            Ok(config) => config.daemon_socket,
            Err(error) => {
                show::error(&error.to_string());
                return Exit::Usage;
            }
        },
        (None, None) => PathBuf::from(SOCKET),
    };
    mirror::run(&socket, args.timeout, &args.verb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
    fn the_destructive_verb_is_a_word_of_its_own() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("lockstep mirror force-promote --yes-i-lose db"));
        assert!(!parse("lockstep mirror start --force"));
        assert!(parse("lockstep mirror --socket /x status --json"));
        assert!(parse("lockstep mirror takeover --timeout 5 --config /x"));
        assert!(!parse("lockstep mirror status --socket /x --config /y"));
    }
}
