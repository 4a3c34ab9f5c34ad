//! From a TOML table to a configuration: takes each key once, notes every problem, and at the end
//! names the keys that nobody took.

use super::{
    CONNECTIONS_MAX, ClientsConfig, EngineConfig, KernelDevice, LimitsConfig, LinkConfig, Named,
    POLL_US_MAX, Problem, SyncConfig, Wrong,
};
use crate::limits::{
    FLOWS_DEFAULT, FLOWS_MAX, INTENT_IDLE, INTENT_REGIONS_MAX, INTENT_REGIONS_MIN, SYNC_OPS_MAX,
    Times,
};
use crate::replica::settings::AckMode;
use crate::units::{NodeId, Span};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use toml::{Table, Value};

/// Longest time that a key may name: a day.
const TIME_MS_MAX: u64 = 86_400_000;

/// One table of the file and the keys taken from it.
struct Section<'a> {
    name: &'static str,
    table: Option<&'a Table>,
    known: RefCell<Vec<&'static str>>,
    problems: &'a RefCell<Vec<Problem>>,
}

fn show(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_string(),
        other => other.to_string(),
    }
}

impl<'a> Section<'a> {
    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) }
    }

    fn problem(&self, key: &str, what: Wrong) {
        self.problems.borrow_mut().push(Problem { key: self.key(key), what });
    }

    fn take(&self, key: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn expected(&self, key: &str, wanted: &'static str, found: &Value) {
        self.problem(key, Wrong::Expected { wanted, found: show(found) });
    }

    fn section(&self, key: &'static str) -> Section<'a> {
        let table = match self.take(key) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.expected(key, "a table", other);
                None
            }
        };
        let (known, problems) = (RefCell::default(), self.problems);
        Section { name: key, table, known, problems }
    }

    /// A text that parses, or `None` with a problem noted unless the key is simply absent.
    fn text<T: FromStr>(&self, key: &'static str, wanted: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let parsed = value.as_str().filter(|text| !text.is_empty()).and_then(|t| t.parse().ok());
        if parsed.is_none() {
            self.expected(key, wanted, value);
        }
        parsed
    }

    fn missing(&self, key: &'static str, example: &'static str) {
        let present = self.table.is_some_and(|table| table.contains_key(key));
        if !present {
            self.problem(key, Wrong::Missing { example });
        }
    }

    fn required<T: FromStr>(
        &self,
        key: &'static str,
        wanted: &'static str,
        example: &'static str,
    ) -> Option<T> {
        self.missing(key, example);
        self.text(key, wanted)
    }

    fn path(&self, key: &'static str) -> Option<PathBuf> {
        let path = self.text::<PathBuf>(key, "an absolute path")?;
        if path.is_absolute() {
            return Some(path);
        }
        let found = format!("{:?}", path.display().to_string());
        self.problem(key, Wrong::Expected { wanted: "an absolute path", found });
        None
    }

    fn required_path(&self, key: &'static str, example: &'static str) -> Option<PathBuf> {
        self.missing(key, example);
        self.path(key)
    }

    fn number(&self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        let value = self.take(key)?;
        let Some(found) = value.as_integer() else {
            self.expected(key, "a whole number", value);
            return None;
        };
        let number = u64::try_from(found).ok().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.problem(key, Wrong::Range { found, min, max });
        }
        number
    }

    fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        if value.as_bool().is_none() {
            self.expected(key, "true or false", value);
        }
        value.as_bool()
    }

    fn millis(&self, key: &'static str, into: &mut Span) {
        if let Some(ms) = self.number(key, 1, TIME_MS_MAX) {
            *into = Span::millis(ms);
        }
    }

    fn named<Id: FromStr>(&self, key: &'static str) -> Option<Named<Id>> {
        let section = self.section(key);
        let wanted = "1 to 32 hex digits, not all zero";
        let example = "id = \"7f3a…\" (32 hex digits)";
        let id = section.required::<Nonzero<Id>>("id", wanted, example);
        let name = section.required("name", "a name", "name = \"orders\"");
        section.done();
        Some(Named { id: id?.0, name: name? })
    }

    /// Notes the keys that nobody took.
    fn done(&self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(Table::keys) {
            if !known.contains(&key.as_str()) {
                let mut known = known.clone();
                known.sort_unstable();
                self.problem(key, Wrong::Unknown { known });
            }
        }
    }
}

