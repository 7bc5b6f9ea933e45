//! The functions of tests/guests/evil.

use super::End::{Fails, Finishes, Harmless};
use super::Shape::{Broadcast, Join, Keyed, OneKey, Plain, Session, Window};
use super::{End, Kind, Shape};

const SHORT: &str = "limits = { deadline = \"30ms\" }";

/// Function, pipeline, settings of the operator, and end.
const FUNCTIONS: &[(&str, Shape, &str, End)] = &[
    // Calls that do not come back, or come back by a trap.
    ("echo", Plain, "", Harmless),
    ("error", Plain, "", Fails("guest-error")),
    ("error-large", Plain, "", Fails("guest-error")),
    ("loop", Plain, SHORT, Fails("deadline-exceeded")),
    ("trap", Plain, "", Fails("guest-trap")),
    ("divide-by-zero", Plain, "", Fails("guest-trap")),
    ("read-out-of-bounds", Plain, "", Fails("guest-trap")),
    ("call-null", Plain, "", Fails("guest-trap")),
    ("memory-bomb", Plain, "", Fails("memory-exceeded")),
    ("memory-fill", Plain, SHORT, Fails("deadline-exceeded")),
    ("recursion", Plain, "", Fails("stack-overflow")),
    ("panic-large", Plain, "", Fails("guest-panic")),
    ("panic-often", Plain, SHORT, Fails("deadline-exceeded")),
    ("call-for-ever", Plain, SHORT, Fails("deadline-exceeded")),
    // Outputs.
    ("output-large", Plain, "", Fails("output-exceeded")),
    ("output-shared", Plain, "", Fails("output-exceeded")),
    ("output-empty-records", Plain, "", Fails("output-exceeded")),
    ("output-empty-batches", Plain, "", Harmless),
    ("output-timestamps", Plain, "", Fails("output-exceeded")),
    ("output-keys", Plain, "", Fails("output-exceeded")),
    ("output-attributes", Plain, "", Fails("output-exceeded")),
    ("offsets-decrease", Plain, "", Fails("invalid-output")),
    ("offsets-beyond", Plain, "", Fails("invalid-output")),
    ("offsets-start", Plain, "", Fails("invalid-output")),
    ("offsets-short", Plain, "", Fails("invalid-output")),
    ("timestamps-missing", Plain, "", Fails("invalid-output")),
    ("timestamps-reserved", Plain, "", Fails("invalid-output")),
    ("keys-missing", Plain, "", Fails("invalid-output")),
    ("origins-beyond", Plain, "", Fails("invalid-output")),
    ("origins-missing", Plain, "", Fails("invalid-output")),
    ("no-such-output", Plain, "", Fails("invalid-output")),
    ("another-layout", Plain, "", Fails("invalid-output")),
    // Calls of the host.
    ("state-without-state", Plain, "", Fails("invalid-call")),
    ("timer-without-key", Plain, "", Fails("invalid-call")),
    ("no-such-state", OneKey, "", Fails("invalid-call")),
    ("no-such-key", OneKey, "", Fails("invalid-call")),
    ("state-of-another-kind", OneKey, "", Fails("invalid-call")),
    ("malformed-column", OneKey, "", Fails("invalid-call")),
    ("fewer-values-than-keys", OneKey, "", Fails("invalid-call")),
    ("broadcast-without-broadcast", OneKey, "", Fails("invalid-call")),
    ("timer-undeclared", OneKey, "", Fails("invalid-call")),
    ("broadcast-from-the-other-input", Broadcast, "", Fails("invalid-call")),
    // The log and metrics: what is too much is dropped and counted. What a turn writes of metrics is limited as its state is.
    ("log-large", Plain, "limits = { deadline = \"60s\" }", Harmless),
    ("log-flood", Plain, "limits = { deadline = \"60s\" }", Harmless),
    ("log-for-ever", Plain, SHORT, Fails("deadline-exceeded")),
    ("metrics-many", Plain, "", Harmless),
    ("metrics-flood", Plain, "limits = { deadline = \"60s\" }", Fails("state-exceeded")),
    // State.
    ("state-of-a-turn", OneKey, "limits = { state_per_turn = \"4MiB\" }", Fails("state-exceeded")),
    ("state-of-a-turn-in-the-map", OneKey, "", Fails("state-exceeded")),
    ("state-under-new-keys", Keyed, "limits = { state = \"4MiB\" }", Fails("state-exceeded")),
    ("state-of-one-key", OneKey, "limits = { state_per_key = \"1MiB\" }", Fails("state-exceeded")),
    ("list-grows", OneKey, "limits = { list_elements = 1000 }", Fails("state-exceeded")),
    ("list-at-once", OneKey, "", Fails("state-exceeded")),
    ("broadcast-grows", Broadcast, "limits = { state = \"1MiB\" }", Fails("state-exceeded")),
    ("read-again-and-again", OneKey, "", Fails("memory-exceeded")),
    ("read-whole-map", OneKey, "limits = { memory = \"4MiB\" }", Fails("memory-exceeded")),
    ("read-whole-list", OneKey, "limits = { memory = \"4MiB\" }", Fails("memory-exceeded")),
    ("broadcast-read-again-and-again", Broadcast, "", Fails("memory-exceeded")),
    ("scan-for-ever", OneKey, SHORT, Fails("deadline-exceeded")),
    // Timers.
    ("timer-loop", OneKey, SHORT, Fails("deadline-exceeded")),
    ("timer-trap", OneKey, "", Fails("guest-trap")),
    ("timer-renews-itself", OneKey, "", Finishes),
    ("timer-flood-in-handler", OneKey, "", Fails("timers-exceeded")),
    ("timers-of-a-turn", OneKey, "", Fails("timers-exceeded")),
    ("timers-of-one-key", OneKey, "limits = { timers_per_key = 1000 }", Fails("timers-exceeded")),
    ("timers-at-the-end-of-time", OneKey, "", Harmless),
    // Windows, aggregates and joins.
    ("window-loop", Window, SHORT, Fails("deadline-exceeded")),
    ("window-trap", Window, "", Fails("guest-trap")),
    ("window-output", Window, "", Fails("output-exceeded")),
    ("add-loop", Window, SHORT, Fails("deadline-exceeded")),
    ("add-trap", Window, "", Fails("guest-trap")),
    ("add-fewer", Window, "", Fails("invalid-output")),
    ("add-large", Window, "", Fails("output-exceeded")),
    ("add-uses-state", Window, "", Fails("invalid-call")),
    ("merge-loop", Session, SHORT, Fails("deadline-exceeded")),
    ("merge-fewer", Session, "", Fails("invalid-output")),
    ("finish-loop", Window, SHORT, Fails("deadline-exceeded")),
    ("finish-fewer", Window, "", Fails("invalid-output")),
    ("finish-malformed", Window, "", Fails("invalid-output")),
    ("join-echo", Join, "", Finishes),
    ("join-loop", Join, SHORT, Fails("deadline-exceeded")),
    ("join-trap", Join, "", Fails("guest-trap")),
];

/// Functions that run with 64 subtasks as well.
const WIDE: &[(&str, &str, &str, End)] = &[
    ("wide-loop", "loop", SHORT, Fails("deadline-exceeded")),
    ("wide-trap", "trap", "", Fails("guest-trap")),
    ("wide-memory-bomb", "memory-bomb", "limits = { memory = \"4MiB\" }", Fails("memory-exceeded")),
    ("wide-output-shared", "output-shared", "", Fails("output-exceeded")),
    ("wide-log-flood", "log-flood", "limits = { deadline = \"60s\" }", Harmless),
];

pub fn kinds() -> Vec<Kind> {
    let wide = |&(name, function, settings, end): &(&'static str, &'static str, &'static str, End)| Kind {
        name,
        component: None,
        function,
        shape: Plain,
        settings,
        parallelism: 64,
        end,
    };
    let kind = |&(function, shape, settings, end): &(&'static str, Shape, &'static str, End)| Kind {
        name: function,
        component: None,
        function,
        shape,
        settings,
        parallelism: 1,
        end,
    };
    FUNCTIONS.iter().map(kind).chain(WIDE.iter().map(wide)).collect()
}
