//! What `config init` has to know, and the file that follows from it. Pure: answers and random ids
//! in, text out. Always: answers that make sense give a text that passes every check; answers that
//! do not are found by the same checks.

use serde::Deserialize;
use std::fmt::{self, Write};

/// First port of mirror links; the following volumes take the following ones.
const PORT_FIRST: u16 = 7010;

/// A value for each node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair<T> {
    /// Node a.
    pub a: T,
    /// Node b.
    pub b: T,
}

/// Where the record lives.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ArbiterAnswer {
    /// A directory that both nodes see.
    Directory(String),
    /// Addresses of etcd, and the certificates to trust.
    Etcd {
        /// `https://HOST:PORT`.
        endpoints: Vec<String>,
        /// Needed with `https`.
        ca_file: Option<String>,
    },
    /// A table of DynamoDB.
    Dynamodb(String),
    /// Nowhere: the ping targets tell an isolated node.
    None,
}

/// One volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeAnswer {
    /// Its name.
    pub name: String,
    /// Data partitions.
    pub data: Pair<String>,
    /// Cluster partitions.
    pub cluster_partition: Pair<String>,
    /// `ext4` or `xfs`; without it, no file system is mounted.
    pub fs: Option<String>,
    /// Where it is mounted.
    pub mount_point: Option<String>,
}

/// The group that holds every volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupAnswer {
    /// Its name.
    pub name: String,
    /// Address of the service.
    pub address: Option<String>,
    /// Interfaces that carry the addresses.
    pub interface: Option<Pair<String>>,
    /// VPC whose routes lead to `address`.
    pub vpc: Option<String>,
    /// Allocation of an elastic address.
    pub allocation: Option<String>,
    /// Unit of the service.
    pub unit: Option<String>,
}

/// All answers.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// Name of the cluster.
    pub cluster: String,
    /// Host names.
    pub nodes: Pair<String>,
    /// Addresses, best interconnect first; the first carries the mirror.
    pub interconnects: Vec<Pair<String>>,
    /// Where the record lives.
    pub arbiter: ArbiterAnswer,
    /// Volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeAnswer>,
    /// The group.
    pub group: Option<GroupAnswer>,
    /// An address beyond each node that answers pings.
    pub ping: Option<Pair<String>>,
}

/// Answers that can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswersError {
    /// The reader's words, with line and column.
    pub detail: String,
}

impl fmt::Display for AnswersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answers: {}; correct it and run again", self.detail.trim_end())
    }
}

impl std::error::Error for AnswersError {}

struct Text(String);

