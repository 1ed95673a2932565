//! Who may read what an agent writes: its user, the readers that are named, nobody else; and nobody but its user may write.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use testkit::programs::{command, ours, root, theirs};
use testkit::{Bot, Cluster, Outcome, run};

const SPENT: &str = "0123456789abcdef0123456789abcdef";
/// Nobody has this number.
const STRANGER: u32 = 4_123_456;
const NOBODY: u32 = 65_534;

/// The output's destination with these further lines.
fn destination(bot: &Bot, more: &str) {
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let end = format!("    path: {}\n", bot.output().display());
    let (head, _) = config.split_once(&end).expect("the output is last");
    std::fs::write(bot.config(), format!("{head}{end}{more}")).expect("written");
}

fn as_user(uid: u32, program: &str, arguments: &[&str]) -> Outcome {
    run(command(program).args(arguments).uid(uid).gid(uid))
}

fn cat(uid: u32, file: &Path) -> Outcome {
    as_user(uid, "/bin/cat", &[file.to_str().expect("UTF-8")])
}

fn getfacl(path: &Path) -> String {
    let getfacl = theirs("getfacl").expect("`make test` installs it");
    run(command(getfacl).args(["-ncp"]).arg(path)).ok()
}

#[test]
fn readers_read_every_generation_and_nobody_else_does() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    destination(
        &bot,
        &format!("    acls: required\n    readers:\n    - user: nobody\n    - group: {STRANGER}\n"),
    );
    let key = bot.file("key");
    for _ in 0..3 {
        bot.oneshot().ok();
        let read = cat(NOBODY, &key).ok();
        assert_eq!(read, std::fs::read_to_string(&key).expect("root reads everything"));
        cat(STRANGER, &bot.file("ssh_config")).ok();
        cat(STRANGER + 1, &key).refused();
        as_user(NOBODY, "/bin/sh", &["-c", &format!("echo x >> {}", key.display())]).refused();
        as_user(NOBODY, "/bin/sh", &["-c", &format!("echo x > {}", bot.file("new").display())]).refused();
        as_user(NOBODY, "/bin/rm", &["-f", key.to_str().expect("UTF-8")]).refused();
    }
    // OpenSSH looks at the mode of keys that belong to whoever reads them, and these do not.
    as_user(NOBODY, "/usr/bin/ssh-keygen", &["-y", "-P", "", "-f", key.to_str().expect("UTF-8")]).ok();
    let file = "user::rw-\nuser:65534:r--\ngroup::---\ngroup:4123456:r--\nmask::r--\nother::---\n\n";
    assert_eq!(getfacl(&std::fs::canonicalize(&key).expect("there")), file);
    cat(NOBODY, &bot.storage().join("key")).refused();

    // A list on the directory helps nobody who cannot get to it.
    let doctor = || run(command(ours("tbot")).args(["doctor", "-c"]).arg(bot.config())).stdout;
    assert!(!doctor().contains("readers cannot get through"), "{}", doctor());
    std::fs::set_permissions(bot.directory(), PermissionsExt::from_mode(0o700)).expect("ours");
    let told = doctor();
    assert!(told.contains(&format!("readers cannot get through {}", bot.directory().display())), "{told}");
}

#[test]
fn a_list_that_somebody_changed_is_corrected() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    destination(&bot, "    readers: [{user: nobody}]\n");
    bot.oneshot().ok();
    let before = getfacl(&bot.output());
    let setfacl = theirs("setfacl").expect("`make test` installs it");
    let entry = format!("u:{STRANGER}:rwx");
    run(command(&setfacl).args(["-m", &entry]).arg(bot.output())).ok();
    run(command(&setfacl).args(["-d", "-m", &entry]).arg(bot.output())).ok();
    cat(STRANGER, &bot.file("key")).refused();
    let outcome = bot.oneshot();
    assert!(outcome.stderr.contains("the access control list was another than configured"), "{outcome:#?}");
    assert_eq!(getfacl(&bot.output()), before);
    cat(STRANGER, &bot.file("key")).refused();
    cat(NOBODY, &bot.file("key")).ok();

    // A reader that is taken away reads nothing any more, not even what was written for it.
    destination(&bot, &format!("    readers: [{{user: {STRANGER}}}]\n"));
    let old = std::fs::canonicalize(bot.file("key")).expect("there");
    bot.oneshot().ok();
    cat(NOBODY, &old).refused();
    cat(STRANGER, &bot.file("key")).ok();
}

#[test]
fn a_file_system_without_lists_is_refused_only_where_they_are_required() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    std::fs::create_dir(bot.output()).expect("created");
    let mut mount = command("/bin/mount");
    if !run(mount.args(["-t", "ramfs", "-o", "mode=700", "ramfs"]).arg(bot.output())).status.success() {
        eprintln!("SKIPPED: this root may not mount");
        return;
    }
    destination(&bot, "    acls: required\n    readers: [{user: nobody}]\n");
    let refused = bot.oneshot();
    destination(&bot, "    acls: try\n    readers: [{user: nobody}]\n");
    let tried = bot.oneshot();
    let mode = std::fs::metadata(bot.file("key")).map(|found| found.permissions().mode() & 0o777);
    run(command("/bin/umount").arg(bot.output())).ok();
    let told = refused.refused();
    assert!(told.contains("is on a file system without access control lists"), "{told}");
    assert!(tried.stderr.contains("only the owner can read what is written"), "{tried:#?}");
    tried.ok();
    assert_eq!(mode.ok(), Some(0o600));
}

