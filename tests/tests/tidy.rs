//! Style that a test can hold: module ranks, file lengths, module heads, no panics in the host, no paths of one machine.
//!
//! Every check is a function over text, so that the tests below can show that it finds what it is for.

mod tidy_source;

use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::Place;
use tidy_source::{crate_modules, production_code, test_modules};

/// A file is split by this many lines.
const LINES_MAX: usize = 900;

/// The modules of host/src by rank (ARCHITECTURE.md): one uses lower ranks only.
const RANKS: &[(&str, u8)] = &[
    ("cli", 7),
    ("http", 7),
    ("job", 6),
    ("runtime", 5),
    ("operator", 4),
    ("connector", 4),
    ("state_reader", 4),
    ("sandbox", 3),
    ("checkpoint", 3),
    ("turn", 2),
    ("timer", 2),
    ("state", 1),
    ("model", 0),
    ("pipeline", 0),
    ("clock", 0),
    ("error", 0),
    ("escape", 0),
    ("log_limit", 0),
    ("stdio", 0),
];

/// The only uses between modules of one rank: words that the whole house speaks.
const SIBLINGS: &[(&str, &str)] =
    &[("pipeline", "error"), ("pipeline", "model"), ("model", "error"), ("error", "escape"), ("stdio", "escape")];

/// What must not stand in host/src outside of tests: bytes that we do not trust may reach it.
const PANICS: &[&str] = &[
    ".unwrap()",
    ".expect(",
    ".unwrap_err()",
    ".expect_err(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
    // They panic where the stream is closed, and wait where nothing reads it: `stdio` does neither.
    "println!(",
    "print!(",
];

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// Uses of higher or equal rank. `path` is relative to host/src.
fn rank_defects(path: &Path, text: &str) -> Vec<String> {
    let module = path.iter().next().and_then(|first| Path::new(first).file_stem()?.to_str()).unwrap_or("");
    if module == "lib" || module == "main" {
        return Vec::new();
    }
    let Some(own) = rank(module) else {
        return vec![format!("the module `{module}` has no rank: add it to RANKS in tidy.rs")];
    };
    let mut defects = Vec::new();
    for (line, used) in crate_modules(path, &production_code(text)) {
        let Some(other) = rank(&used) else { continue };
        let allowed = used == module || other < own || SIBLINGS.contains(&(module, used.as_str()));
        if !allowed {
            defects.push(format!("line {line}: `{module}` (rank {own}) must not use `{used}` (rank {other})"));
        }
    }
    defects
}

fn panic_defects(text: &str) -> Vec<String> {
    let code = production_code(text);
    let found = |(index, line): (usize, &str)| {
        let panic = PANICS.iter().find(|panic| line.contains(*panic))?;
        Some(format!("line {}: `{panic}` may be reached from bytes that we do not trust", index + 1))
    };
    code.lines().enumerate().filter_map(found).collect()
}

fn length_defects(text: &str) -> Vec<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{lines} lines, more than {LINES_MAX}: split it")).into_iter().collect()
}

fn head_defects(text: &str) -> Vec<String> {
    let missing = !text.starts_with("//!");
    missing
        .then(|| "does not open with `//!`: what it owns, its invariant, what it must not know".to_string())
        .into_iter()
        .collect()
}

/// Absolute paths that exist on one machine only.
fn machine_path_defects(text: &str) -> Vec<String> {
    let folders = ["work", "root", "home", "Users"].map(|folder| format!("/{folder}/"));
    let found = |(index, line): (usize, &str)| {
        let folder = folders.iter().find(|folder| {
            // Not `https://example.org/work/` nor `target/work/`: only where the path begins with it.
            line.match_indices(folder.as_str()).any(|(at, _)| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-}$~*".contains(before))
            })
        })?;
        Some(format!("line {}: a path of one machine: `{folder}`", index + 1))
    };
    text.lines().enumerate().filter_map(found).collect()
}

/// Files with one of these extensions below a folder of the checkout, in order; without what is built or hidden.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, extensions));
            }
        } else if path.extension().is_some_and(|own| extensions.iter().any(|extension| own == *extension)) {
            found.push(path);
        }
    }
    found
}

