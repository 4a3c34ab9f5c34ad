//! Link and heartbeats between the two hosts: dialing, greeting, frames, ends of sessions.

use super::disk::Block;
use super::judge::index;
use super::world::{What, World};
use lockstep_ctl::decide::event::{Event as Heard, PeerBeat};
use lockstep_ctl::decide::node::PeerState;
use lockstep_engine::replica::event::{BufId, Event};
use lockstep_engine::units::{Epoch, Extent, NodeId, Session, Span, Tick};
use lockstep_engine::wire::message::Message;

/// Interval of heartbeats.
const BEAT: Span = Span::millis(500);

impl World {
    /// Lets the shells try to connect soon.
    pub fn dial_soon(&mut self) {
        if !self.dialing {
            self.dialing = true;
            let soon = self.delay_us(50_000, 400_000);
            self.queue.after(soon, What::Dial);
        }
    }

    /// Greets a new session when a side has none and the network passes both ways.
    pub fn dial(&mut self) {
        self.dialing = false;
        let now = self.now();
        let sides = [NodeId::A, NodeId::B].map(|node| {
            let host = &self.hosts[index(node)];
            let awake = host.power && host.frozen_until <= now;
            host.engine
                .as_ref()
                .filter(|_| awake)
                .map(|engine| (engine.run, engine.session, engine.start, host.boot))
        });
        let [Some(a), Some(b)] = sides else {
            let both = self.hosts.iter().all(|host| host.engine.is_some());
            if both {
                self.dial_soon();
            }
            return;
        };
        if a.1.is_some() && a.1 == b.1 {
            return;
        }
        if !self.link.passes() {
            self.dial_soon();
            return;
        }
        let session = Session(self.random.wide());
        let up = [0, 1].map(|_| {
            let span = self.delay_us(500, 6_000);
            now.after(span)
        });
        self.link.open(session, [a.0, b.0], up);
        for (node, run, old) in [(NodeId::A, a.0, a.1), (NodeId::B, b.0, b.1)] {
            if let Some(old) = old {
                self.end_session(node, old);
            }
            if let Some(engine) = self.host(node).engine.as_mut() {
                engine.session = Some(session);
            }
            self.queue.at(up[index(node)], What::LinkUp { node, run, session });
        }
    }

    /// A side hears of the new session.
    pub fn link_up(&mut self, node: NodeId, run: u64, session: Session) {
        let peer = node.peer();
        let (peer_boot, peer_start) = {
            let host = self.host(peer);
            // The greeting has told these before the peer may have died again.
            let start = host.engine.as_ref().map(|engine| engine.start);
            match start {
                Some(start) => (host.boot, start),
                None => return self.drop_link(node, session),
            }
        };
        let live = self
            .host(node)
            .engine
            .as_ref()
            .is_some_and(|engine| engine.run == run && engine.session == Some(session));
        if live && self.link.session == Some(session) {
            self.tell(node, Event::LinkUp { session, peer, peer_boot, peer_start });
        }
    }

    /// A side hears of the end of a session.
    pub fn link_down(&mut self, node: NodeId, run: u64, session: Session) {
        let live = self.host(node).engine.as_ref().is_some_and(|engine| engine.run == run);
        if live {
            self.end_session(node, session);
            self.dial_soon();
        }
    }

    /// Tells the replica of the end of a session, if the shell still had it.
    fn end_session(&mut self, node: NodeId, session: Session) {
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        if engine.session == Some(session) {
            engine.session = None;
            self.tell(node, Event::LinkDown { session });
        }
    }

    /// The replica, or a fault, closes the session on one side; the other side hears if it can.
    pub fn drop_link(&mut self, node: NodeId, session: Session) {
        let Some(engine) = self.host(node).engine.as_mut() else { return };
        if engine.session != Some(session) {
            return;
        }
        engine.session = None;
        let run = engine.run;
        if self.random.chance(500) {
            // The shell may or may not report the end of what the replica itself has ended.
            self.tell(node, Event::LinkDown { session });
        }
        let _ = run;
        self.peer_hears_end(node, session);
        self.dial_soon();
    }

    /// The sockets of a side are closed: the other side hears, unless the network is cut.
    pub fn peer_hears_end(&mut self, node: NodeId, session: Session) {
        let peer = node.peer();
        if self.link.stalled[index(peer)] {
            return;
        }
        let soon = self.delay_us(200, 5_000);
        if let Some(engine) = self.host(peer).engine.as_ref() {
            let run = engine.run;
            self.queue.after(soon, What::LinkDown { node: peer, run, session });
        }
    }

    /// The peer of this node has booted: its old session ends with a reset.
    pub fn reset_session_of(&mut self, node: NodeId) {
        let session = self.host(node).engine.as_ref().and_then(|engine| engine.session);
        if let Some(session) = session {
            self.peer_hears_end(node.peer(), session);
        }
    }

