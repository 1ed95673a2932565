//! The form of the output.

use clap::{Args, ValueEnum};

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; may change between versions
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// `--format`, before or after the command.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputOptions {
    /// Form of the output
    #[arg(long, global = true, value_enum)]
    pub format: Option<Format>,
}

impl OutputOptions {
    /// The form that was asked for, or text.
    pub fn or_text(self) -> Format {
        self.format.unwrap_or(Format::Text)
    }
}
