//! `lockstep doctor` and `lockstep support-bundle`: what somebody needs who helps from afar.
//! Always: neither changes anything; keys, tokens and passwords are never read into a bundle.

use super::client;
use super::show;
use crate::act::host;
use crate::api::control::{Tell, Verb};
use crate::config::cluster::{ArbiterSpec, Cluster, FILE_DEFAULT, NodeView};
use crate::daemon::this_node;
use crate::doctor::{self, Check, Verdict, worst};
use crate::exit::Exit;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use lockstep_engine::offline;
use lockstep_engine::units::NodeId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of the end of a log that are taken.
const LOG_BYTES: u64 = 8 << 20;
/// Longest wait for one answer of the daemon.
const ANSWER: Option<Duration> = Some(Duration::from_secs(5));
/// Events that are asked for.
const EVENTS: usize = 10_000;

/// Which configuration, and which node this is.
#[derive(Args, Debug)]
pub(crate) struct Whose {
    /// Configuration of the cluster
    #[arg(long, value_name = "FILE", default_value = FILE_DEFAULT)]
    cluster: PathBuf,
    /// Which node this is [default: the one with this host's name]
    #[arg(long, value_name = "a|b", value_parser = super::node_id)]
    node: Option<NodeId>,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    whose: Whose,
    /// For machines
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    whose: Whose,
    /// Where it is written; must not exist yet [default: lockstep-support-HOST.tar.gz]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Looks at everything and says what is not well.
pub(crate) fn doctor(args: &DoctorArgs) -> Exit {
    let (cluster, node) = match whose(&args.whose) {
        Ok(found) => found,
        Err(error) => {
            show::error(&error);
            return Exit::Usage;
        }
    };
    let checks = doctor::examine(&cluster, &args.whose.cluster, node);
    if args.json {
        match serde_json::to_string_pretty(&checks) {
            Ok(text) => show::result(&text),
            Err(cause) => show::error(&format!("checks: {cause}; this is a defect, report it")),
        }
    } else {
        show::result(&table(&checks));
    }
    match worst(&checks) {
        Verdict::Fail => Exit::Failed,
        _ => Exit::Ok,
    }
}

fn whose(args: &Whose) -> Result<(Cluster, NodeId), String> {
    let cluster = Cluster::load(&args.cluster).map_err(|error| error.to_string())?;
    let node = this_node(&args.cluster, &cluster, args.node).map_err(|error| error.to_string())?;
    Ok((cluster, node))
}

fn table(checks: &[Check]) -> String {
    let mut out = String::new();
    let mut area = "";
    for check in checks {
        if check.area != area {
            area = check.area;
            out += &format!("{area}\n");
        }
        let word = match check.verdict {
            Verdict::Pass => "pass",
            Verdict::Skipped => "skip",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        out += &format!("  {word}  {}: {}\n", check.object, check.found);
        if let Some(fix) = &check.fix {
            out += &format!("        do: {fix}\n");
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (passed, skipped) = (count(Verdict::Pass), count(Verdict::Skipped));
    let (warned, failed) = (count(Verdict::Warn), count(Verdict::Fail));
    out + &format!("{passed} passed, {warned} warnings, {failed} failed, {skipped} skipped\n")
}

/// Collects what somebody needs who was not there.
pub(crate) fn bundle(args: &BundleArgs) -> Exit {
    let host = host::name();
    let output = args.output.clone();
    let output = output.unwrap_or_else(|| PathBuf::from(format!("lockstep-support-{host}.tar.gz")));
    match collect(args, &host, &output) {
        Ok(said) => {
            show::result(&said);
            Exit::Ok
        }
        Err(cause) => {
            let name = output.display();
            show::error(&format!("{name}: {cause}; name another file with --output"));
            Exit::Failed
        }
    }
}

/// A bundle while it is written.
struct Bundle {
    archive: tar::Builder<GzEncoder<File>>,
    folder: String,
    contents: String,
}

impl Bundle {
    fn put(&mut self, name: &str, bytes: io::Result<Vec<u8>>) -> io::Result<()> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(cause) => {
                self.contents += &format!("{name}: not there: {cause}\n");
                return Ok(());
            }
        };
        self.contents += &format!("{name}: {} bytes\n", bytes.len());
        self.write(name, &bytes)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(0o600);
        header.set_mtime(crate::act::clock::wall_ms() / 1_000);
        header.set_cksum();
        let path = format!("{}/{name}", self.folder);
        self.archive.append_data(&mut header, path, bytes)
    }
}

fn collect(args: &BundleArgs, host: &str, output: &Path) -> io::Result<String> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(output)?;
    let archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let folder = format!("lockstep-support-{host}");
    let mut bundle = Bundle { archive, folder, contents: String::new() };
    bundle.put("version.txt", Ok(lockstep_nbd::VERSION.as_bytes().to_vec()))?;
    bundle.put("cluster.toml", fs::read(&args.whose.cluster))?;
    match whose(&args.whose) {
        Ok((cluster, node)) => of_node(&mut bundle, &cluster, &args.whose.cluster, node)?,
        Err(error) => bundle.put("node", Err(io::Error::other(error)))?,
    }
    of_host(&mut bundle)?;
    let contents = bundle.contents.clone();
    bundle.write("CONTENTS.txt", contents.as_bytes())?;
    bundle.archive.into_inner()?.finish()?.sync_all()?;
    Ok(format!("{contents}written: {}; it holds no key, token or password", output.display()))
}

fn json<T: serde::Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(io::Error::other)
}

