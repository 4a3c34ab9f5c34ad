//! The receiving half: replies in whatever order and form they come.
//! Always: a reply is yielded when its last chunk is in; each request is answered at most once.
//! Survives: a time-out between messages (nothing is lost, call again); anything else in the
//! midst of a message ends the connection.

use super::error::{Broken, ClientError, Doing};
use super::stream::Stream;
use super::{Asked, Pending};
use crate::protocol::constants::{
    BASE_ALLOCATION_ID, PAYLOAD_BYTES_MAX, SIMPLE_REPLY_BYTES, chunk,
};
use crate::protocol::{
    AnswerHead, Chunk, Command, Cookie, Errno, Malformed, Negotiated, StatusExtent,
};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

/// Bytes of replies taken from the socket at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Longest chunk that is read, in bytes: a whole read and its offset, or 2^20 extents.
const CHUNK_BYTES_MAX: u32 = PAYLOAD_BYTES_MAX + 64;

/// A reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Of the request.
    pub cookie: Cookie,
    /// The request.
    pub command: Command,
    /// Its first byte.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// How it went.
    pub result: Result<(), Errno>,
    /// Of a block status.
    pub extents: Vec<StatusExtent>,
}

/// A reply of which some chunks are in.
#[derive(Debug, Default)]
struct Partial {
    data: Vec<u8>,
    covered: u64,
    errno: Option<Errno>,
    extents: Vec<StatusExtent>,
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver {
    stream: BufReader<Stream>,
    pending: Pending,
    negotiated: Negotiated,
    partial: HashMap<Cookie, Partial>,
    scratch: Vec<u8>,
    broken: bool,
}

impl Receiver {
    pub(super) fn new(stream: Stream, pending: Pending, negotiated: Negotiated) -> Receiver {
        Receiver {
            stream: BufReader::with_capacity(BUFFER_BYTES, stream),
            pending,
            negotiated,
            partial: HashMap::new(),
            scratch: Vec::new(),
            broken: false,
        }
    }

    /// Sets the longest wait for bytes, `None` for ever.
    ///
    /// # Errors
    /// The operating system refuses, for example a time of zero.
    pub fn set_timeout(&self, time: Option<Duration>) -> Result<(), ClientError> {
        let set = self.stream.get_ref().set_read_timeout(time);
        set.map_err(|source| ClientError::Io { doing: Doing::Receive, source })
    }

