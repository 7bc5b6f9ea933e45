//! Which files of a crate use which, and the circles among them.
//!
//! A path leads to the file that defines the item: the re-exports of a `mod.rs` are followed. Declaring a child or re-exporting
//! from it is not a use of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::production_code;

type ModulePath = Vec<String>;

struct SourceFile {
    path: PathBuf,
    code: String,
    /// Names that the file re-exports, with the path of each. A glob has the name `*`.
    exports: Vec<(String, ModulePath)>,
    /// Names that the file imports, with the path of each.
    imports: Vec<(String, ModulePath)>,
}

/// The production code of one crate, by module.
pub struct ImportGraph {
    files: BTreeMap<ModulePath, SourceFile>,
    modules: BTreeSet<ModulePath>,
}

impl ImportGraph {
    /// `sources` are paths relative to the crate's `src`, with their text.
    pub fn new<'a>(sources: impl IntoIterator<Item = (&'a Path, &'a str)>) -> ImportGraph {
        let mut files = BTreeMap::new();
        for (path, text) in sources {
            let code = production_code(text);
            files.insert(
                module_path(path),
                SourceFile { path: path.to_path_buf(), code, exports: Vec::new(), imports: Vec::new() },
            );
        }
        let modules: BTreeSet<ModulePath> = files.keys().cloned().collect();
        for (module, file) in &mut files {
            for statement in use_statements(&file.code) {
                let is_export = statement.is_public && modules.iter().any(|other| is_child(other, module));
                for (name, path) in statement.names {
                    let Some(path) = absolute(&path, module, &modules) else { continue };
                    let names = if is_export { &mut file.exports } else { &mut file.imports };
                    names.push((name, path));
                }
            }
        }
        ImportGraph { files, modules }
    }

    /// Files that use each other, directly or through others; each group once, in order of its paths.
    pub fn cycles(&self) -> Vec<Vec<PathBuf>> {
        let uses: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
            self.files.keys().map(|module| (module, self.used_by(module))).collect();
        let reached: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
            uses.keys().map(|module| (*module, reachable(module, &uses))).collect();
        let mut groups = BTreeSet::new();
        for (module, reached_by_it) in &reached {
            let group: Vec<PathBuf> = reached_by_it
                .iter()
                .filter(|other| reached[*other].contains(module))
                .map(|other| self.files[*other].path.clone())
                .collect();
            if group.len() > 1 {
                groups.insert(group);
            }
        }
        groups.into_iter().collect()
    }

    fn used_by(&self, module: &ModulePath) -> BTreeSet<&ModulePath> {
        let file = &self.files[module];
        let inline = inline_paths(&file.code).into_iter().filter_map(|path| {
            let imported = file.imports.iter().find(|(name, _)| *name == path[0]);
            match imported {
                Some((_, import)) => Some(import.iter().chain(&path[1..]).cloned().collect()),
                None => absolute(&path, module, &self.modules),
            }
        });
        // An imported module is used by what follows its name.
        let imported = file.imports.iter().map(|(_, path)| path.clone()).filter(|path| !self.modules.contains(path));
        let paths: Vec<ModulePath> = imported.chain(inline).collect();
        let used = paths.iter().filter_map(|path| self.defining_module(path, 0));
        used.filter(|used| *used != module).collect()
    }

    /// The module whose file defines the item with this path.
    fn defining_module(&self, path: &[String], depth: usize) -> Option<&ModulePath> {
        let length = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, file) = self.files.get_key_value(&path[..length])?;
        let Some(name) = path.get(length) else { return Some(module) };
        if depth > 8 {
            return Some(module);
        }
        let exported = file.exports.iter().find(|(exported, _)| exported == name).map(|(_, path)| path.clone());
        let by_glob = || {
            let globs = file.exports.iter().filter(|(exported, _)| exported == "*");
            let paths = globs.map(|(_, path)| path.iter().chain([name]).cloned().collect::<ModulePath>());
            paths.into_iter().find(|path| {
                self.defining_module(path, depth + 1).is_some_and(|module| defines(&self.files[module].code, name))
            })
        };
        match exported.or_else(by_glob) {
            Some(path) => self.defining_module(&path, depth + 1),
            None => Some(module),
        }
    }
}

fn defines(code: &str, name: &str) -> bool {
    ["struct", "enum", "trait", "type", "fn", "const", "static"].iter().any(|kind| {
        code.match_indices(&format!("{kind} {name}")).any(|(at, found)| {
            !code[at + found.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    })
}

fn is_child(other: &[String], module: &[String]) -> bool {
    other.len() == module.len() + 1 && other.starts_with(module)
}

fn module_path(path: &Path) -> ModulePath {
    let mut names: ModulePath =
        path.with_extension("").components().map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| last == "mod") || names == ["lib"] {
        names.pop();
    }
    names.insert(0, "crate".to_owned());
    names
}

fn absolute(path: &[String], module: &[String], modules: &BTreeSet<ModulePath>) -> Option<ModulePath> {
    let join = |base: &[String], rest: &[String]| Some(base.iter().chain(rest).cloned().collect::<ModulePath>());
    match path.first()?.as_str() {
        "crate" => Some(path.to_vec()),
        "self" => join(module, &path[1..]),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            join(&module[..module.len().checked_sub(up)?], &path[up..])
        }
        first => {
            let child: ModulePath = module.iter().cloned().chain([first.to_owned()]).collect();
            if modules.contains(&child) { join(module, path) } else { None }
        }
    }
}

fn reachable<'a>(
    from: &'a ModulePath,
    uses: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
) -> BTreeSet<&'a ModulePath> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(uses[module].iter().copied().filter(|used| reached.insert(*used)));
    }
    reached
}

