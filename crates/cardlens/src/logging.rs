//! Log lines on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// When text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour a stream.
    #[must_use]
    pub fn on(self, terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !no_color,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logging {
    /// Text or JSON.
    pub format: LogFormat,
    /// Steps more (positive) or less than usual.
    pub verbosity: i8,
    /// Colours of text.
    pub color: Color,
    /// Whether `NO_COLOR` is set and not empty.
    pub no_color: bool,
}

impl Logging {
    /// Begins to write log lines; a second call changes nothing.
    pub fn start(self) {
        let ansi = self.color.on(std::io::stderr().is_terminal(), self.no_color);
        // An earlier one stays: tests start several verbs in one process.
        drop(self.subscriber(std::io::stderr, ansi).try_init());
    }

    fn subscriber<W>(self, writer: W, ansi: bool) -> impl tracing::Subscriber + Send + Sync
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(directives(self.verbosity)))
            .with_writer(writer)
            .with_ansi(ansi && self.format == LogFormat::Text);
        let boxed: Box<dyn tracing::Subscriber + Send + Sync> = match self.format {
            LogFormat::Text => Box::new(builder.compact().finish()),
            LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
        };
        boxed
    }
}

/// Of libraries only what is unexpected; of cardlens what changes its state, and more or less by
/// the steps asked for.
fn directives(verbosity: i8) -> &'static str {
    match verbosity {
        ..=-3 => "off",
        -2 => "error",
        -1 => "warn",
        0 => "warn,cardlens=info",
        1 => "warn,cardlens=debug",
        2 => "info,cardlens=trace",
        3.. => "trace",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, verbosity: i8) -> Vec<String> {
        let logging = Logging { format, verbosity, color: Color::Never, no_color: false };
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = logging.subscriber(move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "cardlens_engine::worker", partition = 3, "restored");
            tracing::debug!(target: "cardlens", "per batch");
            tracing::info!(target: "hyper", "somebody else");
            tracing::warn!(target: "hyper", "unexpected");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn levels() {
        assert_eq!(lines(LogFormat::Text, 0).len(), 2);
        assert_eq!(lines(LogFormat::Text, 1).len(), 3);
        assert_eq!(lines(LogFormat::Text, 3).len(), 4);
        assert_eq!(lines(LogFormat::Text, -1).len(), 1);
        assert_eq!(lines(LogFormat::Text, -2).len(), 0);
    }

    #[test]
    fn json_is_one_object_per_line() {
        let lines = lines(LogFormat::Json, 0);
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&value["message"], &value["partition"]), (&"restored".into(), &3.into()));
        assert_eq!(
            (&value["level"], &value["target"]),
            (&"INFO".into(), &"cardlens_engine::worker".into())
        );
    }

    #[test]
    fn colours() {
        assert!(Color::Auto.on(true, false) && Color::Always.on(false, true));
        assert!(!Color::Auto.on(true, true) && !Color::Auto.on(false, false));
        assert!(!Color::Never.on(true, false));
    }
}
