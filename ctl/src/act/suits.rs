//! Whether this host has what a configuration names: partitions, programs, interfaces, addresses.
//! Blocking. Always: nothing is changed, and only what is missing for certain is told; what can
//! only be known by trying is not tried.

use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::{Command, Spec as Resource};
use crate::config::cluster::{AWS_HERE, ArbiterSpec, Monitor, NodeView, needs_aws};
use lockstep_engine::config::read_key;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Something that this host lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lack {
    /// Nothing is there.
    Path { key: String, path: PathBuf },
    /// It is no program.
    Program { key: String, path: PathBuf },
    /// It is no directory.
    Directory { key: String, path: PathBuf },
    /// No such network interface.
    Interface { key: String, interface: String },
    /// The address is on no interface.
    Address { key: String, address: IpAddr },
    /// The key can't be used.
    Key { cause: String },
    /// This build has no AWS.
    Aws { key: String },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Path { key, path } => {
                write!(f, "{key}: {} is not there; make it or correct the file", path.display())
            }
            Lack::Program { key, path } => write!(
                f,
                "{key}: {} is no program that can be run; install it or correct the file",
                path.display()
            ),
            Lack::Directory { key, path } => {
                write!(f, "{key}: {} is no directory; make it or correct the file", path.display())
            }
            Lack::Interface { key, interface } => {
                write!(f, "{key}: there is no interface {interface}; correct the file")
            }
            Lack::Address { key, address } => write!(
                f,
                "{key}: no interface has the address {address}; configure it or correct the file"
            ),
            Lack::Key { cause } => f.write_str(cause),
            Lack::Aws { key } => {
                write!(f, "{key}: needs the package with AWS support; install it on this node")
            }
        }
    }
}

/// What this host lacks for a view.
pub fn lacks(view: &NodeView) -> Vec<Lack> {
    let mut all = Vec::new();
    if let Err(error) = read_key(&view.key_file) {
        all.push(Lack::Key { cause: error.to_string() });
    }
    for engine in &view.engines {
        let name = &engine.config.volume.name;
        let parts = [
            ("data", &engine.config.data),
            ("cluster_partition", &engine.config.cluster_partition),
        ];
        for (key, path) in parts {
            path_of(&mut all, format!("volumes.{name}.{key}"), path);
        }
    }
    for link in &view.heartbeat.links {
        address(&mut all, format!("interconnects.{}", link.name), link.bind.ip());
    }
    for group in &view.groups {
        for (settings, spec) in group.settings.resources.iter().zip(&group.specs) {
            let key = format!("groups.{}.resources.{}", group.settings.name, settings.name);
            all.extend(of_resource(&key, spec));
        }
    }
    for monitor in view.monitors.iter().filter(|monitor| !monitor.automatic) {
        all.extend(of_monitor(&format!("monitors.{}", monitor.settings.name), monitor));
    }
    arbiter(&mut all, &view.arbiter);
    if !AWS_HERE {
        all.extend(needs_aws(view).into_iter().map(|key| Lack::Aws { key }));
    }
    if let Some(program) = &view.engine_process.program {
        executable(&mut all, "engine.program".to_owned(), program);
    }
    all
}

/// What it lacks for the new view and not for the old one: what was missing before is no reason to
/// refuse a change of something else.
pub fn new_lacks(old: &NodeView, new: &NodeView) -> Vec<Lack> {
    let before = lacks(old);
    lacks(new).into_iter().filter(|lack| !before.contains(lack)).collect()
}

fn path_of(all: &mut Vec<Lack>, key: String, path: &Path) {
    if !path.exists() {
        all.push(Lack::Path { key, path: path.to_path_buf() });
    }
}

/// Whether it is a program that may be run.
pub fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn executable(all: &mut Vec<Lack>, key: String, path: &Path) {
    if !is_program(path) {
        all.push(Lack::Program { key, path: path.to_path_buf() });
    }
}

fn program(all: &mut Vec<Lack>, key: String, command: &Command) {
    executable(all, key, &command.program);
}

fn address(all: &mut Vec<Lack>, key: String, address: IpAddr) {
    // A host that can't be asked is asked when the address is used.
    let Ok(there) = getifaddrs() else { return };
    let has = there.filter_map(|one| one.address).any(|one| {
        let v4 = one.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
        let v6 = one.as_sockaddr_in6().map(|six| IpAddr::from(six.ip()));
        v4.or(v6) == Some(address)
    });
    if !has && !address.is_unspecified() && !address.is_loopback() {
        all.push(Lack::Address { key, address });
    }
}

/// What this host lacks for a resource.
pub fn of_resource(key: &str, spec: &Resource) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let all = &mut lacks;
    match spec {
        // The device of a file system is there while its volume is served.
        Resource::Fs(fs) if !fs.mount_point.is_dir() => all.push(Lack::Directory {
            key: format!("{key}.mount_point"),
            path: fs.mount_point.clone(),
        }),
        Resource::Exec(exec) => {
            program(all, format!("{key}.start"), &exec.start);
            program(all, format!("{key}.stop"), &exec.stop);
            if let Some(status) = &exec.status {
                program(all, format!("{key}.status"), status);
            }
        }
        Resource::Address(spec) => interface(all, key, Some(&spec.interface)),
        Resource::AwsVip(spec) => interface(all, key, Some(&spec.interface)),
        Resource::AwsEip(spec) => interface(all, key, spec.interface.as_ref()),
        Resource::Mirror(_) | Resource::Fs(_) | Resource::Unit(_) => {}
    }
    lacks
}

