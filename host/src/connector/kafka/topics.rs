//! Which topics a source reads.

/// The topics of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopicSelection {
    /// These topics. Each must exist.
    Names(Vec<String>),
    /// All topics whose names match, also those that are created later. `*` stands for any characters, `?` for one.
    Pattern(String),
}

/// Returns whether a pattern matches a topic. Kafka's own topics begin with two underscores; only a pattern that does so, too,
/// matches them.
pub(super) fn matches(pattern: &str, topic: &str) -> bool {
    if topic.starts_with("__") && !pattern.starts_with("__") {
        return false;
    }
    let (pattern, topic): (Vec<char>, Vec<char>) = (pattern.chars().collect(), topic.chars().collect());
    // The last `*` and how many characters it stands for: the only place to which a mismatch needs to return.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < topic.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&c) if c == '?' || c == topic[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, began)) = star else { return false };
                star = Some((star_at, began + 1));
                at = star_at + 1;
                read = began + 1;
            }
        }
    }
    pattern[at..].iter().all(|&c| c == '*')
}

/// Returns why a text cannot be the name of a topic.
pub(super) fn name_defect(name: &str) -> Option<&'static str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" | "." | ".." => Some("is no name of a topic"),
        name if name.len() > 249 => Some("is longer than the 249 characters that Kafka allows"),
        name if !name.chars().all(is_allowed) => Some("may have letters, digits, `.`, `_` and `-` only"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, matching, other) in [
            ("orders", &["orders"][..], &["orders-1", "my-orders", ""][..]),
            ("orders-*", &["orders-", "orders-eu", "orders-eu-1"], &["orders", "my-orders-1"]),
            ("*-eu-*", &["a-eu-b", "a-eu-eu-b", "-eu-"], &["eu", "a-eu"]),
            ("o?ders", &["orders", "oXders"], &["oders", "orrders"]),
            ("*", &["a", ""], &["__consumer_offsets"]),
            ("__*", &["__consumer_offsets"], &["a"]),
            ("*a*b*a", &["aba", "xaxbxa", "aabba"], &["abb", "ab"]),
        ] {
            for topic in matching {
                assert!(matches(pattern, topic), "{pattern} {topic}");
            }
            for topic in other {
                assert!(!matches(pattern, topic), "{pattern} {topic}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches(&"*a".repeat(100), &"a".repeat(99)));
        assert!(!matches(&("*a".repeat(50) + "b"), &"a".repeat(249)));
    }

    #[test]
    fn names_that_kafka_refuses_are_defects() {
        assert_eq!(name_defect("orders.eu_1-x"), None);
        for name in ["", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(name_defect(name).is_some(), "{name}");
        }
    }
}
