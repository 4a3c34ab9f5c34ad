//! The tables `[[groups]]`: attributes, resources in activation order. A volume that no group
//! names gets a group of its own name (DESIGN §7).

use super::resources::{self, Entry};
use crate::act::resource::spec::Spec;
use crate::config::cluster::order::order;
use crate::config::cluster::section::Section;
use crate::config::cluster::{Group, Volume, Wrong};
use crate::decide::settings::{
    FinalAction, GroupSettings, ResourceIndex, ResourceKind, ResourceSettings,
};
use lockstep_engine::units::{GroupId, NodeId, VolumeId};

/// Most groups.
const GROUPS_MAX: usize = 64;
/// Most resources of a group.
const RESOURCES_MAX: usize = 64;

/// The words of a final action.
pub(super) const FINAL_ACTIONS: &[(&str, FinalAction)] = &[
    ("none", FinalAction::None),
    ("stop_group", FinalAction::StopGroup),
    ("stop_cluster", FinalAction::StopCluster),
    ("shutdown", FinalAction::Shutdown),
    ("reboot", FinalAction::Reboot),
    ("panic", FinalAction::Panic),
];
const AUTO: &[(&str, bool)] = &[("auto", true), ("manual", false)];
const NODES: &[(&str, NodeId)] = &[("a", NodeId::A), ("b", NodeId::B)];

/// The groups, in the order of the file, then those of volumes outside every group.
pub(super) fn read(root: &Section<'_>, volumes: &[Volume]) -> Vec<Group> {
    let tables = root.sections("groups", GROUPS_MAX);
    let mut groups: Vec<Group> = tables.iter().map(|table| group(table, volumes)).collect();
    for volume in volumes {
        if !groups.iter().any(|group| group.settings.volumes.contains(&volume.id.id)) {
            groups.push(implicit(volume));
        }
    }
    groups
}

/// The group of a volume that stands outside every group.
fn implicit(volume: &Volume) -> Group {
    let VolumeId(id) = volume.id.id;
    let mirror = ResourceKind::Mirror(volume.id.id);
    let settings = GroupSettings {
        id: GroupId(id),
        name: volume.id.name.clone(),
        startup_auto: true,
        failover_auto: true,
        failback_auto: false,
        nodes: [NodeId::A, NodeId::B],
        volumes: vec![volume.id.id],
        resources: vec![resources::defaults("mirror", mirror)],
    };
    Group { settings, specs: vec![Spec::Mirror(volume.id.id)], implicit: true }
}

fn group(table: &Section<'_>, volumes: &[Volume]) -> Group {
    let id = table.same("id").need("id = \"61c0…\" (32 hex digits; `openssl rand -hex 16`)").id();
    let name = table.same("name").need("name = \"orders\"").name();
    let auto = |key, default| table.same(key).word(AUTO).unwrap_or(default);
    let (startup_auto, failover_auto) = (auto("startup", true), auto("failover", true));
    let failback_auto = auto("failback", false);
    let nodes = nodes(table);
    let tables = table.sections("resources", RESOURCES_MAX);
    let entries: Vec<Entry> = tables.iter().map(|table| resources::read(table, volumes)).collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry.settings.name.as_str()).collect();
    let after: Vec<Vec<usize>> =
        tables.iter().enumerate().map(|(n, table)| after(table, n, &names)).collect();
    let sorted = order(&after).unwrap_or_else(|circle| {
        let wrong = Wrong::Cycle { names: circle.iter().map(|n| names[*n].to_owned()).collect() };
        let at = circle.first().map_or_else(String::new, |n| tables[*n].key("after"));
        table.notes.at_key(&at, wrong);
        (0..entries.len()).collect()
    });
    for table in &tables {
        table.finish();
    }
    table.finish();
    let place = |n: usize| sorted.iter().position(|other| *other == n).unwrap_or(n);
    let mut resources: Vec<ResourceSettings> = Vec::new();
    for n in &sorted {
        // In a circle, some stand later than what waits for them.
        let places = after[*n].iter().map(|first| place(*first));
        let mut earlier: Vec<usize> = places.filter(|first| *first < resources.len()).collect();
        earlier.sort_unstable();
        let after = earlier.into_iter().map(ResourceIndex).collect();
        resources.push(ResourceSettings { after, ..entries[*n].settings.clone() });
    }
    let specs: Vec<Spec> = sorted.iter().map(|n| entries[*n].spec.clone()).collect();
    table.notes.order.borrow_mut().push(sorted);
    let settings = GroupSettings {
        id: id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        startup_auto,
        failover_auto,
        failback_auto,
        nodes,
        volumes: mirrored(&specs),
        resources,
    };
    Group { settings, specs, implicit: false }
}

/// Volumes of the group, each once.
fn mirrored(specs: &[Spec]) -> Vec<VolumeId> {
    let mut volumes = Vec::new();
    for spec in specs {
        match spec {
            Spec::Mirror(id) if id.is_some() && !volumes.contains(id) => volumes.push(*id),
            _ => {}
        }
    }
    volumes
}

fn nodes(table: &Section<'_>) -> [NodeId; 2] {
    let wanted = "both nodes, the preferred one first: [\"a\", \"b\"] or [\"b\", \"a\"]";
    let value = table.same("nodes");
    let entries = value.list(wanted);
    let nodes: Vec<NodeId> = entries.iter().filter_map(|entry| entry.word(NODES)).collect();
    match nodes.as_slice() {
        [NodeId::B, NodeId::A] => [NodeId::B, NodeId::A],
        [NodeId::A, NodeId::B] => [NodeId::A, NodeId::B],
        found => {
            if value.is_there() && found.len() == entries.len() {
                value.fail(Wrong::Expected { wanted, found: format!("{} entries", found.len()) });
            }
            [NodeId::A, NodeId::B]
        }
    }
}

/// What a resource waits for: what it names, or else the one before it in the file.
fn after(table: &Section<'_>, n: usize, names: &[&str]) -> Vec<usize> {
    let value = table.same("after");
    if !value.is_there() {
        return n.checked_sub(1).into_iter().collect();
    }
    let mut places = Vec::new();
    for entry in value.list("a list of names such as [\"mirror\"]") {
        let Some(name) = entry.name() else { continue };
        match names.iter().position(|other| *other == name) {
            Some(place) if !places.contains(&place) => places.push(place),
            Some(_) => {}
            None => entry.no_such("resource in this group", &name, names.iter().copied()),
        }
    }
    places
}
