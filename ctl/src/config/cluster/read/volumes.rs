//! The tables `[[volumes]]`.

use crate::config::Named;
use crate::config::cluster::section::Section;
use crate::config::cluster::{Interconnect, Volume, Wrong};
use lockstep_engine::config::{
    CONNECTIONS_MAX, ClientsConfig, KernelDevice, LimitsConfig, POLL_US_MAX, SyncConfig,
};
use lockstep_engine::limits::{
    FLOWS_DEFAULT, FLOWS_MAX, INTENT_IDLE, INTENT_REGIONS_MAX, INTENT_REGIONS_MIN, SYNC_OPS_MAX,
};
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::Span;
use std::path::PathBuf;

/// Most volumes: one process and up to 64 MiB of locked memory each.
const VOLUMES_MAX: usize = 64;

/// The volumes, in the order of the file.
pub(super) fn read(root: &Section<'_>, interconnects: &[Interconnect]) -> Vec<Volume> {
    let tables = root.sections("volumes", VOLUMES_MAX);
    tables.into_iter().map(|table| volume(&table, interconnects)).collect()
}

fn volume(table: &Section<'_>, interconnects: &[Interconnect]) -> Volume {
    let id = table.same("id").need("id = \"7f3a…\" (32 hex digits; `openssl rand -hex 16`)").id();
    let name = table.same("name").need("name = \"orders\"").name();
    let data = table.own("data").need("data = \"/dev/disk/by-id/…\"").path();
    let cluster_partition =
        table.own("cluster_partition").need("cluster_partition = \"/dev/disk/by-id/…\"").path();
    let device = device(table, name.as_deref().unwrap_or_default());
    let port = table.own("port").need("port = 7010").port();
    let interconnect = interconnect(table, interconnects);
    let flows = table.same("flows").number(1, FLOWS_MAX.into());
    let volume = Volume {
        id: Named { id: id.unwrap_or_default(), name: name.unwrap_or_default() },
        data: data.unwrap_or_default(),
        cluster_partition: cluster_partition.unwrap_or_default(),
        device,
        port: port.unwrap_or(0),
        interconnect,
        clients: clients(table),
        flows: flows.and_then(|n| u8::try_from(n).ok()).unwrap_or(FLOWS_DEFAULT),
        ack: ack(table),
        intent_idle: table.same("intent_idle").time().unwrap_or(INTENT_IDLE),
        resync: resync(table),
        limits: limits(table),
    };
    table.finish();
    volume
}

/// Where the kernel shows the volume: a path that an engine can bring about.
fn device(table: &Section<'_>, volume: &str) -> Option<PathBuf> {
    let value = table.own("device");
    let path = value.path()?;
    if KernelDevice::parse(&path, volume).is_none() {
        return value.expected(KernelDevice::WANTED);
    }
    Some(path)
}

/// The interconnect that carries the link: the one that is named, or else the best one that may.
fn interconnect(table: &Section<'_>, interconnects: &[Interconnect]) -> String {
    let carriers = || interconnects.iter().filter(|one| one.mirror);
    let value = table.same("interconnect");
    if let Some(name) = value.name() {
        if !carriers().any(|one| one.name == name) {
            let there = carriers().map(|one| one.name.as_str());
            value.no_such("interconnect with mirror = true", &name, there);
        }
        return name;
    }
    let best = carriers().min_by_key(|one| one.priority);
    if best.is_none() && !interconnects.is_empty() && !value.is_there() {
        let example = "mirror = true in the [[interconnects]] that carries the volumes";
        table.lacks("interconnect", example);
    }
    best.map(|one| one.name.clone()).unwrap_or_default()
}

fn clients(table: &Section<'_>) -> ClientsConfig {
    let unix = table.own("unix").path();
    let tcp = table.own("tcp").list("a list of addresses such as [\"127.0.0.1:10809\"]");
    ClientsConfig { unix, tcp: tcp.iter().filter_map(|value| value.socket()).collect() }
}

fn ack(table: &Section<'_>) -> AckMode {
    let value = table.same("ack");
    if value.says("local") {
        value.fail(Wrong::LocalAck);
        return AckMode::Written;
    }
    let words = [("written", AckMode::Written), ("received", AckMode::Received)];
    value.word(&words).unwrap_or(AckMode::Written)
}

fn resync(table: &Section<'_>) -> SyncConfig {
    let default = SyncConfig::default();
    let window = table.same("resync_window").number(1, SYNC_OPS_MAX as u64);
    let rate_floor = table.same("resync_rate_floor").rate(1 << 20, 1 << 40);
    let target = table.same("resync_delay_target");
    let delay_target = target.span(Span::millis(1), Span::millis(10_000));
    SyncConfig {
        digests: table.same("resync_digests").flag().unwrap_or(default.digests),
        window: window.and_then(|n| usize::try_from(n).ok()).unwrap_or(default.window),
        // A megabyte a second at least: a resync that can't gain ground never ends.
        rate_max: table.same("resync_rate_max").rate(1 << 20, 1 << 40),
        rate_floor: rate_floor.unwrap_or(default.rate_floor),
        delay_target: delay_target.unwrap_or(default.delay_target),
    }
}

fn limits(table: &Section<'_>) -> LimitsConfig {
    let default = LimitsConfig::default();
    let regions = table.same("intent_regions").number32(INTENT_REGIONS_MIN, INTENT_REGIONS_MAX);
    let poll = table.own("poll").span(Span(0), Span(POLL_US_MAX * 1_000));
    LimitsConfig {
        intent_regions: regions.unwrap_or(default.intent_regions),
        connections: table
            .own("connections")
            .number32(1, CONNECTIONS_MAX)
            .unwrap_or(default.connections),
        lock_memory: table.own("lock_memory").flag().unwrap_or(default.lock_memory),
        poll: poll.unwrap_or(default.poll),
    }
}
