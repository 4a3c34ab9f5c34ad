//! The side that answers.

use super::frame::{self, Kind, Refusal};
use super::{ANSWER_MAX, CALLS_MAX, GREETING_MAX, Life, Lives, STRANGERS_MAX, Who};
use crate::act::heartbeat::PathAddress;
use lockstep_engine::units::Nonce;
use lockstep_engine::wire::greeting::{GREETING_BYTES_MAX, Greeted, Greeting};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Pause between two tries to have an address, or to accept after a failure.
const AGAIN: Duration = Duration::from_millis(500);
/// What a refused caller has already sent is read for so long, so that it sees the refusal.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// Bytes that are drained.
const DRAIN_BYTES_MAX: u64 = 1 << 20;

/// What was asked, and where the answer goes; dropped, the caller is told that nobody had time.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub body: Vec<u8>,
    /// At most `BODY_BYTES_MAX` bytes, or a refusal.
    pub answer: oneshot::Sender<Result<Vec<u8>, Refusal>>,
}

/// Calls here since the daemon was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Answered.
    pub answered: u64,
    /// Connections that did not prove to be the other node: no greeting, another key or cluster.
    pub foreign: u64,
    /// Of a life that is not the one that is heard.
    pub other_life: u64,
    /// Proved, and then no frame.
    pub malformed: u64,
    /// Beyond what is answered or greeted at once.
    pub crowded: u64,
    /// Proved, and not done in time.
    pub late: u64,
}

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    foreign: AtomicU64,
    other_life: AtomicU64,
    malformed: AtomicU64,
    crowded: AtomicU64,
    late: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

struct Shared {
    who: Who,
    lives: watch::Receiver<Lives>,
    asked: mpsc::Sender<Asked>,
    calls: Arc<Semaphore>,
    counters: Counters,
}

/// Answers calls on every interconnect, until it is dropped.
pub struct Listener {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl Listener {
    /// Starts a task for each interconnect; what is asked arrives in `asked`.
    pub fn open(
        paths: &[PathAddress],
        who: Who,
        lives: watch::Receiver<Lives>,
        asked: mpsc::Sender<Asked>,
    ) -> Listener {
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        let counters = Counters::default();
        let shared = Arc::new(Shared { who, lives, asked, calls, counters });
        let start = |path: &PathAddress| {
            tokio::spawn(listen(path.bind, Arc::downgrade(&shared))).abort_handle()
        };
        let tasks = paths.iter().map(start).collect();
        Listener { shared, tasks }
    }

