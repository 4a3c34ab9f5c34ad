//! Which blocks may differ between the two copies: one bit per 4 KiB block, whole in memory,
//! on disk in pages that each hold the bits of 31 regions.
//! Always: `count` and the counts per page equal the bits; bits past the last block are zero;
//! a page that differs from its disk image is stale. A damaged page is the caller's to set whole.

use super::Damage;
use super::bytes::{get, index, put};
use super::checksum::{self, HEADER_BYTES, PageKind, Seal};
use super::layout::{BLOCKS_PER_PAGE, Layout, WORDS_PER_PAGE};
use crate::units::{PAGE_BYTES, Page, VolumeId};
use std::ops::Range;

/// Offset of the bits in a page; from the header to here is spare.
const AT_BITS: usize = 128;
const _: () = assert!(AT_BITS >= HEADER_BYTES && AT_BITS + WORDS_PER_PAGE * 8 == PAGE_BYTES);

/// Words that were offered lie outside the bitmap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange {
    /// First word offered.
    pub first_word: u64,
    /// Words offered.
    pub count: usize,
    /// Words that there are.
    pub words: u64,
}

/// The dirty bits of one copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bitmap {
    layout: Layout,
    volume: VolumeId,
    words: Vec<u64>,
    /// Set bits of each page: clean pages are skipped at a glance.
    page_counts: Vec<u32>,
    /// One bit per page: memory differs from disk.
    stale: Vec<u64>,
    count: u64,
    sequence: u64,
}

/// The bits of `word` that lie in `blocks`.
fn mask(word: u64, blocks: &Range<u64>) -> u64 {
    let low = blocks.start.saturating_sub(word * 64).min(64);
    let high = blocks.end.saturating_sub(word * 64).min(64);
    let below = |n: u64| if n == 64 { u64::MAX } else { (1 << n) - 1 };
    below(high) & !below(low)
}

impl Bitmap {
    /// All clean, nothing stale: as freshly formatted.
    pub fn new(layout: Layout, volume: VolumeId) -> Bitmap {
        Bitmap {
            layout,
            volume,
            words: vec![0; index(layout.blocks().div_ceil(64))],
            page_counts: vec![0; index(layout.bitmap_pages())],
            stale: vec![0; index(layout.bitmap_pages().div_ceil(64))],
            count: 0,
            sequence: 1,
        }
    }

    fn clamp(&self, blocks: Range<u64>) -> Range<u64> {
        blocks.start..blocks.end.min(self.layout.blocks())
    }

    fn change(&mut self, blocks: Range<u64>, value: bool) -> u64 {
        let blocks = self.clamp(blocks);
        if blocks.is_empty() {
            return 0;
        }
        let mut changed = 0;
        for word in blocks.start / 64..blocks.end.div_ceil(64) {
            let at = index(word);
            let (old, mask) = (self.words[at], mask(word, &blocks));
            let new = if value { old | mask } else { old & !mask };
            if new != old {
                self.words[at] = new;
                let flipped = (new ^ old).count_ones();
                let page = at / WORDS_PER_PAGE;
                if value {
                    self.page_counts[page] += flipped;
                } else {
                    self.page_counts[page] -= flipped;
                }
                self.stale[page / 64] |= 1 << (page % 64);
                changed += u64::from(flipped);
            }
        }
        if value {
            self.count += changed;
        } else {
            self.count -= changed;
        }
        changed
    }

    /// Marks blocks dirty and returns how many were clean. Blocks past the last are ignored, here
    /// and below: the last region may be cut short.
    pub fn set(&mut self, blocks: Range<u64>) -> u64 {
        self.change(blocks, true)
    }

    /// Marks blocks clean and returns how many were dirty.
    pub fn clear(&mut self, blocks: Range<u64>) -> u64 {
        self.change(blocks, false)
    }

    /// Marks everything dirty.
    pub fn set_all(&mut self) {
        self.change(0..self.layout.blocks(), true);
    }

    /// Marks everything clean.
    pub fn clear_all(&mut self) {
        if self.count > 0 {
            self.change(0..self.layout.blocks(), false);
        }
    }

    /// Whether the block is dirty.
    pub fn is_set(&self, block: u64) -> bool {
        block < self.layout.blocks() && self.words[index(block / 64)] >> (block % 64) & 1 == 1
    }

    /// Whether a block of the range is dirty.
    pub fn any(&self, blocks: Range<u64>) -> bool {
        let blocks = self.clamp(blocks);
        self.next_set(blocks.start).is_some_and(|found| found < blocks.end)
    }

    /// Whether every block of the range is dirty; true for an empty range.
    pub fn all(&self, blocks: Range<u64>) -> bool {
        let blocks = self.clamp(blocks);
        blocks.is_empty() || self.next_clear(blocks.start, blocks.end) == blocks.end
    }

    /// First dirty block at or after `from`.
    pub fn next_set(&self, from: u64) -> Option<u64> {
        if from >= self.layout.blocks() || self.count == 0 {
            return None;
        }
        let mut at = index(from / 64);
        let first = self.words[at] & !0u64 << (from % 64);
        if first != 0 {
            return Some(at as u64 * 64 + u64::from(first.trailing_zeros()));
        }
        at += 1;
        while at < self.words.len() {
            let page = at / WORDS_PER_PAGE;
            let page_end = ((page + 1) * WORDS_PER_PAGE).min(self.words.len());
            if self.page_counts[page] > 0
                && let Some(n) = self.words[at..page_end].iter().position(|word| *word != 0)
            {
                let bit = u64::from(self.words[at + n].trailing_zeros());
                return Some((at + n) as u64 * 64 + bit);
            }
            at = page_end;
        }
        None
    }

