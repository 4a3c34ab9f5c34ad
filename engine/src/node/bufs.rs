//! Which memory a `BufId` means, and who still uses it.
//! Always: an id means one slot until it is freed, and never again afterwards (ids carry a
//! generation); the slot itself returns to its pool when the kernel is done with it as well.
//! Survives: frees of ids that are gone, and frees while a disk read still fills the slot.

use crate::limits::{
    CLIENT_BYTES_MAX, CLIENT_OPS_MAX, FLOWS_MAX, INTERNAL_BUFS, META_WRITES_MAX, PIECE_BYTES_MAX,
    SYNC_OPS_MAX,
};
use crate::replica::event::BufId;
use crate::uring::buffers::{Arena, Fill, Lease, Pool};

/// Bytes of a small slot: payloads up to this are copied out of the staging buffer.
pub const SMALL_BYTES: usize = 16 << 10;
/// Bytes of a large slot.
pub const LARGE_BYTES: usize = PIECE_BYTES_MAX as usize;

/// Slots of client payload: 512 small (8 MiB) and 224 large (56 MiB) are `CLIENT_BYTES_MAX`.
const CLIENT_SMALL: usize = CLIENT_OPS_MAX;
const CLIENT_LARGE: usize = 224;
const _: () = assert!(CLIENT_SMALL * SMALL_BYTES + CLIENT_LARGE * LARGE_BYTES == CLIENT_BYTES_MAX);
/// Slots for the peer's payload: everything its clients and its resync can have in flight.
const PEER_SMALL: usize = CLIENT_OPS_MAX + SYNC_OPS_MAX;
const PEER_LARGE: usize = CLIENT_LARGE + SYNC_OPS_MAX;
/// Slots behind the replica's own buffers, and spares for those still on their way out.
const INTERNAL: usize = INTERNAL_BUFS + 16;
/// Bytes of a staging buffer: some thirty writes of 4 KiB, and twice the largest frame head.
pub const STAGE_BYTES: usize = 128 << 10;
const _: () = assert!(STAGE_BYTES >= crate::wire::bounds::FRAME_HEAD_BYTES_MAX);
/// Bytes staged at once while large payloads come: enough for their heads. What is staged of a
/// payload is copied; the rest is received where it is to stay.
pub const BULKY_BYTES: usize = 4 << 10;
/// Connections that may be open to clients: one staging buffer each.
pub const CLIENTS_MAX: usize = 64;
/// Sockets of the peer that are not yet attached to a session.
pub const STRANGERS_MAX: usize = 16;
const STAGING: usize = CLIENTS_MAX + 2 * (FLOWS_MAX as usize + 1);
/// Dialed connections have places of their own.
const STRANGERS: usize = STRANGERS_MAX + FLOWS_MAX as usize + 1;
/// Pages on their way to the cluster partition and the data tail.
const PAGES: usize = META_WRITES_MAX + 16;

/// Bytes of the whole arena: 8 + 56 + 9 + 72 + 20 + 12 MiB, strangers and pages, below 184 MiB,
/// so that an engine with the bitmap of 1 TiB stays below 256 MiB.
pub const ARENA_BYTES: usize = CLIENT_BYTES_MAX
    + PEER_SMALL * SMALL_BYTES
    + (PEER_LARGE + INTERNAL) * LARGE_BYTES
    + STAGING * STAGE_BYTES
    + STRANGERS * SMALL_BYTES
    + PAGES * 4096;
const _: () = assert!(ARENA_BYTES <= 184 << 20);

/// The classes of slots.
#[derive(Debug)]
pub struct Pools {
    /// Client payload up to `SMALL_BYTES`.
    pub client_small: Pool,
    /// Client payload up to `LARGE_BYTES`.
    pub client_large: Pool,
    /// Payload of the peer up to `SMALL_BYTES`.
    pub peer_small: Pool,
    /// Payload of the peer up to `LARGE_BYTES`.
    pub peer_large: Pool,
    /// Behind `BufId::internal`.
    pub internal: Pool,
    /// Receive buffers of connections.
    pub staging: Pool,
    /// Receive buffers of connections that have not said who they are.
    pub strangers: Pool,
    /// Metadata pages.
    pub pages: Pool,
}

/// The table of buffers.
#[derive(Debug)]
pub struct Bufs {
    /// Where slots come from.
    pub pools: Pools,
    entries: Vec<Entry>,
    free: Vec<u32>,
    internal: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    generation: u32,
    held: Held,
}

