//! Steps of stories about a group; `scenario` has the list of all steps.

use super::group::{APP, FS, G, GroupPlan, HANDS, VIP};
use super::hands::Trouble;
use super::world::World;
use lockstep_ctl::decide::group::GroupVerb;
use lockstep_ctl::decide::node::{ClusterVerb, Verb};
use lockstep_ctl::decide::settings::ResourceIndex;
use lockstep_engine::units::{NodeId, Span};

const NAMES: [&str; 3] = ["fs", "vip", "app"];

fn resource(name: &str) -> Result<ResourceIndex, String> {
    let all = NAMES.into_iter().zip([FS, VIP, APP]);
    let found = all.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, resource)| resource).ok_or(format!("`{name}` is no resource"))
}

impl World {
    /// From now on hosts run whole nodes with a group.
    pub fn story_group(&mut self) {
        self.plan.group = Some(GroupPlan::plain());
    }

    /// The group goes back to its best node as soon as that is in sync.
    pub fn story_gives_back(&mut self) -> Result<(), String> {
        let plan = self.plan.group.as_mut().ok_or("there is no group")?;
        plan.settings.failback_auto = true;
        Ok(())
    }

    /// An operator wants something of a group.
    pub fn story_wish(&mut self, node: NodeId, verb: &str) -> Result<(), String> {
        let verb = match verb {
            "start" => GroupVerb::Start { without_peer: false },
            "stop" => GroupVerb::Stop,
            "move" => GroupVerb::Move,
            "failover" => GroupVerb::Failover,
            _ => return Err(format!("`{verb}` is no verb of a group")),
        };
        self.wish(node, Verb::Group(G, verb));
        Ok(())
    }

    /// An operator wants something of the cluster service.
    pub fn story_service(&mut self, node: NodeId, verb: &str) -> Result<(), String> {
        let verb = match verb {
            "start" => ClusterVerb::Start,
            "stop" => ClusterVerb::Stop { hand_over: true },
            "suspend" => ClusterVerb::Suspend,
            "resume" => ClusterVerb::Resume,
            _ => return Err(format!("`{verb}` is no verb of the cluster service")),
        };
        self.wish(node, Verb::Cluster(verb));
        Ok(())
    }

    /// Something stands in the way of a resource, or no longer.
    pub fn story_hand(&mut self, node: NodeId, name: &str, how: &str) -> Result<(), String> {
        let trouble = match how {
            "start-fails" => Some(Trouble::Start),
            "stop-fails" => Some(Trouble::Stop),
            "unkillable" => Some(Trouble::Kill),
            "hangs" => Some(Trouble::Hang),
            "ok" => None,
            _ => return Err(format!("`{how}` is no trouble")),
        };
        let place = resource(name)?.0;
        self.host(node).notes.hands[place].trouble = trouble;
        Ok(())
    }

    /// Names of what is on, or `nothing`.
    pub fn story_on(&self, node: NodeId) -> String {
        let on = self.on(node);
        let names: Vec<&str> =
            HANDS.iter().zip(NAMES).filter(|(one, _)| on.contains(one)).map(|(_, n)| n).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(",") }
    }

    /// (c): within that time the group is up on one node.
    pub fn story_settle(&mut self, span: Span) {
        let end = self.now().after(span);
        while !self.group_is_up() && self.judge.violation.is_none() {
            if self.now() >= end {
                let text = format!("(c): not up: {}", self.describe());
                return self.judge.violate(text);
            }
            self.run(Span::millis(100));
        }
    }
}
