//! The simulated shell of an engine: starts it, feeds it, carries out what it asks for, and checks
//! the discipline between shell and replica: no buffer is used after its Free or freed twice, each
//! request is answered at most once, no overlapping writes reach one disk (R19).

use super::disk::{Block, Io, IoKind};
use super::host::{Asked, Engine};
use super::judge::index;
use super::partition;
use super::random::scramble;
use super::world::{What, World};
use lockstep_engine::limits::{SYNC_DELAY_TARGET, SYNC_RATE_FLOOR};
use lockstep_engine::replica::Replica;
use lockstep_engine::replica::action::{Action, Answered, Note, Refusal};
use lockstep_engine::replica::event::{BufId, CmdId, DiskError, Event, OpId, ReqId};
use lockstep_engine::replica::settings::Settings;
use lockstep_engine::units::{Digest, Extent, NodeId, Page, Session, Span, StartId, Tick};
use std::collections::{BTreeMap, HashMap};

/// Wake-ups at one tick that count as a replica that spins.
const SPINS_MAX: u32 = 200;

impl World {
    /// Starts the engine, once the device has nothing in flight of an earlier one (R20).
    pub fn engine_start(&mut self, node: NodeId) {
        let now = self.now();
        let start = StartId(self.random.wide());
        let plan = self.plan.clone();
        let host = self.host(node);
        if !host.power || host.engine.is_some() || !host.wants_engine {
            return;
        }
        if !host.disk.idle() {
            self.queue.after(Span::millis(5), What::EngineStart { node });
            return;
        }
        let misread = host.misread.take();
        let settings = Settings {
            boot: host.boot,
            start,
            ack: plan.ack,
            sync_digests: plan.sync_digests,
            sync_window: plan.sync_window,
            sync_rate_max: None,
            sync_rate_floor: if plan.seed.is_multiple_of(4) { SYNC_RATE_FLOOR } else { 1 << 30 },
            sync_delay_target: SYNC_DELAY_TARGET,
            intent_idle: plan.intent_idle,
            times: plan.times,
        };
        let opened = partition::open(&host.disk, misread, &host.serial).and_then(|found| {
            Replica::open(settings, found, host.local(now)).map_err(|why| format!("{why:?}"))
        });
        match opened {
            Ok(replica) => self.engine_opened(node, start, replica),
            Err(why) => {
                host.refused = Some(why.clone());
                self.say(|| format!("{node}: engine refused: {why}"));
                self.queue.after(Span::millis(1_000), What::EngineStart { node });
            }
        }
    }

    fn engine_opened(&mut self, node: NodeId, start: StartId, replica: Replica) {
        let now = self.now();
        let host = self.host(node);
        let run = host.next_run();
        host.refused = None;
        host.engine = Some(Engine {
            run,
            start,
            since: now,
            replica,
            bufs: HashMap::new(),
            next_buf: 1,
            internal: HashMap::new(),
            session: None,
            open: false,
            requests: BTreeMap::new(),
            commands: HashMap::new(),
            next_command: 1,
            wake_at: None,
            dirty: false,
            spins: 0,
            lazy: false,
        });
        let daemon = host.daemon.as_ref().map(|daemon| daemon.run);
        self.say(|| format!("{node}: engine started"));
        if let Some(daemon) = daemon {
            let soon = self.delay_us(100, 50_000);
            self.queue.after(soon, What::Connect { node, run: daemon, engine: run });
        }
        self.dial_soon();
        self.engine_turn(node, run);
    }

    /// The deadline of a replica has come.
    pub fn engine_wake(&mut self, node: NodeId, run: u64) {
        let now = self.now();
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        if engine.run != run || engine.wake_at != Some(now) && engine.wake_at > Some(now) {
            return;
        }
        engine.wake_at = None;
        self.tell(node, Event::Wake);
    }

    /// Tells the replica what happened, then lets the shell take a turn, now or a little later.
    pub fn tell(&mut self, node: NodeId, event: Event) {
        let now = self.now();
        let put_off = self.plan.jitter && self.random.chance(50);
        let soon = self.delay_us(5, 300);
        let host = self.host(node);
        let local = host.local(now);
        let Some(engine) = host.engine.as_mut() else { return };
        engine.replica.handle(event, local);
        let run = engine.run;
        if engine.lazy {
            return;
        }
        if put_off {
            engine.lazy = true;
            self.queue.after(soon, What::EnginePoll { node, run });
        } else {
            self.engine_turn(node, run);
        }
    }

