//! The kernel's own client, whose device `device_lane` makes: it has a place that no other takes.
//! Always: a new one is let in only when nothing of the one before it is under way (R20).

use super::super::bufs::CLIENTS_MAX;
use super::super::hub::Hub;
use super::super::outbox::Outbox;
use super::conn::Conn;
use super::share::Shares;
use super::{ClientLane, Seated};
use crate::limits::CLIENT_OPS_MAX;
use lockstep_nbd::protocol::{Connection, Negotiated};
use std::os::fd::OwnedFd;

impl ClientLane {
    /// Keeps a place for the kernel. Call once, before the first turn.
    pub fn keep_place_for_kernel(&mut self, hub: &Hub) {
        if self.conns.len() == CLIENTS_MAX {
            self.guests -= 1;
            return;
        }
        self.conns.push(None);
        self.generations.push(0);
        let pools = &hub.bufs.pools;
        let goods = [CLIENT_OPS_MAX, pools.client_small.slots(), pools.client_large.slots()];
        self.shares = Shares::new(goods, self.conns.len());
    }

    /// Transmission flags of the volume, as the kernel knows them.
    pub fn kernel_flags(&self) -> u16 {
        self.export.transmission_flags(false)
    }

    /// Bytes of the volume.
    pub fn size(&self) -> u64 {
        self.export.size()
    }

    /// Places of those who connect.
    pub(super) fn guests(&self) -> &[Option<Conn>] {
        &self.conns[..self.guests]
    }

    /// Whether the kernel's connection is over, with everything that was received on it.
    pub fn is_kernel_gone(&self) -> bool {
        self.conns[self.guests..].iter().all(Option::is_none) && self.shares.dead() == [0; 3]
    }

    /// Takes the other end of a device's socket, which needs no handshake. Dropped, and so closed,
    /// when the volume is not served any more, or a connection before it is not over.
    pub fn adopt_kernel(&mut self, hub: &mut Hub, fd: OwnedFd) {
        if !self.open || !self.is_kernel_gone() || self.guests == self.conns.len() {
            tracing::info!("a socket of the kernel's device is not taken now");
            return;
        }
        let protocol = Connection::adopt(Negotiated::default());
        let seated = Seated { protocol, out: Outbox::default(), greet_by: None, kernel: true };
        self.seat(hub, self.guests, fd, seated);
    }
}
