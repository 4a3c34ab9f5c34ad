//! The questions of `config init`, in the order in which a cluster is thought of. Always: an answer
//! that can't be used is asked for again; the end of the input is an error, never an answer.

use super::disks::Partition;
use crate::config::cluster::{Answers, ArbiterAnswer, GroupAnswer, Pair, VolumeAnswer};
use crate::status::words::bytes;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;

/// Why an answer can't be used.
type Check = fn(&str) -> Result<(), &'static str>;

fn anything(_: &str) -> Result<(), &'static str> {
    Ok(())
}

fn name(text: &str) -> Result<(), &'static str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let good = first && text.len() <= 64 && text.chars().all(letter);
    if good { Ok(()) } else { Err("1 to 64 letters, digits, '-', '_' or '.'") }
}

fn address(text: &str) -> Result<(), &'static str> {
    text.parse::<IpAddr>().map(drop).map_err(|_| "an IP address, such as 10.0.1.10")
}

fn path(text: &str) -> Result<(), &'static str> {
    if text.starts_with('/') { Ok(()) } else { Err("an absolute path") }
}

fn arbiter(text: &str) -> Result<(), &'static str> {
    let known = ["etcd", "dynamodb", "directory", "none"].contains(&text);
    if known { Ok(()) } else { Err("etcd, dynamodb, directory or none") }
}

fn file_system(text: &str) -> Result<(), &'static str> {
    if ["xfs", "ext4", "none"].contains(&text) { Ok(()) } else { Err("xfs, ext4 or none") }
}

/// Asks on one stream, reads from another.
pub struct Asker<R, W> {
    input: R,
    output: W,
}

impl<R: BufRead, W: Write> Asker<R, W> {
    pub fn new(input: R, output: W) -> Asker<R, W> {
        Asker { input, output }
    }

