//! Two nodes' files side by side. Pure. Always: a file replaces another one by itself only when it
//! is known to have come after it; whatever is not known to be older is left alone and reported.

use super::{Record, Standing};
use lockstep_engine::units::NodeId;
use std::fmt;

/// What a node should do about the other one's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing: it is the same file, or the other node will take ours.
    Fine,
    /// The same file has that version.
    Adopt(Record),
    /// The other node's file comes after ours: take it.
    Behind(Record),
    /// Neither is known to come after the other: people decide.
    Apart,
}

/// What the node that is called `me` should do.
pub fn compare(me: NodeId, mine: &Standing, theirs: &Standing) -> Verdict {
    if mine.file == theirs.file {
        return same_file(me, mine, theirs);
    }
    if mine.is_edited() || theirs.is_edited() {
        return Verdict::Apart;
    }
    if theirs.record.comes_after(&mine.record) {
        return Verdict::Behind(theirs.record.clone());
    }
    let ahead = mine.record.comes_after(&theirs.record);
    if ahead { Verdict::Fine } else { Verdict::Apart }
}

fn same_file(me: NodeId, mine: &Standing, theirs: &Standing) -> Verdict {
    let rank = |node: NodeId, standing: &Standing| (standing.record.version, node == NodeId::A);
    let theirs_leads = rank(me.peer(), theirs) > rank(me, mine);
    match (mine.is_edited(), theirs.is_edited()) {
        (false, false) if mine.record == theirs.record || !theirs_leads => Verdict::Fine,
        (false, true) => Verdict::Fine,
        (_, false) => Verdict::Adopt(theirs.record.clone()),
        // Somebody put the same file on both nodes.
        (true, true) => {
            let leads = if theirs_leads { &theirs.record } else { &mine.record };
            Verdict::Adopt(leads.next(mine.file))
        }
    }
}

/// Why two files are apart, with the next move, as the node called `me` sees it.
pub struct Apart<'a> {
    /// The node that speaks.
    pub me: NodeId,
    /// What lies there.
    pub mine: &'a Standing,
    /// What lies on the other node.
    pub theirs: &'a Standing,
}

impl fmt::Display for Apart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster.toml was changed on each node apart: ")?;
        for (node, standing) in [(self.me, self.mine), (self.me.peer(), self.theirs)] {
            let edited = if standing.is_edited() { ", edited by hand" } else { "" };
            let (version, digest) = (standing.record.version, standing.file.short());
            write!(f, "node {node} has {digest} (version {version}{edited}), ")?;
        }
        write!(
            f,
            "and nobody can tell which is right: put the right one on both nodes and restart "
        )?;
        write!(f, "the daemons")
    }
}
