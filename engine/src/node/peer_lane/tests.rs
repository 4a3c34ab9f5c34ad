//! Two lanes over real sockets: greeting, sessions, frames, strangers.

use super::super::rig;
use super::*;
use crate::units::{BootId, ClusterId, Extent, GroupId, NodeId, StartId, VolumeId};
use crate::wire::greeting::Key;
use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};

struct End {
    hub: Hub,
    lane: PeerLane,
    events: Vec<Event>,
}

impl End {
    fn new(node: NodeId, key: u8, start: u128, listener: TcpListener, dial: SocketAddr) -> End {
        let mut hub = rig::hub();
        let greeting = GreetingConfig {
            cluster: ClusterId(1),
            group: GroupId(2),
            volume: VolumeId(3),
            node,
            boot: BootId(4),
            start: StartId(start),
            key: Key::new([key; 32]),
            flows: 2,
        };
        let dial = (node == NodeId::A).then_some(dial);
        let config = PeerConfig { greeting, dial, hello: Span::millis(1_000) };
        let lane = PeerLane::new(&mut hub, config, OwnedFd::from(listener));
        End { hub, lane, events: Vec::new() }
    }

    fn turn(&mut self) {
        for done in rig::completions(&mut self.hub) {
            self.lane.done(&mut self.hub, done);
        }
        if self.lane.deadline().is_some_and(|at| at <= self.hub.now) {
            self.lane.wake(&mut self.hub);
        }
        self.lane.flush(&mut self.hub);
        self.events.extend(self.hub.events.drain(..));
    }

