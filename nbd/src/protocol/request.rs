//! One request header in, a request that keeps every rule out, or the reason why not.
//! Always: the range of an accepted request is whole blocks inside the export, its payload is at
//! most `PAYLOAD_BYTES_MAX`, and its flags belong to its command. Allocates nothing.

use super::bytes::Bytes;
use super::constants::{
    BLOCK_BYTES_MIN, Errno, PAYLOAD_BYTES_MAX, PAYLOAD_SKIP_BYTES_MAX, REQUEST_BYTES,
    REQUEST_MAGIC, UNFRAGMENTED_BYTES_MAX, cmd, cmd_flag,
};
use super::export::Export;
use super::handshake::Negotiated;
use std::fmt;

/// The client's name for a request, echoed in every reply to it. Opaque to the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Cookie(pub u64);

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read `len` bytes.
    Read {
        /// In at most one content chunk.
        whole: bool,
    },
    /// Write the `len` bytes that follow the header.
    Write,
    /// Serve what is outstanding, then close. Has no reply.
    Disconnect,
    /// Make durable what was answered before.
    Flush,
    /// The range is no longer needed.
    Trim,
    /// Fill the range with zeroes.
    WriteZeroes {
        /// The range must stay allocated.
        no_hole: bool,
        /// Fail with `ENOTSUP` unless faster than writing.
        fast: bool,
    },
    /// Report `base:allocation` of the range.
    BlockStatus {
        /// Exactly one extent, no longer than the range.
        one: bool,
    },
}

impl Command {
    /// Type on the wire.
    pub const fn kind(self) -> u16 {
        match self {
            Command::Read { .. } => cmd::READ,
            Command::Write => cmd::WRITE,
            Command::Disconnect => cmd::DISC,
            Command::Flush => cmd::FLUSH,
            Command::Trim => cmd::TRIM,
            Command::WriteZeroes { .. } => cmd::WRITE_ZEROES,
            Command::BlockStatus { .. } => cmd::BLOCK_STATUS,
        }
    }

    /// Flags on the wire, without FUA.
    pub const fn flags(self) -> u16 {
        match self {
            Command::Read { whole: true } => cmd_flag::DF,
            Command::WriteZeroes { no_hole, fast } => {
                (if no_hole { cmd_flag::NO_HOLE } else { 0 })
                    | (if fast { cmd_flag::FAST_ZERO } else { 0 })
            }
            Command::BlockStatus { one: true } => cmd_flag::REQ_ONE,
            _ => 0,
        }
    }

    /// Whether the content of the export changes.
    pub const fn modifies(self) -> bool {
        matches!(self, Command::Write | Command::Trim | Command::WriteZeroes { .. })
    }
}

/// A request that keeps every rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// To be echoed.
    pub cookie: Cookie,
    /// What to do.
    pub command: Command,
    /// Durable before the answer. Also set where it has no effect, if the client did so.
    pub fua: bool,
    /// First byte; zero for flush and disconnect.
    pub offset: u64,
    /// Bytes; zero for flush and disconnect.
    pub len: u32,
}

impl Request {
    /// Bytes that follow the header on the stream.
    pub const fn payload(&self) -> u32 {
        match self.command {
            Command::Write => self.len,
            _ => 0,
        }
    }
}

/// Why a connection ends in the transmission phase. Other connections are not concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A header did not begin with its magic: the stream is out of step.
    RequestMagic {
        /// What stood there.
        found: u32,
    },
    /// A write has a payload that is not worth skipping.
    PayloadTooBig {
        /// Bytes.
        len: u32,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::RequestMagic { found } => write!(f, "request began with {found:#010x}"),
            Violation::PayloadTooBig { len } => {
                write!(f, "write of {len} bytes, more than {PAYLOAD_SKIP_BYTES_MAX}")
            }
        }
    }
}

/// A request that is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reject {
    /// Drop `skip` bytes that follow the header, answer with an error, go on.
    Answer {
        /// To be echoed.
        cookie: Cookie,
        /// The error. `failure` turns both into the right kind of reply.
        errno: Errno,
        /// Payload bytes to drop before the next header.
        skip: u32,
    },
    /// End this connection.
    Close(Violation),
}

/// Checks one header.
///
/// # Errors
/// `Reject` says whether to answer with an error or to close the connection.
pub fn decode_request(
    export: &Export,
    negotiated: &Negotiated,
    bytes: &[u8; REQUEST_BYTES],
) -> Result<Request, Reject> {
    let (magic, raw) = Raw::split(bytes);
    // Terminating the transmission phase: a client that breaks the framing is disconnected.
    if magic != REQUEST_MAGIC {
        return Err(Reject::Close(Violation::RequestMagic { found: magic }));
    }
    let skip = if raw.kind == cmd::WRITE { raw.len } else { 0 };
    // Size constraints: above 32 MiB a payload may count as an attack.
    if skip > PAYLOAD_SKIP_BYTES_MAX {
        return Err(Reject::Close(Violation::PayloadTooBig { len: skip }));
    }
    raw.check(export, negotiated).map_err(|errno| Reject::Answer {
        cookie: raw.cookie,
        errno,
        skip,
    })
}

