//! Scenarios of the pool: each thread of a subtask does what the test tells it, on a clock that the test moves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::{JobShare, PermitPool, SubtaskActivity, WaitReason, check, enter, while_remapping};
use crate::clock::{Clock, ManualClock, SystemClock, thread_cpu_time};
use crate::model::Interrupt;

fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    super::while_waiting(WaitReason::Input, wait)
}

const TIMEOUT: Duration = Duration::from_secs(60);

/// What a test tells the thread of a subtask to do.
enum Order {
    Check,
    Wait(Receiver<()>),
    /// Computes without a check.
    Compute(Arc<Computation>),
    /// Changes mappings for this much processor time.
    Remap(Duration),
    Leave,
}

#[derive(Default)]
struct Computation {
    has_begun: AtomicBool,
    is_over: AtomicBool,
}

impl Computation {
    fn run(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
        while !self.is_over.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    }

    /// Lets a thread compute.
    fn begin(thread: &TestSubtask) -> Arc<Computation> {
        let computation = Arc::<Computation>::default();
        thread.tell(Order::Compute(computation.clone()));
        for _ in 0..60_000 {
            if computation.has_begun.load(Ordering::SeqCst) {
                return computation;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the thread does not compute");
    }
}

fn use_processor(time: Duration) {
    let before = thread_cpu_time();
    while thread_cpu_time() - before < time {
        std::hint::spin_loop();
    }
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
        let activity = Arc::new(SubtaskActivity::new(share.clock(), 1));
        let (share, shown, interrupt) = (share.clone(), activity.clone(), interrupt.clone());
        let run = move || {
            let _permit = enter(&share, shown, interrupt);
            report.send(()).unwrap();
            while let Ok(order) = ordered.recv() {
                match order {
                    Order::Check => check(),
                    Order::Wait(event) => drop(while_waiting(|| event.recv())),
                    Order::Compute(computation) => computation.run(),
                    Order::Remap(time) => while_remapping(|| use_processor(time)),
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

/// A clock that does something when it is read next: between two steps of the thread that reads it.
#[derive(Default)]
struct InterferingClock {
    clock: ManualClock,
    next: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Clock for InterferingClock {
    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        let next = self.next.lock().take();
        if let Some(act) = next {
            act();
        }
        self.clock.monotonic_ns()
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

/// Both jobs have used the same, so that neither gives a permit to the other, and the first one always comes next.
#[test]
fn the_threads_of_a_job_take_turns_whichever_job_comes_next() {
    let fixture = Fixture::new(2);
    let shares = [fixture.pool.share_of("one"), fixture.pool.share_of("other")];
    let mut running = shares.each_ref().map(|share| fixture.start(share));
    running.iter().for_each(TestSubtask::is_done);
    let mut waiting = shares.each_ref().map(|share| {
        let start = |_| {
            let thread = fixture.start(share);
            thread.waits();
            thread
        };
        (0..3).map(start).collect::<VecDeque<_>>()
    });
    // All four threads of each job have had the permit after three turns.
    let mut now_ms = 1000;
    for turn in 0..6 {
        now_ms += 6;
        fixture.clock.set_ms(now_ms);
        for (running, waiting) in running.iter_mut().zip(&mut waiting) {
            running.tell(Order::Check);
            if turn % 2 == 0 {
                running.is_done();
                continue;
            }
            // The slice of 10 ms is over.
            let next = waiting.pop_front().unwrap();
            next.is_done();
            running.waits();
            waiting.push_back(std::mem::replace(running, next));
            assert_eq!(fixture.pool.running(), 2);
        }
    }
    fixture.end(running.into_iter().chain(waiting.into_iter().flatten()));
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
fn no_more_threads_than_permits_go_on_computing_without_one() {
    let fixture = Fixture::new(1);
    let share = fixture.pool.share_of("one");
    let first = fixture.start(&share);
    first.is_done();
    let second = fixture.start(&fixture.pool.share_of("other"));
    second.waits();
    let third = fixture.start(&share);
    third.waits();
    let computation = Computation::begin(&first);
    fixture.clock.set_ms(1005);
    (0..3).for_each(|_| fixture.pool.survey_once());
    second.is_done();
    // The second one computes as well, but keeps its permit as long as the first one goes on.
    let other_computation = Computation::begin(&second);
    if cfg!(target_os = "linux") {
        (0..10).for_each(|_| fixture.pool.survey_once());
        third.waits();
    }
    fixture.clock.set_ms(1020);
    computation.is_over.store(true, Ordering::SeqCst);
    first.is_done();
    // Its job has paid for the time without a permit, so that it is not the other job's turn to give way.
    first.tell(Order::Check);
    first.waits();
    other_computation.is_over.store(true, Ordering::SeqCst);
    second.is_done();
    second.tell(Order::Check);
    second.is_done();
    fixture.end([first, second, third]);
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
fn a_thread_goes_on_if_contention_ends_while_it_checks() {
    let clock = Arc::<InterferingClock>::default();
    clock.clock.set_ms(1000);
    let pool = PermitPool::without_surveys(1, clock.clone());
    let (share, other) = (pool.share_of("one"), pool.share_of("other"));
    let (interrupt, of_other) = (Interrupt::default(), Interrupt::default());
    let first = TestSubtask::start(&share, &interrupt);
    first.is_done();
    let second = TestSubtask::start(&other, &of_other);
    second.waits();
    let third = TestSubtask::start(&share, &interrupt);
    third.waits();
    of_other.set();
    second.is_done();
    second.leave();
    assert!(pool.is_contended());
    // Both threads of the job that is left get permits, so that there are more than the pool has.
    clock.clock.set_ms(1020);
    let (ending, activity) = (pool.clone(), first.activity.clone());
    *clock.next.lock() = Some(Box::new(move || {
        for _ in 0..4 {
            activity.beat();
            ending.survey_once();
        }
        assert!(!ending.is_contended());
    }));
    first.tell(Order::Check);
    first.is_done();
    third.is_done();
    assert_eq!(pool.running(), 2);
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

#[test]
fn the_time_for_which_a_thread_waits_for_a_permit_is_counted() {
    let fixture = Fixture::new(1);
    let [one, other] = ["one", "other"].map(|job| fixture.pool.share_of(job));
    let first = fixture.start(&one);
    first.is_done();
    let second = fixture.start(&other);
    second.waits();
    assert_eq!(second.activity.times().throttled_ns, 0);
    fixture.clock.set_ms(1250);
    let working = first.activity.clone();
    first.leave();
    second.is_done();
    assert_eq!([&working, &second.activity].map(|activity| activity.times().throttled_ns), [0, 250_000_000]);
    second.leave();
}

#[test]
fn jobs_that_hold_as_many_permits_exchange_them_only_when_far_apart() {
    for (first_check_ms, are_far_apart) in [(1002, false), (1011, true)] {
        let fixture = Fixture::new(2);
        let (one, other) = (fixture.pool.share_of("one"), fixture.pool.share_of("other"));
        let [first, second] = [fixture.start(&one), fixture.start(&one)];
        first.is_done();
        second.is_done();
        let third = fixture.start(&other);
        third.waits();
        let fourth = fixture.start(&other);
        fourth.waits();
        // One job has both permits, so it gives one back as soon as it has used a little more.
        fixture.clock.set_ms(first_check_ms);
        first.tell(Order::Check);
        third.is_done();
        first.waits();
        // Now each has one. The difference stays as it is.
        fixture.clock.set_ms(first_check_ms + 1);
        second.tell(Order::Check);
        if are_far_apart {
            fourth.is_done();
            second.waits();
        } else {
            second.is_done();
            fourth.waits();
        }
        fixture.end([first, second, third, fourth]);
    }
}

#[test]
fn a_job_pays_for_the_interrupts_that_it_causes() {
    for (remapping_ms, must_pay) in [(0, false), (60, true)] {
        let fixture = Fixture::new(2);
        let (one, other) = (fixture.pool.share_of("one"), fixture.pool.share_of("other"));
        let [first, second] = [fixture.start(&one), fixture.start(&other)];
        first.is_done();
        second.is_done();
        let third = fixture.start(&other);
        third.waits();
        first.tell(Order::Remap(Duration::from_millis(remapping_ms)));
        first.is_done();
        // Both jobs have held one permit for the same time, and one processor has lost half of the first one's time to interrupts.
        fixture.clock.set_ms(1001);
        first.tell(Order::Check);
        if must_pay {
            third.is_done();
            first.waits();
        } else {
            first.is_done();
            third.waits();
        }
        fixture.end([first, second, third]);
    }
}

#[test]
fn a_wait_within_a_wait_takes_no_second_permit() {
    for is_contended in [false, true] {
        let fixture = Fixture::new(1);
        let (one, other) = (fixture.pool.share_of("one"), fixture.pool.share_of("other"));
        let _permit = enter(&one, Arc::default(), fixture.interrupt.clone());
        let waiting = is_contended.then(|| fixture.start(&other));
        waiting.iter().for_each(TestSubtask::waits);
        while_waiting(|| {
            while_waiting(|| ());
            check();
            assert_eq!(fixture.pool.running(), usize::from(is_contended), "only the other job has a permit");
            waiting.into_iter().for_each(|other| {
                other.is_done();
                other.leave();
            });
        });
        assert_eq!(fixture.pool.running(), 1);
    }
}

/// Threads of two jobs are interrupted at any time. Those of a third get their permits nevertheless.
#[test]
fn an_interrupt_takes_no_permit_from_others() {
    let (done, finished) = channel();
    std::thread::spawn(move || {
        let pool = PermitPool::new(2, SystemClock::shared());
        let work = |share: &JobShare, turns: usize, interrupt: &Interrupt| {
            let _permit = enter(share, Arc::default(), interrupt.clone());
            for turn in 0..turns {
                check();
                if turn % 2 == 0 {
                    while_waiting(std::thread::yield_now);
                }
            }
        };
        let (pool, work) = (&pool, &work);
        for _ in 0..100 {
            let interrupts = [Interrupt::default(), Interrupt::default()];
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let interrupt = interrupts[thread % 2].clone();
                    scope.spawn(move || work(&pool.share_of(["a", "b"][thread % 2]), 500, &interrupt));
                }
                let last = scope.spawn(move || work(&pool.share_of("c"), 500, &Interrupt::default()));
                interrupts.iter().for_each(|interrupt| {
                    std::thread::yield_now();
                    interrupt.set();
                });
                last.join().unwrap();
            });
            assert_eq!(pool.running(), 0, "every permit was returned");
        }
        done.send(()).unwrap();
    });
    finished.recv_timeout(4 * TIMEOUT).expect("all threads end");
}

/// A thread that was told where to begin may run on all processors afterwards.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_stays_bound_to_a_processor() {
    fn allowed() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned()
    }
    let pool = PermitPool::new(1, SystemClock::shared());
    let (pool, before) = (&pool, &allowed());
    std::thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || {
                let _permit = enter(&pool.share_of(["a", "b"][thread % 2]), Arc::default(), Interrupt::default());
                for turn in 0..2000 {
                    check();
                    while_waiting(std::thread::yield_now);
                    assert!(turn % 100 != 0 || allowed() == *before, "a thread may run where it could before");
                }
            });
        }
    });
}

#[test]
fn every_wait_returns_the_permit() {
    let fixture = Fixture::new(1);
    let thread = fixture.start(&fixture.pool.share_of("job"));
    thread.is_done();
    for wait in 1..=3 {
        let (event, awaited) = channel();
        thread.tell(Order::Wait(awaited));
        let returned = (0..60_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            fixture.pool.running() == 0
        });
        assert!(returned, "wait {wait} keeps the permit");
        event.send(()).unwrap();
        thread.is_done();
        assert!(fixture.pool.running() == 1 && !thread.activity.is_waiting(), "after wait {wait}");
    }
    thread.leave();
}
