//! Counts requests by the template of their route, and measures them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;

use super::catalog;
use super::exposition::{Exposition, SampleValue};
use super::job_samples::distribution;
use crate::clock::SharedClock;
use crate::model::DurationHistogram;

/// Template of requests that no route matches.
const NO_ROUTE: &str = "none";

/// Counts of requests since the server began.
pub struct RequestTotals {
    clock: SharedClock,
    routes: Mutex<BTreeMap<String, RouteTotals>>,
}

#[derive(Default)]
struct RouteTotals {
    /// By method and status.
    answers: BTreeMap<(&'static str, u16), u64>,
    seconds: DurationHistogram,
}

impl RequestTotals {
    pub fn new(clock: SharedClock) -> RequestTotals {
        RequestTotals { clock, routes: Mutex::default() }
    }

    fn count(&self, route: &str, method: &Method, status: u16, seconds: f64) {
        let mut routes = self.routes.lock();
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), RouteTotals::default());
        }
        let Some(totals) = routes.get_mut(route) else { return };
        *totals.answers.entry((method_name(method), status)).or_default() += 1;
        totals.seconds.observe(seconds);
    }

    /// Adds the series of all requests.
    pub fn add_to(&self, scrape: &mut Exposition) {
        for (route, totals) in &*self.routes.lock() {
            for ((method, status), count) in &totals.answers {
                let labels =
                    vec![("route", route.clone()), ("method", (*method).to_owned()), ("status", status.to_string())];
                scrape.add(&catalog::HTTP_REQUESTS, labels, SampleValue::Count(*count));
            }
            let labels = vec![("route", route.clone())];
            scrape.add(&catalog::HTTP_SECONDS, labels, distribution(&totals.seconds));
        }
    }
}

/// Clients choose methods, so only those that exist have a series.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts a request and its answer.
pub async fn count_request(State(totals): State<Arc<RequestTotals>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, began_ns) = (request.method().clone(), totals.clock.monotonic_ns());
    let response = next.run(request).await;
    let seconds = totals.clock.monotonic_ns().saturating_sub(began_ns) as f64 / 1e9;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    totals.count(route, &method, response.status().as_u16(), seconds);
    response
}
