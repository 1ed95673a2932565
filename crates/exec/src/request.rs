//! What the node asks of the helper: one [`SessionRequest`].
//!
//! It travels over a socket that only these two hold (never argv, never the environment, which other users can read),
//! as at most [`MAX_BYTES`] bytes. Decoding is total: whatever the bytes are, the answer is a valid request or a reason.
//! The same [`SessionRequest::check`] runs on both sides.

mod codec;

use std::fmt;
use std::net::IpAddr;

use rustix::process::geteuid;

use crate::environment::modules_may_be_told;
use crate::limits::Limits;
use crate::modes::TerminalModes;

/// The most bytes that one encoded request may have.
pub const MAX_BYTES: usize = 1 << 20;
/// The longest login name; directory services allow longer names than `useradd` does.
pub const MAX_LOGIN: usize = 256;
/// The most variables in each of the two environment lists.
pub const MAX_ENV: usize = 512;

/// One session, as the node decided it. The permit was checked before this value was made.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// The account to become; looked up by the helper, because name services can block for seconds.
    pub login: String,
    /// What to run.
    pub launch: Launch,
    /// Variables that the client asked for. The helper drops the dangerous ones again and never lets one replace a
    /// variable of its own or of `trusted_env`; see [`crate::environment`].
    pub client_env: Vec<(String, String)>,
    /// Variables that the node vouches for: `SSH_CONNECTION`, `SSH_SESSION_ID`, `SSH_AUTH_SOCK`, ...
    /// (`TERM` and `SSH_TTY` come from the pty, and `HOME`, `PATH` and the like from the account.)
    pub trusted_env: Vec<(String, String)>,
    /// A terminal, when the client asked for one; otherwise three pipes.
    pub pty: Option<Pty>,
    /// The limits that the session starts with.
    pub limits: Limits,
    /// Where the client is, for the host's own records.
    pub peer: Option<IpAddr>,
    /// How the host's own rules for sessions are asked; `None` leaves them out.
    pub pam: Option<Pam>,
    /// Whether the user's own file `~/.tsh/environment` counts.
    pub user_env: bool,
    /// The user whose process has opened the terminal or the pipes: the user gets those from this one and from nobody else.
    pub opened_by: u32,
}

/// How to ask the host's pluggable authentication modules.
#[derive(Clone, PartialEq, Eq)]
pub struct Pam {
    /// The name of the rules, a file in `/etc/pam.d`.
    pub service: String,
    /// Variables for the modules, who may pass them on to the session.
    pub environment: Vec<(String, String)>,
}

/// What a session runs.
#[derive(Clone, PartialEq, Eq)]
pub enum Launch {
    /// The account's shell as a login shell.
    LoginShell,
    /// The account's shell with `-c` and this command, byte for byte as the client sent it.
    Command(Vec<u8>),
    /// The built-in SFTP server.
    Sftp,
    /// Nothing of the user's: opens sockets for the forwards of one connection; see [`crate::sockets`].
    Sockets,
}

/// A terminal as `pty-req` describes it (RFC 4254, section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pty {
    /// The value for `TERM`; anything that is not a plain terminal name is left out by the helper.
    pub term: String,
    /// The size at the start; later changes go through [`crate::resize`].
    pub size: WindowSize,
    /// The terminal modes to set before anything runs.
    pub modes: TerminalModes,
}

/// A window size: characters, and pixels where the client knows them (otherwise 0).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Width in characters.
    pub columns: u16,
    /// Height in rows.
    pub rows: u16,
    /// Width in pixels.
    pub width_pixels: u16,
    /// Height in pixels.
    pub height_pixels: u16,
}

impl WindowSize {
    /// From the 32-bit numbers on the SSH wire; larger ones than a terminal can have become the largest.
    pub fn from_wire(columns: u32, rows: u32, width_pixels: u32, height_pixels: u32) -> Self {
        let clamp = |value| u16::try_from(value).unwrap_or(u16::MAX);
        Self {
            columns: clamp(columns),
            rows: clamp(rows),
            width_pixels: clamp(width_pixels),
            height_pixels: clamp(height_pixels),
        }
    }
}