/// An identity that is present.
struct Nonzero<Id>(Id);

impl<Id: FromStr> FromStr for Nonzero<Id> {
    type Err = ();
    fn from_str(text: &str) -> Result<Nonzero<Id>, ()> {
        let present = text.bytes().any(|byte| byte != b'0') && !text.starts_with('+');
        let id = text.parse().map_err(|_| ())?;
        if present { Ok(Nonzero(id)) } else { Err(()) }
    }
}

/// The configuration of the table, or every problem that it has.
pub(super) fn read(table: &Table) -> Result<EngineConfig, Vec<Problem>> {
    let problems = RefCell::new(Vec::new());
    let known = RefCell::default();
    let root = Section { name: "", table: Some(table), known, problems: &problems };
    let config = whole(&root);
    root.done();
    let mut problems = problems.into_inner();
    if let Some(config) = config {
        problems.extend(config.check_whole());
        if problems.is_empty() {
            return Ok(config);
        }
    }
    Err(problems)
}

fn whole(root: &Section<'_>) -> Option<EngineConfig> {
    // Every part is read before any of them is missed: all problems at once.
    let cluster = root.named("cluster");
    let group = root.named("group");
    let volume: Option<Named<_>> = root.named("volume");
    let node = node(root);
    let data = root.required_path("data", "data = \"/dev/disk/by-id/…\"");
    let cluster_partition =
        root.required_path("cluster_partition", "cluster_partition = \"/dev/disk/by-id/…\"");
    let device = device(root, volume.as_ref().map_or("", |volume| volume.name.as_str()));
    let admin = root.required_path("admin", "admin = \"/run/lockstep/orders.admin\"");
    let ack = ack(root);
    let mut intent_idle = INTENT_IDLE;
    root.millis("intent_idle_ms", &mut intent_idle);
    let clients = clients(root);
    let link = link(root);
    let sync = sync(root);
    let times = times(root);
    let limits = limits(root);
    Some(EngineConfig {
        cluster: cluster?,
        group: group?,
        volume: volume?,
        node: node?,
        data: data?,
        cluster_partition: cluster_partition?,
        device,
        admin: admin?,
        ack: ack?,
        intent_idle,
        clients,
        link: link?,
        sync,
        times,
        limits,
    })
}

fn device(root: &Section<'_>, volume: &str) -> Option<KernelDevice> {
    let value = root.take("device")?;
    let path = value.as_str().map(PathBuf::from);
    let device = path.and_then(|path| KernelDevice::parse(&path, volume));
    if device.is_none() {
        root.expected("device", KernelDevice::WANTED, value);
    }
    device
}

fn node(root: &Section<'_>) -> Option<NodeId> {
    root.missing("node", "node = \"a\"");
    let value = root.take("node")?;
    match value.as_str() {
        Some("a") => Some(NodeId::A),
        Some("b") => Some(NodeId::B),
        _ => {
            root.expected("node", "\"a\" or \"b\"", value);
            None
        }
    }
}

fn ack(root: &Section<'_>) -> Option<AckMode> {
    let Some(value) = root.take("ack") else { return Some(AckMode::Written) };
    match value.as_str() {
        Some("written") => return Some(AckMode::Written),
        Some("received") => return Some(AckMode::Received),
        Some("local") => root.problem("ack", Wrong::LocalAck),
        _ => root.expected("ack", "\"written\" or \"received\"", value),
    }
    None
}

fn clients(root: &Section<'_>) -> ClientsConfig {
    let section = root.section("clients");
    let unix = section.path("unix");
    let mut tcp = Vec::new();
    if let Some(value) = section.take("tcp") {
        let wanted = "a list of addresses such as [\"127.0.0.1:10809\"]";
        let entries = value.as_array().map(Vec::as_slice);
        if entries.is_none() {
            section.expected("tcp", wanted, value);
        }
        for entry in entries.unwrap_or_default() {
            match entry.as_str().and_then(|text| text.parse::<SocketAddr>().ok()) {
                Some(address) => tcp.push(address),
                None => section.expected("tcp", wanted, entry),
            }
        }
    }
    section.done();
    ClientsConfig { unix, tcp }
}

