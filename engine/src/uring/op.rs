//! What can be asked of the ring. An op owns everything the kernel will touch, so nothing moves
//! or goes away before its completion.

use super::buffers::{Fill, Lease};
use super::file::File;
use std::net::SocketAddr;
use std::ops::Range;

/// Name of an op, chosen by its lane: lane, kind and a number of the lane's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Token {
    /// Who gets the completion.
    pub lane: u8,
    /// What the lane meant by it.
    pub kind: u8,
    /// A number of the lane.
    pub id: u64,
}

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

/// How a range is made zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zeroing {
    /// Deallocate.
    Punch,
    /// Keep the space.
    Keep,
}

/// One request to the kernel.
#[derive(Debug)]
pub enum Op {
    /// Read `len` bytes at `at` into the slot, from byte `from` of it on.
    Read { file: File, at: u64, into: Fill, from: u32, len: u32 },
    /// Write bytes of the slot at `at`; stable when done if `dsync`.
    Write { file: File, at: u64, bytes: Lease, from: u32, len: u32, dsync: bool },
    /// Make completed writes stable.
    Sync { file: File },
    /// Make a range zeroes.
    Zero { file: File, at: u64, len: u64, how: Zeroing },
    /// Take a connection of a listener; the completion has the descriptor.
    Accept { file: File },
    /// Connect an unconnected socket.
    Connect { file: File, to: Box<Address> },
    /// Receive into a slot, at most to its end. `all` waits for every byte; `idle` says that the
    /// socket was empty last time, so the kernel need not look first.
    Recv { file: File, into: Fill, from: u32, len: u32, all: bool, idle: bool },
    /// Receive or read into plain memory of a lane, at most to its length.
    ReadPlain { file: File, into: Box<[u8]>, from: u32, socket: bool },
    /// Send everything gathered, or fail.
    Send { file: File, gather: Box<Gather> },
    /// Stop the op with this token, if it is still in flight.
    Cancel { target: Token },
}

/// A socket address as the kernel reads it.
#[derive(Debug)]
pub enum Address {
    /// IPv4.
    V4(libc::sockaddr_in),
    /// IPv6.
    V6(libc::sockaddr_in6),
}

impl Address {
    /// The kernel's form of `to`.
    pub fn new(to: &SocketAddr) -> Address {
        const V4: libc::sa_family_t = 2;
        const V6: libc::sa_family_t = 10;
        match to {
            SocketAddr::V4(v4) => Address::V4(libc::sockaddr_in {
                sin_family: V4,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Address::V6(libc::sockaddr_in6 {
                sin6_family: V6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

/// Bytes to send in one go: small ones copied into a head buffer, payload by reference.
#[derive(Debug, Default)]
pub struct Gather {
    head: Vec<u8>,
    parts: Vec<Part>,
    bytes: usize,
    pub(super) iov: Vec<libc::iovec>,
    pub(super) header: Option<MessageHeader>,
}

/// A `msghdr` whose pointers the ring fills in at push.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageHeader(pub(super) libc::msghdr);

#[derive(Debug)]
enum Part {
    Head(Range<usize>),
    Slot { lease: Lease, range: Range<usize> },
}

impl Gather {
    /// Parts of one gather at most; the kernel takes 1024.
    pub const PARTS_MAX: usize = 1000;

    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        let start = self.head.len();
        self.head.extend_from_slice(bytes);
        self.grown_from(start);
    }
    /// Appends what `write` appends to the buffer.
    pub fn put_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.head.len();
        let result = write(&mut self.head);
        self.grown_from(start);
        result
    }
    fn grown_from(&mut self, start: usize) {
        let end = self.head.len();
        self.bytes += end - start;
        match self.parts.last_mut() {
            Some(Part::Head(range)) if range.end == start => range.end = end,
            _ if end > start => self.parts.push(Part::Head(start..end)),
            _ => {}
        }
    }
    /// Appends part of a slot without copying it.
    pub fn put_slot(&mut self, lease: Lease, range: Range<usize>) {
        assert!(range.end <= lease.len(), "the range is within the slot");
        self.bytes += range.len();
        self.parts.push(Part::Slot { lease, range });
    }
    /// Bytes gathered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Bytes gathered that are copies of their own.
    pub fn head_bytes(&self) -> usize {
        self.head.len()
    }
    /// Slots of that size that parts of are gathered.
    pub fn slots_of(&self, bytes: usize) -> usize {
        let is = |part: &&Part| matches!(part, Part::Slot { lease, .. } if lease.len() == bytes);
        self.parts.iter().filter(is).count()
    }
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
    /// Whether another message must go into another gather.
    pub fn is_full(&self) -> bool {
        self.parts.len() + 2 > Gather::PARTS_MAX
    }
    /// Lets go of everything, keeps the memory for the next use.
    pub fn clear(&mut self) {
        self.head.clear();
        self.parts.clear();
        self.iov.clear();
        self.header = None;
        self.bytes = 0;
    }
    /// Lays out the vectors. Afterwards the gather must not change until it is cleared.
    pub(super) fn lay_out(&mut self) {
        let iov = |part: &Part| {
            let bytes = match part {
                Part::Head(range) => &self.head[range.clone()],
                Part::Slot { lease, range } => &lease.bytes()[range.clone()],
            };
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
        };
        self.iov.clear();
        self.iov.extend(self.parts.iter().map(iov));
    }
}

/// A completed op, with everything it owned.
#[derive(Debug)]
pub struct Done {
    /// As given at push.
    pub token: Token,
    /// As given at push.
    pub op: Op,
    /// Bytes moved, or the error.
    pub result: Result<u32, Errno>,
    /// The connection that an accept took.
    pub accepted: Option<std::os::fd::OwnedFd>,
    /// More bytes wait in the socket.
    pub more: bool,
}

/// The ring has no room: the op comes back untouched.
#[derive(Debug)]
pub struct Full(pub Op);
