//! Network addresses as pipelines write them, and the patterns that allow them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A host with one port or any port, such as `db.example:5432` or `localhost:*`.
///
/// A name allows that name only, not the addresses to which it resolves. So an allowed name is as trusted as the name
/// service that resolves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPattern {
    /// In lower case; an IPv6 address without brackets and in its shortest form.
    host: String,
    /// `None` for any port.
    port: Option<u16>,
}

impl AddressPattern {
    /// Returns whether the pattern allows an address such as `localhost:9000`.
    pub(super) fn allows(&self, address: &str) -> bool {
        let Some((host, port)) = split(address) else { return false };
        let Ok(port) = port.parse::<u16>() else { return false };
        self.host == host && self.port.is_none_or(|allowed| allowed == port)
    }
}

/// Splits an address into its host, in one form for all spellings, and its port.
fn split(address: &str) -> Option<(String, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() {
        return None;
    }
    match bare.parse::<Ipv6Addr>() {
        Ok(parsed) => Some((parsed.to_string(), port)),
        Err(_) if bare.contains([':', '[', ']']) => None,
        Err(_) => Some((bare.trim_end_matches('.').to_ascii_lowercase(), port)),
    }
}

impl FromStr for AddressPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressPattern, String> {
        let wrong = || format!("`{text}` is not of the form HOST:PORT or HOST:*");
        let (host, port) = split(text).ok_or_else(wrong)?;
        let port = match port {
            "*" => None,
            digits => Some(digits.parse().map_err(|_| wrong())?),
        };
        Ok(AddressPattern { host, port })
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_allows_its_host_in_every_spelling_and_no_other() {
        let pattern = |text: &str| text.parse::<AddressPattern>().unwrap();
        for (allowed, address) in [
            ("localhost:9000", "localhost:9000"),
            ("LocalHost:9000", "LOCALHOST.:9000"),
            ("localhost:*", "localhost:1"),
            ("[::1]:80", "[0:0:0:0:0:0:0:1]:80"),
            ("10.0.0.1:5", "10.0.0.1:5"),
        ] {
            assert!(pattern(allowed).allows(address), "{allowed} {address}");
        }
        for (allowed, address) in [
            ("localhost:9000", "localhost:9001"),
            ("localhost:*", "localhost.evil.example:1"),
            ("localhost:*", "127.0.0.1:1"),
            ("localhost:*", "evil.example:1@localhost:1"),
            ("10.0.0.1:*", "10.0.0.10:1"),
            ("10.0.0.1:*", "10.0.0.1:"),
            ("10.0.0.1:*", "10.0.0.1"),
        ] {
            assert!(!pattern(allowed).allows(address), "{allowed} {address}");
        }
        for wrong in ["", "localhost", ":80", "localhost:", "localhost:x", "localhost:70000", "a:b:80", "[::1:80"] {
            assert!(wrong.parse::<AddressPattern>().is_err(), "{wrong}");
        }
        assert_eq!(pattern("[::1]:*").to_string(), "[::1]:*");
    }
}
