//! A blocking client of the daemon's API on its unix socket, for verbs and the demo.
//! Always: a call ends at its deadline; what the daemon does after that is shown by its status.

use crate::api::answer::{Plan, Problem, RequestReport, State};
use crate::api::control::{Ask, Refusal, Tell, Verb};
use crate::api::routes::Method;
use crate::api::{ANSWER_BYTES_MAX, JSON, LINES, VERSION, VERSION_HEADER, Wanted, encode};
use crate::status::Report;
use crate::status::cluster::ClusterReport;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// Why a call brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens.
    Unreachable { socket: PathBuf, cause: io::Error },
    /// The connection broke.
    Lost { socket: PathBuf, cause: io::Error },
    /// The deadline has passed; the request, if it has a number, goes on.
    Timeout { socket: PathBuf, request: Option<u64> },
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
            CallError::Timeout { socket, request } => {
                let number = request.map(|request| format!(" {request}")).unwrap_or_default();
                write!(
                    f,
                    "daemon at {}: no end within --timeout; the request{number} goes on, see \
                     `lockstep mirror status`",
                    socket.display()
                )
            }
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
    deadline: Option<Instant>,
    // Drives the connection while somebody waits for it.
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    answer: Option<Answer>,
    /// Number of the request under way.
    request: Option<u64>,
}

/// An answer under way.
struct Answer {
    verb: Verb,
    status: StatusCode,
    /// A line of JSON for each thing that happens.
    lines: bool,
    body: Incoming,
    read: Vec<u8>,
}

