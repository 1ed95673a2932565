//! The user and group databases. These calls can block for as long as a directory service likes, and can load and run
//! foreign modules: they belong into the helper, never into the node.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use crate::standing::Shadow;

/// Entries larger than this are not read; the largest groups of directory services stay below.
const MAX_ENTRY: usize = 1 << 20;
/// More groups than a process can have (`NGROUPS_MAX` on Linux).
const MAX_GROUPS: usize = 65_536;

/// An entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// The account of this name, or `None`.
pub(crate) fn account_by_name(name: &str) -> io::Result<Option<Account>> {
    let name = CString::new(name)?;
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `name` is NUL-terminated, `entry` and `found` are writable, and the length given is `buffer`'s own.
        let code = unsafe {
            libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        answer(code, found, account)
    })
}

/// The account of this uid, or `None`.
pub(crate) fn account_by_uid(uid: u32) -> io::Result<Option<Account>> {
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `entry` and `found` are writable, and the length given is `buffer`'s own.
        let code = unsafe {
            libc::getpwuid_r(uid, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        answer(code, found, account)
    })
}

/// What the shadow database says of the account of this name, or `None`. For root only.
pub(crate) fn shadow_by_name(name: &str) -> io::Result<Option<Shadow>> {
    let name = CString::new(name)?;
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::spwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `name` is NUL-terminated, `entry` and `found` are writable, and the length given is `buffer`'s own.
        let code = unsafe {
            libc::getspnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        answer(code, found, |entry| Ok(Shadow::new(&bytes(entry.sp_pwdp), entry.sp_expire)))
    })
}

/// The gid of the group of this name, or `None`.
pub(crate) fn group_id(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `name` is NUL-terminated, `entry` and `found` are writable, and the length given is `buffer`'s own.
        let code = unsafe {
            libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        answer(code, found, |group| Ok(group.gr_gid))
    })
}

/// The name of the group of this gid, or `None`.
pub(crate) fn group_name(gid: u32) -> io::Result<Option<String>> {
    with_buffer(|buffer| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `entry` and `found` are writable, and the length given is `buffer`'s own.
        let code = unsafe {
            libc::getgrgid_r(gid, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        answer(code, found, |group| text(group.gr_name))
    })
}

/// All groups of an account, its primary one included.
pub(crate) fn groups_of(account: &Account) -> io::Result<Vec<u32>> {
    let name = CString::new(account.name.as_str())?;
    let mut capacity: usize = 64;
    loop {
        let mut groups: Vec<libc::gid_t> = vec![0; capacity];
        let mut count = c_int::try_from(capacity).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: `name` is NUL-terminated, and `count` says how many elements `groups` has room for.
        let code = unsafe { libc::getgrouplist(name.as_ptr(), account.gid, groups.as_mut_ptr(), &mut count) };
        let wanted = usize::try_from(count).unwrap_or(0);
        if code >= 0 {
            groups.truncate(wanted);
            return Ok(groups);
        }
        capacity = wanted.max(capacity * 2);
        if capacity > MAX_GROUPS {
            return Err(io::Error::other("the account is in more groups than a process can have"));
        }
    }
}

/// Runs a reentrant lookup with buffers of growing size until the entry fits.
fn with_buffer<T>(mut lookup: impl FnMut(&mut [c_char]) -> io::Result<T>) -> io::Result<T> {
    let mut size = 4096;
    loop {
        match lookup(&mut vec![0; size]) {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && size < MAX_ENTRY => size *= 4,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// The result of a `get*_r` call. Some name services say "not found" as an error number; POSIX allows both.
fn answer<E, T>(code: c_int, found: *mut E, read: impl FnOnce(&E) -> io::Result<T>) -> io::Result<Option<T>> {
    match code {
        0 | libc::ENOENT | libc::ESRCH => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    // SAFETY: after such a call `found` is null or points at the entry, which is filled in and outlives this function.
    let entry = unsafe { found.as_ref() };
    entry.map(read).transpose()
}

fn account(entry: &libc::passwd) -> io::Result<Account> {
    Ok(Account {
        name: text(entry.pw_name)?,
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home: text(entry.pw_dir)?,
        shell: text(entry.pw_shell)?,
    })
}

/// A string of an entry. A missing one is empty.
fn text(pointer: *const c_char) -> io::Result<String> {
    let text = String::from_utf8(bytes(pointer));
    text.map_err(|_| io::Error::other("the entry is not UTF-8"))
}

fn bytes(pointer: *const c_char) -> Vec<u8> {
    if pointer.is_null() {
        return Vec::new();
    }
    // SAFETY: the strings of a filled-in entry are NUL-terminated and live in the lookup's buffer, which outlives this.
    unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_number() {
        let root = account_by_name("root").expect("lookup").expect("every system has root");
        assert_eq!((root.uid, root.gid, root.name.as_str()), (0, 0, "root"));
        assert_eq!(account_by_uid(0).expect("lookup"), Some(root.clone()));
        assert_eq!(group_name(0).expect("lookup").as_deref(), Some("root"));
        assert_eq!(group_id("root").expect("lookup"), Some(0));
        assert!(groups_of(&root).expect("lookup").contains(&0));
    }

    #[test]
    fn who_does_not_exist_is_none_and_no_error() {
        assert_eq!(account_by_name("no-such-account-here").expect("lookup"), None);
        assert_eq!(account_by_uid(u32::MAX - 7).expect("lookup"), None);
        assert_eq!(group_id("no-such-group-here").expect("lookup"), None);
        account_by_name("a\0b").expect_err("a NUL byte");
    }
}
