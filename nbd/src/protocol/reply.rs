//! Replies of the transmission phase, written into arrays.
//! Always: allocates nothing; a read is answered in chunks exactly when structured replies were
//! negotiated, and an error carries one of the numbers of `Errno`.

use super::bytes::put;
use super::constants::{
    BASE_ALLOCATION_ID, CHUNK_HEAD_BYTES, Errno, SIMPLE_REPLY_BYTES, SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC, chunk,
};
use super::handshake::Negotiated;
use super::request::{Cookie, Request};

/// Bytes of an error chunk without text.
pub(super) const ERROR_CHUNK_BYTES: usize = CHUNK_HEAD_BYTES + 6;
/// Bytes of an error chunk with an offset, without text.
pub(super) const ERROR_OFFSET_CHUNK_BYTES: usize = CHUNK_HEAD_BYTES + 14;
/// Bytes in front of the data of a read chunk.
pub(super) const READ_CHUNK_HEAD_BYTES: usize = CHUNK_HEAD_BYTES + 8;
/// Bytes in front of the extents of a block status chunk.
pub(super) const STATUS_CHUNK_HEAD_BYTES: usize = CHUNK_HEAD_BYTES + 4;
/// Bytes of one extent.
const EXTENT_BYTES: usize = 8;

/// A reply, or the head of one, of whichever form was negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    bytes: [u8; ERROR_OFFSET_CHUNK_BYTES],
    len: u8,
}

impl Head {
    fn of(part: &[u8]) -> Head {
        let mut bytes = [0; ERROR_OFFSET_CHUNK_BYTES];
        bytes[..part.len()].copy_from_slice(part);
        // At most 34: a longer part has panicked above.
        Head { bytes, len: u8::try_from(part.len()).unwrap_or(u8::MAX) }
    }

    /// The bytes to send.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// One extent of a block status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusExtent {
    /// Bytes, not zero.
    pub len: u32,
    /// `STATE_HOLE` and `STATE_ZERO`.
    pub flags: u32,
}

/// Simple reply message: the whole answer, or the head of the data of a read without chunks.
pub fn simple_reply(cookie: Cookie, result: Result<(), Errno>) -> [u8; SIMPLE_REPLY_BYTES] {
    let mut out = [0; SIMPLE_REPLY_BYTES];
    put(&mut out, 0, SIMPLE_REPLY_MAGIC.to_be_bytes());
    put(&mut out, 4, result.err().map_or(0, Errno::code).to_be_bytes());
    put(&mut out, 8, cookie.0.to_be_bytes());
    out
}

/// The answer to anything but a read or block status that went well. Both forms are allowed here,
/// and the simple one is shorter.
pub fn success(cookie: Cookie) -> [u8; SIMPLE_REPLY_BYTES] {
    simple_reply(cookie, Ok(()))
}

/// The answer to anything that failed, in the form that the client expects.
/// Structured reply chunk message: never a simple reply to a read then, and preferred for errors.
pub fn failure(negotiated: &Negotiated, cookie: Cookie, errno: Errno) -> Head {
    if negotiated.structured {
        Head::of(&error_chunk(cookie, errno))
    } else {
        Head::of(&simple_reply(cookie, Err(errno)))
    }
}

/// What goes in front of all the data of a read that went well.
pub fn read_head(negotiated: &Negotiated, request: &Request) -> Head {
    if negotiated.structured {
        Head::of(&read_chunk_head(request.cookie, request.offset, request.len, true))
    } else {
        Head::of(&simple_reply(request.cookie, Ok(())))
    }
}

/// Front of one content chunk of a read; `len` bytes of data follow, not zero.
/// `done` on the last chunk, and only if nothing can fail any more.
pub fn read_chunk_head(
    cookie: Cookie,
    offset: u64,
    len: u32,
    done: bool,
) -> [u8; READ_CHUNK_HEAD_BYTES] {
    let mut out = [0; READ_CHUNK_HEAD_BYTES];
    // A read is at most PAYLOAD_BYTES_MAX long.
    put_chunk_head(&mut out, done, chunk::OFFSET_DATA, cookie, len.saturating_add(8));
    put(&mut out, CHUNK_HEAD_BYTES, offset.to_be_bytes());
    out
}

/// A content chunk of zeroes, `len` bytes, not zero. Not for reads that want one chunk.
pub fn hole_chunk(
    cookie: Cookie,
    offset: u64,
    len: u32,
    done: bool,
) -> [u8; CHUNK_HEAD_BYTES + 12] {
    let mut out = [0; CHUNK_HEAD_BYTES + 12];
    put_chunk_head(&mut out, done, chunk::OFFSET_HOLE, cookie, 12);
    put(&mut out, CHUNK_HEAD_BYTES, offset.to_be_bytes());
    put(&mut out, CHUNK_HEAD_BYTES + 8, len.to_be_bytes());
    out
}

