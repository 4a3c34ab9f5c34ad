//! A unit of the service manager, through `systemctl`: it waits for jobs, and its words are what
//! an operator would see. Always: on means active; after `stop` the unit is inactive or failed, so
//! that nothing of it runs. Survives a `systemctl` that hangs: it is killed, the job goes on, and
//! the next call finds what it came to.

use super::program::{self, Outcome, Rest};
use super::spec::{Command, UnitSpec};
use super::{Context, Failure, State};
use crate::act::{clock, work};
use lockstep_engine::units::{Span, Tick};
use std::path::{Path, PathBuf};

/// There when systemd runs this host.
const BOOTED: &str = "/run/systemd/system";
/// Where an ordinary host has the program.
const PROGRAMS: &[&str] = &["/usr/bin/systemctl", "/bin/systemctl"];
/// Between two looks at a unit that is being killed: `systemctl` waits for jobs only.
const LOOK: Span = Span::millis(50);

/// The service manager of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manager {
    /// Its program.
    pub systemctl: PathBuf,
    /// There when it runs.
    pub booted: PathBuf,
}

impl Manager {
    /// The one of an ordinary host.
    pub fn of_host() -> Manager {
        let found = PROGRAMS.iter().map(Path::new).find(|path| path.exists());
        let systemctl = found.unwrap_or(Path::new(PROGRAMS[0])).to_owned();
        Manager { systemctl, booted: PathBuf::from(BOOTED) }
    }
}

/// What `systemctl show` says of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Shown {
    load: String,
    active: String,
    sub: String,
    result: String,
    cgroup: String,
}

pub(super) async fn start(
    spec: &UnitSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    Manager::of_host().start(spec, context, deadline).await
}

pub(super) async fn stop(
    spec: &UnitSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    Manager::of_host().stop(spec, context, deadline).await
}

pub(super) async fn status(
    spec: &UnitSpec,
    context: &Context,
    deadline: Tick,
) -> Result<State, Failure> {
    Manager::of_host().status(spec, context, deadline).await
}

pub(super) async fn kill(
    spec: &UnitSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    Manager::of_host().kill(spec, context, deadline).await
}

impl Manager {
    /// See `super::start`.
    ///
    /// # Errors
    /// The unit is not active.
    pub async fn start(
        &self,
        spec: &UnitSpec,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        let doing = format!("start {}", spec.unit);
        let shown = self.show(spec, context, deadline).await?;
        if shown.active == "active" {
            remember(context, &shown);
            return Ok(());
        }
        let outcome = self.call(&["start", &spec.unit], "unit", context, deadline).await?;
        let journal = format!("see `journalctl -u {}`", spec.unit);
        if !outcome.good() {
            return Err(context.failure(&doing, outcome.words(), journal));
        }
        let shown = self.show(spec, context, deadline).await?;
        if shown.active != "active" {
            let cause = format!("it started and is now {} ({})", shown.active, shown.sub);
            let hint = format!("{journal}; a oneshot unit needs RemainAfterExit=yes");
            return Err(context.failure(&doing, cause, hint));
        }
        remember(context, &shown);
        Ok(())
    }

    /// See `super::stop`.
    ///
    /// # Errors
    /// The unit may still run.
    pub async fn stop(
        &self,
        spec: &UnitSpec,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        let doing = format!("stop {}", spec.unit);
        if down(&self.show(spec, context, deadline).await?) {
            return Ok(());
        }
        let outcome = self.call(&["stop", &spec.unit], "unit", context, deadline).await?;
        let journal = format!("see `journalctl -u {}`", spec.unit);
        if !outcome.good() {
            return Err(context.failure(&doing, outcome.words(), journal));
        }
        let shown = self.show(spec, context, deadline).await?;
        if down(&shown) {
            return Ok(());
        }
        let cause = format!("it was stopped and is now {} ({})", shown.active, shown.sub);
        let hint = format!("{journal}; does another unit or a socket start it again?");
        Err(context.failure(&doing, cause, hint))
    }

    /// See `super::status`.
    ///
    /// # Errors
    /// The service manager does not answer.
    pub async fn status(
        &self,
        spec: &UnitSpec,
        context: &Context,
        deadline: Tick,
    ) -> Result<State, Failure> {
        let shown = self.show(spec, context, deadline).await?;
        Ok(match shown.active.as_str() {
            "active" | "reloading" | "refreshing" => {
                remember(context, &shown);
                State::On
            }
            "inactive" => State::Off,
            "failed" => State::Broken(format!("{} has failed: {}", spec.unit, shown.result)),
            other => State::Broken(format!("{} is {other} ({})", spec.unit, shown.sub)),
        })
    }

