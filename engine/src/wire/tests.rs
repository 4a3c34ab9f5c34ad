//! Frames that are whole and yet make no sense, and the order of frames on a flow.
//! Round trips, golden vectors and fuzzing are in the harness.

use super::bounds::{ACKS_PER_FRAME_MAX, BITMAP_WORDS_MAX};
use super::codec::{encode, encode_acks};
use super::header::{HEADER_BYTES, Header};
use super::message::{Message, Status};
use super::*;
use crate::limits::{PIECE_BYTES_MAX, VOLUME_BYTES_MAX, ZERO_PIECE_BYTES_MAX};
use crate::units::{Epoch, Extent, Session};

const SESSION: Session = Session(0xfeed_0000_0000_0000_0000_0000_0000_beef);
const EPOCH: Epoch = Epoch(5);

fn frame(sequence: u64, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let len = validate::payload_bytes(message);
    encode(SESSION, EPOCH, sequence, message, (len > 0).then_some((len, 0)), &mut out);
    out
}

/// The frame of `message` after `change` was done to its header, with good checksums.
fn changed(message: &Message, change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut raw = frame(1, message);
    let mut header = Header::decode(&bytes::array_at(&raw, 0)).unwrap();
    change(&mut header);
    raw[..HEADER_BYTES].copy_from_slice(&header.encode());
    raw
}

fn first(kind: Kind, raw: &[u8]) -> Result<(), FrameError> {
    Framer::new(kind.flow()).next(raw).map(|step| {
        assert!(matches!(step, Step::Frame(_)), "not a whole frame");
    })
}

fn why(message: &Message, change: impl FnOnce(&mut Header)) -> FrameError {
    first(Kind::of(message), &changed(message, change)).unwrap_err()
}

const WRITE: Message = Message::Write { token: 1, at: Extent::new(8192, 4096), fua: true };

#[test]
fn extents_are_whole_blocks_inside_the_largest_volume_and_not_too_long() {
    let bad = |error| matches!(error, FrameError::Malformed { why: Malformed::Extent { .. }, .. });
    assert!(bad(why(&WRITE, |h| h.offset = 1)));
    assert!(bad(why(&WRITE, |h| h.length = 0)));
    assert!(bad(why(&WRITE, |h| h.length = 4097)));
    assert!(bad(why(&WRITE, |h| h.length = PIECE_BYTES_MAX + 4096)));
    assert!(bad(why(&WRITE, |h| h.offset = VOLUME_BYTES_MAX)));
    assert!(bad(why(&WRITE, |h| h.offset = u64::MAX - 4095)));
    let zero = |len| Message::Zero { token: 1, at: Extent::new(0, len), punch: true, fua: false };
    assert!(first(Kind::Zero, &frame(1, &zero(ZERO_PIECE_BYTES_MAX))).is_ok());
    assert!(bad(why(&zero(4096), |h| h.length = ZERO_PIECE_BYTES_MAX + 4096)));
    let last = Message::Read { token: 1, at: Extent::new(VOLUME_BYTES_MAX - 4096, 4096) };
    assert!(first(Kind::Read, &frame(1, &last)).is_ok());
}

#[test]
fn a_payload_has_the_length_of_its_extent_and_comes_only_where_it_belongs() {
    let bad = |error| matches!(error, FrameError::PayloadLength { .. });
    assert!(bad(why(&WRITE, |h| h.payload_len = 8192)));
    assert!(bad(why(&WRITE, |h| h.payload_len = 0)));
    assert!(bad(why(&WRITE, |h| h.payload_len = u32::MAX)));
    assert!(bad(why(&Message::Flush { token: 1 }, |h| h.payload_len = 4096)));
    let at = Extent::new(0, 4096);
    let failed = Message::ReadDone { token: 1, status: Status::IoError, at };
    assert!(bad(why(&failed, |h| h.payload_len = 4096)));
    assert!(bad(why(&failed, |h| h.code = 0)));
    let unused = |error| matches!(error, FrameError::Malformed { why: Malformed::Unused, .. });
    assert!(unused(why(&failed, |h| h.payload_crc = 1)));
}

#[test]
fn bodies_have_the_length_of_their_kind() {
    let bad = |error| matches!(error, FrameError::BodyLength { .. });
    assert!(bad(why(&WRITE, |h| h.body_len = 1)));
    assert!(bad(why(&WRITE, |h| h.body_len = u32::MAX)));
    let ack = Message::Ack { token: 1, status: Status::Ok };
    assert!(bad(why(&ack, |h| h.body_len = 0)));
    assert!(bad(why(&ack, |h| h.body_len = 17)));
    assert!(bad(why(&ack, |h| h.body_len = 16 * 129)));
    let bits = Message::Bits { round: 1, first_word: 0, words: Box::new([1]) };
    assert!(bad(why(&bits, |h| h.body_len = (64 << 10) + 8)));
}

