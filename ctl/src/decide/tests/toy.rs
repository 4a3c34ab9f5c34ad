//! A world for two deciders. Engines carry out commands at once and keep what real ones persist;
//! the arbiter can be slow, deaf or gone; time is a number.
//! Always checked: no two engines are primary at once, a primary's record is or was the arbiter's.

use super::engines::{Links, Toys, record_of, volumes};
use crate::decide::arbitration::{Decider, Settings};
use crate::decide::event::{Event, ReadResult, RequestId, StepId, SwapResult, Verb};
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Note, Refused, Step, Waiting};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{
    BootId, ClusterId, DiskState, Epoch, Generation, GroupId, InSyncMark, LinkState, Members,
    Mirror, Need, NodeId, Nonce, Role, Span, StartId, Status, Tick, Version, VolumeId,
    VolumeRecord,
};
use std::collections::VecDeque;

pub const CLUSTER: ClusterId = ClusterId(1);
pub const GROUP: GroupId = GroupId(2);
pub const VOLUME: VolumeId = VolumeId(3);
pub const A: NodeId = NodeId::A;
pub const B: NodeId = NodeId::B;
const TIMES: Times = Times::DEFAULT;
const BEAT: u64 = 250;

#[derive(Clone)]
pub struct Node {
    pub decider: Option<Decider>,
    pub daemon: u128,
    pub engines: Toys,
    /// What a daemon keeps of its lease for the next one.
    kept: Option<Tick>,
    pub inbox: VecDeque<Event>,
    pub answering: bool,
    /// Word with which the next promotions are refused.
    pub refuse_promote: Option<&'static str>,
    /// Word with which the next attempts are refused.
    pub refuse_attempt: Option<&'static str>,
}

impl Node {
    /// The engine of the first volume.
    pub fn engine(&mut self) -> &mut Status {
        &mut self.engines.all[0].status
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub node: NodeId,
    /// Daemon that sent it: its reply reaches no other.
    pub daemon: u128,
    pub id: StepId,
    pub expected: Option<Version>,
    pub next: Option<Record>,
}

#[derive(Clone)]
pub struct World {
    pub ms: u64,
    pub nodes: [Node; 2],
    pub arbiter: Option<Record>,
    pub history: Vec<Record>,
    pub links: Links,
    pub beats: bool,
    /// Per node: requests and replies pass.
    pub reach: [bool; 2],
    /// Requests wait in `requests` instead of taking effect at once.
    pub slow: [bool; 2],
    /// Writes take effect but their replies are lost.
    pub lose_replies: [bool; 2],
    pub requests: Vec<Request>,
    pub replies: Vec<(NodeId, RequestId, Result<(), Refused>)>,
    pub progress: Vec<(NodeId, Waiting)>,
    pub notes: Vec<(NodeId, Note)>,
    pub auto: bool,
    /// Number of the last acknowledged write of each volume.
    pub acked: Vec<u64>,
    /// Steps that the deciders asked for.
    pub steps: u64,
    asked: u64,
    starts: u128,
}

pub fn slot(node: NodeId) -> usize {
    usize::from(node.to_byte()) - 1
}

pub fn at(ms: u64) -> Tick {
    Tick(Span::millis(ms).0)
}

pub fn blank(node: NodeId) -> Status {
    Status {
        boot: BootId(10 + u128::from(node.to_byte())),
        start: StartId(u128::from(node.to_byte())),
        generation: Generation(0x77),
        ..Status::at_rest(VOLUME, node)
    }
}

impl World {
    /// Both nodes up and connected, an owner, both members.
    pub fn serving(owner: NodeId) -> World {
        let mut world = World::stopped(true);
        world.ask(owner, Verb::Start { without_peer: false });
        world.run(2_000);
        assert_eq!(world.role(owner), Role::Primary);
        world.replies.clear();
        world.notes.clear();
        world
    }

    /// Both nodes up and connected, nobody owner.
    pub fn stopped(both: bool) -> World {
        let mut world = World::new();
        let members = if both { Members::BOTH } else { Members::only(A) };
        let seen = VolumeRecord {
            version: Version(1),
            epoch: Epoch(1),
            members,
            primary: None,
            generation: Generation(0x77),
            parent: Generation::NONE,
            nonce: Nonce(0x99),
            writer: A,
            since: 5,
            forced: false,
        };
        let record = record_of(&seen);
        world.arbiter = Some(record.clone());
        world.history.push(record);
        world.run(1_000);
        world
    }