    /// See `super::kill`. A stop job comes first: with it, systemd does not start it again.
    ///
    /// # Errors
    /// It may still run.
    pub async fn kill(
        &self,
        spec: &UnitSpec,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        let unit = &spec.unit;
        let half = clock::now().after(Span(deadline.since(clock::now()).0 / 2));
        // The control group is killed without asking anybody, in case nobody answers.
        kill_group(context, half).await;
        let stopping = ["stop", "--no-block", "--job-mode=replace-irreversibly", unit];
        let killing = ["kill", "--signal=SIGKILL", unit];
        for words in [stopping.as_slice(), killing.as_slice()] {
            let outcome = self.call(words, "unit-kill", context, deadline).await?;
            if !outcome.good() {
                tracing::debug!(unit, said = outcome.words(), "systemctl {}", words[0]);
            }
        }
        loop {
            let shown = self.show(spec, context, deadline).await?;
            if down(&shown) {
                return Ok(());
            }
            if clock::now().after(LOOK) >= deadline {
                let cause = format!("it is still {} ({})", shown.active, shown.sub);
                let hint = "treat the group as running here";
                return Err(context.failure(&format!("kill {unit}"), cause, hint));
            }
            tokio::time::sleep(clock::until(clock::now().after(LOOK))).await;
        }
    }

    async fn show(
        &self,
        spec: &UnitSpec,
        context: &Context,
        deadline: Tick,
    ) -> Result<Shown, Failure> {
        let doing = format!("look at {}", spec.unit);
        if !spec.unit.contains('.') || spec.unit.starts_with('-') || spec.unit.contains('/') {
            let cause = "that is no name of a unit";
            let hint = "write the whole name, such as postgresql@15-main.service";
            return Err(context.failure(&doing, cause, hint));
        }
        let wanted = "--property=LoadState,ActiveState,SubState,Result,ControlGroup";
        let words = ["show", wanted, &spec.unit];
        let outcome = self.call(&words, "unit-show", context, deadline).await?;
        let shown = parse(&outcome.text);
        if !outcome.good() || shown.active.is_empty() {
            let hint = "does `systemctl status` answer on this host?";
            return Err(context.failure(&doing, outcome.words(), hint));
        }
        if matches!(shown.load.as_str(), "not-found" | "masked" | "bad-setting" | "error") {
            let cause = format!("the service manager says of it: {}", shown.load);
            let hint = "install the unit on this node, or correct its name; then \
                        `systemctl daemon-reload`";
            return Err(context.failure(&doing, cause, hint));
        }
        Ok(shown)
    }

    async fn call(
        &self,
        words: &[&str],
        verb: &str,
        context: &Context,
        deadline: Tick,
    ) -> Result<Outcome, Failure> {
        if !self.booted.exists() {
            let cause = format!("systemd does not run this host ({} is missing)", BOOTED);
            let hint = "use `exec` with start and stop commands instead of a unit";
            return Err(context.failure("ask the service manager", cause, hint));
        }
        let flags = ["--no-ask-password", "--no-pager"];
        let args = flags.iter().chain(words).map(|word| (*word).to_owned()).collect();
        let command = Command { program: self.systemctl.clone(), args };
        program::run(&command, verb, Rest::Dies, context, deadline).await
    }
}

fn down(shown: &Shown) -> bool {
    matches!(shown.active.as_str(), "inactive" | "failed")
}

fn parse(text: &str) -> Shown {
    let mut shown = Shown::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let field = match name {
            "LoadState" => &mut shown.load,
            "ActiveState" => &mut shown.active,
            "SubState" => &mut shown.sub,
            "Result" => &mut shown.result,
            "ControlGroup" => &mut shown.cgroup,
            _ => continue,
        };
        value.trim().clone_into(field);
    }
    shown
}

/// Notes the unit's control group for `kill`.
fn remember(context: &Context, shown: &Shown) {
    let path = context.note("unit");
    if shown.cgroup.len() > 1
        && let Err(cause) = std::fs::write(&path, &shown.cgroup)
    {
        tracing::warn!(path = %path.display(), %cause, "control group of a unit is not noted");
    }
}

async fn kill_group(context: &Context, deadline: Tick) {
    let Ok(group) = std::fs::read_to_string(context.note("unit")) else { return };
    let killing = work::run("kill", deadline, move || super::cage::kill_group(&group));
    match killing.await {
        Ok(Ok(())) => {}
        // The service manager is asked next, in any case.
        Ok(Err(cause)) => tracing::debug!(%cause, "control group of a unit"),
        Err(cause) => tracing::warn!(%cause, "control group of a unit"),
    }
}
