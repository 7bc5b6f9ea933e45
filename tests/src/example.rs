//! One of the small examples: its folder, and a run that compares the result with `expected/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Checkout, Difference, KafkaBroker, KafkaInstallation, Script, committed_lines, difference};

/// Socket address in an example's pipeline file. A run replaces it by the address of its own server.
const ADDRESS: &str = "127.0.0.1:9999";

/// Address of a Kafka broker in an example's pipeline file. A run replaces it by the address of its own broker.
const BROKERS: &str = "127.0.0.1:9092";
/// Beginning of the names of files that are about a topic: `data/topic-NAME.tsv` has its records, `expected/topic-NAME.txt` what it must
/// contain in the end.
const TOPIC: &str = "topic-";

/// A folder below `examples/`.
pub struct Example {
    pub name: String,
    pub folder: PathBuf,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The job after its end, as the API shows it.
    pub job: Value,
    /// The committed lines of each sink, by the name of its folder.
    pub lines: Vec<(String, Vec<String>)>,
    /// Differences between a sink's lines and `expected/NAME.txt`, by the name of its folder.
    pub differences: Vec<(String, Difference)>,
}

impl Example {
    /// Returns all examples, ordered by name, except late-flights, which `cargo xtask demo` runs.
    pub fn all(checkout: &Checkout) -> Result<Vec<Example>> {
        let names = names(&checkout.root.join("examples"))?.into_iter().filter(|name| name != "late-flights");
        Ok(names.map(|name| Example { folder: checkout.root.join("examples").join(&name), name }).collect())
    }

    /// Returns the example with this name.
    pub fn named(checkout: &Checkout, name: &str) -> Result<Example> {
        let mut all = Example::all(checkout)?;
        let names: Vec<String> = all.iter().map(|example| example.name.clone()).collect();
        let index = names.iter().position(|known| known == name);
        let index =
            index.with_context(|| format!("there is no example `{name}`; the examples are {}", names.join(", ")))?;
        Ok(all.swap_remove(index))
    }

    /// Returns the first comment of its pipeline file, which describes the example in one line.
    pub fn title(&self) -> Result<String> {
        let pipeline = self.pipeline()?;
        let first = pipeline.lines().find(|line| !line.starts_with("#:")).and_then(|line| line.strip_prefix("# "));
        Ok(first.with_context(|| format!("the pipeline of {} does not begin with a comment", self.name))?.to_owned())
    }

    /// Returns the expected lines of each sink's folder, sorted.
    pub fn expected(&self) -> Result<Vec<(String, Vec<String>)>> {
        let folder = self.folder.join("expected");
        let mut expected = Vec::new();
        for name in names(&folder)? {
            let mut lines: Vec<String> = fs::read_to_string(folder.join(&name))?.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            expected.push((name.trim_end_matches(".txt").to_owned(), lines));
        }
        Ok(expected)
    }

    /// Returns the data that the socket server sends on each connection.
    pub fn connections(&self) -> Result<Vec<Vec<u8>>> {
        let folder = self.folder.join("data");
        let names = names(&folder)?.into_iter().filter(|name| name.starts_with("connection-"));
        names.map(|name| Ok(fs::read(folder.join(name))?)).collect()
    }

    /// Runs a copy of the pipeline in the empty folder `dir`, with `cofferdam run` and the component built earlier. The
    /// command's progress messages go to `progress`.
    pub fn run(&self, checkout: &Checkout, dir: &Path, progress: Stdio) -> Result<Outcome> {
        self.run_otherwise(checkout, dir, progress, &self.pipeline()?, self.connections()?)
    }

