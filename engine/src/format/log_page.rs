//! One transaction of the intent log as 4 KiB. Each 512-byte sector carries its own seal, because
//! a power loss and rot must not look alike: a torn page is made of sound sectors of two writes,
//! and then the transaction did not happen; a sector that is not sound is damage.
//! Always: `whole` is the checksum of the entire transaction and stands in every sector, so that
//! sectors of two attempts at the same sequence never pass for one transaction.

use super::bytes::{get, put, u16_at, u32_at, u64_at, u128_at};
use super::checksum::{PageKind, crc_without};
use super::layout::WINDOW_MAX;
use super::{Damage, VERSION};
use crate::units::{PAGE_BYTES, Page, VolumeId};

/// Unit in which the device may tear a page.
pub const SECTOR_BYTES: usize = 512;
/// Sectors of a page.
pub const SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;
/// Most changes of the table in one transaction.
pub const UPDATES_MAX: usize = 64;
/// Table entry without a region.
pub const FREE: u32 = u32::MAX;

const SECTOR_MAGIC: [u8; 4] = *b"LKLG";
const AT_MAGIC: usize = 0;
const AT_CRC: usize = AT_MAGIC + 4;
const AT_VERSION: usize = AT_CRC + 4;
const AT_KIND: usize = AT_VERSION + 2;
const AT_SECTOR: usize = AT_KIND + 1;
const AT_WHOLE: usize = AT_SECTOR + 1;
const AT_ADDRESS: usize = AT_WHOLE + 4;
const AT_VOLUME: usize = AT_ADDRESS + 8;
const AT_SEQUENCE: usize = AT_VOLUME + 16;
const AT_PAYLOAD: usize = AT_SEQUENCE + 8;
const PAYLOAD_BYTES: usize = SECTOR_BYTES - AT_PAYLOAD;
const _: () = assert!(AT_PAYLOAD == 48);

// The body: the payloads of the eight sectors, joined.
const BODY_BYTES: usize = PAYLOAD_BYTES * SECTORS;
const BODY_SINCE: usize = 0;
const BODY_CAPACITY: usize = BODY_SINCE + 8;
const BODY_WINDOW_FIRST: usize = BODY_CAPACITY + 4;
const BODY_WINDOW_LEN: usize = BODY_WINDOW_FIRST + 4;
const BODY_UPDATES_LEN: usize = BODY_WINDOW_LEN + 2;
const BODY_FLAGS: usize = BODY_UPDATES_LEN + 2;
const BODY_UPDATES: usize = BODY_FLAGS + 4;
const BODY_WINDOW: usize = BODY_UPDATES + UPDATES_MAX * 8;
const _: () = assert!(BODY_UPDATES == 24);
const _: () = assert!(BODY_WINDOW + WINDOW_MAX as usize * 4 == BODY_BYTES);

const FLAG_LOST: u32 = 1;

/// One change of the table: entry `slot` now holds `region`, or `FREE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Update {
    /// Entry of the table.
    pub slot: u32,
    /// Region, or `FREE`.
    pub region: u32,
}

/// What one page of the ring says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Order of transactions, one by one.
    pub sequence: u64,
    /// First transaction of the engine life that wrote this one: a power loss can only have taken
    /// transactions close before such a boundary.
    pub since: u64,
    /// Entries of the table.
    pub capacity: u32,
    /// Intent was lost and the dirty bitmap that stands for it is not yet known to be on disk.
    pub lost: bool,
    /// Changes, in order.
    pub updates: Vec<Update>,
    /// First entry that `window` repeats; it goes on at entry 0 after the last.
    pub window_first: u32,
    /// Entries as they are after the changes.
    pub window: Vec<u32>,
}

/// The seal of one sound sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectorSeal {
    /// Sequence of the transaction.
    pub sequence: u64,
    /// Checksum of the transaction.
    pub whole: u32,
    /// Address of the page.
    pub address: u64,
    /// The volume.
    pub volume: VolumeId,
}

