//! `job stop` and `job cancel` on the command line: what they wait for, and their answers when they are repeated.

use cofferdam_tests::Scene;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_cancel_waits_for_the_end() {
    let mut scene = Scene::new("stopping-cancel", 60_000).unwrap();
    scene.start().unwrap();
    let job = scene.submit(&scene.pipeline("rocksdb", 20_000, "interval = \"100ms\""), "").unwrap();
    scene.wait_for(&job, 2_000, 1).unwrap();
    let told = json(&scene.cofferdam(&["job", "cancel", "flights", "--wait", "--json"]).unwrap());
    assert_eq!((told["id"].as_str(), told["status"].as_str()), (Some(job.as_str()), Some("CANCELED")));
    assert_eq!(scene.api().job(&job).unwrap()["status"], "CANCELED");
}

#[test]
fn a_stop_that_is_asked_for_again_names_its_savepoint_after_a_restart_of_the_server_too() {
    let mut scene = Scene::new("stopping-again", 60_000).unwrap();
    scene.start().unwrap();
    let pipeline = scene.pipeline("memory", 20_000, "interval = \"100ms\"");
    let job = scene.submit(&pipeline, "").unwrap();
    scene.wait_for(&job, 2_000, 1).unwrap();
    let stop = |scene: &Scene| json(&scene.cofferdam(&["job", "stop", &job, "--wait", "--json"]).unwrap());
    let first = stop(&scene);
    assert!(first["location"].is_string() && first["status"] == "completed", "{first}");
    scene.api().wait_for(&job, "FINISHED").unwrap();
    assert_eq!(stop(&scene), first);
    scene.kill().unwrap();
    scene.start().unwrap();
    assert_eq!(stop(&scene), first);
    let location = first["location"].as_str().unwrap();
    let job = scene.submit(&pipeline, &format!("from={location}")).unwrap();
    scene.finish_exactly(&job).unwrap();
}
