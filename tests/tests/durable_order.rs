//! The order in which a real server makes a checkpoint durable. A preloaded library records every sync, rename and link.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use cofferdam_tests::{Scene, preload_library};

const WATCH: &str = r#"
static void say(const char *what, const char *from, const char *to) {
    char line[3 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", what, from, to);
    int log = open(getenv("WATCH_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (log < 0 || write(log, line, length) != length) abort();
    close(log);
}
static int sync_of(const char *name, int file) {
    char link[64], path[PATH_MAX] = "";
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (result == 0) say("sync", path, "");
    return result;
}
int fsync(int file) { return sync_of("fsync", file); }
int fdatasync(int file) { return sync_of("fdatasync", file); }
int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int result = real(from, to);
    char one[2 * PATH_MAX], other[2 * PATH_MAX];
    if (result == 0) say("name", from_root(from, one), from_root(to, other));
    return result;
}
int link(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link");
    int result = real(from, to);
    if (result == 0) say("name", from, to);
    return result;
}
int linkat(int in, const char *from, int at, const char *to, int flags) {
    int (*real)(int, const char *, int, const char *, int) =
        (int (*)(int, const char *, int, const char *, int))dlsym(RTLD_NEXT, "linkat");
    int result = real(in, from, at, to, flags);
    if (result == 0) say("name", from, to);
    return result;
}
"#;

#[derive(Debug, PartialEq)]
enum Event {
    /// A file or folder was synced.
    Synced(String),
    /// A file was renamed or linked.
    Named { from: String, to: String },
}

struct Events(Vec<Event>);

impl Events {
    fn read(log: &Path) -> Events {
        let event = |line: &str| {
            let parts: Vec<&str> = line.split('\t').collect();
            match parts[..] {
                ["sync", path, ""] => Event::Synced(path.to_string()),
                ["name", from, to] => Event::Named { from: from.to_string(), to: to.to_string() },
                _ => panic!("{line}"),
            }
        };
        Events(fs::read_to_string(log).unwrap().lines().map(event).collect())
    }

    /// The renames and links that `wanted` selects: position, old name, new name.
    fn named(&self, wanted: impl Fn(&str) -> bool) -> Vec<(usize, &str, &str)> {
        let named = self.0.iter().enumerate().filter_map(|(at, event)| match event {
            Event::Named { from, to } if wanted(to) => Some((at, &from[..], &to[..])),
            _ => None,
        });
        named.collect()
    }

    /// Asserts that `path` was synced somewhere in `range`.
    fn assert_synced(&self, path: &str, range: std::ops::Range<usize>, why: &str) {
        let synced = Event::Synced(path.to_string());
        assert!(self.0[range.clone()].contains(&synced), "{path} is not synced in {range:?}: {why}\n{:#?}", self.0);
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

#[test]
fn a_checkpoint_counts_when_all_of_it_is_on_the_disk() {
    let mut scene = Scene::new("durable-order", 20_000).unwrap();
    let log = scene.dir.join("watch.log");
    let library = preload_library(&scene.dir, WATCH).unwrap();
    scene.environment = vec![("LD_PRELOAD", library), ("WATCH_LOG", log.display().to_string())];
    scene.start().unwrap();
    let pipeline = scene.pipeline("rocksdb", 20_000, "interval = \"200ms\"\non_cancel = \"keep\"\nretained = 1000");
    let job = scene.submit(&pipeline, "").unwrap();
    scene.finish_exactly(&job).unwrap();
    scene.kill().unwrap();

    let events = Events::read(&log);
    let job_folder = scene.checkpoints().join(&job).display().to_string();
    let metadata_files = events.named(|to| to.starts_with(&format!("{job_folder}/chk-")) && to.ends_with("/manifest"));
    assert!(metadata_files.len() >= 3, "{metadata_files:?}");
    let out = scene.out().display().to_string();
    let prepared = events.named(|to| to.starts_with(&format!("{out}/.pending/")));
    let published = events.named(|to| to.starts_with(&out) && !to.contains("/.pending/"));
    assert!(prepared.len() >= 2 && published.len() >= 2, "{prepared:?} {published:?}");

    let mut begin = 0;
    for (at, staged, named) in metadata_files {
        let checkpoint = folder(named).rsplit_once("/chk-").unwrap().1;
        let (chk, last) = (folder(named), events.0.len());
        events.assert_synced(staged, begin..at, "a manifest's bytes come before its name");
        events.assert_synced(&job_folder, begin..at, "its folder is new, and must not be lost");
        let next_publish = published.iter().map(|(place, ..)| *place).find(|place| *place > at).unwrap_or(last);
        events.assert_synced(chk, at..next_publish, "a manifest's name comes before anything is published");
        let stored = events.named(|to| to.starts_with(&format!("{job_folder}/shared/{checkpoint}-")));
        assert!(stored.len() >= 3, "{stored:?}");
        for (place, before, name) in &stored {
            assert!(*place < at, "{name} is stored behind the manifest that names it");
            events.assert_synced(before, 0..*place, "a file's bytes come before its name");
            events.assert_synced(folder(name), *place..at, "a file's name comes before the manifest");
        }
        for (place, before, part) in prepared.iter().filter(|(place, ..)| (begin..at).contains(place)) {
            events.assert_synced(before, 0..*place, "a part's bytes come before its name");
            events.assert_synced(folder(part), *place..at, "a prepared part's name comes before the manifest");
        }
        begin = at;
    }
    let first = events.named(|to| to.ends_with("/chk-1/manifest"))[0].0;
    assert!(published[0].0 > first, "nothing is published before a checkpoint counts");
    // The storage's own folder, and the job's folder in it.
    let root = scene.checkpoints().display().to_string();
    for path in [folder(&root), &root] {
        events.assert_synced(path, 0..first, "a new folder must not be lost");
    }
}
