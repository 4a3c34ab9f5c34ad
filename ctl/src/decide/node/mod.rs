//! Everything that one node decides: arbitration and group for each failover group, the monitors,
//! the cluster service itself. Routes events in, merges steps out with the index of whom they
//! belong to, and carries what one part must know of the others.
//! Always: a group learns of a change of its arbitration in the turn in which arbitration does; a
//! release is announced only when the group has nothing left that answers a client. Survives what
//! its parts survive.

mod around;
mod cluster;
mod dry;
mod event;
mod route;
mod view;
mod whatif;

pub use dry::{Plan, PlanStep};
pub use event::{
    ClusterVerb, Event, HostAction, KeptLease, Memory, MonitorVerb, Note, PeerState, Refused, Step,
    Verb,
};
pub use view::{GroupStatus, NodeView};
pub use whatif::{Finding, Safety, Sentence};

use super::arbitration::{self, Decider};
use super::event::{PeerBeat, RequestId};
use super::group::{self, Around, Group, Part, State};
use super::keeper::seat_of;
use super::monitor::{self, Monitor};
use super::settings::{GroupIndex, GroupSettings, MonitorSettings};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{BootId, NodeId, Span, Status, Tick, Version, VolumeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Turns that parts may need to come to rest after one event.
const TURNS_MAX: usize = 64;
/// The host must have begun to do as it is told within this.
pub const HOST_MAX: Span = Span::millis(30_000);
/// Beside the time-outs of the resources, a group has this long to be passed on before the host
/// goes: a move and a release that each wait for an arbiter that is away, and a takeover.
pub const LEAVE_SLACK: Span = Span::millis(30_000);
/// A restarted engine may serve again within this; then its group is lost.
pub const ENGINE_BACK: Span = Span::millis(10_000);
/// What could not be stored is tried again after this long, and with each request.
pub const STORE_AGAIN: Span = Span::millis(5_000);

/// What a node is opened with; never changed while it lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// Boot of this host.
    pub boot: BootId,
    /// Times of SAFETY §1.2.
    pub times: Times,
    /// Since when this daemon listens to heartbeats.
    pub heartbeats_from: Tick,
    /// Groups, with what their arbitration is opened with. Its `auto_takeover` is not used: the
    /// group decides that.
    pub groups: Vec<(GroupSettings, arbitration::Settings)>,
    /// Monitors.
    pub monitors: Vec<MonitorSettings>,
    /// Monitors report and never act.
    pub observe_only: bool,
    /// What the last daemon remembered.
    pub memory: Memory,
    /// Of each group, in the same order, what the last daemon of this boot knew of its lease; what
    /// is not there is not known.
    pub kept: Vec<KeptLease>,
}

/// Whom an answer of arbitration is for.
#[derive(Clone, Copy, Debug)]
enum Asker {
    /// The group, on its own or for an operator.
    Group,
    /// An operator, directly.
    Operator(RequestId),
}

/// One group with its arbitration.
#[derive(Clone, Debug)]
struct Part_ {
    decider: Decider,
    group: Group,
    volumes: Vec<Volume>,
    /// Answers that arbitration still owes.
    asked: BTreeMap<RequestId, Asker>,
    /// A release that waits for the group to be fenced or down.
    held_release: Option<Version>,
    kept: KeptLease,
    announced: Option<Version>,
    /// Version that the last heartbeat of the peer has named.
    peer_version: Option<Version>,
}

/// The engine of one volume, or the keeper of a group without volumes, as last heard.
#[derive(Clone, Debug)]
struct Volume {
    volume: VolumeId,
    is_seat: bool,
    status: Option<Box<Status>>,
    /// It went away and has not served since; since when it is back.
    restarted: bool,
    back_at: Option<Tick>,
}

/// The cluster service is being stopped.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    then: Option<HostAction>,
    request: Option<RequestId>,
    deadline: Tick,
}

/// Decides for one node.
#[derive(Clone, Debug)]
pub struct Node {
    node: NodeId,
    boot: BootId,
    times: Times,
    heartbeats_from: Tick,
    observe_only: bool,
    parts: Vec<Part_>,
    monitors: Vec<Monitor>,
    part: Part,
    leaving: Option<Leaving>,
    /// A final action was carried out here: nothing should be handed to this node.
    doomed: bool,
    peer: Option<(PeerState, Tick)>,
    remembered: Memory,
    /// Why what is remembered could not be stored, and when that is tried again.
    unstored: Option<(String, Tick)>,
    /// Requests that change what is remembered, and are not answered.
    storing: BTreeSet<RequestId>,
    steps: VecDeque<Step>,
    last_request: u64,
    wake: Option<Tick>,
}

