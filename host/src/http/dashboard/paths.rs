//! The paths that the dashboard answers.

/// The paths of the screens, all of which answer with the same page.
pub(in crate::http) const SCREENS: [&str; 8] =
    ["/", "/jobs", "/jobs/{job}", "/jobs/{job}/{screen}", "/components", "/server", "/sign-in", "/docs/errors"];

/// The paths of the other files.
pub(in crate::http) const FILES: [&str; 3] = ["/app.js", "/app.css", "/docs/errors.md"];

/// Returns whether a path belongs to the dashboard, which is also served while jobs are resumed.
pub(in crate::http) fn has_path(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    SCREENS.iter().chain(&FILES).any(|route| route.split('/').nth(1) == Some(first))
}
