//! Where each field of a superblock stands in its page.
//! Always: little-endian, no padding that is not named, spare bytes zero and checked.

use super::Damage;
use super::bytes::{put, u32_at, u64_at, u128_at};
use super::checksum::{self, HEADER_BYTES, SEAL_END, Seal};
use super::superblock::Superblock;
use crate::limits::{
    ATTEMPTS_MAX, HISTORY_MAX, INTENT_REGIONS_MAX, INTENT_REGIONS_MIN, VOLUME_BYTES_MAX,
};
use crate::units::{
    BLOCK_BYTES, BootId, ClusterId, DiskState, Epoch, Generation, GroupId, InSyncMark, Members,
    NodeId, Nonce, OpenAttempt, PAGE_BYTES, Page, PairTag, Version, VolumeRecord,
};

/// Longest serial.
pub(super) const SERIAL_BYTES_MAX: usize = 64;
/// Room of a record, and of an attempt with its record.
const RECORD_ROOM: usize = 512;

const CLUSTER: usize = HEADER_BYTES;
const GROUP: usize = CLUSTER + 16;
const NODE: usize = GROUP + 16;
const DISK: usize = NODE + 1;
const FLAGS: usize = DISK + 1;
const SERIAL_LEN: usize = FLAGS + 1;
const INTENT_REGIONS: usize = SERIAL_LEN + 1;
const SIZE: usize = INTENT_REGIONS + 4;
const TAIL_OFFSET: usize = SIZE + 8;
const PAIR_TAG: usize = TAIL_OFFSET + 8;
const LIFE: usize = PAIR_TAG + 16;
const LIFE_HEARD: usize = LIFE + 8;
const GENERATION: usize = LIFE_HEARD + 8;
const BASE: usize = GENERATION + 16;
const PRIMARY_BOOT: usize = BASE + 16;
const HISTORY: usize = PRIMARY_BOOT + 16;
const SERIAL: usize = HISTORY + HISTORY_MAX * 16;
const MARK_GENERATION: usize = SERIAL + SERIAL_BYTES_MAX;
const MARK_BOOT: usize = MARK_GENERATION + 16;
const SPARE_1: usize = MARK_BOOT + 16;
const RECORD: usize = 512;
const ATTEMPTS: usize = RECORD + RECORD_ROOM;
const SPARE_2: usize = ATTEMPTS + ATTEMPTS_MAX * RECORD_ROOM;
const _: () = assert!(SPARE_1 == 424 && SPARE_1 <= RECORD);
const _: () = assert!(SPARE_2 == 2048 && SPARE_2 <= PAGE_BYTES);

const FLAG_NEEDS_FULL: u8 = 1;
const FLAG_DIVERGED: u8 = 2;

// Offsets within the room of a record.
const R_PRESENT: usize = 0;
const R_MEMBERS: usize = 1;
const R_PRIMARY: usize = 2;
const R_WRITER: usize = 3;
const R_FORCED: usize = 4;
const R_VERSION: usize = 8;
const R_EPOCH: usize = R_VERSION + 8;
const R_GENERATION: usize = R_EPOCH + 8;
const R_PARENT: usize = R_GENERATION + 16;
const R_NONCE: usize = R_PARENT + 16;
const R_SINCE: usize = R_NONCE + 16;
const R_END: usize = R_SINCE + 8;
/// An attempt is a record with the version that it is conditional on.
const A_EXPECTED: usize = R_END;
const A_END: usize = A_EXPECTED + 8;
const _: () = assert!(A_END == 88 && A_END <= RECORD_ROOM);

fn disk_byte(disk: DiskState) -> u8 {
    match disk {
        DiskState::UpToDate => 1,
        DiskState::Outdated => 2,
        DiskState::Inconsistent => 3,
        DiskState::Failed => 4,
        DiskState::Consistent => panic!("Consistent is never stored: it is UpToDate unconfirmed"),
    }
}

fn disk_of(byte: u8) -> Result<DiskState, Damage> {
    match byte {
        1 => Ok(DiskState::UpToDate),
        2 => Ok(DiskState::Outdated),
        3 => Ok(DiskState::Inconsistent),
        4 => Ok(DiskState::Failed),
        _ => Err(Damage::Field { name: "disk state", value: u64::from(byte) }),
    }
}

