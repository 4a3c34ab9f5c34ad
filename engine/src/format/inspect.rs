//! Explains a metadata page to people and to scripts.
//! Always: goes on after damage and shows what can still be read; never writes, never panics.

use super::checksum::{self, PageKind, RawSeal};
use super::layout::{BLOCKS_PER_PAGE, SUPERBLOCK_PAGES, WORDS_PER_PAGE};
use super::log_page::{self, SECTOR_BYTES, SECTORS};
use super::superblock::Superblock;
use super::tail::Tail;
use super::{Damage, superblock_bytes};
use crate::units::{PAGE_BYTES, Page};
use serde_json::{Map, Value, json};
use std::fmt;

/// What one page says.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// Where the page was found: page of the cluster partition, or slot of the tail.
    pub address: u64,
    /// `superblock`, `intent log`, `bitmap`, `tail`, `blank` or `unknown`.
    pub kind: &'static str,
    /// Fields in the order of the page.
    pub fields: Vec<(&'static str, Value)>,
    /// What is wrong, worst first; empty for a sound page.
    pub damage: Vec<Damage>,
}

impl Explanation {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        let fields: Map<String, Value> =
            self.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let damage: Vec<String> = self.damage.iter().map(Damage::to_string).collect();
        json!({
            "page": self.address,
            "kind": self.kind,
            "sound": self.damage.is_empty(),
            "damage": damage,
            "fields": fields,
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.damage.is_empty() { "sound" } else { "DAMAGED" };
        writeln!(f, "page {}: {}, {state}", self.address, self.kind)?;
        for damage in &self.damage {
            writeln!(f, "  ! {damage}")?;
        }
        for (name, value) in &self.fields {
            match value {
                Value::String(text) => writeln!(f, "  {name:<16} {text}")?,
                other => writeln!(f, "  {name:<16} {other}")?,
            }
        }
        Ok(())
    }
}

/// Explains a page of a cluster partition, found at `address`.
pub fn explain(page: &Page, address: u64) -> Explanation {
    let blank = page.iter().all(|byte| *byte == 0);
    let raw = checksum::raw(page);
    let mut out = Explanation { address, kind: "unknown", fields: Vec::new(), damage: Vec::new() };
    match raw {
        Some(raw) => explain_sealed(page, address, &raw, &mut out),
        None if log_page::is_log_page(page) => explain_log(page, address, &mut out),
        None => {
            out.kind = if blank { "blank" } else { "unknown" };
            out.damage.push(if blank { Damage::Blank } else { Damage::Magic });
        }
    }
    out
}

fn explain_sealed(page: &Page, address: u64, raw: &RawSeal, out: &mut Explanation) {
    out.fields.extend([
        ("version", json!(raw.version)),
        ("slot", json!(raw.slot)),
        ("checksum", json!(format!("{:08x}", raw.crc))),
        ("address", json!(raw.address)),
        ("volume", json!(raw.volume)),
        ("sequence", json!(raw.sequence)),
    ]);
    if raw.kind == PageKind::Superblock as u8 {
        out.kind = "superblock";
        let slot = u8::from(address == SUPERBLOCK_PAGES[1]);
        note(checksum::check(page, PageKind::Superblock, slot, address), out);
        // The body may still read when only the seal is bad.
        let (kind, slot) = (PageKind::Superblock, raw.slot);
        let (address, volume, sequence) = (raw.address, raw.volume, raw.sequence);
        let seal = checksum::Seal { kind, slot, address, volume, sequence };
        if let Some(superblock) = note(superblock_bytes::get_body(page, &seal), out) {
            superblock_fields(&superblock, out);
        }
    } else if raw.kind == PageKind::Bitmap as u8 {
        out.kind = "bitmap";
        note(checksum::check(page, PageKind::Bitmap, 0, address), out);
        let bits = &page[PAGE_BYTES - WORDS_PER_PAGE * 8..];
        let dirty: u64 = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        out.fields.push(("dirty_blocks", json!(dirty)));
        out.fields.push(("blocks", json!(BLOCKS_PER_PAGE)));
    } else if raw.kind == PageKind::Tail as u8 {
        out.kind = "tail";
        let slot = u8::from(address == 1);
        if let Some(tail) = note(Tail::decode(page, slot), out) {
            out.fields.push(("node", json!(tail.node)));
            out.fields.push(("pair_tag", json!(tail.pair_tag)));
            out.fields.push(("life", json!(tail.life)));
        }
    } else {
        out.damage.push(Damage::Kind { found: raw.kind });
    }
}

/// Keeps the damage, hands on the value. The same damage is told once.
fn note<T>(result: Result<T, Damage>, out: &mut Explanation) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(damage) => {
            if !out.damage.contains(&damage) {
                out.damage.push(damage);
            }
            None
        }
    }
}

