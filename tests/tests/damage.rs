//! Damaged checkpoints: a damaged file of the newest checkpoint is named, an older checkpoint that does not need it is used,
//! and the result stays exact. Without a usable checkpoint the job fails instead of starting with empty state.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cofferdam_tests::Scene;
use serde_json::Value;

const FLIGHTS: usize = 24_000;

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

/// A job that was killed after several checkpoints. Its folder is copied aside and restored before each damage.
struct Killed {
    scene: Scene,
    job: String,
}

impl Killed {
    fn new(name: &str, backend: &str) -> Killed {
        let mut scene = Scene::new(&format!("damage-{name}-{backend}"), FLIGHTS).unwrap();
        scene.start().unwrap();
        let job = scene.submit(&scene.pipeline(backend, 30_000, "interval = \"50ms\"\nretained = 3"), "").unwrap();
        scene.wait_for(&job, 3_000, 4).unwrap();
        scene.kill().unwrap();
        let killed = Killed { scene, job };
        killed.copy("data", "saved-data");
        killed.copy("out", "saved-out");
        killed
    }

    /// Copies files instead of linking them, so that damage to one copy leaves the other intact.
    fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.scene.dir.join(from), self.scene.dir.join(to));
        let _ = fs::remove_dir_all(&to);
        assert!(Command::new("cp").arg("-r").args([&from, &to]).status().unwrap().success());
    }

    fn put_back(&self) {
        self.copy("saved-data", "data");
        self.copy("saved-out", "out");
    }

    /// The checkpoints, with the bytes of their metadata files.
    fn metadata_files(&self) -> BTreeMap<u64, (PathBuf, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.scene.checkpoints().join(&self.job)).unwrap() {
            let path = entry.unwrap().path().join("manifest");
            let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            if let (Some(id), Ok(bytes)) = (name.strip_prefix("chk-"), fs::read(&path)) {
                found.insert(id.parse().unwrap(), (path, bytes));
            }
        }
        found
    }

    /// Every file of the newest checkpoint, with the newest checkpoint that does not need the file.
    fn files_of_newest(&self) -> Vec<(PathBuf, Option<u64>)> {
        let metadata_files = self.metadata_files();
        let (newest, (metadata, _)) = metadata_files.last_key_value().unwrap();
        let before = metadata_files.range(..newest).next_back().map(|(id, _)| *id);
        let mut files = vec![(metadata.clone(), before)];
        for entry in fs::read_dir(self.scene.checkpoints().join(&self.job).join("shared")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().as_bytes();
            let names_it = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name);
            if names_it(&metadata_files[newest].1) {
                let without = metadata_files.iter().rfind(|(_, (_, bytes))| !names_it(bytes)).map(|(id, _)| *id);
                files.push((path, without));
            }
        }
        files
    }

    fn start(&mut self) -> Value {
        self.scene.start().unwrap();
        self.scene.wait_until_up(&self.job).unwrap()
    }
}

fn refused(job: &Value) -> bool {
    job["status"] == "FAILED" && job["failure"]["code"] == "checkpoint-none-usable"
}

fn each_file_in_turn(backend: &str) {
    let mut killed = Killed::new("each", backend);
    let mut one_before = 0;
    let newest = *killed.metadata_files().last_key_value().unwrap().0;
    let files = killed.files_of_newest();
    assert!(files.len() >= 2, "{files:?}");
    for (file, usable) in &files {
        for damage in [flip_a_byte, truncate] {
            killed.put_back();
            damage(file);
            let job = killed.start();
            let what = format!("{}: {job}", file.display());
            let name = match file.ends_with("manifest") {
                true => format!("chk-{newest}/manifest"),
                false => file.file_name().unwrap().to_str().unwrap().to_string(),
            };
            match usable {
                Some(usable) => {
                    assert_eq!(job["restored_checkpoint"].as_u64(), Some(*usable), "{what}");
                    let warnings = job["warnings"].to_string();
                    assert!(warnings.contains(&format!("chk-{newest}")) && warnings.contains(&name), "{what}");
                    killed.scene.finish_exactly(&killed.job).unwrap_or_else(|error| panic!("{error}\n{what}"));
                    one_before += 1;
                }
                // All retained checkpoints need the file.
                None => assert!(refused(&job) && job["failure"]["message"].as_str().unwrap().contains(&name), "{what}"),
            }
            assert!(killed.scene.log().contains("checkpoint-corrupt") || usable.is_none(), "{what}");
            killed.scene.kill().unwrap();
        }
    }
    assert!(one_before >= 4, "the manifest, and at least one file that only the newest has");
}

#[test]
fn each_file_with_the_memory_backend() {
    each_file_in_turn("memory");
}

#[test]
fn each_file_with_rocksdb() {
    each_file_in_turn("rocksdb");
}

#[test]
fn all_of_them_are_damaged() {
    for backend in ["memory", "rocksdb"] {
        let mut killed = Killed::new("all", backend);
        let metadata_files = killed.metadata_files();
        metadata_files.values().for_each(|(metadata, _)| flip_a_byte(metadata));
        let job = killed.start();
        assert!(refused(&job), "{job}");
        for id in metadata_files.keys() {
            assert!(job["failure"]["message"].as_str().unwrap().contains(&format!("chk-{id}")), "{job}");
        }
        // The job does not start by itself, and a new submit starts it only with an explicit flag.
        let pipeline = job["manifest"].as_str().unwrap().to_string();
        let answer = killed.scene.api().submit(&pipeline).unwrap();
        assert_eq!(answer.code(), "checkpoint-none-usable", "{}", answer.body);
        assert!(answer.body["hint"].as_str().unwrap().contains("--ignore-state"), "{}", answer.body);
        killed.scene.kill().unwrap();

        // After the storage has been repaired, the next start resumes the job.
        killed.copy("saved-data/checkpoints", "data/checkpoints");
        let job = killed.start();
        assert!(job["restored_checkpoint"].is_u64(), "{job}");
        killed.scene.finish_exactly(&killed.job).unwrap();
        killed.scene.kill().unwrap();

        killed.put_back();
        metadata_files.values().for_each(|(metadata, _)| truncate(metadata));
        assert!(refused(&killed.start()));
        fs::remove_dir_all(killed.scene.out()).unwrap();
        let job = killed.scene.submit(&pipeline, "ignore_state=true").unwrap();
        let warnings = killed.scene.api().job(&job).unwrap()["warnings"].to_string();
        assert!(warnings.contains("ignore_state") && warnings.contains(&killed.job), "{warnings}");
        assert!(killed.scene.log().contains("state is ignored"), "{}", killed.scene.log());
        killed.scene.finish_exactly(&job).unwrap();
        killed.scene.kill().unwrap();
    }
}
