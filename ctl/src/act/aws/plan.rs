//! An environment in AWS that fits a configuration, as Terraform reads it: the network, machines,
//! disks, addresses, rights and the table of the arbiter. Pure: text out of a configuration.
//! Always: names and addresses are those of the configuration; ids that AWS gives are references,
//! and come back as the output `cluster_toml`; a second run never moves an address that the
//! cluster has moved.

mod layout;
mod text;

pub use layout::PlanError;

use super::policy::{Scope, document, statements};
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::Spec as Resource;
use crate::config::cluster::{ArbiterSpec, Cluster, Local};
use layout::{Layout, Vip};
use lockstep_engine::units::NodeId;
use std::collections::BTreeMap;
use text::{Text, label, quoted};

const NODES: [NodeId; 2] = [NodeId::A, NodeId::B];
/// Letters of the disks of an instance, after its root.
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

/// The plan of the environment.
///
/// # Errors
/// The addresses of the configuration fit no VPC with a subnet for each node, or a VIP is in it.
pub fn plan(cluster: &Cluster) -> Result<String, PlanError> {
    let layout = Layout::of(cluster)?;
    if let Some(role) = cluster.node(NodeId::A).aws.role.clone() {
        return Err(PlanError::Role { role });
    }
    told_apart(ids(cluster))?;
    let mut out = Text::default();
    head(&mut out, cluster);
    network(&mut out, &layout);
    routes(&mut out, &layout);
    security(&mut out, cluster.local(NodeId::A));
    for (node, cards) in NODES.into_iter().zip(&layout.cards) {
        for (at, card) in cards.iter().enumerate() {
            out.open(&format!("resource \"aws_network_interface\" \"{}\"", card.name));
            out.line(&format!("subnet_id = aws_subnet.{}.id", card.subnet));
            out.line("private_ip_list_enabled = true");
            let list: Vec<String> =
                card.addresses.iter().map(|ip| quoted(&ip.to_string())).collect();
            out.line(&format!("private_ip_list = [{}]", list.join(", ")));
            out.line("# On, the node would drop what is sent to a VIP.");
            out.line("source_dest_check = false");
            out.line("security_groups = [aws_security_group.nodes.id]");
            let name = &cluster.local(node).hosts[usize::from(node.to_byte()) - 1].name;
            out.tags(&if at == 0 { name.clone() } else { format!("{name}-{}", at + 1) });
            out.close();
        }
        machine(&mut out, cluster.local(node), &layout);
        disks(&mut out, cluster.local(node))?;
    }
    addresses(&mut out, cluster, &layout);
    rights(&mut out, cluster);
    told(&mut out, cluster);
    Ok(out.done())
}

fn zone(own: &Local) -> String {
    let named = own.monitors.iter().find_map(|monitor| match &monitor.spec {
        Probe::AwsZone { zone } => zone.clone(),
        _ => None,
    });
    named.map_or_else(|| format!("\"${{var.region}}{}\"", own.node), |zone| quoted(&zone))
}

fn variable(out: &mut Text, name: &str, description: &str, kind: &str, default: Option<&str>) {
    out.open(&format!("variable \"{name}\""));
    out.line(&format!("description = {}", quoted(description)));
    out.line(&format!("type = {kind}"));
    if let Some(default) = default {
        out.line(&format!("default = {default}"));
    }
    out.close();
}

