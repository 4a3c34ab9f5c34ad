//! What the documents name must be there: a promise without its test, or a failure without its
//! section, is worse than a promise that says it is unproven.

use std::collections::BTreeSet;

/// Test files that a text names but that `exists` does not know.
pub fn tests_named(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let names: BTreeSet<&str> =
        text.split('`').filter(|t| t.starts_with("tests/") && t.ends_with(".rs")).collect();
    names
        .into_iter()
        .filter(|n| !exists(n))
        .map(|n| format!("README.md names {n}, which does not exist; say `unproven` until it does"))
        .collect()
}

/// Rows of the table of promises with neither a test nor the word `unproven`.
pub fn promises_without_proof(text: &str) -> Vec<String> {
    let rows = text.lines().skip_while(|l| *l != "## Promises").skip(1);
    let rows = rows.take_while(|l| !l.starts_with("## ")).filter(|l| l.starts_with('|')).skip(2);
    rows.filter(|l| !l.contains("`tests/") && !l.contains("unproven"))
        .map(|l| format!("README.md: no test and no `unproven` in the row {l}"))
        .collect()
}

/// Links of `text` to a section of the runbook that is not there.
pub fn sections_named(text: &str, runbook: &str) -> Vec<String> {
    let there: BTreeSet<String> = runbook
        .lines()
        .filter_map(|l| l.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let links: Vec<&str> =
        text.split("(ctl/RUNBOOK.md#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let mut faults: Vec<String> = links
        .iter()
        .filter(|l| !there.contains(**l))
        .map(|l| format!("README.md links to ctl/RUNBOOK.md#{l}, which is no section"))
        .collect();
    let orphans = there.iter().filter(|t| !links.contains(&t.as_str()));
    faults.extend(orphans.map(|t| format!("ctl/RUNBOOK.md#{t}: README.md has no row for it")));
    faults
}

/// Headings in another order than that of a README here.
pub fn order(text: &str, headings: &[&str]) -> Vec<String> {
    let found: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("## ")).collect();
    if found == headings {
        return Vec::new();
    }
    vec![format!("README.md has the headings {found:?}, not {headings:?}")]
}
