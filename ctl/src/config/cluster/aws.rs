//! What of a configuration only a build with AWS can act on. Always: every build reads every file;
//! one without AWS says what it can't do before it does anything.

use super::{ArbiterSpec, Cluster, NodeView};
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::Spec as Resource;
use lockstep_engine::units::NodeId;

/// Whether this build has AWS.
pub const AWS_HERE: bool = cfg!(feature = "aws");

/// Keys with their types that need AWS, in the words of the file; the same for both nodes.
pub fn needs_aws(view: &NodeView) -> Vec<String> {
    let mut keys = Vec::new();
    if matches!(view.arbiter, ArbiterSpec::Dynamodb { .. }) {
        keys.push("arbiter (dynamodb)".to_owned());
    }
    for group in &view.groups {
        for (settings, spec) in group.settings.resources.iter().zip(&group.specs) {
            let kind = match spec {
                Resource::AwsVip(_) => "aws_vip",
                Resource::AwsEip(_) => "aws_eip",
                Resource::Mirror(_)
                | Resource::Fs(_)
                | Resource::Exec(_)
                | Resource::Unit(_)
                | Resource::Address(_) => continue,
            };
            keys.push(format!("resource {}/{} ({kind})", group.settings.name, settings.name));
        }
    }
    for monitor in &view.monitors {
        if matches!(monitor.spec, Probe::AwsZone { .. }) {
            keys.push(format!("monitor {} (aws_az)", monitor.settings.name));
        }
    }
    if view.forced_stop.is_some() {
        keys.push("forced_stop".to_owned());
    }
    keys
}

impl Cluster {
    /// What only a build with AWS can act on, where this one has none: keys with their types.
    pub fn beyond_this_build(&self) -> Vec<String> {
        if AWS_HERE { Vec::new() } else { needs_aws(&self.node(NodeId::A)) }
    }
}
