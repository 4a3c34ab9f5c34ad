//! The OpenAPI document is whole, and its schemas are those of answers as they are written.

use super::lab::{Lab, code};
use crate::api::document;
use crate::api::routes::TABLE;
use serde_json::Value;

fn whole() -> Value {
    document(TABLE)
}

/// What of `value` does not fit a schema; the part of JSON Schema that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(pointer) = schema["$ref"].as_str() {
        let target = document.pointer(pointer.trim_start_matches('#')).expect(pointer);
        return faults(document, target, value, at, found);
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        let fits = |way: &&Value| {
            let mut inside = Vec::new();
            faults(document, way, value, at, &mut inside);
            inside.is_empty()
        };
        let count = ways.iter().filter(fits).count();
        if count != 1 {
            found.push(format!("{at}: fits {count} of {} ways", ways.len()));
        }
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let fits = kinds.is_null()
        || kinds == kind
        || kinds.as_array().is_some_and(|all| all.iter().any(|one| one == kind));
    if !fits {
        found.push(format!("{at}: is {kind}, not {kinds}"));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        found.push(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        faults(document, &schema["items"], item, &format!("{at}[{n}]"), found);
    }
    let (Some(object), Some(known)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    for (key, inner) in object {
        match known.get(key) {
            Some(schema) => faults(document, schema, inner, &format!("{at}.{key}"), found),
            None => found.push(format!("{at}.{key}: the schema does not know it")),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(key.as_str().expect("a name")) {
            found.push(format!("{at}: lacks {key}"));
        }
    }
}

fn judge(schema: &str, value: &Value) {
    let mut found = Vec::new();
    let list = schema.strip_suffix("[]");
    let reference = serde_json::json!({
        "$ref": format!("#/components/schemas/{}", list.unwrap_or(schema))
    });
    let schema = match list {
        Some(_) => serde_json::json!({ "type": "array", "items": reference }),
        None => reference,
    };
    faults(&whole(), &schema, value, "", &mut found);
    assert!(found.is_empty(), "{schema}: {found:#?}\n{value}");
}

#[test]
fn answers_are_what_the_document_says() {
    let lab = Lab::open();
    lab.ask("POST /v1/volumes/vol/takeover?wait=false", "", "");
    lab.ask("POST /v1/volumes/vol/move", "", "");
    for (line, schema) in [
        ("GET /v1/status", "ClusterReport"),
        ("GET /v1/cluster", "NodeReport"),
        ("GET /v1/events", "Event[]"),
        ("GET /v1/what-if/node-down/a", "WhatIf[]"),
        ("GET /v1/monitors", "MonitorReport[]"),
        ("GET /v1/volumes/-", "Report"),
        ("GET /v1/volumes/vol/stats", "Stats"),
        ("GET /v1/requests", "RequestReport[]"),
        ("GET /healthz", "Health"),
        ("GET /v1/openapi.json", "OpenApi"),
        ("POST /v1/groups/db/stop?dry_run=true", "Plan"),
        ("POST /v1/groups/db/stop", "RequestReport"),
    ] {
        let told = lab.json(line);
        assert!(!told.as_array().is_some_and(Vec::is_empty), "{line}: nothing to judge");
        judge(schema, &told);
    }
    let (status, body) = lab.ask("POST /v1/groups/x/stop", "", "");
    assert_eq!((status, code(&body).as_str()), (404, "no-group"));
    judge("Problem", &serde_json::from_str(&body).unwrap());
    let text = serde_json::json!({ "text": "x".repeat(200 << 10) }).to_string();
    for (line, schema) in
        [("POST /v1/config?dry_run=true", "ConfigPlan"), ("POST /v1/config", "RequestReport")]
    {
        let (status, body) = lab.ask(line, "content-type: application/json\r\n", &text);
        assert_eq!(status, 200, "{body}");
        judge(schema, &serde_json::from_str(&body).unwrap());
    }
}

#[test]
fn the_judge_of_schemas_can_see() {
    let document = whole();
    let schema = serde_json::json!({ "$ref": "#/components/schemas/Health" });
    for bad in ["{}", "{\"healthy\":1}", "{\"healthy\":true,\"x\":1}", "[]", "null"] {
        let mut found = Vec::new();
        faults(&document, &schema, &serde_json::from_str(bad).unwrap(), "", &mut found);
        assert!(!found.is_empty(), "{bad}");
    }
}

#[test]
fn the_document_has_every_route_and_names_only_schemas_that_are_there() {
    let document = whole();
    for route in TABLE {
        let operation = &document["paths"][route.path][route.method.word().to_lowercase()];
        assert_eq!(operation["summary"], route.about, "{}", route.path);
        let named = operation["parameters"].as_array().unwrap();
        let of_path = named.iter().filter(|one| one["in"] == "path").count();
        assert_eq!(of_path, route.path.matches('{').count(), "{}", route.path);
    }
    let text = document.to_string();
    for pointer in text.split("\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        assert!(text.contains(&format!("schemas/{name}\"")), "{name} is used by nothing");
    }
}
