//! A broker process that tests can kill, pause and start again.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::client::KafkaClient;
use super::install::{
    BROKER_ARCHIVE, CLIENT_NAME, KafkaInstallation, STORE_PASSWORD, TRUSTED_STORE, USERS, without_kafka,
};
use crate::server::tail;
use crate::{Checkout, wait_until};

/// Generous upper bound of every wait.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Below the range from which systems take the ports of outgoing connections: nothing else gets the port of a killed broker.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The ports of one broker.
#[derive(Clone, Copy, Debug)]
pub struct KafkaPorts {
    /// Without TLS and without authentication. Everything is allowed.
    pub plain: u16,
    pub controller: u16,
    /// With TLS and SASL.
    pub secure: u16,
    /// With TLS and certificates of clients.
    pub mutual: u16,
}

impl KafkaPorts {
    fn parse(settings: &str) -> Option<KafkaPorts> {
        let listeners = settings.lines().find_map(|line| line.strip_prefix("listeners="))?;
        let mut ports = listeners.split(',').map(|listener| listener.rsplit(':').next()?.parse().ok());
        let [plain, controller, secure] = [ports.next()??, ports.next()??, ports.next()??];
        // The settings of older brokers name three listeners.
        let mutual = ports.next().flatten().or_else(|| free_ports().ok().map(|free| free.mutual))?;
        Some(KafkaPorts { plain, controller, secure, mutual })
    }
}

/// A broker with its folder. Its process ends with this one, unless it was started by [`KafkaBroker::start_detached`].
pub struct KafkaBroker {
    installation: KafkaInstallation,
    folder: PathBuf,
    ports: KafkaPorts,
    process: Option<Child>,
    client: OnceLock<KafkaClient>,
}

impl KafkaBroker {
    /// Starts an empty broker in a new folder of this name below the target folder. Returns `None`, with a message, if
    /// `COFFERDAM_WITHOUT_KAFKA` is set.
    pub fn start(name: &str) -> Result<Option<KafkaBroker>> {
        if without_kafka() {
            return Ok(None);
        }
        let checkout = Checkout::current();
        let installation = KafkaInstallation::prepare(&checkout)?;
        let folder = checkout.fresh_dir(&format!("tests/{name}"))?;
        let mut broker = KafkaBroker::create(&installation, &folder.join("kafka"))?;
        broker.restart()?;
        Ok(Some(broker))
    }

    /// Creates the folder of an empty broker on free ports. The broker is not running.
    pub fn create(installation: &KafkaInstallation, folder: &Path) -> Result<KafkaBroker> {
        let ports = free_ports()?;
        fs::create_dir_all(folder)?;
        copy_folder(&installation.folder.join("template"), &folder.join("data"))?;
        let settings = KafkaBroker::properties(installation, &folder.join("data"), ports);
        fs::write(folder.join("server.properties"), settings)?;
        let installation = installation.clone();
        Ok(KafkaBroker { installation, folder: folder.to_owned(), ports, process: None, client: OnceLock::new() })
    }

    /// Returns the broker of a folder that [`KafkaBroker::create`] filled earlier, or creates it.
    pub fn open_or_create(installation: &KafkaInstallation, folder: &Path) -> Result<KafkaBroker> {
        let Ok(settings) = fs::read_to_string(folder.join("server.properties")) else {
            return KafkaBroker::create(installation, folder);
        };
        let ports = KafkaPorts::parse(&settings).context("server.properties names no ports: remove its folder")?;
        // The installation may have another folder since.
        fs::write(
            folder.join("server.properties"),
            KafkaBroker::properties(installation, &folder.join("data"), ports),
        )?;
        let installation = installation.clone();
        Ok(KafkaBroker { installation, folder: folder.to_owned(), ports, process: None, client: OnceLock::new() })
    }

