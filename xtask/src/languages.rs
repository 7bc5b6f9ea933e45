//! `cargo xtask languages`: functions in C, TypeScript and Python, built against bindings that are generated from wit/.
//!
//! Installs each language's tools through its own package manager below the target folder, builds the keyed counters of
//! `tests/guests/languages`, and runs each one three times: in one process, in a server that is killed on the way, and
//! with a fresh instance for each turn. Every result must equal a plain count, and that of the counter in Rust.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use cofferdam_tests::{Server, committed_lines, difference, wait_until};

use crate::workspace::{Workspace, find_program, run, step};

const SOURCES: &str = "tests/guests/languages";
const WIT_BINDGEN: [&str; 2] = ["wit-bindgen-cli", "0.63.0"];
const PYTHON_PACKAGES: [&str; 2] = ["componentize-py==0.25.1", "ziglang==0.17.1"];
/// Lines of the input, and the lines per second of the run with a kill.
const RECORDS: u64 = 100_000;
const RATE: u64 = 20_000;
const KEYS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(180);
const LANGUAGES: [&str; 4] = ["rust", "c", "typescript", "python"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Leaves out the other languages
    #[arg(value_parser = LANGUAGES)]
    only: Vec<String>,
}

/// A built component and how its runs went.
struct Guest {
    language: &'static str,
    component: PathBuf,
    seconds: f64,
    fresh_seconds: f64,
}

pub fn run_all(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if let Some(missing) = ["python3", "node", "npm"].into_iter().find(|name| find_program(name).is_none()) {
        bail!("functions in other languages need `{missing}`, which is not installed (Debian: nodejs npm python3-pip)");
    }
    workspace.build(&[("relay", "tests/guests/relay")])?;
    let folder = workspace.checkout.fresh_dir("languages")?;
    let expected = write_input(&folder.join("in.csv"))?;
    let tools = Tools { workspace, folder: &folder };
    let wanted = |language: &&str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == language);
    let mut guests = Vec::new();
    for language in LANGUAGES.into_iter().filter(wanted) {
        let component = step(&format!("build the counter in {language}"), || tools.build(language))?;
        guests.push(check(workspace, &folder, language, component, &expected)?);
    }
    println!("\n{:<12} {:>12} {:>16} {:>22}", "", "component", "records/s", "fresh instances");
    for Guest { language, component, seconds, fresh_seconds } in guests {
        let kib = fs::metadata(component)?.len() >> 10;
        let [warm, fresh] = [seconds, fresh_seconds].map(|seconds| RECORDS as f64 / seconds);
        println!("{language:<12} {kib:>8} KiB {warm:>16.0} {fresh:>22.0}");
    }
    println!("\nEvery result equals a plain count, also after a kill and with fresh instances.");
    Ok(())
}

/// Writes the input and returns the expected lines, sorted.
fn write_input(path: &Path) -> Result<Vec<String>> {
    let (mut input, mut expected) = (String::new(), Vec::new());
    let mut counts = HashMap::new();
    for record in 0..RECORDS {
        // A few keys are frequent. The step is coprime to their number.
        let key = (record * 7919 % KEYS).min(record * 104_729 % KEYS);
        let count: &mut u64 = counts.entry(key).or_default();
        *count += 1;
        let _ = writeln!(input, "user{key},{record}");
        expected.push(format!("user{key},{record},{count}"));
    }
    fs::write(path, input)?;
    expected.sort_unstable();
    Ok(expected)
}

/// Runs a component in all three ways.
fn check(
    workspace: &Workspace,
    folder: &Path,
    language: &'static str,
    component: PathBuf,
    expected: &[String],
) -> Result<Guest> {
    // The first run compiles the component. The second one, which is timed, may find its code in the cache.
    let once = |name: &str, fresh: bool| {
        run_once(workspace, folder, &format!("{language}-{name}"), &component, fresh, expected)
    };
    step(&format!("run {language}"), || once("first", false))?;
    let seconds = step(&format!("run {language} again"), || once("again", false))?;
    let fresh_seconds = step(&format!("run {language} with fresh instances"), || once("fresh", true))?;
    step(&format!("run {language} in a server that is killed"), || {
        run_killed(workspace, &folder.join(format!("{language}-killed")), &component, expected)
    })?;
    Ok(Guest { language, component, seconds, fresh_seconds })
}