    /// A loop turn: carries out everything that the replica asks for, then looks at its deadline.
    pub fn engine_turn(&mut self, node: NodeId, run: u64) {
        loop {
            let Some(engine) = self.host(node).engine.as_mut() else { return };
            if engine.run != run {
                return;
            }
            engine.lazy = false;
            let Some(action) = engine.replica.poll_action() else { break };
            self.carry_out(node, action);
        }
        self.tell_status(node);
        self.schedule_wake(node);
    }

    fn schedule_wake(&mut self, node: NodeId) {
        let now = self.now();
        let host = self.host(node);
        let deadline = host.engine.as_ref().and_then(|engine| engine.replica.deadline());
        let at = deadline.map(|local| host.global(local).max(now));
        let Some(engine) = host.engine.as_mut() else { return };
        let Some(at) = at else { return };
        let run = engine.run;
        engine.spins = if at == now { engine.spins + 1 } else { 0 };
        let (spins, earlier) = (engine.spins, engine.wake_at.is_none_or(|wake| at < wake));
        if earlier {
            engine.wake_at = Some(at);
            self.queue.at(at, What::EngineWake { node, run });
        }
        if spins > SPINS_MAX {
            self.judge.violate(format!("node {node}: the deadline of the replica never moves on"));
        }
    }

    fn tell_status(&mut self, node: NodeId) {
        let host = self.host(node);
        let Some(engine) = host.engine.as_mut() else { return };
        if !engine.dirty {
            return;
        }
        engine.dirty = false;
        let status = Box::new(engine.replica.status());
        let engine = engine.run;
        if host.daemon.is_some() {
            self.queue.after(Span(150_000), What::Status { node, engine, status });
        }
    }

    fn carry_out(&mut self, node: NodeId, action: Action) {
        match action {
            Action::DiskRead { op, at, buf } => {
                self.own(node, buf, at);
                self.submit(node, op, IoKind::Read { at, buf: buf.0 });
            }
            Action::DiskWrite { op, at, buf, fua } => {
                let data = self.content(node, buf, 0, at.len);
                self.submit(node, op, IoKind::Write { at, data, fua });
            }
            Action::DiskZero { op, at, punch: _, fua } => {
                self.submit(node, op, IoKind::Zero { at, fua });
            }
            Action::DiskFlush { op } => self.submit(node, op, IoKind::Flush { upto: 0 }),
            Action::MetaWrite { op, page, bytes } => self.submit_page(node, op, page, bytes),
            Action::TailWrite { op, slot, bytes } => {
                self.submit(node, op, IoKind::Tail { slot: usize::from(slot), bytes });
            }
            Action::Digest { op, at, buf, session } => self.digest(node, op, at, buf, session),
            Action::Send { session, epoch, message, buf, skip } => {
                self.send(node, session, epoch, message, buf.map(|buf| (buf, skip)));
            }
            Action::CopyBuf { from, to, len } => self.copy(node, from, to, len),
            Action::Answer { req, result } => self.answer(node, req, result),
            Action::Free { buf } => self.free(node, buf),
            Action::DropLink { session, why } => {
                self.say(|| format!("{node}: drops the link: {why:?}"));
                self.drop_link(node, session);
            }
            Action::Clients { open } => self.clients(node, open),
            Action::Reply { cmd, result } => self.replied(node, cmd, result),
            Action::KeepMark { mark } => {
                if let Some(engine) = self.host(node).engine.as_ref() {
                    let engine = engine.run;
                    self.queue.after(Span(150_000), What::KeepMark { node, engine, mark });
                }
            }
            Action::Note(note) => {
                if let Note::VerifyMismatch { at } = note {
                    self.verify_found(node, at);
                }
                self.say(|| format!("{node}: {note:?}"));
            }
            Action::StatusChanged => {
                if let Some(engine) = self.host(node).engine.as_mut() {
                    engine.dirty = true;
                }
            }
            Action::Stopped => {
                self.say(|| format!("{node}: engine stopped"));
                self.host(node).wants_engine = false;
                self.engine_end(node);
            }
        }
    }

    /// Verify runs between members, so that nothing may differ; what can't be read counts as
    /// different, and stories may let data rot.
    fn verify_found(&mut self, node: NodeId, at: Extent) {
        let unread = self.hosts.iter().any(|host| {
            let bad = &host.disk.bad_blocks;
            host.disk.faults.reads || at.blocks().any(|block| bad.contains(&block))
        });
        if self.plan.clients && !unread {
            self.judge.violate(format!("P1: node {node}: verify finds a difference at {at:?}"));
        }
    }

