//! A file or socket that ops may use: shared by the lanes and by ops in flight, closed when the
//! last of them is gone, and addressed through the ring's table when it has a place there.

use super::sys;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Places of closed files, to be emptied by the ring.
pub(super) type Freed = Rc<RefCell<Vec<u32>>>;

/// A shared descriptor.
#[derive(Clone, Debug)]
pub struct File {
    handle: Rc<Handle>,
}

#[derive(Debug)]
struct Handle {
    fd: OwnedFd,
    place: Cell<Option<u32>>,
    freed: Freed,
}

impl File {
    pub(super) fn new(fd: OwnedFd, place: Option<u32>, freed: Freed) -> File {
        File { handle: Rc::new(Handle { fd, place: Cell::new(place), freed }) }
    }
    /// Ends both directions of a socket: every op on it completes soon. The descriptor closes
    /// with its last user. A socket that the peer has already reset needs nothing.
    pub fn shutdown(&self) {
        if let Err(error) = sys::shutdown(self.as_fd()) {
            // Nothing else can be wrong with an open socket.
            debug_assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        }
    }
    /// Whether the other end of a socket is gone, or sends nothing any more. For when no receive
    /// is in flight that would tell. A socket that can't be asked counts as gone.
    pub fn has_hung_up(&self) -> bool {
        sys::has_hung_up(self.as_fd()).unwrap_or(true)
    }
    /// Whether reads and writes never wait, so that a worker thread for them would cost more than
    /// they do. A file system that does not tell counts as one that waits.
    pub fn is_in_memory(&self) -> bool {
        sys::is_in_memory(self.as_fd()).unwrap_or(false)
    }
    pub(super) fn place(&self) -> Option<u32> {
        self.handle.place.get()
    }
    pub(super) fn raw(&self) -> RawFd {
        self.handle.fd.as_raw_fd()
    }
    /// Whether both names mean the same open descriptor.
    pub fn same(&self, other: &File) -> bool {
        Rc::ptr_eq(&self.handle, &other.handle)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.fd.as_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.freed.borrow_mut().push(place);
        }
    }
}
