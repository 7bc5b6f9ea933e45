//! The answers to savepoint requests: where a request is answered as completed or failed, and where a client polls it.
//!
//! Invariant: a request that was accepted stays here until the process ends, so that a client can always poll its
//! answer.

use std::collections::BTreeMap;

use crate::job::view::SavepointView;

/// The savepoint and checkpoint requests of a job since the process started, by request id.
#[derive(Default)]
pub struct SavepointAnswers(BTreeMap<String, SavepointView>);

impl SavepointAnswers {
    /// Adds a request or replaces its answer.
    pub fn put(&mut self, view: SavepointView) {
        self.0.insert(view.request_id.clone(), view);
    }

    /// Returns the current answer to a request.
    pub fn get(&self, request_id: &str) -> Option<&SavepointView> {
        self.0.get(request_id)
    }

    /// Removes a request that was refused.
    pub fn forget(&mut self, request_id: &str) {
        self.0.remove(request_id);
    }

    /// Answers the given requests as failed, unless they have an answer.
    pub fn fail_unanswered(&mut self, request_ids: &[String], why: &str) {
        for id in request_ids {
            self.0.get_mut(id).into_iter().for_each(|view| fail_if_unanswered(view, why));
        }
    }

    /// Answers all requests as failed that have no answer.
    pub fn fail_all_unanswered(&mut self, why: &str) {
        self.0.values_mut().for_each(|view| fail_if_unanswered(view, why));
    }
}

fn fail_if_unanswered(view: &mut SavepointView, why: &str) {
    if view.status == SavepointView::IN_PROGRESS {
        *view = SavepointView::failed(&view.request_id, view.location.take(), why.to_owned());
    }
}
