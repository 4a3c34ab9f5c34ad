//! A world for two nodes. Resources are switches that can be told to fail or to hang; engines are
//! those of the arbitration's toys; time is a number.
//! Always checked: nothing of the group is on at two hosts, no two engines serve, whoever serves
//! does so under a record of the arbiter, a host passes a group on only with everything off, every
//! effect that is asked for has a deadline that has not passed.

use crate::decide::arbitration;
use crate::decide::event::{self, ReadResult, RequestId, StepId, SwapResult};
use crate::decide::group::{Act, GroupVerb, Outcome, State};
use crate::decide::monitor::Found;
use crate::decide::node::{
    Event, HostAction, KeptLease, Memory, Node, Note, Refused, Settings, Step, Verb,
};
use crate::decide::record::Record;
use crate::decide::settings::*;
use crate::decide::step::{self, EngineCommand};
pub use crate::decide::tests::engines::{Links, Toys, is_failed, record_of, volumes, with_volumes};
pub use crate::decide::tests::toy::{A, B, at};
use crate::decide::tests::toy::{CLUSTER, GROUP, VOLUME, slot};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{
    BootId, Epoch, Generation, Members, NodeId, Nonce, Span, StartId, Status, Tick, Version,
    VolumeId, VolumeRecord,
};
use std::collections::VecDeque;

const TIMES: Times = Times::DEFAULT;
const BEAT: u64 = 250;
pub const G: GroupIndex = GroupIndex(0);
pub const MIRROR: ResourceIndex = ResourceIndex(0);
pub const FS: ResourceIndex = ResourceIndex(1);
pub const VIP: ResourceIndex = ResourceIndex(2);
pub const APP: ResourceIndex = ResourceIndex(3);
pub const ALL: [ResourceIndex; 3] = [FS, VIP, APP];

/// What an effect on a switch does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Starts fail, and leave it off.
    Start,
    /// Stops fail, and leave it on.
    Stop,
    /// Kills report nothing and leave it on.
    Kill,
    /// No report, no effect.
    Hang,
    /// Status checks report nothing.
    Mute,
}

#[derive(Clone)]
pub struct Host {
    pub node: Option<Node>,
    pub daemon: u128,
    /// When the daemon was started, in milliseconds.
    pub daemon_at: u64,
    pub engines: Toys,
    /// What the engines say of promotions is lost.
    pub mute_promotions: bool,
    pub inbox: VecDeque<Event>,
    pub answering: bool,
    /// Per resource.
    pub on: Vec<bool>,
    pub fault: Vec<Fault>,
    /// Per monitor, what it finds.
    pub found: Vec<Found>,
    pub memory: Memory,
    /// What the daemon keeps of its lease, for the next one of the same boot.
    pub kept: Option<Tick>,
    pub host: Vec<HostAction>,
    pub up: bool,
}

impl Host {
    /// The engine of the first volume.
    pub fn engine(&mut self) -> &mut Status {
        &mut self.engines.all[0].status
    }
}

pub struct Request {
    node: NodeId,
    daemon: u128,
    id: StepId,
    expected: Option<Version>,
    next: Option<Record>,
}

pub struct World {
    pub ms: u64,
    pub hosts: [Host; 2],
    pub arbiter: Option<Record>,
    pub history: Vec<Record>,
    pub links: Links,
    pub beats: bool,
    pub reach: [bool; 2],
    pub requests: Vec<Request>,
    pub replies: Vec<(RequestId, Result<(), Refused>)>,
    /// What was done to resources, scripts that ran, and notes, in order.
    pub acts: Vec<(NodeId, Act, ResourceIndex)>,
    pub scripts: Vec<(NodeId, MonitorIndex)>,
    pub notes: Vec<(NodeId, Note)>,
    pub group: GroupSettings,
    pub monitors: Vec<MonitorSettings>,
    pub observe_only: bool,
    asked: u64,
    starts: u128,
}

pub fn resource(name: &str, kind: ResourceKind, after: &[ResourceIndex]) -> ResourceSettings {
    ResourceSettings {
        name: name.to_owned(),
        kind,
        after: after.to_vec(),
        start_timeout: Span::millis(3_000),
        stop_timeout: Span::millis(3_000),
        start_retries: 1,
        failovers_max: 1,
        start_failed: FinalAction::StopGroup,
        stop_failed: FinalAction::Shutdown,
    }
}

