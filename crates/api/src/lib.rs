//! The wire between our own programs: generated messages and services.
//!
//! `v1` holds exactly what `proto/postern/v1` says; conversions to the types that mean something live in the
//! modules beside it. No decisions, no I/O.

/// Generated from `proto/postern/v1`; the comments there are the documentation.
#[allow(missing_docs, reason = "generated; documented in the .proto files")]
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("postern.v1");
}
