//! The dirty bits of a resync target on their way to the source, a window of messages at a time.
//! Always: at most `BITS_IN_FLIGHT_MAX` messages are sent and not taken, whatever the volume, so
//! that pings never queue behind a bitmap; `SyncReady` leaves behind the last of them.
//! Survives: the loss of the session at any message; the next round begins with the first word.

use super::Replica;
use super::state::Stage;
use crate::limits::{BITS_IN_FLIGHT_MAX, BITS_WORDS};
use crate::units::Session;
use crate::wire::message::{ByeReason, Message, SyncKind};

/// What is still to be sent. Dropped with its session.
pub(super) struct BitsOut {
    round: u64,
    next_word: u64,
    /// Messages that the source has not taken yet.
    flying: usize,
}

impl Replica {
    /// Target: what a resync needs is durable here; the bits follow.
    pub(super) fn target_ready(&mut self, session: Session, round: u64, kind: SyncKind) {
        if !self.is_live(session) {
            return;
        }
        // In a full resync the driver has set every bit: ours would add nothing.
        let full = kind == SyncKind::Full;
        let next_word = if full { self.dirty.bitmap.word_count() } else { 0 };
        self.follow.bits = Some(BitsOut { round, next_word, flying: 0 });
        self.send_bits();
    }

    /// Sends while the window has room. Words without a bit are passed over.
    fn send_bits(&mut self) {
        while let Some(BitsOut { round, next_word, flying }) = self.follow.bits {
            let Some(block) = self.dirty.bitmap.next_set(next_word.saturating_mul(64)) else {
                self.follow.bits = None;
                self.send(Message::SyncReady { round });
                return;
            };
            if flying >= BITS_IN_FLIGHT_MAX {
                return;
            }
            let first_word = block / 64;
            let words: Box<[u64]> = self.dirty.bitmap.words(first_word, BITS_WORDS).into();
            let next_word = first_word + words.len() as u64;
            self.follow.bits = Some(BitsOut { round, next_word, flying: flying + 1 });
            self.send(Message::Bits { round, first_word, words });
        }
    }

    /// Target: the source has taken one message.
    pub(super) fn on_bits_taken(&mut self, round: u64) {
        // The last ones of a round are taken when nothing is left to be sent.
        let Some(bits) = self.follow.bits.as_mut().filter(|bits| bits.round == round) else {
            return;
        };
        let Some(flying) = bits.flying.checked_sub(1) else {
            self.say_bye(ByeReason::Protocol);
            return;
        };
        bits.flying = flying;
        self.send_bits();
    }

    /// Source: takes bits of the target. They come in the order of their words, so that they end.
    pub(super) fn on_bits(&mut self, round: u64, first_word: u64, words: &[u64]) {
        if self.stage != Stage::Preparing || round != self.round {
            return;
        }
        let Some(sync) = &mut self.sync else { return };
        let in_order = first_word >= sync.bits_next && !words.is_empty();
        if !in_order || self.dirty.bitmap.merge_words(first_word, words).is_err() {
            self.say_bye(ByeReason::Protocol);
            return;
        }
        sync.bits_next = first_word + words.len() as u64;
        // A large bitmap over a slow link takes long, and that is progress.
        self.stage_since = self.now;
        self.send(Message::BitsTaken { round });
    }
}