fn node_of(name: &'static str, byte: u8) -> Result<NodeId, Damage> {
    NodeId::from_byte(byte).ok_or(Damage::Field { name, value: u64::from(byte) })
}

fn flag_of(name: &'static str, byte: u8) -> Result<bool, Damage> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Damage::Field { name, value: u64::from(byte) }),
    }
}

fn put_record(page: &mut Page, at: usize, record: &VolumeRecord) {
    page[at + R_PRESENT] = 1;
    page[at + R_MEMBERS] = record.members.to_byte();
    page[at + R_PRIMARY] = record.primary.map_or(0, NodeId::to_byte);
    page[at + R_WRITER] = record.writer.to_byte();
    page[at + R_FORCED] = u8::from(record.forced);
    put(page, at + R_VERSION, &record.version.0.to_le_bytes());
    put(page, at + R_EPOCH, &record.epoch.0.to_le_bytes());
    put(page, at + R_GENERATION, &record.generation.0.to_le_bytes());
    put(page, at + R_PARENT, &record.parent.0.to_le_bytes());
    put(page, at + R_NONCE, &record.nonce.0.to_le_bytes());
    put(page, at + R_SINCE, &record.since.to_le_bytes());
}

/// The record in the room at `at`; `end` is where its bytes end, the rest must be zero.
fn get_record(page: &Page, at: usize, end: usize) -> Result<Option<VolumeRecord>, Damage> {
    if !flag_of("record presence", page[at + R_PRESENT])? {
        checksum::check_zero(page, at..at + RECORD_ROOM)?;
        return Ok(None);
    }
    checksum::check_zero(page, at + R_FORCED + 1..at + R_VERSION)?;
    checksum::check_zero(page, at + end..at + RECORD_ROOM)?;
    let members = page[at + R_MEMBERS];
    let bad_members = Damage::Field { name: "members", value: u64::from(members) };
    Ok(Some(VolumeRecord {
        version: Version(u64_at(page, at + R_VERSION)),
        epoch: Epoch(u64_at(page, at + R_EPOCH)),
        members: Members::from_byte(members).ok_or(bad_members)?,
        primary: match page[at + R_PRIMARY] {
            0 => None,
            byte => Some(node_of("primary", byte)?),
        },
        generation: Generation(u128_at(page, at + R_GENERATION)),
        parent: Generation(u128_at(page, at + R_PARENT)),
        nonce: Nonce(u128_at(page, at + R_NONCE)),
        writer: node_of("writer", page[at + R_WRITER])?,
        since: u64_at(page, at + R_SINCE),
        forced: flag_of("forced", page[at + R_FORCED])?,
    }))
}

fn get_attempt(page: &Page, at: usize) -> Result<Option<OpenAttempt>, Damage> {
    let record = get_record(page, at, A_END)?;
    let expected = Version(u64_at(page, at + A_EXPECTED));
    Ok(record.map(|wanted| OpenAttempt { expected, wanted }))
}

/// Writes every field but those of the seal.
pub(super) fn put_body(page: &mut Page, superblock: &Superblock) {
    let sb = superblock;
    put(page, CLUSTER, &sb.cluster.0.to_le_bytes());
    put(page, GROUP, &sb.group.0.to_le_bytes());
    page[NODE] = sb.node.to_byte();
    page[DISK] = disk_byte(sb.disk);
    page[FLAGS] = if sb.needs_full { FLAG_NEEDS_FULL } else { 0 }
        | if sb.diverged { FLAG_DIVERGED } else { 0 };
    assert!(sb.serial.len() <= SERIAL_BYTES_MAX, "serial longer than its room");
    page[SERIAL_LEN] = u8::try_from(sb.serial.len()).expect("at most SERIAL_BYTES_MAX");
    put(page, INTENT_REGIONS, &sb.intent_regions.to_le_bytes());
    put(page, SIZE, &sb.size.to_le_bytes());
    put(page, TAIL_OFFSET, &sb.tail_offset.to_le_bytes());
    put(page, PAIR_TAG, &sb.pair_tag.0.to_le_bytes());
    put(page, LIFE, &sb.life.to_le_bytes());
    put(page, LIFE_HEARD, &sb.life_heard.to_le_bytes());
    put(page, GENERATION, &sb.generation.0.to_le_bytes());
    put(page, BASE, &sb.base.0.to_le_bytes());
    put(page, PRIMARY_BOOT, &sb.primary_boot.0.to_le_bytes());
    for (n, generation) in sb.history.iter().enumerate() {
        put(page, HISTORY + n * 16, &generation.0.to_le_bytes());
    }
    put(page, SERIAL, sb.serial.as_bytes());
    if let Some(mark) = &sb.mark {
        put(page, MARK_GENERATION, &mark.generation.0.to_le_bytes());
        put(page, MARK_BOOT, &mark.boot.0.to_le_bytes());
    }
    if let Some(record) = &sb.record {
        put_record(page, RECORD, record);
    }
    for (n, attempt) in sb.attempts.iter().enumerate() {
        if let Some(attempt) = attempt {
            let at = ATTEMPTS + n * RECORD_ROOM;
            put_record(page, at, &attempt.wanted);
            put(page, at + A_EXPECTED, &attempt.expected.0.to_le_bytes());
        }
    }
}

