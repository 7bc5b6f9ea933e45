//! A damaged checkpoint manifest is named and passed over: the one before is used, and the result stays exact.

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::late_flights::{self, Plan, Run};
use cofferdam_tests::{Place, difference};

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// The checkpoints of a job in the storage, with their manifests, newest first.
fn manifests(plan: &Plan, job: &str) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(plan.checkpoints().join(job)).unwrap().map(|entry| entry.unwrap());
    let checkpoint = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.strip_prefix("chk-")?.parse().ok()?;
        Some((id, entry.path().join("manifest"))).filter(|(_, manifest)| manifest.exists())
    };
    let mut found: Vec<_> = entries.filter_map(checkpoint).collect();
    found.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    found
}

fn damaged_manifest(name: &str, damage: fn(&Path)) {
    let place = Place::of_this_checkout();
    let plan = Plan {
        seed: 1,
        backend: "rocksdb".to_string(),
        parallelism: 2,
        rate: Some(100_000),
        checkpoint_interval: "200ms".to_string(),
        kills: 0,
        fresh_instance: false,
        unaligned: false,
        work_dir: place.fresh_dir(&format!("tests/damage-{name}")).unwrap(),
    };
    let mut run = Run::start(&place, &plan, &mut |_| {}).unwrap();
    run.wait_until(&mut |_| {}, |progress| progress.checkpoint >= Some(3)).unwrap();
    run.kill().unwrap();

    let kept = manifests(&plan, &run.job);
    let [(newest, manifest), (before, _), ..] = kept.as_slice() else { panic!("two checkpoints, not {kept:?}") };
    damage(manifest);
    assert_eq!(run.restart().unwrap(), Some(*before), "of {kept:?}");
    let log = fs::read_to_string(plan.work_dir.join("server.log")).unwrap();
    assert!(log.contains(&format!("chk-{newest}")) && log.contains("checkpoint-corrupt"), "it is not named in {log}");

    let (delays, _) = run.finish(&mut |_| {}).unwrap();
    if let Some(difference) = difference(&late_flights::expected(&place).unwrap(), &delays) {
        panic!("{difference}");
    }
}

#[test]
fn a_flipped_byte() {
    damaged_manifest("flipped", flip_a_byte);
}

#[test]
fn a_manifest_cut_short() {
    damaged_manifest("truncated", truncate);
}
