//! Configuration files, read so that every mistake is reported at once, with its line and key.
//!
//! One idea: the serde types of a configuration file (with `schemars::JsonSchema` and doc comments) are the single
//! source of truth. From their schema this crate derives what may stand in the file, what to say about everything
//! else, and the configuration reference of the documentation.
//!
//! - [`decode`] is the short form for a file without extras.
//! - [`Reader`] adds the file's name, keys refused by name ([`Refusals`]), a second name for a section, and a
//!   semantic check whose mistakes are reported together with those of the syntax.
//! - [`reference()`] writes the reference in Markdown.
//!
//! Pure: it reads text and returns values. It must not open files, look at the environment or log.

mod dropped;
mod located;
mod mistake;
mod path;
mod reader;
mod reference;
mod refusals;
mod scalar;
mod schema;
mod tree;
mod walk;

pub use located::Located;
pub use mistake::{Mistake, Mistakes};
pub use path::KeyPath;
pub use reader::{Reader, Report, decode};
pub use reference::{reference, refused_reference};
pub use refusals::{Refusal, Refusals, refuse};
