//! A server that allows one folder to pipelines, a folder beside it that nothing may touch, and the server's peak memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{Answer, Api, Server, peak_memory_bytes, reset_peak_memory};

/// A server with the allowed folder `inside` and the forbidden folder `outside`.
pub struct Guarded {
    pub server: Server,
    /// The folder of both.
    pub dir: PathBuf,
    untouched: Traces,
}

/// Path, kind, length and time of the last change of each entry of a folder.
type Traces = BTreeMap<PathBuf, (u32, u64, i64, i64)>;

impl Guarded {
    /// Starts a server in a new folder. `arguments` allow further things.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Guarded> {
        // The folder exists once a server has been started in it, but it has to be named at the start.
        let dir = crate::Checkout::current().fresh_dir(&format!("tests/{name}-files"))?;
        for folder in ["inside", "outside"] {
            fs::create_dir(dir.join(folder))?;
        }
        fs::write(dir.join("outside/secret"), "k,n\nsecret,1\n")?;
        let inside = dir.join("inside").display().to_string();
        let arguments = [&["--allow-path", inside.as_str()], arguments].concat();
        let (server, _) = Server::start_restricted(name, &arguments)?;
        let untouched = traces(&dir.join("outside"))?;
        reset_peak_memory(server.process_id())?;
        Ok(Guarded { server, dir, untouched })
    }

    pub fn inside(&self) -> PathBuf {
        self.dir.join("inside")
    }

    pub fn outside(&self) -> PathBuf {
        self.dir.join("outside")
    }

    pub fn api(&self) -> &Api {
        &self.server.api
    }

    /// Notes the forbidden folder as it is now.
    pub fn note_outside(&mut self) -> Result<()> {
        self.untouched = traces(&self.outside())?;
        Ok(())
    }

    /// Returns the largest resident memory of the server since its start, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        peak_memory_bytes(self.server.process_id()).unwrap_or(u64::MAX)
    }

    /// Fails if anything in the forbidden folder changed, if the server has ended or panicked, or if its memory was larger
    /// than this.
    pub fn check(&mut self, peak_bytes_max: u64) -> Result<()> {
        ensure!(self.server.is_up()?, "the server has ended");
        let now = traces(&self.outside())?;
        ensure!(now == self.untouched, "the forbidden folder was changed: {:?}, now {now:?}", self.untouched);
        let peak = self.peak_bytes();
        ensure!(peak <= peak_bytes_max, "the server had {} MiB of memory", peak >> 20);
        ensure!(self.api().get("/v1/health")?.status == 200, "the server does not answer");
        let log = fs::read_to_string(self.log_path())?;
        ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        let name = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.dir.with_file_name(name.trim_end_matches("-files")).join("server.log")
    }
}

/// Returns what is wrong with an answer that should be a refusal with one of these codes.
pub fn not_refused(answer: &Answer, codes: &[&str]) -> Option<String> {
    let is_problem = answer.content_type == "application/problem+json" && (400..600).contains(&answer.status);
    let is_right = is_problem && codes.contains(&answer.code());
    (!is_right).then(|| format!("{} {} instead of {codes:?}: {}", answer.status, answer.code(), answer.body))
}

fn traces(folder: &Path) -> Result<Traces> {
    let mut found = Traces::new();
    collect(folder, &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, found: &mut Traces) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            collect(&path, found)?;
        }
        found.insert(path, (metadata.mode(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
    }
    Ok(())
}
