//! Hellos in the middle of a grow (R27).

use super::pair::{Pair, settings};
use crate::replica::action::{Action, Refusal};
use crate::replica::event::{CmdId, Command, DiskError, Event};
use crate::units::{DiskState, Members, Mirror, Need, OpenAttempt, Span, Version};
use crate::wire::message::Message;

/// Node b says again what it said last, with this disk.
fn hello_again(pair: &mut Pair, disk: DiskState) {
    let Some(Message::Hello(mut hello)) = pair.hellos[1].clone() else { panic!("no hello") };
    hello.serial += 100;
    hello.disk = disk;
    pair.frame(0, Message::Hello(hello));
}

#[test]
fn a_hello_in_the_middle_of_a_grow_changes_nothing() {
    let mut pair = Pair::apart(1 << 30, 0..64, false, &settings());
    pair.speeds.flush_delay = Span::millis(20);
    pair.connect();
    while pair.status(0).mirror != Mirror::Growing {
        pair.run(Span(100_000));
    }
    let mut hellos = 0;
    while pair.status(0).need != Some(Need::Grow) {
        hello_again(&mut pair, DiskState::Inconsistent);
        assert_eq!(pair.status(0).mirror, Mirror::Growing);
        hellos += 1;
        pair.run(Span::millis(1));
        assert!(hellos < 200, "it is stuck: {:?}", pair.status(0));
    }
    hello_again(&mut pair, DiskState::UpToDate);
    assert_eq!(pair.status(0).need, Some(Need::Grow));
}

#[test]
fn a_peer_that_lost_what_it_had_stored_is_made_equal_anew() {
    let mut pair = Pair::apart(1 << 30, 0..64, false, &settings());
    pair.connect();
    pair.run(Span::millis(500));
    assert_eq!(pair.status(0).need, Some(Need::Grow));
    hello_again(&mut pair, DiskState::Outdated);
    assert_eq!(pair.status(0).mirror, Mirror::SyncSource);
    pair.run(Span::millis(500));
    assert_eq!(pair.status(0).need, Some(Need::Grow), "{:?}", pair.status(0));
}

/// What is shown is taken for stored, and sent (R4, seed 706843).
#[test]
fn an_attempt_that_could_not_be_stored_is_not_shown() {
    let mut pair = Pair::apart(1 << 30, 0..64, false, &settings());
    pair.connect();
    pair.run(Span::millis(500));
    assert_eq!(pair.status(0).need, Some(Need::Grow));
    let mut wanted = pair.status(0).record.expect("it serves under one");
    let expected = wanted.version;
    (wanted.version, wanted.members) = (Version(expected.0 + 1), Members::BOTH);
    let what = Command::Attempt { attempt: OpenAttempt { expected, wanted } };
    let mut events = vec![Event::Command { cmd: CmdId(9), what }];
    let mut refused = None;
    let replica = &mut pair.sides[0].replica;
    while let Some(event) = events.pop() {
        replica.handle(event, pair.now);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::MetaWrite { op, .. } => {
                    let result = Err(DiskError { errno: 5 });
                    events.push(Event::DiskDone { op, result });
                }
                Action::Reply { cmd: CmdId(9), result } => refused = result.err(),
                _ => {}
            }
        }
    }
    assert_eq!(refused, Some(Refusal::MetadataFailed));
    assert!(pair.status(0).attempts.is_empty());
}