#[derive(Debug, Default)]
enum Held {
    /// No slot. An internal buffer gets one when it is read into.
    #[default]
    Empty,
    /// A slot that may be written.
    Fill(Fill),
    /// A slot with content.
    Lease(Lease),
    /// A read or the digest helper has the slot; it comes back with `restore`.
    Away,
    /// As `Away`, and freed meanwhile: the slot is dropped when it comes back.
    Leaving,
}

const INDEX_BITS: u32 = 16;
const GENERATION_MASK: u32 = (1 << 15) - 1;

impl Bufs {
    /// Classes to map, in the order of `Pools`.
    pub const CLASSES: [(usize, usize); 8] = [
        (SMALL_BYTES, CLIENT_SMALL),
        (LARGE_BYTES, CLIENT_LARGE),
        (SMALL_BYTES, PEER_SMALL),
        (LARGE_BYTES, PEER_LARGE),
        (LARGE_BYTES, INTERNAL),
        (STAGE_BYTES, STAGING),
        (SMALL_BYTES, STRANGERS),
        (4096, PAGES),
    ];

    /// The table over an arena mapped with `CLASSES`.
    pub fn new(arena: &Arena) -> Bufs {
        let pool = |index: usize| arena.pools[index].clone();
        let pools = Pools {
            client_small: pool(0),
            client_large: pool(1),
            peer_small: pool(2),
            peer_large: pool(3),
            internal: pool(4),
            staging: pool(5),
            strangers: pool(6),
            pages: pool(7),
        };
        let count = CLIENT_SMALL + CLIENT_LARGE + PEER_SMALL + PEER_LARGE;
        let count = u32::try_from(count).expect("some hundreds");
        assert!(count < 1 << INDEX_BITS);
        Bufs {
            pools,
            entries: (0..count).map(|_| Entry::default()).collect(),
            free: (0..count).rev().collect(),
            internal: (0..INTERNAL_BUFS).map(|_| Entry::default()).collect(),
        }
    }

    /// Names a slot that holds a payload.
    pub fn put_lease(&mut self, lease: Lease) -> BufId {
        self.put(Held::Lease(lease))
    }
    /// Names a slot that is to be read into.
    pub fn put_fill(&mut self, fill: Fill) -> BufId {
        self.put(Held::Fill(fill))
    }

    fn put(&mut self, held: Held) -> BufId {
        let index = self.free.pop().expect("there are as many names as slots");
        let entry = &mut self.entries[index as usize];
        entry.held = held;
        BufId(entry.generation << INDEX_BITS | index)
    }

    fn entry(&mut self, buf: BufId) -> Option<&mut Entry> {
        if let Some(n) = buf.as_internal() {
            return self.internal.get_mut(n as usize);
        }
        let entry = self.entries.get_mut((buf.0 & 0xffff) as usize)?;
        (entry.generation == buf.0 >> INDEX_BITS).then_some(entry)
    }

    /// A share of the content. `None` when the buffer is unknown or being filled.
    pub fn lease(&mut self, buf: BufId) -> Option<Lease> {
        let entry = self.entry(buf)?;
        match std::mem::take(&mut entry.held) {
            Held::Lease(lease) => {
                entry.held = Held::Lease(lease.clone());
                Some(lease)
            }
            // Never read into, but sent all the same: its bytes are whatever they are.
            Held::Fill(fill) => {
                let lease = fill.freeze();
                entry.held = Held::Lease(lease.clone());
                Some(lease)
            }
            other => {
                entry.held = other;
                None
            }
        }
    }

    /// The slot, to be filled; comes back with `restore`. `Err(true)` when an internal buffer has
    /// to wait for a spare slot, `Err(false)` when the buffer can't be filled at all.
    pub fn take_fill(&mut self, buf: BufId) -> Result<Fill, bool> {
        let internal = self.pools.internal.clone();
        let own = buf.as_internal().is_some();
        let entry = self.entry(buf).ok_or(false)?;
        let fill = match std::mem::take(&mut entry.held) {
            Held::Fill(fill) => Some(fill),
            // Still on its way out of a socket: the name moves to another slot.
            Held::Lease(lease) => match lease.into_fill() {
                Ok(fill) => Some(fill),
                Err(shared) if own => internal.take().or_else(|| {
                    entry.held = Held::Lease(shared);
                    None
                }),
                Err(shared) => {
                    entry.held = Held::Lease(shared);
                    return Err(false);
                }
            },
            Held::Empty if own => internal.take(),
            other => {
                entry.held = other;
                return Err(false);
            }
        };
        let fill = fill.ok_or(true)?;
        entry.held = Held::Away;
        Ok(fill)
    }

