//! Installs the broker below the target folder: jars from Maven Central, the tool that starts it, a certificate, an empty
//! cluster that is copied for each broker, and archives of loaded classes, with which Java starts in half the time.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::broker::{KafkaBroker, KafkaPorts};
use super::client::KafkaClient;
use crate::Checkout;

/// Set by users without Java or Maven to run the remaining tests.
const WITHOUT: &str = "COFFERDAM_WITHOUT_KAFKA";
const PROGRAMS: [&str; 5] = ["java", "javac", "jar", "keytool", "mvn"];
const CLUSTER_ID: &str = "Y29mZmVyZGFtLXRlc3Rz";
/// Password of the broker's key store. The key protects nothing.
pub(super) const STORE_PASSWORD: &str = "cofferdam";
/// Name in the certificate of the client that the listener with mutual TLS trusts.
pub(super) const CLIENT_NAME: &str = "cofferdam-client";
/// Key store with the certificates that this listener trusts.
pub(super) const TRUSTED_STORE: &str = "trusted.p12";
/// Users of the secure listener. `alice` may do everything, `bob` nothing until a test allows it. Passwords are `NAME-secret`.
pub(super) const USERS: [&str; 2] = ["alice", "bob"];
const MECHANISMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

pub(super) const BROKER_ARCHIVE: &str = "broker.jsa";
pub(super) const CLIENT_ARCHIVE: &str = "client.jsa";

/// A folder with everything that a broker needs.
#[derive(Clone, Debug)]
pub struct KafkaInstallation {
    pub(super) folder: PathBuf,
}

/// Returns whether the user wants to do without Kafka, with a message.
pub fn without_kafka() -> bool {
    let without = env::var_os(WITHOUT).is_some();
    if without {
        // Written directly, because the test harness shows captured output of failed tests only.
        let _ = writeln!(std::io::stderr(), "{WITHOUT} is set: skipping the tests against a Kafka broker");
    }
    without
}

/// Returns the programs that are needed and not on the `PATH`.
pub fn missing_kafka_programs() -> Vec<&'static str> {
    let folders: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let is_there = |name: &&str| folders.iter().any(|folder| folder.join(name).is_file());
    PROGRAMS.into_iter().filter(|name| !is_there(name)).collect()
}

