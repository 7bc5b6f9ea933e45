//! Style that a test can check: module ranks, import cycles, names, lengths, module heads, no panics in the host, no paths of
//! one machine.
//!
//! Every check is a function over text. The tests at the end show that each of them finds a planted defect.

mod tidy_source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cofferdam_tests::Checkout;
use tidy_source::imports::ImportGraph;
use tidy_source::items::{defined_types, function_lengths};
use tidy_source::{crate_modules, production_code, test_modules};

/// Lines of a file, at most.
const LINES_MAX: usize = 700;

/// Lines of a function, at most.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of ARCHITECTURE.md, at most.
const ARCHITECTURE_LINES_MAX: usize = 200;

/// Type names that do not say what the type is.
const VAGUE_NAMES: &[&str] = &[
    "Any",
    "At",
    "Bad",
    "Begin",
    "Both",
    "Cut",
    "Data",
    "Done",
    "Ended",
    "Failed",
    "Fixed",
    "Found",
    "Given",
    "Held",
    "Image",
    "InProgress",
    "Info",
    "Item",
    "Known",
    "Limits",
    "Made",
    "Member",
    "Now",
    "Object",
    "Open",
    "Part",
    "Checkout",
    "Read",
    "Seen",
    "Sent",
    "Shown",
    "Start",
    "Stored",
    "Taken",
    "Thing",
    "Told",
    "Waiting",
    "What",
];

/// First words of type names that lack their noun, such as `OfKey`.
const HEADLESS_PREFIXES: &[&str] = &["At", "By", "Of", "With"];

/// The modules of host/src by rank (ARCHITECTURE.md). A module uses lower ranks only.
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
    ("job_log", 1),
    ("state", 1),
    ("auth", 1),
    ("format", 1),
    ("tracer", 1),
    ("fault_groups", 1),
    ("problem_body", 1),
    ("access", 0),
    ("model", 0),
    ("pipeline", 0),
    ("clock", 0),
    ("error", 0),
    ("escape", 0),
    ("fail_point", 0),
    ("allocator", 0),
    ("log_limit", 0),
    ("namespace_usage", 0),
    ("wakeup", 0),
    ("permits", 0),
    ("stdio", 0),
];

/// The only permitted uses between modules of one rank.
const SIBLINGS: &[(&str, &str)] = &[
    ("access", "error"),
    ("clock", "error"),
    ("access", "pipeline"),
    ("pipeline", "error"),
    ("pipeline", "model"),
    ("model", "error"),
    ("model", "escape"),
    ("model", "wakeup"),
    ("error", "escape"),
    ("namespace_usage", "error"),
    ("namespace_usage", "log_limit"),
    ("stdio", "clock"),
    ("stdio", "escape"),
    ("stdio", "wakeup"),
    ("permits", "clock"),
    ("permits", "model"),
    ("permits", "wakeup"),
];

/// Forbidden in host/src outside of tests, because untrusted bytes could reach it.
const PANICS: &[&str] = &[
    ".unwrap()",
    ".expect(",
    ".unwrap_err()",
    ".expect_err(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
    // These panic if the stream is closed and block if nothing reads it. The module `stdio` does neither.
    "println!(",
    "print!(",
];

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// Uses of a higher or equal rank. `path` is relative to host/src.
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

fn function_defects(text: &str) -> Vec<String> {
    let long = function_lengths(text).into_iter().filter(|(.., lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(line, name, lines)| {
        format!("line {line}: the function `{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}")
    })
    .collect()
}

fn name_defects(text: &str) -> Vec<String> {
    let is_headless = |name: &str| {
        let rest = HEADLESS_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
        rest.is_some_and(|rest| rest.starts_with(char::is_uppercase))
    };
    let vague = |(_, name): &(usize, String)| VAGUE_NAMES.contains(&name.as_str()) || is_headless(name);
    let defect = |(line, name)| format!("line {line}: the type name `{name}` does not say what the type is");
    defined_types(text).into_iter().filter(vague).map(defect).collect()
}

/// Type names with several definitions. `sources` are file names and their texts.
fn duplicate_type_defects<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for (file, text) in sources {
        for (line, name) in defined_types(text) {
            places.entry(name).or_default().push(format!("{file}:{line}"));
        }
    }
    let several = places.into_iter().filter(|(_, places)| places.len() > 1);
    several
        .map(|(name, places)| format!("the type name `{name}` occurs {} times: {}", places.len(), places.join(", ")))
        .collect()
}

