//! Resources: what a group brings up and down on this host. Always: each effect is idempotent,
//! ends within the deadline that comes with the order, and may be dropped half-way: the next one
//! finds out what is there. Of one resource at most one effect runs at a time; the caller sees to
//! that, and drops what runs before it calls `kill`.

pub mod address;
mod announce;
mod cage;
pub mod exec;
pub mod fs;
mod fsck;
mod holders;
pub(crate) mod links;
mod mount_options;
pub(crate) mod mounts;
pub mod program;
pub mod spec;
pub mod unit;

pub(crate) use announce::internet_checksum;
pub(crate) use cage::pids;
use lockstep_engine::units::Tick;
use spec::Spec;
use std::fmt;
use std::path::{Path, PathBuf};
use tokio::task::JoinSet;

/// Whose effect it is, and where its notes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// Name of this node.
    pub node: String,
    /// Name of the group; for a monitor that belongs to none, any word.
    pub group: String,
    /// Name of the resource or monitor.
    pub resource: String,
    /// Why it is done, for programs: `start`, `failover`, `monitor`...
    pub event: String,
    /// For notes that a restart of the daemon survives and a boot does not; on no disk. One daemon
    /// has it for itself: it tells the programs of two daemons on one host apart.
    pub runtime_dir: PathBuf,
    /// For notes that a boot survives.
    pub state_dir: PathBuf,
}

impl Context {
    /// A failure of this resource.
    pub(crate) fn failure(
        &self,
        doing: &str,
        cause: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Failure {
        Failure {
            resource: self.resource.clone(),
            doing: doing.to_owned(),
            cause: cause.to_string(),
            hint: hint.into(),
        }
    }

    /// Path of a note of this resource that does not survive a boot.
    pub(crate) fn note(&self, kind: &str) -> PathBuf {
        let (group, resource) = (file_name(&self.group), file_name(&self.resource));
        self.runtime_dir.join("resources").join(format!("{group}.{resource}.{kind}"))
    }
}

/// `name` as a file name of its own: different names stay different.
pub(crate) fn file_name(name: &str) -> String {
    let mut safe = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'@') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02x}"));
        }
    }
    safe
}

/// Why an effect failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Name of the resource.
    pub resource: String,
    /// What was being done, such as `mount /dev/nbd0 on /srv`.
    pub doing: String,
    /// What went wrong.
    pub cause: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.resource, self.doing, self.cause, self.hint)
    }
}

impl std::error::Error for Failure {}

/// The control group of the programs of a resource or monitor, whether it is there or not; `None`
/// on a host without. All of one daemon are two folders further up.
pub fn control_group(context: &Context) -> Option<PathBuf> {
    cage::Cage::of(context).group().map(Path::to_owned)
}

/// SIGKILL to all programs of a resource or monitor, as when its host loses power, and no folder
/// of theirs left. Blocking; `false` when some are still there at the deadline.
pub fn kill_programs(context: &Context, deadline: Tick) -> bool {
    cage::Cage::of(context).end(deadline)
}

/// What a resource is at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It is up.
    On,
    /// Nothing of it is there.
    Off,
    /// Neither: object and cause.
    Broken(String),
}

/// Brings it up; nothing happens when it is up. Returns when it is usable.
///
/// # Errors
/// It is not up; a second call or `stop` handles whatever is there.
pub async fn start(spec: &Spec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    match spec {
        Spec::Mirror(_) => Err(not_here(context, "start")),
        Spec::Fs(fs) => fs::start(fs, context, deadline).await,
        Spec::Exec(exec) => exec::start(exec, context, deadline).await,
        Spec::Unit(unit) => unit::start(unit, context, deadline).await,
        Spec::Address(address) => address::start(address, context, deadline).await,
        Spec::AwsVip(_) | Spec::AwsEip(_) => Err(no_aws(context, "start")),
    }
}

