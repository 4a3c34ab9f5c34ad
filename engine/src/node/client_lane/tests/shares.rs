//! Clients that take and do not give back: stuck, slow, half dead, or coming back over and over.

use super::*;
use crate::limits::CLIENT_OPS_MAX;
use lockstep_nbd::client::{Receiver, Sender};
use std::time::Duration;

const SIZES: [usize; 7] = [4 << 10, 16 << 10, 20 << 10, 256 << 10, 260 << 10, 2 << 20, 32 << 20];

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i / 512 + seed) % 251).to_le_bytes()[0]).collect()
}

/// Writes and reads of every size come back right.
fn works(client: &mut Client) {
    for (n, len) in SIZES.into_iter().enumerate() {
        let data = pattern(len, n);
        client.write(8192, &data, false).unwrap();
        let mut back = vec![0; len];
        client.read(8192, &mut back).unwrap();
        assert!(back == data, "{len} bytes");
    }
    client.write_zeroes(0, 64 << 20, Zeroes::default()).unwrap();
    client.flush().unwrap();
}

fn simple() -> Options {
    Options { structured: false, allocation: false, ..Options::default() }
}

/// A connection on which the head of a write of 32 MiB came, and half a MiB of its data.
fn half_a_write(path: &std::path::Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.read_exact(&mut [0; 18]).unwrap();
    // Both flags, then the option that names an export and ends the handshake.
    let mut hello = 3_u32.to_be_bytes().to_vec();
    hello.extend_from_slice(b"IHAVEOPT");
    hello.extend_from_slice(&1_u32.to_be_bytes());
    hello.extend_from_slice(&3_u32.to_be_bytes());
    hello.extend_from_slice(b"vol");
    stream.write_all(&hello).unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
    let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
    request.extend_from_slice(&1_u32.to_be_bytes());
    request.extend_from_slice(&[7; 8]);
    request.extend_from_slice(&0_u64.to_be_bytes());
    request.extend_from_slice(&(32_u32 << 20).to_be_bytes());
    request.extend_from_slice(&vec![1; 512 << 10]);
    stream.write_all(&request).unwrap();
    stream
}

impl Lab {
    /// A connection that asks for reads of `len` bytes and never reads an answer.
    fn stuck(&mut self, len: u32, options: Options) -> (Sender, Receiver) {
        let address = Address::Unix(self.path.clone());
        let thread = std::thread::spawn(move || {
            let client = Client::connect(&address, &options).expect("connects");
            client.set_timeouts(None, Some(Duration::from_millis(200))).unwrap();
            let (mut sender, receiver) = client.split();
            let sent = (0..2_000).take_while(|_| sender.send_read(0, len).is_ok()).count();
            assert!(sent > 0);
            (sender, receiver)
        });
        self.until(thread)
    }

    /// Some turns in which everything comes to rest.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.turn();
        }
    }

    fn good(&mut self, options: Options) {
        let address = Address::Unix(self.path.clone());
        let thread = std::thread::spawn(move || {
            works(&mut Client::connect(&address, &options).expect("connects"));
        });
        self.until(thread);
    }
}

#[test]
fn a_client_that_never_reads_large_answers_does_not_stop_others() {
    for options in [Options::default(), simple()] {
        let mut lab = Lab::new(true);
        let stuck = lab.stuck(32 << 20, options.clone());
        lab.settle();
        let kept = lab.hub.bufs.pools.client_large.free();
        assert!(kept * 2 >= lab.hub.bufs.pools.client_large.slots(), "{kept} slots are left");
        lab.good(options.clone());
        lab.good(simple());
        drop(stuck);
        lab.until_closed();
    }
}

#[test]
fn a_client_that_never_reads_small_answers_does_not_stop_others() {
    for len in [4 << 10, 16 << 10, 256 << 10] {
        let mut lab = Lab::new(true);
        let stuck = lab.stuck(len, Options::default());
        lab.settle();
        lab.good(Options::default());
        drop(stuck);
        lab.until_closed();
    }
}

#[test]
fn the_last_place_works_when_every_other_one_is_stuck() {
    let mut lab = Lab::new(true);
    let good = lab.client(|client| client);
    let mut good = lab.until(good);
    let lens = [32 << 20, 16 << 10, 256 << 10, 8 << 20, 4 << 10, 1 << 20, 32 << 20];
    let stuck: Vec<_> = lens.into_iter().map(|len| lab.stuck(len, simple())).collect();
    lab.settle();
    assert_eq!(lab.hub.metrics.clients, 8);
    let thread = std::thread::spawn(move || works(&mut good));
    lab.until(thread);
    drop(stuck);
    lab.until_closed();
}

#[test]
fn a_write_that_is_sent_in_part_does_not_stop_others() {
    let mut lab = Lab::new(true);
    let path = lab.path.clone();
    let raws = std::thread::spawn(move || [half_a_write(&path), half_a_write(&path)]);
    let raws = lab.until(raws);
    lab.good(Options::default());
    drop(raws);
    lab.until_closed();
}

#[test]
fn a_large_read_that_fails_in_the_middle_is_answered_with_an_error() {
    for options in [Options::default(), simple()] {
        let mut lab = Lab::new(true);
        let stuck = lab.stuck(32 << 20, Options::default());
        lab.bad = Some(20 << 20);
        let address = Address::Unix(lab.path.clone());
        let structured = options.structured;
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(&address, &options).expect("connects");
            let mut back = vec![0; 32 << 20];
            let error = client.read(0, &mut back).expect_err("a block can't be read");
            if structured {
                assert!(matches!(error, ClientError::Answered { .. }), "{error}");
                client.read(0, &mut back[..1 << 20]).unwrap();
            } else {
                // The head said that all is well; only the end of the connection can say more.
                assert!(!matches!(error, ClientError::Answered { .. }), "{error}");
            }
        });
        lab.until(thread);
        drop(stuck);
        lab.until_closed();
    }
}

#[test]
fn a_client_that_comes_back_over_and_over_during_a_hold_leaves_room_for_others() {
    let mut lab = Lab::new(true);
    let good = lab.client(|client| client);
    let mut good = lab.until(good);
    lab.hold = Some(Vec::new());
    for round in 0..16 {
        let thread = lab.client(move |client| {
            client.set_timeouts(None, Some(Duration::from_millis(100))).unwrap();
            let (mut sender, _) = client.split();
            let len = [4096, 256 << 10, 1 << 20][round % 3];
            let data = vec![1; len];
            for n in 0..200 {
                if sender.send_write(n * len as u64 % (32 << 20), &data, false).is_err()
                    || sender.send_flush().is_err()
                {
                    break;
                }
            }
        });
        lab.until(thread);
        lab.settle();
    }
    let [ops, small, large] = lab.hub.metrics.client_dead;
    assert!(ops > 0 && ops < CLIENT_OPS_MAX, "{ops} pieces of connections that are gone");
    println!("dead: {ops} pieces, {small} small slots, {large} large slots");
    let reads = std::thread::spawn(move || {
        for len in SIZES {
            let mut back = vec![1; len];
            good.read(0, &mut back).unwrap();
            assert!(back.iter().all(|byte| *byte == 0));
        }
        good
    });
    let mut good = lab.until(reads);
    for event in lab.hold.take().unwrap() {
        lab.carry_out(event);
    }
    lab.settle();
    assert_eq!(lab.hub.metrics.client_dead, [0, 0, 0], "all of them were answered");
    let thread = std::thread::spawn(move || works(&mut good));
    lab.until(thread);
    lab.until_closed();
}
