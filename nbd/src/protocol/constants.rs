//! Every number of the NBD specification that we use, and our own bounds on what clients send.
//! Always: names follow the specification without its `NBD_` prefix; all integers are big-endian
//! on the wire.

use std::fmt;

/// First word of a server's greeting, `NBDMAGIC`.
pub const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Second word of the greeting and first word of every option, `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// First word of an option reply.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// First word of a request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First word of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First word of a structured reply chunk.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Bytes of the greeting: two magics, handshake flags.
pub const GREETING_BYTES: usize = 18;
/// Bytes of an option header: magic, option, length.
pub const OPTION_HEAD_BYTES: usize = 16;
/// Bytes of an option reply header: magic, option, kind, length.
pub const OPTION_REPLY_HEAD_BYTES: usize = 20;
/// Bytes of a request header.
pub const REQUEST_BYTES: usize = 28;
/// Bytes of a simple reply header.
pub const SIMPLE_REPLY_BYTES: usize = 16;
/// Bytes of a structured reply chunk header.
pub const CHUNK_HEAD_BYTES: usize = 20;
/// Reserved zeroes after an answer to `OPT_EXPORT_NAME`.
pub const EXPORT_NAME_ZEROES: usize = 124;

/// Smallest unit and alignment of a request, in bytes. Requests off it get `EINVAL`.
pub const BLOCK_BYTES_MIN: u32 = 4096;
/// Largest payload of one request, in bytes: the portable maximum (Size constraints).
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
/// A rejected write up to this many bytes is read and dropped; above, the connection ends.
pub const PAYLOAD_SKIP_BYTES_MAX: u32 = 2 * PAYLOAD_BYTES_MAX;
/// Longest read that is served in one chunk when the client asks for that. At least 65,536.
pub const UNFRAGMENTED_BYTES_MAX: u32 = 256 << 10;
const _: () = assert!(UNFRAGMENTED_BYTES_MAX >= 65_536);

/// Longest string of the protocol, in bytes (Conventions).
pub const STRING_BYTES_MAX: usize = 4096;
/// Longest name of an export of ours, in bytes (Conventions recommends it).
pub const NAME_BYTES_MAX: usize = 256;
/// Longest description of an export of ours, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Option data that is looked at. A longer option is skipped and refused as too big.
pub const OPTION_BYTES_MAX: usize = 16 << 10;
/// Option data that is skipped. A longer option ends the connection.
pub const OPTION_SKIP_BYTES_MAX: u32 = 1 << 20;
/// Options of one handshake. A client that sends more is cut off.
pub const OPTIONS_MAX: u32 = 64;
/// Bytes that one option can draw from us: a header each for four infos and an acknowledgement,
/// the name, the description, and the fixed parts.
pub const OPTION_ANSWER_BYTES_MAX: usize = 1536;
const _: () = assert!(
    5 * OPTION_REPLY_HEAD_BYTES + 12 + 14 + 2 + NAME_BYTES_MAX + 2 + DESCRIPTION_BYTES_MAX
        <= OPTION_ANSWER_BYTES_MAX
);
/// Bytes that a whole handshake can draw from us.
pub const HANDSHAKE_ANSWER_BYTES_MAX: usize =
    GREETING_BYTES + OPTIONS_MAX as usize * OPTION_ANSWER_BYTES_MAX;
/// Bytes of unread input that a caller must be able to hold for a handshake to make progress.
pub const HANDSHAKE_STAGE_BYTES: usize = OPTION_HEAD_BYTES + OPTION_BYTES_MAX;

/// Handshake flags, sent by the server.
pub mod handshake_flag {
    /// The server speaks fixed newstyle.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// The server can leave out the zeroes after `OPT_EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Client flags, sent in answer to the handshake flags.
pub mod client_flag {
    /// The client speaks fixed newstyle.
    pub const FIXED_NEWSTYLE: u32 = 1 << 0;
    /// The client wants no zeroes after `OPT_EXPORT_NAME`.
    pub const NO_ZEROES: u32 = 1 << 1;
}

