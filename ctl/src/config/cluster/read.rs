//! From the text to the shape of a cluster, for one node. Always: every table is read to its end;
//! where a value can't be used, its mistake is noted and a stand-in takes its place, so that the
//! rest is looked at too. A stand-in is empty or zero, and no check complains about one.

mod aws;
mod groups;
mod monitors;
mod resources;
mod volumes;

use super::section::{Notes, Section};
use super::{
    ApiSpec, ApiTls, ArbiterSpec, EngineProcess, EtcdSpec, Heartbeat, Host, Interconnect, Local,
    Paths, Wrong,
};
use crate::config::Named;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{ClusterId, NodeId, Span};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use toml::de::DeTable;

/// Most interconnects.
const INTERCONNECTS_MAX: usize = 16;
/// UDP port of heartbeats.
const HEARTBEAT_PORT: u16 = 7790;
/// Time between heartbeats.
const HEARTBEAT_INTERVAL: Span = Span::millis(500);
/// Events that are kept.
const EVENTS_KEPT: u32 = 10_000;

/// Stands in for an address.
pub(super) const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Reads the whole file for one node.
pub(super) fn read(table: &DeTable<'_>, node: NodeId) -> (Local, Notes) {
    let notes = Notes::new(node);
    let local = whole(&Section::root(&notes, table));
    (local, notes)
}

fn whole(root: &Section<'_>) -> Local {
    let (cluster, key_file, [observe_only, harmless]) = cluster(root);
    let hosts = hosts(root);
    let interconnects = interconnects(root);
    let (heartbeat, times) = times(root);
    let volumes = volumes::read(root, &interconnects);
    let groups = groups::read(root, &volumes);
    let arbiter = arbiter(root);
    let aws = aws::read(root);
    let monitors = monitors::read(root, &volumes, &groups, &arbiter);
    let paths = paths(root);
    let engine = engine(root);
    let api = api(root);
    let events = root.section("events");
    let events_kept = events.same("keep").number32(100, 1_000_000).unwrap_or(EVENTS_KEPT);
    events.done();
    let lab = root.section("lab");
    let lab_boot_id = lab.own("boot_id").id();
    lab.done();
    let forced_stop = aws::forced_stop(root);
    root.finish();
    let node = root.notes.node;
    Local {
        node,
        cluster,
        key_file,
        observe_only,
        harmless,
        hosts,
        paths,
        engine,
        interconnects,
        heartbeat,
        arbiter,
        aws,
        forced_stop,
        volumes,
        groups,
        monitors,
        times,
        api,
        events_kept,
        lab_boot_id,
    }
}

fn cluster(root: &Section<'_>) -> (Named<ClusterId>, PathBuf, [bool; 2]) {
    let table = root.section("cluster");
    let id = table.same("id").need("id = \"5f1c…\" (32 hex digits; `openssl rand -hex 16`)").id();
    let name = table.same("name").need("name = \"orders\"").name();
    let key_file = table.own("key_file").need("key_file = \"/etc/lockstep/cluster.key\"").path();
    let observe_only = table.same("observe_only").flag().unwrap_or(false);
    let harmless = table.same("harmless").flag().unwrap_or(false);
    table.done();
    let named = Named { id: id.unwrap_or_default(), name: name.unwrap_or_default() };
    (named, key_file.unwrap_or_default(), [observe_only, harmless])
}

fn hosts(root: &Section<'_>) -> [Host; 2] {
    let nodes = root.section("nodes");
    let host = |key| {
        let table = nodes.section(key);
        let name = table.same("name").need("name = \"orders-1\"").name().unwrap_or_default();
        let wanted = "a list of IP addresses";
        let addresses =
            table.same("addresses").list(wanted).iter().filter_map(|v| v.ip()).collect();
        table.done();
        Host { name, addresses }
    };
    let hosts = [host("a"), host("b")];
    nodes.done();
    hosts
}

fn paths(root: &Section<'_>) -> Paths {
    let table = root.section("paths");
    let path = |key, default: &str| table.own(key).path().unwrap_or_else(|| default.into());
    let paths = Paths {
        config: path("config", "/etc/lockstep"),
        run: path("run", "/run/lockstep"),
        state: path("state", "/var/lib/lockstep"),
    };
    table.done();
    paths
}

fn engine(root: &Section<'_>) -> EngineProcess {
    let table = root.section("engine");
    let spawn = table.own("spawn").flag().unwrap_or(false);
    let program = table.own("program").path();
    table.done();
    EngineProcess { spawn, program }
}

