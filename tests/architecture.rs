//! The rules of the tree, as tests: who may import whom, how long things may be, which words are
//! refused, and why each dependency is there. Each rule has one test over the tree and one over
//! bad samples, so that no rule can pass by seeing nothing.

// Helpers of tests may end in a panic, as tests do.
#![allow(clippy::unwrap_used)]

#[path = "architecture/docs.rs"]
mod docs;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/manifest.rs"]
mod manifest;
#[path = "architecture/size.rs"]
mod size;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/words.rs"]
mod words;

use source::{Source, Tree};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Crates that dependencies of ours force on us in two versions. Only ever shrinks.
///
/// - `syn`: derive macros move to its third version one by one; it runs at build time only.
/// - `getrandom`: `ring`, which TLS is built on, still asks for an earlier one.
/// - `windows-sys`: the same; it is locked and never built here.
const DUPLICATES: &[&str] = &["getrandom", "syn", "windows-sys"];

/// Licences that go with Apache-2.0.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "Unicode-3.0",
    "MIT-0",
    "Apache-2.0 WITH LLVM-exception",
];

/// Order of the README.
const HEADINGS: &[&str] = &[
    "Picture",
    "Promises",
    "The two commands",
    "Two nodes of your own",
    "A cluster in one file",
    "The volume as a block device",
    "How to read `status`",
    "When something fails",
    "Limits we do not cross",
    "Building",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(top().join(name)).unwrap()
}

fn tree() -> Tree {
    let tree = Tree::read(top());
    assert!(tree.product().count() > 20, "the tree was not found at {}", top().display());
    tree
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[track_caller]
fn caught(faults: &[String], expected: &[&str]) {
    let shown = faults.join("\n");
    assert_eq!(faults.len(), expected.len(), "expected {expected:?}, found:\n{shown}");
    for part in expected {
        assert!(shown.contains(part), "no fault speaks of {part:?}:\n{shown}");
    }
}

fn crates() -> BTreeSet<String> {
    manifest::crates(&text("Cargo.toml"))
}

#[test]
fn rooms_import_only_what_the_design_allows() {
    none(&imports::check(&tree(), &crates()));
}

#[test]
fn every_file_opens_with_its_contract() {
    none(&words::heads(&tree()));
}

#[test]
fn unsafe_code_lives_in_two_files() {
    none(&words::unsafe_code(&tree()));
}

#[test]
fn banned_words_do_not_appear() {
    none(&words::banned(&tree()));
}

#[test]
fn nothing_is_marked_as_unfinished() {
    none(&words::unfinished(&tree()));
}

#[test]
fn mutants_are_compiled_in_at_one_place_per_room() {
    none(&words::mutants(&tree()));
}

#[test]
fn lines_fit_the_columns() {
    none(&size::columns(&tree()));
}

#[test]
fn files_are_no_longer_than_the_budget() {
    none(&size::files(&tree()));
}

#[test]
fn functions_are_no_longer_than_the_budget() {
    none(&size::functions(&tree(), size::LONG_FUNCTIONS));
}

#[test]
fn most_files_are_short() {
    none(&size::spread(&tree()));
}

#[test]
fn every_dependency_has_a_reason() {
    none(&manifest::reasons(&text("Cargo.toml")));
}

#[test]
fn versions_stand_in_the_root_manifest_alone() {
    let members = ["nbd/Cargo.toml", "engine/Cargo.toml", "ctl/Cargo.toml", "ctl/aws/Cargo.toml"];
    for path in ["Cargo.toml"].into_iter().chain(members) {
        none(&manifest::versions(path, &text(path)));
    }
}

#[test]
fn the_top_level_holds_what_the_design_says() {
    let entries = fs::read_dir(top()).unwrap();
    let names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    none(&manifest::top_level(&names));
}

#[test]
fn no_dependency_is_there_in_two_versions() {
    none(&manifest::duplicates(&text("Cargo.lock"), DUPLICATES));
}

#[test]
fn every_dependency_has_a_licence_that_fits() {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform, "--manifest-path"])
        .arg(top().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 10, "cargo metadata named {} packages", packages.len());
    let faults: Vec<String> = packages
        .iter()
        .filter(|p| !licence_fits(p["license"].as_str().unwrap_or("")))
        .map(|p| format!("{}: licence {} is not one of {LICENCES:?}", p["name"], p["license"]))
        .collect();
    none(&faults);
}

