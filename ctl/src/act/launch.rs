//! Starts the engine detached when the configuration says so, and starts it again when it dies.
//! Always: the engine outlives the daemon; at most one is started at a time, and never while a
//! process that an earlier daemon started is still there.

use super::host::process_started;
use crate::status::words::age;
use lockstep_engine::units::{BootId, Span, Tick};
use rustix::process::setsid;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// First pause before a restart; doubles up to the largest.
const BACKOFF_FIRST: Span = Span::millis(200);
/// Largest pause before a restart.
const BACKOFF_MAX: Span = Span::millis(10_000);
/// An engine that lived this long has started well: the next pause is the first one again.
const LIVED: Span = Span::millis(30_000);

/// Bytes at the end of the engine's log in which its error is looked for.
const WORDS_BYTES_MAX: u64 = 8 << 10;
/// What the engine's errors begin with.
const ERROR_PREFIX: &str = "lockstep-engine: ";

/// Where the engine looks for a boot id that is not the host's.
const LAB_BOOT_ID: &str = "LOCKSTEP_LAB_BOOT_ID";

/// File with the process of the engine.
const NOTE: &str = "engine.pid";

/// Name of the hidden verb that detaches itself and becomes the engine.
pub const DETACH_VERB: &str = "detach-engine";

/// The engine's process as written down for the next daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Written {
    pid: u32,
    /// Tells the process from a later one with the same pid.
    started: u64,
}

impl Written {
    fn lives(self) -> bool {
        process_started(self.pid) == Some(self.started)
    }
}

fn read_note(path: &Path) -> Option<Written> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Whether it is an engine that lives and was started with that configuration.
fn runs_with(written: Written, config: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", written.pid)).unwrap_or_default();
    let config = config.as_os_str().as_bytes();
    written.lives() && line.split(|byte| *byte == 0).any(|word| word == config)
}

/// How an engine that this daemon started has ended.
#[derive(Clone, Debug)]
struct Trouble {
    /// Its own words, if it had any.
    words: String,
    /// When that was seen.
    at: Tick,
}