/// Runs the pipeline in one process. Returns its seconds.
fn run_once(
    workspace: &Workspace,
    folder: &Path,
    name: &str,
    component: &Path,
    fresh: bool,
    expected: &[String],
) -> Result<f64> {
    let work_dir = folder.join(name);
    fs::create_dir_all(&work_dir)?;
    let path = work_dir.join("pipeline.toml");
    fs::write(&path, pipeline(&work_dir, &component.display().to_string(), fresh, None))?;
    let start = Instant::now();
    run(workspace.command(workspace.checkout.cofferdam()).arg("run").arg(&path).stderr(Stdio::null()))?;
    let seconds = start.elapsed().as_secs_f64();
    compare(&work_dir, expected)?;
    Ok(seconds)
}

/// Runs the pipeline in a server that is killed after a checkpoint in the middle.
fn run_killed(workspace: &Workspace, work_dir: &Path, component: &Path, expected: &[String]) -> Result<()> {
    fs::create_dir_all(work_dir)?;
    let binary = workspace.checkout.cofferdam();
    let server = Server::start(&binary, work_dir, &[])?;
    let mut push = workspace.command(&binary);
    push.args(["--server", server.api.base(), "component", "push", "--name", "count@1.0.0"]).arg(component);
    run(push.stdout(Stdio::null()))?;
    let job = server.api.submit_ok(&pipeline(work_dir, "count@1.0.0", false, Some(RATE)))?;
    wait_until("the job is half through and has a checkpoint", PATIENCE, || {
        let view = server.api.job(&job)?;
        ensure!(view["status"] != "FAILED" && view["status"] != "FINISHED", "the job is not running: {view}");
        let records = view["records_in"].as_u64().unwrap_or(0);
        Ok((records > RECORDS / 2 && view["last_checkpoint"].is_u64()).then_some(()))
    })?;
    server.kill()?;
    let server = Server::start(&binary, work_dir, &[])?;
    let finished = server.api.wait_for(&job, "FINISHED")?;
    ensure!(finished["restored_checkpoint"].is_u64(), "the job did not continue from a checkpoint");
    compare(work_dir, expected)
}

fn compare(work_dir: &Path, expected: &[String]) -> Result<()> {
    match difference(expected, &committed_lines(&work_dir.join("out"))?) {
        Some(difference) => bail!("the output in {} differs from the plain count: {difference}", work_dir.display()),
        None => Ok(()),
    }
}

fn pipeline(work_dir: &Path, component: &str, fresh: bool, rate: Option<u64>) -> String {
    let input = work_dir.parent().unwrap_or(work_dir).join("in.csv");
    let (input, out) = (input.display(), work_dir.join("out"));
    // The counter in Rust needs no grants; the runtimes of the other languages import WASI.
    let grants = match component.contains("relay") {
        true => "",
        false => "grants = { wasi = [\"cli\", \"clocks\", \"filesystem\", \"sockets\"], random = true }",
    };
    let (out, rate) = (out.display(), rate.map_or(String::new(), |rate| format!("rate = {rate}")));
    format!(
        r#"
name = "count"
parallelism = 2
[checkpoint]
interval = "300ms"
[state]
backend = "rocksdb"
[sandbox]
fresh_instance = {fresh}
[source.lines]
connector = "file"
path = "{input}"
format = "csv"
header = false
{rate}
[operator.count]
input = "lines"
key = {{ column = 0 }}
component = "{component}"
function = "count"
limits = {{ memory = "256MiB" }}
{grants}
[sink.out]
input = "count"
connector = "file"
path = "{out}"
"#
    )
}

/// Installs tools and builds components.
struct Tools<'a> {
    workspace: &'a Workspace,
    /// Folder of the components and of what is generated for them.
    folder: &'a Path,
}