    /// What was done and refused.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let seen = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            answered: seen(&counters.answered),
            foreign: seen(&counters.foreign),
            other_life: seen(&counters.other_life),
            malformed: seen(&counters.malformed),
            crowded: seen(&counters.crowded),
            late: seen(&counters.late),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Fresh bytes for a greeting.
pub(super) fn random() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}

async fn listen(bind: SocketAddr, shared: Weak<Shared>) {
    let mut told = false;
    let listener = loop {
        match TcpListener::bind(bind).await {
            Ok(listener) => break listener,
            Err(cause) if !told => {
                told = true;
                tracing::warn!(
                    %bind, %cause,
                    "calls of the other daemon can't be taken here yet; it is tried again"
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
        if shared.strong_count() == 0 {
            return;
        }
    };
    let mut strangers: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = listener.accept().await;
        let Some(shared) = shared.upgrade() else { return };
        match accepted {
            Ok((stream, _)) => {
                strangers.retain(|task| !task.is_finished());
                if strangers.len() >= STRANGERS_MAX {
                    // The oldest has had more time than any other.
                    count(&shared.counters.crowded);
                    strangers.pop_front().iter().for_each(AbortHandle::abort);
                }
                strangers.push_back(tokio::spawn(meet(stream, shared)).abort_handle());
            }
            Err(cause) => {
                tracing::debug!(%cause, "a call can't be accepted");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Greets a stranger; one that has proved itself is answered in a task of its own.
async fn meet(mut stream: TcpStream, shared: Arc<Shared>) {
    let own = shared.lives.borrow().own;
    let greeted = match timeout(GREETING_MAX, greet(&mut stream, &shared.who, own)).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(cause)) => {
            count(&shared.counters.foreign);
            tracing::debug!(cause, "a stranger called");
            return drain(stream).await;
        }
        Err(_) => return count(&shared.counters.foreign),
    };
    tokio::spawn(async move {
        let key = shared.who.of_session(greeted.session);
        let life = Life { boot: greeted.peer_boot, life: Nonce(greeted.peer_start.0) };
        let done = timeout(ANSWER_MAX, serve(&mut stream, &shared, life, &key)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => {
                let raw = frame::seal(Kind::Refusal(refusal), b"", &key);
                // A caller that goes away needs no refusal.
                if timeout(DRAIN_MAX, stream.write_all(&raw)).await.is_ok_and(|sent| sent.is_ok()) {
                    drain(stream).await;
                }
            }
            Err(_) => {
                count(&shared.counters.late);
                tracing::warn!("a call of the other daemon was not done in time");
            }
        }
    });
}

async fn greet(stream: &mut TcpStream, who: &Who, own: Life) -> Result<Greeted, String> {
    let random = random().ok_or_else(|| "no random numbers".to_owned())?;
    let mut greeting = Greeting::accept(&who.greets(own), random, None);
    let (mut input, mut out) = (Vec::new(), Vec::new());
    loop {
        let mut buffer = [0; GREETING_BYTES_MAX];
        // No more than is still missing, so that nothing of the frame behind it is read here.
        let bytes = stream.read(&mut buffer).await.map_err(|cause| cause.to_string())?;
        if bytes == 0 {
            return Err("the connection ended within the greeting".to_owned());
        }
        input.extend_from_slice(&buffer[..bytes]);
        let fed = greeting.feed(&input, &mut out);
        let sent = stream.write_all(&out).await;
        out.clear();
        let progress = fed.map_err(|error| error.to_string())?;
        sent.map_err(|cause| cause.to_string())?;
        input.drain(..progress.consumed);
        match progress.done {
            // A caller speaks only after the welcome.
            Some(_) if !input.is_empty() => return Err("words before the welcome".to_owned()),
            Some(greeted) => return Ok(greeted),
            None if input.len() > GREETING_BYTES_MAX => {
                return Err("a greeting that does not end".to_owned());
            }
            None => {}
        }
    }
}

async fn serve(
    stream: &mut TcpStream,
    shared: &Shared,
    life: Life,
    key: &[u8; 32],
) -> Result<(), Refusal> {
    if shared.lives.borrow().peer != Some(life) {
        count(&shared.counters.other_life);
        return Err(Refusal::OtherLife);
    }
    let Ok(_room) = shared.calls.try_acquire() else {
        count(&shared.counters.crowded);
        return Err(Refusal::Busy);
    };
    let body = match super::call::read(stream, key).await {
        Ok((Kind::Ask, body)) => body,
        Ok(_) => {
            count(&shared.counters.malformed);
            return Err(Refusal::NotUnderstood);
        }
        Err(cause) => {
            count(&shared.counters.malformed);
            tracing::debug!(cause, "a call that is none");
            return Err(Refusal::NotUnderstood);
        }
    };
    // It may have taken long to come: the one who is heard may be another by now.
    if shared.lives.borrow().peer != Some(life) {
        count(&shared.counters.other_life);
        return Err(Refusal::OtherLife);
    }
    let (answer, answered) = oneshot::channel();
    shared.asked.try_send(Asked { body, answer }).map_err(|_| {
        count(&shared.counters.crowded);
        Refusal::Busy
    })?;
    let body = answered.await.map_err(|_| Refusal::Away)??;
    let raw = frame::seal(Kind::Answer, &body, key);
    match stream.write_all(&raw).await {
        Ok(()) => count(&shared.counters.answered),
        // The caller takes it for unknown, and asks again.
        Err(cause) => tracing::debug!(%cause, "the other daemon did not wait for its answer"),
    }
    Ok(())
}

/// Lets the other side read what was said last: a reset would overtake it.
async fn drain(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut sink = tokio::io::sink();
    let mut rest = stream.take(DRAIN_BYTES_MAX);
    if let Ok(Err(cause)) = timeout(DRAIN_MAX, tokio::io::copy(&mut rest, &mut sink)).await {
        tracing::debug!(%cause, "a refused caller");
    }
}
