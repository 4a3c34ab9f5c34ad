//! How many processes run an executable, by `/proc/PID/exe`. One that was replaced on disk since
//! still counts: it is that program.

use super::spec::Found;
use crate::act::resource::pids;
use crate::act::work;
use lockstep_engine::units::Tick;
use std::fs;
use std::path::{Path, PathBuf};

/// What the kernel appends to the path of an executable that is no longer there.
const DELETED: &str = " (deleted)";

pub(super) async fn probe(executable: &Path, least: u32, deadline: Tick) -> Found {
    let shown = executable.display();
    let wanted = executable.to_owned();
    // It may be on a disk that does not answer: looks that are stuck there must not pile up.
    let key = format!("count {shown}");
    match work::run_if_free("process", &key, deadline, move || count(&wanted)).await {
        Ok(found) if found >= least => Found::Fine,
        Ok(found) => Found::Wrong(format!("{found} processes run {shown}, not {least} or more")),
        Err(cause) => Found::NoAnswer(format!("processes of {shown}: {cause}")),
    }
}

fn count(executable: &Path) -> u32 {
    let wanted = fs::canonicalize(executable).unwrap_or_else(|_| executable.to_owned());
    let runs = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|found| {
            let text = found.to_string_lossy();
            found == wanted
                || text.strip_suffix(DELETED).map(PathBuf::from).as_ref() == Some(&wanted)
        })
    };
    u32::try_from(pids().filter(runs).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::clock;
    use lockstep_engine::units::Span;

    #[tokio::test]
    async fn this_program_runs_and_another_does_not() {
        let own = std::env::current_exe().unwrap();
        let soon = || clock::now().after(Span::millis(5_000));
        assert_eq!(probe(&own, 1, soon()).await, Found::Fine);
        let found = probe(Path::new("/nonexistent/program"), 1, soon()).await;
        assert!(matches!(&found, Found::Wrong(cause) if cause.starts_with("0 processes")));
    }
}
