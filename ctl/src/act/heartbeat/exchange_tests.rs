//! Two sides of the heartbeats and an attacker who records everything.

use super::*;
use lockstep_engine::units::{ClusterId, GroupId, NodeId};

const GROUP: GroupId = GroupId(2);
const OTHER: GroupId = GroupId(3);

fn side_with_key(node: NodeId, life: u128, key: &[u8]) -> Exchange {
    Exchange::new(Opening {
        pair: Pair { cluster: ClusterId(1), node },
        key: key.to_vec(),
        boot: BootId(100),
        life: Nonce(life),
        next_life: || Some(Nonce(777)),
        paths: 2,
        groups: vec![GROUP, OTHER],
    })
}

fn side(node: NodeId, life: u128) -> Exchange {
    side_with_key(node, life, b"the key of both nodes")
}

fn beats(heard: &Heard) -> usize {
    let mine = |(group, event): &&(GroupId, Event)| {
        *group == GROUP && matches!(event, Event::Heartbeat(_))
    };
    heard.events.iter().filter(mine).count()
}

fn answers_for(wanted: GroupId, heard: &Heard) -> Vec<Tick> {
    let sent = heard.events.iter().filter_map(|(group, event)| match event {
        Event::HeartbeatAnswered { sent } if *group == wanted => Some(*sent),
        _ => None,
    });
    sent.collect()
}

fn answers(heard: &Heard) -> Vec<Tick> {
    answers_for(GROUP, heard)
}

fn tell(side: &mut Exchange) -> &mut Telling {
    side.telling(GROUP).unwrap()
}

/// Lets both sides learn each other's life.
fn meet(a: &mut Exchange, b: &mut Exchange, now: Tick) {
    let hello = a.packet(now);
    let reply = b.handle(&hello, 0, now).reply.expect("b introduces itself");
    let heard = a.handle(&reply, 0, now);
    assert_eq!(beats(&heard), 1, "the reply is addressed to a's life");
    let next = a.packet(now);
    assert_eq!(beats(&b.handle(&next, 0, now)), 1);
}

#[test]
fn a_first_packet_is_no_sign_of_life_and_one_exchange_makes_it_one() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    let hello = a.packet(Tick(1));
    assert_eq!(beats(&b.handle(&hello, 0, Tick(1))), 0);
    assert_eq!(b.heard(), None);
    meet(&mut a, &mut b, Tick(2));
    assert_eq!(b.heard(), Some(Tick(2)));
}

#[test]
fn a_duplicate_and_an_overtaken_packet_do_not_count() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    let early = a.packet(Tick(2));
    let late = a.packet(Tick(3));
    assert_eq!(beats(&b.handle(&late, 0, Tick(4))), 1);
    assert_eq!(beats(&b.handle(&late, 0, Tick(5))), 0);
    assert_eq!(beats(&b.handle(&early, 0, Tick(6))), 0);
    assert_eq!(b.dropped().replayed, 2);
    assert_eq!(b.heard(), Some(Tick(4)));
}

#[test]
fn packets_recorded_before_a_restart_of_the_receiver_are_no_sign_of_life_after_it() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    let recorded: Vec<_> = (2..50).map(|t| a.packet(Tick(t))).collect();
    let mut again = side(NodeId::B, 23);
    for raw in &recorded {
        assert_eq!(beats(&again.handle(raw, 0, Tick(60))), 0);
    }
    assert_eq!(again.heard(), None);
    assert_eq!(again.dropped().misaddressed, 48);
}

#[test]
fn packets_of_a_former_life_of_the_peer_are_never_believed_again() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    let recorded = a.packet(Tick(2));
    let mut again = side(NodeId::A, 12);
    meet(&mut again, &mut b, Tick(3));
    assert_eq!(beats(&b.handle(&recorded, 0, Tick(9))), 0);
    assert_eq!(b.heard(), Some(Tick(3)));
    // The live peer is not disturbed by it either.
    let next = again.packet(Tick(10));
    assert_eq!(beats(&b.handle(&next, 0, Tick(10))), 1);
}

#[test]
fn a_replayed_introduction_does_not_silence_a_living_peer() {
    let (mut old, mut b) = (side(NodeId::A, 10), side(NodeId::B, 22));
    let hello = old.packet(Tick(1));
    let mut a = side(NodeId::A, 11);
    meet(&mut a, &mut b, Tick(2));
    assert!(b.handle(&hello, 0, Tick(3)).reply.is_some());
    let beat = b.packet(Tick(4));
    assert_eq!(beats(&a.handle(&beat, 0, Tick(4))), 1, "b still speaks to a's present life");
}

