//! Answers that go on: reports, events, a request until its end; a line of JSON each.
//! Always: at most `FOLLOWERS_MAX` at once, requests apart, which have a bound of their own; a
//! reader that goes away ends its task.

use super::answer::{RequestReport, State};
use super::body::{Body, line, lines};
use super::control::{Ask, Refusal, Tell};
use super::shared::{FOLLOWERS_MAX, Shared};
use hyper::Response;
use hyper::body::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{MissedTickBehavior, interval};

/// An empty line after so long without another shows that both sides are still there.
const ALIVE: Duration = Duration::from_secs(10);
/// Events of one turn.
pub(super) const EVENTS_MAX: usize = 1_000;

fn permit(shared: &Shared) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&shared.followers).try_acquire_owned().map_err(|_| Refusal {
        code: "busy".to_owned(),
        message: format!("daemon: {FOLLOWERS_MAX} others follow already; ask now and then instead"),
    })
}

/// Reports of a volume or of the cluster.
pub(super) async fn reports(shared: &Shared, ask: Ask) -> Result<Response<Body>, Refusal> {
    let permit = permit(shared)?;
    let mut told = shared.follow(ask).await?;
    let first = match told.recv().await {
        Some(Tell::Refused(refusal)) => return Err(refusal),
        first => first,
    };
    let (to, response) = lines();
    tokio::spawn(async move {
        let _permit = permit;
        let mut next = first;
        while let Some(tell) = next {
            let bytes = match &tell {
                Tell::Status(report) => line(report),
                Tell::Cluster(report) => line(report),
                _ => return,
            };
            if to.send(bytes).await.is_err() {
                return;
            }
            next = told.recv().await;
        }
    });
    Ok(response)
}

/// Events after a number: those that are there, at most `most`, then each that comes.
pub(super) fn events(shared: &Shared, after: u64, most: usize) -> Result<Response<Body>, Refusal> {
    let permit = permit(shared)?;
    let mut diary = shared.diary.clone();
    let (to, response) = lines();
    tokio::spawn(async move {
        let _permit = permit;
        let (mut after, mut most) = (after, most.min(EVENTS_MAX));
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        alive.reset();
        loop {
            for entry in diary.after(after, most) {
                after = entry.number;
                if to.send(line(&entry)).await.is_err() {
                    return;
                }
            }
            most = EVENTS_MAX;
            tokio::select! {
                changed = diary.changed() => if !changed { return },
                _ = alive.tick() => if to.send(Bytes::from_static(b"\n")).await.is_err() { return },
                () = to.closed() => return,
            }
        }
    });
    Ok(response)
}

/// A request until it has ended.
pub(super) fn request(mut seen: watch::Receiver<RequestReport>) -> Response<Body> {
    let (to, response) = lines();
    tokio::spawn(async move {
        loop {
            let report = seen.borrow_and_update().clone();
            let ended = report.state != State::Waiting;
            if to.send(line(&report)).await.is_err() || ended {
                return;
            }
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { return },
                () = to.closed() => return,
            }
        }
    });
    response
}
