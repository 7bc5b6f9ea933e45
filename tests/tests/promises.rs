//! A server that dies between a complete savepoint and its publication, and a job that starts from it elsewhere.
//!
//! A preloaded library ends the process at that moment.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use cofferdam_tests::{Scene, preload_library, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Kills the process at the rename of a file into the folder `DIE_AT`, once the file `DIE_NOW` exists.
const DIE: &str = r#"
int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    char whole[2 * PATH_MAX];
    const char *target = from_root(to, whole), *folder = getenv("DIE_AT"), *name = strrchr(target, '/');
    size_t length = strlen(folder);
    if (name && (size_t)(name - target) == length && !strncmp(target, folder, length) && !access(getenv("DIE_NOW"), F_OK))
        kill(getpid(), SIGKILL);
    return real(from, to);
}
"#;

#[test]
fn a_savepoint_whose_server_was_killed_before_the_commit_loses_nothing_in_a_new_job() {
    for (trigger, another_data_folder) in [("savepoints", true), ("stop", true), ("savepoints", false)] {
        let mut scene = Scene::new(&format!("promises-{trigger}-{another_data_folder}"), 20_000).unwrap();
        let now = scene.dir.join("now");
        scene.environment = vec![
            ("LD_PRELOAD", preload_library(&scene.dir, DIE).unwrap()),
            ("DIE_AT", scene.out().display().to_string()),
            ("DIE_NOW", now.display().to_string()),
        ];
        scene.start().unwrap();
        let pipeline = scene.pipeline("rocksdb", 10_000, "interval = \"300ms\"");
        let job = scene.submit(&pipeline, "").unwrap();
        scene.wait_for(&job, 3_000, 1).unwrap();
        // The last event before the kill is the savepoint; only its publication is missing.
        fs::write(&now, "").unwrap();
        let path = format!("/v1/jobs/{job}/{trigger}");
        let _ = scene.api().post(&path, "application/json", b"");
        wait_until("the server dies", TIMEOUT, || Ok(scene.api().jobs().is_err().then_some(()))).unwrap();
        scene.kill().unwrap();
        scene.environment.clear();

        let mut checkpoints = scene.checkpoints();
        if another_data_folder {
            let aside = scene.dir.join("aside");
            fs::rename(scene.dir.join("data"), &aside).unwrap();
            checkpoints = aside.join("checkpoints");
        } else {
            // The original job must not continue as well.
            fs::remove_dir_all(scene.dir.join("data/jobs")).unwrap();
        }
        let image = newest_image(&checkpoints, &job);
        scene.start().unwrap();
        let job = scene.submit(&pipeline, &format!("from={image}")).unwrap();
        scene.finish_exactly(&job).unwrap();
    }
}

/// The newest complete checkpoint or savepoint of a job.
fn newest_image(checkpoints: &Path, job: &str) -> String {
    let (own, savepoints) = (checkpoints.join(job), checkpoints.join("savepoints"));
    let entries =
        [(&own, "chk-".to_string()), (&savepoints, format!("{job}-"))].into_iter().flat_map(|(dir, prefix)| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
            let complete = entries.filter(|path| path.join("manifest").is_file());
            complete.filter_map(move |path| {
                let id: u64 = path.file_name()?.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
                Some((id, path))
            })
        });
    entries.max().expect("an image").1.display().to_string()
}
