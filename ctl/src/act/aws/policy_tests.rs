//! Each part of a configuration leads to its statement, and nothing else does.

use super::*;

const EXAMPLE: &str = include_str!("example.toml");

fn cluster(text: &str) -> Cluster {
    Cluster::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// The example without the sections that begin so.
fn without(heads: &[&str]) -> String {
    let (mut text, mut keep) = (String::new(), true);
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            let below = lines[at + 1..].iter().take_while(|line| !line.starts_with('['));
            let section: Vec<&str> = [line].into_iter().chain(below).copied().collect();
            keep = !heads.iter().any(|head| section.contains(head));
        }
        if keep {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn of(text: &str, scope: &Scope) -> Vec<Statement> {
    statements(&cluster(text), scope)
}

fn names(all: &[Statement]) -> Vec<&'static str> {
    all.iter().map(|one| one.name).collect()
}

#[test]
fn everything_is_bound_as_far_as_aws_binds_it() {
    let account = Some("123456789012".to_owned());
    let all = of(EXAMPLE, &Scope { node: None, account });
    assert_eq!(names(&all), ["Look", "MoveVip", "MoveEip", "StopTheOther", "KeepTheRecord"]);
    let ec2 = "arn:aws:ec2:eu-central-1:123456789012";
    assert_eq!(all[0].resources, ["*"]);
    assert!(all[0].actions.iter().all(|action| action.starts_with("ec2:Describe")));
    assert_eq!(all[0].actions.len(), 6);
    assert_eq!(all[1].resources, [format!("{ec2}:route-table/*")]);
    let vpc = all[1].condition.as_ref().unwrap();
    assert_eq!((vpc.operator, vpc.key), ("ArnLike", "ec2:Vpc"));
    assert_eq!(vpc.values, [format!("{ec2}:vpc/vpc-1")]);
    let eip = ["elastic-ip/eipalloc-1", "network-interface/eni-1", "network-interface/eni-2"];
    assert_eq!(all[2].resources, eip.map(|id| format!("{ec2}:{id}")));
    assert_eq!(all[3].resources, ["i-1", "i-2"].map(|id| format!("{ec2}:instance/{id}")));
    let table = "arn:aws:dynamodb:eu-central-1:123456789012:table/lockstep";
    assert_eq!(all[4].resources, [table]);
    assert_eq!(all[4].actions, ["dynamodb:GetItem", "dynamodb:UpdateItem"]);
    let items = all[4].condition.as_ref().unwrap();
    assert_eq!(items.values, [format!("{}/*", cluster(EXAMPLE).node(NodeId::A).cluster.id)]);
    assert!(all[1..].iter().all(|one| !one.resources.contains(&"*".to_owned())));
}

#[test]
fn a_node_gets_its_own_interfaces_and_the_instance_of_the_other() {
    let scope = Scope { node: Some(NodeId::B), account: None };
    let all = of(EXAMPLE, &scope);
    let ec2 = "arn:aws:ec2:eu-central-1:*";
    let eip = ["elastic-ip/eipalloc-1", "network-interface/eni-2"];
    assert_eq!(all[2].resources, eip.map(|id| format!("{ec2}:{id}")));
    assert_eq!(all[3].resources, [format!("{ec2}:instance/i-1")]);
}

#[test]
fn what_is_not_configured_is_not_allowed() {
    let scope = Scope::default();
    let cases = [
        ("name = \"vip\"", "MoveVip", "ec2:DescribeRouteTables"),
        ("name = \"eip\"", "MoveEip", "ec2:DescribeAddresses"),
        ("[forced_stop]", "StopTheOther", "ec2:DescribeInstances"),
    ];
    for (section, gone, look) in cases {
        let all = of(&without(&[section]), &scope);
        assert!(!names(&all).contains(&gone), "{section}");
        assert!(!all[0].actions.contains(&look), "{section}");
        assert_eq!(all.len(), 4, "{section}");
    }
    let all = of(&without(&["name = \"zone\""]), &scope);
    assert!(!all[0].actions.contains(&"ec2:DescribeAvailabilityZones"));
    let no_table = EXAMPLE.replace("type = \"dynamodb\"", "type = \"directory\"");
    let no_table = no_table.replace("table = \"lockstep\"", "directory = \"/mnt/shared\"");
    assert!(!names(&of(&no_table, &scope)).contains(&"KeepTheRecord"));
    let bare = without(&["name = \"vip\"", "name = \"eip\"", "name = \"zone\"", "[forced_stop]"]);
    assert_eq!(names(&of(&bare, &scope)), ["KeepTheRecord"]);
}

#[test]
fn what_is_found_by_itself_is_any_and_regions_have_their_partitions() {
    let found = EXAMPLE.replace("eni = { a = \"eni-1\", b = \"eni-2\" }", "interface = \"ens5\"");
    let found =
        found.replacen("interface = \"ens5\"\ninterface = \"ens5\"", "interface = \"ens5\"", 1);
    let all = of(&found, &Scope::default());
    assert_eq!(all[2].resources[1], "arn:aws:ec2:eu-central-1:*:network-interface/*");
    for (region, partition) in [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")] {
        let text = EXAMPLE.replace("region = \"eu-central-1\"", &format!("region = \"{region}\""));
        let all = of(&text, &Scope::default());
        assert_eq!(all[1].resources, [format!("arn:{partition}:ec2:{region}:*:route-table/*")]);
    }
    let anywhere = EXAMPLE.replace("region = \"eu-central-1\"", "");
    let all = of(&anywhere, &Scope::default());
    assert_eq!(all[1].resources, ["arn:aws:ec2:*:*:route-table/*"]);
}

#[test]
fn the_document_is_what_iam_reads() {
    let text = document(&of(EXAMPLE, &Scope::default()));
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["Version"], "2012-10-17");
    let all = read["Statement"].as_array().unwrap();
    assert_eq!(all.len(), 5);
    for one in all {
        assert_eq!(one["Effect"], "Allow");
        let name = one["Sid"].as_str().unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
        assert!(one["Action"].is_array() && one["Resource"].is_array());
    }
    assert_eq!(
        all[1]["Condition"]["ArnLike"]["ec2:Vpc"][0],
        "arn:aws:ec2:eu-central-1:*:vpc/vpc-1"
    );
    // IAM takes at most 10,240 letters in a policy of a role.
    assert!(text.len() < 10_240);
}
