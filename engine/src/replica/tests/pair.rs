//! The kit: a pair of replicas, disks that serve one transfer after another at a rate, a link that
//! does the same, and a client that writes at its own pace. Nothing is drawn at random and no byte
//! is stored: this is about what is sent when.
//! Always: a frame of a session that is over never arrives.

use crate::format::bitmap::Bitmap;
use crate::format::intent_log::IntentLog;
use crate::format::layout::Layout;
use crate::format::recover::{Recovered, TailVerdict};
use crate::format::superblock::Superblock;
use crate::limits::{
    ATTEMPTS_MAX, HISTORY_MAX, INTENT_REGIONS_DEFAULT, SYNC_DELAY_TARGET, SYNC_OPS_MAX,
    SYNC_RATE_FLOOR, Times,
};
use crate::replica::Replica;
use crate::replica::action::{Action, Answered};
use crate::replica::event::{BufId, CmdId, Command, DiskError, Event, OpId, ReqId, Request};
use crate::replica::settings::{AckMode, Settings};
use crate::units::*;
use crate::wire::message::Message;
use crate::wire::{FlowKind, Kind};
use std::collections::{BTreeMap, HashMap};

/// What an engine of the pair has under way.
pub struct Side {
    pub replica: Replica,
    disk_free: Tick,
    link_free: [Tick; 2],
    wake: Option<Tick>,
}

/// Something to come.
enum What {
    Tell { to: usize, event: Box<Event> },
    Wake { to: usize },
    Client,
}

/// How fast things are.
#[derive(Clone, Copy)]
pub struct Speeds {
    /// Bytes a second of each disk.
    pub disk: u64,
    /// Time of a transfer that finds its disk idle, on top.
    pub disk_delay: Span,
    /// Time that a flush takes on top of that.
    pub flush_delay: Span,
    /// Bytes a second of each direction of the link.
    pub link: u64,
    /// One way.
    pub link_delay: Span,
}

impl Default for Speeds {
    fn default() -> Speeds {
        let (disk_delay, link_delay) = (Span(500_000), Span(400_000));
        let flush_delay = Span(0);
        Speeds { disk: 400 << 20, disk_delay, flush_delay, link: 1 << 30, link_delay }
    }
}

/// Writes of a client, one every `every`, at most `depth` at once, over `blocks` in turn.
#[derive(Clone, Copy)]
pub struct Load {
    pub every: Span,
    pub len: u32,
    pub depth: usize,
    pub first: u64,
    pub blocks: u64,
    /// Blocks between the starts of two writes.
    pub step: u64,
}

/// Both nodes: 0 is a, the primary, 1 is b.
pub struct Pair {
    pub now: Tick,
    pub sides: [Side; 2],
    pub speeds: Speeds,
    pub load: Option<Load>,
    /// Time that each answered write took, with the tick of its answer.
    pub took: Vec<(Tick, Span)>,
    /// Messages of a kind that are on their way, and the most that ever were.
    pub flying: HashMap<Kind, (usize, usize)>,
    /// Resync bytes that arrived, with the tick.
    pub synced: Vec<(Tick, u32)>,
    /// Flushes of node b's disk: when each began and when it ends.
    pub flushed: Vec<(Tick, Tick)>,
    /// Blocks that a side can't read until it writes them.
    pub unreadable: Vec<(usize, BlockIndex)>,
    /// The cluster partition of node a refuses.
    pub metadata_fails: bool,
    /// The last hello that a side sent.
    pub hellos: [Option<Message>; 2],
    queue: BTreeMap<(Tick, u64), What>,
    serial: u64,
    session: Option<Session>,
    issued: HashMap<ReqId, Tick>,
    turn: u64,
}

const GENERATION: Generation = Generation(7);