    /// Waits for the next reply that is whole. `data` then holds what a read brought, or nothing.
    ///
    /// # Errors
    /// The connection failed or the server broke the protocol. An error that the server answered
    /// is no error here but in `Reply::result`.
    pub fn recv_reply(&mut self, data: &mut Vec<u8>) -> Result<Reply, ClientError> {
        if self.broken {
            return Err(ClientError::OutOfStep);
        }
        data.clear();
        loop {
            self.await_message()?;
            match self.message(data) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    return Err(error);
                }
            }
        }
    }

    /// Waits for the first byte of a message. A time-out here loses nothing.
    fn await_message(&mut self) -> Result<(), ClientError> {
        let doing = Doing::Receive;
        loop {
            match self.stream.fill_buf() {
                Ok([]) => {
                    self.broken = true;
                    return Err(ClientError::Closed { doing });
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(match ClientError::io(doing, source) {
                        ClientError::TimedOut { .. } => {
                            ClientError::TimedOut { doing, clean: true }
                        }
                        other => {
                            self.broken = true;
                            other
                        }
                    });
                }
            }
        }
    }

    /// One simple reply or chunk; a reply if that completes one.
    fn message(&mut self, data: &mut Vec<u8>) -> Result<Option<Reply>, ClientError> {
        let mut head = [0; SIMPLE_REPLY_BYTES];
        self.read(&mut head)?;
        match AnswerHead::decode(&head)? {
            AnswerHead::Simple { code, cookie } => self.simple(cookie, code, data).map(Some),
            AnswerHead::Chunk { done, kind, cookie } => self.chunk(cookie, kind, done, data),
        }
    }

    fn simple(
        &mut self,
        cookie: Cookie,
        code: u32,
        data: &mut Vec<u8>,
    ) -> Result<Reply, ClientError> {
        let asked = self.asked(cookie)?;
        let command = asked.command;
        let reads = matches!(command, Command::Read { .. });
        // Structured reply chunk message: a read or a payload never comes in a simple reply then.
        let wrong = reads && self.negotiated.structured
            || matches!(command, Command::BlockStatus { .. }) && code == 0
            || self.partial.contains_key(&cookie);
        if wrong {
            return Err(Broken::Form { command }.into());
        }
        if reads && code == 0 {
            data.resize(asked.len as usize, 0);
            self.read(data)?;
        }
        let result = if code == 0 { Ok(()) } else { Err(Errno::from_code(code)) };
        Ok(self.complete(cookie, asked, result, Vec::new()))
    }

    fn chunk(
        &mut self,
        cookie: Cookie,
        kind: u16,
        done: bool,
        data: &mut Vec<u8>,
    ) -> Result<Option<Reply>, ClientError> {
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = u32::from_be_bytes(len);
        if len > CHUNK_BYTES_MAX {
            return Err(Malformed::Chunk { kind, len }.into());
        }
        let asked = self.asked(cookie)?;
        if !self.negotiated.structured {
            return Err(Broken::Form { command: asked.command }.into());
        }
        let mut partial = self.partial.remove(&cookie).unwrap_or_default();
        if kind == chunk::OFFSET_DATA {
            // A read in one piece goes straight to the caller's buffer.
            if done && partial.data.is_empty() {
                std::mem::swap(&mut partial.data, data);
                partial.data.clear();
            }
            self.data_chunk(asked, len, &mut partial)?;
        } else {
            self.small_chunk(asked, kind, len, &mut partial)?;
        }
        if !done {
            self.partial.insert(cookie, partial);
            return Ok(None);
        }
        self.last_chunk(cookie, asked, partial, data).map(Some)
    }

    /// Data at an offset, without a copy in between.
    fn data_chunk(
        &mut self,
        asked: Asked,
        len: u32,
        partial: &mut Partial,
    ) -> Result<(), ClientError> {
        let mut offset = [0; 8];
        let Some(len) = len.checked_sub(8).filter(|len| *len > 0) else {
            return Err(Malformed::Chunk { kind: chunk::OFFSET_DATA, len }.into());
        };
        self.read(&mut offset)?;
        let place = place(asked, u64::from_be_bytes(offset), len, partial)?;
        self.read(place)
    }

    fn small_chunk(
        &mut self,
        asked: Asked,
        kind: u16,
        len: u32,
        partial: &mut Partial,
    ) -> Result<(), ClientError> {
        let mut payload = std::mem::take(&mut self.scratch);
        payload.resize(len as usize, 0);
        self.read(&mut payload)?;
        match Chunk::decode(kind, &payload)? {
            Chunk::None => {}
            Chunk::Hole { offset, len } => place(asked, offset, len, partial)?.fill(0),
            Chunk::Error { code, .. } => {
                partial.errno.get_or_insert(Errno::from_code(code));
            }
            Chunk::Status { context, extents } => {
                let fits = matches!(asked.command, Command::BlockStatus { one }
                    if !one || extents.len() == 1);
                if !fits || context != BASE_ALLOCATION_ID || !partial.extents.is_empty() {
                    return Err(Broken::Form { command: asked.command }.into());
                }
                partial.extents = extents;
            }
            Chunk::Data { .. } => return Err(Broken::Form { command: asked.command }.into()),
        }
        self.scratch = payload;
        Ok(())
    }

    fn last_chunk(
        &mut self,
        cookie: Cookie,
        asked: Asked,
        partial: Partial,
        data: &mut Vec<u8>,
    ) -> Result<Reply, ClientError> {
        let result = partial.errno.map_or(Ok(()), Err);
        match asked.command {
            Command::Read { .. } if result.is_ok() => {
                if partial.covered != u64::from(asked.len) {
                    return Err(Broken::Short { got: partial.covered, len: asked.len }.into());
                }
                *data = partial.data;
            }
            Command::BlockStatus { .. } if result.is_ok() && partial.extents.is_empty() => {
                return Err(Broken::Form { command: asked.command }.into());
            }
            _ => {}
        }
        Ok(self.complete(cookie, asked, result, partial.extents))
    }

    fn asked(&self, cookie: Cookie) -> Result<Asked, ClientError> {
        let asked = self.pending.lock().get(&cookie).copied();
        asked.ok_or(ClientError::Broken(Broken::Cookie { cookie }))
    }

    fn complete(
        &mut self,
        cookie: Cookie,
        asked: Asked,
        result: Result<(), Errno>,
        extents: Vec<StatusExtent>,
    ) -> Reply {
        self.pending.lock().remove(&cookie);
        let Asked { command, offset, len } = asked;
        Reply { cookie, command, offset, len, result, extents }
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<(), ClientError> {
        let read = self.stream.read_exact(buf);
        read.map_err(|source| ClientError::io(Doing::Receive, source))
    }
}

/// Where `len` bytes at `offset` belong in the data of a read; they count as covered.
fn place(
    asked: Asked,
    offset: u64,
    len: u32,
    partial: &mut Partial,
) -> Result<&mut [u8], ClientError> {
    if !matches!(asked.command, Command::Read { .. }) {
        return Err(Broken::Form { command: asked.command }.into());
    }
    let outside = Broken::Range { offset, len: u64::from(len) };
    let start = offset.checked_sub(asked.offset).ok_or(outside)?;
    let end = start.checked_add(u64::from(len)).ok_or(outside)?;
    if end > u64::from(asked.len) {
        return Err(outside.into());
    }
    let start = usize::try_from(start).map_err(|_| outside)?;
    partial.covered += u64::from(len);
    partial.data.resize(asked.len as usize, 0);
    partial.data.get_mut(start..start + len as usize).ok_or(ClientError::Broken(outside))
}
