//! Status codes (draft section 7), and which one an error of the system is. The mapping is OpenSSH's, since clients act
//! on it; the text is the system's, since people act on that.

use std::borrow::Cow;
use std::io;

use rustix::io::Errno;

/// The codes of version 3 that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) const EOF: Self = Self::new(Code::Eof, "End of file");
    pub(super) const UNKNOWN_HANDLE: Self = Self::new(Code::Failure, "The handle is not open");
    /// The same, as OpenSSH's server answers it to closing and syncing.
    pub(super) const NO_SUCH_HANDLE: Self = Self::new(Code::NoSuchFile, "The handle is not open");
    pub(super) const TOO_MANY_HANDLES: Self = Self::new(Code::Failure, "Too many open files; close some");
    pub(super) const UNSUPPORTED: Self = Self::new(Code::Unsupported, "Operation unsupported");
    pub(super) const MALFORMED: Self = Self::new(Code::BadMessage, "Bad message");

    pub(super) const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        let code = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP => Code::NoSuchFile,
            Errno::PERM | Errno::ACCESS | Errno::FAULT => Code::PermissionDenied,
            Errno::NAMETOOLONG | Errno::INVAL => Code::BadMessage,
            Errno::NOSYS => Code::Unsupported,
            _ => Code::Failure,
        };
        let text = io::Error::from(error).to_string();
        let message = text.split(" (os error").next().unwrap_or(&text).to_owned();
        Self { code, message: Cow::Owned(message) }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Errno::from_raw_os_error(number).into(),
            None => Self { code: Code::Failure, message: Cow::Owned(error.to_string()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_have_openssh_s_codes() {
        let table = [
            (Errno::NOENT, Code::NoSuchFile, "No such file or directory"),
            (Errno::NOTDIR, Code::NoSuchFile, "Not a directory"),
            (Errno::ACCESS, Code::PermissionDenied, "Permission denied"),
            (Errno::PERM, Code::PermissionDenied, "Operation not permitted"),
            (Errno::INVAL, Code::BadMessage, "Invalid argument"),
            (Errno::NOSPC, Code::Failure, "No space left on device"),
            (Errno::EXIST, Code::Failure, "File exists"),
        ];
        for (error, code, message) in table {
            assert_eq!(Refusal::from(error), Refusal::new(code, message));
            assert_eq!(Refusal::from(io::Error::from(error)), Refusal::new(code, message));
        }
    }
}
