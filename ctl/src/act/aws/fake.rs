//! A cloud of tests: tables and an address in memory, calls that fail as told, and a list of the
//! calls that changed something.

use super::cloud::{
    AddressSeen, Answer, BlockSeen, CardSeen, Cause, Cloud, Failed, OwnSeen, Right, RouteSeen, Way,
    ZoneSeen,
};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

/// What the cloud holds.
#[derive(Default)]
pub struct Held {
    /// Target of the route of each table.
    pub routes: BTreeMap<String, (String, bool)>,
    pub blocks: Vec<BlockSeen>,
    pub card: Option<CardSeen>,
    pub eip: Option<String>,
    pub associations: u32,
    /// Failures of the next calls that look.
    pub looks_fail: VecDeque<Failed>,
    /// Failures of changes, by table or allocation: each is used once.
    pub changes_fail: BTreeMap<String, VecDeque<Failed>>,
    /// A change that fails takes effect all the same.
    pub fails_late: bool,
    /// Looks at routes.
    pub looks: u32,
    /// State of every zone; available unless set.
    pub zone: Option<String>,
    /// Looks until an instance that was stopped is down.
    pub stops_after: u32,
    /// Changes that were asked for.
    pub asked: Vec<String>,
    /// Answers to whether the record names this node; after the last one it does.
    pub rights: VecDeque<bool>,
}

#[derive(Clone, Default)]
pub struct Fake(pub Arc<Mutex<Held>>);

pub fn failed(cause: Cause) -> Failed {
    Failed { cause, text: format!("{cause:?}") }
}

fn now<T: Send + 'static>(value: Result<T, Failed>) -> Answer<T> {
    Box::pin(std::future::ready(value))
}

impl Fake {
    pub fn with<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.0.lock().expect("no panic"))
    }

    fn look<T: Send + 'static>(&self, look: impl FnOnce(&mut Held) -> T) -> Answer<T> {
        now(self.with(|held| match held.looks_fail.pop_front() {
            Some(failed) => Err(failed),
            None => Ok(look(held)),
        }))
    }

    fn change(&self, key: &str, told: String, change: impl FnOnce(&mut Held)) -> Answer<()> {
        now(self.with(|held| {
            held.asked.push(told);
            let failed = held.changes_fail.get_mut(key).and_then(VecDeque::pop_front);
            if failed.is_none() || held.fails_late {
                change(held);
            }
            failed.map_or(Ok(()), Err)
        }))
    }
}

impl Cloud for Fake {
    fn blocks(&self, _: &str, _: Ipv4Addr) -> Answer<Vec<BlockSeen>> {
        self.look(|held| held.blocks.clone())
    }

    fn card(&self, _: &str) -> Answer<CardSeen> {
        now(self.with(|held| held.card.clone().ok_or_else(|| failed(Cause::Missing))))
    }

    fn routes(&self, _: &str, addresses: &[Ipv4Addr]) -> Answer<Vec<RouteSeen>> {
        let address = addresses[0];
        self.look(move |held| {
            held.looks += 1;
            let seen = |(table, (target, active)): (&String, &(String, bool))| RouteSeen {
                address,
                table: table.clone(),
                target: target.clone(),
                active: *active,
            };
            held.routes.iter().map(seen).collect()
        })
    }

    fn replace(&self, table: &str, _: Ipv4Addr, eni: &str) -> Answer<()> {
        let (table, eni) = (table.to_owned(), eni.to_owned());
        self.change(&table.clone(), format!("{table} {eni}"), move |held| {
            held.routes.insert(table, (eni, true));
        })
    }

    fn address(&self, _: &str) -> Answer<AddressSeen> {
        self.look(|held| AddressSeen {
            eni: held.eip.clone(),
            association: held.eip.as_ref().map(|_| format!("assoc-{}", held.associations)),
        })
    }

    fn associate(&self, allocation: &str, eni: &str) -> Answer<()> {
        let eni = eni.to_owned();
        self.change(allocation, format!("associate {eni}"), move |held| {
            held.eip = Some(eni);
            held.associations += 1;
        })
    }

    fn disassociate(&self, association: &str) -> Answer<()> {
        let own = association.to_owned();
        self.change(association, format!("disassociate {own}"), move |held| {
            if own == format!("assoc-{}", held.associations) {
                held.eip = None;
            }
        })
    }

    fn zone(&self, _: &str) -> Answer<ZoneSeen> {
        self.look(|held| ZoneSeen {
            state: held.zone.clone().unwrap_or_else(|| "available".to_owned()),
            messages: Vec::new(),
        })
    }

    fn stop(&self, instance: &str) -> Answer<()> {
        self.change(instance, format!("stop {instance}"), |_| {})
    }

    fn is_down(&self, _: &str) -> Answer<bool> {
        self.look(|held| {
            held.stops_after = held.stops_after.saturating_sub(1);
            held.stops_after == 0
        })
    }
}

impl Way for Fake {
    fn cloud(&self) -> Answer<Arc<dyn Cloud>> {
        now(Ok(Arc::new(self.clone()) as Arc<dyn Cloud>))
    }

    fn own(&self) -> Answer<OwnSeen> {
        let cards = vec![("0a:00:00:00:00:0b".to_owned(), "eni-b".to_owned())];
        now(Ok(OwnSeen { zone: "zone-b".to_owned(), cards }))
    }
}

impl Right for Fake {
    fn holds(&self) -> Pin<Box<dyn Future<Output = bool> + Send + 'static>> {
        let holds = self.with(|held| held.rights.pop_front().unwrap_or(true));
        Box::pin(std::future::ready(holds))
    }
}