/// The engine's process.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    config: PathBuf,
    runtime_dir: PathBuf,
    /// Stands in for the host's boot id, in a lab.
    boot: Option<BootId>,
    child: Option<Child>,
    /// Started by an earlier daemon that noted it elsewhere.
    adopted: Option<Written>,
    launched: Option<Tick>,
    /// Length of the log when the engine was started: what is behind it are its own words.
    log_from: u64,
    trouble: Option<Trouble>,
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
            boot: None,
            child: None,
            adopted: None,
            launched: None,
            log_from: 0,
            trouble: None,
            backoff: BACKOFF_FIRST,
            next: Tick(0),
        }
    }

    /// The engine is told to believe in this boot, as the daemon does: an in-sync mark counts only
    /// where both say the same.
    pub fn in_lab(self, boot: Option<BootId>) -> Launcher {
        Launcher { boot, ..self }
    }

    /// Takes over the note that an earlier release left in `earlier` when it had one volume, if it
    /// is of a process that runs with this launcher's configuration. The process counts even when
    /// its note can't be moved.
    pub fn adopting(mut self, earlier: &Path) -> Launcher {
        let note = earlier.join(NOTE);
        let Some(written) = read_note(&note).filter(|written| runs_with(*written, &self.config))
        else {
            return self;
        };
        self.adopted = Some(written);
        let moved = std::fs::create_dir_all(&self.runtime_dir)
            .and_then(|()| std::fs::rename(&note, self.note()));
        match moved {
            Ok(()) => tracing::info!(
                pid = written.pid, note = %self.note().display(), "note of the engine moved"
            ),
            Err(cause) => tracing::warn!(
                note = %note.display(), %cause,
                "the note of the engine can't be moved; it is looked for there again"
            ),
        }
        self
    }

    fn note(&self) -> PathBuf {
        self.runtime_dir.join(NOTE)
    }

    fn log(&self) -> PathBuf {
        self.runtime_dir.join("engine.log")
    }

    /// Why the last engine that this daemon started has ended, how long ago, and when the next one
    /// is tried: its cause may be gone already.
    pub fn trouble(&self, now: Tick) -> Option<String> {
        let Trouble { words, at } = self.trouble.as_ref()?;
        let ago = age(now.since(*at).as_millis());
        let next = if self.child.is_some() {
            "the next one is starting".to_owned()
        } else {
            let wait = if self.next > now { self.next.since(now).as_millis() } else { 0 };
            format!("next try in {}", age(wait.next_multiple_of(1_000)))
        };
        Some(format!("{words} (failed {ago} ago, {next})"))
    }

    /// What the engine that ended with `status` said about it in its log.
    fn last_words(&self, status: &str) -> String {
        let log = self.log();
        let said = File::open(&log).and_then(|mut file| {
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.log_from.max(end.saturating_sub(WORDS_BYTES_MAX))))?;
            let mut bytes = Vec::new();
            file.take(WORDS_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(error_in(&String::from_utf8_lossy(&bytes)))
        });
        match said {
            Ok(Some(words)) => words,
            Ok(None) => format!("it ended with {status}; see {}", log.display()),
            Err(cause) => format!("it ended with {status}; {}: {cause}", log.display()),
        }
    }

    /// Whether an engine that this or an earlier daemon started is there.
    pub fn alive(&mut self, now: Tick) -> bool {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) => {
                    let words = self.last_words(&status.to_string());
                    tracing::warn!(
                        %status, config = %self.config.display(), cause = words,
                        "the engine has ended; it is started again"
                    );
                    self.trouble = Some(Trouble { words, at: now });
                }
                Err(cause) => tracing::warn!(%cause, "the engine can't be waited for"),
            }
            self.child = None;
        }
        let known = [self.adopted, read_note(&self.note())];
        known.into_iter().flatten().any(Written::lives)
    }

    /// Starts the engine when it is not there and its pause is over.
    pub fn tend(&mut self, now: Tick) {
        // Its end is seen before its pause is over, so that what is told of it is not stale.
        if self.alive(now) || now < self.next {
            return;
        }
        if self.launched.is_some_and(|launched| now.since(launched) >= LIVED) {
            self.backoff = BACKOFF_FIRST;
        }
        match self.launch() {
            Ok(pid) => tracing::info!(pid, config = %self.config.display(), "engine started"),
            Err(cause) => {
                tracing::error!(
                    program = %self.program.display(), %cause,
                    "the engine can't be started: is it installed next to lockstep?"
                );
                let program = self.program.display();
                let words = format!("{program}: {cause}; is it installed next to lockstep?");
                self.trouble = Some(Trouble { words, at: now });
            }
        }
        self.launched = Some(now);
        self.next = now.after(self.backoff);
        self.backoff = Span(self.backoff.0.saturating_mul(2)).min(BACKOFF_MAX);
    }

    fn launch(&mut self) -> io::Result<u32> {
        std::fs::create_dir_all(&self.runtime_dir)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        self.log_from = log.metadata()?.len();
        // This executable detaches itself and then becomes the engine under the same pid.
        let child = Command::new(std::env::current_exe()?)
            .arg(DETACH_VERB)
            .arg(&self.program)
            .arg(&self.config)
            .envs(self.boot.map(|boot| (LAB_BOOT_ID, boot.to_string())))
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

/// The last error in a log of the engine, with the lines that belong to it.
fn error_in(log: &str) -> Option<String> {
    let (_, error) = log.rsplit_once(ERROR_PREFIX)?;
    let mut lines = error.lines();
    let mut words = lines.next()?.to_owned();
    for line in lines.take_while(|line| line.starts_with(' ')) {
        words.push_str("; ");
        words.push_str(line.trim());
    }
    Some(words.replace(":; ", ": "))
}

/// Leaves the daemon's session and becomes the engine. Returns only an error.
pub fn detach(program: &Path, config: &Path) -> io::Error {
    if let Err(cause) = setsid() {
        return cause.into();
    }
    Command::new(program).arg("run").arg("--config").arg(config).exec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_failed_start_is_told_at_once_with_its_age_and_the_next_try() {
        let dir = tempfile::tempdir().unwrap();
        let mut launcher =
            Launcher::new("/bin/false".into(), "/none".into(), dir.path().to_owned());
        let at = |ms: u64| Tick(ms * 1_000_000);
        launcher.child = Some(Command::new("/bin/false").spawn().unwrap());
        launcher.next = at(10_000);
        let began = Instant::now();
        while launcher.trouble.is_none() {
            assert!(began.elapsed() < Duration::from_secs(10), "its end is not seen");
            launcher.tend(at(1_000));
        }
        assert!(launcher.child.is_none(), "and none is started before the pause is over");
        let told = launcher.trouble(at(4_500)).unwrap();
        assert!(told.contains("failed 3 s ago, next try in 6 s"), "{told}");
        launcher.child = Some(Command::new("/bin/sleep").arg("0").spawn().unwrap());
        let told = launcher.trouble(at(11_000)).unwrap();
        assert!(told.contains("the next one is starting"), "{told}");
        launcher.child.take().unwrap().wait().unwrap();
    }

    #[test]
    fn a_running_engine_that_was_noted_at_the_old_place_is_found_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().to_owned(), dir.path().join("vol"));
        let config = dir.path().join("vol.toml");
        // A process with that file among its words, as an engine has it.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read -r _", "--config"])
            .arg(&config)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (pid, launcher) = (child.id(), |config: &Path| {
            Launcher::new("/bin/false".into(), config.to_owned(), new.clone()).adopting(&old)
        });
        let began = Instant::now();
        let written = Written { pid, started: process_started(pid).unwrap() };
        while !runs_with(written, &config) {
            assert!(began.elapsed() < Duration::from_secs(10), "it does not become a shell");
            std::thread::yield_now();
        }
        std::fs::write(old.join(NOTE), serde_json::to_vec(&written).unwrap()).unwrap();
        assert!(!launcher(&dir.path().join("other.toml")).alive(Tick(1)), "of another volume");
        assert!(old.join(NOTE).exists() && !new.exists());
        assert!(launcher(&config).alive(Tick(1)));
        assert!(!old.join(NOTE).exists() && new.join(NOTE).exists());
        let mut next = launcher(&config);
        assert!(next.alive(Tick(1)), "the next daemon finds it at the new place");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!next.alive(Tick(2)));
    }

    #[test]
    fn the_engines_last_error_is_found_with_all_its_lines() {
        let log = "2026 INFO up\nlockstep-engine: old\n2026 INFO up\nlockstep-engine: 2 \
                   problem(s):\n  node: missing\n  data: missing\n2026 WARN more\n";
        assert_eq!(error_in(log).unwrap(), "2 problem(s): node: missing; data: missing");
        assert_eq!(error_in("2026 INFO killed\n"), None);
    }

    #[test]
    fn only_words_of_the_engine_that_ended_are_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let old = "lockstep-engine: of yesterday\n";
        std::fs::write(dir.path().join("engine.log"), old).unwrap();
        let mut launcher =
            Launcher::new("/bin/false".into(), "/none".into(), dir.path().to_owned());
        assert!(launcher.last_words("1").contains("of yesterday"));
        launcher.log_from = u64::try_from(old.len()).unwrap();
        let said = launcher.last_words("signal: 9");
        assert!(said.contains("signal: 9") && said.contains("engine.log"), "{said}");
    }
}
