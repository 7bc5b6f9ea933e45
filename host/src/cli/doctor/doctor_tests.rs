//! What each check of `cofferdam doctor` finds, with values on both sides of its limits.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use super::finding::{DAY_MS, Finding, Verdict};
use super::{build_tools, certificate, machine, server, storage};
use crate::auth::{CallerView, Role};
use crate::cli::connection::{ConnectionSettings, UsedProfile};
use crate::clock::SystemClock;
use crate::error::connection_invalid;

const GIB: u64 = 1 << 30;

/// Checks the verdict, and that whoever reads of a problem is told what to do.
fn is(finding: &Finding, verdict: Verdict, text: &str) {
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    assert_eq!(finding.remedy.is_some(), verdict != Verdict::Ok, "{finding:?}");
    assert!(finding.line(false).contains(text), "{finding:?}");
}

#[test]
fn a_finding_is_one_line_with_its_remedy() {
    let finding = Finding::fail("disk space", "1 B\nfree", "free some");
    assert_eq!(finding.line(false), "fail  disk space      1 B\\nfree; free some");
    assert!(finding.line(true).starts_with("\x1b[31mfail\x1b[0m"));
    let json = serde_json::to_value(Finding::ok("clock", "now")).unwrap();
    assert_eq!(json, serde_json::json!({ "check": "clock", "verdict": "ok", "message": "now" }));
}

#[test]
fn limits_that_are_too_low_are_found() {
    is(&machine::open_files(Some(1024)), Verdict::Fail, "LimitNOFILE");
    is(&machine::open_files(Some(20_000)), Verdict::Warn, "20000");
    is(&machine::open_files(Some(1 << 20)), Verdict::Ok, "1048576");
    is(&machine::open_files(None), Verdict::Warn, "cannot be read");
    is(&machine::memory(Some(GIB), 2 * GIB), Verdict::Fail, "--state-memory");
    is(&machine::memory(Some(GIB), GIB - 1), Verdict::Warn, "--state-memory");
    is(&machine::memory(Some(4 * GIB), GIB), Verdict::Ok, "4.0 GiB");
    is(&machine::memory(None, GIB), Verdict::Warn, "cannot be read");
    is(&machine::clock(0), Verdict::Fail, "1970-01-01");
    is(&machine::clock(SystemClock::shared().wall_ms()), Verdict::Ok, "T");
    assert!(machine::open_files_max().is_some());
}

#[test]
fn the_profile_in_use_is_named() {
    let used = |server: Option<&str>| {
        let server = server.map(str::to_owned);
        let profile = UsedProfile { name: "staging".to_owned(), file: "cofferdam/config.toml".into(), server };
        ConnectionSettings { server: "https://a".to_owned(), profile: Some(profile), ..ConnectionSettings::default() }
    };
    is(&server::profile(&ConnectionSettings::default()), Verdict::Ok, "none");
    for named in [None, Some("https://a")] {
        is(&server::profile(&used(named)), Verdict::Ok, "`staging` of cofferdam/config.toml");
        assert!(!server::profile(&used(named)).message.contains("another"));
    }
    is(&server::profile(&used(Some("https://b"))), Verdict::Ok, "another server is named: https://a");
}

#[test]
fn the_smallest_limit_of_the_control_groups_counts() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    assert_eq!(machine::memory_bytes_max(root.path()), None);
    write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
    assert_eq!(machine::memory_bytes_max(root.path()), Some(8 * GIB));
    write("proc/self/cgroup", "0::/../system.slice/cofferdam.service\n");
    write("sys/fs/cgroup/system.slice/memory.max", "2147483648\n");
    write("sys/fs/cgroup/system.slice/cofferdam.service/memory.max", "max\n");
    assert_eq!(machine::memory_bytes_max(root.path()), Some(2 * GIB));
    write("proc/self/cgroup", "7:cpu:/x\n3:hugetlb,memory:/a\n");
    write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n");
    assert_eq!(machine::memory_bytes_max(root.path()), Some(GIB));
}

