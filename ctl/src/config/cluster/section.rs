//! Takes keys out of a table for one node, and notes what is wrong with them and where they stand.
//! Always: a value may stand once for both nodes or as `{ a = …, b = … }`; a key that nobody took
//! is unknown; reading never stops at the first mistake.

use super::mistake::Wrong;
use super::units;
use lockstep_engine::units::NodeId;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

mod value;

pub(super) use value::Value;

/// A mistake at a byte of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    pub at: usize,
    pub key: String,
    pub wrong: Wrong,
}

/// What one reading for one node has found.
pub(super) struct Notes {
    pub node: NodeId,
    pub found: RefCell<Vec<Note>>,
    /// Where each key stands.
    pub places: RefCell<BTreeMap<String, usize>>,
    /// Every key that was asked for, with the shape of its table.
    pub known: RefCell<BTreeSet<(String, &'static str)>>,
    /// For each group, where each resource stands in its list, in activation order.
    pub order: RefCell<Vec<Vec<usize>>>,
}

impl Notes {
    pub fn new(node: NodeId) -> Notes {
        Notes {
            node,
            found: RefCell::default(),
            places: RefCell::default(),
            known: RefCell::default(),
            order: RefCell::default(),
        }
    }

    /// Key of a resource, by its place in activation order.
    pub fn resource(&self, group: usize, resource: usize) -> String {
        let order = self.order.borrow();
        let at = order.get(group).and_then(|order| order.get(resource)).copied().unwrap_or(0);
        format!("groups[{group}].resources[{at}]")
    }

    pub fn add(&self, at: usize, key: &str, wrong: Wrong) {
        self.found.borrow_mut().push(Note { at, key: key.to_owned(), wrong });
    }

    /// Where that key stands, or the nearest table around it.
    pub fn place(&self, key: &str) -> usize {
        let places = self.places.borrow();
        let mut key = key;
        loop {
            if let Some(at) = places.get(key) {
                return *at;
            }
            match key.rfind(['.', '[']) {
                Some(cut) => key = &key[..cut],
                None => return 0,
            }
        }
    }

    /// Adds a mistake at a key that was read.
    pub fn at_key(&self, key: &str, wrong: Wrong) {
        self.add(self.place(key), key, wrong);
    }
}

/// One table of the file.
pub(super) struct Section<'d> {
    pub notes: &'d Notes,
    /// Its key, such as `groups[0].resources[2]`; empty for the file.
    pub path: String,
    /// The same without numbers, and with the type of what is described.
    shape: RefCell<String>,
    at: usize,
    table: Option<&'d DeTable<'d>>,
    known: RefCell<Vec<&'static str>>,
    ignored: Cell<bool>,
}

impl<'d> Section<'d> {
    pub fn root(notes: &'d Notes, table: &'d DeTable<'d>) -> Section<'d> {
        Section::new(notes, String::new(), String::new(), 0, Some(table))
    }

    fn new(
        notes: &'d Notes,
        path: String,
        shape: String,
        at: usize,
        table: Option<&'d DeTable<'d>>,
    ) -> Section<'d> {
        notes.places.borrow_mut().insert(path.clone(), at);
        let (known, ignored) = (RefCell::default(), Cell::new(false));
        Section { notes, path, shape: RefCell::new(shape), at, table, known, ignored }
    }

    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn shape_of(&self, key: &str) -> String {
        let shape = self.shape.borrow();
        if shape.is_empty() { key.to_owned() } else { format!("{shape}.{key}") }
    }

    /// What the table describes turned out to be of that type.
    pub fn is_a(&self, kind: &str) {
        let shape = format!("{}({kind})", self.shape.borrow());
        *self.shape.borrow_mut() = shape;
    }

    /// Its other keys are not looked at.
    pub fn ignore(&self) {
        self.ignored.set(true);
    }