fn interface(all: &mut Vec<Lack>, key: &str, name: Option<&String>) {
    let missing = name.filter(|name| if_nametoindex(name.as_str()).is_err());
    all.extend(
        missing.map(|name| Lack::Interface {
            key: format!("{key}.interface"),
            interface: name.clone(),
        }),
    );
}

/// What this host lacks for a monitor.
pub fn of_monitor(key: &str, monitor: &Monitor) -> Vec<Lack> {
    let mut all = Vec::new();
    probe(&mut all, key, &monitor.spec);
    if let Some(script) = &monitor.script {
        program(&mut all, format!("{key}.script"), script);
    }
    all
}

fn probe(all: &mut Vec<Lack>, key: &str, spec: &Probe) {
    match spec {
        Probe::Exec(command) => program(all, format!("{key}.command"), command),
        Probe::Disk { paths } => {
            for path in paths {
                path_of(all, format!("{key}.paths"), path);
            }
        }
        Probe::Ping { .. }
        | Probe::Port { .. }
        | Probe::Mirror(_)
        | Probe::Process { .. }
        | Probe::Resource { .. }
        | Probe::AwsZone { .. } => {}
    }
}

fn arbiter(all: &mut Vec<Lack>, spec: &ArbiterSpec) {
    match spec {
        ArbiterSpec::Directory(path) if !path.is_dir() => {
            all.push(Lack::Directory { key: "arbiter.directory".to_owned(), path: path.clone() })
        }
        ArbiterSpec::Etcd(etcd) => {
            let files = [
                ("ca_file", &etcd.ca_file),
                ("cert_file", &etcd.cert_file),
                ("key_file", &etcd.key_file),
                ("credentials_file", &etcd.credentials_file),
            ];
            for (key, path) in files {
                if let Some(path) = path {
                    path_of(all, format!("arbiter.{key}"), path);
                }
            }
        }
        ArbiterSpec::Directory(_) | ArbiterSpec::Dynamodb { .. } | ArbiterSpec::None { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cluster::Cluster;
    use lockstep_engine::units::NodeId;

    fn text(dir: &Path, extra: &str) -> String {
        let dir = dir.display();
        format!(
            "[cluster]\nid = \"c1\"\nname = \"shop\"\nkey_file = \"{dir}/key\"\n\
             [nodes.a]\nname = \"a\"\n[nodes.b]\nname = \"b\"\n\
             [[interconnects]]\nname = \"wire\"\npriority = 1\nmirror = true\n\
             address = {{ a = \"127.0.0.1\", b = \"192.0.2.77\" }}\n\
             [arbiter]\ntype = \"directory\"\ndirectory = \"{dir}\"\n\
             [[volumes]]\nid = \"7f\"\nname = \"vol\"\nport = 7010\n\
             data = \"{dir}/data\"\ncluster_partition = \"{dir}/missing\"\n{extra}"
        )
    }

    fn view(text: &str, node: NodeId) -> NodeView {
        Cluster::parse(text).unwrap_or_else(|wrong| panic!("{wrong:?}")).node(node)
    }

    #[test]
    fn what_is_missing_is_named_with_its_key_and_what_was_missing_before_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "5a".repeat(32)).unwrap();
        fs::write(dir.path().join("data"), "").unwrap();
        let old = text(dir.path(), "");
        let told = |view: &NodeView| {
            lacks(view).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let a = told(&view(&old, NodeId::A));
        assert!(a.starts_with("volumes.vol.cluster_partition: ") && !a.contains('\n'), "{a}");
        let b = told(&view(&old, NodeId::B));
        assert!(b.contains("interconnects.wire: no interface has the address 192.0.2.77"), "{b}");
        let new = text(
            dir.path(),
            "[[groups]]\nid = \"61\"\nname = \"db\"\n\
             [[groups.resources]]\nname = \"m\"\ntype = \"mirror\"\nvolume = \"vol\"\n\
             [[groups.resources]]\nname = \"ip\"\ntype = \"address\"\naddress = \"10.9.9.9\"\n\
             interface = \"none-such\"\n\
             [[monitors]]\nname = \"care\"\ntype = \"exec\"\ncommand = [\"/none/such\"]\n",
        );
        let (old, new) = (view(&old, NodeId::A), view(&new, NodeId::A));
        let news: Vec<String> = new_lacks(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(news.len(), 2, "{news:?}");
        assert!(
            news[0].contains("groups.db.resources.ip.interface: there is no interface none-such")
        );
        assert!(news[1].contains("monitors.care.command: /none/such is no program"));
    }
}
