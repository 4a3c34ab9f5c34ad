//! The table of what there is: path, method, fields, answer, and the verb that it stands for. The
//! router, the OpenAPI document and the manual are made of it.

mod given;
mod table;

pub use given::Given;
pub(super) use given::query_of;
pub use table::TABLE;
pub(super) use table::events;

use super::control::Verb;
use super::path;
use std::fmt::Write;

/// Stands in a path for the only volume there is.
pub const ONLY: &str = "-";

/// Longest body.
const BODY_BYTES_MAX: usize = 4 << 10;
/// Longest body with a file: a configuration of 256 KiB as text in JSON fits.
const FILE_BYTES_MAX: usize = 640 << 10;

/// Method of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Looks.
    Get,
    /// Changes.
    Post,
}

impl Method {
    /// As it travels.
    pub fn word(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// Shape of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`; false when it is left out.
    Flag,
    /// A whole number.
    Whole,
    /// Text.
    Text,
    /// Text of a whole file: the body may be as long as one.
    File,
}

impl Kind {
    /// As JSON schemas call it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Flag => "boolean",
            Kind::Whole => "integer",
            Kind::Text | Kind::File => "string",
        }
    }
}

/// A field of a query or a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub kind: Kind,
    /// It must be there.
    pub needed: bool,
    /// For people.
    pub about: &'static str,
}

/// What a route does.
#[derive(Clone, Copy)]
pub enum What {
    /// Asks the daemon's loop.
    Ask(fn(&Given) -> Option<Verb>),
    /// The same about a volume, which is the first name of the path.
    AskVolume(fn(&Given) -> Option<Verb>),
    /// The cluster service on this node.
    Node,
    /// All monitors.
    Monitors,
    /// Events.
    Events,
    /// All requests that are remembered.
    Requests,
    /// One request.
    Request,
    /// Metrics.
    Metrics,
    /// Health.
    Health,
    /// The OpenAPI document.
    OpenApi,
    /// A file of the page: its type and its bytes.
    Page(&'static str, &'static str),
}

/// One row.
#[derive(Clone, Copy)]
pub struct Route {
    /// Its method; all that change something are `Post`.
    pub method: Method,
    /// Its path, with names in braces.
    pub path: &'static str,
    /// For people.
    pub about: &'static str,
    /// Fields of the query.
    pub query: &'static [Field],
    /// Fields of the body.
    pub body: &'static [Field],
    /// Schema of the answer; a list of it when it ends with `[]`; a type of media otherwise.
    pub answer: &'static str,
    /// Schema of the answer of a dry run.
    pub plan: &'static str,
    /// What it does.
    pub what: What,
}

impl Route {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        self.method == Method::Post
    }

    /// Longest body.
    pub fn body_bytes_max(&self) -> usize {
        let file = self.body.iter().any(|field| field.kind == Kind::File);
        if file { FILE_BYTES_MAX } else { BODY_BYTES_MAX }
    }

    /// Names in its path.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The names that a path gives, if it is this route's.
    fn names_in(&self, segments: &[String]) -> Option<Vec<String>> {
        let own: Vec<&str> = self.path.split('/').skip(1).filter(|one| !one.is_empty()).collect();
        if own.len() != segments.len() {
            return None;
        }
        let mut names = Vec::new();
        for (own, given) in own.iter().zip(segments) {
            if own.starts_with('{') {
                names.push(given.clone());
            } else if own != given {
                return None;
            }
        }
        Some(names)
    }
}

/// What a path leads to.
pub(super) enum Found {
    /// A route, with the names in the path.
    Route(&'static Route, Vec<String>),
    /// Something, but not by that method: these are the methods.
    Method(Vec<&'static str>),
    /// Another major version.
    Version(String),
    /// Nothing.
    Nothing,
}

/// Finds the route of a path.
pub(super) fn find(method: &str, path: &str) -> Found {
    let Some(segments) = path::segments(path) else { return Found::Nothing };
    let mut methods = Vec::new();
    for route in TABLE {
        let Some(names) = route.names_in(&segments) else { continue };
        let own = route.method.word();
        if method == own || (method == "HEAD" && own == "GET") {
            return Found::Route(route, names);
        }
        methods.push(own);
    }
    if !methods.is_empty() {
        return Found::Method(methods);
    }
    let first = segments.first().map_or("", String::as_str);
    let numbered = first.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
    match numbered {
        Some(number) if number != super::VERSION => Found::Version(first.to_owned()),
        _ => Found::Nothing,
    }
}

/// The table for people, as it stands in the manual.
pub fn manual() -> String {
    let mut text =
        String::from("| request | fields | answer | what it does |\n|---|---|---|---|\n");
    for route in TABLE {
        let all = route.query.iter().map(|field| (field, "?")).chain(
            // A body is JSON: its fields have no mark.
            route.body.iter().map(|field| (field, "")),
        );
        let fields: Vec<String> =
            all.map(|(field, mark)| format!("`{mark}{}`", field.name)).collect();
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "| `{} {}` | {} | `{}` | {} |",
            route.method.word(),
            route.path,
            fields.join(" "),
            route.answer,
            route.about
        );
    }
    text
}