/// The end of a reply, nothing else.
pub fn none_chunk(cookie: Cookie) -> [u8; CHUNK_HEAD_BYTES] {
    let mut out = [0; CHUNK_HEAD_BYTES];
    put_chunk_head(&mut out, true, chunk::NONE, cookie, 0);
    out
}

/// An error of the whole request, as the last chunk, without text.
pub fn error_chunk(cookie: Cookie, errno: Errno) -> [u8; ERROR_CHUNK_BYTES] {
    let mut out = [0; ERROR_CHUNK_BYTES];
    put_chunk_head(&mut out, true, chunk::ERROR, cookie, 6);
    put(&mut out, CHUNK_HEAD_BYTES, errno.code().to_be_bytes());
    out
}

/// An error at `offset`, without text.
pub fn error_offset_chunk(
    cookie: Cookie,
    errno: Errno,
    offset: u64,
    done: bool,
) -> [u8; ERROR_OFFSET_CHUNK_BYTES] {
    let mut out = [0; ERROR_OFFSET_CHUNK_BYTES];
    put_chunk_head(&mut out, done, chunk::ERROR_OFFSET, cookie, 14);
    put(&mut out, CHUNK_HEAD_BYTES, errno.code().to_be_bytes());
    put(&mut out, CHUNK_HEAD_BYTES + 6, offset.to_be_bytes());
    out
}

/// Front of the only chunk of a block status; `extents` extents follow, at least one, at most
/// 2^20.
pub fn block_status_head(cookie: Cookie, extents: u32) -> [u8; STATUS_CHUNK_HEAD_BYTES] {
    let mut out = [0; STATUS_CHUNK_HEAD_BYTES];
    let len = extents.saturating_mul(8).saturating_add(4);
    put_chunk_head(&mut out, true, chunk::BLOCK_STATUS, cookie, len);
    put(&mut out, CHUNK_HEAD_BYTES, BASE_ALLOCATION_ID.to_be_bytes());
    out
}

/// A block status of one extent.
pub fn block_status_single(
    cookie: Cookie,
    extent: StatusExtent,
) -> [u8; STATUS_CHUNK_HEAD_BYTES + EXTENT_BYTES] {
    let mut out = [0; STATUS_CHUNK_HEAD_BYTES + EXTENT_BYTES];
    put(&mut out, 0, block_status_head(cookie, 1));
    put_extent(&mut out, STATUS_CHUNK_HEAD_BYTES, extent);
    out
}

/// A block status of as many of `extents` as fit `out`; yields the bytes written.
/// NBD_CMD_BLOCK_STATUS: fewer than asked for is allowed, none is not, so `None` if none fits.
pub fn block_status_chunk(
    cookie: Cookie,
    extents: &[StatusExtent],
    out: &mut [u8],
) -> Option<usize> {
    let room = out.len().checked_sub(STATUS_CHUNK_HEAD_BYTES)? / EXTENT_BYTES;
    let count = extents.len().min(room).min(1 << 20);
    if count == 0 {
        return None;
    }
    put(out, 0, block_status_head(cookie, u32::try_from(count).ok()?));
    for (index, extent) in extents[..count].iter().enumerate() {
        put_extent(out, STATUS_CHUNK_HEAD_BYTES + index * EXTENT_BYTES, *extent);
    }
    Some(STATUS_CHUNK_HEAD_BYTES + count * EXTENT_BYTES)
}

fn put_extent(out: &mut [u8], at: usize, extent: StatusExtent) {
    put(out, at, extent.len.to_be_bytes());
    put(out, at + 4, extent.flags.to_be_bytes());
}

/// Structured reply chunk message: magic, flags, type, cookie, length.
fn put_chunk_head(out: &mut [u8], done: bool, kind: u16, cookie: Cookie, len: u32) {
    let flags = if done { chunk::DONE } else { 0 };
    put(out, 0, STRUCTURED_REPLY_MAGIC.to_be_bytes());
    put(out, 4, flags.to_be_bytes());
    put(out, 6, kind.to_be_bytes());
    put(out, 8, cookie.0.to_be_bytes());
    put(out, 16, len.to_be_bytes());
}

const _: () = assert!(STATUS_CHUNK_HEAD_BYTES + EXTENT_BYTES == 32);
