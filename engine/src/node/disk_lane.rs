//! The data partition and the cluster partition: actions in, `DiskDone` out.
//! Always: each operation is reported once; a zeroing that the device cannot do is written out.
//! Files in memory (labs) are read and written by this thread: handing them to a worker of the
//! kernel would take longer.
//! Survives: short transfers (the rest is asked for again), and devices that refuse FALLOC.

mod zero;

use super::bufs::LARGE_BYTES;
use super::hub::Hub;
use super::port::lane;
use crate::replica::event::{BufId, DiskError, Event, OpId};
use crate::units::{Extent, PAGE_BYTES, Page, Tick};
use crate::uring::buffers::{Fill, Lease};
use crate::uring::{Done, File, Op, Ring, Token};
use std::collections::VecDeque;
use zero::{Support, Zero};

const OP: u8 = 0;

/// Disks of an engine.
pub struct DiskLane {
    data: File,
    meta: File,
    tail_offset: u64,
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    waiting: VecDeque<Waiting>,
    support: Support,
    zeroes: Lease,
    in_memory: bool,
    aside: VecDeque<(Token, Op)>,
}

#[derive(Debug)]
struct Job {
    op: OpId,
    started: Tick,
    what: What,
}

#[derive(Debug)]
enum What {
    Read { buf: BufId },
    Write,
    Page,
    Flush,
    Zero(Zero),
}

#[derive(Debug)]
enum Waiting {
    Read { op: OpId, at: Extent, buf: BufId },
    Page { op: OpId, data: bool, at: u64, bytes: Box<Page> },
}

impl DiskLane {
    /// A lane on the open data and cluster partitions. `zeroes` is a slot of zeroes.
    pub fn new(data: File, meta: File, tail_offset: u64, mut zeroes: Fill) -> DiskLane {
        zeroes.bytes_mut().fill(0);
        assert_eq!(zeroes.len(), LARGE_BYTES);
        DiskLane {
            in_memory: data.is_in_memory() && meta.is_in_memory(),
            aside: VecDeque::new(),
            data,
            meta,
            tail_offset,
            jobs: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            support: Support::default(),
            zeroes: zeroes.freeze(),
        }
    }

    /// Reads into a buffer, or waits until an internal buffer has left its socket.
    pub fn read(&mut self, hub: &mut Hub, op: OpId, at: Extent, buf: BufId) {
        match hub.bufs.take_fill(buf) {
            Ok(into) => {
                let id = self.begin(hub.now, op, What::Read { buf });
                let (file, at, len) = (self.data.clone(), at.offset, at.len);
                self.run(hub, token(id), Op::Read { file, at, into, from: 0, len });
            }
            Err(true) => self.waiting.push_back(Waiting::Read { op, at, buf }),
            Err(false) => refuse(hub, op, "read into a buffer that is not there", libc::EFAULT),
        }
    }

    /// Writes a buffer.
    pub fn write(&mut self, hub: &mut Hub, op: OpId, at: Extent, buf: BufId, fua: bool) {
        let Some(bytes) = hub.bufs.lease(buf) else {
            refuse(hub, op, "write of a buffer that is not there", libc::EFAULT);
            return;
        };
        let id = self.begin(hub.now, op, What::Write);
        let (file, at, len) = (self.data.clone(), at.offset, at.len);
        self.run(hub, token(id), Op::Write { file, at, bytes, from: 0, len, dsync: fua });
    }

    /// Makes a range zeroes.
    pub fn zero(&mut self, hub: &mut Hub, op: OpId, at: Extent, punch: bool, fua: bool) {
        let zero = Zero::new(at, punch, fua, &self.support);
        let first = zero.op(&self.data, &self.zeroes);
        let id = self.begin(hub.now, op, What::Zero(zero));
        self.run(hub, token(id), first);
    }

    /// Makes completed writes stable.
    pub fn flush(&mut self, hub: &mut Hub, op: OpId) {
        let id = self.begin(hub.now, op, What::Flush);
        self.run(hub, token(id), Op::Sync { file: self.data.clone() });
    }

    /// Writes a page of the cluster partition.
    pub fn meta_write(&mut self, hub: &mut Hub, op: OpId, page: u64, bytes: Box<Page>) {
        self.page(hub, op, false, page * PAGE_BYTES as u64, bytes);
    }

    /// Writes a slot of the data tail.
    pub fn tail_write(&mut self, hub: &mut Hub, op: OpId, slot: u8, bytes: Box<Page>) {
        let at = self.tail_offset + u64::from(slot) * PAGE_BYTES as u64;
        self.page(hub, op, true, at, bytes);
    }

    fn page(&mut self, hub: &mut Hub, op: OpId, data: bool, at: u64, bytes: Box<Page>) {
        let Some(mut slot) = hub.bufs.pools.pages.take() else {
            self.waiting.push_back(Waiting::Page { op, data, at, bytes });
            return;
        };
        slot.bytes_mut().copy_from_slice(&bytes[..]);
        let id = self.begin(hub.now, op, What::Page);
        let file = if data { self.data.clone() } else { self.meta.clone() };
        let bytes = slot.freeze();
        let write = Op::Write { file, at, bytes, from: 0, len: 4096, dsync: true };
        self.run(hub, token(id), write);
    }

