//! Manual pages and completions, made from the table of verbs.

use super::{Cli, show};
use crate::exit::Exit;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io;
use std::path::{Path, PathBuf};

/// Where what is made is put.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct GenerateArgs {
    /// Write a manual page for each verb into this directory
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
    /// Write completions for bash, zsh and fish into this directory
    #[arg(long, value_name = "DIR")]
    completions: Option<PathBuf>,
}

/// Writes what was asked for.
pub(crate) fn run(args: &GenerateArgs) -> Exit {
    let made = args.man.as_deref().map_or(Ok(()), man);
    let made = made.and_then(|()| args.completions.as_deref().map_or(Ok(()), completions));
    match made {
        Ok(()) => Exit::Ok,
        Err((path, cause)) => {
            show::error(&format!("{}: {cause}; check path and rights", path.display()));
            Exit::Failed
        }
    }
}

fn man(directory: &Path) -> Result<(), (PathBuf, io::Error)> {
    let failed = |cause| (directory.to_path_buf(), cause);
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}

fn completions(directory: &Path) -> Result<(), (PathBuf, io::Error)> {
    let failed = |cause| (directory.to_path_buf(), cause);
    std::fs::create_dir_all(directory).map_err(failed)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "lockstep", directory)
            .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn nothing_to_write_is_a_wrong_command_line() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(!parse("lockstep generate"));
        assert!(parse("lockstep generate --man /m"));
        assert!(parse("lockstep generate --man /m --completions /c"));
    }

    #[test]
    fn every_verb_that_is_shown_has_a_page_and_the_shells_have_completions() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path().to_path_buf());
        run(&GenerateArgs { man: path.clone(), completions: path });
        let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(page("lockstep.1").contains("Exit codes"));
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            page(&format!("lockstep-{}.1", verb.get_name()));
        }
        assert!(page("lockstep.bash").contains("force-promote"));
        assert!(page("_lockstep").contains("force-promote"));
    }
}
