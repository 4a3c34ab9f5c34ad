//! Block status: what of the volume is stored, asked of the file below it.

use super::ClientLane;
use crate::uring::sys::{self, Seek};
use lockstep_nbd::protocol::constants::{STATE_HOLE, STATE_ZERO};
use lockstep_nbd::protocol::{Request, StatusExtent, block_status_chunk};
use std::io;
use std::os::fd::AsFd;

/// Extents of one answer at most; a client asks again for the rest.
const EXTENTS_MAX: usize = 128;

impl ClientLane {
    /// Answers at once. A block device, or a file that can't tell, is allocated throughout.
    pub(super) fn block_status(&mut self, index: usize, nbd: &Request, one: bool) {
        let whole = vec![StatusExtent { len: nbd.len, flags: 0 }];
        let extents = if self.regular {
            self.extents(nbd, if one { 1 } else { EXTENTS_MAX }).unwrap_or_else(|error| {
                tracing::debug!(%error, "holes of the data file are not known");
                whole
            })
        } else {
            whole
        };
        let mut out = [0; 64 + EXTENTS_MAX * 8];
        let written = block_status_chunk(nbd.cookie, &extents, &mut out).unwrap_or(0);
        if let Some(conn) = self.conns[index].as_mut() {
            conn.out.open().put(&out[..written]);
            self.touched.push(index);
        }
    }

    fn extents(&self, nbd: &Request, most: usize) -> io::Result<Vec<StatusExtent>> {
        let (mut at, end) = (nbd.offset, nbd.offset + u64::from(nbd.len));
        let mut extents = Vec::new();
        while at < end && extents.len() < most {
            let data = sys::seek_extent(self.data.as_fd(), at, Seek::Data)?.unwrap_or(end);
            // Whole blocks: a hole that ends inside a block ends before that block.
            let (until, flags) = if data & !4095 > at {
                (data & !4095, STATE_HOLE | STATE_ZERO)
            } else {
                let from = data.max(at);
                let hole = sys::seek_extent(self.data.as_fd(), from, Seek::Hole)?;
                (hole.unwrap_or(end).max(from + 1).next_multiple_of(4096), 0)
            };
            let until = until.min(end);
            let len = u32::try_from(until - at).unwrap_or(u32::MAX);
            extents.push(StatusExtent { len, flags });
            at = until;
        }
        Ok(extents)
    }
}
