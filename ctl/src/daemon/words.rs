//! What nodes and groups say of themselves in heartbeats, in one byte each.
//! Always: `peer_state` of the bytes is what was said; a byte that makes no sense is read as the
//! state that promises least.

use crate::decide::group::{Part, PeerGroup, State};
use crate::decide::node::PeerState;

const PARTS: [Part; 3] = [Part::Stopped, Part::Takes, Part::Suspended];
const HEALTHY: u8 = 1 << 4;

const STATES: [State; 11] = [
    State::Asking,
    State::Down,
    State::Claiming,
    State::Rising,
    State::Up,
    State::Degraded,
    State::Falling,
    State::Passing,
    State::Stuck,
    State::Fencing,
    State::Cleaning,
];
const STATE: u8 = 0x0f;
const STOPPED: u8 = 1 << 4;
const HELD_DOWN: u8 = 1 << 5;
const BARRED: u8 = 1 << 6;

fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

/// A node in a byte.
pub(super) fn node_byte(said: &PeerState) -> u8 {
    place(&PARTS, &said.part) | flag(said.healthy, HEALTHY)
}

/// A group in a byte.
pub(super) fn group_byte(said: &PeerGroup) -> u8 {
    place(&STATES, &said.state)
        | flag(said.stopped, STOPPED)
        | flag(said.held_down, HELD_DOWN)
        | flag(said.barred, BARRED)
}

/// What the bytes say.
pub(super) fn peer_state(node: u8, groups: impl Iterator<Item = u8>) -> PeerState {
    let part = PARTS.get(usize::from(node & STATE)).copied().unwrap_or(Part::Stopped);
    let group = |byte: u8| PeerGroup {
        state: STATES.get(usize::from(byte & STATE)).copied().unwrap_or(State::Asking),
        stopped: byte & STOPPED != 0,
        held_down: byte & HELD_DOWN != 0,
        barred: byte & BARRED != 0,
    };
    PeerState { part, healthy: node & HEALTHY != 0, groups: groups.map(group).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        for part in PARTS {
            for (healthy, state) in [(true, State::Up), (false, State::Cleaning)] {
                for (stopped, held_down, barred) in
                    [(true, false, true), (false, true, false), (false, false, false)]
                {
                    let group = PeerGroup { state, stopped, held_down, barred };
                    let said = PeerState { part, healthy, groups: vec![group] };
                    let bytes = (node_byte(&said), group_byte(&group));
                    assert_eq!(peer_state(bytes.0, [bytes.1].into_iter()), said);
                }
            }
        }
    }

    #[test]
    fn a_byte_that_makes_no_sense_promises_nothing() {
        let heard = peer_state(0x0f, [0x0f].into_iter());
        assert_eq!((heard.part, heard.groups[0].state), (Part::Stopped, State::Asking));
        assert!(STATES.len() <= usize::from(STATE));
    }
}
