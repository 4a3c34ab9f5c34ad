//! Requests to the kernel's NBD client, and what it reports by itself.
//! Always: one request at a time, each ended by the kernel's acknowledgement; the kernel carries it
//! out inside the call that sends it.

use super::error::DeviceError;
use super::message::{FAMILY, GROUP, Message, Wanted, command};
use super::module::load;
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, ParseableParametrized,
};
use netlink_packet_generic::ctrl::nlas::{GenlCtrlAttrs, McastGrpAttrs};
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// ENOENT, which the kernel says of a family that it does not have.
const NO_ENTRY: i32 = 2;

/// A device, as the kernel lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The N of `/dev/nbdN`.
    pub index: u32,
    /// It is in use: has a server, waits for one, or is still open after its end.
    pub connected: bool,
}

/// The way to the kernel's NBD client.
pub struct Control {
    socket: Socket,
    family: u16,
    group: u32,
    sequence: u32,
}

/// Sockets that died, as the kernel reports them.
pub struct Events {
    socket: Socket,
}

impl Control {
    /// Opens the way; loads the module when it is not there and this process may.
    ///
    /// # Errors
    /// No netlink, or no NBD client in the kernel: then it says what is missing.
    pub fn open() -> Result<Control, DeviceError> {
        let socket = open()?;
        let mut control = Control { socket, family: 0, group: 0, sequence: 0 };
        match control.find_family() {
            Err(error) if error.raw_os_error() == Some(NO_ENTRY) => {
                load().map_err(|error| DeviceError::NoModule { error })?;
                control.find_family().map_err(|error| DeviceError::Netlink { error })?;
            }
            found => found.map_err(|error| DeviceError::Netlink { error })?,
        }
        Ok(control)
    }

    fn find_family(&mut self) -> io::Result<()> {
        let wanted = vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())];
        let request = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: wanted };
        for answer in self.ask(request)? {
            for attribute in answer.nlas {
                match attribute {
                    GenlCtrlAttrs::FamilyId(id) => self.family = id,
                    GenlCtrlAttrs::McastGroups(groups) => {
                        self.group = groups.iter().find_map(|group| group_id(group)).unwrap_or(0);
                    }
                    _ => {}
                }
            }
        }
        if self.family == 0 { Err(io::Error::from_raw_os_error(NO_ENTRY)) } else { Ok(()) }
    }

    /// Makes a device and returns its number. See `device::attach` for what must be ready.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn connect(
        &mut self,
        wanted: &Wanted,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<u32, DeviceError> {
        let doing = "connect";
        let request = Message::connect(wanted, &descriptors(sockets));
        let answers = self.ask(request).map_err(refused(doing, wanted.index))?;
        let index = answers.iter().find_map(Message::index);
        index.or(wanted.index).ok_or(DeviceError::Malformed { doing })
    }

    /// Gives a device new sockets in place of dead ones, and the size of `wanted`.
    ///
    /// # Errors
    /// The kernel refused; so it does when the device is not connected.
    pub fn reconfigure(
        &mut self,
        index: u32,
        wanted: &Wanted,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(), DeviceError> {
        let request = Message::reconfigure(index, wanted, &descriptors(sockets));
        self.ask(request).map_err(refused("reconfigure", Some(index))).map(drop)
    }

    /// Ends a device: requests that wait, and later ones, fail. One that is not connected is no
    /// fault. Blocks until the kernel has let go of the sockets.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn disconnect(&mut self, index: u32) -> Result<(), DeviceError> {
        let request = Message::disconnect(index);
        self.ask(request).map_err(refused("disconnect", Some(index))).map(drop)
    }

    /// All devices that the kernel has.
    ///
    /// # Errors
    /// The kernel refused, or answered something that can't be read.
    pub fn status(&mut self) -> Result<Vec<Shown>, DeviceError> {
        let doing = "list";
        let answers = self.ask(Message::status()).map_err(refused(doing, None))?;
        let mut shown = Vec::new();
        for answer in answers {
            let devices = answer.devices().map_err(|_| DeviceError::Malformed { doing })?;
            shown.extend(devices.into_iter().map(|(index, connected)| Shown { index, connected }));
        }
        Ok(shown)
    }

    /// Listens for sockets that die.
    ///
    /// # Errors
    /// No netlink.
    pub fn events(&self) -> Result<Events, DeviceError> {
        let socket = open()?;
        let failed = |error| DeviceError::Netlink { error };
        socket.add_membership(self.group).map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        Ok(Events { socket })
    }

    /// Sends a request and collects its answers, up to the acknowledgement.
    fn ask<F>(&mut self, request: F) -> io::Result<Vec<F>>
    where
        F: GenlFamily + Emitable + ParseableParametrized<[u8], GenlHeader> + Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut inner = GenlMessage::from_payload(request);
        inner.set_resolved_family_id(self.family);
        let mut message = NetlinkMessage::from(inner);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages::<F>(&datagram)? {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner.payload),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

impl Events {
    /// Waits until the kernel has noticed that a socket of this device died. False when it did not
    /// within `limit`, as when it had noticed before.
    ///
    /// # Errors
    /// See `take`.
    pub fn wait_for(&mut self, index: u32, limit: Duration) -> io::Result<bool> {
        let end = Instant::now() + limit;
        loop {
            if self.take()?.contains(&index) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left))?;
        }
    }

    /// Devices one of whose sockets died since the last call. Does not block.
    ///
    /// # Errors
    /// The kernel had more to say than it could keep: look at every device instead.
    pub fn take(&mut self) -> io::Result<Vec<u32>> {
        let mut dead = Vec::new();
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(dead),
                Err(error) => return Err(error),
            };
            for message in messages::<Message>(&datagram)? {
                if let NetlinkPayload::InnerMessage(inner) = message.payload
                    && inner.payload.command == command::LINK_DEAD
                {
                    dead.extend(inner.payload.index());
                }
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open() -> Result<Socket, DeviceError> {
    let failed = |error| DeviceError::Netlink { error };
    let mut socket = Socket::new(NETLINK_GENERIC).map_err(failed)?;
    socket.bind_auto().map_err(failed)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
    Ok(socket)
}

fn group_id(group: &[McastGrpAttrs]) -> Option<u32> {
    let ours = group.iter().any(|a| matches!(a, McastGrpAttrs::Name(name) if name == GROUP));
    let id = group.iter().find_map(|a| match a {
        McastGrpAttrs::Id(id) => Some(*id),
        McastGrpAttrs::Name(_) => None,
    });
    id.filter(|_| ours)
}

/// Descriptors are never negative, so each fits.
fn descriptors(sockets: &[BorrowedFd<'_>]) -> Vec<u32> {
    sockets.iter().filter_map(|socket| u32::try_from(socket.as_raw_fd()).ok()).collect()
}

fn refused(doing: &'static str, index: Option<u32>) -> impl Fn(io::Error) -> DeviceError {
    move |error| DeviceError::Refused { doing, index, error }
}

/// The messages of a datagram.
fn messages<F>(mut bytes: &[u8]) -> io::Result<Vec<NetlinkMessage<GenlMessage<F>>>>
where
    F: ParseableParametrized<[u8], GenlHeader> + Debug,
{
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkMessage::<GenlMessage<F>>::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let length = message.header.length as usize;
        bytes = &bytes[length.max(1).next_multiple_of(4).min(bytes.len())..];
        messages.push(message);
    }
    Ok(messages)
}
