//! The daemon becomes what it stays: its own user, with the files that are that user's, and confined.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use transport::rpc::LocalServer;

use crate::{
    config::{Config, LogOutput},
    privileges::{self, Standing, account::Account, files, neighbours, ownership, user},
    run::{harden, logs::Logs, pid_file::PidFile, supervise::ServiceError},
};

/// Beside the store's file: SQLite's, and auth's lock.
const BESIDE_STORE: [&str; 4] = ["", "-wal", "-shm", ".lock"];

/// What is left of the rights.
pub(super) struct Settled {
    /// The process's, and goes with it.
    pub(super) pid_file: Option<PidFile>,
    /// The socket for local administration. As root it is root's, so that the daemon's user is no administrator.
    pub(super) admin: Option<LocalServer>,
}

/// Gives up what the daemon does not need, for good.
///
/// # Errors
/// When not all could be given up, or the daemon could not work as what it would be then.
pub(super) fn settle(config: &Config, config_file: &Path, logs: &Logs) -> Result<Settled, ServiceError> {
    let standing = Standing::of(config)?;
    let early = standing != Standing::Stays && config.pid_file.as_deref().is_some_and(files::is_roots_alone);
    let mut pid_file = if early { pid_file(config)? } else { None };
    if let Standing::Drops(account) = &standing {
        hand_over(config, account)?;
    }
    // After its directory has become one in which nobody replaces what is root's.
    let admin = admin_socket(config)?;
    if let Standing::Drops(account) = &standing {
        neighbours::tell(account);
        user::become_account(account)?;
        // The switch of the user may have switched them on again.
        harden::no_core_dumps().map_err(|error| format!("cannot switch core dumps off: {error}"))?;
        tracing::info!(user = %account, "runs as a user of its own");
    }
    logs.open()?;
    if !early {
        pid_file = self::pid_file(config)?;
    }
    if standing == Standing::Stays {
        user::no_rights()?;
    }
    look(config, config_file, &standing)?;
    privileges::confine(&privileges::files(config, config_file)).tell();
    Ok(Settled { pid_file, admin })
}

fn admin_socket(config: &Config) -> io::Result<Option<LocalServer>> {
    let auth = config.services.auth.as_ref();
    auth.map(|_| LocalServer::bind(&config.data_dir.join(auth::ADMIN_SOCKET))).transpose()
}

fn pid_file(config: &Config) -> Result<Option<PidFile>, ServiceError> {
    let Some(path) = &config.pid_file else { return Ok(None) };
    let written = PidFile::write(path).map_err(|error| format!("pid file {}: {error}", path.display()))?;
    Ok(Some(written))
}

fn hand_over(config: &Config, account: &Account) -> Result<(), ServiceError> {
    ownership::hand_over(&config.data_dir, account)?;
    let mut given: Vec<PathBuf> = Vec::new();
    if let LogOutput::File(path) = &config.log.output {
        given.extend(files::is_roots_alone(path).then(|| path.clone()));
    }
    if let Some(store) =
        store_elsewhere(config).filter(|store| store.parent().is_some_and(files::is_roots_alone))
    {
        given.extend(BESIDE_STORE.iter().map(|suffix| {
            let mut name = store.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        }));
    }
    for path in given {
        match files::give(&path, account) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot give {} to user {account}: {error}", path.display()).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The store, where it is not in the data directory.
fn store_elsewhere(config: &Config) -> Option<&Path> {
    let store = config.services.auth.as_ref().map(|auth| auth.storage.as_path());
    store.filter(|store| !store.starts_with(&config.data_dir))
}

/// Whether the daemon can work with its files as who it is now. What it will not be able to do is told.
fn look(config: &Config, config_file: &Path, standing: &Standing) -> Result<(), ServiceError> {
    let who = match standing {
        Standing::Drops(account) => format!("the daemon's user {account}"),
        _ => "the user who starts the daemon".to_owned(),
    };
    let store = store_elsewhere(config).and_then(Path::parent);
    for (key, directory) in [("data_dir", Some(&*config.data_dir)), ("storage.path", store)] {
        let Some(directory) = directory else { continue };
        if let Some((closed, reason)) = closed(directory) {
            return Err(format!(
                "postern.{key}: {who} cannot use {}: {}: {reason}; open it to that user (chmod o+x on directories \
                 above, chown on the last one), or choose another place",
                directory.display(),
                closed.display()
            )
            .into());
        }
    }
    let keypairs = config.services.proxy.iter().flat_map(|proxy| &proxy.keypairs);
    let read = keypairs.flat_map(|pair| [&*pair.key_file, &*pair.cert_file]);
    for path in std::iter::once(config_file).chain(read) {
        if access(path, Access::READ_OK).is_err() {
            tracing::info!(
                path = %path.display(),
                "{who} cannot read this file again: after it changes, restart the daemon; or let that user read it"
            );
        }
    }
    Ok(())
}

/// The directory, or the first one above it, that cannot be used, and why.
fn closed(directory: &Path) -> Option<(PathBuf, io::Error)> {
    let above: Vec<&Path> = directory.ancestors().skip(1).collect();
    let searched = above.into_iter().rev().map(|path| (path, Access::EXEC_OK));
    let used = (directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    searched
        .chain([used])
        .find_map(|(path, needed)| Some((path.to_owned(), access(path, needed).err()?.into())))
}
