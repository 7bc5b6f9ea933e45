//! Finds the schema that a pipeline is planned with.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::client::{InterruptFlag, RETRY_TIME, RegistryAccess, RegistryClient, SubjectIds};
use crate::access::{PipelinePaths, denied_or};
use crate::clock::SystemClock;
use crate::connector::spec::{sink_spec, source_spec};
use crate::error::{Error, Result, manifest_invalid, schema_registry_failed, schema_unreadable};
use crate::format::avro::{AvroReading, AvroSchema, AvroWriting, SchemaIds, SchemaLookupError, WriterSchemas};
use crate::model::Interrupt;
use crate::pipeline::{
    AvroSettings, DecodingSettings, EncodingSettings, FileFormat, RegistrySettings, SinkConfig, SinkFormat,
    SourceConfig,
};

/// Maximum length of a schema file, in bytes.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;
/// How long a registry that is away is asked again when a pipeline is checked: somebody waits for the answer.
const CHECK_RETRY_TIME: Duration = Duration::from_secs(5);

/// Returns how a source reads Avro. `None` if it has another format.
pub fn avro_reading(
    config: &SourceConfig,
    decoding: &DecodingSettings,
    paths: &PipelinePaths,
) -> Result<Option<AvroReading>> {
    if config.format().0 != FileFormat::Avro {
        return Ok(None);
    }
    let topic = source_spec(config).topic().ok_or_else(|| only_messages(config.name()))?;
    let settings = decoding.avro.clone().unwrap_or_default();
    let of_file = settings.schema.as_deref().map(|path| schema_file(path, paths)).transpose()?;
    let Some(registry) = &settings.registry else {
        let schema = of_file.ok_or_else(|| schema_unreadable("no schema is set"))?;
        return Ok(Some(AvroReading { schema, writers: None }));
    };
    let schema = match of_file {
        Some(schema) => schema,
        None => {
            let client = RegistryClient::new(access(registry, paths, CHECK_RETRY_TIME)?);
            let subject = subject(registry, &topic)?;
            client.latest(&subject, &Interrupt::default()).map_err(|error| match error {
                SchemaLookupError::Unknown(why) => {
                    schema_unreadable(format!("the newest schema of `{subject}`: {why}"))
                        .hint("correct `subject`, or name a file with the schema: schema = \"FILE.avsc\"")
                }
                SchemaLookupError::Failed(why) => schema_registry_failed(why),
            })?
        }
    };
    let client: Arc<dyn WriterSchemas> = Arc::new(RegistryClient::new(access(registry, paths, RETRY_TIME)?));
    Ok(Some(AvroReading { schema, writers: Some(client) }))
}

/// Returns how a sink writes Avro. `None` if it has another format. `interrupt` ends the wait for a registry.
pub fn avro_writing(
    config: &SinkConfig,
    encoding: &EncodingSettings,
    paths: &PipelinePaths,
    interrupt: &Interrupt,
) -> Result<Option<AvroWriting>> {
    if encoding.format != Some(SinkFormat::Avro) {
        return Ok(None);
    }
    let topic = sink_spec(config).topic().ok_or_else(|| only_messages(config.name()))?;
    let AvroSettings { schema, registry } = encoding.avro.clone().unwrap_or_default();
    let schema = schema.as_deref().map(|path| schema_file(path, paths)).transpose()?;
    let ids = match &registry {
        Some(registry) => {
            let ids = SubjectIds {
                client: RegistryClient::new(access(registry, paths, RETRY_TIME)?),
                subject: subject(registry, &topic)?,
                register: registry.register,
                interrupt: InterruptFlag(interrupt.clone()),
            };
            Some(Arc::new(ids) as Arc<dyn SchemaIds>)
        }
        None => None,
    };
    Ok(Some(AvroWriting { schema, name: topic, ids }))
}

fn only_messages(connector: &str) -> Error {
    manifest_invalid(format!(
        "`format` is \"avro\", but the records of connector = \"{connector}\" are lines, which cannot hold Avro"
    ))
    .hint("choose another format, or a connector of messages, such as \"kafka\"")
}

fn subject(registry: &RegistrySettings, topic: &str) -> Result<String> {
    match &registry.subject {
        Some(subject) => Ok(subject.clone()),
        None if topic.is_empty() => {
            Err(manifest_invalid("`registry` needs a `subject`, because there is no single topic"))
        }
        None => Ok(format!("{topic}-value")),
    }
}

fn access(registry: &RegistrySettings, paths: &PipelinePaths, retry_time: Duration) -> Result<RegistryAccess> {
    let invalid = |why: &str| manifest_invalid(format!("`registry`: the url `{}` {why}", registry.url));
    let base = Url::parse(&registry.url).map_err(|error| invalid(&format!("cannot be used: {error}")))?;
    if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
        return Err(invalid("must begin with http:// or https://"));
    }
    if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
        return Err(invalid("must not contain credentials or a query; use `username` and `password`"));
    }
    let (host, port) = (base.host_str().unwrap_or_default(), base.port_or_known_default().unwrap_or_default());
    paths.policy.check_address(&format!("{host}:{port}"))?;
    let password = registry.password.as_ref().map(|secret| paths.policy.secrets().read(secret, &paths.base_dir));
    let password = password.transpose()?;
    let login = registry.username.clone().map(|username| (username, password));
    Ok(RegistryAccess { base, login, clock: SystemClock::shared(), retry_time })
}

/// Reads a file with a schema.
fn schema_file(path: &Path, paths: &PipelinePaths) -> Result<Arc<AvroSchema>> {
    let path = paths.join(path);
    let unreadable = |why: &str| schema_unreadable(format!("the schema `{}`: {why}", path.display()));
    let file = paths.policy.open_file(&path);
    let file = file.map_err(|error| denied_or(&error, || unreadable(&error.to_string())))?;
    let mut text = String::new();
    file.take(SCHEMA_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| unreadable(&error.to_string()))?;
    AvroSchema::parse(&text).map(Arc::new).map_err(|why| unreadable(&why))
}
