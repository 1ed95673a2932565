//! Other processes of the user that the daemon becomes. The kernel keeps processes apart by their users first, so there
//! should be none.

use super::account::Account;

/// Says in the log that the daemon's user is somebody else's too. For root, who is not that user yet.
pub fn tell(account: &Account) {
    if let Some((process, name)) = first(account.uid) {
        tracing::warn!(
            process, name, user = %account,
            "another process runs as the daemon's user; whoever takes one of the two over comes closer to the other than \
             different users would: give each daemon of this host a postern.user of its own"
        );
    }
}

/// A process of this user, and its name.
fn first(uid: u32) -> Option<(u32, String)> {
    let entries = std::fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let user = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?;
        let name = status.lines().find_map(|line| line.strip_prefix("Name:")).unwrap_or_default();
        (user.parse() == Ok(uid)).then(|| (process, name.trim().to_owned()))
    })
}
