//! Grants: what the function of an operator may use besides its turn. Nothing is granted by default.
//!
//! ```toml
//! grants = { wasi = ["cli"], env = { REGION = "eu" }, folder = { path = "tables", at = "/tables" }, clock = true, random = true }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::setting::{Setting, SettingKind, setting_keys};
use super::toml_reader::TomlItem;
use crate::error::Result;

/// Maximum number of granted environment variables, and maximum size of all of them together, in bytes.
const VARIABLES_MAX: usize = 256;
const VARIABLE_BYTES_MAX: usize = 64 << 10;

/// The settings of operators that this file reads.
pub(super) const GRANT_SETTINGS: &[Setting] = &[
    Setting::new("grants", SettingKind::Table, "none"),
    Setting::new("grants.wasi", SettingKind::Choices(&["cli", "clocks", "filesystem", "sockets"]), "none"),
    Setting::new("grants.env", SettingKind::map_of(&SettingKind::AnyText), "none"),
    Setting::new("grants.folder", SettingKind::Table, "none"),
    Setting::required("grants.folder.path", SettingKind::Path),
    Setting::new("grants.folder.at", SettingKind::Pattern("^/"), "`\"/\"`"),
    Setting::new("grants.clock", SettingKind::Boolean, "`false`"),
    Setting::new("grants.random", SettingKind::Boolean, "`false`"),
];

/// A part of WASI that a component can import. `wasi:io` needs no grant: its interfaces give access to nothing of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WasiPart {
    /// Arguments, environment, exit and the standard streams. Output goes to the log.
    Cli,
    /// Clocks.
    Clocks,
    /// Files and folders.
    Filesystem,
    /// Random numbers.
    Random,
    /// Sockets. None can be created.
    Sockets,
}

impl WasiPart {
    /// All parts.
    pub const ALL: [WasiPart; 5] =
        [WasiPart::Cli, WasiPart::Clocks, WasiPart::Filesystem, WasiPart::Random, WasiPart::Sockets];

    /// Returns the name in imports such as `wasi:cli/exit`, and in the pipeline file.
    pub fn as_str(self) -> &'static str {
        match self {
            WasiPart::Cli => "cli",
            WasiPart::Clocks => "clocks",
            WasiPart::Filesystem => "filesystem",
            WasiPart::Random => "random",
            WasiPart::Sockets => "sockets",
        }
    }
}

/// The grants of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Parts of WASI that the component may import. They are empty and deterministic, unless another grant fills them.
    pub wasi: BTreeSet<WasiPart>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// A folder that the function can read.
    pub folder: Option<GrantedFolder>,
    /// Whether WASI's clocks show the real time, also within a turn.
    pub clock: bool,
    /// Whether the component may draw random numbers, which derive from the job's seed.
    pub random: bool,
}

/// A folder that a function can read but not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedFolder {
    /// The folder. A relative path is relative to the folder of the pipeline file.
    pub path: PathBuf,
    /// Its path for the function.
    pub at: String,
}

impl Grants {
    /// Returns whether a component that imports a part of WASI may run.
    pub fn allows(&self, part: WasiPart) -> bool {
        self.wasi.contains(&part)
            || match part {
                WasiPart::Cli => !self.env.is_empty(),
                WasiPart::Clocks => self.clock,
                WasiPart::Filesystem => self.folder.is_some(),
                WasiPart::Random => self.random,
                WasiPart::Sockets => false,
            }
    }

    /// Returns the grants, as text for a pipeline file, that are missing for a component that imports these parts. `None` if
    /// nothing is missing.
    pub fn missing_for(&self, parts: impl IntoIterator<Item = WasiPart>) -> Option<String> {
        let missing: BTreeSet<WasiPart> = parts.into_iter().filter(|part| !self.allows(*part)).collect();
        let quoted = |part: &WasiPart| format!("\"{}\"", part.as_str());
        let wasi: Vec<String> = missing.iter().filter(|part| **part != WasiPart::Random).map(quoted).collect();
        let wasi = (!wasi.is_empty()).then(|| format!("wasi = [{}]", wasi.join(", ")));
        let random = missing.contains(&WasiPart::Random).then(|| "random = true".to_owned());
        let missing: Vec<String> = wasi.into_iter().chain(random).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// Returns the names of the grants, in the order of their description.
    pub fn names(&self) -> Vec<String> {
        let wasi = self.wasi.iter().map(|part| format!("wasi.{}", part.as_str()));
        let env = self.env.keys().map(|name| format!("env.{name}"));
        wasi.chain(env).chain(self.without_repeatable_results().into_iter().map(str::to_owned)).collect()
    }

    /// Returns the names of the grants with which a function may give other results when it runs again.
    ///
    /// Random numbers are among them, because they depend on where a batch was cut: see docs/decisions/0078-determinism.md.
    pub fn without_repeatable_results(&self) -> Vec<&'static str> {
        let granted = [("folder", self.folder.is_some()), ("clock", self.clock), ("random", self.random)];
        granted.into_iter().filter(|(_, is_granted)| *is_granted).map(|(name, _)| name).collect()
    }
}

