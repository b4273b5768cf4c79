use super::*;
use futures_util::{FutureExt, future::join_all};
use proptest::prelude::*;
use std::collections::VecDeque;

/// What a test emits: bodies without the part that every event takes.
fn bodies() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..200_000, 1..60)
}

proptest! {
    /// Whatever the sizes and the order of confirms: every event goes ahead, and the room is exceeded by one event at most.
    #[test]
    fn every_event_goes_ahead_within_the_bound(
        bodies in bodies(),
        size in 1_usize..300_000,
        confirms in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let room = EventRoom::new(size, Waits::default());
        let mut waiting: VecDeque<_> = bodies.iter().map(|body| Box::pin(room.take(*body))).collect();
        let (mut taken, mut confirms, mut done) = (Vec::new(), confirms.into_iter().cycle(), 0);
        while done < bodies.len() {
            waiting.retain_mut(|wait| match wait.as_mut().now_or_never() {
                Some(room) => { taken.push(room); false }
                None => true,
            });
            let used = room.used.load(SeqCst) & !DRAINING;
            let largest = taken.iter().map(|taken: &TakenRoom| taken.bytes).max();
            prop_assert!(used <= size + largest.unwrap_or(0), "{} of {}", used, size);
            prop_assert!(!taken.is_empty(), "nothing is on its way, and {} events wait", waiting.len());
            drop(taken.swap_remove(confirms.next().unwrap().index(taken.len())));
            done += 1;
        }
        prop_assert_eq!(room.used.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn a_waiting_event_is_woken_by_confirms() {
    let room = EventRoom::new(2 * PER_EVENT, Waits::default());
    let first = join_all([room.take(0), room.take(0)]).await;
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let room = room.clone();
            tokio::spawn(async move { drop(room.take(0).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    drop(first);
    for waiting in waiting {
        waiting.await.unwrap();
    }
}

#[test]
fn one_that_is_not_polled_keeps_nobody_waiting() {
    let room = EventRoom::new(PER_EVENT, Waits::default());
    let first = room.take(0).now_or_never().unwrap();
    let mut unpolled = Box::pin(room.take(0));
    assert!(unpolled.as_mut().now_or_never().is_none());
    let mut second = Box::pin(room.take(0));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    assert!(second.now_or_never().is_some());
    assert!(unpolled.now_or_never().is_some());
}

#[test]
fn later_events_do_not_overtake_those_that_wait_for_ever() {
    let room = EventRoom::new(4 * PER_EVENT, Waits::default());
    let mut taken: Vec<_> = (0..4)
        .map(|_| room.take(0).now_or_never().unwrap())
        .collect();
    let mut waiting = Box::pin(room.take(0));
    assert!(waiting.as_mut().now_or_never().is_none());
    taken.pop();
    assert!(room.take(0).now_or_never().is_none(), "it came later");
    taken.pop();
    assert!(waiting.now_or_never().is_some());
    assert!(room.take(0).now_or_never().is_some());
}
