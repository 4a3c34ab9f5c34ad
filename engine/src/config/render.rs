//! The canonical text of a configuration: every key, in one order, nothing implied.
//! Always: two equal configurations give the same bytes.

use super::{EngineConfig, Named};
use crate::replica::settings::AckMode;
use crate::units::Span;
use std::fmt::{Display, Write};
use std::path::Path;
use toml::Value;

struct Text(String);

impl Text {
    fn raw(&mut self, key: &str, value: impl Display) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }
    fn text(&mut self, key: &str, value: impl Display) {
        self.raw(key, Value::String(value.to_string()));
    }
    fn path(&mut self, key: &str, value: &Path) {
        self.text(key, value.display());
    }
    fn ms(&mut self, key: &str, value: Span) {
        self.raw(key, value.as_millis());
    }
    fn table(&mut self, name: &str) {
        let _ = writeln!(self.0, "\n[{name}]");
    }
    fn named<Id: Display>(&mut self, name: &str, value: &Named<Id>) {
        self.table(name);
        self.text("id", &value.id);
        self.text("name", &value.name);
    }
}

pub(super) fn render(config: &EngineConfig) -> String {
    let mut out = Text(String::new());
    out.text("node", config.node);
    out.path("data", &config.data);
    out.path("cluster_partition", &config.cluster_partition);
    if let Some(device) = config.device {
        out.text("device", device.shown(&config.volume.name));
    }
    out.path("admin", &config.admin);
    let ack = match config.ack {
        AckMode::Written => "written",
        AckMode::Received => "received",
    };
    out.text("ack", ack);
    out.ms("intent_idle_ms", config.intent_idle);
    out.named("cluster", &config.cluster);
    out.named("group", &config.group);
    out.named("volume", &config.volume);
    out.table("clients");
    if let Some(unix) = &config.clients.unix {
        out.path("unix", unix);
    }
    let tcp: Vec<Value> =
        config.clients.tcp.iter().map(|address| Value::String(address.to_string())).collect();
    out.raw("tcp", Value::Array(tcp));
    out.table("link");
    out.text("listen", config.link.listen);
    out.text("peer", config.link.peer);
    out.raw("flows", config.link.flows);
    out.path("key_file", &config.link.key_file);
    out.table("sync");
    out.raw("digests", config.sync.digests);
    out.raw("window", config.sync.window);
    if let Some(rate) = config.sync.rate_max {
        out.raw("rate_max", rate);
    }
    out.raw("rate_floor", config.sync.rate_floor);
    out.ms("delay_target_ms", config.sync.delay_target);
    times(config, &mut out);
    out.table("limits");
    out.raw("intent_regions", config.limits.intent_regions);
    out.raw("connections", config.limits.connections);
    out.raw("lock_memory", config.limits.lock_memory);
    out.raw("poll_us", config.limits.poll.0 / 1_000);
    out.0
}

fn times(config: &EngineConfig, out: &mut Text) {
    let times = &config.times;
    out.table("times");
    out.ms("ping_ms", times.ping);
    out.ms("link_dead_ms", times.link_dead);
    out.ms("grace_ms", times.grace);
    out.ms("arbiter_attempt_ms", times.arbiter_attempt);
    out.ms("lease_ms", times.lease);
    out.ms("fence_ms", times.fence);
    out.ms("heartbeat_timeout_ms", times.heartbeat_timeout);
    out.ms("margin_ms", times.margin);
    match times.suspend_max {
        Some(span) => out.ms("suspend_max_ms", span),
        None => out.text("suspend_max_ms", "never"),
    }
    out.ms("ack_timeout_ms", times.ack_timeout);
    out.ms("life_interval_ms", times.life_interval);
    out.ms("hello_ms", times.hello);
    out.ms("sync_stall_ms", times.sync_stall);
}
