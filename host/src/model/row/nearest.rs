//! The nearest name to a name that does not exist.

use crate::escape::one_line;

/// Returns ``; did you mean `NAME`?`` if one of `names` is similar, otherwise the names that there are.
pub fn did_you_mean<'n>(name: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    let lower = name.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    let nearest = names.clone().map(|candidate| (distance(candidate), candidate)).min();
    match nearest {
        None => "; there are no fields".to_owned(),
        Some((distance, candidate)) if distance <= name.chars().count().div_ceil(3).max(1) => {
            format!("; did you mean `{}`?", one_line(candidate))
        }
        Some(_) => {
            const SHOWN_NAMES_MAX: usize = 30;
            let mut listed: Vec<String> =
                names.clone().take(SHOWN_NAMES_MAX).map(|name| format!("`{}`", one_line(name))).collect();
            if names.count() > SHOWN_NAMES_MAX {
                listed.push("…".to_owned());
            }
            format!("; the fields are {}", listed.join(", "))
        }
    }
}
