//! The sample is the reference; every mistake has its place; no text makes the reader panic.

mod comparison;
mod mistakes;
mod sample;
mod views;
mod wizard;

use super::*;
use std::fmt::Write;

/// The reference.
pub(super) const SAMPLE: &str = include_str!("../../../cluster.sample.toml");

/// A small cluster with everything that most tests need.
pub(super) const SMALL: &str = r#"
[cluster]
id = "c1"
name = "shop"
key_file = "/etc/lockstep/cluster.key"
[nodes.a]
name = "shop-1"
[nodes.b]
name = "shop-2.example.net"
[[interconnects]]
name = "private"
priority = 2
address = { a = "10.0.1.10", b = "10.0.2.10" }
mirror = true
[[interconnects]]
name = "management"
priority = 1
address = { a = "10.0.9.10", b = "10.0.9.20" }
[arbiter]
type = "directory"
directory = "/mnt/shared/lockstep"
[[volumes]]
id = "7f"
name = "orders"
data = { a = "/dev/a1", b = "/dev/b1" }
cluster_partition = "/dev/meta1"
device = "/dev/nbd0"
port = 7010
[[groups]]
id = "61"
name = "db"
[[groups.resources]]
name = "mirror"
type = "mirror"
volume = "orders"
[[groups.resources]]
name = "fs"
type = "fs"
volume = "orders"
fs = "xfs"
mount_point = "/srv/orders"
[[monitors]]
name = "gateway"
type = "ping"
targets = { a = ["10.0.1.1"], b = ["10.0.2.1"] }
"#;

/// Addresses of AWS for the group of the small cluster, one behind the other.
pub(super) const ADDRESSES: [&str; 2] = [
    r#"
[[groups.resources]]
name = "vip"
type = "aws_vip"
address = "10.1.0.5"
vpc = "vpc-1"
interface = "ens5"
eni = { a = "eni-a", b = "eni-b" }
"#,
    r#"
[[groups.resources]]
name = "eip"
type = "aws_eip"
allocation = "eipalloc-1"
eni = { a = "eni-a", b = "eni-b" }
"#,
];

/// The cluster of a text that must be good.
#[track_caller]
pub(super) fn good(text: &str) -> Cluster {
    Cluster::parse(text).unwrap_or_else(|mistakes| panic!("{}", told(&mistakes)))
}

/// The mistakes of a text that must have some, one a line.
#[track_caller]
pub(super) fn bad(text: &str) -> String {
    told(&Cluster::parse(text).expect_err("it was accepted"))
}

fn told(mistakes: &[Mistake]) -> String {
    mistakes.iter().fold(String::new(), |mut all, mistake| {
        let _ = writeln!(all, "{mistake}");
        all
    })
}

/// `text` with one part put in place of another, which must be there.
#[track_caller]
pub(super) fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not there");
    text.replacen(old, new, 1)
}
