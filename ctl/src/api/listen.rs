//! The doors: the unix socket of the runtime directory, and TCP when it is configured. Takes the
//! lock that says that one daemon runs here; starts the thread that serves.
//! Always: at most `CONNECTIONS_MAX` connections at each door; who comes then is told so and let
//! go. A TCP door that can't be opened is told about and never keeps the daemon from deciding.

use super::control::Request;
use super::gate::Gate;
use super::patient::Patient;
use super::secrets::{Contents, Renewal, Secrets};
use super::serve::serve;
use super::shared::{Counts, QUEUE_MAX, Shared};
use crate::act::events::Reader;
use crate::config::cluster::ApiSpec;
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections at one door.
const CONNECTIONS_MAX: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections that are being told that there are too many.
const REFUSED_MAX: usize = 64;
/// Longest time for that.
const REFUSAL: Duration = Duration::from_millis(500);
/// News about changed files that may wait for the daemon.
const RENEWALS_MAX: usize = 16;
/// Longest greeting of TLS.
const GREETING: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted: no event says when files can be had again.
const NO_FILES: Duration = Duration::from_millis(100);

/// Why the daemon can't listen to operators.
#[derive(Debug)]
pub enum ListenError {
    /// Another daemon runs with this runtime directory.
    Taken { lock: PathBuf },
    /// The lock can't be made.
    Lock { lock: PathBuf, cause: io::Error },
    /// The socket can't be made.
    Socket { socket: PathBuf, cause: io::Error },
    /// The thread can't be had.
    Thread { cause: io::Error },
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
            ListenError::Thread { cause } => {
                write!(f, "API: {cause}; raise the limit of processes")
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// Why there is no API over TCP.
#[derive(Debug)]
pub enum TcpError {
    /// The address can't be had.
    Bind { listen: SocketAddr, cause: io::Error },
    /// A file can't be read.
    File { path: PathBuf, cause: io::Error },
    /// A secret that others may read.
    Readable { path: PathBuf, mode: u32 },
    /// Not a token.
    Token { path: PathBuf },
    /// Not what a certificate or key looks like.
    Pem { path: PathBuf, cause: String },
    /// No random numbers.
    Random { cause: getrandom::Error },
    /// Neither token nor certificates, or no TLS where it is needed.
    Open { listen: SocketAddr },
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpError::Bind { listen, cause } => {
                write!(f, "{listen}: {cause}; correct [api] listen")
            }
            TcpError::File { path, cause } => {
                write!(f, "{}: {cause}; correct [api]", path.display())
            }
            TcpError::Readable { path, mode } => write!(
                f,
                "{}: others may read it (mode {mode:o}); chmod 600 it and replace the secret",
                path.display()
            ),
            TcpError::Token { path } => write!(
                f,
                "{}: this is no line of at least {} letters and digits; write one with `openssl \
                 rand -hex 32`",
                path.display(),
                super::gate::TOKEN_BYTES_MIN
            ),
            TcpError::Pem { path, cause } => {
                write!(f, "{}: {cause}; correct the file", path.display())
            }
            TcpError::Random { cause } => write!(f, "token: {cause}; look at the host"),
            TcpError::Open { listen } => write!(
                f,
                "{listen}: nobody would have to say who they are, or in the clear; name \
                 token_file and cert_file in [api]"
            ),
        }
    }
}

impl std::error::Error for TcpError {}

/// What the API is opened with.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Where the lock is.
    pub run_dir: &'a Path,
    /// The unix socket.
    pub socket: &'a Path,
    /// The TCP door.
    pub tcp: Option<&'a ApiSpec>,
    /// Names of this node's host.
    pub names: Vec<String>,
}

/// A TCP door.
struct Tcp {
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    gate: Gate,
    secrets: Secrets,
}

/// The open doors and the lock; all go with the value.
pub struct Api {
    unix: Option<StdUnixListener>,
    tcp: Option<Tcp>,
    trouble: Option<TcpError>,
    requests: Option<mpsc::Receiver<Request>>,
    renewals: Option<mpsc::Receiver<Renewal>>,
    _lock: File,
}

impl Api {
    /// Takes the lock and opens the doors; nobody is answered yet.
    ///
    /// # Errors
    /// Another daemon is there, or the files can't be made.
    pub fn open(opening: &Opening<'_>) -> Result<Api, ListenError> {
        let lock = take_lock(opening.run_dir, &opening.run_dir.join("daemon.lock"))?;
        let socket = opening.socket;
        let failed = |cause| ListenError::Socket { socket: socket.to_owned(), cause };
        // The lock is ours, so whoever made this socket is gone.
        match std::fs::remove_file(socket) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        let unix = open_unix(socket).map_err(failed)?;
        let (tcp, trouble) = match opening.tcp.map(|spec| open_tcp(spec, &opening.names)) {
            None => (None, None),
            Some(Ok(tcp)) => (Some(tcp), None),
            Some(Err(error)) => (None, Some(error)),
        };
        Ok(Api { unix: Some(unix), tcp, trouble, requests: None, renewals: None, _lock: lock })
    }

    /// Why TCP is not served, although it is configured.
    pub fn trouble(&self) -> Option<&TcpError> {
        self.trouble.as_ref()
    }

