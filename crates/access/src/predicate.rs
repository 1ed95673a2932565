//! The two small languages of roles: label expressions and `where` clauses.
//!
//! Both share one grammar ([`syntax`]) and differ in their words. An expression is parsed and typed when the
//! role is written, so that a mistake is refused there; evaluating it is total and takes no regular
//! expression from data.

mod action;
mod clause;
mod labels;
pub(crate) mod syntax;

pub use action::check_action;
pub use clause::{Clause, Context, ResourceView};
pub use labels::{EvaluationError, LabelExpression};
pub use syntax::SyntaxError;