    fn submit_page(&mut self, node: NodeId, op: OpId, page: u64, bytes: Box<Page>) {
        let page = usize::try_from(page).unwrap_or(usize::MAX);
        self.submit(node, op, IoKind::Meta { page, bytes });
    }

    fn submit(&mut self, node: NodeId, op: OpId, kind: IoKind) {
        let base = match &kind {
            IoKind::Read { .. } => self.delay_us(60, 400),
            IoKind::Flush { .. } => self.delay_us(300, 3_000),
            IoKind::Meta { .. } | IoKind::Tail { .. } => self.delay_us(200, 1_500),
            _ => self.delay_us(80, 900),
        };
        let rare = self.plan.jitter && self.random.chance(10);
        let extra = if rare { self.delay_us(5_000, 200_000) } else { Span(0) };
        let host = self.host(node);
        let slow = Span(host.disk.faults.slow);
        let Some(run) = host.engine.as_ref().map(|engine| engine.run) else { return };
        match host.disk.submit(Io { run, op, kind }) {
            Ok(io) => {
                let span = base.plus(extra).plus(slow);
                self.queue.after(span, What::IoDone { node, io });
            }
            Err(rule) => self.judge.violate(format!("node {node}: {rule}")),
        }
    }

    /// The storage ended a request, of this engine or of an earlier one.
    pub fn io_done(&mut self, node: NodeId, io: u64) {
        let Some(done) = self.host(node).disk.complete(io) else { return };
        for (block, before, after) in &done.changed {
            self.judge.disk_changed(node, *block, *before, *after);
        }
        if matches!(done.io.kind, IoKind::Meta { page: 1, .. }) && done.result.is_ok() {
            self.witness_stored(node);
        }
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        if engine.run != done.io.run {
            return;
        }
        if let (IoKind::Read { buf, .. }, Ok(())) = (&done.io.kind, done.result) {
            let place = match BufId(*buf).as_internal() {
                Some(own) => engine.internal.get_mut(&own),
                None => engine.bufs.get_mut(buf),
            };
            match place {
                Some(place) => *place = done.data,
                None => self.judge.violate(format!("node {node}: read into a freed buffer")),
            }
        }
        let result = done.result.map_err(|errno| DiskError { errno });
        self.tell(node, Event::DiskDone { op: done.io.op, result });
    }

    /// Makes sure that a buffer exists and is large enough for a read.
    fn own(&mut self, node: NodeId, buf: BufId, at: Extent) {
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let blocks = usize::try_from(at.len / 4096).expect("a piece is small");
        match buf.as_internal() {
            Some(own) => {
                engine.internal.insert(own, vec![[0; 8]; blocks]);
            }
            None if engine.bufs.contains_key(&buf.0) => {}
            None => self.judge.violate(format!("node {node}: read into freed {buf:?}")),
        }
    }

    /// What a buffer holds: `len` bytes from `skip` on.
    pub fn content(&mut self, node: NodeId, buf: BufId, skip: u32, len: u32) -> Vec<Block> {
        let first = usize::try_from(skip / 4096).expect("a piece is small");
        let end = usize::try_from((skip + len) / 4096).expect("a piece is small");
        let found = self.host(node).engine.as_ref().and_then(|engine| match buf.as_internal() {
            Some(own) => engine.internal.get(&own),
            None => engine.bufs.get(&buf.0),
        });
        match found {
            Some(data) if data.len() >= end => data[first..end].to_vec(),
            found => {
                let has = found.map(Vec::len);
                self.judge.violate(format!("node {node}: {buf:?} has {has:?} of {end} blocks"));
                vec![[0; 8]; end - first]
            }
        }
    }

    fn copy(&mut self, node: NodeId, from: BufId, to: BufId, len: u32) {
        let data = self.content(node, from, 0, len);
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let place = match to.as_internal() {
            Some(own) => engine.internal.entry(own).or_default(),
            None => engine.bufs.entry(to.0).or_default(),
        };
        if place.len() < data.len() {
            place.resize(data.len(), [0; 8]);
        }
        place[..data.len()].copy_from_slice(&data);
    }

    fn free(&mut self, node: NodeId, buf: BufId) {
        let host = self.host(node);
        let Some(engine) = host.engine.as_mut() else { return };
        let busy = host.disk.reads_into(engine.run, buf.0);
        if engine.bufs.remove(&buf.0).is_none() {
            self.judge.violate(format!("node {node}: {buf:?} freed twice, or not the shell's"));
        } else if busy {
            self.judge.violate(format!("node {node}: {buf:?} freed while a read fills it"));
        }
    }

