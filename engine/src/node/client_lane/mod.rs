//! Clients: NBD over unix and TCP sockets, and the kernel's own over a pair of sockets. Bytes in,
//! request pieces to the replica, answers out.
//! Always: connections live and die apart; a request of a dead connection is carried out and its
//! answer dropped; answers of one turn leave in one send; reads leave from their slots.
//! Survives: clients that lie, stall, or vanish at any byte.

mod admit;
mod conn;
mod feed;
mod kernel;
mod request;
mod share;
mod status;
#[cfg(test)]
mod tests;

use super::bufs::CLIENTS_MAX;
use super::hub::Hub;
use super::outbox::Outbox;
use super::port::lane;
use crate::limits::CLIENT_OPS_MAX;
use crate::replica::action::Answered;
use crate::replica::event::ReqId;
use crate::units::{Span, Tick};
use crate::uring::{Done, File, Op, Token};
use admit::conn_token;
use conn::{Conn, Phase};
use feed::Stream;
use lockstep_nbd::protocol::{
    Command, Connection, Errno, Export, Negotiated, failure, read_head, success,
};
use request::{ConnId, Pending, Requests, piece_of, request_of};
use share::{Good, Shares};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Time that a client has for its handshake.
const GREET: Span = Span::millis(30_000);
/// Time before another accept after one failed.
const ACCEPT_AGAIN: Span = Span::millis(1_000);

/// How often those that wait for room are asked whether they are still there: nothing is received
/// from them that would tell, and they hold a place.
const LOOK_AGAIN: Span = Span::millis(250);

/// What an op of this lane is for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum What {
    Accept = 0,
    Receive = 1,
    Body = 2,
    Send = 3,
}

impl What {
    const fn token(self, id: u64) -> Token {
        Token { lane: lane::CLIENT, kind: self as u8, id }
    }
}

struct Listener {
    file: File,
    tcp: bool,
    accepting: bool,
    again_at: Option<Tick>,
}

/// What a connection begins with.
struct Seated {
    protocol: Connection,
    out: Outbox,
    greet_by: Option<Tick>,
    kernel: bool,
}

/// The lane of the clients.
pub struct ClientLane {
    export: Export,
    data: File,
    regular: bool,
    listeners: Vec<Listener>,
    conns: Vec<Option<Conn>>,
    /// Places for those who connect; the one behind them is the kernel's.
    guests: usize,
    generations: Vec<u32>,
    requests: Requests,
    shares: Shares,
    pieces: usize,
    open: bool,
    stalled: VecDeque<usize>,
    look_at: Option<Tick>,
    touched: Vec<usize>,
    scratch: Vec<u8>,
}

impl ClientLane {
    /// A lane that listens on bound sockets, given with whether they are TCP. `data` answers
    /// block status; `regular` says that it is a file, which may have holes;
    /// `connections` may be open at once.
    pub fn new(
        hub: &mut Hub,
        export: Export,
        data: File,
        regular: bool,
        sockets: Vec<(OwnedFd, bool)>,
        connections: u32,
    ) -> ClientLane {
        let places = (connections as usize).clamp(1, CLIENTS_MAX);
        let pools = &hub.bufs.pools;
        let (small, large) = (pools.client_small.slots(), pools.client_large.slots());
        let listener = |(fd, tcp): (OwnedFd, bool)| {
            let file = hub.port.ring.adopt(fd);
            Listener { file, tcp, accepting: false, again_at: None }
        };
        let listeners = sockets.into_iter().map(listener).collect();
        let mut lane = ClientLane {
            export,
            data,
            regular,
            listeners,
            conns: (0..places).map(|_| None).collect(),
            guests: places,
            generations: vec![0; places],
            requests: Requests::default(),
            shares: Shares::new([CLIENT_OPS_MAX, small, large], places),
            pieces: 0,
            open: false,
            stalled: VecDeque::new(),
            look_at: None,
            touched: Vec::new(),
            scratch: Vec::new(),
        };
        lane.accept(hub);
        lane
    }

    fn accept(&mut self, hub: &mut Hub) {
        if self.guests().iter().all(Option::is_some) {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if !listener.accepting && listener.again_at.is_none_or(|at| at <= hub.now) {
                listener.accepting = true;
                listener.again_at = None;
                let token = What::Accept.token(index as u64);
                hub.port.submit(token, Op::Accept { file: listener.file.clone() });
            }
        }
    }