/// Why a request cannot be sent or was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than [`MAX_BYTES`] in all.
    #[error("the session request is larger than {MAX_BYTES} bytes; shorten the command or the environment")]
    TooLarge,
    /// The login is empty, too long, or has a character that no account name has.
    #[error("the login name is not one that an account can have")]
    Login,
    /// A field has a NUL byte, which no program argument or variable can carry.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// The PAM service is not the name of a file.
    #[error("the PAM service is not a plain name")]
    PamService,
    /// Modules run as root, and something would act on this before they do.
    #[error("PAM's modules may not be told the variable {0:?}")]
    PamVariable(String),
    /// More than [`MAX_ENV`] variables.
    #[error("more than {MAX_ENV} environment variables")]
    TooManyVariables,
    /// The other half is of another release.
    #[error("the session request has version {0}, this session-exec speaks {ours}; restart the node", ours = codec::VERSION)]
    Version(u8),
    /// The bytes are not a request.
    #[error("the session request {0}")]
    Malformed(String),
}

impl SessionRequest {
    /// A request with nothing but who and what, from a process that opens the rest itself.
    pub fn new(login: impl Into<String>, launch: Launch) -> Self {
        Self {
            login: login.into(),
            launch,
            client_env: Vec::new(),
            trusted_env: Vec::new(),
            pty: None,
            limits: Limits::default(),
            peer: None,
            pam: None,
            user_env: false,
            opened_by: geteuid().as_raw(),
        }
    }

    /// Whether something may be opened for the session that has to be closed at its end, whatever becomes of it: records of a
    /// login at a terminal, and what PAM opens.
    pub(crate) fn may_have_keeper(&self) -> bool {
        self.pty.is_some() || self.pam.is_some()
    }

    /// What both sides hold to be a well-formed request.
    pub fn check(&self) -> Result<(), RequestError> {
        if !is_login(&self.login) {
            return Err(RequestError::Login);
        }
        if let Launch::Command(command) = &self.launch
            && command.contains(&0)
        {
            return Err(RequestError::Nul("the command"));
        }
        self.pam.as_ref().map_or(Ok(()), Pam::check)?;
        let for_modules = self.pam.as_ref().map(|pam| &pam.environment);
        for list in [&self.client_env, &self.trusted_env].into_iter().chain(for_modules) {
            if list.len() > MAX_ENV {
                return Err(RequestError::TooManyVariables);
            }
            if list.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
                return Err(RequestError::Nul("an environment variable"));
            }
        }
        Ok(())
    }
}

impl Pam {
    fn check(&self) -> Result<(), RequestError> {
        if !is_service(&self.service) {
            return Err(RequestError::PamService);
        }
        let is_refused =
            |(name, value): &&(String, String)| !value.contains('\0') && !modules_may_be_told(name, value);
        match self.environment.iter().find(is_refused) {
            Some((name, _)) => Err(RequestError::PamVariable(name.clone())),
            None => Ok(()),
        }
    }
}

/// Whether a name could be an account's: no separators of `/etc/passwd` or of paths, no control characters, no leading
/// dash (it would read as an option to whatever prints or runs it).
fn is_login(login: &str) -> bool {
    !login.is_empty()
        && login.len() <= MAX_LOGIN
        && !login.starts_with('-')
        && !login.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ','))
}

/// Whether a name can be that of a file in `/etc/pam.d`, and of no other.
pub fn is_service(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_LOGIN
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl fmt::Debug for SessionRequest {
    /// Names of variables, never their values: people put tokens there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("SessionRequest")
            .field("login", &self.login)
            .field("launch", &self.launch)
            .field("client_env", &names(&self.client_env))
            .field("trusted_env", &names(&self.trusted_env))
            .field("pty", &self.pty)
            .field("peer", &self.peer)
            .field("pam", &self.pam)
            .field("user_env", &self.user_env)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Pam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pam").field("service", &self.service).finish_non_exhaustive()
    }
}

impl fmt::Debug for Launch {
    /// The length of a command, not its text: commands carry passwords more often than they should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginShell => f.write_str("LoginShell"),
            Self::Command(command) => write!(f, "Command({} bytes)", command.len()),
            Self::Sftp => f.write_str("Sftp"),
            Self::Sockets => f.write_str("Sockets"),
        }
    }
}
