//! Reads the settings of a source `http`, and opens it.

use std::time::Duration;

use super::ingest_settings::{IngestSettings, SenderAuth};
use super::ingest_source::IngestSource;
use super::log_shared::LogLimits;
use super::request_verifier::{SignatureAlgorithm, SignatureEncoding, SignatureScheme};
use crate::connector::context::ConnectorContext;
use crate::connector::source::{Replay, Source};
use crate::connector::spec::{self, SourceSpec};
use crate::error::{Result, internal};
use crate::format::SourceDecoding;
use crate::pipeline::{
    Connector, FileFormat, RecordParts, SecretReference, Setting, SettingKind, SourceConnector, SourceSettings,
    TomlItem, TomlSection, setting_keys, source_format,
};

const SETTINGS: &[Setting] = &[
    Setting::new("auth", SettingKind::Table, "none"),
    Setting::new("auth.bearer", SettingKind::Secret, "none"),
    Setting::new("auth.hmac", SettingKind::Table, "none"),
    Setting::new("auth.hmac.scheme", SettingKind::Choice(&["header", "github", "stripe", "slack"]), "`\"header\"`"),
    Setting::new("auth.hmac.secret", SettingKind::Secret, "required with `hmac`"),
    Setting::new("auth.hmac.header", SettingKind::Text, "required with `scheme = \"header\"`"),
    Setting::new("auth.hmac.prefix", SettingKind::Text, "none"),
    Setting::new("auth.hmac.algorithm", SettingKind::Choice(&["sha256", "sha512"]), "`\"sha256\"`"),
    Setting::new("auth.hmac.encoding", SettingKind::Choice(&["hex", "base64"]), "`\"hex\"`"),
    Setting::new("auth.hmac.tolerance", SettingKind::Duration { min_ms: 1, max_ms: u64::MAX }, "`\"5min\"`"),
    Setting::new("require_key", SettingKind::Boolean, "`false`"),
    Setting::new("dedup", SettingKind::Duration { min_ms: 1, max_ms: u64::MAX }, "`\"24h\"`"),
    Setting::new("max_keys", SettingKind::Number { min: 1, max: 100_000_000 }, "`1000000`"),
    Setting::new("max_backlog", SettingKind::Size { min: 1 << 20, max: i64::MAX as u64 }, "`\"1GiB\"`"),
    Setting::new("max_inflight", SettingKind::Number { min: 1, max: 1_000_000 }, "`1000`"),
    Setting::new("max_body", SettingKind::Size { min: 1, max: 128 << 20 }, "`\"4MiB\"`"),
    Setting::new("segment", SettingKind::Size { min: 1 << 20, max: 1 << 30 }, "`\"64MiB\"`"),
    Setting::new("headers", SettingKind::Texts, "none"),
    Setting::new("accept_while_stopped", SettingKind::Boolean, "`true`"),
];

pub(in crate::connector) const CONNECTOR: Connector =
    Connector { name: "http", source: Some(SourceConnector { settings: SETTINGS, read }), sink: None };

/// Headers that cannot become attributes, which are stored with the records.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// The settings of a source `http` as a specification.
#[derive(Debug)]
struct IngestSpec(IngestSettings);

impl SourceSpec for IngestSpec {
    fn format(&self) -> (FileFormat, bool) {
        (self.0.format, false)
    }

    fn replay(&self) -> Replay {
        Replay::Yes
    }

    /// A record has the time of its request.
    fn record_parts(&self) -> RecordParts {
        RecordParts { timestamps: true, keys: false }
    }

    fn location_key(&self) -> &'static str {
        "connector"
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        match &self.0.auth {
            SenderAuth::Everyone => Vec::new(),
            SenderAuth::Bearer(secret) | SenderAuth::Signature(_, secret) => vec![("auth", secret)],
        }
    }

    fn open(
        &self,
        _decoding: &SourceDecoding,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<Box<dyn Source>> {
        let ingest = context.ingest.as_ref().ok_or_else(|| internal("the source `http` has no logs here"))?;
        let log = ingest.logs.open(&ingest.job, &context.node, self.0.limits)?;
        Ok(Box::new(IngestSource::open(&log, context, positions, ingest.allow_loss)?))
    }

    fn ingest(&self) -> Option<&IngestSettings> {
        Some(&self.0)
    }
}

