//! A blocking client of the daemon's socket, for verbs and the demo.
//! Always: a call ends at its deadline; what the daemon does after that is shown by its status.

use crate::daemon::control::{Ask, LINE_BYTES_MAX, Refusal, Tell, VERSION, Verb};
use crate::status::Report;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a call brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens.
    Unreachable { socket: PathBuf, cause: io::Error },
    /// The connection broke.
    Lost { socket: PathBuf, cause: io::Error },
    /// The deadline has passed.
    Timeout { socket: PathBuf },
    /// The daemon said no.
    Refused(Refusal),
    /// The daemon answered something else than was asked.
    Confused { socket: PathBuf },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unreachable { socket, cause } => write!(
                f,
                "daemon at {}: {cause}; start it (`lockstep daemon`) or name its socket with \
                 --socket or --config",
                socket.display()
            ),
            CallError::Lost { socket, cause } => write!(
                f,
                "daemon at {}: the connection broke ({cause}); what it has begun shows \
                 `lockstep mirror status`",
                socket.display()
            ),
            CallError::Timeout { socket } => write!(
                f,
                "daemon at {}: no end within --timeout; the request goes on, see \
                 `lockstep mirror status`",
                socket.display()
            ),
            CallError::Refused(refusal) => f.write_str(&refusal.message),
            CallError::Confused { socket } => write!(
                f,
                "daemon at {}: it does not speak this release's language; restart it",
                socket.display()
            ),
        }
    }
}

impl std::error::Error for CallError {}

/// Whom and what a request is about.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// Socket of the daemon.
    pub socket: &'a Path,
    /// The volume; may be left out when there is one.
    pub volume: Option<&'a str>,
    /// Say what would be done instead of doing it.
    pub dry_run: bool,
}

impl<'a> From<&'a Path> for To<'a> {
    fn from(socket: &'a Path) -> To<'a> {
        To { socket, volume: None, dry_run: false }
    }
}

impl<'a> From<&'a PathBuf> for To<'a> {
    fn from(socket: &'a PathBuf) -> To<'a> {
        To::from(socket.as_path())
    }
}

/// A connection to a daemon.
pub struct Connection {
    socket: PathBuf,
    volume: Option<String>,
    dry_run: bool,
    reader: BufReader<UnixStream>,
    deadline: Option<Instant>,
}

impl Connection {
    /// Connects; everything on this connection must end before `deadline`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open<'a>(
        to: impl Into<To<'a>>,
        deadline: Option<Instant>,
    ) -> Result<Connection, CallError> {
        let To { socket, volume, dry_run } = to.into();
        let stream = UnixStream::connect(socket)
            .map_err(|cause| CallError::Unreachable { socket: socket.to_owned(), cause })?;
        Ok(Connection {
            socket: socket.to_owned(),
            volume: volume.map(str::to_owned),
            dry_run,
            reader: BufReader::new(stream),
            deadline,
        })
    }

    fn lost(&self, cause: io::Error) -> CallError {
        let socket = self.socket.clone();
        match cause.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::Timeout { socket },
            _ => CallError::Lost { socket, cause },
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection broke.
    pub fn ask(&mut self, verb: Verb) -> Result<(), CallError> {
        let ask = Ask { v: VERSION, volume: self.volume.clone(), dry_run: self.dry_run, verb };
        let mut line = serde_json::to_vec(&ask)
            .map_err(|_| CallError::Confused { socket: self.socket.clone() })?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(|cause| self.lost(cause))
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// The deadline, a broken connection, or nonsense.
    pub fn line(&mut self) -> Result<Tell, CallError> {
        let left = match self.deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(CallError::Timeout { socket: self.socket.clone() });
                }
                Some(left)
            }
            None => None,
        };
        self.reader.get_ref().set_read_timeout(left).map_err(|cause| self.lost(cause))?;
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut line);
        if read.map_err(|cause| self.lost(cause))? == 0 {
            return Err(self.lost(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line)
            .map_err(|_| CallError::Confused { socket: self.socket.clone() })
    }

    /// Waits for the last line; `progress` sees the others.
    ///
    /// # Errors
    /// Refused, or no answer.
    pub fn finish(&mut self, mut progress: impl FnMut(&str)) -> Result<Tell, CallError> {
        loop {
            match self.line()? {
                Tell::Progress { message, .. } => progress(&message),
                Tell::Refused(refusal) => return Err(CallError::Refused(refusal)),
                last => return Ok(last),
            }
        }
    }
}

/// When `timeout` is over.
pub fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// One request with its answer.
///
/// # Errors
/// Refused, or no answer within `timeout`.
pub fn call<'a>(
    to: impl Into<To<'a>>,
    verb: Verb,
    timeout: Option<Duration>,
    progress: impl FnMut(&str),
) -> Result<Tell, CallError> {
    let mut connection = Connection::open(to, deadline(timeout))?;
    connection.ask(verb)?;
    connection.finish(progress)
}

/// The status of the daemon at `socket`.
///
/// # Errors
/// No answer within `timeout`.
pub fn status<'a>(to: impl Into<To<'a>>, timeout: Option<Duration>) -> Result<Report, CallError> {
    let to = to.into();
    match call(to, Verb::Status, timeout, |_| {})? {
        Tell::Status(report) => Ok(*report),
        _ => Err(CallError::Confused { socket: to.socket.to_owned() }),
    }
}

/// Watches the status until `seen` gives a result.
///
/// # Errors
/// No result within `timeout`, or the daemon went away.
pub fn watch<'a, T>(
    to: impl Into<To<'a>>,
    timeout: Option<Duration>,
    mut seen: impl FnMut(&Report) -> Option<T>,
) -> Result<T, CallError> {
    let to = to.into();
    let mut connection = Connection::open(to, deadline(timeout))?;
    connection.ask(Verb::Watch)?;
    loop {
        match connection.line()? {
            Tell::Status(report) => {
                if let Some(result) = seen(&report) {
                    return Ok(result);
                }
            }
            Tell::Refused(refusal) => return Err(CallError::Refused(refusal)),
            _ => return Err(CallError::Confused { socket: to.socket.to_owned() }),
        }
    }
}
