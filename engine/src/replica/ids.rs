//! Names of operations that leave the replica: the kind in the top byte, the slot below.

use super::event::OpId;
use super::slab::Key;

/// Who waits for a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiter {
    /// A client operation or a resync piece.
    Op(Key),
    /// A write, read or digest carried out for the peer.
    Follow(Key),
    /// The batched local flush.
    LocalFlush,
    /// A flush for the peer.
    FollowFlush,
    /// The intent transaction.
    Intent,
    /// A bitmap page; the number is the page within the bitmap.
    BitmapPage(u64),
    /// A superblock slot.
    Superblock,
    /// The data tail.
    Tail,
}

const SHIFT: u32 = 56;

impl Waiter {
    pub fn id(self) -> OpId {
        let (kind, value) = match self {
            Waiter::Op(key) => (1, key.0),
            Waiter::Follow(key) => (2, key.0),
            Waiter::LocalFlush => (3, 0),
            Waiter::Intent => (4, 0),
            Waiter::BitmapPage(page) => (5, page),
            Waiter::Superblock => (6, 0),
            Waiter::Tail => (7, 0),
            Waiter::FollowFlush => (8, 0),
        };
        OpId(kind << SHIFT | value)
    }

    pub fn of(id: OpId) -> Option<Waiter> {
        let value = id.0 & ((1 << SHIFT) - 1);
        Some(match id.0 >> SHIFT {
            1 => Waiter::Op(Key(value)),
            2 => Waiter::Follow(Key(value)),
            3 => Waiter::LocalFlush,
            4 => Waiter::Intent,
            5 => Waiter::BitmapPage(value),
            6 => Waiter::Superblock,
            7 => Waiter::Tail,
            8 => Waiter::FollowFlush,
            _ => return None,
        })
    }
}