    /// Returns the broker's settings file.
    pub(super) fn properties(installation: &KafkaInstallation, data: &Path, ports: KafkaPorts) -> String {
        let KafkaPorts { plain, controller, secure, mutual } = ports;
        let login = "org.apache.kafka.common.security";
        let passwords: String = USERS.iter().map(|user| format!(" user_{user}=\"{user}-secret\"")).collect();
        let (store, trusted) = (installation.folder.join("broker.p12"), installation.folder.join(TRUSTED_STORE));
        let key_store = |listener: &str| {
            let ssl = format!("listener.name.{listener}.ssl");
            format!(
                "{ssl}.keystore.location={}\n{ssl}.keystore.type=PKCS12\n{ssl}.keystore.password={STORE_PASSWORD}\n",
                store.display()
            )
        };
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SECURE://127.0.0.1:{secure},MUTUAL://127.0.0.1:{mutual}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},MUTUAL://127.0.0.1:{mutual}\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n\
             log.cleaner.dedupe.buffer.size=4194304\nlog.retention.ms=-1\ntransaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
             # A killed broker's session must end before it may return: 12 s by default.\n\
             broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS;User:alice;User:CN={CLIENT_NAME}\nsasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN\n\
             listener.name.secure.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
             listener.name.secure.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
             listener.name.secure.plain.sasl.jaas.config={login}.plain.PlainLoginModule required{passwords};\n\
             {}{}listener.name.mutual.ssl.client.auth=required\n\
             listener.name.mutual.ssl.truststore.location={}\nlistener.name.mutual.ssl.truststore.type=PKCS12\n\
             listener.name.mutual.ssl.truststore.password={STORE_PASSWORD}\n",
            data.display(),
            key_store("secure"),
            key_store("mutual"),
            trusted.display(),
        )
    }

    /// Returns the address of the listener without TLS.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Returns the address of the listener with TLS and SASL.
    pub fn secure_servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.secure)
    }

    /// Returns the address of the listener with TLS that wants a certificate of its clients.
    pub fn mutual_servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.mutual)
    }

    /// Returns the certificate that the listeners with TLS present.
    pub fn certificate(&self) -> PathBuf {
        self.installation.certificate()
    }

    /// Returns the certificate of a client that the listener with mutual TLS trusts, and its key.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        self.installation.client_certificate()
    }

    /// Returns the folder of the broker.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the client, which is started when it is used first. It survives the broker.
    pub fn client(&self) -> &KafkaClient {
        self.client.get_or_init(|| {
            KafkaClient::start(&self.installation, &self.servers(), &[]).expect("Java starts, as it did for the broker")
        })
    }

    /// Starts the process and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn(&[])
    }

    pub(super) fn spawn(&mut self, java_options: &[&str]) -> Result<()> {
        ensure!(self.process.is_none(), "the broker is running");
        let child = self.command(java_options, &[])?.stdin(Stdio::piped()).spawn().context("cannot start java")?;
        self.process = Some(child);
        self.wait_until_up()
    }

    /// Starts a process that outlives this one. Returns its id.
    pub fn start_detached(&mut self) -> Result<u32> {
        let mut command = self.command(&[], &["detached"])?;
        let child = command.stdin(Stdio::null()).process_group(0).spawn().context("cannot start java")?;
        let id = child.id();
        self.process = Some(child);
        self.wait_until_up()?;
        self.process = None;
        Ok(id)
    }

    fn command(&self, java_options: &[&str], arguments: &[&str]) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut java = self.installation.java(BROKER_ARCHIVE, java_options);
        java.args(["-Xmx768m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "KafkaTool", "broker"]);
        java.arg(self.folder.join("server.properties")).args(arguments);
        java.stdout(log.try_clone()?).stderr(log);
        Ok(java)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let (port, log) = (self.ports.plain, self.log_path());
        let process = self.process.as_mut().context("the broker is not running")?;
        wait_until("the Kafka broker answers", TIMEOUT, || {
            if let Some(status) = process.try_wait()? {
                bail!("the Kafka broker ended with {status}. Its log:\n{}", tail(&log));
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop))
        })
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the broker is not running")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Ends the process with SIGTERM and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let mut process = self.process.take().context("the broker is not running")?;
        process.wait()?;
        Ok(())
    }

    /// Sends a signal by its name, such as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let process = self.process.as_ref().context("the broker is not running")?;
        let status = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status()?;
        ensure!(status.success(), "cannot send SIG{name} to the broker");
        Ok(())
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_ports() -> Result<KafkaPorts> {
    let mut random = fastrand::Rng::new();
    let mut found = Vec::new();
    for _ in 0..1000 {
        // All are held until all are found, so that they differ.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, random.u16(PORTS))) {
            found.push(listener);
        }
        if let [plain, controller, secure, mutual] = &found[..] {
            let port = |listener: &TcpListener| anyhow::Ok(listener.local_addr()?.port());
            let (plain, controller, secure, mutual) = (port(plain)?, port(controller)?, port(secure)?, port(mutual)?);
            return Ok(KafkaPorts { plain, controller, secure, mutual });
        }
    }
    bail!("no free ports between {} and {}", PORTS.start, PORTS.end)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
