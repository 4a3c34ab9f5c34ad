//! The verbs of `cluster.toml`. Always: nothing that runs is touched but by `apply`, which says
//! before what it touches; a file that is there is never overwritten but by it; a configuration
//! with mistakes ends in `Usage`.

mod apply;
mod ask;
mod disks;

use super::show;
use crate::act::host;
use crate::config::cluster::{
    Answers, Change, Cluster, ClusterError, FILE_DEFAULT, Mistake, changes, groups_to_restart,
};
use crate::exit::Exit;
use ask::Asker;
use clap::{Args, Subcommand, ValueEnum};
use lockstep_engine::units::NodeId;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Answers for a cluster that never was.
const ANSWERS: &str = include_str!("../../answers.sample.toml");

fn answers_help() -> String {
    format!("A file for --answers:\n\n{ANSWERS}")
}

#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// What can be done with a configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigVerb {
    /// Tell every mistake of a file at once, with line, column and the way out
    Check {
        #[arg(default_value = FILE_DEFAULT)]
        file: PathBuf,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Tell what another file would change, and which groups would have to restart
    Diff {
        /// The other file
        new: PathBuf,
        /// The file that it is compared with
        #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
        old: PathBuf,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Make a file the configuration of both nodes: shows what it changes, asks, and does it
    Apply(apply::ApplyArgs),
    /// Write a new file, from questions or from answers
    #[command(after_long_help = answers_help())]
    Init {
        /// A file with the answers, instead of questions on the terminal: see --help
        #[arg(long, value_name = "FILE")]
        answers: Option<PathBuf>,
        /// Where it is written; must not exist yet
        #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
        output: PathBuf,
    },
    /// Show the files that the engines of a node are started with
    Show {
        node: NodeName,
        #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
        file: PathBuf,
    },
}

/// A node, as typed.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum NodeName {
    /// The first one
    A,
    /// The other one
    B,
}

/// Runs one verb.
pub fn run(verb: &ConfigVerb) -> Exit {
    let ended = match verb {
        ConfigVerb::Apply(args) => apply::run(args),
        ConfigVerb::Check { file, json } => check(file, *json),
        ConfigVerb::Diff { new, old, json } => diff(old, new, *json),
        ConfigVerb::Init { answers, output } => init(answers.as_deref(), output),
        ConfigVerb::Show { node, file } => show_node(*node, file),
    };
    ended.unwrap_or_else(|exit| exit)
}

fn load(path: &Path) -> Result<Cluster, Exit> {
    Cluster::load(path).map_err(|error| {
        show::error(&error.to_string());
        match error {
            ClusterError::Unreadable { .. } => Exit::Failed,
            ClusterError::Wrong { .. } => Exit::Usage,
        }
    })
}

fn failed(error: impl std::fmt::Display) -> Exit {
    show::error(&error.to_string());
    Exit::Failed
}

