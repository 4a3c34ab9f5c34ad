//! The ring on real files and sockets; refused pushes; buffers.

use super::buffers::{Arena, Pool};
use super::*;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const TOKEN: Token = Token { lane: 1, kind: 2, id: 3 };

fn ring() -> (Ring, Pool) {
    let mut ring = Ring::open().unwrap();
    let arena = Arena::map(&[(16 << 10, 8)], true).unwrap();
    ring.register(&arena);
    (ring, arena.pools[0].clone())
}

fn one(ring: &mut Ring, op: Op) -> Done {
    ring.push(TOKEN, op).unwrap();
    wait(ring)
}

fn wait(ring: &mut Ring) -> Done {
    let mut done = Vec::new();
    for _ in 0..100 {
        ring.submit_and_wait(Some(Duration::from_millis(100))).unwrap();
        ring.reap(&mut done);
        if let Some(first) = done.pop() {
            assert!(done.is_empty());
            return first;
        }
    }
    panic!("nothing completed");
}

#[test]
fn a_file_keeps_what_was_written_and_zeroed() {
    let (mut ring, pool) = ring();
    let raw = tempfile::tempfile().unwrap();
    raw.set_len(64 << 10).unwrap();
    let file = ring.adopt(OwnedFd::from(raw));
    let mut fill = pool.take().unwrap();
    fill.bytes_mut()[..8192].fill(0x5a);
    let bytes = fill.freeze();
    let op = Op::Write { file: file.clone(), at: 4096, bytes, from: 0, len: 8192, dsync: true };
    let done = one(&mut ring, op);
    assert_eq!((done.token, done.result), (TOKEN, Ok(8192)));
    assert_eq!(one(&mut ring, Op::Sync { file: file.clone() }).result, Ok(0));
    let zero = Op::Zero { file: file.clone(), at: 4096, len: 4096, how: Zeroing::Punch };
    assert_eq!(one(&mut ring, zero).result, Ok(0));
    let into = pool.take().unwrap();
    let done = one(&mut ring, Op::Read { file, at: 0, into, from: 0, len: 16384 });
    assert_eq!(done.result, Ok(16384));
    let Op::Read { into, .. } = done.op else { panic!("the op comes back") };
    assert!(into.bytes()[..8192].iter().all(|&b| b == 0));
    assert!(into.bytes()[8192..12288].iter().all(|&b| b == 0x5a));
}

#[test]
fn a_socket_takes_head_and_payload_in_one_send() {
    let (mut ring, pool) = ring();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let file = ring.adopt(OwnedFd::from(ours));
    let mut fill = pool.take().unwrap();
    fill.bytes_mut()[..5].copy_from_slice(b"world");
    let mut gather = Box::new(Gather::default());
    gather.put(b"hel");
    gather.put(b"lo ");
    gather.put_slot(fill.freeze(), 0..5);
    gather.put(b"!");
    let done = one(&mut ring, Op::Send { file: file.clone(), gather });
    assert_eq!(done.result, Ok(12));
    let mut got = [0; 12];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello world!");
    theirs.write_all(b"back").unwrap();
    let into = pool.take().unwrap();
    let recv = Op::Recv { file: file.clone(), into, from: 10, len: 100, all: false, idle: false };
    let done = one(&mut ring, recv);
    assert_eq!(done.result, Ok(4));
    let Op::Recv { into, .. } = done.op else { panic!("the op comes back") };
    assert_eq!(&into.bytes()[10..14], b"back");
    file.shutdown();
    assert_eq!(theirs.read(&mut got).unwrap(), 0);
}

#[test]
fn a_shut_socket_completes_what_waits_on_it() {
    let (mut ring, pool) = ring();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let file = ring.adopt(OwnedFd::from(ours));
    let into = pool.take().unwrap();
    let recv = Op::Recv { file: file.clone(), into, from: 0, len: 100, all: true, idle: true };
    ring.push(TOKEN, recv).unwrap();
    ring.submit().unwrap();
    file.shutdown();
    assert_eq!(wait(&mut ring).result, Ok(0));
    assert_eq!(pool.free(), 8);
}

#[test]
fn a_full_ring_gives_the_op_back() {
    let (mut ring, pool) = ring();
    let file = ring.adopt(OwnedFd::from(tempfile::tempfile().unwrap()));
    let mut pushed = 0;
    let back = loop {
        match ring.push(TOKEN, Op::Sync { file: file.clone() }) {
            Ok(()) => pushed += 1,
            Err(Full(op)) => break op,
        }
    };
    assert!(pushed >= 1024, "the queue is as long as it was asked for");
    assert!(matches!(back, Op::Sync { .. }));
    ring.submit().unwrap();
    ring.push(TOKEN, back).unwrap();
    let mut done = Vec::new();
    while done.len() <= pushed {
        ring.submit_and_wait(None).unwrap();
        ring.reap(&mut done);
    }
    assert_eq!((ring.in_flight(), pool.free()), (0, 8));
}

#[test]
fn an_op_can_be_cancelled() {
    let (mut ring, pool) = ring();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let file = ring.adopt(OwnedFd::from(ours));
    let into = pool.take().unwrap();
    ring.push(TOKEN, Op::Recv { file, into, from: 0, len: 9, all: false, idle: false }).unwrap();
    ring.submit().unwrap();
    ring.push(Token { lane: 9, kind: 0, id: 0 }, Op::Cancel { target: TOKEN }).unwrap();
    let mut done = Vec::new();
    while done.len() < 2 {
        ring.submit_and_wait(Some(Duration::from_secs(1))).unwrap();
        ring.reap(&mut done);
    }
    let cancelled = done.iter().find(|d| d.token == TOKEN).unwrap();
    assert_eq!(cancelled.result, Err(Errno(libc::ECANCELED)));
}

#[test]
fn files_leave_their_places_when_closed() {
    let (mut ring, _pool) = ring();
    for _ in 0..1000 {
        drop(ring.adopt(OwnedFd::from(tempfile::tempfile().unwrap())));
    }
    let last = ring.adopt(OwnedFd::from(tempfile::tempfile().unwrap()));
    assert!(last.place().is_some() || !ring.capabilities().has("registered files"));
}

#[test]
fn a_wait_ends_in_time() {
    let (mut ring, _pool) = ring();
    let before = sys::boottime_ns();
    ring.submit_and_wait(Some(Duration::from_millis(5))).unwrap();
    assert!(sys::boottime_ns() - before >= 4_000_000);
    assert!(!ring.has_news());
}

#[test]
fn only_a_regular_file_of_a_memory_file_system_counts_as_memory() {
    use std::os::fd::AsFd;
    let node = std::fs::File::open("/dev/null").unwrap();
    assert!(!sys::is_in_memory(node.as_fd()).unwrap());
    let folder = std::fs::File::open("/dev/shm").unwrap();
    assert!(!sys::is_in_memory(folder.as_fd()).unwrap());
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    assert!(sys::is_in_memory(file.as_fd()).unwrap());
}