    /// One line; the default for an empty one. Without a default, an empty line is `None`.
    fn maybe(
        &mut self,
        prompt: &str,
        default: Option<&str>,
        check: Check,
    ) -> io::Result<Option<String>> {
        loop {
            match default {
                Some(default) => write!(self.output, "{prompt} [{default}]: ")?,
                None => write!(self.output, "{prompt}: ")?,
            }
            self.output.flush()?;
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                let kind = io::ErrorKind::UnexpectedEof;
                return Err(io::Error::new(kind, "the input ended before the last question"));
            }
            let text = line.trim();
            let text = if text.is_empty() { default.unwrap_or_default() } else { text };
            if text.is_empty() {
                return Ok(None);
            }
            match check(text) {
                Ok(()) => return Ok(Some(text.to_owned())),
                Err(wanted) => writeln!(self.output, "  please: {wanted}")?,
            }
        }
    }

    fn must(&mut self, prompt: &str, default: Option<&str>, check: Check) -> io::Result<String> {
        loop {
            if let Some(text) = self.maybe(prompt, default, check)? {
                return Ok(text);
            }
            writeln!(self.output, "  please: an answer; there is no default")?;
        }
    }

    fn pair(&mut self, what: &str, check: Check) -> io::Result<Pair<String>> {
        let a = self.must(&format!("{what} of node a"), None, check)?;
        let b = self.must(&format!("{what} of node b"), None, check)?;
        Ok(Pair { a, b })
    }

    /// All questions. `host` is the name of this host, which is offered as that of node a.
    pub fn answers(&mut self, host: &str, partitions: &[Partition]) -> io::Result<Answers> {
        let cluster = self.must("Name of the cluster", Some("cluster"), name)?;
        let host = Some(host).filter(|host| name(host).is_ok());
        let a = self.must("Host name of node a", host, name)?;
        let b = self.must("Host name of node b", None, name)?;
        let interconnects = self.interconnects()?;
        let arbiter = self.arbiter()?;
        let volumes = self.volumes(partitions)?;
        let group = self.group(&cluster, volumes.is_empty())?;
        let ping = self.ping(arbiter == ArbiterAnswer::None)?;
        let nodes = Pair { a, b };
        Ok(Answers { cluster, nodes, interconnects, arbiter, volumes, group, ping })
    }

    fn interconnects(&mut self) -> io::Result<Vec<Pair<String>>> {
        writeln!(self.output, "Interconnects, best first. The first carries the mirror.")?;
        let mut all = vec![self.pair("Address on interconnect 1", address)?];
        loop {
            let what = format!("Address on interconnect {}", all.len() + 1);
            let prompt = format!("{what} of node a (empty: no more)");
            let Some(a) = self.maybe(&prompt, None, address)? else { return Ok(all) };
            let b = self.must(&format!("{what} of node b"), None, address)?;
            all.push(Pair { a, b });
        }
    }

    fn arbiter(&mut self) -> io::Result<ArbiterAnswer> {
        writeln!(self.output, "The arbiter decides who may serve when the nodes lose each other.")?;
        match self.must("Arbiter: etcd, dynamodb, directory or none", None, arbiter)?.as_str() {
            "dynamodb" => {
                let prompt = "Table (`lockstep aws create-arbiter` makes it)";
                Ok(ArbiterAnswer::Dynamodb(self.must(prompt, Some("lockstep"), anything)?))
            }
            "directory" => {
                let prompt = "Directory on a file system that both nodes mount";
                Ok(ArbiterAnswer::Directory(self.must(prompt, None, path)?))
            }
            "etcd" => {
                let prompt = "Endpoints, with a space between them (https://HOST:2379 …)";
                let line = self.must(prompt, None, anything)?;
                let endpoints: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                let secure = endpoints.iter().any(|one| one.starts_with("https://"));
                let prompt = "File with the certificates to trust";
                let default = Some("/etc/lockstep/etcd-ca.pem");
                let ca_file = if secure { Some(self.must(prompt, default, path)?) } else { None };
                Ok(ArbiterAnswer::Etcd { endpoints, ca_file })
            }
            _ => Ok(ArbiterAnswer::None),
        }
    }

    fn volumes(&mut self, partitions: &[Partition]) -> io::Result<Vec<VolumeAnswer>> {
        writeln!(self.output, "Volumes. Partitions of this host:")?;
        for (n, one) in partitions.iter().enumerate() {
            let used = one.used.as_deref().unwrap_or("free as far as one can see");
            let (path, size) = (one.path.display(), bytes(one.bytes));
            writeln!(self.output, "  {:>2}  {path}  {size}  {used}", n + 1)?;
        }
        let mut all = Vec::new();
        loop {
            let prompt = format!("Name of volume {} (empty: no more)", all.len() + 1);
            let Some(volume) = self.maybe(&prompt, None, name)? else { return Ok(all) };
            let data = self.partition("Data partition", partitions)?;
            let cluster_partition = self.partition("Cluster partition", partitions)?;
            let fs = self.must("File system: xfs, ext4 or none", Some("xfs"), file_system)?;
            let fs = Some(fs).filter(|fs| fs != "none");
            let mount_point = match &fs {
                Some(_) => {
                    let default = format!("/srv/{volume}");
                    Some(self.must("Mount point", Some(&default), path)?)
                }
                None => None,
            };
            all.push(VolumeAnswer { name: volume, data, cluster_partition, fs, mount_point });
        }
    }

    /// A path, or a number of the list.
    fn partition(&mut self, what: &str, list: &[Partition]) -> io::Result<Pair<String>> {
        let check: Check = |text| {
            let number = text.parse::<usize>().is_ok();
            if number { Ok(()) } else { path(text).map_err(|_| "an absolute path or a number") }
        };
        let prompt = format!("{what} on node a (path or number)");
        let a = loop {
            let text = self.must(&prompt, None, check)?;
            let Ok(number) = text.parse::<usize>() else { break text };
            match number.checked_sub(1).and_then(|n| list.get(n)) {
                Some(found) => break found.path.display().to_string(),
                None => writeln!(self.output, "  please: a number of the list")?,
            }
        };
        let b = self.must(&format!("{what} on node b"), Some(&a), path)?;
        Ok(Pair { a, b })
    }

    fn group(&mut self, cluster: &str, no_volumes: bool) -> io::Result<Option<GroupAnswer>> {
        let group = self.must("Name of the group", Some(cluster), name)?;
        let service = self.maybe("Address of the service (empty: none)", None, address)?;
        let vpc = match &service {
            Some(_) => {
                let what = "VPC whose routes lead to it, such as vpc-0a1b (empty: not in AWS)";
                self.maybe(what, None, anything)?
            }
            None => None,
        };
        let what = "Allocation of an elastic address, such as eipalloc-0a1b (empty: none)";
        let allocation = self.maybe(what, None, anything)?;
        let interface = if service.is_some() || allocation.is_some() {
            Some(self.pair("Interface that carries it,", anything)?)
        } else {
            None
        };
        let unit =
            self.maybe("Unit of the service, such as x.service (empty: none)", None, anything)?;
        let empty = no_volumes && service.is_none() && allocation.is_none() && unit.is_none();
        let name = group;
        let answer = GroupAnswer { name, address: service, interface, vpc, allocation, unit };
        Ok((!empty).then_some(answer))
    }

    fn ping(&mut self, needed: bool) -> io::Result<Option<Pair<String>>> {
        let what = "An address beyond node a that answers pings, such as its gateway";
        if needed {
            let a = self.must(what, None, address)?;
            let b = self.must("The same for node b", Some(&a), address)?;
            return Ok(Some(Pair { a, b }));
        }
        let Some(a) = self.maybe(&format!("{what} (empty: none)"), None, address)? else {
            return Ok(None);
        };
        let b = self.must("The same for node b", Some(&a), address)?;
        Ok(Some(Pair { a, b }))
    }
}
