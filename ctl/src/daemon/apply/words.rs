//! What two daemons say to each other about `cluster.toml`: JSON in the body of a call. Types only.
//! Every ask may be asked twice.

use crate::act::installed::{Digest, Record, Standing};
use crate::act::peer::Refusal;
use serde::{Deserialize, Serialize};

/// Version of these words.
pub(crate) const VERSION: u32 = 1;

/// An ask with the version of the words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    pub v: u32,
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// What lies there?
    Standing,
    /// The file that was applied last.
    Fetch,
    /// Look whether this file would do there, and unless it is a rehearsal put it beside the
    /// present one, which must be `parent`.
    Prepare { next: Record, parent: Digest, text: String, rehearsal: bool },
    /// Make the prepared file the present one.
    Commit { next: Record },
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// What lies here.
    Standing(Standing),
    /// The file.
    File { record: Record, text: String },
    /// Done: it would do, it is prepared, it is the present one.
    Done,
    /// Not done: for people, with object, cause and next move.
    No { why: Vec<String> },
}

/// The body of an ask.
pub(crate) fn ask(ask: Ask) -> Vec<u8> {
    // Plain data always fits JSON.
    serde_json::to_vec(&Said { v: VERSION, ask }).unwrap_or_default()
}

/// The ask in a body.
pub(crate) fn asked(body: &[u8]) -> Result<Ask, Refusal> {
    match serde_json::from_slice::<Said>(body) {
        Ok(said) if said.v == VERSION => Ok(said.ask),
        _ => Err(Refusal::NotUnderstood),
    }
}

/// The body of an answer.
pub(crate) fn answer(answer: &Answer) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

/// The answer in a body.
pub(crate) fn answered(body: &[u8]) -> Option<Answer> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::peer::BODY_BYTES_MAX;
    use crate::daemon::apply::TEXT_BYTES_MAX;

    #[test]
    fn the_longest_file_fits_a_call_and_nonsense_is_refused() {
        let history = (0..64).map(|n| (u64::MAX - n, Digest(u128::MAX))).collect();
        let next = Record { version: u64::MAX, digest: Digest(u128::MAX), history };
        let text = "\"".repeat(TEXT_BYTES_MAX);
        let prepare = Ask::Prepare {
            next: next.clone(),
            parent: Digest(1),
            text: text.clone(),
            rehearsal: false,
        };
        let body = ask(prepare.clone());
        assert!(body.len() <= BODY_BYTES_MAX, "{}", body.len());
        assert_eq!(asked(&body), Ok(prepare));
        assert!(answer(&Answer::File { record: next, text }).len() <= BODY_BYTES_MAX);
        for body in
            [&b"{}"[..], b"", b"{\"v\":2,\"ask\":\"fetch\"}", b"{\"v\":1,\"ask\":\"dance\"}"]
        {
            assert_eq!(asked(body), Err(Refusal::NotUnderstood));
        }
    }
}
