//! The `cluster.toml` of the demo: one group with a mirror and a program, on two nodes that share a
//! host. Always: the same file for both nodes, as on two hosts; nothing in it asks for root.

use super::net::{Net, Reach};
use super::service::SERVICE_VERB;
use lockstep_engine::units::{ClusterId, GroupId, VolumeId};
use std::path::Path;

/// Name of the group.
pub const GROUP: &str = "shop";
/// Name of the volume.
pub const VOLUME: &str = "orders";
/// Name of the resource that is the mirror.
pub const MIRROR: &str = "mirror";
/// Name of the resource that is the program.
pub const SERVICE: &str = "app";
/// Names of the hosts: a, b.
pub const HOSTS: [&str; 2] = ["alpha", "beta"];

/// Identities of a demo.
#[derive(Clone, Copy)]
pub struct Ids {
    pub cluster: ClusterId,
    pub group: GroupId,
    pub volume: VolumeId,
}

/// The demo's own process, without which the program of the group does not go on.
#[derive(Clone, Copy)]
pub struct Demo {
    pub pid: u32,
    pub started: u64,
}

fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

/// The whole file for nodes in `root`, whose program is a verb of `program`.
pub fn text(root: &Path, program: &Path, ids: Ids, net: &Net, demo: Demo) -> String {
    let both = |name: &str| {
        let of = |node: &str| quoted(&root.join(node).join(name));
        format!("{{ a = {}, b = {} }}", of("a"), of("b"))
    };
    let [a, b] = &net.nodes;
    let (Reach { own: own_a, relay: to_a }, Reach { own: own_b, relay: to_b }) = (a, b);
    let command = |verb: &str| {
        let of = |node: &str| {
            let (program, socket) = (quoted(program), quoted(&root.join(node).join("app.sock")));
            let Demo { pid, started } = demo;
            format!(
                "[{program}, \"{SERVICE_VERB}\", \"{verb}\", {socket}, \"{pid}\", \"{started}\"]"
            )
        };
        format!("{{ a = {}, b = {} }}", of("a"), of("b"))
    };
    let Ids { cluster, group, volume } = ids;
    let [host_a, host_b] = HOSTS;
    format!(
        "# The cluster of `lockstep demo`, the same file on both nodes.\n\
         [cluster]\nid = \"{cluster}\"\nname = \"demo\"\nkey_file = {key}\n\
         # Both nodes share a host that is not theirs.\n\
         harmless = true\n\n\
         [nodes.a]\nname = \"{host_a}\"\n\n[nodes.b]\nname = \"{host_b}\"\n\n\
         [paths]\nrun = {run}\nstate = {state}\n\n\
         [heartbeat]\nport = {beat}\n\n\
         # The nodes reach each other through the demo, which can cut the cable.\n\
         [[interconnects]]\nname = \"cable\"\npriority = 1\nmirror = true\n\
         address = {{ a = \"{own_a}\", b = \"{own_b}\" }}\n\
         reach = {{ a = \"{to_b}\", b = \"{to_a}\" }}\n\n\
         [arbiter]\ntype = \"directory\"\ndirectory = {arbiter}\n\n\
         [[volumes]]\nid = \"{volume}\"\nname = \"{VOLUME}\"\nport = {link}\n\
         data = {data}\ncluster_partition = {partition}\nunix = {clients}\n\
         intent_idle = \"1 s\"\nintent_regions = 1024\nconnections = 8\n\
         # Needs a privilege that a demo does not ask for.\n\
         lock_memory = false\n\n\
         [[groups]]\nid = \"{group}\"\nname = \"{GROUP}\"\n\n\
         [[groups.resources]]\nname = \"{MIRROR}\"\ntype = \"mirror\"\nvolume = \"{VOLUME}\"\n\n\
         [[groups.resources]]\nname = \"{SERVICE}\"\ntype = \"exec\"\n\
         start = {start}\nstop = {stop}\nstatus = {status}\n\n\
         # As the automatic one, but quick enough for a demo.\n\
         [[monitors]]\nname = \"mirror-{VOLUME}\"\ntype = \"mirror\"\nvolume = \"{VOLUME}\"\n\
         interval = \"1 s\"\ntimeout = \"1 s\"\n",
        key = quoted(&root.join("key")),
        run = both("run"),
        state = both("state"),
        beat = net.beat(),
        link = net.link,
        arbiter = quoted(&root.join("arbiter")),
        data = both("data"),
        partition = both("cluster"),
        clients = both("nbd.sock"),
        start = command("start"),
        stop = command("stop"),
        status = command("status"),
    )
}
