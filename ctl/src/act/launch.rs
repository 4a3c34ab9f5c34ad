//! Starts the engine detached when the configuration says so, and starts it again when it dies.
//! Always: the engine outlives the daemon; at most one is started at a time, and never while a
//! process that an earlier daemon started is still there.

use super::host::process_started;
use lockstep_engine::units::{Span, Tick};
use rustix::process::setsid;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// First pause before a restart; doubles up to the largest.
const BACKOFF_FIRST: Span = Span::millis(200);
/// Largest pause before a restart.
const BACKOFF_MAX: Span = Span::millis(10_000);
/// An engine that lived this long has started well: the next pause is the first one again.
const LIVED: Span = Span::millis(30_000);

/// Name of the hidden verb that detaches itself and becomes the engine.
pub const DETACH_VERB: &str = "detach-engine";

/// The engine's process as written down for the next daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Written {
    pid: u32,
    /// Tells the process from a later one with the same pid.
    started: u64,
}

/// The engine's process.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    config: PathBuf,
    runtime_dir: PathBuf,
    child: Option<Child>,
    launched: Option<Tick>,
    backoff: Span,
    next: Tick,
}

impl Launcher {
    /// A launcher of `program run --config config`, whose notes are in `runtime_dir`.
    pub fn new(program: PathBuf, config: PathBuf, runtime_dir: PathBuf) -> Launcher {
        Launcher {
            program,
            config,
            runtime_dir,
            child: None,
            launched: None,
            backoff: BACKOFF_FIRST,
            next: Tick(0),
        }
    }

    fn note(&self) -> PathBuf {
        self.runtime_dir.join("engine.pid")
    }

    /// Whether an engine that this or an earlier daemon started is there.
    pub fn alive(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) => tracing::warn!(%status, "the engine has ended"),
                Err(cause) => tracing::warn!(%cause, "the engine can't be waited for"),
            }
            self.child = None;
        }
        let written = std::fs::read(self.note())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Written>(&bytes).ok());
        written.is_some_and(|written| process_started(written.pid) == Some(written.started))
    }

    /// Starts the engine when it is not there and its pause is over.
    pub fn tend(&mut self, now: Tick) {
        if now < self.next || self.alive() {
            return;
        }
        if self.launched.is_some_and(|launched| now.since(launched) >= LIVED) {
            self.backoff = BACKOFF_FIRST;
        }
        match self.launch() {
            Ok(pid) => tracing::info!(pid, "engine started"),
            Err(cause) => tracing::error!(
                program = %self.program.display(), %cause,
                "the engine can't be started: is it installed next to lockstep?"
            ),
        }
        self.launched = Some(now);
        self.next = now.after(self.backoff);
        self.backoff = Span(self.backoff.0.saturating_mul(2)).min(BACKOFF_MAX);
    }

    fn launch(&mut self) -> io::Result<u32> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.runtime_dir.join("engine.log"))?;
        // This executable detaches itself and then becomes the engine under the same pid.
        let child = Command::new(std::env::current_exe()?)
            .arg(DETACH_VERB)
            .arg(&self.program)
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        self.child = Some(child);
        if let Some(started) = process_started(pid) {
            let written = serde_json::to_vec(&Written { pid, started })?;
            std::fs::write(self.note(), written)?;
        }
        Ok(pid)
    }
}

/// Leaves the daemon's session and becomes the engine. Returns only an error.
pub fn detach(program: &Path, config: &Path) -> io::Error {
    if let Err(cause) = setsid() {
        return cause.into();
    }
    Command::new(program).arg("run").arg("--config").arg(config).exec()
}
