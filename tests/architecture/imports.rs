//! Which room may import which. The table is that of the design; a file in no room is refused, so
//! that a new room is entered here by somebody who has thought about its neighbours.

use crate::source::{Source, Token, Tree};
use std::collections::BTreeSet;

/// What may be named.
pub enum May {
    /// These and nothing else.
    Only(&'static [&'static str]),
    /// Everything else.
    AllBut(&'static [&'static str]),
}

impl May {
    fn allows(&self, path: &str) -> bool {
        let hit =
            |list: &[&str]| list.iter().any(|e| path == *e || path.starts_with(&format!("{e}::")));
        match self {
            May::Only(list) => hit(list),
            May::AllBut(list) => !hit(list),
        }
    }
}

/// A room: a file or a folder of one crate.
pub struct Room {
    /// Crate folder and module, such as `engine/replica`.
    pub at: &'static str,
    /// Other rooms of the same crate.
    pub rooms: May,
    /// Other crates, by the name that code uses; `crate::module` allows one module.
    pub crates: May,
    /// Whether the room must work without clock, disk, network, threads and environment.
    pub pure: bool,
}

/// Parts of the standard library that a pure room does without.
const IMPURE_STD: &[&str] =
    &["io", "net", "time", "fs", "thread", "process", "env", "os", "sync::mpsc", "sync::Mutex"];

const NOTHING: May = May::Only(&[]);
const SDK: May = May::AllBut(&[
    "aws_config",
    "aws_credential_types",
    "aws_sdk_ec2",
    "aws_sdk_dynamodb",
    "aws_smithy_http_client",
    "lockstep_aws",
]);
/// Words of the engine, and the text of the record; nothing that acts.
const DECIDE: May =
    May::Only(&["lockstep_engine::units", "lockstep_engine::limits", "serde", "serde_json"]);
const ENGINE_CRATES: May = May::AllBut(&["lockstep_ctl", "tokio", "io_uring"]);

/// The table.
pub const ROOMS: &[Room] = &[
    Room { at: "nbd/protocol", rooms: NOTHING, crates: NOTHING, pure: true },
    Room { at: "nbd/build_id", rooms: NOTHING, crates: NOTHING, pure: true },
    Room { at: "nbd/client", rooms: May::Only(&["protocol"]), crates: NOTHING, pure: false },
    Room {
        at: "nbd/device",
        rooms: May::Only(&["protocol"]),
        crates: May::Only(&[
            "netlink_packet_core",
            "netlink_packet_generic",
            "netlink_sys",
            "rustix",
        ]),
        pure: false,
    },
    Room { at: "nbd/lib", rooms: May::AllBut(&[]), crates: NOTHING, pure: false },
    Room {
        at: "engine/units",
        rooms: May::Only(&["limits"]),
        crates: May::Only(&["serde"]),
        pure: true,
    },
    Room { at: "engine/limits", rooms: May::Only(&["units"]), crates: NOTHING, pure: true },
    Room {
        at: "engine/format",
        rooms: May::Only(&["units", "limits"]),
        // JSON for what `inspect` explains.
        crates: May::Only(&["crc32fast", "blake3", "serde_json"]),
        pure: true,
    },
    Room {
        at: "engine/wire",
        rooms: May::Only(&["units", "limits"]),
        crates: May::Only(&["crc32fast", "blake3", "hmac", "sha2"]),
        pure: true,
    },
    Room {
        at: "engine/replica",
        rooms: May::Only(&["units", "limits", "format", "wire"]),
        crates: NOTHING,
        pure: true,
    },
    Room {
        at: "engine/uring",
        rooms: May::Only(&["units", "limits"]),
        // A line when the kernel lacks something, never one per operation.
        crates: May::Only(&["io_uring", "libc", "tracing"]),
        pure: false,
    },
    Room {
        at: "engine/admin",
        rooms: May::Only(&["units"]),
        crates: May::Only(&["serde", "serde_json"]),
        pure: true,
    },
    Room {
        at: "engine/config",
        // The shape of the key is the greeting's; the file that holds it is configuration.
        rooms: May::Only(&["units", "limits", "replica::settings", "format", "wire::greeting"]),
        crates: May::Only(&["serde", "toml", "blake3"]),
        pure: false,
    },
    Room {
        at: "engine/error",
        // The causes that it wraps.
        rooms: May::Only(&[
            "units", "limits", "format", "config", "device", "uring", "replica", "wire",
        ]),
        crates: May::Only(&["lockstep_nbd"]),
        pure: false,
    },
    Room {
        at: "engine/device",
        rooms: May::Only(&["units", "limits", "format", "config", "uring"]),
        crates: May::Only(&["libc"]),
        pure: false,
    },
    Room {
        at: "engine/offline",
        rooms: May::AllBut(&["node", "replica", "wire", "main"]),
        crates: ENGINE_CRATES,
        pure: false,
    },
    Room { at: "engine/node", rooms: May::AllBut(&["main"]), crates: ENGINE_CRATES, pure: false },
    Room { at: "engine/lib", rooms: May::AllBut(&[]), crates: NOTHING, pure: true },
    Room { at: "engine/main", rooms: May::AllBut(&[]), crates: ENGINE_CRATES, pure: false },
    Room { at: "ctl/decide", rooms: NOTHING, crates: DECIDE, pure: true },
    Room { at: "ctl/act", rooms: May::AllBut(&["daemon", "cli"]), crates: ACT, pure: false },
    // HTTP on top of what the daemon knows; it decides nothing and touches no engine.
    Room {
        at: "ctl/api",
        rooms: May::Only(&["act::clock", "act::events", "config", "decide", "exit", "status"]),
        crates: SDK,
        pure: false,
    },
    Room { at: "ctl/cli", rooms: May::AllBut(&[]), crates: SDK, pure: false },
    // The demonstration speaks the daemon's language as an operator does; it decides nothing.
    Room { at: "ctl/demo", rooms: May::AllBut(&["decide"]), crates: SDK, pure: false },
    // It asks the daemon as an operator does, and looks at the host; it changes nothing.
    Room { at: "ctl/doctor", rooms: May::AllBut(&["demo"]), crates: SDK, pure: false },
    Room { at: "ctl/exit", rooms: NOTHING, crates: NOTHING, pure: false },
    Room {
        at: "ctl/config",
        rooms: May::Only(&["decide", "act::arbiter", "act::resource::spec", "act::probe::spec"]),
        crates: May::Only(&["lockstep_engine", "serde", "toml"]),
        pure: false,
    },
    Room {
        at: "ctl/status",
        rooms: May::Only(&["decide", "config", "act"]),
        crates: May::Only(&["lockstep_engine", "serde", "serde_json", "comfy_table"]),
        pure: false,
    },
    Room { at: "ctl/daemon", rooms: May::AllBut(&["cli"]), crates: SDK, pure: false },
    Room { at: "ctl/lib", rooms: May::AllBut(&[]), crates: NOTHING, pure: true },
    Room { at: "ctl/main", rooms: May::AllBut(&[]), crates: SDK, pure: false },
];

