//! Hellos in the middle of a grow (R27).

use super::pair::{Pair, settings};
use crate::units::{DiskState, Mirror, Need, Span};
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
