//! Paths that a policy allows and refuses, links, and links that change between the check and the use.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::{AccessGrant, AccessPolicy, AllowList, denied_or};
use crate::error;

/// A folder with an allowed folder `in` and a forbidden folder `out`.
struct Scene {
    folder: tempfile::TempDir,
    policy: AccessPolicy,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        for name in ["in", "in/deep", "inner", "out"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("in/file"), "allowed").unwrap();
        fs::write(folder.path().join("out/secret"), "secret").unwrap();
        let list = AllowList { paths: vec![AccessGrant::to_all(folder.path().join("in"))], ..AllowList::default() };
        Scene { policy: AccessPolicy::restricted(list).unwrap(), folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn code_of(&self, checked: std::io::Result<()>) -> &'static str {
        match checked {
            Ok(()) => "",
            Err(error) => denied_or(&error, || error::source_failed(error.to_string())).code,
        }
    }

    fn check(&self, name: &str) -> &'static str {
        self.code_of(self.policy.check_path(&self.path(name)))
    }

    fn open(&self, name: &str) -> Result<String, &'static str> {
        match self.policy.open_file(&self.path(name)) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                Ok(text)
            }
            Err(error) => Err(self.code_of(Err(error))),
        }
    }
}

#[test]
fn only_what_is_below_an_allowed_folder_is_allowed() {
    let scene = Scene::new();
    for allowed in ["in", "in/file", "in/new", "in/new/deeper", "in/deep/../file", "out/../in/file"] {
        assert_eq!(scene.check(allowed), "", "{allowed}");
    }
    for refused in [
        "",
        "out",
        "out/secret",
        "out/none",
        "inner",
        "in/..",
        "in/../out/secret",
        "in/none/../../out/secret",
        "in/none/../file",
        "/etc/passwd",
        "/etc/none",
        "/",
    ] {
        assert_eq!(scene.check(refused), "path-denied", "{refused}");
    }
    assert_eq!(scene.open("in/file"), Ok("allowed".to_owned()));
    assert_eq!(scene.open("out/secret"), Err("path-denied"));
    assert_eq!(scene.open("in/none"), Err("source-failed"));
    assert_eq!(scene.open("in"), Err("source-failed"), "a folder is no file");
}

#[test]
fn links_are_followed_within_the_allowed_folders_and_not_out_of_them() {
    let scene = Scene::new();
    for (link, target) in [
        ("in/good", "file"),
        ("in/absolute", "@in/file"),
        ("in/folder", "deep"),
        ("in/away", "../out/secret"),
        ("in/far", "/etc/passwd"),
        ("in/folder-out", "../out"),
        ("in/dangling", "../out/none"),
        ("in/loop", "loop"),
        ("out/back", "../in/file"),
    ] {
        let target = target.strip_prefix('@').map_or_else(|| target.into(), |name| scene.path(name));
        symlink(target, scene.path(link)).unwrap();
    }
    for allowed in ["in/good", "in/absolute", "out/back"] {
        assert_eq!((scene.check(allowed), scene.open(allowed)), ("", Ok("allowed".to_owned())), "{allowed}");
    }
    assert_eq!(scene.check("in/folder/new"), "");
    for refused in ["in/away", "in/far", "in/folder-out/secret", "in/folder-out/new", "in/dangling", "in/loop"] {
        assert_eq!((scene.check(refused), scene.open(refused)), ("path-denied", Err("path-denied")), "{refused}");
        let created = scene.policy.create_folder(&scene.path(refused)).map(drop);
        assert_eq!(scene.code_of(created), "path-denied", "{refused}");
    }
    assert!(!scene.path("out/none").exists() && !scene.path("out/new").exists());
}

#[test]
fn a_folder_that_becomes_a_link_does_not_lead_out() {
    let scene = Scene::new();
    let pinned = scene.policy.pin_folder(&scene.path("in/deep")).unwrap();
    fs::rename(scene.path("in/deep"), scene.path("in/moved")).unwrap();
    symlink("../out", scene.path("in/deep")).unwrap();
    // The open folder is the one that was checked, wherever it is now.
    pinned.create_file("part").unwrap();
    assert!(scene.path("in/moved/part").exists() && !scene.path("out/part").exists());
    assert_eq!(scene.code_of(scene.policy.pin_folder(&scene.path("in/deep")).map(drop)), "path-denied");
    // Links within the folder are not followed.
    symlink("../../out", scene.path("in/moved/pending")).unwrap();
    symlink("../../out/secret", scene.path("in/moved/open")).unwrap();
    assert!(pinned.subfolder("pending").is_err() && pinned.create_subfolder("pending").is_err());
    assert!(pinned.create_file("open").is_err());
    assert_eq!(pinned.file_length("open").unwrap(), None);
    for name in ["../file", "a/b", "..", ".", "", "/etc/passwd"] {
        assert!(pinned.create_file(name).is_err() && pinned.remove_file(name).is_err(), "{name}");
    }
    assert_eq!(fs::read_to_string(scene.path("out/secret")).unwrap(), "secret");
}

