//! Data and metadata on real files.

use super::super::rig;
use super::*;
use std::fs::File as StdFile;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

struct Lab {
    hub: Hub,
    lane: DiskLane,
    data: StdFile,
    meta: StdFile,
}

impl Lab {
    fn new() -> Lab {
        Lab::on(tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap())
    }

    fn on(data: StdFile, meta: StdFile) -> Lab {
        let mut hub = rig::hub();
        data.set_len(2 << 20).unwrap();
        meta.set_len(1 << 20).unwrap();
        let [data_file, meta_file] = [&data, &meta]
            .map(|file| hub.port.ring.adopt(OwnedFd::from(file.try_clone().unwrap())));
        let zeroes = hub.bufs.pools.internal.take().unwrap();
        let lane = DiskLane::new(data_file, meta_file, 1 << 20, zeroes);
        Lab { hub, lane, data, meta }
    }

    fn result(&mut self, op: u64) -> Result<(), DiskError> {
        for _ in 0..1_000 {
            self.lane.run_aside(&mut self.hub);
            for done in rig::completions(&mut self.hub) {
                self.lane.done(&mut self.hub, done);
            }
            if let Some(event) = self.hub.events.pop_front() {
                let Event::DiskDone { op: ended, result } = event else { panic!("{event:?}") };
                assert_eq!(ended, OpId(op));
                return result;
            }
        }
        panic!("operation {op} did not end");
    }

    fn filled(&mut self, byte: u8) -> BufId {
        let mut fill = self.hub.bufs.pools.client_large.take().unwrap();
        fill.bytes_mut().fill(byte);
        self.hub.bufs.put_lease(fill.freeze())
    }
}

#[test]
fn what_is_written_is_read_and_what_is_zeroed_is_zero() {
    write_zero_and_read(Lab::new());
}

#[test]
fn files_in_memory_are_served_without_the_ring() {
    let memory = std::path::Path::new("/dev/shm");
    let Ok(data) = tempfile::tempfile_in(memory) else { return };
    let lab = Lab::on(data, tempfile::tempfile_in(memory).unwrap());
    assert!(lab.lane.in_memory);
    write_zero_and_read(lab);
}

fn write_zero_and_read(mut lab: Lab) {
    let buf = lab.filled(7);
    let at = Extent::new(4096, 64 << 10);
    lab.lane.write(&mut lab.hub, OpId(1), at, buf, true);
    assert_eq!(lab.result(1), Ok(()));
    for (op, punch) in [(2, true), (3, false)] {
        let hole = Extent::new(4096 * op, 4096);
        lab.lane.zero(&mut lab.hub, OpId(op), hole, punch, true);
        assert_eq!(lab.result(op), Ok(()));
    }
    lab.lane.flush(&mut lab.hub, OpId(4));
    assert_eq!(lab.result(4), Ok(()));
    let into = BufId::internal(0);
    lab.lane.read(&mut lab.hub, OpId(5), at, into);
    assert_eq!(lab.result(5), Ok(()));
    let lease = lab.hub.bufs.lease(into).unwrap();
    let bytes: Vec<u8> = lease.bytes()[..16384].chunks(4096).map(|block| block[0]).collect();
    assert_eq!(bytes, [7, 0, 0, 7]);
}

#[test]
fn pages_go_to_their_places() {
    let mut lab = Lab::new();
    lab.lane.meta_write(&mut lab.hub, OpId(1), 3, Box::new([1; PAGE_BYTES]));
    assert_eq!(lab.result(1), Ok(()));
    lab.lane.tail_write(&mut lab.hub, OpId(2), 1, Box::new([2; PAGE_BYTES]));
    assert_eq!(lab.result(2), Ok(()));
    let mut page = [0; PAGE_BYTES];
    lab.meta.read_exact_at(&mut page, 3 * 4096).unwrap();
    assert_eq!(page, [1; PAGE_BYTES]);
    lab.data.read_exact_at(&mut page, (1 << 20) + 4096).unwrap();
    assert_eq!(page, [2; PAGE_BYTES]);
    assert_eq!(lab.hub.bufs.pools.pages.used(), 0);
}

#[test]
fn more_pages_than_slots_wait_their_turn() {
    let mut lab = Lab::new();
    let count = lab.hub.bufs.pools.pages.slots() as u64 + 5;
    for op in 0..count {
        lab.lane.meta_write(&mut lab.hub, OpId(op), op, Box::new([1; PAGE_BYTES]));
    }
    let mut ended = 0;
    for _ in 0..1_000 {
        for done in rig::completions(&mut lab.hub) {
            lab.lane.done(&mut lab.hub, done);
        }
        ended += lab.hub.events.drain(..).count() as u64;
    }
    assert_eq!(ended, count);
}

#[test]
fn a_read_past_the_end_is_an_error_and_not_a_hang() {
    let mut lab = Lab::new();
    lab.lane.read(&mut lab.hub, OpId(1), Extent::new((2 << 20) - 4096, 8192), BufId::internal(1));
    assert_eq!(lab.result(1), Err(DiskError { errno: libc::EIO }));
}

#[test]
fn a_buffer_that_is_not_there_is_refused() {
    let mut lab = Lab::new();
    lab.lane.write(&mut lab.hub, OpId(1), Extent::new(0, 4096), BufId(5), false);
    assert_eq!(lab.result(1), Err(DiskError { errno: libc::EFAULT }));
}