fn superblock(node: NodeId, size: u64) -> Superblock {
    Superblock {
        sequence: 1,
        cluster: ClusterId(1),
        group: GroupId(2),
        volume: VolumeId(3),
        node,
        size,
        intent_regions: INTENT_REGIONS_DEFAULT,
        pair_tag: PairTag(4),
        tail_offset: size,
        serial: String::new(),
        life: 1,
        life_heard: 0,
        disk: DiskState::UpToDate,
        needs_full: false,
        generation: GENERATION,
        base: GENERATION,
        history: [Generation::NONE; HISTORY_MAX],
        record: None,
        attempts: [None; ATTEMPTS_MAX],
        mark: None,
        primary_boot: BootId::NONE,
        diverged: false,
    }
}

/// A copy that a stopped engine left, with these blocks dirty.
fn left(superblock: Superblock, dirty: std::ops::Range<u64>) -> Recovered {
    let size = superblock.size;
    let layout = Layout::new(size, INTENT_REGIONS_DEFAULT);
    let mut bitmap = Bitmap::new(layout, superblock.volume);
    bitmap.set(dirty);
    Recovered {
        heal: None,
        log: IntentLog::new(layout, superblock.volume),
        bitmap,
        tail: TailVerdict::Matches,
        device_serial: String::new(),
        findings: Vec::new(),
        superblock,
    }
}

fn record(version: u64, members: Members) -> VolumeRecord {
    VolumeRecord {
        version: Version(version),
        epoch: Epoch(1),
        members,
        primary: Some(NodeId::A),
        generation: GENERATION,
        parent: GENERATION,
        nonce: Nonce(u128::from(version)),
        writer: NodeId::A,
        since: 0,
        forced: false,
    }
}

/// Settings of both, as the defaults are.
pub fn settings() -> Settings {
    Settings {
        boot: BootId(10),
        start: StartId(20),
        ack: AckMode::Written,
        sync_digests: false,
        sync_window: SYNC_OPS_MAX,
        sync_rate_max: None,
        sync_rate_floor: SYNC_RATE_FLOOR,
        sync_delay_target: SYNC_DELAY_TARGET,
        intent_idle: crate::limits::INTENT_IDLE,
        times: Times::DEFAULT,
    }
}

impl Pair {
    /// Node a serves alone; node b has missed `dirty`, and says so itself if `told_by_b`.
    pub fn apart(size: u64, dirty: std::ops::Range<u64>, told_by_b: bool, set: &Settings) -> Pair {
        let found = |node| {
            let mine = told_by_b == (node == NodeId::B);
            left(superblock(node, size), if mine { dirty.clone() } else { 0..0 })
        };
        Pair::over([found(NodeId::A), found(NodeId::B)], Members::only(NodeId::A), set)
    }

    /// Both are members. The engine of node a was restarted, with intent open in `dirty`; node b
    /// holds the mark.
    pub fn restarted(size: u64, dirty: std::ops::Range<u64>, set: &Settings) -> Pair {
        let mark = Some(InSyncMark { generation: GENERATION, boot: BootId(12) });
        let a = left(superblock(NodeId::A, size), dirty);
        let b = left(Superblock { mark, ..superblock(NodeId::B, size) }, 0..0);
        Pair::over([a, b], Members::BOTH, set)
    }

    /// Both are members, and node a has written nothing. Node b was started anew and has `dirty` of
    /// its own, which it may not have made equal; it holds the mark, or its host was rebooted.
    pub fn reborn(size: u64, dirty: std::ops::Range<u64>, rebooted: bool, set: &Settings) -> Pair {
        let mark = InSyncMark { generation: GENERATION, boot: BootId(12) };
        let mark = (!rebooted).then_some(mark);
        let a = left(superblock(NodeId::A, size), 0..0);
        let b = left(Superblock { mark, ..superblock(NodeId::B, size) }, dirty);
        Pair::over([a, b], Members::BOTH, set)
    }

    /// Node a serves alone and remembers a later life of node b's copy, which was set back to what
    /// it once was.
    pub fn set_back(size: u64, set: &Settings) -> Pair {
        let own = Superblock { life_heard: 9, ..superblock(NodeId::A, size) };
        let found = [left(own, 0..0), left(superblock(NodeId::B, size), 0..0)];
        Pair::over(found, Members::only(NodeId::A), set)
    }

