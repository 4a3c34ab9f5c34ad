//! Who gets which event, and whose step is whose.

use super::event::{Event, MonitorVerb, Note, Refused, Step, Verb};
use super::{Asker, Node, STORE_AGAIN};
use crate::decide::event::{self, RequestId};
use crate::decide::group::{self, GroupVerb, Order};
use crate::decide::monitor;
use crate::decide::settings::{FinalAction, GroupIndex, MonitorIndex, Target};
use crate::decide::step;
use lockstep_engine::units::Tick;

/// Requests that a group makes of arbitration are numbered from here; operators are far below.
const OWN_REQUESTS: u64 = 1 << 63;

impl Node {
    pub(super) fn route(&mut self, event: Event, wall_ms: u64, now: Tick) {
        match event {
            Event::Arbitration { group, event } => self.arbitration(group, event, wall_ms, now),
            Event::Peer { state, beats } => {
                self.peer = Some((state, now));
                for (part, beat) in self.parts.iter_mut().zip(beats) {
                    part.peer_version = beat.version;
                    part.decider.handle(event::Event::Heartbeat(beat), wall_ms, now);
                }
            }
            Event::Resource { group, id, outcome } => {
                self.tell_group(group.0, group::Event::Done { id, outcome }, now);
            }
            Event::Probed { monitor, id, found } => {
                self.tell_monitor(monitor, monitor::Event::Probed { id, found }, now);
            }
            Event::Scripted { monitor, id } => {
                self.tell_monitor(monitor, monitor::Event::Scripted { id }, now);
            }
            Event::Rest { resources } => {
                for (group, resource) in resources {
                    self.tell_group(group.0, group::Event::Order(Order::Rest(resource)), now);
                }
            }
            Event::LetGo => {
                for index in 0..self.parts.len() {
                    self.tell_group(index, group::Event::Order(Order::LetGo), now);
                }
            }
            Event::HostFailed { cause } => self.note(Note::HostFailed(cause)),
            Event::Remembered { failed } => {
                self.unstored = failed.map(|cause| (cause, now.after(STORE_AGAIN)));
            }
            Event::Operator { request, verb } => {
                if verb.is_remembered() {
                    self.storing.insert(request);
                    if let Some((_, at)) = &mut self.unstored {
                        *at = now;
                    }
                }
                self.operator(request, verb, wall_ms, now);
            }
            Event::Wake => {
                for part in &mut self.parts {
                    if part.decider.deadline().is_some_and(|at| at <= now) {
                        part.decider.handle(event::Event::Wake, wall_ms, now);
                    }
                }
            }
        }
    }

    fn arbitration(&mut self, group: GroupIndex, event: event::Event, wall_ms: u64, now: Tick) {
        let Some(part) = self.parts.get_mut(group.0) else { return };
        match &event {
            event::Event::Engine(status) => {
                for volume in part.volumes.iter_mut().filter(|v| v.volume == status.volume) {
                    volume.see(Some(status), now);
                }
            }
            event::Event::EngineGone { volume: gone } => {
                for volume in part.volumes.iter_mut().filter(|v| v.volume == *gone) {
                    volume.see(None, now);
                }
            }
            _ => {}
        }
        part.decider.handle(event, wall_ms, now);
    }

    fn tell_group(&mut self, index: usize, event: group::Event, now: Tick) {
        if index < self.parts.len() {
            let around = self.around(index, now);
            self.parts[index].group.handle(event, &around, now);
        }
    }

    fn tell_monitor(&mut self, monitor: MonitorIndex, event: monitor::Event, now: Tick) {
        if monitor.0 < self.monitors.len() {
            let context = self.context(monitor.0, now);
            self.monitors[monitor.0].handle(event, &context, now);
        }
    }

