//! Scenarios of the pool: each thread of a subtask does what the test tells it, on a clock that the test moves.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{JobShare, PermitPool, SubtaskActivity, check, enter, while_waiting};
use crate::clock::{ManualClock, SystemClock};
use crate::model::Interrupt;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What a test tells the thread of a subtask to do.
enum Order {
    Check,
    Wait(Receiver<()>),
    Leave,
}

/// A thread of a subtask. It reports after each order that it has carried out.
struct TestSubtask {
    orders: Sender<Order>,
    done: Receiver<()>,
    activity: Arc<SubtaskActivity>,
    thread: Option<JoinHandle<()>>,
}

impl TestSubtask {
    fn start(share: &JobShare, interrupt: &Interrupt) -> TestSubtask {
        let (orders, ordered) = channel();
        let (report, done) = channel();
        let activity = Arc::<SubtaskActivity>::default();
        let (share, shown, interrupt) = (share.clone(), activity.clone(), interrupt.clone());
        let run = move || {
            let _permit = enter(&share, shown, interrupt);
            report.send(()).unwrap();
            while let Ok(order) = ordered.recv() {
                match order {
                    Order::Check => check(),
                    Order::Wait(event) => drop(while_waiting(|| event.recv())),
                    Order::Leave => break,
                }
                report.send(()).unwrap();
            }
        };
        TestSubtask { orders, done, activity, thread: Some(std::thread::spawn(run)) }
    }