fn head(out: &mut Text, cluster: &Cluster) {
    let own = cluster.local(NodeId::A);
    out.note(&format!("The environment of the cluster {} in AWS.", own.cluster.name));
    out.note("Made from its cluster.toml; the output cluster_toml has the ids that belong there.");
    out.open("terraform");
    out.open("required_providers");
    out.line("aws = { source = \"hashicorp/aws\", version = \"~> 5.0\" }");
    out.close();
    out.close();
    let region = own.aws.region.as_deref().map(quoted);
    variable(out, "region", "Region of everything", "string", region.as_deref());
    variable(out, "ami", "Image of the nodes: Linux 6.1 or later", "string", None);
    variable(out, "instance_type", "Kind of the nodes", "string", Some("\"m7i.large\""));
    variable(out, "key_name", "Key pair for ssh", "string", Some("null"));
    let what = "TCP ports that clients use";
    variable(out, "service_ports", what, "list(number)", Some("[]"));
    let what = "Who may reach those ports; the VPC itself may anyway";
    variable(out, "client_blocks", what, "list(string)", Some("[]"));
    variable(out, "data_gib", "Size of each data disk, GiB", "number", Some("100"));
    variable(out, "cluster_gib", "Size of each cluster disk, GiB", "number", Some("1"));
    out.open("provider \"aws\"");
    out.line("region = var.region");
    out.close();
    out.open("data \"aws_caller_identity\" \"current\"");
    out.close();
    out.open("locals");
    for node in NODES {
        out.line(&format!("zone_{node} = {}", zone(cluster.local(node))));
    }
    out.close();
}

fn network(out: &mut Text, layout: &Layout) {
    out.open("resource \"aws_vpc\" \"main\"");
    out.line(&format!("cidr_block = {}", quoted(&layout.block.to_string())));
    out.line("enable_dns_support = true");
    out.line("enable_dns_hostnames = true");
    out.tags(&layout.name);
    out.close();
    out.open("resource \"aws_internet_gateway\" \"main\"");
    out.line("vpc_id = aws_vpc.main.id");
    out.close();
    for subnet in &layout.subnets {
        out.open(&format!("resource \"aws_subnet\" \"{}\"", subnet.name));
        out.line("vpc_id = aws_vpc.main.id");
        out.line(&format!("availability_zone = local.zone_{}", subnet.node));
        out.line(&format!("cidr_block = {}", quoted(&subnet.block.to_string())));
        out.tags(&format!("{}-{}", layout.name, subnet.name));
        out.close();
    }
    for node in NODES {
        out.open(&format!("resource \"aws_eip\" \"nat_{node}\""));
        out.line("domain = \"vpc\"");
        out.close();
        out.open(&format!("resource \"aws_nat_gateway\" \"{node}\""));
        out.line(&format!("allocation_id = aws_eip.nat_{node}.id"));
        out.line(&format!("subnet_id = aws_subnet.public_{node}.id"));
        out.line("depends_on = [aws_internet_gateway.main]");
        out.close();
    }
}

fn routes(out: &mut Text, layout: &Layout) {
    for table in ["public", "private_a", "private_b"] {
        out.open(&format!("resource \"aws_route_table\" \"{table}\""));
        out.line("vpc_id = aws_vpc.main.id");
        out.tags(&format!("{}-{table}", layout.name));
        out.close();
        out.open(&format!("resource \"aws_route\" \"{table}_out\""));
        out.line(&format!("route_table_id = aws_route_table.{table}.id"));
        out.line("destination_cidr_block = \"0.0.0.0/0\"");
        out.line(&match table.strip_prefix("private_") {
            None => "gateway_id = aws_internet_gateway.main.id".to_owned(),
            Some(node) => format!("nat_gateway_id = aws_nat_gateway.{node}.id"),
        });
        out.close();
        for vip in &layout.vips {
            vip_route(out, vip, table);
        }
    }
    for subnet in &layout.subnets {
        out.open(&format!("resource \"aws_route_table_association\" \"{}\"", subnet.name));
        out.line(&format!("subnet_id = aws_subnet.{}.id", subnet.name));
        out.line(&format!("route_table_id = aws_route_table.{}.id", subnet.table));
        out.close();
    }
}

fn vip_route(out: &mut Text, vip: &Vip, table: &str) {
    out.open(&format!("resource \"aws_route\" \"{table}_{}\"", vip.label));
    out.line(&format!("route_table_id = aws_route_table.{table}.id"));
    out.line(&format!("destination_cidr_block = {}", quoted(&format!("{}/32", vip.address))));
    out.line("network_interface_id = aws_network_interface.node_a.id");
    out.note("The cluster moves it.");
    out.open("lifecycle");
    out.line("ignore_changes = [network_interface_id]");
    out.close();
    out.close();
}

