//! Grants of an operator to all namespaces, or to one: `WHAT` or `NAMESPACE:WHAT`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::address::AddressPattern;

/// Maximum length of the name of a namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 40;

/// Returns whether a text can name a namespace.
pub fn is_namespace_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    begins_well && name.len() <= NAMESPACE_BYTES_MAX && name.bytes().all(is_plain)
}

/// A grant to all namespaces, or to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessGrant<T> {
    /// The namespace that may use it. `None` for all.
    pub namespace: Option<String>,
    /// A folder, an address or a bucket.
    pub what: T,
}

impl<T> AccessGrant<T> {
    /// Something that all namespaces may use.
    pub fn to_all(what: T) -> AccessGrant<T> {
        AccessGrant { namespace: None, what }
    }

    /// Returns whether a namespace may use it.
    pub(super) fn is_for(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|own| own == namespace)
    }
}

/// Divides `NAMESPACE:WHAT`. A text that begins with no name of a namespace is returned whole.
fn divide(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((namespace, what)) if is_namespace_name(namespace) && !what.is_empty() => (Some(namespace), what),
        _ => (None, text),
    }
}

impl FromStr for AccessGrant<PathBuf> {
    type Err = String;

    /// A path whose first part contains `:` is written with `./` in front.
    fn from_str(text: &str) -> Result<AccessGrant<PathBuf>, String> {
        let (namespace, path) = divide(text);
        Ok(AccessGrant { namespace: namespace.map(str::to_owned), what: PathBuf::from(path) })
    }
}

impl FromStr for AccessGrant<String> {
    type Err = String;

    fn from_str(text: &str) -> Result<AccessGrant<String>, String> {
        let (namespace, name) = divide(text);
        Ok(AccessGrant { namespace: namespace.map(str::to_owned), what: name.to_owned() })
    }
}

impl FromStr for AccessGrant<AddressPattern> {
    type Err = String;

    /// `HOST:PORT` has one colon outside of brackets, so that a namespace in front is never taken for a host.
    fn from_str(text: &str) -> Result<AccessGrant<AddressPattern>, String> {
        let (namespace, address) = divide(text);
        match (namespace, address.parse()) {
            (Some(namespace), Ok(what)) => Ok(AccessGrant { namespace: Some(namespace.to_owned()), what }),
            _ => Ok(AccessGrant::to_all(text.parse()?)),
        }
    }
}

impl<T: fmt::Display> fmt::Display for AccessGrant<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} ({namespace} only)", self.what),
            None => self.what.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_may_stand_in_front() {
        let path = |text: &str| text.parse::<AccessGrant<PathBuf>>().unwrap();
        let own = |what: &str| AccessGrant { namespace: Some("team-a".to_owned()), what: PathBuf::from(what) };
        assert_eq!(path("team-a:/srv/a"), own("/srv/a"));
        assert_eq!(path("team-a:in:out"), own("in:out"));
        for whole in ["/srv/a", "/srv:a", "./team-a:in", "Team:in", "team-a:", "9a:in"] {
            assert_eq!(path(whole), AccessGrant::to_all(PathBuf::from(whole)));
        }
        let bucket = "team-a:data".parse::<AccessGrant<String>>().unwrap();
        assert_eq!((bucket.namespace.as_deref(), bucket.what.as_str()), (Some("team-a"), "data"));
        let address = |text: &str| text.parse::<AccessGrant<AddressPattern>>();
        for (text, namespace, pattern) in [
            ("db:5432", None, "db:5432"),
            ("db:*", None, "db:*"),
            ("[::1]:80", None, "[::1]:80"),
            ("team-a:db:5432", Some("team-a"), "db:5432"),
            ("team-a:[::1]:*", Some("team-a"), "[::1]:*"),
        ] {
            let granted = address(text).unwrap();
            assert_eq!((granted.namespace.as_deref(), granted.what.to_string()), (namespace, pattern.to_owned()));
        }
        assert!(address("team-a:db").is_err() && address("a:b:c:80").is_err());
    }

    #[test]
    fn names_of_namespaces_are_plain() {
        assert!(is_namespace_name("a-1") && is_namespace_name(&"a".repeat(40)));
        for wrong in ["", "1a", "-a", "A", "a_b", "a/b", "*", &"a".repeat(41)] {
            assert!(!is_namespace_name(wrong), "{wrong}");
        }
    }
}
