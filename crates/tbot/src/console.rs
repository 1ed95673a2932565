//! Standard output and the log on standard error.

use std::io::Write;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Writes to standard output; a reader that went away is not an error.
#[allow(clippy::unnecessary_wraps, reason = "the form that every command has")]
pub fn print(text: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Rows as columns, each as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Tells on standard error what went wrong; each line is marked.
pub fn error(text: &str) {
    for line in text.lines() {
        eprintln!("ERROR: {line}");
    }
}

/// The same, each line as one of a log in JSON.
pub fn error_as_json(text: &str) {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        text.lines().for_each(|line| tracing::error!(target: "tbot", "{line}"));
    });
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What is wrong.
    Quiet,
    /// What happens.
    Usual,
    /// What happens inside.
    Debug,
}

/// Starts the log.
pub fn log(json: bool, level: Level) {
    // Not EnvFilter: it would link a builder of automata for a filter that is one of these three.
    let targets = match level {
        Level::Quiet => Targets::new().with_default(LevelFilter::WARN),
        Level::Usual => Targets::new().with_default(LevelFilter::INFO),
        Level::Debug => {
            let debug = ["tbot", "transport"].map(|target| (target, LevelFilter::DEBUG));
            Targets::new().with_default(LevelFilter::INFO).with_targets(debug)
        }
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(targets);
    match json {
        true => registry.with(lines.json()).init(),
        false => registry.with(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).init(),
    }
}