fn link(root: &Section<'_>) -> Option<LinkConfig> {
    let section = root.section("link");
    let wanted = "an address with port, such as \"10.0.1.5:7010\" (a name is not looked up here)";
    let listen = section.required("listen", wanted, "listen = \"10.0.1.5:7010\"");
    let peer = section.required("peer", wanted, "peer = \"10.0.2.5:7010\"");
    let flows = section.number("flows", 1, u64::from(FLOWS_MAX));
    let key_file = section.required_path("key_file", "key_file = \"/etc/lockstep/link.key\"");
    section.done();
    Some(LinkConfig {
        listen: listen?,
        peer: peer?,
        flows: flows.and_then(|flows| u8::try_from(flows).ok()).unwrap_or(FLOWS_DEFAULT),
        key_file: key_file?,
    })
}

fn sync(root: &Section<'_>) -> SyncConfig {
    let section = root.section("sync");
    let default = SyncConfig::default();
    let window = section.number("window", 1, SYNC_OPS_MAX as u64);
    let mut delay_target = default.delay_target;
    section.millis("delay_target_ms", &mut delay_target);
    let config = SyncConfig {
        digests: section.flag("digests").unwrap_or(default.digests),
        window: window.and_then(|n| usize::try_from(n).ok()).unwrap_or(default.window),
        // A megabyte a second at least: a resync that can't gain ground never ends.
        rate_max: section.number("rate_max", 1 << 20, 1 << 40),
        rate_floor: section.number("rate_floor", 1 << 20, 1 << 40).unwrap_or(default.rate_floor),
        delay_target,
    };
    section.done();
    config
}

fn times(root: &Section<'_>) -> Times {
    let section = root.section("times");
    let mut times = Times::DEFAULT;
    section.millis("ping_ms", &mut times.ping);
    section.millis("link_dead_ms", &mut times.link_dead);
    section.millis("grace_ms", &mut times.grace);
    section.millis("arbiter_attempt_ms", &mut times.arbiter_attempt);
    section.millis("lease_ms", &mut times.lease);
    section.millis("fence_ms", &mut times.fence);
    section.millis("heartbeat_timeout_ms", &mut times.heartbeat_timeout);
    section.millis("margin_ms", &mut times.margin);
    section.millis("ack_timeout_ms", &mut times.ack_timeout);
    section.millis("life_interval_ms", &mut times.life_interval);
    section.millis("hello_ms", &mut times.hello);
    section.millis("sync_stall_ms", &mut times.sync_stall);
    let never = section
        .table
        .and_then(|table| table.get("suspend_max_ms"))
        .is_some_and(|value| value.as_str() == Some("never"));
    if never {
        section.take("suspend_max_ms");
        times.suspend_max = None;
    } else if let Some(ms) = section.number("suspend_max_ms", 1, TIME_MS_MAX) {
        times.suspend_max = Some(Span::millis(ms));
    }
    section.done();
    times
}

fn limits(root: &Section<'_>) -> LimitsConfig {
    let section = root.section("limits");
    let default = LimitsConfig::default();
    let (min, max) = (u64::from(INTENT_REGIONS_MIN), u64::from(INTENT_REGIONS_MAX));
    let small = |number: Option<u64>, default| {
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let config = LimitsConfig {
        intent_regions: small(section.number("intent_regions", min, max), default.intent_regions),
        connections: small(
            section.number("connections", 1, u64::from(CONNECTIONS_MAX)),
            default.connections,
        ),
        lock_memory: section.flag("lock_memory").unwrap_or(default.lock_memory),
        poll: section.number("poll_us", 0, POLL_US_MAX).map_or(default.poll, |us| Span(us * 1_000)),
    };
    section.done();
    config
}
