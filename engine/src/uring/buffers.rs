//! Slots of memory with one owner at a time, or many readers.
//! Always: a `Fill` is the only handle of its slot and may be written; a `Lease` may be cloned and
//! only read. A slot is back in its pool when its last handle is gone, kernel's included, because
//! an op in flight owns a handle.

use super::sys::{Piece, Region};
use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// One class of slots.
#[derive(Clone, Debug)]
pub struct Pool {
    home: Rc<Home>,
}

#[derive(Debug)]
struct Home {
    free: RefCell<Vec<Rc<Slot>>>,
    slot_bytes: usize,
    slots: usize,
}

#[derive(Debug)]
struct Slot {
    piece: Arc<Piece>,
    home: Weak<Home>,
}

/// What the arena got from the kernel.
#[derive(Debug)]
pub struct Arena {
    /// The pools, in the order asked for.
    pub pools: Vec<Pool>,
    /// For registration with a ring.
    pub iovec: libc::iovec,
    /// Bytes mapped.
    pub bytes: usize,
    /// Whether huge pages were granted.
    pub huge: io::Result<()>,
    /// Whether every page is present.
    pub populated: io::Result<()>,
}

impl Arena {
    /// Maps one region for all classes, given as (bytes of a slot, slots). Slot sizes are whole
    /// pages. Errors: the mapping was refused.
    pub fn map(classes: &[(usize, usize)], populate: bool) -> io::Result<Arena> {
        assert!(classes.iter().all(|(bytes, _)| bytes % 4096 == 0), "slots are whole pages");
        let bytes = classes.iter().map(|(bytes, slots)| bytes * slots).sum::<usize>();
        let region = Region::map(bytes)?;
        let huge = region.want_huge_pages();
        let populated =
            if populate { region.populate() } else { Err(io::ErrorKind::Unsupported.into()) };
        let iovec = region.as_iovec();
        let pools = Arena::pools(region, classes)?;
        Ok(Arena { pools, iovec, bytes, huge, populated })
    }

    fn pools(region: Arc<Region>, classes: &[(usize, usize)]) -> io::Result<Vec<Pool>> {
        let sizes: Vec<usize> =
            classes.iter().flat_map(|&(bytes, slots)| std::iter::repeat_n(bytes, slots)).collect();
        let mut pieces = region.carve(&sizes).ok_or(io::ErrorKind::OutOfMemory)?.into_iter();
        let pool = |&(slot_bytes, slots): &(usize, usize)| {
            let free = RefCell::new(Vec::with_capacity(slots));
            let home = Rc::new(Home { free, slot_bytes, slots });
            let slot = |piece| Rc::new(Slot { piece: Arc::new(piece), home: Rc::downgrade(&home) });
            // Reversed: the first slots handed out are the first of the region.
            let mut all: Vec<Rc<Slot>> = pieces.by_ref().take(slots).map(slot).collect();
            all.reverse();
            home.free.borrow_mut().extend(all);
            Pool { home }
        };
        Ok(classes.iter().map(pool).collect())
    }
}

impl Pool {
    /// A free slot, if there is one. Its bytes are what the last user left.
    pub fn take(&self) -> Option<Fill> {
        let slot = self.home.free.borrow_mut().pop()?;
        Some(Fill { lease: Lease { slot: Some(slot) } })
    }
    /// Slots free now.
    pub fn free(&self) -> usize {
        self.home.free.borrow().len()
    }
    /// Slots in all.
    pub fn slots(&self) -> usize {
        self.home.slots
    }
    /// Slots in use.
    pub fn used(&self) -> usize {
        self.slots() - self.free()
    }
    /// Bytes of a slot.
    pub fn slot_bytes(&self) -> usize {
        self.home.slot_bytes
    }
}

/// A readable share of a slot.
#[derive(Debug)]
pub struct Lease {
    // Always present until drop.
    slot: Option<Rc<Slot>>,
}

impl Lease {
    fn slot(&self) -> &Rc<Slot> {
        self.slot.as_ref().expect("a lease holds its slot until it is dropped")
    }
    /// The bytes of the whole slot.
    pub fn bytes(&self) -> &[u8] {
        self.slot().piece.bytes()
    }
    /// Bytes of the slot.
    pub fn len(&self) -> usize {
        self.slot().piece.len()
    }
    /// Whether the slot has no bytes (never).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bytes for another thread to read. Keep the lease until the loan is back and dropped.
    pub fn lend(&self) -> Arc<Piece> {
        Arc::clone(&self.slot().piece)
    }
    /// The right to write, if this is the only handle; otherwise the lease back.
    pub fn into_fill(self) -> Result<Fill, Lease> {
        if Rc::strong_count(self.slot()) == 1 { Ok(Fill { lease: self }) } else { Err(self) }
    }
}

impl Clone for Lease {
    fn clone(&self) -> Lease {
        Lease { slot: self.slot.clone() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if Rc::strong_count(&slot) == 1
            && let Some(home) = slot.home.upgrade()
        {
            home.free.borrow_mut().push(slot);
        }
    }
}

/// The only handle of a slot.
#[derive(Debug)]
pub struct Fill {
    lease: Lease,
}

impl Fill {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.lease.bytes()
    }
    /// The bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.piece_mut().bytes_mut()
    }
    /// Bytes of the slot.
    pub fn len(&self) -> usize {
        self.lease.len()
    }
    /// Whether the slot has no bytes (never).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Gives up writing.
    pub fn freeze(self) -> Lease {
        self.lease
    }
    fn piece_mut(&mut self) -> &mut Piece {
        let slot = self.lease.slot.as_mut().and_then(Rc::get_mut);
        let slot = slot.expect("a fill is the only handle of its slot");
        Arc::get_mut(&mut slot.piece).expect("a loan ends before its lease does")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_returns_when_its_last_handle_goes() {
        let arena = Arena::map(&[(4096, 2), (16384, 1)], false).unwrap();
        let pool = &arena.pools[0];
        let mut fill = pool.take().unwrap();
        fill.bytes_mut()[0] = 7;
        let lease = fill.freeze();
        let second = lease.clone();
        drop(lease);
        assert_eq!(pool.free(), 1);
        let Ok(fill) = second.into_fill() else { panic!("only handle") };
        assert_eq!(fill.bytes()[0], 7);
        drop(fill);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn a_shared_slot_is_not_writable() {
        let arena = Arena::map(&[(4096, 1)], true).unwrap();
        let lease = arena.pools[0].take().unwrap().freeze();
        let second = lease.clone();
        assert!(lease.into_fill().is_err());
        assert!(second.into_fill().is_ok());
        assert!(arena.populated.is_ok());
    }

    #[test]
    fn an_empty_pool_says_so() {
        let arena = Arena::map(&[(4096, 1)], false).unwrap();
        let held = arena.pools[0].take();
        assert!(arena.pools[0].take().is_none());
        drop(held);
        assert!(arena.pools[0].take().is_some());
    }
}
