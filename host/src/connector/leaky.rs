//! A connector for tests: it has a secret, and puts it where the setting `leak` says.

use std::time::Duration;

use super::context::ConnectorContext;
use super::source::{Poll, Replay, Source};
use super::spec::{self, SourceSpec};
use crate::access::Secret;
use crate::error::{Result, source_failed};
use crate::format::SourceDecoding;
use crate::model::Batch;
use crate::pipeline::{Connector, FileFormat, SecretOrText, SecretReference, Setting, SettingKind, SourceConnector};

pub(super) const CONNECTOR: Connector = Connector {
    name: "leaky",
    source: Some(SourceConnector {
        settings: &[
            Setting::required("token", SettingKind::Secret),
            Setting::required("leak", SettingKind::Text),
            Setting::new("user", SettingKind::TextOrSecret, "none"),
        ],
        read: |section| {
            Ok(spec::source(LeakySpec {
                token: section.need("token")?.secret()?,
                leak: section.need("leak")?.string()?.to_owned(),
                user: section.get("user").map(|item| item.secret_or_text()).transpose()?,
            }))
        },
    }),
    sink: None,
};

#[derive(Debug)]
struct LeakySpec {
    token: SecretReference,
    leak: String,
    user: Option<SecretOrText>,
}

impl SourceSpec for LeakySpec {
    fn format(&self) -> (FileFormat, bool) {
        (FileFormat::Lines, false)
    }

    fn replay(&self) -> Replay {
        Replay::No
    }

    fn location_key(&self) -> &'static str {
        "leak"
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        let user = self.user.as_ref().and_then(SecretOrText::reference).map(|user| ("user", user));
        [("token", &self.token)].into_iter().chain(user).collect()
    }

    fn open(&self, _: &SourceDecoding, context: &ConnectorContext, _: &[&[u8]]) -> Result<Box<dyn Source>> {
        let token = context.secret(&self.token)?;
        match self.leak.as_str() {
            "open" => Err(source_failed(format!("{} is refused", token.expose()))),
            leak => Ok(Box::new(LeakySource { token, leak: leak.to_owned(), context: context.clone() })),
        }
    }
}

struct LeakySource {
    token: Secret,
    leak: String,
    context: ConnectorContext,
}

impl Source for LeakySource {
    fn poll(&mut self, _batch: &mut Batch, _records: usize) -> Result<Poll> {
        let token = self.token.expose();
        match self.leak.as_str() {
            "error" => Err(source_failed("the peer hung up").hint(format!("is {token} right?"))),
            "panic" => panic!("no {token}"),
            "health" => {
                self.context.health.down(format_args!("{token} is refused"));
                Ok(Poll::Pending(Duration::from_millis(5)))
            }
            _ => Ok(Poll::End),
        }
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}
