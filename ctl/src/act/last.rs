//! Final actions (REFERENCE §4): what is left when everything else has failed. Always: only a
//! release build whose configuration says so touches the host; every other build, and the harmless
//! mode, only write down what would have been done. What is done is data first (`steps`), so that
//! it can be read and tested without doing it.

use crate::decide::settings::FinalAction;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Where an order that needs no program goes.
const TRIGGER: &str = "/proc/sysrq-trigger";
/// There when systemd runs this host.
const SYSTEMD: &str = "/run/systemd/system";
/// Time for an orderly end before it is made a sudden one.
const ORDERLY: Duration = Duration::from_secs(60);

/// Whether final actions touch the host. A word of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are written down and nothing happens: demonstrations, rehearsals, tests.
    #[default]
    Harmless,
    /// They happen.
    Real,
}

/// One step; the next one is taken when the host is still there after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Runs a program, then waits so long for the host to end.
    Run {
        /// Absolute path.
        program: PathBuf,
        /// Arguments.
        args: Vec<&'static str>,
        /// From its start.
        wait: Duration,
    },
    /// Tells the kernel itself.
    Kernel(Order),
}

/// What the kernel is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Crash, and start again if the host is set to do so after a crash.
    Crash,
    /// Start again at once, without syncing.
    Reboot,
    /// Switch off at once, without syncing.
    PowerOff,
}

impl Order {
    fn letter(self) -> &'static str {
        match self {
            Order::Crash => "c",
            Order::Reboot => "b",
            Order::PowerOff => "o",
        }
    }
}

/// Why a final action did not happen.
#[derive(Debug)]
pub enum LastError {
    /// A program or order was refused.
    Refused { what: String, cause: io::Error },
    /// Every step was taken, and the host is still there.
    StillHere { action: FinalAction },
}

impl fmt::Display for LastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastError::Refused { what, cause } => {
                write!(f, "{what}: {cause}; the daemon needs root, and systemd or /proc writable")
            }
            LastError::StillHere { action } => write!(
                f,
                "{action:?}: every way was tried and the host is still here; switch it off by hand"
            ),
        }
    }
}

impl std::error::Error for LastError {}

/// Steps of an action on this host, mildest first. None for actions that end no host.
pub fn steps(action: FinalAction, systemd: bool) -> Vec<Step> {
    let orderly = |verb: &'static str, flag: &'static str| {
        let (program, args) = if systemd {
            ("/usr/bin/systemctl", vec!["--no-block", "--no-wall", verb])
        } else {
            ("/sbin/shutdown", vec![flag, "now"])
        };
        Step::Run { program: PathBuf::from(program), args, wait: ORDERLY }
    };
    match action {
        FinalAction::None | FinalAction::StopGroup | FinalAction::StopCluster => Vec::new(),
        FinalAction::Shutdown => {
            vec![orderly("poweroff", "-h"), Step::Kernel(Order::PowerOff)]
        }
        FinalAction::Reboot => vec![orderly("reboot", "-r"), Step::Kernel(Order::Reboot)],
        FinalAction::Panic => vec![Step::Kernel(Order::Crash), Step::Kernel(Order::Reboot)],
    }
}

/// Carries steps out, or only writes them down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hand {
    /// `None`: the host is touched.
    written: Option<PathBuf>,
}

impl Hand {
    /// The hand for `mode`; what is only written down goes to `notes`. A build with debug
    /// assertions, which is what tests run, has no other hand than the harmless one.
    pub fn new(mode: Mode, notes: PathBuf) -> Hand {
        let real = mode == Mode::Real && !cfg!(debug_assertions);
        Hand { written: (!real).then_some(notes) }
    }

    /// Whether the host is left alone.
    pub fn is_harmless(&self) -> bool {
        self.written.is_some()
    }

    /// Carries `action` out. When it is real and works, the host ends and this never returns.
    ///
    /// # Errors
    /// The host is still there. Never in harmless mode, unless the notes can't be written.
    pub async fn carry_out(&self, action: FinalAction) -> Result<(), LastError> {
        self.take_all(action, &steps(action, Path::new(SYSTEMD).exists())).await
    }

