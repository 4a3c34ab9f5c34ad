//! The verbs of AWS. Always: they are there in every build, so that help and documents do not
//! differ; a build without AWS says which package has them, and does nothing.

use super::show;
use crate::act::aws::plan::plan;
use crate::act::aws::policy::{Scope, document, statements};
use crate::config::cluster::{ArbiterSpec, Cluster, FILE_DEFAULT};
use crate::exit::Exit;
use clap::{Args, Subcommand};
use lockstep_engine::units::NodeId;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct AwsArgs {
    #[command(subcommand)]
    verb: AwsVerb,
}

/// What can be done in AWS.
#[derive(Subcommand, Debug)]
enum AwsVerb {
    /// Make the table of DynamoDB that `[arbiter]` names; once, with an administrator's rights
    CreateArbiter {
        /// Configuration of the cluster
        #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
        cluster: PathBuf,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the policy of IAM that the nodes need for this configuration, and no more
    IamPolicy {
        /// Configuration of the cluster
        #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
        cluster: PathBuf,
        /// What this node alone needs: a or b
        #[arg(long, value_name = "NODE", value_parser = super::node_id)]
        split: Option<NodeId>,
        /// Id of the account; without it, the policy fits every one
        #[arg(long, value_name = "ID", value_parser = account)]
        account: Option<String>,
    },
    /// Print a whole environment that fits this configuration, for Terraform
    Plan {
        /// Configuration of the cluster
        #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
        cluster: PathBuf,
    },
}

/// Id of an account: twelve digits.
fn account(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err("an account has twelve digits, such as 123456789012".to_owned())
}

/// Does what was asked for.
pub(crate) fn run(args: &AwsArgs) -> Exit {
    let (said, text) = match &args.verb {
        AwsVerb::CreateArbiter { cluster, dry_run } => (create_arbiter(cluster, *dry_run), false),
        AwsVerb::IamPolicy { cluster, split, account } => {
            let scope = Scope { node: *split, account: account.clone() };
            (iam_policy(cluster, &scope), true)
        }
        AwsVerb::Plan { cluster } => (environment(cluster), true),
    };
    match said {
        Ok(said) => {
            if text {
                show::machine(&said)
            } else {
                show::result(&said)
            }
            Exit::Ok
        }
        Err((exit, text)) => {
            show::error(&text);
            exit
        }
    }
}

fn load(path: &Path) -> Result<Cluster, (Exit, String)> {
    Cluster::load(path).map_err(|error| (Exit::Usage, error.to_string()))
}

fn iam_policy(path: &Path, scope: &Scope) -> Result<String, (Exit, String)> {
    let cluster = load(path)?;
    let all = statements(&cluster, scope);
    if all.is_empty() {
        let text = format!("{}: nothing in it needs AWS", path.display());
        return Err((Exit::Usage, text));
    }
    if let Some(role) = &cluster.node(NodeId::A).aws.role {
        show::progress(&format!(
            "This is for {role}. The role of the instances needs sts:AssumeRole on it alone, and \
             {role} must trust them."
        ));
    }
    Ok(document(&all))
}

fn environment(path: &Path) -> Result<String, (Exit, String)> {
    plan(&load(path)?).map_err(|error| (Exit::Usage, error.to_string()))
}

fn create_arbiter(path: &Path, dry_run: bool) -> Result<String, (Exit, String)> {
    let cluster = load(path)?;
    // What matters here is the same for both nodes.
    let view = cluster.node(NodeId::A);
    let ArbiterSpec::Dynamodb { table } = &view.arbiter else {
        let text = format!(
            "{}: the arbiter is no table of DynamoDB; set `type = \"dynamodb\"` in [arbiter]",
            path.display()
        );
        return Err((Exit::Usage, text));
    };
    let region = view.aws.region.as_deref().unwrap_or("the region of this host");
    if dry_run {
        return Ok(format!(
            "would make the table {table} in {region}, paid by request and protected from deletion"
        ));
    }
    made(&view, table)
}

#[cfg(feature = "aws")]
fn made(view: &crate::config::cluster::NodeView, table: &str) -> Result<String, (Exit, String)> {
    use crate::act::arbiter::dynamodb;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| (Exit::Failed, format!("event loop: {cause}")))?;
    let made = runtime.block_on(dynamodb::make(crate::act::aws::settings(&view.aws), table));
    let made = made.map_err(|error| (Exit::Failed, error.to_string()))?;
    let (name, region) = (&made.table.name, &made.region);
    if made.was_there {
        let open = "; it is not protected from deletion, which would stop every failover";
        let open = if made.table.protected { "" } else { open };
        return Ok(format!("the table {name} is there in {region} and fits{open}"));
    }
    Ok(format!("made the table {name} in {region}; nodes need dynamodb:GetItem and UpdateItem"))
}

#[cfg(not(feature = "aws"))]
fn made(_: &crate::config::cluster::NodeView, _: &str) -> Result<String, (Exit, String)> {
    let text = "this package has no AWS; install the one with AWS support (feature `aws`)";
    Err((Exit::Failed, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn the_verb_is_there_in_every_build() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("lockstep aws create-arbiter").is_ok());
        assert!(parse("lockstep aws create-arbiter --cluster /c.toml --dry-run").is_ok());
        assert!(parse("lockstep aws").is_err());
        assert!(parse("lockstep aws iam-policy --split a --account 123456789012").is_ok());
        assert!(parse("lockstep aws iam-policy --split c").is_err());
        assert!(parse("lockstep aws iam-policy --account mine").is_err());
        assert!(parse("lockstep aws plan --cluster /c.toml").is_ok());
    }
}
