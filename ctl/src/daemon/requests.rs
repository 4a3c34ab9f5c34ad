//! Operators' requests under way: verbs to the decider or straight to the engine, answers back.

use super::Daemon;
use super::control::{Refusal, Tell, Verb};
use super::refusal::{self, Known};
use crate::act::clock;
use crate::act::engine::CallEnd;
use crate::decide::event::{Event, RequestId, Verb as Decision};
use crate::decide::step::{Refused, Waiting};
use lockstep_engine::admin;
use tokio::sync::mpsc;

/// Requests that may wait for the decider at once.
const REQUESTS_MAX: usize = 64;

/// Sends a line to an operator who may have gone away or stopped reading: then nobody needs it.
fn tell(to: &mpsc::Sender<Tell>, line: Tell) {
    if to.try_send(line).is_err() {
        tracing::debug!("an operator does not read its answers");
    }
}

impl Daemon {
    /// Takes up a request.
    pub(super) fn request(&mut self, request: super::operators::Request) {
        let to = request.tell;
        match request.ask.verb {
            Verb::Status => {
                let report = self.report();
                tell(&to, Tell::Status(Box::new(report)));
            }
            Verb::Watch => self.watch(to),
            Verb::Stats => self.call(admin::Verb::Stats, to),
            Verb::PauseSync { paused } => self.call(admin::Verb::PauseSync { paused }, to),
            Verb::Verify { start } => self.call(admin::Verb::Verify { start }, to),
            Verb::Create { both_blank } => self.decide(Decision::Create { both_blank }, to),
            Verb::Start { without_peer } => self.decide(Decision::Start { without_peer }, to),
            Verb::Takeover => self.decide(Decision::Takeover, to),
            Verb::Move => self.decide(Decision::Move, to),
            Verb::Stop => self.decide(Decision::Stop, to),
            Verb::ForcePromote { volume } if volume == self.config.volume.name => {
                tracing::warn!(volume, "an operator forces this copy to be the truth");
                self.decide(Decision::ForcePromote, to);
            }
            Verb::ForcePromote { volume } => {
                let message = format!(
                    "volume {}: \"{volume}\" was typed instead of its name; nothing was done",
                    self.config.volume.name
                );
                tell(&to, Tell::Refused(Refusal { code: "name".to_owned(), message }));
            }
        }
    }

    /// Shows the status to a watcher now and at every tick.
    fn watch(&mut self, to: mpsc::Sender<Tell>) {
        tell(&to, Tell::Status(Box::new(self.report())));
        self.watchers.push(to);
    }

    /// Shows the status to all watchers; one that went away is forgotten, one that is slow misses
    /// a line.
    pub(super) fn show_watchers(&mut self) {
        self.watchers.retain(|to| !to.is_closed());
        if self.watchers.is_empty() {
            return;
        }
        let report = self.report();
        for to in &self.watchers {
            tell(to, Tell::Status(Box::new(report.clone())));
        }
    }

    fn decide(&mut self, verb: Decision, to: mpsc::Sender<Tell>) {
        if self.requests.len() >= REQUESTS_MAX {
            tell(&to, Tell::Refused(self.explain(&Refused::Busy)));
            return;
        }
        self.last_request += 1;
        let request = RequestId(self.last_request);
        tracing::info!(?verb, request = request.0, "operator");
        self.requests.insert(request, to);
        self.event(Event::Operator { request, verb });
    }

    /// A call that needs no decision goes straight to the engine.
    fn call(&mut self, verb: admin::Verb, to: mpsc::Sender<Tell>) {
        if self.build.is_none() {
            tell(&to, Tell::Refused(self.explain(&Refused::EngineAway)));
            return;
        }
        let ended = self.engine.call(verb);
        let gone = self.explain(&Refused::EngineAway);
        tokio::spawn(async move {
            let line = match ended.await.unwrap_or(CallEnd::Gone) {
                CallEnd::Done(Some(stats)) => Tell::Stats(stats),
                CallEnd::Done(None) => Tell::Done,
                CallEnd::Refused(admin::Refused { code, message }) => {
                    Tell::Refused(Refusal { code, message })
                }
                CallEnd::Gone => Tell::Refused(gone),
            };
            tell(&to, line);
        });
    }

    fn explain(&self, refused: &Refused) -> Refusal {
        let config = &self.config;
        let record = self.decider.view().record;
        let stale = record.filter(|record| !record.is_member(config.node));
        let known = Known {
            volume: &config.volume.name,
            node: config.node,
            stale_since: stale.map(|record| record.since),
            arbiter: &self.arbiter.health(),
            engine_trouble: self.engine_trouble(),
            wall_ms: clock::wall_ms(),
        };
        refusal::explain(refused, &known)
    }

    /// The last line of a request.
    pub(super) fn reply(&mut self, request: RequestId, result: Result<(), Refused>) {
        let line = match &result {
            Ok(()) => Tell::Done,
            Err(refused) => Tell::Refused(self.explain(refused)),
        };
        tracing::info!(request = request.0, ?result, "operator answered");
        if let Some(to) = self.requests.remove(&request) {
            tell(&to, line);
        }
    }

    /// A line while a request waits.
    pub(super) fn progress(&mut self, request: RequestId, waiting: Waiting) {
        let (word, sentence) = refusal::waiting(waiting, self.config.node, &self.arbiter.health());
        if let Some(to) = self.requests.get(&request) {
            tell(to, Tell::Progress { waiting: word.to_owned(), message: sentence });
        }
    }
}
