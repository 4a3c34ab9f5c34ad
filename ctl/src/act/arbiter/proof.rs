//! Proof that both nodes see the same directory: each writes a fresh nonce there and finds the
//! other's, told over the authenticated heartbeats. While the peer is away, the id that the pair
//! left there at its last proof must match the one kept on this node.
//! Always: without proof nothing is read from the store and nothing is written as a record.

use super::{PairView, Trouble};
use crate::act::{file, host};
use lockstep_engine::units::{NodeId, Nonce, Version};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the proofs are.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// The group's directory in the store.
    pub group: PathBuf,
    /// This node.
    pub node: NodeId,
    /// Own fresh nonce.
    pub own: Nonce,
    /// The pair's id as kept on this node.
    pub kept: PathBuf,
}

pub(super) fn trouble(doing: &str, path: &Path, cause: &io::Error) -> Trouble {
    Trouble::Io { doing: format!("{doing} {}", path.display()), cause: cause.to_string() }
}

/// A name that no other call of this or another process uses.
fn attempt(group: &Path) -> Result<Nonce, Trouble> {
    host::nonce().map_err(|cause| trouble("name", group, &io::Error::other(cause.to_string())))
}

fn read_nonce(path: &Path) -> Result<Option<Nonce>, Trouble> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(trouble("read", path, &cause)),
    }
}

impl Proof {
    fn nonce_file(&self, node: NodeId) -> PathBuf {
        self.group.join(format!("nonce-{node}"))
    }

    /// Leaves the own nonce for the peer to find.
    pub fn leave(&self) -> Result<(), Trouble> {
        fs::create_dir_all(&self.group).map_err(|cause| trouble("create", &self.group, &cause))?;
        let path = self.nonce_file(self.node);
        // Two calls may be here at once: each has a name of its own, so that neither renames the
        // file of the other away.
        let attempt = attempt(&self.group)?;
        let fresh = self.group.join(format!(".nonce-{}-{attempt}", self.node));
        file::replace_synced_by(&path, &fresh, format!("{}\n", self.own).as_bytes())
            .map_err(|cause| trouble("write", &path, &cause))
    }

    /// Whether the store may be believed now. `highest` is the newest version in it.
    pub fn check(&self, pair: PairView, highest: Option<Version>) -> Result<(), Trouble> {
        if pair.peer_heard {
            let expected = pair.peer_nonce.ok_or(Trouble::PeerUnproved)?;
            let found = read_nonce(&self.nonce_file(self.node.peer()))?;
            if found != Some(expected) {
                return Err(Trouble::Different { found });
            }
            return self.keep_pair();
        }
        let kept = read_nonce(&self.kept)?.ok_or(Trouble::NeverProved)?;
        if read_nonce(&self.group.join("pair"))? != Some(kept) {
            return Err(Trouble::OtherPair);
        }
        let floor = pair.floor.ok_or(Trouble::FloorUnknown)?;
        if floor > Version(0) && highest.is_none_or(|highest| highest < floor) {
            return Err(Trouble::RolledBack { found: highest, persisted: floor });
        }
        Ok(())
    }

    /// After a proof: the pair's id is in the store, and the same is kept here.
    fn keep_pair(&self) -> Result<(), Trouble> {
        let path = self.group.join("pair");
        let id = match read_nonce(&path)? {
            Some(id) => id,
            None => self.found_pair(&path)?,
        };
        if read_nonce(&self.kept)? == Some(id) {
            return Ok(());
        }
        if let Some(parent) = self.kept.parent() {
            fs::create_dir_all(parent).map_err(|cause| trouble("create", parent, &cause))?;
        }
        let attempt = attempt(&self.group)?;
        let fresh = self.kept.with_extension(format!("new-{attempt}"));
        file::replace_synced_by(&self.kept, &fresh, format!("{id}\n").as_bytes())
            .map_err(|cause| trouble("write", &self.kept, &cause))
    }

    /// Gives the pair its id; the node that comes second takes the one of the first.
    fn found_pair(&self, path: &Path) -> Result<Nonce, Trouble> {
        let attempt = attempt(&self.group)?;
        let fresh = self.group.join(format!(".pair-{}-{attempt}", self.node));
        file::write_synced(&fresh, format!("{}\n", self.own).as_bytes())
            .map_err(|cause| trouble("write", &fresh, &cause))?;
        let linked = fs::hard_link(&fresh, path);
        fs::remove_file(&fresh).map_err(|cause| trouble("remove", &fresh, &cause))?;
        match linked {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                return Err(trouble("link", path, &cause));
            }
            _ => {
                file::sync_dir(&self.group).map_err(|cause| trouble("sync", &self.group, &cause))?
            }
        }
        read_nonce(path)?.ok_or(Trouble::OtherPair)
    }
}
