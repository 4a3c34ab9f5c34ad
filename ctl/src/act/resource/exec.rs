//! Programs that start and stop something. Always: everything that the start program leaves behind
//! is in the resource's cage, so that `kill` reaches it; after a successful `stop`, and after a
//! failed `start`, nothing is left in the cage. Survives a daemon that dies at any moment: a start
//! that was cut short is noticed, and what it left is killed before the next one.

use super::cage::Cage;
use super::program::{self, Outcome, Rest};
use super::spec::{Command, ExecSpec};
use super::{Context, Failure, State};
use crate::act::{clock, file};
use lockstep_engine::units::{Span, Tick};
use std::fs;
use std::io;

/// Exit status of a status program that means off.
const OFF: i32 = 3;
/// Verb under which what was started lives on.
const START: &str = "start";
/// Longest time that is left to programs to end by themselves after the stop program has.
const ENDING_MAX: Span = Span::millis(5_000);

/// What the resource was last told to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Off,
    /// A start program runs, or was cut short.
    Starting,
    On,
}

pub(super) async fn start(
    spec: &ExecSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    // A status program that hangs must leave time to start.
    let quarter = clock::now().after(Span(deadline.since(clock::now()).0 / 4));
    match status(spec, context, quarter).await {
        Ok(State::On) => return tell(context, Told::On),
        Ok(_) => {}
        Err(failure) => tracing::warn!(%failure, "no status before the start; starting"),
    }
    let left = Cage::of(context).part(START);
    if told(context)? == Told::Starting && !left.clear(deadline).await {
        return Err(unkillable(context, "start", &left));
    }
    tell(context, Told::Starting)?;
    let outcome = program::run(&spec.start, START, Rest::LivesOn, context, deadline).await;
    match outcome {
        Ok(outcome) if outcome.good() => {
            log(context, START, &outcome);
            tell(context, Told::On)
        }
        Ok(outcome) if outcome.stuck => Err(unkillable(context, "start", &left)),
        failed => {
            tell(context, Told::Off)?;
            let outcome = failed?;
            Err(ended_badly(context, START, &spec.start, &outcome))
        }
    }
}

pub(super) async fn stop(
    spec: &ExecSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    let outcome = program::run(&spec.stop, "stop", Rest::Dies, context, deadline).await?;
    if !outcome.good() {
        return Err(ended_badly(context, "stop", &spec.stop, &outcome));
    }
    log(context, "stop", &outcome);
    let cage = Cage::of(context);
    let half = Span(deadline.since(clock::now()).0 / 2).min(ENDING_MAX);
    if !cage.emptied(clock::now().after(half)).await {
        tracing::warn!(
            group = context.group,
            resource = context.resource,
            left = names(&cage),
            "the stop program ended well and left processes behind: they are killed"
        );
        if !cage.clear(deadline).await {
            return Err(unkillable(context, "stop", &cage));
        }
    }
    cage.remove();
    tell(context, Told::Off)
}

pub(super) async fn status(
    spec: &ExecSpec,
    context: &Context,
    deadline: Tick,
) -> Result<State, Failure> {
    program::trim_left_behind(context, START);
    let cut_short = || {
        let resource = &context.resource;
        State::Broken(format!("{resource}: its start program was cut short; start or stop it"))
    };
    let Some(command) = &spec.status else {
        return Ok(match told(context)? {
            Told::On => State::On,
            Told::Off => State::Off,
            Told::Starting => cut_short(),
        });
    };
    let outcome = program::run(command, "status", Rest::Dies, context, deadline).await?;
    Ok(match outcome.status.and_then(|status| status.code()) {
        Some(0) => State::On,
        // What is left of the start may bring it on later: only a stop or a kill makes it off.
        Some(OFF) if told(context)? == Told::Starting => cut_short(),
        Some(OFF) => State::Off,
        _ if outcome.status.is_none() => {
            return Err(ended_badly(context, "status", command, &outcome));
        }
        _ => State::Broken(format!("{}: {}", command.program.display(), outcome.words())),
    })
}

pub(super) async fn kill(context: &Context, deadline: Tick) -> Result<(), Failure> {
    let cage = Cage::of(context);
    if !cage.clear(deadline).await {
        return Err(unkillable(context, "kill", &cage));
    }
    cage.remove();
    tell(context, Told::Off)
}

fn told(context: &Context) -> Result<Told, Failure> {
    let path = context.note("told");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == "on" => Ok(Told::On),
        Ok(_) => Ok(Told::Starting),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Told::Off),
        Err(cause) => {
            let hint = format!("check the rights of {}", path.display());
            Err(context.failure("read what it was told to be", cause, hint))
        }
    }
}

fn tell(context: &Context, what: Told) -> Result<(), Failure> {
    let path = context.note("told");
    let write = |word: &str| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        file::replace(&path, word.as_bytes())
    };
    let written = match what {
        Told::On => write("on\n"),
        Told::Starting => write("starting\n"),
        Told::Off => match fs::remove_file(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    };
    written.map_err(|cause| {
        let hint = format!("check the space and the rights of {}", path.display());
        context.failure("note what it was told to be", cause, hint)
    })
}

fn log(context: &Context, verb: &str, outcome: &Outcome) {
    tracing::info!(
        group = context.group,
        resource = context.resource,
        verb,
        output = outcome.output,
        "program ended well"
    );
}

fn ended_badly(context: &Context, verb: &str, command: &Command, outcome: &Outcome) -> Failure {
    let doing = format!("{verb} with {}", command.program.display());
    let hint = format!(
        "run it by hand, or give it more time; all that it wrote is in {}",
        context.note(&format!("{verb}.out")).display()
    );
    context.failure(&doing, outcome.words(), hint)
}

fn unkillable(context: &Context, doing: &str, cage: &Cage) -> Failure {
    let cause = format!("SIGKILL does not end {}", names(cage));
    let hint = "it waits in the kernel, often for a disk; only a reboot of this host ends it";
    context.failure(doing, cause, hint)
}

/// Processes of a cage by name, not too many.
fn names(cage: &Cage) -> String {
    let members = cage.members();
    let mut shown: Vec<String> = members.iter().take(8).map(|pid| name(*pid)).collect();
    if members.len() > shown.len() {
        shown.push(format!("{} more", members.len() - shown.len()));
    }
    if shown.is_empty() { "processes that have ended since".to_owned() } else { shown.join(", ") }
}

/// A process for people.
pub(super) fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim())
}
