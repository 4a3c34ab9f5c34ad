//! The recovery chain: which link an error uses next.

use super::{Context, Link, Monitor, Note, Phase, SCRIPT_MAX, Step, TOLD_AFTER};
use crate::decide::settings::FinalAction;
use lockstep_engine::units::Tick;

impl Monitor {
    /// The link that is due; `None`: none is left, or none applies.
    pub(super) fn due(&self, context: &Context) -> Option<Link> {
        let recovery = &self.settings.recovery;
        recovery.target?;
        if self.used.scripts < recovery.scripts_max {
            return Some(Link::Script);
        }
        if context.here && self.used.reactivations < recovery.reactivations_max {
            return Some(Link::Reactivate);
        }
        if context.here && self.used.failovers < recovery.failovers_max {
            // One that fences does not wait for a node to fail over to.
            let lonely = recovery.fences && !context.can_fail_over;
            if !lonely {
                return Some(Link::FailOver);
            }
        }
        let open = !self.used.final_action && recovery.final_action != FinalAction::None;
        open.then_some(Link::Final(recovery.final_action))
    }

    /// Uses the next link of the chain. Each needs as many bad probes as the first.
    pub(super) fn escalate(&mut self, context: &Context, now: Tick) {
        let Some(link) = self.due(context) else { return };
        if !context.acting {
            return self.tell(Note::WouldRecover(link));
        }
        let recovery = self.settings.recovery;
        match link {
            Link::Script => {
                self.used.scripts += 1;
                let (id, deadline) = (self.next_id(), now.after(SCRIPT_MAX));
                self.recovers(link, self.used.scripts, recovery.scripts_max);
                self.steps.push_back(Step::Script { id, deadline });
                self.phase = Phase::Scripting { id, deadline };
            }
            Link::Reactivate => {
                self.used.reactivations += 1;
                self.recovers(link, self.used.reactivations, recovery.reactivations_max);
                self.steps.push_back(Step::Reactivate);
            }
            Link::FailOver if !context.can_fail_over => return self.tell(Note::NoOtherNode),
            Link::FailOver => {
                self.used.failovers += 1;
                self.recovers(link, self.used.failovers, recovery.failovers_max);
                self.steps.push_back(Step::FailOver);
            }
            Link::Final(action) if !context.other_healthy && !recovery.fences => {
                return self.tell(Note::Suppressed(action));
            }
            Link::Final(_) if !recovery.fences && now < self.since.after(TOLD_AFTER) => {
                if let Phase::Waiting { at } = self.phase {
                    self.phase = Phase::Waiting { at: at.min(self.since.after(TOLD_AFTER)) };
                }
                return;
            }
            Link::Final(action) => {
                self.used.final_action = true;
                self.recovers(link, 1, 1);
                self.steps.push_back(Step::Final(action));
            }
        }
        self.bad = 0;
        self.recovering = true;
    }

    fn recovers(&mut self, link: Link, times: u32, of: u32) {
        self.told = None;
        self.steps.push_back(Step::Note(Note::Recovers { link, times, of }));
    }

    /// Says once what would be said again with every bad probe.
    fn tell(&mut self, note: Note) {
        if self.told.as_ref() != Some(&note) {
            self.told = Some(note.clone());
            self.steps.push_back(Step::Note(note));
        }
    }
}