/// Reads the table `grants`.
pub(super) fn read(item: &TomlItem<'_>) -> Result<Grants> {
    let section = item.section()?;
    section.check_keys(&setting_keys(GRANT_SETTINGS, Some("grants")))?;
    let flag = |name: &str| section.get(name).map_or(Ok(false), |item| item.bool());
    Ok(Grants {
        wasi: section.get("wasi").map(|item| wasi_parts(&item)).transpose()?.unwrap_or_default(),
        env: section.get("env").map(|item| variables(&item)).transpose()?.unwrap_or_default(),
        folder: section.get("folder").map(|item| folder(&item)).transpose()?,
        clock: flag("clock")?,
        random: flag("random")?,
    })
}

fn wasi_parts(item: &TomlItem<'_>) -> Result<BTreeSet<WasiPart>> {
    let Some(elements) = item.elements() else {
        return Err(item.invalid("must be a list of parts of WASI, such as [\"cli\", \"clocks\"]"));
    };
    // Random numbers have a grant of their own.
    let parts = WasiPart::ALL.into_iter().filter(|part| *part != WasiPart::Random);
    let choices: Vec<_> = parts.map(|part| (part.as_str(), part)).collect();
    elements.iter().map(|element| element.choose(&choices)).collect()
}

fn variables(item: &TomlItem<'_>) -> Result<BTreeMap<String, String>> {
    let (mut variables, mut bytes) = (BTreeMap::new(), 0);
    for (name, _, value) in item.section()?.entries() {
        let text = value.as_str().ok_or_else(|| value.invalid("must be text"))?;
        if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
            return Err(value.invalid("is no environment variable: a name has no `=`, and neither part a zero byte"));
        }
        bytes += name.len() + text.len();
        variables.insert(name.to_owned(), text.to_owned());
    }
    if variables.len() > VARIABLES_MAX || bytes > VARIABLE_BYTES_MAX {
        return Err(item.invalid(format_args!(
            "must have at most {VARIABLES_MAX} variables of {VARIABLE_BYTES_MAX} bytes together"
        )));
    }
    Ok(variables)
}

fn folder(item: &TomlItem<'_>) -> Result<GrantedFolder> {
    let section = item.section()?;
    section.check_keys(&setting_keys(GRANT_SETTINGS, Some("grants.folder")))?;
    let path = section.need("path")?;
    let at = match section.get("at") {
        Some(item) => {
            let at = item.string()?;
            if !at.starts_with('/') || at.contains('\0') {
                return Err(item.invalid("must be an absolute path, such as \"/data\""));
            }
            at.to_owned()
        }
        None => "/".to_owned(),
    };
    Ok(GrantedFolder { path: PathBuf::from(path.string()?), at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{NodeKind, PipelineSpec};

    fn grants(text: &str) -> Result<Grants> {
        let text = format!(
            "name = \"n\"\n[source.in]\nconnector = \"generator\"\n[operator.act]\ninput = \"in\"\n\
             component = \"c@1\"\nfunction = \"f\"\n{text}\n[sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        );
        let spec = PipelineSpec::parse(&text, "pipeline.toml")?;
        let granted = spec.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Operator(operator) => Some(operator.grants.clone()),
            _ => None,
        });
        Ok(granted.unwrap())
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let none = grants("").unwrap();
        assert_eq!(none, Grants::default());
        assert!(WasiPart::ALL.into_iter().all(|part| !none.allows(part)));
        let missing = none.missing_for(WasiPart::ALL).unwrap();
        assert_eq!(missing, "wasi = [\"cli\", \"clocks\", \"filesystem\", \"sockets\"], random = true");
        // What the message says is enough.
        let all = grants(&format!("grants = {{ {missing} }}")).unwrap();
        assert_eq!(all.missing_for(WasiPart::ALL), None);
    }

    #[test]
    fn a_grant_that_fills_a_part_allows_it() {
        let all = grants(
            "grants = { env = { A = \"\" }, folder = { path = \"tables\" }, clock = true, random = true, wasi = [] }",
        )
        .unwrap();
        assert_eq!(all.missing_for(WasiPart::ALL).unwrap(), "wasi = [\"sockets\"]");
        assert_eq!(all.folder.as_ref().unwrap().at, "/");
        assert_eq!(all.names(), ["env.A", "folder", "clock", "random"]);
        assert_eq!(all.without_repeatable_results(), ["folder", "clock", "random"]);
        let part = grants("grants = { wasi = [\"sockets\"], folder = { path = \"t\", at = \"/t\" } }").unwrap();
        assert_eq!(part.names(), ["wasi.sockets", "folder"]);
        assert_eq!(part.folder.unwrap(), GrantedFolder { path: "t".into(), at: "/t".into() });
    }

    #[test]
    fn a_grant_that_does_not_exist_is_refused() {
        for text in [
            "grants = true",
            "grants = { network = true }",
            "grants = { wasi = \"cli\" }",
            "grants = { wasi = [\"random\"] }",
            "grants = { wasi = [\"http\"] }",
            "grants = { env = { \"A=B\" = \"1\" } }",
            "grants = { env = { \"\" = \"1\" } }",
            "grants = { env = { A = 1 } }",
            "grants = { folder = \"tables\" }",
            "grants = { folder = { path = \"\" } }",
            "grants = { folder = { path = \"tables\", at = \"tables\" } }",
            "grants = { clock = \"real\" }",
        ] {
            let error = grants(text).unwrap_err();
            assert!(error.code.starts_with("manifest-"), "{text}: {error}");
            assert!(error.location.is_some(), "{text}: {error}");
        }
        let large = format!("grants = {{ env = {{ A = \"{}\" }} }}", "x".repeat(VARIABLE_BYTES_MAX));
        assert!(grants(&large).is_err());
    }
}