/// What was found at a place of the ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A transaction that happened.
    Whole(Transaction),
    /// Sound sectors of more than one write: the newer one did not happen.
    Torn {
        /// Highest sequence of a sector.
        newest: u64,
    },
    /// Something else: rot, a misdirected read, nothing.
    Damaged(Damage),
}

fn entry_count(n: usize) -> u16 {
    u16::try_from(n).expect("bounded by UPDATES_MAX and WINDOW_MAX")
}

fn body(transaction: &Transaction) -> Box<[u8; BODY_BYTES]> {
    assert!(transaction.updates.len() <= UPDATES_MAX, "too many changes for a transaction");
    assert!(transaction.window.len() <= WINDOW_MAX as usize, "window too large");
    let mut out = Box::new([0; BODY_BYTES]);
    let bytes = &mut out[..];
    put(bytes, BODY_SINCE, &transaction.since.to_le_bytes());
    put(bytes, BODY_CAPACITY, &transaction.capacity.to_le_bytes());
    put(bytes, BODY_WINDOW_FIRST, &transaction.window_first.to_le_bytes());
    put(bytes, BODY_WINDOW_LEN, &entry_count(transaction.window.len()).to_le_bytes());
    put(bytes, BODY_UPDATES_LEN, &entry_count(transaction.updates.len()).to_le_bytes());
    let flags = if transaction.lost { FLAG_LOST } else { 0 };
    put(bytes, BODY_FLAGS, &flags.to_le_bytes());
    for (n, update) in transaction.updates.iter().enumerate() {
        put(bytes, BODY_UPDATES + n * 8, &update.slot.to_le_bytes());
        put(bytes, BODY_UPDATES + n * 8 + 4, &update.region.to_le_bytes());
    }
    for (n, region) in transaction.window.iter().enumerate() {
        put(bytes, BODY_WINDOW + n * 4, &region.to_le_bytes());
    }
    out
}

/// The transaction as the page at `address`.
pub fn encode(transaction: &Transaction, address: u64, volume: VolumeId) -> Box<Page> {
    let body = body(transaction);
    let whole = crc32fast::hash(&body[..]);
    let mut page: Box<Page> = Box::new([0; PAGE_BYTES]);
    for (number, sector) in (0u8..).zip(page.chunks_exact_mut(SECTOR_BYTES)) {
        put(sector, AT_MAGIC, &SECTOR_MAGIC);
        put(sector, AT_VERSION, &VERSION.to_le_bytes());
        sector[AT_KIND] = PageKind::IntentLog as u8;
        sector[AT_SECTOR] = number;
        put(sector, AT_WHOLE, &whole.to_le_bytes());
        put(sector, AT_ADDRESS, &address.to_le_bytes());
        put(sector, AT_VOLUME, &volume.0.to_le_bytes());
        put(sector, AT_SEQUENCE, &transaction.sequence.to_le_bytes());
        let from = usize::from(number) * PAYLOAD_BYTES;
        put(sector, AT_PAYLOAD, &body[from..from + PAYLOAD_BYTES]);
        let crc = crc_without(sector, AT_CRC);
        put(sector, AT_CRC, &crc.to_le_bytes());
    }
    page
}

/// Whether the bytes look like a page of the ring at all: some sector has the magic.
pub fn is_log_page(page: &Page) -> bool {
    page.chunks_exact(SECTOR_BYTES).any(|sector| sector[..4] == SECTOR_MAGIC)
}

/// Checks sector `number` of a page by itself, wherever it may belong.
pub fn sector(page: &Page, number: u8) -> Result<SectorSeal, Damage> {
    let at = usize::from(number) * SECTOR_BYTES;
    let sector = &page[at..at + SECTOR_BYTES];
    if sector[..4] != SECTOR_MAGIC {
        let blank = sector.iter().all(|byte| *byte == 0);
        return Err(if blank { Damage::Blank } else { Damage::Magic });
    }
    let (stored, computed) = (u32_at(sector, AT_CRC), crc_without(sector, AT_CRC));
    if stored != computed {
        return Err(Damage::Checksum { stored, computed });
    }
    let version = u16_at(sector, AT_VERSION);
    if version != VERSION {
        return Err(Damage::Version { found: version });
    }
    if sector[AT_KIND] != PageKind::IntentLog as u8 {
        return Err(Damage::Kind { found: sector[AT_KIND] });
    }
    if sector[AT_SECTOR] != number {
        return Err(Damage::Slot { expected: number, found: sector[AT_SECTOR] });
    }
    Ok(SectorSeal {
        sequence: u64_at(sector, AT_SEQUENCE),
        whole: u32_at(sector, AT_WHOLE),
        address: u64_at(sector, AT_ADDRESS),
        volume: VolumeId(u128_at(sector, AT_VOLUME)),
    })
}

