//! Two ends, and everything that may sit between them.

use super::*;
use crate::units::{ClusterId, GroupId, VolumeId};
use crate::wire::version::VERSION;

fn config(node: NodeId) -> GreetingConfig {
    let own = u128::from(node.to_byte());
    GreetingConfig {
        cluster: ClusterId(0xc1),
        group: GroupId(0x61),
        volume: VolumeId(0x51),
        node,
        boot: BootId(0xb000 + own),
        start: StartId(0x5000 + own),
        key: Key::new([7; 32]),
        flows: 2,
    }
}

const A_RANDOM: [u8; 32] = [0xaa; 32];
const B_RANDOM: [u8; 32] = [0xbb; 32];
const LIVE: Session = Session(0x1234_5678);

/// Both ends and the bytes that are under way to each.
struct Pair {
    dialer: Greeting,
    acceptor: Greeting,
    to_dialer: Vec<u8>,
    to_acceptor: Vec<u8>,
}

type Outcome = Result<Option<Greeted>, GreetingError>;

impl Pair {
    fn new(
        dialer: &GreetingConfig,
        acceptor: &GreetingConfig,
        flow: FlowRole,
        live: Option<Session>,
    ) -> Pair {
        let mut to_acceptor = Vec::new();
        let dialer = Greeting::dial(dialer, A_RANDOM, flow, &mut to_acceptor);
        let acceptor = Greeting::accept(acceptor, B_RANDOM, live);
        Pair { dialer, acceptor, to_dialer: Vec::new(), to_acceptor }
    }

    /// Carries bytes until both ends are silent; what each end came to.
    fn run(mut self) -> (Outcome, Outcome) {
        let (mut dialed, mut accepted) = (Ok(None), Ok(None));
        for _ in 0..4 {
            feed(&mut self.acceptor, &mut self.to_acceptor, &mut self.to_dialer, &mut accepted);
            feed(&mut self.dialer, &mut self.to_dialer, &mut self.to_acceptor, &mut dialed);
        }
        (dialed, accepted)
    }
}

fn feed(end: &mut Greeting, input: &mut Vec<u8>, out: &mut Vec<u8>, outcome: &mut Outcome) {
    match end.feed(input, out) {
        Ok(progress) => {
            input.drain(..progress.consumed);
            if progress.done.is_some() {
                *outcome = Ok(progress.done);
            }
        }
        Err(error) => *outcome = Err(error),
    }
}

fn attach(session: Session, index: u8) -> FlowRole {
    FlowRole::Data { session, index }
}

fn refused(reason: Refused) -> Outcome {
    Err(GreetingError::PeerRefused { reason: Some(reason), theirs: VERSION })
}

/// Both ends of a greeting in which `change` was done to the dialer's configuration.
fn with_dialer(change: impl FnOnce(&mut GreetingConfig)) -> (Outcome, Outcome) {
    let mut dialer = config(NodeId::A);
    change(&mut dialer);
    Pair::new(&dialer, &config(NodeId::B), FlowRole::Control, None).run()
}

#[test]
fn the_control_flow_makes_a_session_of_both_halves() {
    let (dialed, accepted) = with_dialer(|_| {});
    let (dialed, accepted) = (dialed.unwrap().unwrap(), accepted.unwrap().unwrap());
    assert_eq!(dialed.session, Session(0xaaaa_aaaa_aaaa_aaaa_bbbb_bbbb_bbbb_bbbb));
    assert_eq!(accepted.session, dialed.session);
    assert_eq!((dialed.peer, accepted.peer), (NodeId::B, NodeId::A));
    assert_eq!((dialed.peer_boot, accepted.peer_boot), (BootId(0xb002), BootId(0xb001)));
    assert_eq!((dialed.peer_start, accepted.peer_start), (StartId(0x5002), StartId(0x5001)));
    assert_eq!((dialed.flow, accepted.flow), (FlowRole::Control, FlowRole::Control));
}

#[test]
fn either_node_may_dial() {
    let pair = Pair::new(&config(NodeId::B), &config(NodeId::A), FlowRole::Control, None);
    let (dialed, accepted) = pair.run();
    assert_eq!(dialed.unwrap().unwrap().peer, NodeId::A);
    assert_eq!(accepted.unwrap().unwrap().peer, NodeId::B);
}

