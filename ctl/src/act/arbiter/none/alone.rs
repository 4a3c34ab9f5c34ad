//! When a node without a store may decide by itself (DECISIONS 20, points 3 and 4). Pure. Always:
//! no earlier than the peer's silence has lasted as long as its part in the record asks for, and
//! only while something outside the pair has answered since that silence began.

use crate::decide::record::Record;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{NodeId, Span, Tick};

/// What a node sees around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Around {
    /// Last sign of life of the peer in this boot, on the link or on any heartbeat.
    pub heard: Option<Tick>,
    /// Since when this daemon listens.
    pub listens: Tick,
    /// When the isolation probe that has answered last was begun.
    pub probed: Option<Tick>,
}

/// Why a node may not decide alone, or that it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alone {
    /// It may.
    May,
    /// The peer was heard too short a time ago; not before that tick.
    TooEarly(Tick),
    /// Nothing outside the pair has answered since: it may be this node that is cut off.
    Isolated,
    /// Since the boot of this host the peer was not heard, and may have gone on before.
    Rebooted,
}

/// How long the peer of a node must be silent. The owner's fast fence comes at the end of its lease
/// (R13): it has decided before. The other one waits as with every store.
pub fn patience(times: &Times, owner: bool) -> Span {
    if owner {
        let attempts = times.arbiter_attempt.0.saturating_mul(Times::ARBITER_ATTEMPTS);
        Span(times.lease.0.saturating_sub(attempts))
    } else {
        times.heartbeat_timeout.plus(times.margin)
    }
}

/// Whether nobody but `me` can win anything under a record: it is a member of every volume of the
/// group, and the peer is not (R3). One volume without the peer is enough.
pub fn is_unrivalled(me: NodeId, record: &Record) -> bool {
    record.is_member(me) && !record.is_member(me.peer())
}

/// Whether `me` may read and write its own copy of the record as if it were the register.
pub fn may(me: NodeId, record: Option<&Record>, around: Around, times: &Times, now: Tick) -> Alone {
    if record.is_some_and(|record| is_unrivalled(me, record)) {
        return Alone::May;
    }
    let Some(heard) = around.heard else { return Alone::Rebooted };
    let owner = record.is_some_and(|record| record.owner == Some(me));
    // What was not listened to was not silent.
    let silent_since = heard.max(around.listens);
    let at = silent_since.after(patience(times, owner));
    if now < at {
        return Alone::TooEarly(at);
    }
    match around.probed {
        Some(probed) if probed >= silent_since => Alone::May,
        _ => Alone::Isolated,
    }
}

/// Whether a record may be written by `me` alone: nobody but it can win what follows. Two links of
/// a group may die one after the other, and cost two writes.
pub fn is_own(me: NodeId, next: &Record) -> bool {
    is_unrivalled(me, next) && next.owner.is_none_or(|owner| owner == me)
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crate::decide::record::VolumeEntry;
    use lockstep_engine::units::{Members, VolumeId};

    const TIMES: Times = Times::DEFAULT;

    fn at(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    fn around(heard: u64, probed: Option<u64>) -> Around {
        Around { heard: Some(at(heard)), listens: at(0), probed: probed.map(at) }
    }

    #[test]
    fn the_owner_decides_before_its_fence_and_the_other_one_after_the_time_out() {
        let both = record(3, NodeId::A, 1);
        let ask = |me, now| may(me, Some(&both), around(1_000, Some(1_001)), &TIMES, at(now));
        assert_eq!(ask(NodeId::A, 2_999), Alone::TooEarly(at(3_000)));
        assert_eq!(ask(NodeId::A, 3_000), Alone::May);
        let fence = at(1_000).after(TIMES.lease);
        assert!(at(3_000).after(TIMES.arbiter_attempt) < fence, "time for the write itself");
        assert_eq!(ask(NodeId::B, 6_249), Alone::TooEarly(at(6_250)));
        assert_eq!(ask(NodeId::B, 6_250), Alone::May);
        assert!(fence.after(TIMES.fence) <= at(6_250), "the owner is fenced before");
    }

    #[test]
    fn without_an_answer_from_outside_since_the_silence_began_nobody_decides() {
        let both = record(3, NodeId::A, 1);
        for probed in [None, Some(999)] {
            let seen = may(NodeId::A, Some(&both), around(1_000, probed), &TIMES, at(60_000));
            assert_eq!(seen, Alone::Isolated, "{probed:?}");
        }
        // What was there before this daemon listened was no silence.
        let late = Around { listens: at(59_000), ..around(1_000, Some(2_000)) };
        let seen = may(NodeId::A, Some(&both), late, &TIMES, at(60_000));
        assert_eq!(seen, Alone::TooEarly(at(61_000)));
    }

    #[test]
    fn after_a_reboot_the_own_copy_counts_only_as_the_only_member() {
        let rebooted = Around { heard: None, listens: at(0), probed: Some(at(5)) };
        let mut own = record(3, NodeId::A, 1);
        let ask = |own: Option<&Record>| may(NodeId::A, own, rebooted, &TIMES, at(90_000));
        assert_eq!(ask(Some(&own)), Alone::Rebooted);
        assert_eq!(ask(None), Alone::Rebooted);
        own.volumes[0].members = Members::only(NodeId::A);
        assert_eq!(ask(Some(&own)), Alone::May);
        own.volumes[0].members = Members::only(NodeId::B);
        assert_eq!(ask(Some(&own)), Alone::Rebooted);
    }

    #[test]
    fn alone_a_node_writes_only_what_needs_nobody_else() {
        let mut next = record(4, NodeId::A, 1);
        assert!(!is_own(NodeId::A, &next), "growing needs the other one");
        next.volumes[0].members = Members::only(NodeId::A);
        assert!(is_own(NodeId::A, &next));
        assert!(!is_own(NodeId::B, &next));
        next.owner = None;
        assert!(is_own(NodeId::A, &next));
        // Of several volumes, one without the peer keeps it from the whole group.
        let second = VolumeEntry { volume: VolumeId(6), ..record(4, NodeId::A, 1).volumes[0] };
        next.volumes.push(second);
        assert!(is_own(NodeId::A, &next) && !is_own(NodeId::B, &next));
        let around = around(1_000, None);
        assert_eq!(may(NodeId::A, Some(&next), around, &TIMES, at(1_001)), Alone::May);
        assert_ne!(may(NodeId::B, Some(&next), around, &TIMES, at(90_000)), Alone::May);
        next.volumes[1].members = Members::only(NodeId::B);
        assert!(!is_own(NodeId::A, &next), "such a record nobody can win under");
    }
}