    fn session(&self) -> Session {
        self.events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::LinkUp { session, .. } => Some(*session),
                _ => None,
            })
            .unwrap()
    }

    fn send(&mut self, message: Message, buf: Option<BufId>) {
        let session = self.session();
        self.lane.send(&mut self.hub, session, Epoch(5), message, buf, 0);
    }

    fn payload(&mut self, byte: u8) -> BufId {
        let mut fill = self.hub.bufs.pools.client_large.take().unwrap();
        fill.bytes_mut().fill(byte);
        self.hub.bufs.put_lease(fill.freeze())
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn until(a: &mut End, b: &mut End, what: impl Fn(&End, &End) -> bool) {
    for _ in 0..2_000 {
        a.turn();
        b.turn();
        if what(a, b) {
            return;
        }
    }
    panic!("it did not come to that: a {:?}, b {:?}", a.events, b.events);
}

fn ups(end: &End) -> usize {
    end.events.iter().filter(|event| matches!(event, Event::LinkUp { .. })).count()
}

fn downs(end: &End) -> usize {
    end.events.iter().filter(|event| matches!(event, Event::LinkDown { .. })).count()
}

fn pair() -> (End, End, SocketAddr) {
    let ((a_listener, a_address), (b_listener, b_address)) = (listener(), listener());
    let mut a = End::new(NodeId::A, 1, 10, a_listener, b_address);
    let mut b = End::new(NodeId::B, 1, 20, b_listener, a_address);
    until(&mut a, &mut b, |a, b| ups(a) == 1 && ups(b) == 1);
    (a, b, b_address)
}

#[test]
fn a_session_comes_up_and_carries_payloads_and_acks() {
    let (mut a, mut b, _) = pair();
    assert_eq!(a.session(), b.session());
    for (token, len) in [(1, 4096), (2, 16 << 10), (3, 64 << 10), (4, 256 << 10)] {
        let buf = a.payload(u8::try_from(token).unwrap());
        a.send(Message::Write { token, at: Extent::new(0, len), fua: false }, Some(buf));
        a.hub.bufs.free(buf);
    }
    a.send(Message::Ping { stamp: 9 }, None);
    let frames =
        |end: &End| end.events.iter().filter(|event| matches!(event, Event::Frame { .. })).count();
    until(&mut a, &mut b, |_, b| frames(b) == 5);
    for event in std::mem::take(&mut b.events) {
        let Event::Frame { message: Message::Write { token, at, .. }, buf, epoch, .. } = event
        else {
            b.events.push(event);
            continue;
        };
        assert_eq!(epoch, Epoch(5));
        let buf = buf.unwrap();
        let lease = b.hub.bufs.lease(buf).unwrap();
        let byte = u8::try_from(token).unwrap();
        assert!(lease.bytes()[..at.len as usize].iter().all(|b| *b == byte));
        b.hub.bufs.free(buf);
        b.send(Message::Ack { token, status: Status::Ok }, None);
    }
    until(&mut a, &mut b, |a, _| frames(a) == 4);
    assert_eq!(a.hub.bufs.pools.client_large.used(), 0);
    assert_eq!(b.hub.bufs.pools.peer_small.used() + b.hub.bufs.pools.peer_large.used(), 0);
}

#[test]
fn a_dropped_session_is_followed_by_a_new_one() {
    let (mut a, mut b, _) = pair();
    let first = a.session();
    b.lane.drop_link(&mut b.hub, first);
    until(&mut a, &mut b, |a, b| ups(a) == 2 && ups(b) == 2);
    assert_ne!(a.session(), first);
    assert_eq!((downs(&a), downs(&b)), (1, 0), "who dropped it knows");
    a.lane.send(&mut a.hub, first, Epoch(5), Message::Ping { stamp: 1 }, None, 0);
    assert!(a.lane.live.as_ref().unwrap().queued() == 0, "the old session says nothing any more");
}

#[test]
fn a_peer_that_restarts_replaces_its_session() {
    let (a, mut b, b_address) = pair();
    drop(a);
    let (a_listener, _) = listener();
    let mut a = End::new(NodeId::A, 1, 11, a_listener, b_address);
    until(&mut a, &mut b, |a, b| ups(a) == 1 && ups(b) == 2);
    assert_eq!(downs(&b), 1);
    let down = b.events.iter().position(|e| matches!(e, Event::LinkDown { .. })).unwrap();
    let up = b.events.iter().rposition(|e| matches!(e, Event::LinkUp { .. })).unwrap();
    assert!(down < up);
}

#[test]
fn another_key_never_comes_up() {
    let ((a_listener, a_address), (b_listener, b_address)) = (listener(), listener());
    let mut a = End::new(NodeId::A, 1, 10, a_listener, b_address);
    let mut b = End::new(NodeId::B, 2, 20, b_listener, a_address);
    for _ in 0..200 {
        a.turn();
        b.turn();
    }
    assert_eq!((ups(&a), ups(&b)), (0, 0));
    assert!(a.lane.told.len() + b.lane.told.len() > 0, "it was said once");
    assert!(a.lane.strangers.iter().flatten().count() < 3);
}

#[test]
fn nonsense_at_the_door_harms_nobody() {
    let (mut a, mut b, b_address) = pair();
    let mut strangers: Vec<TcpStream> = (0..24)
        .map(|_| {
            let mut stranger = TcpStream::connect(b_address).unwrap();
            stranger.write_all(&[0xaa; 600]).unwrap();
            stranger
        })
        .collect();
    for _ in 0..100 {
        a.turn();
        b.turn();
    }
    a.send(Message::Ping { stamp: 9 }, None);
    until(&mut a, &mut b, |_, b| matches!(b.events.last(), Some(Event::Frame { .. })));
    assert_eq!((downs(&a), downs(&b)), (0, 0));
    let mut answer = Vec::new();
    let closed = strangers[0].read_to_end(&mut answer);
    assert!(closed.is_err() || answer.len() < 100);
    assert_eq!(b.lane.strangers.iter().flatten().count(), 0);
}

#[test]
fn silent_strangers_leave_in_time() {
    let (mut a, mut b, b_address) = pair();
    let _strangers: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(b_address).unwrap()).collect();
    until(&mut a, &mut b, |_, b| b.lane.strangers.iter().flatten().count() == 16);
    until(&mut a, &mut b, |_, b| b.lane.strangers.iter().flatten().count() <= 4);
    assert_eq!(downs(&b), 0);
}
