//! Whole clusters with addresses of AWS, against an imitation of it: real processes in network
//! namespaces, each node with its own way to AWS, its own metadata and a mirrored disk under a load
//! that knows what each block may hold.
#![allow(clippy::unwrap_used)]

#[path = "aws/cluster.rs"]
mod cluster;
#[path = "aws/failover.rs"]
mod failover;
#[path = "aws/repair.rs"]
mod repair;
#[path = "aws/trouble.rs"]
mod trouble;
