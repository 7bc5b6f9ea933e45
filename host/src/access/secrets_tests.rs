//! Secrets are read where they may be, and are never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::secrets::{SECRET_BYTES_MAX, Secret, SecretStore};
use crate::error::internal;
use crate::pipeline::SecretReference;

fn store(folder: &Path, name: &str, value: &str, mode: u32) {
    fs::write(folder.join(name), value).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn named(name: &str) -> SecretReference {
    SecretReference::Stored(name.to_owned())
}

#[test]
fn a_secret_has_no_text_form() {
    /// Has two implementations for a type with the trait, so that `NoText::<_>::check` is ambiguous and does not compile.
    trait NoText<Marker> {
        fn check() {}
    }
    impl<T> NoText<()> for T {}
    struct DebugMarker;
    impl<T: std::fmt::Debug> NoText<DebugMarker> for T {}
    struct DisplayMarker;
    impl<T: std::fmt::Display> NoText<DisplayMarker> for T {}
    struct SerializeMarker;
    impl<T: serde::Serialize> NoText<SerializeMarker> for T {}
    <Secret as NoText<_>>::check();
}

#[test]
fn a_stored_secret_is_read_without_its_line_end() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file, value) in [("plain", "abc", "abc"), ("line", "abc\n", "abc"), ("two", "a\nb\r\n", "a\nb")] {
        store(folder.path(), name, file, 0o600);
        let secrets = SecretStore::of_server(Some(folder.path().to_owned()));
        let secret = secrets.read(&named(name), Path::new("")).map(|secret| secret.expose().to_owned());
        assert_eq!(secret.unwrap(), value);
        assert!(!format!("{secrets:?}").contains("abc"));
    }
}

#[test]
fn a_secret_that_is_missing_empty_large_or_readable_by_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), "empty", "\n", 0o600);
    store(folder.path(), "large", &"x".repeat(SECRET_BYTES_MAX as usize + 1), 0o600);
    store(folder.path(), "open", "hunter22", 0o640);
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::set_permissions(folder.path().join("folder"), fs::Permissions::from_mode(0o700)).unwrap();
    let secrets = SecretStore::of_server(Some(folder.path().to_owned()));
    for (name, code) in [
        ("absent", "secret-missing"),
        ("empty", "secret-missing"),
        ("large", "secret-missing"),
        ("folder", "secret-missing"),
        ("open", "secret-denied"),
    ] {
        let error = secrets.read(&named(name), Path::new("")).err().unwrap();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(name) && !error.to_string().contains("hunter22"), "{error}");
    }
}

#[test]
fn only_a_pipeline_of_the_user_reads_variables_and_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "t0ken\n").unwrap();
    let references = [SecretReference::Variable("PATH".to_owned()), SecretReference::File("token".into())];
    let (server, user) = (SecretStore::of_server(Some(folder.path().to_owned())), SecretStore::of_user(None));
    for reference in &references {
        assert_eq!(server.read(reference, folder.path()).err().unwrap().code, "secret-denied");
        assert!(user.read(reference, folder.path()).is_ok());
    }
    let absent = SecretReference::Variable("COFFERDAM_NO_SUCH_VARIABLE".to_owned());
    assert_eq!(user.read(&absent, folder.path()).err().unwrap().code, "secret-missing");
    assert_eq!(user.read(&named("any"), folder.path()).err().unwrap().code, "secret-missing");
}

#[test]
fn values_are_replaced_in_texts_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [("short", "abcd"), ("long", "abcd-efgh"), ("tiny", "x")] {
        store(folder.path(), name, value, 0o600);
    }
    let secrets = SecretStore::of_server(Some(folder.path().to_owned()));
    assert_eq!(secrets.redact("abcd-efgh"), "abcd-efgh", "nothing is read yet");
    for name in ["short", "long", "tiny"] {
        secrets.read(&named(name), Path::new("")).unwrap();
    }
    assert_eq!(secrets.redact("x abcd-efgh, abcd, abcde"), "x [secret], [secret], [secret]e");
    let mut error = internal("no abcd-efgh").hint("try abcd");
    error.details.push("at abcd".to_owned());
    let shown = secrets.redact_error(error).to_string();
    assert!(!shown.contains("abcd") && shown.contains("[secret]"), "{shown}");
}