    pub fn new() -> World {
        let node = |node| Node {
            decider: None,
            daemon: 0,
            engines: Toys::new(node),
            kept: None,
            inbox: VecDeque::new(),
            answering: true,
            refuse_promote: None,
            refuse_attempt: None,
        };
        let mut world = World {
            ms: 100_000,
            nodes: [node(A), node(B)],
            arbiter: None,
            history: Vec::new(),
            links: Links::new(),
            beats: true,
            reach: [true; 2],
            slow: [false; 2],
            lose_replies: [false; 2],
            requests: Vec::new(),
            replies: Vec::new(),
            progress: Vec::new(),
            notes: Vec::new(),
            auto: false,
            acked: vec![0; volumes().len()],
            steps: 0,
            asked: 0,
            starts: 100,
        };
        world.daemon_starts(A);
        world.daemon_starts(B);
        world
    }

    pub fn node(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[slot(node)]
    }
    pub fn role(&self, node: NodeId) -> Role {
        self.nodes[slot(node)].engines.role()
    }
    pub fn decider(&self, node: NodeId) -> &Decider {
        self.nodes[slot(node)].decider.as_ref().expect("daemon is up")
    }
    pub fn stored(&self) -> &Record {
        self.arbiter.as_ref().expect("a record")
    }
    /// Those of all volumes, which are the same.
    pub fn members(&self) -> Members {
        let first = self.stored().volumes[0].members;
        let same = self.stored().volumes.iter().all(|entry| entry.members == first);
        if same { first } else { Members::NONE }
    }

    pub fn daemon_starts(&mut self, node: NodeId) {
        self.starts += 1;
        let mut entropy = [7; 32];
        entropy[..16].copy_from_slice(&self.starts.to_be_bytes());
        let settings = Settings {
            node,
            cluster: CLUSTER,
            group: GROUP,
            volumes: volumes(),
            boot: self.node(node).engines.boot(),
            times: TIMES,
            entropy,
            heartbeats_from: at(self.ms),
            auto_takeover: self.auto,
        };
        let (now, daemon) = (at(self.ms), self.starts);
        let this = self.node(node);
        this.daemon = daemon;
        let mut decider = Decider::new(settings, now);
        if let (true, Some(until)) = (decider.is_seat(), this.kept) {
            decider.was_promised(until);
        }
        this.decider = Some(decider);
        this.answering = true;
        this.inbox.clear();
        this.engines.met(StartId(daemon));
    }

    pub fn daemon_dies(&mut self, node: NodeId) {
        self.node(node).decider = None;
    }

    pub fn engine_dies(&mut self, node: NodeId) {
        (0..self.node(node).engines.all.len()).for_each(|index| self.one_dies(node, index));
    }

    /// The engine of one volume dies.
    pub fn one_dies(&mut self, node: NodeId, index: usize) {
        let this = self.node(node);
        this.inbox.extend(this.engines.die(index));
    }

    /// Those that are down start.
    pub fn engine_starts(&mut self, node: NodeId) {
        for index in 0..self.node(node).engines.all.len() {
            self.starts += 1;
            let start = StartId(self.starts);
            let toys = &mut self.node(node).engines;
            if !toys.all[index].up {
                toys.start(index, start);
            }
        }
    }

    /// The host loses power: daemon, engine and everything in memory.
    pub fn host_dies(&mut self, node: NodeId) {
        self.engine_dies(node);
        self.daemon_dies(node);
        self.node(node).engines.power_off();
    }

    pub fn host_boots(&mut self, node: NodeId) {
        self.starts += 1;
        let boot = BootId(self.starts);
        self.node(node).engines.booted(boot);
        self.node(node).kept = None;
        self.engine_starts(node);
        self.daemon_starts(node);
    }

    pub fn ask(&mut self, node: NodeId, verb: Verb) -> RequestId {
        self.asked += 1;
        let request = RequestId(self.asked);
        self.node(node).inbox.push_back(Event::Operator { request, verb });
        request
    }