    fn operator(&mut self, request: RequestId, verb: Verb, wall_ms: u64, now: Tick) {
        let result = match verb {
            Verb::Cluster(verb) => return self.cluster(request, verb, now),
            Verb::Group(group, verb) if group.0 < self.parts.len() => {
                let event = group::Event::Operator { request, verb };
                return self.tell_group(group.0, event, now);
            }
            Verb::Mirror(group, verb) if group.0 < self.parts.len() => {
                return self.mirror(request, group, verb, wall_ms, now);
            }
            Verb::Group(..) | Verb::Mirror(..) => Err(Refused::NoGroup),
            Verb::Monitor(monitor, _) if monitor.0 >= self.monitors.len() => {
                Err(Refused::NoMonitor)
            }
            Verb::Monitor(monitor, verb) => {
                let event = match verb {
                    MonitorVerb::Suspend => monitor::Event::Suspend,
                    MonitorVerb::Resume => monitor::Event::Resume,
                    MonitorVerb::Fail(on) => monitor::Event::Fail(on),
                };
                self.tell_monitor(monitor, event, now);
                Ok(())
            }
        };
        self.reply(request, result);
    }

    /// Verbs of the mirror that change who owns the group go through the group.
    fn mirror(
        &mut self,
        request: RequestId,
        group: GroupIndex,
        verb: event::Verb,
        wall_ms: u64,
        now: Tick,
    ) {
        let online = self.runs_here(group);
        if verb == event::Verb::Takeover && online {
            // The group's word for it would pass the group on.
            return self.reply(request, Err(Refused::Group(group::Refused::AlreadyUp)));
        }
        if let Some(verb) = group_verb(verb) {
            return self.tell_group(group.0, group::Event::Operator { request, verb }, now);
        }
        if online && verb != event::Verb::ForcePromote {
            return self.reply(request, Err(Refused::GroupRuns));
        }
        if verb == event::Verb::ForcePromote {
            self.tell_group(group.0, group::Event::Order(Order::Want), now);
        }
        self.ask_arbitration(group.0, verb, Asker::Operator(request), wall_ms, now);
    }

    /// Whether a group is online here.
    pub(super) fn runs_here(&self, group: GroupIndex) -> bool {
        self.parts.get(group.0).is_some_and(|part| part.group.state().is_online())
    }

    fn ask_arbitration(
        &mut self,
        index: usize,
        verb: event::Verb,
        asker: Asker,
        wall_ms: u64,
        now: Tick,
    ) {
        self.last_request += 1;
        let request = RequestId(OWN_REQUESTS + self.last_request);
        let part = &mut self.parts[index];
        part.asked.insert(request, asker);
        part.decider.handle(event::Event::Operator { request, verb }, wall_ms, now);
    }

    pub(super) fn reply(&mut self, request: RequestId, result: Result<(), Refused>) {
        self.steps.push_back(Step::Reply { request, result });
    }

    pub(super) fn drain_decider(&mut self, index: usize, now: Tick) -> bool {
        let mut moved = false;
        while let Some(step) = self.parts[index].decider.poll_step() {
            moved = true;
            match step {
                step::Step::Reply { request, result } => {
                    self.arbitrated(index, request, result, now)
                }
                step::Step::Progress { request, waiting } => {
                    let part = &self.parts[index];
                    let asker = match part.asked.get(&request) {
                        Some(Asker::Group) => part.group.request(),
                        Some(Asker::Operator(asker)) => Some(*asker),
                        None => Some(request),
                    };
                    if let Some(request) = asker {
                        self.steps.push_back(Step::Progress { request, waiting });
                    }
                }
                step::Step::AnnounceRelease(version) => {
                    self.parts[index].held_release = version;
                }
                step::Step::Note(note) => self.note(Note::Arbitration(GroupIndex(index), note)),
                step => {
                    self.steps.push_back(Step::Arbitration { group: GroupIndex(index), step });
                }
            }
        }
        moved
    }

    fn arbitrated(
        &mut self,
        index: usize,
        request: RequestId,
        result: Result<(), step::Refused>,
        now: Tick,
    ) {
        match self.parts[index].asked.remove(&request) {
            Some(Asker::Group) => {
                self.tell_group(index, group::Event::Arbitrated { result }, now);
            }
            Some(Asker::Operator(request)) => self.reply_for_arbitration(request, result),
            None => self.reply_for_arbitration(request, result),
        }
    }

