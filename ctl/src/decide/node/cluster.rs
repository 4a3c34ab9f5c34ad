//! The cluster service on this node: start, stop, suspend, resume, and final actions, which stop
//! it and then act on the host.
//! Always: the host is told only when every group is down, stuck, or has had its time; but for a
//! panic and for a fence that was not confirmed, which wait for nothing.

use super::event::{ClusterVerb, HostAction, Note, Refused, Step};
use super::{HOST_MAX, LEAVE_SLACK, Leaving, Node};
use crate::decide::event::RequestId;
use crate::decide::group::{Order, Part, State};
use crate::decide::monitor;
use crate::decide::settings::{FinalAction, GroupIndex};
use lockstep_engine::units::{Span, Tick};

impl Node {
    pub(super) fn cluster(&mut self, request: RequestId, verb: ClusterVerb, now: Tick) {
        if let Err(why) = self.check_cluster(verb) {
            return self.reply(request, Err(why));
        }
        match verb {
            ClusterVerb::Stop { hand_over } => {
                return self.begin_leaving(None, Some(request), hand_over, now);
            }
            ClusterVerb::Start => {
                self.doomed = false;
                self.takes(Part::Takes);
                self.order_all(Order::Join, now);
                for index in 0..self.monitors.len() {
                    let context = self.context(index, now);
                    self.monitors[index].handle(monitor::Event::Reset, &context, now);
                }
            }
            ClusterVerb::Resume => self.takes(Part::Takes),
            ClusterVerb::Suspend => self.takes(Part::Suspended),
        }
        self.reply(request, Ok(()));
    }

    /// Whether a verb would be begun now.
    pub(super) fn check_cluster(&self, verb: ClusterVerb) -> Result<(), Refused> {
        if self.leaving.is_some() {
            return Err(Refused::Busy);
        }
        let fits = match verb {
            ClusterVerb::Start => self.part == Part::Stopped || self.doomed,
            ClusterVerb::Stop { .. } => self.part != Part::Stopped,
            ClusterVerb::Suspend => self.part == Part::Takes,
            ClusterVerb::Resume => self.part == Part::Suspended,
        };
        if fits { Ok(()) } else { Err(Refused::Already) }
    }

    fn takes(&mut self, part: Part) {
        self.part = part;
        self.note(Note::Part(part));
    }

    /// What is done when everything else has failed.
    pub(super) fn final_action(&mut self, action: FinalAction, now: Tick) {
        let host = match action {
            FinalAction::None | FinalAction::StopGroup => return,
            FinalAction::StopCluster => None,
            FinalAction::Shutdown => Some(HostAction::Shutdown),
            FinalAction::Reboot => Some(HostAction::Reboot),
            FinalAction::Panic => Some(HostAction::Panic),
        };
        self.note(Note::Final(action));
        self.doomed = true;
        if host == Some(HostAction::Panic) {
            return self.tell_host(HostAction::Panic, now);
        }
        match &mut self.leaving {
            Some(leaving) => leaving.then = leaving.then.or(host),
            None => self.begin_leaving(host, None, true, now),
        }
    }

    /// Something here may still answer clients of a lost lease, and the peer waits no longer than
    /// for the fence: an orderly end would come too late (R13).
    pub(super) fn condemn(&mut self, now: Tick) {
        self.doomed = true;
        self.tell_host(HostAction::Reset, now);
    }

    fn tell_host(&mut self, action: HostAction, now: Tick) {
        self.note(Note::Host(action));
        self.steps.push_back(Step::Host { action, deadline: now.after(HOST_MAX) });
    }

    fn begin_leaving(
        &mut self,
        then: Option<HostAction>,
        request: Option<RequestId>,
        hand_over: bool,
        now: Tick,
    ) {
        let longest = self.parts.iter().map(|part| {
            let stops = part.group.settings().resources.iter().map(|r| r.stop_timeout);
            stops.fold(Span(0), Span::plus)
        });
        let longest = longest.max().unwrap_or(Span(0));
        let deadline = now.after(longest).after(LEAVE_SLACK);
        self.takes(Part::Stopped);
        self.leaving = Some(Leaving { then, request, deadline });
        self.order_all(Order::Leave { hand_over }, now);
    }

    /// Ends the stop of the cluster service when there is nothing left to wait for.
    pub(super) fn leave(&mut self, now: Tick) -> bool {
        let Some(leaving) = self.leaving else { return false };
        let over = now >= leaving.deadline;
        let gone = |index: usize| {
            let around = self.around(index, now);
            match self.parts[index].group.state() {
                State::Down => around.owner != Some(self.node) || around.released,
                State::Stuck => true,
                _ => false,
            }
        };
        if !over && !(0..self.parts.len()).all(gone) {
            return false;
        }
        self.leaving = None;
        let down = |index: &usize| self.parts[*index].group.state() != State::Down;
        let stuck: Vec<GroupIndex> = (0..self.parts.len()).filter(down).map(GroupIndex).collect();
        if let Some(request) = leaving.request {
            let result = if stuck.is_empty() { Ok(()) } else { Err(Refused::Stuck(stuck)) };
            self.reply(request, result);
        }
        if let Some(action) = leaving.then {
            self.tell_host(action, now);
        }
        true
    }
}
