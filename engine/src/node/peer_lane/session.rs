//! The session: its flows, from the first greeting to the end of any of them.

use super::flow::Flow;
use crate::units::{BootId, NodeId, Session, StartId, Tick};
use crate::wire::greeting::Greeted;

/// Bytes waiting on a flow at which the next one is used.
const FLOW_FULL: usize = 128 << 10;

/// One incarnation of the link.
#[derive(Debug)]
pub(super) struct Live {
    pub session: Session,
    pub serial: u32,
    pub peer: NodeId,
    pub peer_boot: BootId,
    pub peer_start: StartId,
    /// Flow 0 is control, the others carry data; `None` until attached.
    pub flows: Vec<Option<Flow>>,
    /// All flows must be attached by then.
    pub attach_by: Tick,
    /// Whether the replica knows of it.
    pub up: bool,
    last: usize,
}

impl Live {
    /// A session whose control flow was just greeted.
    pub fn new(greeted: &Greeted, serial: u32, attach_by: Tick) -> Live {
        Live {
            session: greeted.session,
            serial,
            peer: greeted.peer,
            peer_boot: greeted.peer_boot,
            peer_start: greeted.peer_start,
            flows: (0..=greeted.flows).map(|_| None).collect(),
            attach_by,
            up: false,
            last: 1,
        }
    }

    /// Whether every flow is there.
    pub fn is_attached(&self) -> bool {
        self.flows.iter().all(Option::is_some)
    }

    /// The data flow for the next message: the one used last until it has `FLOW_FULL` bytes
    /// waiting, then the one with the fewest. Small frames share sends that way.
    pub fn data_flow(&mut self) -> Option<&mut Flow> {
        let weight = |flow: &Option<Flow>| flow.as_ref().map_or(usize::MAX, |f| f.out.bytes());
        if self.flows.get(self.last).is_none_or(|flow| weight(flow) >= FLOW_FULL) {
            let lightest = self.flows.iter().enumerate().skip(1).min_by_key(|(_, f)| weight(f));
            self.last = lightest.map_or(self.last, |(index, _)| index);
        }
        self.flows.get_mut(self.last).and_then(Option::as_mut)
    }

    /// Bytes that wait for the sockets.
    pub fn queued(&self) -> usize {
        self.flows.iter().flatten().map(|flow| flow.out.bytes()).sum()
    }

    /// Shuts every socket; what the kernel still has completes soon and is ignored.
    pub fn shut(&self) {
        for flow in self.flows.iter().flatten() {
            flow.file.shutdown();
        }
    }
}