fn security(out: &mut Text, own: &Local) {
    out.open("resource \"aws_security_group\" \"nodes\"");
    out.line("vpc_id = aws_vpc.main.id");
    out.line(&format!("description = {}", quoted(&format!("Nodes of {}", own.cluster.name))));
    let mut between = |what: &str, protocol: &str, ports: (i32, i32)| {
        out.open("ingress");
        out.line(&format!("description = {}", quoted(what)));
        out.line(&format!("protocol = \"{protocol}\""));
        out.line(&format!("from_port = {}", ports.0));
        out.line(&format!("to_port = {}", ports.1));
        out.line("self = true");
        out.close();
    };
    let one = |port: u16| (i32::from(port), i32::from(port));
    between("heartbeats", "udp", one(own.heartbeat.port));
    for volume in &own.volumes {
        between(&format!("link of {}", volume.id.name), "tcp", one(volume.port));
    }
    if let Some(api) = &own.api {
        between("control", "tcp", one(api.listen.port()));
    }
    between("ping", "icmp", (-1, -1));
    out.open("dynamic \"ingress\"");
    out.line("for_each = var.service_ports");
    out.open("content");
    out.line("description = \"clients\"");
    out.line("protocol = \"tcp\"");
    out.line("from_port = ingress.value");
    out.line("to_port = ingress.value");
    out.line("cidr_blocks = concat([aws_vpc.main.cidr_block], var.client_blocks)");
    out.close();
    out.close();
    out.open("egress");
    out.line("protocol = \"-1\"");
    out.line("from_port = 0");
    out.line("to_port = 0");
    out.line("cidr_blocks = [\"0.0.0.0/0\"]");
    out.close();
    out.close();
}

fn machine(out: &mut Text, own: &Local, layout: &Layout) {
    let node = own.node;
    let index = usize::from(node.to_byte()) - 1;
    let name = &own.hosts[index].name;
    out.open(&format!("resource \"aws_instance\" \"node_{node}\""));
    out.line("ami = var.ami");
    out.line("instance_type = var.instance_type");
    out.line("key_name = var.key_name");
    out.line("iam_instance_profile = aws_iam_instance_profile.nodes.name");
    out.line(&format!(
        "user_data = {}",
        quoted(&format!("#!/bin/sh\nhostnamectl set-hostname {name}\n"))
    ));
    for (at, card) in layout.cards[index].iter().enumerate() {
        out.open("network_interface");
        out.line(&format!("device_index = {at}"));
        out.line(&format!("network_interface_id = aws_network_interface.{}.id", card.name));
        out.close();
    }
    out.open("metadata_options");
    out.line("http_tokens = \"required\"");
    out.close();
    out.tags(name);
    out.close();
}

/// Data and cluster partition on disks of their own, so that no snapshot brings back both.
fn disks(out: &mut Text, own: &Local) -> Result<(), PlanError> {
    let (node, mut letters) = (own.node, LETTERS);
    for volume in &own.volumes {
        let parts = [("data", &volume.data), ("cluster", &volume.cluster_partition)];
        for (part, path) in parts {
            let Some(letter) = letters.next() else {
                return Err(PlanError::Disks { most: LETTERS.count() });
            };
            let disk = format!("{}_{part}_{node}", label(&volume.id.name));
            out.note(&format!("{} on node {node}.", path.display()));
            out.open(&format!("resource \"aws_ebs_volume\" \"{disk}\""));
            out.line(&format!("availability_zone = local.zone_{node}"));
            out.line(&format!("size = var.{part}_gib"));
            out.line("type = \"gp3\"");
            out.line("encrypted = true");
            out.tags(&format!("{}-{part}-{node}", volume.id.name));
            out.close();
            out.open(&format!("resource \"aws_volume_attachment\" \"{disk}\""));
            out.line(&format!("device_name = \"/dev/sd{letter}\""));
            out.line(&format!("volume_id = aws_ebs_volume.{disk}.id"));
            out.line(&format!("instance_id = aws_instance.node_{node}.id"));
            out.close();
        }
    }
    Ok(())
}

