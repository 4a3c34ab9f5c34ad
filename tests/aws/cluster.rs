//! A cluster whose nodes are instances in two zones, with whatever of AWS its group takes along.

use harness::aws::metadata::Told;
use harness::aws::moto::REGION;
use harness::aws::{Card, Metadata, Moto, Proxy, World};
use harness::cluster::{A, B, Cluster, GROUP, Setup};
use harness::pair::may_make_spaces;
use lockstep_ctl::act::events::Entry;
use lockstep_ctl::demo::load::Load;
use lockstep_ctl::status::cluster::{ClusterReport, MonitorReport};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where a node finds EC2 and its metadata, in its own namespace.
const EC2: u16 = 7001;
const METADATA: u16 = 7002;
/// Blocks that a load works on: 8 MiB.
const BLOCKS: usize = 2_048;
/// A server that answers nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);
/// Time that a load runs undisturbed.
const CALM: Duration = Duration::from_millis(800);
/// Longest wait for AWS to be as it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a group takes along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum With {
    Vip,
    Eip,
}

/// A cluster, its way to AWS node by node, and the world that both share.
pub struct Lab {
    pub cluster: Cluster,
    pub proxies: [Proxy; 2],
    pub world: World,
}

/// How a lab is made.
pub struct Wanted<'w> {
    pub with: With,
    pub tables: usize,
    /// What is written wrong in the resource, and how: empty for nothing.
    pub wrong: [&'w str; 2],
    /// The instances have a role, and so credentials.
    pub role: bool,
    /// Whoever takes over stops the other instance.
    pub forced: bool,
    /// Further tables of the file.
    pub more: &'w str,
}

impl Wanted<'_> {
    pub fn plain(with: With) -> Wanted<'static> {
        Wanted { with, tables: 3, wrong: ["", ""], role: true, forced: false, more: "" }
    }
}

/// The monitors of the tests: quick, so that they can be waited for.
pub fn monitor(with: With, keys: &str) -> String {
    let kind = if with == With::Vip { "aws_vip" } else { "aws_eip" };
    format!(
        "[[monitors]]\nname = \"cloud\"\ntype = \"{kind}\"\nresource = \"{GROUP}/cloud\"\n\
         interval = \"1 s\"\ntimeout = \"1 s\"\nretries = 1\n{keys}"
    )
}

impl Lab {
    /// Both nodes are formatted and can reach AWS; nothing runs yet. `None` where the host gives no
    /// namespaces.
    pub fn make(wanted: &Wanted<'_>) -> Option<Lab> {
        if !may_make_spaces() {
            return None;
        }
        let moto = Moto::shared();
        let world = World::build(moto, wanted.tables);
        // The imitation switches it on; a VIP would not answer.
        for eni in &world.enis {
            moto.ec2(&[
                ("Action", "ModifyNetworkInterfaceAttribute"),
                ("NetworkInterfaceId", eni),
                ("SourceDestCheck.Value", "false"),
            ]);
        }
        let resource = match wanted.with {
            With::Vip => format!(
                "type = \"aws_vip\"\naddress = \"{}\"\nvpc = \"{}\"\ninterface = \"serve\"\n",
                world.vip, world.vpc
            ),
            With::Eip => format!(
                "type = \"aws_eip\"\nallocation = \"{}\"\ninterface = \"serve\"\n",
                world.allocation
            ),
        };
        let addresses = format!(
            "[[groups.resources]]\nname = \"cloud\"\n{}start_timeout = \"20 s\"\n",
            spoilt(&resource, wanted.wrong)
        );
        let more = format!(
            "{}[aws]\nec2_endpoint = \"http://127.0.0.1:{EC2}\"\n\
             metadata_endpoint = \"http://127.0.0.1:{METADATA}\"\n",
            wanted.more
        );
        let forced = format!(
            "[forced_stop]\ntype = \"aws\"\ninstance = {{ a = \"{}\", b = \"{}\" }}\n\
             timeout = \"5 s\"\n",
            world.instances[A], world.instances[B]
        );
        let more = if wanted.forced { more + &forced } else { more };
        let setup = Setup { addresses: Some(addresses), more, ..Setup::quick() };
        let cluster = Cluster::make(&setup);
        let proxies = [A, B].map(|node| {
            let space = cluster.spaces().names[node].as_str();
            let told = Lab::told(&cluster, &world, node);
            let role = told.role.clone().filter(|_| wanted.role);
            Metadata::open_in(Some(space), METADATA, Told { role, ..told });
            Proxy::open_in(Some(space), EC2, moto.address())
        });
        Some(Lab { cluster, proxies, world })
    }