    /// Like [`Example::run`], with another pipeline or other data for the socket.
    pub fn run_otherwise(
        &self,
        checkout: &Checkout,
        dir: &Path,
        progress: Stdio,
        pipeline: &str,
        connections: Vec<Vec<u8>>,
    ) -> Result<Outcome> {
        let script = Script::start(connections)?;
        let kafka = self.start_kafka(checkout, dir, pipeline)?;
        let brokers = kafka.as_ref().map_or_else(|| BROKERS.to_owned(), KafkaBroker::servers);
        let pipeline = pipeline.replace(ADDRESS, &script.address.to_string()).replace(BROKERS, &brokers);
        fs::write(dir.join("pipeline.toml"), pipeline)?;
        copy(&self.folder.join("data"), &dir.join("data"))?;
        let component = dir.join("target/component");
        fs::create_dir_all(&component)?;
        let file = format!("{}.wasm", self.name);
        fs::copy(checkout.component(&self.name)?, component.join(file))?;

        let mut command = Command::new(checkout.cofferdam());
        command.args(["run", "--json", "pipeline.toml"]).current_dir(dir).stdin(Stdio::null()).stderr(progress);
        let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
        let job = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{command:?} ended with {}", output.status))?;
        let (mut lines, mut differences) = (Vec::new(), Vec::new());
        for (sink, expected) in self.expected()? {
            let actual = match (sink.strip_prefix(TOPIC), &kafka) {
                (Some(topic), Some(kafka)) => topic_lines(kafka, topic)?,
                _ => committed_lines(&dir.join("out").join(&sink))?,
            };
            differences.extend(difference(&expected, &actual).map(|difference| (sink.clone(), difference)));
            lines.push((sink, actual));
        }
        Ok(Outcome { job, lines, differences })
    }

    /// Starts a broker with the topics of the example, if its pipeline uses one.
    fn start_kafka(&self, checkout: &Checkout, dir: &Path, pipeline: &str) -> Result<Option<KafkaBroker>> {
        if !pipeline.contains(BROKERS) {
            return Ok(None);
        }
        let installation = KafkaInstallation::prepare(checkout)?;
        let mut broker = KafkaBroker::create(&installation, &dir.join("kafka"))?;
        broker.restart()?;
        let client = broker.client();
        for (sink, _) in self.expected()? {
            if let Some(topic) = sink.strip_prefix(TOPIC) {
                client.create_topic(topic, 3)?;
            }
        }
        for name in names(&self.folder.join("data"))? {
            let Some(topic) = name.strip_prefix(TOPIC).and_then(|name| name.strip_suffix(".tsv")) else { continue };
            client.create_topic(topic, 3)?;
            let text = fs::read_to_string(self.folder.join("data").join(&name))?;
            let records: Vec<_> = text.lines().filter_map(|line| line.split_once('\t')).collect();
            let records: Vec<_> = records.into_iter().map(|(key, value)| (Some(key), Some(value))).collect();
            client.produce(topic, &records)?;
        }
        Ok(Some(broker))
    }

    /// Returns the text of its pipeline file.
    pub fn pipeline(&self) -> Result<String> {
        let path = self.folder.join("pipeline.toml");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

impl Outcome {
    /// Fails if the job did not finish or its result differs.
    pub fn check(&self) -> Result<()> {
        ensure!(self.job["status"] == "FINISHED", "the job is {}: {}", self.job["status"], self.job["failure"]);
        let differences: String =
            self.differences.iter().map(|(sink, difference)| format!("in out/{sink} {difference}")).collect();
        ensure!(differences.is_empty(), "the result differs from the expected one: {differences}");
        Ok(())
    }
}

/// Returns the values of a topic, sorted.
fn topic_lines(kafka: &KafkaBroker, topic: &str) -> Result<Vec<String>> {
    let records = kafka.client().read(topic)?;
    let mut lines: Vec<String> = records.into_iter().map(|record| record.value.unwrap_or_default()).collect();
    lines.sort_unstable();
    Ok(lines)
}

/// Returns the names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for name in names(from)? {
        fs::copy(from.join(&name), to.join(&name))?;
    }
    Ok(())
}