pub fn group() -> GroupSettings {
    GroupSettings {
        id: GROUP,
        name: "db".to_owned(),
        startup_auto: true,
        failover_auto: true,
        failback_auto: false,
        nodes: [A, B],
        volumes: volumes(),
        resources: vec![
            // Without volumes too, so that each resource has its place: it is on while the group
            // is.
            resource("mirror", ResourceKind::Mirror(VOLUME), &[]),
            resource("fs", ResourceKind::Other, &[MIRROR]),
            resource("vip", ResourceKind::Address, &[MIRROR]),
            resource("app", ResourceKind::Programs, &[FS, VIP]),
        ],
    }
}

impl World {
    /// Both nodes up, nobody owner, both members; daemons not yet started.
    pub fn with(group: GroupSettings, monitors: Vec<MonitorSettings>) -> World {
        let host = |node| Host {
            node: None,
            daemon: 0,
            daemon_at: 0,
            engines: Toys::new(node),
            mute_promotions: false,
            inbox: VecDeque::new(),
            answering: true,
            on: vec![false; group.resources.len()],
            fault: vec![Fault::None; group.resources.len()],
            found: vec![Found::Fine; monitors.len()],
            memory: Memory::default(),
            kept: None,
            host: Vec::new(),
            up: true,
        };
        let seen = VolumeRecord {
            version: Version(1),
            epoch: Epoch(1),
            members: Members::BOTH,
            primary: None,
            generation: Generation(0x77),
            parent: Generation::NONE,
            nonce: Nonce(0x99),
            writer: A,
            since: 5,
            forced: false,
        };
        let record = record_of(&seen);
        World {
            ms: 100_000,
            hosts: [host(A), host(B)],
            arbiter: Some(record.clone()),
            history: vec![record],
            links: Links::new(),
            beats: true,
            reach: [true; 2],
            requests: Vec::new(),
            replies: Vec::new(),
            acts: Vec::new(),
            scripts: Vec::new(),
            notes: Vec::new(),
            group,
            monitors,
            observe_only: false,
            asked: 0,
            starts: 100,
        }
    }

    /// Both daemons started and the group up on A by itself.
    pub fn up(group: GroupSettings, monitors: Vec<MonitorSettings>) -> World {
        let mut world = World::with(group, monitors);
        world.daemon_starts(A);
        world.daemon_starts(B);
        world.run(5_000);
        assert_eq!((world.state(A), world.state(B)), (State::Up, State::Down));
        world.forget();
        world
    }

    pub fn forget(&mut self) {
        self.acts.clear();
        self.notes.clear();
        self.replies.clear();
        self.scripts.clear();
    }

    pub fn host(&mut self, node: NodeId) -> &mut Host {
        &mut self.hosts[slot(node)]
    }
    pub fn node(&self, node: NodeId) -> &Node {
        self.hosts[slot(node)].node.as_ref().expect("daemon is up")
    }
    pub fn state(&self, node: NodeId) -> State {
        let node = self.hosts[slot(node)].node.as_ref();
        node.map_or(State::Down, |node| node.group(G).expect("a group").state())
    }
    pub fn owner(&self) -> Option<NodeId> {
        self.arbiter.as_ref().expect("a record").owner
    }
    pub fn now(&self) -> lockstep_engine::units::Tick {
        at(self.ms)
    }

    /// Which resources are on at a host.
    pub fn on(&self, node: NodeId) -> Vec<ResourceIndex> {
        let on = &self.hosts[slot(node)].on;
        (0..on.len()).filter(|index| on[*index]).map(ResourceIndex).collect()
    }

    pub fn acts_of(&self, node: NodeId) -> Vec<(Act, ResourceIndex)> {
        let mine = self.acts.iter().filter(|(who, act, _)| *who == node && *act != Act::Check);
        mine.map(|(_, act, resource)| (*act, *resource)).collect()
    }

    pub fn ask(&mut self, node: NodeId, verb: Verb) -> RequestId {
        self.asked += 1;
        let request = RequestId(self.asked);
        self.host(node).inbox.push_back(Event::Operator { request, verb });
        request
    }

    pub fn ask_group(&mut self, node: NodeId, verb: GroupVerb) -> RequestId {
        self.ask(node, Verb::Group(G, verb))
    }

