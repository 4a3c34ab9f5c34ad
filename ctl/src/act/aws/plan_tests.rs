//! The plan is what Terraform reads, and it and the configuration agree in both directions.

use super::*;
use hcl::{Block, Body, Expression};
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("example.toml");

fn cluster(text: &str) -> Cluster {
    Cluster::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn planned(text: &str) -> (String, Body) {
    let text = plan(&cluster(text)).unwrap();
    let body = hcl::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, body)
}

/// The one with only its VIP, or only its elastic address.
fn only(kind: &str) -> String {
    let other = if kind == "aws_vip" { "aws_eip" } else { "aws_vip" };
    let parts = EXAMPLE.split("[[groups.resources]]\n");
    let kept: Vec<&str> = parts.filter(|part| !part.contains(&format!("\"{other}\""))).collect();
    let mut text = kept.join("[[groups.resources]]\n");
    // What follows the last resource goes with it.
    if !text.contains("[[monitors]]") {
        text.push_str(&EXAMPLE[EXAMPLE.find("[[monitors]]").unwrap()..]);
    }
    text
}

fn resources<'a>(body: &'a Body, kind: &str) -> Vec<(String, &'a Block)> {
    let of_kind =
        |block: &&Block| block.identifier() == "resource" && block.labels()[0].as_str() == kind;
    let named = |block: &'a Block| (block.labels()[1].as_str().to_owned(), block);
    body.blocks().filter(of_kind).map(named).collect()
}

