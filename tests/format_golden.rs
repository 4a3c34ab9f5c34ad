//! The bytes on disk do not change by accident: one vector per kind of page, and the ledger.
//! A wanted change raises `format::VERSION`, adds vectors and keeps the old ones.
//! `LOCKSTEP_GOLDEN=write` writes vectors that do not exist yet.

use harness::format_kit::{dump, sample_superblock, undump};
use lockstep_engine::format::bitmap::Bitmap;
use lockstep_engine::format::intent_log::IntentLog;
use lockstep_engine::format::superblock::Superblock;
use lockstep_engine::format::tail::Tail;
use lockstep_engine::format::{LEDGER, VERSION};
use lockstep_engine::units::{BootId, DiskState, Generation, InSyncMark, Page, RegionIndex};
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format").join(name)
}

fn expect(name: &str, text: &str) {
    let path = golden(name);
    if std::env::var_os("LOCKSTEP_GOLDEN").is_some_and(|v| v == "write") && !path.exists() {
        std::fs::write(&path, text).expect("golden file is writable");
    }
    let held = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the head of this file", path.display()));
    assert_eq!(held, text, "{name}: the bytes on disk changed; see the head of this file");
}

fn expect_page(name: &str, page: &Page) {
    expect(name, &dump(page));
    assert_eq!(undump(&dump(page)).as_ref(), Some(page));
}

fn fresh_superblock() -> Superblock {
    Superblock {
        record: None,
        attempts: [None; 2],
        history: [Generation::NONE; 8],
        generation: Generation::NONE,
        disk: DiskState::Inconsistent,
        needs_full: true,
        diverged: false,
        serial: String::new(),
        ..sample_superblock(300 << 20, 64)
    }
}

#[test]
fn superblock_pages_keep_their_bytes() {
    let full = sample_superblock(300 << 20, 64);
    expect_page("v1-superblock-full-slot0.hex", &full.encode(0));
    expect_page("v1-superblock-full-slot1.hex", &full.encode(1));
    let fresh = fresh_superblock();
    expect_page("v1-superblock-fresh-slot0.hex", &fresh.encode(0));
    let mark = InSyncMark { generation: Generation(0x1234), boot: BootId(0x5678) };
    let marked = Superblock { mark: Some(mark), ..fresh_superblock() };
    expect_page("v1-superblock-marked-slot0.hex", &marked.encode(0));
    for superblock in [full, fresh, marked] {
        for slot in [0, 1] {
            let decoded = Superblock::decode(&superblock.encode(slot), slot);
            assert_eq!(decoded.as_ref(), Ok(&superblock));
        }
    }
}

#[test]
fn intent_log_pages_keep_their_bytes() {
    let superblock = sample_superblock(300 << 20, 64);
    let mut log = IntentLog::new(superblock.layout(), superblock.volume);
    let (address, page) = log.transaction(&[RegionIndex(3), RegionIndex(70)], &[]);
    assert_eq!(address, 8 + 1, "sequence log_pages + 1 stands on the second page of the ring");
    expect_page("v1-intent-log-add.hex", &page);
    let (_, page) = log.transaction(&[RegionIndex(4)], &[RegionIndex(3)]);
    expect_page("v1-intent-log-add-drop.hex", &page);
}

#[test]
fn bitmap_pages_keep_their_bytes() {
    let superblock = sample_superblock(300 << 20, 64);
    let mut bitmap = Bitmap::new(superblock.layout(), superblock.volume);
    bitmap.set(5..9);
    bitmap.set(31_743..31_745);
    bitmap.set(76_799..76_800);
    for page in 0..3 {
        let (_, bytes) = bitmap.encode_page(page);
        expect_page(&format!("v1-bitmap-{page}.hex"), &bytes);
    }
}

#[test]
fn tail_pages_keep_their_bytes() {
    let sb = sample_superblock(300 << 20, 64);
    let tail = Tail { volume: sb.volume, node: sb.node, pair_tag: sb.pair_tag, life: sb.life };
    for slot in [0, 1] {
        expect_page(&format!("v1-tail-slot{slot}.hex"), &tail.encode(slot));
        assert_eq!(Tail::decode(&tail.encode(slot), slot), Ok(tail));
    }
}

#[test]
fn the_ledger_only_grows() {
    let text: String = LEDGER.iter().map(|(version, why)| format!("{version} {why}\n")).collect();
    expect("ledger.txt", &text);
    assert_eq!(LEDGER.last().map(|(version, _)| *version), Some(VERSION));
    assert!(LEDGER.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
}
