//! Other people's NBD clients against a server of ours: nbdinfo, nbdcopy, qemu-img, qemu-io, fio.
//! Always: every function overwrites the export; none leaves a process behind; a tool that is
//! not installed is `Missing`, never a success.

use crate::fuzz_nbd::XorShift;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Longest time of one tool, in seconds.
const TOOL_SECONDS_MAX: &str = "120";

/// How a check ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The tool ran and was content, and so were we.
    Passed,
    /// The tool is not installed.
    Missing(&'static str),
}

/// A check that failed.
#[derive(Debug)]
pub enum Failure {
    /// A tool or a file could not be used.
    Io(io::Error),
    /// A tool ended with an error.
    Tool {
        /// Its command line.
        line: String,
        /// What it printed.
        output: Output,
    },
    /// A tool was content, but with something else than expected.
    Differs {
        /// What was compared.
        what: &'static str,
        /// What was found.
        found: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Tool { line, output } => write!(
                f,
                "{line}: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Failure::Differs { what, found } => write!(f, "{what}: found {found}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

/// A check of one client against the export on a unix socket.
pub type Check = fn(&Target) -> Result<Outcome, Failure>;

/// Every check with its name.
pub const CHECKS: &[(&str, Check)] = &[
    ("nbdinfo_tells_size_and_abilities", nbdinfo),
    ("nbdinfo_maps_the_whole_export", nbdinfo_map),
    ("nbdinfo_lists_the_export", nbdinfo_list),
    ("nbdcopy_brings_back_what_it_stored", nbdcopy),
    ("qemu_img_tells_the_size", qemu_img_info),
    ("qemu_img_converts_and_compares", qemu_img_convert),
    ("qemu_io_reads_what_it_wrote", qemu_io),
    ("fio_verifies_random_writes", fio),
];

/// Where the export is.
#[derive(Clone, Debug)]
pub struct Target {
    socket: PathBuf,
    size: u64,
    scratch: PathBuf,
}

impl Target {
    /// The default export on `socket` of `size` bytes, with a directory for images as large.
    pub fn new(socket: &Path, size: u64, scratch: &Path) -> Target {
        Target { socket: socket.into(), size, scratch: scratch.into() }
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// An image of the export's size: noise, zeroes and repeats, the same for the same seed.
    fn image(&self, name: &str, seed: u64) -> Result<PathBuf, Failure> {
        let mut random = XorShift::new(seed);
        let mut bytes = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
        for extent in bytes.chunks_mut(64 << 10) {
            match random.below(3) {
                0 => {}
                1 => extent.fill(random.byte()),
                _ => extent.fill_with(|| random.byte()),
            }
        }
        let path = self.scratch.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

/// Runs every check.
///
/// # Panics
/// With the names and outputs of all checks that failed.
pub fn check_all(target: &Target) -> Vec<(&'static str, Outcome)> {
    let (mut ended, mut failed) = (Vec::new(), String::new());
    for (name, check) in CHECKS {
        match check(target) {
            Ok(outcome) => ended.push((*name, outcome)),
            Err(failure) => failed += &format!("\n{name}: {failure}"),
        }
    }
    assert!(failed.is_empty(), "clients of others failed:{failed}");
    ended
}

/// Runs a tool. `Ok(None)` when it is not installed.
fn run(tool: &str, args: &[&str]) -> Result<Option<Output>, Failure> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", TOOL_SECONDS_MAX, tool]).args(args);
    let output = command.output()?;
    match output.status.code() {
        Some(0) => Ok(Some(output)),
        // What timeout(1) says when it does not find the command.
        Some(127) => Ok(None),
        _ => Err(Failure::Tool { line: format!("{tool} {}", args.join(" ")), output }),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn expect(what: &'static str, holds: bool, found: impl fmt::Display) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Differs { what, found: found.to_string() }) }
}

fn json(output: &Output) -> Result<serde_json::Value, Failure> {
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::Io(error.into()))
}

fn nbdinfo(target: &Target) -> Result<Outcome, Failure> {
    let Some(output) = run("nbdinfo", &["--size", &target.uri()])? else {
        return Ok(Outcome::Missing("nbdinfo"));
    };
    expect("size", text(&output).trim() == target.size.to_string(), text(&output))?;
    let Some(output) = run("nbdinfo", &["--json", &target.uri()])? else {
        return Ok(Outcome::Missing("nbdinfo"));
    };
    let all = json(&output)?;
    let export = &all["exports"][0];
    expect("protocol", all["protocol"] == "newstyle-fixed", &all["protocol"])?;
    expect("structured", all["structured"] == true, &all["structured"])?;
    for able in ["can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero", "can_df"] {
        expect("able", export[able] == true, format!("{able}: {}", export[able]))?;
    }
    expect("cache", export["can_cache"] == false, &export["can_cache"])?;
    let sizes = ["block_size_minimum", "block_minimum"].map(|key| export[key].as_u64());
    expect("smallest block", sizes.contains(&Some(4096)), export)?;
    expect("contexts", export["contexts"][0] == "base:allocation", &export["contexts"])?;
    Ok(Outcome::Passed)
}

fn nbdinfo_map(target: &Target) -> Result<Outcome, Failure> {
    let Some(output) = run("nbdinfo", &["--map", "--json", &target.uri()])? else {
        return Ok(Outcome::Missing("nbdinfo"));
    };
    let extents = json(&output)?;
    let extents = extents.as_array().map_or(&[][..], Vec::as_slice);
    let covered: u64 = extents.iter().filter_map(|extent| extent["length"].as_u64()).sum();
    expect("bytes mapped", covered == target.size, covered)?;
    Ok(Outcome::Passed)
}

fn nbdinfo_list(target: &Target) -> Result<Outcome, Failure> {
    let Some(output) = run("nbdinfo", &["--list", "--json", &target.uri()])? else {
        return Ok(Outcome::Missing("nbdinfo"));
    };
    let all = json(&output)?;
    let exports = all["exports"].as_array().map_or(0, Vec::len);
    expect("exports listed", exports == 1, &all)?;
    let size = &all["exports"][0]["export-size"];
    expect("size listed", size.as_u64() == Some(target.size), size)?;
    Ok(Outcome::Passed)
}

fn nbdcopy(target: &Target) -> Result<Outcome, Failure> {
    let image = target.image("nbdcopy-in.img", 11)?;
    let back = target.scratch.join("nbdcopy-out.img");
    let (from, to) = (image.display().to_string(), back.display().to_string());
    let uri = target.uri();
    // The export holds something else first, so that zeroes must be written too.
    let other = target.image("nbdcopy-old.img", 12)?.display().to_string();
    for pair in [[&other, &uri], [&from, &uri], [&uri, &to]] {
        let args = ["--flush", "--connections=4", "--requests=16", pair[0], pair[1]];
        if run("nbdcopy", &args)?.is_none() {
            return Ok(Outcome::Missing("nbdcopy"));
        }
    }
    expect("image copied back", fs::read(&image)? == fs::read(&back)?, "another content")?;
    Ok(Outcome::Passed)
}

fn qemu_img_info(target: &Target) -> Result<Outcome, Failure> {
    let args = ["info", "-f", "raw", "--output=json", &target.uri()];
    let Some(output) = run("qemu-img", &args)? else {
        return Ok(Outcome::Missing("qemu-img"));
    };
    let size = &json(&output)?["virtual-size"];
    expect("size", size.as_u64() == Some(target.size), size)?;
    Ok(Outcome::Passed)
}

fn qemu_img_convert(target: &Target) -> Result<Outcome, Failure> {
    let image = target.image("qemu-img.img", 21)?.display().to_string();
    let uri = target.uri();
    let convert = ["convert", "-n", "-W", "-f", "raw", "-O", "raw", &image, &uri];
    let compare = ["compare", "-f", "raw", "-F", "raw", &image, &uri];
    let map = ["map", "-f", "raw", "--output=json", &uri];
    for args in [&convert[..], &compare, &map] {
        if run("qemu-img", args)?.is_none() {
            return Ok(Outcome::Missing("qemu-img"));
        }
    }
    Ok(Outcome::Passed)
}

fn qemu_io(target: &Target) -> Result<Outcome, Failure> {
    // Lengths below 4 KiB make qemu read, change and write whole blocks: it knows ours.
    let script = [
        "write -P 0xa1 0 1M",
        "write -f -P 0xa2 64k 4k",
        "write -P 0xa3 66048 512",
        "read -P 0xa1 0 64k",
        "read -P 0xa2 64k 512",
        "read -P 0xa3 66048 512",
        "read -P 0xa2 66560 512",
        "write -z 128k 64k",
        "read -P 0 128k 64k",
        "write -z -u 192k 64k",
        "read -P 0 192k 64k",
        "discard 256k 64k",
        "flush",
        "read -P 0xa1 320k 64k",
        "aio_write -P 0xa4 512k 64k",
        "aio_write -P 0xa5 576k 64k",
        "aio_flush",
        "read -P 0xa4 512k 64k",
        "read -P 0xa5 576k 64k",
    ];
    let uri = target.uri();
    let mut args = vec!["-f", "raw"];
    for line in &script {
        args.extend(["-c", line]);
    }
    args.push(&uri);
    let Some(output) = run("qemu-io", &args)? else {
        return Ok(Outcome::Missing("qemu-io"));
    };
    let said = text(&output) + &String::from_utf8_lossy(&output.stderr);
    let content = !said.contains("verification failed") && !said.to_lowercase().contains("error");
    expect("every pattern", content, said)?;
    Ok(Outcome::Passed)
}

fn fio(target: &Target) -> Result<Outcome, Failure> {
    let size = format!("--size={}", target.size.min(64 << 20));
    let uri = format!("--uri={}", target.uri());
    for (mix, block) in [("randwrite", "4k"), ("write", "1M")] {
        let (rw, bs) = (format!("--rw={mix}"), format!("--bs={block}"));
        let args = [
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            &rw,
            &bs,
            &size,
            "--iodepth=32",
            "--fsync=64",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
            "--do_verify=1",
            "--randrepeat=1",
        ];
        match run("fio", &args) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Outcome::Missing("fio")),
            Err(Failure::Tool { output, .. })
                if String::from_utf8_lossy(&output.stderr).contains("engine nbd not loadable") =>
            {
                return Ok(Outcome::Missing("fio with its nbd engine"));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Outcome::Passed)
}