    fn tell(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// Waits until the thread works, with a permit.
    fn is_done(&self) {
        self.done.recv_timeout(TIMEOUT).expect("the thread gets a permit");
    }

    /// Waits until the thread waits for a permit. It stays in the queue, because nothing else happens meanwhile.
    fn waits(&self) {
        for _ in 0..60_000 {
            if self.activity.is_waiting() {
                assert!(self.done.try_recv().is_err(), "the thread got a permit");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the thread does not wait for a permit");
    }

    /// Ends the thread, which has a permit.
    fn leave(mut self) {
        self.tell(Order::Leave);
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Fixture {
    clock: Arc<ManualClock>,
    pool: PermitPool,
    interrupt: Interrupt,
}

impl Fixture {
    fn new(capacity: usize) -> Fixture {
        let clock = Arc::<ManualClock>::default();
        clock.set_ms(1000);
        Fixture { pool: PermitPool::without_surveys(capacity, clock.clone()), clock, interrupt: Interrupt::default() }
    }

    /// Ends threads of which some wait for permits.
    fn end(&self, threads: impl IntoIterator<Item = TestSubtask>) {
        self.interrupt.set();
        threads.into_iter().for_each(TestSubtask::leave);
    }

    /// Starts a thread of a job.
    fn start(&self, share: &JobShare) -> TestSubtask {
        TestSubtask::start(share, &self.interrupt)
    }
}

#[test]
fn a_job_alone_is_not_limited() {
    let fixture = Fixture::new(2);
    let share = fixture.pool.share_of("job");
    let threads: Vec<_> = (0..8).map(|_| fixture.start(&share)).collect();
    threads.iter().for_each(TestSubtask::is_done);
    assert!(!fixture.pool.is_contended());
    threads.iter().for_each(|thread| thread.tell(Order::Check));
    threads.iter().for_each(TestSubtask::is_done);
    threads.into_iter().for_each(TestSubtask::leave);
}

#[test]
fn the_job_that_has_used_less_gets_the_permit_and_gives_it_back() {
    let fixture = Fixture::new(1);
    let (one, other) = (fixture.pool.share_of("one"), fixture.pool.share_of("other"));
    let first = fixture.start(&one);
    first.is_done();
    let second = fixture.start(&other);
    second.waits();
    assert!(fixture.pool.is_contended());
    first.tell(Order::Check);
    first.is_done();
    // The first thread has used the processor for longer than its slice.
    fixture.clock.set_ms(1020);
    first.tell(Order::Check);
    second.is_done();
    first.waits();
    // The second one may catch up, and no more.
    fixture.clock.set_ms(1030);
    second.tell(Order::Check);
    second.is_done();
    fixture.clock.set_ms(1060);
    second.tell(Order::Check);
    first.is_done();
    second.waits();
    first.leave();
    second.is_done();
    second.leave();
}

#[test]
fn a_job_with_many_threads_gets_no_more_than_one_with_a_single_thread() {
    let fixture = Fixture::new(2);
    let (many, single) = (fixture.pool.share_of("many"), fixture.pool.share_of("single"));
    let threads: Vec<_> = (0..6).map(|_| fixture.start(&many)).collect();
    threads.iter().for_each(TestSubtask::is_done);
    // More threads run than there are permits, from before the contention. The other job does not wait for all of them.
    let alone = fixture.start(&single);
    alone.is_done();
    fixture.clock.set_ms(1001);
    for thread in &threads[..5] {
        thread.tell(Order::Check);
        thread.waits();
    }
    let last = &threads[5];
    last.tell(Order::Check);
    last.is_done();
    // Both jobs hold one permit each, and have used it for the same time.
    fixture.clock.set_ms(1005);
    last.tell(Order::Check);
    last.is_done();
    fixture.clock.set_ms(1015);
    alone.tell(Order::Check);
    alone.is_done();
    // The threads of a job take turns.
    last.tell(Order::Check);
    threads[0].is_done();
    last.waits();
    alone.leave();
    threads[1].is_done();
    fixture.end(threads);
}

#[test]
fn a_thread_that_waits_for_an_event_holds_no_permit() {
    let fixture = Fixture::new(1);
    let first = fixture.start(&fixture.pool.share_of("one"));
    first.is_done();
    let (event, awaited) = channel();
    first.tell(Order::Wait(awaited));
    let second = fixture.start(&fixture.pool.share_of("other"));
    second.is_done();
    event.send(()).unwrap();
    first.waits();
    second.leave();
    first.is_done();
    first.leave();
}

#[test]
fn a_thread_that_is_stuck_loses_its_permit() {
    let fixture = Fixture::new(1);
    let stuck = fixture.start(&fixture.pool.share_of("one"));
    stuck.is_done();
    let second = fixture.start(&fixture.pool.share_of("other"));
    second.waits();
    fixture.pool.survey_once();
    second.waits();
    fixture.pool.survey_once();
    second.is_done();
    // Once the first thread goes on, it waits for its turn.
    stuck.tell(Order::Check);
    stuck.waits();
    second.leave();
    stuck.is_done();
    stuck.leave();
}

#[test]
fn a_thread_that_was_stuck_for_long_waits_for_its_turn() {
    let fixture = Fixture::new(1);
    let stuck = fixture.start(&fixture.pool.share_of("one"));
    stuck.is_done();
    let second = fixture.start(&fixture.pool.share_of("other"));
    second.waits();
    // The other job is the only one with a permit for many surveys.
    for _ in 0..20 {
        fixture.pool.survey_once();
        second.activity.beat();
    }
    second.is_done();
    stuck.tell(Order::Check);
    stuck.waits();
    second.leave();
    stuck.is_done();
    stuck.leave();
}

#[test]
fn an_interrupt_ends_the_wait_for_a_permit() {
    let fixture = Fixture::new(1);
    let first = fixture.start(&fixture.pool.share_of("one"));
    first.is_done();
    let share = fixture.pool.share_of("other");
    let interrupt = Interrupt::default();
    let second = TestSubtask::start(&share, &interrupt);
    second.waits();
    interrupt.set();
    second.is_done();
    second.tell(Order::Check);
    second.is_done();
    second.leave();
    // Nothing is left of it in the queue.
    first.tell(Order::Check);
    first.is_done();
    first.leave();
}

#[test]
fn contention_ends_when_one_job_is_left() {
    let fixture = Fixture::new(1);
    let share = fixture.pool.share_of("one");
    let first = fixture.start(&share);
    first.is_done();
    let second = fixture.start(&fixture.pool.share_of("other"));
    second.waits();
    let third = fixture.start(&share);
    third.waits();
    fixture.clock.set_ms(1020);
    first.tell(Order::Check);
    second.is_done();
    second.leave();
    third.is_done();
    assert!(fixture.pool.is_contended());
    for _ in 0..4 {
        third.tell(Order::Check);
        third.is_done();
        fixture.pool.survey_once();
    }
    assert!(!fixture.pool.is_contended());
    // The threads of the job that is left run at the same time.
    first.is_done();
    first.leave();
    third.leave();
}

#[test]
fn parts_of_a_job_have_one_share() {
    let pool = Fixture::new(1).pool;
    let (one, same, other) = (pool.share_of("a"), pool.share_of("a"), pool.share_of("b"));
    assert!(one.is_same(&same) && !one.is_same(&other));
    drop((one, same));
    assert!(!pool.share_of("a").is_same(&other));
}

/// Threads of two jobs work and wait as fast as they can, then those of one go on alone. Contention begins and ends all the time.
#[test]
fn every_thread_gets_a_permit_however_contention_changes() {
    const THREADS: usize = 12;
    let (done, finished) = channel();
    std::thread::spawn(move || {
        let pool = PermitPool::new(2, SystemClock::shared());
        let work = |share: &JobShare, turns: usize| {
            let _permit = enter(share, Arc::default(), Interrupt::default());
            for turn in 0..turns {
                check();
                match turn % 3 {
                    0 => while_waiting(std::thread::yield_now),
                    1 => while_waiting(|| ()),
                    _ => (),
                }
            }
        };
        let (pool, work) = (&pool, &work);
        for round in 0..20 {
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let is_alone = thread % 2 == 0;
                    let (share, turns) = match is_alone {
                        true => (pool.share_of("a"), 20_000),
                        false => (pool.share_of("b"), 500 * (round % 3)),
                    };
                    scope.spawn(move || work(&share, turns));
                }
            });
            assert_eq!(pool.running(), 0, "every permit was returned");
        }
        done.send(()).unwrap();
    });
    finished.recv_timeout(4 * TIMEOUT).expect("all threads end");
}
