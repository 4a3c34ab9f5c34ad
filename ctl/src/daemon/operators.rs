//! The daemon's own socket: takes operators' lines, hands them to the loop, writes the answers.
//! Always: one daemon per runtime directory (a lock says so), at most `CONNECTIONS_MAX`
//! operators at once, one request per operator at a time. Survives operators who go away.

use super::control::{Ask, LINE_BYTES_MAX, Refusal, Tell, VERSION};
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

/// Operators connected at once.
const CONNECTIONS_MAX: usize = 32;
/// Lines that may wait for one operator; a slower reader is cut off.
const LINES_MAX: usize = 64;

/// One request, and where its answers go.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub ask: Ask,
    /// Where the answers go; closed when the operator went away.
    pub tell: mpsc::Sender<Tell>,
}

/// Why the daemon can't listen to operators.
#[derive(Debug)]
pub enum ListenError {
    /// Another daemon runs with this runtime directory.
    Taken { lock: PathBuf },
    /// The lock can't be made.
    Lock { lock: PathBuf, cause: io::Error },
    /// The socket can't be made.
    Socket { socket: PathBuf, cause: io::Error },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Taken { lock } => {
                write!(f, "{}: another daemon runs here; stop it first", lock.display())
            }
            ListenError::Lock { lock, cause } => {
                write!(f, "{}: {cause}; check `runtime_dir`", lock.display())
            }
            ListenError::Socket { socket, cause } => {
                write!(f, "{}: {cause}; check `daemon_socket`", socket.display())
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// The socket and the lock; both go with the value.
pub struct Operators {
    requests: mpsc::Receiver<Request>,
    _lock: File,
}

impl Operators {
    /// Takes the lock of `runtime_dir` and listens at `socket`, for this user only.
    ///
    /// # Errors
    /// Another daemon is there, or the files can't be made.
    pub fn listen(runtime_dir: &Path, socket: &Path) -> Result<Operators, ListenError> {
        let lock_path = runtime_dir.join("daemon.lock");
        let lock = take_lock(runtime_dir, &lock_path)?;
        let failed = |cause| ListenError::Socket { socket: socket.to_owned(), cause };
        // The lock is ours, so whoever made this socket is gone.
        match std::fs::remove_file(socket) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        let listener = UnixListener::bind(socket).map_err(failed)?;
        std::fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
        let (queue, requests) = mpsc::channel(CONNECTIONS_MAX);
        tokio::spawn(accept(listener, queue));
        Ok(Operators { requests, _lock: lock })
    }

    /// The next request.
    pub async fn next(&mut self) -> Option<Request> {
        self.requests.recv().await
    }
}

fn take_lock(runtime_dir: &Path, path: &Path) -> Result<File, ListenError> {
    let failed = |cause| ListenError::Lock { lock: path.to_owned(), cause };
    std::fs::create_dir_all(runtime_dir).map_err(failed)?;
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::Taken { lock: path.to_owned() }),
        Err(cause) => Err(failed(cause.into())),
    }
}

async fn accept(listener: UnixListener, queue: mpsc::Sender<Request>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let queue = queue.clone();
                tokio::spawn(async move {
                    if let Err(cause) = serve(stream, &queue).await {
                        tracing::debug!(%cause, "an operator went away");
                    }
                    drop(permit);
                });
            }
            Err(cause) => {
                tracing::warn!(%cause, "an operator can't be accepted");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn serve(stream: UnixStream, queue: &mpsc::Sender<Request>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        if (&mut reader).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let ask = match parse(&line) {
            Ok(ask) => ask,
            Err(refusal) => {
                write_line(&mut writer, &Tell::Refused(refusal)).await?;
                continue;
            }
        };
        let (tell, mut told) = mpsc::channel(LINES_MAX);
        if queue.send(Request { ask, tell }).await.is_err() {
            return Ok(());
        }
        while let Some(line) = told.recv().await {
            write_line(&mut writer, &line).await?;
        }
    }
}

fn parse(line: &[u8]) -> Result<Ask, Refusal> {
    let ask: Ask = serde_json::from_slice(line).map_err(|cause| Refusal {
        code: "not-understood".to_owned(),
        message: format!("the line makes no sense: {cause}; is the command of this release?"),
    })?;
    if ask.v != VERSION {
        return Err(Refusal {
            code: "version".to_owned(),
            message: format!(
                "the command speaks version {}, the daemon {VERSION}; restart the daemon after an \
                 upgrade",
                ask.v
            ),
        });
    }
    Ok(ask)
}

async fn write_line(writer: &mut (impl AsyncWriteExt + Unpin), line: &Tell) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::control::Verb;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_second_daemon_is_refused_and_a_left_over_socket_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("daemon.sock");
        runtime().block_on(async {
            let first = Operators::listen(dir.path(), &socket).unwrap();
            let second = Operators::listen(dir.path(), &socket);
            assert!(matches!(second, Err(ListenError::Taken { .. })));
            drop(first);
            assert!(socket.exists());
            assert!(Operators::listen(dir.path(), &socket).is_ok());
        });
    }

    #[test]
    fn a_request_is_answered_and_nonsense_is_refused_on_the_same_connection() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("daemon.sock");
        runtime().block_on(async {
            let mut operators = Operators::listen(dir.path(), &socket).unwrap();
            let stream = UnixStream::connect(&socket).await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"{\"v\":1,\"verb\":\"dance\"}\n").await.unwrap();
            let refused = lines.next_line().await.unwrap().unwrap();
            assert!(refused.contains("not-understood"), "{refused}");
            writer.write_all(b"{\"v\":1,\"verb\":\"takeover\"}\n").await.unwrap();
            let request = operators.next().await.unwrap();
            assert_eq!(request.ask.verb, Verb::Takeover);
            request.tell.send(Tell::Done).await.unwrap();
            drop(request);
            assert_eq!(lines.next_line().await.unwrap().unwrap(), "\"done\"");
        });
    }
}