#[test]
fn a_data_flow_attaches_to_the_live_session() {
    let flow = attach(LIVE, 2);
    let (dialed, accepted) =
        Pair::new(&config(NodeId::A), &config(NodeId::B), flow, Some(LIVE)).run();
    let (dialed, accepted) = (dialed.unwrap().unwrap(), accepted.unwrap().unwrap());
    assert_eq!((dialed.flow, dialed.session), (flow, LIVE));
    assert_eq!((accepted.flow, accepted.session), (flow, LIVE));
}

#[test]
fn the_smaller_number_of_flows_counts() {
    let (dialed, accepted) = with_dialer(|dialer| dialer.flows = 7);
    assert_eq!((dialed.unwrap().unwrap().flows, accepted.unwrap().unwrap().flows), (2, 2));
}

#[test]
fn each_wrong_id_is_refused_with_its_own_reason_on_both_sides() {
    let (dialed, accepted) = with_dialer(|dialer| dialer.cluster = ClusterId(9));
    let (ours, theirs) = (ClusterId(0xc1), ClusterId(9));
    assert_eq!(accepted, Err(GreetingError::Cluster { ours, theirs }));
    assert_eq!(dialed, refused(Refused::Cluster));

    let (dialed, accepted) = with_dialer(|dialer| dialer.group = GroupId(9));
    let (ours, theirs) = (GroupId(0x61), GroupId(9));
    assert_eq!(accepted, Err(GreetingError::Group { ours, theirs }));
    assert_eq!(dialed, refused(Refused::Group));

    let (dialed, accepted) = with_dialer(|dialer| dialer.volume = VolumeId(9));
    let (ours, theirs) = (VolumeId(0x51), VolumeId(9));
    assert_eq!(accepted, Err(GreetingError::Volume { ours, theirs }));
    assert_eq!(dialed, refused(Refused::Volume));

    let (dialed, accepted) = with_dialer(|dialer| dialer.node = NodeId::B);
    assert_eq!(accepted, Err(GreetingError::SameNode { node: NodeId::B }));
    assert_eq!(dialed, refused(Refused::SameNode));

    let (dialed, accepted) = with_dialer(|dialer| dialer.boot = BootId::NONE);
    assert_eq!(accepted, Err(GreetingError::Malformed));
    assert_eq!(dialed, refused(Refused::Malformed));
}

#[test]
fn a_wrong_key_is_refused_and_both_sides_learn_it() {
    let (dialed, accepted) = with_dialer(|dialer| dialer.key = Key::new([8; 32]));
    assert_eq!(accepted, Err(GreetingError::Proof));
    assert_eq!(dialed, refused(Refused::Proof));
    let mut stranger = config(NodeId::A);
    stranger.key = Key::new([8; 32]);
    let (_, accepted) = Pair::new(&stranger, &config(NodeId::B), attach(LIVE, 1), Some(LIVE)).run();
    assert_eq!(accepted, Err(GreetingError::Proof));
}

#[test]
fn a_data_flow_of_another_session_or_beyond_the_configured_ones_is_refused() {
    let (a, b) = (config(NodeId::A), config(NodeId::B));
    let old = Session(77);
    for live in [None, Some(LIVE)] {
        let (dialed, accepted) = Pair::new(&a, &b, attach(old, 1), live).run();
        assert_eq!(accepted, Err(GreetingError::NoSuchSession { asked: old }));
        assert_eq!(dialed, refused(Refused::NoSuchSession));
    }
    let (dialed, accepted) = Pair::new(&a, &b, attach(LIVE, 3), Some(LIVE)).run();
    assert_eq!(accepted, Err(GreetingError::FlowIndex { index: 3, flows: 2 }));
    assert_eq!(dialed, refused(Refused::FlowIndex));
}

/// Every byte that the dialer of a good greeting sends.
fn dialer_transcript(flow: FlowRole, live: Option<Session>) -> Vec<u8> {
    let mut to_acceptor = Vec::new();
    let mut dialer = Greeting::dial(&config(NodeId::A), A_RANDOM, flow, &mut to_acceptor);
    let mut acceptor = Greeting::accept(&config(NodeId::B), B_RANDOM, live);
    let mut to_dialer = Vec::new();
    acceptor.feed(&to_acceptor, &mut to_dialer).unwrap();
    dialer.feed(&to_dialer, &mut to_acceptor).unwrap();
    to_acceptor
}

