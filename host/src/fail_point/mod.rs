//! Fail points: named places at which a build for crash tests kills its process, returns an error, or waits.
//!
//! `fail_point!("area.step")` is a place that can kill or wait; `fail_point!("area.step", error)` can also return
//! `Err(error(why))`. Without the Cargo feature `fail-points` no code remains of either: a released binary contains neither code
//! nor names (`tests/tests/fail_points.rs`). With it, the environment variable `COFFERDAM_FAIL_POINTS` chooses what happens;
//! [`script`] describes its text. `cargo xtask crash` lists all points and reports how often each was hit.
//!
//! - `script` parses the variable and decides what a pass through a point does.
//! - `active` carries it out.

#[cfg(feature = "fail-points")]
mod active;
#[cfg(any(test, feature = "fail-points"))]
mod script;

#[cfg(feature = "fail-points")]
pub(crate) use active::{error, pass, store_faults};
#[cfg(any(test, feature = "fail-points"))]
pub(crate) use script::StoreFaultRates;

/// A fail point. The name must be a literal: tests and tools find it in the source.
#[cfg(feature = "fail-points")]
macro_rules! fail_point {
    ($name:literal) => {
        $crate::fail_point::pass($name)
    };
    ($name:literal, $error:expr) => {
        if let Some(why) = $crate::fail_point::error($name) {
            return Err(($error)(why));
        }
    };
}

/// A fail point, which this build does not contain. The error is checked for its type, and no code remains of it.
#[cfg(not(feature = "fail-points"))]
macro_rules! fail_point {
    ($name:literal) => {};
    ($name:literal, $error:expr) => {
        if false {
            return Err(($error)(String::new()));
        }
    };
}
