//! From staged bytes to pieces inside the replica.
//! Always: a piece enters only when its buffer is there and its connection may have it; until then
//! its connection is not read from.

use super::super::bufs::{BULKY_BYTES, SMALL_BYTES};
use super::super::hub::Hub;
use super::conn::{Body, Phase};
use super::feed::FeedKind;
use super::request::req_id;
use super::share::Good;
use super::{ClientLane, LOOK_AGAIN, What};
use crate::limits::{CLIENT_OPS_MAX, PIECE_BYTES_MAX, ZERO_PIECE_BYTES_MAX};
use crate::replica::event::{Event, Request};
use crate::units::Extent;
use crate::uring::buffers::{Fill, Pool};
use crate::uring::{Op, Token};
use lockstep_nbd::protocol::{self, Command};

/// Bytes of replies that may wait for a client, the data of reads not counted: those hold buffers
/// that are bounded already.
const REPLY_BYTES_MAX: usize = 256 << 10;

/// What parsing came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Something was done; there may be more.
    On,
    /// More bytes are needed.
    Hungry,
    /// A buffer is needed.
    Stalled,
    /// Nothing more from this connection.
    Stop,
}

impl ClientLane {
    /// Parses what is staged, then receives more.
    pub(super) fn advance(&mut self, hub: &mut Hub, index: usize) {
        loop {
            let Some(conn) = self.conns[index].as_mut() else { return };
            if conn.receiving || conn.phase != Phase::Open {
                return;
            }
            if conn.body.is_none() && conn.out.head_bytes() > REPLY_BYTES_MAX {
                // A client that asks and does not read: goes on when it has read.
                conn.choked = true;
                return;
            }
            let flow = if conn.body.is_some() {
                self.fill_body(hub, index)
            } else if conn.feed.is_some() {
                self.feed(hub, index)
            } else if let Some(request) = conn.next.take() {
                self.admit(hub, index, request)
            } else {
                self.parse(hub, index)
            };
            match flow {
                Flow::On => {}
                Flow::Hungry => return self.receive(hub, index),
                Flow::Stalled => return self.stall(hub, index),
                Flow::Stop => return,
            }
        }
    }

    fn parse(&mut self, hub: &mut Hub, index: usize) -> Flow {
        let Some(conn) = self.conns[index].as_mut() else { return Flow::Stop };
        let Some(stage) = conn.stage.as_ref() else { return Flow::Stop };
        let staged = &stage.bytes()[conn.start..conn.end];
        self.scratch.clear();
        let step = conn.protocol.step(&self.export, staged, &mut self.scratch);
        conn.start += step.consumed;
        if !self.scratch.is_empty() {
            conn.out.open().put(&self.scratch);
            self.touched.push(index);
        }
        match step.what {
            protocol::What::More => Flow::Hungry,
            protocol::What::Entered(negotiated) => {
                conn.negotiated = negotiated;
                conn.greet_by = None;
                tracing::info!(client = index, "client entered transmission");
                Flow::On
            }
            protocol::What::Request(request) => {
                if request.command == Command::Disconnect {
                    self.finish(hub, index);
                    return Flow::Stop;
                }
                conn.bulky =
                    request.command == Command::Write && request.len as usize > SMALL_BYTES;
                conn.next = Some(request);
                Flow::On
            }
            protocol::What::Refused(head) => {
                conn.out.open().put(head.as_slice());
                self.touched.push(index);
                Flow::On
            }
            protocol::What::Close(why) => {
                tracing::info!(client = index, %why, "client connection ends");
                self.finish(hub, index);
                Flow::Stop
            }
        }
    }

    fn admit(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        let flow = match nbd.command {
            Command::Read { .. } => self.admit_read(hub, index, nbd),
            Command::Write if nbd.len as usize <= SMALL_BYTES => self.admit_small(hub, index, nbd),
            Command::Write => self.admit_body(hub, index, nbd),
            Command::Flush => self.admit_flush(hub, index, nbd),
            Command::Trim | Command::WriteZeroes { .. } => {
                let keep = matches!(nbd.command, Command::WriteZeroes { no_hole: true, .. });
                let pieces = nbd.len.div_ceil(ZERO_PIECE_BYTES_MAX);
                self.begin_feed(hub, index, nbd, FeedKind::Zero { punch: !keep }, pieces);
                Flow::On
            }
            Command::BlockStatus { one } => {
                self.block_status(index, &nbd, one);
                Flow::On
            }
            Command::Disconnect => Flow::Stop,
        };
        if matches!(flow, Flow::Stalled | Flow::Hungry)
            && let Some(conn) = self.conns[index].as_mut()
            && conn.body.is_none()
        {
            conn.next = Some(nbd);
        }
        flow
    }

