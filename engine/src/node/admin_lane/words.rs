//! Between the admin language and the replica: pure, and shared with the simulator.

use crate::admin::{Refused, Verb};
use crate::replica::action::Refusal;
use crate::replica::event::Command;
use crate::units::Span;

/// The replica's command for a verb; `None` for verbs that the shell answers itself.
pub fn to_command(verb: &Verb) -> Option<Command> {
    Some(match verb {
        Verb::Status | Verb::Watch | Verb::Stats => return None,
        Verb::Learn { record } => Command::Learn { record: *record },
        Verb::Promote { record } => Command::Promote { record: *record },
        Verb::Demote => Command::Demote,
        Verb::Fence => Command::Fence,
        Verb::Attempt { attempt } => Command::Attempt { attempt: *attempt },
        Verb::PrepareTakeover => Command::PrepareTakeover,
        Verb::CancelTakeover => Command::CancelTakeover,
        Verb::Mark { mark } => Command::Mark { mark: *mark },
        Verb::PauseSync { paused } => Command::PauseSync { paused: *paused },
        Verb::Verify { start } => Command::Verify { start: *start },
        Verb::Discard => Command::Discard,
        Verb::Shutdown => Command::Shutdown,
        Verb::Attend { suspend_max_ms } => {
            let suspend_max = suspend_max_ms.map(|ms| Span(ms.saturating_mul(1_000_000)));
            Command::Attend { suspend_max }
        }
    })
}

/// A refusal as ctl and people read it.
pub fn refused(refusal: Refusal) -> Refused {
    let (code, message) = match refusal {
        Refusal::OlderRecord => (
            "older-record",
            "the record is older than the one this volume has stored; read the arbiter again",
        ),
        Refusal::OtherNonce => (
            "other-nonce",
            "the record has the stored version but another author's nonce; check that both nodes \
             use one arbiter and that it was not rolled back",
        ),
        Refusal::NotPrimaryInRecord => (
            "not-primary-in-record",
            "the record does not name this node as primary; write a record that does first",
        ),
        Refusal::NotMember => (
            "not-member",
            "this node is not a member, so its copy lacks acknowledged writes; start the other \
             node, or force with accepted loss",
        ),
        Refusal::BadDisk => (
            "bad-disk",
            "this copy is Inconsistent, Outdated or Failed; let it resync from the peer",
        ),
        Refusal::OtherGeneration => (
            "other-generation",
            "this copy is of another generation than the record's; let it resync from the peer",
        ),
        Refusal::Busy => {
            ("busy", "another role change of this volume is under way; wait for it and ask again")
        }
        Refusal::NotPrimary => {
            ("not-primary", "this node does not serve the volume; ask the primary")
        }
        Refusal::NoLink => {
            ("no-link", "the volume's peer is not connected; restore the link and ask again")
        }
        Refusal::MetadataFailed => (
            "metadata-failed",
            "the volume's cluster partition could not be written; check that device",
        ),
        Refusal::TooManyAttempts => (
            "too-many-attempts",
            "the volume has as many open attempts as it can store; close one with a record first",
        ),
        Refusal::StaleMark => {
            ("stale-mark", "the in-sync mark is of another boot or generation; drop it and resync")
        }
    };
    Refused { code: code.into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_word_of_its_own() {
        use Refusal as R;
        let all = [
            R::OlderRecord,
            R::OtherNonce,
            R::NotPrimaryInRecord,
            R::NotMember,
            R::BadDisk,
            R::OtherGeneration,
            R::Busy,
            R::NotPrimary,
            R::NoLink,
            R::MetadataFailed,
            R::TooManyAttempts,
            R::StaleMark,
        ];
        let mut words: Vec<String> = all.into_iter().map(|r| refused(r).code).collect();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), all.len());
    }

    #[test]
    fn attend_counts_in_milliseconds() {
        let command = to_command(&Verb::Attend { suspend_max_ms: Some(60_000) });
        let expected = Command::Attend { suspend_max: Some(Span::millis(60_000)) };
        assert_eq!(command, Some(expected));
        assert_eq!(to_command(&Verb::Watch), None);
    }
}
