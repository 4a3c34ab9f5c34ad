//! Every bound of the engine with its arithmetic, and every default time of SAFETY §1.2.
//! Always: nothing in the engine grows past a number that stands here.

use crate::units::{BLOCK_BYTES, Span};

/// Largest piece of a request that travels through the replica. Larger requests are cut.
pub const PIECE_BYTES_MAX: u32 = 256 << 10;
/// Blocks of the largest piece.
pub const PIECE_BLOCKS_MAX: usize = 64;
const _: () = assert!(PIECE_BLOCKS_MAX as u64 * BLOCK_BYTES == PIECE_BYTES_MAX as u64);

/// Largest piece of a trim or write-zeroes: no payload, 8 regions.
pub const ZERO_PIECE_BYTES_MAX: u32 = 32 << 20;

/// Largest client request with payload, as advertised (NBD's portable maximum).
pub const REQUEST_BYTES_MAX: u32 = 32 << 20;

/// Client pieces (reads, writes, zeroes, flushes) inside the replica at once.
pub const CLIENT_OPS_MAX: usize = 512;

/// Bytes of client write payload held at once.
pub const CLIENT_BYTES_MAX: usize = 64 << 20;

/// One in so many of the client pieces and slots is kept for the connections, a part for each: of
/// 224 large slots 112, which is 7 for each of 16 connections and 1 for each of 64. The rest is for
/// whoever comes, as long as it has drawn no more than it leaves.
pub const CLIENT_PART_DIVISOR: usize = 2;

/// Runs of differing blocks that a piece of a resync has on their way at once.
pub const PIECE_RUNS_MAX: usize = 4;
/// Writes of the peer that a secondary holds at once: the peer's own bound, plus its resync:
/// 512 + 64 × 4 = 768.
pub const PEER_OPS_MAX: usize = CLIENT_OPS_MAX + SYNC_OPS_MAX * PIECE_RUNS_MAX;

/// Reads and digests that a peer may ask for at once: its clients' reads that failed there, its
/// repairs and its pieces, each of which may want its data when its digests are still on their way.
pub const PEER_READS_MAX: usize = CLIENT_OPS_MAX + 3 * SYNC_OPS_MAX;

/// Resync and verify pieces in flight at once, and so buffers of `PIECE_BYTES_MAX` that the shell
/// gives to the replica for its own use: 16 MiB.
pub const SYNC_OPS_MAX: usize = 64;
/// Resync pieces in flight while clients have work in flight, beside what the rate needs.
pub const SYNC_OPS_BUSY: usize = 4;
/// Bytes a second below which client work does not push a resync, unless the configuration says
/// otherwise: a TiB in 29 hours.
pub const SYNC_RATE_FLOOR: u64 = 10 << 20;
/// What client requests may take on average beside a resync, unless the configuration says
/// otherwise: some five times what a write to both nodes takes in a quiet region.
pub const SYNC_DELAY_TARGET: Span = Span::millis(10);
/// How often the pace of a resync is looked at: a hundred writes at the default target.
pub const SYNC_PACE_TURN: Span = Span::millis(100);
/// Buffers that the replica owns: resync, reads served to the peer, repairs.
pub const INTERNAL_BUFS: usize = SYNC_OPS_MAX;

/// Words of the bitmap in one `Bits` message: 32 KiB, which cover 1 GiB of the volume.
pub const BITS_WORDS: usize = 4096;
/// `Bits` messages of a resync target that the source has not taken yet: 8 × 32 KiB = 256 KiB of
/// frames, whatever the volume; with a round trip of 1 ms they carry the 32 MiB of a TiB in 0.13 s.
pub const BITS_IN_FLIGHT_MAX: usize = 8;
const _: () = assert!(BITS_WORDS * 8 * BITS_IN_FLIGHT_MAX == 256 << 10);

/// Resynced bytes that may await the target's flush before one is asked for.
pub const SYNC_UNFLUSHED_BYTES_MAX: u64 = 256 << 20;
/// Resynced extents that may await the target's flush.
pub const SYNC_UNFLUSHED_EXTENTS_MAX: usize = 4096;