/// The body's fields. Sectors must have checked; says what does not add up.
pub fn parse_body(page: &Page, sequence: u64, whole: u32) -> Result<Transaction, Damage> {
    let mut body = [0; BODY_BYTES];
    for (sector, part) in page.chunks_exact(SECTOR_BYTES).zip(body.chunks_exact_mut(PAYLOAD_BYTES))
    {
        part.copy_from_slice(&sector[AT_PAYLOAD..]);
    }
    let computed = crc32fast::hash(&body);
    if computed != whole {
        return Err(Damage::Checksum { stored: whole, computed });
    }
    let flags = u32_at(&body, BODY_FLAGS);
    if flags & !FLAG_LOST != 0 {
        return Err(Damage::Field { name: "log flags", value: u64::from(flags) });
    }
    let updates_len = usize::from(u16_at(&body, BODY_UPDATES_LEN));
    let window_len = usize::from(u16_at(&body, BODY_WINDOW_LEN));
    if updates_len > UPDATES_MAX {
        return Err(Damage::Field { name: "log updates", value: updates_len as u64 });
    }
    if window_len > WINDOW_MAX as usize {
        return Err(Damage::Field { name: "log window", value: window_len as u64 });
    }
    let (updates, updates_spare) = body[BODY_UPDATES..BODY_WINDOW].split_at(updates_len * 8);
    let (window, window_spare) = body[BODY_WINDOW..].split_at(window_len * 4);
    if updates_spare.iter().chain(window_spare).any(|byte| *byte != 0) {
        return Err(Damage::Reserved { at: AT_PAYLOAD });
    }
    let since = u64::from_le_bytes(get(&body, BODY_SINCE));
    if since > sequence {
        return Err(Damage::Field { name: "log since", value: since });
    }
    let update = |u: &[u8]| Update { slot: u32_at(u, 0), region: u32_at(u, 4) };
    Ok(Transaction {
        sequence,
        since,
        capacity: u32_at(&body, BODY_CAPACITY),
        lost: flags & FLAG_LOST != 0,
        updates: updates.chunks_exact(8).map(update).collect(),
        window_first: u32_at(&body, BODY_WINDOW_FIRST),
        window: window.chunks_exact(4).map(|entry| u32_at(entry, 0)).collect(),
    })
}

/// What the page at `address` of this volume's ring is.
pub fn read(page: &Page, address: u64, volume: VolumeId) -> Seen {
    let mut seals = Vec::with_capacity(SECTORS);
    for number in (0u8..).take(SECTORS) {
        match sector(page, number) {
            Err(damage) => return Seen::Damaged(damage),
            Ok(seal) if seal.address != address => {
                let found = seal.address;
                return Seen::Damaged(Damage::Address { expected: address, found });
            }
            Ok(seal) if seal.volume != volume => {
                let found = seal.volume;
                return Seen::Damaged(Damage::Volume { expected: volume, found });
            }
            Ok(seal) => seals.push(seal),
        }
    }
    let first = seals[0];
    if seals.iter().any(|seal| (seal.sequence, seal.whole) != (first.sequence, first.whole)) {
        let newest = seals.iter().map(|seal| seal.sequence).max().unwrap_or(first.sequence);
        return Seen::Torn { newest };
    }
    match parse_body(page, first.sequence, first.whole) {
        Ok(transaction) => Seen::Whole(transaction),
        Err(damage) => Seen::Damaged(damage),
    }
}