    /// Sends a message of the live session; silently not, when it is dead.
    pub fn send(
        &mut self,
        node: NodeId,
        session: Session,
        epoch: Epoch,
        message: Message,
        buf: Option<(BufId, u32)>,
    ) {
        let payload = match (buf, carried(&message)) {
            (Some((buf, skip)), Some(at)) => Some(self.content(node, buf, skip, at.len)),
            _ => None,
        };
        let live = self.host(node).engine.as_ref().is_some_and(|e| e.session == Some(session));
        if !live || self.link.session != Some(session) {
            return;
        }
        self.witness_sent(node, session, &message);
        let to = node.peer();
        let flow = self.link.encode(index(to), session, epoch, message, payload);
        self.transmit(to, session, flow);
    }

    /// One frame of a flow is on its way.
    pub fn transmit(&mut self, to: NodeId, session: Session, flow: usize) {
        let low = if flow > 0 { 150 } else { 100 };
        let rare = self.plan.jitter && self.random.chance(8);
        let lags = self.plan.lag == Some(flow) && self.random.chance(300);
        let high = if rare || lags { 150_000 } else { 1_200 };
        let span = self.delay_us(low, high).plus(Span(self.link.slow));
        let at = self.now().after(span);
        let at = self.link.arrival(index(to), flow, at);
        self.queue.at(at, What::Frame { to, session, flow });
    }

    /// A frame arrives; the shell drops it when its session is over.
    pub fn frame(&mut self, to: NodeId, session: Session, flow: usize) {
        if self.link.session != Some(session) {
            return;
        }
        if self.link.stalled[index(to)] {
            self.link.waiting[index(to)].push(flow);
            return;
        }
        let Some(frame) = self.link.take(index(to), flow) else { return };
        let live = |world: &World| {
            let engine = world.hosts[index(to)].engine.as_ref();
            engine.is_some_and(|engine| engine.session == Some(frame.session))
        };
        if !live(self) {
            return;
        }
        match self.link.decode(index(to), &frame) {
            Ok((epoch, messages)) => {
                for message in messages {
                    if live(self) {
                        self.witness_frame(to, session, &message);
                        let payload = frame.payload.clone();
                        self.deliver(to, frame.session, epoch, message, payload);
                    }
                }
            }
            Err(why) => self.judge.violate(format!("link to {to}: {why}")),
        }
    }

    /// Gives a message to a replica.
    pub fn deliver(
        &mut self,
        to: NodeId,
        session: Session,
        epoch: Epoch,
        message: Message,
        payload: Option<Vec<Block>>,
    ) {
        let Some(engine) = self.host(to).engine.as_mut() else { return };
        let buf = payload.map(|data| {
            let name = engine.next_buf;
            engine.next_buf += 1;
            engine.bufs.insert(name, data);
            BufId(name)
        });
        self.tell(to, Event::Frame { session, epoch, message, buf });
    }

    /// Sends what waited for a direction to pass again.
    pub fn unstall(&mut self, to: NodeId) {
        self.link.stalled[index(to)] = false;
        let flows = std::mem::take(&mut self.link.waiting[index(to)]);
        if let Some(session) = self.link.session {
            flows.into_iter().for_each(|flow| self.transmit(to, session, flow));
        }
        self.dial_soon();
    }

    /// Time to send a heartbeat.
    pub fn beat_tick(&mut self, node: NodeId, run: u64) {
        if self.host(node).daemon.as_ref().is_none_or(|daemon| daemon.run != run) {
            return;
        }
        self.queue.after(BEAT, What::BeatTick { node, run });
        self.send_beat(node);
        self.watch_right(node);
    }

    /// Sends a heartbeat.
    pub fn send_beat(&mut self, node: NodeId) {
        let now = self.now();
        let to = node.peer();
        let host = self.host(node);
        let sent = host.local(now);
        let Some(daemon) = host.daemon.as_ref() else { return };
        let (run, beat, state) = (daemon.run, daemon.brain.beat(), daemon.brain.announce());
        if !self.beats_cut[index(to)] {
            let span = self.delay_us(200, 5_000);
            let state = Box::new(state);
            self.queue.after(span, What::Beat { to, beat, state, sent, run });
        }
    }

    /// A heartbeat arrives.
    pub fn beat(&mut self, to: NodeId, beat: PeerBeat, state: PeerState, sent: Tick, run: u64) {
        let Some(daemon) = self.host(to).daemon.as_ref() else { return };
        let answer = daemon.answering;
        self.witness_beat(to, answer);
        self.hear_peer(to, beat, state);
        let from = to.peer();
        if answer && !self.beats_cut[index(from)] {
            let span = self.delay_us(200, 5_000);
            self.queue.after(span, What::BeatAnswer { to: from, run, sent });
        }
    }

    /// The answer to a heartbeat arrives.
    pub fn beat_answer(&mut self, to: NodeId, run: u64, sent: Tick) {
        if self.host(to).daemon.as_ref().is_some_and(|daemon| daemon.run == run) {
            self.hear(to, Heard::HeartbeatAnswered { sent });
        }
    }
}

/// The range whose payload a message carries.
fn carried(message: &Message) -> Option<Extent> {
    match message {
        Message::Write { at, .. }
        | Message::SyncWrite { at, .. }
        | Message::ReadDone { at, .. } => Some(*at),
        _ => None,
    }
}