impl Node {
    /// A node that knows nothing yet. Poll it at once: it begins with reads and status checks.
    pub fn new(settings: Settings, now: Tick) -> Node {
        let kept = settings.memory.boot == settings.boot;
        let memory = if kept { settings.memory } else { Memory::default() };
        let of_group = |name: &str| {
            let known = memory.groups.iter().find(|(group, _)| group == name);
            known.map(|(_, memory)| memory.clone()).unwrap_or_default()
        };
        let mut kept = settings.kept.into_iter();
        let part = |(group, arbitration): (GroupSettings, arbitration::Settings)| {
            let arbitration = arbitration::Settings { auto_takeover: false, ..arbitration };
            let kept = kept.next().unwrap_or_default();
            let volumes = volumes_of(&group);
            let known = of_group(&group.name);
            let mut decider = Decider::new(arbitration, now);
            if let (true, Some(until)) = (decider.is_seat(), kept.until) {
                decider.was_promised(until);
            }
            Part_ {
                decider,
                group: Group::new(group, settings.node, settings.times, known, now),
                volumes,
                asked: BTreeMap::new(),
                held_release: None,
                kept,
                announced: None,
                peer_version: None,
            }
        };
        let mut node = Node {
            node: settings.node,
            boot: settings.boot,
            times: settings.times,
            heartbeats_from: settings.heartbeats_from,
            observe_only: settings.observe_only,
            parts: settings.groups.into_iter().map(part).collect(),
            monitors: settings.monitors.into_iter().map(Monitor::new).collect(),
            part: memory.part,
            leaving: None,
            doomed: false,
            peer: None,
            remembered: memory,
            unstored: None,
            storing: BTreeSet::new(),
            steps: VecDeque::new(),
            last_request: 0,
            wake: None,
        };
        node.turn(0, now);
        node
    }

    /// Tells what happened. `wall_ms` is wall-clock time and only goes into records.
    pub fn handle(&mut self, event: Event, wall_ms: u64, now: Tick) {
        self.route(event, wall_ms, now);
        self.turn(wall_ms, now);
    }

    /// The next thing to do, in order; `None` when there is nothing until the next event.
    pub fn poll_step(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        let Step::Reply { request, result } = step else { return Some(step) };
        let result = match &self.unstored {
            // No answer tells of what is not stored.
            Some((cause, _)) if self.storing.contains(&request) => {
                result.and(Err(Refused::NotStored { cause: cause.clone() }))
            }
            _ => result,
        };
        self.storing.remove(&request);
        Some(Step::Reply { request, result })
    }

    /// When to call `handle` with `Event::Wake` at the latest.
    pub fn deadline(&self) -> Option<Tick> {
        let parts =
            self.parts.iter().flat_map(|part| [part.decider.deadline(), part.group.deadline()]);
        let monitors = self.monitors.iter().map(Monitor::deadline);
        parts.chain(monitors).chain([self.wake]).flatten().min()
    }

    /// What the next heartbeat says of the group, in the words of arbitration. A release is left
    /// out until the group's fast fence is confirmed or it is down (§1.2).
    pub fn beat(&self, group: GroupIndex) -> Option<PeerBeat> {
        let part = self.parts.get(group.0)?;
        let beat = part.decider.beat();
        let released = beat.released.filter(|_| part.group.may_be_released());
        Some(PeerBeat { released, ..beat })
    }

    /// What the next heartbeat says of this node.
    pub fn announce(&self) -> PeerState {
        let spoiled = self.monitors.iter().any(Monitor::spoils_node);
        PeerState {
            part: self.part,
            healthy: !self.doomed && !spoiled && self.leaving.is_none(),
            groups: self.parts.iter().map(|part| part.group.peer_group()).collect(),
        }
    }

    /// What the daemon has to keep for the next one of this boot: until when the peer has promised
    /// not to take the group over, as far as is known; `None` when nothing has to be promised. It
    /// may be kept late, since an older one only fences earlier.
    pub fn lease_to_keep(&self, group: GroupIndex) -> Option<Tick> {
        let part = self.parts.get(group.0)?;
        part.decider.lease_to_keep(part.kept.until)
    }

    /// The arbitration of a group, for its view.
    pub fn decider(&self, group: GroupIndex) -> Option<&Decider> {
        self.parts.get(group.0).map(|part| &part.decider)
    }

