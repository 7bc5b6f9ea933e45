//! The folders of a server and of its sinks: checks at submit, what a kill leaves behind, and removal of the data folder.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cofferdam_tests::{Checkout, Scene, Server, preload_library, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A preloaded library that fails every sync at or below `NO_SYNC` and kills a process that syncs a file there for `DIE_AT`.
const SYNC: &str = r#"
int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *refused = getenv("NO_SYNC"), *deadly = getenv("DIE_AT");
    char link[64], path[PATH_MAX] = "";
    struct stat found;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (deadly && !strncmp(path, deadly, strlen(deadly))) kill(getpid(), SIGKILL);
    if (refused && !strncmp(path, refused, strlen(refused)) && !fstat(file, &found) && S_ISDIR(found.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    return real(file);
}
"#;

/// A server in an empty folder, with `SYNC` acting on the folder `at` in it.
fn watched(name: &str, variable: &'static str, at: &str) -> Scene {
    let mut scene = Scene::new(name, 1_000).unwrap();
    let library = preload_library(&scene.dir, SYNC).unwrap();
    let at = scene.dir.join(at).display().to_string();
    scene.environment = vec![("LD_PRELOAD", library), (variable, at)];
    scene.start().unwrap();
    scene
}

#[test]
fn a_folder_that_cannot_be_synced_is_refused_at_submit() {
    let scene = watched("folders-output", "NO_SYNC", "out");
    fs::create_dir(scene.out()).unwrap();
    let answer = scene.api().submit(&scene.pipeline("memory", 1_000, "interval = \"1s\"")).unwrap();
    assert_eq!(answer.code(), "sink-unwritable", "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("cannot be synced"), "{}", answer.body);

    let scene = watched("folders-storage", "NO_SYNC", "storage");
    let storage = scene.dir.join("storage");
    fs::create_dir(&storage).unwrap();
    let pipeline = scene.pipeline("memory", 1_000, &format!("storage = \"{}\"", storage.display()));
    let answer = scene.api().submit(&pipeline).unwrap();
    assert_eq!(answer.code(), "storage-failed", "{}", answer.body);
    assert_eq!(scene.api().jobs().unwrap().as_array().unwrap().len(), 0);
}

#[test]
fn a_kill_during_the_check_of_an_output_folder_leaves_nothing_there() {
    let mut scene = watched("folders-check", "DIE_AT", "out");
    fs::create_dir(scene.out()).unwrap();
    assert!(scene.api().submit(&scene.pipeline("memory", 1_000, "interval = \"1s\"")).is_err());
    scene.kill().unwrap();
    let left: Vec<_> = fs::read_dir(scene.out()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_whose_data_folder_was_removed_ends() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/folders-removed").unwrap();
    let mut first = Server::start(&checkout.cofferdam(), &dir, &[]).unwrap();
    fs::remove_dir_all(dir.join("data")).unwrap();
    let second = Server::start(&checkout.cofferdam(), &dir, &[]).unwrap();
    wait_until("the first server ends", TIMEOUT, || Ok((!first.is_up()?).then_some(()))).unwrap();
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    assert!(log.contains("was removed or replaced while it was in use"), "{log}");
    second.api.jobs().unwrap();
}

/// The lines that a server writes to stdout until it listens.
fn greeting(checkout: &Checkout, data: &Path) -> Vec<String> {
    let mut server = Command::new(checkout.cofferdam())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(server.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap().starts_with("listening on ") {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    lines
}

#[test]
fn a_server_tells_its_data_folder_and_what_it_resumed() {
    let mut scene = Scene::new("folders-greeting", 60_000).unwrap();
    scene.start().unwrap();
    let job = scene.submit(&scene.pipeline("memory", 10_000, "interval = \"100ms\""), "").unwrap();
    scene.wait_for(&job, 1_000, 1).unwrap();
    scene.kill().unwrap();
    let data = scene.dir.join("data").canonicalize().unwrap();
    let lines = greeting(&scene.checkout, &data);
    assert_eq!(lines[0], format!("data folder {}, jobs resumed: 1", data.display()));
    let empty = scene.dir.join("empty");
    assert!(greeting(&scene.checkout, &empty)[0].ends_with("empty, jobs resumed: 0"));
}