    fn reply_for_arbitration(&mut self, request: RequestId, result: Result<(), step::Refused>) {
        let result = result.map_err(|why| Refused::Group(group::Refused::Arbitration(why)));
        self.reply(request, result);
    }

    /// A release is passed on to the heartbeats when the group has nothing left to answer with.
    pub(super) fn release_what_is_fenced(&mut self) {
        for (index, part) in self.parts.iter_mut().enumerate() {
            let ready = part.held_release.is_none() || part.group.may_be_released();
            if ready && part.held_release != part.announced {
                part.announced = part.held_release;
                let step = step::Step::AnnounceRelease(part.announced);
                self.steps.push_back(Step::Arbitration { group: GroupIndex(index), step });
            }
        }
    }

    pub(super) fn drain_group(&mut self, index: usize, wall_ms: u64, now: Tick) -> bool {
        let mut moved = false;
        let group = GroupIndex(index);
        while let Some(step) = self.parts[index].group.poll_step() {
            moved = true;
            match step {
                group::Step::Effect { id, resource, act, deadline } => {
                    self.steps.push_back(Step::Resource { group, id, resource, act, deadline });
                }
                group::Step::Arbitrate { verb } => {
                    self.ask_arbitration(index, verb, Asker::Group, wall_ms, now);
                }
                group::Step::Final(action) => self.final_action(action, now),
                group::Step::Condemn => self.condemn(now),
                group::Step::Reply { request, result } => {
                    self.reply(request, result.map_err(Refused::Group));
                }
                group::Step::Note(note) => self.note(Note::Group(group, note)),
            }
        }
        moved
    }

    pub(super) fn drain_monitor(&mut self, index: usize, now: Tick) -> bool {
        let mut moved = false;
        let monitor = MonitorIndex(index);
        let target = self.monitors[index].settings().recovery.target;
        while let Some(step) = self.monitors[index].poll_step() {
            moved = true;
            match step {
                monitor::Step::Probe { id, deadline } => {
                    self.steps.push_back(Step::Probe { monitor, id, deadline });
                }
                monitor::Step::Script { id, deadline } => {
                    self.steps.push_back(Step::Script { monitor, id, deadline });
                }
                monitor::Step::Reactivate => {
                    let resource = match target {
                        Some(Target::Resource(_, resource)) => Some(resource),
                        _ => None,
                    };
                    self.order(target, Order::Reactivate(resource), now);
                }
                monitor::Step::FailOver => self.order(target, Order::FailOver, now),
                monitor::Step::Final(FinalAction::StopGroup) => {
                    self.order(target, Order::StopHere, now);
                }
                monitor::Step::Final(action) => self.final_action(action, now),
                monitor::Step::Note(note) => self.note(Note::Monitor(monitor, note)),
            }
        }
        moved
    }

    /// Orders every group of a target.
    fn order(&mut self, target: Option<Target>, order: Order, now: Tick) {
        let groups = match target {
            None => 0..0,
            Some(Target::Resource(group, _) | Target::Group(group)) => group.0..group.0 + 1,
            Some(Target::Node) => 0..self.parts.len(),
        };
        for index in groups {
            self.tell_group(index, group::Event::Order(order), now);
        }
    }

    pub(super) fn order_all(&mut self, order: Order, now: Tick) {
        self.order(Some(Target::Node), order, now);
    }
}

/// The group's word for a verb of the mirror.
pub(super) fn group_verb(verb: event::Verb) -> Option<GroupVerb> {
    match verb {
        event::Verb::Start { without_peer } => Some(GroupVerb::Start { without_peer }),
        event::Verb::Takeover => Some(GroupVerb::Failover),
        event::Verb::Move => Some(GroupVerb::Move),
        event::Verb::Stop => Some(GroupVerb::Stop),
        event::Verb::Create { .. } | event::Verb::ForcePromote | event::Verb::Release => None,
    }
}
