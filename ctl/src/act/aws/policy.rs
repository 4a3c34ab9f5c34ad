//! What AWS must allow: the calls that a configuration leads to, and no more, each with the
//! narrowest resource that AWS lets it be bound to. Pure: text out of a configuration.
//! Always: a node never gets more than the configuration makes it do; AWS binds no Describe to a
//! resource, so those stand for everything; an id of AWS that the configuration leaves to be found
//! is a `*` in its place.

use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::Spec as Resource;
use crate::config::cluster::{ArbiterSpec, Cluster, NodeView};
use lockstep_engine::units::NodeId;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Whose policy, and where.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Of this node alone; `None`: one for both.
    pub node: Option<NodeId>,
    /// Id of the account. Without it any: a policy of a role reaches its own account alone.
    pub account: Option<String>,
}

/// A condition of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How it compares.
    pub operator: &'static str,
    /// What is compared.
    pub key: &'static str,
    /// What it may be.
    pub values: Vec<String>,
}

/// Actions that are allowed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is for: letters alone, as AWS wants it.
    pub name: &'static str,
    /// Actions.
    pub actions: Vec<&'static str>,
    /// ARNs, or `*`.
    pub resources: Vec<String>,
    /// When it counts; always without one.
    pub condition: Option<Condition>,
}

/// What the configuration names, over the nodes that are asked about.
#[derive(Default)]
struct Needs {
    vpcs: BTreeSet<String>,
    allocations: BTreeSet<String>,
    /// Network interfaces that get an elastic address; `*` where one is found by itself.
    eip_enis: BTreeSet<String>,
    zones: bool,
    stopped: BTreeSet<String>,
}

impl Needs {
    fn add(&mut self, view: &NodeView) {
        for spec in view.groups.iter().flat_map(|group| &group.specs) {
            match spec {
                Resource::AwsVip(vip) => {
                    self.vpcs.insert(vip.vpc.clone());
                }
                Resource::AwsEip(eip) => {
                    self.allocations.insert(eip.allocation.clone());
                    self.eip_enis.insert(eip.eni.clone().unwrap_or_else(|| "*".to_owned()));
                }
                Resource::Mirror(_)
                | Resource::Fs(_)
                | Resource::Exec(_)
                | Resource::Unit(_)
                | Resource::Address(_) => {}
            }
        }
        self.zones |= view.monitors.iter().any(|one| matches!(one.spec, Probe::AwsZone { .. }));
        self.stopped.extend(view.forced_stop.as_ref().map(|stop| stop.peer.clone()));
    }

    fn looks(&self) -> Vec<&'static str> {
        let (vip, eip) = (!self.vpcs.is_empty(), !self.allocations.is_empty());
        let all = [
            (eip, "ec2:DescribeAddresses"),
            (self.zones, "ec2:DescribeAvailabilityZones"),
            (!self.stopped.is_empty(), "ec2:DescribeInstances"),
            (vip || eip, "ec2:DescribeNetworkInterfaces"),
            (vip, "ec2:DescribeRouteTables"),
            (vip, "ec2:DescribeVpcs"),
        ];
        all.into_iter().filter(|(needed, _)| *needed).map(|(_, action)| action).collect()
    }
}

/// ARNs of one region and account.
struct Arns {
    partition: &'static str,
    region: String,
    account: String,
}

impl Arns {
    fn of(view: &NodeView, scope: &Scope) -> Arns {
        let region = view.aws.region.clone().unwrap_or_else(|| "*".to_owned());
        let partition = match &*region {
            name if name.starts_with("cn-") => "aws-cn",
            name if name.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let account = scope.account.clone().unwrap_or_else(|| "*".to_owned());
        Arns { partition, region, account }
    }

    fn arn(&self, service: &str, kind: &str, id: &str) -> String {
        let Arns { partition, region, account } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{kind}/{id}")
    }

    fn each(&self, kind: &str, ids: &BTreeSet<String>) -> Vec<String> {
        // One that is any makes the others say nothing.
        if ids.contains("*") {
            return vec![self.arn("ec2", kind, "*")];
        }
        ids.iter().map(|id| self.arn("ec2", kind, id)).collect()
    }
}

/// What the configuration leads to; nothing where it needs no AWS.
pub fn statements(cluster: &Cluster, scope: &Scope) -> Vec<Statement> {
    let nodes = match scope.node {
        Some(node) => vec![node],
        None => vec![NodeId::A, NodeId::B],
    };
    let mut needs = Needs::default();
    for node in nodes {
        needs.add(&cluster.node(node));
    }
    // Region and table are the same for both nodes.
    let view = cluster.node(NodeId::A);
    let arns = Arns::of(&view, scope);
    let mut all = Vec::new();
    let looks = needs.looks();
    if !looks.is_empty() {
        let resources = vec!["*".to_owned()];
        all.push(Statement { name: "Look", actions: looks, resources, condition: None });
    }
    if !needs.vpcs.is_empty() {
        all.push(move_vip(&arns, &needs));
    }
    if !needs.allocations.is_empty() {
        let mut resources = arns.each("elastic-ip", &needs.allocations);
        resources.extend(arns.each("network-interface", &needs.eip_enis));
        let actions = vec!["ec2:AssociateAddress", "ec2:DisassociateAddress"];
        all.push(Statement { name: "MoveEip", actions, resources, condition: None });
    }
    if !needs.stopped.is_empty() {
        let resources = arns.each("instance", &needs.stopped);
        let actions = vec!["ec2:StopInstances"];
        all.push(Statement { name: "StopTheOther", actions, resources, condition: None });
    }
    if let ArbiterSpec::Dynamodb { table } = &view.arbiter {
        all.push(record(&arns, table, &view));
    }
    all
}

/// Route tables have no id in the configuration: those of the VPCs that it names.
fn move_vip(arns: &Arns, needs: &Needs) -> Statement {
    Statement {
        name: "MoveVip",
        actions: vec!["ec2:ReplaceRoute"],
        resources: vec![arns.arn("ec2", "route-table", "*")],
        condition: Some(Condition {
            operator: "ArnLike",
            key: "ec2:Vpc",
            values: arns.each("vpc", &needs.vpcs),
        }),
    }
}

/// The items of this cluster alone.
fn record(arns: &Arns, table: &str, view: &NodeView) -> Statement {
    Statement {
        name: "KeepTheRecord",
        actions: vec!["dynamodb:GetItem", "dynamodb:UpdateItem"],
        resources: vec![arns.arn("dynamodb", "table", table)],
        condition: Some(Condition {
            operator: "ForAllValues:StringLike",
            key: "dynamodb:LeadingKeys",
            values: vec![format!("{}/*", view.cluster.id)],
        }),
    }
}

/// The document of a policy, as AWS reads it.
pub fn document(statements: &[Statement]) -> String {
    let one = |statement: &Statement| {
        let mut map = Map::new();
        map.insert("Sid".to_owned(), json!(statement.name));
        map.insert("Effect".to_owned(), json!("Allow"));
        map.insert("Action".to_owned(), json!(statement.actions));
        map.insert("Resource".to_owned(), json!(statement.resources));
        if let Some(Condition { operator, key, values }) = &statement.condition {
            map.insert("Condition".to_owned(), json!({ *operator: { *key: values } }));
        }
        Value::Object(map)
    };
    let all: Vec<Value> = statements.iter().map(one).collect();
    let document = json!({ "Version": "2012-10-17", "Statement": all });
    // A value of texts alone can be written.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