    /// Whether so many pieces of a connection may enter the replica now.
    pub(super) fn may_enter(&self, index: usize, pieces: usize) -> bool {
        self.shares.allows(index, Good::Piece, pieces, CLIENT_OPS_MAX - self.pieces)
    }

    /// A slot, if the connection may have one now.
    pub(super) fn take_slot(&mut self, hub: &Hub, index: usize, good: Good) -> Option<Fill> {
        let pool = pool(hub, good);
        if !self.shares.allows(index, good, 1, pool.free()) {
            return None;
        }
        let fill = pool.take()?;
        self.shares.take(index, good, 1);
        Some(fill)
    }

    pub(super) fn begin(
        &mut self,
        hub: &Hub,
        index: usize,
        nbd: protocol::Request,
        pieces: u32,
    ) -> usize {
        let conn = self.conns[index].as_mut().expect("the connection is being parsed");
        conn.outstanding += 1;
        self.requests.begin(conn.id, nbd, pieces, hub.now)
    }

    pub(super) fn enter(
        &mut self,
        hub: &mut Hub,
        index: usize,
        request: usize,
        piece: u32,
        what: Request,
    ) {
        self.pieces += 1;
        self.shares.take(index, Good::Piece, 1);
        let nbd = self.requests.get_mut(request).map(|pending| pending.nbd);
        if let Some(conn) = self.conns[index].as_mut() {
            conn.inside[Good::Piece as usize] += 1;
            if let Some(good) = nbd.as_ref().and_then(Good::of) {
                conn.inside[good as usize] += 1;
            }
        }
        hub.events.push_back(Event::Request { req: req_id(request, piece), what });
    }

    fn admit_flush(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        if !self.may_enter(index, 1) {
            return Flow::Stalled;
        }
        let request = self.begin(hub, index, nbd, 1);
        self.enter(hub, index, request, 0, Request::Flush);
        Flow::On
    }

    /// A read enters with all of its slots, or, when the connection may not have so many now and
    /// has nothing else under way, piece by piece.
    fn admit_read(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        let good = Good::of(&nbd).unwrap_or(Good::Large);
        let count = nbd.len.div_ceil(PIECE_BYTES_MAX);
        let pieces = count as usize;
        let free = pool(hub, good).free();
        if !self.may_enter(index, pieces) || !self.shares.allows(index, good, pieces, free) {
            let alone = self.conns[index].as_ref().is_some_and(|conn| conn.outstanding == 0);
            if pieces == 1 || !alone {
                return Flow::Stalled;
            }
            self.begin_feed(hub, index, nbd, FeedKind::Read, count);
            return Flow::On;
        }
        let request = self.begin(hub, index, nbd, count);
        for piece in 0..count {
            let skip = piece * PIECE_BYTES_MAX;
            let at =
                Extent::new(nbd.offset + u64::from(skip), (nbd.len - skip).min(PIECE_BYTES_MAX));
            let fill = self.take_slot(hub, index, good).expect("free slots were counted");
            let buf = hub.bufs.put_fill(fill);
            let pending = self.requests.get_mut(request).expect("it was just entered");
            pending.bufs.push((buf, at.len as usize));
            self.enter(hub, index, request, piece, Request::Read { at, buf });
        }
        Flow::On
    }

    /// A write that is copied out of the staging buffer whole.
    fn admit_small(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        let Some(conn) = self.conns[index].as_ref() else { return Flow::Stop };
        if conn.staged().len() < nbd.len as usize {
            return Flow::Hungry;
        }
        if !self.may_enter(index, 1) {
            return Flow::Stalled;
        }
        let Some(mut fill) = self.take_slot(hub, index, Good::Small) else { return Flow::Stalled };
        let request = self.begin(hub, index, nbd, 1);
        let conn = self.conns[index].as_mut().expect("it is being parsed");
        conn.unstage(&mut fill, 0, nbd.len as usize);
        let buf = hub.bufs.put_lease(fill.freeze());
        let at = Extent::new(nbd.offset, nbd.len);
        self.enter(hub, index, request, 0, Request::Write { at, buf, fua: nbd.fua });
        Flow::On
    }

