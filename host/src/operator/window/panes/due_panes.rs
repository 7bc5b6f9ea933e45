//! When something is due for the panes of a key: the end of a window, or the removal of a pane.

use super::key_panes::KeyPanes;
use super::pane_layout::PaneLayout;
use crate::operator::window::lateness::cleanup_time;
use crate::operator::window::time_window::TimeWindow;
use crate::pipeline::WindowSettings;

/// Removes and returns the panes that no window needs once the clock of the windows has reached `time`.
pub fn remove_expired_panes(
    panes: &mut KeyPanes,
    layout: &PaneLayout,
    settings: &WindowSettings,
    time: i64,
) -> Vec<i64> {
    let is_expired = |&start: &i64| cleanup_time(settings, layout.last_window(start)) <= time;
    let expired = panes.starts.iter().take_while(|start| is_expired(start)).count();
    panes.starts.drain(..expired).collect()
}

/// The next time after `time` at which a window of the key ends or its oldest pane expires, if any.
pub fn next_due(panes: &KeyPanes, layout: &PaneLayout, settings: &WindowSettings, time: i64) -> Option<i64> {
    // With allowed lateness, all windows of many panes may have fired already.
    let fired = panes.starts.partition_point(|&start| layout.last_window(start).max_timestamp() <= time);
    let fires = panes.starts[fired..].iter().find_map(|&start| layout.first_window_after(time, start));
    let expires = panes.starts.first().map(|&start| cleanup_time(settings, layout.last_window(start)));
    [fires.map(TimeWindow::max_timestamp), expires].into_iter().flatten().filter(|&next| next > time).min()
}