#[test]
fn an_old_greeting_replayed_to_another_challenge_is_refused() {
    for (flow, live) in [(FlowRole::Control, None), (attach(LIVE, 1), Some(LIVE))] {
        let old = dialer_transcript(flow, live);
        let mut out = Vec::new();
        let mut same = Greeting::accept(&config(NodeId::B), B_RANDOM, live);
        assert!(same.feed(&old, &mut out).unwrap().done.is_some(), "the transcript is good");
        let mut fresh = Greeting::accept(&config(NodeId::B), [0xbc; 32], live);
        assert_eq!(fresh.feed(&old, &mut out), Err(GreetingError::Proof));
    }
}

#[test]
fn an_old_welcome_replayed_to_another_open_is_refused() {
    let open = dialer_transcript(FlowRole::Control, None);
    let mut replies = Vec::new();
    Greeting::accept(&config(NodeId::B), B_RANDOM, None).feed(&open, &mut replies).unwrap();
    let mut out = Vec::new();
    let mut dialer = Greeting::dial(&config(NodeId::A), [0xab; 32], FlowRole::Control, &mut out);
    assert_eq!(dialer.feed(&replies, &mut out), Err(GreetingError::Proof));
}

#[test]
fn a_proof_for_one_flow_does_not_open_another() {
    let (a, b) = (config(NodeId::A), config(NodeId::B));
    let mut out = Vec::new();
    // The proof of flow 1 behind the open of flow 2, to the same challenge.
    let mut one = dialer_transcript(attach(LIVE, 1), Some(LIVE));
    Greeting::dial(&a, A_RANDOM, attach(LIVE, 2), &mut out);
    one[..OPEN_BYTES].copy_from_slice(&out);
    let mut acceptor = Greeting::accept(&b, B_RANDOM, Some(LIVE));
    assert_eq!(acceptor.feed(&one, &mut out), Err(GreetingError::Proof));
}

#[test]
fn a_reflected_greeting_is_refused() {
    let a = config(NodeId::A);
    // Everything that a dialer says comes straight back.
    let mut out = Vec::new();
    let mut dialer = Greeting::dial(&a, A_RANDOM, FlowRole::Control, &mut out);
    let own = out.clone();
    assert_eq!(dialer.feed(&own, &mut out), Err(GreetingError::Unexpected { found: 1 }));

    // The dialer is wired to its own node's acceptor.
    let (dialed, accepted) = Pair::new(&a, &a, FlowRole::Control, None).run();
    assert_eq!(accepted, Err(GreetingError::SameNode { node: NodeId::A }));
    assert_eq!(dialed, refused(Refused::SameNode));
}

#[test]
fn a_proof_of_this_node_relayed_back_as_the_peers_is_refused() {
    // Node A dials a stranger, who dials A as B with a changed open and relays A's challenge.
    let a = config(NodeId::A);
    let mut said = Vec::new();
    let mut dialer = Greeting::dial(&a, A_RANDOM, FlowRole::Control, &mut said);
    let mut changed = Open::decode(&said).unwrap();
    changed.node = NodeId::B;
    let mut acceptor = Greeting::accept(&a, B_RANDOM, None);
    let mut challenge = Vec::new();
    acceptor.feed(&changed.encode(), &mut challenge).unwrap();
    let mut proof = Vec::new();
    dialer.feed(&challenge, &mut proof).unwrap();
    assert_eq!(acceptor.feed(&proof, &mut challenge), Err(GreetingError::Proof));
}

#[test]
fn an_acceptor_says_nothing_of_itself_before_the_dialer_has_proved_itself() {
    let open = &dialer_transcript(FlowRole::Control, None)[..OPEN_BYTES];
    let mut out = Vec::new();
    Greeting::accept(&config(NodeId::B), B_RANDOM, None).feed(open, &mut out).unwrap();
    assert_eq!(out, frames::encode_challenge(0xbbbb_bbbb_bbbb_bbbb, &[0xbb; NONCE_BYTES]));
}

