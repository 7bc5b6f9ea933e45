//! The list of connectors agrees with their pages in `docs/connectors/`.

use std::fs;
use std::path::PathBuf;

use super::registry::CONNECTORS;
use crate::pipeline::{PipelineSpec, Setting};

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the keys and defaults in the tables of a section: the first and third column of each row.
fn documented(page: &str, heading: &str) -> Option<Vec<(String, String)>> {
    let section = page.split_once(&format!("\n## {heading}\n"))?.1;
    let section = section.split("\n## ").next()?;
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        Some((cells.first()?.trim_end_matches('`').to_owned(), (*cells.get(2)?).to_owned()))
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
            let of = |setting: &Setting| (setting.key.to_owned(), setting.default.to_owned());
            let settings = settings.map(|settings| settings.iter().map(of).collect::<Vec<_>>());
            assert_eq!(documented(&page, heading), settings, "docs/connectors/{name}.md, {heading}");
        }
        for part in ["guarantee", "order", "parallelism", "## Failures", &format!("connector = \"{name}\"")] {
            assert!(page.contains(part), "docs/connectors/{name}.md lacks `{part}`");
        }
    }
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
