//! Carries out what the decider asks for. Steps are started in order and without waiting: a step
//! that silences this node takes effect before any packet is sent after it.

use super::{ArbiterEnd, Daemon};
use crate::act::heartbeat::Telling;
use crate::decide::event::Event;
use crate::decide::step::{Note, Step};

impl Daemon {
    /// Tells the decider, then does all that it asks for.
    pub(super) fn event(&mut self, event: Event) {
        let (wall, now) = (crate::act::clock::wall_ms(), crate::act::clock::now());
        self.decider.handle(event, wall, now);
        self.pump();
    }

    /// Does all that the decider asks for.
    pub(super) fn pump(&mut self) {
        while let Some(step) = self.decider.poll_step() {
            self.carry_out(step);
        }
        let beat = self.decider.beat();
        self.tell_peer(|telling| {
            telling.released = beat.released;
            telling.record = beat.version;
        });
    }

    /// Changes what heartbeats say about the group.
    pub(super) fn tell_peer(&mut self, change: impl FnOnce(&mut Telling)) {
        if let Some(telling) = self.exchange.telling(self.config.group.id) {
            change(telling);
        }
    }

    fn carry_out(&mut self, step: Step) {
        tracing::debug!(?step, "step");
        match step {
            Step::Engine { id, command } => {
                if self.engine.step(id, &command).is_err() {
                    // The queue to the engine is full: it hangs. Its steps are lost.
                    tracing::error!(?command, "the engine takes no commands");
                    self.lost_steps = true;
                }
            }
            Step::Read { id } => {
                let (call, ends) = (self.arbiter.read(), self.arbiter_ends.clone());
                tokio::spawn(async move {
                    let end = ArbiterEnd::Read { id, result: call.await };
                    // The receiver lives as long as the daemon.
                    let _ = ends.send(end).await;
                });
            }
            Step::Swap { id, expected, next } => {
                let (call, ends) = (self.arbiter.swap(expected, next), self.arbiter_ends.clone());
                tokio::spawn(async move {
                    let end = ArbiterEnd::Swapped { id, result: call.await };
                    let _ = ends.send(end).await;
                });
            }
            Step::AnswerHeartbeats(answer) => self.tell_peer(|telling| telling.answers = answer),
            Step::AnnounceRelease(version) => {
                self.tell_peer(|telling| telling.released = version);
                // A release is waited for: it is told at once, not at the next interval.
                self.beat();
            }
            Step::Reply { request, result } => self.reply(request, result),
            Step::Progress { request, waiting } => self.progress(request, waiting),
            Step::Note(note) => self.note(&note),
        }
    }

    fn note(&self, note: &Note) {
        let volume = self.config.volume.name.as_str();
        let role = self.status.as_ref().map(|status| status.role);
        match note {
            Note::FastFence | Note::ArbiterRolledBack | Note::HalfSilent => {
                tracing::warn!(volume, ?role, ?note, "decision");
            }
            _ => tracing::info!(volume, ?role, ?note, "decision"),
        }
    }
}
