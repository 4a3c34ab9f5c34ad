//! The handshake: from the greeting to transmission or to the end.
//! Always: only whole messages are consumed, one option after the other; whatever is left in the
//! caller's buffer after `State::Transmission` belongs to the transmission phase.
//! Survives: any bytes in pieces of any size. Answers of a whole handshake stay below
//! `HANDSHAKE_ANSWER_BYTES_MAX`.

use super::bytes::Bytes;
use super::constants::{
    GREETING_BYTES, INIT_MAGIC, OPTION_BYTES_MAX, OPTION_HEAD_BYTES, OPTION_MAGIC,
    OPTION_SKIP_BYTES_MAX, OPTIONS_MAX, client_flag, handshake_flag, opt,
};
use super::export::Export;
use super::options;
use std::fmt;

/// What both sides agreed on. The default is what a client without options gets, as does the
/// kernel over a socket pair: simple replies, no metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Negotiated {
    /// Reads and errors are answered in chunks.
    pub structured: bool,
    /// `base:allocation` may be asked for.
    pub allocation: bool,
}

/// Why a handshake ended without transmission. The caller sends what is queued, then closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The client said goodbye.
    Aborted,
    /// The client flags hold bits that we never offered.
    ClientFlags {
        /// The flags.
        flags: u32,
    },
    /// An option did not begin with its magic.
    OptionMagic {
        /// What stood there.
        found: u64,
    },
    /// A client that is not fixed newstyle sent an option whose answer it cannot read.
    NotFixed {
        /// The option.
        option: u32,
    },
    /// `OPT_EXPORT_NAME` cannot be satisfied and has no error reply.
    UnknownExport,
    /// The server is shutting down, and `OPT_EXPORT_NAME` has no error reply.
    ShuttingDown,
    /// An option is longer than what is worth skipping.
    OptionTooBig {
        /// The option.
        option: u32,
        /// Bytes of its data.
        len: u32,
    },
    /// More options than any client needs.
    TooManyOptions,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Aborted => f.write_str("client ended the handshake"),
            Ending::ClientFlags { flags } => write!(f, "client flags {flags:#x} are not known"),
            Ending::OptionMagic { found } => write!(f, "option began with {found:#018x}"),
            Ending::NotFixed { option } => {
                write!(f, "option {option} from a client that is not fixed newstyle")
            }
            Ending::UnknownExport => f.write_str("client chose an export that is not here"),
            Ending::ShuttingDown => f.write_str("server is shutting down"),
            Ending::OptionTooBig { option, len } => {
                write!(f, "option {option} has {len} bytes of data")
            }
            Ending::TooManyOptions => write!(f, "client sent more than {OPTIONS_MAX} options"),
        }
    }
}

/// Where a handshake stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Waits for more bytes. Leaves when a whole message is in the buffer.
    Haggling,
    /// Both sides are in the transmission phase; the next byte begins a request.
    Transmission(Negotiated),
    /// Over. Send what is queued, then close.
    Ended(Ending),
}

/// What a call took and where that led.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the input that are dealt with. The caller presents the rest again.
    pub consumed: usize,
    /// Where the handshake stands.
    pub state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// For the four bytes of client flags. Leaves for `Option`, or ends.
    ClientFlags,
    /// For a whole option. Leaves for `Skip`, or ends by GO, EXPORT_NAME, ABORT or a violation.
    Option,
    /// For the rest of an option that is too big. Leaves for `Option` with a refusal.
    Skip { option: u32, left: u32 },
    /// For nothing: repeats its verdict.
    Over(State),
}

/// The server's side of one handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    wait: Wait,
    fixed: bool,
    pub(super) no_zeroes: bool,
    pub(super) refusing: bool,
    pub(super) agreed: Negotiated,
    options: u32,
}

impl Handshake {
    /// Begins: queues the greeting.
    /// Newstyle negotiation; Handshake flags: these two and no others.
    pub fn start(out: &mut Vec<u8>) -> Handshake {
        let before = out.len();
        out.extend_from_slice(&INIT_MAGIC.to_be_bytes());
        out.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        out.extend_from_slice(&flags.to_be_bytes());
        assert_eq!(out.len() - before, GREETING_BYTES);
        Handshake {
            wait: Wait::ClientFlags,
            fixed: false,
            no_zeroes: false,
            refusing: false,
            agreed: Negotiated::default(),
            options: 0,
        }
    }

