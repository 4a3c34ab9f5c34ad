//! Counters and histograms of the shell. Never logged; read with the admin verb `stats`.

use crate::units::Span;
use serde_json::{Value, json};

/// Buckets: four per power of two of nanoseconds, up to 2^40.
const BUCKETS: usize = 160;

/// A latency histogram with an error below 19 %.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), total: 0, sum_ns: 0 }
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(4);
    let power = 63 - ns.leading_zeros();
    let quarter = (ns >> (power - 2)) & 3;
    let index = (u64::from(power) - 2) * 4 + quarter;
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

fn upper_ns(index: usize) -> u64 {
    let (power, quarter) = (index / 4 + 2, index as u64 % 4);
    (5 + quarter) << (power - 2)
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, span: Span) {
        self.counts[bucket(span.0)] += 1;
        self.total += 1;
        self.sum_ns = self.sum_ns.saturating_add(span.0);
    }

    /// Nanoseconds that `percent` of all stayed below.
    pub fn percentile(&self, percent: f64) -> u64 {
        let mut left = u64_of(percent / 100.0 * f64_of(self.total));
        for (index, count) in self.counts.iter().enumerate() {
            if left < *count {
                return upper_ns(index);
            }
            left -= count;
        }
        if self.total == 0 { 0 } else { upper_ns(BUCKETS - 1) }
    }

    fn to_json(&self) -> Value {
        let buckets: Vec<[u64; 2]> = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| [upper_ns(index), *count])
            .collect();
        json!({
            "count": self.total,
            "sum_ns": self.sum_ns,
            "p50_ns": self.percentile(50.0),
            "p99_ns": self.percentile(99.0),
            "p999_ns": self.percentile(99.9),
            "buckets_ns": buckets,
        })
    }
}

#[allow(clippy::cast_precision_loss)]
fn f64_of(n: u64) -> f64 {
    n as f64
}

// A share of a count is never negative and at most the count.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn u64_of(n: f64) -> u64 {
    n as u64
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Client read, from its header to its answer.
    pub client_read: Histogram,
    /// Client write and zero, from its header to its answer.
    pub client_write: Histogram,
    /// Client flush, from its header to its answer.
    pub client_flush: Histogram,
    /// Data partition reads.
    pub disk_read: Histogram,
    /// Data partition writes.
    pub disk_write: Histogram,
    /// Data partition flushes.
    pub disk_flush: Histogram,
    /// Metadata pages.
    pub meta_write: Histogram,
    /// From the send of a write to the peer's acknowledgement.
    pub peer_ack: Histogram,
    /// Bytes sent to the peer.
    pub link_sent_bytes: u64,
    /// Bytes received from the peer.
    pub link_received_bytes: u64,
    /// Bytes that wait for the peer's socket.
    pub link_queued_bytes: usize,
    /// Frames received.
    pub link_frames: u64,
    /// Client connections open.
    pub clients: usize,
    /// Client connections accepted so far.
    pub clients_accepted: u64,
    /// Times that a client had to wait for a buffer.
    pub client_stalls: u64,
    /// Pieces, small slots and large slots of requests whose connections have ended: held until
    /// they are answered.
    pub client_dead: [usize; 3],
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that slept.
    pub sleeps: u64,
    /// Turns that found work while polling.
    pub polls_won: u64,
    /// Turns that polled in vain.
    pub polls_lost: u64,
    /// Completions reaped.
    pub completions: u64,
    /// Events told to the replica.
    pub events: u64,
}

impl Metrics {
    /// As the object of `admin::Line::Stats`.
    pub fn to_json(&self, cpu_ns: u64) -> Value {
        json!({
            "client_read": self.client_read.to_json(),
            "client_write": self.client_write.to_json(),
            "client_flush": self.client_flush.to_json(),
            "disk_read": self.disk_read.to_json(),
            "disk_write": self.disk_write.to_json(),
            "disk_flush": self.disk_flush.to_json(),
            "meta_write": self.meta_write.to_json(),
            "peer_ack": self.peer_ack.to_json(),
            "link_sent_bytes": self.link_sent_bytes,
            "link_received_bytes": self.link_received_bytes,
            "link_queued_bytes": self.link_queued_bytes,
            "link_frames": self.link_frames,
            "clients": self.clients,
            "clients_accepted": self.clients_accepted,
            "client_stalls": self.client_stalls,
            "client_dead_pieces": self.client_dead[0],
            "client_dead_small_slots": self.client_dead[1],
            "client_dead_large_slots": self.client_dead[2],
            "turns": self.turns,
            "sleeps": self.sleeps,
            "polls_won": self.polls_won,
            "polls_lost": self.polls_lost,
            "completions": self.completions,
            "events": self.events,
            "reactor_cpu_ns": cpu_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.add(Span(us * 1000));
        }
        let p50 = histogram.percentile(50.0);
        assert!((500_000..=625_000).contains(&p50), "{p50}");
        let p99 = histogram.percentile(99.0);
        assert!((990_000..=1_240_000).contains(&p99), "{p99}");
        histogram.add(Span(u64::MAX));
        histogram.add(Span(0));
    }
}