    fn digest(&mut self, node: NodeId, op: OpId, at: Extent, buf: BufId, session: Session) {
        let data = self.content(node, buf, 0, at.len);
        let key = u64::try_from(session.0 & u128::from(u64::MAX)).expect("masked");
        let digests = data.iter().map(|block| digest_of(key, block)).collect();
        let after = self.delay_us(20, 200);
        let Some(run) = self.host(node).engine.as_ref().map(|engine| engine.run) else { return };
        self.queue.after(after, What::Digests { node, run, op, digests });
    }

    /// A buffer was hashed.
    pub fn digests(&mut self, node: NodeId, run: u64, op: OpId, digests: Box<[Digest]>) {
        if self.host(node).engine.as_ref().is_some_and(|engine| engine.run == run) {
            self.tell(node, Event::DigestsDone { op, digests });
        }
    }

    fn replied(&mut self, node: NodeId, cmd: CmdId, result: Result<(), Refusal>) {
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let Some((run, step)) = engine.commands.remove(&cmd) else {
            self.judge.violate(format!("node {node}: {cmd:?} replied to twice"));
            return;
        };
        let Some(step) = step else { return };
        let refused = result.err().map(word);
        // A status that led to the reply must not arrive after it.
        self.tell_status(node);
        self.queue.after(Span(150_000), What::EngineReply { node, run, step, refused });
    }

    /// The engine process ends, by whatever cause. The device goes on.
    pub fn engine_end(&mut self, node: NodeId) {
        let Some(engine) = self.host(node).engine.as_ref() else { return };
        let (run, session) = (engine.run, engine.session);
        self.forget_engine(node);
        if let Some(session) = session {
            self.peer_hears_end(node, session);
        }
        let daemon = self.host(node).daemon.as_ref().map(|daemon| daemon.run);
        if let Some(daemon) = daemon {
            self.queue.after(Span(500_000), What::EngineGone { node, run: daemon, engine: run });
        }
        self.check_marks("after the end of an engine");
    }

    /// The process is gone: its clients get no answers.
    pub fn forget_engine(&mut self, node: NodeId) {
        let now = self.now();
        let Some(engine) = self.host(node).engine.take() else { return };
        if engine.open {
            self.host(node).notes.served_until = now;
        }
        for op in engine.requests.values().filter(|op| !op.gone) {
            if matches!(op.asked, Asked::Write { .. } | Asked::Zero { .. }) {
                self.judge.write_gave_up(node, op.at, op.stamp);
            }
        }
    }

    /// SIGKILL, and a later restart by the service manager unless it is told not to.
    pub fn kill_engine(&mut self, node: NodeId, restart: Option<Span>) {
        if self.host(node).engine.is_none() {
            return;
        }
        self.say(|| format!("{node}: engine killed"));
        self.engine_end(node);
        if self.plan.ack == lockstep_engine::replica::settings::AckMode::Received {
            // What the peer had in memory only is gone with the process.
            self.judge.power_lost(node);
        }
        if let Some(span) = restart {
            self.queue.after(span, What::EngineStart { node });
        }
    }

    /// Whether an engine has requests that are older than `span`.
    pub fn oldest_request(&self, node: NodeId) -> Option<Tick> {
        let engine = self.hosts[index(node)].engine.as_ref()?;
        engine.requests.values().map(|op| op.since).min()
    }

    fn answer(&mut self, node: NodeId, req: ReqId, result: Answered) {
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        match engine.requests.remove(&req) {
            Some(op) => self.answered(node, op, result),
            None => self.judge.violate(format!("node {node}: {req:?} answered twice")),
        }
    }
}

fn digest_of(key: u64, block: &Block) -> Digest {
    let mut low = scramble(key ^ 0x51);
    let mut high = scramble(key ^ 0xa7);
    for stamp in block {
        low = scramble(low ^ *stamp);
        high = scramble(high.rotate_left(7) ^ *stamp);
    }
    let mut raw = [0; 16];
    raw[..8].copy_from_slice(&low.to_le_bytes());
    raw[8..].copy_from_slice(&high.to_le_bytes());
    Digest(raw)
}

/// The stable word of a refusal, as the admin socket says it.
fn word(refusal: Refusal) -> String {
    let mut word = String::new();
    for letter in format!("{refusal:?}").chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}