fn addresses(out: &mut Text, cluster: &Cluster, layout: &Layout) {
    let own = cluster.local(NodeId::A);
    for eip in &layout.eips {
        out.note("The cluster moves it, so nothing is associated here.");
        out.open(&format!("resource \"aws_eip\" \"{}\"", eip.label));
        out.line("domain = \"vpc\"");
        out.tags(&eip.name);
        out.close();
    }
    let dynamodb = matches!(own.arbiter, ArbiterSpec::Dynamodb { .. });
    if dynamodb {
        out.open("resource \"aws_vpc_endpoint\" \"dynamodb\"");
        out.line("vpc_id = aws_vpc.main.id");
        out.line("service_name = \"com.amazonaws.${var.region}.dynamodb\"");
        let tables = ["public", "private_a", "private_b"];
        let tables = tables.map(|table| format!("aws_route_table.{table}.id"));
        out.line(&format!("route_table_ids = [{}]", tables.join(", ")));
        out.close();
    }
    if layout.eips.is_empty() {
        return;
    }
    out.note("A node without the elastic address has no other way to AWS.");
    out.open("resource \"aws_security_group\" \"endpoints\"");
    out.line("vpc_id = aws_vpc.main.id");
    out.open("ingress");
    out.line("protocol = \"tcp\"");
    out.line("from_port = 443");
    out.line("to_port = 443");
    out.line("cidr_blocks = [aws_vpc.main.cidr_block]");
    out.close();
    out.close();
    let mut services = vec!["ec2"];
    if own.aws.role.is_some() {
        services.push("sts");
    }
    for service in services {
        out.open(&format!("resource \"aws_vpc_endpoint\" \"{service}\""));
        out.line("vpc_id = aws_vpc.main.id");
        out.line("vpc_endpoint_type = \"Interface\"");
        out.line(&format!("service_name = \"com.amazonaws.${{var.region}}.{service}\""));
        out.line("private_dns_enabled = true");
        out.line("subnet_ids = [aws_subnet.public_a.id, aws_subnet.public_b.id]");
        out.line("security_group_ids = [aws_security_group.endpoints.id]");
        out.close();
    }
}

fn rights(out: &mut Text, cluster: &Cluster) {
    let own = cluster.local(NodeId::A);
    out.open("resource \"aws_iam_role\" \"nodes\"");
    out.line(&format!("name = {}", quoted(&format!("lockstep-{}", own.cluster.name))));
    out.line("assume_role_policy = jsonencode({");
    out.line("  Version = \"2012-10-17\"");
    out.line("  Statement = [{");
    out.line("    Effect = \"Allow\"");
    out.line("    Action = \"sts:AssumeRole\"");
    out.line("    Principal = { Service = \"ec2.amazonaws.com\" }");
    out.line("  }]");
    out.line("})");
    out.close();
    out.open("resource \"aws_iam_instance_profile\" \"nodes\"");
    out.line("name = aws_iam_role.nodes.name");
    out.line("role = aws_iam_role.nodes.name");
    out.close();
    let account = Some("${data.aws_caller_identity.current.account_id}".to_owned());
    let all = statements(cluster, &Scope { node: None, account });
    if !all.is_empty() {
        out.note("What `lockstep aws iam-policy` prints.");
        out.open("resource \"aws_iam_role_policy\" \"nodes\"");
        out.line("name = \"lockstep\"");
        out.line("role = aws_iam_role.nodes.id");
        out.heredoc("policy", &referring(cluster, &document(&all)));
        out.close();
    }
    if let ArbiterSpec::Dynamodb { table } = &own.arbiter {
        out.note("What `lockstep aws create-arbiter` makes.");
        out.open("resource \"aws_dynamodb_table\" \"arbiter\"");
        out.line(&format!("name = {}", quoted(table)));
        out.line("billing_mode = \"PAY_PER_REQUEST\"");
        out.line("hash_key = \"id\"");
        out.line("deletion_protection_enabled = true");
        out.open("attribute");
        out.line("name = \"id\"");
        out.line("type = \"S\"");
        out.close();
        out.close();
    }
}

