//! Starts the log of the process on stderr: what is logged, and in which format.

use std::sync::Arc;

use clap::ValueEnum;
use tracing::Level;
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

use super::variables::variable;
use crate::clock::SystemClock;
use crate::job_log::set_default_level;
use crate::model::LogLevel;
use crate::stdio::{self, LogWriter};

/// The variable that selects the events, such as `info,cofferdam::http=debug`.
const VARIABLE: &str = "COFFERDAM_LOG";
/// The target of events of functions.
const GUEST: &str = "guest";

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON document per line and event.
    Json,
}

/// Starts logging to stderr. `COFFERDAM_LOG` selects the events, or else `default`.
///
/// The level for the target `guest` is the default level of functions. Their own levels then decide over each line.
pub fn start_log(default: &str, format: LogFormat) {
    let writer = match format {
        LogFormat::Text => LogWriter::new(),
        LogFormat::Json => LogWriter::json(SystemClock::shared()),
    };
    let directives = match variable(VARIABLE) {
        Some(directives) => match EnvFilter::try_new(&directives) {
            Ok(_) => directives,
            Err(error) => {
                stdio::tell(format_args!("warning: {VARIABLE} is invalid ({error}); logging `{default}`"));
                default.to_owned()
            }
        },
        None => default.to_owned(),
    };
    set_default_level(guest_level(&directives));
    let selected = EnvFilter::new(&directives);
    let level_of_libraries = selected.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let filter = selected.or(filter_fn(|event| event.target() == GUEST));
    let ansi = writer.has_colors();
    let text = fmt::layer().with_ansi(ansi).with_writer(Arc::new(writer));
    match format {
        LogFormat::Text => set_subscriber(registry().with(text.with_filter(filter)), level_of_libraries),
        LogFormat::Json => {
            let json = text.json().flatten_event(true).with_current_span(true).with_span_list(false);
            set_subscriber(registry().with(json.with_filter(filter)), level_of_libraries);
        }
    }
}

/// Sets the subscriber of the process. Libraries that use the crate `log` are asked for events of this level and above only, so that
/// others cost them nothing.
fn set_subscriber(subscriber: impl Into<tracing::Dispatch>, level_of_libraries: LevelFilter) {
    let is_first = tracing::dispatcher::set_global_default(subscriber.into()).is_ok();
    let libraries = LogTracer::builder().with_max_level(level_of_libraries.as_log()).init();
    debug_assert!(is_first && libraries.is_ok(), "the log is started once");
}

/// Returns the least severe lines of functions that these directives select.
fn guest_level(directives: &str) -> LogLevel {
    let probe = registry().with(EnvFilter::new(directives));
    tracing::subscriber::with_default(probe, || {
        let levels = [
            (LogLevel::Trace, tracing::enabled!(target: GUEST, Level::TRACE)),
            (LogLevel::Debug, tracing::enabled!(target: GUEST, Level::DEBUG)),
            (LogLevel::Info, tracing::enabled!(target: GUEST, Level::INFO)),
            (LogLevel::Warn, tracing::enabled!(target: GUEST, Level::WARN)),
            (LogLevel::Error, tracing::enabled!(target: GUEST, Level::ERROR)),
        ];
        levels.into_iter().find(|(_, is_enabled)| *is_enabled).map_or(LogLevel::Off, |(level, _)| level)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directives_set_the_default_level_of_functions() {
        let expected = [
            ("info", LogLevel::Info),
            ("warn,guest=info", LogLevel::Info),
            ("info,guest=trace", LogLevel::Trace),
            ("error", LogLevel::Error),
            ("info,guest=off", LogLevel::Off),
            ("cofferdam::http=debug", LogLevel::Off),
        ];
        for (directives, level) in expected {
            assert_eq!(guest_level(directives), level, "{directives}");
        }
    }
}