fn superblock_fields(sb: &Superblock, out: &mut Explanation) {
    let layout = sb.layout();
    out.fields.extend([
        ("cluster", json!(sb.cluster)),
        ("group", json!(sb.group)),
        ("node", json!(sb.node)),
        ("size", json!(sb.size)),
        ("intent_regions", json!(sb.intent_regions)),
        ("pair_tag", json!(sb.pair_tag)),
        ("tail_offset", json!(sb.tail_offset)),
        ("serial", json!(sb.serial)),
        ("life", json!(sb.life)),
        ("life_heard", json!(sb.life_heard)),
        ("disk", json!(sb.disk)),
        ("needs_full", json!(sb.needs_full)),
        ("diverged", json!(sb.diverged)),
        ("generation", json!(sb.generation)),
        ("base", json!(sb.base)),
        ("history", json!(sb.history)),
        ("primary_boot", json!(sb.primary_boot)),
        ("mark", json!(sb.mark)),
        ("record", json!(sb.record)),
        ("attempts", json!(sb.attempts)),
        ("log_pages", json!([layout.log_first(), layout.log_pages()])),
        ("bitmap_pages", json!([layout.bitmap_first(), layout.bitmap_pages()])),
        ("total_pages", json!(layout.total_pages())),
    ]);
}

fn explain_log(page: &Page, address: u64, out: &mut Explanation) {
    out.kind = "intent log";
    let mut sectors = Vec::new();
    let mut seals = Vec::new();
    for number in (0u8..).take(SECTORS) {
        match log_page::sector(page, number) {
            Ok(seal) => {
                sectors.push(json!({
                    "sequence": seal.sequence,
                    "whole": format!("{:08x}", seal.whole),
                }));
                if seal.address != address {
                    let found = seal.address;
                    note::<()>(Err(Damage::Address { expected: address, found }), out);
                }
                seals.push(seal);
            }
            Err(damage) => {
                let at = usize::from(number) * SECTOR_BYTES;
                sectors.push(json!({ "damage": damage.to_string(), "at": at }));
                note::<()>(Err(damage), out);
            }
        }
    }
    out.fields.push(("sectors", Value::Array(sectors)));
    let Some(first) = seals.first().copied() else { return };
    out.fields.push(("volume", json!(first.volume)));
    if seals.iter().any(|seal| *seal != first) {
        // Not damage by itself: a power loss leaves this, and the transaction did not happen.
        out.fields.push(("torn", json!(true)));
        return;
    }
    if seals.len() < SECTORS {
        return;
    }
    if let Some(found) = note(log_page::parse_body(page, first.sequence, first.whole), out) {
        let entry = |region: u32| if region == log_page::FREE { None } else { Some(region) };
        let updates: Vec<Value> =
            found.updates.iter().map(|u| json!([u.slot, entry(u.region)])).collect();
        let hot: Vec<u32> = found.window.iter().filter_map(|region| entry(*region)).collect();
        out.fields.extend([
            ("sequence", json!(found.sequence)),
            ("since", json!(found.since)),
            ("capacity", json!(found.capacity)),
            ("lost", json!(found.lost)),
            ("updates", Value::Array(updates)),
            ("window_first", json!(found.window_first)),
            ("window_entries", json!(found.window.len())),
            ("window_regions", json!(hot)),
        ]);
    }
}