impl Tools<'_> {
    fn build(&self, language: &str) -> Result<PathBuf> {
        match language {
            "c" => self.c(),
            "typescript" => self.typescript(),
            "python" => self.python(),
            _ => self.workspace.checkout.component("relay"),
        }
    }

    fn setup(&self, name: &str) -> PathBuf {
        self.workspace.checkout.target.join("setup/languages").join(name)
    }

    fn sources(&self, language: &str) -> PathBuf {
        self.workspace.checkout.root.join(SOURCES).join(language)
    }

    fn wit(&self) -> PathBuf {
        self.workspace.checkout.root.join("wit")
    }

    /// Runs a program in the folder `generated`, which is created.
    fn run_in(&self, generated: &str, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<()> {
        let folder = self.folder.join(generated);
        fs::create_dir_all(&folder)?;
        let mut command = self.workspace.command(program);
        run(command.current_dir(folder).args(arguments).env("PYTHONPATH", self.setup("python")).stdout(Stdio::null()))
    }

    /// wit-bindgen generates the bindings, Zig compiles with its wasi-libc, and jco makes a component of the module.
    fn c(&self) -> Result<PathBuf> {
        let [package, version] = WIT_BINDGEN;
        let cargo_root = self.setup("cargo");
        let wit_bindgen = cargo_root.join("bin/wit-bindgen");
        if !wit_bindgen.is_file() {
            let mut install = self.workspace.cargo(&["install", "--debug", "--version", version, package, "--root"]);
            run(install.arg(&cargo_root))?;
        }
        self.python_packages()?;
        let jco = self.node_modules()?.join(".bin/jco");
        self.run_in("c", &wit_bindgen, &["c", "-w", "component", "--out-dir", ".", &text(&self.wit())])?;
        let source = text(&self.sources("c").join("count.c"));
        let arguments = ["-m", "ziglang", "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-s", "-Wall"];
        let files = ["-Wextra", "-I.", "-o", "core.wasm", &source, "component.c", "component_component_type.o"];
        self.run_in("c", "python3", &[&arguments[..], &files[..]].concat())?;
        self.run_in("c", jco, &["new", "core.wasm", "--wasi-reactor", "-o", "count.wasm"])?;
        Ok(self.folder.join("c/count.wasm"))
    }

    /// jco generates the types, the TypeScript compiler checks and translates, and componentize-qjs adds QuickJS.
    fn typescript(&self) -> Result<PathBuf> {
        let modules = self.node_modules()?;
        let project = modules.parent().unwrap_or(&modules);
        for generated in ["wit", "types", "build"] {
            let _ = fs::remove_dir_all(project.join(generated));
        }
        fs::create_dir_all(project.join("wit"))?;
        for file in fs::read_dir(self.wit())? {
            let file = file?;
            fs::copy(file.path(), project.join("wit").join(file.file_name()))?;
        }
        for script in ["types", "check", "component"] {
            self.run_in(&text(project), "npm", &["run", "--silent", script])?;
        }
        let component = self.folder.join("typescript.wasm");
        fs::copy(project.join("component.wasm"), &component)?;
        Ok(component)
    }

    /// componentize-py generates the bindings and adds CPython.
    fn python(&self) -> Result<PathBuf> {
        self.python_packages()?;
        let program = self.setup("python").join("bin/componentize-py");
        let folder = self.folder.join("python");
        fs::create_dir_all(&folder)?;
        // A copy, because Python writes what it has compiled beside its sources.
        fs::copy(self.sources("python").join("count.py"), folder.join("count.py"))?;
        let wit = text(&self.wit());
        let arguments = ["-q", "-d", &wit, "-w", "component", "componentize", "count", "-o", "count.wasm"];
        self.run_in("python", program, &arguments)?;
        Ok(self.folder.join("python/count.wasm"))
    }

    fn python_packages(&self) -> Result<()> {
        let folder = self.setup("python");
        if folder.join("componentize_py").is_dir() && folder.join("ziglang").is_dir() {
            return Ok(());
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"]).arg(&folder).args(PYTHON_PACKAGES);
        step(&format!("install {} from PyPI", PYTHON_PACKAGES.join(" and ")), || run(&mut pip))
    }

    /// Copies the TypeScript project below the target folder and installs its packages there.
    fn node_modules(&self) -> Result<PathBuf> {
        let project = self.setup("typescript");
        fs::create_dir_all(&project)?;
        let mut changed = !project.join("node_modules").is_dir();
        for file in fs::read_dir(self.sources("js"))? {
            let file = file?;
            let (from, to) = (file.path(), project.join(file.file_name()));
            let same = fs::read(&to).is_ok_and(|known| fs::read(&from).is_ok_and(|now| now == known));
            changed |= !same && file.file_name() == "package.json";
            fs::copy(from, to)?;
        }
        if changed {
            let mut npm = Command::new("npm");
            npm.current_dir(&project).args(["install", "--silent", "--no-audit", "--no-fund"]);
            step("install jco, componentize-qjs and TypeScript from npm", || run(&mut npm))?;
        }
        Ok(project.join("node_modules"))
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
