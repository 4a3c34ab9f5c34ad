//! The files of the TCP door, read anew when they have changed. Always: what was read last goes on
//! to count while a new file can't be used; a file that changes while it is read is read again.

use super::gate::Token;
use super::listen::TcpError;
use super::tls;
use crate::act::clock;
use crate::config::cluster::ApiSpec;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tokio_rustls::TlsAcceptor;

/// File systems keep times in steps: within this after a change there may be another one that
/// looks like it.
const SETTLED_MS: i64 = 2_000;

/// What the files hold.
pub(super) struct Contents {
    /// The token, if one is named.
    pub token: Option<Token>,
    /// TLS, if it is spoken.
    pub tls: Option<TlsAcceptor>,
}

/// How files that have changed were taken.
#[derive(Debug)]
pub enum Renewal {
    /// They count from now on.
    Taken,
    /// They can't be used; what was read before still counts.
    Kept(TcpError),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    /// Seconds and nanoseconds. Rights that changed count too.
    changed: (i64, i64),
}

/// The files, as they were when they were read.
pub(super) struct Secrets {
    spec: ApiSpec,
    seen: Vec<Option<Stamp>>,
    /// They were read so soon after a change that they have to be read once more.
    unsettled: bool,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        file: (found.dev(), found.ino()),
        bytes: found.size(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

fn stamps(spec: &ApiSpec) -> Vec<Option<Stamp>> {
    let tls = spec.tls.as_ref();
    let files = tls
        .into_iter()
        .flat_map(|tls| [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()]);
    let all = files.chain([spec.token_file.as_ref()]).flatten();
    all.map(|path| stamp(path)).collect()
}

fn unsettled(stamps: &[Option<Stamp>], now_ms: u64) -> bool {
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let changed = |stamp: &Stamp| stamp.changed.0.saturating_mul(1_000);
    stamps.iter().flatten().any(|stamp| changed(stamp).saturating_add(SETTLED_MS) > now)
}

fn read(spec: &ApiSpec) -> Result<Contents, TcpError> {
    let token = tls::token(spec)?;
    let certified = spec.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    // The configuration was checked for both; here they are the last word.
    let in_the_clear = spec.tls.is_none() && !spec.listen.ip().is_loopback();
    if in_the_clear || (token.is_none() && !certified) {
        return Err(TcpError::Open { listen: spec.listen });
    }
    let tls = match &spec.tls {
        Some(files) => Some(tls::acceptor(files, token.is_some())?),
        None => None,
    };
    Ok(Contents { token, tls })
}

impl Secrets {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They can't be used, or are not enough.
    pub fn open(spec: &ApiSpec) -> Result<(Secrets, Contents), TcpError> {
        // Before they are read: a change in between is seen by the next look.
        let (seen, now) = (stamps(spec), clock::wall_ms());
        let contents = read(spec)?;
        let unsettled = unsettled(&seen, now);
        Ok((Secrets { spec: spec.clone(), seen, unsettled }, contents))
    }

    /// Reads the files again if they have changed: what they hold, and what there is to tell.
    pub fn renewed(&mut self) -> (Option<Contents>, Option<Renewal>) {
        let (now, stamps) = (clock::wall_ms(), stamps(&self.spec));
        let changed = stamps != self.seen;
        if !changed && !self.unsettled {
            return (None, None);
        }
        self.unsettled = unsettled(&stamps, now);
        self.seen = stamps;
        match read(&self.spec) {
            Ok(contents) => (Some(contents), changed.then_some(Renewal::Taken)),
            Err(error) => (None, changed.then_some(Renewal::Kept(error))),
        }
    }
}