#[test]
fn a_data_folder_is_tried_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let findings = storage::data_folder(&folder.path().join("new/data"), &SystemClock::shared());
    assert_eq!(findings.len(), 3);
    // The temporary folder may be a tmpfs.
    assert!(findings[0].verdict != Verdict::Fail && findings[0].message.contains("does not exist yet"), "{findings:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    is(&storage::data_folder(Path::new("/proc/self"), &SystemClock::shared())[0], Verdict::Fail, "--data-dir");
    is(&storage::space(Some(1 << 20)), Verdict::Fail, "1.0 MiB free");
    is(&storage::space(Some(GIB)), Verdict::Warn, "--data-dir");
    is(&storage::space(Some(100 * GIB)), Verdict::Ok, "100.0 GiB free");
    is(&storage::sync_time(Duration::from_millis(80)), Verdict::Warn, "80.0 ms");
    is(&storage::sync_time(Duration::from_millis(2)), Verdict::Ok, "2.0 ms");
}

#[test]
fn certificates_are_told_before_they_end() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tls/server.pem");
    is(&certificate::of_file(&file, 0), Verdict::Ok, "ends at");
    is(&certificate::of_file(&file, i64::MAX), Verdict::Fail, "has ended");
    let end_ms = certificate::end_of_file_ms(&file).unwrap();
    is(&certificate::of_file(&file, end_ms - 3 * DAY_MS), Verdict::Warn, "ends in 3 days");
    is(&certificate::of_file(&file, end_ms - 20 * DAY_MS), Verdict::Ok, "ends at");
    is(&certificate::of_file(&file.with_file_name("none.pem"), 0), Verdict::Fail, "PEM file");
    is(&certificate::of_file(&file.with_file_name("server-key.pem"), 0), Verdict::Fail, "PEM file");
}

#[test]
fn the_answers_of_a_server_are_judged() {
    is(&server::version("http://h", env!("CARGO_PKG_VERSION")), Verdict::Ok, "http://h");
    is(&server::version("http://h", "0.0.1"), Verdict::Warn, "0.0.1");
    let date_ms = server::date_ms("Thu, 26 Nov 2026 23:20:39 GMT").unwrap();
    assert_eq!(date_ms, 1_795_735_239_000);
    is(&server::clock(date_ms, date_ms + 5000..=date_ms + 9000), Verdict::Ok, "same");
    is(&server::clock(date_ms, date_ms - 90_000..=date_ms - 60_000), Verdict::Warn, "60 s");
    is(&server::clock(date_ms, date_ms + 61_000..=date_ms + 62_000), Verdict::Warn, "60 s");
    let caller = CallerView {
        token: Some("abc".to_owned()),
        token_name: None,
        role: Role::Read,
        namespace: "team".to_owned(),
        expires_at_ms: None,
    };
    is(&server::token(&caller, 0), Verdict::Ok, "role read, namespace team");
    is(&server::token(&CallerView { expires_at_ms: Some(DAY_MS), ..caller.clone() }, 0), Verdict::Warn, "ends at");
    is(&server::token(&CallerView { token: None, ..caller }, 0), Verdict::Ok, "requires none");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    is(&server::address(address, None), Verdict::Fail, "used by another program");
    is(&server::address(address, Some(&format!("http://{address}/"))), Verdict::Ok, "used by the server");
    drop(listener);
    let findings = server::examine(Err(connection_invalid("no file")), "127.0.0.1:0".parse().unwrap(), &|| 0);
    is(&findings[0], Verdict::Fail, "connection-invalid");
    is(&findings[1], Verdict::Ok, "free");
}

#[test]
fn tools_are_looked_for_without_installing_any() {
    assert_ne!(build_tools::toolchain().verdict, Verdict::Fail, "a server needs no compiler");
    is(&build_tools::compiled_code(), Verdict::Ok, "run");
}
