//! A client of a schema registry with Confluent's protocol.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::http::{RegistryRequest, RequestFailure, send};
use crate::access::Secret;
use crate::clock::SharedClock;
use crate::escape::shown;
use crate::format::avro::{AvroSchema, SchemaIds, SchemaLookupError, WriterSchemas};
use crate::model::Interrupt;
use crate::model::row::cut;
use crate::permits::{self, WaitReason};
use crate::wakeup::Wakeup;

/// How long a registry that is away is asked again.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(60);
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// For how long an id stays unknown, so that records with foreign ids do not flood the registry.
const UNKNOWN_NS: u64 = 10_000_000_000;
/// Maximum number of ids that are remembered.
const IDS_MAX: usize = 10_000;

/// What a client needs to know of its registry.
pub(super) struct RegistryAccess {
    /// The address, without a slash at its end.
    pub(super) base: Url,
    pub(super) login: Option<(String, Option<Secret>)>,
    pub(super) clock: SharedClock,
    /// How long a registry that is away is asked again.
    pub(super) retry_time: Duration,
}

/// A client of one registry, shared by the subtasks of a source.
pub(super) struct RegistryClient {
    access: RegistryAccess,
    schemas: Mutex<HashMap<u32, KnownSchema>>,
}

/// What the registry said of an id.
#[derive(Clone)]
enum KnownSchema {
    Schema(Arc<AvroSchema>),
    /// Unknown until this time, in monotonic nanoseconds.
    Unknown {
        why: String,
        until_ns: u64,
    },
}

/// Shows nothing of the credentials.
impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient").field("base", &self.access.base.as_str()).finish_non_exhaustive()
    }
}

impl RegistryClient {
    pub(super) fn new(access: RegistryAccess) -> RegistryClient {
        RegistryClient { access, schemas: Mutex::default() }
    }

    /// Returns the newest schema of a subject.
    pub(super) fn latest(&self, subject: &str, interrupt: &Interrupt) -> Result<Arc<AvroSchema>, SchemaLookupError> {
        let answer = self.ask(Method::GET, &["subjects", subject, "versions", "latest"], None, interrupt)?;
        self.parse(&answer).map(Arc::new).map_err(SchemaLookupError::Unknown)
    }

