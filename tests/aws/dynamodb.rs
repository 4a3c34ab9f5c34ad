//! A table of DynamoDB as a store of a test, behind a proxy.

use crate::lab::{Faults, Lab};
use crate::settings;
use crate::words::{CLUSTER, GROUP};
use harness::aws::{End, Fault, Moto, Proxy, Rule};
use lockstep_ctl::act::arbiter::Arbiter;
use lockstep_ctl::act::arbiter::dynamodb::{Dynamodb, Place};
use lockstep_engine::units::{NodeId, Nonce};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// What marks the write of a record.
const SWAP: &str = "SET #version";

/// A table of its own, in a server that others use too.
pub struct DynamodbLab {
    pub table: String,
    pub proxy: Proxy,
    dir: TempDir,
}

impl DynamodbLab {
    pub fn new() -> DynamodbLab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let moto = Moto::shared();
        let table = format!("lab-{}", NEXT.fetch_add(1, Ordering::SeqCst));
        moto.dynamodb(
            "CreateTable",
            &format!(
                "{{\"TableName\":\"{table}\",\"BillingMode\":\"PAY_PER_REQUEST\",\
                 \"AttributeDefinitions\":[{{\"AttributeName\":\"id\",\"AttributeType\":\"S\"}}],\
                 \"KeySchema\":[{{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"}}]}}"
            ),
        );
        let dir = tempfile::tempdir().unwrap();
        DynamodbLab { table, proxy: Proxy::open(moto.address()), dir }
    }

    /// Changes the item, past all rules.
    fn update(&self, expression: &str, values: &str) {
        let key = format!("{CLUSTER}/{GROUP}");
        Moto::shared().dynamodb(
            "UpdateItem",
            &format!(
                "{{\"TableName\":\"{}\",\"Key\":{{\"id\":{{\"S\":\"{key}\"}}}},\
                 \"UpdateExpression\":\"{expression}\",\"ExpressionAttributeNames\":\
                 {{\"#r\":\"record\"{}}}{values}}}",
                self.table,
                if expression.contains("#v") { ",\"#v\":\"version\",\"#n\":\"nonce\"" } else { "" },
            ),
        );
    }

    /// Takes the whole item away, past all rules.
    pub fn delete_item(&self) {
        let key = format!("{CLUSTER}/{GROUP}");
        Moto::shared().dynamodb(
            "DeleteItem",
            &format!("{{\"TableName\":\"{}\",\"Key\":{{\"id\":{{\"S\":\"{key}\"}}}}}}", self.table),
        );
    }

    fn of_next_swap(&self, fault: Fault) {
        let rule = Rule { having: Some(SWAP.to_owned()), ..Rule::first(1, "UpdateItem", fault) };
        self.proxy.add(rule);
    }
}

/// What a daemon would configure.
pub fn place(endpoint: &str, table: &str, state: &Path, node: NodeId, deadline: Duration) -> Place {
    Place {
        table: table.to_owned(),
        settings: settings(endpoint),
        cluster: CLUSTER,
        group: GROUP,
        node,
        state_dir: state.join(node.to_string()),
        deadline,
    }
}

impl Lab for DynamodbLab {
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
        let place = place(&self.proxy.endpoint(), &self.table, state, node, deadline);
        Arc::new(Dynamodb::new(place, Nonce(own)))
    }

    fn plant(&self, bytes: &[u8]) {
        let values = format!(
            ",\"ExpressionAttributeValues\":{{\":r\":{{\"B\":\"{}\"}}}}",
            harness::aws::moto::coded(bytes)
        );
        self.update("SET #r = :r", &values);
    }

    fn delete(&self) {
        self.update("REMOVE #r, #v, #n", "");
    }
}

impl Faults for DynamodbLab {
    fn lose_next_answer(&self, silent: bool) {
        let how = if silent { End::Silence } else { End::Reset };
        self.of_next_swap(Fault::Lose { applied: true, how });
    }

    fn hold_next_write(&self) {
        self.of_next_swap(Fault::Hold);
    }

    fn is_held(&self) -> bool {
        self.proxy.is_held()
    }

    fn release(&self) {
        assert!(self.is_held());
        self.proxy.release();
    }

    /// A service never restarts as a whole: what is on its way then is lost, before or after it
    /// took effect.
    fn restart(&mut self) {
        for applied in [false, true] {
            self.proxy.add(Rule::first(1, "*", Fault::Lose { applied, how: End::Reset }));
        }
    }

    fn freeze(&self, frozen: bool) {
        self.proxy.pause(frozen);
    }
}
