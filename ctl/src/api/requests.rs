//! Requests that change something, by number: those under way and the last that ended.
//! Always: at most `WAITING_MAX` are under way and `KEPT_MAX` remembered; a number is never used
//! twice, not even after a restart of the daemon, unless the host's clock was put back meanwhile.

use super::answer::{RequestReport, State};
use super::control::Refusal;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Requests under way.
pub(super) const WAITING_MAX: usize = 64;
/// Requests that are remembered.
const KEPT_MAX: usize = 256;
const _: () = assert!(KEPT_MAX > WAITING_MAX);

/// All of them.
pub(super) struct Requests {
    kept: Mutex<Kept>,
}

struct Kept {
    last: u64,
    all: VecDeque<watch::Receiver<RequestReport>>,
}

impl Requests {
    /// None yet; `first` is below every number of theirs.
    pub fn new(first: u64) -> Requests {
        Requests { kept: Mutex::new(Kept { last: first, all: VecDeque::new() }) }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // What a panicking task left behind is still a list of requests.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for something that is not remembered.
    pub fn number(&self) -> u64 {
        let mut kept = self.kept();
        kept.last += 1;
        kept.last
    }

    /// Takes one up.
    pub fn open(
        &self,
        request: String,
        began_ms: u64,
    ) -> Result<watch::Sender<RequestReport>, Refusal> {
        let mut kept = self.kept();
        let under_way = |one: &watch::Receiver<RequestReport>| one.borrow().state == State::Waiting;
        if kept.all.iter().filter(|one| under_way(one)).count() >= WAITING_MAX {
            return Err(Refusal {
                code: "busy".to_owned(),
                message: format!(
                    "daemon: {WAITING_MAX} requests are under way; wait for some of them, see \
                     GET /v1/requests"
                ),
            });
        }
        while kept.all.len() >= KEPT_MAX {
            // There are fewer under way than are kept, so one that ended is found.
            let oldest = kept.all.iter().position(|one| !under_way(one)).unwrap_or(0);
            kept.all.remove(oldest);
        }
        kept.last += 1;
        let (state, waiting, error) = (State::Waiting, None, None);
        let id = kept.last;
        let report = RequestReport { id, request, began_ms, state, waiting, error, applied: None };
        let (sender, receiver) = watch::channel(report);
        kept.all.push_back(receiver);
        Ok(sender)
    }

    /// One of them.
    pub fn find(&self, id: u64) -> Option<watch::Receiver<RequestReport>> {
        self.kept().all.iter().find(|one| one.borrow().id == id).cloned()
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<RequestReport> {
        self.kept().all.iter().map(|one| one.borrow().clone()).collect()
    }

    /// How many are under way.
    pub fn waiting(&self) -> usize {
        self.kept().all.iter().filter(|one| one.borrow().state == State::Waiting).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_under_way_is_not_forgotten() {
        let requests = Requests::new(100);
        let first = requests.open("first".to_owned(), 0).unwrap();
        for _ in 0..KEPT_MAX * 2 {
            let ended = requests.open("x".to_owned(), 0).unwrap();
            ended.send_modify(|report| report.state = State::Done);
        }
        assert_eq!(requests.list().len(), KEPT_MAX);
        assert_eq!(requests.waiting(), 1);
        assert_eq!(requests.find(first.borrow().id).unwrap().borrow().request, "first");
        assert_eq!(first.borrow().id, 101);
    }

    #[test]
    fn too_many_under_way_are_refused_until_one_ends() {
        let requests = Requests::new(0);
        let open = || requests.open("x".to_owned(), 0);
        let all: Vec<_> = (0..WAITING_MAX).map(|_| open().unwrap()).collect();
        assert_eq!(open().unwrap_err().code, "busy");
        all[3].send_modify(|report| report.state = State::Refused);
        assert!(open().is_ok());
    }
}
