//! The catalog and what is shipped agree: every metric that a dashboard, an alert or a document names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::catalog;
use prometheus_client::metrics::MetricType;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the names of metrics in a text. Names that end with `_` stand for several.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    let words = text.split(|character| !is_name(character));
    let known = words.filter(|word| word.starts_with("cofferdam_") || word.starts_with("process_"));
    let named = known.filter(|word| !word.ends_with('_') && !word.starts_with("cofferdam_user"));
    named.filter(|word| word.split('_').count() > 2 || *word == "cofferdam_jobs").map(str::to_owned).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn exposed_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for metric in catalog::ALL {
        match metric.kind {
            MetricType::Histogram => {
                names.extend(["", "_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", metric.name)));
            }
            _ => drop(names.insert(metric.name.to_owned())),
        }
    }
    names
}

#[test]
fn names_follow_the_conventions() {
    let names: BTreeSet<&str> = catalog::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), catalog::ALL.len(), "each name once");
    for metric in catalog::ALL {
        let is_counter = matches!(metric.kind, MetricType::Counter);
        assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
        assert!(metric.help.ends_with('.') && metric.name.is_ascii(), "{}", metric.name);
        assert!(!metric.labels.contains(&"job"), "{}: `job` is Prometheus's own label", metric.name);
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let documented = names_in(&fs::read_to_string(repository().join("docs/metrics.md")).unwrap());
    let exposed = exposed_names();
    let unknown: Vec<_> = documented.difference(&exposed).collect();
    assert!(unknown.is_empty(), "docs/metrics.md names metrics that do not exist: {unknown:?}");
    let missing: Vec<_> =
        catalog::ALL.iter().map(|metric| metric.name).filter(|name| !documented.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
}

#[test]
fn every_metric_that_a_dashboard_or_an_alert_names_exists() {
    let exposed = exposed_names();
    let files = files_below(&repository().join("monitoring"));
    let mut found = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        if file.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str::<serde_json::Value>(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        let names = names_in(&text);
        found += names.len();
        let unknown: Vec<_> = names.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", file.display());
    }
    assert!(found > 40, "only {found} names were found in {files:?}");
}
