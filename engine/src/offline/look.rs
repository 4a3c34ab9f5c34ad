//! `inspect`: what a cluster partition says, page by page or as a whole.
//! Always: opens for reading only and goes on after damage.

use crate::device::{Device, DeviceError};
use crate::format::inspect::{Explanation, explain};
use crate::format::intent_log::{IntentLog, LogHealth};
use crate::format::layout::SUPERBLOCK_PAGES;
use crate::format::superblock::{Superblock, choose};
use crate::format::tail::Tail;
use crate::units::{PAGE_BYTES, Page};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Damaged pages that are told one by one; the rest is counted.
const DAMAGE_SHOWN_MAX: usize = 16;

/// Slots of the tail of a data partition.
const TAIL_SLOTS: usize = 2;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// For people, or JSON.
    pub text: String,
    /// Nothing is damaged, and there is something that is ours.
    pub sound: bool,
}

/// Explains one page, or the whole partition when `page` is `None`, as text or JSON. Data
/// partitions are recognised by their tail when nothing else fits.
pub fn inspect(path: &Path, page: Option<u64>, as_json: bool) -> Result<Inspection, DeviceError> {
    let device = Device::open_to_inspect(path)?;
    let (value, text, sound) = match page {
        Some(page) => {
            let explained = explain(&device.read_page(page)?, page);
            let sound = explained.damage.is_empty();
            (explained.to_json(), explained.to_string(), sound)
        }
        None => {
            let whole = Whole::read(&device);
            (whole.to_json(), whole.to_text(), whole.is_sound())
        }
    };
    let text = if as_json { format!("{value:#}\n") } else { text };
    Ok(Inspection { text, sound })
}

/// The partition as a whole.
struct Whole {
    slots: Vec<Explanation>,
    tail: Vec<Explanation>,
    chosen: Result<Superblock, String>,
    log: Option<(LogHealth, u32, u64)>,
    dirty_blocks: u64,
    damaged: Vec<String>,
}

impl Whole {
    fn read(device: &Device) -> Whole {
        let read = |page: u64| device.read_page(page).ok();
        let pages = SUPERBLOCK_PAGES.map(read);
        let slots = slots_of(&SUPERBLOCK_PAGES, &pages);
        let chosen = choose([pages[0].as_ref(), pages[1].as_ref()]);
        let mut whole = Whole {
            slots,
            tail: Vec::new(),
            chosen: chosen.map(|(superblock, _)| superblock).map_err(|damage| damage.to_string()),
            log: None,
            dirty_blocks: 0,
            damaged: Vec::new(),
        };
        match whole.chosen.clone() {
            Ok(superblock) => whole.survey(&superblock, &read),
            Err(_) => whole.tail = tail_at_end(device),
        }
        whole
    }

    fn survey(&mut self, superblock: &Superblock, read: &dyn Fn(u64) -> Option<Page>) {
        let layout = superblock.layout();
        let recovered = IntentLog::recover(layout, superblock.volume, &mut |page| read(page));
        self.log = Some((recovered.1, recovered.0.len(), recovered.0.sequence()));
        for page in layout.log_first()..layout.total_pages() {
            let Some(bytes) = read(page) else {
                self.damaged.push(format!("page {page}: the device does not return it"));
                continue;
            };
            let explained = explain(&bytes, page);
            if let Some(damage) = explained.damage.first() {
                self.damaged.push(format!("page {page} ({}): {damage}", explained.kind));
            }
            let dirty = explained.fields.iter().find(|(name, _)| *name == "dirty_blocks");
            self.dirty_blocks += dirty.and_then(|(_, value)| value.as_u64()).unwrap_or(0);
        }
    }

    fn is_sound(&self) -> bool {
        let whole = |slot: &Explanation| slot.damage.is_empty();
        if self.chosen.is_err() {
            return self.tail.len() == TAIL_SLOTS && self.tail.iter().all(whole);
        }
        let log = matches!(self.log, Some((LogHealth::Intact, ..)));
        let slots = self.slots.len() == SUPERBLOCK_PAGES.len() && self.slots.iter().all(whole);
        slots && log && self.damaged.is_empty()
    }

    fn health(&self) -> &'static str {
        match self.log {
            Some((LogHealth::Intact, ..)) => "intact",
            Some((LogHealth::Lost, ..)) => "lost",
            None => "unknown",
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "superblocks": self.slots.iter().map(Explanation::to_json).collect::<Vec<_>>(),
            "tail": self.tail.iter().map(Explanation::to_json).collect::<Vec<_>>(),
            "error": self.chosen.as_ref().err(),
            "log": self.log.map(|(_, regions, sequence)| json!({
                "health": self.health(), "regions": regions, "sequence": sequence,
            })),
            "dirty_blocks": self.dirty_blocks,
            "damaged": self.damaged,
        })
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        for explained in self.slots.iter().chain(&self.tail) {
            out.push_str(&explained.to_string());
        }
        // Writing to a string can't fail.
        if let Err(error) = &self.chosen {
            let _ = writeln!(out, "no superblock: {error}");
        }
        if let Some((_, regions, sequence)) = self.log {
            let _ = writeln!(
                out,
                "intent log: {}, {regions} region(s) with open intent, sequence {sequence}",
                self.health()
            );
            let _ = writeln!(out, "bitmap: {} dirty block(s) on disk", self.dirty_blocks);
            let _ = writeln!(out, "damaged pages: {}", self.damaged.len());
        }
        for line in self.damaged.iter().take(DAMAGE_SHOWN_MAX) {
            let _ = writeln!(out, "  ! {line}");
        }
        if self.damaged.len() > DAMAGE_SHOWN_MAX {
            let _ = writeln!(out, "  … and {} more", self.damaged.len() - DAMAGE_SHOWN_MAX);
        }
        out
    }
}

fn slots_of(addresses: &[u64], pages: &[Option<Page>]) -> Vec<Explanation> {
    let present = addresses.iter().zip(pages);
    present.filter_map(|(address, page)| Some(explain(page.as_ref()?, *address))).collect()
}

/// Sound tail slots where a data partition of this size has them.
fn tail_at_end(device: &Device) -> Vec<Explanation> {
    let end = device.size().saturating_sub(crate::limits::DATA_TAIL_BYTES);
    let offset = end / PAGE_BYTES as u64 * PAGE_BYTES as u64;
    let slot = |slot: u8| {
        let page = device.read_at(Tail::slot_offset(offset, slot)).ok()?;
        Tail::decode(&page, slot).ok().map(|_| explain(&page, u64::from(slot)))
    };
    [0, 1].into_iter().filter_map(slot).collect()
}
