//! A cluster as a flat list of facts, each with what it costs to change it (`costs`). Always: every
//! part of the model is taken apart by name, so that a new field can't be forgotten; two clusters
//! with the same facts mean the same.

mod groups;

use super::changes::Effect;
use super::costs;
use super::{
    ApiSpec, ApiTls, ArbiterSpec, AwsSpec, Cluster, EtcdSpec, ForcedStop, Host, Interconnect,
    Local, Paths, Volume, show_rate, show_span,
};
use lockstep_engine::config::{ClientsConfig, LimitsConfig, SyncConfig};
use lockstep_engine::limits::Times;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::NodeId;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

/// Names from the outside in, such as `volumes`, `orders`, `flows`.
pub(super) type Key = Vec<String>;

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fact {
    pub value: String,
    pub added: Effect,
    pub removed: Effect,
    pub changed: Effect,
}

/// Facts below one key.
struct Facts<'f> {
    all: &'f mut BTreeMap<Key, String>,
    at: Key,
}

impl Facts<'_> {
    fn below(&mut self, names: &[&str]) -> Facts<'_> {
        let mut at = self.at.clone();
        at.extend(names.iter().map(|name| (*name).to_owned()));
        Facts { all: self.all, at }
    }

    fn put(&mut self, key: &str, value: impl Display) {
        let mut at = self.at.clone();
        at.push(key.to_owned());
        self.all.insert(at, value.to_string());
    }

    fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn path(&mut self, key: &str, value: &Path) {
        self.put(key, value.display());
    }

    fn maybe_path(&mut self, key: &str, value: Option<&Path>) {
        self.maybe(key, value.map(Path::display));
    }

    fn list(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.put(key, format!("[{}]", values.join(", ")));
    }

    /// That something is there at all.
    fn there(&mut self, value: impl Display) {
        self.all.insert(self.at.clone(), value.to_string());
    }
}

/// Everything that one node reads.
pub(super) fn facts(cluster: &Cluster, node: NodeId) -> BTreeMap<Key, Fact> {
    let local = cluster.local(node);
    let mut all = BTreeMap::new();
    let mut root = Facts { all: &mut all, at: Vec::new() };
    whole(&mut root, local);
    for volume in &local.volumes {
        let link = super::view::link(local, cluster.local(node.peer()), volume);
        self::volume(&mut root, volume);
        let mut at = root.below(&["volumes", &volume.id.name]);
        at.maybe("link", link.map(|(listen, peer)| format!("{listen} to {peer}")));
    }
    all.into_iter().map(|(key, value)| (key.clone(), priced(local, &key, value))).collect()
}

/// A fact with its costs. One without a row can't be changed while anything runs.
fn priced(local: &Local, key: &Key, value: String) -> Fact {
    let holder = match &key[..] {
        [kind, name, ..] if kind == "volumes" => {
            let volume = local.volumes.iter().find(|volume| volume.id.name == *name);
            let holds = |group: &&super::Group| {
                volume.is_some_and(|v| group.settings.volumes.contains(&v.id.id))
            };
            local.groups.iter().find(holds).map(|group| group.settings.name.as_str())
        }
        _ => None,
    };
    let Some(row) = costs::row(key) else {
        let effect = || Effect::DaemonsStopped;
        return Fact { value, added: effect(), removed: effect(), changed: effect() };
    };
    let effect = |cost| costs::effect(cost, key, holder);
    Fact {
        value,
        added: effect(row.added),
        removed: effect(row.removed),
        changed: effect(row.changed),
    }
}

fn whole(root: &mut Facts<'_>, local: &Local) {
    let Local {
        node: _,
        cluster,
        key_file,
        observe_only,
        harmless,
        hosts,
        paths: Paths { config, run, state },
        engine,
        interconnects,
        heartbeat,
        arbiter,
        aws,
        forced_stop,
        volumes: _,
        groups,
        monitors,
        times,
        api,
        events_kept,
        lab_boot_id,
    } = local;
    let mut at = root.below(&["cluster"]);
    at.put("name", &cluster.name);
    at.put("observe_only", observe_only);
    at.put("harmless", harmless);
    at.put("id", cluster.id);
    at.put("key_file", key_file.display());
    for (name, Host { name: host, addresses }) in ["a", "b"].into_iter().zip(hosts) {
        let mut at = root.below(&["nodes", name]);
        at.put("name", host);
        at.list("addresses", addresses);
    }
    let mut at = root.below(&["paths"]);
    at.put("config", config.display());
    at.path("run", run);
    at.path("state", state);
    let mut at = root.below(&["engine"]);
    at.put("spawn", engine.spawn);
    at.maybe_path("program", engine.program.as_deref());
    for one in interconnects {
        interconnect(root, one);
    }
    let mut at = root.below(&["heartbeat"]);
    at.put("interval", show_span(heartbeat.interval));
    at.put("port", heartbeat.port);
    self::arbiter(root, arbiter);
    self::aws(root, aws, forced_stop.as_ref());
    self::times(root, times);
    for group in groups {
        groups::group(root, local, group);
    }
    for monitor in monitors.iter().filter(|monitor| !monitor.automatic) {
        groups::monitor(root, local, monitor);
    }
    // The peer's address is a fact of the peer.
    if let Some(ApiSpec { listen, peer: _, token_file, tls }) = api {
        let mut at = root.below(&["api"]);
        at.put("listen", listen);
        at.maybe_path("token_file", token_file.as_deref());
        if let Some(ApiTls { cert_file, key_file, client_ca_file }) = tls {
            at.path("cert_file", cert_file);
            at.path("key_file", key_file);
            at.maybe_path("client_ca_file", client_ca_file.as_deref());
        }
    }
    root.below(&["events"]).put("keep", events_kept);
    root.below(&["lab"]).maybe("boot_id", lab_boot_id.as_ref());
}

