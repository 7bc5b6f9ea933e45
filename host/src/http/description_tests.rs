//! The OpenAPI description says which requests are well formed: public routes ask for no token, and numbers and choices have their bounds.

use axum::body::Body;
use regex_automata::Input;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use serde_json::Value;

use super::route_roles::{ROUTE_ROLES, RouteAccess};
use super::testing::{TestServer, json, request};
use crate::auth::Role;
use crate::model::LogLevel;

async fn description(server: &TestServer) -> Value {
    json(server.send(request("GET", "/v1/openapi.json").body(Body::empty()).unwrap()).await).await
}

/// Returns the parameters of all operations with the name of their operation.
fn parameters(description: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            found.extend(
                parameters.into_iter().map(|parameter| (format!("{} {path}", method.to_uppercase()), parameter)),
            );
        }
    }
    found
}

#[tokio::test]
async fn only_public_routes_need_no_token_by_the_description() {
    let description = description(&TestServer::new()).await;
    assert_eq!(description["security"], serde_json::json!([{ "token": [] }]));
    let mut public = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let listed =
                ROUTE_ROLES.iter().find(|(of, route, _)| route == path && of.as_str() == method.to_uppercase());
            let is_public = listed.unwrap_or_else(|| panic!("{method} {path}")).2 == RouteAccess::Public;
            let security = operation.get("security");
            assert_eq!(security, is_public.then(|| serde_json::json!([{}])).as_ref(), "{method} {path}");
            public += usize::from(is_public);
        }
    }
    assert_eq!(public, 3);
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own() {
    let description = description(&TestServer::new()).await;
    let items = description["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let mut ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.contains(&"jobs-list") && ids.contains(&"tokens-list"), "{ids:?}");
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

#[tokio::test]
async fn no_parameter_may_be_null() {
    let found = parameters(&description(&TestServer::new()).await);
    assert!(found.len() > 50, "{}", found.len());
    for (operation, parameter) in found {
        assert!(!parameter["schema"].to_string().contains("null"), "{operation}: {parameter}");
    }
}

#[tokio::test]
async fn every_number_in_a_request_has_bounds() {
    let description = description(&TestServer::new()).await;
    let mut numbers = 0;
    for (operation, parameter) in parameters(&description) {
        let schema = &parameter["schema"];
        let is_number = |schema: &Value| {
            schema["type"] == "integer"
                || schema["type"].as_array().is_some_and(|types| types.contains(&"integer".into()))
        };
        let any_of = ["anyOf", "oneOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
        for schema in any_of.chain([schema]).filter(|schema| is_number(schema)) {
            let bounds = (&schema["minimum"], &schema["maximum"]);
            assert_eq!(bounds, (&0.into(), &i64::MAX.into()), "{operation}: {parameter}");
            numbers += 1;
        }
    }
    assert!(numbers >= 10, "{numbers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_the_description_are_those_of_the_server() {
    let server = TestServer::new();
    let token = server.token(Role::Admin, "*");
    let status = async |method: &str, target: &str, body: &str| {
        let request = request(method, target).header("authorization", format!("Bearer {token}"));
        server.send(request.body(Body::from(body.to_owned())).unwrap()).await.status().as_u16()
    };
    for (target, accepted) in [
        ("/v1/audit?before=0", true),
        ("/v1/audit?before=9223372036854775807", true),
        ("/v1/audit?before=9223372036854775808", false),
        ("/v1/audit?before=-1", false),
        ("/v1/audit?limit=", false),
        ("/v1/jobs?after=7.a", true),
        ("/v1/jobs?after=", false),
        ("/v1/jobs?limit=9223372036854775807", true),
        ("/v1/jobs?limit=9223372036854775808", false),
    ] {
        assert_eq!(status("GET", target, "").await, if accepted { 200 } else { 400 }, "{target}");
    }
    for level in LogLevel::NAMED.map(|(name, _)| name) {
        assert_eq!(status("GET", &format!("/v1/jobs/none/logs?level={level}"), "").await, 404, "{level}");
    }
    assert_eq!(status("GET", "/v1/jobs/none/logs?level=", "").await, 400);
    for (name, expected) in [("x".repeat(100), 201), ("ü".repeat(100), 201), ("ü".repeat(101), 400)] {
        let body = serde_json::json!({ "role": "read", "name": name }).to_string();
        assert_eq!(status("POST", "/v1/tokens", &body).await, expected, "{name}");
    }
    assert_eq!(status("POST", "/v1/tokens", r#"{"role":"read","expires_at_ms":9223372036854775808}"#).await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pattern_of_locations_is_what_the_server_accepts() {
    let server = TestServer::new();
    let found = parameters(&description(&server).await);
    let pattern = |name: &str| {
        let (_, parameter) = found.iter().find(|(_, parameter)| parameter["name"] == name).unwrap();
        DFA::new(parameter["schema"]["pattern"].as_str().unwrap()).unwrap()
    };
    let patterns = [pattern("location"), pattern("from")];
    let pipeline =
        "name = \"x\"\n[source.in]\nconnector = \"generator\"\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n";
    for (location, accepted) in [
        ("", false),
        ("x", false),
        ("s3://", false),
        ("s3:///x", false),
        ("s3://bucket//x", false),
        ("s3://bucket/../x", false),
        ("s3://bucket/x/..", false),
        ("gs://bucket", false),
        ("/", true),
        ("/x://y", true),
        ("s3://bucket", true),
        ("s3://bucket/", true),
        ("s3://bucket/..x/.y/z../", true),
        ("s3://B_1/x", true),
    ] {
        for pattern in &patterns {
            let matches = pattern.try_search_fwd(&Input::new(location)).unwrap().is_some();
            assert_eq!(matches, accepted, "{location}");
        }
        let remove = request("DELETE", &format!("/v1/savepoints?location={location}"));
        let submit = request("POST", &format!("/v1/jobs?from={location}")).header("content-type", "application/toml");
        for request in [remove.body(Body::empty()).unwrap(), submit.body(Body::from(pipeline)).unwrap()] {
            let response = server.send(request).await;
            let status = response.status().as_u16();
            let problem = json(response).await;
            assert_eq!(status, if accepted { 403 } else { 400 }, "{location}: {problem}");
        }
    }
}