    /// Starts the host again at once, without an orderly end before: what is left here may answer
    /// clients, and the peer does not wait (SAFETY R13).
    ///
    /// # Errors
    /// See `carry_out`.
    pub async fn reset(&self) -> Result<(), LastError> {
        self.take_all(FinalAction::Reboot, &[Step::Kernel(Order::Reboot)]).await
    }

    async fn take_all(&self, action: FinalAction, steps: &[Step]) -> Result<(), LastError> {
        if steps.is_empty() {
            return Ok(());
        }
        tracing::error!(?action, harmless = self.is_harmless(), "final action");
        if let Some(notes) = &self.written {
            return steps.iter().try_for_each(|step| write_down(notes, action, step));
        }
        let mut refused = None;
        for step in steps {
            if let Err(cause) = take(step).await {
                tracing::error!(?step, %cause, "final action refused; next step");
                refused = Some(LastError::Refused { what: format!("{step:?}"), cause });
            }
        }
        Err(refused.unwrap_or(LastError::StillHere { action }))
    }
}

fn write_down(notes: &Path, action: FinalAction, step: &Step) -> Result<(), LastError> {
    let written = notes.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let mut file = OpenOptions::new().create(true).append(true).open(notes)?;
        writeln!(file, "{action:?}: {step:?}")
    });
    written.map_err(|cause| LastError::Refused { what: notes.display().to_string(), cause })
}

/// Touches the host. Reached from a release build with `Mode::Real` alone.
async fn take(step: &Step) -> io::Result<()> {
    match step {
        Step::Run { program, args, wait } => {
            let began = tokio::time::Instant::now();
            let mut child =
                tokio::process::Command::new(program).args(args).stdin(Stdio::null()).spawn()?;
            // Also a program that hangs must not hold up the next step.
            match tokio::time::timeout(*wait, child.wait()).await {
                Ok(Ok(status)) if !status.success() => Err(io::Error::other(status.to_string())),
                Ok(Err(cause)) => Err(cause),
                Ok(Ok(_)) | Err(_) => {
                    tokio::time::sleep_until(began + *wait).await;
                    Ok(())
                }
            }
        }
        Step::Kernel(order) => fs::write(TRIGGER, order.letter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_end_no_host_have_no_steps() {
        for action in [FinalAction::None, FinalAction::StopGroup, FinalAction::StopCluster] {
            assert_eq!(steps(action, true), []);
        }
    }

    #[test]
    fn an_orderly_end_is_followed_by_a_sudden_one() {
        for systemd in [true, false] {
            for (action, order) in
                [(FinalAction::Shutdown, Order::PowerOff), (FinalAction::Reboot, Order::Reboot)]
            {
                let steps = steps(action, systemd);
                assert!(matches!(&steps[0], Step::Run { wait, .. } if *wait == ORDERLY));
                assert_eq!(steps[1..], [Step::Kernel(order)]);
            }
        }
        assert_eq!(steps(FinalAction::Panic, true)[0], Step::Kernel(Order::Crash));
    }

    #[test]
    fn a_build_for_tests_has_no_hand_that_touches_the_host() {
        const { assert!(cfg!(debug_assertions), "tests run with debug assertions or not at all") };
        assert!(Hand::new(Mode::Real, "/nonexistent".into()).is_harmless());
        assert_eq!(Mode::default(), Mode::Harmless);
    }

    #[tokio::test]
    async fn the_harmless_hand_writes_down_what_would_be_done() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("run/final-actions");
        let hand = Hand::new(Mode::Harmless, notes.clone());
        hand.carry_out(FinalAction::StopGroup).await.unwrap();
        assert!(!notes.exists());
        hand.carry_out(FinalAction::Panic).await.unwrap();
        let written = fs::read_to_string(&notes).unwrap();
        assert_eq!(written, "Panic: Kernel(Crash)\nPanic: Kernel(Reboot)\n");
    }

    #[tokio::test]
    async fn a_reset_waits_for_no_orderly_end() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("final-actions");
        Hand::new(Mode::Harmless, notes.clone()).reset().await.unwrap();
        assert_eq!(fs::read_to_string(&notes).unwrap(), "Reboot: Kernel(Reboot)\n");
    }
}
