//! Every libc call of the engine, and the one memory mapping, behind safe functions.
//! Always: a `Piece` is the only owner of its bytes, so a shared slice never meets a writer.
//! One of the two files that may contain `unsafe`; the other is `ring`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// A private, page-aligned mapping that lives until its last piece is gone.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread; access goes through pieces, which own disjoint parts.
unsafe impl Send for Region {}
// SAFETY: as above; `Region` itself never reads or writes the bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes of zeroes and asks for huge pages. Errors: the kernel's.
    pub fn map(len: usize) -> io::Result<Arc<Region>> {
        let (prot, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping; no existing memory is named.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Region { base, len }))
    }

    /// Whether the kernel will back the region with huge pages where it can.
    pub fn want_huge_pages(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping.
        check(unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) })
    }

    /// Brings every page in now, so that no fault comes later.
    pub fn populate(&self) -> io::Result<()> {
        const MADV_POPULATE_WRITE: i32 = 23;
        // SAFETY: the range is this mapping; populating does not change its bytes.
        check(unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, MADV_POPULATE_WRITE) })
    }

    /// The whole mapping as the kernel wants it for registration.
    pub fn as_iovec(&self) -> libc::iovec {
        libc::iovec { iov_base: self.base.as_ptr().cast(), iov_len: self.len }
    }

    /// Cuts the region into pieces of the given sizes, in order. Consumes the only handle, so
    /// that no two pieces can overlap. Errors: the region is shared or too small.
    pub fn carve(self: Arc<Region>, sizes: &[usize]) -> Option<Vec<Piece>> {
        if Arc::strong_count(&self) != 1 || sizes.iter().sum::<usize>() > self.len {
            return None;
        }
        let mut offset = 0;
        let piece = |&len: &usize| {
            // SAFETY: `offset + len` stays within the mapping: the sum of sizes was checked.
            let base = unsafe { self.base.add(offset) };
            offset += len;
            Piece { base, len, _region: Arc::clone(&self) }
        };
        Some(sizes.iter().map(piece).collect())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the last piece is gone, nobody can reach these bytes any more.
        let unmapped = check(unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) });
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping");
    }
}

/// The owner of a part of a region.
#[derive(Debug)]
pub struct Piece {
    base: NonNull<u8>,
    len: usize,
    _region: Arc<Region>,
}

// SAFETY: a piece owns its bytes alone, like a boxed slice.
unsafe impl Send for Piece {}
// SAFETY: through a shared reference its bytes can only be read.
unsafe impl Sync for Piece {}

impl Piece {
    /// Bytes of the piece.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether the piece has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `_region`; pieces are disjoint, and a writer needs
        // `&mut self` or owns the piece (an op of the ring).
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
    /// The bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes every other user.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: the kernel just returned this descriptor to us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a descriptor that a completion returned (accept).
pub(super) fn adopt(fd: i32) -> OwnedFd {
    // SAFETY: a successful accept makes a new descriptor that only its completion names.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Nanoseconds of CLOCK_BOOTTIME.
pub fn boottime_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    assert!(read == 0, "CLOCK_BOOTTIME can be read since Linux 2.6.39");
    let (sec, nsec) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    sec.unwrap_or(0) * 1_000_000_000 + nsec.unwrap_or(0)
}

/// Marks this task as one that memory reclaim may depend on (R35).
pub fn be_io_flusher() -> io::Result<()> {
    const PR_SET_IO_FLUSHER: i32 = 57;
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) })
}

/// Lets timers of this task fire when they are due, not up to 50 µs later.
pub fn be_punctual() -> io::Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) })
}

/// Locks present and future pages (R36).
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) })
}

/// Keeps the allocator to one heap: each thread's own would reserve, and lock, 64 MiB.
pub fn one_heap() -> bool {
    // SAFETY: no pointers are passed; called before the first thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) == 1 }
}

/// Bytes that may be locked; `None` without limit.
pub fn memlock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (read == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Processor time this thread has used, in nanoseconds: for the metrics.
pub fn thread_cpu_ns() -> u64 {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `used` is a valid timespec to write to.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) };
    let (sec, nsec) = (u64::try_from(used.tv_sec), u64::try_from(used.tv_nsec));
    if read == 0 { sec.unwrap_or(0) * 1_000_000_000 + nsec.unwrap_or(0) } else { 0 }
}

/// A counter that another thread raises to wake the ring.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// Blocks SIGTERM and SIGINT in this thread (and those it starts) and reads them from an fd.
pub fn stop_signals() -> io::Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before anything reads it; the rest only takes
    // pointers to it that are valid for the call.
    unsafe {
        check(libc::sigemptyset(set.as_mut_ptr()))?;
        check(libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM))?;
        check(libc::sigaddset(set.as_mut_ptr(), libc::SIGINT))?;
        let refused = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        if refused != 0 {
            return Err(io::Error::from_raw_os_error(refused));
        }
        owned(libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC))
    }
}

/// An unconnected TCP socket for `to`.
pub fn tcp_socket(to: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers are passed.
    owned(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })
}

/// Ends both directions of a socket, so that every operation on it completes.
pub fn shutdown(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers are passed; the descriptor is borrowed for the call.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) })
}

/// Whether the other end of a socket sends nothing any more, or is gone. Bytes that were not
/// received yet may still be there.
pub fn has_hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the pointer is to one structure that lives through the call, which does not wait.
    check(unsafe { libc::poll(&raw mut asked, 1, 0) })?;
    Ok(asked.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0)
}

/// Whether this is a regular file that lives in memory alone (tmpfs): reads and writes of it never
/// wait. A device node does not count, although the file system that holds the node may be tmpfs:
/// what it leads to is somewhere else.
pub fn is_in_memory(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut file = std::mem::MaybeUninit::<libc::stat>::uninit();
    let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: each call fills the whole structure when it succeeds, and only then it is read.
    let (mode, kind) = unsafe {
        check(libc::fstat(fd.as_raw_fd(), file.as_mut_ptr()))?;
        check(libc::fstatfs(fd.as_raw_fd(), found.as_mut_ptr()))?;
        (file.assume_init().st_mode, found.assume_init().f_type)
    };
    Ok(mode & libc::S_IFMT == libc::S_IFREG && kind == libc::TMPFS_MAGIC)
}

/// Reads at an offset, once.
pub fn read_at(fd: BorrowedFd<'_>, into: &mut [u8], at: u64) -> io::Result<usize> {
    let at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and length are those of a slice that is borrowed for the call.
    let read = unsafe { libc::pread(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), at) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes at an offset, once.
pub fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<usize> {
    let at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and length are those of a slice that is borrowed for the call.
    let written = unsafe { libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), at) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// What `seek_extent` looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seek {
    /// The next byte that is stored.
    Data,
    /// The next byte that is not.
    Hole,
}

/// First offset at or after `from` of that kind; `None` past the end.
pub fn seek_extent(fd: BorrowedFd<'_>, from: u64, what: Seek) -> io::Result<Option<u64>> {
    let whence = match what {
        Seek::Data => libc::SEEK_DATA,
        Seek::Hole => libc::SEEK_HOLE,
    };
    let from = i64::try_from(from).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: no pointers are passed; all other I/O on the descriptor names its offset.
    let found = unsafe { libc::lseek(fd.as_raw_fd(), from, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            end if end.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            other => Err(other),
        },
    }
}
