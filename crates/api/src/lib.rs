//! The wire between our own programs: generated messages and services.
//!
//! `v1` holds exactly what `proto/postern/v1` says; conversions to the types that mean something live in the
//! modules beside it. No decisions, no I/O.

pub mod convert;
pub mod status;

/// Every service and message as a compiled `FileDescriptorSet`: what tests hold tables against.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Generated from `proto/postern/v1`; the comments there are the documentation.
#[allow(missing_docs, reason = "generated; documented in the .proto files")]
#[allow(clippy::all, clippy::too_many_lines, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("postern.v1");
}

/// Generated from `proto/spiffe`: the SPIFFE Workload API, a standard's and not ours.
#[allow(missing_docs, reason = "generated; documented in the .proto file")]
#[allow(clippy::all, clippy::too_many_lines, reason = "generated")]
pub mod spiffe {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}
