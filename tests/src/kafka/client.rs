//! Apache's Java client in a process of its own. It is independent of the client in the `cofferdam` binary.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::install::{CLIENT_ARCHIVE, KafkaInstallation};

/// A client of one broker. Its calls wait up to a minute for the broker.
pub struct KafkaClient {
    connection: Mutex<ClientProcess>,
}

struct ClientProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// A record in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRecord {
    pub partition: u32,
    pub offset: u64,
    pub timestamp: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
}

impl KafkaClient {
    /// Starts a client of the broker at `servers`.
    pub fn start(installation: &KafkaInstallation, servers: &str, java_options: &[&str]) -> Result<KafkaClient> {
        let mut java = installation.java(CLIENT_ARCHIVE, java_options);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "KafkaTool", "client", servers]);
        let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start java")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(KafkaClient { connection: Mutex::new(ClientProcess { child, input, output }) })
    }

    /// Ends the process and waits for its end.
    pub fn close(self) -> Result<()> {
        let mut connection = self.connection.lock().expect("no test panicked during a request");
        connection.input.take();
        connection.child.wait()?;
        Ok(())
    }

    /// Sends a request. Calls `each` for each line of the answer but the last, and returns what that contains.
    pub fn request(&self, request: &Value, mut each: impl FnMut(Value) -> Result<()>) -> Result<Value> {
        let mut connection = self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ClientProcess { input, output, .. } = &mut *connection;
        writeln!(input.as_mut().context("the client is closed")?, "{request}")?;
        let mut line = String::new();
        loop {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                bail!("Kafka's client ended during {request}");
            }
            let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            if let Some(error) = answer.get("error") {
                bail!("Kafka's client failed: {error}, with {}", shortened(request));
            }
            match answer.get_mut("done") {
                Some(done) => return Ok(done.take()),
                None => each(answer)?,
            }
        }
    }

    fn ask(&self, request: &Value) -> Result<Value> {
        self.request(request, |line| bail!("unexpected line {line}"))
    }

    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        self.create_topic_with(topic, partitions, &json!({}))
    }

    /// Creates a topic with settings such as `{"retention.ms": "1000"}`.
    pub fn create_topic_with(&self, topic: &str, partitions: u32, config: &Value) -> Result<()> {
        let request = json!({"do": "create-topic", "topic": topic, "partitions": partitions, "config": config});
        self.ask(&request).map(drop)
    }

    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.ask(&json!({"do": "delete-topic", "topic": topic})).map(drop)
    }

    /// Returns the names of all topics, sorted.
    pub fn topics(&self) -> Result<Vec<String>> {
        let mut topics: Vec<String> = serde_json::from_value(self.ask(&json!({"do": "topics"}))?)?;
        topics.sort_unstable();
        Ok(topics)
    }

    /// Increases the number of partitions to `total`.
    pub fn add_partitions(&self, topic: &str, total: u32) -> Result<()> {
        self.ask(&json!({"do": "add-partitions", "topic": topic, "total": total})).map(drop)
    }

    /// Sends records with keys and values. Kafka's partitioner chooses the partitions.
    pub fn produce(&self, topic: &str, records: &[(Option<&str>, Option<&str>)]) -> Result<()> {
        let record = |(key, value): &(Option<&str>, Option<&str>)| json!({"key": key, "value": value});
        self.produce_records(topic, records.iter().map(record).collect())
    }

    /// Sends records with the members `key`, `value`, `partition`, `timestamp` and `headers`.
    pub fn produce_records(&self, topic: &str, records: Vec<Value>) -> Result<()> {
        self.ask(&json!({"do": "produce", "topic": topic, "records": records})).map(drop)
    }

    /// Sends records in the transaction with this id, which stays open until [`KafkaClient::end_transaction`].
    pub fn produce_in_transaction(&self, id: &str, topic: &str, records: Vec<Value>) -> Result<()> {
        self.ask(&json!({"do": "produce", "topic": topic, "transaction": id, "records": records})).map(drop)
    }

    pub fn end_transaction(&self, id: &str, commit: bool) -> Result<()> {
        self.ask(&json!({"do": "end-transaction", "transaction": id, "commit": commit})).map(drop)
    }

    /// Sends the records `from` to `to`, round robin to the partitions. `{n}` in `template` is the number, `{k}` the number
    /// modulo `keys`. The timestamp of record n is n.
    pub fn generate(&self, topic: &str, from: u64, to: u64, template: &str, keys: u64) -> Result<()> {
        let range =
            json!({"do": "generate", "topic": topic, "from": from, "to": to, "template": template, "keys": keys});
        self.ask(&range).map(drop)
    }

    /// Returns the committed records of a topic up to its end at the time of the call, in order per partition.
    pub fn read(&self, topic: &str) -> Result<Vec<KafkaRecord>> {
        let mut records = Vec::new();
        let request = json!({"do": "read", "topic": topic});
        self.request(&request, |line| {
            records.push(KafkaRecord::parse(&line).with_context(|| format!("no record: {line}"))?);
            Ok(())
        })?;
        Ok(records)
    }

    /// Returns the end of each partition for a reader of committed records.
    pub fn end_offsets(&self, topic: &str) -> Result<Vec<u64>> {
        let ends = self.ask(&json!({"do": "end-offsets", "topic": topic}))?;
        let mut ends: Vec<(u32, u64)> = ends
            .as_object()
            .context("no object")?
            .iter()
            .map(|(partition, end)| Ok((partition.parse()?, end.as_u64().context("no number")?)))
            .collect::<Result<_>>()?;
        ends.sort_unstable();
        Ok(ends.into_iter().map(|(_, end)| end).collect())
    }

    /// Returns the committed offsets of a group, as an object: `TOPIC-PARTITION` to `offset` and `metadata`.
    pub fn group_offsets(&self, group: &str) -> Result<Value> {
        self.ask(&json!({"do": "group-offsets", "group": group}))
    }

    pub fn delete_group(&self, group: &str) -> Result<()> {
        self.ask(&json!({"do": "delete-group", "group": group})).map(drop)
    }

    /// Deletes the records before an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: u32, before: u64) -> Result<()> {
        self.ask(&json!({"do": "delete-records", "topic": topic, "partition": partition, "before": before})).map(drop)
    }

    /// Returns the transactions that are neither complete nor empty.
    pub fn open_transactions(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.ask(&json!({"do": "open-transactions"}))?)?)
    }

    /// Lets a user of the secure listener do `operation` with the `topic`, `group` or `transactional_id` of this name.
    pub fn allow(&self, user: &str, resource: &str, name: &str, operation: &str) -> Result<()> {
        let request = json!({"do": "allow", "user": user, "resource": resource, "name": name, "operation": operation});
        self.ask(&request).map(drop)
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl KafkaRecord {
    fn parse(line: &Value) -> Option<KafkaRecord> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let header = |pair: &Value| Some((text(pair.get(0)?)?, pair.get(1).and_then(text)));
        Some(KafkaRecord {
            partition: line["partition"].as_u64()?.try_into().ok()?,
            offset: line["offset"].as_u64()?,
            timestamp: line["timestamp"].as_i64()?,
            key: text(&line["key"]),
            value: text(&line["value"]),
            headers: match line["headers"].as_array() {
                Some(headers) => headers.iter().map(header).collect::<Option<_>>()?,
                None => Vec::new(),
            },
        })
    }
}

/// Returns the beginning of a request, which may contain many records.
fn shortened(request: &Value) -> String {
    request.to_string().chars().take(300).collect()
}
