//! `config apply`: shows what a file changes and touches, asks, and has the daemons do it.
//! Always: nothing is changed before a person has seen it, or has said `--yes`.

use super::load;
use crate::api::control::{Applied, ConfigPlan, Tell, Verb};
use crate::cli::client::{self, CallError, To};
use crate::cli::mirror::failed;
use crate::cli::wait::Waiting;
use crate::cli::{SOCKET, show};
use crate::config::cluster::{Effect, FILE_DEFAULT};
use crate::exit::Exit;
use clap::Args;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for what would be done: both nodes look at their disks.
const PLAN_MAX: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// The new file; the installed one itself when it was edited in place
    #[arg(default_value = FILE_DEFAULT)]
    file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// For machines
    #[arg(long)]
    json: bool,
    /// Socket of the daemon [default: /run/lockstep/daemon.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Stop waiting after this many seconds; the request goes on in the daemon
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Runs it.
pub fn run(args: &ApplyArgs) -> Result<Exit, Exit> {
    // The daemon checks it again; here every mistake has its line.
    load(&args.file)?;
    let text = std::fs::read_to_string(&args.file).map_err(|cause| {
        show::error(&format!("{}: {cause}; name a file that can be read", args.file.display()));
        Exit::Failed
    })?;
    apply(args, text).map_err(|error| failed(&error))
}

fn apply(args: &ApplyArgs, text: String) -> Result<Exit, CallError> {
    let socket = args.socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
    let timeout = args.timeout.map(Duration::from_secs);
    let to = To { dry_run: true, ..To::from(&socket) };
    let confused = || CallError::Confused { socket: socket.clone() };
    let verb = Verb::Apply { text };
    let plan = match client::call(to, verb.clone(), timeout.or(Some(PLAN_MAX)), |_| {})? {
        Tell::Config(plan) => plan,
        _ => return Err(confused()),
    };
    let wrong = !plan.stops.is_empty() || !plan.lacks.is_empty();
    if args.json && (args.dry_run || wrong) {
        show::result(&json!({ "plan": plan }).to_string());
    } else if !args.json {
        show::result(&told(&plan));
    }
    if wrong {
        return Ok(Exit::Refused);
    }
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    if !args.yes && !confirmed() {
        show::error("nothing was changed");
        return Ok(Exit::Refused);
    }
    let mut waiting = Waiting::new();
    let progress = |message: &str| waiting.show(&format!("waiting {message}"));
    let last = client::call(&socket, verb, timeout, progress)?;
    drop(waiting);
    let Tell::Applied(applied) = last else { return Err(confused()) };
    let shown = match args.json {
        true => json!({ "plan": plan, "applied": applied }).to_string(),
        false => done(&applied),
    };
    show::result(&shown);
    let fine = applied.both && applied.engines.is_empty();
    Ok(if fine { Exit::Ok } else { Exit::Degraded })
}

/// What would be done.
fn told(plan: &ConfigPlan) -> String {
    let mut lines: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    if lines.is_empty() {
        lines.push("no change of what it means".to_owned());
    }
    lines.push(match &plan.restarts[..] {
        [] => "restarts: nothing; what runs goes on".to_owned(),
        names => format!("restarts, with what needs it: {}", names.join(", ")),
    });
    let engines = |change: &crate::config::cluster::Change| match &change.effect {
        Effect::EngineRestart(volume) => Some(volume.clone()),
        _ => None,
    };
    let mut engines: Vec<String> = plan.changes.iter().filter_map(engines).collect();
    engines.dedup();
    if !engines.is_empty() {
        lines.push(format!(
            "engines to restart by hand afterwards, where they serve: {}",
            engines.join(", ")
        ));
    }
    lines.push(plan.other.clone());
    lines.extend(plan.stops.iter().map(|stop| format!("! {stop}")));
    lines.extend(plan.lacks.iter().map(|lack| format!("! {lack}")));
    if !plan.stops.is_empty() || !plan.lacks.is_empty() {
        lines.push("it can't be applied now; nothing was changed".to_owned());
    }
    lines.join("\n")
}

fn done(applied: &Applied) -> String {
    let mut lines = vec![format!("version {}, digest {}", applied.version, &applied.digest)];
    lines.extend(applied.nodes.iter().map(|(node, word)| format!("node {node}: {word}")));
    lines.extend(applied.engines.iter().map(|volume| {
        format!("volume {volume}: restart its engine here for it; its I/O waits for a moment")
    }));
    lines.join("\n")
}

/// Whether the person in front wants it.
fn confirmed() -> bool {
    if !std::io::stdin().is_terminal() {
        show::error("nobody is there to be asked; say --yes");
        return false;
    }
    let mut err = std::io::stderr().lock();
    let asked = write!(err, "Apply it? [y/N] ").and_then(|()| err.flush());
    drop(err);
    let mut line = String::new();
    asked.is_ok()
        && std::io::stdin().read_line(&mut line).is_ok()
        && matches!(line.trim(), "y" | "yes" | "Y")
}