fn interconnects(root: &Section<'_>) -> Vec<Interconnect> {
    let tables = root.sections("interconnects", INTERCONNECTS_MAX);
    if !root.has("interconnects") {
        root.lacks("interconnects", "[[interconnects]] with name, priority, address, mirror");
    }
    let one = |table: Section<'_>| {
        let name = table.same("name").need("name = \"private\"").name().unwrap_or_default();
        let priority = table.same("priority").need("priority = 1").number32(1, 100);
        let address =
            table.own("address").need("address = { a = \"10.0.1.10\", b = \"10.0.2.10\" }").ip();
        let reach = table.own("reach").ip();
        let mirror = table.same("mirror").flag().unwrap_or(false);
        table.done();
        let address = address.unwrap_or(NO_ADDRESS);
        Interconnect { name, priority: priority.unwrap_or(0), address, reach, mirror }
    };
    tables.into_iter().map(one).collect()
}

fn times(root: &Section<'_>) -> (Heartbeat, Times) {
    let default = Times::DEFAULT;
    let table = root.section("heartbeat");
    let interval = table.same("interval").time().unwrap_or(HEARTBEAT_INTERVAL);
    let heartbeat_timeout = table.same("timeout").time().unwrap_or(default.heartbeat_timeout);
    let port = table.own("port").port().unwrap_or(HEARTBEAT_PORT);
    table.done();
    let table = root.section("times");
    let suspend = table.same("suspend_max");
    let suspend_max =
        if suspend.says("never") { None } else { suspend.time().or(default.suspend_max) };
    let time = |key, default| table.same(key).time().unwrap_or(default);
    let times = Times {
        ping: time("ping", default.ping),
        link_dead: time("link_dead", default.link_dead),
        grace: time("grace", default.grace),
        arbiter_attempt: time("arbiter_attempt", default.arbiter_attempt),
        lease: time("lease", default.lease),
        fence: time("fence", default.fence),
        heartbeat_timeout,
        margin: time("margin", default.margin),
        suspend_max,
        ack_timeout: time("ack_timeout", default.ack_timeout),
        life_interval: time("life_interval", default.life_interval),
        hello: time("hello", default.hello),
        sync_stall: time("sync_stall", default.sync_stall),
    };
    table.done();
    (Heartbeat { interval, port }, times)
}

#[derive(Clone, Copy)]
enum ArbiterKind {
    Directory,
    Etcd,
    None,
    Dynamodb,
}

fn arbiter(root: &Section<'_>) -> ArbiterSpec {
    let stand_in = ArbiterSpec::Directory(PathBuf::new());
    let table = root.section("arbiter");
    if !table.is_there() {
        if !root.has("arbiter") {
            let example = "[arbiter] with type = \"etcd\", \"dynamodb\", \"directory\" or \
                           \"none\": where the record lives decides who may serve, so it has no \
                           default";
            root.lacks("arbiter", example);
        }
        return stand_in;
    }
    let kinds = [
        ("directory", ArbiterKind::Directory),
        ("etcd", ArbiterKind::Etcd),
        ("none", ArbiterKind::None),
        ("dynamodb", ArbiterKind::Dynamodb),
    ];
    let kind = table.same("type").need("type = \"etcd\"");
    let Some(word) = kind.word(&kinds) else {
        table.ignore();
        table.done();
        return stand_in;
    };
    let spec = match word {
        ArbiterKind::Directory => {
            table.is_a("directory");
            let path = table.own("directory").need("directory = \"/mnt/shared/lockstep\"").path();
            ArbiterSpec::Directory(path.unwrap_or_default())
        }
        ArbiterKind::Etcd => {
            table.is_a("etcd");
            ArbiterSpec::Etcd(etcd(&table))
        }
        ArbiterKind::None => {
            table.is_a("none");
            let example =
                "probe = \"gateway\" (a ping or port monitor that tells an isolated node)";
            let probe = table.same("probe").need(example).name().unwrap_or_default();
            ArbiterSpec::None { probe }
        }
        ArbiterKind::Dynamodb => {
            table.is_a("dynamodb");
            ArbiterSpec::Dynamodb { table: aws::table(&table) }
        }
    };
    table.done();
    spec
}