#[test]
fn every_promise_names_a_test_that_exists_or_says_unproven() {
    let readme = text("README.md");
    none(&docs::tests_named(&readme, |name| top().join(name).is_file()));
    none(&docs::promises_without_proof(&readme));
}

#[test]
fn readme_keeps_its_order_and_every_failure_has_its_section() {
    let readme = text("README.md");
    none(&docs::order(&readme, HEADINGS));
    none(&docs::sections_named(&readme, &text("ctl/RUNBOOK.md")));
}

/// One way of the alternatives must be made of known licences alone.
fn licence_fits(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" OR ").any(|way| way.split(" AND ").all(|l| LICENCES.contains(&l.trim())))
}

// The rules on bad samples.

#[test]
fn a_licence_that_does_not_fit_is_seen() {
    assert!(licence_fits("MIT OR GPL-3.0"));
    assert!(licence_fits("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!licence_fits("GPL-3.0-only"));
    assert!(!licence_fits("MIT AND GPL-2.0"));
    assert!(!licence_fits(""));
}

#[test]
fn an_import_across_rooms_is_seen() {
    let bad = Tree::of(&[
        ("engine/src/replica/write.rs", "use crate::uring::Ring;\n"),
        ("engine/src/wire/header.rs", "use crate::{units, replica::{state::Role, Replica}};\n"),
        ("engine/src/format/layout.rs", "fn f() { crate::node::run(); }\n"),
        ("engine/src/uring/disk.rs", "use super::super::wire::Header;\n"),
        ("nbd/src/protocol/mod.rs", "use libc::c_int;\n"),
        ("ctl/src/decide/plan.rs", "use lockstep_engine::replica::Replica;\nuse tokio::time;\n"),
        ("ctl/src/act/arbiter.rs", "use crate::daemon;\n"),
        ("engine/src/node/mod.rs", "type X = lockstep_ctl::Y;\n"),
        ("ctl/src/act/aws.rs", "use aws_sdk_ec2::Client;\n"),
        ("ctl/src/cli/aws.rs", "use lockstep_aws::Aws;\n"),
        ("ctl/aws/src/open.rs", "use lockstep_ctl::config;\nuse tokio::net;\n"),
    ]);
    let expected = [
        "engine/replica must not import crate::uring::Ring",
        "crate::replica::state::Role",
        "crate::replica::Replica",
        "engine/format must not import crate::node",
        "engine/uring must not import crate::wire::Header",
        "nbd/protocol must not use libc",
        "ctl/decide must not use lockstep_engine::replica::Replica",
        "ctl/decide must not use tokio::time",
        "ctl/act must not import crate::daemon",
        "engine/node must not use lockstep_ctl",
        "ctl/act must not use aws_sdk_ec2::Client",
        "ctl/cli must not use lockstep_aws::Aws",
        "ctl/aws must not use lockstep_ctl::config",
        "ctl/aws must not use tokio::net",
    ];
    caught(&imports::check(&bad, &crates()), &expected);
}

#[test]
fn a_clock_in_a_pure_room_is_seen() {
    let bad = Tree::of(&[
        ("engine/src/replica/timers.rs", "use std::time::Instant;\n"),
        ("nbd/src/protocol/option.rs", "use std::{fmt, io::{self, Read}};\n"),
        ("ctl/src/decide/view.rs", "fn f() { std::thread::spawn(|| ()); }\n"),
    ]);
    let expected = ["std::time::Instant", "std::io", "std::io::Read", "std::thread::spawn"];
    caught(&imports::check(&bad, &crates()), &expected);
}

#[test]
fn a_file_in_no_room_is_seen() {
    let bad = Tree::of(&[("engine/src/helpers.rs", "\n")]);
    caught(&imports::check(&bad, &crates()), &["is in no room"]);
}

#[test]
fn allowed_imports_comments_strings_and_tests_are_not_faults() {
    let good = Tree::of(&[
        (
            "engine/src/replica/write.rs",
            "use crate::units::{self, Lba};\nuse super::overlap::Lock;\n\
             use crate::wire::Message;\n\
             // use crate::uring::Ring;\n/* crate::node::x /* nested */ crate::uring */\n\
             const S: &str = \"std::time::Instant // crate::node::x\";\n\
             const R: &str = r#\"crate::uring \"quoted\" \"#;\nconst C: char = '\"';\n\
             fn f<'a>(x: &'a u8) -> u8 { x.max(b'\\'') }\n\
             #[cfg(test)]\nmod tests {\n    use crate::uring::Ring;\n    \
             use std::time::Instant;\n}\n",
        ),
        ("engine/src/replica/mod.rs", "pub mod write;\n#[cfg(test)]\nmod tests;\n"),
        ("engine/src/replica/tests.rs", "use std::thread;\n"),
        ("ctl/src/decide/mod.rs", "use lockstep_engine::{limits::Times, units::Epoch};\n"),
    ]);
    none(&imports::check(&good, &crates()));
}

#[test]
fn a_banned_word_is_seen_and_its_replacement_named() {
    let bad = Tree::of(&[
        ("engine/src/node/mod.rs", "fn f() { todo!() }\nfn g() { std::thread::sleep(d); }\n"),
        ("engine/src/replica/state.rs", "fn f() { HashMap::new(); }\n"),
        ("nbd/src/client.rs", "fn f() { println!(); x.unwrap(); }\n"),
        ("tests/x.rs", "fn f() { dbg!(1); y.unwrap(); println!(); }\n"),
        ("ctl/src/cli/mod.rs", "fn f() { println!(); my_todo!(); }\n"),
    ]);
    let expected = ["todo!", "thread::sleep", "HashMap", "println!", ".unwrap()", "dbg!"];
    caught(&words::banned(&bad), &expected);
}

#[test]
fn a_mark_of_unfinished_work_is_seen() {
    let bad = Tree::of(&[("engine/src/error.rs", "//! Head.\n// FIXME later\nfn fixme() {}\n")]);
    caught(&words::unfinished(&bad), &["engine/src/error.rs:2"]);
}

#[test]
fn unsafe_code_elsewhere_is_seen() {
    let bad = Tree::of(&[
        ("engine/src/node/mod.rs", "fn f() { unsafe { g() } }\n"),
        ("engine/src/uring/a.rs", "fn f() { unsafe { g() } }\n"),
        ("engine/src/uring/b.rs", "fn f() { unsafe { g() } }\n// unsafe\n"),
        ("engine/src/uring/c.rs", "// unsafe\n#![deny(unsafe_op_in_unsafe_fn)]\n"),
    ]);
    let expected = ["engine/src/node/mod.rs: `unsafe`", "`unsafe` in 3 files"];
    caught(&words::unsafe_code(&bad), &expected);
}

#[test]
fn a_missing_head_is_seen() {
    let bad = Tree::of(&[
        ("engine/src/a.rs", "use std::fmt;\n"),
        ("engine/src/b.rs", "//!\nuse std::fmt;\n"),
        ("engine/src/c.rs", "//! Owns c.\n"),
    ]);
    caught(&words::heads(&bad), &["engine/src/a.rs", "engine/src/b.rs"]);
}

#[test]
fn a_mutant_outside_its_file_is_seen() {
    let bad = Tree::of(&[
        ("engine/src/replica/write.rs", "#[cfg(lockstep_mutants)]\nfn f() {}\n"),
        ("engine/src/replica/mutant.rs", "#[cfg(lockstep_mutants)]\nfn f() {}\n"),
    ]);
    caught(&words::mutants(&bad), &["engine/src/replica/write.rs:1"]);
}

#[test]
fn sizes_over_the_budget_are_seen() {
    let wide = format!("// {}\n", "x".repeat(size::COLUMNS_MAX));
    let long = "// line\n".repeat(size::FILE_LINES_MAX + 1);
    let body = "    x();\n".repeat(size::FUNCTION_LINES_MAX);
    let function = format!("fn big(a: [u8; 2]) {{\n{body}}}\nfn small() {{}}\n");
    let tree = Tree::of(&[
        ("engine/src/a.rs", &wide),
        ("engine/src/b.rs", &long),
        ("engine/src/c.rs", &function),
        ("engine/src/d.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}{function}}}\n")),
    ]);
    caught(&size::columns(&tree), &["engine/src/a.rs:1: 103 columns"]);
    caught(&size::files(&tree), &["engine/src/b.rs: 801 lines"]);
    caught(&size::functions(&tree, &[]), &["engine/src/c.rs::big: 72 lines"]);
    none(&size::functions(&tree, &[("engine/src/c.rs::big", 72)]));
    let growing = [("engine/src/c.rs::big", 71)];
    assert!(size::functions(&tree, &growing)[0].contains("may only shrink"));
    let idle = [("engine/src/c.rs::big", 80), ("engine/src/c.rs::small", 90)];
    caught(&size::functions(&tree, &idle), &["big = 80", "small = 90"]);
}

#[test]
fn a_tree_of_long_files_is_seen() {
    let long = "// line\n".repeat(600);
    let samples: Vec<(String, &str)> =
        (0..10).map(|n| (format!("engine/src/f{n}.rs"), long.as_str())).collect();
    let samples: Vec<(&str, &str)> = samples.iter().map(|(p, t)| (p.as_str(), *t)).collect();
    caught(&size::spread(&Tree::of(&samples)), &["median file has 600", "longer than 600"]);
}

#[test]
fn a_dependency_without_reason_or_with_its_own_version_is_seen() {
    let root = "[workspace.dependencies]\nown = { path = \"own\" }\n# Why it is here.\n\
                serde = \"1\"\nserde_json = \"1\"\ntoml = \"1\"\n# Short.\nlibc = \"0.2\"\n\n\
                [profile.test]\nopt = 1\n";
    caught(&manifest::reasons(root), &["`toml`", "`libc`"]);
    let names: Vec<String> = manifest::crates(root).into_iter().collect();
    assert_eq!(names, ["libc", "own", "serde", "serde_json", "toml"]);
    let member = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n\
                  c = { workspace = true, optional = true }\n\
                  [dev-dependencies.d]\nversion = \"1\"\n";
    caught(&manifest::versions("x/Cargo.toml", member), &["`b = \"1\"`", "[dev-dependencies.d]"]);
}

#[test]
fn strangers_and_duplicates_are_seen() {
    let names = ["Cargo.toml", ".ci", "target-mutants", "notes.md"].map(str::to_owned);
    caught(&manifest::top_level(&names), &["notes.md"]);
    let lock = "name = \"a\"\nname = \"b\"\nname = \"a\"\n";
    caught(&manifest::duplicates(lock, &["b"]), &["`a` is there in two", "`b` is no longer"]);
}

#[test]
fn promises_and_links_to_nothing_are_seen() {
    let bad = "## Promises\n\n| p | n | t |\n|---|---|---|\n| a | 1 | `tests/a.rs` |\n\
               | b | 2 | soon |\n| c | 3 | unproven |\n## Z\n[x](ctl/RUNBOOK.md#no-such)\n";
    caught(&docs::tests_named(bad, |_| false), &["tests/a.rs"]);
    caught(&docs::promises_without_proof(bad), &["| b | 2 | soon |"]);
    caught(&docs::sections_named(bad, "## Link lost\n"), &["no-such", "link-lost"]);
    caught(&docs::order(bad, HEADINGS), &["\"Z\""]);
}

#[test]
fn tests_are_marked_and_counted_apart() {
    let file = Source::parse(
        "engine/src/x.rs",
        "//! X.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn b() {}\n}\nfn c() {}\n",
    );
    assert_eq!(file.test, [false, false, true, true, true, true, true, false]);
    assert_eq!(file.length(), 3);
    let own: Vec<(String, usize)> = size::functions_of(&file);
    assert_eq!(own, [("a".to_owned(), 1), ("c".to_owned(), 1)]);
}

// The build id.

#[test]
fn the_build_id_is_a_hash_and_part_of_the_version() {
    assert_eq!(lockstep_nbd::BUILD_ID.len(), 32);
    assert!(lockstep_nbd::BUILD_ID.chars().all(|c| c.is_ascii_hexdigit()));
    assert!(lockstep_nbd::VERSION.contains(lockstep_nbd::BUILD_ID));
}

#[test]
fn a_program_of_another_build_is_refused() {
    let refused = harness::bins::check(Path::new("/bin/echo")).unwrap_err();
    assert!(refused.to_string().contains("run cargo build --bins first"), "{refused}");
    let missing = harness::bins::check(Path::new("/nonexistent/lockstep")).unwrap_err();
    assert!(missing.to_string().contains("run cargo build --bins first"), "{missing}");
}
