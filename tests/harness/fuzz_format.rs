//! Fuzz targets of the on-disk format: any bytes in, no panic, and what is believed survives a
//! round trip. Plain functions, so that ordinary tests replay the corpus through them.

use lockstep_engine::format::bitmap::Bitmap;
use lockstep_engine::format::inspect;
use lockstep_engine::format::intent_log::IntentLog;
use lockstep_engine::format::layout::Layout;
use lockstep_engine::format::log_page::{self, Seen};
use lockstep_engine::format::superblock::{Superblock, choose};
use lockstep_engine::format::tail::Tail;
use lockstep_engine::units::{Page, VolumeId};

/// The volume that targets expect; that of `format_kit::sample_superblock`.
pub const VOLUME: VolumeId = VolumeId(0x7001);
/// The layout that targets expect: 300 MiB, 64 entries.
pub const LAYOUT: Layout = Layout::new(300 << 20, 64);

/// The first page of the input, padded with zeroes.
pub fn page_of(input: &[u8]) -> Page {
    let mut page = [0; 4096];
    let len = input.len().min(page.len());
    page[..len].copy_from_slice(&input[..len]);
    page
}

fn crc_of(page: &[u8], at: usize) -> [u8; 4] {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&page[..at]);
    hash.update(&[0; 4]);
    hash.update(&page[at + 4..]);
    hash.finalize().to_le_bytes()
}

/// Gives a page (or each sector of a log page) a checksum that holds, so that a mutation reaches
/// the parser behind it.
pub fn reseal(page: &mut Page) {
    if page[..4] == *b"LKLG" {
        for sector in page.chunks_exact_mut(512) {
            let crc = crc_of(sector, 4);
            sector[4..8].copy_from_slice(&crc);
        }
    } else {
        let crc = crc_of(page, 12);
        page[12..16].copy_from_slice(&crc);
    }
}

/// A superblock slot and a tail slot.
pub fn fuzz_superblock(input: &[u8]) {
    let page = page_of(input);
    for slot in [0u8, 1] {
        if let Ok(superblock) = Superblock::decode(&page, slot) {
            assert_eq!(*superblock.encode(slot), page, "decode accepts what encode does not make");
            assert!(superblock.layout().total_pages() > 0);
        }
        if let Ok(tail) = Tail::decode(&page, slot) {
            assert_eq!(*tail.encode(slot), page, "decode accepts what encode does not make");
        }
        let text = inspect::explain(&page, u64::from(slot)).to_string();
        assert!(!text.is_empty());
    }
    // The outcome does not matter, as long as there is one.
    drop(choose([Some(&page), Some(&page)]));
}

/// A page of the ring, alone and repeated over the whole ring.
pub fn fuzz_log_page(input: &[u8]) {
    let page = page_of(input);
    let address = LAYOUT.log_first() + 1;
    if let Seen::Whole(transaction) = log_page::read(&page, address, VOLUME) {
        assert_eq!(*log_page::encode(&transaction, address, VOLUME), page);
    }
    let (log, _) = IntentLog::recover(LAYOUT, VOLUME, &mut |_| Some(page));
    assert!(log.len() <= log.capacity());
    let mut ring = IntentLog::new(LAYOUT, VOLUME);
    let (good_address, good) = ring.transaction(&[], &[]);
    let (log, _) = IntentLog::recover(LAYOUT, VOLUME, &mut |at| {
        Some(if at == good_address { *good } else { page })
    });
    assert!(log.regions().all(|region| u64::from(region.0) < LAYOUT.regions()));
    assert!(inspect::explain(&page, address).to_json().is_object());
}

/// A page of the bitmap.
pub fn fuzz_bitmap_page(input: &[u8]) {
    let page = page_of(input);
    for number in 0..LAYOUT.bitmap_pages() {
        let mut bitmap = Bitmap::new(LAYOUT, VOLUME);
        let before = bitmap.clone();
        match bitmap.load_page(number, &page) {
            Err(_) => assert_eq!(bitmap, before, "a damaged page changes nothing"),
            Ok(()) => {
                let blocks = (0..LAYOUT.blocks()).filter(|block| bitmap.is_set(*block)).count();
                assert_eq!(bitmap.count(), blocks as u64);
                assert!(bitmap.next_stale(0).is_none());
            }
        }
        let explained = inspect::explain(&page, LAYOUT.bitmap_first() + number);
        assert!(explained.to_json().is_object());
    }
}