    /// A completion of this lane.
    pub fn done(&mut self, hub: &mut Hub, done: Done) {
        if done.token.kind == What::Accept as u8 {
            return self.accepted(hub, done);
        }
        let index = usize::try_from(done.token.id & 0xffff_ffff).unwrap_or(usize::MAX);
        // A place is given on only after its last op came back, so the generation always fits.
        let Some(conn) = self.conns.get_mut(index).and_then(Option::as_mut) else { return };
        conn.idle = !done.more;
        match (done.op, done.result) {
            (Op::Recv { into, from, len, .. }, result) if done.token.kind == What::Body as u8 => {
                let whole = result == Ok(len);
                self.body_received(hub, index, into, from + len, whole);
            }
            (Op::Recv { into, .. }, result) => {
                conn.receiving = false;
                conn.stage = Some(into);
                match result {
                    Ok(bytes) if bytes > 0 => {
                        conn.end += bytes as usize;
                        self.advance(hub, index);
                    }
                    _ => self.kill(hub, index),
                }
            }
            (Op::Send { gather, .. }, result) => {
                let left = Conn::slots_in(&gather);
                for good in [Good::Small, Good::Large] {
                    conn.leaving[good as usize] -= left[good as usize];
                    self.shares.give(index, good, left[good as usize]);
                }
                if conn.out.sent(gather, result.unwrap_or(0)) {
                    let choked = std::mem::take(&mut conn.choked);
                    self.touched.push(index);
                    if choked {
                        self.advance(hub, index);
                    }
                } else {
                    self.kill(hub, index);
                }
            }
            _ => {}
        }
        self.bury(hub, index);
    }

    fn accepted(&mut self, hub: &mut Hub, done: Done) {
        let index = usize::try_from(done.token.id).unwrap_or(usize::MAX);
        let Some(listener) = self.listeners.get_mut(index) else { return };
        listener.accepting = false;
        let tcp = listener.tcp;
        match (done.accepted, done.result) {
            (Some(fd), _) => self.welcome(hub, fd, tcp),
            (None, result) => {
                let error = result.err();
                tracing::warn!(?error, "client connection was not accepted; trying again in 1 s");
                listener.again_at = Some(hub.now.after(ACCEPT_AGAIN));
            }
        }
        self.accept(hub);
    }

    fn welcome(&mut self, hub: &mut Hub, fd: OwnedFd, tcp: bool) {
        let Some(index) = self.guests().iter().position(Option::is_none) else {
            tracing::warn!("client refused: all connections are in use");
            return;
        };
        let fd = if tcp { without_delay(fd) } else { fd };
        let mut out = Outbox::default();
        let mut protocol = out.open().put_with(Connection::greet);
        if !self.open {
            protocol.refuse_from_now();
        }
        let greet_by = Some(hub.now.after(GREET));
        self.seat(hub, index, fd, Seated { protocol, out, greet_by, kernel: false });
    }

    /// Gives a connection its place, which is free.
    fn seat(&mut self, hub: &mut Hub, index: usize, fd: OwnedFd, seated: Seated) {
        let Seated { protocol, out, greet_by, kernel } = seated;
        let Some(stage) = hub.bufs.pools.staging.take() else {
            tracing::warn!("client refused: no memory to receive from it");
            return;
        };
        let generation = self.generations[index].wrapping_add(1);
        self.generations[index] = generation;
        self.conns[index] = Some(Conn {
            file: hub.port.ring.adopt(fd),
            id: ConnId { index, generation },
            protocol,
            negotiated: Negotiated::default(),
            stage: Some(stage),
            start: 0,
            end: 0,
            receiving: false,
            next: None,
            body: None,
            filling: false,
            feed: None,
            inside: [0; 3],
            leaving: [0; 3],
            out,
            outstanding: 0,
            phase: Phase::Open,
            idle: false,
            bulky: false,
            stalled: false,
            choked: false,
            greet_by,
            kernel,
        });
        hub.metrics.clients += 1;
        hub.metrics.clients_accepted += 1;
        self.touched.push(index);
        self.advance(hub, index);
    }

    /// The replica accepts clients, or refuses and disconnects them.
    pub fn set_open(&mut self, hub: &mut Hub, open: bool) {
        if std::mem::replace(&mut self.open, open) == open {
            return;
        }
        for index in 0..self.conns.len() {
            let Some(conn) = self.conns[index].as_mut() else { continue };
            if conn.greet_by.is_some() && !open {
                conn.protocol.refuse_from_now();
            } else if !open || conn.greet_by.is_some() {
                // A handshake that was refused so far can't be continued; its client asks again.
                self.finish(hub, index);
            }
        }
    }

