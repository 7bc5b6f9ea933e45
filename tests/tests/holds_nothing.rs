//! A guest holds no state: results stay the same when its instance is dropped after every turn.

use cofferdam_tests::late_flights::{self, Plan};
use cofferdam_tests::{Checkout, difference};

fn run_with_fresh_instances(name: &str, backend: &str, kills: u32) {
    let checkout = Checkout::current();
    let plan = Plan {
        seed: 1,
        backend: backend.to_string(),
        parallelism: 2,
        rate: (kills > 0).then_some(160_000),
        checkpoint_interval: "200ms".to_string(),
        kills,
        fresh_instance: true,
        unaligned: false,
        work_dir: checkout.fresh_dir(&format!("tests/holds-nothing-{name}")).unwrap(),
    };
    let outcome = late_flights::run(&checkout, &plan, &mut |_| {}).unwrap();
    if let Some(difference) = difference(&late_flights::expected(&checkout).unwrap(), &outcome.delays) {
        panic!("{difference}");
    }
    assert_eq!(outcome.bad, [""; 0]);
}

#[test]
fn results_are_the_same_with_the_memory_backend() {
    run_with_fresh_instances("memory", "memory", 0);
}

#[test]
fn results_are_the_same_with_rocksdb() {
    run_with_fresh_instances("rocksdb", "rocksdb", 0);
}

#[test]
fn results_are_the_same_through_a_kill() {
    run_with_fresh_instances("kill", "rocksdb", 1);
}