impl KafkaInstallation {
    /// Returns the installation of this checkout, and makes it if necessary.
    pub fn prepare(checkout: &Checkout) -> Result<KafkaInstallation> {
        // The tests of one process install it once.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        let sources = checkout.root.join("tests/kafka");
        let setup = checkout.target.join("setup");
        let folder = setup.join(format!("kafka-{:016x}", hash_of_files(&sources)?));
        if folder.is_dir() {
            return Ok(KafkaInstallation { folder });
        }
        let missing = missing_kafka_programs();
        ensure!(
            missing.is_empty(),
            "Kafka needs {}, which {} not installed.\nNext: `cargo xtask kafka install` installs a JDK 17 and Maven on \
             Debian (openjdk-17-jdk-headless, maven); elsewhere install both. {WITHOUT}=1 leaves these tests out",
            missing.join(" and "),
            if missing.len() == 1 { "is" } else { "are" }
        );
        // Installed beside the folder and then renamed, so that the folder is always complete.
        let unfinished = setup.join(format!("kafka-{}", std::process::id()));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished)?;
        let made = KafkaInstallation { folder: unfinished.clone() };
        made.fill(&sources).with_context(|| {
            format!("cannot install Kafka.\nNext: check that Maven reaches a repository, or set {WITHOUT}=1 to leave its tests out")
        })?;
        // Another process may have renamed its folder first.
        let renamed = fs::rename(&unfinished, &folder);
        if renamed.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        ensure!(folder.is_dir(), "cannot rename {}: {renamed:?}", unfinished.display());
        Ok(KafkaInstallation { folder })
    }

    /// Returns the certificate of the secure listener, a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Returns the certificate of the client that the listener with mutual TLS trusts, and its key. Both are PEM files.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("client.pem"), self.folder.join("client-key.pem"))
    }

    /// Returns a command that runs the tool in the installation's folder. The class path is relative, because the archive of
    /// classes is valid for the same one only, and the folder was renamed since.
    pub(super) fn java(&self, archive: &str, arguments: &[&str]) -> Command {
        let mut java = Command::new("java");
        java.current_dir(&self.folder).args(["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        java.args(["-Xlog:cds=off", "-Xlog:cds+dynamic=off"]);
        if self.folder.join(archive).is_file() {
            java.arg(format!("-XX:SharedArchiveFile={archive}"));
        }
        java.args(arguments).args(["-cp", "libs/*"]);
        java
    }

    fn fill(&self, sources: &Path) -> Result<()> {
        let at = |name: &str| self.folder.join(name);
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(sources.join("pom.xml")).arg("dependency:copy-dependencies");
        run(maven.arg(format!("-DoutputDirectory={}", at("libs").display())))?;
        let mut javac = self.command("javac");
        run(javac.args(["-nowarn", "-cp", "libs/*", "-d", "classes"]).arg(sources.join("KafkaTool.java")))?;
        run(self.command("jar").args(["cf", "libs/cofferdam-tool.jar", "-C", "classes", "."]))?;
        self.create_certificate("broker", "localhost", &self.certificate())?;
        self.create_client_certificate()?;
        self.format()?;
        self.archive_classes()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        command
    }

    /// Creates a key store `ALIAS.p12`, and writes its certificate to the file `pem`.
    fn create_certificate(&self, alias: &str, name: &str, pem: &Path) -> Result<()> {
        let file = format!("{alias}.p12");
        let store = ["-alias", alias, "-keystore", &file, "-storepass", STORE_PASSWORD];
        let mut generate = self.command("keytool");
        generate.arg("-genkeypair").args(store).args(["-keyalg", "RSA", "-keysize", "2048", "-storetype", "PKCS12"]);
        generate.args(["-dname", &format!("CN={name}"), "-ext", "san=ip:127.0.0.1,dns:localhost"]);
        run(generate.args(["-validity", "3650"]))?;
        let output = self.command("keytool").args(["-exportcert", "-rfc"]).args(store).output()?;
        ensure!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(pem, output.stdout)?;
        Ok(())
    }

    /// Creates the certificate and the key of a client, and the store of the broker that trusts it.
    fn create_client_certificate(&self) -> Result<()> {
        let (certificate, key) = self.client_certificate();
        self.create_certificate("client", CLIENT_NAME, &certificate)?;
        let mut import = self.command("keytool");
        import.args(["-importcert", "-noprompt", "-alias", "client", "-keystore", TRUSTED_STORE]);
        import.args(["-storetype", "PKCS12", "-storepass", STORE_PASSWORD, "-file"]).arg(certificate);
        run(&mut import)?;
        let mut export = self.java("", &[]);
        let output = export.args(["KafkaTool", "private-key", "client.p12", STORE_PASSWORD, "client"]).output()?;
        ensure!(output.status.success(), "the key of the client: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(key, output.stdout)?;
        Ok(())
    }

    /// Formats an empty cluster with its users. It names no port, so that every broker can begin with a copy.
    fn format(&self) -> Result<()> {
        let template = self.folder.join("template");
        let ports = KafkaPorts { plain: 1, controller: 2, secure: 3, mutual: 4 };
        let settings = KafkaBroker::properties(self, &template, ports);
        fs::write(self.folder.join("format.properties"), settings)?;
        let mut format = self.java("", &["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", "format.properties"]);
        for user in USERS {
            for mechanism in MECHANISMS {
                format.args(["--add-scram", &format!("{mechanism}=[name={user},password={user}-secret]")]);
            }
        }
        run(&mut format)
    }

    /// Runs a broker and a client once, so that Java archives the classes that they load.
    fn archive_classes(&self) -> Result<()> {
        let folder = self.folder.join("first");
        let mut broker = KafkaBroker::create(self, &folder)?;
        let archive = |name: &str| format!("-XX:ArchiveClassesAtExit={name}");
        broker.spawn(&[&archive(BROKER_ARCHIVE)])?;
        let client = KafkaClient::start(self, &broker.servers(), &[&archive(CLIENT_ARCHIVE)])?;
        client.create_topic("first", 1)?;
        client.produce("first", &[(Some("key"), Some("value"))])?;
        let count = client.read("first")?.len();
        client.close()?;
        broker.stop()?;
        fs::remove_dir_all(&folder)?;
        ensure!(count == 1, "the broker returned {count} records in place of 1");
        Ok(())
    }
}

fn hash_of_files(folder: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for name in ["pom.xml", "KafkaTool.java"] {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
    }
    // The certificate, the users and the settings are made by this code.
    include_str!("install.rs").hash(&mut hasher);
    Ok(hasher.finish())
}

/// Runs a command to its end. The error contains what it printed.
fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&printed));
    }
    Ok(())
}
