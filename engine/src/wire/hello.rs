//! The body of a hello: the sender's state at fixed places.
//! Always: absent parts are zero and checked, spare bytes too; one state has one encoding.

use super::bytes::{all_zero, put, u32_at, u64_at, u128_at};
use super::error::Malformed;
use super::message::Hello;
use crate::limits::HISTORY_MAX;
use crate::units::{
    BootId, DiskState, Epoch, Generation, InSyncMark, Members, NodeId, Nonce, Role, StartId,
    Version, VolumeRecord,
};

const NODE: usize = 0;
const ROLE: usize = NODE + 1;
const DISK: usize = ROLE + 1;
const FLAGS: usize = DISK + 1;
const HOT_REGIONS: usize = FLAGS + 1;
const SERIAL: usize = HOT_REGIONS + 4;
const GENERATION: usize = SERIAL + 8;
const BASE: usize = GENERATION + 16;
const HISTORY: usize = BASE + 16;
const MARK_GENERATION: usize = HISTORY + 16 * HISTORY_MAX;
const MARK_BOOT: usize = MARK_GENERATION + 16;
const BOOT: usize = MARK_BOOT + 16;
const START: usize = BOOT + 16;
const DIRTY_BLOCKS: usize = START + 16;
const SIZE: usize = DIRTY_BLOCKS + 8;
const LIFE: usize = SIZE + 8;
const LIFE_HEARD: usize = LIFE + 8;
const RECORD: usize = LIFE_HEARD + 8;
const SPARE: usize = RECORD + RECORD_BYTES;
/// Bytes of the body of a hello.
pub(crate) const HELLO_BYTES: usize = SPARE + 80;
const _: () = assert!(HELLO_BYTES == 448);

// Places inside the record.
const R_VERSION: usize = 0;
const R_EPOCH: usize = R_VERSION + 8;
const R_SINCE: usize = R_EPOCH + 8;
const R_GENERATION: usize = R_SINCE + 8;
const R_PARENT: usize = R_GENERATION + 16;
const R_NONCE: usize = R_PARENT + 16;
const R_MEMBERS: usize = R_NONCE + 16;
const R_PRIMARY: usize = R_MEMBERS + 1;
const R_WRITER: usize = R_PRIMARY + 1;
const R_FORCED: usize = R_WRITER + 1;
const R_SPARE: usize = R_FORCED + 1;
const RECORD_BYTES: usize = R_SPARE + 20;
const _: () = assert!(RECORD_BYTES == 96 && RECORD.is_multiple_of(8));

const NEEDS_FULL: u8 = 1;
const HAS_RECORD: u8 = 2;
const HAS_MARK: u8 = 4;

/// The body of `hello`.
pub(crate) fn encode(hello: &Hello) -> [u8; HELLO_BYTES] {
    let mut raw = [0; HELLO_BYTES];
    raw[NODE] = hello.node.to_byte();
    raw[ROLE] = role_byte(hello.role);
    raw[DISK] = disk_byte(hello.disk);
    if hello.needs_full {
        raw[FLAGS] |= NEEDS_FULL;
    }
    put(&mut raw, HOT_REGIONS, &hello.hot_regions.to_le_bytes());
    put(&mut raw, SERIAL, &hello.serial.to_le_bytes());
    put(&mut raw, GENERATION, &hello.generation.0.to_le_bytes());
    put(&mut raw, BASE, &hello.base.0.to_le_bytes());
    for (i, generation) in hello.history.iter().enumerate() {
        put(&mut raw, HISTORY + 16 * i, &generation.0.to_le_bytes());
    }
    if let Some(mark) = &hello.mark {
        raw[FLAGS] |= HAS_MARK;
        put(&mut raw, MARK_GENERATION, &mark.generation.0.to_le_bytes());
        put(&mut raw, MARK_BOOT, &mark.boot.0.to_le_bytes());
    }
    put(&mut raw, BOOT, &hello.boot.0.to_le_bytes());
    put(&mut raw, START, &hello.start.0.to_le_bytes());
    put(&mut raw, DIRTY_BLOCKS, &hello.dirty_blocks.to_le_bytes());
    put(&mut raw, SIZE, &hello.size.to_le_bytes());
    put(&mut raw, LIFE, &hello.life.to_le_bytes());
    put(&mut raw, LIFE_HEARD, &hello.life_heard.to_le_bytes());
    if let Some(record) = &hello.record {
        raw[FLAGS] |= HAS_RECORD;
        encode_record(record, &mut raw[RECORD..SPARE]);
    }
    raw
}

