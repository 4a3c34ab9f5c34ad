//! What can be wrong with a `cluster.toml`, for the person who wrote it: where it stands, what is
//! wrong, and what to do. Always: every kind has a hint that names the next move.

use super::units::show_span;
use lockstep_engine::units::{NodeId, Span};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Line from 1.
    pub line: usize,
    /// Character of the line from 1.
    pub column: usize,
    /// The key, such as `volumes[0].data`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Not TOML.
    Syntax { detail: String },
    /// Not text.
    NotText,
    /// Longer than any configuration.
    TooLarge { bytes: usize, bytes_max: usize },
    /// More entries than there may be.
    TooMany { found: usize, found_max: usize },
    /// It must be there.
    Missing { example: &'static str },
    /// A key that nothing reads.
    Unknown { known: Vec<&'static str>, near: Option<&'static str> },
    /// A value of another type or shape.
    Expected { wanted: &'static str, found: String },
    /// A word that is not one of those.
    Word { found: String, words: Vec<&'static str>, near: Option<&'static str> },
    /// Outside its bounds.
    Range { found: String, least: String, most: String },
    /// Given per node, and must be the same on both.
    Shared,
    /// Given for one node alone.
    Half { lacks: NodeId },
    /// A name that nothing has.
    NoSuch { kind: &'static str, name: String, near: Option<String> },
    /// Used before.
    Twice { what: &'static str, value: String, first_line: usize },
    /// A resource of another type.
    OtherType { name: String, wanted: &'static str },
    /// Two keys of which one excludes the other.
    Both { other: &'static str },
    /// Makes no sense without another key.
    Needs { other: &'static str, example: &'static str },
    /// Asynchronous replication does not exist yet.
    LocalAck,
    /// Two times that break an inequality of the safety rules.
    Times { small: &'static str, small_is: Span, large: &'static str, large_is: Span, equal: bool },
    /// Resources that wait for one another.
    Cycle { names: Vec<String> },
    /// A file system that may start before its device is there.
    BeforeMirror { mirror: Option<String>, volume: String },
    /// A group with nothing in it.
    NoResources,
    /// An isolation that is noticed too late.
    Late { detected: Span, timeout: Span },
    /// The probe of an arbiter `none` that proves nothing.
    Probe { name: String },
    /// A group without a mirror, where nothing outside the pair keeps its record.
    NoStoreForSeat { group: String },
    /// A target whose answer says nothing about being isolated.
    NodeAsTarget { address: String },
    /// Two addresses of different families.
    Families { a: String, b: String },
}

impl Wrong {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Wrong::Syntax { .. } => "correct it; nothing after it may have been read".to_owned(),
            Wrong::NotText => "save the file as UTF-8".to_owned(),
            Wrong::TooLarge { .. } => "is this the right file?".to_owned(),
            Wrong::TooMany { found_max, .. } => format!("keep at most {found_max}"),
            Wrong::Missing { example } => format!("add for example: {example}"),
            Wrong::Unknown { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Wrong::Unknown { known, .. } => format!("known here: {}", known.join(", ")),
            Wrong::Expected { wanted, .. } => format!("write {wanted}"),
            Wrong::Word { near: Some(near), .. } => format!("did you mean \"{near}\"?"),
            Wrong::Word { words, .. } => format!("write one of \"{}\"", words.join("\", \"")),
            Wrong::Range { least, most, .. } => format!("choose from {least} to {most}"),
            Wrong::Shared => "write one value for both nodes".to_owned(),
            Wrong::Half { lacks } => format!("add `{lacks} = …` beside it"),
            Wrong::NoSuch { near: Some(near), .. } => format!("did you mean \"{near}\"?"),
            Wrong::NoSuch { kind, .. } => format!("define that {kind}, or name one that is there"),
            Wrong::Twice { .. } => "give each its own".to_owned(),
            Wrong::OtherType { wanted, .. } => {
                format!("name a resource of type \"{wanted}\", or use type = \"resource\"")
            }
            Wrong::Both { other } => format!("keep this one or `{other}`"),
            Wrong::Needs { example, .. } => format!("add for example: {example}"),
            Wrong::LocalAck => "use \"written\" or \"received\"".to_owned(),
            Wrong::Times { small, large, .. } => format!("lower {small}, or raise {large}"),
            Wrong::Cycle { .. } => "take one of them out of an `after`".to_owned(),
            Wrong::BeforeMirror { mirror: Some(mirror), .. } => {
                format!("add \"{mirror}\" to its `after`")
            }
            Wrong::BeforeMirror { volume, .. } => {
                format!("add a resource with type = \"mirror\", volume = \"{volume}\" before it")
            }
            Wrong::NoResources => "add a [[groups.resources]], or remove the group".to_owned(),
            Wrong::Late { .. } => {
                "lower interval, timeout or retries of the monitor, or raise heartbeat.timeout"
                    .to_owned()
            }
            Wrong::Probe { .. } => {
                "name a monitor with type \"ping\" or \"port\" that runs always".to_owned()
            }
            Wrong::NoStoreForSeat { .. } => {
                "use an arbiter with a store, or put the resources behind a mirror".to_owned()
            }
            Wrong::NodeAsTarget { .. } => {
                "ask a host that both nodes reach without each other, such as the gateway"
                    .to_owned()
            }
            Wrong::Families { .. } => "use IPv4 on both nodes, or IPv6 on both".to_owned(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Syntax { detail } => write!(f, "not TOML: {detail}"),
            Wrong::NotText => write!(f, "is not text"),
            Wrong::TooLarge { bytes, bytes_max } => {
                write!(f, "has {bytes} bytes; a configuration has at most {bytes_max}")
            }
            Wrong::TooMany { found, found_max } => {
                write!(f, "has {found} entries; at most {found_max} are possible")
            }
            Wrong::Missing { .. } => write!(f, "is missing"),
            Wrong::Unknown { .. } => write!(f, "is not a key here"),
            Wrong::Expected { found, .. } => write!(f, "is {found}, which can't be used"),
            Wrong::Word { found, .. } => write!(f, "\"{found}\" is no value of it"),
            Wrong::Range { found, .. } => write!(f, "is {found}, outside its bounds"),
            Wrong::Shared => write!(f, "must be the same on both nodes"),
            Wrong::Half { lacks } => write!(f, "has no value for node {lacks}"),
            Wrong::NoSuch { kind, name, .. } => write!(f, "there is no {kind} \"{name}\""),
            Wrong::Twice { what, value, first_line } => {
                write!(f, "{what} {value} is used before, in line {first_line}")
            }
            Wrong::OtherType { name, wanted } => write!(f, "\"{name}\" is no {wanted}"),
            Wrong::Both { other } => write!(f, "excludes `{other}`, which is there too"),
            Wrong::Needs { other, .. } => write!(f, "is worth nothing without `{other}`"),
            Wrong::LocalAck => write!(f, "\"local\" (asynchronous) comes in a later version"),
            Wrong::Times { small, small_is, large, large_is, equal } => write!(
                f,
                "{small} ({}) must be {} {large} ({})",
                show_span(*small_is),
                if *equal { "at most" } else { "below" },
                show_span(*large_is)
            ),
            Wrong::Cycle { names } => write!(f, "wait for one another: {}", names.join(" → ")),
            Wrong::BeforeMirror { volume, .. } => {
                write!(f, "lies on volume \"{volume}\" and does not come after its mirror")
            }
            Wrong::NoResources => write!(f, "has no resources"),
            Wrong::Late { detected, timeout } => write!(
                f,
                "notices an isolation after {}, not before the heartbeat timeout of {}",
                show_span(*detected),
                show_span(*timeout)
            ),
            Wrong::Probe { name } => {
                write!(f, "monitor \"{name}\" can't tell whether this node is isolated")
            }
            Wrong::NoStoreForSeat { group } => write!(
                f,
                "group \"{group}\" has no mirror: after a split nothing would tell its two sides \
                 apart"
            ),
            Wrong::NodeAsTarget { address } => {
                write!(f, "{address} is a node of this cluster; its answer proves no connection")
            }
            Wrong::Families { a, b } => write!(f, "{a} and {b} can't reach each other"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.wrong, self.wrong.hint())
    }
}

/// Why there is no cluster.
#[derive(Debug)]
pub enum ClusterError {
    /// The file can't be read.
    Unreadable { path: PathBuf, cause: io::Error },
    /// It can be read, and this is wrong with it.
    Wrong { path: PathBuf, mistakes: Vec<Mistake> },
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterError::Unreadable { path, cause } => {
                write!(f, "{}: {cause}; name a file that exists and can be read", path.display())
            }
            ClusterError::Wrong { path, mistakes } => {
                let (path, n) = (path.display(), mistakes.len());
                write!(f, "{path}: {n} mistake{}:", if n == 1 { "" } else { "s" })?;
                mistakes.iter().try_for_each(|mistake| write!(f, "\n  {path}:{mistake}"))
            }
        }
    }
}

impl std::error::Error for ClusterError {}

/// Line and character, each from 1, of a place in the text.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
