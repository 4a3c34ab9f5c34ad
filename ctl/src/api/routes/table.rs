//! The rows.

use super::super::control::{GroupWant, Verb};
use super::{Field, Given, Kind, Method, Route, What};
use crate::decide::node::{ClusterVerb, MonitorVerb};
use lockstep_engine::units::NodeId;

/// Events of one answer, unless it says how many.
const EVENTS_MOST: u64 = 100;

const fn get(path: &'static str, answer: &'static str, what: What, about: &'static str) -> Route {
    Route { method: Method::Get, path, about, query: &[], body: &[], answer, plan: "Plan", what }
}

const fn post(path: &'static str, what: What, about: &'static str) -> Route {
    let (method, query, body) = (Method::Post, &[], &[]);
    Route { method, path, about, query, body, answer: "RequestReport", plan: "Plan", what }
}

const fn flag(name: &'static str, about: &'static str) -> Field {
    Field { name, kind: Kind::Flag, needed: false, about }
}

const FOLLOW: Field = flag("follow", "go on with a line of JSON at every change");
const WITHOUT_PEER: Field =
    flag("without_peer", "the other node is dead for certain: do not wait for it");

const AFTER: Field = Field {
    name: "after",
    kind: Kind::Whole,
    needed: false,
    about: "only those with higher numbers",
};
const MOST: Field = Field {
    name: "most",
    kind: Kind::Whole,
    needed: false,
    about: "at most so many, the newest; 100 unless it is said",
};
const VOLUME: Field = Field {
    name: "volume",
    kind: Kind::Text,
    needed: true,
    about: "name of the volume, once more: acknowledged writes may be lost",
};

const CLUSTER_TOML: Field =
    Field { name: "text", kind: Kind::File, needed: true, about: "the whole cluster.toml" };

fn group(given: &Given, want: GroupWant) -> Option<Verb> {
    Some(Verb::Group { name: given.name(0), want })
}

fn monitor(given: &Given, want: MonitorVerb) -> Option<Verb> {
    Some(Verb::Monitor { name: given.name(0), want })
}

/// Events of a request: after which, how many.
pub(in super::super) fn events(given: &Given) -> (u64, usize) {
    let most = given.whole("most").unwrap_or(EVENTS_MOST);
    (given.whole("after").unwrap_or(0), usize::try_from(most).unwrap_or(usize::MAX))
}