fn of_node(bundle: &mut Bundle, cluster: &Cluster, path: &Path, node: NodeId) -> io::Result<()> {
    let view = cluster.node(node);
    bundle.put("doctor.json", json(&doctor::examine(cluster, path, node)))?;
    let ask = |verb: Verb| client::call(&view.daemon_socket, verb, ANSWER, |_| {});
    let cluster = ask(Verb::Cluster).map_err(|error| io::Error::other(error.to_string()));
    let report = match cluster {
        Ok(Tell::Cluster(report)) => json(&report),
        Ok(_) => Err(io::Error::other("another answer than was asked for")),
        Err(error) => Err(error),
    };
    bundle.put("status.json", report)?;
    let events = match ask(Verb::Events { after: 0, most: EVENTS }) {
        Ok(Tell::Events(events)) => json(&events),
        Ok(_) => Err(io::Error::other("another answer than was asked for")),
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    bundle.put("events.json", events)?;
    let secrets = secrets(&view);
    for engine in &view.engines {
        let volume = &engine.config.volume.name;
        bundle.put(&format!("engines/{volume}.toml"), Ok(engine.text.clone().into_bytes()))?;
        let metadata = offline::inspect(&engine.config.cluster_partition, None, true);
        let metadata = metadata.map(|shown| shown.text.into_bytes());
        let metadata = metadata.map_err(|error| io::Error::other(error.to_string()));
        bundle.put(&format!("engines/{volume}.metadata.json"), metadata)?;
    }
    for (name, folder) in [("run", &view.run_dir), ("state", &view.state_dir)] {
        for found in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = found.path();
            let plain = found.file_type().is_ok_and(|kind| kind.is_file());
            if plain && !secrets.contains(&path) {
                let file = format!("{name}/{}", found.file_name().to_string_lossy());
                bundle.put(&file, end_of(&path))?;
            }
        }
    }
    Ok(())
}

/// Files that must stay where they are.
fn secrets(view: &NodeView) -> Vec<PathBuf> {
    let mut secrets = vec![view.key_file.clone()];
    if let Some(api) = &view.api {
        secrets.extend(api.token_file.clone());
        secrets.extend(api.tls.as_ref().map(|tls| tls.key_file.clone()));
    }
    if let ArbiterSpec::Etcd(etcd) = &view.arbiter {
        secrets.extend(etcd.key_file.clone());
        secrets.extend(etcd.credentials_file.clone());
    }
    secrets
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn of_host(bundle: &mut Bundle) -> io::Result<()> {
    let files = ["version", "mounts", "meminfo", "cpuinfo", "modules", "net/dev", "diskstats"];
    for file in files {
        bundle.put(
            &format!("host/proc-{}", file.replace('/', "-")),
            fs::read(format!("/proc/{file}")),
        )?;
    }
    let commands: [(&str, &[&str]); 5] = [
        ("ip-address", &["ip", "-details", "address"]),
        ("ip-route", &["ip", "route", "show", "table", "all"]),
        ("sockets", &["ss", "--numeric", "--all", "--processes", "--info"]),
        ("disks", &["lsblk", "--all", "--output-all", "--json"]),
        (
            "journal",
            &["journalctl", "--unit=lockstep*", "--lines=20000", "--no-pager", "-o", "short-iso"],
        ),
    ];
    for (name, words) in commands {
        let output = Command::new(words[0]).args(&words[1..]).output();
        bundle.put(
            &format!("host/{name}.txt"),
            output.map(|done| [done.stdout, done.stderr].concat()),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_to_do_and_counts() {
        let check = |verdict, fix: Option<&str>| Check {
            area: "host",
            object: "kernel".to_owned(),
            verdict,
            found: "5.10".to_owned(),
            fix: fix.map(str::to_owned),
        };
        let shown =
            table(&[check(Verdict::Pass, None), check(Verdict::Fail, Some("boot another"))]);
        assert!(shown.contains("FAIL  kernel: 5.10\n        do: boot another"), "{shown}");
        assert!(shown.ends_with("1 passed, 0 warnings, 1 failed, 0 skipped\n"), "{shown}");
    }

    #[test]
    fn a_bundle_has_the_state_and_no_key() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for folder in ["run", "state", "arbiter"] {
            fs::create_dir(at(folder)).unwrap();
        }
        let secret = "6b6579206f6620746865207465737473206f66206c6f636b737465702e2e2e2e";
        fs::write(at("state/key"), secret).unwrap();
        fs::write(at("state/events.jsonl"), "one\n").unwrap();
        let text = include_str!("../../cluster.sample.toml");
        let shown = |name: &str| at(name).display().to_string();
        let text = text
            .replace("/etc/lockstep/cluster.key", &shown("state/key"))
            .replace("#[paths]", "[paths]")
            .replace("#run = \"/run/lockstep\"", &format!("run = \"{}\"", shown("run")))
            .replace("#state = \"/var/lib/lockstep\"", &format!("state = \"{}\"", shown("state")));
        fs::write(at("cluster.toml"), text).unwrap();
        let whose = Whose { cluster: at("cluster.toml"), node: Some(NodeId::A) };
        let args = BundleArgs { whose, output: Some(at("bundle.tar.gz")) };
        assert_eq!(bundle(&args), Exit::Ok);
        assert_eq!(bundle(&args), Exit::Failed, "nothing is overwritten");
        let file = File::open(at("bundle.tar.gz")).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(secret), "{name} holds the key");
            names.push(name);
        }
        for wanted in ["CONTENTS.txt", "doctor.json", "cluster.toml", "state/events.jsonl"] {
            assert!(names.iter().any(|name| name.ends_with(wanted)), "no {wanted} in {names:?}");
        }
    }
}