/// The Rust files below a folder that are not declared under `#[cfg(test)]`, where they are allowed more.
fn production_files(folder: &Path) -> Vec<PathBuf> {
    let all = files(folder, &["rs"]);
    let tests: Vec<PathBuf> =
        all.iter().flat_map(|path| test_modules(path, &fs::read_to_string(path).unwrap())).collect();
    // A test module is `x.rs`, or `x/mod.rs` and what else is in `x`.
    let is_test =
        |path: &PathBuf| tests.iter().any(|test| path == &test.with_extension("rs") || path.starts_with(test));
    all.into_iter().filter(|path| !is_test(path)).collect()
}

fn check(files: Vec<PathBuf>, defects: impl Fn(&Path, &str) -> Vec<String>) {
    let root = Place::of_this_checkout().root;
    assert!(!files.is_empty(), "nothing was checked");
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        all.extend(defects(&path, &text).into_iter().map(|defect| format!("{name}: {defect}")));
    }
    assert!(all.is_empty(), "{} defects:\n{}", all.len(), all.join("\n"));
}

fn root() -> PathBuf {
    Place::of_this_checkout().root
}

fn host_code() -> Vec<PathBuf> {
    production_files(&root().join("host/src"))
}

#[test]
fn modules_use_lower_ranks_only() {
    let source = root().join("host/src");
    check(host_code(), |path, text| rank_defects(path.strip_prefix(&source).unwrap(), text));
}

#[test]
fn the_host_has_no_panics_outside_of_tests() {
    check(host_code(), |_, text| panic_defects(text));
}

#[test]
fn no_file_is_too_long() {
    check(files(&root(), &["rs"]), |_, text| length_defects(text));
}

#[test]
fn every_module_says_what_it_owns() {
    check(production_files(&root()), |_, text| head_defects(text));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    check(files(&root(), &["rs", "toml", "md", "wit", "yml", "html", "js"]), |_, text| machine_path_defects(text));
}

mod the_checks_find_what_they_are_for {
    use super::*;

    #[test]
    fn a_use_of_a_higher_rank_or_a_sibling() {
        let bad = [
            ("state/memory.rs", "use crate::job::JobStore;"),
            ("state/memory.rs", "use crate::state;"),
            ("checkpoint/mod.rs", "fn f() { crate::sandbox::run() }"),
            ("turn.rs", "use crate::{error::Result, timer};"),
            ("state/rocks/mod.rs", "use super::super::runtime::Channel;"),
            ("state/mod.rs", "use {std::fs, crate::operator::Window};"),
            ("unknown.rs", ""),
        ];
        let found: Vec<usize> = bad.iter().map(|(path, text)| rank_defects(Path::new(path), text).len()).collect();
        assert_eq!(found, [1, 0, 1, 1, 1, 1, 1]);
        let good = "use crate::{error::Result, model::{Batch, Keys}};\n// crate::job\n#[cfg(test)]\nmod t { use crate::job::X; }";
        assert!(rank_defects(Path::new("state/mod.rs"), good).is_empty());
        assert!(rank_defects(Path::new("lib.rs"), "pub use crate::cli::main;").is_empty());
    }

    #[test]
    fn a_panic_outside_of_tests() {
        for panic in PANICS {
            assert_eq!(panic_defects(&format!("fn f() {{\n    x{panic});\n}}")).len(), 1, "{panic}");
        }
        let good =
            "/// `.unwrap()`\nfn f() { g(\"panic!(\") }\n#[cfg(test)]\nmod tests {\n    fn t() { x.unwrap() }\n}\n";
        assert!(panic_defects(good).is_empty());
        let after = "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn t() { x.unwrap() }\nfn f() { x.unwrap() }";
        assert_eq!(panic_defects(after), ["line 5: `.unwrap()` may be reached from bytes that we do not trust"]);
    }

    #[test]
    fn a_long_file_and_a_missing_head() {
        assert_eq!(length_defects(&"x\n".repeat(LINES_MAX + 1)).len(), 1);
        assert!(length_defects(&"x\n".repeat(LINES_MAX)).is_empty());
        assert_eq!(head_defects("use std::fs;\n//! late").len(), 1);
        assert!(head_defects("//! Owns it.\n").is_empty());
    }

    #[test]
    fn a_path_of_one_machine() {
        let path = |folder: &str| format!("open(\"/{folder}/me/file\")");
        for folder in ["work", "root", "home", "Users"] {
            assert_eq!(machine_path_defects(&path(folder)).len(), 1, "{folder}");
        }
        assert!(machine_path_defects("target/work/x, https://example.org/home/x, /usr/lib/x, $HOME/root/x").is_empty());
    }
}