/// Transmission flags: what an export can do.
pub mod transmission_flag {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// FLUSH is served.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// The FUA command flag is served.
    pub const SEND_FUA: u16 = 1 << 3;
    /// The medium rotates.
    pub const ROTATIONAL: u16 = 1 << 4;
    /// TRIM is served.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// WRITE_ZEROES and NO_HOLE are served.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// The DF command flag is served.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers what every connection was answered.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// CACHE is served. We never set it.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// The FAST_ZERO command flag is served.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Option types.
pub mod opt {
    /// Choose an export and begin transmission, without a way to report errors.
    pub const EXPORT_NAME: u32 = 1;
    /// End the handshake.
    pub const ABORT: u32 = 2;
    /// List exports.
    pub const LIST: u32 = 3;
    /// Upgrade to TLS. Not served.
    pub const STARTTLS: u32 = 5;
    /// Describe an export.
    pub const INFO: u32 = 6;
    /// Describe an export and begin transmission.
    pub const GO: u32 = 7;
    /// Use structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Select metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Experimental. Not served.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Option reply types.
pub mod rep {
    /// Accepted, or end of a list.
    pub const ACK: u32 = 1;
    /// One export.
    pub const SERVER: u32 = 2;
    /// One information about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// Set in every error.
    pub const ERR_BIT: u32 = 1 << 31;
    /// The option is not known.
    pub const ERR_UNSUP: u32 = ERR_BIT | 1;
    /// Forbidden by policy.
    pub const ERR_POLICY: u32 = ERR_BIT | 2;
    /// Malformed or out of place.
    pub const ERR_INVALID: u32 = ERR_BIT | 3;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERR_BIT | 6;
    /// The server is going down.
    pub const ERR_SHUTDOWN: u32 = ERR_BIT | 7;
    /// Too large to process.
    pub const ERR_TOO_BIG: u32 = ERR_BIT | 9;
}

/// Information types of `REP_INFO`.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// Canonical name.
    pub const NAME: u16 = 1;
    /// Text for people.
    pub const DESCRIPTION: u16 = 2;
    /// Size constraints.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Request types.
pub mod cmd {
    /// Read bytes.
    pub const READ: u16 = 0;
    /// Write bytes; a payload follows the header.
    pub const WRITE: u16 = 1;
    /// Finish what is outstanding and close.
    pub const DISC: u16 = 2;
    /// Make answered writes durable.
    pub const FLUSH: u16 = 3;
    /// Bytes are no longer needed.
    pub const TRIM: u16 = 4;
    /// Prefetch. Not served.
    pub const CACHE: u16 = 5;
    /// Write zeroes without a payload.
    pub const WRITE_ZEROES: u16 = 6;
    /// Ask for metadata of a range.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Command flags.
pub mod cmd_flag {
    /// Durable before the answer.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes must stay allocated.
    pub const NO_HOLE: u16 = 1 << 1;
    /// At most one content chunk.
    pub const DF: u16 = 1 << 2;
    /// At most one extent.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Fail unless faster than a write.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Structured reply chunks: flag and types.
pub mod chunk {
    /// Flag of the last chunk of a reply.
    pub const DONE: u16 = 1 << 0;
    /// Nothing but the end.
    pub const NONE: u16 = 0;
    /// Data at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Zeroes at an offset.
    pub const OFFSET_HOLE: u16 = 2;
    /// Metadata of consecutive extents.
    pub const BLOCK_STATUS: u16 = 5;
    /// Set in every error type.
    pub const ERR_BIT: u16 = 1 << 15;
    /// An error of the whole request.
    pub const ERROR: u16 = ERR_BIT | 1;
    /// An error at an offset.
    pub const ERROR_OFFSET: u16 = ERR_BIT | 2;
}

/// The only metadata context.
pub const BASE_ALLOCATION: &str = "base:allocation";
/// Its id, as selected by `OPT_SET_META_CONTEXT`.
pub const BASE_ALLOCATION_ID: u32 = 1;
/// Status flag: not allocated.
pub const STATE_HOLE: u32 = 1 << 0;
/// Status flag: reads as zeroes.
pub const STATE_ZERO: u32 = 1 << 1;

/// Error values of the transmission phase (Error values): no other number may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Errno {
    /// Write to a read-only export.
    Perm,
    /// Input or output failed.
    Io,
    /// Out of memory.
    NoMem,
    /// Malformed, unaligned or out of range.
    Inval,
    /// No space, or a write past the end.
    NoSpc,
    /// Longer than can be served at once.
    Overflow,
    /// A fast zero that would not be fast.
    NotSup,
    /// The server is going down.
    Shutdown,
}

impl Errno {
    /// Number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Errno::Perm => 1,
            Errno::Io => 5,
            Errno::NoMem => 12,
            Errno::Inval => 22,
            Errno::NoSpc => 28,
            Errno::Overflow => 75,
            Errno::NotSup => 95,
            Errno::Shutdown => 108,
        }
    }

    /// Error of a number on the wire. Error values: an unexpected one counts as `EINVAL`.
    pub const fn from_code(code: u32) -> Errno {
        match code {
            1 => Errno::Perm,
            5 => Errno::Io,
            12 => Errno::NoMem,
            28 => Errno::NoSpc,
            75 => Errno::Overflow,
            95 => Errno::NotSup,
            108 => Errno::Shutdown,
            _ => Errno::Inval,
        }
    }

    /// Error to send for an error number of the Linux kernel.
    /// Error values: `EDQUOT` and `EFBIG` count as `ENOSPC`; what has no value of its own is `EIO`.
    /// `ENOTSUP` is reserved to fast zeroes, so that a disk's refusal becomes `EIO` as well.
    pub const fn from_os(errno: i32) -> Errno {
        match errno {
            1 | 13 | 30 => Errno::Perm,
            12 => Errno::NoMem,
            22 => Errno::Inval,
            27 | 28 | 122 => Errno::NoSpc,
            108 => Errno::Shutdown,
            _ => Errno::Io,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Errno::Perm => "EPERM",
            Errno::Io => "EIO",
            Errno::NoMem => "ENOMEM",
            Errno::Inval => "EINVAL",
            Errno::NoSpc => "ENOSPC",
            Errno::Overflow => "EOVERFLOW",
            Errno::NotSup => "ENOTSUP",
            Errno::Shutdown => "ESHUTDOWN",
        })
    }
}
