//! Carries out what the node asks for. Steps are started in order and without waiting: a step
//! that silences this node takes effect before any packet is sent after it.

use super::{Daemon, End, start};
use crate::act::{clock, file};
use crate::decide::group::{Note as OfGroup, State};
use crate::decide::node::{Event, Memory, Note, Step};
use crate::decide::settings::GroupIndex;
use crate::decide::step::Step as Of;

impl Daemon {
    /// Tells the node, then does all that it asks for.
    pub(super) fn event(&mut self, event: Event) {
        self.node.handle(event, clock::wall_ms(), clock::now());
        self.pump();
    }

    /// Does all that the node asks for.
    pub(super) fn pump(&mut self) {
        // A group that was claimed is down for an instant before it comes up: nobody needs to know.
        let mut down = None;
        while let Some(step) = self.node.poll_step() {
            let state = match &step {
                Step::Note(Note::Group(group, OfGroup::State(state))) => Some((*group, *state)),
                _ => None,
            };
            match (state, down.take()) {
                (Some((group, State::Rising)), Some((of, _))) if group == of => {}
                (Some(_), Some((_, held))) => self.carry_out(held),
                (None, held) => down = held,
                (Some(_), None) => {}
            }
            match state {
                Some((group, State::Down)) => down = Some((group, step)),
                _ => self.carry_out(step),
            }
        }
        if let Some((_, held)) = down {
            self.carry_out(held);
        }
        self.keep_leases();
        self.announce();
    }

    fn carry_out(&mut self, step: Step) {
        tracing::debug!(?step, "step");
        match step {
            Step::Arbitration { group, step } => self.arbitrate(group, step),
            Step::Resource { group, id, resource, act, deadline } => {
                self.affect(group, id, resource, act, deadline);
            }
            Step::Probe { monitor, id, deadline } => self.look(monitor, id, deadline),
            Step::Script { monitor, id, deadline } => self.run_script(monitor, id, deadline),
            Step::Host { action, .. } => self.end_host(action),
            Step::Remember(memory) => self.remember(&memory),
            Step::Reply { request, result } => self.reply(request, result),
            Step::Progress { request, waiting } => self.progress(request, waiting),
            Step::Note(note) => {
                self.note_for_stops(&note);
                self.note(&note);
            }
        }
    }

    fn arbitrate(&mut self, group: GroupIndex, step: Of) {
        match step {
            Of::Engine { command, .. } if !self.may_command(group, &command) => {}
            Of::Engine { id, volume, command } => {
                if !self.waits_for_stop(group, id, volume, &command) {
                    self.command(group, id, volume, command);
                }
            }
            Of::Read { id } => {
                let Some(store) = self.stores.get(group.0) else { return };
                let (call, ends) = (store.arbiter.read(), self.ends.clone());
                tokio::spawn(async move {
                    let result = call.await;
                    // The receiver lives as long as the daemon.
                    let _ = ends.send(End::Read { group, id, result }).await;
                });
            }
            Of::Swap { .. } if !self.may_write(group) => {}
            Of::Swap { id, expected, next } if self.stops_before(group, id, expected, &next) => {}
            Of::Swap { id, expected, next } => {
                let Some(store) = self.stores.get(group.0) else { return };
                let (call, ends) = (store.arbiter.swap(expected, next), self.ends.clone());
                tokio::spawn(async move {
                    let result = call.await;
                    let _ = ends.send(End::Swapped { group, id, result }).await;
                });
            }
            Of::AnswerHeartbeats(answer) => {
                self.tell_peer(group, |telling| telling.answers = answer);
            }
            Of::AnnounceRelease(version) => {
                self.tell_peer(group, |telling| telling.released = version);
                // A release is waited for: it is told at once, not at the next interval.
                self.beat();
            }
            Of::Reply { .. } | Of::Progress { .. } | Of::Note(_) => {
                tracing::error!("the node passes these on itself; this is a defect");
            }
        }
    }

    /// Stored before anything that follows is done, because it is tiny and on no disk.
    fn remember(&mut self, memory: &Memory) {
        let path = start::memory_path(&self.view);
        let bytes = serde_json::to_vec(memory).map_err(std::io::Error::from);
        let stored = bytes.and_then(|bytes| file::replace_synced(&path, &bytes));
        let failed = stored.err().map(|cause| format!("{}: {cause}", path.display()));
        match &failed {
            Some(cause) if !self.memory_fails => self.memory_lost(cause),
            None if self.memory_fails => self.memory_back(),
            _ => {}
        }
        self.memory_fails = failed.is_some();
        // Before the next step, which may be the answer that depends on it.
        self.node.handle(Event::Remembered { failed }, clock::wall_ms(), clock::now());
    }
}
