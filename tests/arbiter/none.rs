//! A pair without a store: two registers, each with its own file, over a wire within the process.
//! They meet once both were told that the other is heard.

use crate::lab::Lab;
use crate::words::{CLUSTER, GROUP};
use lockstep_ctl::act::arbiter::none::{Answer, Ask, Lost, Peer, Place, Register};
use lockstep_ctl::act::arbiter::{Arbiter, Health, PairView, Pending};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_ctl::decide::record::Record;
use lockstep_engine::limits::Times;
use lockstep_engine::units::{NodeId, Span, Version};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// Who answers on each node, and whether that node was told of the other one.
#[derive(Default)]
struct Ends {
    registers: [Option<Arc<Register>>; 2],
    heard: [bool; 2],
}

fn place_of(node: NodeId) -> usize {
    usize::from(node.to_byte() - 1)
}

/// The way from one node to the other.
struct Wire {
    from: NodeId,
    ends: Arc<Mutex<Ends>>,
}

impl Peer for Wire {
    fn ask(&self, ask: Ask) -> Pending<Result<Answer, Lost>> {
        let ends = self.ends.lock().unwrap();
        let there = ends.registers[place_of(self.from.peer())].clone();
        let there = there.filter(|_| ends.heard[place_of(self.from)]);
        Box::pin(async move {
            let Some(there) = there else { return Err(Lost::Certainly) };
            Ok(there.asked(ask).await)
        })
    }
}

/// A register as its daemon holds it: what is told of the peer opens the wire.
struct Handle {
    node: NodeId,
    ends: Arc<Mutex<Ends>>,
    register: Arc<Register>,
}

impl Arbiter for Handle {
    fn read(&self) -> Pending<ReadResult> {
        self.register.read()
    }

    fn swap(&self, expected: Option<Version>, next: Record) -> Pending<SwapResult> {
        self.register.swap(expected, next)
    }

    fn tell(&self, pair: PairView) {
        self.ends.lock().unwrap().heard[place_of(self.node)] = pair.peer_heard;
        self.register.tell(pair);
    }

    fn health(&self) -> Health {
        self.register.health()
    }
}

/// Both nodes' files.
pub struct NoneLab {
    root: TempDir,
    ends: Arc<Mutex<Ends>>,
}

impl NoneLab {
    pub fn new() -> NoneLab {
        NoneLab { root: tempfile::tempdir().unwrap(), ends: Arc::default() }
    }
}

impl Lab for NoneLab {
    fn state(&self) -> &Path {
        self.root.path()
    }

    fn handle_with(
        &self,
        state: &Path,
        node: NodeId,
        _own: u128,
        deadline: Duration,
    ) -> Arc<dyn Arbiter> {
        let state_dir = state.join(node.to_string());
        fs::create_dir_all(&state_dir).unwrap();
        let attempt = Span(u64::try_from(deadline.as_nanos()).unwrap());
        let times = Times { arbiter_attempt: attempt, ..Times::DEFAULT };
        let place = Place { cluster: CLUSTER, group: GROUP, node, state_dir, times };
        let wire = Wire { from: node, ends: Arc::clone(&self.ends) };
        let register = Arc::new(Register::new(place, Arc::new(wire)));
        // One that has no time can't answer for its node either.
        if deadline > Duration::ZERO {
            self.ends.lock().unwrap().registers[place_of(node)] = Some(Arc::clone(&register));
        }
        Arc::new(Handle { node, ends: Arc::clone(&self.ends), register })
    }

    fn plant(&self, _bytes: &[u8]) {
        unreachable!("no race of a pair without a store plants a record");
    }

    fn delete(&self) {
        unreachable!("no race of a pair without a store deletes one");
    }
}
