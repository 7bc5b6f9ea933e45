//! A local S3-compatible server: `moto`, in Python, installed from PyPI into the target folder.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Checkout;

/// Set by users without Python to run the remaining tests.
const WITHOUT: &str = "COFFERDAM_WITHOUT_S3";
const PACKAGES: &[&str] = &["moto[s3]==5.2.5", "flask", "flask-cors"];
/// The server ends with its stdin, so it never outlives the process that started it.
const PROGRAM: &str = "import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])";
const RUNNING: &str = "Running on ";

/// A running server. It keeps everything in memory.
pub struct S3 {
    _child: Child,
    endpoint: String,
}

impl S3 {
    /// Starts a server with the bucket `bucket`. Returns `None`, with a message, if `COFFERDAM_WITHOUT_S3` is set.
    pub fn start(bucket: &str) -> Result<Option<S3>> {
        if env::var_os(WITHOUT).is_some() {
            // Written directly, because the test harness shows captured output of failed tests only.
            let _ = writeln!(std::io::stderr(), "{WITHOUT} is set: skipping the tests against an S3-compatible server");
            return Ok(None);
        }
        let mut child = Command::new("python3")
            .args(["-u", "-c", PROGRAM])
            .env("PYTHONPATH", S3::install(&Checkout::current())?)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let log = child.stderr.take().context("no stderr")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Reads to the end, so that the server never blocks on a full pipe.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let address = line.split_once(RUNNING).map(|(_, address)| address.trim().to_string());
                let _ = sender.send(address.ok_or(line));
            }
        });
        let mut said = Vec::new();
        let endpoint = loop {
            match receiver.recv_timeout(Duration::from_secs(60)) {
                Ok(Ok(endpoint)) => break endpoint,
                Ok(Err(line)) => said.push(line),
                Err(_) => bail!("the S3-compatible server did not start:\n{}", said.join("\n")),
            }
        };
        let answer = ureq::put(format!("{endpoint}/{bucket}")).send_empty();
        answer.with_context(|| format!("cannot create a bucket at {endpoint}"))?;
        Ok(Some(S3 { _child: child, endpoint }))
    }

    /// Returns the environment variables a client needs to reach the server.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_string()),
            ("AWS_ACCESS_KEY_ID", "test".to_string()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_string()),
            ("AWS_REGION", "us-east-1".to_string()),
            ("NO_PROXY", "127.0.0.1".to_string()),
        ]
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the folder of the server's Python packages, and installs them if necessary.
    pub fn install(checkout: &Checkout) -> Result<PathBuf> {
        let setup = checkout.target.join("setup");
        let folder = setup.join("s3-server");
        if folder.is_dir() {
            return Ok(folder);
        }
        // Installed beside the folder and then renamed, so that the folder is always complete.
        let unfinished = setup.join(format!("s3-server-{}", std::process::id()));
        fs::create_dir_all(&setup)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&unfinished);
        let output = pip.args(PACKAGES).output();
        let why = match output {
            Ok(output) if output.status.success() => {
                // Another process may have renamed its copy first.
                let renamed = fs::rename(&unfinished, &folder);
                return if folder.is_dir() {
                    Ok(folder)
                } else {
                    Err(renamed.map_or_else(Into::into, |()| anyhow::anyhow!("it is gone")))
                };
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        bail!(
            "the tests of checkpoints in S3 need {} from PyPI, which could not be installed: {why}\nNext: install Python 3 \
             with pip (Debian: apt-get install python3-pip), or set {WITHOUT}=1 to leave these tests out",
            PACKAGES.join(", ")
        )
    }
}
