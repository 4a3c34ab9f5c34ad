//! What a request gives: the names of its path and its fields, checked against the route's table.
//! Always: a field that the route does not know, or of another shape, refuses the whole request.

use super::super::path;
use super::{Field, Kind, Route};
use serde_json::{Map, Value};

/// What a request gives.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Given {
    /// Names of the path, in order.
    pub names: Vec<String>,
    fields: Map<String, Value>,
}

/// Fields that every route that changes something knows.
const OF_CHANGES: &[Field] = &[
    Field {
        name: "dry_run",
        kind: Kind::Flag,
        needed: false,
        about: "say what would be done, and do nothing",
    },
    Field {
        name: "wait",
        kind: Kind::Flag,
        needed: false,
        about: "false: answer at once with the number of the request",
    },
];

/// Every field of the query of a route.
pub(in super::super) fn query_of(route: &Route) -> impl Iterator<Item = &'static Field> {
    let more = if route.changes() { OF_CHANGES } else { &[] };
    route.query.iter().chain(more)
}

impl Given {
    /// Takes a request apart. The error names the field, its cause and what is known.
    pub(in super::super) fn read(
        route: &Route,
        names: Vec<String>,
        query: &str,
        body: &[u8],
    ) -> Result<Given, String> {
        let mut given = Given { names, fields: Map::new() };
        let fields = path::fields(query)
            .ok_or("query: it makes no sense; write NAME=VALUE with & in between")?;
        for (name, text) in fields {
            let field = known(query_of(route), "query", &name)?;
            let value = from_text(field.kind, &text)
                .ok_or_else(|| wrong("query", field, &format!("\"{text}\"")))?;
            given.fields.insert(name, value);
        }
        if !body.is_empty() {
            let object: Map<String, Value> = serde_json::from_slice(body)
                .map_err(|cause| format!("body: {cause}; write one JSON object"))?;
            for (name, value) in object {
                let field = known(route.body.iter(), "body", &name)?;
                let fits = match field.kind {
                    Kind::Flag => value.is_boolean(),
                    Kind::Whole => value.is_u64(),
                    Kind::Text | Kind::File => value.is_string(),
                };
                if !fits {
                    return Err(wrong("body", field, &value.to_string()));
                }
                given.fields.insert(name, value);
            }
        }
        let all = query_of(route).chain(route.body);
        match all.into_iter().find(|field| field.needed && !given.fields.contains_key(field.name)) {
            Some(field) => Err(format!("field `{}`: it is missing; {}", field.name, field.about)),
            None => Ok(given),
        }
    }

    /// A flag; false when it was left out.
    pub fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// A flag, or what it is when it was left out.
    pub fn flag_or(&self, name: &str, otherwise: bool) -> bool {
        self.fields.get(name).and_then(Value::as_bool).unwrap_or(otherwise)
    }

    /// A number.
    pub fn whole(&self, name: &str) -> Option<u64> {
        self.fields.get(name).and_then(Value::as_u64)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// The n-th name of the path.
    pub fn name(&self, n: usize) -> String {
        self.names.get(n).cloned().unwrap_or_default()
    }
}

fn from_text(kind: Kind, text: &str) -> Option<Value> {
    match (kind, text) {
        (Kind::Flag, "true" | "1") => Some(Value::Bool(true)),
        (Kind::Flag, "false" | "0") => Some(Value::Bool(false)),
        (Kind::Flag, _) => None,
        (Kind::Whole, text) => text.parse::<u64>().ok().map(Value::from),
        (Kind::Text | Kind::File, text) => Some(Value::from(text)),
    }
}

fn known<'f>(
    fields: impl Iterator<Item = &'f Field>,
    place: &str,
    name: &str,
) -> Result<&'f Field, String> {
    let mut names = Vec::new();
    for field in fields {
        if field.name == name {
            return Ok(field);
        }
        names.push(field.name);
    }
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(format!("{place}: there is no field \"{}\" here; known are: {known}", name.escape_debug()))
}

fn wrong(place: &str, field: &Field, found: &str) -> String {
    let (name, kind) = (field.name, field.kind.word());
    let found: String = found.chars().take(80).collect();
    format!("{place}: `{name}` is {}, not a {kind}; {}", found.escape_debug(), field.about)
}
