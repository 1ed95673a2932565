//! The configuration reference in Markdown, written from the types that read the file.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde_json::Value;

use crate::{
    path::KeyPath,
    refusals::Refusals,
    schema::{Record, Schema, Shape},
};

/// Deeper than any section of a sensible file; ends recursive types.
const MAX_DEPTH: usize = 8;

/// One table per section: key, type, default, meaning. Headings are of the second level.
#[must_use]
pub fn reference<T: JsonSchema>() -> String {
    let root = schemars::SchemaGenerator::default().into_root_schema_for::<T>();
    let schema = Schema::new(root.as_value());
    let mut writer = Writer { schema, out: String::new() };
    writer.section(&Place::top(), schema.root(), 0);
    writer.out
}

/// One table of the keys that are refused by name, for readers who come with a file from elsewhere.
#[must_use]
pub fn refused_reference(refusals: &Refusals) -> String {
    let mut out = String::from("| Key | What is said |\n|---|---|\n");
    for refusal in refusals.iter() {
        let _ = writeln!(out, "| `{}` | {} |", refusal.asks_for(), cell(refusal.reason()));
    }
    out
}

struct Writer<'s> {
    schema: Schema<'s>,
    out: String,
}

/// What a section is called: its path, and the word that selects it among variants.
#[derive(Clone)]
struct Place {
    path: String,
    variant: Option<String>,
}

impl Place {
    fn top() -> Self {
        Self { path: String::new(), variant: None }
    }

    fn key(&self, key: &str) -> Self {
        let path = KeyPath::default().key(key).to_string();
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{path}", self.path), variant: self.variant.clone() }
    }

    fn below(&self, suffix: &str) -> Self {
        Self { path: format!("{}{suffix}", self.path), variant: self.variant.clone() }
    }

    fn variant(&self, tag: &str, word: &str) -> Self {
        Self { path: self.path.clone(), variant: Some(format!("{tag}: {word}")) }
    }

    fn heading(&self) -> String {
        let path = if self.path.is_empty() { "Top level".to_owned() } else { format!("`{}`", self.path) };
        match &self.variant {
            None => path,
            Some(variant) => format!("{path} with `{variant}`"),
        }
    }
}

impl<'s> Writer<'s> {
    /// The sections at and below a place; nothing where no record stands.
    fn section(&mut self, place: &Place, at: &'s Value, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match self.schema.shape(at) {
            Shape::Record(record) => self.record(place, record.about(), &record, depth),
            Shape::Variants(tag, variants) => {
                for (word, record) in &variants {
                    self.record(&place.variant(tag, word), record.about(), record, depth);
                }
            }
            Shape::List(item) => self.section(&place.below("[]"), item, depth + 1),
            Shape::Map(values) => self.section(&place.below(".*"), values, depth + 1),
            Shape::Either(alternatives) => {
                for one in alternatives {
                    self.section(place, one, depth + 1);
                }
            }
            Shape::Any | Shape::Bool | Shape::Integer(..) | Shape::Number | Shape::Text | Shape::Words(_) => {
            }
        }
    }

    fn record(&mut self, place: &Place, about: Option<&str>, record: &Record<'s>, depth: usize) {
        let _ = writeln!(self.out, "## {}\n", place.heading());
        if let Some(about) = about {
            let _ = writeln!(self.out, "{}\n", about.trim());
        }
        self.out += "| Key | Type | Default | Meaning |\n|---|---|---|---|\n";
        for (key, at) in record.keys() {
            self.row(key, at, record.requires(key));
        }
        self.out.push('\n');
        for (key, at) in record.keys() {
            self.section(&place.key(key), at, depth + 1);
        }
    }

    fn row(&mut self, key: &str, at: &'s Value, required: bool) {
        let kind = self.kind(at, 0);
        let default = match self.schema.default(at) {
            _ if required => "required".to_owned(),
            Some(value) => default_text(value),
            None => String::new(),
        };
        let about = cell(self.schema.about(at).unwrap_or_default());
        let _ = writeln!(self.out, "| `{key}` | {kind} | {default} | {about} |");
    }

    fn kind(&self, at: &'s Value, depth: usize) -> String {
        if depth > MAX_DEPTH {
            return "value".to_owned();
        }
        match self.schema.shape(at) {
            Shape::Any => "any value".to_owned(),
            Shape::Bool => "`yes` or `no`".to_owned(),
            Shape::Integer(..) => "whole number".to_owned(),
            Shape::Number => "number".to_owned(),
            Shape::Text => "text".to_owned(),
            Shape::Words(words) => {
                let words: Vec<String> = words
                    .iter()
                    .map(|word| match word.about {
                        Some(about) => format!("`{}` ({})", word.name, cell(about).trim_end_matches('.')),
                        None => format!("`{}`", word.name),
                    })
                    .collect();
                words.join(", ")
            }
            Shape::List(item) => format!("list of {}", self.kind(item, depth + 1)),
            Shape::Map(values) => format!("mapping of names to {}", self.kind(values, depth + 1)),
            Shape::Record(_) => "section".to_owned(),
            Shape::Variants(tag, _) => format!("section, told apart by `{tag}`"),
            Shape::Either(several) => {
                let kinds: Vec<String> = several.iter().map(|one| self.kind(one, depth + 1)).collect();
                kinds.join(", or ")
            }
        }
    }
}

/// Sections and empty values have no default worth printing.
fn default_text(value: &Value) -> String {
    match value {
        Value::Null | Value::Object(_) => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::Bool(flag) => if *flag { "`yes`" } else { "`no`" }.to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// Text that stays within a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
