//! Clients: at every node that accepts them, on purpose overlapping, bounded in flight.
//! What is unanswered when the connection ends may have taken effect or not, but not later.

use super::group::APP;
use super::host::{Asked, ClientOp};
use super::judge::index;
use super::world::{What, World};
use lockstep_engine::replica::action::Answered;
use lockstep_engine::replica::event::{BufId, Event, ReqId, Request};
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{BLOCK_BYTES, Extent, NodeId, Span, Tick};

/// Longer than every time-out that leads to a takeover.
pub const STEADY: Span = Span::millis(12_000);
/// Requests in flight at one node.
const IN_FLIGHT_MAX: usize = 16;

impl World {
    /// The engine accepts clients, or disconnects them.
    pub fn clients(&mut self, node: NodeId, open: bool) {
        let now = self.now();
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let (was, run) = (engine.open, engine.run);
        engine.open = open;
        if open == was {
            return;
        }
        self.say(|| format!("{node}: clients {}", if open { "accepted" } else { "refused" }));
        if open {
            self.check_alone(node);
            self.witness_opening(node);
            let host = &self.hosts[index(node)];
            self.judge.holds_all("P3 (serves without an acknowledged write)", node, &host.disk);
            if self.plan.group.is_some() {
                self.clients_may_come(node);
            } else if self.plan.clients {
                let soon = self.delay_us(1_000, 100_000);
                self.queue.after(soon, What::ClientTick { node, run });
            }
            return;
        }
        self.host(node).notes.served_until = now;
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let mut lost = Vec::new();
        for op in engine.requests.values_mut().filter(|op| !op.gone) {
            op.gone = true;
            if matches!(op.asked, Asked::Write { .. } | Asked::Zero { .. }) {
                lost.push((op.at, op.stamp));
            }
        }
        for (at, stamp) in lost {
            self.judge.write_gave_up(node, at, stamp);
        }
    }

    /// R13: a node that serves has stopped, addresses and all, before another one starts. Excused
    /// is one whose processes have been away, since nobody could tell it in time, and force.
    fn check_alone(&mut self, node: NodeId) {
        let now = self.now();
        let host = &self.hosts[index(node.peer())];
        let awake = |since: Tick| since.after(STEADY) <= now;
        let (Some(engine), Some(daemon)) = (&host.engine, &host.daemon) else { return };
        let told = daemon.engine == Some(engine.run) && awake(daemon.since) && awake(engine.since);
        let forced = self.arbiter.record.as_ref().is_some_and(|record| record.forced);
        if engine.open && told && awake(host.frozen_until) && !forced {
            let peer = node.peer();
            let text =
                format!("R13: {node} accepts clients while {peer} does; {}", self.describe());
            self.judge.violate(text);
        }
    }

    /// Where there is a group, clients come through its programs: they begin when both programs and
    /// engine are there.
    pub fn clients_may_come(&mut self, node: NodeId) {
        let wanted = self.plan.clients && self.plan.group.is_some();
        let host = self.host(node);
        let Some(engine) = host.engine.as_ref().filter(|engine| engine.open) else { return };
        let run = engine.run;
        if wanted && host.notes.hands[APP.0].on && host.notes.ticking != Some(run) {
            host.notes.ticking = Some(run);
            let soon = self.delay_us(1_000, 20_000);
            self.queue.after(soon, What::ClientTick { node, run });
        }
    }

    /// A random client does something.
    pub fn client_tick(&mut self, node: NodeId, run: u64) {
        let wanted = self.plan.clients;
        let Some(engine) = self.hosts[index(node)].engine.as_ref() else { return };
        let grouped = self.plan.group.is_some();
        let app = self.hosts[index(node)].notes.hands[APP.0].on;
        if engine.run != run || !engine.open || !wanted || (grouped && !app) {
            let ticking = &mut self.host(node).notes.ticking;
            if *ticking == Some(run) {
                *ticking = None;
            }
            return;
        }
        let busy = engine.requests.len() >= IN_FLIGHT_MAX;
        let next = match self.random.below(10) {
            0..=3 => self.delay_us(100, 2_000),
            4..=8 => self.delay_us(5_000, 60_000),
            _ => self.delay_us(100_000, 600_000),
        };
        self.queue.after(next, What::ClientTick { node, run });
        if !busy {
            self.random_request(node);
        }
    }

    fn random_request(&mut self, node: NodeId) {
        let first = self.plan.working[self.random.index(self.plan.working.len())];
        let count = match self.random.below(20) {
            0..=13 => 1,
            14..=18 => self.random.within(2, 4),
            _ => self.random.within(5, 64),
        };
        let count = count.min(self.plan.blocks - first);
        let at = blocks(first, count);
        let fua = self.random.chance(100);
        match self.random.below(100) {
            0..=34 => self.request(node, Asked::Read, at),
            35..=84 => self.request(node, Asked::Write { fua }, at),
            85..=89 => {
                if at.blocks().all(|block| self.judge.zero_is_fresh(block)) {
                    self.request(node, Asked::Zero { fua }, at);
                }
            }
            _ => self.request(node, Asked::Flush, Extent::default()),
        }
    }

