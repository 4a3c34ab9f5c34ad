//! What must not be used twice: names, identities, addresses, ports, paths. Always: the mistake
//! stands at the later one and names the line of the first.

use crate::act::resource::spec::Spec as Resource;
use crate::config::cluster::read::NO_ADDRESS;
use crate::config::cluster::section::Notes;
use crate::config::cluster::{Cluster, Group, Local, Wrong};
use std::collections::BTreeMap;
use std::fmt::Display;

/// What was seen, and at which byte.
struct Seen<'n> {
    notes: &'n Notes,
    what: &'static str,
    first: BTreeMap<String, usize>,
}

impl<'n> Seen<'n> {
    fn new(notes: &'n Notes, what: &'static str) -> Seen<'n> {
        Seen { notes, what, first: BTreeMap::new() }
    }

    /// Notes a second use, at `key`. An empty value is a stand-in.
    fn see(&mut self, value: impl Display, key: &str) {
        let value = value.to_string();
        if value.is_empty() {
            return;
        }
        let at = self.notes.place(key);
        match self.first.get(&value) {
            // The line is put in by whoever has the text; until then, the byte.
            Some(first) => {
                let first_line = *first;
                let wrong = Wrong::Twice { what: self.what, value, first_line };
                self.notes.add(at, key, wrong);
            }
            None => {
                self.first.insert(value, at);
            }
        }
    }
}

/// What one node must not have twice.
pub(super) fn local(local: &Local, notes: &Notes) {
    interconnects(local, notes);
    volumes(local, notes);
    groups(local, notes);
    resources(local, notes);
    let mut names = Seen::new(notes, "name");
    for (n, monitor) in local.monitors.iter().enumerate().filter(|(_, one)| !one.automatic) {
        names.see(&monitor.settings.name, &format!("monitors[{n}].name"));
    }
}

fn interconnects(local: &Local, notes: &Notes) {
    let mut names = Seen::new(notes, "name");
    let mut priorities = Seen::new(notes, "priority");
    let mut addresses = Seen::new(notes, "address");
    for (n, one) in local.interconnects.iter().enumerate() {
        names.see(&one.name, &format!("interconnects[{n}].name"));
        if one.priority != 0 {
            priorities.see(one.priority, &format!("interconnects[{n}].priority"));
        }
        if one.address != NO_ADDRESS {
            addresses.see(one.address, &format!("interconnects[{n}].address"));
        }
    }
}

fn volumes(local: &Local, notes: &Notes) {
    let mut ids = Seen::new(notes, "id");
    let mut names = Seen::new(notes, "name");
    let mut ports = Seen::new(notes, "port");
    let mut paths = Seen::new(notes, "path");
    let mut listeners = Seen::new(notes, "address");
    if let Some(api) = local.api.as_ref().filter(|api| api.listen.port() != 0) {
        listeners.see(api.listen, "api.listen");
    }
    for (n, volume) in local.volumes.iter().enumerate() {
        let key = |key: &str| format!("volumes[{n}].{key}");
        if volume.id.id.is_some() {
            ids.see(volume.id.id, &key("id"));
        }
        names.see(&volume.id.name, &key("name"));
        if volume.port != 0 {
            ports.see(volume.port, &key("port"));
            let carrier = local.interconnects.iter().find(|one| one.name == volume.interconnect);
            if let Some(one) = carrier.filter(|one| one.address != NO_ADDRESS) {
                listeners.see(std::net::SocketAddr::new(one.address, volume.port), &key("port"));
            }
        }
        paths.see(volume.data.display(), &key("data"));
        paths.see(volume.cluster_partition.display(), &key("cluster_partition"));
        if let Some(device) = &volume.device {
            paths.see(device.display(), &key("device"));
        }
        if let Some(unix) = &volume.clients.unix {
            paths.see(unix.display(), &key("unix"));
        }
        for address in &volume.clients.tcp {
            listeners.see(address, &key("tcp"));
        }
    }
}

fn groups(local: &Local, notes: &Notes) {
    let mut ids = Seen::new(notes, "id");
    let mut names = Seen::new(notes, "name");
    let mut volumes = Seen::new(notes, "volume");
    for (g, group) in local.groups.iter().enumerate() {
        let (settings, implicit) = (&group.settings, group.implicit);
        let of = |volume| local.volumes.iter().position(|one| Some(&one.id.id) == volume);
        let key = |key: &str| match of(settings.volumes.first()) {
            Some(n) if implicit => format!("volumes[{n}].{key}"),
            _ => format!("groups[{g}].{key}"),
        };
        if settings.id.0 != 0 {
            ids.see(settings.id, &key("id"));
        }
        names.see(&settings.name, &key("name"));
        mirrors(local, notes, (g, group), &mut volumes);
    }
}

