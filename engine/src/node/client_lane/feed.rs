//! Requests that enter the replica piece by piece: large reads and long ranges of zeroes. A read
//! is then alone on its connection, and its bytes leave in order as its pieces come in.
//! Always: a slot of such a read is given back when its bytes have left; the head of an answer
//! without chunks promises all of its data, so that an error behind it ends the connection.

use super::super::hub::Hub;
use super::ClientLane;
use super::admit::Flow;
use super::conn::{Conn, Phase};
use super::request::Pending;
use super::share::{Good, Shares};
use crate::limits::{PIECE_BYTES_MAX, ZERO_PIECE_BYTES_MAX};
use crate::replica::event::Request;
use crate::units::Extent;
use lockstep_nbd::protocol::{self, read_chunk_head, read_head};

/// A request that enters piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed {
    /// Its request.
    pub request: usize,
    pub nbd: protocol::Request,
    pub kind: FeedKind,
    /// Next piece to enter.
    pub next: u32,
    pub pieces: u32,
}

/// What is fed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FeedKind {
    /// Each piece has a slot. Nothing else is parsed until the last byte is put.
    Read,
    /// No data. The next request is parsed when all pieces have entered.
    Zero { punch: bool },
}

/// How far the answer of a read that is fed has come.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Pieces that came in, by number.
    done: Vec<bool>,
    /// Pieces in front of it were put, or given up.
    put: usize,
    /// Whether a head without chunks was put.
    promised: bool,
}

impl Stream {
    /// Whether the client was told that all of the data follows.
    pub fn is_promised(&self) -> bool {
        self.promised
    }
}

impl Feed {
    fn piece(&self, number: u32) -> Extent {
        let most = match self.kind {
            FeedKind::Read => PIECE_BYTES_MAX,
            FeedKind::Zero { .. } => ZERO_PIECE_BYTES_MAX,
        };
        let skip = u64::from(number) * u64::from(most);
        let left = u64::from(self.nbd.len) - skip;
        let len = u32::try_from(left.min(u64::from(most))).expect("a piece is small");
        Extent::new(self.nbd.offset + skip, len)
    }
}

impl ClientLane {
    /// Begins to feed a request.
    pub(super) fn begin_feed(
        &mut self,
        hub: &Hub,
        index: usize,
        nbd: protocol::Request,
        kind: FeedKind,
        pieces: u32,
    ) {
        let request = self.begin(hub, index, nbd, pieces);
        if kind == FeedKind::Read {
            let pending = self.requests.get_mut(request).expect("it was just entered");
            pending.stream = Some(Stream::default());
        }
        if let Some(conn) = self.conns[index].as_mut() {
            conn.feed = Some(Feed { request, nbd, kind, next: 0, pieces });
        }
    }

    /// Lets pieces enter while there is room for them.
    pub(super) fn feed(&mut self, hub: &mut Hub, index: usize) -> Flow {
        let Some(mut feed) = self.conns[index].as_ref().and_then(|conn| conn.feed) else {
            return Flow::On;
        };
        if feed.next == feed.pieces {
            // A read whose last bytes are not put yet; `answer` goes on from there.
            return Flow::Stop;
        }
        if !self.may_enter(index, 1) {
            return Flow::Stalled;
        }
        let at = feed.piece(feed.next);
        let what = match feed.kind {
            FeedKind::Zero { punch } => Request::Zero { at, punch, fua: feed.nbd.fua },
            FeedKind::Read => {
                let Some(fill) = self.take_slot(hub, index, Good::Large) else {
                    return Flow::Stalled;
                };
                let buf = hub.bufs.put_fill(fill);
                let pending = self.requests.get_mut(feed.request).expect("it is being fed");
                pending.bufs.push((buf, at.len as usize));
                if let Some(stream) = &mut pending.stream {
                    stream.done.push(false);
                }
                Request::Read { at, buf }
            }
        };
        self.enter(hub, index, feed.request, feed.next, what);
        feed.next += 1;
        let over = feed.next == feed.pieces && feed.kind != FeedKind::Read;
        if let Some(conn) = self.conns[index].as_mut() {
            conn.feed = (!over).then_some(feed);
        }
        Flow::On
    }

    /// A piece of a read that is fed came in, or failed: puts what is due, in order.
    pub(super) fn put_stream(&mut self, hub: &mut Hub, request: usize, piece: usize) {
        let Some(pending) = self.requests.get_mut(request) else { return };
        let Some(mut stream) = pending.stream.take() else { return };
        stream.done[piece] = true;
        let place = pending.conn.index;
        let conn = self.conns[place].as_mut();
        let mut conn = conn.filter(|conn| conn.is(pending.conn) && conn.phase != Phase::Dead);
        while stream.done.get(stream.put) == Some(&true) {
            put_piece(hub, &mut self.shares, &mut conn, pending, &mut stream);
            stream.put += 1;
        }
        if conn.is_some() {
            self.touched.push(place);
        }
        pending.stream = Some(stream);
    }

    /// A fed request has failed: no more of its pieces enter.
    pub(super) fn stop_feed(&mut self, index: usize, request: usize) -> u32 {
        let Some(conn) = self.conns[index].as_mut() else { return 0 };
        let Some(feed) = conn.feed.as_mut().filter(|feed| feed.request == request) else {
            return 0;
        };
        let left = feed.pieces - feed.next;
        feed.pieces = feed.next;
        left
    }

    /// A fed read is over: its connection goes on, or ends if it was promised more.
    pub(super) fn stream_over(&mut self, hub: &mut Hub, index: usize, pending: &Pending) {
        let broken =
            pending.failed.is_some() && pending.stream.as_ref().is_some_and(Stream::is_promised);
        let Some(conn) = self.conns[index].as_mut() else { return };
        conn.feed = None;
        if broken {
            tracing::warn!(client = index, "a read failed behind the head of its answer");
            self.kill(hub, index);
        } else if !conn.stalled {
            // It goes on at the end of the turn.
            conn.stalled = true;
            self.stalled.push_back(index);
        }
    }
}

/// Puts the next piece of a stream, or gives its slot up.
fn put_piece(
    hub: &mut Hub,
    shares: &mut Shares,
    conn: &mut Option<&mut Conn>,
    pending: &Pending,
    stream: &mut Stream,
) {
    let (buf, len) = pending.bufs[stream.put];
    let lease = if pending.failed.is_none() { hub.bufs.lease(buf) } else { None };
    match (conn, lease) {
        (Some(conn), Some(lease)) => {
            let nbd = &pending.nbd;
            if conn.negotiated.structured {
                let skip = stream.put as u64 * u64::from(PIECE_BYTES_MAX);
                let done = skip + len as u64 == u64::from(nbd.len);
                let len = u32::try_from(len).expect("a piece is small");
                let head = read_chunk_head(nbd.cookie, nbd.offset + skip, len, done);
                conn.out.open().put(&head);
            } else if !std::mem::replace(&mut stream.promised, true) {
                conn.out.open().put(read_head(&conn.negotiated, nbd).as_slice());
            }
            conn.put_slot(lease, len);
        }
        _ => shares.give(pending.conn.index, Good::Large, 1),
    }
    hub.bufs.free(buf);
}
