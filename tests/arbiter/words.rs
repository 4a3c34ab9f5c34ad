//! Records, nonces and what a store is told of the pair.

use lockstep_ctl::act::arbiter::PairView;
use lockstep_ctl::decide::record::{Record, VolumeEntry};
use lockstep_engine::units::{
    ClusterId, Epoch, Generation, GroupId, Members, NodeId, Nonce, Version, VolumeId,
};

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub const GROUP: GroupId = GroupId(0x61);
/// Proofs of the first start of each daemon.
pub const PROOF_A: u128 = 101;
pub const PROOF_B: u128 = 102;

pub fn record(version: u64, writer: NodeId, nonce: u128) -> Record {
    Record {
        cluster: CLUSTER,
        group: GROUP,
        version: Version(version),
        epoch: Epoch(1),
        owner: Some(writer),
        nonce: Nonce(nonce),
        writer,
        since: 0,
        forced: false,
        volumes: vec![VolumeEntry {
            volume: VolumeId(5),
            members: Members::BOTH,
            generation: Generation(1),
            parent: Generation::NONE,
        }],
    }
}

/// The peer is heard and says that it has left this proof.
pub fn heard(nonce: u128) -> PairView {
    PairView { peer_heard: true, peer_nonce: Some(Nonce(nonce)), floor: Some(Version(0)) }
}

/// The peer is away and this node has persisted this version.
pub fn alone(floor: u64) -> PairView {
    PairView { peer_heard: false, peer_nonce: None, floor: Some(Version(floor)) }
}
