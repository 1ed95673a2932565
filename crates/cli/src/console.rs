//! Where a program reads from and writes to, and in which form.
//!
//! Everything a command says goes through here, so that tests see it and terminals are not attacked by it.

mod format;
mod table;

pub use format::{Format, OutputOptions};
pub use table::Table;

use crate::Failure;
use crate::escape;
use serde::Serialize;
use std::io::{self, Read, Write};

/// Standard input, output and error of a program, or what stands in for them.
pub struct Console {
    input: Box<dyn Read>,
    output: Box<dyn Write>,
    errors: Box<dyn Write>,
}

impl Console {
    /// Those of the process.
    pub fn of_process() -> Self {
        Self { input: Box::new(io::stdin()), output: Box::new(io::stdout()), errors: Box::new(io::stderr()) }
    }

    /// Others.
    pub fn new(
        input: impl Read + 'static,
        output: impl Write + 'static,
        errors: impl Write + 'static,
    ) -> Self {
        Self { input: Box::new(input), output: Box::new(output), errors: Box::new(errors) }
    }

    /// Reads all of standard input, at most `limit` bytes of it.
    pub fn read(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Prints text that may come from elsewhere, and a line break unless there is one.
    pub fn say(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        let text = escape::neutral(text.as_ref());
        self.put(&text)
    }

    /// Prints JSON, indented.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
        self.put(&escape::json(&text))
    }

    /// Prints JSON on one line.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
        self.put(&escape::json(&text))
    }

    /// Prints one YAML document.
    pub fn yaml(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = crate::documents::to_yaml(value)?;
        self.put(&text)
    }

    /// Prints `value` in a form for programs, or whatever `text` prints for people.
    pub fn show<T: Serialize>(
        &mut self,
        format: Format,
        value: &T,
        text: impl FnOnce(&T, &mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match format {
            Format::Text => text(value, self),
            Format::Json => self.json(value),
            Format::Yaml => self.yaml(value),
        }
    }

    /// Prints bytes as they are: for output that programs read, such as a man page.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.output.write_all(bytes).and_then(|()| self.output.flush()).map_err(|error| unwritten(&error))
    }

    /// Prints a remark on standard error, where it disturbs no program that reads the output.
    pub fn remark(&mut self, text: impl AsRef<str>) {
        let text = escape::neutral(text.as_ref());
        // Nothing is left to tell whoever closed standard error.
        let _ = writeln!(self.errors, "{}", text.trim_end_matches('\n')).and_then(|()| self.errors.flush());
    }

    /// Prints a failure and gives the exit code.
    pub fn fail(&mut self, failure: &Failure) -> u8 {
        if !failure.reason.is_empty() {
            self.remark(format!("ERROR: {failure}"));
        }
        failure.exit
    }

    fn put(&mut self, text: &str) -> Result<(), Failure> {
        let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
        let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.write_all(end));
        written.and_then(|()| self.output.flush()).map_err(|error| unwritten(&error))
    }
}

/// Whoever reads may stop reading (`tctl get all | head`); that is an end, not an error to talk about.
fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(""),
        _ => Failure::new(format!("cannot write the output: {error}")),
    }
}