#[test]
fn bytes_may_come_one_by_one_and_what_follows_is_left_alone() {
    let mut input = dialer_transcript(FlowRole::Control, None);
    let greeting_bytes = input.len();
    input.extend_from_slice(b"LSfr");
    let mut acceptor = Greeting::accept(&config(NodeId::B), B_RANDOM, None);
    let (mut begin, mut done, mut out) = (0, None, Vec::new());
    for end in 1..=input.len() {
        assert!(end - begin <= GREETING_BYTES_MAX || done.is_some());
        let progress = acceptor.feed(&input[begin..end], &mut out).unwrap();
        begin += progress.consumed;
        done = done.or(progress.done);
        assert_eq!(done.is_some(), end >= greeting_bytes);
    }
    assert_eq!(begin, greeting_bytes);
}

#[test]
fn a_truncated_greeting_is_never_done() {
    let whole = dialer_transcript(FlowRole::Control, None);
    for end in 0..whole.len() {
        let mut acceptor = Greeting::accept(&config(NodeId::B), B_RANDOM, None);
        let progress = acceptor.feed(&whole[..end], &mut Vec::new()).unwrap();
        assert_eq!(progress.done, None);
    }
}

#[test]
fn every_changed_byte_ends_the_greeting() {
    let good = dialer_transcript(FlowRole::Control, None);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let mut acceptor = Greeting::accept(&config(NodeId::B), B_RANDOM, None);
        let result = acceptor.feed(&bad, &mut Vec::new());
        assert!(result.is_err(), "byte {at}: {result:?}");
        assert_eq!(acceptor.feed(&good, &mut Vec::new()), result, "a failed end stays failed");
    }
}

#[test]
fn a_stranger_of_another_protocol_is_not_answered() {
    for stranger in [&b"GET / HTTP/1.1\r\n"[..], b"NBDMAGIC", b"\x16\x03\x01", b"L\0"] {
        let mut out = Vec::new();
        let mut acceptor = Greeting::accept(&config(NodeId::B), B_RANDOM, None);
        assert_eq!(acceptor.feed(stranger, &mut out), Err(GreetingError::NotLockstep));
        assert!(out.is_empty());
    }
}

#[test]
fn another_version_is_refused_whatever_follows_and_both_sides_name_it() {
    let mut open = dialer_transcript(FlowRole::Control, None);
    open[8] = 99;
    let mut out = Vec::new();
    let mut acceptor = Greeting::accept(&config(NodeId::B), B_RANDOM, None);
    assert_eq!(acceptor.feed(&open[..20], &mut out), Err(GreetingError::Version { theirs: 99 }));
    assert_eq!(out, refusal(Refused::Version));

    // A refusal of version 99 is understood here.
    out[8] = 99;
    let crc = crate::wire::checksum(&out[..REFUSAL_BYTES - 4]);
    out[REFUSAL_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    let mut dialer =
        Greeting::dial(&config(NodeId::A), A_RANDOM, FlowRole::Control, &mut Vec::new());
    let told = dialer.feed(&out, &mut Vec::new());
    let reason = Some(Refused::Version);
    assert_eq!(told, Err(GreetingError::PeerRefused { reason, theirs: 99 }));
    assert!(told.unwrap_err().to_string().contains("version 99"));
}

#[test]
fn a_random_source_of_zeroes_makes_no_session() {
    let (mut out, mut replies) = (Vec::new(), Vec::new());
    Greeting::dial(&config(NodeId::A), [0; 32], FlowRole::Control, &mut out);
    let mut acceptor = Greeting::accept(&config(NodeId::B), [0; 32], None);
    assert_eq!(acceptor.feed(&out, &mut replies), Err(GreetingError::NoSession));
}

#[test]
fn a_key_is_read_from_hex_and_never_shown() {
    let text = format!(" {}\n", "5a".repeat(32));
    assert!(text.parse::<Key>() == Ok(Key::new([0x5a; 32])));
    assert!(!format!("{:?}", config(NodeId::A)).contains('7'));
    assert_eq!("5a".parse::<Key>(), Err(KeyError::Length { digits: 2 }));
    assert_eq!(format!("{}x", "5".repeat(63)).parse::<Key>(), Err(KeyError::Digit { at: 62 }));
    assert_eq!("0".repeat(64).parse::<Key>(), Err(KeyError::Zero));
}

#[test]
fn every_error_names_a_next_move() {
    for reason in 1..=11 {
        let reason = Refused::from_byte(reason);
        let text = GreetingError::PeerRefused { reason, theirs: 1 }.to_string();
        assert!(text.contains(';'), "{text}");
    }
    assert_eq!(Refused::from_byte(0), None);
    assert_eq!(Refused::from_byte(12), None);
}
