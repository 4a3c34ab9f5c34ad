//! Where a daemon's configuration comes from: the file, what was applied of it, and what this
//! daemon runs first.

use crate::act::host::{self, HostError};
use crate::act::installed::{Digest, InstallError, Installed, Record};
use crate::config::cluster::{Cluster, ClusterError, NodeView};
use lockstep_engine::units::{BootId, NodeId};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why there is nothing to run.
#[derive(Debug)]
pub enum SourceError {
    /// The file is not there, or wrong.
    Cluster(ClusterError),
    /// The files beside it can't be used.
    Install(InstallError),
    /// The host can't be asked.
    Host(HostError),
    /// Neither node is this host.
    NoNode {
        /// The file.
        path: PathBuf,
        /// Name of this host.
        host: String,
    },
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Cluster(error) => error.fmt(f),
            SourceError::Install(error) => error.fmt(f),
            SourceError::Host(error) => error.fmt(f),
            SourceError::NoNode { path, host } => write!(
                f,
                "{}: neither node has the name of this host, \"{host}\"; correct `name` in \
                 [nodes.a] or [nodes.b], or say which one it is with --node",
                path.display()
            ),
        }
    }
}

impl std::error::Error for SourceError {}

/// A file that a daemon runs from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file and what belongs to it.
    pub(super) installed: Installed,
    /// The version that was applied last.
    pub(super) record: Record,
    /// What runs.
    pub(super) text: String,
    /// The same, read.
    pub(super) cluster: Cluster,
    /// What was applied and is not taken over yet.
    pub(super) next: Option<String>,
    pub(super) boot: BootId,
}

/// The node that is named, or the one with this host's name.
///
/// # Errors
/// Neither has it.
pub fn this_node(
    path: &Path,
    cluster: &Cluster,
    node: Option<NodeId>,
) -> Result<NodeId, SourceError> {
    let host = host::name();
    let none = || SourceError::NoNode { path: path.to_path_buf(), host: host.clone() };
    node.or_else(|| cluster.which(&host)).ok_or_else(none)
}

impl Source {
    /// Reads the file, ends what a crash has left of an `apply`, and gives the view of this node:
    /// the one that is named, or the one with this host's name.
    ///
    /// # Errors
    /// There is nothing to run.
    pub fn open(path: &Path, node: Option<NodeId>) -> Result<(NodeView, Source), SourceError> {
        let cluster = Cluster::load(path).map_err(SourceError::Cluster)?;
        let node = this_node(path, &cluster, node)?;
        let view = cluster.node(node);
        let boot = match view.lab_boot_id {
            Some(boot) => boot,
            None => host::boot_id().map_err(SourceError::Host)?,
        };
        let installed = Installed::new(path, &view.state_dir);
        let found = installed.open(boot).map_err(SourceError::Install)?;
        let (mut text, mut next) = (found.run, found.next);
        let mut running = Cluster::parse(&text);
        if let (Err(_), Some(newer)) = (&running, &next) {
            // Of another release, perhaps: what it would take down can't be known.
            tracing::warn!("the configuration that ran before can't be read any more");
            (running, text, next) = (Cluster::parse(newer), newer.clone(), None);
        }
        let cluster = running.map_err(|mistakes| {
            SourceError::Cluster(ClusterError::Wrong { path: path.to_path_buf(), mistakes })
        })?;
        let view = cluster.node(node);
        let record = found.record;
        Ok((view, Source { installed, record, text, cluster, next, boot }))
    }

    /// Digest of what runs.
    pub(crate) fn running(&self) -> Digest {
        Digest::of(&self.text)
    }
}