    /// Where TCP is served.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.listener.local_addr().ok())
    }

    /// Begins to answer, on a thread that ends with this value.
    ///
    /// # Errors
    /// No thread or no runtime can be had.
    pub fn serve(&mut self, diary: Reader) -> Result<(), ListenError> {
        let Some(unix) = self.unix.take() else { return Ok(()) };
        let tcp = self.tcp.take();
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let (renewal, renewals) = mpsc::channel(RENEWALS_MAX);
        let failed = |cause| ListenError::Thread { cause };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let shared = Arc::new(Shared::new(queue, diary));
        let run = move || {
            runtime.block_on(async {
                if let Err(cause) = accept_all(unix, tcp, &shared, renewal) {
                    return tracing::error!(%cause, "the API does not listen");
                }
                // Its other end goes with the daemon.
                shared.queue.closed().await;
            });
        };
        std::thread::Builder::new().name("api".to_owned()).spawn(run).map_err(failed)?;
        (self.requests, self.renewals) = (Some(requests), Some(renewals));
        Ok(())
    }

    /// What became of files of the TCP door that have changed since the last look.
    pub fn renewed(&mut self) -> Option<Renewal> {
        self.renewals.as_mut().and_then(|renewals| renewals.try_recv().ok())
    }

    /// The next request.
    pub async fn next(&mut self) -> Option<Request> {
        match &mut self.requests {
            Some(requests) => requests.recv().await,
            None => None,
        }
    }
}

/// A socket that is for this user only from its first moment: its file gets the mode that it has
/// before it is bound.
fn open_unix(path: &Path) -> io::Result<StdUnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(StdUnixListener::from(socket))
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

fn open_tcp(spec: &ApiSpec, names: &[String]) -> Result<Tcp, TcpError> {
    let listen = spec.listen;
    let (secrets, Contents { token, tls }) = Secrets::open(spec)?;
    let failed = |cause| TcpError::Bind { listen, cause };
    let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    if listen.ip().is_loopback() {
        names.push("localhost".to_owned());
    }
    Ok(Tcp { listener, tls, gate: Gate::known(token, names), secrets })
}

fn accept_all(
    unix: StdUnixListener,
    tcp: Option<Tcp>,
    shared: &Arc<Shared>,
    renewals: mpsc::Sender<Renewal>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(unix)?;
    let door = Door::new(Gate::File, shared);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => door.enter(stream, |stream, door| async move {
                    serve(Patient::new(stream), &door.gate, false, &door.shared).await;
                }),
                Err(cause) => not_accepted(&cause).await,
            }
        }
    });
    let Some(Tcp { listener, mut tls, gate, mut secrets }) = tcp else { return Ok(()) };
    let listener = TcpListener::from_std(listener)?;
    let door = Door::new(gate, shared);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (contents, told) = secrets.renewed();
                    if let Some(contents) = contents {
                        door.gate.renew(contents.token);
                        tls = contents.tls;
                    }
                    // The log has it too; a daemon that is behind with its events misses this one.
                    if let Some(Err(missed)) = told.map(|told| renewals.try_send(told)) {
                        tracing::warn!(?missed, "files of the API have changed");
                    }
                    if let Err(cause) = stream.set_nodelay(true) {
                        tracing::debug!(%cause, "a connection was gone at once");
                        continue;
                    }
                    match tls.clone() {
                        None => door.enter(stream, |stream, door| async move {
                            serve(Patient::new(stream), &door.gate, false, &door.shared).await;
                        }),
                        Some(tls) => door.enter_secretly(stream, tls),
                    }
                }
                Err(cause) => not_accepted(&cause).await,
            }
        }
    });
    Ok(())
}

async fn not_accepted(cause: &io::Error) {
    tracing::warn!(%cause, "a connection can't be accepted");
    sleep(NO_FILES).await;
}

/// One door with its places.
struct Door {
    gate: Gate,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Door {
    fn new(gate: Gate, shared: &Arc<Shared>) -> Arc<Door> {
        Arc::new(Door {
            gate,
            shared: Arc::clone(shared),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            refusals: Arc::new(Semaphore::new(REFUSED_MAX)),
        })
    }

    /// Lets a connection in, or tells it that there are too many.
    fn enter<S, F>(self: &Arc<Door>, stream: S, run: impl FnOnce(S, Arc<Door>) -> F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            Counts::up(&self.shared.counts.refused);
            if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    // Whoever does not take it in time is let go without.
                    let _ = timeout(REFUSAL, too_many(stream)).await;
                    drop(place);
                });
            }
            return;
        };
        let (door, run) = (Arc::clone(self), run(stream, Arc::clone(self)));
        tokio::spawn(async move {
            let open = &door.shared.counts.open;
            Counts::up(open);
            run.await;
            open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            drop(place);
        });
    }

    /// The same with TLS.
    fn enter_secretly(self: &Arc<Door>, stream: tokio::net::TcpStream, tls: TlsAcceptor) {
        self.enter(stream, |stream, door| async move {
            match timeout(GREETING, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certified = stream.get_ref().1.peer_certificates().is_some();
                    serve(Patient::new(stream), &door.gate, certified, &door.shared).await;
                }
                Ok(Err(cause)) => tracing::debug!(%cause, "a client was not greeted"),
                Err(_) => tracing::debug!("a client was too slow to be greeted"),
            }
        });
    }
}

/// Tells a client that there are too many, and waits until it has read that.
async fn too_many(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let refusal = super::serve::canned(
        hyper::StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "daemon: too many connections; close some, or try again in some seconds",
    );
    stream.write_all(refusal.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
