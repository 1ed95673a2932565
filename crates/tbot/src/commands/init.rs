//! `tbot init`: makes the directory of an output for another user, before the agent runs as that user (fact sheet, section 1.6).
//!
//! It makes no empty files, as other agents do: the agent puts whole sets in place. Readers may read, and no more.

use crate::accounts;
use crate::agent::Source;
use crate::config::{Output, StartFlags};
use crate::destination::directory::setup::Setup;
use crate::destination::{Acls, Destination, Directory, Reader};
use crate::program::Global;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `tbot init`.
#[derive(Debug, Args)]
pub struct InitFlags {
    /// The directory; instead of an output of the configuration file
    #[arg(long, value_name = "DIR")]
    destination_dir: Option<PathBuf>,
    /// Which output of the file, by its directory; needed when there are several
    #[arg(long, value_name = "DIR", conflicts_with = "destination_dir")]
    init_dir: Option<PathBuf>,
    /// Who is to own it; the bot's user and its primary group unless set
    #[arg(long, value_name = "USER:GROUP")]
    owner: Option<String>,
    /// The user that the agent runs as
    #[arg(long, value_name = "USER")]
    bot_user: Option<String>,
    /// A user that may read what the agent writes, beside the output's readers
    #[arg(long, value_name = "USER")]
    reader_user: Option<String>,
    /// Remove what is in the directory and was not written by tbot
    #[arg(long)]
    clean: bool,
}

/// Makes it.
pub fn run(global: &Global, flags: &InitFlags) -> Result<ExitCode, String> {
    global.log(false);
    let directory = flags.directory(global)?;
    let bot = match &flags.bot_user {
        Some(name) => Some(accounts::user(name)?),
        None => None,
    };
    let owner = match (&flags.owner, &bot) {
        (Some(owner), _) => owned_by(owner)?,
        (None, Some(bot)) => {
            let gid =
                bot.gid.ok_or_else(|| "the bot's user has no group; give --owner USER:GROUP".to_owned())?;
            (bot.uid, gid)
        }
        (None, None) => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    let writer = bot.map(|bot| bot.uid).filter(|uid| *uid != owner.0);
    let reader = flags.reader_user.clone().map(Reader::User);
    let is_new_reader = reader.as_ref().is_some_and(|reader| !directory.known_readers().contains(reader));
    if directory.uses_acls() == Acls::Off && reader.is_some() {
        return Err("--reader-user needs access control lists, and the output has acls: off".to_owned());
    }
    let setup = Setup { owner, writer, reader, clean: flags.clean };
    let shut_out = setup.run(&directory).map_err(|error| error.to_string())?;
    let mut told = format!("{} is ready for uid {}\n", directory.path().display(), owner.0);
    if flags.owner.is_none() && flags.bot_user.is_none() && owner.0 == 0 {
        told += "It is root's. If the agent runs as another user, repeat this with --bot-user USER\n";
    }
    for reader in shut_out {
        told += &format!(
            "{reader} could read it, and may not any more; to let it in, add it to `readers` of the destination\n"
        );
    }
    if let Some(name) = flags.reader_user.as_ref().filter(|_| is_new_reader) {
        told += &format!(
            "For {name} to read what the agent writes from now on, add to the destination in its configuration:\n  \
             readers: [{{user: {name}}}]\n"
        );
    }
    crate::console::print(&told)?;
    Ok(ExitCode::SUCCESS)
}

impl InitFlags {
    fn directory(&self, global: &Global) -> Result<Directory, String> {
        if let Some(path) = &self.destination_dir {
            return Ok(Directory::new(path, crate::destination::Symlinks::TrySecure));
        }
        let Some(config) = &global.config else {
            return Err("name the output: give the configuration with -c, or --destination-dir".to_owned());
        };
        let source = Source { path: Some(config.clone()), flags: StartFlags::default() };
        let output = self.pick(source.load()?.0.outputs)?;
        match output.destination {
            Destination::Directory(directory) => Ok(directory),
            elsewhere => {
                Err(format!("the output {} goes to {elsewhere}; there is nothing to make", output.name))
            }
        }
    }

    fn pick(&self, mut outputs: Vec<Output>) -> Result<Output, String> {
        let wanted = match (&self.init_dir, outputs.len()) {
            (None, 1) => return Ok(outputs.remove(0)),
            (None, _) => return Err("an output must be named: give its directory with --init-dir".to_owned()),
            (Some(wanted), _) => std::path::absolute(wanted).unwrap_or_else(|_| wanted.clone()),
        };
        let known: Vec<String> = outputs.iter().map(|output| output.destination.to_string()).collect();
        let found = outputs.into_iter().find(|output| output.destination.path() == Some(&wanted));
        found.ok_or_else(|| {
            format!("no output has the directory {}; there are: {}", wanted.display(), known.join(", "))
        })
    }
}

/// `user:group`, both of which exist.
fn owned_by(text: &str) -> Result<(u32, u32), String> {
    match text.split_once(':') {
        Some((user, group)) => Ok((accounts::user(user)?.uid, accounts::group(group)?)),
        None => Err(format!("--owner {text:?} is not USER:GROUP")),
    }
}