/// Regions of the intent table unless `format` says otherwise: 64 GiB of working set.
pub const INTENT_REGIONS_DEFAULT: u32 = 16_384;
/// Smallest and largest intent table.
pub const INTENT_REGIONS_MIN: u32 = 64;
/// Largest intent table: 256 GiB of working set.
pub const INTENT_REGIONS_MAX: u32 = 65_536;
/// Share of the table, in percent, at which a checkpoint starts.
pub const INTENT_FULL_PERCENT: u32 = 75;
/// A region is retired this long after its last write.
pub const INTENT_IDLE: Span = Span::millis(5_000);

/// Metadata pages being written at once.
pub const META_WRITES_MAX: usize = 32;

/// Largest volume: 64 TiB, so that a block number fits the formats with room to spare.
pub const VOLUME_BYTES_MAX: u64 = 64 << 40;
/// Bytes at the end of the data partition that belong to Lockstep (R21).
pub const DATA_TAIL_BYTES: u64 = 1 << 20;

/// Sessions lost within `FLAP_WINDOW` that make a link a flapping one.
pub const FLAPS_MAX: usize = 5;
/// See `FLAPS_MAX`.
pub const FLAP_WINDOW: Span = Span::millis(60_000);
/// A flapping link must hold this long before a resync starts over it again.
pub const FLAP_CALM: Span = Span::millis(10_000);

/// Generations that a superblock remembers.
pub const HISTORY_MAX: usize = 8;
/// Attempts that may be open at once.
pub const ATTEMPTS_MAX: usize = 2;

/// TCP flows for data.
pub const FLOWS_DEFAULT: u8 = 2;
/// Most TCP flows for data.
pub const FLOWS_MAX: u8 = 16;

/// Largest payload of a frame.
pub const FRAME_PAYLOAD_MAX: u32 = PIECE_BYTES_MAX;

/// The times of SAFETY §1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Ping on the control flow.
    pub ping: Span,
    /// Silence that means the link is dead.
    pub link_dead: Span,
    /// After a reset: time for the peer to come back.
    pub grace: Span,
    /// One attempt at the arbiter.
    pub arbiter_attempt: Span,
    /// Reads are served this long after a ping that the peer answered was sent.
    pub lease: Span,
    /// Time that the fast fence may take.
    pub fence: Span,
    /// Silence of heartbeats that counts as evidence.
    pub heartbeat_timeout: Span,
    /// Added to every wait of a takeover.
    pub margin: Span,
    /// Held requests get EIO after this; `None` waits for ever.
    pub suspend_max: Option<Span>,
    /// A peer that answers pings but acknowledges nothing for this long is dead (R30).
    pub ack_timeout: Span,
    /// Advance of the life counter while serving (R21).
    pub life_interval: Span,
    /// Greeting and hello must be done within this.
    pub hello: Span,
    /// A resync without progress for this long goes over to writing both sides (R26).
    pub sync_stall: Span,
}

impl Times {
    /// The defaults.
    pub const DEFAULT: Times = Times {
        ping: Span::millis(250),
        link_dead: Span::millis(1_250),
        grace: Span::millis(500),
        arbiter_attempt: Span::millis(1_000),
        lease: Span::millis(4_000),
        fence: Span::millis(1_000),
        heartbeat_timeout: Span::millis(5_000),
        margin: Span::millis(250),
        suspend_max: Some(Span::millis(60_000)),
        ack_timeout: Span::millis(10_000),
        life_interval: Span::millis(60_000),
        hello: Span::millis(5_000),
        sync_stall: Span::millis(10_000),
    };

    /// Attempts at the arbiter before a decision counts as late.
    pub const ARBITER_ATTEMPTS: u64 = 2;

    /// Boot grace: heartbeat timeout + margin + the peer's arbiter attempts.
    pub const fn boot_grace(&self) -> Span {
        self.heartbeat_timeout
            .plus(self.margin)
            .plus(Span(self.arbiter_attempt.0 * Times::ARBITER_ATTEMPTS))
    }

    /// Whether the inequalities of SAFETY §1.2 hold.
    pub const fn hold(&self) -> bool {
        let decided =
            self.link_dead.0 + self.grace.0 + Times::ARBITER_ATTEMPTS * self.arbiter_attempt.0;
        decided < self.lease.0
            && self.lease.0 + self.fence.0 <= self.heartbeat_timeout.0
            && self.ping.0 * 4 <= self.link_dead.0
            && self.ping.0 > 0
    }
}

const _: () = assert!(Times::DEFAULT.hold());