    /// The slot is back.
    pub fn restore(&mut self, buf: BufId, fill: Fill) {
        let Some(entry) = self.entry(buf) else { return };
        match std::mem::take(&mut entry.held) {
            Held::Leaving => self.retire(buf),
            _ => entry.held = Held::Lease(fill.freeze()),
        }
    }

    /// The name is not needed any more. The slot may still be.
    pub fn free(&mut self, buf: BufId) {
        if buf.as_internal().is_some() {
            return;
        }
        let Some(entry) = self.entry(buf) else { return };
        match entry.held {
            Held::Away | Held::Leaving => entry.held = Held::Leaving,
            _ => self.retire(buf),
        }
    }

    fn retire(&mut self, buf: BufId) {
        let Some(entry) = self.entry(buf) else { return };
        entry.held = Held::Empty;
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        self.free.push(buf.0 & 0xffff);
    }

    /// Copies the first `len` bytes of one buffer to another. False when one of them is unknown
    /// or the target is being read by somebody.
    #[must_use]
    pub fn copy(&mut self, from: BufId, to: BufId, len: usize) -> bool {
        let Some(source) = self.lease(from) else { return false };
        let Ok(mut target) = self.take_fill(to) else { return false };
        target.bytes_mut()[..len].copy_from_slice(&source.bytes()[..len]);
        self.restore(to, target);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bufs() -> Bufs {
        Bufs::new(&Arena::map(&Bufs::CLASSES, false).unwrap())
    }

    #[test]
    fn a_freed_name_means_nothing_any_more() {
        let mut bufs = bufs();
        let slot = bufs.pools.client_small.take().unwrap();
        let first = bufs.put_fill(slot);
        bufs.free(first);
        bufs.free(first);
        let slot = bufs.pools.client_small.take().unwrap();
        let second = bufs.put_fill(slot);
        assert_ne!(first, second);
        assert!(bufs.lease(first).is_none());
        bufs.free(first);
        assert!(bufs.lease(second).is_some());
        assert_eq!(bufs.pools.client_small.used(), 1);
    }

    #[test]
    fn a_slot_freed_during_a_read_returns_after_it() {
        let mut bufs = bufs();
        let slot = bufs.pools.client_small.take().unwrap();
        let buf = bufs.put_fill(slot);
        let fill = bufs.take_fill(buf).unwrap();
        bufs.free(buf);
        assert_eq!(bufs.pools.client_small.used(), 1);
        bufs.restore(buf, fill);
        assert_eq!(bufs.pools.client_small.used(), 0);
        assert_eq!(bufs.free.len(), bufs.entries.len());
    }

    #[test]
    fn an_internal_buffer_on_its_way_out_gets_another_slot() {
        let mut bufs = bufs();
        let buf = BufId::internal(3);
        let mut fill = bufs.take_fill(buf).unwrap();
        fill.bytes_mut()[0] = 1;
        bufs.restore(buf, fill);
        let sending = bufs.lease(buf).unwrap();
        let mut fill = bufs.take_fill(buf).unwrap();
        fill.bytes_mut()[0] = 2;
        bufs.restore(buf, fill);
        assert_eq!((sending.bytes()[0], bufs.lease(buf).unwrap().bytes()[0]), (1, 2));
        assert_eq!(bufs.pools.internal.used(), 2);
        drop(sending);
        assert_eq!(bufs.pools.internal.used(), 1);
    }

    #[test]
    fn a_payload_can_be_copied() {
        let mut bufs = bufs();
        let mut slot = bufs.pools.peer_large.take().unwrap();
        slot.bytes_mut()[..4096].fill(9);
        let from = bufs.put_lease(slot.freeze());
        let slot = bufs.pools.client_small.take().unwrap();
        let to = bufs.put_fill(slot);
        assert!(bufs.copy(from, to, 4096));
        assert_eq!(bufs.lease(to).unwrap().bytes()[4095], 9);
        assert!(!bufs.copy(BufId(77 << 16), to, 1));
    }
}