#[test]
fn readers_that_make_no_sense_are_refused() {
    let (cluster, bot) = Cluster::with_bot();
    destination(
        &bot,
        "    acls: off\n    readers: [{user: nobody}, {user: a, group: b}, {}]\nservices:\n- type: identity\n  destination: {type: memory, readers: [{user: x}]}\n",
    );
    let told = bot.oneshot().refused();
    for part in [
        "outputs[0].destination.readers: they are let in by access control lists; use acls: try or required",
        "outputs[0].destination.readers[1]: give either user or group",
        "outputs[0].destination.readers[2]: give either user or group",
        "services[0].destination.readers: a memory destination has no readers",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    bot.configure(SPENT, &cluster.pin(), "");
    destination(&bot, "    readers: [{user: no-such-user}]\n");
    let told = bot.oneshot().refused();
    assert!(told.contains("no user is called \"no-such-user\" on this machine; correct `readers`"), "{told}");
}

fn init(bot: &Bot, arguments: &[&str]) -> Outcome {
    run(command(ours("tbot")).args(["init", "-c"]).arg(bot.config()).args(arguments))
}

#[test]
fn a_directory_is_made_for_an_agent_that_is_another_user() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    // What an agent that ran as root left, and what somebody else did.
    bot.oneshot().ok();
    std::fs::write(bot.file("notes"), "mine").expect("written");
    let told = init(&bot, &["--bot-user=nobody", "--reader-user=daemon"]);
    assert!(told.stderr.contains("it was not written by tbot; --clean removes it"), "{told:#?}");
    assert!(told.ok().contains("readers: [{user: daemon}]"));
    assert!(bot.file("notes").exists());
    let list = getfacl(&bot.output());
    assert_eq!(list, "user::rwx\nuser:1:r-x\ngroup::---\nmask::r-x\nother::---\n\n");
    cat(1, &bot.file("key")).ok();
    as_user(1, "/bin/sh", &["-c", &format!("echo x >> {}", bot.file("key").display())]).refused();
    let again = init(&bot, &["--bot-user=nobody"]).ok();
    assert!(
        again.contains("uid 1 could read it, and may not any more; to let it in, add it to `readers`"),
        "{again}"
    );
    cat(1, &bot.file("key")).refused();
    let roots = init(&bot, &[]).ok();
    assert!(roots.contains("It is root's.") && roots.contains("--bot-user USER"), "{roots}");
    let told = init(&bot, &["--bot-user=nobody", "--reader-user=daemon", "--clean"]).ok();
    assert!(!told.contains("may not any more") && !told.contains("root's"), "{told}");
    assert!(!bot.file("notes").exists() && bot.file("key").exists());

    // The agent goes on as that user.
    destination(&bot, "    readers: [{user: daemon}]\n");
    let mut give = command("/bin/chown");
    run(give.args(["-R", "nobody"]).arg(bot.storage()).arg(bot.config())).ok();
    let before = std::fs::read(bot.file("key")).expect("there");
    let mut oneshot = bot.oneshot_command();
    run(oneshot.uid(NOBODY).gid(NOBODY)).ok();
    assert_ne!(std::fs::read(bot.file("key")).expect("there"), before);
    cat(1, &bot.file("key")).ok();
    cat(STRANGER, &bot.file("key")).refused();
}

#[test]
fn init_says_what_it_lacks() {
    if !root() {
        return;
    }
    let (_cluster, bot) = Cluster::with_bot();
    let refused = |arguments: &[&str], part: &str| {
        let told = init(&bot, arguments).refused();
        assert!(told.contains(part), "{part:?} is not in {told}");
    };
    refused(&["--owner=root"], "is not USER:GROUP");
    refused(&["--owner=root:no-such-group"], "no group is called");
    refused(&["--bot-user=no-such-user"], "no user is called");
    refused(&["--init-dir=/nowhere"], "no output has the directory /nowhere; there are: directory ");
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    std::fs::write(bot.config(), format!("{config}- type: identity\n  destination: /opt/second\n"))
        .expect("written");
    refused(&[], "give its directory with --init-dir");
    let output = bot.output().display().to_string();
    init(&bot, &["--init-dir", &output, "--owner=nobody:nogroup"]).ok();
    let found = std::fs::metadata(bot.output()).expect("made");
    assert_eq!(
        (std::os::unix::fs::MetadataExt::uid(&found), found.permissions().mode() & 0o777),
        (NOBODY, 0o700)
    );
    assert!(!Path::new("/opt/second").exists());
    let link = bot.directory().join("link");
    std::os::unix::fs::symlink(bot.output(), &link).expect("linked");
    let mut tbot = command(ours("tbot"));
    let told = run(tbot.args(["init", "--destination-dir"]).arg(&link)).refused();
    assert!(told.contains("leads through a symbolic link"), "{told}");
    chown(bot.output(), Some(0), Some(0)).expect("taken back");
}