    pub fn answer(&self, request: RequestId) -> Option<Result<(), Refused>> {
        let mut answers = self.replies.iter().filter(|(id, _)| *id == request);
        let first = answers.next().map(|(_, result)| result.clone());
        assert!(answers.next().is_none(), "answered twice");
        first
    }

    pub fn daemon_starts(&mut self, node: NodeId) {
        self.starts += 1;
        let mut entropy = [7; 32];
        entropy[..16].copy_from_slice(&self.starts.to_be_bytes());
        let boot = self.host(node).engines.boot();
        let arbitration = arbitration::Settings {
            node,
            cluster: CLUSTER,
            group: GROUP,
            volumes: volumes(),
            boot,
            times: TIMES,
            entropy,
            heartbeats_from: at(self.ms),
            auto_takeover: true,
        };
        let settings = Settings {
            node,
            boot,
            times: TIMES,
            heartbeats_from: at(self.ms),
            groups: vec![(self.group.clone(), arbitration)],
            monitors: self.monitors.clone(),
            observe_only: self.observe_only,
            memory: self.hosts[slot(node)].memory.clone(),
            kept: vec![KeptLease {
                until: self.hosts[slot(node)].kept,
                engine_listens: self.hosts[slot(node)].engines.up(),
            }],
        };
        let (now, ms, daemon) = (at(self.ms), self.ms, self.starts);
        let this = self.host(node);
        this.daemon = daemon;
        this.daemon_at = ms;
        this.node = Some(Node::new(settings, now));
        this.answering = true;
        this.inbox.clear();
        this.engines.met(StartId(daemon));
    }

    pub fn daemon_dies(&mut self, node: NodeId) {
        self.host(node).node = None;
        self.host(node).inbox.clear();
    }

    pub fn engine_dies(&mut self, node: NodeId) {
        (0..self.host(node).engines.all.len()).for_each(|index| self.one_dies(node, index));
    }

    /// The engine of one volume dies.
    pub fn one_dies(&mut self, node: NodeId, index: usize) {
        let this = self.host(node);
        let gone = this.engines.die(index);
        this.inbox.extend(gone.map(|event| Event::Arbitration { group: G, event }));
    }

    /// Those that are down start.
    pub fn engine_starts(&mut self, node: NodeId) {
        for index in 0..self.host(node).engines.all.len() {
            self.starts += 1;
            let start = StartId(self.starts);
            let toys = &mut self.host(node).engines;
            if !toys.all[index].up {
                toys.start(index, start);
            }
        }
    }

    pub fn host_dies(&mut self, node: NodeId) {
        self.engine_dies(node);
        self.daemon_dies(node);
        let this = self.host(node);
        this.engines.power_off();
        this.up = false;
        this.on.iter_mut().for_each(|on| *on = false);
        this.host.clear();
    }

    pub fn host_boots(&mut self, node: NodeId) {
        self.starts += 1;
        let boot = BootId(self.starts);
        self.host(node).engines.booted(boot);
        self.host(node).kept = None;
        self.host(node).up = true;
        self.engine_starts(node);
        self.daemon_starts(node);
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        self.quiesce();
        while self.ms < end {
            let mut next = ((self.ms / BEAT + 1) * BEAT).min(end);
            for host in &self.hosts {
                if let Some(due) = host.node.as_ref().and_then(Node::deadline) {
                    next = next.min(due.0.div_ceil(1_000_000));
                }
            }
            self.ms = next.max(self.ms + 1);
            if self.ms.is_multiple_of(BEAT) {
                self.heartbeats();
            }
            for node in [A, B] {
                let due = self.hosts[slot(node)].node.as_ref().and_then(Node::deadline);
                if due.is_some_and(|due| due <= at(self.ms)) {
                    self.host(node).inbox.push_back(Event::Wake);
                }
            }
            self.quiesce();
        }
    }

    pub fn run_until(&mut self, most: u64, done: impl Fn(&World) -> bool) {
        let end = self.ms + most;
        while !done(self) {
            assert!(self.ms < end, "never: {:#?}", &self.notes);
            self.run(50);
        }
    }