    fn over(found: [Recovered; 2], members: Members, set: &Settings) -> Pair {
        let sides = found.map(|found| {
            let node = found.superblock.node;
            let set = Settings { boot: BootId(10 + u128::from(node.to_byte())), ..set.clone() };
            let replica = Replica::open(set, found, Tick(0)).expect("a sound copy");
            Side { replica, disk_free: Tick(0), link_free: [Tick(0); 2], wake: None }
        });
        let mut pair = Pair {
            now: Tick(0),
            sides,
            speeds: Speeds::default(),
            load: None,
            took: Vec::new(),
            flying: HashMap::new(),
            synced: Vec::new(),
            flushed: Vec::new(),
            unreadable: Vec::new(),
            metadata_fails: false,
            hellos: [None, None],
            queue: BTreeMap::new(),
            serial: 0,
            session: None,
            issued: HashMap::new(),
            turn: 0,
        };
        let record = record(2, members);
        pair.tell(0, Event::Command { cmd: CmdId(1), what: Command::Promote { record } });
        pair.tell(1, Event::Command { cmd: CmdId(1), what: Command::Learn { record } });
        pair.run(Span::millis(50));
        assert_eq!(pair.status(0).role, Role::Primary);
        pair
    }

    /// Both are members and in sync; node a serves.
    pub fn mirrored(size: u64, set: &Settings) -> Pair {
        let mut pair = Pair::apart(size, 0..0, false, set);
        pair.connect();
        pair.run(Span::millis(100));
        assert_eq!(pair.status(0).need, Some(Need::Grow));
        let what = Command::Learn { record: record(3, Members::BOTH) };
        pair.tell(0, Event::Command { cmd: CmdId(2), what });
        pair.run(Span::millis(100));
        assert_eq!(pair.status(0).mirror, Mirror::InSync);
        pair
    }

    /// Node a learns that it goes on alone.
    pub fn alone(&self) -> Event {
        let what = Command::Learn { record: record(4, Members::only(NodeId::A)) };
        Event::Command { cmd: CmdId(3), what }
    }

    /// Node b takes over, alone, with a record of that version; an operator may have forced it.
    pub fn take_over(&mut self, version: u64, forced: bool) {
        let next = VolumeRecord {
            epoch: Epoch(2),
            primary: Some(NodeId::B),
            generation: Generation(8),
            nonce: Nonce(800 + u128::from(version)),
            writer: NodeId::B,
            forced,
            ..record(version, Members::only(NodeId::B))
        };
        let what = Command::Promote { record: next };
        self.tell(1, Event::Command { cmd: CmdId(5), what });
    }

    /// An operator gives up the copy of a side.
    pub fn discard(&mut self, side: usize) {
        self.tell(side, Event::Command { cmd: CmdId(6), what: Command::Discard });
    }

    /// Node a stores the attempt to go on alone.
    pub fn attempt_alone(&mut self) {
        let wanted = record(4, Members::only(NodeId::A));
        let attempt = OpenAttempt { expected: Version(3), wanted };
        let what = Command::Attempt { attempt };
        self.tell(0, Event::Command { cmd: CmdId(4), what });
    }

    /// A new session begins on both sides.
    pub fn connect(&mut self) {
        let session = Session(100 + u128::from(self.serial));
        self.session = Some(session);
        self.flying.values_mut().for_each(|(flying, _)| *flying = 0);
        for to in [0, 1] {
            let peer = if to == 0 { NodeId::B } else { NodeId::A };
            let peer_boot = BootId(10 + u128::from(peer.to_byte()));
            let peer_start = StartId(20);
            self.tell(to, Event::LinkUp { session, peer, peer_boot, peer_start });
        }
    }

    /// The session ends on both sides; what was on its way is gone.
    pub fn cut(&mut self) {
        let Some(session) = self.session.take() else { return };
        for to in [0, 1] {
            self.tell(to, Event::LinkDown { session });
        }
    }

    pub fn status(&self, side: usize) -> Status {
        self.sides[side].replica.status()
    }

    /// Most messages of a kind that were on their way at once.
    pub fn most(&self, kind: Kind) -> usize {
        self.flying.get(&kind).map_or(0, |(_, most)| *most)
    }

