//! The side that asks.

use super::frame::{self, BadFrame, HEAD_BYTES, Kind, MAC_BYTES};
use super::{BODY_BYTES_MAX, CallError, GREETING_MAX, Life, Lives, Who};
use crate::act::heartbeat::PathAddress;
use lockstep_engine::wire::greeting::{FlowRole, GREETING_BYTES_MAX, Greeted, Greeting};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Calls the other daemon.
#[derive(Clone)]
pub struct Caller {
    paths: Vec<PathAddress>,
    who: Who,
    lives: watch::Receiver<Lives>,
}

/// Why one path did not do.
#[derive(Debug)]
enum Failed {
    Socket(io::Error),
    Greeting(String),
    /// Somebody else answered than the one who is heard.
    OtherLife,
    Random,
    Late,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Socket(cause) => cause.fmt(f),
            Failed::Greeting(cause) => f.write_str(cause),
            Failed::OtherLife => write!(f, "another life of the daemon than the one that is heard"),
            Failed::Random => write!(f, "the kernel gives no random numbers"),
            Failed::Late => write!(f, "no answer in time"),
        }
    }
}

/// The other daemon, at the end of a connection.
struct Met {
    stream: TcpStream,
    greeted: Greeted,
    /// What came behind its greeting.
    early: Vec<u8>,
}

impl Caller {
    /// A caller over these paths, best first.
    pub fn new(paths: Vec<PathAddress>, who: Who, lives: watch::Receiver<Lives>) -> Caller {
        Caller { paths, who, lives }
    }

    /// Asks, and waits for the answer no longer than `patience`. The next path is tried only while
    /// nothing was sent over the last one.
    ///
    /// # Errors
    /// There is no answer; see `CallError` for what is certain then.
    pub async fn call(&self, ask: &[u8], patience: Duration) -> Result<Vec<u8>, CallError> {
        if ask.len() > BODY_BYTES_MAX {
            return Err(CallError::TooLarge { bytes: ask.len() });
        }
        let lives = *self.lives.borrow();
        let Some(peer) = lives.peer else { return Err(CallError::NotHeard) };
        let deadline = Instant::now() + patience;
        let mut causes = Vec::new();
        for (tried, path) in self.paths.iter().enumerate() {
            // A silent path leaves the others their share of the time.
            let left = u32::try_from(self.paths.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let by = Instant::now() + share.min(GREETING_MAX);
            let met = match timeout_at(by, self.meet(path, lives.own, peer)).await {
                Ok(met) => met,
                Err(_) => Err(Failed::Late),
            };
            match met {
                Ok(Met { stream, greeted, early }) => {
                    let key = self.who.of_session(greeted.session);
                    let unknown = |cause: String| CallError::Unknown { cause };
                    return match timeout_at(deadline, exchange(stream, &early, ask, &key)).await {
                        Ok(Ok((Kind::Answer, body))) => Ok(body),
                        Ok(Ok((Kind::Refusal(refusal), _))) => Err(CallError::Refused(refusal)),
                        Ok(Ok((Kind::Ask, _))) => Err(unknown(BadFrame::Shape.to_string())),
                        Ok(Err(cause)) => Err(unknown(cause)),
                        Err(_) => Err(unknown("no answer in time".to_owned())),
                    };
                }
                Err(failed) => causes.push((path.peer, failed.to_string())),
            }
        }
        Err(CallError::NoPath { causes })
    }

    async fn meet(&self, path: &PathAddress, own: Life, peer: Life) -> Result<Met, Failed> {
        let socket = match path.bind {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.map_err(Failed::Socket)?;
        // From the interconnect's own address, so that it goes over that interconnect.
        let mut from = path.bind;
        from.set_port(0);
        socket.bind(from).map_err(Failed::Socket)?;
        let mut stream = socket.connect(path.peer).await.map_err(Failed::Socket)?;
        let random = super::listen::random().ok_or(Failed::Random)?;
        let mut out = Vec::new();
        let config = self.who.greets(own);
        let mut greeting = Greeting::dial(&config, random, FlowRole::Control, &mut out);
        let (greeted, early) = greet(&mut stream, &mut greeting, out).await?;
        let there = Life {
            boot: greeted.peer_boot,
            life: lockstep_engine::units::Nonce(greeted.peer_start.0),
        };
        if there != peer {
            return Err(Failed::OtherLife);
        }
        Ok(Met { stream, greeted, early })
    }
}

/// Goes through a greeting; gives what has come behind it, which can only be a refusal.
async fn greet(
    stream: &mut TcpStream,
    greeting: &mut Greeting,
    mut out: Vec<u8>,
) -> Result<(Greeted, Vec<u8>), Failed> {
    let mut input = Vec::new();
    loop {
        stream.write_all(&out).await.map_err(Failed::Socket)?;
        out.clear();
        let mut buffer = [0; GREETING_BYTES_MAX];
        let bytes = stream.read(&mut buffer).await.map_err(Failed::Socket)?;
        if bytes == 0 {
            return Err(Failed::Socket(io::ErrorKind::UnexpectedEof.into()));
        }
        input.extend_from_slice(&buffer[..bytes]);
        let progress =
            greeting.feed(&input, &mut out).map_err(|error| Failed::Greeting(error.to_string()))?;
        input.drain(..progress.consumed);
        if let Some(greeted) = progress.done {
            stream.write_all(&out).await.map_err(Failed::Socket)?;
            return Ok((greeted, input));
        }
        if input.len() > GREETING_BYTES_MAX {
            return Err(Failed::Greeting("a greeting that does not end".to_owned()));
        }
    }
}

/// Sends the ask and reads what comes back.
async fn exchange(
    mut stream: TcpStream,
    early: &[u8],
    ask: &[u8],
    key: &[u8; 32],
) -> Result<(Kind, Vec<u8>), String> {
    let words = |cause: io::Error| cause.to_string();
    // A refusal may be there before all is sent: then it is what counts.
    let sent = stream.write_all(&frame::seal(Kind::Ask, ask, key)).await;
    match read(&mut early.chain(&mut stream), key).await {
        Ok(frame) => Ok(frame),
        Err(cause) => Err(sent.map_err(words).err().unwrap_or(cause)),
    }
}

/// Reads one frame. What is held is bounded by the length that a head may name.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    key: &[u8; 32],
) -> Result<(Kind, Vec<u8>), String> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await.map_err(|cause| cause.to_string())?;
    let (kind, bytes) = frame::head(&head).map_err(|bad| bad.to_string())?;
    let mut rest = Vec::new();
    let whole = bytes + MAC_BYTES;
    let limit = u64::try_from(whole).unwrap_or(u64::MAX);
    // It grows with what has come, not with what was announced.
    let read = (&mut *stream).take(limit).read_to_end(&mut rest).await;
    read.map_err(|cause| cause.to_string())?;
    if rest.len() < whole {
        return Err("the connection ended within a frame".to_owned());
    }
    let body = frame::open(&head, rest, key).map_err(|bad| bad.to_string())?;
    Ok((kind, body))
}