fn cycle_defects<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let graph = ImportGraph::new(sources.into_iter().map(|(file, text)| (Path::new(file), text)));
    let names =
        |files: Vec<PathBuf>| files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    graph.cycles().into_iter().map(|files| format!("files that import each other: {}", names(files))).collect()
}

fn path_attribute_defects(text: &str) -> Vec<String> {
    let attribute = concat!("#[", "path");
    let found = |(index, line): (usize, &str)| {
        line.trim_start().starts_with(attribute).then(|| format!("line {}: a module outside of its place", index + 1))
    };
    text.lines().enumerate().filter_map(found).collect()
}

fn architecture_defects(text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let defect = || format!("{lines} lines, more than {ARCHITECTURE_LINES_MAX}: move figures and decisions to docs");
    (lines > ARCHITECTURE_LINES_MAX).then(defect).into_iter().collect()
}

/// Files named in backticks that do not exist below any of `folders`.
fn missing_file_defects(text: &str, folders: &[PathBuf]) -> Vec<String> {
    let mut defects = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            let is_file = name.ends_with(".rs") && name.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
            if is_file && !folders.iter().any(|folder| folder.join(name).exists()) {
                defects.push(format!("line {}: there is no file `{name}`", index + 1));
            }
        }
    }
    defects
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
            // Only where the path begins: not `https://example.org/work/`, not `target/work/`.
            line.match_indices(folder.as_str()).any(|(at, _)| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-}$~*".contains(before))
            })
        })?;
        Some(format!("line {}: a path of one machine: `{folder}`", index + 1))
    };
    text.lines().enumerate().filter_map(found).collect()
}

/// Files with one of these extensions below a folder of the checkout, sorted. Skips build output and hidden folders.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                found.extend(files(&path, extensions));
            }
        } else if path.extension().is_some_and(|own| extensions.iter().any(|extension| own == *extension)) {
            found.push(path);
        }
    }
    found
}

/// The Rust files below a folder that are not declared under `#[cfg(test)]`.
fn production_files(folder: &Path) -> Vec<PathBuf> {
    let all = files(folder, &["rs"]);
    let tests: Vec<PathBuf> =
        all.iter().flat_map(|path| test_modules(path, &fs::read_to_string(path).unwrap())).collect();
    // A test module is `x.rs`, or `x/mod.rs` and all other files in `x`.
    let is_test =
        |path: &PathBuf| tests.iter().any(|test| path == &test.with_extension("rs") || path.starts_with(test));
    all.into_iter().filter(|path| !is_test(path)).collect()
}

fn check(files: Vec<PathBuf>, defects: impl Fn(&Path, &str) -> Vec<String>) {
    let root = Checkout::current().root;
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
    Checkout::current().root
}

fn host_code() -> Vec<PathBuf> {
    production_files(&root().join("host/src"))
}

/// Files of host/src: the path below it, and the text.
fn host_sources(list: impl Fn(&Path, &[&str]) -> Vec<PathBuf>) -> Vec<(String, String)> {
    let source = root().join("host/src");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&source).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    list(&source, &["rs"]).into_iter().map(read).collect()
}

