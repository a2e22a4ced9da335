//! The log on stderr: one line for each message, with its time (RFC 3339, UTC) and level, as text or JSON.
//!
//! No message holds a secret or a note's text: messages are made from events, whose types hold neither.

use std::fmt::Debug;
use std::io::{self, Write};

use clap::ValueEnum;
use cloister_transport::{commands_terminals, printable};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, fmt, reload};

/// The form of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// Time, level and a sentence.
    Text,
    /// One JSON object for each message.
    Json,
}

/// The importance of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    /// Something failed.
    Error,
    /// Something that an operator should look at.
    Warn,
    /// What happens.
    Info,
    /// Also frames that came late or twice, which is normal after a restart, and messages of the network library.
    Debug,
}

impl LogLevel {
    /// The name, as flags and files have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

/// Changes the level of the log of this process.
#[derive(Debug)]
pub(super) struct LevelSwitch(reload::Handle<LevelFilter, Registry>);

impl LevelSwitch {
    pub(super) fn set(&self, level: LogLevel) {
        // An error says that there is no log any more.
        let _ = self.0.reload(LevelFilter::from(level));
    }
}

/// Starts the log of this process.
pub(super) fn start(format: LogFormat, level: LogLevel) -> LevelSwitch {
    let (filter, switch) = reload::Layer::new(LevelFilter::from(level));
    let lines = fmt::layer().with_writer(|| QuietStderr).event_format(LineFormat { format });
    // A second log in one process is a fault of the program; the first one stays.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines));
    LevelSwitch(switch)
}

/// The time, as RFC 3339 writes it, in UTC.
pub(crate) fn now() -> String {
    let mut time = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// Logs an event: a sentence, and its fields for programs that read the log.
pub(crate) fn event(level: Level, sentence: &str, fields: &Value) {
    // `tracing` fixes the level where it is written.
    match level {
        Level::ERROR => tracing::error!(fields = %fields, "{sentence}"),
        Level::WARN => tracing::warn!(fields = %fields, "{sentence}"),
        Level::INFO => tracing::info!(fields = %fields, "{sentence}"),
        _ => tracing::debug!(fields = %fields, "{sentence}"),
    }
}

/// An event as a line of the log in JSON.
pub(crate) fn json_line(level: Level, sentence: &str, fields: &Value) -> String {
    let fields = fields.as_object().cloned().unwrap_or_default();
    line(LogFormat::Json, &now(), level, VisitedFields { message: sentence.to_owned(), fields })
}

/// Standard error. A reader that has closed it stops nothing.
struct QuietStderr;

impl Write for QuietStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LineFormat {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut visited = VisitedFields::default();
        event.record(&mut visited);
        let level = *event.metadata().level();
        writeln!(writer, "{}", line(self.format, &now(), level, visited))
    }
}

/// One line, without characters that command a terminal: a reason may be a peer's words.
fn line(format: LogFormat, time: &str, level: Level, visited: VisitedFields) -> String {
    let VisitedFields { message, mut fields } = visited;
    if format == LogFormat::Text {
        return format!("{time} {level:<5} {}", printable(message.as_bytes()));
    }
    let mut object = Map::new();
    object.insert("time".to_owned(), time.into());
    object.insert("level".to_owned(), level.as_str().to_lowercase().into());
    object.append(&mut fields);
    object.insert("message".to_owned(), message.into());
    escape_commands(&Value::Object(object).to_string())
}

/// Escapes every character that could command a terminal, more than JSON requires.
pub(crate) fn escape_commands(json: &str) -> String {
    let mut escaped = String::new();
    for character in json.chars() {
        match commands_terminals(character) {
            // Outside strings JSON has none of these characters, and each of them fits one `\u` escape.
            true => escaped += &format!("\\u{:04x}", u32::from(character)),
            false => escaped.push(character),
        }
    }
    escaped
}

#[derive(Default)]
struct VisitedFields {
    message: String,
    fields: Map<String, Value>,
}

impl Visit for VisitedFields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            // An event's fields come as one JSON object, because `tracing` fixes names of fields in the source.
            "fields" => {
                if let Ok(Value::Object(mut fields)) = serde_json::from_str(&text) {
                    self.fields.append(&mut fields);
                }
            }
            name => {
                self.fields.insert(name.to_owned(), text.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn visited(message: &str) -> VisitedFields {
        let fields = json!({"event": "refused", "party": 2});
        let Value::Object(fields) = fields else { panic!("an object") };
        VisitedFields { message: message.to_owned(), fields }
    }

    #[test]
    fn a_line_has_time_level_and_fields_and_commands_no_terminal() {
        let words = "no part\n\u{1b}[2J\u{202e}Z\u{fc}rich";
        let time = "2026-11-30T03:00:00.000001Z";
        let text = line(LogFormat::Text, time, Level::WARN, visited(words));
        assert!(text.starts_with("2026-11-30T03:00:00.000001Z WARN  no part"), "{text}");
        let json = line(LogFormat::Json, time, Level::WARN, visited(words));
        for printed in [&text, &json] {
            assert!(!printed.chars().any(commands_terminals) && printed.lines().count() == 1, "{printed}");
        }
        let read: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            (&read["level"], &read["party"], &read["message"]),
            (&json!("warn"), &json!(2), &json!(words))
        );
    }
}
