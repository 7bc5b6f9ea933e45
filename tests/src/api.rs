//! An HTTP client for the server's API. Each call returns the whole answer, including refusals.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use crate::wait::wait_until;

/// Time limit for a job in a test.
const JOB_TIMEOUT: Duration = Duration::from_secs(180);

/// A client of one server.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    base: String,
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    /// `null` if the body is not JSON.
    pub body: Value,
}

impl Answer {
    /// Returns the error code of a refusal, or an empty string.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }

    /// Returns the body of a success. A refusal becomes an error with the server's message.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("the server answered {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

impl Api {
    /// `base` is a URL such as `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Api {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .max_idle_connections(0) // Killed servers leave dead connections.
            .build();
        Api { agent: Agent::new_with_config(config), base: base.trim_end_matches('/').to_string() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        answer(self.agent.get(self.url(path)).call().with_context(|| format!("GET {path}"))?)
    }

    pub fn delete(&self, path: &str) -> Result<Answer> {
        answer(self.agent.delete(self.url(path)).call().with_context(|| format!("DELETE {path}"))?)
    }

    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        let request = self.agent.post(self.url(path)).content_type(content_type);
        answer(request.send(body).with_context(|| format!("POST {path}"))?)
    }

    pub fn put(&self, path: &str, body: &str) -> Result<Answer> {
        let request = self.agent.put(self.url(path)).content_type("application/json");
        answer(request.send(body).with_context(|| format!("PUT {path}"))?)
    }

    /// Uploads a component, optionally under `name@version`.
    pub fn push(&self, bytes: &[u8], name: Option<&str>) -> Result<Answer> {
        let query = name.map_or(String::new(), |name| format!("?name={name}"));
        self.post(&format!("/v1/components{query}"), "application/wasm", bytes)
    }

    /// Submits a pipeline file.
    pub fn submit(&self, pipeline: &str) -> Result<Answer> {
        self.post("/v1/jobs", "application/toml", pipeline.as_bytes())
    }

    /// Submits a pipeline file that must be accepted, and returns the job's id.
    pub fn submit_ok(&self, pipeline: &str) -> Result<String> {
        let job = self.submit(pipeline)?.ok()?;
        job["id"].as_str().map(str::to_string).with_context(|| format!("no id in {job}"))
    }

    /// Returns everything the API shows of a job.
    pub fn job(&self, id: &str) -> Result<Value> {
        self.get(&format!("/v1/jobs/{id}"))?.ok()
    }

    pub fn components(&self) -> Result<Value> {
        self.get("/v1/components")?.ok()
    }

    pub fn jobs(&self) -> Result<Value> {
        self.get("/v1/jobs")?.ok()
    }

    /// Posts to `savepoints` or `stop` of a job, waits until the savepoint is complete, and returns its folder.
    pub fn savepoint(&self, id: &str, trigger: &str, body: &str) -> Result<String> {
        let view = self.post(&format!("/v1/jobs/{id}/{trigger}"), "application/json", body.as_bytes())?.ok()?;
        let request = view["request_id"].as_str().with_context(|| format!("no request_id in {view}"))?.to_owned();
        wait_until("the savepoint is complete", JOB_TIMEOUT, || {
            let view = self.get(&format!("/v1/jobs/{id}/savepoints/{request}"))?.ok()?;
            ensure!(view["status"] != "failed", "{view}");
            Ok(view["location"].as_str().map(str::to_owned))
        })
    }

    /// Waits until a job has the status `status`, and returns the job. Fails as soon as the job ends with another
    /// status.
    pub fn wait_for(&self, id: &str, status: &str) -> Result<Value> {
        wait_until(&format!("job {id} is {status}"), JOB_TIMEOUT, || {
            let job = self.job(id)?;
            match job["status"].as_str() {
                Some(now) if now == status => Ok(Some(job)),
                Some(now @ ("FINISHED" | "CANCELED" | "FAILED")) => {
                    bail!("job {id} should be {status} but is {now}: {}", job["failure"])
                }
                _ => Ok(None),
            }
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn answer(mut response: Response<ureq::Body>) -> Result<Answer> {
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
    let (status, content_type) = (response.status().as_u16(), content_type.to_string());
    let text = response.body_mut().read_to_string()?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, content_type, body })
}
