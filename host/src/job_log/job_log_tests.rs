//! Tests of the kept lines of a job, and of the levels and limits of its operators.

use std::sync::Arc;

use super::kept_lines::{LinePage, LineQuery};
use super::line_memory::LineMemory;
use super::line_ring::{KEPT_LINE_BYTES_MAX, KeptLine};
use super::log_of_job::{JobLog, LineRate};
use super::{EndedLogs, default_level};
use crate::access::SecretStore;
use crate::model::LogLevel;
use crate::namespace_usage::NamespaceLog;

const RATE: LineRate = LineRate { lines: 5, bytes: 1000 };
const ALL: LineQuery<'static> = LineQuery { node: None, level: LogLevel::Trace, after: None, limit: 100 };

fn job_log(memory_bytes: usize) -> (JobLog, &'static LineMemory) {
    let memory: &'static LineMemory = Box::leak(Box::new(LineMemory::new(memory_bytes)));
    (JobLog::with_memory(memory), memory)
}

fn write(log: &JobLog, node: &str, lines: std::ops::Range<u32>) {
    let node = log.open_node(node, None, RATE, &SecretStore::default());
    for number in lines {
        node.keep(KeptLine { at_ms: 7, ..KeptLine::default() }, &number.to_string());
    }
}

fn texts(page: &LinePage) -> Vec<String> {
    page.lines.iter().map(|(node, line)| format!("{node}{}", line.message)).collect()
}

#[test]
fn pages_continue_behind_each_other_and_miss_no_line() {
    let (log, _) = job_log(1 << 20);
    for number in 0..50 {
        write(&log, if number % 3 == 0 { "a" } else { "b" }, number..number + 1);
    }
    let newest = log.page(&LineQuery { limit: 2, ..ALL });
    assert_eq!(texts(&newest), ["a48", "b49"]);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = log.page(&LineQuery { after: Some(after), limit: 7, ..ALL });
        assert!(!page.has_gap && page.next >= after);
        if page.lines.is_empty() {
            break;
        }
        after = page.next;
        seen.extend(texts(&page));
    }
    let expected: Vec<String> = (0..50).map(|n| format!("{}{n}", if n % 3 == 0 { "a" } else { "b" })).collect();
    assert_eq!(seen, expected);
    assert_eq!(texts(&log.page(&LineQuery { node: Some("a"), limit: 3, ..ALL })), ["a42", "a45", "a48"]);
    write(&log, "a", 50..51);
    assert_eq!(texts(&log.page(&LineQuery { after: Some(newest.next), ..ALL })), ["a50"]);
}

#[test]
fn a_filtered_page_moves_on_behind_lines_that_it_does_not_show() {
    let (log, _) = job_log(1 << 20);
    write(&log, "a", 0..20);
    let errors = LineQuery { level: LogLevel::Error, after: Some(0), ..ALL };
    let page = log.page(&errors);
    assert!(page.lines.is_empty() && page.next > 0);
    log.note(7, LogLevel::Error, None, "failed");
    assert_eq!(texts(&log.page(&LineQuery { after: Some(page.next), ..errors })), ["failed"]);
}

#[test]
fn an_operator_keeps_its_newest_lines_and_a_reader_is_told_of_a_gap() {
    let (log, memory) = job_log(1 << 30);
    write(&log, "a", 0..1);
    let first = log.page(&ALL);
    write(&log, "a", 1..3000);
    let page = log.page(&LineQuery { after: Some(first.next), limit: 5000, ..ALL });
    assert!(page.has_gap);
    assert_eq!((texts(&page)[0].as_str(), page.lines.len()), ("a2000", 1000));
    let node = log.open_node("a", None, RATE, &SecretStore::default());
    for _ in 0..3000 {
        node.keep(KeptLine::default(), &"x".repeat(KEPT_LINE_BYTES_MAX));
    }
    assert!(memory.used() <= 1 << 20, "{} bytes", memory.used());
    drop((log, node));
    assert_eq!(memory.used(), 0);
}

#[test]
fn the_memory_of_all_operators_is_bounded() {
    let (log, memory) = job_log(10_000);
    write(&log, "a", 0..1000);
    write(&log, "b", 0..10);
    assert!(memory.used() <= 10_000 && memory.used() > 9_000, "{} bytes", memory.used());
    assert_eq!(texts(&log.page(&ALL)).last().unwrap(), "a999", "the first operator keeps what it has");
    assert!(log.page(&LineQuery { after: Some(0), ..ALL }).has_gap);
}

