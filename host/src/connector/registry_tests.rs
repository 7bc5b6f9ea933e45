//! The list of connectors agrees with their pages in `docs/connectors/`.

use std::fs;
use std::path::PathBuf;

use super::registry::CONNECTORS;
use crate::pipeline::{PipelineSpec, Setting};

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a section of a page, without its heading.
fn section<'p>(page: &'p str, heading: &str) -> Option<&'p str> {
    page.split_once(&format!("\n## {heading}\n"))?.1.split("\n## ").next()
}

/// Returns the keys, kinds and defaults in the tables of a section: the first three columns of each row.
fn documented(page: &str, heading: &str) -> Option<Vec<[String; 3]>> {
    let rows = section(page, heading)?.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        let [key, kind, default] = [cells.first()?.trim_end_matches('`'), cells.get(1)?, cells.get(2)?];
        Some([key, kind, default].map(|cell| cell.trim().to_owned()))
    });
    Some(rows.collect())
}

#[test]
fn the_documentation_lists_the_settings_of_every_connector_with_their_defaults() {
    let index = page("README.md");
    for connector in CONNECTORS {
        let name = connector.name;
        assert!(index.contains(&format!("| [`{name}`]({name}.md) |")), "docs/connectors/README.md lacks `{name}`");
        let page = page(&format!("{name}.md"));
        let source = connector.source.as_ref().map(|source| source.settings);
        let sink = connector.sink.as_ref().map(|sink| sink.settings);
        for (heading, settings) in [("Source settings", source), ("Sink settings", sink)] {
            let of = |setting: &Setting| [setting.key, setting.kind.documented(), setting.default].map(str::to_owned);
            let settings = settings.map(|settings| settings.iter().map(of).collect::<Vec<_>>());
            assert_eq!(documented(&page, heading), settings, "docs/connectors/{name}.md, {heading}");
        }
    }
}

#[test]
fn every_page_has_an_example_the_promises_the_settings_and_the_failures() {
    for connector in CONNECTORS {
        let name = connector.name;
        let file = format!("docs/connectors/{name}.md");
        let page = page(&format!("{name}.md"));
        assert!(page.starts_with(&format!("# `{name}`\n\n")), "{file} does not begin with its name");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
        assert!(example.contains(&format!("connector = \"{name}\"")), "{file} does not begin with an example");
        let rows: Vec<Vec<&str>> = (page.lines().skip_while(|line| !line.starts_with("| | ")))
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let sides = [("source", connector.source.is_some()), ("sink", connector.sink.is_some())];
        let columns: Vec<&str> = sides.into_iter().filter_map(|(side, has)| has.then_some(side)).collect();
        assert_eq!(rows.first().map(|row| &row[1..]), Some(&columns[..]), "{file}: the columns of the promises");
        let mut promises = vec!["guarantee", "order", "parallelism"];
        if connector.source.is_some() {
            promises.insert(1, "replay");
        }
        let named: Vec<&str> = rows.iter().skip(2).map(|row| row[0]).collect();
        assert_eq!(named, promises, "{file}: the rows of the promises");
        for row in rows.iter().skip(2) {
            assert!(row.len() == columns.len() + 1, "{file}: {row:?}");
            // Only a source can read again.
            let filled = if row[0] == "replay" { &row[1..2] } else { &row[1..] };
            assert!(filled.iter().all(|cell| !cell.is_empty()), "{file}: {row:?}");
        }
        let failures = section(&page, "Failures").unwrap_or_else(|| panic!("{file} lacks `## Failures`"));
        let says = failures.contains("\n| what happens | effect |\n") || failures.contains("does not fail");
        assert!(says, "{file}: the failures are no table");
        for (heading, has) in [("Source settings", sides[0].1), ("Sink settings", sides[1].1)] {
            assert_eq!(section(&page, heading).is_some(), has, "{file}: {heading}");
        }
    }
}

#[test]
fn the_smallest_connector_is_one_short_folder_one_page_and_one_line_in_the_registry() {
    let connectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/connector");
    let read = |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let files = fs::read_dir(connectors.join("stdout")).unwrap().map(|entry| entry.unwrap().path());
    let lines: usize = files.map(|path| read(path).lines().count()).sum();
    assert!(lines < 100, "the connector `stdout` has {lines} lines");
    let registry = read(connectors.join("registry.rs"));
    assert_eq!(registry.lines().filter(|line| line.trim() == "&stdout::CONNECTOR,").count(), 1);
    // No other file of the module knows it: a connector needs no further place.
    let others = fs::read_dir(&connectors).unwrap().map(|entry| entry.unwrap().path());
    let others = others.filter(|path| path.is_file() && !path.ends_with("registry.rs") && !path.ends_with("mod.rs"));
    for path in others.filter(|path| !path.to_string_lossy().ends_with("_tests.rs")) {
        assert!(!read(path.clone()).contains("stdout"), "{} names `stdout`", path.display());
    }
    assert!(page("stdout.md").starts_with("# `stdout`"));
}

/// A pipeline with a source and a sink whose tables have these lines.
fn refused(source: &str, sink: &str) -> (String, usize) {
    let text = format!("name = \"n\"\n[source.in]\n{source}\n[sink.out]\ninput = \"in\"\n{sink}\n");
    let error = PipelineSpec::parse(&text, "p.toml").expect_err(&text);
    let line = error.location.as_ref().unwrap_or_else(|| panic!("{error} has no location")).line;
    (error.to_string(), line)
}

#[test]
fn every_required_setting_and_every_unknown_one_is_refused_with_its_line() {
    const GENERATOR: &str = "connector = \"generator\"";
    const BLACKHOLE: &str = "connector = \"blackhole\"";
    for connector in CONNECTORS {
        let selected = format!("connector = \"{}\"", connector.name);
        for (settings, is_source) in [
            (connector.source.as_ref().map(|source| source.settings), true),
            (connector.sink.as_ref().map(|sink| sink.settings), false),
        ] {
            let Some(settings) = settings else { continue };
            let with = |line: &str| match is_source {
                true => refused(&format!("{selected}\n{line}"), BLACKHOLE),
                false => refused(GENERATOR, &format!("{selected}\n{line}")),
            };
            let (error, line) = with("no_such_setting = 1");
            assert!(error.contains("`no_such_setting`") && error.contains(connector.name), "{error}");
            assert_eq!(line, if is_source { 4 } else { 7 }, "{error}");
            if let Some(required) = settings.iter().find(|setting| setting.default == "required") {
                let (error, line) = with("");
                assert!(error.contains(&format!("needs the key `{}`", required.key)), "{error}");
                assert_eq!(line, if is_source { 2 } else { 4 }, "{error}");
            }
        }
    }
    let (error, line) = refused("connector = \"sokcet\"", BLACKHOLE);
    assert!(error.contains("did you mean `socket`?") && line == 3, "{line}: {error}");
    let (error, line) = refused("connector = \"stdout\"", BLACKHOLE);
    assert!(error.contains("cannot be `stdout`") && line == 3, "{line}: {error}");
    let (error, line) = refused("connector = \"socket\"\nadress = \"a:1\"", BLACKHOLE);
    assert!(error.contains("did you mean `address`?") && line == 4, "{line}: {error}");
}
