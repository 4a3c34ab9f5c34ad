//! Every bound of a frame, with its arithmetic.
//! Always: what a receiver stages before it has checked a frame is at most `FRAME_HEAD_BYTES_MAX`.

use super::header::HEADER_BYTES;
use crate::limits::{PIECE_BLOCKS_MAX, VOLUME_BYTES_MAX};
use crate::units::BLOCK_BYTES;

/// Words of the bitmap in one `Bits` frame: 64 KiB, which cover 2 GiB of the volume.
pub const BITS_WORDS_MAX: usize = 8192;
/// Bytes of the body of a frame. The largest is a full `Bits`.
pub const BODY_BYTES_MAX: u32 = 64 << 10;
const _: () = assert!(BITS_WORDS_MAX * 8 == BODY_BYTES_MAX as usize);

/// Bytes of one acknowledgement inside an `Ack` body: token, status, seven zeroes.
pub const ACK_BYTES: usize = 16;
/// Acknowledgements in one frame: 2 KiB of body, a quarter of what a peer can have in flight.
pub const ACKS_PER_FRAME_MAX: usize = 128;
const _: () = assert!(ACKS_PER_FRAME_MAX * ACK_BYTES <= BODY_BYTES_MAX as usize);

/// Bytes of one digest.
pub const DIGEST_BYTES: usize = 16;
/// Digests in one frame: one for each block of the largest piece.
pub const DIGESTS_MAX: usize = PIECE_BLOCKS_MAX;
const _: () = assert!(DIGESTS_MAX * DIGEST_BYTES <= BODY_BYTES_MAX as usize);

/// Header and body of the largest frame: a staging buffer must hold at least this.
pub const FRAME_HEAD_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX as usize;

/// Blocks of the largest volume.
pub const BLOCKS_MAX: u64 = VOLUME_BYTES_MAX / BLOCK_BYTES;
/// Bitmap words of the largest volume.
pub const BITMAP_WORDS_MAX: u64 = BLOCKS_MAX / 64;
