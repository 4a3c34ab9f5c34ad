//! What each block may hold: the judge of the demo. Pure.
//! Always: a block holds its last acknowledged version, or a later one whose write was never
//! answered; once such a version was read, nothing older is right any more.

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Words of a block.
const WORDS: usize = BLOCK / 8;

/// Why a block is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// An acknowledged write is gone: an older version is there.
    Lost { block: u64, expected: u32, found: u32 },
    /// A version that was never written there.
    Foreign { block: u64, found: u64 },
    /// The content is not that of the version it names.
    Torn { block: u64, version: u32 },
}

#[derive(Clone, Debug, Default)]
struct Entry {
    acked: u32,
    issued: u32,
    /// Later than `acked`, in ascending order, never answered.
    unanswered: Vec<u32>,
}

/// All blocks of the load.
#[derive(Clone, Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// `blocks` blocks of zeroes.
    pub fn new(blocks: usize) -> Ledger {
        Ledger { entries: vec![Entry::default(); blocks] }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    fn entry(&mut self, block: u64) -> &mut Entry {
        let index = usize::try_from(block).expect("blocks of the ledger fit memory");
        &mut self.entries[index]
    }

    /// The version of the next write to `block`. One write per block at a time.
    pub fn begin(&mut self, block: u64) -> u32 {
        let entry = self.entry(block);
        entry.issued += 1;
        entry.issued
    }

    /// The write was acknowledged.
    pub fn acknowledged(&mut self, block: u64, version: u32) {
        let entry = self.entry(block);
        assert!(version > entry.acked, "block {block}: acknowledged twice");
        entry.acked = version;
        entry.unanswered.clear();
    }

    /// Nobody will ever answer the write.
    pub fn unanswered(&mut self, block: u64, version: u32) {
        self.entry(block).unanswered.push(version);
    }

    /// Judges what was read from `block` while no write to it was in flight.
    pub fn read(&mut self, block: u64, data: &[u8]) -> Result<(), Wrong> {
        let found = version_of(block, data)?;
        let entry = self.entry(block);
        if found == entry.acked {
            return Ok(());
        }
        if found < entry.acked {
            return Err(Wrong::Lost { block, expected: entry.acked, found });
        }
        if !entry.unanswered.contains(&found) {
            return Err(Wrong::Foreign { block, found: u64::from(found) });
        }
        entry.acked = found;
        entry.unanswered.retain(|version| *version > found);
        Ok(())
    }
}

/// One step of a mixing generator: neighbouring seeds give unlike words.
fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Fills `data` with the content of that version of that block.
pub fn fill(block: u64, version: u32, data: &mut [u8; BLOCK]) {
    let seed = mix(block) ^ u64::from(version).rotate_left(40);
    for (word, bytes) in (0..WORDS as u64).zip(data.chunks_exact_mut(8)) {
        let value = match word {
            0 => block,
            1 => u64::from(version),
            _ => mix(seed.wrapping_add(word)),
        };
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// The version that `data` is, with every byte checked. Zeroes are version 0.
fn version_of(block: u64, data: &[u8]) -> Result<u32, Wrong> {
    if data.len() == BLOCK && data.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let word = |at: usize| {
        data.get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(u64::MAX, u64::from_le_bytes)
    };
    let found = word(8);
    let version = u32::try_from(found).map_err(|_| Wrong::Foreign { block, found })?;
    if word(0) != block {
        return Err(Wrong::Foreign { block, found });
    }
    let mut expected = [0; BLOCK];
    fill(block, version, &mut expected);
    if data != expected { Err(Wrong::Torn { block, version }) } else { Ok(version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(block: u64, version: u32) -> [u8; BLOCK] {
        let mut data = [0; BLOCK];
        fill(block, version, &mut data);
        data
    }

    #[test]
    fn a_block_holds_its_last_acknowledged_version() {
        let mut ledger = Ledger::new(4);
        assert_eq!(ledger.read(2, &[0; BLOCK]), Ok(()));
        for expected in 1..=2 {
            let version = ledger.begin(2);
            assert_eq!(version, expected);
            ledger.acknowledged(2, version);
        }
        assert_eq!(ledger.read(2, &content(2, 2)), Ok(()));
        let lost = Wrong::Lost { block: 2, expected: 2, found: 1 };
        assert_eq!(ledger.read(2, &content(2, 1)), Err(lost));
    }

    #[test]
    fn an_unanswered_write_may_show_or_not_but_not_go_away_again() {
        let mut ledger = Ledger::new(1);
        let first = ledger.begin(0);
        ledger.acknowledged(0, first);
        let second = ledger.begin(0);
        ledger.unanswered(0, second);
        assert_eq!(ledger.read(0, &content(0, 1)), Ok(()));
        assert_eq!(ledger.read(0, &content(0, 2)), Ok(()));
        assert!(matches!(ledger.read(0, &content(0, 1)), Err(Wrong::Lost { .. })));
    }

    #[test]
    fn a_foreign_block_and_a_flipped_byte_are_seen() {
        let mut ledger = Ledger::new(8);
        let version = ledger.begin(3);
        ledger.acknowledged(3, version);
        assert!(matches!(ledger.read(3, &content(4, 1)), Err(Wrong::Foreign { .. })));
        assert!(matches!(ledger.read(3, &content(3, 9)), Err(Wrong::Foreign { .. })));
        let mut torn = content(3, 1);
        torn[4000] ^= 1;
        assert_eq!(ledger.read(3, &torn), Err(Wrong::Torn { block: 3, version: 1 }));
    }
}