    fn heartbeats(&mut self) {
        let now = at(self.ms);
        for node in [A, B] {
            let Some(this) = self.hosts[slot(node)].node.as_ref() else { continue };
            let (beat, state) = (this.beat(G).expect("a group"), this.announce());
            if beat.released.is_some() {
                let killable = [VIP, APP].iter().any(|r| self.hosts[slot(node)].on[r.0]);
                assert!(!killable, "{node} has released what still answers: {:?}", self.notes);
            }
            let peer = &mut self.hosts[slot(node.peer())];
            if !self.beats || peer.node.is_none() {
                continue;
            }
            let answered = peer.answering;
            peer.inbox.push_back(Event::Peer { state, beats: vec![beat] });
            if answered {
                let event = event::Event::HeartbeatAnswered { sent: now };
                let event = Event::Arbitration { group: G, event };
                self.host(node).inbox.push_back(event);
            }
        }
    }

    /// Delivers everything until nothing moves but time.
    pub fn quiesce(&mut self) {
        for _ in 0..20_000 {
            let mut moved = false;
            self.engines();
            for node in [A, B] {
                let now = at(self.ms);
                let this = self.host(node);
                if this.node.is_none() {
                    this.inbox.clear();
                    continue;
                }
                if let (Some(event), Some(it)) = (this.inbox.pop_front(), &mut this.node) {
                    it.handle(event, 1, now);
                    moved = true;
                }
                while let Some(step) = self.host(node).node.as_mut().and_then(Node::poll_step) {
                    moved = true;
                    self.carry_out(node, step);
                }
                if let Some(it) = &self.host(node).node {
                    let kept = it.lease_to_keep(G);
                    self.host(node).kept = kept;
                }
            }
            while !self.requests.is_empty() {
                self.apply(0);
                moved = true;
            }
            self.check();
            if !moved && self.hosts.iter().all(|host| host.inbox.is_empty()) {
                return;
            }
        }
        panic!("the world does not come to rest: {:?}", self.notes);
    }

    fn carry_out(&mut self, node: NodeId, step: Step) {
        if let Some(deadline) = step.deadline() {
            assert!(deadline > at(self.ms), "an effect without time: {step:?}");
        }
        match step {
            Step::Arbitration { step, .. } => self.arbitration(node, step),
            Step::Resource { id, resource, act, .. } => self.act(node, id, resource, act),
            Step::Probe { monitor, id, .. } => {
                let found = self.hosts[slot(node)].found[monitor.0].clone();
                self.host(node).inbox.push_back(Event::Probed { monitor, id, found });
            }
            Step::Script { monitor, id, .. } => {
                self.scripts.push((node, monitor));
                self.host(node).inbox.push_back(Event::Scripted { monitor, id });
            }
            Step::Host { action, .. } => {
                self.host_dies(node);
                self.host(node).host.push(action);
            }
            Step::Remember(memory) => self.host(node).memory = memory,
            Step::Reply { request, result } => self.replies.push((request, result)),
            Step::Progress { .. } => {}
            Step::Note(note) => self.notes.push((node, note)),
        }
    }

    fn act(&mut self, node: NodeId, id: StepId, resource: ResourceIndex, act: Act) {
        self.acts.push((node, act, resource));
        let this = &mut self.hosts[slot(node)];
        let fault = this.fault[resource.0];
        let on = &mut this.on[resource.0];
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        let outcome = match (act, fault) {
            (Act::Kill, Fault::Kill)
            | (Act::Start | Act::Stop, Fault::Hang)
            | (Act::Check, Fault::Mute) => return,
            (Act::Check, _) if *on => Outcome::On,
            (Act::Check, _) => Outcome::Off,
            (Act::Start, Fault::Start) => failed("does not come up"),
            (Act::Stop, Fault::Stop) if *on => failed("does not go down"),
            (Act::Start, _) => {
                *on = true;
                Outcome::On
            }
            (Act::Stop | Act::Kill, _) => {
                *on = false;
                Outcome::Off
            }
        };
        this.inbox.push_back(Event::Resource { group: G, id, outcome });
    }

    fn arbitration(&mut self, node: NodeId, step: step::Step) {
        let daemon = self.host(node).daemon;
        match step {
            step::Step::Engine { id, volume, command } => {
                self.command(node, id, volume, command);
            }
            step::Step::Read { id } => {
                let request = Request { node, daemon, id, expected: None, next: None };
                self.requests.push(request);
            }
            step::Step::Swap { id, expected, next } => {
                let request = Request { node, daemon, id, expected, next: Some(next) };
                self.requests.push(request);
            }
            step::Step::AnswerHeartbeats(answering) => self.host(node).answering = answering,
            _ => {}
        }
    }