    /// A client asks for something.
    pub fn request(&mut self, node: NodeId, asked: Asked, at: Extent) {
        let stamp = match asked {
            Asked::Write { .. } => self.name(),
            _ => 0,
        };
        let req = ReqId(self.name());
        let since = self.now();
        if matches!(asked, Asked::Write { .. } | Asked::Zero { .. }) {
            self.judge.write_begins(node, at, stamp);
        }
        let begin = self.judge.instant();
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        let buf = matches!(asked, Asked::Read | Asked::Write { .. }).then(|| {
            let name = engine.next_buf;
            engine.next_buf += 1;
            let len = usize::try_from(at.len / 4096).expect("a piece is small");
            engine.bufs.insert(name, vec![[stamp; 8]; len]);
            name
        });
        let op = ClientOp { asked, at, stamp, begin, since, buf, gone: false };
        engine.requests.insert(req, op);
        let buf = BufId(buf.unwrap_or(0));
        let what = match asked {
            Asked::Read => Request::Read { at, buf },
            Asked::Write { fua } => Request::Write { at, buf, fua },
            Asked::Zero { fua } => Request::Zero { at, punch: true, fua },
            Asked::Flush => Request::Flush,
        };
        self.tell(node, Event::Request { req, what });
    }

    /// An answer reaches its client, if that is still there.
    pub fn answered(&mut self, node: NodeId, op: ClientOp, result: Answered) {
        self.judge_answer(node, &op, result);
        // The buffer of a read is the client lane's own; writes are freed by the replica.
        if let (Asked::Read, Some(buf)) = (op.asked, op.buf)
            && let Some(engine) = self.host(node).engine.as_mut()
        {
            engine.bufs.remove(&buf);
        }
    }

    fn judge_answer(&mut self, node: NodeId, op: &ClientOp, result: Answered) {
        if !self.plan.clients {
            self.say(|| format!("{node}: {} {result:?}", describe(op)));
        }
        if op.gone {
            return;
        }
        if result != Answered::Ok {
            if matches!(op.asked, Asked::Write { .. } | Asked::Zero { .. }) {
                self.judge.write_gave_up(node, op.at, op.stamp);
            }
            return;
        }
        match op.asked {
            Asked::Read => {
                let data = self.content(node, BufId(op.buf.unwrap_or(0)), 0, op.at.len);
                self.judge.read_done(node, op.at, &data, op.begin);
                if !self.plan.clients {
                    self.say(|| format!("{node}: found {:?}", stamps(&data)));
                }
            }
            Asked::Write { fua } | Asked::Zero { fua } => self.acknowledged(node, op, fua),
            Asked::Flush => {
                let covered = self.judge.flushed(op.begin);
                for member in [NodeId::A, NodeId::B] {
                    let host = &self.hosts[index(member)];
                    if !host.content_lost {
                        self.judge.stable_on(&covered, member, &host.disk);
                    }
                }
            }
        }
    }

    fn acknowledged(&mut self, node: NodeId, op: &ClientOp, fua: bool) {
        let Some(engine) = self.host(node).engine.as_ref() else { return };
        let epoch = engine.replica.status().epoch.0;
        self.judge.write_acked(node, op.at, op.stamp, fua, epoch);
        for member in [NodeId::A, NodeId::B] {
            let in_memory = self.plan.ack == AckMode::Received && member != node && !fua;
            let host = &self.hosts[index(member)];
            if !in_memory && !host.content_lost {
                self.judge.on_member(op.at, op.stamp, fua, member, &host.disk);
            }
        }
        self.witness_answer(node, op, fua);
    }
}

/// The range of `count` blocks from `first` on.
pub fn blocks(first: u64, count: u64) -> Extent {
    let len = u32::try_from(count * BLOCK_BYTES).expect("a request is small");
    Extent::new(first * BLOCK_BYTES, len)
}

fn describe(op: &ClientOp) -> String {
    let range = format!("{}..{}", op.at.blocks().start, op.at.blocks().end);
    match op.asked {
        Asked::Read => format!("read {range}"),
        Asked::Write { fua: true } => format!("write-fua {range}"),
        Asked::Write { fua: false } => format!("write {range}"),
        Asked::Zero { .. } => format!("zero {range}"),
        Asked::Flush => "flush".to_owned(),
    }
}

fn stamps(data: &[super::disk::Block]) -> Vec<u64> {
    data.iter().map(|block| block[0]).collect()
}
