//! Probes: one look at what a monitor watches. Each ends within the deadline of its order and
//! changes nothing. `Wrong` means that the watched thing is not as it should be, also when it does
//! not answer; `NoAnswer` means that this host could not even ask.

mod disk;
pub mod mirror;
mod ping;
mod port;
mod process;
pub mod spec;

use super::resource::program::{self, Rest};
use super::resource::spec::Command;
use super::resource::{self, Context, State};
use lockstep_engine::units::{Status, Tick};
use spec::{Found, Spec};

/// What a probe needs beside its own words. The caller knows the configuration and the engines.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The monitor's: its name is `resource` in it.
    pub context: &'a Context,
    /// For `Spec::Resource`: that resource; `None` when the configuration has none of that name.
    pub resource: Option<(&'a resource::spec::Spec, &'a Context)>,
    /// For `Spec::Mirror`: the volume's name, and what its engine said last; `None` when it is
    /// silent.
    pub mirror: (&'a str, Option<&'a Status>),
}

/// Looks once.
pub async fn probe(spec: &Spec, around: Surroundings<'_>, deadline: Tick) -> Found {
    match spec {
        Spec::Ping { targets, require } => ping::probe(targets, *require, deadline).await,
        Spec::Port { host, port } => port::probe(host, *port, deadline).await,
        Spec::Exec(command) => exec(command, around.context, deadline).await,
        Spec::Mirror(_) => match around.mirror {
            (name, Some(status)) => mirror::judge(name, status),
            (name, None) => Found::NoAnswer(format!("mirror {name}: its engine is silent")),
        },
        Spec::Disk { paths } => disk::probe(paths, deadline).await,
        Spec::Process { executable, least } => process::probe(executable, *least, deadline).await,
        Spec::AwsZone { .. } => Found::NoAnswer(
            "there is no way to AWS here; install the package with AWS support".to_owned(),
        ),
        Spec::Resource { group, resource } => match around.resource {
            Some((spec, context)) => status(spec, context, deadline).await,
            None => Found::NoAnswer(format!(
                "group {group} has no resource {resource} here; check the monitor's words"
            )),
        },
    }
}

async fn exec(command: &Command, context: &Context, deadline: Tick) -> Found {
    match program::run(command, "probe", Rest::Dies, context, deadline).await {
        Ok(outcome) if outcome.good() => Found::Fine,
        Ok(outcome) => Found::Wrong(format!("{}: {}", command.program.display(), outcome.words())),
        Err(failure) => Found::NoAnswer(failure.to_string()),
    }
}

async fn status(spec: &resource::spec::Spec, context: &Context, deadline: Tick) -> Found {
    match resource::status(spec, context, deadline).await {
        Ok(State::On) => Found::Fine,
        Ok(State::Off) => Found::Wrong(format!("{} is off", context.resource)),
        Ok(State::Broken(cause)) => Found::Wrong(format!("{}: {cause}", context.resource)),
        Err(failure) => Found::NoAnswer(failure.to_string()),
    }
}

/// The worst of several looks: one that is wrong, else one without answer.
fn worst(all: Vec<Found>) -> Found {
    let wrong = all.iter().find(|found| matches!(found, Found::Wrong(_)));
    let silent = all.iter().find(|found| matches!(found, Found::NoAnswer(_)));
    wrong.or(silent).cloned().unwrap_or(Found::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_outweighs_what_is_silent() {
        let wrong = Found::Wrong("w".to_owned());
        let silent = Found::NoAnswer("s".to_owned());
        assert_eq!(worst(vec![Found::Fine, silent.clone(), wrong.clone()]), wrong);
        assert_eq!(worst(vec![silent.clone(), Found::Fine]), silent);
        assert_eq!(worst(Vec::new()), Found::Fine);
    }
}