fn borrowed(sources: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    sources.iter().map(|(file, text)| (file.as_str(), text.as_str()))
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
fn no_function_is_too_long() {
    check(production_files(&root()), |_, text| function_defects(text));
}

#[test]
fn type_names_say_what_the_type_is() {
    check(files(&root().join("host/src"), &["rs"]), |_, text| name_defects(text));
}

#[test]
fn a_type_name_occurs_once() {
    let defects = duplicate_type_defects(borrowed(&host_sources(files)));
    assert!(defects.is_empty(), "{} defects:\n{}", defects.len(), defects.join("\n"));
}

#[test]
fn files_do_not_import_each_other() {
    let defects = cycle_defects(borrowed(&host_sources(|folder, _| production_files(folder))));
    assert!(defects.is_empty(), "{} defects:\n{}", defects.len(), defects.join("\n"));
}

#[test]
fn no_module_is_outside_of_its_place() {
    check(files(&root(), &["rs"]), |_, text| path_attribute_defects(text));
}

#[test]
fn the_architecture_fits_on_a_few_pages() {
    check(vec![root().join("ARCHITECTURE.md")], |_, text| architecture_defects(text));
}

#[test]
fn the_files_that_the_architecture_names_exist() {
    let folders = ["", "host", "host/src", "tests/tests", "guest-sdk/src"].map(|folder| root().join(folder));
    check(vec![root().join("ARCHITECTURE.md")], |_, text| missing_file_defects(text, &folders));
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
            ("turn.rs", "use crate::{error::Result, sandbox};"),
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
        let function = |lines: usize| format!("    fn f() {{\n{}    }}\n", "        x;\n".repeat(lines - 2));
        assert_eq!(function_defects(&function(FUNCTION_LINES_MAX + 1)).len(), 1);
        assert!(function_defects(&function(FUNCTION_LINES_MAX)).is_empty());
        assert_eq!(architecture_defects(&"x\n".repeat(ARCHITECTURE_LINES_MAX + 1)).len(), 1);
        assert!(architecture_defects(&"x\n".repeat(ARCHITECTURE_LINES_MAX)).is_empty());
        assert_eq!(head_defects("use std::fs;\n//! late").len(), 1);
        assert!(head_defects("//! Owns it.\n").is_empty());
    }

    #[test]
    fn a_vague_type_name_and_one_that_occurs_twice() {
        for name in VAGUE_NAMES.iter().copied().chain(["OfKey", "WithKeys"]) {
            assert_eq!(name_defects(&format!("pub(super) struct {name} {{\n}}")).len(), 1, "{name}");
        }
        assert!(name_defects("struct Offset;\nstruct BadRecord;\nenum Withheld {}").is_empty());
        let twice = [("a.rs", "struct Gate;"), ("b.rs", "fn f() {\n    enum Gate {}\n}"), ("c.rs", "struct Link;")];
        let defects = duplicate_type_defects(twice);
        assert_eq!(defects, ["the type name `Gate` occurs 2 times: a.rs:1, b.rs:2"]);
    }

    #[test]
    fn an_import_cycle() {
        let cycle =
            [("a/b.rs", "use super::c::C;"), ("a/c.rs", "use crate::a::b::B;"), ("d.rs", "use crate::a::b::B;")];
        assert_eq!(cycle_defects(cycle), ["files that import each other: a/b.rs, a/c.rs"]);
        assert!(cycle_defects([("a.rs", "use crate::b::B;"), ("b.rs", "")]).is_empty());
    }

    #[test]
    fn a_module_outside_of_its_place() {
        let text = format!("#[cfg(test)]\n{}= \"x.rs\"]\nmod tests;", concat!("#[", "path "));
        assert_eq!(path_attribute_defects(&text).len(), 1);
        assert!(path_attribute_defects("// Without a path.\nmod tests;").is_empty());
    }

    #[test]
    fn a_file_that_does_not_exist() {
        let folders = [root(), root().join("host/src")];
        let text = "See `error.rs`, `xtask/src/main.rs` and `a::b.rs()`.\nNot `nowhere.rs`.";
        assert_eq!(missing_file_defects(text, &folders), ["line 2: there is no file `nowhere.rs`"]);
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