    /// Hands an op to the ring, or puts it aside when both files are in memory.
    fn run(&mut self, hub: &mut Hub, token: Token, op: Op) {
        if self.in_memory {
            self.aside.push_back((token, op));
        } else {
            hub.port.submit(token, op);
        }
    }

    /// Whether operations are under way.
    pub fn is_busy(&self) -> bool {
        self.free.len() < self.jobs.len()
    }

    /// Whether ops were put aside. Carry them out once everything else is with the kernel, so
    /// that the peer works at the same time.
    pub fn has_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Carries out what was put aside.
    pub fn run_aside(&mut self, hub: &mut Hub) {
        for _ in 0..self.aside.len() {
            let Some((token, op)) = self.aside.pop_front() else { return };
            match Ring::carry_out(token, op) {
                Ok(done) => self.done(hub, done),
                Err(op) => hub.port.submit(token, op),
            }
        }
    }

    fn begin(&mut self, now: Tick, op: OpId, what: What) -> usize {
        let job = Some(Job { op, started: now, what });
        match self.free.pop() {
            Some(id) => {
                self.jobs[id] = job;
                id
            }
            None => {
                self.jobs.push(job);
                self.jobs.len() - 1
            }
        }
    }

    /// A completion of this lane.
    pub fn done(&mut self, hub: &mut Hub, done: Done) {
        let Ok(id) = usize::try_from(done.token.id) else { return };
        let Some(job) = self.jobs.get_mut(id).and_then(Option::take) else { return };
        let result = done.result.map_err(|errno| DiskError { errno: errno.0 });
        match (job, done.op) {
            (Job { what: What::Zero(zero), op, started }, _) => {
                self.zero_done(hub, id, Job { op, started, what: What::Write }, zero, result);
            }
            (job, ran) => match (result, rest_of(ran, result.unwrap_or(0))) {
                (Ok(moved), Rest::Some(rest)) if moved > 0 => {
                    self.jobs[id] = Some(job);
                    self.run(hub, done.token, rest);
                }
                // The device ends before the volume does.
                (Ok(_), Rest::Some(rest)) => {
                    self.end(hub, id, job, Some(rest), Err(DiskError { errno: libc::EIO }));
                }
                (result, rest) => {
                    let op = rest.into_op();
                    self.end(hub, id, job, op, result.map(drop));
                }
            },
        }
        self.retry_waiting(hub);
    }

    fn zero_done(
        &mut self,
        hub: &mut Hub,
        id: usize,
        job: Job,
        mut zero: Zero,
        result: Result<u32, DiskError>,
    ) {
        match zero.step(result, &mut self.support) {
            zero::Next::Again => {
                let next = zero.op(&self.data, &self.zeroes);
                self.jobs[id] = Some(Job { what: What::Zero(zero), ..job });
                self.run(hub, token(id), next);
            }
            zero::Next::Over(result) => {
                self.end(hub, id, job, None, result);
            }
        }
    }

    fn end(
        &mut self,
        hub: &mut Hub,
        id: usize,
        job: Job,
        op: Option<Op>,
        result: Result<(), DiskError>,
    ) {
        self.free.push(id);
        let span = hub.now.since(job.started);
        match &job.what {
            What::Read { .. } => hub.metrics.disk_read.add(span),
            What::Write | What::Zero(_) => hub.metrics.disk_write.add(span),
            What::Page => hub.metrics.meta_write.add(span),
            What::Flush => hub.metrics.disk_flush.add(span),
        }
        if let (What::Read { buf }, Some(Op::Read { into, .. })) = (&job.what, op) {
            hub.bufs.restore(*buf, into);
        }
        hub.events.push_back(Event::DiskDone { op: job.op, result });
    }

    /// Tries again what waited for a slot. Also called when a socket let go of one.
    pub fn retry_waiting(&mut self, hub: &mut Hub) {
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some(Waiting::Read { op, at, buf }) => self.read(hub, op, at, buf),
                Some(Waiting::Page { op, data, at, bytes }) => self.page(hub, op, data, at, bytes),
                None => return,
            }
        }
    }
}

fn refuse(hub: &mut Hub, op: OpId, why: &str, errno: i32) {
    tracing::error!(?op, "disk operation not carried out: {why}; this is a bug");
    hub.events.push_back(Event::DiskDone { op, result: Err(DiskError { errno }) });
}

fn token(id: usize) -> Token {
    Token { lane: lane::DISK, kind: OP, id: id as u64 }
}

enum Rest {
    /// Bytes are missing: this op is for them.
    Some(Op),
    /// Nothing is missing.
    None(Op),
}

impl Rest {
    fn into_op(self) -> Option<Op> {
        match self {
            Rest::Some(op) | Rest::None(op) => Some(op),
        }
    }
}

/// What a transfer that moved `moved` bytes has left.
fn rest_of(op: Op, moved: u32) -> Rest {
    match op {
        Op::Read { file, at, into, from, len } if moved < len => {
            let (at, from, len) = (at + u64::from(moved), from + moved, len - moved);
            Rest::Some(Op::Read { file, at, into, from, len })
        }
        Op::Write { file, at, bytes, from, len, dsync } if moved < len => {
            let (at, from, len) = (at + u64::from(moved), from + moved, len - moved);
            Rest::Some(Op::Write { file, at, bytes, from, len, dsync })
        }
        whole => Rest::None(whole),
    }
}

#[cfg(test)]
mod tests;