    fn told(cluster: &Cluster, world: &World, node: usize) -> Told {
        Told {
            instance: world.instances[node].clone(),
            region: REGION.to_owned(),
            zone: world.zones[node].clone(),
            cards: vec![Card {
                mac: cluster.nodes[node].mac(),
                eni: world.enis[node].clone(),
                vpc: world.vpc.clone(),
                addresses: vec![format!("10.0.{}.10", node + 1)],
            }],
            role: Some(("role-key".to_owned(), "role-secret".to_owned())),
        }
    }

    /// Starts both nodes, and waits until the group is up on node a and safe.
    pub fn start(&mut self) {
        self.cluster.nodes.iter_mut().for_each(|node| node.start());
        self.cluster.create();
        self.cluster.settle(A);
    }

    /// A cluster whose group is up on node a.
    pub fn up(wanted: &Wanted<'_>) -> Option<Lab> {
        let mut lab = Lab::make(wanted)?;
        lab.start();
        Some(lab)
    }

    /// A load that gets on.
    pub fn load(&self) -> Load {
        let load = self.cluster.load(BLOCKS, STALL);
        self.calm(&load);
        load
    }

    /// Lets the load run undisturbed; it must get on.
    pub fn calm(&self, load: &Load) {
        harness::pair::calm(load, CALM, &|| self.cluster.logs());
    }

    /// Whether every route to the VIP leads to that node.
    pub fn leads_to(&self, node: usize) -> bool {
        let all = self.world.targets(Moto::shared());
        all.iter().all(|eni| *eni == self.world.enis[node])
    }

    /// Whose network interface has the elastic address.
    pub fn holder(&self) -> Option<String> {
        let fields = [("Action", "DescribeAddresses"), ("AllocationId.1", &*self.world.allocation)];
        let said = Moto::shared().ec2(&fields);
        harness::aws::moto::elements(&said, "networkInterfaceId").into_iter().next()
    }

    /// Whether what the group takes along is with that node.
    pub fn is_with(&self, with: With, node: usize) -> bool {
        match with {
            With::Vip => self.leads_to(node) && self.cluster.nodes[node].has(&self.world.vip),
            With::Eip => self.holder().as_ref() == Some(&self.world.enis[node]),
        }
    }

    /// Waits until AWS is as wanted; gives the time it took.
    pub fn wait(&self, what: &str, mut seen: impl FnMut(&Lab) -> bool) -> Duration {
        let began = Instant::now();
        while !seen(self) {
            let logs = || self.cluster.logs();
            assert!(began.elapsed() < PATIENCE, "in vain: {what}\n{}", logs());
            sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }

    /// Changes that a node has asked for.
    pub fn changes(&self, node: usize) -> u32 {
        let all = ["ReplaceRoute", "AssociateAddress", "DisassociateAddress", "StopInstances"];
        let never = ["CreateRoute", "DeleteRoute"];
        assert!(never.iter().all(|action| self.proxies[node].seen(action) == 0));
        all.iter().map(|action| self.proxies[node].seen(action)).sum()
    }

    /// Waits for an event; gives it.
    pub fn event(&self, node: usize, after: u64, code: &str, words: &str) -> Entry {
        let mut found = None;
        self.cluster.wait_for(node, &format!("an event {code} with \"{words}\""), |member| {
            let events = member.events(after);
            found = events.iter().find(|e| e.code == code && e.message.contains(words)).cloned();
            (found.is_some(), Some(format!("{events:#?}")))
        });
        found.expect("the wait ended with it")
    }

    /// Waits until a monitor is as wanted.
    pub fn monitor(&self, node: usize, name: &str, health: &str, words: &str) -> Duration {
        let what = format!("monitor {name} to be {health} with \"{words}\"");
        self.cluster.wait(node, &what, |report| {
            let found = of(report, name);
            found.is_some_and(|one| {
                let cause = one.cause.as_deref().unwrap_or_default();
                one.health == health && cause.contains(words)
            })
        })
    }
}

/// The keys of a resource with another value of one of them.
fn spoilt(resource: &str, [key, value]: [&str; 2]) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some((name, _)) if name == key => format!("{name} = \"{value}\"\n"),
        _ => format!("{line}\n"),
    };
    resource.lines().map(line).collect()
}

/// A monitor of a report.
pub fn of<'r>(report: &'r ClusterReport, name: &str) -> Option<&'r MonitorReport> {
    report.monitors.iter().find(|monitor| monitor.name == name)
}
