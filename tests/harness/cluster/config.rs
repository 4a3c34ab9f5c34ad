//! The `cluster.toml` of a test cluster: one group with its mirrors, an address and two programs,
//! one of which a monitor watches.

use super::{ADDRESS, GROUP, MONITOR, Setup, volume_name};
use crate::bins::Bins;
use lockstep_ctl::act::host;
use lockstep_engine::limits::Times;
use lockstep_engine::units::Span;
use std::fmt::Write;
use std::path::Path;

/// Token of the API over TCP.
pub const TOKEN: &str = "746f6b656e206f6620746865207465737473206f66206c6f636b737465702e2e";
/// Where node a serves the API over TCP, in its own namespace.
pub const API: &str = "127.0.0.1:7791";

/// Where the store of the record listens, when it is etcd.
pub(super) const ETCD: &str = "http://10.77.2.1:2379";

/// What answers a node that is not cut off; each has its own, so that either can be cut off.
pub(super) const WORLD: &str = "10.77.3.254";

fn fresh() -> String {
    format!("{:032x}", host::nonce().expect("random numbers").0)
}

/// The last table: what makes this boot of both hosts another one than the last.
pub(super) fn boots() -> String {
    format!("[lab]\nboot_id = {{ a = \"{}\", b = \"{}\" }}\n", fresh(), fresh())
}

/// The whole file.
pub(super) fn text(setup: &Setup, root: &Path, bins: &Bins) -> String {
    let both = |name: &str| {
        let of = |node: &str| root.join(node).join(name).display().to_string();
        format!("{{ a = \"{}\", b = \"{}\" }}", of("a"), of("b"))
    };
    let (cluster, group) = (fresh(), fresh());
    let key = root.join("key");
    let mut out = format!(
        "[cluster]\nid = \"{cluster}\"\nname = \"test\"\nkey_file = \"{key}\"\n\
         [nodes.a]\nname = \"a\"\n[nodes.b]\nname = \"b\"\n\
         [paths]\nrun = {run}\nstate = {state}\n\
         [engine]\nspawn = true\nprogram = \"{engine}\"\n\
         [[interconnects]]\nname = \"wire\"\npriority = 1\nmirror = true\n\
         address = {{ a = \"10.77.1.1\", b = \"10.77.1.2\" }}\n\
         [[interconnects]]\nname = \"beat\"\npriority = 2\n\
         address = {{ a = \"10.77.2.1\", b = \"10.77.2.2\" }}\n\
         [api]
listen = {{ a = \"{API}\", b = \"127.0.0.1:7792\" }}
\
         token_file = \"{token}\"
\
         [arbiter]
{arbiter}
",
        key = key.display(),
        token = root.join("token").display(),
        run = both("run"),
        state = both("state"),
        engine = bins.engine.display(),
        arbiter = match (setup.etcd, setup.storeless) {
            (true, _) => format!("type = \"etcd\"\nendpoints = [\"{ETCD}\"]"),
            (false, true) => "type = \"none\"\nprobe = \"world\"".to_owned(),
            (false, false) => format!("type = \"directory\"\ndirectory = {}", both("arbiter")),
        },
    );
    for n in 0..setup.volumes {
        let (volume, name) = (fresh(), volume_name(n));
        let of = |file: &str| both(&super::file_of(file, n));
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "[[volumes]]\nid = \"{volume}\"\nname = \"{name}\"\nport = {port}\n\
             data = {data}\ncluster_partition = {metadata}\nunix = {unix}\n\
             intent_idle = \"1 s\"\nintent_regions = 64\nconnections = 8\nlock_memory = false\n",
            port = 7010 + n,
            data = of("data"),
            metadata = of("cluster"),
            unix = of("clients.sock"),
        );
    }
    let _ = write!(out, "[[groups]]\nid = \"{group}\"\nname = \"{GROUP}\"\n");
    resources(&mut out, root, setup);
    out.push_str(&setup.more);
    if setup.storeless {
        out.push_str(&format!(
            "[[monitors]]\nname = \"world\"\ntype = \"ping\"\ntargets = [\"{WORLD}\"]\n\
             interval = \"500 ms\"\ntimeout = \"500 ms\"\nretries = 2\ntarget = \"none\"\n"
        ));
    }
    times(&mut out, &setup.times);
    out + &boots()
}

fn resources(out: &mut String, root: &Path, setup: &Setup) {
    let service = root.join("service.sh");
    let service = service.display();
    let mut add = |text: &str| out.push_str(text);
    for n in 0..setup.volumes {
        let (mirror, volume) = (super::file_of("mirror", n), volume_name(n));
        add(&format!(
            "[[groups.resources]]\nname = \"{mirror}\"\ntype = \"mirror\"\nvolume = \"{volume}\"\n"
        ));
    }
    let plain = format!(
        "[[groups.resources]]\nname = \"address\"\ntype = \"address\"\naddress = \"{ADDRESS}\"\n\
         interface = \"serve\"\n"
    );
    add(setup.addresses.as_ref().unwrap_or(&plain));
    for name in ["db", "app"] {
        add(&format!(
            "[[groups.resources]]\nname = \"{name}\"\ntype = \"exec\"\n\
             start = [\"{service}\", \"start\"]\nstop = [\"{service}\", \"stop\"]\n\
             status = [\"{service}\", \"status\"]\n"
        ));
    }
    add(&format!(
        "[[monitors]]\nname = \"{MONITOR}\"\ntype = \"exec\"\n\
         command = [\"{service}\", \"check\"]\n\
         interval = \"1 s\"\ntimeout = \"1 s\"\nretries = 1\nwhile_active = \"{GROUP}/app\"\n\
         target = \"resource {GROUP}/app\"\nscript = [\"{service}\", \"recover\"]\n\
         scripts_max = 1\nreactivations_max = 2\nfailovers_max = 1\n"
    ));
}

fn times(out: &mut String, times: &Times) {
    let ms = |span: Span| format!("\"{} ms\"", span.as_millis());
    let spans = [
        ("ping", times.ping),
        ("link_dead", times.link_dead),
        ("grace", times.grace),
        ("arbiter_attempt", times.arbiter_attempt),
        ("lease", times.lease),
        ("fence", times.fence),
    ];
    out.push_str("[times]\n");
    for (key, span) in spans {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{key} = {}", ms(span));
    }
    let interval = Span(times.ping.0 * 2);
    let timeout = ms(times.heartbeat_timeout);
    let _ = writeln!(out, "[heartbeat]\ninterval = {}\ntimeout = {timeout}", ms(interval));
}