    pub fn answer(&self, request: RequestId) -> Option<Result<(), Refused>> {
        let mut answers = self.replies.iter().filter(|(_, id, _)| *id == request);
        let first = answers.next().map(|(_, _, result)| result.clone());
        assert!(answers.next().is_none(), "answered twice");
        first
    }

    pub fn waited_for(&self, node: NodeId, waiting: Waiting) -> bool {
        self.progress.contains(&(node, waiting))
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.ms + ms;
        self.quiesce();
        while self.ms < end {
            let next_beat = (self.ms / BEAT + 1) * BEAT;
            let mut next = next_beat.min(end);
            for node in &self.nodes {
                if let Some(due) = node.decider.as_ref().and_then(Decider::deadline) {
                    next = next.min(due.0.div_ceil(1_000_000));
                }
            }
            self.ms = next.max(self.ms + 1);
            if self.ms.is_multiple_of(BEAT) {
                self.heartbeats();
                self.write();
            }
            for node in [A, B] {
                let due = self.nodes[slot(node)].decider.as_ref().and_then(Decider::deadline);
                if due.is_some_and(|due| due <= at(self.ms)) {
                    self.node(node).inbox.push_back(Event::Wake);
                }
            }
            self.quiesce();
        }
    }

    /// Every primary tries to acknowledge a write, and does so as R1 and R4 allow.
    fn write(&mut self) {
        for index in 0..self.acked.len() {
            for node in [A, B] {
                self.write_to(index, node);
            }
        }
    }

    fn write_to(&mut self, index: usize, node: NodeId) {
        let [a, b] = &self.nodes;
        let linked = self.links.carries(index, [&a.engines, &b.engines]);
        let this = &self.nodes[slot(node)].engines.all[index];
        let engine = &this.status;
        let serves = engine.role == Role::Primary;
        let Some(record) = engine.record.filter(|_| serves) else { return };
        let mut members = record.members;
        for attempt in &engine.attempts {
            members = members.union(attempt.wanted.members);
        }
        let peer = &self.nodes[slot(node.peer())].engines.all[index].status;
        let accepts = linked && peer.epoch <= record.epoch && peer.role != Role::Primary;
        if members.contains(node.peer()) && !accepts {
            return; // Held.
        }
        let (data, acked) = (this.data, self.acked[index]);
        let newest = data.max(acked) + 1;
        let whole = record.forced || data >= acked;
        assert!(whole, "P3: {node} serves {data} of {acked} {:?}", self.notes);
        self.node(node).engines.all[index].data = newest;
        if accepts {
            self.node(node.peer()).engines.all[index].data = newest;
        }
        self.acked[index] = newest;
    }

    fn heartbeats(&mut self) {
        let now = at(self.ms);
        for node in [A, B] {
            let Some(beat) = self.nodes[slot(node)].decider.as_ref().map(Decider::beat) else {
                continue;
            };
            let peer = &mut self.nodes[slot(node.peer())];
            if !self.beats || peer.decider.is_none() {
                continue;
            }
            let answered = peer.answering;
            peer.inbox.push_back(Event::Heartbeat(beat));
            if answered {
                self.node(node).inbox.push_back(Event::HeartbeatAnswered { sent: now });
            }
        }
    }

    /// Delivers everything until nothing moves but time.
    pub fn quiesce(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            self.engines();
            for node in [A, B] {
                let now = at(self.ms);
                let this = self.node(node);
                if this.decider.is_none() {
                    this.inbox.clear();
                    continue;
                }
                if let (Some(event), Some(decider)) = (this.inbox.pop_front(), &mut this.decider) {
                    decider.handle(event, 1, now);
                    moved = true;
                }
                moved |= self.carry_out(node);
                let this = self.node(node);
                this.kept = this.decider.as_ref().and_then(|it| it.lease_to_keep(this.kept));
            }
            for node in [A, B] {
                if !self.slow[slot(node)] {
                    moved |= self.serve_requests(node);
                }
            }
            self.check();
            if !moved && self.nodes.iter().all(|node| node.inbox.is_empty()) {
                return;
            }
        }
        panic!("the world does not come to rest: {:?}", self.notes);
    }