/// Each id of AWS in the configuration with what the plan calls it.
fn ids(cluster: &Cluster) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for node in NODES {
        let own = cluster.local(node);
        let eni = format!("${{aws_network_interface.node_{node}.id}}");
        for group in &own.groups {
            for (settings, spec) in group.settings.resources.iter().zip(&group.specs) {
                match spec {
                    Resource::AwsVip(vip) => {
                        all.push((vip.vpc.clone(), "${aws_vpc.main.id}".to_owned()));
                        all.extend(vip.eni.clone().map(|id| (id, eni.clone())));
                    }
                    Resource::AwsEip(eip) => {
                        let name = label(&format!("{}_{}", group.settings.name, settings.name));
                        all.push((eip.allocation.clone(), format!("${{aws_eip.{name}.id}}")));
                        all.extend(eip.eni.clone().map(|id| (id, eni.clone())));
                    }
                    _ => {}
                }
            }
        }
        let instance = format!("${{aws_instance.node_{node}.id}}");
        all.extend(own.forced_stop.iter().map(|stop| (stop.own.clone(), instance.clone())));
    }
    all
}

/// Refuses two ids for one thing.
fn told_apart(ids: Vec<(String, String)>) -> Result<(), PlanError> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (id, reference) in ids {
        match known.get(&reference) {
            Some(one) if *one != id => {
                return Err(PlanError::Several { one: one.clone(), other: id });
            }
            _ => known.insert(reference, id),
        };
    }
    Ok(())
}

/// A text with references in place of ids.
fn referring(cluster: &Cluster, text: &str) -> String {
    let mut text = text.to_owned();
    for (id, reference) in ids(cluster) {
        // Whole ids alone: in an ARN one ends at the quote.
        text = text.replace(&format!("/{id}\""), &format!("/{reference}\""));
    }
    text
}

/// What belongs into the configuration once the environment is there.
fn told(out: &mut Text, cluster: &Cluster) {
    let both = |of: &str| format!("{{ a = \"${{{of}_a.id}}\", b = \"${{{of}_b.id}}\" }}");
    let eni = format!("eni = {}", both("aws_network_interface.node"));
    let mut lines = Vec::new();
    let own = cluster.local(NodeId::A);
    for group in &own.groups {
        for (settings, spec) in group.settings.resources.iter().zip(&group.specs) {
            let name = format!("{}/{}", group.settings.name, settings.name);
            match spec {
                Resource::AwsVip(_) => {
                    lines.push(format!("# resource {name}"));
                    lines.push("vpc = \"${aws_vpc.main.id}\"".to_owned());
                    lines.push(eni.clone());
                }
                Resource::AwsEip(_) => {
                    let eip = label(&format!("{}_{}", group.settings.name, settings.name));
                    lines.push(format!("# resource {name}"));
                    lines.push(format!("allocation = \"${{aws_eip.{eip}.id}}\""));
                    lines.push(eni.clone());
                }
                _ => {}
            }
        }
    }
    for volume in &own.volumes {
        lines.push(format!("# volume {}", volume.id.name));
        for (key, part) in [("data", "data"), ("cluster_partition", "cluster")] {
            let path = |node: NodeId| {
                let disk = format!("{}_{part}_{node}", label(&volume.id.name));
                format!(
                    "\"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${{replace(\
                     aws_ebs_volume.{disk}.id, \"-\", \"\")}}\""
                )
            };
            let (a, b) = (path(NodeId::A), path(NodeId::B));
            lines.push(format!("{key} = {{ a = {a}, b = {b} }}"));
        }
    }
    lines.push("# [forced_stop], if it is wanted".to_owned());
    lines.push(format!("instance = {}", both("aws_instance.node")));
    out.open("output \"cluster_toml\"");
    out.line("description = \"What belongs into cluster.toml\"");
    out.heredoc("value", &lines.join("\n"));
    out.close();
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
