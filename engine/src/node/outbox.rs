//! What waits to be sent on one socket: one gather in flight, the next ones being filled.
//! Always: bytes leave in the order in which they were put; memory is reused.

use super::port::Port;
use crate::uring::{File, Gather, Op, Token};
use std::collections::VecDeque;

const SPARES: usize = 4;

/// The sending half of one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Box<Gather>>,
    // Boxed, because the kernel holds pointers into a gather in flight.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Gather>>,
    in_flight: usize,
}

impl Outbox {
    /// The gather that the next message goes into, with room for a head and a payload.
    pub fn open(&mut self) -> &mut Gather {
        if self.waiting.back().is_none_or(|last| last.is_full()) {
            self.waiting.push_back(self.spare.pop().unwrap_or_default());
        }
        self.waiting.back_mut().expect("one was just put there")
    }

    /// Sends what waits, if nothing is on its way.
    pub fn kick(&mut self, port: &mut Port, token: Token, file: &File) {
        if self.in_flight > 0 {
            return;
        }
        let Some(gather) = self.waiting.pop_front_if(|next| !next.is_empty()) else { return };
        self.in_flight = gather.bytes();
        port.submit(token, Op::Send { file: file.clone(), gather });
    }

    /// A send ended, with all its bytes or an error. True if all went out.
    pub fn sent(&mut self, mut gather: Box<Gather>, bytes: u32) -> bool {
        let whole = gather.bytes() == bytes as usize;
        self.in_flight = 0;
        gather.clear();
        if self.spare.len() < SPARES {
            self.spare.push(gather);
        }
        whole
    }

    /// A send is with the kernel.
    pub fn in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Nothing is on its way and nothing waits.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0 && self.waiting.iter().all(|gather| gather.is_empty())
    }

    /// Bytes that wait or are on their way.
    pub fn bytes(&self) -> usize {
        self.in_flight + self.waiting.iter().map(|gather| gather.bytes()).sum::<usize>()
    }

    /// Bytes that wait and are copies of their own: heads and replies, not the slots of payloads.
    pub fn head_bytes(&self) -> usize {
        self.waiting.iter().map(|gather| gather.head_bytes()).sum()
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}
