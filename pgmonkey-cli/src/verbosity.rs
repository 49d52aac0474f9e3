//! What the library reports while a command runs: its warnings, and more on request, on stderr.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anstyle::Style;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::ui::notes;

/// Warnings that the command itself reports, as its error, or that it causes on purpose: a copy
/// holds its session for as long as it takes.
const REPORTED: [&str; 3] = ["pgmonkey.acquire", "pgmonkey.connect", "pgmonkey.leak"];

/// How many different warnings are remembered, to print each once.
const REMEMBERED: usize = 1000;

/// The passfiles that reading the configuration warned about; each new session would repeat it.
static PASSFILES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records that a warning about this passfile was printed.
pub(crate) fn warned_of_passfile(path: &Path) {
    let mut passfiles = PASSFILES.lock().unwrap_or_else(PoisonError::into_inner);
    passfiles.push(path.display().to_string());
}

fn is_known_passfile(text: &Text) -> bool {
    let passfiles = PASSFILES.lock().unwrap_or_else(PoisonError::into_inner);
    text.event == "pgmonkey.passfile" && passfiles.contains(&text.file)
}

/// How much is shown of what the library reports.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Verbosity {
    /// Show what happens to each session; twice, every step. RUST_LOG chooses in more detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

impl Verbosity {
    /// Shows on stderr what the library reports from now on, unless the process has a subscriber
    /// already.
    pub(crate) fn install(self) {
        let named = std::env::var("RUST_LOG").unwrap_or_default();
        let (filter, complaint) = self.filter(&named);
        let layer = Shown {
            is_brief: self.verbose == 0 && (named.is_empty() || complaint.is_some()),
            print: |style, kind, text| notes::marked(style, kind, text),
            warned: Mutex::default(),
        };
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
        if tracing::subscriber::set_global_default(subscriber).is_ok()
            && let Some(complaint) = complaint
        {
            notes::warning(complaint);
        }
    }

    /// What is shown, and what is wrong with `named`, the value of `RUST_LOG`.
    fn filter(self, named: &str) -> (Targets, Option<String>) {
        let level = match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let own = Targets::new().with_target("pgmonkey", level);
        if self.verbose > 0 || named.is_empty() {
            return (own, None);
        }
        match named.parse() {
            Ok(targets) => (targets, None),
            Err(error) => (own, Some(format!("RUST_LOG is ignored: {error}"))),
        }
    }
}

/// Prints events as notes of the program.
struct Shown {
    /// Whether only warnings are asked for.
    is_brief: bool,
    print: fn(Style, &str, String),
    warned: Mutex<HashSet<String>>,
}

impl<S: Subscriber> Layer<S> for Shown {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        if let Some((style, kind, text)) = self.shown(*event.metadata().level(), text) {
            (self.print)(style, kind, text);
        }
    }
}

impl Shown {
    fn shown(&self, level: Level, text: Text) -> Option<(Style, &'static str, String)> {
        let is_warning = level <= Level::WARN;
        let is_reported = || REPORTED.contains(&&*text.event) || is_known_passfile(&text);
        if self.is_brief && is_reported() {
            return None;
        }
        let shown = match self.is_brief || text.fields.is_empty() {
            true => text.message,
            false => format!("{} ({})", text.message, text.fields),
        };
        if is_warning && !self.is_new(&shown) {
            return None;
        }
        let (style, kind) = match level {
            Level::ERROR => (notes::ERROR, "error"),
            Level::WARN => (notes::WARNING, "warning"),
            Level::INFO => (notes::HINT, "info"),
            Level::DEBUG => (Style::new().dimmed(), "debug"),
            _ => (Style::new().dimmed(), "trace"),
        };
        Some((style, kind, shown))
    }

    /// Whether a warning has not been printed before. Each new session repeats those about its
    /// files.
    fn is_new(&self, text: &str) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        !warned.contains(text) && (warned.len() >= REMEMBERED || warned.insert(text.to_owned()))
    }
}

/// An event's message, its name, its file, and all fields but the first two.
#[derive(Debug, Default)]
struct Text {
    message: String,
    event: String,
    file: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => {
                if name == "file" {
                    self.file = format!("{value:?}");
                }
                let separator = if self.fields.is_empty() { "" } else { " " };
                let _ = write!(self.fields, "{separator}{name}={value:?}");
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: &str, message: &str) -> Text {
        Text {
            message: message.to_owned(),
            event: event.to_owned(),
            fields: "pool=p".to_owned(),
            ..Text::default()
        }
    }

    fn shown(is_brief: bool) -> Shown {
        Shown {
            is_brief,
            print: |_, _, _| {},
            warned: Mutex::default(),
        }
    }

    fn printed(shown: &Shown, level: Level, text: Text) -> Option<String> {
        let shown = shown.shown(level, text);
        shown.map(|(_, kind, text)| format!("{kind}: {text}"))
    }

    #[test]
    fn a_warning_is_printed_once_and_what_the_command_reports_not_at_all() {
        let brief = shown(true);
        let warn = |event, message| printed(&brief, Level::WARN, text(event, message));
        assert_eq!(warn("pgmonkey.tls", "a").as_deref(), Some("warning: a"));
        assert_eq!(warn("pgmonkey.tls", "a"), None);
        assert_eq!(warn("pgmonkey.tls", "b").as_deref(), Some("warning: b"));
        assert_eq!(warn("pgmonkey.connect", "c"), None);
    }

    #[test]
    fn on_request_everything_is_printed_with_its_fields() {
        let all = shown(false);
        let print = |level| printed(&all, level, text("pgmonkey.connect", "c"));
        assert_eq!(print(Level::WARN).as_deref(), Some("warning: c (pool=p)"));
        for _ in 0..2 {
            assert_eq!(print(Level::DEBUG).as_deref(), Some("debug: c (pool=p)"));
        }
    }

    #[test]
    fn an_option_comes_before_the_variable() {
        let at = |verbose: u8, named: &str| Verbosity { verbose }.filter(named);
        let most = |verbose, named| {
            let (filter, complaint) = at(verbose, named);
            assert!(complaint.is_none());
            let levels = [Level::WARN, Level::DEBUG, Level::TRACE];
            levels.map(|level| filter.would_enable("pgmonkey", &level))
        };
        assert_eq!(most(0, ""), [true, false, false]);
        assert_eq!(most(1, ""), [true, true, false]);
        assert_eq!(most(2, "error"), [true, true, true]);
        assert_eq!(most(0, "pgmonkey=trace"), [true, true, true]);
        assert_eq!(most(0, "pgmonkey=error"), [false, false, false]);
        assert!(
            at(0, "pgmonkey=loud")
                .1
                .is_some_and(|text| text.contains("RUST_LOG"))
        );
    }
}