/// A volume is in one group, once.
fn mirrors(local: &Local, notes: &Notes, (g, group): (usize, &Group), volumes: &mut Seen<'_>) {
    for (r, spec) in group.specs.iter().enumerate() {
        let Resource::Mirror(id) = spec else { continue };
        let named = local.volumes.iter().find(|volume| volume.id.id == *id && id.is_some());
        if let Some(volume) = named {
            volumes.see(&volume.id.name, &format!("{}.volume", notes.resource(g, r)));
        }
    }
}

fn resources(local: &Local, notes: &Notes) {
    let mut mounts = Seen::new(notes, "mount point");
    let mut devices = Seen::new(notes, "device");
    let mut addresses = Seen::new(notes, "address");
    let mut units = Seen::new(notes, "unit");
    let mut allocations = Seen::new(notes, "allocation");
    for (n, one) in local.interconnects.iter().enumerate() {
        if one.address != NO_ADDRESS {
            // A service address that is also a node's own would be taken from the node.
            let at = notes.place(&format!("interconnects[{n}].address"));
            addresses.first.entry(one.address.to_string()).or_insert(at);
        }
    }
    for (g, group) in local.groups.iter().enumerate().filter(|(_, group)| !group.implicit) {
        let mut names = Seen::new(notes, "name");
        for (r, resource) in group.settings.resources.iter().enumerate() {
            let key = |key: &str| format!("{}.{key}", notes.resource(g, r));
            names.see(&resource.name, &key("name"));
            match &group.specs[r] {
                Resource::Fs(fs) => {
                    mounts.see(fs.mount_point.display(), &key("mount_point"));
                    devices.see(fs.device.display(), &key("device"));
                }
                Resource::Address(address) if address.address != NO_ADDRESS => {
                    addresses.see(address.address, &key("address"));
                }
                Resource::AwsVip(vip) if vip.address != NO_ADDRESS => {
                    addresses.see(vip.address, &key("address"));
                }
                Resource::AwsEip(eip) => allocations.see(&eip.allocation, &key("allocation")),
                Resource::Unit(unit) => units.see(&unit.unit, &key("unit")),
                _ => {}
            }
        }
    }
}

/// What the two nodes must not share.
pub(super) fn across(cluster: &Cluster, notes: &Notes) {
    let mut names = Seen::new(notes, "name");
    let [a, b] = &cluster.b.hosts;
    names.see(&a.name, "nodes.a.name");
    names.see(&b.name, "nodes.b.name");
    for (n, (a, b)) in cluster.a.interconnects.iter().zip(&cluster.b.interconnects).enumerate() {
        if a.address == b.address && a.address != NO_ADDRESS {
            let key = format!("interconnects[{n}].address");
            let (what, value) = ("address", a.address.to_string());
            let first_line = notes.place(&key);
            notes.at_key(&key, Wrong::Twice { what, value, first_line });
        }
    }
    let apis = cluster.a.api.as_ref().zip(cluster.b.api.as_ref());
    if let Some((a, _)) = apis.filter(|(a, b)| a.listen == b.listen && a.listen.port() != 0) {
        let first_line = notes.place("api.listen");
        let (what, value) = ("address", a.listen.to_string());
        notes.at_key("api.listen", Wrong::Twice { what, value, first_line });
    }
    let stops = cluster.a.forced_stop.as_ref().zip(cluster.b.forced_stop.as_ref());
    if let Some((a, _)) = stops.filter(|(a, b)| a.own == b.own && !a.own.is_empty()) {
        let first_line = notes.place("forced_stop.instance");
        let (what, value) = ("instance", a.own.clone());
        notes.at_key("forced_stop.instance", Wrong::Twice { what, value, first_line });
    }
    enis(cluster, notes);
}

/// A network interface belongs to one node.
fn enis(cluster: &Cluster, notes: &Notes) {
    for (g, (a, b)) in cluster.a.groups.iter().zip(&cluster.b.groups).enumerate() {
        for (r, pair) in a.specs.iter().zip(&b.specs).enumerate() {
            let (a, b) = match pair {
                (Resource::AwsVip(a), Resource::AwsVip(b)) => (&a.eni, &b.eni),
                (Resource::AwsEip(a), Resource::AwsEip(b)) => (&a.eni, &b.eni),
                _ => continue,
            };
            if let Some(value) = a.clone().filter(|_| a == b) {
                let key = format!("{}.eni", notes.resource(g, r));
                let (what, first_line) = ("network interface", notes.place(&key));
                notes.at_key(&key, Wrong::Twice { what, value, first_line });
            }
        }
    }
}