fn interconnect(root: &mut Facts<'_>, one: &Interconnect) {
    let Interconnect { name, priority, address, reach, mirror } = one;
    let mut at = root.below(&["interconnects", name]);
    at.there(address);
    at.put("priority", priority);
    at.put("address", address);
    at.maybe("reach", reach.as_ref());
    at.put("mirror", mirror);
}

fn arbiter(root: &mut Facts<'_>, arbiter: &ArbiterSpec) {
    let mut at = root.below(&["arbiter"]);
    match arbiter {
        ArbiterSpec::Directory(path) => {
            at.put("type", "directory");
            at.path("directory", path);
        }
        ArbiterSpec::Dynamodb { table } => {
            at.put("type", "dynamodb");
            at.put("table", table);
        }
        ArbiterSpec::None { probe } => {
            at.put("type", "none");
            at.put("probe", probe);
        }
        ArbiterSpec::Etcd(etcd) => {
            let EtcdSpec { endpoints, prefix, ca_file, cert_file, key_file, credentials_file } =
                etcd;
            at.put("type", "etcd");
            at.list("endpoints", endpoints);
            at.put("prefix", prefix);
            at.maybe_path("ca_file", ca_file.as_deref());
            at.maybe_path("cert_file", cert_file.as_deref());
            at.maybe_path("key_file", key_file.as_deref());
            at.maybe_path("credentials_file", credentials_file.as_deref());
        }
    }
}

fn aws(root: &mut Facts<'_>, aws: &AwsSpec, forced_stop: Option<&ForcedStop>) {
    // The peer's instance is a fact of the peer.
    if let Some(ForcedStop { own, peer: _, timeout }) = forced_stop {
        let mut at = root.below(&["forced_stop"]);
        at.put("instance", own);
        at.put("timeout", show_span(*timeout));
    }
    let AwsSpec {
        region,
        profile,
        role,
        ec2_endpoint,
        dynamodb_endpoint,
        sts_endpoint,
        metadata_endpoint,
    } = aws;
    let mut at = root.below(&["aws"]);
    let all = [
        ("region", region),
        ("profile", profile),
        ("role", role),
        ("ec2_endpoint", ec2_endpoint),
        ("dynamodb_endpoint", dynamodb_endpoint),
        ("sts_endpoint", sts_endpoint),
        ("metadata_endpoint", metadata_endpoint),
    ];
    for (key, value) in all {
        at.maybe(key, value.as_ref());
    }
}

fn times(root: &mut Facts<'_>, times: &Times) {
    let Times {
        ping,
        link_dead,
        grace,
        arbiter_attempt,
        lease,
        fence,
        heartbeat_timeout,
        margin,
        suspend_max,
        ack_timeout,
        life_interval,
        hello,
        sync_stall,
    } = times;
    let mut at = root.below(&["heartbeat"]);
    at.put("timeout", show_span(*heartbeat_timeout));
    let mut at = root.below(&["times"]);
    let never = "never".to_owned();
    at.put("suspend_max", suspend_max.map_or(never, show_span));
    let rest = [
        ("ping", ping),
        ("link_dead", link_dead),
        ("grace", grace),
        ("arbiter_attempt", arbiter_attempt),
        ("lease", lease),
        ("fence", fence),
        ("margin", margin),
        ("ack_timeout", ack_timeout),
        ("life_interval", life_interval),
        ("hello", hello),
        ("sync_stall", sync_stall),
    ];
    for (key, span) in rest {
        at.put(key, show_span(*span));
    }
}

fn volume(root: &mut Facts<'_>, volume: &Volume) {
    let Volume {
        id,
        data,
        cluster_partition,
        device,
        port,
        interconnect,
        clients: ClientsConfig { unix, tcp },
        flows,
        ack,
        intent_idle,
        resync: SyncConfig { digests, window, rate_max, rate_floor, delay_target },
        limits: LimitsConfig { intent_regions, connections, lock_memory, poll },
    } = volume;
    let mut at = root.below(&["volumes", &id.name]);
    at.there(id.id);
    at.path("data", data);
    at.path("cluster_partition", cluster_partition);
    at.maybe_path("device", device.as_deref());
    at.put("port", port);
    at.put("interconnect", interconnect);
    at.maybe_path("unix", unix.as_deref());
    at.list("tcp", tcp);
    at.put("flows", flows);
    at.put("ack", if *ack == AckMode::Written { "written" } else { "received" });
    at.put("intent_idle", show_span(*intent_idle));
    at.put("resync_digests", digests);
    at.put("resync_window", window);
    at.maybe("resync_rate_max", rate_max.map(show_rate));
    at.put("resync_rate_floor", show_rate(*rate_floor));
    at.put("resync_delay_target", show_span(*delay_target));
    at.put("intent_regions", intent_regions);
    at.put("connections", connections);
    at.put("lock_memory", lock_memory);
    at.put("poll", show_span(*poll));
}
