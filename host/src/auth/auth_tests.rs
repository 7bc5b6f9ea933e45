//! Tokens, the limit of wrong ones, and the audit log.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;

fn new(name: &str, role: Role, scope: &str) -> NewToken {
    NewToken { name: name.to_owned(), role, scope: scope.parse().unwrap(), expires_at_ms: None }
}

#[test]
fn a_token_is_accepted_until_it_is_revoked_or_ends_and_is_not_stored() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let file = TokenFile::of_data_dir(dir.path());
    let store = TokenStore::open(file.clone(), clock.clone());
    assert!(!store.are_required());
    assert_eq!(store.authenticate(Some("whatever")).unwrap(), Caller::without_token());

    let made = file.create(new("ci", Role::Submit, "team-a"), 5).unwrap();
    let short = file.create(NewToken { expires_at_ms: Some(100), ..new("short", Role::Read, "*") }, 5).unwrap();
    assert!(store.are_required());
    let caller = store.authenticate(Some(&made.token)).unwrap();
    assert_eq!((caller.role, caller.scope.default_namespace()), (Role::Submit, "team-a"));
    assert!(store.authenticate(Some(&short.token)).is_ok());
    assert_eq!(store.authenticate(None).unwrap_err().code, "token-missing");

    let stored = fs::read_to_string(file.path()).unwrap();
    let secret = made.token.rsplit(&format!("{}_", made.view.id)).next().unwrap();
    assert!(secret.len() > 40 && !stored.contains(secret), "{stored}");
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);

    let other_secret = file.create(new("other", Role::Admin, "*"), 5).unwrap().token;
    let mixed = format!("cofd_{}_{}", made.view.id, &other_secret[14..]);
    let long = format!("{}A", made.token);
    for wrong in ["", "cofd_", "cofd_a_b", &made.token[..made.token.len() - 1], &long, &mixed, secret, "Bearer x"] {
        assert_eq!(store.authenticate(Some(wrong)).unwrap_err().code, "token-invalid", "{wrong}");
    }
    clock.set_ms(100);
    assert_eq!(store.authenticate(Some(&short.token)).unwrap_err().code, "token-invalid");
    assert_eq!(file.list(100).unwrap().len(), 2);
    assert_eq!(file.revoke(&made.view.id, |_| false).unwrap_err().code, "token-not-found");
    file.revoke(&made.view.id, |token| token.namespace == "team-a").unwrap();
    assert_eq!(store.authenticate(Some(&made.token)).unwrap_err().code, "token-invalid");
    assert!(store.authenticate(Some(&other_secret)).is_ok());
}

#[test]
fn a_file_of_tokens_that_is_gone_or_damaged_or_empty_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let file = TokenFile::of_data_dir(dir.path());
    let made = file.create(new("a", Role::Admin, "*"), 0).unwrap();
    let store = TokenStore::open(file.clone(), Arc::new(ManualClock::default()));
    assert!(store.authenticate(Some(&made.token)).is_ok());
    fs::write(file.path(), "{").unwrap();
    assert_eq!(store.authenticate(Some(&made.token)).unwrap_err().code, "token-invalid");
    fs::remove_file(file.path()).unwrap();
    assert!(store.are_required());
    assert_eq!(store.authenticate(None).unwrap_err().code, "token-missing");
    let last = file.create(new("b", Role::Read, "*"), 0).unwrap();
    file.revoke(&last.view.id, |_| true).unwrap();
    let restarted = TokenStore::open(file, Arc::new(ManualClock::default()));
    assert_eq!(restarted.authenticate(None).unwrap_err().code, "token-missing");
}

#[test]
fn scopes_and_names_of_namespaces() {
    for name in ["default", "a", "team-7"] {
        assert!(check_namespace_name(name).is_ok(), "{name}");
    }
    let long = "a".repeat(41);
    for name in ["", "*", "..", "A", "a/b", "7a", "-a", "a.b", "\u{e4}", &long] {
        assert!(check_namespace_name(name).is_err(), "{name}");
    }
    let (all, one): (NamespaceScope, NamespaceScope) = ("*".parse().unwrap(), "a".parse().unwrap());
    assert!(all.covers(&one) && !one.covers(&all) && one.covers(&one));
    assert!(all.contains("b") && !one.contains("b"));
}

#[test]
fn an_address_with_many_wrong_tokens_has_to_wait_and_others_do_not() {
    let clock = Arc::new(ManualClock::default());
    let attempts = FailedAttempts::new(clock.clone());
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    for _ in 0..10 {
        attempts.count(address(1)).unwrap();
    }
    clock.set_ms(1000);
    assert_eq!(attempts.count(address(1)), Err(59));
    assert_eq!(attempts.count(address(2)), Ok(()));
    clock.set_ms(60_000);
    assert_eq!(attempts.count(address(1)), Ok(()));
    for number in 0..5000_u16 {
        let [high, low] = number.to_be_bytes();
        let _ = attempts.count(IpAddr::V4(Ipv4Addr::new(10, 1, high, low)));
    }
    assert_eq!(attempts.count(address(9)), Err(60), "the number of addresses is bounded");
}

#[test]
fn the_audit_log_continues_after_a_kill_and_is_read_newest_first() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
    let entry = |namespace: &str, target: usize| AuditEntry {
        namespace: namespace.to_owned(),
        target: target.to_string(),
        ..AuditEntry::default()
    };
    let log = AuditLog::open(dir.path(), clock.clone()).unwrap();
    (1..=5).for_each(|number| log.append(entry(if number % 2 == 0 { "a" } else { "b" }, number)));
    drop(log);
    let file = fs::read_dir(dir.path().join("audit")).unwrap().next().unwrap().unwrap().path();
    let mut text = fs::read(&file).unwrap();
    text.extend_from_slice(b"{\"number\":6,\"at");
    fs::write(&file, text).unwrap();

    let log = AuditLog::open(dir.path(), clock).unwrap();
    log.append(entry("a", 6));
    let numbers = |scope: &str, before, limit| -> Vec<u64> {
        let page = log.page(&scope.parse().unwrap(), before, limit).unwrap();
        page.entries.iter().map(|entry| entry.number).collect()
    };
    assert_eq!(numbers("*", None, 100), [6, 5, 4, 3, 2, 1]);
    assert_eq!(numbers("a", None, 2), [6, 4]);
    assert_eq!(numbers("a", Some(4), 2), [2]);
    assert!(numbers("c", None, 2).is_empty());
}
