//! Where things stand on the cluster partition: superblock slots, spare pages, ring, bitmap.
//! Always: a function of volume size and table size alone, both fixed in the superblock.

use crate::limits::META_WRITES_MAX;
use crate::units::{BLOCK_BYTES, BLOCKS_PER_REGION, PAGE_BYTES, REGION_BYTES};

/// Pages of the two superblock slots.
pub const SUPERBLOCK_PAGES: [u64; 2] = [0, 1];
/// First page of the ring; the pages between are spare, for versions to come.
pub const LOG_FIRST: u64 = 8;

/// Regions whose bits one bitmap page holds. A region never straddles two pages.
pub const REGIONS_PER_PAGE: u64 = 31;
/// Blocks whose bits one bitmap page holds.
pub const BLOCKS_PER_PAGE: u64 = REGIONS_PER_PAGE * BLOCKS_PER_REGION;
/// Words of bits that one bitmap page holds.
pub const WORDS_PER_PAGE: usize = 496;
const _: () = assert!(WORDS_PER_PAGE as u64 * 64 == BLOCKS_PER_PAGE);
const _: () = assert!(WORDS_PER_PAGE * 8 + 128 == PAGE_BYTES);

/// Entries of the intent table that one transaction repeats.
pub const WINDOW_MAX: u32 = 794;
/// Log transactions that may be in flight at once: a power loss may tear or drop each of them.
pub const LOG_FLIGHT_MAX: u64 = META_WRITES_MAX as u64;
/// Smallest ring.
pub const LOG_PAGES_MIN: u64 = 8;

/// Places of one cluster partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    size_bytes: u64,
    intent_regions: u32,
}

impl Layout {
    /// Layout for a volume of `size_bytes` with `intent_regions` entries in the intent table.
    pub const fn new(size_bytes: u64, intent_regions: u32) -> Layout {
        assert!(intent_regions > 0, "an intent table without entries");
        Layout { size_bytes, intent_regions }
    }
    /// Exported bytes.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
    /// Entries of the intent table.
    pub const fn intent_regions(&self) -> u32 {
        self.intent_regions
    }
    /// Blocks of the volume.
    pub const fn blocks(&self) -> u64 {
        self.size_bytes.div_ceil(BLOCK_BYTES)
    }
    /// Regions of the volume.
    pub const fn regions(&self) -> u64 {
        self.size_bytes.div_ceil(REGION_BYTES)
    }
    /// First page of the ring.
    pub const fn log_first(&self) -> u64 {
        LOG_FIRST
    }
    /// Entries that each transaction repeats.
    pub const fn window(&self) -> u32 {
        if self.intent_regions < WINDOW_MAX { self.intent_regions } else { WINDOW_MAX }
    }
    /// Transactions that together repeat the whole table.
    pub const fn log_cycle(&self) -> u64 {
        self.intent_regions.div_ceil(self.window()) as u64
    }
    /// Pages of the ring: two cycles, so that what a crash takes from one the other still holds,
    /// and room for transactions in flight at both ends.
    pub const fn log_pages(&self) -> u64 {
        let pages = 2 * self.log_cycle() + 2 * LOG_FLIGHT_MAX;
        if pages < LOG_PAGES_MIN { LOG_PAGES_MIN } else { pages }
    }
    /// First page of the bitmap.
    pub const fn bitmap_first(&self) -> u64 {
        self.log_first() + self.log_pages()
    }
    /// Pages of the bitmap.
    pub const fn bitmap_pages(&self) -> u64 {
        self.regions().div_ceil(REGIONS_PER_PAGE)
    }
    /// Pages that the cluster partition must have.
    pub const fn total_pages(&self) -> u64 {
        self.bitmap_first() + self.bitmap_pages()
    }
    /// Bytes that the cluster partition must have.
    pub const fn total_bytes(&self) -> u64 {
        self.total_pages() * PAGE_BYTES as u64
    }
}
