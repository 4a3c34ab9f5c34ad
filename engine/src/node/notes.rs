//! State changes of the replica as log lines: one each, none per I/O.

use crate::replica::action::{DropReason, Note};
use crate::units::Session;
use crate::wire::message::ByeReason;

/// Logs a state change.
pub fn log(note: Note) {
    match note {
        Note::Holding => {
            tracing::warn!("writes are held: a member can't be reached, waiting for a decision");
        }
        Note::SuspendedTooLong => {
            tracing::error!("held requests failed with EIO: nobody decided in time");
        }
        Note::Fenced => tracing::warn!("fenced: this node does not answer any more"),
        Note::DiskFailed { errno } => {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::error!(%error, "the data partition refused; check the device");
        }
        Note::PeerDiskFailed => tracing::error!("the peer's data partition refused"),
        Note::MetadataFailed { errno } => {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::error!(%error, "the cluster partition refused; check the device");
        }
        Note::VerifyMismatch { at } => {
            tracing::error!(offset = at.offset, bytes = at.len, "verify: both copies differ");
        }
        Note::VerifyUnreadable { at } => tracing::error!(
            offset = at.offset,
            bytes = at.len,
            "verify: the peer can't read what was to be compared; it is written there anew"
        ),
        Note::SplitBrain => tracing::error!(
            "session refused: split brain, both copies went on alone; decide which one to keep: \
             RUNBOOK.md, \"Histories that parted\""
        ),
        Note::Discarded => {
            tracing::warn!("this copy was given up by an operator; it is filled from the peer's")
        }
        Note::DiskSwapped => tracing::error!(
            "the data partition is not the one that the cluster partition describes; it counts \
             as Inconsistent"
        ),
        Note::OldEpochRefused => tracing::warn!("a frame of an older epoch was refused"),
        Note::PeerConnected => tracing::info!("peer connected"),
        Note::Released => tracing::info!("held writes go on"),
        Note::RecordLearned => tracing::info!("record stored and acted on"),
        Note::Promoted => tracing::info!("promoted: this node serves"),
        Note::Demoted => tracing::info!("demoted: this node does not serve any more"),
        Note::SyncStarted { blocks } => tracing::info!(blocks, "resync started"),
        Note::SyncDone { blocks } => tracing::info!(blocks, "resync done, both copies are equal"),
        Note::GenerationAdopted => tracing::info!("generation adopted"),
        Note::ReadRepaired { at } => tracing::warn!(
            offset = at.offset,
            bytes = at.len,
            "a local read failed; served from the peer and repaired"
        ),
        Note::VerifyDone { blocks, mismatches } => {
            tracing::info!(blocks, mismatches, "verify done");
        }
    }
}

/// Logs that the replica gave a session up.
pub fn log_drop(session: Session, why: DropReason) {
    match why {
        DropReason::Silent => tracing::warn!(%session, "link dropped: the peer is silent"),
        DropReason::HelloLate => tracing::warn!(%session, "link dropped: no hello in time"),
        DropReason::Said(ByeReason::Stopping) => {
            tracing::info!(%session, "link closed: this engine stops");
        }
        DropReason::PeerSaid(ByeReason::Stopping) => {
            tracing::info!(%session, "link closed: the peer's engine stops");
        }
        DropReason::Said(reason) => {
            tracing::warn!(%session, ?reason, "link dropped: said bye to the peer");
        }
        DropReason::PeerSaid(reason) => {
            tracing::warn!(%session, ?reason, "link dropped: the peer said bye");
        }
        DropReason::NoProgress => {
            tracing::warn!(%session, "link dropped: the peer answers but makes no progress");
        }
    }
}