#[test]
fn another_key_is_foreign_and_is_counted() {
    let mut a = side_with_key(NodeId::A, 11, b"the key of somebody else");
    let mut b = side(NodeId::B, 22);
    let heard = b.handle(&a.packet(Tick(1)), 0, Tick(1));
    assert!(heard.reply.is_none() && heard.events.is_empty());
    assert_eq!(b.dropped().foreign, 1);
}

#[test]
fn an_answer_carries_the_tick_at_which_the_heartbeat_was_sent() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    let beat = a.packet(Tick(40));
    b.handle(&beat, 0, Tick(1000));
    let answer = b.packet(Tick(2000));
    assert_eq!(answers(&a.handle(&answer, 0, Tick(90))), [Tick(40)]);
    assert_eq!(a.answered(GROUP), Some(Tick(40)));
    // The same answer again, in a newer packet, renews nothing.
    let same = b.packet(Tick(3000));
    assert!(answers(&a.handle(&same, 0, Tick(95))).is_empty());
}

#[test]
fn a_silent_side_goes_on_beating_without_answers() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    tell(&mut b).answers = false;
    let beat = a.packet(Tick(40));
    b.handle(&beat, 0, Tick(41));
    let heard = a.handle(&b.packet(Tick(42)), 0, Tick(42));
    assert_eq!(beats(&heard), 1);
    assert!(answers(&heard).is_empty());
    tell(&mut b).answers = true;
    assert_eq!(answers(&a.handle(&b.packet(Tick(43)), 0, Tick(43))), [Tick(40)]);
}

#[test]
fn after_many_lives_of_the_peer_this_side_takes_a_new_one_and_they_meet_again() {
    let mut b = side(NodeId::B, 22);
    let mut recorded = Vec::new();
    for life in 0..=DEAD_LIVES_MAX {
        let mut a = side(NodeId::A, 1000 + life as u128);
        meet(&mut a, &mut b, Tick(1));
        recorded.push(a.packet(Tick(2)));
    }
    for raw in &recorded {
        assert_eq!(beats(&b.handle(raw, 0, Tick(5))), 0);
    }
    let mut a = side(NodeId::A, 5000);
    meet(&mut a, &mut b, Tick(6));
    assert_eq!(b.heard(), Some(Tick(6)));
}

#[test]
fn a_release_and_the_directory_nonce_arrive() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    tell(&mut a).released = Some(Version(9));
    tell(&mut a).proof = Some(Nonce(5));
    tell(&mut a).record = Some(Version(8));
    let heard = b.handle(&a.packet(Tick(2)), 0, Tick(2));
    let Some((GROUP, Event::Heartbeat(beat))) = heard.events.first() else { panic!("a heartbeat") };
    assert_eq!(beat.released, Some(Version(9)));
    assert_eq!(b.peer_group(GROUP).unwrap().proof, Some(Nonce(5)));
    assert_eq!(b.peer_group(GROUP).unwrap().record, Some(Version(8)));
}

#[test]
fn an_answer_is_kept_back_for_one_group_and_given_for_another() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    tell(&mut b).answers = false;
    b.handle(&a.packet(Tick(40)), 0, Tick(41));
    let heard = a.handle(&b.packet(Tick(42)), 0, Tick(42));
    assert!(answers(&heard).is_empty());
    assert_eq!(answers_for(OTHER, &heard), [Tick(40)]);
}

#[test]
fn a_copy_over_a_second_interconnect_shows_that_it_works_and_counts_once() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    let beat = a.packet(Tick(2));
    assert_eq!(beats(&b.handle(&beat, 1, Tick(3))), 1, "the faster way, whichever it is");
    assert_eq!(beats(&b.handle(&beat, 0, Tick(4))), 0);
    assert_eq!(b.heard_over().collect::<Vec<_>>(), [Some(Tick(4)), Some(Tick(3))]);
    assert_eq!(b.dropped().replayed, 0);
    // A third copy was recorded by somebody.
    assert_eq!(beats(&b.handle(&beat, 0, Tick(5))), 0);
    assert_eq!(b.dropped().replayed, 1);
    assert_eq!(b.heard_over().next(), Some(Some(Tick(4))));
}

#[test]
fn a_peer_that_does_not_know_a_group_is_alive_all_the_same() {
    let (mut a, mut b) = (side(NodeId::A, 11), side(NodeId::B, 22));
    meet(&mut a, &mut b, Tick(1));
    a.telling.retain(|own| own.group == OTHER);
    let heard = b.handle(&a.packet(Tick(2)), 0, Tick(2));
    assert_eq!(beats(&heard), 1);
    assert!(answers(&heard).is_empty());
}
