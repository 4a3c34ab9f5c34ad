//! The manifests and the top level: each dependency has a reason, versions stand in one place, and
//! nothing new appears at the top of the tree by accident.

use std::collections::BTreeSet;

/// What may stand at the top level. Tool settings live in dotfiles or in the root manifest.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "benches",
    "ctl",
    "engine",
    "nbd",
    "scripts",
    "tests",
];

/// Dependencies of the workspace without a reason in the line above. A name that continues the one
/// above it (`serde_json` after `serde`) shares its reason; members need none.
pub fn reasons(root: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut reason = false;
    let mut explained = String::new();
    for line in section(root, "[workspace.dependencies]") {
        if line.starts_with('#') {
            reason = line.trim_start_matches('#').split_whitespace().count() >= 2;
            explained.clear();
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            reason = false;
            continue;
        };
        let name = name.trim();
        let kin = !explained.is_empty()
            && name.strip_prefix(&explained).is_some_and(|r| r.starts_with(['-', '_']));
        if reason {
            explained = name.to_owned();
        } else if !kin && !value.contains("path =") {
            faults.push(format!(
                "Cargo.toml: dependency `{name}` has no reason; write one in a comment above it"
            ));
        }
        reason = false;
    }
    faults
}

/// Dependencies that a member declares for itself instead of taking them from the workspace.
pub fn versions(path: &str, manifest: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && line != "[workspace.dependencies]";
            if line.contains("dependencies.") && !line.starts_with("[workspace.") {
                faults.push(format!("{path}: `{line}`: write `name.workspace = true` instead"));
            }
            continue;
        }
        let plain = line.is_empty() || line.starts_with('#');
        if inside && !plain && !line.replace(' ', "").contains("workspace=true") {
            faults.push(format!(
                "{path}: `{line}`: versions stand in the root manifest; write \
                 `name.workspace = true`"
            ));
        }
    }
    faults
}

/// Names of all dependencies as code writes them.
pub fn crates(root: &str) -> BTreeSet<String> {
    section(root, "[workspace.dependencies]")
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once('='))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

/// Strangers at the top level.
pub fn top_level(names: &[String]) -> Vec<String> {
    let strangers = names.iter().filter(|n| !n.starts_with('.') && !n.starts_with("target"));
    strangers
        .filter(|n| !TOP.contains(&n.as_str()) && !n.ends_with(".log"))
        .map(|n| {
            format!(
                "{n}: does not belong at the top level; DESIGN §2 has the list, tools take dotfiles"
            )
        })
        .collect()
}

/// Crates that are locked in more than one version, beyond those that are known.
pub fn duplicates(lock: &str, known: &[&str]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for name in lock.lines().filter_map(|l| l.strip_prefix("name = ")) {
        let name = name.trim_matches('"');
        if !seen.insert(name) {
            twice.insert(name);
        }
    }
    let fresh = twice.iter().filter(|n| !known.contains(n));
    let mut faults: Vec<String> = fresh
        .map(|n| {
            format!("Cargo.lock: `{n}` is there in two versions; choose dependencies that agree")
        })
        .collect();
    let idle = known.iter().filter(|n| !twice.contains(*n));
    faults.extend(idle.map(|n| format!("`{n}` is no longer there twice; drop it from the list")));
    faults
}

fn section<'a>(manifest: &'a str, head: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().map(str::trim).skip_while(move |l| *l != head).skip(1);
    lines.take_while(|l| !l.starts_with('['))
}
