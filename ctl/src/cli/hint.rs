//! The next command that a message names, so that it reaches the same daemon as the one that was
//! typed: where that one named a configuration or a socket, the next one does too.
//! Always: pure text; commands for the other node are left as they are.

use std::path::{Path, PathBuf};

/// What was typed to reach the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// `--config`, which verbs of a mirror have.
    pub config: Option<PathBuf>,
    /// The socket that was named, or that the configuration names.
    pub socket: Option<PathBuf>,
}

/// Verbs that ask a daemon.
const ASKING: &[&str] =
    &["mirror", "status", "cluster", "group", "resource", "monitor", "events", "what-if"];
/// What follows a command that is for the other node.
const ELSEWHERE: &[&str] = &[" there", " on node "];

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(' ') { format!("'{text}'") } else { text }
}

impl Reached {
    fn options(&self, verb: &str) -> Option<String> {
        match (&self.config, &self.socket) {
            (Some(config), _) if verb == "mirror" => Some(format!("--config {}", quoted(config))),
            (_, Some(socket)) => Some(format!("--socket {}", quoted(socket))),
            _ => None,
        }
    }

    /// The text with its commands completed.
    pub(super) fn complete(&self, text: &str) -> String {
        if *self == Reached::default() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("`lockstep ") {
            let Some((command, behind)) = after.split_once('`') else { break };
            out.push_str(before);
            out.push_str("`lockstep ");
            out.push_str(command);
            let verb = command.split(' ').next().unwrap_or_default();
            let named = command.contains("--config") || command.contains("--socket");
            let elsewhere = ELSEWHERE.iter().any(|word| behind.starts_with(word));
            if ASKING.contains(&verb)
                && !named
                && !elsewhere
                && let Some(options) = self.options(verb)
            {
                out.push(' ');
                out.push_str(&options);
            }
            out.push('`');
            rest = behind;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_reaches_the_daemon_that_was_asked() {
        let reached =
            Reached { config: Some("/lab/node.toml".into()), socket: Some("/lab/d.sock".into()) };
        for (text, expected) in [
            (
                "run `lockstep mirror start` here",
                "run `lockstep mirror start --config /lab/node.toml` here",
            ),
            ("see `lockstep status`", "see `lockstep status --socket /lab/d.sock`"),
            ("run `lockstep mirror move` there", "run `lockstep mirror move` there"),
            ("`lockstep mirror start` on node b", "`lockstep mirror start` on node b"),
            ("start it (`lockstep daemon`)", "start it (`lockstep daemon`)"),
            ("`lockstep mirror status --socket /x`", "`lockstep mirror status --socket /x`"),
            ("an odd ` and `lockstep status", "an odd ` and `lockstep status"),
        ] {
            assert_eq!(reached.complete(text), expected);
        }
        let only = Reached { config: None, socket: Some("/a b".into()) };
        assert_eq!(
            only.complete("`lockstep mirror resume` or `lockstep events`"),
            "`lockstep mirror resume --socket '/a b'` or `lockstep events --socket '/a b'`"
        );
        assert_eq!(Reached::default().complete("`lockstep status`"), "`lockstep status`");
    }
}
