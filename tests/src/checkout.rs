//! Paths of the checkout, its binaries and the components that tests upload.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folders of a checkout and its build.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The workspace's root.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Checkout {
    /// Finds the checkout of this program and Cargo's target folder for it. Asks Cargo at run time, because checkouts
    /// that share a target folder also share compiled programs.
    pub fn current() -> Checkout {
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package.parent().unwrap_or(&package).to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(target) => root.join(target),
            None => root.join("target"),
        };
        Checkout { root, target }
    }

    /// Returns the `cofferdam` binary of the release profile.
    pub fn cofferdam(&self) -> PathBuf {
        self.release("cofferdam")
    }

    /// Returns the program that computes the expected output of late-flights.
    pub fn late_flights_expected(&self) -> PathBuf {
        self.release("late-flights-expected")
    }

    /// Returns the folder of the components that `cargo xtask` builds for tests and the demo.
    pub fn components(&self) -> PathBuf {
        env::var_os("COFFERDAM_TEST_COMPONENTS").map_or_else(|| self.target.join("components"), PathBuf::from)
    }

    /// Returns a component by the name of its crate.
    pub fn component(&self, name: &str) -> Result<PathBuf> {
        let path = self.components().join(format!("{name}.wasm"));
        if !path.exists() {
            bail!("{} does not exist. Next: `cargo xtask test` builds it and runs the tests", path.display());
        }
        Ok(path)
    }

    /// Returns the crates below `tests/guests` and `examples`, which are components: names and folders.
    pub fn guests(&self) -> Result<Vec<(String, String)>> {
        let mut guests = Vec::new();
        for parent in ["tests/guests", "examples"] {
            let of_parent = crate::example::names(&self.root.join(parent))?.into_iter();
            let crates = of_parent.filter(|name| self.root.join(parent).join(name).join("Cargo.toml").is_file());
            guests.extend(crates.map(|name| (name.clone(), format!("{parent}/{name}"))));
        }
        Ok(guests)
    }

    /// Returns the folder of the example late-flights.
    pub fn late_flights(&self) -> PathBuf {
        self.root.join("examples/late-flights")
    }

    /// Creates an empty folder of this name below the target folder.
    pub fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.target.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// Formats a path for messages: relative to the root if it is below it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn release(&self, name: &str) -> PathBuf {
        self.target.join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }
}
