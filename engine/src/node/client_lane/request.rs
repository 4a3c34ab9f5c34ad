//! Client requests inside the replica: one per NBD request, cut into pieces.
//! Always: a request is answered once, when its last piece is; the first error wins.

use super::super::hub::Hub;
use super::feed::Stream;
use crate::replica::action::Answered;
use crate::replica::event::{BufId, ReqId};
use crate::units::Tick;
use lockstep_nbd::protocol;

const PIECE_BITS: u32 = 16;

/// Who asked: place and incarnation of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ConnId {
    pub index: usize,
    pub generation: u32,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub conn: ConnId,
    pub nbd: protocol::Request,
    pub started: Tick,
    pub left: u32,
    pub failed: Option<Answered>,
    /// For a read: its buffers in order, with the bytes of each.
    pub bufs: Vec<(BufId, usize)>,
    /// For a read that is fed: how far its answer is.
    pub stream: Option<Stream>,
}

/// The table of requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<Option<Pending>>,
    free: Vec<usize>,
    vecs: Vec<Vec<(BufId, usize)>>,
}

/// Name of a piece.
pub(super) fn req_id(request: usize, piece: u32) -> ReqId {
    ReqId((request as u64) << PIECE_BITS | u64::from(piece))
}

/// Number of that piece within its request.
pub(super) fn piece_of(req: ReqId) -> usize {
    usize::try_from(req.0 & ((1 << PIECE_BITS) - 1)).unwrap_or(usize::MAX)
}

/// Request of that piece.
pub(super) fn request_of(req: ReqId) -> usize {
    usize::try_from(req.0 >> PIECE_BITS).unwrap_or(usize::MAX)
}

impl Requests {
    /// Enters a request of `pieces` pieces.
    pub fn begin(
        &mut self,
        conn: ConnId,
        nbd: protocol::Request,
        pieces: u32,
        started: Tick,
    ) -> usize {
        let bufs = self.vecs.pop().unwrap_or_default();
        let pending =
            Pending { conn, nbd, started, left: pieces, failed: None, bufs, stream: None };
        match self.free.pop() {
            Some(index) => {
                self.slots[index] = Some(pending);
                index
            }
            None => {
                self.slots.push(Some(pending));
                self.slots.len() - 1
            }
        }
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Pending> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// Some pieces are over. Yields the request when they were the last.
    pub fn end(&mut self, index: usize, pieces: u32, failed: Option<Answered>) -> Option<Pending> {
        let pending = self.slots.get_mut(index)?.as_mut()?;
        assert!(pending.left >= pieces, "a piece is answered once");
        pending.left -= pieces;
        pending.failed = pending.failed.or(failed);
        if pending.left > 0 {
            return None;
        }
        self.free.push(index);
        self.slots[index].take()
    }

    /// Lets go of what a request that was answered held.
    pub fn recycle(&mut self, hub: &mut Hub, mut pending: Pending) {
        for (buf, _) in pending.bufs.drain(..) {
            hub.bufs.free(buf);
        }
        if self.vecs.len() < 64 {
            self.vecs.push(pending.bufs);
        }
    }
}