#[test]
fn choices_flags_and_unused_fields_are_checked() {
    let code = |error| matches!(error, FrameError::Malformed { why: Malformed::Code { .. }, .. });
    assert!(code(why(&Message::FlushDone { token: 1, status: Status::Ok }, |h| h.code = 2)));
    assert!(code(why(&Message::Bye(message::ByeReason::Failed), |h| h.code = 10)));
    assert!(code(why(&Message::Bye(message::ByeReason::Failed), |h| h.code = 0)));
    let unused = |error| matches!(error, FrameError::Malformed { why: Malformed::Unused, .. });
    assert!(unused(why(&WRITE, |h| h.flags = 3)), "a write can't punch");
    assert!(unused(why(&WRITE, |h| h.code = 1)));
    assert!(unused(why(&Message::Flush { token: 1 }, |h| h.flags = 1)));
    assert!(unused(why(&Message::Ping { stamp: 1 }, |h| h.offset = 1)));
    assert!(unused(why(&Message::Ack { token: 1, status: Status::Ok }, |h| h.token = 1)));
    let words = |error| matches!(error, FrameError::Malformed { why: Malformed::Words { .. }, .. });
    let bits = Message::Bits { round: 1, first_word: BITMAP_WORDS_MAX - 1, words: Box::new([1]) };
    assert!(first(Kind::Bits, &frame(1, &bits)).is_ok());
    assert!(words(why(&bits, |h| h.offset = BITMAP_WORDS_MAX)));
    assert!(words(why(&bits, |h| h.offset = u64::MAX)));
    let at = 1;
    let failed = Message::Digests { token: at, status: Status::IoError, digests: Box::new([]) };
    let digests =
        |error| matches!(error, FrameError::Malformed { why: Malformed::Digests { .. }, .. });
    assert!(digests(why(&failed, |h| h.code = 0)));
}

#[test]
fn a_flow_carries_its_own_kinds_alone() {
    let ping = frame(1, &Message::Ping { stamp: 1 });
    let (kind, flow) = (Kind::Ping, FlowKind::Data);
    let refused = Framer::new(flow).next(&ping).unwrap_err();
    assert_eq!(refused, FrameError::WrongFlow { kind, flow });
}

#[test]
fn a_pinned_flow_refuses_frames_of_another_session_and_stays_broken() {
    let raw = frame(1, &WRITE);
    let other = Session(3);
    let mut framer = Framer::pinned(FlowKind::Data, other);
    let error = FrameError::Session { expected: other, found: SESSION };
    assert_eq!(framer.next(&raw).unwrap_err(), error);
    framer.pin(SESSION);
    assert_eq!(framer.next(&raw).unwrap_err(), error);
    assert!(Framer::pinned(FlowKind::Data, SESSION).next(&raw).is_ok());
}

#[test]
fn sequences_rise_by_one_from_one_on() {
    let ping = |sequence| frame(sequence, &Message::Ping { stamp: 9 });
    let mut framer = Framer::new(FlowKind::Control);
    assert!(framer.next(&ping(1)).is_ok());
    assert!(framer.next(&ping(2)).is_ok());
    let error = FrameError::Sequence { expected: 3, found: 2 };
    assert_eq!(framer.next(&ping(2)).unwrap_err(), error);
    let gap = FrameError::Sequence { expected: 1, found: 2 };
    assert_eq!(Framer::new(FlowKind::Control).next(&ping(2)).unwrap_err(), gap);
}

#[test]
fn a_batch_of_acks_comes_out_one_by_one_in_order() {
    let acks: Vec<_> = (0..128u64)
        .map(|token| (token, if token % 3 == 0 { Status::IoError } else { Status::Ok }))
        .collect();
    assert_eq!(acks.len(), ACKS_PER_FRAME_MAX);
    let mut out = Vec::new();
    encode_acks(SESSION, EPOCH, 1, &acks, &mut out);
    let mut framer = Framer::pinned(FlowKind::Data, SESSION);
    let Step::Frame(frame) = framer.next(&out).unwrap() else { panic!("incomplete") };
    assert_eq!((frame.consumed, frame.messages.len(), frame.payload), (out.len(), 128, None));
    let expected =
        acks.iter().map(|(token, status)| Message::Ack { token: *token, status: *status });
    assert!(frame.messages.eq(expected));
}

#[test]
fn a_batch_with_one_bad_status_yields_nothing() {
    let mut raw = Vec::new();
    encode_acks(SESSION, EPOCH, 1, &[(1, Status::Ok), (2, Status::Ok)], &mut raw);
    raw[HEADER_BYTES + 16 + 8] = 2;
    let mut header = Header::decode(&bytes::array_at(&raw, 0)).unwrap();
    header.body_crc = checksum(&raw[HEADER_BYTES..]);
    raw[..HEADER_BYTES].copy_from_slice(&header.encode());
    let (kind, why) = (Kind::Ack, Malformed::Code { found: 2 });
    assert_eq!(first(kind, &raw), Err(FrameError::Malformed { kind, why }));
}

#[test]
fn a_payload_that_changed_breaks_the_flow() {
    let mut raw = Vec::new();
    let data = [3; 4096];
    encode(SESSION, EPOCH, 1, &WRITE, Some((4096, checksum(&data))), &mut raw);
    let mut framer = Framer::new(FlowKind::Data);
    let Step::Frame(frame) = framer.next(&raw).unwrap() else { panic!("incomplete") };
    assert_eq!(frame.payload, Some(PayloadInfo { len: 4096, crc: checksum(&data) }));
    let mut pieces = PayloadCrc::new();
    data.chunks(1000).for_each(|piece| pieces.update(piece));
    assert_eq!(pieces.value(), checksum(&data));
    assert!(framer.check_payload(checksum(&[4; 4096])).is_err());
    assert!(framer.next(&raw).is_err());
}

#[test]
#[should_panic(expected = "a Write must not be sent like this")]
fn a_message_that_the_peer_would_refuse_is_not_sent() {
    frame(1, &Message::Write { token: 1, at: Extent::new(1, 4096), fua: false });
}

#[test]
#[should_panic(expected = "the payload of the last frame was not checked")]
fn a_payload_can_not_be_forgotten() {
    let raw = frame(1, &WRITE);
    let mut framer = Framer::new(FlowKind::Data);
    let _ = framer.next(&raw);
    let _ = framer.next(&raw);
}

#[test]
fn every_frame_error_names_a_next_move() {
    let error = first(Kind::Ping, b"nonsense").unwrap_err();
    assert!(error.to_string().contains("; the link reconnects"), "{error}");
}
