//! The kernel's block device of this volume: made when the node begins to serve, ended when it is
//! demoted or fenced, left to wait when only this process ends.
//! Always: the kernel is asked on a helper thread, because a request to it may wait for answers
//! that this engine gives; the other end of a device's socket is served before the device is made.
//! Survives: a kernel without NBD, a device that an engine before this one left, sockets that die.

use super::client_lane::ClientLane;
use super::hub::Hub;
use super::port::lane;
use crate::units::ShownDevice;
use crate::uring::{File, Op, Token, sys};
use lockstep_nbd::device::{self, Control, DeviceError, Events, Named, Wanted, Way};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const WAKE: Token = Token { lane: lane::DEVICE, kind: 0, id: 0 };
/// Stack of the helper; all of it is locked.
const STACK_BYTES: usize = 256 << 10;
/// Time between two attempts to make or end a device.
const AGAIN: Duration = Duration::from_secs(1);
/// Time that udev has for the name of a device.
const NAME: Duration = Duration::from_secs(2);
/// Time that the kernel has to notice that a socket died.
const NOTICE: Duration = Duration::from_secs(1);

/// What the helper is to see to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// A device with a fresh socket.
    Attach,
    /// No device.
    Detach,
}

/// What the helper tells the reactor.
enum News {
    /// The reactor's end of a device's socket.
    Socket(OwnedFd),
    /// The number of the device that this process has given a socket.
    Held(Option<u32>),
}

/// The helper, seen from the reactor.
pub struct DeviceLane {
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<News>,
    wake: File,
    /// The last order. `None`: a device that is there waits for what this node becomes.
    ordered: Option<Order>,
    /// A socket has come since the last order.
    supplied: bool,
    /// As the helper said last.
    held: Option<u32>,
    /// For people.
    path: String,
    bytes: u64,
}

impl DeviceLane {
    /// Starts the helper. Errors: no thread or no eventfd.
    pub fn start(hub: &mut Hub, wanted: Wanted) -> io::Result<DeviceLane> {
        let fd = sys::eventfd()?;
        let bell = std::fs::File::from(fd.try_clone()?);
        let (orders, inbox) = mpsc::channel();
        let (outbox, news) = mpsc::channel();
        let (path, bytes) = (format!("/dev/{}", wanted.backend), wanted.size);
        let helper = Helper {
            wanted,
            inbox,
            outbox,
            bell,
            kernel: None,
            held: None,
            said: None,
            supplied: false,
        };
        let thread = std::thread::Builder::new().name("device".into());
        thread.stack_size(STACK_BYTES).spawn(move || helper.work())?;
        let wake = hub.port.ring.adopt(fd);
        let (ordered, supplied, held) = (None, false, None);
        let lane = DeviceLane { orders, news, wake, ordered, supplied, held, path, bytes };
        lane.listen(hub);
        Ok(lane)
    }

    fn listen(&self, hub: &mut Hub) {
        let (file, into) = (self.wake.clone(), vec![0; 8].into_boxed_slice());
        hub.port.submit(WAKE, Op::ReadPlain { file, into, from: 0, socket: false });
    }

    fn order(&mut self, order: Order) {
        self.ordered = Some(order);
        self.supplied = false;
        self.orders.send(order).expect("the helper lives as long as the reactor");
    }

    /// This node serves.
    pub fn attach(&mut self) {
        if self.ordered != Some(Order::Attach) {
            self.order(Order::Attach);
        }
    }

    /// This node does not serve, or must not: requests that wait in the kernel fail.
    pub fn detach(&mut self) {
        if self.ordered != Some(Order::Detach) {
            self.order(Order::Detach);
        }
    }

    /// This process ends, and another one will serve: requests wait in the kernel for that one.
    pub fn leave(&mut self) {
        self.ordered = None;
        self.supplied = false;
    }

    /// The helper rang. True when the device is shown differently now.
    pub fn done(&mut self, hub: &mut Hub, clients: &mut ClientLane) -> bool {
        let before = self.held;
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Socket(socket) if self.ordered == Some(Order::Attach) => {
                    clients.adopt_kernel(hub, socket);
                    self.supplied = true;
                }
                News::Socket(_) => {}
                News::Held(index) => self.held = index,
            }
        }
        self.listen(hub);
        self.held != before
    }

    /// The device as an operator sees it.
    pub fn shown(&self, clients: &ClientLane) -> ShownDevice {
        ShownDevice {
            path: self.path.clone(),
            index: self.held,
            attached: self.held.is_some() && self.supplied && !clients.is_kernel_gone(),
            bytes: self.bytes,
        }
    }

    /// End of a turn: a device whose socket died, or was not taken, gets another one.
    pub fn look_after(&mut self, clients: &ClientLane) {
        if self.supplied && clients.is_kernel_gone() {
            self.order(Order::Attach);
        }
    }
}

/// The way to the kernel, once it is open.
struct Kernel {
    control: Control,
    events: Events,
}

/// What the helper will do next, by itself.
enum Task {
    Attach,
    Detach,
    /// See that the device has its name.
    Name(u32),
}

struct Helper {
    wanted: Wanted,
    inbox: mpsc::Receiver<Order>,
    outbox: mpsc::Sender<News>,
    bell: std::fs::File,
    kernel: Option<Kernel>,
    /// The device that this process has given a socket.
    held: Option<u32>,
    /// The last complaint, which is not repeated.
    said: Option<String>,
    /// The last attempt has given the reactor a socket, whose end it will see.
    supplied: bool,
}