    /// Messages of a kind that were sent in this session and have not arrived.
    pub fn on_the_way(&self, kind: Kind) -> usize {
        self.flying.get(&kind).map_or(0, |(flying, _)| *flying)
    }

    fn later(&mut self, at: Tick, what: What) {
        self.serial += 1;
        self.queue.insert((at.max(self.now), self.serial), what);
    }

    /// Starts the client.
    pub fn begin(&mut self, load: Load) {
        self.load = Some(load);
        self.later(self.now, What::Client);
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Span) {
        let until = self.now.after(span);
        while let Some(next) = self.queue.first_entry() {
            let (at, _) = *next.key();
            if at > until {
                break;
            }
            self.now = at;
            match next.remove() {
                What::Tell { to, event } => self.tell(to, *event),
                What::Client => self.client(),
                What::Wake { to } => {
                    if self.sides[to].wake == Some(at) {
                        self.sides[to].wake = None;
                        self.tell(to, Event::Wake);
                    }
                }
            }
        }
        self.now = until;
    }

    fn client(&mut self) {
        let Some(load) = self.load else { return };
        if self.issued.len() < load.depth {
            self.turn += 1;
            let places = load.blocks / load.step;
            let block = load.first + (self.turn % places) * load.step;
            let req = ReqId(self.turn);
            self.issued.insert(req, self.now);
            let at = Extent::new(block * BLOCK_BYTES, load.len);
            let what = Request::Write { at, buf: BufId(1), fua: false };
            self.tell(0, Event::Request { req, what });
        }
        self.later(self.now.after(load.every), What::Client);
    }

    /// A client of node a asks for something.
    pub fn request(&mut self, req: u64, what: Request) {
        self.issued.insert(ReqId(req), self.now);
        self.tell(0, Event::Request { req: ReqId(req), what });
    }

    /// A frame of the other side arrives at one.
    pub fn frame(&mut self, to: usize, message: Message) {
        let session = self.session.expect("a session");
        self.flying.entry(Kind::of(&message)).or_default().0 += 1;
        self.tell(to, Event::Frame { session, epoch: Epoch(1), message, buf: None });
    }

    /// Tells one side what happened and carries out what it asks for.
    pub fn tell(&mut self, to: usize, event: Event) {
        if let Event::Frame { session, message, .. } = &event {
            if self.session != Some(*session) {
                return;
            }
            if let Some((flying, _)) = self.flying.get_mut(&Kind::of(message)) {
                *flying -= 1;
            }
            if let Message::SyncWrite { at, .. } = message {
                self.synced.push((self.now, at.len));
            }
        }
        self.sides[to].replica.handle(event, self.now);
        while let Some(action) = self.sides[to].replica.poll_action() {
            self.carry_out(to, action);
        }
        let side = &mut self.sides[to];
        if let Some(at) = side.replica.deadline()
            && side.wake.is_none_or(|wake| at < wake)
        {
            side.wake = Some(at.max(self.now));
            self.later(at, What::Wake { to });
        }
    }

    /// When a transfer of `len` bytes ends that starts now.
    fn disk(&mut self, to: usize, len: u64) -> Tick {
        let took = Span(len * 1_000_000_000 / self.speeds.disk);
        let side = &mut self.sides[to];
        side.disk_free = side.disk_free.max(self.now).after(took);
        side.disk_free.after(self.speeds.disk_delay)
    }

    fn disk_op(&mut self, to: usize, op: OpId, len: u64) {
        let at = self.disk(to, len);
        self.done(to, op, at);
    }

    fn done(&mut self, to: usize, op: OpId, at: Tick) {
        let event = Box::new(Event::DiskDone { op, result: Ok(()) });
        self.later(at, What::Tell { to, event });
    }