fn value(block: &Block, key: &str) -> String {
    let found = block.body().attributes().find(|one| one.key() == key);
    match found.unwrap_or_else(|| panic!("no {key} in {block:?}")).expr() {
        Expression::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn names_and_addresses_are_the_configurations() {
    let (text, body) = planned(EXAMPLE);
    let cards: Vec<(String, String)> = resources(&body, "aws_network_interface")
        .into_iter()
        .map(|(name, block)| {
            assert_eq!(value(block, "source_dest_check"), "false", "{name}");
            let list: String = value(block, "private_ip_list");
            (name, list.replace(['[', ']', '"', ' ', '\n', ','], ""))
        })
        .collect();
    let wanted = [
        ("node_a", "10.0.1.10"),
        ("node_a_2", "10.0.3.10"),
        ("node_b", "10.0.2.10"),
        ("node_b_2", "10.0.4.10"),
    ];
    assert_eq!(cards, wanted.map(|(name, ip)| (name.to_owned(), ip.to_owned())));
    let vpc = resources(&body, "aws_vpc");
    assert_eq!(value(vpc[0].1, "cidr_block"), "10.0.0.0/16");
    let tables = resources(&body, "aws_dynamodb_table");
    assert_eq!(value(tables[0].1, "name"), "lockstep");
    assert_eq!(value(tables[0].1, "hash_key"), "id");
    for said in ["zone_a = \"eu-central-1b\"", "zone_b = \"eu-central-1c\"", "set-hostname shop-1"]
    {
        assert!(text.contains(said), "{said}");
    }
    // Each VIP in each table, and never moved by a second run.
    let routes = resources(&body, "aws_route");
    let vips = routes
        .iter()
        .filter(|(_, route)| value(route, "destination_cidr_block") == "10.99.0.10/32");
    let vips: Vec<_> = vips.collect();
    assert_eq!(vips.len(), resources(&body, "aws_route_table").len());
    for (name, route) in vips {
        let kept = route.body().blocks().find(|block| block.identifier() == "lifecycle");
        assert_eq!(
            value(kept.unwrap(), "ignore_changes").replace(['\n', ' '], ""),
            "[network_interface_id]",
            "{name}"
        );
    }
    let disks: BTreeSet<String> =
        resources(&body, "aws_ebs_volume").into_iter().map(|(name, _)| name).collect();
    let wanted = ["orders_cluster_a", "orders_cluster_b", "orders_data_a", "orders_data_b"];
    assert_eq!(disks.into_iter().collect::<Vec<_>>(), wanted);
    let ports: BTreeSet<String> = resources(&body, "aws_security_group")[0]
        .1
        .body()
        .blocks()
        .filter(|block| block.identifier() == "ingress")
        .map(|block| value(block, "from_port"))
        .collect();
    let own = cluster(EXAMPLE);
    let own = own.local(NodeId::A);
    assert!(ports.contains(&own.heartbeat.port.to_string()) && ports.contains("7010"), "{ports:?}");
}

#[test]
fn each_id_of_the_configuration_is_a_reference_and_is_told_back() {
    let (text, body) = planned(EXAMPLE);
    for id in ["vpc-1", "eni-1", "eni-2", "eipalloc-1", "\"i-1", "\"i-2", "/i-1", "/i-2"] {
        assert!(!text.contains(id), "{id}");
    }
    let role = &resources(&body, "aws_iam_role_policy")[0].1;
    let policy = value(role, "policy");
    for reference in ["aws_vpc.main.id", "aws_eip.db_eip.id", "aws_instance.node_a.id"] {
        assert!(policy.contains(reference), "{reference} in {policy}");
    }
    // What is told goes back into the file, once it is real, and the file is read.
    let told = text.split("value = <<EOT\n").nth(1).unwrap().split("\nEOT").next().unwrap();
    let keys: Vec<&str> = told.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    let wanted = ["vpc", "eni", "allocation", "eni", "data", "cluster_partition", "instance"];
    assert_eq!(keys, wanted);
    for key in wanted {
        assert!(EXAMPLE.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for example in [EXAMPLE.to_owned(), only("aws_vip"), only("aws_eip")] {
        let (text, body) = planned(&example);
        let mut known = BTreeSet::new();
        for block in body.blocks() {
            let labels: Vec<&str> = block.labels().iter().map(|label| label.as_str()).collect();
            match block.identifier() {
                "resource" => assert!(known.insert(labels.join(".")), "{labels:?} twice"),
                "variable" => assert!(known.insert(format!("var.{}", labels[0]))),
                _ => {}
            }
        }
        let word = |letter: char| !(letter.is_ascii_alphanumeric() || "_-.".contains(letter));
        for word in text.split(word).filter(|word| word.contains('.')) {
            let parts: Vec<&str> = word.split('.').collect();
            if parts[0].starts_with("aws_") || parts[0] == "var" {
                let name = parts[..2].join(".");
                assert!(known.contains(&name), "{name} in\n{text}");
            }
        }
    }
}

#[test]
fn both_shapes_have_two_public_and_two_private_subnets() {
    for (kind, of_node, other) in
        [("aws_vip", "private", "public"), ("aws_eip", "public", "private")]
    {
        let (_, body) = planned(&only(kind));
        let names: Vec<String> =
            resources(&body, "aws_subnet").into_iter().map(|(name, _)| name).collect();
        for name in ["private_a", "private_b", "public_a", "public_b"] {
            assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
        }
        let subnets = resources(&body, "aws_subnet");
        let block = |name: &str| {
            value(subnets.iter().find(|(own, _)| own == name).unwrap().1, "cidr_block")
        };
        assert_eq!(block(&format!("{of_node}_a")), "10.0.1.0/24", "{kind}");
        assert_eq!(block(&format!("{other}_a")), "10.0.100.0/24", "{kind}");
        let endpoints = resources(&body, "aws_vpc_endpoint");
        assert_eq!(endpoints.iter().any(|(name, _)| name == "ec2"), kind == "aws_eip");
    }
}

#[test]
fn what_fits_no_vpc_is_refused() {
    let refused = |from: &str, to: &str| plan(&cluster(&EXAMPLE.replace(from, to))).unwrap_err();
    let inside = refused("10.99.0.10", "10.0.99.10");
    assert!(matches!(inside, PlanError::Inside { .. }), "{inside}");
    let same = refused("b = \"10.0.2.10\"", "b = \"10.0.1.11\"");
    assert!(matches!(same, PlanError::OneSubnet { .. }), "{same}");
    let apart = refused("b = \"10.0.2.10\"", "b = \"10.1.2.10\"");
    assert!(matches!(apart, PlanError::Apart { .. }), "{apart}");
    let alone = "allocation = \"eipalloc-1\"\neni = { a = \"eni-1\"";
    let several = refused(alone, &alone.replace("eni-1", "eni-3"));
    assert!(matches!(several, PlanError::Several { .. }), "{several}");
    let role = refused("[aws]", "[aws]\nrole = \"arn:aws:iam::123456789012:role/other\"");
    assert!(matches!(role, PlanError::Role { .. }), "{role}");
}

#[test]
fn no_text_of_the_configuration_becomes_a_reference() {
    assert_eq!(quoted("a\"${b}%{c}\\"), "\"a\\\"$${b}%%{c}\\\\\"");
    let body = hcl::parse(&format!("x = {}", quoted("${a} %{b}"))).unwrap();
    assert_eq!(body.attributes().count(), 1);
    assert_eq!(label("9.x y"), "n_9_x_y");
}