    fn admit_body(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        let pieces = nbd.len.div_ceil(PIECE_BYTES_MAX);
        let request = self.begin(hub, index, nbd, pieces);
        let conn = self.conns[index].as_mut().expect("it is being parsed");
        let (offset, left, fua) = (nbd.offset, nbd.len, nbd.fua);
        conn.body = Some(Body { request, offset, left, piece: 0, fua, slot: None });
        Flow::On
    }

    /// Fills the present piece from the staging buffer, the rest straight from the socket.
    fn fill_body(&mut self, hub: &mut Hub, index: usize) -> Flow {
        let Some(conn) = self.conns[index].as_mut() else { return Flow::Stop };
        let Some(mut body) = conn.body.take() else { return Flow::On };
        let len = body.left.min(PIECE_BYTES_MAX);
        let slot = body.slot.take().or_else(|| {
            let room = self.may_enter(index, 1);
            room.then(|| self.take_slot(hub, index, Good::Large)).flatten().map(|fill| (fill, 0))
        });
        let Some(conn) = self.conns[index].as_mut() else { return Flow::Stop };
        let Some((mut fill, mut have)) = slot else {
            conn.body = Some(body);
            return Flow::Stalled;
        };
        conn.filling = true;
        let moved = conn.unstage(&mut fill, have as usize, (len - have) as usize);
        have += u32::try_from(moved).expect("a piece is small");
        if have < len {
            conn.receiving = true;
            let token = conn_token(What::Body, index, conn.id.generation);
            let (file, idle) = (conn.file.clone(), conn.idle);
            conn.body = Some(body);
            let op = Op::Recv { file, into: fill, from: have, len: len - have, all: true, idle };
            hub.port.submit(token, op);
            return Flow::Stop;
        }
        self.piece_whole(hub, index, body, fill, len);
        Flow::On
    }

    fn piece_whole(&mut self, hub: &mut Hub, index: usize, mut body: Body, fill: Fill, len: u32) {
        let buf = hub.bufs.put_lease(fill.freeze());
        let what = Request::Write { at: Extent::new(body.offset, len), buf, fua: body.fua };
        let (request, piece) = (body.request, body.piece);
        body.offset += u64::from(len);
        body.left -= len;
        body.piece += 1;
        if let Some(conn) = self.conns[index].as_mut() {
            conn.filling = false;
            conn.body = (body.left > 0).then_some(body);
        }
        self.enter(hub, index, request, piece, what);
    }

    /// The rest of a piece came in, or the socket failed.
    pub(super) fn body_received(
        &mut self,
        hub: &mut Hub,
        index: usize,
        into: Fill,
        have: u32,
        whole: bool,
    ) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        conn.receiving = false;
        if !whole {
            self.kill(hub, index);
            return;
        }
        if let Some(body) = conn.body.as_mut() {
            body.slot = Some((into, have));
        }
        self.advance(hub, index);
    }

    fn receive(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        conn.compact();
        let Some(into) = conn.stage.take() else { return };
        let from = u32::try_from(conn.end).expect("a staging buffer is small");
        let most = if conn.bulky { BULKY_BYTES } else { into.len() };
        let len = most.min(into.len() - conn.end);
        let len = u32::try_from(len).expect("a staging buffer is small");
        assert!(len > 0, "a request fits the staging buffer");
        conn.receiving = true;
        let token = conn_token(What::Receive, index, conn.id.generation);
        let (file, idle) = (conn.file.clone(), conn.idle);
        hub.port.submit(token, Op::Recv { file, into, from, len, all: false, idle });
    }

    fn stall(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        if !conn.stalled {
            conn.stalled = true;
            hub.metrics.client_stalls += 1;
            self.stalled.push_back(index);
            self.look_at.get_or_insert(hub.now.after(LOOK_AGAIN));
        }
    }

    /// Lets those go on that waited for a buffer, in the order in which they began to wait.
    pub(super) fn resume_stalled(&mut self, hub: &mut Hub) {
        for _ in 0..self.stalled.len() {
            let Some(index) = self.stalled.pop_front() else { return };
            if let Some(conn) = self.conns[index].as_mut() {
                conn.stalled = false;
                self.advance(hub, index);
            }
        }
    }
}

/// Where slots of a class come from.
fn pool(hub: &Hub, good: Good) -> &Pool {
    match good {
        Good::Small => &hub.bufs.pools.client_small,
        _ => &hub.bufs.pools.client_large,
    }
}

/// Name of an op of a connection.
pub(super) fn conn_token(what: What, index: usize, generation: u32) -> Token {
    what.token((u64::from(generation) << 32) | index as u64)
}
