//! NBD clients over real sockets: cutting, batching, bad clients, closing.

mod kernel;
mod shares;

use super::super::rig;
use super::*;
use crate::replica::event::{BufId, Event, Request};
use lockstep_nbd::client::{Address, Client, ClientError, Options, Zeroes};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

const SIZE: u64 = 64 << 20;

/// A lane over a volume in memory: what a replica would do, without a peer.
struct Lab {
    hub: Hub,
    lane: ClientLane,
    volume: Vec<u8>,
    path: PathBuf,
    held: Option<Vec<Event>>,
    /// Writes, zeroes and flushes are held, as while the link is lost; reads are answered.
    hold: Option<Vec<Event>>,
    /// Reads of this byte fail.
    bad: Option<u64>,
    requests: usize,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new(open: bool) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nbd");
        let mut hub = rig::hub();
        let data = tempfile::tempfile().unwrap();
        data.set_len(SIZE).unwrap();
        let data = hub.port.ring.adopt(OwnedFd::from(data));
        let listener = OwnedFd::from(UnixListener::bind(&path).unwrap());
        let export = Export::new("vol", SIZE).unwrap();
        let mut lane = ClientLane::new(&mut hub, export, data, true, vec![(listener, false)], 8);
        lane.set_open(&mut hub, open);
        let volume = vec![0; usize::try_from(SIZE).unwrap()];
        Lab { hub, lane, volume, path, held: None, hold: None, bad: None, requests: 0, _dir: dir }
    }

    fn client<R: Send + 'static>(
        &self,
        run: impl FnOnce(Client) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let address = Address::Unix(self.path.clone());
        std::thread::spawn(move || {
            run(Client::connect(&address, &Options::default()).expect("connects"))
        })
    }

    fn turn(&mut self) {
        for done in rig::completions(&mut self.hub) {
            self.lane.done(&mut self.hub, done);
        }
        if self.lane.deadline().is_some_and(|at| at <= self.hub.now) {
            self.lane.wake(&mut self.hub);
        }
        loop {
            self.lane.flush(&mut self.hub);
            let Some(event) = self.hub.events.pop_front() else { return };
            self.requests += 1;
            match &mut self.held {
                Some(held) => held.push(event),
                None => self.carry_out(event),
            }
        }
    }

    fn carry_out(&mut self, event: Event) {
        let Event::Request { req, what } = event else { panic!("{event:?}") };
        if let (Some(hold), false) = (&mut self.hold, matches!(what, Request::Read { .. })) {
            hold.push(event);
            return;
        }
        let range = |at: crate::units::Extent| {
            usize::try_from(at.offset).unwrap()..usize::try_from(at.end()).unwrap()
        };
        match what {
            Request::Read { at, buf } => {
                if self.bad.is_some_and(|bad| at.offset <= bad && bad < at.end()) {
                    self.lane.answer(&mut self.hub, req, Answered::IoError);
                    return;
                }
                let mut fill = self.hub.bufs.take_fill(buf).unwrap();
                fill.bytes_mut()[..at.len as usize].copy_from_slice(&self.volume[range(at)]);
                self.hub.bufs.restore(buf, fill);
            }
            Request::Write { at, buf, .. } => self.write(range(at), buf),
            Request::Zero { at, .. } => self.volume[range(at)].fill(0),
            Request::Flush => {}
        }
        self.lane.answer(&mut self.hub, req, Answered::Ok);
    }

    fn write(&mut self, range: std::ops::Range<usize>, buf: BufId) {
        let lease = self.hub.bufs.lease(buf).unwrap();
        self.volume[range.clone()].copy_from_slice(&lease.bytes()[..range.len()]);
        self.hub.bufs.free(buf);
    }

    fn until<R>(&mut self, thread: JoinHandle<R>) -> R {
        for _ in 0..20_000 {
            if thread.is_finished() {
                break;
            }
            self.turn();
        }
        assert!(thread.is_finished(), "a client waits for ever");
        thread.join().unwrap()
    }

    fn until_closed(&mut self) {
        for _ in 0..1_000 {
            if self.hub.metrics.clients == 0 {
                break;
            }
            self.turn();
        }
        let pools = &self.hub.bufs.pools;
        let used = (pools.client_small.used(), pools.client_large.used(), pools.staging.used());
        assert_eq!(used, (0, 0, 0), "every slot is back");
        assert_eq!(self.hub.metrics.clients, 0);
    }
}

