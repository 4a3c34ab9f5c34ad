//! The ring: ops in, completions out, one system call per turn.
//! Always: an op in flight sits in `table`, at an index that is its user data, until its one
//! completion is reaped; if the ring is dropped before, its memory is leaked, never reused.
//! One of the two files that may contain `unsafe`; the other is `sys`.

use super::caps::Capabilities;
use super::file::{File, Freed};
use super::op::{Address, Done, Errno, Full, MessageHeader, Op, Token, Zeroing};
use super::sys;
use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Ops in flight at most.
pub const OPS_MAX: u32 = 4096;
/// Ops between two system calls at most.
const SUBMIT_MAX: u32 = 1024;
/// Files in the ring's table at most.
const FILES_MAX: u32 = 128;

/// A ring of one thread.
pub struct Ring {
    inner: IoUring,
    table: Vec<Option<(Token, Op)>>,
    free: Vec<u32>,
    fixed_buffers: bool,
    places: Vec<u32>,
    freed: Freed,
    caps: Capabilities,
    ready: Vec<(u32, i32, u32)>,
}

impl Ring {
    /// Opens a ring. Features that the kernel refuses are left out and listed in the report.
    /// Errors: no ring at all, or a kernel without timed waits (before 5.11).
    pub fn open() -> io::Result<Ring> {
        let (inner, mut caps) = open_best()?;
        if !inner.params().is_feature_ext_arg() || !inner.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let files = inner.submitter().register_files_sparse(FILES_MAX);
        let places = if files.is_ok() { (0..FILES_MAX).rev().collect() } else { Vec::new() };
        caps.note("registered files", files);
        Ok(Ring {
            inner,
            table: (0..OPS_MAX).map(|_| None).collect(),
            free: (0..OPS_MAX).rev().collect(),
            fixed_buffers: false,
            places,
            freed: Freed::default(),
            caps,
            ready: Vec::new(),
        })
    }

    /// Registers an arena, so that disk ops need not pin pages each time.
    pub fn register(&mut self, arena: &super::buffers::Arena) {
        // SAFETY: the arena's region outlives the ring: its pieces are in pools and ops, and the
        // kernel itself holds the pages until the ring is gone.
        let registered = unsafe { self.inner.submitter().register_buffers(&[arena.iovec]) };
        self.fixed_buffers = registered.is_ok();
        self.caps.note("registered buffers", registered);
    }

    /// What the kernel gave and what it refused.
    pub fn capabilities(&self) -> &Capabilities {
        &self.caps
    }

    /// Makes a descriptor usable by ops, in the ring's table while there is a place.
    pub fn adopt(&mut self, fd: OwnedFd) -> File {
        use std::os::fd::AsRawFd;
        self.empty_freed_places();
        let place = self.places.pop().filter(|&place| {
            let put = self.inner.submitter().register_files_update(place, &[fd.as_raw_fd()]);
            put.is_ok_and(|n| n == 1)
        });
        File::new(fd, place, Freed::clone(&self.freed))
    }

    fn empty_freed_places(&mut self) {
        let freed = std::mem::take(&mut *self.freed.borrow_mut());
        for place in freed {
            // A place that can't be emptied stays in use: one file less through the table.
            if self.inner.submitter().register_files_update(place, &[-1]).is_ok() {
                self.places.push(place);
            }
        }
    }

    /// Queues an op for the next submit. A full ring gives it back.
    pub fn push(&mut self, token: Token, op: Op) -> Result<(), Full> {
        let Some(index) = self.free.pop() else { return Err(Full(op)) };
        if self.inner.submission().is_full() {
            self.free.push(index);
            return Err(Full(op));
        }
        let target = if let Op::Cancel { target } = &op { self.find(*target) } else { None };
        let slot = &mut self.table[index as usize];
        // From here on the op does not move within the heap: the table is never resized.
        let (_, op) = slot.insert((token, op));
        let entry = entry(op, self.fixed_buffers, target).user_data(u64::from(index));
        // SAFETY: every pointer in the entry leads to memory that the op in the table owns, until
        // `reap` takes it out again after its completion.
        let pushed = unsafe { self.inner.submission().push(&entry) };
        pushed.expect("room was checked, and this thread alone pushes");
        Ok(())
    }