    fn carry_out(&mut self, node: NodeId) -> bool {
        let mut moved = false;
        while let Some(step) = self.node(node).decider.as_mut().and_then(Decider::poll_step) {
            moved = true;
            self.steps += 1;
            match step {
                Step::Engine { id, volume, command } => self.command(node, id, volume, command),
                Step::Read { id } => {
                    let daemon = self.node(node).daemon;
                    self.requests.push(Request { node, daemon, id, expected: None, next: None });
                }
                Step::Swap { id, expected, next } => {
                    assert_eq!(Record::decode(&next.encode().unwrap()), Ok(next.clone()));
                    let version = expected.map_or(0, |version| version.0);
                    assert_eq!(next.version, Version(version + 1));
                    let toys = &self.nodes[slot(node)].engines;
                    assert!(toys.may_send(version, &next), "R4: not stored: {next:?}");
                    let (daemon, next) = (self.node(node).daemon, Some(next));
                    self.requests.push(Request { node, daemon, id, expected, next });
                }
                Step::AnswerHeartbeats(answering) => self.node(node).answering = answering,
                Step::AnnounceRelease(_) => {}
                Step::Reply { request, result } => self.replies.push((node, request, result)),
                Step::Progress { waiting, .. } => self.progress.push((node, waiting)),
                Step::Note(note) => self.notes.push((node, note)),
            }
        }
        moved
    }

    fn serve_requests(&mut self, node: NodeId) -> bool {
        let mine = |request: &Request| request.node == node;
        let mut moved = false;
        while let Some(index) = self.requests.iter().position(mine) {
            self.apply(index);
            moved = true;
        }
        moved
    }

    /// Lets reads pass until a conditional write of that node is on the way.
    pub fn run_to_write(&mut self, node: NodeId) {
        for _ in 0..800 {
            while let Some(read) = self.requests.iter().position(|r| r.next.is_none()) {
                self.apply(read);
                self.quiesce();
            }
            if self.requests.iter().any(|r| r.node == node && r.next.is_some()) {
                return;
            }
            self.run(10);
        }
        panic!("{node} writes nothing: {:?}", self.notes);
    }

    /// One request takes effect, in any order that a test likes, and is replied to.
    pub fn apply(&mut self, index: usize) {
        let Request { node, daemon, id, expected, next } = self.requests.remove(index);
        let heard = self.nodes[slot(node)].daemon == daemon;
        let reach = self.reach[slot(node)];
        let Some(next) = next else {
            let result = match (&self.arbiter, reach) {
                (_, false) => ReadResult::Failed,
                (Some(record), true) => ReadResult::Found(record.clone()),
                (None, true) => ReadResult::Absent,
            };
            if heard {
                self.node(node).inbox.push_back(Event::ArbiterRead { id, result });
            }
            return;
        };
        let result = if !reach {
            SwapResult::Unknown
        } else if self.arbiter.as_ref().map(|record| record.version) == expected {
            self.arbiter = Some(next.clone());
            self.history.push(next);
            SwapResult::Won
        } else {
            match &self.arbiter {
                Some(record) if record.nonce == next.nonce => SwapResult::Won,
                Some(record) => SwapResult::Lost(record.clone()),
                None => SwapResult::Unknown,
            }
        };
        if heard && !self.lose_replies[slot(node)] {
            self.node(node).inbox.push_back(Event::ArbiterSwapped { id, result });
        }
    }

    fn command(&mut self, node: NodeId, id: StepId, volume: VolumeId, command: EngineCommand) {
        let now = at(self.ms);
        let this = &mut self.nodes[slot(node)];
        let first = this.engines.all[0].status.volume == volume;
        let word = match &command {
            EngineCommand::Promote(_) => this.refuse_promote,
            EngineCommand::Attempt(_) => this.refuse_attempt,
            _ => None,
        };
        let result = match word.filter(|_| first) {
            Some(word) => Some(Err(word)),
            None => this.engines.command(volume, command, now),
        };
        if let Some(result) = result {
            let refused = result.err().map(str::to_owned);
            this.inbox.push_back(Event::EngineDone { id, refused });
        }
    }

    /// The links, and what engines make of them.
    fn engines(&mut self) {
        let now = at(self.ms);
        let [a, b] = &mut self.nodes;
        self.links.carry([&mut a.engines, &mut b.engines], self.ms, now);
        for node in self.nodes.iter_mut().filter(|node| node.decider.is_some()) {
            node.inbox.extend(node.engines.news(now));
        }
    }

