//! Everything of AWS: how it is reached, the table of the record, addresses, zones, the forced
//! stop. Always: a build without AWS reads the same; `needs_aws` tells what it can't act on.

use super::Wrong;
use super::resources::interface;
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::{EipSpec, Spec, VipSpec};
use crate::config::cluster::section::{Section, Value};
use crate::config::cluster::{AwsSpec, ForcedStop};
use lockstep_engine::units::Span;
use std::net::{IpAddr, Ipv4Addr};

/// How long a forced stop is waited for.
const FORCED_STOP: Span = Span::millis(60_000);
/// Longest id of AWS that is taken.
const ID_BYTES_MAX: usize = 64;

/// The section `[aws]`; nothing of it has to be there.
pub(super) fn read(root: &Section<'_>) -> AwsSpec {
    let table = root.section("aws");
    let text = |key: &'static str, wanted| table.own(key).text(wanted).map(str::to_owned);
    let region = table.same("region").text("a region such as \"eu-central-1\"").map(str::to_owned);
    let profile = text("profile", "the name of a profile");
    let role = text("role", "an ARN such as \"arn:aws:iam::123456789012:role/lockstep\"");
    let url = |key: &'static str| {
        let wanted = "\"https://HOST\", \"https://HOST:PORT\" or the same with http";
        let value = table.own(key);
        let text = value.text(wanted)?;
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        let host = host.map(|host| host.trim_end_matches('/'));
        if host.is_some_and(|host| !host.is_empty() && host.chars().all(plain)) {
            return Some(text.trim_end_matches('/').to_owned());
        }
        value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
        None
    };
    let spec = AwsSpec {
        region,
        profile,
        role,
        ec2_endpoint: url("ec2_endpoint"),
        dynamodb_endpoint: url("dynamodb_endpoint"),
        sts_endpoint: url("sts_endpoint"),
        metadata_endpoint: url("metadata_endpoint"),
    };
    table.done();
    spec
}

/// The name of the record's table.
pub(super) fn table(table: &Section<'_>) -> String {
    let value = table.same("table").need("table = \"lockstep\"");
    let wanted = "a name of 3 to 255 letters, digits, `_`, `-` and `.`";
    let Some(text) = value.text(wanted) else { return String::new() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !(3..=255).contains(&text.len()) || !text.chars().all(plain) {
        value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
    }
    text.to_owned()
}

/// An id of AWS, such as `vpc-0a1b`; empty when its mistake was noted.
fn id(value: &Value<'_, '_>, prefix: &'static str, wanted: &'static str) -> Option<String> {
    let text = value.text(wanted)?;
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !rest.is_empty() && text.len() <= ID_BYTES_MAX && rest.chars().all(plain) {
        return Some(text.to_owned());
    }
    value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
    None
}

fn eni(table: &Section<'_>) -> Option<String> {
    let wanted = "the id of a network interface, such as \"eni-0a1b2c3d4e5f60718\"";
    id(&table.own("eni"), "eni-", wanted)
}

/// A resource `aws_vip`.
pub(super) fn vip(table: &Section<'_>) -> Spec {
    let value = table.same("address").need("address = \"10.1.0.5\"");
    let address = match value.ip() {
        Some(IpAddr::V4(address)) => address,
        Some(IpAddr::V6(found)) => {
            let wanted = "an IPv4 address outside every block of the VPC";
            value.fail(Wrong::Expected { wanted, found: format!("\"{found}\"") });
            Ipv4Addr::UNSPECIFIED
        }
        None => Ipv4Addr::UNSPECIFIED,
    };
    let vpc = table.same("vpc").need("vpc = \"vpc-0a1b2c3d4e5f60718\"");
    let vpc = id(&vpc, "vpc-", "the id of a VPC, such as \"vpc-0a1b2c3d4e5f60718\"");
    let value = table.own("interface").need("interface = \"ens5\"");
    Spec::AwsVip(VipSpec {
        address,
        interface: interface(&value).unwrap_or_default(),
        vpc: vpc.unwrap_or_default(),
        eni: eni(table),
    })
}

/// A resource `aws_eip`.
pub(super) fn eip(table: &Section<'_>) -> Spec {
    let value = table.same("allocation").need("allocation = \"eipalloc-0a1b2c3d4e5f60718\"");
    let wanted = "the id of an allocation, such as \"eipalloc-0a1b2c3d4e5f60718\"";
    let allocation = id(&value, "eipalloc-", wanted);
    let eni = eni(table);
    let value = table.own("interface");
    if table.has("eni") && value.is_there() {
        value.fail(Wrong::Both { other: "eni" });
    }
    if !table.has("eni") && !table.has("interface") {
        let example = "interface = \"ens5\", or eni = { a = \"eni-…\", b = \"eni-…\" }";
        table.lacks("interface", example);
    }
    let interface = interface(&value);
    Spec::AwsEip(EipSpec { allocation: allocation.unwrap_or_default(), eni, interface })
}

/// A monitor `aws_az`.
pub(super) fn zone(table: &Section<'_>) -> Probe {
    let wanted = "the name of an availability zone, such as \"eu-central-1a\"";
    let value = table.own("zone");
    let zone = value.text(wanted);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(text) = zone.filter(|text| !text.chars().all(plain) || !text.contains('-')) {
        value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
    }
    Probe::AwsZone { zone: zone.map(str::to_owned) }
}

/// The section `[forced_stop]`. The peer's instance is that of the other reading.
pub(super) fn forced_stop(root: &Section<'_>) -> Option<ForcedStop> {
    let table = root.section("forced_stop");
    let there = table.is_there();
    let (kind, instance) = (table.same("type"), table.own("instance"));
    let (kind, instance) = if there {
        let example = "instance = { a = \"i-0a1b2c3d4e5f60718\", b = \"i-1a1b2c3d4e5f60718\" }";
        (kind.need("type = \"aws\""), instance.need(example))
    } else {
        (kind, instance)
    };
    // One word until another cloud can stop a host.
    kind.word(&[("aws", ())]);
    let wanted = "the id of an instance, such as \"i-0a1b2c3d4e5f60718\"";
    let own = id(&instance, "i-", wanted).unwrap_or_default();
    let timeout = table.same("timeout").span(Span::millis(1_000), Span::millis(600_000));
    table.done();
    let timeout = timeout.unwrap_or(FORCED_STOP);
    there.then_some(ForcedStop { own, peer: String::new(), timeout })
}
