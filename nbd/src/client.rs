//! A small blocking NBD client over unix sockets or TCP, for tests, demo and scripts.
//! Always: one reply per request; an error that the server answered (`ClientError::Answered`) is
//! never mixed up with a connection that failed. Nothing is checked before it is sent, so that
//! tests can send what a server must refuse.
//! Survives: a server that breaks the protocol, stalls or goes away, each with its own error.

mod error;
mod handshake;
mod receiver;
mod sender;
mod stream;

pub use error::{Broken, ClientError, Doing};
pub use receiver::{Receiver, Reply};
pub use sender::Sender;
pub use stream::{Address, Stream};

use crate::protocol::{Command, Cookie, Negotiated, StatusExtent};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the export; empty for the default one.
    pub export: String,
    /// Ask for structured replies.
    pub structured: bool,
    /// Ask for `base:allocation`; needs structured replies.
    pub allocation: bool,
    /// Longest wait for a TCP connection.
    pub connect_timeout: Duration,
    /// Longest wait for bytes, `None` for ever.
    pub read_timeout: Option<Duration>,
    /// Longest wait for room to send, `None` for ever.
    pub write_timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            export: String::new(),
            structured: true,
            allocation: true,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Some(Duration::from_secs(60)),
            write_timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// What the server told of the export.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExportInfo {
    /// Canonical name, if told.
    pub name: String,
    /// Text for people, if told.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Smallest unit and alignment in bytes.
    pub block_min: u32,
    /// Unit that is served well, in bytes.
    pub block_preferred: u32,
    /// Largest payload in bytes.
    pub payload_max: u32,
    /// What both sides agreed on.
    pub negotiated: Negotiated,
}

/// How to write zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Zeroes {
    /// Durable before the answer.
    pub fua: bool,
    /// The range stays allocated.
    pub no_hole: bool,
    /// Fail unless faster than writing.
    pub fast: bool,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    command: Command,
    offset: u64,
    len: u32,
}

/// Requests without a reply yet, shared by both halves.
#[derive(Clone, Debug, Default)]
struct Pending(Arc<Mutex<HashMap<Cookie, Asked>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<Cookie, Asked>> {
        // The map is whole between any two calls on it, also after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the transmission phase, one request at a time.
/// [`Client::split`] yields the halves that keep many in flight.
#[derive(Debug)]
pub struct Client {
    info: ExportInfo,
    sender: Sender,
    receiver: Receiver,
    scratch: Vec<u8>,
}

impl Client {
    /// Connects, negotiates and enters the transmission phase.
    ///
    /// # Errors
    /// No connection, the server refuses the export, or it does not speak NBD.
    pub fn connect(address: &Address, options: &Options) -> Result<Client, ClientError> {
        Client::over(Stream::connect(address, options.connect_timeout)?, options)
    }

    /// The same over a stream that is connected.
    ///
    /// # Errors
    /// The server refuses the export, or it does not speak NBD.
    pub fn over(mut stream: Stream, options: &Options) -> Result<Client, ClientError> {
        stream
            .set_timeouts(options.read_timeout, options.write_timeout)
            .map_err(|source| ClientError::io(Doing::Connect, source))?;
        let info = handshake::negotiate(&mut stream, options)?;
        let other = stream.try_clone().map_err(|source| ClientError::io(Doing::Connect, source))?;
        let pending = Pending::default();
        let receiver = Receiver::new(other, pending.clone(), info.negotiated);
        let sender = Sender::new(stream, pending);
        Ok(Client { info, sender, receiver, scratch: Vec::new() })
    }

    /// What the server told of the export.
    pub fn info(&self) -> &ExportInfo {
        &self.info
    }

    /// The two halves: send without waiting, receive in any order.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Sets the longest waits for bytes and for room to send, `None` for ever.
    ///
    /// # Errors
    /// The operating system refuses, for example a time of zero.
    pub fn set_timeouts(
        &self,
        read: Option<Duration>,
        write: Option<Duration>,
    ) -> Result<(), ClientError> {
        self.receiver.set_timeout(read)?;
        self.sender.set_timeout(write)
    }

    /// Fills `data` from `offset`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<(), ClientError> {
        self.sender.send_read(offset, wire_len(data.len())?)?;
        self.finish()?;
        data.copy_from_slice(&self.scratch);
        Ok(())
    }

    /// Writes `data` at `offset`; durable before this returns if `fua`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn write(&mut self, offset: u64, data: &[u8], fua: bool) -> Result<(), ClientError> {
        self.sender.send_write(offset, data, fua)?;
        self.finish().map(drop)
    }

    /// Makes durable every write that was answered.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.sender.send_flush()?;
        self.finish().map(drop)
    }

    /// Says that a range is no longer needed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn trim(&mut self, offset: u64, len: u32, fua: bool) -> Result<(), ClientError> {
        self.sender.send_trim(offset, len, fua)?;
        self.finish().map(drop)
    }

    /// Fills a range with zeroes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn write_zeroes(&mut self, offset: u64, len: u32, how: Zeroes) -> Result<(), ClientError> {
        self.sender.send_write_zeroes(offset, len, how)?;
        self.finish().map(drop)
    }

    /// Status of the extents from `offset`, at least one; exactly one if `one`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn block_status(
        &mut self,
        offset: u64,
        len: u32,
        one: bool,
    ) -> Result<Vec<StatusExtent>, ClientError> {
        self.sender.send_block_status(offset, len, one)?;
        self.finish().map(|reply| reply.extents)
    }

    /// Says goodbye and waits until the server has closed the connection.
    ///
    /// # Errors
    /// The goodbye could not be sent, or the server sent something after it.
    pub fn disconnect(mut self) -> Result<(), ClientError> {
        self.sender.send_disconnect()?;
        match self.receiver.recv_reply(&mut self.scratch) {
            Err(ClientError::Closed { .. }) => Ok(()),
            Ok(reply) => Err(ClientError::Broken(Broken::Cookie { cookie: reply.cookie })),
            Err(error) => Err(error),
        }
    }

    fn finish(&mut self) -> Result<Reply, ClientError> {
        let reply = self.receiver.recv_reply(&mut self.scratch)?;
        match reply.result {
            Ok(()) => Ok(reply),
            Err(errno) => Err(ClientError::Answered {
                command: reply.command,
                offset: reply.offset,
                len: reply.len,
                errno,
            }),
        }
    }
}

fn wire_len(len: usize) -> Result<u32, ClientError> {
    u32::try_from(len).map_err(|_| ClientError::TooLong { len })
}
