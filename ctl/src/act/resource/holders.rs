//! Who keeps a file system from being unmounted: processes with a file, a directory, a program or
//! mapped memory on it, and processes that see it in a mount namespace of their own.

use super::cage::pids;
use super::{exec, mounts};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::path::Path;

/// A process and what it does there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Name and way, for people.
    pub shown: String,
}

/// Holders of the file system on `device`. `elsewhere` also looks into other mount namespaces.
pub fn find(device: (u32, u32), elsewhere: bool) -> Vec<Holder> {
    pids()
        .filter_map(|pid| {
            let apart = || (elsewhere && sees(pid, device)).then_some("mount namespace of its own");
            let how = how(pid, device).or_else(apart)?;
            Some(Holder { pid, shown: format!("{}: {how}", exec::name(pid)) })
        })
        .collect()
}

/// Whether the process sees the file system mounted in another mount namespace than this one.
fn sees(pid: u32, device: (u32, u32)) -> bool {
    let Ok(own) = fs::read_link("/proc/self/ns/mnt") else { return false };
    fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|other| other != own)
        && mounts::of_process(pid).iter().any(|mount| mount.device == device)
}

fn how(pid: u32, device: (u32, u32)) -> Option<&'static str> {
    for (link, word) in
        [("cwd", "working directory"), ("root", "root directory"), ("exe", "program")]
    {
        if on(Path::new(&format!("/proc/{pid}/{link}")), device) {
            return Some(word);
        }
    }
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    if files.filter_map(Result::ok).any(|file| on(&file.path(), device)) {
        return Some("open file");
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().any(|line| maps_device(line) == Some(device)).then_some("mapped file")
}

/// Whether what the link stands for is on the device. Nothing is fetched from a server for that:
/// a network file system that hangs must not keep this one from being unmounted.
fn on(link: &Path, device: (u32, u32)) -> bool {
    statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)
        .is_ok_and(|found| (found.stx_dev_major, found.stx_dev_minor) == device)
}

fn maps_device(line: &str) -> Option<(u32, u32)> {
    let (major, minor) = line.split_ascii_whitespace().nth(3)?.split_once(':')?;
    let hex = |word| u32::from_str_radix(word, 16).ok();
    Some((hex(major)?, hex(minor)?)).filter(|device| *device != (0, 0))
}

/// Sends `signal` to each holder that is still one. Never to this process nor to the first.
pub fn signal(holders: &[Holder], device: (u32, u32), signal: Signal) {
    for holder in holders.iter().filter(|one| one.pid != 1 && one.pid != std::process::id()) {
        let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
        let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            continue;
        };
        // The number may be another process by now; the descriptor can't be.
        let still = how(holder.pid, device).is_some() || sees(holder.pid, device);
        if still && let Err(cause) = pidfd_send_signal(&process, signal) {
            tracing::debug!(pid = holder.pid, %cause, "holder ended by itself");
        }
    }
}

/// The holders in one line, not too many.
pub fn shown(holders: &[Holder]) -> String {
    let mut words: Vec<&str> = holders.iter().take(8).map(|one| one.shown.as_str()).collect();
    if holders.len() > words.len() {
        words.push("and more");
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_name_a_device_or_none() {
        let line = "7f00-7f01 r--p 00000000 2b:10 1234   /srv/lib.so";
        assert_eq!(maps_device(line), Some((0x2b, 0x10)));
        assert_eq!(maps_device("7ffe-7fff rw-p 00000000 00:00 0  [stack]"), None);
        assert_eq!(maps_device(""), None);
    }
}
