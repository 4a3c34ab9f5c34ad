//! Calls that may block in the kernel, each in a thread of its own and with a deadline.
//! Always: of calls with the same key at most one is out at any time, also when its caller has
//! gone away, so that a stuck call neither piles up threads nor is overtaken by a second one.

use super::clock;
use lockstep_engine::units::Tick;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use tokio::sync::{oneshot, watch};

/// A call that is out.
struct Out {
    since: Tick,
    /// Closed when the call is back.
    back: watch::Receiver<()>,
}

/// Calls that are out in this process, by key. The kernel's state is one per host, so this is too.
static OUT: Mutex<BTreeMap<String, Out>> = Mutex::new(BTreeMap::new());

fn out<T>(read: impl FnOnce(&mut BTreeMap<String, Out>) -> T) -> T {
    // Entries are plain values: a panic elsewhere leaves them good.
    read(&mut OUT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The right to be the only call with a key; gives it back when it is dropped.
pub struct Claim {
    key: String,
    _back: watch::Sender<()>,
}

impl Claim {
    fn take(key: &str) -> Result<Claim, (Tick, watch::Receiver<()>)> {
        out(|out| {
            if let Some(other) = out.get(key) {
                return Err((other.since, other.back.clone()));
            }
            let (sender, back) = watch::channel(());
            out.insert(key.to_owned(), Out { since: clock::now(), back });
            Ok(Claim { key: key.to_owned(), _back: sender })
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        out(|out| out.remove(&self.key));
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub enum Unfinished {
    /// It did not return before the deadline, and may still take effect.
    Late,
    /// An earlier call with the same key is still out.
    Busy {
        /// When that one began.
        since: Tick,
    },
    /// The kernel gives no thread.
    NoThread(io::Error),
    /// The thread ended without a result.
    Died,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfinished::Late => write!(f, "the kernel did not answer in time"),
            Unfinished::Busy { since } => {
                let seconds = clock::now().since(*since).0 / 1_000_000_000;
                write!(f, "an earlier call has been stuck for {seconds} s")
            }
            Unfinished::NoThread(cause) => write!(f, "the kernel gives no thread: {cause}"),
            Unfinished::Died => write!(f, "the thread that worked on it ended"),
        }
    }
}

/// Runs `work` in a thread; at the deadline its result is given up.
///
/// # Errors
/// No result in time; the work may still end later.
pub async fn run<T: Send + 'static>(
    name: &str,
    deadline: Tick,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    launch(name, deadline, None, work).await
}

/// As `run`, but waits first until no other call with `key` is out.
///
/// # Errors
/// No result in time, or the other call did not return.
pub async fn run_alone<T: Send + 'static>(
    name: &str,
    key: &str,
    deadline: Tick,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let claim = claim(key, deadline).await?;
    launch(name, deadline, Some(claim), work).await
}

/// Waits until no call with `key` is out, and keeps others out until the claim is dropped.
///
/// # Errors
/// The other call did not return.
pub async fn claim(key: &str, deadline: Tick) -> Result<Claim, Unfinished> {
    loop {
        let (since, mut back) = match Claim::take(key) {
            Ok(claim) => return Ok(claim),
            Err(other) => other,
        };
        let gone = async { while back.changed().await.is_ok() {} };
        if tokio::time::timeout(clock::until(deadline), gone).await.is_err() {
            return Err(Unfinished::Busy { since });
        }
    }
}

/// As `run_alone`, but does not wait for another call.
///
/// # Errors
/// No result in time, or another call with `key` is out.
pub async fn run_if_free<T: Send + 'static>(
    name: &str,
    key: &str,
    deadline: Tick,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    match Claim::take(key) {
        Ok(claim) => launch(name, deadline, Some(claim), work).await,
        Err((since, _)) => Err(Unfinished::Busy { since }),
    }
}

/// When the call with `key` that is out now began.
pub fn out_since(key: &str) -> Option<Tick> {
    out(|out| out.get(key).map(|other| other.since))
}

async fn launch<T: Send + 'static>(
    name: &str,
    deadline: Tick,
    claim: Option<Claim>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let (done, result) = oneshot::channel();
    let body = move || {
        let value = work();
        drop(claim);
        // Nobody waits any more after the deadline; what was done shows in the next look.
        drop(done.send(value));
    };
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(Unfinished::NoThread)?;
    match tokio::time::timeout(clock::until(deadline), result).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(Unfinished::Died),
        Err(_) => Err(Unfinished::Late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_engine::units::Span;
    use std::sync::mpsc;

    fn soon(ms: u64) -> Tick {
        clock::now().after(Span::millis(ms))
    }

    #[tokio::test]
    async fn a_stuck_call_is_late_once_and_then_keeps_others_out_until_it_is_back() {
        let (free, stuck) = mpsc::channel::<()>();
        let key = "work-test-stuck";
        let late = run_alone("t", key, soon(20), move || stuck.recv().is_ok()).await;
        assert!(matches!(late, Err(Unfinished::Late)), "{late:?}");
        let second = run_if_free("t", key, soon(20), || ()).await;
        assert!(matches!(second, Err(Unfinished::Busy { .. })), "{second:?}");
        let third = run_alone("t", key, soon(20), || ()).await;
        assert!(matches!(third, Err(Unfinished::Busy { .. })), "{third:?}");
        assert!(out_since(key).is_some());
        free.send(()).unwrap();
        assert_eq!(run_alone("t", key, soon(5_000), || 7).await.unwrap(), 7);
        assert!(out_since(key).is_none());
    }

    #[tokio::test]
    async fn a_call_that_panics_gives_its_key_back() {
        let key = "work-test-panic";
        let died = run_alone("t", key, soon(5_000), || panic!("on purpose")).await;
        assert!(matches!(died, Err(Unfinished::Died)), "{died:?}");
        assert!(out_since(key).is_none());
    }
}
