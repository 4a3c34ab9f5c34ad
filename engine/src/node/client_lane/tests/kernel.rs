//! The kernel's own client: no handshake, no answer that would fail a request which another engine
//! can serve, and no second socket before the first one is drained (R20).

use super::*;
use lockstep_nbd::protocol::constants::SIMPLE_REPLY_BYTES;
use lockstep_nbd::protocol::{Cookie, Request as NbdRequest, encode_request};
use std::io::ErrorKind;
use std::time::Duration;

const EIO: u8 = 5;
const NOTHING: [u8; 0] = [];

fn lab() -> Lab {
    let mut lab = Lab::new(true);
    lab.lane.keep_place_for_kernel(&lab.hub);
    lab
}

/// The kernel's end of a socket whose other end the lane was offered.
fn attach(lab: &mut Lab) -> UnixStream {
    let (ours, kernels) = UnixStream::pair().unwrap();
    kernels.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    lab.lane.adopt_kernel(&mut lab.hub, OwnedFd::from(ours));
    kernels
}

fn ask(kernel: &mut UnixStream, command: Command, cookie: u64) {
    let (cookie, len) = (Cookie(cookie), 4096);
    let request = NbdRequest { cookie, command, fua: false, offset: 8192, len };
    kernel.write_all(&encode_request(&request)).unwrap();
    if command == Command::Write {
        kernel.write_all(&[7; 4096]).unwrap();
    }
}

/// So many bytes, or fewer when the socket ends.
fn hear(lab: &mut Lab, kernel: &mut UnixStream, count: usize) -> Vec<u8> {
    let (mut heard, mut part) = (Vec::new(), [0; 4096]);
    for _ in 0..20_000 {
        lab.turn();
        let want = part.len().min(count - heard.len());
        match kernel.read(&mut part[..want]) {
            Ok(0) => return heard,
            Ok(bytes) => heard.extend_from_slice(&part[..bytes]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if heard.len() == count {
            return heard;
        }
    }
    panic!("{} of {count} bytes", heard.len());
}

fn held_write(lab: &mut Lab) -> UnixStream {
    let mut kernel = attach(lab);
    lab.held = Some(Vec::new());
    ask(&mut kernel, Command::Write, 1);
    while lab.requests == 0 {
        lab.turn();
    }
    kernel
}

fn answer_held(lab: &mut Lab, result: Answered) {
    for event in lab.held.take().unwrap() {
        let Event::Request { req, what: Request::Write { buf, .. } } = event else { panic!() };
        lab.hub.bufs.free(buf);
        lab.lane.answer(&mut lab.hub, req, result);
    }
}

#[test]
fn it_is_served_from_the_first_byte() {
    let mut lab = lab();
    let mut kernel = attach(&mut lab);
    ask(&mut kernel, Command::Write, 1);
    let reply = hear(&mut lab, &mut kernel, SIMPLE_REPLY_BYTES);
    assert_eq!(reply[4..8], [0; 4], "no error");
    ask(&mut kernel, Command::Read { whole: false }, 2);
    let reply = hear(&mut lab, &mut kernel, SIMPLE_REPLY_BYTES + 4096);
    assert_eq!(reply[8..16], 2_u64.to_be_bytes());
    assert!(reply[16..].iter().all(|byte| *byte == 7));
    drop(kernel);
    lab.until_closed();
}

#[test]
fn its_place_is_its_own() {
    let mut lab = lab();
    let full: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&lab.path).unwrap()).collect();
    while lab.hub.metrics.clients < 8 {
        lab.turn();
    }
    let mut kernel = attach(&mut lab);
    ask(&mut kernel, Command::Read { whole: false }, 2);
    assert_eq!(hear(&mut lab, &mut kernel, 4112).len(), 4112);
    drop((full, kernel));
    lab.until_closed();
}

#[test]
fn a_request_that_another_engine_can_serve_gets_no_answer() {
    let mut lab = lab();
    let mut kernel = held_write(&mut lab);
    lab.lane.set_open(&mut lab.hub, false);
    answer_held(&mut lab, Answered::ShuttingDown);
    assert_eq!(hear(&mut lab, &mut kernel, SIMPLE_REPLY_BYTES), NOTHING, "the socket just ends");
    lab.until_closed();
}

#[test]
fn a_request_that_was_fenced_fails() {
    let mut lab = lab();
    let mut kernel = held_write(&mut lab);
    lab.lane.set_open(&mut lab.hub, false);
    answer_held(&mut lab, Answered::IoError);
    let reply = hear(&mut lab, &mut kernel, SIMPLE_REPLY_BYTES);
    assert_eq!(reply[4..8], [0, 0, 0, EIO]);
    lab.until_closed();
}

#[test]
fn the_next_socket_waits_for_what_came_over_the_one_before() {
    let mut lab = lab();
    drop(held_write(&mut lab));
    for _ in 0..100 {
        lab.turn();
    }
    assert!(!lab.lane.is_kernel_gone(), "its write is under way");
    let mut early = attach(&mut lab);
    assert_eq!(hear(&mut lab, &mut early, 1), NOTHING, "not taken");
    answer_held(&mut lab, Answered::Ok);
    lab.turn();
    assert!(lab.lane.is_kernel_gone());
    let mut next = attach(&mut lab);
    ask(&mut next, Command::Read { whole: false }, 3);
    assert_eq!(hear(&mut lab, &mut next, 4112).len(), 4112);
    drop(next);
    lab.until_closed();
}
