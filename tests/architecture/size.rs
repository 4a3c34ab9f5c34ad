//! The size budget: columns, lines of a file, lines of a function, and how long files usually are.
//! The lists of exceptions are ratchets: an entry that is no longer needed, or that allows more
//! than there is, is a fault too.

use crate::source::{Source, Tree, closing};

/// Columns of a line.
pub const COLUMNS_MAX: usize = 100;
/// Lines of a file that are not tests.
pub const FILE_LINES_MAX: usize = 800;
/// Lines of a function, from its name to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Half of the files are no longer than this.
pub const MEDIAN_MAX: usize = 200;
/// Nine in ten files are no longer than this.
pub const P90_MAX: usize = 500;

/// Functions that may be longer, as (`file::function`, lines). Only ever shrinks.
pub const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Lines wider than the budget. Text that cannot be broken (a link, a vector) is no excuse: move it
/// to a file of its own.
pub fn columns(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &tree.files {
        for (n, line) in file.raw.iter().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                faults.push(format!(
                    "{}:{}: {columns} columns, at most {COLUMNS_MAX}; run cargo fmt, break strings \
                     and comments by hand",
                    file.path,
                    n + 1
                ));
            }
        }
    }
    faults
}

/// Files that are too long.
pub fn files(tree: &Tree) -> Vec<String> {
    let long = tree.files.iter().filter(|f| f.length() > FILE_LINES_MAX);
    long.map(|f| {
        format!(
            "{}: {} lines without tests, at most {FILE_LINES_MAX}; split it by concern",
            f.path,
            f.length()
        )
    })
    .collect()
}

/// Functions that are too long, and exceptions that have become idle.
pub fn functions(tree: &Tree, allowed: &[(&str, usize)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = vec![false; allowed.len()];
    for file in tree.files.iter().filter(|f| f.is_product() || is_harness(f)) {
        for (name, lines) in functions_of(file) {
            if lines <= FUNCTION_LINES_MAX {
                continue;
            }
            let key = format!("{}::{name}", file.path);
            match allowed.iter().position(|(k, _)| *k == key) {
                Some(n) if lines <= allowed[n].1 => used[n] = lines == allowed[n].1,
                Some(n) => faults.push(format!(
                    "{key}: {lines} lines, its exception says {}; it may only shrink",
                    allowed[n].1
                )),
                None => faults.push(format!(
                    "{key}: {lines} lines, at most {FUNCTION_LINES_MAX}; give a step of it a name"
                )),
            }
        }
    }
    for ((key, lines), _) in allowed.iter().zip(&used).filter(|(_, used)| !**used) {
        faults.push(format!(
            "LONG_FUNCTIONS allows {key} = {lines}, more than it needs; lower it or drop it"
        ));
    }
    faults
}

/// Median and ninth decile of the lengths.
pub fn spread(tree: &Tree) -> Vec<String> {
    let mut lengths: Vec<usize> =
        tree.files.iter().filter(|f| f.is_product() || is_harness(f)).map(Source::length).collect();
    lengths.sort_unstable();
    let Some(last) = lengths.len().checked_sub(1) else { return Vec::new() };
    let (median, p90) = (lengths[last / 2], lengths[last * 9 / 10]);
    let mut faults = Vec::new();
    if median > MEDIAN_MAX {
        faults.push(format!("median file has {median} lines, at most {MEDIAN_MAX}"));
    }
    if p90 > P90_MAX {
        faults.push(format!("one file in ten is longer than {p90} lines, at most {P90_MAX}"));
    }
    faults
}

fn is_harness(file: &Source) -> bool {
    file.path.starts_with("tests/harness/")
}

/// Functions outside tests with their lengths, from the line of `fn` to the closing brace.
pub fn functions_of(file: &Source) -> Vec<(String, usize)> {
    let tokens = file.tokens();
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(1) {
        let name = &tokens[at + 1].text;
        let named = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if tokens[at].text != "fn" || !named || file.test[tokens[at].line] {
            continue;
        }
        let mut i = at;
        while i < tokens.len() && tokens[i].text != "{" && tokens[i].text != ";" {
            i = if matches!(tokens[i].text.as_str(), "(" | "[") { closing(&tokens, i) } else { i };
            i += 1;
        }
        if tokens.get(i).is_some_and(|t| t.text == "{") {
            let end = closing(&tokens, i);
            found.push((name.clone(), tokens[end].line - tokens[at].line + 1));
        }
    }
    found
}
