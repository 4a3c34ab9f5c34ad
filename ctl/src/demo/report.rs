//! The result of a demo, for people and for machines.

use crate::status::cluster::ClusterReport;
use crate::status::words::{age, bytes};
use comfy_table::{Cell, Color, Table, presets::UTF8_FULL_CONDENSED};
use lockstep_engine::units::NodeId;
use serde::Serialize;

/// One event of the demo.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EventReport {
    /// Name.
    pub event: String,
    /// Longest time that the client waited for an acknowledgement; absent while it rested.
    pub longest_pause_ms: Option<u64>,
    /// Longest time for which the service of the group answered on neither node; absent while
    /// nothing was expected of it.
    pub service_away_ms: Option<u64>,
    /// Bytes of both data files that differed before the resync, compared byte for byte and
    /// counted in blocks of 4 KiB; absent without a resync.
    pub differed_bytes: Option<u64>,
    /// Bytes of data that the resync sent.
    pub resynced_bytes: Option<u64>,
}

/// What `lockstep status` shows at a moment of the demo.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Screen {
    /// The moment.
    pub moment: String,
    /// Milliseconds since the demo began.
    pub at_ms: u64,
    /// Node that was asked.
    pub node: NodeId,
    /// The lines of the screen.
    pub text: Vec<String>,
    /// What it was made from: `lockstep status --json`.
    pub status: ClusterReport,
}

/// The result.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DemoReport {
    /// Writes that were acknowledged.
    pub writes_acknowledged: u64,
    /// Blocks in which an acknowledged write was missing.
    pub writes_lost: u64,
    /// Blocks with content that was never written there.
    pub blocks_corrupt: u64,
    /// Blocks read and judged.
    pub blocks_checked: u64,
    /// Times that the service of the group was seen to answer on both nodes at once.
    pub service_on_both: u64,
    /// From the kill of the primary to its group being up on the other node.
    pub failover_ms: Option<u64>,
    /// The events.
    pub events: Vec<EventReport>,
    /// The screens.
    pub screens: Vec<Screen>,
    /// Bytes that differ between both copies at the end.
    pub differing_bytes: u64,
    /// Seconds of the whole run.
    pub seconds: u64,
}

/// A pause as exactly as people care.
pub fn pause(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => age(ms),
    }
}

impl DemoReport {
    /// Nothing was lost and both copies are equal.
    pub fn good(&self) -> bool {
        self.writes_lost == 0
            && self.blocks_corrupt == 0
            && self.service_on_both == 0
            && self.differing_bytes == 0
            && self.writes_acknowledged > 0
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut events = Table::new();
        events.load_style(UTF8_FULL_CONDENSED);
        let head = ["event", "client waited", "service away", "bytes differed", "bytes resynced"];
        events.set_header(head);
        for event in &self.events {
            let shown = |count: Option<u64>| count.map_or("-".to_owned(), bytes);
            events.add_row([
                event.event.clone(),
                event.longest_pause_ms.map_or("at rest".to_owned(), pause),
                event.service_away_ms.map_or("-".to_owned(), pause),
                shown(event.differed_bytes),
                shown(event.resynced_bytes),
            ]);
        }
        let mut result = Table::new();
        result.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String, good: bool| {
            let colour = if good { Color::Green } else { Color::Red };
            result.add_row([Cell::new(name), Cell::new(value).fg(colour)]);
        };
        let (lost, corrupt) = (self.writes_lost, self.blocks_corrupt);
        let acknowledged = self.writes_acknowledged;
        row("writes acknowledged", acknowledged.to_string(), acknowledged > 0);
        row("acknowledged writes lost", lost.to_string(), lost == 0);
        row("blocks corrupt", corrupt.to_string(), corrupt == 0);
        row("blocks checked", self.blocks_checked.to_string(), true);
        let identical = match self.differing_bytes {
            0 => "yes, byte for byte".to_owned(),
            differing => format!("no, {} differ", bytes(differing)),
        };
        row("mirrors identical", identical, self.differing_bytes == 0);
        let twice = match self.service_on_both {
            0 => "never".to_owned(),
            looks => format!("seen {looks} times"),
        };
        row("service on both nodes at once", twice, self.service_on_both == 0);
        if let Some(took) = self.failover_ms {
            row("failover without an operator", pause(took), true);
        }
        row("time", format!("{} s", self.seconds), true);
        format!(
            "{events}\n\
             client waited: longest time without an acknowledgement; service away: longest time \
             without an\nanswer of the group's program. Both data files are compared before each \
             resync; it sends the\nblocks that differ. Where one piece after another differed in \
             full it sends the next without\ncomparing, and the first sync runs under load.\n\
             {result}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_shown_as_exactly_as_people_care() {
        let shown = [40, 1_849, 6_000, 61_000].map(pause);
        assert_eq!(shown, ["40 ms", "1.8 s", "6.0 s", "1 min 1 s"]);
    }

    #[test]
    fn a_loss_is_not_good_and_is_shown() {
        let mut report = DemoReport { writes_acknowledged: 10, ..DemoReport::default() };
        assert!(report.good());
        report.writes_lost = 2;
        assert!(!report.good());
        assert!(report.table().contains("acknowledged writes lost"));
        report.writes_lost = 0;
        report.service_on_both = 1;
        assert!(!report.good(), "a service that ran twice could have written twice");
        assert!(!DemoReport::default().good(), "a demo without writes has shown nothing");
    }
}
