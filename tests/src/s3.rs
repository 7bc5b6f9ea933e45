//! An S3-compatible server of our own on loopback: `moto`, in Python, installed from PyPI into the target folder.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Place;

/// Set by who has no Python and wants to test the rest.
const WITHOUT: &str = "COFFERDAM_WITHOUT_S3";
const PACKAGES: &[&str] = &["moto[s3]==5.2.5", "flask", "flask-cors"];
/// It ends when its stdin does, and so never outlives the process that started it, however that ends.
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
    /// Starts a server with the bucket `bucket`. None where `COFFERDAM_WITHOUT_S3` asks for that, which is said.
    pub fn start(bucket: &str) -> Result<Option<S3>> {
        if env::var_os(WITHOUT).is_some() {
            // Past the test harness, which shows what is printed of failed tests only.
            let _ = writeln!(std::io::stderr(), "{WITHOUT} is set: nothing is tested against an S3-compatible server");
            return Ok(None);
        }
        let mut child = Command::new("python3")
            .args(["-u", "-c", PROGRAM])
            .env("PYTHONPATH", S3::install(&Place::of_this_checkout())?)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let log = child.stderr.take().context("no stderr")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Reads on to the end, so that the server never blocks on a full pipe.
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
                Err(_) => bail!("the S3-compatible server did not come up:\n{}", said.join("\n")),
            }
        };
        let answer = ureq::put(format!("{endpoint}/{bucket}")).send_empty();
        answer.with_context(|| format!("cannot make a bucket at {endpoint}"))?;
        Ok(Some(S3 { _child: child, endpoint }))
    }

    /// What a client has in its environment to reach the server.
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

    /// The folder of the server's packages, which are installed where they are not there yet.
    pub fn install(place: &Place) -> Result<PathBuf> {
        let setup = place.target.join("setup");
        let folder = setup.join("s3-server");
        if folder.is_dir() {
            return Ok(folder);
        }
        // Next to it and then renamed: what is there is whole.
        let unfinished = setup.join(format!("s3-server-{}", std::process::id()));
        fs::create_dir_all(&setup)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&unfinished);
        let output = pip.args(PACKAGES).output();
        let why = match output {
            Ok(output) if output.status.success() => {
                // Another process may have been faster.
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