#[test]
fn a_link_that_changes_all_the_time_never_leads_out() {
    let scene = Scene::new();
    let (link, spare) = (scene.path("in/link"), scene.path("in/spare"));
    symlink("file", &link).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                let target = if turn % 2 == 0 { "../out/secret" } else { "file" };
                symlink(target, &spare).and_then(|()| fs::rename(&spare, &link)).unwrap();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..2000 {
            let opened = scene.open("in/link");
            assert!(matches!(opened.as_ref().map(String::as_str), Ok("allowed") | Err(&"path-denied")), "{opened:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn files_of_the_kernel_are_refused_by_every_policy() {
    let scene = Scene::new();
    symlink("/proc/self/environ", scene.path("in/environ")).unwrap();
    for policy in [&AccessPolicy::default(), &scene.policy] {
        for path in ["/proc/self/environ", "/proc", "/sys/kernel", "/dev/null", "/dev/none"] {
            let error = policy.check_path(Path::new(path)).unwrap_err();
            let error = denied_or(&error, || error::internal("not denied"));
            assert!(error.code == "path-denied" && error.message.contains("/proc, /sys, /dev"), "{path}: {error}");
        }
        assert_eq!(scene.code_of(policy.open_file(&scene.path("in/environ")).map(drop)), "path-denied");
    }
    assert!(AccessPolicy::default().check_path(Path::new("/dev/shm/x")).is_ok(), "it has ordinary files");
    let list = AllowList { paths: vec![AccessGrant::to_all("/proc".into())], ..AllowList::default() };
    assert_eq!(AccessPolicy::restricted(list).unwrap_err().code, "path-denied");
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let scene = Scene::new();
    let pipe = scene.path("in/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for policy in [&AccessPolicy::default(), &scene.policy] {
        assert!(policy.open_file(&pipe).unwrap_err().to_string().contains("not a regular file"));
    }
}

#[test]
fn created_folders_can_be_removed_again() {
    let scene = Scene::new();
    let created = scene.policy.create_folder(&scene.path("in/deep/a/b/c")).unwrap();
    assert!(scene.path("in/deep/a/b/c").is_dir());
    fs::write(scene.path("in/deep/a/mine"), "").unwrap();
    created.undo();
    assert!(scene.path("in/deep/a/mine").exists() && !scene.path("in/deep/a/b").exists());
    fs::write(scene.path("in/deep/a/file"), "").unwrap();
    assert!(scene.policy.create_folder(&scene.path("in/deep/a/file/x")).is_err());
}

#[test]
fn addresses_and_buckets_are_allowed_by_name() {
    let list = AllowList {
        addresses: vec!["localhost:9000".parse().unwrap()],
        buckets: vec![AccessGrant::to_all("mine".to_owned())],
        ..AllowList::default()
    };
    let policy = AccessPolicy::restricted(list).unwrap();
    assert!(policy.check_address("localhost:9000").is_ok() && policy.check_bucket("mine").is_ok());
    for error in [policy.check_address("169.254.169.254:80"), policy.check_bucket("yours")] {
        assert_eq!(error.unwrap_err().code, "address-denied");
    }
    assert!(
        AccessPolicy::default().check_address("any:1").is_ok() && AccessPolicy::default().check_bucket("b").is_ok()
    );
}

#[test]
fn what_is_granted_to_a_namespace_is_closed_to_the_others() {
    let scene = Scene::new();
    let folder = |name: &str| scene.path(name).canonicalize().unwrap().display().to_string();
    for name in ["in/deep/own", "out/shared"] {
        fs::create_dir(scene.path(name)).unwrap();
        fs::write(scene.path(name).join("file"), "").unwrap();
    }
    symlink("../out", scene.path("in/to-out")).unwrap();
    let paths = [folder("in"), format!("team-a:{}", folder("in/deep")), format!("team-b:{}", folder("in/deep/own"))];
    let paths = paths.into_iter().chain([format!("team-b:{}", folder("out")), folder("out/shared")]);
    let list = AllowList {
        paths: paths.map(|text| text.parse().unwrap()).collect(),
        addresses: ["db:1", "team-a:db:2"].map(|text| text.parse().unwrap()).to_vec(),
        buckets: ["common", "team-a:own"].map(|text| text.parse().unwrap()).to_vec(),
        ..AllowList::default()
    };
    let default = AccessPolicy::restricted(list).unwrap();
    let policies = [&default, &default.for_namespace("team-a"), &default.for_namespace("team-b")];
    for (path, allowed) in [
        ("in/file", [true, true, true]),
        ("in/deep/file", [false, true, false]),
        ("in/deep/own/file", [false, false, true]),
        ("out/secret", [false, false, true]),
        ("in/to-out/secret", [false, false, true]),
        ("out/shared/file", [true, true, true]),
        ("inner/file", [false, false, false]),
    ] {
        let found = policies.map(|policy| policy.check_path(&scene.path(path)).is_ok());
        assert_eq!(found, allowed, "{path}");
        if scene.path(path).exists() {
            assert_eq!(policies.map(|policy| policy.open_file(&scene.path(path)).is_ok()), allowed, "{path}");
        }
    }
    let reached = |address| policies.map(|policy| policy.check_address(address).is_ok());
    assert_eq!((reached("db:1"), reached("db:2")), ([true; 3], [false, true, false]));
    let used = |bucket| policies.map(|policy| policy.check_bucket(bucket).is_ok());
    assert_eq!((used("common"), used("own")), ([true; 3], [false, true, false]));
    let shown = default.allow_list().unwrap().to_string();
    assert!(shown.contains("db:2 (team-a only)") && shown.contains("/in/deep` (team-a only)"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a path is made of, what is opened is the allowed file.
    #[test]
    fn no_path_opens_a_file_outside(parts in prop::collection::vec(
        prop::sample::select(vec!["in", "out", "..", ".", "file", "secret", "deep", "away", "back", "none", ""]), 1..8)
    ) {
        let scene = Scene::new();
        symlink("../out", scene.path("in/away")).unwrap();
        symlink("../in", scene.path("out/back")).unwrap();
        if let Ok(text) = scene.open(&parts.join("/")) {
            prop_assert_eq!(text, "allowed");
        }
    }
}
