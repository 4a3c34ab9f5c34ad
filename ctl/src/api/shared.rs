//! What all connections share: the queue to the daemon's loop, the events, the requests, counts.
//! Always: of the questions that only look, at most `READS_MAX` are in the queue or being answered;
//! the others wait on this side, so that operators' verbs and decisions go before them.

use super::answer::{Fault, RequestReport, State, Wait};
use super::control::{Ask, Refusal, Request, Tell, Verb};
use super::health::Last;
use super::requests::Requests;
use crate::act::clock;
use crate::act::events::Reader;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

/// Requests that may wait for the loop.
pub(super) const QUEUE_MAX: usize = 32;
/// Questions that are with the loop at once.
const READS_MAX: usize = 4;
/// Answers that go on, at once.
pub(super) const FOLLOWERS_MAX: usize = 32;
/// Tells that may wait for the task that reads them.
const TELLS_MAX: usize = 64;
/// Longest wait for room in the queue, and for the answer of a loop that has nothing to wait for.
const LOOP: Duration = Duration::from_secs(3);
/// Longest wait for what the disks of both nodes have to say.
const BOTH_NODES: Duration = Duration::from_secs(60);

/// Counts of this API, by door or class.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Connections open.
    pub open: AtomicU64,
    /// Connections refused, because there were too many.
    pub refused: AtomicU64,
    /// Requests that did not say who they are.
    pub unauthenticated: AtomicU64,
    /// Answers of the classes 2xx, 4xx, 5xx.
    pub answers: [AtomicU64; 3],
}

impl Counts {
    /// Counts one up.
    pub fn up(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// All that connections share.
pub(super) struct Shared {
    pub queue: mpsc::Sender<Request>,
    pub diary: Reader,
    pub requests: Requests,
    pub followers: Arc<Semaphore>,
    pub counts: Counts,
    pub health: Last,
    reads: Semaphore,
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned() }
}

fn gone() -> Refusal {
    refusal("no-answer", "daemon: it gave no answer in time; ask again, or see its log")
}

impl Shared {
    pub fn new(queue: mpsc::Sender<Request>, diary: Reader) -> Shared {
        Shared {
            queue,
            diary,
            requests: Requests::new(clock::wall_ms()),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            counts: Counts::default(),
            health: Last::default(),
            reads: Semaphore::new(READS_MAX),
        }
    }

    /// Puts a request into the queue.
    async fn put(
        &self,
        id: u64,
        ask: Ask,
        tells_max: usize,
    ) -> Result<mpsc::Receiver<Tell>, Refusal> {
        let (tell, told) = mpsc::channel(tells_max);
        match timeout(LOOP, self.queue.send(Request { id, ask, tell })).await {
            Ok(Ok(())) => Ok(told),
            _ => Err(refusal("busy", "daemon: its queue is full; try again in some seconds")),
        }
    }

    /// Asks a question and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Result<Tell, Refusal> {
        // What an engine or the other node has to answer does not keep the others waiting.
        let most = if matches!(ask.verb, Verb::Apply { .. }) { BOTH_NODES } else { LOOP };
        let permit = match ask.verb {
            Verb::Stats | Verb::Apply { .. } => None,
            _ => match timeout(LOOP, self.reads.acquire()).await {
                Ok(Ok(permit)) => Some(permit),
                _ => return Err(refusal("busy", "daemon: too many questions at once; try again")),
            },
        };
        let mut told = self.put(self.requests.number(), ask, TELLS_MAX).await?;
        let answer = timeout(most, async {
            loop {
                match told.recv().await {
                    Some(Tell::Progress { .. }) => {}
                    other => return other,
                }
            }
        })
        .await;
        drop(permit);
        match answer {
            Ok(Some(Tell::Refused(refusal))) => Err(refusal),
            Ok(Some(tell)) => Ok(tell),
            Ok(None) | Err(_) => Err(gone()),
        }
    }

    /// Asks for something that goes on; a report that its reader has no room for is left out.
    pub async fn follow(&self, ask: Ask) -> Result<mpsc::Receiver<Tell>, Refusal> {
        self.put(self.requests.number(), ask, 2).await
    }

    /// Takes up a request that changes something. It goes on by itself.
    pub async fn begin(
        &self,
        line: String,
        ask: Ask,
    ) -> Result<watch::Receiver<RequestReport>, Refusal> {
        let report = self.requests.open(line, clock::wall_ms())?;
        let seen = report.subscribe();
        let id = report.borrow().id;
        match self.put(id, ask, TELLS_MAX).await {
            Ok(told) => {
                tokio::spawn(keep(report, told));
                Ok(seen)
            }
            Err(refusal) => {
                end(&report, Err(&refusal));
                Err(refusal)
            }
        }
    }
}

fn end(report: &watch::Sender<RequestReport>, result: Result<(), &Refusal>) {
    report.send_modify(|report| {
        report.waiting = None;
        report.state = if result.is_ok() { State::Done } else { State::Refused };
        report.error = result.err().map(Fault::from);
    });
}

/// Writes down what the loop tells of a request, until it has ended.
async fn keep(report: watch::Sender<RequestReport>, mut told: mpsc::Receiver<Tell>) {
    loop {
        match told.recv().await {
            Some(Tell::Progress { waiting, message }) => report.send_modify(|report| {
                report.waiting = Some(Wait { code: waiting, message });
            }),
            Some(Tell::Refused(refusal)) => return end(&report, Err(&refusal)),
            Some(Tell::Applied(applied)) => {
                report.send_modify(|report| report.applied = Some(applied));
                return end(&report, Ok(()));
            }
            Some(_) => return end(&report, Ok(())),
            None => return end(&report, Err(&gone())),
        }
    }
}
