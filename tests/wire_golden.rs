//! The bytes of the link protocol: golden vectors, round trips, every split and every damage.
//!
//! `LOCKSTEP_BLESS=1 cargo test --test wire_golden` writes the vectors of the present version anew;
//! a difference to the committed ones belongs into the ledger of `wire::version`.

use harness::fuzz_wire::{SESSION, Seeded, append, greeting_transcript, message, payload_of};
use lockstep_engine::units::Epoch;
use lockstep_engine::wire::codec::encode_acks;
use lockstep_engine::wire::greeting::{Refused, refusal};
use lockstep_engine::wire::message::{Message, Status};
use lockstep_engine::wire::version::{LEDGER, VERSION};
use lockstep_engine::wire::{Framer, Kind, Step, checksum};
use std::fmt::Write as _;
use std::path::PathBuf;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares `lines` (name, bytes) with the committed file, or writes it.
fn golden(name: &str, head: &str, lines: &[(String, Vec<u8>)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let mut text = format!("{head}\n");
    for (name, bytes) in lines {
        let _ = writeln!(text, "{name} {}", hex(bytes));
    }
    if std::env::var_os("LOCKSTEP_BLESS").is_some() {
        std::fs::write(&path, &text).expect("room for the vectors");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (ours, theirs) in text.lines().zip(committed.lines()) {
        assert_eq!(ours, theirs, "{}: a byte of the wire changed", path.display());
    }
    assert_eq!(text, committed, "{}: vectors are missing", path.display());
}

#[test]
fn every_frame_has_its_golden_bytes() {
    let mut seed = Seeded(1);
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        for variant in ["1", "2"] {
            let message = message(*kind, &mut seed);
            let payload = payload_of(&message, &mut seed);
            let mut raw = Vec::new();
            let end = append(3, &message, &payload, &mut raw);
            lines.push((format!("{kind:?}.{variant}"), raw[..end].to_vec()));
        }
    }
    let mut raw = Vec::new();
    let acks = [(7, Status::Ok), (u64::MAX, Status::IoError), (9, Status::Ok)];
    encode_acks(SESSION, Epoch(4), 3, &acks, &mut raw);
    lines.push(("Acks.3".to_string(), raw));
    let head = "# Frames of link protocol version 2: header and body, without payload.";
    golden("wire_v2_frames.txt", head, &lines);
}

#[test]
fn every_greeting_message_has_its_golden_bytes() {
    let mut lines = Vec::new();
    for (flow, data) in [("control", false), ("data", true)] {
        let (dialer, acceptor) = greeting_transcript(data);
        lines.push((format!("open.{flow}"), dialer[..160].to_vec()));
        lines.push((format!("challenge.{flow}"), acceptor[..64].to_vec()));
        lines.push((format!("proof.{flow}"), dialer[160..].to_vec()));
        lines.push((format!("welcome.{flow}"), acceptor[64..].to_vec()));
    }
    lines.push(("refusal.proof".to_string(), refusal(Refused::Proof).to_vec()));
    lines.push(("refusal.busy".to_string(), refusal(Refused::Busy).to_vec()));
    let head = "# Greeting of link protocol version 2, key 42 x 32, randoms d1 x 32 and ac x 32.";
    golden("wire_v2_greeting.txt", head, &lines);
}

#[test]
fn the_ledger_ends_with_the_version_that_the_vectors_are_of() {
    assert_eq!((VERSION, LEDGER.len()), (2, 2), "a new version needs vectors of its own");
}

/// The one message in `raw`, which is a whole frame without its payload.
fn decoded(kind: Kind, raw: &[u8]) -> (Message, Option<u32>) {
    let mut framer = Framer::pinned(kind.flow(), SESSION);
    let Ok(Step::Frame(frame)) = framer.next(raw) else { panic!("{kind:?} is no frame") };
    assert_eq!((frame.consumed, frame.session, frame.epoch), (raw.len(), SESSION, Epoch(6)));
    let mut messages = frame.messages;
    let message = messages.next().expect("a message");
    assert_eq!(messages.next(), None);
    (message, frame.payload.map(|info| info.crc))
}

#[test]
fn random_messages_come_back_as_they_were_sent() {
    let seed = 0x10c4;
    println!("seed {seed:#x}, 200 messages of each kind");
    let mut seed = Seeded(seed);
    for kind in Kind::ALL {
        for _ in 0..200 {
            let sent = message(*kind, &mut seed);
            let payload = payload_of(&sent, &mut seed);
            let mut raw = Vec::new();
            let end = append(1, &sent, &payload, &mut raw);
            let (came, crc) = decoded(*kind, &raw[..end]);
            assert_eq!(came, sent);
            assert_eq!(crc, (!payload.is_empty()).then(|| checksum(&payload)));
        }
    }
}

#[test]
fn a_frame_may_be_cut_at_every_byte() {
    let mut seed = Seeded(2);
    for kind in Kind::ALL {
        let sent = message(*kind, &mut seed);
        let payload = payload_of(&sent, &mut seed);
        let mut raw = Vec::new();
        let end = append(1, &sent, &payload, &mut raw);
        let mut framer = Framer::new(kind.flow());
        for cut in 0..end {
            match framer.next(&raw[..cut]) {
                Ok(Step::NeedMore { at_least }) => assert!(at_least > cut && at_least <= end),
                other => panic!("{kind:?} cut at {cut}: {other:?}"),
            }
        }
        assert!(matches!(framer.next(&raw), Ok(Step::Frame(frame)) if frame.consumed == end));
    }
}

#[test]
fn every_changed_byte_of_a_frame_is_noticed() {
    let mut seed = Seeded(3);
    for kind in Kind::ALL {
        let sent = message(*kind, &mut seed);
        let payload = payload_of(&sent, &mut seed);
        let mut raw = Vec::new();
        let end = append(1, &sent, &payload, &mut raw);
        for at in 0..end {
            for flip in [0x01, 0x80, 0xff] {
                raw[at] ^= flip;
                let mut framer = Framer::new(kind.flow());
                assert!(framer.next(&raw[..end]).is_err(), "{kind:?}, byte {at}, flip {flip:#x}");
                raw[at] ^= flip;
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_payload_is_noticed() {
    let mut payload: Vec<u8> = (0..4096u32).map(|i| i.to_le_bytes()[0]).collect();
    let at = lockstep_engine::units::Extent::new(0, 4096);
    let mut raw = Vec::new();
    append(1, &Message::SyncWrite { token: 1, at }, &payload, &mut raw);
    for at in 0..payload.len() {
        let mut framer = Framer::new(Kind::SyncWrite.flow());
        assert!(matches!(framer.next(&raw), Ok(Step::Frame(_))));
        payload[at] ^= 0x40;
        assert!(framer.check_payload(checksum(&payload)).is_err(), "byte {at}");
        payload[at] ^= 0x40;
    }
}
