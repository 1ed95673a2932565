//! Extensions with an answer of their own (OpenSSH's `PROTOCOL` file, section 4).

use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::process::getuid;

use super::handles::Handle;
use super::longname::Owners;
use super::output::Output;
use super::reply::Reply;
use super::status::{Code, Refusal};
use super::{MAX_DATA, MAX_PACKET, files, paths};
use crate::sys::accounts::{self, Account};

const READ_ONLY: u64 = 0x1;
const NO_SETUID: u64 = 0x2;
const NO_SUCH_USER: Refusal = Refusal::new(Code::Failure, "No such user");

pub(super) fn statvfs(path: &[u8], reply: Reply<'_>) -> Result<(), Refusal> {
    file_system(&rustix::fs::statvfs(path)?, reply);
    Ok(())
}

pub(super) fn fstatvfs(handle: &Handle, reply: Reply<'_>) -> Result<(), Refusal> {
    file_system(&rustix::fs::fstatvfs(files::descriptor(handle)?)?, reply);
    Ok(())
}

fn file_system(stat: &StatVfs, reply: Reply<'_>) {
    let flag = |flag, value| if stat.f_flag.contains(flag) { value } else { 0 };
    let flags = flag(StatVfsMountFlags::RDONLY, READ_ONLY) | flag(StatVfsMountFlags::NOSUID, NO_SETUID);
    reply.extended(|out| {
        for number in [
            stat.f_bsize,
            stat.f_frsize,
            stat.f_blocks,
            stat.f_bfree,
            stat.f_bavail,
            stat.f_files,
            stat.f_ffree,
            stat.f_favail,
            stat.f_fsid,
            flags,
            stat.f_namemax,
        ] {
            out.u64(number);
        }
    });
}

/// Largest packet, read and write, and most handles.
pub(super) fn limits(handles: u64, reply: Reply<'_>) {
    let size = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
    reply.extended(|out| {
        for number in [size(MAX_PACKET), size(MAX_DATA), size(MAX_DATA), handles] {
            out.u64(number);
        }
    });
}

/// The home of a user, of this one if none is named; as the user database has it, whether it exists or not.
pub(super) fn home(user: &[u8]) -> Result<Vec<u8>, Refusal> {
    let account = if user.is_empty() { accounts::account_by_uid(getuid().as_raw())? } else { by_name(user)? };
    Ok(account.ok_or(NO_SUCH_USER)?.home.into_bytes())
}

/// The names of users and groups by their numbers; an unknown one has an empty name.
pub(super) fn names_by_id(users: &[u8], groups: &[u8], owners: &mut Owners, reply: Reply<'_>) {
    reply.extended(|out| {
        list(out, users, |uid, out| out.bytes(owners.user(uid).unwrap_or_default().as_bytes()));
        list(out, groups, |gid, out| out.bytes(owners.group(gid).unwrap_or_default().as_bytes()));
    });
}

fn list(out: &mut Output, ids: &[u8], mut put: impl FnMut(u32, &mut Output)) {
    let place = out.later();
    let start = out.len();
    ids.as_chunks().0.iter().for_each(|id| put(u32::from_be_bytes(*id), out));
    out.set_u32(place, u32::try_from(out.len() - start).unwrap_or(u32::MAX));
}

/// A path as a shell would read its tilde, then made absolute: `~`, `~/x`, `~user` and `~user/x`. The own home is where
/// this process started, which exists even where the user database names one that does not.
pub(super) fn expand(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    let Some(after_tilde) = path.strip_prefix(b"~") else { return paths::resolve(path) };
    let (user, rest) = match after_tilde.iter().position(|byte| *byte == b'/') {
        Some(slash) => after_tilde.split_at(slash),
        None => (after_tilde, &b""[..]),
    };
    let home = if user.is_empty() {
        b".".to_vec()
    } else {
        by_name(user)?.ok_or(rustix::io::Errno::NOENT)?.home.into_bytes()
    };
    paths::resolve(&[&home, rest].concat())
}

fn by_name(user: &[u8]) -> Result<Option<Account>, Refusal> {
    match std::str::from_utf8(user) {
        Ok(user) => Ok(accounts::account_by_name(user)?),
        Err(_) => Ok(None),
    }
}
