//! What can go wrong for a client, each with its own variant.
//! Always: `Answered` means that the connection goes on; after every other error but a clean
//! `TimedOut` it is of no more use.

use super::stream::Address;
use crate::protocol::{Command, Cookie, Errno, Malformed};
use std::fmt;
use std::io;

/// What a client was doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Setting up the socket.
    Connect,
    /// Negotiating.
    Handshake,
    /// Sending a request.
    Send,
    /// Receiving a reply.
    Receive,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doing::Connect => "connecting",
            Doing::Handshake => "negotiating",
            Doing::Send => "sending a request",
            Doing::Receive => "waiting for a reply",
        })
    }
}

/// How a server broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Bytes without sense.
    Malformed(Malformed),
    /// The greeting is not fixed newstyle.
    NotFixed {
        /// Handshake flags.
        flags: u16,
    },
    /// An answer to another option than the one sent.
    Option {
        /// The option that was sent.
        sent: u32,
        /// The option that was answered.
        answered: u32,
    },
    /// An option reply longer than any that makes sense.
    OptionReplyTooLong {
        /// Bytes.
        len: u32,
    },
    /// The server accepted the export without telling its size.
    NoExportInfo,
    /// A reply to a request that is not on its way.
    Cookie {
        /// Of that reply.
        cookie: Cookie,
    },
    /// A kind of reply that does not go with the request or with what was negotiated.
    Form {
        /// The request.
        command: Command,
    },
    /// Data outside the range asked for.
    Range {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A read that ended well without all its data.
    Short {
        /// Bytes received.
        got: u64,
        /// Bytes asked for.
        len: u32,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Malformed(malformed) => malformed.fmt(f),
            Broken::NotFixed { flags } => write!(f, "handshake flags {flags:#x} are too old"),
            Broken::Option { sent, answered } => {
                write!(f, "option {sent} was answered as {answered}")
            }
            Broken::OptionReplyTooLong { len } => write!(f, "option reply of {len} bytes"),
            Broken::NoExportInfo => f.write_str("export accepted without its size"),
            Broken::Cookie { cookie } => write!(f, "reply to unknown request {:#x}", cookie.0),
            Broken::Form { command } => write!(f, "wrong kind of reply to {command:?}"),
            Broken::Range { offset, len } => {
                write!(f, "{len} bytes at {offset} were not asked for")
            }
            Broken::Short { got, len } => write!(f, "{got} bytes of a read of {len}"),
        }
    }
}

/// An error of the client.
#[derive(Debug)]
pub enum ClientError {
    /// No connection.
    Connect {
        /// To where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// The connection failed.
    Io {
        /// At what.
        doing: Doing,
        /// Why.
        source: io::Error,
    },
    /// Nothing happened for the time set. If `clean`, no part of a message was lost and the same
    /// call may be made again.
    TimedOut {
        /// At what.
        doing: Doing,
        /// The connection is still in step.
        clean: bool,
    },
    /// The server closed the connection.
    Closed {
        /// At what.
        doing: Doing,
    },
    /// An earlier error has left the connection out of step.
    OutOfStep,
    /// The server refused an option.
    Refused {
        /// The option.
        option: u32,
        /// Reply type.
        kind: u32,
        /// What the server says for people.
        text: Box<str>,
    },
    /// The server answered a request with an error; the connection goes on.
    Answered {
        /// The request.
        command: Command,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// The error.
        errno: Errno,
    },
    /// A request of 4 GiB or more does not fit the protocol; nothing was sent.
    TooLong {
        /// Bytes.
        len: usize,
    },
    /// The server broke the protocol.
    Broken(Broken),
}

impl ClientError {
    /// The error that the server answered with, if it did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            ClientError::Answered { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Sorts an error of a socket in the midst of a message.
    pub(super) fn io(doing: Doing, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::TimedOut { doing, clean: false }
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => ClientError::Closed { doing },
            _ => ClientError::Io { doing, source },
        }
    }
}

impl From<Malformed> for ClientError {
    fn from(malformed: Malformed) -> ClientError {
        ClientError::Broken(Broken::Malformed(malformed))
    }
}

impl From<Broken> for ClientError {
    fn from(broken: Broken) -> ClientError {
        ClientError::Broken(broken)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connect { address, source } => {
                write!(f, "NBD server at {address}: {source}; is it running?")
            }
            ClientError::Io { doing, source } => write!(f, "NBD connection, {doing}: {source}"),
            ClientError::TimedOut { doing, clean } => {
                let next = if *clean { "wait again" } else { "connect again" };
                write!(f, "NBD server silent, {doing}; {next}")
            }
            ClientError::Closed { doing } => {
                write!(f, "NBD server closed the connection, {doing}; connect again")
            }
            ClientError::OutOfStep => {
                f.write_str("NBD connection is out of step after an earlier error; connect again")
            }
            ClientError::Refused { option, kind, text } => {
                write!(f, "NBD server refused option {option} with {kind:#x}: {text}")
            }
            ClientError::Answered { command, offset, len, errno } => {
                write!(f, "{command:?} of {len} bytes at {offset}: server answered {errno}")
            }
            ClientError::TooLong { len } => {
                write!(f, "request of {len} bytes does not fit NBD; send it in parts")
            }
            ClientError::Broken(broken) => {
                write!(f, "NBD server broke the protocol: {broken}; connect again")
            }
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Connect { source, .. } | ClientError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