/// Every route.
pub const TABLE: &[Route] = &[
    Route {
        query: &[FOLLOW],
        ..get(
            "/v1/status",
            "ClusterReport",
            What::Ask(|given| {
                Some(if given.flag("follow") { Verb::WatchCluster } else { Verb::Cluster })
            }),
            "where groups run, whether it is safe to lose a node now, what to do next",
        )
    },
    get("/v1/cluster", "NodeReport", What::Node, "the cluster service on this node"),
    Route {
        query: &[AFTER, MOST, FOLLOW],
        ..get("/v1/events", "Event[]", What::Events, "what happened here, oldest first")
    },
    get(
        "/v1/what-if/node-down/{node}",
        "WhatIf[]",
        What::Ask(|given| {
            let node = match given.name(0).as_str() {
                "a" => NodeId::A,
                "b" => NodeId::B,
                _ => return None,
            };
            Some(Verb::WhatIf { node })
        }),
        "what would happen if node a or b were lost now, and why",
    ),
    get("/v1/monitors", "MonitorReport[]", What::Monitors, "all monitors, with what they found"),
    Route {
        query: &[FOLLOW],
        ..get(
            "/v1/volumes/{volume}",
            "Report",
            What::AskVolume(|given| {
                Some(if given.flag("follow") { Verb::Watch } else { Verb::Status })
            }),
            "everything about a mirror; `-` is the only volume",
        )
    },
    get(
        "/v1/volumes/{volume}/stats",
        "Stats",
        What::AskVolume(|_| Some(Verb::Stats)),
        "histograms and counters of the engine",
    ),
    get("/v1/requests", "RequestReport[]", What::Requests, "requests under way and the last ones"),
    get("/v1/requests/{id}", "RequestReport", What::Request, "how far a request is"),
    get("/v1/openapi.json", "OpenApi", What::OpenApi, "this table, for machines"),
    get("/metrics", "text/plain", What::Metrics, "engine and cluster, for Prometheus"),
    get("/healthz", "Health", What::Health, "200 when the daemon works and can decide, or 503"),
    get(
        "/",
        "text/html",
        What::Page("text/html; charset=utf-8", include_str!("../page/page.html")),
        "a page to look at",
    ),
    get(
        "/page.css",
        "text/css",
        What::Page("text/css; charset=utf-8", include_str!("../page/page.css")),
        "of the page",
    ),
    get(
        "/page.js",
        "text/javascript",
        What::Page("text/javascript; charset=utf-8", include_str!("../page/page.js")),
        "of the page",
    ),
    Route {
        body: &[CLUSTER_TOML],
        plan: "ConfigPlan",
        ..post(
            "/v1/config",
            What::Ask(|given| Some(Verb::Apply { text: given.text("text")?.to_owned() })),
            "make a file the cluster.toml of both nodes; a dry run tells what it changes",
        )
    },
    post(
        "/v1/cluster/start",
        What::Ask(|_| Some(Verb::Service(ClusterVerb::Start))),
        "this node takes part again",
    ),
    Route {
        body: &[flag("hold_down", "do not pass groups to the other node: they stay down")],
        ..post(
            "/v1/cluster/stop",
            What::Ask(|given| {
                let hand_over = !given.flag("hold_down");
                Some(Verb::Service(ClusterVerb::Stop { hand_over }))
            }),
            "bring every group down here and take no part",
        )
    },
    post(
        "/v1/cluster/suspend",
        What::Ask(|_| Some(Verb::Service(ClusterVerb::Suspend))),
        "decide nothing without an operator but what safety asks for",
    ),
    post(
        "/v1/cluster/resume",
        What::Ask(|_| Some(Verb::Service(ClusterVerb::Resume))),
        "decide again",
    ),
    Route {
        body: &[WITHOUT_PEER],
        ..post(
            "/v1/groups/{group}/start",
            What::Ask(|given| {
                let without_peer = given.flag("without_peer");
                group(given, GroupWant::Start { without_peer })
            }),
            "bring the group up here",
        )
    },
    post(
        "/v1/groups/{group}/stop",
        What::Ask(|given| group(given, GroupWant::Stop)),
        "bring it down; it stays down until somebody starts it",
    ),
    post(
        "/v1/groups/{group}/move",
        What::Ask(|given| group(given, GroupWant::Move)),
        "bring it down here and up on the other node, in order",
    ),
    post(
        "/v1/groups/{group}/failover",
        What::Ask(|given| group(given, GroupWant::Failover)),
        "pass it on although not in order; on the other node: take it over once that is safe",
    ),
    post(
        "/v1/resources/{group}/{resource}/start",
        What::Ask(|given| group(given, GroupWant::ResourceStart { resource: given.name(1) })),
        "bring one resource up, with what it needs being up",
    ),
    post(
        "/v1/resources/{group}/{resource}/stop",
        What::Ask(|given| group(given, GroupWant::ResourceStop { resource: given.name(1) })),
        "bring it down, with everything that depends on it",
    ),
    post(
        "/v1/monitors/{monitor}/suspend",
        What::Ask(|given| monitor(given, MonitorVerb::Suspend)),
        "no probes until resumed",
    ),
    post(
        "/v1/monitors/{monitor}/resume",
        What::Ask(|given| monitor(given, MonitorVerb::Resume)),
        "probe again",
    ),
    Route {
        body: &[flag("off", "no longer")],
        ..post(
            "/v1/monitors/{monitor}/fail",
            What::Ask(|given| monitor(given, MonitorVerb::Fail(!given.flag("off")))),
            "fail on purpose, for a rehearsal",
        )
    },
    Route {
        body: &[flag("both_blank", "both copies are blank, so nothing has to be copied")],
        ..post(
            "/v1/volumes/{volume}/create",
            What::AskVolume(|given| Some(Verb::Create { both_blank: given.flag("both_blank") })),
            "write the first record: this node's copy counts, the peer is filled from it",
        )
    },
    Route {
        body: &[WITHOUT_PEER],
        ..post(
            "/v1/volumes/{volume}/start",
            What::AskVolume(|given| Some(Verb::Start { without_peer: given.flag("without_peer") })),
            "serve the volume on this node",
        )
    },
    post(
        "/v1/volumes/{volume}/takeover",
        What::AskVolume(|_| Some(Verb::Takeover)),
        "take over here, once the silence of the primary is evidence",
    ),
    post(
        "/v1/volumes/{volume}/move",
        What::AskVolume(|_| Some(Verb::Move)),
        "hand the volume over to the peer, in order",
    ),
    post(
        "/v1/volumes/{volume}/stop",
        What::AskVolume(|_| Some(Verb::Stop)),
        "stop serving, in order; nobody is primary then",
    ),
    post(
        "/v1/volumes/{volume}/pause",
        What::AskVolume(|_| Some(Verb::PauseSync { paused: true })),
        "hold resync back",
    ),
    post(
        "/v1/volumes/{volume}/resume",
        What::AskVolume(|_| Some(Verb::PauseSync { paused: false })),
        "let resync go on",
    ),
    Route {
        body: &[flag("stop", "stop a comparison that runs")],
        ..post(
            "/v1/volumes/{volume}/verify",
            What::AskVolume(|given| Some(Verb::Verify { start: !given.flag("stop") })),
            "compare both copies; what differs is repaired",
        )
    },
    Route {
        body: &[VOLUME],
        ..post(
            "/v1/volumes/{volume}/force-promote",
            What::AskVolume(|given| {
                Some(Verb::ForcePromote { volume: given.text("volume")?.to_owned() })
            }),
            "make a copy the truth that may lack acknowledged writes",
        )
    },
    Route {
        body: &[VOLUME],
        ..post(
            "/v1/volumes/{volume}/discard-local",
            What::AskVolume(|given| {
                Some(Verb::DiscardLocal { volume: given.text("volume")?.to_owned() })
            }),
            "after both went on alone: give up the copy here for that of the other node",
        )
    },
];
