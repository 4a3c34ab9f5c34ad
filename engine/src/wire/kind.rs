//! The byte that names a message on the wire, and what follows from it alone.
//! Always: a kind keeps its byte for ever; a retired byte is never used again.

use super::bounds::{ACK_BYTES, ACKS_PER_FRAME_MAX, BITS_WORDS_MAX, DIGEST_BYTES, DIGESTS_MAX};
use super::hello::HELLO_BYTES;
use super::message::Message;

/// Which flows a message travels on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FlowKind {
    /// Liveness and state, never behind bulk data.
    Control,
    /// Block data and its acknowledgements.
    Data,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $byte:literal,)*) => {
        /// Kind of a frame. One per message; below 32 they travel on the control flow.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $byte,)* }

        impl Kind {
            /// Every kind, in the order of its byte.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// Kind of that byte.
            pub const fn from_byte(byte: u8) -> Option<Kind> {
                match byte {
                    $($byte => Some(Kind::$name),)*
                    _ => None,
                }
            }
            /// Kind of that message.
            pub const fn of(message: &Message) -> Kind {
                match message {
                    $(Message::$name { .. } => Kind::$name,)*
                }
            }
        }
    };
}

kinds! {
    /// `Message::Ping`: stamp in the token field.
    Ping = 1,
    /// `Message::Pong`: stamp in the token field.
    Pong = 2,
    /// `Message::Hello`: everything in the body.
    Hello = 3,
    /// `Message::SyncBegin`: round in the token field, kind in the code, generation in the body.
    SyncBegin = 4,
    /// `Message::Bits`: round in the token field, first word in the offset, words in the body.
    Bits = 5,
    /// `Message::SyncReady`: round in the token field.
    SyncReady = 6,
    /// `Message::Flush`.
    Flush = 7,
    /// `Message::FlushDone`: status in the code.
    FlushDone = 8,
    /// `Message::MakeUpToDate`: round in the token field, generation in the body.
    MakeUpToDate = 9,
    /// `Message::UpToDateDone`: round in the token field.
    UpToDateDone = 10,
    /// `Message::DropBits`: round in the token field.
    DropBits = 11,
    /// `Message::Life`: counter in the token field.
    Life = 12,
    /// `Message::Bye`: reason in the code.
    Bye = 13,
    /// `Message::BitsTaken`: round in the token field.
    BitsTaken = 14,
    /// `Message::Write`: payload follows.
    Write = 32,
    /// `Message::Zero`.
    Zero = 33,
    /// `Message::SyncWrite`: payload follows.
    SyncWrite = 34,
    /// One or more `Message::Ack`, all in the body.
    Ack = 35,
    /// `Message::Read`.
    Read = 36,
    /// `Message::ReadDone`: status in the code; payload follows when it is Ok.
    ReadDone = 37,
    /// `Message::DigestRequest`.
    DigestRequest = 38,
    /// `Message::Digests`: status in the code, digests in the body.
    Digests = 39,
}

impl Kind {
    /// Byte on the wire.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// The flows that carry it.
    pub const fn flow(self) -> FlowKind {
        if self.to_byte() < 32 { FlowKind::Control } else { FlowKind::Data }
    }

    /// Smallest body, largest body and the size of one item of it, in bytes.
    const fn body(self) -> (usize, usize, usize) {
        match self {
            Kind::Hello => (HELLO_BYTES, HELLO_BYTES, HELLO_BYTES),
            Kind::SyncBegin | Kind::MakeUpToDate => (16, 16, 16),
            Kind::Bits => (0, BITS_WORDS_MAX * 8, 8),
            Kind::Ack => (ACK_BYTES, ACKS_PER_FRAME_MAX * ACK_BYTES, ACK_BYTES),
            Kind::Digests => (0, DIGESTS_MAX * DIGEST_BYTES, DIGEST_BYTES),
            _ => (0, 0, 1),
        }
    }

    /// Whether a body of this kind may have `len` bytes.
    pub const fn body_fits(self, len: usize) -> bool {
        let (least, most, item) = self.body();
        len >= least && len <= most && len.is_multiple_of(item)
    }

    /// Whether a frame of this kind may bring a payload.
    pub const fn may_carry_payload(self) -> bool {
        matches!(self, Kind::Write | Kind::SyncWrite | Kind::ReadDone)
    }
}