#[test]
fn requests_of_every_size_come_back_as_written() {
    let mut lab = Lab::new(true);
    let thread = lab.client(|mut client| {
        for (n, len) in [4 << 10, 16 << 10, 20 << 10, 256 << 10, 260 << 10, 1 << 20, 32 << 20]
            .into_iter()
            .enumerate()
        {
            let data: Vec<u8> =
                (0..len).map(|i: usize| ((i / 512 + n) % 251).to_le_bytes()[0]).collect();
            client.write(4096, &data, n % 2 == 0).unwrap();
            let mut back = vec![0; len];
            client.read(4096, &mut back).unwrap();
            assert!(back == data, "{len} bytes");
        }
        client.write_zeroes(8192, 4096, Zeroes::default()).unwrap();
        client.trim(0, 64 << 20, false).unwrap();
        client.flush().unwrap();
        let mut back = [1; 4096];
        client.read(4096, &mut back).unwrap();
        assert_eq!(back, [0; 4096]);
        client.disconnect().unwrap();
    });
    lab.until(thread);
    lab.until_closed();
}

#[test]
fn many_large_requests_at_once_wait_for_slots_and_all_are_answered() {
    let mut lab = Lab::new(true);
    let clients: Vec<_> = (0..4_u64)
        .map(|n| {
            lab.client(move |mut client| {
                let data = vec![n.to_le_bytes()[0] + 1; 8 << 20];
                let mut back = vec![0; 8 << 20];
                for _ in 0..4 {
                    client.write(n << 23, &data, false).unwrap();
                    client.read(n << 23, &mut back).unwrap();
                    assert!(back == data);
                }
            })
        })
        .collect();
    for client in clients {
        lab.until(client);
    }
    lab.until_closed();
}

#[test]
fn a_client_that_talks_nonsense_ends_alone() {
    let mut lab = Lab::new(true);
    let path = lab.path.clone();
    let good = lab.client(move |mut client| {
        let mut bad = UnixStream::connect(&path).unwrap();
        bad.write_all(&[0xff; 4096]).unwrap();
        let mut answer = Vec::new();
        bad.read_to_end(&mut answer).unwrap();
        client.write(0, &[7; 4096], false).unwrap();
        let mut late = UnixStream::connect(&path).unwrap();
        late.write_all(&[0; 3]).unwrap();
        drop(late);
        let mut back = [0; 4096];
        client.read(0, &mut back).unwrap();
        assert_eq!(back, [7; 4096]);
    });
    lab.until(good);
    lab.until_closed();
}

#[test]
fn nobody_is_served_while_clients_are_refused() {
    let mut lab = Lab::new(false);
    let address = Address::Unix(lab.path.clone());
    let thread = std::thread::spawn(move || {
        Client::connect(&address, &Options::default()).expect_err("refused")
    });
    let error = lab.until(thread);
    assert!(!matches!(error, ClientError::Answered { .. }), "{error}");
    assert_eq!(lab.requests, 0);
    lab.lane.set_open(&mut lab.hub, true);
    let thread = lab.client(|mut client| client.write(0, &[1; 4096], false));
    lab.until(thread).unwrap();
    lab.until_closed();
}

#[test]
fn closing_waits_for_the_answer_of_what_is_under_way() {
    let mut lab = Lab::new(true);
    lab.held = Some(Vec::new());
    let thread = lab.client(|mut client| {
        let written = client.write(0, &[9; 4096], true);
        let refused = client.write(0, &[9; 4096], true);
        (written, refused)
    });
    while lab.requests == 0 {
        lab.turn();
    }
    lab.lane.set_open(&mut lab.hub, false);
    lab.turn();
    for event in lab.held.take().unwrap() {
        lab.carry_out(event);
    }
    let (written, refused) = lab.until(thread);
    written.unwrap();
    refused.unwrap_err();
    lab.until_closed();
}

#[test]
fn an_answer_to_a_client_that_has_gone_is_dropped() {
    let mut lab = Lab::new(true);
    lab.held = Some(Vec::new());
    let thread = lab.client(|client| {
        let (mut sender, _) = client.split();
        sender.send_read(0, 1 << 20).unwrap();
    });
    lab.until(thread);
    while lab.requests < 4 {
        lab.turn();
    }
    for _ in 0..100 {
        lab.turn();
    }
    assert_eq!(lab.hub.metrics.clients, 0);
    for event in lab.held.take().unwrap() {
        lab.carry_out(event);
    }
    lab.until_closed();
}
