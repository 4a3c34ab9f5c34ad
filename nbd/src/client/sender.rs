//! The sending half: requests go out without waiting for replies.
//! Always: a request is known to the receiving half before its first byte leaves.
//! A single thread that drives both halves must keep its unanswered bytes below what the sockets
//! buffer, or receive in another thread: a server may stop reading while its replies wait.

use super::error::{ClientError, Doing};
use super::stream::Stream;
use super::{Asked, Pending, Zeroes, wire_len};
use crate::protocol::{Command, Cookie, Request, encode_request};
use std::io::Write;
use std::time::Duration;

/// Payloads up to this many bytes share a system call with their header.
const JOIN_BYTES_MAX: usize = 64 << 10;

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    stream: Stream,
    pending: Pending,
    next: u64,
    scratch: Vec<u8>,
    broken: bool,
}

impl Sender {
    pub(super) fn new(stream: Stream, pending: Pending) -> Sender {
        Sender { stream, pending, next: 1, scratch: Vec::new(), broken: false }
    }

    /// Sets the longest wait for room to send, `None` for ever.
    ///
    /// # Errors
    /// The operating system refuses, for example a time of zero.
    pub fn set_timeout(&self, time: Option<Duration>) -> Result<(), ClientError> {
        let set = self.stream.set_write_timeout(time);
        set.map_err(|source| ClientError::Io { doing: Doing::Send, source })
    }

    /// Requests sent without a reply yet.
    pub fn in_flight(&self) -> usize {
        self.pending.lock().len()
    }

    /// Asks for `len` bytes from `offset`.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send_read(&mut self, offset: u64, len: u32) -> Result<Cookie, ClientError> {
        self.send(Command::Read { whole: false }, false, offset, len, &[])
    }

    /// Writes `data` at `offset`; durable before the answer if `fua`.
    ///
    /// # Errors
    /// The connection failed, or `data` is too long for NBD.
    pub fn send_write(
        &mut self,
        offset: u64,
        data: &[u8],
        fua: bool,
    ) -> Result<Cookie, ClientError> {
        self.send(Command::Write, fua, offset, wire_len(data.len())?, data)
    }

    /// Asks for durability of what was answered.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send_flush(&mut self) -> Result<Cookie, ClientError> {
        self.send(Command::Flush, false, 0, 0, &[])
    }

    /// Says that a range is no longer needed.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send_trim(&mut self, offset: u64, len: u32, fua: bool) -> Result<Cookie, ClientError> {
        self.send(Command::Trim, fua, offset, len, &[])
    }

    /// Fills a range with zeroes.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send_write_zeroes(
        &mut self,
        offset: u64,
        len: u32,
        how: Zeroes,
    ) -> Result<Cookie, ClientError> {
        let command = Command::WriteZeroes { no_hole: how.no_hole, fast: how.fast };
        self.send(command, how.fua, offset, len, &[])
    }

    /// Asks for the status of a range.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send_block_status(
        &mut self,
        offset: u64,
        len: u32,
        one: bool,
    ) -> Result<Cookie, ClientError> {
        self.send(Command::BlockStatus { one }, false, offset, len, &[])
    }

    /// Says goodbye. Nothing may be sent after it.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send_disconnect(&mut self) -> Result<(), ClientError> {
        self.send(Command::Disconnect, false, 0, 0, &[])?;
        self.broken = true;
        Ok(())
    }

    fn send(
        &mut self,
        command: Command,
        fua: bool,
        offset: u64,
        len: u32,
        payload: &[u8],
    ) -> Result<Cookie, ClientError> {
        if self.broken {
            return Err(ClientError::OutOfStep);
        }
        let cookie = Cookie(self.next);
        self.next += 1;
        if command != Command::Disconnect {
            self.pending.lock().insert(cookie, Asked { command, offset, len });
        }
        let head = encode_request(&Request { cookie, command, fua, offset, len });
        let joined = payload.len().min(JOIN_BYTES_MAX);
        self.scratch.clear();
        self.scratch.extend_from_slice(&head);
        self.scratch.extend_from_slice(&payload[..joined]);
        let sent = self
            .stream
            .write_all(&self.scratch)
            .and_then(|()| self.stream.write_all(&payload[joined..]));
        sent.map_err(|source| {
            // Part of the request may have left.
            self.broken = true;
            ClientError::io(Doing::Send, source)
        })?;
        Ok(cookie)
    }
}
