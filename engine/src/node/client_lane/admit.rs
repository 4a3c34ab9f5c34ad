//! From staged bytes to pieces inside the replica.
//! Always: a request enters only when its buffers are there: a read with all of them, a write
//! piece by piece; until then its connection is not read from.

use super::super::bufs::{BULKY_BYTES, SMALL_BYTES};
use super::super::hub::Hub;
use super::conn::{Body, Phase};
use super::request::{ConnId, req_id};
use super::{ClientLane, What};
use crate::limits::{CLIENT_OPS_MAX, PIECE_BYTES_MAX, ZERO_PIECE_BYTES_MAX};
use crate::replica::event::{Event, Request};
use crate::units::Extent;
use crate::uring::buffers::Fill;
use crate::uring::{Op, Token};
use lockstep_nbd::protocol::{self, Command};

/// Bytes of replies that may wait for a client, the data of reads not counted: those hold buffers
/// that are bounded already.
const REPLY_BYTES_MAX: usize = 256 << 10;

/// What parsing came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
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
        let zeroes = |punch| Request::Zero { at: Extent::default(), punch, fua: nbd.fua };
        let flow = match nbd.command {
            Command::Read { .. } => self.admit_read(hub, index, nbd),
            Command::Write if nbd.len as usize <= SMALL_BYTES => self.admit_small(hub, index, nbd),
            Command::Write => self.admit_body(hub, index, nbd),
            Command::Flush => self.admit_plain(hub, index, nbd, 1, Request::Flush),
            Command::Trim | Command::WriteZeroes { .. } => {
                let keep = matches!(nbd.command, Command::WriteZeroes { no_hole: true, .. });
                let pieces = nbd.len.div_ceil(ZERO_PIECE_BYTES_MAX);
                self.admit_plain(hub, index, nbd, pieces, zeroes(!keep))
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

    fn room_for(&self, pieces: u32) -> bool {
        self.pieces + pieces as usize <= CLIENT_OPS_MAX
    }

    fn begin(&mut self, hub: &Hub, index: usize, nbd: protocol::Request, pieces: u32) -> usize {
        let conn = self.conns[index].as_mut().expect("the connection is being parsed");
        conn.outstanding += 1;
        let id = ConnId { index, generation: conn.generation };
        self.requests.begin(id, nbd, pieces, hub.now)
    }

    fn enter(&mut self, hub: &mut Hub, request: usize, piece: u32, what: Request) {
        self.pieces += 1;
        hub.events.push_back(Event::Request { req: req_id(request, piece), what });
    }

    fn admit_plain(
        &mut self,
        hub: &mut Hub,
        index: usize,
        nbd: protocol::Request,
        pieces: u32,
        what: Request,
    ) -> Flow {
        if !self.room_for(pieces) {
            return Flow::Stalled;
        }
        let request = self.begin(hub, index, nbd, pieces);
        for piece in 0..pieces {
            let skip = piece * ZERO_PIECE_BYTES_MAX;
            let what = match what {
                Request::Zero { punch, fua, .. } => {
                    let len = (nbd.len - skip).min(ZERO_PIECE_BYTES_MAX);
                    Request::Zero { at: Extent::new(nbd.offset + u64::from(skip), len), punch, fua }
                }
                other => other,
            };
            self.enter(hub, request, piece, what);
        }
        Flow::On
    }

    fn admit_read(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        let small = nbd.len as usize <= SMALL_BYTES;
        let pieces = nbd.len.div_ceil(PIECE_BYTES_MAX);
        let pool = if small { &hub.bufs.pools.client_small } else { &hub.bufs.pools.client_large };
        let reserved = !small && self.in_line.is_some_and(|first| first != index);
        if !self.room_for(pieces) || reserved || pool.free() < pieces as usize {
            if !small && self.in_line.is_none() {
                self.in_line = Some(index);
            }
            return Flow::Stalled;
        }
        if self.in_line == Some(index) {
            self.in_line = None;
        }
        let pool = pool.clone();
        let request = self.begin(hub, index, nbd, pieces);
        for piece in 0..pieces {
            let skip = piece * PIECE_BYTES_MAX;
            let at =
                Extent::new(nbd.offset + u64::from(skip), (nbd.len - skip).min(PIECE_BYTES_MAX));
            let fill = pool.take().expect("free slots were counted");
            let buf = hub.bufs.put_fill(fill);
            let pending = self.requests.get_mut(request).expect("it was just entered");
            pending.bufs.push((buf, at.len as usize));
            self.enter(hub, request, piece, Request::Read { at, buf });
        }
        Flow::On
    }

    /// A write that is copied out of the staging buffer whole.
    fn admit_small(&mut self, hub: &mut Hub, index: usize, nbd: protocol::Request) -> Flow {
        let Some(conn) = self.conns[index].as_ref() else { return Flow::Stop };
        if conn.staged().len() < nbd.len as usize {
            return Flow::Hungry;
        }
        if !self.room_for(1) {
            return Flow::Stalled;
        }
        let Some(mut fill) = hub.bufs.pools.client_small.take() else { return Flow::Stalled };
        let request = self.begin(hub, index, nbd, 1);
        let conn = self.conns[index].as_mut().expect("it is being parsed");
        conn.unstage(&mut fill, 0, nbd.len as usize);
        let buf = hub.bufs.put_lease(fill.freeze());
        let at = Extent::new(nbd.offset, nbd.len);
        self.enter(hub, request, 0, Request::Write { at, buf, fua: nbd.fua });
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
        let room = self.room_for(1);
        let free_line = self.in_line.is_none_or(|first| first == index);
        let Some(conn) = self.conns[index].as_mut() else { return Flow::Stop };
        let Some(mut body) = conn.body.take() else { return Flow::On };
        let len = body.left.min(PIECE_BYTES_MAX);
        let (mut fill, mut have) = match body.slot.take() {
            Some(slot) => slot,
            None => {
                let taken =
                    if room && free_line { hub.bufs.pools.client_large.take() } else { None };
                let Some(fill) = taken else {
                    conn.body = Some(body);
                    return Flow::Stalled;
                };
                (fill, 0)
            }
        };
        let moved = conn.unstage(&mut fill, have as usize, (len - have) as usize);
        have += u32::try_from(moved).expect("a piece is small");
        if have < len {
            conn.receiving = true;
            let token = conn_token(What::Body, index, conn.generation);
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
        if body.left > 0
            && let Some(conn) = self.conns[index].as_mut()
        {
            conn.body = Some(body);
        }
        self.enter(hub, request, piece, what);
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
        let token = conn_token(What::Receive, index, conn.generation);
        let (file, idle) = (conn.file.clone(), conn.idle);
        hub.port.submit(token, Op::Recv { file, into, from, len, all: false, idle });
    }

    fn stall(&mut self, hub: &mut Hub, index: usize) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        if !conn.stalled {
            conn.stalled = true;
            hub.metrics.client_stalls += 1;
            self.stalled.push_back(index);
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

/// Name of an op of a connection.
pub(super) fn conn_token(what: What, index: usize, generation: u32) -> Token {
    what.token((u64::from(generation) << 32) | index as u64)
}
