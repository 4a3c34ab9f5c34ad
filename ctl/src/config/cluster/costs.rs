//! What it costs to change each key: one table, which `config diff` shows, `config apply` obeys and
//! tests read. Always: every fact of a cluster has exactly one row, and every row is for a fact.

use super::changes::Effect;

/// What has to happen for a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// The daemons take it over; nothing is interrupted.
    Live,
    /// The same, and both daemons must be there: it is how they reach each other.
    Together,
    /// Taken over when the daemon is started the next time.
    NextStart,
    /// For the next `format` of the cluster partition.
    Format,
    /// The volume's engine restarts.
    Engine,
    /// The resource stops and starts again, with those that need it.
    Resource,
    /// Every resource of the group stops and starts again.
    Group,
    /// The group must have been stopped.
    GroupStopped,
    /// The cluster service must have been stopped on both nodes.
    ClusterStopped,
    /// Both daemons must have been stopped: no file is handed over.
    DaemonsStopped,
}

/// A key and its costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Names from the outside in; `*` stands for any one name.
    pub key: &'static str,
    /// When it comes.
    pub added: Cost,
    /// When it goes.
    pub removed: Cost,
    /// When it is another.
    pub changed: Cost,
}

const fn all(key: &'static str, cost: Cost) -> Row {
    Row { key, added: cost, removed: cost, changed: cost }
}

/// Something with a name, which may come and go.
const fn entry(key: &'static str, added: Cost, removed: Cost) -> Row {
    Row { key, added, removed, changed: removed }
}

use Cost::{
    ClusterStopped, DaemonsStopped, Engine, Format, Group, GroupStopped, Live, NextStart, Resource,
    Together,
};

/// The table.
pub const TABLE: &[Row] = &[
    all("cluster.name", Live),
    all("cluster.observe_only", Live),
    all("cluster.harmless", Live),
    all("cluster.id", DaemonsStopped),
    all("cluster.key_file", DaemonsStopped),
    all("nodes.*.name", Live),
    all("nodes.*.addresses", Live),
    all("paths.config", Live),
    all("paths.run", DaemonsStopped),
    all("paths.state", DaemonsStopped),
    all("engine.spawn", Live),
    all("engine.program", Live),
    entry("interconnects.*", Together, Together),
    all("interconnects.*.priority", Together),
    all("interconnects.*.address", Together),
    all("interconnects.*.reach", Together),
    all("interconnects.*.mirror", Together),
    all("heartbeat.interval", Live),
    all("heartbeat.port", Together),
    // One node with old and one with new times could break what the inequalities promise.
    all("heartbeat.timeout", ClusterStopped),
    all("times.*", ClusterStopped),
    // Two arbiters would let both nodes win: nothing may run while it changes.
    all("arbiter.*", ClusterStopped),
    // The same table name in another region is another table.
    all("aws.*", ClusterStopped),
    all("forced_stop.*", Live),
    all("api.listen", NextStart),
    all("api.token_file", NextStart),
    all("api.cert_file", NextStart),
    all("api.key_file", NextStart),
    all("api.client_ca_file", NextStart),
    all("events.keep", NextStart),
    all("lab.boot_id", DaemonsStopped),
    entry("volumes.*", Live, GroupStopped),
    all("volumes.*.data", Engine),
    all("volumes.*.cluster_partition", Engine),
    all("volumes.*.device", Group),
    all("volumes.*.port", Engine),
    all("volumes.*.interconnect", Engine),
    all("volumes.*.link", Engine),
    all("volumes.*.unix", Engine),
    all("volumes.*.tcp", Engine),
    all("volumes.*.flows", Engine),
    all("volumes.*.ack", Engine),
    all("volumes.*.intent_idle", Engine),
    all("volumes.*.resync_digests", Engine),
    all("volumes.*.resync_window", Engine),
    all("volumes.*.resync_rate_max", Engine),
    all("volumes.*.resync_rate_floor", Engine),
    all("volumes.*.resync_delay_target", Engine),
    all("volumes.*.intent_regions", Format),
    all("volumes.*.connections", Engine),
    all("volumes.*.lock_memory", Engine),
    all("volumes.*.poll", Engine),
    entry("groups.*", Live, GroupStopped),
    all("groups.*.startup", Live),
    all("groups.*.failover", Live),
    all("groups.*.failback", Live),
    all("groups.*.nodes", Live),
    all("groups.*.volumes", GroupStopped),
    all("groups.*.order", Live),
    // What is new is started, in order; nothing else moves.
    entry("groups.*.resources.*", Live, Resource),
    all("groups.*.resources.*.after", Live),
    all("groups.*.resources.*.start_timeout", Live),
    all("groups.*.resources.*.stop_timeout", Live),
    all("groups.*.resources.*.start_retries", Live),
    all("groups.*.resources.*.failovers_max", Live),
    all("groups.*.resources.*.start_failed", Live),
    all("groups.*.resources.*.stop_failed", Live),
    all("groups.*.resources.*.volume", GroupStopped),
    all("groups.*.resources.*.device", Resource),
    all("groups.*.resources.*.mount_point", Resource),
    all("groups.*.resources.*.fs", Resource),
    all("groups.*.resources.*.options", Resource),
    all("groups.*.resources.*.fsck", Live),
    all("groups.*.resources.*.mount_retries", Live),
    all("groups.*.resources.*.kill_holders", Live),
    all("groups.*.resources.*.start", Resource),
    all("groups.*.resources.*.stop", Resource),
    all("groups.*.resources.*.status", Live),
    all("groups.*.resources.*.unit", Resource),
    all("groups.*.resources.*.address", Resource),
    all("groups.*.resources.*.prefix", Resource),
    all("groups.*.resources.*.interface", Resource),
    all("groups.*.resources.*.vpc", Resource),
    all("groups.*.resources.*.eni", Resource),
    all("groups.*.resources.*.allocation", Resource),
    entry("monitors.*", Live, Live),
    all("monitors.*.*", Live),
];

