//! `cargo xtask web`: builds the dashboard, whose built files are committed, and tests it in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{Workspace, find_program, run, step, succeeds};

/// The oldest Node.js that builds the dashboard.
const NODE_MAJOR_MIN: u32 = 20;
const FILES: [&str; 3] = ["app.css", "app.js", "index.html"];
const DEBIAN_PACKAGES: [&str; 4] = ["chromium", "fonts-inter", "fonts-jetbrains-mono", "pngquant"];
/// Components of the pipelines that the tests run.
const TEST_COMPONENTS: [(&str, &str); 4] = [
    ("late-flights", "examples/late-flights"),
    ("misbehaving", "tests/guests/misbehaving"),
    ("printing", "tests/guests/printing"),
    ("repairable", "tests/guests/repairable"),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// Fail if the committed files are not those of the sources, instead of writing them
    #[arg(long)]
    check: bool,
    /// Test the dashboard in Chromium against a server. Installs Chromium on Debian
    #[arg(long, conflicts_with = "check")]
    test: bool,
    /// Write the pictures of docs/dashboard
    #[arg(long, conflicts_with_all = ["check", "test"])]
    pictures: bool,
    /// Passed to Playwright, such as a part of a test's name after `-g`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Arguments {
    /// Returns whether the command builds and starts a server.
    pub fn needs_server(&self) -> bool {
        self.test || self.pictures
    }
}

pub fn build(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if node_major().is_none_or(|major| major < NODE_MAJOR_MIN) {
        bail!(
            "the dashboard is built with Node.js {NODE_MAJOR_MIN} or later, and `node` and `npm` are not on the PATH: install them, \
             for instance from https://nodejs.org. Building Cofferdam itself does not need them"
        );
    }
    if arguments.check {
        return check(workspace);
    }
    install(workspace)?;
    let out = workspace.checkout.root.join("host/src/http/dashboard");
    step("build the dashboard", || bundle(workspace, &out))?;
    if !arguments.needs_server() {
        return Ok(());
    }
    let Some(browser) = browser_or_install()? else {
        eprintln!(
            "==> Chromium is not installed, so the dashboard is not tested in a browser. On Debian this command installs it"
        );
        return Ok(());
    };
    workspace.build(&TEST_COMPONENTS)?;
    let what =
        if arguments.pictures { "write the pictures of the dashboard" } else { "test the dashboard in a browser" };
    step(what, || browse(workspace, &browser, arguments))
}

/// Compares the committed files with those of the sources, and tests them in a browser, as far as Node.js and Chromium are installed.
pub fn check_where_possible(workspace: &Workspace) -> Result<()> {
    if node_major().is_none_or(|major| major < NODE_MAJOR_MIN) {
        eprintln!("==> Node.js {NODE_MAJOR_MIN} is not installed, so the dashboard is not built again and compared");
        return Ok(());
    }
    check(workspace)?;
    let Some(browser) = browser() else {
        eprintln!(
            "==> Chromium is not installed, so the dashboard is not tested in a browser: see `cargo xtask web --test`"
        );
        return Ok(());
    };
    // All tests take about twice as long: they are for changes of the page.
    let subset = ["--grep-invert", "dark|320 px"].map(str::to_owned).to_vec();
    let arguments = Arguments { check: false, test: true, pictures: false, arguments: subset };
    step("test the dashboard in a browser", || browse(workspace, &browser, &arguments))
}

fn check(workspace: &Workspace) -> Result<()> {
    install(workspace)?;
    let built = workspace.checkout.target.join("dashboard");
    step("build the dashboard and compare it", || {
        bundle(workspace, &built)?;
        for file in FILES {
            let committed = fs::read(workspace.checkout.root.join("host/src/http/dashboard").join(file))?;
            let is_same = committed == fs::read(built.join(file))?;
            ensure!(
                is_same,
                "host/src/http/dashboard/{file} is not what the sources give: run `cargo xtask web` and commit it"
            );
        }
        Ok(())
    })
}

/// Returns the version of `node` on the `PATH`.
fn node_major() -> Option<u32> {
    find_program("npm")?;
    let output = Command::new(find_program("node")?).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

fn npm(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.command("npm");
    command.current_dir(workspace.checkout.root.join("dashboard")).args(arguments);
    command
}

/// Installs the packages of the lock file, unless they are installed.
fn install(workspace: &Workspace) -> Result<()> {
    let folder = workspace.checkout.root.join("dashboard");
    let (lock, mark) = (fs::read(folder.join("package-lock.json"))?, folder.join("node_modules/.installed-lock"));
    if fs::read(&mark).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    step("install the packages of the dashboard", || run(&mut npm(workspace, &["ci", "--no-progress"])))?;
    fs::write(&mark, lock).with_context(|| format!("cannot write {}", mark.display()))
}

fn bundle(workspace: &Workspace, out: &Path) -> Result<()> {
    run(&mut npm(workspace, &["run", "--silent", "check"]))?;
    run(npm(workspace, &["run", "--silent", "build", "--", "--out"]).arg(out))
}

fn browser() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find_program)
}

/// Returns a browser. Installs it where apt-get is, if the user may.
fn browser_or_install() -> Result<Option<PathBuf>> {
    if let Some(browser) = browser() {
        return Ok(Some(browser));
    }
    if find_program("apt-get").is_none() || !succeeds(Command::new("test").args(["-w", "/var/lib/dpkg"])) {
        return Ok(None);
    }
    step("install Chromium", || {
        run(Command::new("apt-get").args(["install", "--yes", "--no-install-recommends"]).args(DEBIAN_PACKAGES))
    })?;
    Ok(browser())
}

fn browse(workspace: &Workspace, browser: &Path, arguments: &Arguments) -> Result<()> {
    let checkout = &workspace.checkout;
    let project = if arguments.pictures { "pictures" } else { "tests" };
    let mut command = npm(workspace, &["run", "--silent", "browse", "--", "--project"]);
    command
        .arg(project)
        .args(&arguments.arguments)
        .env("COFFERDAM_BINARY", checkout.cofferdam())
        .env("COFFERDAM_COMPONENTS", checkout.components())
        .env("COFFERDAM_WORK", checkout.fresh_dir("dashboard-tests")?)
        .env("CHROMIUM", browser);
    run(&mut command)
}