fn read(section: &TomlSection<'_>) -> Result<Box<dyn SourceSettings>> {
    let auth = match section.get("auth") {
        Some(item) => auth(&item)?,
        None => SenderAuth::Everyone,
    };
    let defaults = LogLimits::default();
    let body_max = bytes(section, "max_body", 1, 128 << 20, 4 << 20)?;
    let segment_bytes = bytes(section, "segment", 1 << 20, 1 << 30, defaults.segment_bytes)?;
    let backlog_max = bytes(section, "max_backlog", 1 << 20, i64::MAX as u64, defaults.backlog_max)?;
    let dedup = duration(section, "dedup", Duration::from_millis(defaults.dedup_ms.unsigned_abs()))?;
    let keys_max = count(section, "max_keys", 100_000_000, defaults.keys_max as u64)?;
    let limits = LogLimits {
        segment_bytes,
        backlog_max,
        dedup_ms: i64::try_from(dedup.as_millis()).unwrap_or(i64::MAX),
        keys_max: usize::try_from(keys_max).unwrap_or(usize::MAX),
    };
    let flag = |key: &str, default: bool| section.get(key).map_or(Ok(default), |item| item.bool());
    let settings = IngestSettings {
        format: source_format(section)?.unwrap_or(FileFormat::Ndjson),
        limits,
        requests_max: u32::try_from(count(section, "max_inflight", 1_000_000, 1000)?).unwrap_or(u32::MAX),
        body_max: usize::try_from(body_max).unwrap_or(usize::MAX),
        requires_key: flag("require_key", false)?,
        accepts_while_stopped: flag("accept_while_stopped", true)?,
        headers: headers(section)?,
        auth,
    };
    Ok(spec::source(IngestSpec(settings)))
}

fn bytes(section: &TomlSection<'_>, key: &str, min: u64, max: u64, default: u64) -> Result<u64> {
    section.get(key).map_or(Ok(default), |item| Ok(item.bytes(min, max)? as u64))
}

fn count(section: &TomlSection<'_>, key: &str, max: u64, default: u64) -> Result<u64> {
    section.get(key).map_or(Ok(default), |item| item.count(1, max))
}

fn duration(section: &TomlSection<'_>, key: &str, default: Duration) -> Result<Duration> {
    section.get(key).map_or(Ok(default), |item| item.duration(Duration::from_millis(1)))
}

fn headers(section: &TomlSection<'_>) -> Result<Vec<String>> {
    let Some(item) = section.get("headers") else { return Ok(Vec::new()) };
    let elements = item.elements().ok_or_else(|| item.invalid("must be a list of names of headers"))?;
    let name = |element: &TomlItem<'_>| match header_name(element)? {
        name if CREDENTIALS.contains(&name.as_str()) => {
            Err(element.invalid(format_args!("is `{name}`: the credentials of the senders would be stored")))
        }
        name => Ok(name),
    };
    elements.iter().map(name).collect()
}

/// Reads the name of a header. Returns it in lower case.
fn header_name(item: &TomlItem<'_>) -> Result<String> {
    let name = item.string()?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match name.len() <= 256 && name.chars().all(is_token) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(item.invalid("is not the name of a header")),
    }
}

fn auth(item: &TomlItem<'_>) -> Result<SenderAuth> {
    let section = item.section()?;
    section.check_keys(&setting_keys(SETTINGS, Some("auth")))?;
    match (section.get("bearer"), section.get("hmac")) {
        (Some(bearer), None) => Ok(SenderAuth::Bearer(bearer.secret()?)),
        (None, Some(hmac)) => signature(&hmac),
        _ => Err(item.invalid("must have either the key `bearer` or the key `hmac`")),
    }
}

fn signature(item: &TomlItem<'_>) -> Result<SenderAuth> {
    #[derive(Clone, Copy, PartialEq)]
    enum SchemeName {
        Header,
        Github,
        Stripe,
        Slack,
    }
    let section = item.section()?;
    section.check_keys(&setting_keys(SETTINGS, Some("auth.hmac")))?;
    let names = [
        ("header", SchemeName::Header),
        ("github", SchemeName::Github),
        ("stripe", SchemeName::Stripe),
        ("slack", SchemeName::Slack),
    ];
    let name = section.get("scheme").map_or(Ok(SchemeName::Header), |item| item.choose(&names))?;
    let has_tolerance = matches!(name, SchemeName::Stripe | SchemeName::Slack);
    for (key, applies) in [
        ("header", name == SchemeName::Header),
        ("prefix", name == SchemeName::Header),
        ("algorithm", name == SchemeName::Header),
        ("encoding", name == SchemeName::Header),
        ("tolerance", has_tolerance),
    ] {
        if let Some(item) = section.get(key).filter(|_| !applies) {
            return Err(item.invalid("has no effect with this `scheme`"));
        }
    }
    let tolerance_s = duration(&section, "tolerance", Duration::from_secs(300))?.as_secs();
    let scheme = match name {
        SchemeName::Stripe => SignatureScheme::Stripe { tolerance_s },
        SchemeName::Slack => SignatureScheme::Slack { tolerance_s },
        SchemeName::Github => SignatureScheme::Header {
            header: "x-hub-signature-256".to_owned(),
            prefix: "sha256=".to_owned(),
            algorithm: SignatureAlgorithm::Sha256,
            encoding: SignatureEncoding::Hex,
        },
        SchemeName::Header => header_scheme(&section)?,
    };
    Ok(SenderAuth::Signature(scheme, section.need("secret")?.secret()?))
}

