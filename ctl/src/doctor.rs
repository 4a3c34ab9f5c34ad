//! `lockstep doctor`: looks at this host with the eyes of somebody who sets a cluster up, and says
//! of each thing whether it is well, what was found, and what to do.
//! Always: nothing is changed, and nothing that a running cluster needs is held; a look that can't
//! be had is a line of its own, never a silent pass. Survives a host on which nothing works.

mod aws;
mod daemon;
mod files;
mod host;
mod network;
mod partitions;
mod services;

use crate::config::cluster::{Cluster, NodeView};
use lockstep_engine::units::NodeId;
use serde::Serialize;
use std::fmt::Display;
use std::path::Path;

/// How a thing stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It could not be looked at, for the reason that is given.
    Skipped,
    /// Works, but is asking for trouble.
    Warn,
    /// The cluster does not work with it, or not safely.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What kind of thing: `host`, `files`, `partitions`, `network`, `services`, `aws`,
    /// `daemon`.
    pub area: &'static str,
    /// The object.
    pub object: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless it is well.
    pub fix: Option<String>,
}

/// The checks so far.
#[derive(Debug)]
struct Checks {
    area: &'static str,
    all: Vec<Check>,
}

impl Checks {
    fn put(
        &mut self,
        object: impl Display,
        verdict: Verdict,
        found: impl Display,
        fix: Option<String>,
    ) {
        let (object, found) = (object.to_string(), found.to_string());
        self.all.push(Check { area: self.area, object, verdict, found, fix });
    }

    fn pass(&mut self, object: impl Display, found: impl Display) {
        self.put(object, Verdict::Pass, found, None);
    }

    fn warn(&mut self, object: impl Display, found: impl Display, fix: impl Display) {
        self.put(object, Verdict::Warn, found, Some(fix.to_string()));
    }

    fn fail(&mut self, object: impl Display, found: impl Display, fix: impl Display) {
        self.put(object, Verdict::Fail, found, Some(fix.to_string()));
    }

    fn skip(&mut self, object: impl Display, why: impl Display, fix: impl Display) {
        self.put(object, Verdict::Skipped, why, Some(fix.to_string()));
    }
}

/// Looks at everything that concerns `node`, which this host is.
pub fn examine(cluster: &Cluster, path: &Path, node: NodeId) -> Vec<Check> {
    let (own, peer) = (cluster.node(node), cluster.node(node.peer()));
    let mut checks = Checks { area: "", all: Vec::new() };
    let runs = daemon::ask(&own);
    type Look = fn(&mut Checks, &Around<'_>);
    let looks: [(&'static str, Look); 7] = [
        ("host", host::look),
        ("files", files::look),
        ("partitions", partitions::look),
        ("network", network::look),
        ("services", services::look),
        ("aws", aws::look),
        ("daemon", daemon::look),
    ];
    let around = Around { cluster, own: &own, peer: &peer, path, runs: runs.as_ref() };
    for (area, look) in looks {
        checks.area = area;
        look(&mut checks, &around);
    }
    checks.all
}

/// What the looks need to know.
struct Around<'a> {
    cluster: &'a Cluster,
    own: &'a NodeView,
    peer: &'a NodeView,
    path: &'a Path,
    /// What the daemon says, if it runs.
    runs: Result<&'a daemon::Said, &'a String>,
}

/// The worst of them.
pub fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_all_and_a_look_that_was_not_had_is_no_pass() {
        let mut checks = Checks { area: "host", all: Vec::new() };
        assert_eq!(worst(&checks.all), Verdict::Pass);
        checks.pass("kernel", "6.1");
        assert_eq!(worst(&checks.all), Verdict::Pass);
        checks.skip("clock", "nobody tells", "ask");
        assert_eq!(worst(&checks.all), Verdict::Skipped);
        checks.fail("key", "gone", "make one");
        checks.warn("disk", "small", "grow it");
        assert_eq!(worst(&checks.all), Verdict::Fail);
        let unwell = checks.all.iter().filter(|check| check.verdict != Verdict::Pass);
        assert!(unwell.into_iter().all(|check| check.fix.is_some()));
    }
}
