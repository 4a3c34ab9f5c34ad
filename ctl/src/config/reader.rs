//! Takes keys out of a TOML table and collects what is wrong. Always: a key is read once; what
//! nobody has read is unknown.

use super::Problem;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{NodeId, Span};
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::{Table, Value};

/// Longest time that a configuration may name: an hour.
const TIME_MS_MAX: i64 = 3_600_000;

pub(super) struct Reader<'a> {
    table: Table,
    prefix: String,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub fn new(table: Table, prefix: &str, problems: &'a mut Vec<Problem>) -> Reader<'a> {
        Reader { table, prefix: prefix.to_owned(), problems }
    }

    fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}.{key}", self.prefix) }
    }

    fn missing(&mut self, key: &str) {
        let key = self.key(key);
        self.problems.push(Problem::Missing { key });
    }

    fn wrong_type(&mut self, key: &str, expected: &'static str) {
        let key = self.key(key);
        self.problems.push(Problem::Type { key, expected });
    }

    fn wrong_value(&mut self, key: &str, found: String, expected: &'static str) {
        let key = self.key(key);
        self.problems.push(Problem::Value { key, found, expected });
    }

    pub fn maybe_table(&mut self, key: &str) -> Option<Reader<'_>> {
        match self.table.remove(key)? {
            Value::Table(table) => {
                Some(Reader { table, prefix: self.key(key), problems: self.problems })
            }
            _ => {
                self.wrong_type(key, "a table");
                None
            }
        }
    }

    pub fn table(&mut self, key: &str) -> Option<Reader<'_>> {
        if !self.table.contains_key(key) {
            self.missing(key);
        }
        self.maybe_table(key)
    }

    fn maybe_text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong_type(key, "a string");
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.missing(key);
        }
        self.maybe_text(key)
    }

    fn checked_path(&mut self, key: &str, text: String) -> Option<PathBuf> {
        let path = PathBuf::from(&text);
        if path.is_absolute() {
            return Some(path);
        }
        self.wrong_value(key, text, "an absolute path");
        None
    }

    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        self.checked_path(key, text)
    }

    pub fn maybe_path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.maybe_text(key)?;
        self.checked_path(key, text)
    }

    fn checked_id<T: std::str::FromStr>(&mut self, key: &str, text: String) -> Option<T> {
        let digits = text.trim_start_matches('0');
        match text.parse() {
            Ok(id) if !digits.is_empty() && digits.len() <= 32 => Some(id),
            _ => {
                self.wrong_value(key, text, "1 to 32 hex digits, not all zero");
                None
            }
        }
    }

    pub fn id<T: std::str::FromStr>(&mut self, key: &str) -> Option<T> {
        let text = self.text(key)?;
        self.checked_id(key, text)
    }

    pub fn maybe_id<T: std::str::FromStr>(&mut self, key: &str) -> Option<T> {
        let text = self.maybe_text(key)?;
        self.checked_id(key, text)
    }

    /// A name that people type: short, without spaces.
    pub fn name(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !text.is_empty() && text.len() <= 64 && text.chars().all(letters) {
            return Some(text);
        }
        self.wrong_value(key, text, "1 to 64 letters, digits, '-', '_' or '.'");
        None
    }

    pub fn node(&mut self, key: &str) -> Option<NodeId> {
        let text = self.text(key)?;
        match text.as_str() {
            "a" => Some(NodeId::A),
            "b" => Some(NodeId::B),
            _ => {
                self.wrong_value(key, text, "\"a\" or \"b\"");
                None
            }
        }
    }

    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let text = self.text(key)?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        self.wrong_value(key, text, "an IP address with a port, such as 10.0.1.10:7790");
        None
    }

    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.table.remove(key) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(_) => {
                self.wrong_type(key, "true or false");
                default
            }
        }
    }

    pub fn span(&mut self, key: &str, default: Span) -> Span {
        match self.table.remove(key) {
            None => default,
            Some(Value::Integer(ms)) if (1..=TIME_MS_MAX).contains(&ms) => {
                u64::try_from(ms).map_or(default, Span::millis)
            }
            Some(Value::Integer(ms)) => {
                self.wrong_value(key, ms.to_string(), "1 to 3600000 milliseconds");
                default
            }
            Some(_) => {
                self.wrong_type(key, "a whole number of milliseconds");
                default
            }
        }
    }

    pub fn span_or_never(&mut self, key: &str, default: Option<Span>) -> Option<Span> {
        match self.table.get(key) {
            Some(Value::String(text)) if text == "never" => {
                self.table.remove(key);
                None
            }
            Some(_) => Some(self.span(key, Span::millis(1))),
            None => default,
        }
    }

    /// Whether the times fit together, once each of them is good.
    pub fn check_times(&mut self, times: &Times) {
        if times.hold() {
            return;
        }
        let attempts = times.arbiter_attempt.0.saturating_mul(Times::ARBITER_ATTEMPTS);
        let decided = times.link_dead.plus(times.grace).plus(Span(attempts));
        self.problems.push(Problem::Times {
            lease_ms: times.lease.as_millis(),
            decided_ms: decided.as_millis(),
            fence_ms: times.fence.as_millis(),
            heartbeat_timeout_ms: times.heartbeat_timeout.as_millis(),
        });
    }

    /// What is left over is unknown.
    pub fn finish(self) {
        for key in self.table.keys() {
            self.problems.push(Problem::Unknown { key: self.key(key) });
        }
    }
}
