//! rsync: up, down, what went away, hard links, times and modes.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use testkit::programs::{command, theirs};
use testkit::{Outcome, run};

use super::story::{NO_SUCH_LOGIN, Story};

/// Everything below a directory: kind and mode, time, content, and the name under which the same file came first.
type Tree = BTreeMap<String, (u32, i64, Vec<u8>, Option<String>)>;

fn tree(root: &Path) -> Tree {
    let (mut tree, mut first, mut todo) = (Tree::new(), BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = todo.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(directory)
            .expect("readable")
            .map(|entry| entry.expect("listed").path())
            .collect();
        entries.sort();
        for path in entries {
            let metadata = path.symlink_metadata().expect("there");
            let name = path.strip_prefix(root).expect("below it").display().to_string();
            let content = match metadata.file_type() {
                kind if kind.is_dir() => {
                    todo.push(path);
                    Vec::new()
                }
                kind if kind.is_symlink() => {
                    std::fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
                }
                _ => std::fs::read(&path).expect("readable"),
            };
            let same = match metadata.is_file() && metadata.nlink() > 1 {
                true => Some(first.entry(metadata.ino()).or_insert_with(|| name.clone()).clone()),
                false => None,
            };
            tree.insert(name, (metadata.mode(), metadata.mtime(), content, same));
        }
    }
    tree
}

fn plant(root: &Path) {
    std::fs::create_dir_all(root.join("deep/er/empty")).expect("made");
    std::fs::write(root.join("deep/big"), (0..3_000_000u32).map(|at| (at % 251) as u8).collect::<Vec<_>>())
        .expect("written");
    std::fs::write(root.join("with space and ü"), "name").expect("written");
    std::fs::write(root.join("secret"), "mode").expect("written");
    std::fs::set_permissions(root.join("secret"), PermissionsExt::from_mode(0o640)).expect("ours");
    std::fs::hard_link(root.join("deep/big"), root.join("deep/er/same")).expect("linked");
    symlink("deep/big", root.join("link")).expect("linked");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = std::fs::File::options().write(true).open(root.join("secret")).expect("ours");
    file.set_modified(long_ago).expect("ours");
}

fn rsync(story: &Story, arguments: &[&str]) -> Outcome {
    run(command("/usr/bin/rsync").arg("-aH").args(["-e", &story.ssh_line()]).args(arguments))
}

#[test]
fn trees_go_up_and_come_down_as_they_are() {
    let Some(_) = theirs("rsync") else { return };
    let story = Story::start();
    let (here, there, back) = (story.path("here"), story.path("there"), story.path("back"));
    std::fs::create_dir(&here).expect("made");
    plant(&here);
    let (from, to) = (format!("{}/", here.display()), format!("{}:{}/", story.target(), there.display()));
    rsync(&story, &[&from, &to]).ok();
    assert_eq!(tree(&here), tree(&there));

    // What went away here goes away there when that is asked for; what changed by a byte is changed by a byte.
    std::fs::remove_file(here.join("with space and ü")).expect("there");
    std::fs::write(there.join("only there"), "x").expect("written");
    let mut big = std::fs::read(here.join("deep/big")).expect("there");
    big[1_500_000] ^= 1;
    std::fs::write(here.join("deep/big"), big).expect("written");
    // rsync compares whole seconds, and the first copy may be of this one.
    let file = std::fs::File::options().write(true).open(here.join("deep/big")).expect("there");
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_100_000_000)).expect("set");
    let told = rsync(&story, &["--delete", "--itemize-changes", "--stats", &from, &to]).ok();
    assert!(told.contains("*deleting   only there"), "{told}");
    assert_eq!(tree(&here), tree(&there));

    rsync(&story, &[&to, &format!("{}/", back.display())]).ok();
    assert_eq!(tree(&here), tree(&back));
}

#[test]
fn a_login_that_no_role_allows_moves_nothing() {
    let Some(_) = theirs("rsync") else { return };
    let story = Story::start();
    let there = story.path("there");
    let config = story.bot.file("ssh_config");
    let to = format!("{}:{}/", story.forbidden(), there.display());
    let refused = rsync(&story, &[config.to_str().expect("UTF-8"), &to]);
    let said = refused.refused();
    assert!(said.contains(NO_SUCH_LOGIN), "{said}");
    assert!(!there.exists());
}
