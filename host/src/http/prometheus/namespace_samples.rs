//! The series of a namespace: what it uses of its quotas.

use super::catalog;
use super::exposition::{Exposition, SampleValue};
use crate::job::UsedQuotas;

/// Adds what a namespace uses.
pub fn add_quotas(scrape: &mut Exposition, namespace: &str, used: &UsedQuotas) {
    let labels = || vec![("namespace", namespace.to_owned())];
    for (metric, bytes) in [
        (&catalog::NAMESPACE_STATE, used.state_bytes),
        (&catalog::NAMESPACE_LETTERS, used.dead_letter_bytes),
        (&catalog::NAMESPACE_COMPONENTS, used.component_bytes),
        (&catalog::NAMESPACE_LOG, used.log_bytes),
    ] {
        scrape.add(metric, labels(), SampleValue::Count(bytes));
    }
    for (quota, share) in &used.shares {
        let labels = [labels(), vec![("quota", (*quota).to_owned())]].concat();
        scrape.add(&catalog::NAMESPACE_QUOTA, labels, SampleValue::Number(*share));
    }
}