fn get_serial(page: &Page) -> Result<String, Damage> {
    let len = usize::from(page[SERIAL_LEN]);
    let bad = Damage::Field { name: "serial", value: len as u64 };
    if len > SERIAL_BYTES_MAX {
        return Err(bad);
    }
    checksum::check_zero(page, SERIAL + len..MARK_GENERATION)?;
    String::from_utf8(page[SERIAL..SERIAL + len].to_vec()).map_err(|_| bad)
}

/// The mark, unless its room is empty.
fn get_mark(page: &Page) -> Option<InSyncMark> {
    let generation = Generation(u128_at(page, MARK_GENERATION));
    let boot = BootId(u128_at(page, MARK_BOOT));
    (generation.is_some() || boot.is_some()).then_some(InSyncMark { generation, boot })
}

fn in_range(name: &'static str, value: u64, min: u64, max: u64) -> Result<u64, Damage> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(Damage::Field { name, value }) }
}

/// Reads every field but those of the seal, which come along.
pub(super) fn get_body(page: &Page, seal: &Seal) -> Result<Superblock, Damage> {
    checksum::check_zero(page, SEAL_END..HEADER_BYTES)?;
    checksum::check_zero(page, SPARE_1..RECORD)?;
    checksum::check_zero(page, SPARE_2..PAGE_BYTES)?;
    let flags = page[FLAGS];
    in_range("flags", u64::from(flags), 0, u64::from(FLAG_NEEDS_FULL | FLAG_DIVERGED))?;
    let size = in_range("size", u64_at(page, SIZE), BLOCK_BYTES, VOLUME_BYTES_MAX)?;
    in_range("size in a block", size % BLOCK_BYTES, 0, 0)?;
    let intent_regions = u32_at(page, INTENT_REGIONS);
    let (min, max) = (u64::from(INTENT_REGIONS_MIN), u64::from(INTENT_REGIONS_MAX));
    in_range("intent regions", u64::from(intent_regions), min, max)?;
    let mut history = [Generation::NONE; HISTORY_MAX];
    for (n, generation) in history.iter_mut().enumerate() {
        *generation = Generation(u128_at(page, HISTORY + n * 16));
    }
    let mut attempts = [None; ATTEMPTS_MAX];
    for (n, attempt) in attempts.iter_mut().enumerate() {
        *attempt = get_attempt(page, ATTEMPTS + n * RECORD_ROOM)?;
    }
    Ok(Superblock {
        sequence: seal.sequence,
        cluster: ClusterId(u128_at(page, CLUSTER)),
        group: GroupId(u128_at(page, GROUP)),
        volume: seal.volume,
        node: node_of("node", page[NODE])?,
        size,
        intent_regions,
        pair_tag: PairTag(u128_at(page, PAIR_TAG)),
        tail_offset: u64_at(page, TAIL_OFFSET),
        serial: get_serial(page)?,
        life: u64_at(page, LIFE),
        life_heard: u64_at(page, LIFE_HEARD),
        disk: disk_of(page[DISK])?,
        needs_full: flags & FLAG_NEEDS_FULL != 0,
        generation: Generation(u128_at(page, GENERATION)),
        base: Generation(u128_at(page, BASE)),
        history,
        record: get_record(page, RECORD, R_END)?,
        attempts,
        primary_boot: BootId(u128_at(page, PRIMARY_BOOT)),
        mark: get_mark(page),
        diverged: flags & FLAG_DIVERGED != 0,
    })
}