    /// Registers a schema for a subject, or looks it up. Returns its id.
    pub(super) fn id_in(
        &self,
        subject: &str,
        schema: &str,
        register: bool,
        interrupt: &Interrupt,
    ) -> Result<u32, SchemaLookupError> {
        let path: &[&str] = if register { &["subjects", subject, "versions"] } else { &["subjects", subject] };
        let answer = self.ask(Method::POST, path, Some(json!({ "schema": schema }).to_string()), interrupt)?;
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| SchemaLookupError::Failed(format!("{} answers without an id", self.shown())))
    }

    fn shown(&self) -> String {
        format!("the schema registry `{}`", shown(self.access.base.as_str().trim_end_matches('/').as_bytes()))
    }

    /// Reads the schema in an answer.
    fn parse(&self, answer: &Value) -> Result<AvroSchema, String> {
        match answer["schemaType"].as_str() {
            None | Some("AVRO") => {}
            Some(other) => return Err(format!("the schema is one of `{}`, not of Avro", shown(other.as_bytes()))),
        }
        if answer["references"].as_array().is_some_and(|references| !references.is_empty()) {
            return Err("the schema refers to schemas of other subjects, which is not supported".to_owned());
        }
        let text = answer["schema"].as_str().ok_or("the answer of the registry has no schema")?;
        AvroSchema::parse(text)
    }

    /// Sends a request until the registry answers. Waits between the attempts.
    fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<String>,
        interrupt: &Interrupt,
    ) -> Result<Value, SchemaLookupError> {
        let mut url = self.access.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = RegistryRequest { method, url, login: self.access.login.clone(), body };
        let clock = &self.access.clock;
        let end_ns = clock.monotonic_ns().saturating_add(self.access.retry_time.as_nanos() as u64);
        let mut delay = RETRY_DELAY_MIN;
        loop {
            let why = match send(request.clone(), interrupt) {
                Ok(answer) => match self.read(answer.status, &answer.body) {
                    Ok(read) => return read,
                    Err(why) => why,
                },
                Err(RequestFailure::Interrupted) => return Err(self.interrupted()),
                Err(RequestFailure::Failed(why)) => why,
            };
            if clock.monotonic_ns() >= end_ns {
                return Err(SchemaLookupError::Failed(format!("{}: {why}", self.shown())));
            }
            tracing::warn!("{}: {why}; asking again in {} ms", self.shown(), delay.as_millis());
            let wakeup = Wakeup::default();
            interrupt.subscribe(&wakeup);
            permits::wait(WaitReason::Peer, &wakeup, delay);
            if interrupt.is_set() {
                return Err(self.interrupted());
            }
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    fn interrupted(&self) -> SchemaLookupError {
        SchemaLookupError::Failed(format!("the job ended before {} answered", self.shown()))
    }

    /// Reads an answer. The outer error is why the request should be repeated.
    fn read(&self, status: u16, body: &[u8]) -> Result<Result<Value, SchemaLookupError>, String> {
        let json = serde_json::from_slice::<Value>(body).ok();
        let message = json.as_ref().and_then(|json| json["message"].as_str()).map(|text| cut(text.as_bytes()));
        let said = message.map_or_else(String::new, |message| format!(": {message}"));
        match status {
            200..=299 => {
                Ok(json.ok_or_else(|| SchemaLookupError::Failed(format!("{} answers without JSON", self.shown()))))
            }
            404 => Ok(Err(SchemaLookupError::Unknown(format!("{} does not know it{said}", self.shown())))),
            408 | 429 | 500..=599 => Err(format!("it answers with status {status}{said}")),
            401 | 403 => Ok(Err(SchemaLookupError::Failed(format!("{} refuses the credentials{said}", self.shown())))),
            _ => Ok(Err(SchemaLookupError::Failed(format!("{} answers with status {status}{said}", self.shown())))),
        }
    }
}

impl WriterSchemas for RegistryClient {
    fn schema(&self, id: u32, interrupt: &Interrupt) -> Result<Arc<AvroSchema>, SchemaLookupError> {
        let now_ns = self.access.clock.monotonic_ns();
        match self.schemas.lock().get(&id) {
            Some(KnownSchema::Schema(schema)) => return Ok(schema.clone()),
            Some(KnownSchema::Unknown { why, until_ns }) if now_ns < *until_ns => {
                return Err(SchemaLookupError::Unknown(why.clone()));
            }
            _ => {}
        }
        let answer = self.ask(Method::GET, &["schemas", "ids", &id.to_string()], None, interrupt);
        let known = match answer {
            Ok(answer) => match self.parse(&answer) {
                Ok(schema) => KnownSchema::Schema(Arc::new(schema)),
                Err(why) => KnownSchema::Unknown { why, until_ns: u64::MAX },
            },
            Err(SchemaLookupError::Unknown(why)) => {
                KnownSchema::Unknown { why, until_ns: now_ns.saturating_add(UNKNOWN_NS) }
            }
            Err(failed) => return Err(failed),
        };
        let mut schemas = self.schemas.lock();
        if schemas.len() >= IDS_MAX {
            schemas.clear();
        }
        schemas.insert(id, known.clone());
        match known {
            KnownSchema::Schema(schema) => Ok(schema),
            KnownSchema::Unknown { why, .. } => Err(SchemaLookupError::Unknown(why)),
        }
    }
}

/// Gives the ids of the schemas of one subject, for a sink.
#[derive(Debug)]
pub(super) struct SubjectIds {
    pub(super) client: RegistryClient,
    pub(super) subject: String,
    /// Whether a schema that the registry lacks is registered.
    pub(super) register: bool,
    pub(super) interrupt: InterruptFlag,
}

/// An interrupt, which has no form for debugging.
pub(super) struct InterruptFlag(pub(super) Interrupt);

impl fmt::Debug for InterruptFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterruptFlag")
    }
}

impl SchemaIds for SubjectIds {
    fn id(&self, schema: &str) -> Result<u32, SchemaLookupError> {
        self.client.id_in(&self.subject, schema, self.register, &self.interrupt.0).map_err(|error| match error {
            SchemaLookupError::Unknown(why) => {
                SchemaLookupError::Failed(format!("the schema is not registered for `{}`: {why}", self.subject))
            }
            failed => failed,
        })
    }
}