/// `act` alone may speak to the leaf crate that holds the SDK, and to no SDK crate.
const ACT: May = May::AllBut(&[
    "aws_config",
    "aws_credential_types",
    "aws_sdk_ec2",
    "aws_sdk_dynamodb",
    "aws_smithy_http_client",
]);

/// The whole leaf crate: the SDK and a clock, nothing of the product.
const LEAF: Room = Room {
    at: "ctl/aws",
    rooms: May::AllBut(&[]),
    crates: May::Only(&[
        "aws_config",
        "aws_credential_types",
        "aws_sdk_ec2",
        "aws_sdk_dynamodb",
        "aws_smithy_http_client",
        "tokio::time",
    ]),
    pure: false,
};

/// A path that a file names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Line from 1.
    pub line: usize,
    /// `None` is the file's own crate.
    pub krate: Option<String>,
    /// The rest, joined by `::`.
    pub path: String,
}

/// Every breach of the table. `crates` are the names of dependencies as code writes them.
pub fn check(tree: &Tree, crates: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.product() {
        let Some(room) = room_of(&file.path) else {
            faults.push(format!(
                "{}: is in no room; put it into one of DESIGN §3, or enter the new room with its \
                 imports in tests/architecture/imports.rs",
                file.path
            ));
            continue;
        };
        for reference in references(file, crates) {
            if let Some(why) = breach(room, &reference) {
                faults.push(format!("{}:{}: {why}", file.path, reference.line));
            }
        }
    }
    faults
}

/// Whether a file's room does without clock, disk, network and threads.
pub fn is_pure(path: &str) -> bool {
    room_of(path).is_some_and(|room| room.pure)
}

fn room_of(path: &str) -> Option<&'static Room> {
    let (krate, rest) = path.split_once("/src/")?;
    if krate == LEAF.at {
        return Some(&LEAF);
    }
    let module = rest.split('/').next()?.trim_end_matches(".rs");
    ROOMS.iter().find(|r| r.at == format!("{krate}/{module}"))
}

