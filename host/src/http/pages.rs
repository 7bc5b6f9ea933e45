//! Pages of lists: bounded in number and in bytes, with a link to the next page.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::api::query_of;
use super::api_number::ApiNumber;
use super::problem::Problem;
use crate::error::{Result, internal};

/// Number of items in a page if the request says nothing.
const ITEMS_DEFAULT: usize = 500;
/// Largest number of items in a page.
const ITEMS_MAX: usize = 1000;
/// Size at which a page ends, in bytes. A page has one item at least.
const PAGE_BYTES_MAX: usize = 512 << 10;

/// Which part of a list a request wants.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The page begins behind this place, which the header `link` of the previous page contains.
    after: Option<String>,
    /// Largest number of items, up to 1000. 500 if not set. A page of large items has fewer.
    #[param(inline)]
    limit: Option<ApiNumber>,
}

impl PageQuery {
    /// Returns the parameters of a request. Error: `request-invalid`.
    pub(super) fn of(query: Result<Query<PageQuery>, QueryRejection>) -> Result<PageQuery> {
        query_of(query)
    }

    /// Returns the place behind which the page begins.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Returns the largest number of items.
    pub(super) fn limit(&self) -> usize {
        self.limit.map_or(ITEMS_DEFAULT, ApiNumber::size).clamp(1, ITEMS_MAX)
    }

    /// Answers with the first items of the rest of a list, which begins behind `after`. `place` returns the place of an item. `path` is the
    /// encoded path of the list.
    pub(super) fn answer<T: Serialize>(
        &self,
        path: &str,
        items: Vec<T>,
        place: impl Fn(&T) -> String,
    ) -> Result<Response, Problem> {
        let total = items.len();
        let (mut body, mut last, mut count) = (b"[".to_vec(), None, 0);
        for item in items.into_iter().take(self.limit()) {
            if count > 0 {
                body.push(b',');
            }
            let begin = body.len();
            serde_json::to_writer(&mut body, &item).map_err(|error| internal(format!("cannot write JSON: {error}")))?;
            if count > 0 && body.len() > PAGE_BYTES_MAX {
                body.truncate(begin - 1);
                break;
            }
            (last, count) = (Some(place(&item)), count + 1);
        }
        body.push(b']');
        let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(last) = last.filter(|_| count < total) {
            let link = format!("<{path}?after={}&limit={}>; rel=\"next\"", encoded(&last), self.limit());
            if let Ok(link) = HeaderValue::from_str(&link) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        Ok(response)
    }
}

/// Encodes a text as a value of a query or a segment of a path.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::read_body;

    #[tokio::test]
    async fn a_page_ends_after_its_items_or_its_bytes_and_names_the_next_one() {
        let page = async |after: Option<&str>, limit: Option<i64>, items: Vec<String>| {
            let limit = limit.map(|limit| limit.try_into().unwrap());
            let query = PageQuery { after: after.map(str::to_owned), limit };
            let response = query.answer("/v1/x", items, |item| item[..1].to_owned()).unwrap();
            let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            let body = read_body(response.into_body(), 4 << 20).await.unwrap();
            (serde_json::from_slice::<Vec<String>>(&body).unwrap().len(), link)
        };
        let small = |number: usize| (0..number).map(|number| format!("/{number}")).collect::<Vec<_>>();
        assert_eq!(page(None, None, small(3)).await, (3, None));
        assert_eq!(page(None, None, vec![]).await, (0, None));
        let next = "</v1/x?after=%2F&limit=2>; rel=\"next\"".to_owned();
        assert_eq!(page(None, Some(2), small(3)).await, (2, Some(next)));
        assert_eq!(page(None, Some(0), small(3)).await.0, 1);
        assert_eq!(page(None, Some(i64::MAX), small(3000)).await.0, 1000);
        let large = "x".repeat(200 << 10);
        assert_eq!(page(None, None, vec![large.clone(); 5]).await.0, 2);
        assert_eq!(page(None, None, vec!["x".repeat(1 << 20), large]).await.0, 1, "one at least");
    }
}