    fn check(&self) {
        let [a, b] = &self.nodes;
        let forced = self.history.iter().any(|record| record.forced);
        // Of any volumes: the owner is one node for the group.
        let both = a.engines.any_serves() && b.engines.any_serves();
        assert!(!both || forced, "two primaries: {:?}", self.notes);
        let toys = a.engines.all.iter().chain(&b.engines.all);
        for toy in toys.filter(|toy| toy.status.role == Role::Primary) {
            let record = toy.status.record.expect("a primary has a record");
            let stored = self.history.iter().any(|r| r.nonce == record.nonce);
            assert!(stored || record.forced, "never the arbiter's: {record:?}");
        }
    }
}

/// Milliseconds without a link after which an engine wants a decision.
pub const LINK_LOST: u64 = 1_750;

/// What an engine makes of its link to `peer`. Resync is instant here: true when it was just made
/// equal to a primary.
pub fn follow(engine: &mut Status, peer: &Status, up: bool, cut: bool, now: Tick) -> bool {
    engine.link = if up { LinkState::Up } else { LinkState::Down };
    engine.peer_role = up.then_some(peer.role);
    engine.peer_disk = up.then_some(peer.disk);
    let record = engine.record;
    let both = record.is_some_and(|record| record.members == Members::BOTH);
    if up {
        engine.peer_heard = Some(now);
        engine.pong_sent = if engine.silent { engine.pong_sent } else { Some(now) };
        if !peer.silent {
            engine.lease_until = Some(now.after(TIMES.lease));
        }
    }
    let primary = engine.role == Role::Primary;
    engine.mirror = if primary && both && up { Mirror::InSync } else { Mirror::Idle };
    engine.need = match (primary, both) {
        (true, true) if cut => Some(Need::Shrink),
        (true, false) if up => Some(Need::Grow),
        (true, true) if engine.need == Some(Need::HandOver) => Some(Need::HandOver),
        _ => None,
    };
    if !up || peer.role != Role::Primary || primary {
        return false;
    }
    engine.generation = peer.generation;
    engine.disk = DiskState::UpToDate;
    if both && record.is_some_and(|record| record.primary == Some(engine.node.peer())) {
        let generation = engine.generation;
        engine.mark = Some(InSyncMark { generation, boot: engine.boot });
    }
    true
}

/// What of a status is worth an event when it changes: of ticks, only whether the lease is valid.
pub fn shown(engine: &Status, now: Tick) -> Status {
    let lease_until = engine.lease_until.filter(|until| *until > now).map(|_| Tick(1));
    Status { peer_heard: None, pong_sent: None, lease_until, ..engine.clone() }
}

pub fn learn(engine: &mut Status, record: VolumeRecord) -> Result<(), &'static str> {
    if let Some(seen) = engine.record {
        if seen.version > record.version {
            return Err("older-record");
        }
        if seen.version == record.version && seen.nonce != record.nonce {
            return Err("other-nonce");
        }
    }
    engine.record = Some(record);
    engine.epoch = record.epoch;
    engine.attempts.retain(|attempt| attempt.expected >= record.version);
    if record.primary == Some(engine.node.peer()) {
        engine.role = Role::Secondary;
    }
    if !record.members.contains(engine.node) {
        engine.disk = DiskState::Outdated;
        engine.mark = None;
    }
    if engine.role == Role::Primary && record.members == Members::only(engine.node) {
        engine.generation = record.generation;
    }
    Ok(())
}

pub fn promote(engine: &mut Status, record: VolumeRecord, now: Tick) -> Result<(), &'static str> {
    let same = engine.generation == record.generation
        || (engine.generation == record.parent && record.writer == engine.node);
    if record.primary != Some(engine.node) {
        return Err("not-primary-in-record");
    }
    if !record.members.contains(engine.node) {
        return Err("not-member");
    }
    if !record.forced && (engine.disk == DiskState::Outdated || !same) {
        return Err("bad-disk");
    }
    learn(engine, record)?;
    engine.role = Role::Primary;
    engine.primary_boot = engine.boot;
    if record.members == Members::only(engine.node) {
        engine.generation = record.generation;
    }
    engine.lease_until = engine.lease_until.max(Some(now));
    Ok(())
}