fn etcd(table: &Section<'_>) -> EtcdSpec {
    let wanted = "a list such as [\"https://10.0.1.20:2379\", \"https://10.0.2.20:2379\"]";
    let list = table.own("endpoints").need("endpoints = [\"https://10.0.1.20:2379\"]");
    let entries = list.list(wanted);
    if list.is_there() && entries.is_empty() {
        list.fail(Wrong::Missing { example: "endpoints = [\"https://10.0.1.20:2379\"]" });
    }
    let mut endpoints = Vec::new();
    for entry in &entries {
        let Some(text) = entry.text(wanted) else { continue };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        let host = rest.map(|rest| rest.trim_end_matches('/'));
        if host.is_some_and(|host| !host.is_empty() && host.chars().all(plain)) {
            endpoints.push(text.trim_end_matches('/').to_owned());
        } else {
            let found = format!("\"{text}\"");
            let wanted = "\"https://HOST:PORT\" or \"http://HOST:PORT\"";
            entry.fail(Wrong::Expected { wanted, found });
        }
    }
    let prefix = table.same("prefix").text("a text such as \"/lockstep\"");
    let spec = EtcdSpec {
        prefix: prefix.unwrap_or("/lockstep").trim_end_matches('/').to_owned(),
        ca_file: table.own("ca_file").path(),
        cert_file: table.own("cert_file").path(),
        key_file: table.own("key_file").path(),
        credentials_file: table.own("credentials_file").path(),
        endpoints,
    };
    etcd_security(table, &list, &spec);
    spec
}

fn etcd_security(table: &Section<'_>, list: &super::section::Value<'_, '_>, spec: &EtcdSpec) {
    let secure = |endpoint: &String| endpoint.starts_with("https://");
    if spec.endpoints.iter().any(secure) && !table.has("ca_file") {
        let example = "ca_file = \"/etc/lockstep/etcd-ca.pem\"";
        list.fail(Wrong::Needs { other: "ca_file", example });
    }
    let needs = |key: &str, other, example| {
        table.notes.at_key(&table.key(key), Wrong::Needs { other, example });
    };
    if table.has("cert_file") && !table.has("key_file") {
        needs("cert_file", "key_file", "key_file = \"/etc/lockstep/etcd-client.key\"");
    }
    if table.has("key_file") && !table.has("cert_file") {
        needs("key_file", "cert_file", "cert_file = \"/etc/lockstep/etcd-client.pem\"");
    }
    if table.has("credentials_file") && !spec.endpoints.iter().all(secure) {
        // A password does not travel in the clear.
        let example = "endpoints = [\"https://10.0.1.20:2379\"]";
        needs("credentials_file", "https in every endpoint", example);
    }
}

fn api(root: &Section<'_>) -> Option<ApiSpec> {
    let table = root.section("api");
    let there = table.is_there();
    let listen = table.own("listen");
    let example = "listen = { a = \"10.0.1.10:7791\", b = \"10.0.2.10:7791\" }";
    let listen = if there { listen.need(example) } else { listen }.socket();
    let token_file = table.own("token_file").path();
    let cert_file = table.own("cert_file").path();
    let key_file = table.own("key_file").path();
    let client_ca_file = table.own("client_ca_file").path();
    if there {
        api_security(&table, listen);
    }
    table.done();
    let stand_in = SocketAddr::new(NO_ADDRESS, 0);
    let tls = cert_file.map(|cert_file| ApiTls {
        cert_file,
        key_file: key_file.unwrap_or_default(),
        client_ca_file,
    });
    // The peer's address is that of the other reading; `view` puts it in.
    let listen = listen.unwrap_or(stand_in);
    there.then_some(ApiSpec { listen, peer: stand_in, token_file, tls })
}

/// Nobody controls a node without saying who it is, and no secret travels in the clear.
fn api_security(table: &Section<'_>, listen: Option<SocketAddr>) {
    let needs = |key: &str, other, example| {
        table.notes.at_key(&table.key(key), Wrong::Needs { other, example });
    };
    let certificate = "cert_file = \"/etc/lockstep/api.pem\"";
    if !table.has("token_file") && !table.has("client_ca_file") {
        let other = "token_file or client_ca_file";
        needs("listen", other, "token_file = \"/etc/lockstep/api.token\"");
    }
    if table.has("cert_file") && !table.has("key_file") {
        needs("cert_file", "key_file", "key_file = \"/etc/lockstep/api.key\"");
    }
    if table.has("key_file") && !table.has("cert_file") {
        needs("key_file", "cert_file", certificate);
    }
    if table.has("client_ca_file") && !table.has("cert_file") {
        needs("client_ca_file", "cert_file", certificate);
    }
    let outside = listen.is_some_and(|listen| !listen.ip().is_loopback());
    if outside && !table.has("cert_file") {
        needs("listen", "cert_file, since others can listen in", certificate);
    }
}
