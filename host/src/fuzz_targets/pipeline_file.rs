//! The text of a pipeline file.

use crate::pipeline::PipelineSpec;

/// Parsing gives the same result twice. An error shows one line and names a place in the text.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PipelineSpec::parse(text, "fuzz.toml") {
        Ok(spec) => {
            let again = PipelineSpec::parse(text, "fuzz.toml").unwrap();
            assert_eq!(format!("{spec:?}"), format!("{again:?}"));
            assert!(!spec.nodes.is_empty(), "a pipeline without nodes");
        }
        Err(error) => {
            assert!(error.code.starts_with("manifest-") || !error.code.is_empty());
            if let Some(location) = &error.location {
                let lines = text.split('\n').count();
                assert!(location.line >= 1 && location.line <= lines, "{location:?} of {lines} lines");
                assert!(location.column >= 1, "{location:?}");
            }
            let shown = error.to_string();
            assert!(!shown.lines().next().unwrap_or_default().contains('\u{1b}'), "{shown:?}");
        }
    }
}