#[test]
fn the_bytes_of_a_page_are_bounded() {
    let (log, _) = job_log(1 << 30);
    let node = log.open_node("a", None, RATE, &SecretStore::default());
    for _ in 0..120 {
        node.keep(KeptLine::default(), &"x".repeat(KEPT_LINE_BYTES_MAX));
    }
    for after in [None, Some(0)] {
        let page = log.page(&LineQuery { after, limit: 1000, ..ALL });
        let bytes: usize = page.lines.iter().map(|(_, line)| line.message.len()).sum();
        assert!(bytes <= 256 << 10 && page.lines.len() > 20, "{bytes} bytes");
    }
}

#[test]
fn control_characters_are_visible_and_long_lines_are_cut() {
    let (log, _) = job_log(1 << 20);
    let node = log.open_node("a", None, RATE, &SecretStore::default());
    node.keep(KeptLine::default(), "red\x1b[31m\nnext");
    node.keep(KeptLine::default(), &"\x07".repeat(KEPT_LINE_BYTES_MAX));
    let page = log.page(&ALL);
    assert_eq!(&*page.lines[0].1.message, "red\\u{1b}[31m\nnext");
    assert!(page.lines[1].1.message.len() <= KEPT_LINE_BYTES_MAX + 3);
}

#[test]
fn a_level_that_is_set_wins_over_the_pipeline_file_until_it_is_reset() {
    let (log, _) = job_log(1 << 20);
    let open = |level| log.open_node("a", level, RATE, &SecretStore::default());
    let node = open(None);
    assert_eq!(node.level(), default_level());
    open(Some(LogLevel::Warn));
    assert!(!node.is_enabled(LogLevel::Info) && !node.is_level_set());
    node.set_level(Some(LogLevel::Debug));
    // Another attempt.
    open(Some(LogLevel::Warn));
    assert!(node.is_enabled(LogLevel::Debug) && !node.is_enabled(LogLevel::Trace));
    node.set_level(None);
    assert_eq!(node.level(), LogLevel::Warn);
}

#[test]
fn the_functions_of_a_job_share_a_limit() {
    let (log, _) = job_log(1 << 20);
    let open = |node| log.open_node(node, None, RATE, &SecretStore::default());
    let (a, b) = (open("a"), open("b"));
    let admitted =
        |now_ns| (0..100).filter(|n| if n % 2 == 0 { a.admit(1, now_ns) } else { b.admit(1, now_ns) }).count();
    assert_eq!(admitted(0), 50, "ten seconds' worth");
    assert_eq!(admitted(1_000_000_000), 5);
    assert!(!a.admit(20_000, u64::MAX / 2), "more bytes than the job may write at once");
}

#[test]
fn the_jobs_of_a_namespace_share_a_limit_of_bytes() {
    let namespace = Arc::new(NamespaceLog::new(Some(10)));
    let logs = [0, 1].map(|_| JobLog::of_namespace(namespace.clone()));
    let nodes = logs.each_ref().map(|log| log.open_node("a", None, RATE, &SecretStore::default()));
    let admitted = |now_ns| (0..60).filter(|n| nodes[n % 2].admit(4, now_ns)).count();
    assert_eq!(admitted(0), 25, "ten seconds' worth");
    assert_eq!(admitted(2_000_000_000), 5);
    assert_eq!(namespace.bytes(), 120);
}

#[test]
fn the_last_ended_jobs_keep_some_lines() {
    let (ended, memory) = (EndedLogs::default(), Box::leak(Box::new(LineMemory::new(1 << 30))));
    let logs: Vec<Arc<JobLog>> = (0..100).map(|_| Arc::new(JobLog::with_memory(memory))).collect();
    for log in &logs {
        write(log, "a", 0..500);
        ended.add(log);
    }
    let lines = |job: usize| log_lines(&logs[job]);
    assert_eq!((lines(0), lines(35), lines(36), lines(99)), (0, 0, 100, 100));
}

fn log_lines(log: &JobLog) -> usize {
    log.page(&LineQuery { limit: 5000, ..ALL }).lines.len()
}