    /// From now on every option but ABORT is refused with `ERR_SHUTDOWN`.
    /// Termination of the session during option haggling.
    pub fn refuse_from_now(&mut self) {
        self.refusing = true;
    }

    /// Takes whole messages off `input` and queues answers.
    /// The caller's buffer must hold `HANDSHAKE_STAGE_BYTES`, or an option may never be whole.
    pub fn feed(&mut self, export: &Export, input: &[u8], out: &mut Vec<u8>) -> Progress {
        let mut rest = Bytes(input);
        while self.step(export, &mut rest, out) {}
        let state = match self.wait {
            Wait::Over(state) => state,
            Wait::ClientFlags | Wait::Option | Wait::Skip { .. } => State::Haggling,
        };
        Progress { consumed: input.len() - rest.0.len(), state }
    }

    /// One message. False when there is nothing more to do with these bytes.
    fn step(&mut self, export: &Export, rest: &mut Bytes<'_>, out: &mut Vec<u8>) -> bool {
        match self.wait {
            Wait::Over(_) => false,
            Wait::ClientFlags => match rest.u32() {
                Some(flags) => {
                    self.wait = self.take_client_flags(flags);
                    true
                }
                None => false,
            },
            Wait::Option => self.take_option(export, rest, out),
            Wait::Skip { option, left } => self.skip(option, left, rest, out),
        }
    }

    /// Client flags: drop the connection on a flag that we do not know.
    fn take_client_flags(&mut self, flags: u32) -> Wait {
        if flags & !(client_flag::FIXED_NEWSTYLE | client_flag::NO_ZEROES) != 0 {
            return Wait::Over(State::Ended(Ending::ClientFlags { flags }));
        }
        self.fixed = flags & client_flag::FIXED_NEWSTYLE != 0;
        self.no_zeroes = flags & client_flag::NO_ZEROES != 0;
        Wait::Option
    }

    fn take_option(&mut self, export: &Export, rest: &mut Bytes<'_>, out: &mut Vec<u8>) -> bool {
        let mut ahead = *rest;
        let (Some(magic), Some(option), Some(len)) = (ahead.u64(), ahead.u32(), ahead.u32()) else {
            return false;
        };
        if let Some(ending) = self.violation(magic, option, len) {
            self.wait = Wait::Over(State::Ended(ending));
            return false;
        }
        if len as usize > OPTION_BYTES_MAX {
            *rest = ahead;
            self.wait = Wait::Skip { option, left: len };
            return true;
        }
        let Some(data) = ahead.take(len as usize) else { return false };
        *rest = ahead;
        self.options += 1;
        let verdict = options::answer(self, export, option, data, out);
        self.settle(verdict);
        true
    }

    /// What ends a handshake on sight of an option's header.
    fn violation(&self, magic: u64, option: u32, len: u32) -> Option<Ending> {
        if magic != OPTION_MAGIC {
            return Some(Ending::OptionMagic { found: magic });
        }
        if self.options >= OPTIONS_MAX {
            return Some(Ending::TooManyOptions);
        }
        // Newstyle negotiation: EXPORT_NAME is the only option without fixed newstyle.
        if !self.fixed && option != opt::EXPORT_NAME {
            return Some(Ending::NotFixed { option });
        }
        // EXPORT_NAME has no error reply, so an unreasonable one ends the session.
        let too_big = len as usize > OPTION_BYTES_MAX && option == opt::EXPORT_NAME;
        if too_big || len > OPTION_SKIP_BYTES_MAX {
            return Some(Ending::OptionTooBig { option, len });
        }
        None
    }

    fn skip(&mut self, option: u32, left: u32, rest: &mut Bytes<'_>, out: &mut Vec<u8>) -> bool {
        let part = rest.0.len().min(left as usize);
        rest.0 = &rest.0[part..];
        // `part` is at most `left`, so it fits.
        let left = left - u32::try_from(part).unwrap_or(left);
        if left > 0 {
            self.wait = Wait::Skip { option, left };
            return false;
        }
        self.options += 1;
        let verdict = options::answer_too_big(self, option, out);
        self.settle(verdict);
        true
    }

    fn settle(&mut self, verdict: State) {
        self.wait = match verdict {
            State::Haggling => Wait::Option,
            State::Transmission(_) | State::Ended(_) => Wait::Over(verdict),
        };
    }
}

const _: () = assert!(OPTION_HEAD_BYTES == 8 + 4 + 4);