    /// Carries out a read or write of a file in memory at once, without the kernel's workers.
    /// Other ops come back as they are.
    pub fn carry_out(token: Token, mut op: Op) -> Result<Done, Op> {
        use std::os::fd::AsFd;
        let moved = match &mut op {
            Op::Read { file, at, into, from, len } => {
                sys::read_at(file.as_fd(), inside(into.bytes_mut(), *from, *len), *at)
            }
            Op::Write { file, at, bytes, from, len, .. } => {
                let end = *from as usize + *len as usize;
                sys::write_at(file.as_fd(), &bytes.bytes()[*from as usize..end], *at)
            }
            Op::Sync { .. } => Ok(0),
            _ => return Err(op),
        };
        let errno = |error: io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
        let result =
            moved.map_err(errno).and_then(|n| u32::try_from(n).map_err(|_| Errno(libc::EIO)));
        Ok(Done { token, op, result, accepted: None, more: false })
    }

    fn find(&self, token: Token) -> Option<u64> {
        let found = self.table.iter().position(|slot| slot.as_ref().is_some_and(|s| s.0 == token));
        found.and_then(|index| u64::try_from(index).ok())
    }

    /// Ops in flight.
    pub fn in_flight(&self) -> usize {
        self.table.len() - self.free.len()
    }

    /// Submits what is queued and lets the kernel finish work that is due, without sleeping.
    pub fn submit(&mut self) -> io::Result<()> {
        let args = SubmitArgs::new();
        settle(self.inner.submitter().submit_with_args(0, &args))
    }

    /// Submits what is queued and sleeps until something completes, at most for `limit`.
    pub fn submit_and_wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        if !self.freed.borrow().is_empty() {
            self.empty_freed_places();
        }
        let Some(limit) = limit else { return settle(self.inner.submitter().submit_and_wait(1)) };
        let limit = Timespec::from(limit);
        let args = SubmitArgs::new().timespec(&limit);
        settle(self.inner.submitter().submit_with_args(1, &args))
    }

    /// Whether a completion is there, or the kernel has one almost ready. Reads shared memory.
    pub fn has_news(&mut self) -> bool {
        !self.inner.completion().is_empty() || self.inner.submission().taskrun()
    }

    /// Moves all completions that are there into `done`.
    pub fn reap(&mut self, done: &mut Vec<Done>) {
        let ready = self.inner.completion().map(|cqe| {
            let index = u32::try_from(cqe.user_data()).expect("user data is an index");
            (index, cqe.result(), cqe.flags())
        });
        self.ready.extend(ready);
        for (index, result, flags) in self.ready.drain(..) {
            let slot = self.table[index as usize].take();
            let (token, op) = slot.expect("an op completes once");
            self.free.push(index);
            let accepted = match &op {
                Op::Accept { .. } if result >= 0 => Some(sys::adopt(result)),
                _ => None,
            };
            let result = u32::try_from(result).map_err(|_| Errno(-result));
            let more = io_uring::cqueue::sock_nonempty(flags);
            done.push(Done { token, op, result, accepted, more });
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.in_flight() > 0 {
            // The kernel may still write to what these ops own: it is the owner from here on.
            Box::leak(Box::new(std::mem::take(&mut self.table)));
        }
    }
}

