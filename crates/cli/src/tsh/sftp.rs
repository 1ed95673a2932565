//! A client of SFTP version 3 (draft-ietf-secsh-filexfer-02), as much of it as copying files needs.
//!
//! Names and handles are bytes, as on the wire: servers choose handles freely and files are not always named in
//! UTF-8. Requests may overlap; each waits for its own answer. What a server says is data: it is bounded and checked here,
//! and whether its names may be used is for [`names`] to say.

mod attributes;
mod client;
pub mod names;
mod packet;

pub use attributes::Attributes;
pub use client::{Handle, Open, Sftp};

/// Why a request had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SftpError {
    /// The server said no; its code (section 7) and words.
    #[error("{}", status_words(*.code, .words))]
    Status {
        /// `SSH_FX_*`.
        code: u32,
        /// In words; may be empty.
        words: String,
    },
    /// The channel ended.
    #[error("the connection to the host is lost")]
    Closed,
    /// The server broke the protocol.
    #[error("the host's SFTP server breaks the protocol: {0}")]
    Protocol(&'static str),
}

const END_OF_FILE: u32 = 1;
const NO_SUCH_FILE: u32 = 2;

impl SftpError {
    /// Whether there is nothing more to read.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Status { code: END_OF_FILE, .. })
    }

    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Status { code: NO_SUCH_FILE, .. })
    }
}

fn status_words(code: u32, words: &str) -> String {
    let plain = match code {
        NO_SUCH_FILE => "no such file or directory",
        3 => "permission denied",
        8 => "the host's SFTP server cannot do this",
        _ if !words.is_empty() => return words.to_owned(),
        _ => return format!("the host's SFTP server gives the status {code}"),
    };
    plain.to_owned()
}
