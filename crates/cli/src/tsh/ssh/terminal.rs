//! The terminal here: asked for on the host, and raw while the session has it.

use super::modes;
use crate::Failure;
use rustix::termios::{self, OptionalActions, Termios};
use std::io::{self, IsTerminal};
use transport::ssh::WindowSize;
use transport::ssh::client::{PtyRequest, RequestError, Session};

/// For a terminal that was asked for where there is none.
const NO_WINDOW: WindowSize = WindowSize { columns: 80, rows: 24, width_pixels: 0, height_pixels: 0 };

/// The terminal on standard input, if there is one.
pub(super) struct Terminal(Option<Termios>);

/// Keeps the terminal raw; gives it back as it was when it is dropped, whatever the reason.
pub(super) struct Raw(Termios);

impl Terminal {
    /// Whether somebody sits at standard input.
    pub(super) fn is_here() -> bool {
        io::stdin().is_terminal()
    }

    /// Passes keys on as they are pressed, from now on.
    pub(super) fn raw(&self) -> Result<Option<Raw>, Failure> {
        let Some(before) = &self.0 else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Drain, &raw)
            .map_err(|error| Failure::new(format!("cannot set the terminal: {error}")))?;
        Ok(Some(Raw(before.clone())))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Asks the host for a terminal like the one here.
pub(super) async fn request(session: &mut Session) -> Result<Terminal, Failure> {
    let here = if Terminal::is_here() { termios::tcgetattr(io::stdin()).ok() } else { None };
    let request = PtyRequest {
        term: std::env::var("TERM").unwrap_or_default(),
        size: window_size().unwrap_or(NO_WINDOW),
        modes: here.as_ref().map(modes::of).unwrap_or_default(),
    };
    match session.pty(&request).await {
        Ok(()) => Ok(Terminal(here)),
        Err(RequestError::Refused) => Err(Failure::new("the host refuses to give a terminal")
            .hint("use -T, or have a role with permission for terminals")),
        Err(error) => Err(error.into()),
    }
}

/// The size of the window here.
pub(super) fn window_size() -> Option<WindowSize> {
    let size = termios::tcgetwinsize(io::stdin()).or_else(|_| termios::tcgetwinsize(io::stdout())).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| WindowSize {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
        width_pixels: size.ws_xpixel.into(),
        height_pixels: size.ws_ypixel.into(),
    })
}
