//! What can be wrong with a configuration, for the person who wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// One problem. `key` is the path of the key, such as `heartbeat.bind`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Not TOML at all.
    Syntax { cause: String },
    /// A key that must be there is not.
    Missing { key: String },
    /// A key that nothing reads.
    Unknown { key: String },
    /// A value of another type.
    Type { key: String, expected: &'static str },
    /// A value that can't be used.
    Value { key: String, found: String, expected: &'static str },
    /// The times contradict the inequalities of the safety rules.
    Times { lease_ms: u64, decided_ms: u64, fence_ms: u64, heartbeat_timeout_ms: u64 },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Syntax { cause } => write!(f, "not TOML: {cause}"),
            Problem::Missing { key } if key == "arbiter" || key == "arbiter.directory" => write!(
                f,
                "{key}: missing; say where the record lives, it has no default: \
                 [arbiter] directory = \"/path/that/both/nodes/see\""
            ),
            Problem::Missing { key } => write!(f, "{key}: missing; add it"),
            Problem::Unknown { key } => write!(f, "{key}: unknown; check the spelling"),
            Problem::Type { key, expected } => write!(f, "{key}: must be {expected}"),
            Problem::Value { key, found, expected } => {
                write!(f, "{key}: \"{found}\" can't be used; it must be {expected}")
            }
            Problem::Times { lease_ms, decided_ms, fence_ms, heartbeat_timeout_ms } => write!(
                f,
                "times: must hold: link_dead + grace + 2 × arbiter_attempt ({decided_ms} ms) < \
                 lease ({lease_ms} ms), lease + fence ({} ms) ≤ heartbeat_timeout \
                 ({heartbeat_timeout_ms} ms), 0 < 4 × ping ≤ link_dead",
                lease_ms.saturating_add(*fence_ms)
            ),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file can't be read.
    Unreadable { path: PathBuf, cause: io::Error },
    /// It can be read, and this is wrong with it.
    Wrong { path: PathBuf, problems: Vec<Problem> },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, cause } => {
                write!(f, "{}: {cause}; check `--config`", path.display())
            }
            ConfigError::Wrong { path, problems } => {
                write!(f, "{}: nothing was started, correct this first:", path.display())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}
