//! Every route of the OpenAPI description for callers without a token, of each role, and of another namespace.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Response};
use axum::routing::get;
use serde_json::Value;

use super::body::BodyTimeouts;
use super::dashboard::paths::{FILES, SCREENS};
use super::route_roles::{ROUTE_ROLES, RouteAccess};
use super::server_phase::ServerPhase;
use super::testing::{TestServer, json, problem, request};
use crate::auth::{NamespaceScope, Role};
use crate::job::Submission;

/// The methods and routes of the OpenAPI description.
async fn described(server: &TestServer) -> Vec<(Method, String)> {
    let response = server.send(request("GET", "/v1/openapi.json").body(Body::empty()).unwrap()).await;
    let openapi = json(response).await;
    let paths = openapi["paths"].as_object().unwrap().clone();
    let methods = |item: Value| item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let routes =
        paths.into_iter().flat_map(|(path, item)| methods(item).into_iter().map(move |method| (method, path.clone())));
    routes.map(|(method, path)| (method.to_uppercase().parse().unwrap(), path)).collect()
}

fn access(method: &Method, route: &str) -> RouteAccess {
    let entry = ROUTE_ROLES.iter().find(|(of, path, _)| of == method && *path == route);
    entry.unwrap_or_else(|| panic!("{method} {route} has no entry in ROUTE_ROLES")).2
}