    /// The replica's answer to one piece.
    pub fn answer(&mut self, hub: &mut Hub, req: ReqId, result: Answered) {
        self.pieces -= 1;
        let failed = (result != Answered::Ok).then_some(result);
        let (request, mut ended) = (request_of(req), 1);
        let Some(pending) = self.requests.get_mut(request) else { return };
        pending.failed = pending.failed.or(failed);
        let (id, good) = (pending.conn, Good::of(&pending.nbd));
        let is_read = matches!(pending.nbd.command, Command::Read { .. });
        self.leave(id, Good::Piece, true);
        if let Some(good) = good {
            self.leave(id, good, !is_read);
        }
        if failed.is_some() {
            ended += self.stop_feed(id.index, request);
        }
        self.put_stream(hub, request, piece_of(req));
        if let Some(pending) = self.requests.end(request, ended, failed) {
            self.reply(hub, pending);
        }
    }

    /// A piece is not inside the replica any more; what it held is given back, or stays with the
    /// answer.
    fn leave(&mut self, id: ConnId, good: Good, give: bool) {
        let conn = self.conns[id.index].as_mut();
        match conn.filter(|conn| conn.is(id) && conn.phase != Phase::Dead) {
            Some(conn) => conn.inside[good as usize] -= 1,
            None => self.shares.exhume(good),
        }
        if give {
            self.shares.give(id.index, good, 1);
        }
    }

    fn reply(&mut self, hub: &mut Hub, pending: Pending) {
        let span = hub.now.since(pending.started);
        match pending.nbd.command {
            Command::Read { .. } => hub.metrics.client_read.add(span),
            Command::Flush => hub.metrics.client_flush.add(span),
            _ => hub.metrics.client_write.add(span),
        }
        let index = pending.conn.index;
        let conn = self.conns[index].as_mut().filter(|conn| conn.is(pending.conn));
        let mut held = if pending.stream.is_none() { pending.bufs.len() } else { 0 };
        if let Some(conn) = conn {
            conn.outstanding -= 1;
            if conn.phase != Phase::Dead {
                if put_reply(hub, conn, &pending) {
                    held = 0;
                }
                self.touched.push(index);
                if pending.stream.is_some() {
                    self.stream_over(hub, index, &pending);
                }
            }
        }
        if let Some(good) = Good::of(&pending.nbd).filter(|_| held > 0) {
            self.shares.give(index, good, held);
        }
        self.requests.recycle(hub, pending);
    }

    /// Takes no more requests; closes when everything is answered.
    fn finish(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        if conn.phase == Phase::Open {
            conn.phase = Phase::Finishing;
            self.drop_unread(hub, index);
            self.touched.push(index);
        }
    }

    /// The socket is of no more use.
    fn kill(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        if conn.phase == Phase::Dead {
            return;
        }
        conn.phase = Phase::Dead;
        conn.file.shutdown();
        conn.out.clear();
        self.shares.bury(std::mem::take(&mut conn.inside));
        self.drop_unread(hub, index);
        self.touched.push(index);
    }

    /// Forgets the write that was being received: its later pieces never enter the replica.
    fn drop_unread(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        conn.next = None;
        let body = conn.body.take();
        let body =
            body.map(|body| (body.request, body.left.div_ceil(crate::limits::PIECE_BYTES_MAX)));
        let fed = conn.feed.take().map(|feed| (feed.request, feed.pieces - feed.next));
        let Some((request, pieces)) = body.or(fed) else { return };
        let failed = Some(Answered::ShuttingDown).filter(|_| pieces > 0);
        if let Some(pending) = self.requests.end(request, pieces, failed) {
            self.reply(hub, pending);
        }
    }

    /// Gives a dead connection's place on, once the kernel has nothing of it.
    fn bury(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_ref() else { return };
        if conn.phase != Phase::Dead || !conn.is_idle_in_kernel() {
            return;
        }
        for good in [Good::Small, Good::Large] {
            self.shares.give(index, good, conn.leaving[good as usize]);
        }
        if conn.filling {
            self.shares.give(index, Good::Large, 1);
        }
        self.conns[index] = None;
        hub.metrics.clients -= 1;
        self.accept(hub);
    }

