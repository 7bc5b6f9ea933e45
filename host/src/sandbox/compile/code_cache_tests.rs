//! The cache of compiled code in a folder of the user: safety, versions, eviction and fallback.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;

use super::code_cache::{CodeCache, CodeCacheFolder, remove_oldest, write_code};
use crate::clock::ManualClock;
use crate::sandbox::engine::compiling_engine;

/// A component without imports and exports.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn of_user(dir: &Path) -> CodeCache {
    CodeCache::open(CodeCacheFolder::OfUser(dir.to_owned())).unwrap()
}

fn keep(cache: &CodeCache, engine: &Engine, sha256: &str) {
    let file = cache.new_file().unwrap();
    assert!(write_code(engine, EMPTY, file.path()).is_ok());
    cache.keep(engine, sha256, file).unwrap();
}

fn has(cache: &CodeCache, engine: &Engine, sha256: &str) -> bool {
    cache.load(engine, sha256, &ManualClock::default()).is_some()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn another_process_of_the_user_finds_the_code_and_removes_nothing_of_others() {
    let (folder, engine) = (tempfile::tempdir().unwrap(), compiling_engine().unwrap());
    let dir = folder.path().join("cofferdam/code");
    let first = of_user(&dir);
    assert!(!has(&first, &engine, "aa"));
    keep(&first, &engine, "aa");
    let second = of_user(&dir);
    second.retain(&|_| false);
    second.remove(&engine, "aa");
    assert!(has(&second, &engine, "aa"));
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);

    let mut config = wasmtime::Config::new();
    let other_version = Engine::new(config.epoch_interruption(false).wasm_component_model(true)).unwrap();
    assert!(!has(&second, &other_version, "aa"));
    keep(&second, &other_version, "aa");
    assert!(has(&second, &engine, "aa") && has(&second, &other_version, "aa"), "versions do not replace each other");
}

#[test]
fn code_that_others_could_have_written_or_that_is_damaged_is_not_used() {
    let (folder, engine) = (tempfile::tempdir().unwrap(), compiling_engine().unwrap());
    let dir = folder.path().join("code");
    let cache = of_user(&dir);
    keep(&cache, &engine, "aa");
    let file = files(&dir).pop().unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    assert!(!has(&cache, &engine, "aa"));
    keep(&cache, &engine, "aa");
    assert!(has(&cache, &engine, "aa"));
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(!has(&cache, &engine, "aa"));
    keep(&cache, &engine, "aa");
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    assert!(!has(&cache, &engine, "aa"), "a link may lead to a file of another user");

    fs::set_permissions(&dir, Permissions::from_mode(0o770)).unwrap();
    let unsafe_folder = of_user(&dir);
    keep(&unsafe_folder, &engine, "bb");
    assert!(!has(&unsafe_folder, &engine, "bb"), "the folder is not used, and the component runs anyway");
}

#[test]
fn without_a_usable_folder_components_are_compiled_and_run() {
    let (folder, engine) = (tempfile::tempdir().unwrap(), compiling_engine().unwrap());
    fs::write(folder.path().join("file"), "").unwrap();
    for dir in ["file", "file/below"] {
        let cache = of_user(&folder.path().join(dir));
        keep(&cache, &engine, "aa");
        assert!(!has(&cache, &engine, "aa"));
    }
}

#[test]
fn the_files_that_were_used_longest_ago_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, used_at: u64| {
        let path = folder.path().join(name);
        fs::write(&path, [0; 10]).unwrap();
        let used_at = SystemTime::UNIX_EPOCH + Duration::from_secs(used_at);
        File::open(&path).unwrap().set_modified(used_at).unwrap();
        path
    };
    let (newest, _, _, _) = (write("newest", 0), write("old", 1), write("older-but-used", 9), write("young", 5));
    remove_oldest(folder.path(), 30, &newest);
    let mut left: Vec<_> =
        files(folder.path()).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    left.sort();
    assert_eq!(left, ["newest", "older-but-used", "young"]);
}

#[test]
fn a_used_file_counts_as_young() {
    let (folder, engine, clock) = (tempfile::tempdir().unwrap(), compiling_engine().unwrap(), ManualClock::default());
    let cache = of_user(folder.path());
    keep(&cache, &engine, "aa");
    clock.set_ms(86_400_000);
    assert!(cache.load(&engine, "aa", &clock).is_some());
    let used_at = fs::metadata(files(folder.path()).pop().unwrap()).unwrap().modified().unwrap();
    assert_eq!(used_at, SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
}
