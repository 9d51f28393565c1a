//! Log lines as RecIS prints them: `[2026-11-23 14:05:09,123] [INFO] [Trainer] message`.

use std::fmt;

use chrono::Local;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Logs under a name. What happens to the lines is up to the program's [`tracing`] subscriber;
/// [`Logger::init`] installs ours.
#[derive(Clone, Debug)]
pub struct Logger {
    name: String,
}

impl Logger {
    /// A logger of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Prints this crate's lines and those of others to the terminal: INFO to stdout, warnings and
    /// errors to stderr. Does nothing if the program has installed a subscriber already.
    pub fn init() {
        let writer =
            std::io::stdout.with_filter(|line| *line.level() == Level::INFO).or_else(std::io::stderr);
        let subscriber = tracing_subscriber::fmt().event_format(RecisFormat).with_writer(writer).finish();
        // The only error is that there is a subscriber, which is then the program's own.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// Says what happens.
    pub fn info(&self, message: impl fmt::Display) {
        tracing::info!(logger = self.name, "{message}");
    }

    /// Says what the user should know but training can live with.
    pub fn warning(&self, message: impl fmt::Display) {
        tracing::warn!(logger = self.name, "{message}");
    }

    /// Says what went wrong.
    pub fn error(&self, message: impl fmt::Display) {
        tracing::error!(logger = self.name, "{message}");
    }
}

struct RecisFormat;

impl<S, N> FormatEvent<S, N> for RecisFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::WARN => "WARNING",
            other => other.as_str(),
        };
        let mut line = Line { name: metadata.target().into(), ..Line::default() };
        event.record(&mut line);
        let time = Local::now().format("%Y-%m-%d %H:%M:%S,%3f");
        writeln!(writer, "[{time}] [{level}] [{}] {}{}", line.name, line.message, line.fields)
    }
}

/// The parts of an event.
#[derive(Default)]
struct Line {
    /// The logger's, or the target of events that do not come from a [`Logger`].
    name: String,
    message: String,
    /// Whatever else other crates attach.
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "logger" => self.name = value.into(),
            _ => self.record_debug(field, &value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_read_as_those_of_recis() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(RecisFormat).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            Logger::new("Trainer").info("a \"b\"");
            Logger::new("Trainer").warning(1);
            Logger::new("Trainer").error("no");
            tracing::info!(target: "other", rows = 3, "read");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let (times, rest): (Vec<&str>, Vec<&str>) = text.lines().map(|line| line.split_at(26)).unzip();
        for time in times {
            chrono::NaiveDateTime::parse_from_str(time, "[%Y-%m-%d %H:%M:%S,%3f] ").expect(time);
        }
        let expected = [
            "[INFO] [Trainer] a \"b\"",
            "[WARNING] [Trainer] 1",
            "[ERROR] [Trainer] no",
            "[INFO] [other] read rows=3",
        ];
        assert_eq!(rest, expected);
    }
}
