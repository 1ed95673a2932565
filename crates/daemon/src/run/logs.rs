//! Logs: where they go, what is written, and both again on SIGHUP.
//!
//! Only our own crates are written below `WARN`: what a library says at its debug level may be a secret.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, reload,
};

use crate::config::{
    Log, LogOutput,
    file::{LogFormat, Severity},
};

/// Every crate of ours that runs inside the daemon.
const OURS: [&str; 14] = [
    "access",
    "agent",
    "api",
    "auth",
    "ca",
    "daemon",
    "exec",
    "identity",
    "join",
    "node",
    "proxy",
    "store",
    "transport",
    "yaml",
];

/// The logs of this process, once they are set up.
pub struct Logs {
    level: reload::Handle<Targets, Registry>,
    sink: Sink,
    /// Whether the command line asked for everything, whatever the file says.
    debug: bool,
}

/// Why logs cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open log file {path}: {error}", path = .path.display())]
pub struct LogError {
    path: PathBuf,
    error: io::Error,
}

/// Sets up the logs of this process; once per process. A file that is not to be opened `now` is opened by
/// [`Logs::open`].
///
/// # Errors
/// When the file cannot be opened.
pub fn start(log: &Log, debug: bool, now: bool) -> Result<Logs, LogError> {
    let sink = Sink::new(&log.output);
    if now {
        sink.reopen()?;
    }
    let (level, handle) = reload::Layer::new(targets(log.severity, debug));
    let lines = tracing_subscriber::fmt::layer().with_writer(sink.clone()).with_ansi(false);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails only where logs are set up already, which then keep working.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(level).with(lines));
    Ok(Logs { level: handle, sink, debug })
}

impl Logs {
    /// Takes up the severity, and opens the file again, which was perhaps moved away.
    ///
    /// # Errors
    /// When the file cannot be opened; the old one then stays in use.
    pub fn reload(&self, log: &Log) -> Result<(), LogError> {
        // Fails only when the subscriber is gone, that is never.
        let _ = self.level.reload(targets(log.severity, self.debug));
        self.sink.reopen()
    }

    /// Opens the file if it is not open.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> Result<(), LogError> {
        if self.sink.is_open() { Ok(()) } else { self.sink.reopen() }
    }
}

fn targets(severity: Severity, debug: bool) -> Targets {
    let level = match severity {
        _ if debug => LevelFilter::DEBUG,
        Severity::Debug => LevelFilter::DEBUG,
        Severity::Info => LevelFilter::INFO,
        Severity::Warn => LevelFilter::WARN,
        Severity::Error => LevelFilter::ERROR,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.into_iter().map(|ours| (ours, level)))
}

#[derive(Clone)]
enum Sink {
    Stderr,
    Stdout,
    /// Until the file is open, its lines go to standard error.
    File {
        path: PathBuf,
        file: Arc<Mutex<Option<File>>>,
    },
}

impl Sink {
    fn new(output: &LogOutput) -> Self {
        match output {
            LogOutput::Stderr => Self::Stderr,
            LogOutput::Stdout => Self::Stdout,
            LogOutput::File(path) => Self::File { path: path.clone(), file: Arc::default() },
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Stderr | Self::Stdout => true,
            Self::File { file, .. } => file.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
        }
    }

    fn reopen(&self) -> Result<(), LogError> {
        if let Self::File { path, file } = self {
            let again = open(path)?;
            *file.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    opened.map_err(|error| LogError { path: path.to_owned(), error })
}

impl<'w> MakeWriter<'w> for Sink {
    type Writer = Box<dyn Write + 'w>;

    fn make_writer(&'w self) -> Self::Writer {
        match self {
            Self::Stderr => Box::new(io::stderr()),
            Self::Stdout => Box::new(io::stdout()),
            Self::File { file, .. } => Box::new(FileWriter(file)),
        }
    }
}

struct FileWriter<'w>(&'w Mutex<Option<File>>);

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(file) => file.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map_or(Ok(()), File::flush)
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::{OURS, Sink, targets};
    use crate::config::{LogOutput, file::Severity};

    #[test]
    fn all_that_the_daemon_is_made_of_is_heard() {
        let manifest = include_str!("../../Cargo.toml");
        let made_of = manifest.split("[dev-dependencies]").next().expect("something");
        let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the crates");
        for name in crates.map(|entry| entry.expect("readable").file_name().into_string().expect("a name")) {
            let used = made_of.contains(&format!("\n{name}.workspace = true"));
            assert!(!used || OURS.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn libraries_are_not_heard_below_warnings() {
        let debug = targets(Severity::Debug, false);
        assert!(debug.would_enable("proxy::routing", &Level::DEBUG));
        assert!(!debug.would_enable("rustls::conn", &Level::INFO));
        assert!(debug.would_enable("rustls::conn", &Level::WARN));
        let error = targets(Severity::Error, false);
        assert!(!error.would_enable("rustls", &Level::WARN) && !error.would_enable("auth", &Level::WARN));
        assert!(targets(Severity::Error, true).would_enable("auth", &Level::DEBUG));
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_again() {
        use std::io::Write as _;
        use tracing_subscriber::fmt::MakeWriter as _;
        let root = tempfile::tempdir().expect("temporary directory");
        let (path, moved) = (root.path().join("log"), root.path().join("log.1"));
        let sink = Sink::new(&LogOutput::File(path.clone()));
        assert!(!sink.is_open());
        sink.reopen().expect("opens");
        sink.make_writer().write_all(b"before\n").expect("writes");
        std::fs::rename(&path, &moved).expect("moves");
        sink.reopen().expect("opens");
        sink.make_writer().write_all(b"after\n").expect("writes");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "after\n");
        assert_eq!(std::fs::read_to_string(&moved).expect("reads"), "before\n");
    }
}
