//! Which nodes fail and restart together.

use std::collections::BTreeMap;
use std::path::Path;

use super::execution_plan::ExecutionPlan;
use crate::pipeline::PipelineSpec;

/// Returns the ids of the nodes of each region.
fn regions(nodes: &str) -> Vec<Vec<String>> {
    let text = format!("name = \"a\"\nparallelism = 2\n{nodes}");
    let pipeline = PipelineSpec::parse(&text, "pipeline.toml").unwrap();
    let plan = ExecutionPlan::new(pipeline, BTreeMap::new(), Path::new(".")).unwrap();
    let ids = |nodes: Vec<usize>| nodes.into_iter().map(|node| plan.pipeline.nodes[node].id.clone()).collect();
    plan.regions().into_iter().map(|region| ids(region.nodes)).collect()
}

fn source(id: &str, more: &str) -> String {
    format!("[source.{id}]\nconnector = \"generator\"\n{more}\n")
}

fn sink(id: &str, inputs: &str, more: &str) -> String {
    format!("[sink.{id}]\ninput = {inputs}\nconnector = \"blackhole\"\n{more}\n")
}

#[test]
fn nodes_without_a_connection_are_in_different_regions() {
    let nodes = [
        source("a", ""),
        source("b", "parallelism = 3"),
        source("c", ""),
        sink("d", "\"a\"", ""),
        sink("e", "[\"b\", \"c\"]", "parallelism = 1"),
        sink("f", "\"c\"", ""),
    ];
    let mut regions = regions(&nodes.concat());
    regions.iter_mut().for_each(|nodes| nodes.sort());
    regions.sort();
    assert_eq!(regions, [vec!["a", "d"], vec!["b", "c", "e", "f"]]);
}

#[test]
fn sources_that_wait_for_each_other_are_in_one_region() {
    let aligned = |group: &str| {
        format!(
            "timestamp = {{ column = 0, format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"0s\", \
             alignment = {{ group = \"{group}\", max_drift = \"1s\" }} }}"
        )
    };
    let nodes = |second: &str| {
        [source("a", &aligned("x")), source("b", &aligned(second)), sink("c", "\"a\"", ""), sink("d", "\"b\"", "")]
            .concat()
    };
    assert_eq!(regions(&nodes("x")).len(), 1);
    assert_eq!(regions(&nodes("y")).len(), 2);
}