/// Ends at the deadline.
async fn within<T>(deadline: Option<Instant>, call: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), call).await.ok(),
        None => Some(call.await),
    }
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
        let socket = socket.to_owned();
        let unreachable = |cause| CallError::Unreachable { socket: socket.clone(), cause };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(unreachable)?;
        let opened = runtime.block_on(within(deadline, async {
            let stream = UnixStream::connect(&socket).await.map_err(unreachable)?;
            let greeted = http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = greeted.map_err(|cause| broken(&socket, cause))?;
            tokio::spawn(async move {
                // Its error is the one that the request gets.
                let _ = connection.await;
            });
            Ok(sender)
        }));
        let late = || Err(CallError::Timeout { socket: socket.clone(), request: None });
        let sender = opened.unwrap_or_else(late)?;
        let (volume, answer, request) = (volume.map(str::to_owned), None, None);
        Ok(Connection { socket, volume, dry_run, deadline, runtime, sender, answer, request })
    }

    fn confused(&self) -> CallError {
        CallError::Confused { socket: self.socket.clone() }
    }

    fn late(&self) -> CallError {
        CallError::Timeout { socket: self.socket.clone(), request: self.request }
    }

    /// Sends a request, and waits until the daemon begins to answer.
    ///
    /// # Errors
    /// The connection broke, or the deadline has passed.
    pub fn ask(&mut self, verb: Verb) -> Result<(), CallError> {
        let ask = Ask { volume: self.volume.clone(), dry_run: self.dry_run, verb };
        let Wanted { method, target, body } = encode(&ask);
        let mut request = Request::builder()
            .method(method.word())
            .uri(target)
            .header(HOST, "lockstep")
            .header(VERSION_HEADER, VERSION)
            .header(ACCEPT, if method == Method::Post { LINES } else { JSON });
        let mut bytes = Bytes::new();
        if !body.is_null() {
            request = request.header(CONTENT_TYPE, JSON);
            bytes = Bytes::from(body.to_string());
        }
        let request = request.body(Full::new(bytes)).map_err(|_| self.confused())?;
        let sent = self.runtime.block_on(within(self.deadline, self.sender.send_request(request)));
        let response = sent.ok_or_else(|| self.late())?;
        let response = response.map_err(|cause| broken(&self.socket, cause))?;
        let version = response.headers().get(VERSION_HEADER).map(HeaderValue::as_bytes);
        if version != Some(VERSION.to_string().as_bytes()) {
            return Err(self.confused());
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let (status, lines) = (response.status(), kind == Some(LINES.as_bytes()));
        let (body, read) = (response.into_body(), Vec::new());
        self.answer = Some(Answer { verb: ask.verb, status, lines, body, read });
        Ok(())
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// The deadline, a broken connection, or nonsense.
    pub fn line(&mut self) -> Result<Tell, CallError> {
        loop {
            let Some(mut answer) = self.answer.take() else { return Err(self.confused()) };
            let bytes = self.runtime.block_on(within(self.deadline, answer.part()));
            let bytes = bytes.ok_or_else(|| self.late())?.map_err(|cause| match cause {
                Some(cause) => broken(&self.socket, cause),
                None => self.confused(),
            })?;
            if bytes.is_empty() {
                let cause = io::ErrorKind::UnexpectedEof.into();
                return Err(CallError::Lost { socket: self.socket.clone(), cause });
            }
            if !answer.status.is_success() {
                let problem: Option<Problem> = parse(&bytes);
                let problem = problem.ok_or_else(|| self.confused())?;
                return Ok(Tell::Refused(problem.error.into()));
            }
            let read = answer.read_as(&bytes, self.dry_run).ok_or_else(|| self.confused())?;
            if answer.lines {
                self.answer = Some(answer);
            }
            match read {
                Read::Tell(tell) => return Ok(tell),
                Read::Begun(request) => self.request = Some(request),
            }
        }
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

fn broken(socket: &Path, error: hyper::Error) -> CallError {
    let socket = socket.to_owned();
    if error.is_parse() {
        return CallError::Confused { socket };
    }
    CallError::Lost { socket, cause: io::Error::other(error) }
}

impl Answer {
    /// The next line, or the whole answer; nothing when it is over. The error is that of the
    /// connection, or `None` for an answer that is too long.
    async fn part(&mut self) -> Result<Vec<u8>, Option<hyper::Error>> {
        loop {
            let end = self.read.iter().position(|byte| *byte == b'\n').filter(|_| self.lines);
            if let Some(end) = end {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                // An empty line only shows that the daemon is there.
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(line);
            }
            match self.body.frame().await {
                None => return Ok(std::mem::take(&mut self.read)),
                Some(frame) => {
                    let data = frame.map_err(Some)?.into_data().unwrap_or_default();
                    if self.read.len() + data.len() > ANSWER_BYTES_MAX {
                        return Err(None);
                    }
                    self.read.extend_from_slice(&data);
                }
            }
        }
    }

    /// What the verb is answered with.
    fn read_as(&self, bytes: &[u8], dry_run: bool) -> Option<Read> {
        let tell = match &self.verb {
            Verb::Status | Verb::Watch => parse(bytes).map(Tell::Status),
            Verb::Cluster | Verb::WatchCluster => parse(bytes).map(Tell::Cluster),
            Verb::Stats => parse(bytes).map(Tell::Stats),
            Verb::Events { .. } => parse(bytes).map(Tell::Events),
            Verb::WhatIf { .. } => parse(bytes).map(Tell::WhatIf),
            Verb::Apply { .. } if dry_run => parse(bytes).map(Tell::Config),
            _ if dry_run => parse(bytes).map(|plan: Plan| Tell::Plan {
                refused: plan.refused.map(Refusal::from),
                steps: plan.steps,
            }),
            _ => return parse(bytes).map(told),
        };
        tell.map(Read::Tell)
    }
}

/// A line as it is understood.
enum Read {
    Tell(Tell),
    /// The request has that number; nothing more is known yet.
    Begun(u64),
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// How far a request is.
fn told(report: RequestReport) -> Read {
    Read::Tell(match (report.state, report.error, report.waiting) {
        (State::Done, ..) => report.applied.map_or(Tell::Done, Tell::Applied),
        (_, Some(error), _) => Tell::Refused(error.into()),
        (_, None, Some(wait)) => Tell::Progress { waiting: wait.code, message: wait.message },
        (_, None, None) => return Read::Begun(report.id),
    })
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

/// The cluster as the daemon at `socket` sees it.
///
/// # Errors
/// No answer within `timeout`.
pub fn cluster<'a>(
    to: impl Into<To<'a>>,
    timeout: Option<Duration>,
) -> Result<ClusterReport, CallError> {
    let to = to.into();
    match call(to, Verb::Cluster, timeout, |_| {})? {
        Tell::Cluster(report) => Ok(*report),
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
    follow(to.into(), timeout, Verb::Watch, |told| match told {
        Tell::Status(report) => Ok(seen(&report)),
        other => Err(other),
    })
}

/// Watches the cluster until `seen` gives a result.
///
/// # Errors
/// No result within `timeout`, or the daemon went away.
pub fn watch_cluster<'a, T>(
    to: impl Into<To<'a>>,
    timeout: Option<Duration>,
    mut seen: impl FnMut(&ClusterReport) -> Option<T>,
) -> Result<T, CallError> {
    follow(to.into(), timeout, Verb::WatchCluster, |told| match told {
        Tell::Cluster(report) => Ok(seen(&report)),
        other => Err(other),
    })
}

/// Hears what is told until `seen` gives a result; it gives back what is not its kind.
fn follow<T>(
    to: To<'_>,
    timeout: Option<Duration>,
    verb: Verb,
    mut seen: impl FnMut(Tell) -> Result<Option<T>, Tell>,
) -> Result<T, CallError> {
    let mut connection = Connection::open(to, deadline(timeout))?;
    connection.ask(verb)?;
    loop {
        match seen(connection.line()?) {
            Ok(Some(result)) => return Ok(result),
            Ok(None) => {}
            Err(Tell::Refused(refusal)) => return Err(CallError::Refused(refusal)),
            Err(_) => return Err(CallError::Confused { socket: to.socket.to_owned() }),
        }
    }
}