    fn apply(&mut self, index: usize) {
        let Request { node, daemon, id, expected, next } = self.requests.remove(index);
        let heard = self.hosts[slot(node)].daemon == daemon && self.hosts[slot(node)].up;
        let reach = self.reach[slot(node)];
        let event = match next {
            None => {
                let result = match (&self.arbiter, reach) {
                    (_, false) => ReadResult::Failed,
                    (Some(record), true) => ReadResult::Found(record.clone()),
                    (None, true) => ReadResult::Absent,
                };
                event::Event::ArbiterRead { id, result }
            }
            Some(next) => {
                let result = self.swap(node, reach, expected, next);
                event::Event::ArbiterSwapped { id, result }
            }
        };
        if heard {
            self.host(node).inbox.push_back(Event::Arbitration { group: G, event });
        }
    }

    fn swap(
        &mut self,
        node: NodeId,
        reach: bool,
        expected: Option<Version>,
        next: Record,
    ) -> SwapResult {
        if !reach {
            return SwapResult::Unknown;
        }
        let stored = self.arbiter.as_ref();
        if stored.map(|record| record.version) == expected {
            let owned = stored.and_then(|record| record.owner) == Some(node);
            if owned && next.owner != Some(node) && next.writer == node {
                let on = self.on(node);
                assert!(on.is_empty(), "{node} passes on with {on:?} on: {:?}", self.notes);
            }
            self.arbiter = Some(next.clone());
            self.history.push(next);
            return SwapResult::Won;
        }
        match stored {
            Some(record) if record.nonce == next.nonce => SwapResult::Won,
            Some(record) => SwapResult::Lost(record.clone()),
            None => SwapResult::Unknown,
        }
    }

    fn command(&mut self, node: NodeId, id: StepId, volume: VolumeId, command: EngineCommand) {
        let now = at(self.ms);
        let this = &mut self.hosts[slot(node)];
        let lost = this.mute_promotions && matches!(command, EngineCommand::Promote(_));
        let Some(result) = this.engines.command(volume, command, now) else { return };
        if lost {
            return;
        }
        let refused = result.err().map(str::to_owned);
        let event = event::Event::EngineDone { id, refused };
        this.inbox.push_back(Event::Arbitration { group: G, event });
    }

    /// The links, and what engines make of them.
    fn engines(&mut self) {
        let now = at(self.ms);
        let [a, b] = &mut self.hosts;
        self.links.carry([&mut a.engines, &mut b.engines], self.ms, now);
        for host in self.hosts.iter_mut().filter(|host| host.node.is_some()) {
            let news = host.engines.news(now).into_iter();
            host.inbox.extend(news.map(|event| Event::Arbitration { group: G, event }));
        }
    }

    fn check(&self) {
        let [a, b] = &self.hosts;
        let serves = |host: &Host| host.engines.any_serves();
        let forced = self.history.iter().any(|record| record.forced);
        assert!(forced || !(serves(a) && serves(b)), "two primaries: {:#?}", self.notes);
        let (on_a, on_b) = (self.on(A), self.on(B));
        // A mount on a fenced engine answers nobody: only what the fence kills counts.
        let answers = |on: &[ResourceIndex]| on.contains(&VIP) || on.contains(&APP);
        let twice = answers(&on_a) && answers(&on_b);
        assert!(forced || !twice, "on twice: {on_a:?} {on_b:?} {:#?}", self.notes);
        let online = |host: &Host| {
            let group = host.node.as_ref().and_then(|node| node.group(G));
            group.is_some_and(|group| group.state().is_online())
        };
        assert!(forced || !(online(a) && online(b)), "online twice: {:#?}", self.notes);
        for node in [A, B] {
            let host = &self.hosts[slot(node)];
            if online(host) && host.inbox.is_empty() {
                self.check_right(node);
            }
        }
    }

    /// R13: online only as the owner, and alone or with a lease.
    fn check_right(&self, node: NodeId) {
        let around = self.node(node).around_of(G, self.now()).expect("a group");
        let view = self.node(node).decider(G).expect("a group").view();
        assert_eq!(around.owner, Some(node), "{around:?}");
        let kept = self.hosts[slot(node)].kept;
        let over = view.lease_until.is_some_and(|until| Some(until).max(kept) <= Some(self.now()));
        let over = over && self.ms > self.hosts[slot(node)].daemon_at + 1_000;
        assert!(around.alone || !(around.fenced || over), "no lease: {view:?}");
    }
}
