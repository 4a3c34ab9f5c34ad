//! A verb as a request of HTTP, for clients: the way back through the table of routes.

use super::control::{Ask, GroupWant, Verb};
use super::path::escape;
use super::routes::{Method, ONLY};
use crate::decide::node::{ClusterVerb, MonitorVerb};
use serde_json::{Value, json};

/// A request as it travels.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// JSON of the body; null when there is none.
    pub body: Value,
}

fn get(target: impl Into<String>) -> Wanted {
    Wanted { method: Method::Get, target: target.into(), body: Value::Null }
}

fn post(target: impl Into<String>, body: Value) -> Wanted {
    Wanted { method: Method::Post, target: target.into(), body }
}

/// The request that stands for a verb.
pub fn encode(ask: &Ask) -> Wanted {
    let volume = escape(ask.volume.as_deref().unwrap_or(ONLY));
    let of_volume = |word: &str, body| post(format!("/v1/volumes/{volume}/{word}"), body);
    let none = Value::Null;
    let mut wanted = match &ask.verb {
        Verb::Status => get(format!("/v1/volumes/{volume}")),
        Verb::Watch => get(format!("/v1/volumes/{volume}?follow=true")),
        Verb::Stats => get(format!("/v1/volumes/{volume}/stats")),
        Verb::Create { both_blank } => of_volume("create", json!({ "both_blank": both_blank })),
        Verb::Start { without_peer } => of_volume("start", json!({ "without_peer": without_peer })),
        Verb::Takeover => of_volume("takeover", none),
        Verb::Move => of_volume("move", none),
        Verb::Stop => of_volume("stop", none),
        Verb::ForcePromote { volume } => of_volume("force-promote", json!({ "volume": volume })),
        Verb::DiscardLocal { volume } => of_volume("discard-local", json!({ "volume": volume })),
        Verb::PauseSync { paused: true } => of_volume("pause", none),
        Verb::PauseSync { paused: false } => of_volume("resume", none),
        Verb::Verify { start } => of_volume("verify", json!({ "stop": !start })),
        Verb::Cluster => get("/v1/status"),
        Verb::WatchCluster => get("/v1/status?follow=true"),
        Verb::Events { after, most } => get(format!("/v1/events?after={after}&most={most}")),
        Verb::Service(verb) => service(*verb),
        Verb::Group { name, want } => group(&escape(name), want),
        Verb::Monitor { name, want } => {
            let (word, body) = match want {
                MonitorVerb::Suspend => ("suspend", none),
                MonitorVerb::Resume => ("resume", none),
                MonitorVerb::Fail(on) => ("fail", json!({ "off": !on })),
            };
            post(format!("/v1/monitors/{}/{word}", escape(name)), body)
        }
        Verb::Apply { text } => post("/v1/config", json!({ "text": text })),
        Verb::WhatIf { node } => get(format!("/v1/what-if/node-down/{node}")),
    };
    if ask.dry_run && wanted.method == Method::Post {
        wanted.target.push_str("?dry_run=true");
    }
    wanted
}

fn service(verb: ClusterVerb) -> Wanted {
    match verb {
        ClusterVerb::Start => post("/v1/cluster/start", Value::Null),
        ClusterVerb::Stop { hand_over } => {
            post("/v1/cluster/stop", json!({ "hold_down": !hand_over }))
        }
        ClusterVerb::Suspend => post("/v1/cluster/suspend", Value::Null),
        ClusterVerb::Resume => post("/v1/cluster/resume", Value::Null),
    }
}

fn group(name: &str, want: &GroupWant) -> Wanted {
    let of_group = |word: &str, body| post(format!("/v1/groups/{name}/{word}"), body);
    let of_resource = |resource: &str, word: &str| {
        post(format!("/v1/resources/{name}/{}/{word}", escape(resource)), Value::Null)
    };
    match want {
        GroupWant::Start { without_peer } => {
            of_group("start", json!({ "without_peer": without_peer }))
        }
        GroupWant::Stop => of_group("stop", Value::Null),
        GroupWant::Move => of_group("move", Value::Null),
        GroupWant::Failover => of_group("failover", Value::Null),
        GroupWant::ResourceStart { resource } => of_resource(resource, "start"),
        GroupWant::ResourceStop { resource } => of_resource(resource, "stop"),
    }
}