    /// Whether it is in the file.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    fn find(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.borrow_mut().push(key);
        let (name, value) = self.table?.get_key_value(key)?;
        self.notes.places.borrow_mut().insert(self.key(key), name.span().start);
        Some(value)
    }

    /// A value that may differ between the nodes.
    pub fn own(&self, key: &'static str) -> Value<'_, 'd> {
        let node = self.notes.node;
        let found = self.find(key);
        let table = found.and_then(|value| value.get_ref().as_table());
        let sides = table.filter(|table| is_sides(table));
        let Some(sides) = sides else { return Value::new(self, key, found) };
        let name = if node == NodeId::A { "a" } else { "b" };
        let side = sides.get(name);
        if let Some(side) = side {
            self.notes.places.borrow_mut().insert(self.key(key), side.span().start);
        }
        let value = Value::new(self, key, side);
        if side.is_none() {
            value.fail(Wrong::Half { lacks: node });
        }
        value
    }

    /// A value that must be the same on both nodes.
    pub fn same(&self, key: &'static str) -> Value<'_, 'd> {
        let found = self.find(key);
        let table = found.and_then(|value| value.get_ref().as_table());
        if table.is_some_and(is_sides) {
            let value = Value::new(self, key, None);
            value.fail(Wrong::Shared);
            return value;
        }
        Value::new(self, key, found)
    }

    /// A table in this one.
    pub fn section(&self, key: &'static str) -> Section<'d> {
        let found = self.find(key);
        let at = found.map_or(self.at, |value| value.span().start);
        let table = found.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (found, table) {
            let found = value::show(value.get_ref());
            let wanted = "a table";
            self.notes.add(at, &self.key(key), Wrong::Expected { wanted, found });
        }
        Section::new(self.notes, self.key(key), self.shape_of(key), at, table)
    }

    /// The tables of a list, `[[key]]`.
    pub fn sections(&self, key: &'static str, found_max: usize) -> Vec<Section<'d>> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let tables = value.get_ref().as_array().map(|list| list.iter().collect::<Vec<_>>());
        let whole = tables.filter(|list| list.iter().all(|item| item.get_ref().is_table()));
        let Some(items) = whole else {
            let found = value::show(value.get_ref());
            let wanted = "a list of tables, each with a head of two brackets";
            self.notes.at_key(&self.key(key), Wrong::Expected { wanted, found });
            return Vec::new();
        };
        if items.len() > found_max {
            let wrong = Wrong::TooMany { found: items.len(), found_max };
            self.notes.at_key(&self.key(key), wrong);
        }
        let section = |(n, item): (usize, &&'d Spanned<DeValue<'d>>)| {
            let path = format!("{}[{n}]", self.key(key));
            let (at, table) = (item.span().start, item.get_ref().as_table());
            Section::new(self.notes, path, self.shape_of(key), at, table)
        };
        items.iter().take(found_max).enumerate().map(section).collect()
    }

    /// Says what is missing at the table itself.
    pub fn lacks(&self, key: &str, example: &'static str) {
        self.notes.add(self.at, &self.key(key), Wrong::Missing { example });
    }

    /// Whether a key is in the file.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Notes the keys that nobody took.
    pub fn done(self) {
        self.finish();
    }

    /// As `done`, for a table that is looked at again.
    pub fn finish(&self) {
        let mut known = self.known.borrow().clone();
        known.sort_unstable();
        known.dedup();
        let shape = self.shape.borrow().clone();
        let keys = known.iter().map(|key| (shape.clone(), *key));
        self.notes.known.borrow_mut().extend(keys);
        if self.ignored.get() {
            return;
        }
        for name in self.table.into_iter().flat_map(|table| table.keys()) {
            let key = name.get_ref().as_ref();
            if !known.contains(&key) {
                let near = units::near(key, known.iter().copied());
                let wrong = Wrong::Unknown { known: known.clone(), near };
                self.notes.add(name.span().start, &self.key(key), wrong);
            }
        }
    }
}

/// Whether the table gives a value for each node.
fn is_sides(table: &DeTable<'_>) -> bool {
    !table.is_empty() && table.keys().all(|key| ["a", "b"].contains(&key.get_ref().as_ref()))
}