/// Waits that ended early are weather: by time, by signal, or because completions must be reaped
/// first.
fn settle(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

fn open_best() -> io::Result<(IoUring, Capabilities)> {
    let mut caps = Capabilities::default();
    let mut best = IoUring::builder();
    best.setup_cqsize(OPS_MAX).setup_clamp().setup_submit_all().setup_coop_taskrun();
    best.setup_taskrun_flag().setup_single_issuer().setup_defer_taskrun();
    match best.build(SUBMIT_MAX) {
        Ok(ring) => {
            caps.note("single issuer", Ok(()));
            caps.note("deferred task run", Ok(()));
            return Ok((ring, caps));
        }
        Err(error) => caps.note("single issuer, deferred task run", Err(error)),
    }
    let mut next = IoUring::builder();
    next.setup_cqsize(OPS_MAX).setup_clamp().setup_coop_taskrun().setup_taskrun_flag();
    match next.build(SUBMIT_MAX) {
        Ok(ring) => {
            caps.note("cooperative task run", Ok(()));
            return Ok((ring, caps));
        }
        Err(error) => caps.note("cooperative task run", Err(error)),
    }
    let ring = IoUring::builder().setup_cqsize(OPS_MAX).setup_clamp().build(SUBMIT_MAX)?;
    Ok((ring, caps))
}

macro_rules! on_file {
    ($file:expr, $fd:ident => $build:expr) => {
        match $file.place() {
            Some(place) => {
                let $fd = Fixed(place);
                $build
            }
            None => {
                let $fd = Fd($file.raw());
                $build
            }
        }
    };
}

/// The submission entry of an op, with pointers into what the op owns.
fn entry(op: &mut Op, fixed: bool, target: Option<u64>) -> squeue::Entry {
    match op {
        Op::Read { file, at, into, from, len } => {
            let to = inside(into.bytes_mut(), *from, *len).as_mut_ptr();
            if fixed {
                on_file!(file, fd => opcode::ReadFixed::new(fd, to, *len, 0).offset(*at).build())
            } else {
                on_file!(file, fd => opcode::Read::new(fd, to, *len).offset(*at).build())
            }
        }
        Op::Write { file, at, bytes, from, len, dsync } => {
            let end = *from as usize + *len as usize;
            let of = bytes.bytes()[*from as usize..end].as_ptr();
            let flags = if *dsync { libc::RWF_DSYNC } else { 0 };
            if fixed {
                on_file!(file, fd => opcode::WriteFixed::new(fd, of, *len, 0)
                    .offset(*at).rw_flags(flags).build())
            } else {
                on_file!(file, fd => opcode::Write::new(fd, of, *len)
                    .offset(*at).rw_flags(flags).build())
            }
        }
        Op::Sync { file } => {
            let flags = io_uring::types::FsyncFlags::DATASYNC;
            on_file!(file, fd => opcode::Fsync::new(fd).flags(flags).build())
        }
        Op::Zero { file, at, len, how } => {
            let mode = libc::FALLOC_FL_KEEP_SIZE
                | match how {
                    Zeroing::Punch => libc::FALLOC_FL_PUNCH_HOLE,
                    Zeroing::Keep => libc::FALLOC_FL_ZERO_RANGE,
                };
            on_file!(file, fd => opcode::Fallocate::new(fd, *len).offset(*at).mode(mode).build())
        }
        Op::Cancel { .. } => match target {
            Some(target) => opcode::AsyncCancel::new(target).build(),
            None => opcode::Nop::new().build(),
        },
        socket => socket_entry(socket),
    }
}

fn socket_entry(op: &mut Op) -> squeue::Entry {
    const POLL_FIRST: u16 = 1;
    match op {
        Op::Accept { file } => {
            let none = std::ptr::null_mut();
            on_file!(file, fd => opcode::Accept::new(fd, none, std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC).build())
        }
        Op::Connect { file, to } => {
            let (at, len) = match &**to {
                Address::V4(v4) => ((&raw const *v4).cast(), size_of_val(v4)),
                Address::V6(v6) => ((&raw const *v6).cast(), size_of_val(v6)),
            };
            let len = libc::socklen_t::try_from(len).expect("an address is some tens of bytes");
            on_file!(file, fd => opcode::Connect::new(fd, at, len).build())
        }
        Op::Recv { file, into, from, len, all, idle } => {
            let to = inside(into.bytes_mut(), *from, *len).as_mut_ptr();
            let flags = if *all { libc::MSG_WAITALL } else { 0 };
            let first = if *idle { POLL_FIRST } else { 0 };
            on_file!(file, fd => opcode::Recv::new(fd, to, *len).flags(flags).ioprio(first)
                .build())
        }
        Op::ReadPlain { file, into, from, socket } => {
            let into = &mut into[*from as usize..];
            let len = u32::try_from(into.len()).expect("lanes keep plain buffers small");
            let to = into.as_mut_ptr();
            if *socket {
                on_file!(file, fd => opcode::Recv::new(fd, to, len).build())
            } else {
                on_file!(file, fd => opcode::Read::new(fd, to, len).offset(u64::MAX).build())
            }
        }
        Op::Send { file, gather } => {
            gather.lay_out();
            // SAFETY: all-zero bytes are a valid, empty msghdr.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_iov = gather.iov.as_mut_ptr();
            header.msg_iovlen = gather.iov.len();
            let header = &raw const gather.header.insert(MessageHeader(header)).0;
            let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL).unsigned_abs();
            on_file!(file, fd => opcode::SendMsg::new(fd, header).flags(flags).build())
        }
        _ => unreachable!("disk ops are built by `entry`"),
    }
}

fn inside(bytes: &mut [u8], from: u32, len: u32) -> &mut [u8] {
    &mut bytes[from as usize..from as usize + len as usize]
}
