//! Processes that the demo started, each with its log. Always: they are ended by their own
//! handle, at the latest when the value is dropped; one that is killed before it can do that takes
//! them with it (`attend`).

use super::attend::ATTEND_VERB;
use crate::act::clock;
use crate::act::resource::{Context, kill_programs};
use lockstep_engine::units::Span;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest wait for the end of programs after SIGKILL.
const PROGRAMS: Span = Span::millis(5_000);

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

/// Every process of one demo, so that an interrupt can end them all.
#[derive(Clone)]
pub struct Processes {
    table: Arc<Mutex<Table>>,
    /// The executable whose hidden verb binds a process to this one.
    attendant: Option<PathBuf>,
}

#[derive(Default)]
struct Table {
    /// Nothing is started any more.
    closed: bool,
    next: u64,
    running: BTreeMap<u64, Child>,
    /// Whose programs the daemons may have started: they are no children of the demo.
    programs: Vec<Context>,
}

/// A running process.
pub struct Process {
    program: PathBuf,
    all: Processes,
    id: u64,
}

fn command(
    attendant: Option<&Path>,
    program: &Path,
    args: &[&str],
    log: &Path,
) -> io::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = match attendant {
        None => Command::new(program),
        Some(attendant) => {
            let mut command = Command::new(attendant);
            command.arg(ATTEND_VERB).arg(std::process::id().to_string()).arg(program);
            command
        }
    };
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Ctrl-C on the terminal is for the demo alone, which then ends its processes.
    command.process_group(0);
    Ok(command)
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// SIGKILL to what a daemon that is gone has started for a resource.
///
/// # Errors
/// Something of it can't be ended.
pub fn end_programs(context: &Context) -> io::Result<()> {
    if kill_programs(context, clock::now().after(PROGRAMS)) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("programs of {}", context.resource)))
}

impl Processes {
    /// None yet. `attendant` is the executable that binds each of them to this process; without
    /// one they stay when this process is killed.
    pub fn new(attendant: Option<PathBuf>) -> Processes {
        Processes { table: Arc::default(), attendant }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic while the lock is held leaves a good table behind.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `program`; its words go to `log`. The calling thread must last as long as the process
    /// shall.
    pub fn start(
        &self,
        program: &Path,
        args: &[&str],
        log: &Path,
    ) -> Result<Process, ProcessError> {
        let mut table = self.table();
        let started = if table.closed {
            Err(io::ErrorKind::Interrupted.into())
        } else {
            command(self.attendant.as_deref(), program, args, log)
                .and_then(|mut command| command.spawn())
        };
        let child =
            started.map_err(|cause| ProcessError::Start { program: program.to_owned(), cause })?;
        let id = table.next;
        table.next += 1;
        table.running.insert(id, child);
        Ok(Process { program: program.to_owned(), all: self.clone(), id })
    }

    /// Runs `program` to its end, which must be a good one. It has to be short: nothing else is
    /// started or ended meanwhile.
    pub fn run(&self, program: &Path, args: &[&str], log: &Path) -> Result<(), ProcessError> {
        let process = self.start(program, args, log)?;
        let failed = |cause| ProcessError::Start { program: program.to_owned(), cause };
        let mut table = self.table();
        let Some(child) = table.running.get_mut(&process.id) else {
            return Err(failed(io::ErrorKind::Interrupted.into()));
        };
        let status = child.wait();
        table.running.remove(&process.id);
        drop(table);
        let status = status.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        Err(ProcessError::Failed {
            program: program.to_owned(),
            code: status.code(),
            log: log.to_owned(),
        })
    }

    /// A daemon that is started here may start programs for this resource.
    pub fn may_start(&self, programs: Context) {
        self.table().programs.push(programs);
    }

    /// SIGKILL to all of them, then to what daemons among them have started; none is started any
    /// more.
    ///
    /// # Errors
    /// One can't be ended; the others are ended all the same.
    pub fn end_all(&self) -> io::Result<()> {
        let mut table = self.table();
        table.closed = true;
        let mut ended = Ok(());
        for child in std::mem::take(&mut table.running).values_mut() {
            ended = ended.and(end(child));
        }
        for context in std::mem::take(&mut table.programs) {
            ended = ended.and(end_programs(&context));
        }
        ended
    }
}

impl Process {
    /// SIGKILL, and wait until it is gone.
    pub fn kill(self) -> Result<(), ProcessError> {
        self.end().map_err(|cause| ProcessError::Kill { program: self.program.clone(), cause })
    }

    fn end(&self) -> io::Result<()> {
        let child = self.all.table().running.remove(&self.id);
        child.map_or(Ok(()), |mut child| end(&mut child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or it ends now; there is nobody left to tell otherwise.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_ended_at_once_and_none_is_started_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let all = Processes::new(None);
        let sleep = |all: &Processes| all.start(Path::new("sleep"), &["600"], &log);
        let (one, two) = (sleep(&all).unwrap(), sleep(&all).unwrap());
        let pid = all.table().running[&two.id].id();
        one.kill().unwrap();
        all.end_all().unwrap();
        assert!(!Path::new("/proc").join(pid.to_string()).exists());
        assert!(matches!(sleep(&all), Err(ProcessError::Start { .. })));
        two.kill().unwrap();
    }
}
