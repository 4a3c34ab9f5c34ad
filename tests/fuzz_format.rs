//! Replays the corpus of the format's fuzz targets and throws a few thousand seeded mutations of
//! sound pages at them. `LOCKSTEP_GOLDEN=write` writes the corpus where it is missing.

use harness::format_kit::{Dice, dump, sample_superblock, undump};
use harness::fuzz_format::{
    LAYOUT, VOLUME, fuzz_bitmap_page, fuzz_log_page, fuzz_superblock, reseal,
};
use lockstep_engine::format::bitmap::Bitmap;
use lockstep_engine::format::intent_log::IntentLog;
use lockstep_engine::format::tail::Tail;
use lockstep_engine::units::{Page, RegionIndex};
use std::path::PathBuf;

const MUTATIONS: u64 = 1_500;

fn mutate(seed: &Page, dice: &mut Dice) -> Page {
    let mut page = *seed;
    for _ in 0..1 + dice.below(4) {
        let at = if dice.below(2) == 0 { dice.index(4096) } else { dice.index(600) };
        match dice.below(4) {
            0 => page[at] ^= 1 << dice.below(8),
            1 => page[at] = dice.byte(),
            2 => page[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
            _ => page.copy_within(at..(at + 64).min(4096), 0),
        }
    }
    if dice.below(4) != 0 {
        reseal(&mut page);
    }
    page
}

fn run(target: &str, fuzz: fn(&[u8]), seeds: &[Page]) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folder = root.join(format!("format_{target}"));
    if std::env::var_os("LOCKSTEP_GOLDEN").is_some_and(|v| v == "write") && !folder.exists() {
        std::fs::create_dir_all(&folder).expect("corpus folder");
        for (n, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("sound-{n}.hex")), dump(seed)).expect("corpus");
        }
    }
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("corpus folder") {
        let path = entry.expect("corpus entry").path();
        let text = std::fs::read_to_string(&path).expect("corpus file");
        let page = undump(&text).unwrap_or_else(|| panic!("{}: not a dump", path.display()));
        fuzz(&page);
        replayed += 1;
    }
    assert!(replayed > 0, "{}: empty corpus", folder.display());
    for seed in 0..MUTATIONS {
        let mut dice = Dice(seed);
        let page = mutate(&seeds[dice.index(seeds.len())], &mut dice);
        if std::panic::catch_unwind(|| fuzz(&page)).is_err() {
            panic!("{target} mutation {seed} fails; add it to the corpus:\n{}", dump(&page));
        }
    }
    fuzz(&[]);
    fuzz(&[0xff; 5000]);
}

#[test]
fn superblocks_and_tails_of_any_bytes_are_read_without_panic() {
    let sb = sample_superblock(300 << 20, 64);
    let tail = Tail { volume: sb.volume, node: sb.node, pair_tag: sb.pair_tag, life: sb.life };
    let seeds = [*sb.encode(0), *sb.encode(1), *tail.encode(0), *tail.encode(1)];
    run("superblock", fuzz_superblock, &seeds);
}

#[test]
fn log_pages_of_any_bytes_are_read_without_panic() {
    let mut log = IntentLog::new(LAYOUT, VOLUME);
    let (_, first) = log.transaction(&[RegionIndex(3), RegionIndex(70)], &[]);
    let (_, second) = log.transaction(&[RegionIndex(4)], &[RegionIndex(3)]);
    run("log_page", fuzz_log_page, &[*first, *second]);
}

#[test]
fn bitmap_pages_of_any_bytes_are_read_without_panic() {
    let mut bitmap = Bitmap::new(LAYOUT, VOLUME);
    bitmap.set(5..40_000);
    let seeds = [0, 1, 2].map(|page| *bitmap.encode_page(page).1);
    run("bitmap_page", fuzz_bitmap_page, &seeds);
}
