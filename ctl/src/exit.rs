//! Exit codes of every verb, defined once; `lockstep --help` and the runbook take them from here.

use std::process::{ExitCode, Termination};

/// How a verb ended, for scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done, and nothing needs attention.
    Ok = 0,
    /// Failed; stderr says what, why and what to do.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was done.
    Usage = 2,
    /// The other node is primary, or this one is not.
    NotPrimary = 3,
    /// Works, but losing a node now would lose service or data.
    Degraded = 4,
    /// Both copies went on alone: an operator must choose.
    SplitBrain = 5,
    /// The daemon is not there.
    Unreachable = 6,
    /// `--timeout` is over; the request goes on in the daemon.
    Timeout = 7,
    /// Refused, because it would not be safe or makes no sense now.
    Refused = 8,
}

impl Exit {
    /// Every code with its meaning.
    pub const TABLE: &[(Exit, &str)] = &[
        (Exit::Ok, "done, nothing needs attention"),
        (Exit::Failed, "failed: stderr says what, why and what to do"),
        (Exit::Usage, "command line or configuration is wrong, nothing was done"),
        (Exit::NotPrimary, "this node is not primary, or the other one is"),
        (Exit::Degraded, "works, but losing a node now would lose service or data"),
        (Exit::SplitBrain, "both copies went on alone: an operator must choose"),
        (Exit::Unreachable, "the daemon is not there"),
        (Exit::Timeout, "--timeout is over, the request goes on in the daemon"),
        (Exit::Refused, "refused: not safe, or makes no sense now"),
    ];

    /// The code of a refusal by its stable word: the same everywhere.
    pub fn of_refusal(word: &str) -> Exit {
        match word {
            // The wish is fulfilled already.
            "already-primary" => Exit::Ok,
            "other-primary" | "not-primary" => Exit::NotPrimary,
            "arbiter-away" | "engine-away" => Exit::Failed,
            "config-same" => Exit::Ok,
            "config-wrong" => Exit::Usage,
            "config-waits" => Exit::Degraded,
            // A name that nothing has was mistyped.
            "name" | "no-volume" | "no-group" | "no-monitor" | "no-resource" => Exit::Usage,
            _ => Exit::Refused,
        }
    }

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_is_a_wrong_command_line_whatever_it_names() {
        for word in ["name", "no-volume", "no-group", "no-monitor", "no-resource"] {
            assert_eq!(Exit::of_refusal(word), Exit::Usage, "{word}");
        }
        assert_eq!(Exit::of_refusal("not-in-sync"), Exit::Refused);
    }

    #[test]
    fn the_table_has_each_code_once_and_in_order() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| exit.code()).collect();
        let count = u8::try_from(codes.len()).unwrap();
        assert_eq!(codes, (0..count).collect::<Vec<_>>());
    }
}
