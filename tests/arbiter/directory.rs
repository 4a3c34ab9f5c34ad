//! A directory as a store of a test.

use crate::lab::Lab;
use crate::words::{CLUSTER, GROUP};
use lockstep_ctl::act::arbiter::Arbiter;
use lockstep_ctl::act::arbiter::directory::{Directory, Place};
use lockstep_engine::units::{NodeId, Nonce};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A directory, and the nodes' files beside it.
pub struct DirectoryLab(TempDir);

impl DirectoryLab {
    pub fn new() -> DirectoryLab {
        DirectoryLab(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Files of versions, lowest first.
    fn versions(&self) -> Vec<PathBuf> {
        let group = self.root().join(GROUP.to_string());
        let numbered = |path: &PathBuf| {
            path.file_name().unwrap().to_str().unwrap().bytes().all(|b| b.is_ascii_digit())
        };
        let entries = fs::read_dir(group).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = entries.filter(numbered).collect();
        found.sort();
        found
    }
}

impl Lab for DirectoryLab {
    fn state(&self) -> &Path {
        self.0.path()
    }

    fn handle_with(
        &self,
        state: &Path,
        node: NodeId,
        own: u128,
        deadline: Duration,
    ) -> Arc<dyn Arbiter> {
        let place = Place {
            root: self.root(),
            cluster: CLUSTER,
            group: GROUP,
            node,
            state_dir: state.join(node.to_string()),
            deadline,
        };
        Arc::new(Directory::new(place, Nonce(own)))
    }

    fn plant(&self, bytes: &[u8]) {
        let first = self.root().join(GROUP.to_string()).join(format!("{:020}", 1));
        fs::write(self.versions().pop().unwrap_or(first), bytes).unwrap();
    }

    fn delete(&self) {
        self.versions().iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}
