//! The severity of log lines of functions.

/// The severity of a log line, and the least severe lines that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// No line is written. No line has this severity.
    Off,
    /// An error.
    Error,
    /// A warning.
    Warn,
    /// Information.
    #[default]
    Info,
    /// Debugging information.
    Debug,
    /// Detailed tracing.
    Trace,
}

impl LogLevel {
    /// All levels by their names, as the pipeline file and the API write them.
    pub const NAMED: [(&'static str, LogLevel); 6] = [
        ("off", LogLevel::Off),
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];

    /// Returns the level with this name.
    pub fn parse(name: &str) -> Option<LogLevel> {
        LogLevel::NAMED.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// Returns the level with this number, or `Off`.
    pub fn from_number(number: u8) -> LogLevel {
        LogLevel::NAMED.get(usize::from(number)).map_or(LogLevel::Off, |(_, level)| *level)
    }

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        LogLevel::NAMED.get(self as usize).map_or("off", |(name, _)| name)
    }

    /// Returns whether a line of this severity is written under this level.
    pub fn admits(self, line: LogLevel) -> bool {
        line != LogLevel::Off && line <= self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_admits_lines_of_its_severity_and_above() {
        assert!(LogLevel::Warn.admits(LogLevel::Error) && LogLevel::Warn.admits(LogLevel::Warn));
        assert!(!LogLevel::Warn.admits(LogLevel::Info) && !LogLevel::Off.admits(LogLevel::Error));
        for (name, level) in LogLevel::NAMED {
            assert_eq!((LogLevel::parse(name), level.as_str()), (Some(level), name));
            assert_eq!(LogLevel::from_number(level as u8), level);
        }
        assert_eq!(LogLevel::parse("DEBUG"), None);
    }
}
