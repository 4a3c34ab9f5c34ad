//! Processes that the demo started, each with its log. Always: they are ended by their own
//! handle, at the latest when the value is dropped.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Why a process does not do what the demo needs.
#[derive(Debug)]
pub enum ProcessError {
    /// It can't be started.
    Start { program: PathBuf, cause: io::Error },
    /// It ended by itself, with an error.
    Failed { program: PathBuf, code: Option<i32>, log: PathBuf },
    /// It can't be ended.
    Kill { program: PathBuf, cause: io::Error },
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessError::Start { program, cause } => write!(
                f,
                "{}: {cause}; lockstep and lockstep-engine must be built and lie side by side",
                program.display()
            ),
            ProcessError::Failed { program, code, log } => write!(
                f,
                "{}: ended with {}; see {}",
                program.display(),
                code.map_or("a signal".to_owned(), |code| format!("code {code}")),
                log.display()
            ),
            ProcessError::Kill { program, cause } => {
                write!(f, "{}: can't be ended: {cause}", program.display())
            }
        }
    }
}

impl std::error::Error for ProcessError {}

/// A running process.
pub struct Process {
    program: PathBuf,
    child: Child,
}

fn command(program: &Path, args: &[&str], log: &Path) -> Result<Command, ProcessError> {
    let failed = |cause| ProcessError::Start { program: program.to_owned(), cause };
    let log = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
    Ok(command)
}

impl Process {
    /// Starts `program`; its words go to `log`.
    pub fn start(program: &Path, args: &[&str], log: &Path) -> Result<Process, ProcessError> {
        let child = command(program, args, log)?
            .spawn()
            .map_err(|cause| ProcessError::Start { program: program.to_owned(), cause })?;
        Ok(Process { program: program.to_owned(), child })
    }

    /// Runs `program` to its end, which must be a good one.
    pub fn run(program: &Path, args: &[&str], log: &Path) -> Result<(), ProcessError> {
        let status = command(program, args, log)?
            .status()
            .map_err(|cause| ProcessError::Start { program: program.to_owned(), cause })?;
        if status.success() {
            return Ok(());
        }
        Err(ProcessError::Failed {
            program: program.to_owned(),
            code: status.code(),
            log: log.to_owned(),
        })
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(mut self) -> Result<(), ProcessError> {
        self.end().map_err(|cause| ProcessError::Kill { program: self.program.clone(), cause })
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or it ends now; there is nobody left to tell otherwise.
        let _ = self.end();
    }
}