struct UseStatement {
    is_public: bool,
    names: Vec<(String, ModulePath)>,
}

const USE: &str = "use ";

/// Where the words `use` of the code's `use` statements are.
fn use_places(code: &str) -> Vec<usize> {
    let begins = |(at, _): &(usize, &str)| {
        let before = line_before(code, *at);
        before.is_empty() || before.starts_with("pub")
    };
    code.match_indices(USE).filter(begins).map(|(at, _)| at).collect()
}

fn line_before(code: &str, at: usize) -> &str {
    code[..at].rsplit('\n').next().unwrap_or_default().trim()
}

fn use_statements(code: &str) -> Vec<UseStatement> {
    let statement = |at: usize| {
        let tree = code[at + USE.len()..].split(';').next().unwrap_or_default();
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        UseStatement { is_public: line_before(code, at).starts_with("pub"), names: expanded(&tree, &[]) }
    };
    use_places(code).into_iter().map(statement).collect()
}

fn without_use_statements(code: &str) -> String {
    let mut left = code.to_owned();
    for at in use_places(code).into_iter().rev() {
        let end = code[at..].find(';').map_or(code.len(), |length| at + length);
        left.replace_range(at..end, "");
    }
    left
}

/// The leaves of a use tree: the name in this file, and the path.
fn expanded(tree: &str, prefix: &[String]) -> Vec<(String, ModulePath)> {
    let tree = tree.trim();
    if let Some(group) = tree.strip_prefix('{').and_then(|group| group.strip_suffix('}')) {
        return split_top_level(group).into_iter().flat_map(|part| expanded(part, prefix)).collect();
    }
    if let Some((first, rest)) = tree.split_once("::") {
        let prefix: ModulePath = prefix.iter().cloned().chain([first.trim().to_owned()]).collect();
        return expanded(rest, &prefix);
    }
    let (name, local) = tree.split_once(" as ").unwrap_or((tree, tree));
    match name {
        "" => Vec::new(),
        "self" => prefix.last().map(|last| (last.clone(), prefix.to_vec())).into_iter().collect(),
        "*" => vec![("*".to_owned(), prefix.to_vec())],
        name => vec![(local.to_owned(), prefix.iter().cloned().chain([name.to_owned()]).collect())],
    }
}

fn split_top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

/// Paths of two names or more outside of `use` statements.
fn inline_paths(code: &str) -> Vec<ModulePath> {
    let code = without_use_statements(code);
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    let path = |word: &str| word.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<ModulePath>();
    paths.map(path).filter(|path| path.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(sources: &[(&str, &str)]) -> Vec<Vec<PathBuf>> {
        ImportGraph::new(sources.iter().map(|(path, text)| (Path::new(*path), *text))).cycles()
    }

    #[test]
    fn files_that_use_each_other_are_found() {
        let direct =
            [("a/b.rs", "use super::c::C;"), ("a/c.rs", "fn f() { super::b::g() }"), ("a/mod.rs", "mod b;\nmod c;")];
        assert_eq!(cycles(&direct), [["a/b.rs", "a/c.rs"].map(PathBuf::from)]);
        let around = [
            ("a.rs", "use crate::{b::B, std::x};"),
            ("b.rs", "use crate::c;\nfn f() { c::g() }"),
            ("c.rs", "use {crate::a::A};"),
            ("d.rs", "use crate::a::A;"),
        ];
        assert_eq!(cycles(&around), [["a.rs", "b.rs", "c.rs"].map(PathBuf::from)]);
    }

    #[test]
    fn a_re_export_leads_to_the_file_that_defines_the_item() {
        let module = ("a/mod.rs", "mod b;\nmod c;\npub use b::B;\npub(crate) use c::*;");
        let through = [module, ("a/b.rs", "use super::C;"), ("a/c.rs", "use crate::a::B;\npub struct C;")];
        assert_eq!(cycles(&through), [["a/b.rs", "a/c.rs"].map(PathBuf::from)]);
        let apart = [module, ("a/b.rs", "use super::C;"), ("a/c.rs", "pub struct C;")];
        assert!(cycles(&apart).is_empty());
    }

    #[test]
    fn a_parent_with_code_of_its_own_is_in_a_cycle_with_a_child_that_uses_it() {
        let child = ("a/b.rs", "use super::A;");
        assert!(cycles(&[("a/mod.rs", "mod b;\npub use b::B;\npub struct A;"), child]).is_empty());
        let parent = ("a/mod.rs", "mod b;\nuse b::B;\npub struct A(B);");
        assert_eq!(cycles(&[parent, child]), [["a/mod.rs", "a/b.rs"].map(PathBuf::from)]);
    }

    #[test]
    fn what_tests_use_does_not_count() {
        let sources = [("a.rs", "use crate::b::B;"), ("b.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }")];
        assert!(cycles(&sources).is_empty());
    }
}
