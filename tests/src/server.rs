//! A `cofferdam serve` process on a free port, which tests can kill.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::Checkout;
use crate::api::Api;
use crate::wait::wait_until;

const STARTED: &str = "listening on ";

/// Time in which a server ends after a signal.
const END_TIME: Duration = Duration::from_secs(120);

/// A running server, killed on drop.
pub struct Server {
    child: Child,
    pub api: Api,
}

impl Server {
    /// Starts a server in a new folder of this name below the target folder, and returns both.
    pub fn start_fresh(name: &str) -> Result<(Server, PathBuf)> {
        let checkout = Checkout::current();
        let work_dir = checkout.fresh_dir(&format!("tests/{name}"))?;
        Ok((Server::start(&checkout.cofferdam(), &work_dir, &[])?, work_dir))
    }

    /// Starts a server in a new folder of this name that allows nothing to pipelines but what `arguments` list.
    pub fn start_restricted(name: &str, arguments: &[&str]) -> Result<(Server, PathBuf)> {
        let checkout = Checkout::current();
        let work_dir = checkout.fresh_dir(&format!("tests/{name}"))?;
        Ok((Server::start_allowing(Command::new(checkout.cofferdam()), &work_dir, arguments)?, work_dir))
    }

    /// Starts a server on a free loopback port. `work_dir` contains its data folder `data` and its log `server.log`;
    /// the next server started there uses both again. `arguments` are appended to the command line.
    pub fn start(binary: &Path, work_dir: &Path, arguments: &[&str]) -> Result<Server> {
        Server::start_by(Command::new(binary), work_dir, arguments)
    }

    /// Like [`Server::start`], with a command that ends with the binary's path. The command can change the environment
    /// first.
    pub fn start_by(command: Command, work_dir: &Path, arguments: &[&str]) -> Result<Server> {
        let allowed = allowed_in_tests();
        let allowed = allowed.iter().map(String::as_str);
        Server::start_allowing(command, work_dir, &allowed.chain(arguments.iter().copied()).collect::<Vec<_>>())
    }

    /// Like [`Server::start_by`], with a stderr that the caller reads, or does not read.
    pub fn start_piped(command: Command, work_dir: &Path, arguments: &[&str]) -> Result<(Server, ChildStderr)> {
        let allowed = allowed_in_tests();
        let arguments: Vec<&str> = allowed.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let mut server = Server::start_logging(command, work_dir, &arguments, Stdio::piped())?;
        let stderr = server.child.stderr.take().context("no stderr")?;
        Ok((server, stderr))
    }

    pub fn start_allowing(command: Command, work_dir: &Path, arguments: &[&str]) -> Result<Server> {
        let log = OpenOptions::new().create(true).append(true).open(log_path(work_dir))?;
        Server::start_logging(command, work_dir, arguments, log.into())
    }

    fn start_logging(mut command: Command, work_dir: &Path, arguments: &[&str], log: Stdio) -> Result<Server> {
        let log_path = log_path(work_dir);
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(work_dir.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Reads to the end, so that the server never blocks on a full pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(base) = line.split_once(STARTED).map(|(_, base)| base.trim().to_string()) {
                    let _ = sender.send(base);
                }
            }
        });
        match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(base) => Ok(Server { child, api: Api::new(&base) }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the server did not start. Its log:\n{}", tail(&log_path))
            }
        }
    }

    /// Kills the server with SIGKILL, without any clean-up.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the server to end, and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        ensure!(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?.success(), "no signal");
        wait_until("the server ends", END_TIME, || Ok(self.child.try_wait()?))
    }

    /// Returns whether the process is running.
    pub fn is_up(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the options that allow what tests read, write and reach: the checkout, the target folder, temporary folders, and
/// this machine.
pub fn allowed_in_tests() -> Vec<String> {
    let checkout = Checkout::current();
    let folders = [checkout.root, checkout.target, std::env::temp_dir()];
    let folders = folders.iter().flat_map(|folder| ["--allow-path".to_owned(), folder.display().to_string()]);
    let addresses =
        ["127.0.0.1:*", "localhost:*"].into_iter().flat_map(|one| ["--allow-address".to_owned(), one.to_owned()]);
    folders.chain(addresses).chain(["--allow-native-savepoints".to_owned()]).collect()
}

/// Returns the log of the servers started in `work_dir`.
pub fn log_path(work_dir: &Path) -> PathBuf {
    work_dir.join("server.log")
}

/// Returns the last lines of a log, for a message.
pub fn tail(log: &Path) -> String {
    let Ok(file) = File::open(log) else { return String::new() };
    let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