impl Helper {
    fn work(mut self) {
        let mut task: Option<(Task, Instant)> = None;
        let mut not_before = Instant::now();
        loop {
            let order = match &task {
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some((_, at)) => {
                    self.inbox.recv_timeout(at.saturating_duration_since(Instant::now()))
                }
            };
            task = match (order, task) {
                (Err(RecvTimeoutError::Disconnected), _) => return,
                (Ok(Order::Attach), _) => Some((Task::Attach, not_before)),
                (Ok(Order::Detach), _) => Some((Task::Detach, Instant::now())),
                (Err(RecvTimeoutError::Timeout), Some((Task::Attach, _))) => match self.attach() {
                    Ok(index) => self.name(index, true),
                    Err(error) => {
                        not_before = Instant::now() + AGAIN;
                        self.complain(&error);
                        // The reactor sees the end of its socket, and orders another attempt; it
                        // sees nothing where there was no socket.
                        (!self.supplied).then_some((Task::Attach, not_before))
                    }
                },
                (Err(RecvTimeoutError::Timeout), Some((Task::Detach, _))) => {
                    self.detach().err().map(|error| {
                        self.complain(&error);
                        (Task::Detach, Instant::now() + AGAIN)
                    })
                }
                (Err(RecvTimeoutError::Timeout), Some((Task::Name(index), _))) => {
                    self.name(index, false)
                }
                (Err(RecvTimeoutError::Timeout), None) => None,
            };
        }
    }

    fn open(&mut self) -> Result<&mut Kernel, DeviceError> {
        if self.kernel.is_none() {
            let control = Control::open()?;
            let events = control.events()?;
            self.kernel = Some(Kernel { control, events });
        }
        Ok(self.kernel.as_mut().expect("it was just opened"))
    }

    fn attach(&mut self) -> Result<u32, DeviceError> {
        let (wanted, held) = (self.wanted.clone(), self.held);
        self.supplied = false;
        let (ours, kernels) = UnixStream::pair().map_err(|error| DeviceError::Netlink { error })?;
        let kernel = match self.open() {
            Ok(kernel) => kernel,
            Err(error) => {
                // An end whose other end is closed at once is how the reactor learns of it.
                self.supply(ours);
                return Err(error);
            }
        };
        if let Some(index) = held {
            // A socket of ours died; the kernel gives its place on when it has noticed.
            if let Err(error) = kernel.events.wait_for(index, NOTICE) {
                tracing::debug!(%error, "news of the kernel's device were lost");
            }
        }
        self.supply(ours);
        let kernel = self.open()?;
        let attached = device::attach(&mut kernel.control, &wanted, &[kernels.as_fd()])?;
        let (index, taken) = (attached.index, attached.way == Way::Taken);
        tune(index);
        tracing::info!(device = %format!("/dev/nbd{index}"), taken, "kernel device attached");
        self.hold(Some(index));
        self.said = None;
        Ok(index)
    }

    /// Gives the reactor its end of a socket.
    fn supply(&mut self, ours: UnixStream) {
        match self.tell(News::Socket(OwnedFd::from(ours))) {
            Ok(()) => self.supplied = true,
            Err(error) => tracing::error!(%error, "the kernel's device gets no socket"),
        }
    }

    /// Remembers the device, and has the reactor show it.
    fn hold(&mut self, index: Option<u32>) {
        self.held = index;
        if let Err(error) = self.tell(News::Held(index)) {
            tracing::warn!(%error, "the status does not show the kernel's device");
        }
    }

    /// Rings after saying something; a reactor that is gone needs no news.
    fn tell(&mut self, news: News) -> io::Result<()> {
        if self.outbox.send(news).is_ok() {
            self.bell.write_all(&1_u64.to_ne_bytes())
        } else {
            Ok(())
        }
    }

    fn detach(&mut self) -> Result<(), DeviceError> {
        self.hold(None);
        let backend = self.wanted.backend.clone();
        if device::find(&backend)?.is_empty() {
            return Ok(());
        }
        let ended = device::detach(&mut self.open()?.control, &backend)?;
        for index in ended {
            tracing::info!(device = %format!("/dev/nbd{index}"), "kernel device detached");
            device::remove_link(&backend, index)?;
        }
        Ok(())
    }

    fn name(&mut self, index: u32, patience: bool) -> Option<(Task, Instant)> {
        match device::settle_link(&self.wanted.backend, index, patience) {
            Ok(Named::Right) => None,
            Ok(Named::Awaited) => Some((Task::Name(index), Instant::now() + NAME)),
            Err(error) => {
                self.complain(&error);
                None
            }
        }
    }

    /// One line for each thing that is wrong, however often it is tried.
    fn complain(&mut self, error: &DeviceError) {
        let text = error.to_string();
        if self.said.as_ref() != Some(&text) {
            tracing::warn!("no kernel device, trying again: {text}");
            self.said = Some(text);
        }
    }
}

/// Changes the settings of the device, which an engine before this one may have left undone. On a
/// thread of its own, which ends by itself: the kernel waits there for requests, and the helper
/// must be free to end the device under them.
fn tune(index: u32) {
    let work = move || {
        for refused in device::tune(index) {
            tracing::warn!("setting of the kernel's device refused: {refused}");
        }
    };
    let thread = std::thread::Builder::new().name("device-tune".into()).stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "the kernel's device keeps the kernel's settings");
    }
}
