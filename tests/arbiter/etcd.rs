//! An etcd of one server as a store of a test, behind a valve.

use crate::lab::{Faults, Lab};
use crate::server::{self, Server, coded};
use crate::valve::{Next, Valve};
use crate::words::{CLUSTER, GROUP};
use lockstep_ctl::act::arbiter::Arbiter;
use lockstep_ctl::act::arbiter::etcd::{Endpoint, Etcd, Place};
use lockstep_engine::units::{NodeId, Nonce};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// One server. Node a reaches it through the valve, node b directly.
pub struct EtcdLab {
    pub server: Server,
    valve: Valve,
    port: u16,
    dir: TempDir,
}

impl EtcdLab {
    pub fn new() -> EtcdLab {
        let dir = tempfile::tempdir().unwrap();
        let server = server::start(dir.path(), 1, &[]).remove(0);
        let (valve, port) = Valve::open(server.address());
        EtcdLab { server, valve, port, dir }
    }
}

/// What a daemon would configure.
pub fn place(state: &Path, node: NodeId, endpoints: &[String], deadline: Duration) -> Place {
    let endpoints = endpoints.iter().map(|text| text.parse::<Endpoint>().unwrap()).collect();
    Place {
        endpoints,
        prefix: "/lockstep".to_owned(),
        credentials: None,
        tls: None,
        cluster: CLUSTER,
        group: GROUP,
        node,
        state_dir: state.join(node.to_string()),
        deadline,
    }
}

/// The key of the record.
pub fn key() -> String {
    coded(format!("/lockstep/{CLUSTER}/{GROUP}/record").as_bytes())
}

impl Lab for EtcdLab {
    fn state(&self) -> &Path {
        self.dir.path()
    }

    fn handle_with(
        &self,
        state: &Path,
        node: NodeId,
        own: u128,
        deadline: Duration,
    ) -> Arc<dyn Arbiter> {
        let port = if node == NodeId::A { self.port } else { self.server.address().port() };
        let place = place(state, node, &[format!("http://127.0.0.1:{port}")], deadline);
        Arc::new(Etcd::new(place, Nonce(own)).unwrap())
    }

    fn plant(&self, bytes: &[u8]) {
        let body = format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", key(), coded(bytes));
        assert!(self.server.post("/v3/kv/put", &body).contains("200 OK"));
    }

    fn delete(&self) {
        let body = format!("{{\"key\":\"{}\"}}", key());
        let said = self.server.post("/v3/kv/deleterange", &body);
        assert!(said.contains("\"deleted\":\"1\""), "{said}");
    }
}

impl Faults for EtcdLab {
    fn lose_next_answer(&self, silent: bool) {
        self.valve.set(if silent { Next::Swallow } else { Next::Break });
    }

    fn hold_next_write(&self) {
        self.valve.set(Next::Hold);
    }

    fn is_held(&self) -> bool {
        self.valve.is(Next::Held)
    }

    fn release(&self) {
        assert!(self.is_held());
        self.valve.set(Next::Released);
        self.valve.wait(Next::Pass);
    }

    fn restart(&mut self) {
        self.server.kill();
        self.server.spawn();
        self.server.ready();
    }

    fn freeze(&self, frozen: bool) {
        self.server.freeze(frozen);
    }
}
