//! Records: bounds, validation, text and back.

use super::*;

fn entry(volume: u128) -> VolumeEntry {
    VolumeEntry {
        volume: VolumeId(volume),
        members: Members::BOTH,
        generation: Generation(u128::MAX - 1),
        parent: Generation(u128::MAX),
    }
}

fn record(volumes: usize) -> Record {
    Record {
        cluster: ClusterId(u128::MAX),
        group: GroupId(u128::MAX),
        version: Version(u64::MAX),
        epoch: Epoch(u64::MAX),
        owner: Some(NodeId::A),
        nonce: Nonce(u128::MAX),
        writer: NodeId::B,
        since: u64::MAX,
        forced: false,
        volumes: (0..volumes).map(|n| entry(u128::MAX - n as u128)).collect(),
    }
}

#[test]
fn the_largest_record_fits_and_comes_back() {
    let bytes = record(VOLUMES_MAX).encode().unwrap();
    assert!(bytes.len() <= RECORD_BYTES_MAX);
    assert_eq!(Record::decode(&bytes), Ok(record(VOLUMES_MAX)));
}

#[test]
fn what_no_transition_makes_is_refused() {
    let mut bad = record(1);
    bad.volumes[0].members = Members::only(NodeId::B);
    assert!(matches!(bad.encode(), Err(RecordError::OwnerNotMember { .. })));
    bad.volumes[0].members = Members::NONE;
    assert!(matches!(bad.encode(), Err(RecordError::NoMembers { .. })));
    assert!(matches!(record(0).encode(), Err(RecordError::VolumeCount { count: 0 })));
    assert!(matches!(record(VOLUMES_MAX + 1).encode(), Err(RecordError::VolumeCount { .. })));
    let mut twice = record(2);
    twice.volumes[1].volume = twice.volumes[0].volume;
    assert!(matches!(twice.encode(), Err(RecordError::TwiceVolume { .. })));
    let mut rootless = record(1);
    rootless.volumes[0].parent = rootless.volumes[0].generation;
    assert!(matches!(rootless.encode(), Err(RecordError::BadGeneration { .. })));
    assert_eq!(Record { version: Version(0), ..record(1) }.encode(), Err(RecordError::NoVersion));
}

#[test]
fn foreign_bytes_are_refused_with_their_place() {
    assert!(matches!(Record::decode(b"{}"), Err(RecordError::Malformed { .. })));
    assert!(matches!(Record::decode(&[b' '; 5000]), Err(RecordError::TooLong { bytes: 5000 })));
    let text = String::from_utf8(record(1).encode().unwrap()).unwrap();
    let more = text.replacen('{', "{\"extra\":1,", 1);
    assert!(matches!(Record::decode(more.as_bytes()), Err(RecordError::Malformed { .. })));
}

#[test]
fn a_volumes_view_turns_back_into_its_group() {
    let whole = record(1);
    let volume = whole.volumes[0].volume;
    let seen = whole.for_volume(volume).unwrap();
    assert_eq!(Record::of_volume(whole.cluster, whole.group, volume, &seen), whole);
    assert_eq!(whole.for_volume(VolumeId(7)), None);
}