fn check(file: &Path, json: bool) -> Result<Exit, Exit> {
    if json {
        let (mistakes, beyond) = match Cluster::load(file) {
            Ok(cluster) => (Vec::new(), cluster.beyond_this_build()),
            Err(ClusterError::Wrong { mistakes, .. }) => (mistakes, Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let one = |mistake: &Mistake| {
            json!({
                "line": mistake.line,
                "column": mistake.column,
                "key": mistake.key,
                "what": mistake.wrong.to_string(),
                "hint": mistake.wrong.hint(),
            })
        };
        let list: Vec<serde_json::Value> = mistakes.iter().map(one).collect();
        let good = list.is_empty();
        let told = json!({
            "file": file,
            "good": good,
            "mistakes": list,
            "beyond_this_build": beyond,
        });
        show::result(&told.to_string());
        return Ok(if good { Exit::Ok } else { Exit::Usage });
    }
    let cluster = load(file)?;
    let view = cluster.node(NodeId::A);
    let (volumes, groups) = (view.engines.len(), view.groups.len());
    let monitors = view.monitors.len();
    let found = format!("{volumes} volumes, {groups} groups, {monitors} monitors");
    show::result(&format!("{}: good: cluster {}, {found}", file.display(), view.cluster.name));
    let beyond = cluster.beyond_this_build();
    if !beyond.is_empty() {
        show::error(&format!(
            "this build has no AWS and can't act on {}; install the package with AWS support on \
             the nodes",
            beyond.join(", ")
        ));
    }
    Ok(Exit::Ok)
}

fn diff(old: &Path, new: &Path, json: bool) -> Result<Exit, Exit> {
    // Both are looked at before either is complained about.
    let (old, new) = (load(old), load(new));
    let found = changes(&old?, &new?);
    let restart = groups_to_restart(&found);
    if json {
        show::result(&json!({ "changes": found, "groups_to_restart": restart }).to_string());
    } else {
        show::result(&told(&found, &restart));
    }
    Ok(Exit::Ok)
}

fn told(found: &[Change], restart: &[String]) -> String {
    if found.is_empty() {
        return "no change".to_owned();
    }
    let mut lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    lines.push(match restart {
        [] => "no group would restart".to_owned(),
        names => format!("groups that would restart: {}", names.join(", ")),
    });
    if found.iter().any(|change| change.effect.needs_stop()) {
        lines.push("some of it can't be applied while it runs: see above".to_owned());
    }
    lines.join("\n")
}

fn init(answers: Option<&Path>, output: &Path) -> Result<Exit, Exit> {
    if output.exists() {
        let path = output.display();
        return Err(failed(format_args!("{path} is there already; name another with --output")));
    }
    let answers = match answers {
        Some(path) => read_answers(path)?,
        None => asked().map_err(|cause| {
            failed(format_args!("questions: {cause}; nothing was written, run it again"))
        })?,
    };
    let mut ids = Vec::new();
    // One for the cluster, for each volume, for the group.
    for _ in 0..answers.volumes.len() + 2 {
        ids.push(host::nonce().map_err(failed)?.0);
    }
    let text = answers.render(&mut || ids.pop().unwrap_or_default());
    if let Err(mistakes) = Cluster::parse(&text) {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
        let lines = lines.join("\n");
        show::error(&format!("these answers make no cluster; nothing was written:\n{lines}"));
        return Err(Exit::Usage);
    }
    write_new(output, &text).map_err(|cause| {
        failed(format_args!("{}: {cause}; name another with --output", output.display()))
    })?;
    let path = output.display();
    show::result(&format!(
        "{path}: written; read it, make the key file that it names, and copy both to the other node"
    ));
    Ok(Exit::Ok)
}

fn read_answers(path: &Path) -> Result<Answers, Exit> {
    let text = std::fs::read_to_string(path).map_err(|cause| {
        failed(format_args!("{}: {cause}; name a file with --answers", path.display()))
    })?;
    Answers::parse(&text).map_err(|error| {
        show::error(&format!("{}: {error}", path.display()));
        Exit::Usage
    })
}

fn asked() -> io::Result<Answers> {
    let partitions = disks::partitions(Path::new("/")).unwrap_or_else(|cause| {
        show::progress(&format!("partitions can't be listed: {cause}; type their paths"));
        Vec::new()
    });
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut asker = Asker::new(io::stdin().lock(), io::stderr().lock());
    asker.answers(host.trim(), &partitions)
}

/// Whole and durable, or an error.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn show_node(node: NodeName, file: &Path) -> Result<Exit, Exit> {
    let node = match node {
        NodeName::A => NodeId::A,
        NodeName::B => NodeId::B,
    };
    let view = load(file)?.node(node);
    let one = |engine: &crate::config::cluster::EngineView| {
        format!("# {}\n{}", engine.path.display(), engine.text)
    };
    let files: Vec<String> = view.engines.iter().map(one).collect();
    if files.is_empty() {
        show::result("no volumes, so no engines");
    } else {
        show::result(&files.join("\n"));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests;
