//! A world for two deciders. Engines carry out commands at once and keep what real ones persist;
//! the arbiter can be slow, deaf or gone; time is a number.
//! Always checked: no two engines are primary at once, a primary's record is or was the arbiter's.

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
    pub engine: Status,
    pub engine_up: bool,
    pub inbox: VecDeque<Event>,
    pub answering: bool,
    /// Word with which the next promotions are refused.
    pub refuse_promote: Option<&'static str>,
    /// Word with which the next attempts are refused.
    pub refuse_attempt: Option<&'static str>,
    last_sent: Option<Status>,
    /// Number of the last write on this disk.
    pub data: u64,
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
    pub link: bool,
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
    pub link_cut_at: u64,
    pub auto: bool,
    /// Number of the last acknowledged write.
    pub acked: u64,
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
        let record = Record::of_volume(CLUSTER, GROUP, VOLUME, &seen);
        world.arbiter = Some(record.clone());
        world.history.push(record);
        world.run(1_000);
        world
    }

    pub fn new() -> World {
        let node = |node| Node {
            decider: None,
            daemon: 0,
            engine: blank(node),
            engine_up: true,
            inbox: VecDeque::new(),
            answering: true,
            refuse_promote: None,
            refuse_attempt: None,
            last_sent: None,
            data: 0,
        };
        let mut world = World {
            ms: 100_000,
            nodes: [node(A), node(B)],
            arbiter: None,
            history: Vec::new(),
            link: true,
            beats: true,
            reach: [true; 2],
            slow: [false; 2],
            lose_replies: [false; 2],
            requests: Vec::new(),
            replies: Vec::new(),
            progress: Vec::new(),
            notes: Vec::new(),
            link_cut_at: 0,
            auto: false,
            acked: 0,
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
        self.nodes[slot(node)].engine.role
    }
    pub fn decider(&self, node: NodeId) -> &Decider {
        self.nodes[slot(node)].decider.as_ref().expect("daemon is up")
    }
    pub fn stored(&self) -> &Record {
        self.arbiter.as_ref().expect("a record")
    }
    pub fn members(&self) -> Members {
        self.stored().volumes[0].members
    }

    pub fn daemon_starts(&mut self, node: NodeId) {
        self.starts += 1;
        let mut entropy = [7; 32];
        entropy[..16].copy_from_slice(&self.starts.to_be_bytes());
        let settings = Settings {
            node,
            cluster: CLUSTER,
            group: GROUP,
            volumes: vec![VOLUME],
            boot: self.node(node).engine.boot,
            times: TIMES,
            entropy,
            heartbeats_from: at(self.ms),
            auto_takeover: self.auto,
        };
        let (now, daemon) = (at(self.ms), self.starts);
        let this = self.node(node);
        this.daemon = daemon;
        this.decider = Some(Decider::new(settings, now));
        this.answering = true;
        this.inbox.clear();
        this.last_sent = None;
    }

    pub fn daemon_dies(&mut self, node: NodeId) {
        self.node(node).decider = None;
    }

    pub fn engine_dies(&mut self, node: NodeId) {
        let this = self.node(node);
        this.engine_up = false;
        this.engine.role = Role::Secondary;
        this.engine.silent = false;
        this.engine.mark = None;
        this.engine.need = None;
        this.engine.pong_sent = None;
        this.engine.peer_heard = None;
        this.last_sent = None;
        this.inbox.push_back(Event::EngineGone { volume: VOLUME });
    }

    pub fn engine_starts(&mut self, node: NodeId) {
        self.starts += 1;
        let start = StartId(self.starts);
        let this = self.node(node);
        this.engine_up = true;
        this.engine.start = start;
    }

    /// The host loses power: daemon, engine and everything in memory.
    pub fn host_dies(&mut self, node: NodeId) {
        self.engine_dies(node);
        self.daemon_dies(node);
    }

    pub fn host_boots(&mut self, node: NodeId) {
        self.starts += 1;
        let boot = BootId(self.starts);
        self.node(node).engine.boot = boot;
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
        let linked = self.link && self.nodes.iter().all(|node| node.engine_up);
        for node in [A, B] {
            let engine = &self.nodes[slot(node)].engine;
            let Some(record) = engine.record.filter(|_| engine.role == Role::Primary) else {
                continue;
            };
            let mut members = record.members;
            for attempt in &engine.attempts {
                members = members.union(attempt.wanted.members);
            }
            let peer = &self.nodes[slot(node.peer())].engine;
            let accepts = linked && peer.epoch <= record.epoch && peer.role != Role::Primary;
            if members.contains(node.peer()) && !accepts {
                continue; // Held.
            }
            let newest = self.nodes[slot(node)].data.max(self.acked) + 1;
            assert!(
                record.forced || self.nodes[slot(node)].data >= self.acked,
                "P3: {node} serves {} of {} {:?}",
                self.nodes[slot(node)].data,
                self.acked,
                self.notes
            );
            self.node(node).data = newest;
            if accepts {
                self.node(node.peer()).data = newest;
            }
            self.acked = newest;
        }
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
                Step::Engine { id, command, .. } => self.command(node, id, command),
                Step::Read { id } => {
                    let daemon = self.node(node).daemon;
                    self.requests.push(Request { node, daemon, id, expected: None, next: None });
                }
                Step::Swap { id, expected, next } => {
                    assert_eq!(Record::decode(&next.encode().unwrap()), Ok(next.clone()));
                    let version = expected.map_or(0, |version| version.0);
                    assert_eq!(next.version, Version(version + 1));
                    let engine = &self.nodes[slot(node)].engine;
                    let stored = engine.attempts.iter().any(|a| a.expected.0 == version);
                    let has = engine.record.is_some_and(|seen| seen.version.0 > version);
                    assert!(stored || has || !self.nodes[slot(node)].engine_up, "R4: not stored");
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

    fn command(&mut self, node: NodeId, id: StepId, command: EngineCommand) {
        let now = at(self.ms);
        let this = &mut self.nodes[slot(node)];
        if !this.engine_up {
            return;
        }
        let engine = &mut this.engine;
        let result = match command {
            EngineCommand::Learn(record) => learn(engine, record),
            EngineCommand::Promote(record) => match this.refuse_promote {
                Some(word) => Err(word),
                None => promote(engine, record, now),
            },
            EngineCommand::Demote => {
                engine.role = Role::Secondary;
                engine.primary_boot = BootId::NONE;
                Ok(())
            }
            EngineCommand::Fence => {
                engine.role = Role::Secondary;
                Ok(())
            }
            EngineCommand::Attempt(_) if this.refuse_attempt.is_some() => {
                Err(this.refuse_attempt.unwrap_or_default())
            }
            EngineCommand::Attempt(attempt) if engine.attempts.contains(&attempt) => Ok(()),
            EngineCommand::Attempt(_) if engine.attempts.len() >= 2 => Err("too-many-attempts"),
            EngineCommand::Attempt(attempt) => {
                engine.attempts.push(attempt);
                Ok(())
            }
            EngineCommand::PrepareTakeover => {
                engine.silent = true;
                Ok(())
            }
            EngineCommand::CancelTakeover => {
                engine.silent = false;
                Ok(())
            }
            EngineCommand::Mark(mark) => {
                engine.mark = Some(mark).filter(|mark| mark.boot == engine.boot);
                Ok(())
            }
        };
        let refused = result.err().map(str::to_owned);
        this.inbox.push_back(Event::EngineDone { id, refused });
    }

    /// The link, and what engines make of it.
    fn engines(&mut self) {
        let now = at(self.ms);
        let up = self.link && self.nodes.iter().all(|node| node.engine_up);
        if up {
            self.link_cut_at = self.ms;
        }
        let cut = !up && self.ms >= self.link_cut_at + LINK_LOST;
        let before = self.nodes.each_ref().map(|node| node.engine.clone());
        let datas = self.nodes.each_ref().map(|node| node.data);
        for index in 0..2 {
            let this = &mut self.nodes[index];
            let engine = &mut this.engine;
            if !this.engine_up {
                continue;
            }
            if follow(engine, &before[1 - index], up, cut, now) {
                this.data = datas[1 - index];
            }
            let shown = shown(engine, now);
            if this.decider.is_some() && this.last_sent.as_ref() != Some(&shown) {
                this.last_sent = Some(shown);
                this.inbox.push_back(Event::Engine(Box::new(engine.clone())));
            }
        }
    }

    fn check(&self) {
        let primary = |node: &Node| node.engine.role == Role::Primary;
        let both = primary(&self.nodes[0]) && primary(&self.nodes[1]);
        let forced = self.history.iter().any(|record| record.forced);
        assert!(!both || forced, "two primaries: {:?}", self.notes);
        for node in self.nodes.iter().filter(|node| primary(node)) {
            let record = node.engine.record.expect("a primary has a record");
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