/// The row of a key.
pub(super) fn row(key: &[String]) -> Option<&'static Row> {
    TABLE.iter().find(|row| {
        let names: Vec<&str> = row.key.split('.').collect();
        let fits = |(name, part): (&&str, &String)| *name == "*" || *name == part.as_str();
        names.len() == key.len() && names.iter().zip(key).all(fits)
    })
}

/// What the cost means for that key; `group` is the group that holds the key's volume.
pub(super) fn effect(cost: Cost, key: &[String], group: Option<&str>) -> Effect {
    let name = |at: usize| key.get(at).cloned().unwrap_or_default();
    let holder = || group.map_or_else(|| name(1), str::to_owned);
    match cost {
        Live => Effect::Live,
        Together => Effect::Together,
        NextStart => Effect::NextStart,
        Format => Effect::Format(name(1)),
        Engine => Effect::EngineRestart(name(1)),
        Resource => Effect::ResourceRestart(format!("{}/{}", name(1), name(3))),
        Group => Effect::GroupRestart(holder()),
        GroupStopped => Effect::GroupStopped(holder()),
        ClusterStopped => Effect::ClusterStopped,
        DaemonsStopped => Effect::DaemonsStopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_row_is_there_once() {
        let keys: BTreeSet<&str> = TABLE.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), TABLE.len());
    }

    #[test]
    fn a_resource_is_named_with_its_group_and_a_volume_by_its_holder() {
        let key = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let fs = key("groups.db.resources.fs.options");
        assert_eq!(row(&fs).unwrap().changed, Resource);
        assert_eq!(effect(Resource, &fs, None), Effect::ResourceRestart("db/fs".to_owned()));
        let device = key("volumes.orders.device");
        let restarts = effect(row(&device).unwrap().changed, &device, Some("db"));
        assert_eq!(restarts, Effect::GroupRestart("db".to_owned()));
        assert_eq!(row(&key("volumes.orders.nonsense")), None);
    }
}