async fn send(
    server: &TestServer,
    method: &Method,
    path: &str,
    token: Option<&str>,
    namespace: Option<&str>,
) -> Response<Body> {
    let mut request = request(method.as_str(), path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(namespace) = namespace {
        request = request.header("x-cofferdam-namespace", namespace);
    }
    server.send(request.body(Body::empty()).unwrap()).await
}

/// Fills the parameters of a route with the job `numbers` or with names that do not exist.
fn path_of(route: &str, job: &str) -> String {
    let route = if route.starts_with("/v1/jobs") { route.replace("{id}", job) } else { route.to_owned() };
    let route = route.replace("{checkpoint}", "7").replace("{operator}/{state}", "{operator}/{state}?key=k");
    route
        .split('/')
        .map(|part| match part {
            "{state}?key=k" => "nothing?key=k",
            part if part.starts_with('{') => "nothing",
            part => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

fn submit(server: &TestServer, namespace: &str, name: &str) -> String {
    let pipeline = format!(
        "name = \"{name}\"\n[source.in]\nconnector = \"generator\"\nrecords = 1\n[sink.out]\ninput = \"in\"\n\
         connector = \"blackhole\"\n"
    );
    let host = server.namespaces.create(namespace).unwrap();
    host.submit(Submission::new(pipeline, "p.toml")).unwrap().summary.id
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_has_a_role_and_each_role_has_a_route() {
    let server = TestServer::new();
    let described: BTreeSet<_> =
        described(&server).await.into_iter().map(|(method, route)| format!("{method} {route}")).collect();
    let mut listed: BTreeSet<_> = ROUTE_ROLES.iter().map(|(method, route, _)| format!("{method} {route}")).collect();
    assert_eq!(listed.len(), ROUTE_ROLES.len(), "a route has two entries");
    listed.remove("GET /v1/openapi.json");
    for path in SCREENS.iter().chain(&FILES) {
        assert!(listed.remove(&format!("GET {path}")), "{path}");
    }
    assert_eq!(described, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_for_its_role_and_hides_other_namespaces() {
    let server = TestServer::new();
    let job = tokio::task::block_in_place(|| submit(&server, "default", "numbers"));
    tokio::task::block_in_place(|| server.namespaces.create("team-b").unwrap());
    let tokens = Role::ALL.map(|role| (role, server.token(role, "default")));
    let stranger = server.token(Role::Admin, "team-b");
    let everywhere = server.token(Role::Admin, "*");
    let mut checked = 0;
    for (method, route) in described(&server).await {
        let name = format!("{method} {route}");
        let by_id = path_of(&route, &job);
        let RouteAccess::Role(needed) = access(&method, &route) else {
            assert_eq!(send(&server, &method, &by_id, None, None).await.status(), 200, "{name}");
            continue;
        };
        // Without a token, and with what is none.
        problem(send(&server, &method, &by_id, None, None).await, 401, "token-missing").await;
        let response = send(&server, &method, &by_id, Some(&tokens[2].1[..20]), None).await;
        let refused = [401, 429].contains(&response.status().as_u16());
        assert!(refused, "{name}: {}", response.status());
        for (role, token) in tokens.iter().filter(|(role, _)| *role < needed) {
            let refused =
                problem(send(&server, &method, &by_id, Some(token), None).await, 403, "role-insufficient").await;
            assert!(refused["detail"].as_str().unwrap().contains(needed.as_str()), "{name} as {role}");
        }
        // A job of another namespace does not exist, by its id or its name, and neither does the namespace.
        if route.starts_with("/v1/jobs/{id}") {
            for job in [job.as_str(), "numbers"] {
                let response = send(&server, &method, &path_of(&route, job), Some(&stranger), None).await;
                let body = json(response).await;
                assert_eq!(body["code"], "job-not-found", "{name}: {body}");
            }
        }
        let response = send(&server, &method, &by_id, Some(&stranger), Some("default")).await;
        problem(response, 404, "namespace-not-found").await;
        let response = send(&server, &method, &by_id, Some(&everywhere), Some("team-c")).await;
        problem(response, 404, "namespace-not-found").await;
        // With the role, the request is not refused for its caller. Changes come last, because they end the job.
        if method == Method::GET {
            let token = &tokens.iter().find(|(role, _)| *role == needed).unwrap().1;
            let response = send(&server, &method, &by_id, Some(token), None).await;
            assert!(![401, 403, 429].contains(&response.status().as_u16()), "{name}: {}", response.status());
        }
        checked += 1;
    }
    assert!(checked > 25, "{checked} routes were checked");
    for (method, route) in described(&server).await.into_iter().filter(|(method, _)| *method != Method::GET) {
        if let RouteAccess::Role(needed) = access(&method, &route) {
            let token = &tokens.iter().find(|(role, _)| *role == needed).unwrap().1;
            let response = send(&server, &method, &path_of(&route, "nothing"), Some(token), None).await;
            assert!(![401, 403, 429].contains(&response.status().as_u16()), "{method} {route}: {}", response.status());
        }
    }
    tokio::task::block_in_place(|| server.namespaces.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_an_entry_is_refused_to_everyone() {
    let more =
        Router::new().route("/v1/new", get(async || "reached")).route("/v1/jobs/{id}/new", get(async || "reached"));
    let server = TestServer::with_routes(BodyTimeouts::default(), ServerPhase::ready(), more, ROUTE_ROLES);
    for path in ["/v1/new", "/v1/jobs/x/new"] {
        problem(send(&server, &Method::GET, path, None, None).await, 403, "role-insufficient").await;
    }
    let admin = server.token(Role::Admin, "*");
    for path in ["/v1/new", "/v1/jobs/x/new"] {
        problem(send(&server, &Method::GET, path, Some(&admin), None).await, 403, "role-insufficient").await;
        problem(send(&server, &Method::GET, path, None, None).await, 401, "token-missing").await;
    }
    // A method that a known route does not have.
    let response = send(&server, &Method::PUT, "/v1/jobs", Some(&admin), None).await;
    assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
    problem(response, 405, "request-not-found").await;
    // A handler that was added to a known route without an entry.
    static FEWER: &[super::route_roles::RouteRole] = &[(Method::POST, "/v1/jobs", RouteAccess::Role(Role::Submit))];
    let server = TestServer::with_routes(BodyTimeouts::default(), ServerPhase::ready(), Router::new(), FEWER);
    problem(send(&server, &Method::GET, "/v1/jobs", None, None).await, 405, "request-not-found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_once_and_in_the_header() {
    let server = TestServer::new();
    let token = server.token(Role::Admin, "*");
    let bearer = format!("Bearer {token}");
    let with = |values: &[&str], uri: &str| {
        let request = values.iter().fold(request("GET", uri), |request, value| request.header("authorization", *value));
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(server.send(with(&[&bearer], "/v1/jobs")).await.status(), 200);
    assert_eq!(server.send(with(&[&bearer.replace("Bearer", "bEARER")], "/v1/jobs")).await.status(), 200);
    problem(server.send(with(&[&bearer, &bearer], "/v1/jobs")).await, 400, "request-invalid").await;
    problem(server.send(with(&["Basic eDp5"], "/v1/jobs")).await, 400, "request-invalid").await;
    problem(server.send(with(&[], &format!("/v1/jobs?token={token}"))).await, 401, "token-missing").await;
    let response = server.send(with(&[], "/v1/jobs")).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    // An unknown route shows nothing to those without a token.
    problem(server.send(with(&[], "/v1/unknown")).await, 401, "token-missing").await;
    problem(server.send(with(&[&bearer], "/v1/unknown")).await, 404, "request-not-found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_managed_within_the_rights_of_the_caller_and_changes_are_audited() {
    let server = TestServer::new();
    let (admin, team) = (server.token(Role::Admin, "*"), server.token(Role::Admin, "team-b"));
    let create = async |token: &str, body: &str| {
        let request = request("POST", "/v1/tokens").header("authorization", format!("Bearer {token}"));
        server.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let response = create(&team, "{\"role\":\"submit\",\"name\":\"ci\"}").await;
    assert_eq!((response.status().as_u16(), &response.headers()["cache-control"]), (201, &"no-store".parse().unwrap()));
    let made = json(response).await;
    assert_eq!(made["namespace"], "team-b");
    for (token, body, status, code) in [
        (&team, "{\"role\":\"submit\",\"namespace\":\"default\"}", 403, "role-insufficient"),
        (&team, "{\"role\":\"submit\",\"namespace\":\"*\"}", 403, "role-insufficient"),
        (&admin, "{\"role\":\"owner\"}", 400, "request-invalid"),
        (&admin, "{\"role\":\"read\",\"namespace\":\"../x\"}", 400, "request-invalid"),
        (&admin, "{\"role\":\"read\",\"more\":1}", 400, "request-invalid"),
        (&admin, "{}", 400, "request-invalid"),
    ] {
        problem(create(token, body).await, status, code).await;
    }
    let listed = json(send(&server, &Method::GET, "/v1/tokens", Some(&team), None).await).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert!(!listed.to_string().contains(made["token"].as_str().unwrap()));
    let id = |token: &str| token.split('_').nth(1).unwrap().to_owned();
    let revoke =
        async |by: &str, id: &str| send(&server, &Method::DELETE, &format!("/v1/tokens/{id}"), Some(by), None).await;
    problem(revoke(&team, &id(&admin)).await, 404, "token-not-found").await;
    let made = made["token"].as_str().unwrap();
    assert_eq!(send(&server, &Method::GET, "/v1/jobs", Some(made), None).await.status(), 200);
    assert_eq!(revoke(&team, &id(made)).await.status(), 204);
    problem(send(&server, &Method::GET, "/v1/jobs", Some(made), None).await, 401, "token-invalid").await;

    let page = json(send(&server, &Method::GET, "/v1/audit?limit=1000", Some(&admin), None).await).await;
    let entries = page["entries"].as_array().unwrap();
    let newest = &entries[1];
    assert_eq!((&newest["method"], &newest["status"]), (&"DELETE".into(), &204.into()), "{page}");
    assert_eq!((&newest["route"], &newest["token"]), (&"/v1/tokens/{id}".into(), &id(&team).into()));
    assert!(entries.iter().any(|entry| entry["code"] == "role-insufficient"));
    assert!(!page.to_string().contains(&admin) && !page.to_string().contains("secret"));
    let own = json(send(&server, &Method::GET, "/v1/audit", Some(&team), None).await).await;
    let scope = NamespaceScope::One("team-b".to_owned());
    let in_scope = |entry: &Value| scope.contains(entry["namespace"].as_str().unwrap());
    assert!(own["entries"].as_array().unwrap().iter().all(in_scope) && !own["entries"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_have_jobs_of_their_own_and_survive_a_restart() {
    let server = TestServer::new();
    let (a, b) = (server.token(Role::Submit, "team-a"), server.token(Role::Submit, "team-b"));
    let names = async |token: &str| {
        let jobs = json(send(&server, &Method::GET, "/v1/jobs", Some(token), None).await).await;
        let jobs = jobs.as_array().cloned().unwrap_or_else(|| jobs["jobs"].as_array().cloned().unwrap_or_default());
        jobs.iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(names(&a).await.is_empty(), "the namespace of a token is created when it is used");
    tokio::task::block_in_place(|| {
        submit(&server, "team-a", "same");
        submit(&server, "team-b", "same");
        submit(&server, "team-b", "other");
    });
    assert_eq!(names(&a).await, ["same"]);
    assert_eq!(names(&b).await.len(), 2);
    let folder = server.dir.path().join("namespaces");
    assert!(folder.join("team-a/jobs").is_dir() && folder.join("team-b/components").is_dir());
    tokio::task::block_in_place(|| server.namespaces.shutdown());
}