/// Brings it down; nothing happens when it is down. `Ok` means that nothing of it is left here.
///
/// # Errors
/// Something may be left: it must not be brought up elsewhere.
pub async fn stop(spec: &Spec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    match spec {
        Spec::Mirror(_) => Err(not_here(context, "stop")),
        Spec::Fs(fs) => fs::stop(fs, context, deadline).await,
        Spec::Exec(exec) => exec::stop(exec, context, deadline).await,
        Spec::Unit(unit) => unit::stop(unit, context, deadline).await,
        Spec::Address(address) => address::stop(address, context, deadline).await,
        Spec::AwsVip(_) | Spec::AwsEip(_) => Err(no_aws(context, "stop")),
    }
}

/// What it is now; changes nothing.
///
/// # Errors
/// It can't be found out.
pub async fn status(spec: &Spec, context: &Context, deadline: Tick) -> Result<State, Failure> {
    match spec {
        Spec::Mirror(_) => Err(not_here(context, "status")),
        Spec::Fs(fs) => fs::status(fs, context, deadline).await,
        Spec::Exec(exec) => exec::status(exec, context, deadline).await,
        Spec::Unit(unit) => unit::status(unit, context, deadline).await,
        Spec::Address(address) => address::status(address, context, deadline).await,
        Spec::AwsVip(_) | Spec::AwsEip(_) => Err(no_aws(context, "status")),
    }
}

/// Its part in the fast fence (SAFETY R13): an address is dropped, programs get SIGKILL. `Ok`
/// means that it serves nobody any more. Safe in any state. File systems and mirrors have no part:
/// the engine's fence answers their I/O with errors.
///
/// # Errors
/// It is not confirmed before the deadline.
pub async fn kill(spec: &Spec, context: &Context, deadline: Tick) -> Result<(), Failure> {
    match spec {
        Spec::Mirror(_) | Spec::Fs(_) | Spec::AwsEip(_) => Ok(()),
        // Where its routes lead is for the next owner to say.
        Spec::AwsVip(vip) => address::kill(&vip.on_interface(), context, deadline).await,
        Spec::Exec(_) => exec::kill(context, deadline).await,
        Spec::Unit(unit) => unit::kill(unit, context, deadline).await,
        Spec::Address(address) => address::kill(address, context, deadline).await,
    }
}

/// Kills all of `resources` at the same time. Returns what is not confirmed at the deadline.
pub async fn fence(resources: Vec<(Spec, Context)>, deadline: Tick) -> Vec<Failure> {
    let mut kills = JoinSet::new();
    for (spec, context) in resources {
        kills.spawn(async move { kill(&spec, &context, deadline).await });
    }
    let mut failures = Vec::new();
    while let Some(killed) = kills.join_next().await {
        match killed {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => failures.push(failure),
            Err(cause) => failures.push(Failure {
                resource: "fast fence".to_owned(),
                doing: "kill".to_owned(),
                cause: cause.to_string(),
                hint: "treat the group as running here".to_owned(),
            }),
        }
    }
    failures
}

fn not_here(context: &Context, doing: &str) -> Failure {
    let cause = "a mirror is promoted and demoted by arbitration, not by an effect";
    context.failure(doing, cause, "use the verbs of `lockstep mirror`; if none was, report it")
}

/// Addresses of AWS are moved by `act::aws::moves`, which needs to know the record.
fn no_aws(context: &Context, doing: &str) -> Failure {
    let hint = "install the package with AWS support; if it is, report it";
    context.failure(doing, "there is no way to AWS here", hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_files_of_their_own() {
        assert_eq!(file_name("web-1"), "web-1");
        assert_eq!(file_name("../a b"), "%2e%2e%2fa%20b");
        assert_ne!(file_name("a.b"), file_name("a%2eb"));
    }

    #[test]
    fn a_failure_names_object_cause_and_next_move() {
        let failure = Failure {
            resource: "data".to_owned(),
            doing: "mount /dev/nbd0 on /srv".to_owned(),
            cause: "no such file".to_owned(),
            hint: "make the mount point".to_owned(),
        };
        let shown = "data: mount /dev/nbd0 on /srv: no such file; make the mount point";
        assert_eq!(failure.to_string(), shown);
    }
}