fn breach(room: &Room, reference: &Reference) -> Option<String> {
    let path = &reference.path;
    let Some(krate) = &reference.krate else {
        let target = path.split("::").next().unwrap_or("");
        let own = room.at.rsplit('/').next().unwrap_or("");
        let known = ROOMS.iter().any(|r| r.at.split_once('/') == Some((crate_of(room), target)));
        let fine = target == own || !known || room.rooms.allows(path);
        return (!fine).then(|| {
            format!("{} must not import crate::{path}; DESIGN §3 says who may ask whom", room.at)
        });
    };
    let full = if path.is_empty() { krate.clone() } else { format!("{krate}::{path}") };
    if ["std", "core", "alloc"].contains(&krate.as_str()) {
        let impure = room.pure
            && IMPURE_STD.iter().any(|m| path == m || path.starts_with(&format!("{m}::")));
        return impure.then(|| {
            format!("{} is pure and must not use {full}; take it as an argument", room.at)
        });
    }
    let own_library = room.at.ends_with("/main") && full.starts_with("lockstep_");
    (!own_library && !room.crates.allows(&full))
        .then(|| format!("{} must not use {full}; DESIGN §3 has the room that may", room.at))
}

fn crate_of(room: &Room) -> &'static str {
    room.at.split('/').next().unwrap_or("")
}

/// Every path that the file's own code names, outside tests.
pub fn references(file: &Source, crates: &BTreeSet<String>) -> Vec<Reference> {
    let tokens: Vec<Token> = file.tokens().into_iter().filter(|t| !file.test[t.line]).collect();
    let mut walk = Walk { module: module_of(&file.path), inline: Vec::new(), crates };
    let mut found = BTreeSet::new();
    let mut depth = 0usize;
    let mut at = 0;
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    while at < tokens.len() {
        let line = tokens[at].line + 1;
        match text(at) {
            "mod" if text(at + 2) == "{" => {
                walk.inline.push((text(at + 1).to_owned(), depth));
                at += 2;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if walk.inline.last().is_some_and(|(_, d)| *d == depth) {
                    walk.inline.pop();
                }
            }
            "use" if text(at + 1) != "<" => {
                let mut paths = Vec::new();
                at = use_tree(&tokens, at + 1, &[], &mut paths);
                found.extend(paths.iter().map(|p| walk.resolve(p, line, true)));
                continue;
            }
            word if text(at + 1) == "::" && starts_path(&tokens, at) && is_name(word) => {
                let mut path = vec![word.to_owned()];
                while text(at + 1) == "::" && is_name(text(at + 2)) {
                    path.push(text(at + 2).to_owned());
                    at += 2;
                }
                found.insert(walk.resolve(&path, line, false));
            }
            _ => {}
        }
        at += 1;
    }
    found.into_iter().collect()
}

fn is_name(word: &str) -> bool {
    word.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// Whether the word at `at` begins a path rather than continuing one.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    at == 0 || tokens[at - 1].text != "::" || at < 2 || !is_name(&tokens[at - 2].text)
}

/// Module path of a file inside its crate.
fn module_of(path: &str) -> Vec<String> {
    let rest = path.split_once("/src/").map_or(path, |(_, r)| r).trim_end_matches(".rs");
    let mut module: Vec<String> = rest.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

struct Walk<'a> {
    module: Vec<String>,
    inline: Vec<(String, usize)>,
    crates: &'a BTreeSet<String>,
}

impl Walk<'_> {
    fn here(&self) -> Vec<String> {
        let inline = self.inline.iter().map(|(name, _)| name.clone());
        self.module.iter().cloned().chain(inline).collect()
    }

    fn resolve(&self, path: &[String], line: usize, used: bool) -> Reference {
        let head = path[0].as_str();
        let external = ["std", "core", "alloc"].contains(&head) || self.crates.contains(head);
        if external {
            let krate = Some(head.to_owned());
            return Reference { line, krate, path: path[1..].join("::") };
        }
        let mut base = match head {
            "crate" => Vec::new(),
            "self" | "super" => self.here(),
            _ if used => self.here(),
            // A name that an earlier `use` brought in, or a type of this file.
            _ => return Reference { line, krate: None, path: self.here().join("::") },
        };
        for word in path {
            match word.as_str() {
                "super" => drop(base.pop()),
                "crate" | "self" => {}
                other => base.push(other.to_owned()),
            }
        }
        Reference { line, krate: None, path: base.join("::") }
    }
}

/// Expands one tree of a `use` declaration; returns the index after it.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = before.to_vec();
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at].text != "}" {
                    at = use_tree(tokens, at, &path, paths);
                    if tokens.get(at).is_some_and(|t| t.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 1,
            "::" | "*" => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if !path.is_empty() {
        paths.push(path);
    }
    at
}
