//! The address of an OpenTelemetry collector, and the headers for it.

use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::error::{Result, request_invalid};

/// Path of the traces below the address.
const TRACES_PATH: &str = "/v1/traces";

/// An OpenTelemetry collector that accepts OTLP over HTTP.
#[derive(Clone, Debug)]
pub struct Collector {
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Collector {
    /// Parses the address, such as `http://127.0.0.1:4318`, and headers such as `api-key=secret,x=y`. Error: `request-invalid`.
    pub fn parse(endpoint: &str, headers: &str) -> Result<Collector> {
        let invalid = |why: &str| {
            request_invalid(format!("the OTLP endpoint {why}"))
                .hint("set --otlp-endpoint to the address of a collector, such as http://127.0.0.1:4318")
        };
        let uri: Uri = endpoint.parse().map_err(|_| invalid(&format!("`{endpoint}` is not a URL")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(invalid(&format!("`{endpoint}` does not begin with http:// or https://")));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(invalid("contains credentials, which would be in the log; use OTEL_EXPORTER_OTLP_HEADERS"));
        }
        if uri.query().is_some() {
            return Err(invalid(&format!("`{endpoint}` has a query")));
        }
        let pairs = headers.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let headers = pairs.enumerate().map(|(index, pair)| header(index + 1, pair)).collect::<Result<_>>()?;
        Ok(Collector { url: format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')), headers })
    }
}

/// Parses a header. The error does not contain it, because it may be a secret.
fn header(number: usize, pair: &str) -> Result<(HeaderName, HeaderValue)> {
    let parsed = pair.split_once('=').and_then(|(name, value)| {
        let value = HeaderValue::from_str(value.trim()).ok()?;
        Some((name.trim().parse::<HeaderName>().ok()?, value))
    });
    let (name, mut value) = parsed.ok_or_else(|| {
        request_invalid(format!("header {number} in OTEL_EXPORTER_OTLP_HEADERS is not of the form name=value"))
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_headers_are_checked_and_secrets_are_not_told() {
        let collector = Collector::parse("http://127.0.0.1:4318/", " api-key = s3cret , x=a=b,").unwrap();
        assert_eq!(collector.url, "http://127.0.0.1:4318/v1/traces");
        let headers: Vec<_> = collector.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("api-key", &b"s3cret"[..]), ("x", b"a=b")]);
        assert!(!format!("{collector:?}").contains("s3cret"));
        assert_eq!(
            Collector::parse("https://otlp.example/base", "").unwrap().url,
            "https://otlp.example/base/v1/traces"
        );
        for endpoint in ["", "localhost:4318", "ftp://a", "http://", "http://a?x=1", "http://user:s3cret@a"] {
            let error = Collector::parse(endpoint, "").unwrap_err();
            assert!(error.code == "request-invalid" && !error.message.contains("s3cret"), "{error}");
        }
        for headers in ["s3cret", "a b=s3cret", "a=s3cret\n"] {
            let error = Collector::parse("http://a", &format!("ok=1,{headers}x")).unwrap_err();
            assert!(error.message.contains("header 2") && !error.message.contains("s3cret"), "{error}");
        }
    }
}
