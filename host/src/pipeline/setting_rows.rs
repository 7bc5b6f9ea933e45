//! The tables of settings in `docs/pipeline-file.md`. They describe the settings in the JSON Schema, and a test compares them with the settings.
//!
//! A table of settings has the columns `type`, `default` and `meaning`. Its first column is `key`, or names the nested tables of its keys.

const PAGE: &str = include_str!("../../../docs/pipeline-file.md");

/// A setting as the documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// The section of the pipeline file, such as `checkpoint` or `source`. Empty for the keys that are in no table.
    pub section: String,
    /// The key, with the keys of the tables that contain it: `window.size`.
    pub key: String,
    /// The default.
    pub default: String,
    /// What the setting means, without the addresses of links.
    pub meaning: String,
}

/// Returns all settings of the page, in their order.
pub fn setting_rows() -> Vec<SettingRow> {
    rows_of(PAGE)
}

fn rows_of(page: &str) -> Vec<SettingRow> {
    let (mut rows, mut section, mut prefixes) = (Vec::new(), None, None);
    for line in page.lines() {
        if line.starts_with("## ") || line.starts_with("### ") {
            section = section_of(line);
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix('|')) else {
            prefixes = prefixes.filter(|_| line.starts_with("|-"));
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if cells.get(1..4) == Some(&["type", "default", "meaning"]) {
            let tables: Vec<String> = quoted(cells[0]).into_iter().map(|name| format!("{name}.")).collect();
            prefixes = Some(if tables.is_empty() { vec![String::new()] } else { tables });
            continue;
        }
        let (Some(section), Some(prefixes), [names, _, default, meaning, ..]) = (&section, &prefixes, &cells[..])
        else {
            continue;
        };
        for (prefix, name) in
            prefixes.iter().flat_map(|prefix| quoted(names).into_iter().map(move |name| (prefix, name)))
        {
            rows.push(SettingRow {
                section: String::clone(section),
                key: format!("{prefix}{name}"),
                default: (*default).to_owned(),
                meaning: without_links(meaning),
            });
        }
    }
    rows
}

/// Returns the section that a heading begins: `checkpoint` of ``### `[checkpoint]` ``, `source` of ``### `[source.ID]` ``.
fn section_of(heading: &str) -> Option<String> {
    if heading == "## The pipeline" {
        return Some(String::new());
    }
    let name = heading.split_once("`[")?.1.split_once("]`")?.0;
    Some(name.split('.').next().unwrap_or(name).to_owned())
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Removes the addresses of links.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("](")
        && let Some((before, label)) = head.rsplit_once('[')
        && let Some((_, after)) = tail.split_once(')')
    {
        plain.push_str(before);
        plain.push_str(label);
        rest = after;
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::sections::setting_tables;
    use super::*;

    #[test]
    fn tables_of_settings_are_found_with_their_sections() {
        let page = "## The pipeline\n| key | type | default | meaning |\n|---|---|---|---|\n| `name` | text | required | `[b]`, see [x](#y), `[a]` |\n\n\
                    ### `[source.ID]`\n| `timestamp` | type | default | meaning |\n|---|---|---|---|\n| `field` or `column` | text | none | |\n\
                    \n| `x` | other |\n|---|---|\n| `a` | b |\n## Nodes\n| key | type | default | meaning |\n|---|---|---|---|\n| `no` | a | b | c |\n";
        let rows: Vec<_> =
            rows_of(page).into_iter().map(|row| (row.section, row.key, row.default, row.meaning)).collect();
        let row = |section: &str, key: &str, default: &str, meaning: &str| {
            (section.to_owned(), key.to_owned(), default.to_owned(), meaning.to_owned())
        };
        let expected = [
            row("", "name", "required", "`[b]`, see x, `[a]`"),
            row("source", "timestamp.field", "none", ""),
            row("source", "timestamp.column", "none", ""),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_documentation_lists_every_setting_of_the_pipeline_file_with_its_default() {
        let documented: BTreeSet<(String, String, String)> =
            setting_rows().into_iter().map(|row| (row.section, row.key, row.default)).collect();
        let mut settings = BTreeSet::new();
        for (section, table) in setting_tables(&[]) {
            settings.extend(
                table.iter().map(|setting| (section.clone(), setting.key.to_owned(), setting.default.to_owned())),
            );
        }
        let undocumented: Vec<_> = settings.difference(&documented).collect();
        let unknown: Vec<_> = documented.difference(&settings).collect();
        assert!(
            undocumented.is_empty() && unknown.is_empty(),
            "docs/pipeline-file.md lacks {undocumented:#?}\nand has {unknown:#?}"
        );
    }
}