    /// First clean block in `from..limit`, or `limit`.
    pub fn next_clear(&self, from: u64, limit: u64) -> u64 {
        let limit = limit.min(self.layout.blocks());
        let mut block = from;
        while block < limit {
            let clean = !self.words[index(block / 64)] & (!0u64 << (block % 64));
            if clean != 0 {
                return (block / 64 * 64 + u64::from(clean.trailing_zeros())).min(limit);
            }
            block = (block / 64 + 1) * 64;
        }
        limit
    }

    /// Dirty blocks.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Words of the bitmap, the last one padded with zero bits.
    pub fn word_count(&self) -> u64 {
        self.words.len() as u64
    }

    /// `count` words from `first_word` on, fewer at the end: what travels in `Message::Bits`.
    pub fn words(&self, first_word: u64, count: usize) -> &[u64] {
        let first = index(first_word.min(self.word_count()));
        &self.words[first..first.saturating_add(count).min(self.words.len())]
    }

    /// Adds the peer's dirty bits and returns how many were clean here. Bits past the last block
    /// are ignored. Changes nothing when refused.
    pub fn merge_words(&mut self, first_word: u64, words: &[u64]) -> Result<u64, OutOfRange> {
        let end = first_word.checked_add(words.len() as u64);
        if end.is_none_or(|end| end > self.word_count()) {
            let (count, words) = (words.len(), self.word_count());
            return Err(OutOfRange { first_word, count, words });
        }
        let mut newly = 0;
        for (n, offered) in (first_word..).zip(words) {
            let page = index(n) / WORDS_PER_PAGE;
            let add = offered & mask(n, &(0..self.layout.blocks())) & !self.words[index(n)];
            if add != 0 {
                self.words[index(n)] |= add;
                self.page_counts[page] += add.count_ones();
                self.stale[page / 64] |= 1 << (page % 64);
                newly += u64::from(add.count_ones());
            }
        }
        self.count += newly;
        Ok(newly)
    }

    /// Number, within the bitmap, of the page that holds the block's bit.
    pub fn page_of(&self, block: u64) -> u64 {
        block / BLOCKS_PER_PAGE
    }

    /// Blocks whose bits the page holds.
    pub fn blocks_of_page(&self, page: u64) -> Range<u64> {
        self.clamp(page * BLOCKS_PER_PAGE..(page + 1) * BLOCKS_PER_PAGE)
    }

    /// Whether memory differs from what the disk was last told.
    pub fn is_stale(&self, page: u64) -> bool {
        self.stale[index(page / 64)] >> (page % 64) & 1 == 1
    }

    /// First stale page at or after `from`.
    pub fn next_stale(&self, from: u64) -> Option<u64> {
        let mut at = index(from / 64);
        let mut word = self.stale.get(at)? & (!0u64 << (from % 64));
        while word == 0 {
            at += 1;
            word = *self.stale.get(at)?;
        }
        Some(at as u64 * 64 + u64::from(word.trailing_zeros()))
    }

    /// The disk does not hold the page: a write of it failed.
    pub fn mark_stale(&mut self, page: u64) {
        assert!(page < self.layout.bitmap_pages(), "no such bitmap page");
        self.stale[index(page / 64)] |= 1 << (page % 64);
    }

    fn word_range(&self, page: u64) -> Range<usize> {
        assert!(page < self.layout.bitmap_pages(), "no such bitmap page");
        let first = index(page) * WORDS_PER_PAGE;
        first..(first + WORDS_PER_PAGE).min(self.words.len())
    }

    /// The page as it must be written, with its address on the cluster partition. From here on it
    /// counts as not stale: a failed write comes back through `mark_stale`.
    pub fn encode_page(&mut self, page: u64) -> (u64, Box<Page>) {
        let mut bytes: Box<Page> = Box::new([0; PAGE_BYTES]);
        for (n, word) in self.words[self.word_range(page)].iter().enumerate() {
            put(&mut bytes[..], AT_BITS + n * 8, &word.to_le_bytes());
        }
        self.sequence += 1;
        let address = self.layout.bitmap_first() + page;
        let (volume, sequence) = (self.volume, self.sequence);
        let seal = Seal { kind: PageKind::Bitmap, slot: 0, address, volume, sequence };
        checksum::seal(&mut bytes, &seal);
        self.stale[index(page / 64)] &= !(1 << (page % 64));
        (address, bytes)
    }

    /// Takes a page's bits from disk. Changes nothing when the page is damaged.
    pub fn load_page(&mut self, page: u64, bytes: &Page) -> Result<(), Damage> {
        let address = self.layout.bitmap_first() + page;
        let seal = checksum::check(bytes, PageKind::Bitmap, 0, address)?;
        checksum::check_volume(&seal, self.volume)?;
        checksum::check_zero(bytes, checksum::SEAL_END..AT_BITS)?;
        let range = self.word_range(page);
        let blocks = 0..self.layout.blocks();
        for n in 0..WORDS_PER_PAGE {
            let at = AT_BITS + n * 8;
            let stray = !mask((range.start + n) as u64, &blocks);
            if u64::from_le_bytes(get(bytes, at)) & stray != 0 {
                return Err(Damage::Reserved { at });
            }
        }
        let mut count = 0;
        for (n, word) in self.words[range].iter_mut().enumerate() {
            *word = u64::from_le_bytes(get(bytes, AT_BITS + n * 8));
            count += word.count_ones();
        }
        let held = &mut self.page_counts[index(page)];
        self.count = self.count - u64::from(*held) + u64::from(count);
        *held = count;
        self.stale[index(page / 64)] &= !(1 << (page % 64));
        self.sequence = self.sequence.max(seal.sequence);
        Ok(())
    }
}