fn header_scheme(section: &TomlSection<'_>) -> Result<SignatureScheme> {
    let algorithms = [("sha256", SignatureAlgorithm::Sha256), ("sha512", SignatureAlgorithm::Sha512)];
    let encodings = [("hex", SignatureEncoding::Hex), ("base64", SignatureEncoding::Base64)];
    let algorithm = section.get("algorithm").map(|item| item.choose(&algorithms)).transpose()?;
    let encoding = section.get("encoding").map(|item| item.choose(&encodings)).transpose()?;
    Ok(SignatureScheme::Header {
        header: header_name(&section.need("header")?)?,
        prefix: section.get("prefix").map(|item| item.string()).transpose()?.unwrap_or_default().to_owned(),
        algorithm: algorithm.unwrap_or(SignatureAlgorithm::Sha256),
        encoding: encoding.unwrap_or(SignatureEncoding::Hex),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::ingest_source;
    use crate::pipeline::{NodeKind, PipelineSpec};

    fn parse(settings: &str) -> Result<IngestSettings> {
        let text = format!(
            "name = \"n\"\n[source.in]\nconnector = \"http\"\n{settings}\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n"
        );
        let pipeline = PipelineSpec::parse(&text, "p.toml")?;
        let NodeKind::Source(source) = &pipeline.nodes[0].kind else { panic!("a source") };
        Ok(ingest_source(&source.connector).unwrap().clone())
    }

    #[test]
    fn settings_have_the_documented_defaults_and_meanings() {
        let defaults = parse("").unwrap();
        assert_eq!((defaults.format, defaults.limits), (FileFormat::Ndjson, LogLimits::default()));
        assert_eq!((defaults.requests_max, defaults.body_max, defaults.requires_key), (1000, 4 << 20, false));
        assert!(defaults.accepts_while_stopped && defaults.headers.is_empty() && defaults.auth == SenderAuth::Everyone);
        let secret = SecretReference::Stored("s".to_owned());
        let bearer = parse("auth = { bearer = { secret = \"s\" } }\nheaders = [\"X-A\"]").unwrap();
        assert_eq!((bearer.auth, bearer.headers), (SenderAuth::Bearer(secret.clone()), vec!["x-a".to_owned()]));
        let own = "auth = { hmac = { header = \"X-Sig\", algorithm = \"sha512\", encoding = \"base64\", secret = { secret = \"s\" } } }";
        let SenderAuth::Signature(scheme, reference) = parse(own).unwrap().auth else { panic!("a signature") };
        let expected = SignatureScheme::Header {
            header: "x-sig".to_owned(),
            prefix: String::new(),
            algorithm: SignatureAlgorithm::Sha512,
            encoding: SignatureEncoding::Base64,
        };
        assert_eq!((scheme, reference), (expected, secret));
        let stripe =
            parse("auth = { hmac = { scheme = \"stripe\", tolerance = \"1min\", secret = { secret = \"s\" } } }");
        let SenderAuth::Signature(scheme, _) = stripe.unwrap().auth else { panic!("a signature") };
        assert_eq!(scheme, SignatureScheme::Stripe { tolerance_s: 60 });
    }

    #[test]
    fn wrong_settings_are_refused_with_their_line() {
        for settings in [
            "max_body = \"0B\"",
            "max_body = \"1GiB\"",
            "segment = \"1kB\"",
            "max_backlog = 5",
            "dedup = \"0s\"",
            "max_keys = 0",
            "max_inflight = 0",
            "headers = \"x-a\"",
            "headers = [\"x a\"]",
            "headers = [\"x-a\", \"Authorization\"]",
            "require_key = 1",
            "auth = { }",
            "auth = { bearer = \"plain\" }",
            "auth = { bearer = { secret = \"s\" }, hmac = { scheme = \"slack\", secret = { secret = \"s\" } } }",
            "auth = { basic = \"x\" }",
            "auth = { hmac = { secret = { secret = \"s\" } } }",
            "auth = { hmac = { scheme = \"github\" } }",
            "auth = { hmac = { scheme = \"github\", header = \"x\", secret = { secret = \"s\" } } }",
            "auth = { hmac = { scheme = \"github\", tolerance = \"5min\", secret = { secret = \"s\" } } }",
            "auth = { hmac = { scheme = \"gitlab\", secret = { secret = \"s\" } } }",
            "auth = { hmac = { header = \"x\", algorithm = \"md5\", secret = { secret = \"s\" } } }",
        ] {
            let error = parse(settings).err().unwrap_or_else(|| panic!("{settings} is accepted"));
            assert_eq!(error.location.as_ref().map(|location| location.line), Some(4), "{settings}: {error}");
        }
    }
}