    /// A group.
    pub fn group(&self, group: GroupIndex) -> Option<&Group> {
        self.parts.get(group.0).map(|part| &part.group)
    }

    /// Whether a daemon with another configuration may take over now: nothing is being decided,
    /// every group has come to rest here, and what was told to rest is off.
    pub fn may_be_replaced(&self) -> bool {
        self.leaving.is_none()
            && self.parts.iter().all(|part| {
                part.asked.is_empty()
                    && !part.decider.has_open_attempt()
                    && part.group.state().is_settled()
                    && part.group.is_rested()
            })
    }

    /// Whether nobody runs the group, as far as is known here, and nothing of it is on.
    pub fn is_idle(&self, group: GroupIndex, now: Tick) -> bool {
        let down = |part: &Part_| part.group.state() == State::Down;
        let around = self.around_of(group, now);
        self.parts.get(group.0).is_some_and(down)
            && around.is_some_and(|around| around.owner.is_none())
    }

    fn note(&mut self, note: Note) {
        self.steps.push_back(Step::Note(note));
    }

    fn wake_at(&mut self, at: Tick) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    /// Lets the parts tell each other what has changed, until nothing moves.
    fn turn(&mut self, wall_ms: u64, now: Tick) {
        self.wake = None;
        for _ in 0..TURNS_MAX {
            let mut moved = false;
            for index in 0..self.parts.len() {
                moved |= self.drain_decider(index, now);
                let around = self.around(index, now);
                self.parts[index].group.handle(group::Event::Wake, &around, now);
                moved |= self.drain_group(index, wall_ms, now);
                moved |= self.drain_decider(index, now);
            }
            for index in 0..self.monitors.len() {
                let context = self.context(index, now);
                self.monitors[index].handle(monitor::Event::Wake, &context, now);
                moved |= self.drain_monitor(index, now);
            }
            moved |= self.leave(now);
            if !moved {
                break;
            }
        }
        self.release_what_is_fenced();
        self.remember(now);
        self.plan_wake(now);
        if let Some(at) = self.wake {
            self.wake = Some(at.max(now.after(Span::millis(1))));
        }
    }

    /// Moments at which what one part knows of another changes without an event.
    fn plan_wake(&mut self, now: Tick) {
        if let Some((_, heard)) = &self.peer {
            let at = heard.after(self.times.heartbeat_timeout);
            if at > now {
                self.wake_at(at);
            }
        }
        let listened = self.heartbeats_from.after(self.times.boot_grace());
        for at in [listened, self.peer_dead_at()] {
            if at > now {
                self.wake_at(at);
            }
        }
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            let online = part.group.state().is_online() || part.group.state() == State::Asking;
            let back = part.volumes.iter().filter_map(|volume| volume.back_at).min();
            let lease = self.unguarded_until(part, &part.decider.view()).filter(|_| online);
            for at in [back.map(|at| at.after(ENGINE_BACK)), lease].into_iter().flatten() {
                if at > now {
                    self.wake_at(at);
                }
            }
        }
        if let Some(leaving) = self.leaving {
            self.wake_at(leaving.deadline);
        }
        if let Some((_, at)) = self.unstored {
            self.wake_at(at);
        }
    }

    fn remember(&mut self, now: Tick) {
        let of_group = |part: &Part_| (part.group.settings().name.clone(), part.group.memory());
        let memory = Memory {
            boot: self.boot,
            part: self.part,
            groups: self.parts.iter().map(of_group).collect(),
        };
        let again = self.unstored.as_ref().is_some_and(|(_, at)| *at <= now);
        if memory != self.remembered || again {
            self.remembered = memory.clone();
            // Before all that was decided with it: no answer tells of what is not stored.
            self.steps.retain(|step| !matches!(step, Step::Remember(_)));
            self.steps.push_front(Step::Remember(memory));
        }
    }

    /// What the group at `index` sees of everything else.
    pub fn around_of(&self, group: GroupIndex, now: Tick) -> Option<Around> {
        (group.0 < self.parts.len()).then(|| self.around(group.0, now))
    }
}

fn volumes_of(group: &GroupSettings) -> Vec<Volume> {
    let volume =
        |volume, is_seat| Volume { volume, is_seat, status: None, restarted: false, back_at: None };
    match group.volumes.is_empty() {
        true => vec![volume(seat_of(group.id), true)],
        false => group.volumes.iter().map(|id| volume(*id, false)).collect(),
    }
}

#[cfg(test)]
mod tests;
