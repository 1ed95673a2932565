//! Step 5, where the node asks for it: the host's pluggable authentication modules say whether the account may be used,
//! and set its session up. Whatever is not a plain yes ends the session before it begins.

use std::io;

use rustix::process::{geteuid, getgroups};

use super::account::User;
use super::stdio::Terminal;
use crate::request::{Pam, SessionRequest};
use crate::status::{Failure, FailureKind};
use crate::sys::pam::{Item, Transaction};
use crate::sys::process;

/// What modules are told where there is no terminal: some of them refuse to work without any.
const NO_TERMINAL: &str = "ssh";
/// The one variable of the node's that modules of every distribution are used to see.
const CONNECTION: &str = "SSH_CONNECTION";

/// A session that the host's modules have opened.
pub(super) struct Opened {
    /// What is to be closed at the end.
    pub(super) transaction: Transaction,
    pub(super) variables: Vec<(String, String)>,
    /// What modules want the user to read.
    pub(super) words: String,
}

/// Asks about the account, and opens its session. Modules may add groups.
pub(super) fn open(
    pam: &Pam,
    request: &SessionRequest,
    user: &mut User,
    terminal: Option<&Terminal>,
) -> Result<Opened, Failure> {
    let cannot = |error: io::Error| {
        let detail = format!("PAM service {:?} cannot be asked about this session: {error}", pam.service);
        Failure::new(FailureKind::Pam, detail)
    };
    let mut transaction = Transaction::start(&pam.service, &user.account.name).map_err(cannot)?;
    match steps(&mut transaction, pam, request, user, terminal) {
        Ok(()) => {
            let (variables, words) = (transaction.variables(), transaction.take_words());
            Ok(Opened { transaction, variables, words })
        }
        Err(Stopped { kind, doing, error }) => {
            let words = transaction.take_words();
            transaction.end();
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            let words = if words.is_empty() { words } else { format!(" ({words})") };
            let detail = format!(
                "PAM service {:?} of this host {doing} \"{}\": {error}{words}",
                pam.service, user.account.name
            );
            Err(Failure::new(kind, detail))
        }
    }
}

/// Where PAM said no.
struct Stopped {
    kind: FailureKind,
    doing: &'static str,
    error: io::Error,
}

fn steps(
    transaction: &mut Transaction,
    pam: &Pam,
    request: &SessionRequest,
    user: &mut User,
    terminal: Option<&Terminal>,
) -> Result<(), Stopped> {
    let failed = |doing| move |error| Stopped { kind: FailureKind::Pam, doing, error };
    introduce(transaction, pam, request, terminal).map_err(failed("takes no description of a session of"))?;
    transaction.check_account().map_err(|error| Stopped {
        kind: FailureKind::AccountUnusable,
        doing: "refuses account",
        error,
    })?;
    // Some modules give groups; they add to those that are there, which are root's until now.
    let is_root = geteuid().is_root();
    if is_root {
        process::set_groups(&user.groups).map_err(failed("cannot be given the groups of"))?;
    }
    transaction.establish_credentials().map_err(failed("gives no credentials to"))?;
    if is_root {
        let groups = getgroups().map_err(|error| failed("hides the groups of")(error.into()))?;
        user.groups = groups.into_iter().map(|group| group.as_raw()).collect();
    }
    transaction.open_session().map_err(|error| {
        transaction.take_credentials_back();
        failed("opens no session for")(error)
    })
}

fn introduce(
    transaction: &mut Transaction,
    pam: &Pam,
    request: &SessionRequest,
    terminal: Option<&Terminal>,
) -> io::Result<()> {
    transaction
        .set(Item::Terminal, terminal.and_then(|terminal| terminal.name.as_deref()).unwrap_or(NO_TERMINAL))?;
    if let Some(peer) = request.peer {
        transaction.set(Item::RemoteHost, &peer.to_string())?;
    }
    for (name, value) in
        request.trusted_env.iter().filter(|(name, _)| name == CONNECTION).chain(&pam.environment)
    {
        transaction.put_variable(name, value)?;
    }
    Ok(())
}