/// The fields of a header, before they mean anything.
#[derive(Clone, Copy)]
struct Raw {
    flags: u16,
    kind: u16,
    cookie: Cookie,
    offset: u64,
    len: u32,
}

impl Raw {
    /// Request message: magic, flags, type, cookie, offset, length.
    fn split(bytes: &[u8; REQUEST_BYTES]) -> (u32, Raw) {
        const _: () = assert!(4 + 2 + 2 + 8 + 8 + 4 == REQUEST_BYTES);
        let mut rest = Bytes(bytes);
        // The array is as long as the fields, so no default is ever used.
        let magic = rest.u32().unwrap_or_default();
        let raw = Raw {
            flags: rest.u16().unwrap_or_default(),
            kind: rest.u16().unwrap_or_default(),
            cookie: Cookie(rest.u64().unwrap_or_default()),
            offset: rest.u64().unwrap_or_default(),
            len: rest.u32().unwrap_or_default(),
        };
        (magic, raw)
    }

    fn check(self, export: &Export, negotiated: &Negotiated) -> Result<Request, Errno> {
        let command = self.command(export, negotiated)?;
        // Error values: EPERM for writes, trims and zeroes of a read-only export.
        if command.modifies() && export.is_read_only() {
            return Err(Errno::Perm);
        }
        match command {
            // NBD_CMD_DISC: whatever else it says, the client is gone.
            Command::Disconnect => return Ok(self.accept(command, 0, 0)),
            // NBD_CMD_FLUSH: offset and length are reserved.
            Command::Flush if self.offset == 0 && self.len == 0 => {}
            Command::Flush => return Err(Errno::Inval),
            _ => {
                self.check_payload(command, negotiated)?;
                self.check_range(command, export)?;
            }
        }
        Ok(self.accept(command, self.offset, self.len))
    }

    fn accept(self, command: Command, offset: u64, len: u32) -> Request {
        let fua = self.flags & cmd_flag::FUA != 0;
        Request { cookie: self.cookie, command, fua, offset, len }
    }

    /// Error values: EINVAL for a command or flag that is unknown, does not belong together, or
    /// was not negotiated. Command flags: FUA is allowed on every command.
    fn command(self, export: &Export, negotiated: &Negotiated) -> Result<Command, Errno> {
        let has = |flag: u16| self.flags & flag != 0;
        let (command, allowed) = match self.kind {
            cmd::READ => {
                let allowed = if negotiated.structured { cmd_flag::DF } else { 0 };
                (Command::Read { whole: has(cmd_flag::DF) }, allowed)
            }
            cmd::WRITE => (Command::Write, 0),
            // A client that leaves cannot be told of a wrong flag.
            cmd::DISC => return Ok(Command::Disconnect),
            cmd::FLUSH => (Command::Flush, 0),
            cmd::TRIM => (Command::Trim, 0),
            cmd::WRITE_ZEROES => {
                // NBD_CMD_WRITE_ZEROES: EINVAL for FAST_ZERO that was not advertised.
                let fast = if export.has_fast_zero() { cmd_flag::FAST_ZERO } else { 0 };
                let command = Command::WriteZeroes {
                    no_hole: has(cmd_flag::NO_HOLE),
                    fast: has(cmd_flag::FAST_ZERO),
                };
                (command, cmd_flag::NO_HOLE | fast)
            }
            // Metadata querying: EINVAL without a selected context.
            cmd::BLOCK_STATUS if negotiated.allocation => {
                (Command::BlockStatus { one: has(cmd_flag::REQ_ONE) }, cmd_flag::REQ_ONE)
            }
            // CACHE is not advertised, RESIZE is experimental.
            _ => return Err(Errno::Inval),
        };
        if self.flags & !(allowed | cmd_flag::FUA) != 0 {
            return Err(Errno::Inval);
        }
        Ok(command)
    }

    /// Size constraints, for commands whose data travels.
    fn check_payload(self, command: Command, negotiated: &Negotiated) -> Result<(), Errno> {
        match command {
            Command::Write if self.len > PAYLOAD_BYTES_MAX => Err(Errno::Inval),
            // NBD_CMD_READ: EOVERFLOW is documented where DF is, so not for simple replies.
            Command::Read { .. } if self.len > PAYLOAD_BYTES_MAX => {
                Err(if negotiated.structured { Errno::Overflow } else { Errno::Inval })
            }
            Command::Read { whole: true } if self.len > UNFRAGMENTED_BYTES_MAX => {
                Err(Errno::Overflow)
            }
            _ => Ok(()),
        }
    }

    /// Size constraints and Error values. An empty range is left open by the specification; no
    /// client needs it, so it is refused like any range that is not whole blocks.
    fn check_range(self, command: Command, export: &Export) -> Result<(), Errno> {
        let block = u64::from(BLOCK_BYTES_MIN);
        let len = u64::from(self.len);
        if len == 0 || !len.is_multiple_of(block) || !self.offset.is_multiple_of(block) {
            return Err(Errno::Inval);
        }
        let inside = self.offset.checked_add(len).is_some_and(|end| end <= export.size());
        match command {
            _ if inside => Ok(()),
            // ENOSPC for what writes past the end, EINVAL for everything else.
            Command::Write | Command::WriteZeroes { .. } => Err(Errno::NoSpc),
            _ => Err(Errno::Inval),
        }
    }
}