impl Text {
    fn line(&mut self, line: impl fmt::Display) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{line}");
    }
    fn head(&mut self, head: &str) {
        self.line(format_args!("\n{head}"));
    }
    fn text(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {}", quoted(value)));
    }
    fn pair(&mut self, key: &str, pair: &Pair<String>) {
        if pair.a == pair.b {
            return self.text(key, &pair.a);
        }
        let (a, b) = (quoted(&pair.a), quoted(&pair.b));
        self.line(format_args!("{key} = {{ a = {a}, b = {b} }}"));
    }
    fn id(&mut self, id: u128) {
        self.text("id", &format!("{id:032x}"));
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Answers {
    /// Answers from a file.
    ///
    /// # Errors
    /// It is no TOML, or lacks an answer, or has one that nobody asked for.
    pub fn parse(text: &str) -> Result<Answers, AnswersError> {
        toml::from_str(text).map_err(|error| AnswersError { detail: error.to_string() })
    }

    /// The text of a `cluster.toml`. `draw` gives a new random id, never zero.
    pub fn render(&self, draw: &mut dyn FnMut() -> u128) -> String {
        let mut out = Text(
            "# The same file on both nodes. Every key with its meaning: cluster.sample.toml.\n"
                .to_owned(),
        );
        out.head("[cluster]");
        out.id(draw());
        out.text("name", &self.cluster);
        out.text("key_file", "/etc/lockstep/cluster.key");
        for (node, name) in [("a", &self.nodes.a), ("b", &self.nodes.b)] {
            out.head(&format!("[nodes.{node}]"));
            out.text("name", name);
        }
        for (n, addresses) in self.interconnects.iter().enumerate() {
            out.head("[[interconnects]]");
            out.text("name", &format!("interconnect-{}", n + 1));
            out.line(format_args!("priority = {}", n + 1));
            let (a, b) = (quoted(&addresses.a), quoted(&addresses.b));
            out.line(format_args!("address = {{ a = {a}, b = {b} }}"));
            out.line(format_args!("mirror = {}", n == 0));
        }
        self.arbiter(&mut out);
        for (n, volume) in self.volumes.iter().enumerate() {
            out.head("[[volumes]]");
            out.id(draw());
            out.text("name", &volume.name);
            out.pair("data", &volume.data);
            out.pair("cluster_partition", &volume.cluster_partition);
            out.text("device", &format!("/dev/lockstep/{}", volume.name));
            let port = u16::try_from(n).unwrap_or(u16::MAX).saturating_add(PORT_FIRST);
            out.line(format_args!("port = {port}"));
        }
        if let Some(group) = &self.group {
            self.group(&mut out, group, draw());
        }
        if self.group.as_ref().is_some_and(|one| one.vpc.is_some() || one.allocation.is_some()) {
            out.head("[[monitors]]");
            out.text("name", "zone");
            out.text("type", "aws_az");
        }
        if let Some(ping) = &self.ping {
            out.head("[[monitors]]");
            out.text("name", "gateway");
            out.text("type", "ping");
            let (a, b) = (quoted(&ping.a), quoted(&ping.b));
            out.line(format_args!("targets = {{ a = [{a}], b = [{b}] }}"));
        }
        out.0
    }

    fn arbiter(&self, out: &mut Text) {
        out.head("[arbiter]");
        match &self.arbiter {
            ArbiterAnswer::Directory(path) => {
                out.text("type", "directory");
                out.text("directory", path);
            }
            ArbiterAnswer::Etcd { endpoints, ca_file } => {
                out.text("type", "etcd");
                let list: Vec<String> = endpoints.iter().map(|one| quoted(one)).collect();
                out.line(format_args!("endpoints = [{}]", list.join(", ")));
                if let Some(file) = ca_file {
                    out.text("ca_file", file);
                }
            }
            ArbiterAnswer::Dynamodb(table) => {
                out.text("type", "dynamodb");
                out.text("table", table);
            }
            ArbiterAnswer::None => {
                out.text("type", "none");
                out.text("probe", "gateway");
            }
        }
    }

    fn group(&self, out: &mut Text, group: &GroupAnswer, id: u128) {
        out.head("[[groups]]");
        out.id(id);
        out.text("name", &group.name);
        for volume in &self.volumes {
            resource_head(out, &format!("mirror-{}", volume.name), "mirror");
            out.text("volume", &volume.name);
        }
        for volume in &self.volumes {
            let Some(fs) = &volume.fs else { continue };
            resource_head(out, &format!("fs-{}", volume.name), "fs");
            out.text("volume", &volume.name);
            out.text("fs", fs);
            out.text("mount_point", volume.mount_point.as_deref().unwrap_or_default());
        }
        let interface = group.interface.clone().unwrap_or_default();
        if let Some(address) = &group.address {
            match &group.vpc {
                Some(vpc) => {
                    resource_head(out, "vip", "aws_vip");
                    out.text("vpc", vpc);
                }
                None => resource_head(out, "address", "address"),
            }
            out.text("address", address);
            out.pair("interface", &interface);
        }
        if let Some(allocation) = &group.allocation {
            resource_head(out, "eip", "aws_eip");
            out.text("allocation", allocation);
            out.pair("interface", &interface);
        }
        if let Some(unit) = &group.unit {
            resource_head(out, "service", "unit");
            out.text("unit", unit);
        }
    }
}

fn resource_head(out: &mut Text, name: &str, kind: &str) {
    out.head("[[groups.resources]]");
    out.text("name", name);
    out.text("type", kind);
}
