//! The OpenAPI document: made of the table of routes, with the schemas that stand beside it.
//! Always: a test holds every schema against answers as they are written.

use super::routes::{Field, Method, Route, query_of};
use serde_json::{Map, Value, json};

/// Schemas of answers.
const SCHEMAS: &str = include_str!("schemas.json");

fn schemas() -> Value {
    // A test reads them.
    serde_json::from_str(SCHEMAS).unwrap_or_default()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn content(answer: &str) -> Value {
    if answer.contains('/') {
        return json!({ answer: { "schema": { "type": "string" } } });
    }
    let schema = match answer.strip_suffix("[]") {
        Some(name) => json!({ "type": "array", "items": reference(name) }),
        None => reference(answer),
    };
    json!({ "application/json": { "schema": schema } })
}

fn parameter(place: &str, field: &Field) -> Value {
    json!({
        "name": field.name,
        "in": place,
        "required": field.needed,
        "description": field.about,
        "schema": { "type": field.kind.word() },
    })
}

fn operation(route: &Route) -> Value {
    let of_path = route.names().map(|name| {
        let schema = json!({ "type": "string" });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let of_query = query_of(route).map(|field| parameter("query", field));
    let parameters: Vec<Value> = of_path.chain(of_query).collect();
    let problem = json!({ "application/json": { "schema": reference("Problem") } });
    let mut answer = content(route.answer);
    if route.changes() {
        let lines = json!({ "schema": reference(route.answer) });
        answer["application/x-ndjson"] = lines;
        let plan = json!({ "oneOf": [reference(route.answer), reference(route.plan)] });
        answer["application/json"]["schema"] = plan;
    }
    let mut operation = json!({
        "summary": route.about,
        "parameters": parameters,
        "responses": {
            "200": { "description": route.about, "content": answer },
            "default": { "description": "what is wrong, and what to do", "content": problem },
        },
    });
    if !route.body.is_empty() {
        let property = |field: &Field| {
            let schema = json!({ "type": field.kind.word(), "description": field.about });
            (field.name.to_owned(), schema)
        };
        let properties: Map<String, Value> = route.body.iter().map(property).collect();
        let needed = route.body.iter().filter(|field| field.needed);
        let required: Vec<&str> = needed.map(|field| field.name).collect();
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        operation["requestBody"] = json!({
            "required": !required.is_empty(),
            "content": { "application/json": { "schema": schema } },
        });
    }
    if !route.path.starts_with("/v1/") {
        operation["tags"] = json!(["beside the versions"]);
    }
    operation
}

/// The document of a table.
pub fn document(table: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in table {
        let method = match route.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lockstep",
            "version": super::VERSION.to_string(),
            "description": "Every verb of the command line, for one node of a cluster.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "security": [{ "token": [] }, { "certificate": [] }, {}],
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
        },
    })
}