/// The hello in `raw`, which has `HELLO_BYTES`.
///
/// # Errors
/// A choice that is none, or bytes set that must be zero. Ranges are checked by `validate`.
pub(crate) fn decode(raw: &[u8]) -> Result<Hello, Malformed> {
    let flags = raw[FLAGS];
    if flags & !(NEEDS_FULL | HAS_RECORD | HAS_MARK) != 0 {
        return Err(Malformed::Hello { field: "flags" });
    }
    if !all_zero(&raw[SPARE..]) {
        return Err(Malformed::Spare);
    }
    let mut history = [Generation::NONE; HISTORY_MAX];
    for (i, generation) in history.iter_mut().enumerate() {
        *generation = Generation(u128_at(raw, HISTORY + 16 * i));
    }
    let record = &raw[RECORD..SPARE];
    let mark = InSyncMark {
        generation: Generation(u128_at(raw, MARK_GENERATION)),
        boot: BootId(u128_at(raw, MARK_BOOT)),
    };
    let has_mark = flags & HAS_MARK != 0;
    if !has_mark && (mark.generation.is_some() || mark.boot.is_some()) {
        return Err(Malformed::Hello { field: "mark" });
    }
    Ok(Hello {
        node: NodeId::from_byte(raw[NODE]).ok_or(Malformed::Hello { field: "node" })?,
        serial: u64_at(raw, SERIAL),
        role: role_of(raw[ROLE]).ok_or(Malformed::Hello { field: "role" })?,
        disk: disk_of(raw[DISK]).ok_or(Malformed::Hello { field: "disk" })?,
        record: match flags & HAS_RECORD != 0 {
            true => Some(decode_record(record)?),
            false if all_zero(record) => None,
            false => return Err(Malformed::Hello { field: "record" }),
        },
        generation: Generation(u128_at(raw, GENERATION)),
        base: Generation(u128_at(raw, BASE)),
        history,
        needs_full: flags & NEEDS_FULL != 0,
        mark: has_mark.then_some(mark),
        boot: BootId(u128_at(raw, BOOT)),
        start: StartId(u128_at(raw, START)),
        dirty_blocks: u64_at(raw, DIRTY_BLOCKS),
        hot_regions: u32_at(raw, HOT_REGIONS),
        size: u64_at(raw, SIZE),
        life: u64_at(raw, LIFE),
        life_heard: u64_at(raw, LIFE_HEARD),
    })
}

fn encode_record(record: &VolumeRecord, raw: &mut [u8]) {
    put(raw, R_VERSION, &record.version.0.to_le_bytes());
    put(raw, R_EPOCH, &record.epoch.0.to_le_bytes());
    put(raw, R_SINCE, &record.since.to_le_bytes());
    put(raw, R_GENERATION, &record.generation.0.to_le_bytes());
    put(raw, R_PARENT, &record.parent.0.to_le_bytes());
    put(raw, R_NONCE, &record.nonce.0.to_le_bytes());
    raw[R_MEMBERS] = record.members.to_byte();
    raw[R_PRIMARY] = record.primary.map_or(0, NodeId::to_byte);
    raw[R_WRITER] = record.writer.to_byte();
    raw[R_FORCED] = u8::from(record.forced);
}

fn decode_record(raw: &[u8]) -> Result<VolumeRecord, Malformed> {
    let bad = |field| Malformed::Hello { field };
    if !all_zero(&raw[R_SPARE..]) {
        return Err(Malformed::Spare);
    }
    Ok(VolumeRecord {
        version: Version(u64_at(raw, R_VERSION)),
        epoch: Epoch(u64_at(raw, R_EPOCH)),
        members: Members::from_byte(raw[R_MEMBERS]).ok_or(bad("record.members"))?,
        primary: match raw[R_PRIMARY] {
            0 => None,
            byte => Some(NodeId::from_byte(byte).ok_or(bad("record.primary"))?),
        },
        generation: Generation(u128_at(raw, R_GENERATION)),
        parent: Generation(u128_at(raw, R_PARENT)),
        nonce: Nonce(u128_at(raw, R_NONCE)),
        writer: NodeId::from_byte(raw[R_WRITER]).ok_or(bad("record.writer"))?,
        since: u64_at(raw, R_SINCE),
        forced: match raw[R_FORCED] {
            0 => false,
            1 => true,
            _ => return Err(bad("record.forced")),
        },
    })
}

const fn role_byte(role: Role) -> u8 {
    match role {
        Role::Secondary => 1,
        Role::Promoting => 2,
        Role::Primary => 3,
        Role::Demoting => 4,
    }
}

const fn role_of(byte: u8) -> Option<Role> {
    match byte {
        1 => Some(Role::Secondary),
        2 => Some(Role::Promoting),
        3 => Some(Role::Primary),
        4 => Some(Role::Demoting),
        _ => None,
    }
}

const fn disk_byte(disk: DiskState) -> u8 {
    match disk {
        DiskState::UpToDate => 1,
        DiskState::Consistent => 2,
        DiskState::Outdated => 3,
        DiskState::Inconsistent => 4,
        DiskState::Failed => 5,
    }
}

const fn disk_of(byte: u8) -> Option<DiskState> {
    match byte {
        1 => Some(DiskState::UpToDate),
        2 => Some(DiskState::Consistent),
        3 => Some(DiskState::Outdated),
        4 => Some(DiskState::Inconsistent),
        5 => Some(DiskState::Failed),
        _ => None,
    }
}
