//! What a message may say at all, whoever sent it.
//! Always: the encoder asserts and the decoder checks the same rules, so that neither side of the
//! link can drift.

use super::bounds::{BITMAP_WORDS_MAX, BITS_WORDS_MAX, BLOCKS_MAX, DIGESTS_MAX};
use super::error::Malformed;
use super::message::{Hello, Message, Status};
use crate::limits::{INTENT_REGIONS_MAX, PIECE_BYTES_MAX, VOLUME_BYTES_MAX, ZERO_PIECE_BYTES_MAX};
use crate::units::{BLOCK_BYTES, Extent};

/// Checks a message.
///
/// # Errors
/// Says what makes no sense.
pub(crate) fn validate(message: &Message) -> Result<(), Malformed> {
    match message {
        Message::Write { at, .. }
        | Message::SyncWrite { at, .. }
        | Message::Read { at, .. }
        | Message::ReadDone { at, .. }
        | Message::DigestRequest { at, .. } => extent(*at, PIECE_BYTES_MAX),
        Message::Zero { at, .. } => extent(*at, ZERO_PIECE_BYTES_MAX),
        Message::Bits { first_word, words, .. } => bits(*first_word, words.len()),
        Message::Digests { status, digests, .. } => {
            let count = digests.len();
            let ok = match status {
                Status::Ok => (1..=DIGESTS_MAX).contains(&count),
                Status::IoError => count == 0,
            };
            if ok { Ok(()) } else { Err(Malformed::Digests { count }) }
        }
        Message::Hello(hello) => check_hello(hello),
        Message::Ping { .. }
        | Message::Pong { .. }
        | Message::SyncBegin { .. }
        | Message::SyncReady { .. }
        | Message::BitsTaken { .. }
        | Message::Flush { .. }
        | Message::FlushDone { .. }
        | Message::MakeUpToDate { .. }
        | Message::UpToDateDone { .. }
        | Message::DropBits { .. }
        | Message::Life { .. }
        | Message::Bye(_)
        | Message::Ack { .. } => Ok(()),
    }
}

/// Bytes of payload that the message calls for.
pub(crate) fn payload_bytes(message: &Message) -> u32 {
    match message {
        Message::Write { at, .. }
        | Message::SyncWrite { at, .. }
        | Message::ReadDone { at, status: Status::Ok, .. } => at.len,
        _ => 0,
    }
}

fn extent(at: Extent, len_max: u32) -> Result<(), Malformed> {
    let whole = |n: u64| n.is_multiple_of(BLOCK_BYTES);
    let inside = at.offset <= VOLUME_BYTES_MAX && at.end() <= VOLUME_BYTES_MAX;
    let sound = at.len > 0 && at.len <= len_max && inside;
    if sound && whole(at.offset) && whole(u64::from(at.len)) {
        Ok(())
    } else {
        Err(Malformed::Extent { at, len_max })
    }
}

fn bits(first: u64, count: usize) -> Result<(), Malformed> {
    let end = u64::try_from(count).ok().and_then(|count| first.checked_add(count));
    match end {
        Some(end) if end <= BITMAP_WORDS_MAX && count <= BITS_WORDS_MAX => Ok(()),
        _ => Err(Malformed::Words { first, count }),
    }
}

fn check_hello(hello: &Hello) -> Result<(), Malformed> {
    let size = hello.size;
    let field = if size == 0 || size > VOLUME_BYTES_MAX || !size.is_multiple_of(BLOCK_BYTES) {
        "size"
    } else if hello.dirty_blocks > BLOCKS_MAX {
        "dirty_blocks"
    } else if hello.hot_regions > INTENT_REGIONS_MAX {
        "hot_regions"
    } else if !hello.boot.is_some() {
        "boot"
    } else if !hello.start.is_some() {
        "start"
    } else {
        return Ok(());
    };
    Err(Malformed::Hello { field })
}
