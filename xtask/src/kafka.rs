//! `cargo xtask kafka`: an Apache Kafka broker on loopback for tests, examples and people.
//!
//! The broker's data and the file that names its process are in `kafka/` below the target folder.

use std::fs;
use std::io::{BufRead, stdin};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cofferdam_tests::{KafkaBroker, KafkaClient, KafkaInstallation, missing_kafka_programs, wait_until};
use serde_json::{Value, json};

use crate::setup::Apt;
use crate::workspace::{Workspace, step};

const DEBIAN_PACKAGES: [&str; 2] = ["openjdk-17-jdk-headless", "maven"];
/// Lines that `produce` sends with one request.
const PRODUCED_AT_ONCE: usize = 10_000;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Installs the broker below the target folder: its jars by Maven, and on Debian Java and Maven
    Install,
    /// Starts the broker, unless it is running. Prints its address
    Start,
    /// Shows the address, the process and the topics
    Status,
    /// Ends the broker. Its topics are kept
    Stop,
    /// Ends the broker and deletes its topics
    Reset,
    /// Creates a topic
    Topic {
        name: String,
        #[arg(long, default_value_t = 3)]
        partitions: u32,
    },
    /// Deletes a topic
    DeleteTopic { name: String },
    /// Sends each line of standard input as a record
    Produce {
        topic: String,
        /// Text between the key and the value of a line. Without it records have no key
        #[arg(long)]
        key_separator: Option<String>,
    },
    /// Prints the committed records of a topic
    Consume {
        topic: String,
        /// Prints JSON with partition, offset, timestamp, key, value and headers, rather than only the value
        #[arg(long)]
        json: bool,
    },
}

/// The broker of this checkout.
pub struct LocalBroker {
    installation: KafkaInstallation,
    folder: PathBuf,
}

/// A running broker.
pub struct RunningBroker {
    process: u32,
    pub servers: String,
    secure_servers: String,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let local = LocalBroker::prepare(workspace)?;
    match &arguments.command {
        Command::Install => {
            println!("installed: {}", workspace.checkout.shown(&local.installation.certificate().with_file_name("")));
            Ok(())
        }
        Command::Start => {
            let running = local.start()?;
            println!("brokers = \"{}\"", running.servers);
            Ok(())
        }
        Command::Status => local.print_status(),
        Command::Stop => {
            println!("{}", if local.stop()? { "stopped" } else { "no broker is running" });
            Ok(())
        }
        Command::Reset => {
            local.stop()?;
            local.remove()
        }
        Command::Topic { name, partitions } => local.client()?.create_topic(name, *partitions),
        Command::DeleteTopic { name } => local.client()?.delete_topic(name),
        Command::Produce { topic, key_separator } => produce(&local.client()?, topic, key_separator.as_deref()),
        Command::Consume { topic, json } => consume(&local.client()?, topic, *json),
    }
}

impl LocalBroker {
    /// Installs Kafka if necessary.
    pub fn prepare(workspace: &Workspace) -> Result<LocalBroker> {
        if !missing_kafka_programs().is_empty() {
            // If this fails, the next line says what is missing.
            Apt::default().install(&DEBIAN_PACKAGES);
        }
        let installation = KafkaInstallation::prepare(&workspace.checkout)?;
        Ok(LocalBroker { installation, folder: workspace.checkout.target.join("kafka") })
    }

    /// Returns the running broker, or starts one.
    pub fn start(&self) -> Result<RunningBroker> {
        if let Some(running) = self.running() {
            return Ok(running);
        }
        step("start Kafka", || {
            // The data of an earlier broker goes on under its ports, which the topics' metadata contains.
            let mut broker = KafkaBroker::open_or_create(&self.installation, &self.folder)?;
            let process = broker.start_detached()?;
            let (servers, secure) = (broker.servers(), broker.secure_servers());
            let record = json!({"process": process, "servers": servers, "secure_servers": secure});
            fs::write(self.record_path(), record.to_string())?;
            Ok(())
        })?;
        self.running().context("the broker ended at once: see broker.log")
    }

    /// Returns the broker that the record names, if its process still runs.
    pub fn running(&self) -> Option<RunningBroker> {
        let record: Value = serde_json::from_slice(&fs::read(self.record_path()).ok()?).ok()?;
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let process = u32::try_from(record["process"].as_u64()?).ok()?;
        is_broker(process, &self.folder).then_some(())?;
        Some(RunningBroker { process, servers: text("servers")?, secure_servers: text("secure_servers")? })
    }

    /// Ends the broker. Returns whether one was running.
    pub fn stop(&self) -> Result<bool> {
        let Some(RunningBroker { process, .. }) = self.running() else { return Ok(false) };
        let status = Process::new("kill").arg(process.to_string()).status()?;
        ensure!(status.success(), "cannot end process {process}");
        let gone = || Ok((!is_broker(process, &self.folder)).then_some(()));
        wait_until("the broker ends", Duration::from_secs(60), gone)?;
        fs::remove_file(self.record_path())?;
        Ok(true)
    }

    fn remove(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }

    fn client(&self) -> Result<KafkaClient> {
        let running = self.running().context("no broker is running. Next: cargo xtask kafka start")?;
        KafkaClient::start(&self.installation, &running.servers, &[])
    }

    fn print_status(&self) -> Result<()> {
        let Some(running) = self.running() else {
            println!("no broker is running. Next: cargo xtask kafka start");
            return Ok(());
        };
        println!("brokers         {}", running.servers);
        println!("with SASL_SSL   {}   (user alice, password alice-secret)", running.secure_servers);
        println!("certificate     {}", self.installation.certificate().display());
        println!("process         {}", running.process);
        println!("topics          {}", self.client()?.topics()?.join(", "));
        Ok(())
    }

    fn record_path(&self) -> PathBuf {
        self.folder.join("process.json")
    }
}

/// Returns whether the process is a broker of this folder: its id may belong to another program since.
fn is_broker(process: u32, folder: &Path) -> bool {
    let Ok(output) = Process::new("ps").args(["-ww", "-o", "stat=,args=", "-p", &process.to_string()]).output() else {
        return false;
    };
    let shown = String::from_utf8_lossy(&output.stdout);
    !shown.starts_with('Z') && shown.contains("KafkaTool") && shown.contains(&*folder.to_string_lossy())
}

fn produce(client: &KafkaClient, topic: &str, key_separator: Option<&str>) -> Result<()> {
    let mut records = Vec::new();
    for line in stdin().lock().lines() {
        let line = line?;
        records.push(match key_separator.and_then(|separator| line.split_once(separator)) {
            Some((key, value)) => json!({"key": key, "value": value}),
            None => json!({"value": line}),
        });
        if records.len() == PRODUCED_AT_ONCE {
            client.produce_records(topic, std::mem::take(&mut records))?;
        }
    }
    client.produce_records(topic, records)
}

fn consume(client: &KafkaClient, topic: &str, json: bool) -> Result<()> {
    let request = json!({"do": "read", "topic": topic});
    client.request(&request, |record| {
        match json {
            true => println!("{record}"),
            false => println!("{}", record["value"].as_str().unwrap_or("null")),
        }
        Ok(())
    })?;
    Ok(())
}