    fn carry_out(&mut self, to: usize, action: Action) {
        match action {
            Action::DiskRead { op, at, .. } => {
                let bad = |(side, block): &(usize, BlockIndex)| {
                    *side == to && Extent::of_blocks(*block, 1).overlaps(at)
                };
                let failed = self.unreadable.iter().any(bad);
                let ended = self.disk(to, u64::from(at.len));
                let result = if failed { Err(DiskError { errno: 5 }) } else { Ok(()) };
                let event = Box::new(Event::DiskDone { op, result });
                self.later(ended, What::Tell { to, event });
            }
            Action::DiskWrite { op, at, .. } => {
                self.unreadable.retain(|(side, block)| {
                    *side != to || !Extent::of_blocks(*block, 1).overlaps(at)
                });
                self.disk_op(to, op, u64::from(at.len));
            }
            Action::DiskZero { op, .. } => self.disk_op(to, op, 4096),
            Action::DiskFlush { op } => {
                let at = self.disk(to, 4096).after(self.speeds.flush_delay);
                if to == 1 {
                    self.flushed.push((self.now, at));
                }
                self.done(to, op, at);
            }
            // The cluster partition is another device.
            Action::MetaWrite { op, .. } if to == 0 && self.metadata_fails => {
                let event = Event::DiskDone { op, result: Err(DiskError { errno: 5 }) };
                self.later(self.now, What::Tell { to, event: Box::new(event) });
            }
            Action::MetaWrite { op, .. } | Action::TailWrite { op, .. } => {
                let at = self.now.after(self.speeds.disk_delay);
                self.done(to, op, at);
            }
            Action::Digest { op, at, .. } => {
                let blocks = usize::try_from(u64::from(at.len) / BLOCK_BYTES).unwrap();
                let digests = vec![Digest::default(); blocks].into_boxed_slice();
                let event = Box::new(Event::DigestsDone { op, digests });
                self.later(self.now.after(Span(50_000)), What::Tell { to, event });
            }
            Action::Send { session, epoch, message, buf, .. } => {
                self.send(1 - to, session, epoch, message, buf.is_some());
            }
            Action::Answer { req, result } => {
                assert_eq!(result, Answered::Ok, "nothing fails here");
                let since = self.issued.remove(&req).expect("an answer to a request");
                self.took.push((self.now, self.now.since(since)));
            }
            Action::DropLink { .. } => self.cut(),
            _ => {}
        }
    }

    fn send(&mut self, to: usize, session: Session, epoch: Epoch, message: Message, data: bool) {
        if self.session != Some(session) {
            return;
        }
        let kind = Kind::of(&message);
        if kind == Kind::Hello {
            self.hellos[1 - to] = Some(message.clone());
        }
        let bytes = match &message {
            Message::Write { at, .. } | Message::SyncWrite { at, .. } => u64::from(at.len),
            Message::Bits { words, .. } => words.len() as u64 * 8,
            _ => 100,
        };
        let (flying, most) = self.flying.entry(kind).or_default();
        *flying += 1;
        *most = (*most).max(*flying);
        let took = Span(bytes * 1_000_000_000 / self.speeds.link);
        // Control has a flow of its own; each flow keeps its order.
        let flow = usize::from(kind.flow() == FlowKind::Data);
        let free = &mut self.sides[1 - to].link_free[flow];
        *free = (*free).max(self.now).after(took);
        let at = *free;
        let buf = data.then_some(BufId(2));
        let event = Box::new(Event::Frame { session, epoch, message, buf });
        self.later(at.after(self.speeds.link_delay), What::Tell { to, event });
    }

    /// Mean time of the writes that were answered from then on.
    pub fn mean_since(&self, from: Tick) -> Span {
        let took: Vec<u64> =
            self.took.iter().filter(|(at, _)| *at >= from).map(|(_, took)| took.0).collect();
        assert!(!took.is_empty(), "no write was answered");
        Span(took.iter().sum::<u64>() / took.len() as u64)
    }

    /// Bytes a second that were resynced from then on.
    pub fn rate_since(&self, from: Tick) -> u64 {
        let bytes: u64 =
            self.synced.iter().filter(|(at, _)| *at >= from).map(|(_, len)| u64::from(*len)).sum();
        bytes * 1_000 / self.now.since(from).as_millis().max(1)
    }
}
