//! A client that lost its connection sends its requests again while the first ones are still under
//! way (R20): the replica knows no connections, so nothing of the first may be forgotten.

use super::pair::{Pair, settings};
use crate::replica::action::Action;
use crate::replica::event::{BufId, Event, OpId, ReqId, Request};
use crate::units::{Extent, Span};

const AT: Extent = Extent::new(64 << 10, 8192);

fn write(pair: &mut Pair, req: u64) -> Vec<(OpId, BufId)> {
    let what = Request::Write { at: AT, buf: BufId(u32::try_from(req).unwrap()), fua: false };
    told(pair, Event::Request { req: ReqId(req), what }).0
}

/// Writes that start and requests that are answered.
fn told(pair: &mut Pair, event: Event) -> (Vec<(OpId, BufId)>, Vec<ReqId>) {
    let (mut started, mut answered) = (Vec::new(), Vec::new());
    let mut events = vec![event];
    while let Some(event) = events.pop() {
        let replica = &mut pair.sides[0].replica;
        replica.handle(event, pair.now);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::DiskWrite { op, buf, .. } => started.push((op, buf)),
                Action::Answer { req, .. } => answered.push(req),
                Action::MetaWrite { op, .. } => {
                    events.push(Event::DiskDone { op, result: Ok(()) });
                }
                _ => {}
            }
        }
    }
    (started, answered)
}

#[test]
fn a_write_that_is_sent_again_queues_behind_the_first_at_the_disk() {
    let mut pair = Pair::apart(1 << 30, 0..8, false, &settings());
    let first = write(&mut pair, 1);
    assert_eq!(first.len(), 1);
    assert!(write(&mut pair, 2).is_empty(), "the first is at the disk");
    assert!(write(&mut pair, 3).is_empty(), "the newer one behind both");
    let done = |op| Event::DiskDone { op, result: Ok(()) };
    let (second, answered) = told(&mut pair, done(first[0].0));
    assert_eq!((second[0].1, answered), (BufId(2), vec![ReqId(1)]));
    let (third, answered) = told(&mut pair, done(second[0].0));
    assert_eq!((third[0].1, answered), (BufId(3), vec![ReqId(2)]));
}

#[test]
fn writes_that_were_held_start_in_the_order_in_which_they_came() {
    let mut pair = Pair::mirrored(1 << 30, &settings());
    pair.cut();
    assert!(write(&mut pair, 1).is_empty(), "the member is away");
    assert!(write(&mut pair, 2).is_empty());
    pair.run(Span::millis(2_000));
    let record = pair.alone();
    let (started, _) = told(&mut pair, record);
    assert_eq!(started.iter().map(|(_, buf)| *buf).collect::<Vec<_>>(), [BufId(1)]);
    let (started, answered) = told(&mut pair, Event::DiskDone { op: started[0].0, result: Ok(()) });
    assert_eq!((started[0].1, answered), (BufId(2), vec![ReqId(1)]));
}
