//! One value of a table: what it must be, and what is said when it is not.
//! Always: `None` means that it is absent, or that its mistake has been noted.

use super::Section;
use crate::act::resource::spec::Command;
use crate::config::cluster::mistake::Wrong;
use crate::config::cluster::units;
use lockstep_engine::units::Span;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use toml::Spanned;
use toml::de::DeValue;

/// Most entries of a list of plain values.
const LIST_MAX: usize = 64;
/// Longest text of a value.
const TEXT_BYTES_MAX: usize = 4096;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// One value, or its absence.
pub(in crate::config::cluster) struct Value<'s, 'd> {
    section: &'s Section<'d>,
    key: String,
    found: Option<&'d Spanned<DeValue<'d>>>,
    failed: Cell<bool>,
}

/// A value as the file has it.
pub(super) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.len() > 80 => "a long text".to_owned(),
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl<'s, 'd> Value<'s, 'd> {
    pub fn new(
        section: &'s Section<'d>,
        key: &str,
        found: Option<&'d Spanned<DeValue<'d>>>,
    ) -> Value<'s, 'd> {
        let key = section.key(key);
        Value { section, key, found, failed: Cell::new(false) }
    }

    /// Notes a mistake of this value.
    pub fn fail(&self, wrong: Wrong) {
        self.failed.set(true);
        let notes = self.section.notes;
        let at = self.found.map_or_else(|| notes.place(&self.key), |value| value.span().start);
        notes.add(at, &self.key, wrong);
    }

    pub fn expected<T>(&self, wanted: &'static str) -> Option<T> {
        let found = self.found.map_or_else(String::new, |value| show(value.get_ref()));
        self.fail(Wrong::Expected { wanted, found });
        None
    }

    /// Must be there.
    pub fn need(self, example: &'static str) -> Value<'s, 'd> {
        if self.found.is_none() && !self.failed.get() {
            self.fail(Wrong::Missing { example });
        }
        self
    }

    pub fn is_there(&self) -> bool {
        self.found.is_some()
    }

    /// A text that is neither empty nor endless.
    pub fn text(&self, wanted: &'static str) -> Option<&'d str> {
        let text = self.found?.get_ref().as_str();
        let fit = |text: &&str| {
            let plain = !text.chars().any(char::is_control);
            !text.is_empty() && text.len() <= TEXT_BYTES_MAX && plain
        };
        text.filter(fit).or_else(|| self.expected(wanted))
    }

    fn parsed<T: FromStr>(&self, wanted: &'static str) -> Option<T> {
        self.text(wanted)?.parse().ok().or_else(|| self.expected(wanted))
    }

    pub fn path(&self) -> Option<PathBuf> {
        let wanted = "an absolute path, such as \"/dev/disk/by-id/…\"";
        let path: PathBuf = self.parsed(wanted)?;
        let parts = path.components().any(|part| part == std::path::Component::ParentDir);
        if path.is_absolute() && !parts { Some(path) } else { self.expected(wanted) }
    }

    /// A name that people type and that becomes part of paths.
    pub fn name(&self) -> Option<String> {
        let wanted = "1 to 64 letters, digits, '-', '_' or '.', with a letter or digit in front";
        let text = self.text(wanted)?;
        let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if first && text.len() <= NAME_BYTES_MAX && text.chars().all(letter) {
            return Some(text.to_owned());
        }
        self.expected(wanted)
    }

    pub fn id<T: FromStr>(&self) -> Option<T> {
        let wanted = "1 to 32 hex digits, not all zero";
        let text = self.text(wanted)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.len() <= 32;
        let id = text.parse().ok().filter(|_| digits && text.bytes().any(|byte| byte != b'0'));
        id.or_else(|| self.expected(wanted))
    }

    /// One of those words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text("a word in quotes")?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
            let near = units::near(text, words.iter().copied());
            self.fail(Wrong::Word { found: text.to_owned(), words, near });
        }
        found.map(|(_, meaning)| *meaning)
    }

    pub fn flag(&self) -> Option<bool> {
        let flag = self.found?.get_ref().as_bool();
        flag.or_else(|| self.expected("true or false"))
    }

    pub fn number(&self, least: u64, most: u64) -> Option<u64> {
        let found = self.found?.get_ref();
        let Some(integer) = found.as_integer() else {
            return self.expected("a whole number without quotes");
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fit = number.filter(|number| (least..=most).contains(number));
        if fit.is_none() {
            let (least, most) = (least.to_string(), most.to_string());
            self.fail(Wrong::Range { found: integer.to_string(), least, most });
        }
        fit
    }

    pub fn number32(&self, least: u32, most: u32) -> Option<u32> {
        self.number(least.into(), most.into()).and_then(|number| u32::try_from(number).ok())
    }

    pub fn port(&self) -> Option<u16> {
        self.number(1, u16::MAX.into()).and_then(|number| u16::try_from(number).ok())
    }

    fn bounded<T: PartialOrd + Copy>(
        &self,
        value: T,
        least: T,
        most: T,
        shown: impl Fn(T) -> String,
    ) -> Option<T> {
        if least <= value && value <= most {
            return Some(value);
        }
        self.fail(Wrong::Range { found: shown(value), least: shown(least), most: shown(most) });
        None
    }

    /// A time with its unit.
    pub fn span(&self, least: Span, most: Span) -> Option<Span> {
        let wanted = "a time with its unit (us, ms, s, min, h), such as \"5 s\" or \"250 ms\"";
        let text = self.text(wanted)?;
        // Files of engines have microseconds at the finest.
        let whole = units::span(text).filter(|span| span.0.is_multiple_of(1_000));
        let Some(span) = whole else { return self.expected(wanted) };
        self.bounded(span, least, most, units::show_span)
    }

    /// A time of whole milliseconds, within a day.
    pub fn time(&self) -> Option<Span> {
        let span = self.span(Span::millis(1), Span::millis(86_400_000))?;
        if span.0.is_multiple_of(Span::millis(1).0) {
            return Some(span);
        }
        self.expected("whole milliseconds, such as \"250 ms\"")
    }

    /// A rate with its unit.
    pub fn rate(&self, least: u64, most: u64) -> Option<u64> {
        let wanted = "a rate with its unit (KiB/s, MiB/s, GiB/s), such as \"10 MiB/s\"";
        let text = self.text(wanted)?;
        let Some(rate) = units::rate(text) else { return self.expected(wanted) };
        self.bounded(rate, least, most, units::show_rate)
    }

    /// Whether it is that word.
    pub fn says(&self, word: &str) -> bool {
        self.found.and_then(|value| value.get_ref().as_str()) == Some(word)
    }

    pub fn ip(&self) -> Option<IpAddr> {
        let wanted = "an IP address, such as \"10.0.1.10\" (names are not looked up here)";
        let address: IpAddr = self.parsed(wanted)?;
        let usable = !address.is_unspecified() && !address.is_multicast();
        if usable { Some(address) } else { self.expected(wanted) }
    }

    pub fn socket(&self) -> Option<SocketAddr> {
        let wanted = "an IP address with a port, such as \"10.0.1.10:7791\"";
        let address: SocketAddr = self.parsed(wanted)?;
        if address.port() != 0 { Some(address) } else { self.expected(wanted) }
    }

    /// The entries of a list.
    pub fn list(&self, wanted: &'static str) -> Vec<Value<'s, 'd>> {
        let Some(found) = self.found else { return Vec::new() };
        let Some(list) = found.get_ref().as_array() else {
            self.expected::<()>(wanted);
            return Vec::new();
        };
        if list.len() > LIST_MAX {
            self.fail(Wrong::TooMany { found: list.len(), found_max: LIST_MAX });
        }
        let entry = |(n, item)| Value {
            section: self.section,
            key: format!("{}[{n}]", self.key),
            found: Some(item),
            failed: Cell::new(false),
        };
        list.iter().take(LIST_MAX).enumerate().map(entry).collect()
    }

    /// A program with its arguments.
    pub fn command(&self) -> Option<Command> {
        let wanted = "a list: an absolute path and its arguments, such as [\"/usr/bin/x\", \"-v\"]";
        self.found?;
        let entries = self.list(wanted);
        let Some((program, args)) = entries.split_first() else {
            return if self.failed.get() { None } else { self.expected(wanted) };
        };
        let args = args.iter().filter_map(|arg| arg.argument().map(str::to_owned)).collect();
        Some(Command { program: program.path()?, args })
    }

    /// An argument of a program: may be empty, may hold line breaks, never a zero byte.
    fn argument(&self) -> Option<&'d str> {
        let text = self.found?.get_ref().as_str();
        let fit = text.filter(|text| !text.contains('\0') && text.len() <= TEXT_BYTES_MAX);
        fit.or_else(|| self.expected("a text in quotes"))
    }

    /// Whether one of those has that name; otherwise it is noted, with the name that was meant.
    pub fn no_such<'n>(
        &self,
        kind: &'static str,
        name: &str,
        there: impl IntoIterator<Item = &'n str>,
    ) {
        let near = units::near(name, there).map(str::to_owned);
        self.fail(Wrong::NoSuch { kind, name: name.to_owned(), near });
    }
}
