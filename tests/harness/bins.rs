//! Finds the programs under test, and refuses those that were built from other sources: a test that
//! passes against yesterday's binary says nothing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The two programs.
#[derive(Clone, Debug)]
pub struct Bins {
    /// `lockstep-engine`, the data plane.
    pub engine: PathBuf,
    /// `lockstep`, the control plane and the operator's command.
    pub lockstep: PathBuf,
}

/// Why the programs cannot be used.
#[derive(Debug)]
pub enum BinsError {
    /// The test's own executable is not where cargo puts it.
    NoProfileFolder {
        /// Where it is.
        executable: PathBuf,
    },
    /// A program could not be run.
    NotRun {
        /// Where it should be.
        program: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A program shows another build id than the test was built with.
    OtherBuild {
        /// The program.
        program: PathBuf,
        /// What it showed.
        shown: String,
    },
}

impl fmt::Display for BinsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BinsError::NoProfileFolder { executable } => write!(
                f,
                "{} does not lie in the deps folder of a profile; run tests through cargo",
                executable.display()
            ),
            BinsError::NotRun { program, cause } => write!(
                f,
                "{} cannot be run ({cause}); run cargo build --bins first, with the profile of \
                 the tests",
                program.display()
            ),
            BinsError::OtherBuild { program, shown } => write!(
                f,
                "{} shows {shown:?}, but this test was built from sources with id {}; run cargo \
                 build --bins first",
                program.display(),
                lockstep_nbd::BUILD_ID
            ),
        }
    }
}

impl std::error::Error for BinsError {}

/// Finds both programs and checks that they come from the sources of this test.
pub fn find() -> Result<Bins, BinsError> {
    let folder = profile_folder()?;
    let bins = Bins { engine: folder.join("lockstep-engine"), lockstep: folder.join("lockstep") };
    check(&bins.engine)?;
    check(&bins.lockstep)?;
    Ok(bins)
}

/// Finds the engine alone.
pub fn engine() -> Result<PathBuf, BinsError> {
    let engine = profile_folder()?.join("lockstep-engine");
    check(&engine)?;
    Ok(engine)
}

/// The folder of the profile: one above the `deps` in which the test itself lies.
fn profile_folder() -> Result<PathBuf, BinsError> {
    let own = std::env::current_exe()
        .map_err(|cause| BinsError::NotRun { program: PathBuf::from("/proc/self/exe"), cause })?;
    match own.parent().filter(|deps| deps.ends_with("deps")).and_then(Path::parent) {
        Some(folder) => Ok(folder.to_owned()),
        None => Err(BinsError::NoProfileFolder { executable: own }),
    }
}

/// Checks the build id that one program shows.
pub fn check(program: &Path) -> Result<(), BinsError> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|cause| BinsError::NotRun { program: program.to_owned(), cause })?;
    let shown = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if shown.contains(lockstep_nbd::BUILD_ID) {
        return Ok(());
    }
    Err(BinsError::OtherBuild { program: program.to_owned(), shown })
}