    /// End of a turn: those that waited go on, answers leave, ended connections close.
    pub fn flush(&mut self, hub: &mut Hub) {
        if !self.stalled.is_empty() {
            self.resume_stalled(hub);
        }
        while let Some(index) = self.touched.pop() {
            let Some(conn) = self.conns[index].as_mut() else { continue };
            if conn.phase != Phase::Dead {
                let token = conn_token(What::Send, index, conn.id.generation);
                conn.out.kick(&mut hub.port, token, &conn.file);
            }
            if conn.phase == Phase::Finishing && conn.outstanding == 0 && conn.out.is_empty() {
                self.kill(hub, index);
            }
            self.bury(hub, index);
        }
        hub.metrics.client_dead = self.shares.dead();
    }

    /// When this lane wants to be called next.
    pub fn deadline(&self) -> Option<Tick> {
        let room = self.guests().iter().any(Option::is_none);
        let again = self.listeners.iter().filter_map(|listener| listener.again_at);
        let accepts = again.filter(|_| room);
        let greets = self.conns.iter().flatten().filter_map(|conn| conn.greet_by);
        accepts.chain(greets).chain(self.look_at).min()
    }

    /// Time has passed.
    pub fn wake(&mut self, hub: &mut Hub) {
        for index in 0..self.conns.len() {
            let late = |conn: &Conn| conn.greet_by.is_some_and(|by| by <= hub.now);
            if self.conns[index].as_ref().is_some_and(late) {
                tracing::info!(client = index, "client did not finish its handshake in time");
                if let Some(conn) = self.conns[index].as_mut() {
                    conn.greet_by = None;
                }
                self.kill(hub, index);
            }
        }
        if self.look_at.is_some_and(|at| at <= hub.now) {
            self.look_at = None;
            self.look_for_gone(hub);
        }
        self.accept(hub);
    }

    /// Ends connections that wait for room and whose clients have gone.
    fn look_for_gone(&mut self, hub: &mut Hub) {
        for index in 0..self.conns.len() {
            let Some(conn) = self.conns[index].as_ref().filter(|conn| conn.stalled) else {
                continue;
            };
            if conn.file.has_hung_up() {
                self.kill(hub, index);
            } else {
                self.look_at = Some(hub.now.after(LOOK_AGAIN));
            }
        }
    }

    /// Whether a client waits for an answer.
    pub fn is_serving(&self) -> bool {
        self.pieces > 0
    }

    /// Whether every connection is closed or has nothing more to send.
    pub fn is_quiet(&self) -> bool {
        self.conns.iter().flatten().all(|conn| conn.out.is_empty())
    }
}

/// Puts the answer, or its end if it was put piece by piece. Whether slots of it are to leave.
fn put_reply(hub: &mut Hub, conn: &mut Conn, pending: &Pending) -> bool {
    let (nbd, negotiated) = (&pending.nbd, conn.negotiated);
    let errno = match pending.failed {
        Some(Answered::ShuttingDown) => Some(Errno::Shutdown),
        Some(_) => Some(Errno::Io),
        None => None,
    };
    if conn.kernel && errno == Some(Errno::Shutdown) {
        // It asks again, here or nowhere: its device is given another server, or ended.
        return false;
    }
    let promised = pending.stream.as_ref().is_some_and(Stream::is_promised);
    if let Some(errno) = errno.filter(|_| !promised) {
        conn.out.open().put(failure(&negotiated, nbd.cookie, errno).as_slice());
    }
    if errno.is_some() || pending.stream.is_some() {
        return false;
    }
    if !matches!(nbd.command, Command::Read { .. }) {
        conn.out.open().put(&success(nbd.cookie));
        return false;
    }
    let leases: Option<Vec<_>> =
        pending.bufs.iter().map(|&(buf, len)| Some((hub.bufs.lease(buf)?, len))).collect();
    match leases {
        Some(leases) => {
            conn.out.open().put(read_head(&negotiated, nbd).as_slice());
            leases.into_iter().for_each(|(lease, len)| conn.put_slot(lease, len));
            true
        }
        None => {
            tracing::error!(?nbd, "read answered without its data; this is a bug");
            conn.out.open().put(failure(&negotiated, nbd.cookie, Errno::Io).as_slice());
            false
        }
    }
}

/// TCP_NODELAY; without it answers are late, but right.
fn without_delay(fd: OwnedFd) -> OwnedFd {
    let stream = std::net::TcpStream::from(fd);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    OwnedFd::from(stream)
}
