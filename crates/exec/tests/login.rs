//! What surrounds a session on its host: records, greetings, the user's file, and PAM with real modules.

mod support;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Output, Stdio};

use support::{GID, Host, LOGIN, UID, stderr, stdout, until};

/// Where Debian has PAM's modules; a test that needs one is skipped without it.
fn modules(names: &[&str]) -> bool {
    let places = [
        "/lib/x86_64-linux-gnu/security",
        "/lib/aarch64-linux-gnu/security",
        "/lib64/security",
        "/lib/security",
    ];
    let missing = names.iter().find(|name| !places.iter().any(|place| Path::new(place).join(name).exists()));
    if let Some(name) = missing {
        eprintln!("SKIPPED: needs {name} of Linux-PAM");
    }
    missing.is_none()
}

/// A login shell at a terminal that is told these lines.
fn at_terminal(host: &Host, options: &[&str], login: &str, lines: &str) -> Output {
    let args = [&["--peer", "192.0.2.7", "--pty"], options, &[login, "shell"]].concat();
    let mut child = host
        .session(&args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("taken");
    child.wait_with_output().expect("ends")
}

fn run(host: &Host, options: &[&str], login: &str, command: &str) -> Output {
    let args = [options, &[login, "exec", command]].concat();
    host.session(&args).stdin(Stdio::null()).output().expect("runs")
}

#[test]
fn a_login_at_a_terminal_is_recorded_and_so_is_its_end() {
    let Some(host) = Host::new() else { return };
    let output = at_terminal(&host, &[], LOGIN, "echo line $SSH_TTY pid $$; exit 3\n");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let said = stdout(&output);
    let (_, said) = said.split_once("line /dev/").expect("the answer of the shell");
    let mut words = said.split_whitespace();
    let (line, pid) = (words.next().expect("a line"), words.nth(1).expect("a pid"));
    let id: String = line.chars().skip(line.len().saturating_sub(4)).collect();
    let login =
        format!("[7] [{pid:0>5}] [{id}] [{LOGIN:8}] [{line:12}] [{:20}] [{:15}]", "192.0.2.7", "192.0.2.7");
    let logout = format!("[8] [{pid:0>5}] [{id}] [{:8}] [{line:12}] [{:20}] [{:15}]", "", "", "0.0.0.0");
    // By another process, a moment later.
    until("the logout", || host.records("log/wtmp").len() == 2);
    assert_eq!(host.records("log/wtmp"), [login, logout.clone()]);
    assert_eq!(host.records("run/utmp"), [logout]);
    assert_eq!(fs::metadata(host.path("log/lastlog")).expect("kept").len() / u64::from(UID + 1), 292);
}

#[test]
fn a_killed_session_is_logged_out_too_and_a_command_without_terminal_leaves_no_record() {
    let Some(host) = Host::new() else { return };
    run(&host, &["--pty"], LOGIN, "kill -KILL $$");
    until("the logout", || host.records("log/wtmp").len() == 2);
    assert!(host.records("run/utmp")[0].starts_with("[8]"), "{:?}", host.records("run/utmp"));
    run(&host, &[], LOGIN, "true");
    assert_eq!(host.records("log/wtmp").len(), 2);
}

#[test]
fn files_that_a_host_does_not_keep_are_not_made() {
    let Some(host) = Host::new() else { return };
    for name in ["run/utmp", "log/wtmp", "log/lastlog"] {
        fs::remove_file(host.path(name)).expect("removed");
    }
    assert_eq!(at_terminal(&host, &[], LOGIN, "exit 3\n").status.code(), Some(3));
    for name in ["run/utmp", "log/wtmp", "log/lastlog"] {
        assert!(!host.path(name).exists(), "{name}");
    }
}

#[test]
fn a_login_shell_at_a_terminal_is_greeted_as_by_sshd() {
    let Some(host) = Host::new() else { return };
    host.write("run/motd.dynamic", "made anew\n");
    let said = stdout(&at_terminal(&host, &[], LOGIN, "exit\n"));
    assert!(said.contains("made anew\nthe message\nof the day\n"), "{said:?}");
    assert!(!said.contains("Last login"), "{said:?}");
    let said = stdout(&at_terminal(&host, &[], LOGIN, "exit\n"));
    let (_, greeting) = said.split_once("Last login: ").expect("the second login");
    let (when, rest) = greeting.split_once(" from 192.0.2.7\r\n").expect("an address");
    assert_eq!(when.len(), "Mon Nov 23 01:42:06 2026".len(), "{when}");
    assert!(rest.starts_with("made anew\nthe message\n"), "{rest:?}");
    // Not with a command, not without a terminal, not to those who do not want it.
    let output = run(&host, &["--pty"], LOGIN, "true");
    assert_eq!(stdout(&output), "");
    let mut child =
        host.session(&[LOGIN, "shell"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    drop(child.stdin.take());
    assert_eq!(stdout(&child.wait_with_output().expect("ends")), "");
    fs::write(host.home().join(".hushlogin"), "").expect("written");
    let said = stdout(&at_terminal(&host, &[], LOGIN, "exit\n"));
    assert!(!said.contains("Last login") && !said.contains("message"), "{said:?}");
}

#[test]
fn a_message_that_no_terminal_can_hold_is_read_by_the_one_it_is_for() {
    let Some(host) = Host::new() else { return };
    host.write("motd", &"0123456789abcde\n".repeat(4000));
    let said = stdout(&at_terminal(&host, &[], LOGIN, "exit 4\n"));
    assert_eq!(said.matches("0123456789abcde\n").count(), 4000);
}

#[test]
fn a_shell_that_is_missing_is_said_before_anything_else() {
    let Some(host) = Host::new() else { return };
    let output = at_terminal(&host, &[], "shellless", "");
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(255)));
    assert!(stderr(&output).contains("no such file"), "{}", stderr(&output));
}

#[test]
fn the_user_s_file_counts_where_the_node_says_so_and_for_nothing_dangerous() {
    let Some(host) = Host::new() else { return };
    let directory = host.home().join(".tsh");
    fs::create_dir(&directory).expect("made");
    fs::write(directory.join("environment"), "# mine\nEDITOR=ed\nLD_PRELOAD=/x.so\nPATH=/x\nLC_TIME=user\n")
        .expect("written");
    let command = "echo $EDITOR/$LD_PRELOAD/$PATH/$LC_TIME";
    let said = stdout(&run(&host, &["--user-env", "--env", "LC_TIME=client"], LOGIN, command));
    assert_eq!(said, "ed//usr/bin:/bin:/test-user/client\n".replace("//usr", "///usr"));
    let said = stdout(&run(&host, &[], LOGIN, command));
    assert_eq!(said, "///usr/bin:/bin:/test-user/\n");
    // As the user: what only root can read is not read.
    chown(directory.join("environment"), Some(0), Some(0)).expect("root may");
    fs::set_permissions(directory.join("environment"), Permissions::from_mode(0o600)).expect("root may");
    assert_eq!(stdout(&run(&host, &["--user-env"], LOGIN, "echo $EDITOR")), "\n");
}

#[test]
fn pam_decides_over_the_account_and_says_why_in_its_own_words() {
    let Some(host) = Host::new() else { return };
    if !modules(&["pam_deny.so", "pam_permit.so", "pam_echo.so"]) {
        return;
    }
    host.pam(
        "open",
        "account required pam_permit.so\nsession required pam_permit.so\nauth required pam_permit.so\n",
    );
    assert_eq!(stdout(&run(&host, &["--pam", "open"], LOGIN, "id -u")), format!("{UID}\n"));
    host.write("why", "closed for the holidays\n");
    let why = host.path("why");
    host.pam(
        "shut",
        &format!("account optional pam_echo.so file={}\naccount required pam_deny.so\n", why.display()),
    );
    for what in [vec![LOGIN, "exec", "id"], vec![LOGIN, "shell"], vec![LOGIN, "sftp"]] {
        let args = [&["--pam", "shut"][..], &what].concat();
        let output = host.session(&args).stdin(Stdio::null()).output().expect("runs");
        let words = stderr(&output);
        assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(255)), "{words}");
        assert!(words.contains("PAM service \"shut\" of this host refuses account \"tess\""), "{words}");
        assert!(words.contains("(closed for the holidays)"), "{words}");
    }
    // A session that does not open is none, and so are rules that are not there, which PAM takes from `other`.
    host.pam(
        "half",
        "account required pam_permit.so\nauth required pam_permit.so\nsession required pam_deny.so\n",
    );
    let output = run(&host, &["--pam", "half"], LOGIN, "id");
    assert!(stderr(&output).contains("opens no session for \"tess\""), "{}", stderr(&output));
    host.pam("other", "account required pam_deny.so\n");
    assert_eq!(run(&host, &["--pam", "missing"], LOGIN, "id").status.code(), Some(255));
}

#[test]
fn pam_sets_variables_and_limits_and_is_told_who_comes() {
    let Some(host) = Host::new() else { return };
    if !modules(&["pam_env.so", "pam_limits.so", "pam_exec.so", "pam_umask.so"]) {
        return;
    }
    host.write("variables", "FROM_PAM=yes\nHOME=/forged\nLD_PRELOAD=/x.so\nPATH=/from/pam:/usr/bin:/bin\n");
    host.write("limits", "* hard nofile 321\n* soft nofile 123\n");
    let told = host.path("told");
    host.write(
        "tell",
        "#!/bin/sh\nenv | grep -E '^(PAM_|TELEPORT_|SSH_)' | sort >> \"$1\"; echo -- >> \"$1\"\n",
    );
    fs::set_permissions(host.path("tell"), Permissions::from_mode(0o755)).expect("own file");
    let path = |name: &str| host.path(name).display().to_string();
    host.pam(
        "full",
        &format!(
            "auth required pam_permit.so\naccount required pam_permit.so\n\
             session required pam_env.so conffile=/dev/null envfile={}\n\
             session required pam_limits.so conf={}\n\
             session required pam_umask.so umask=027\n\
             session required pam_exec.so {} {}\n",
            path("variables"),
            path("limits"),
            path("tell"),
            told.display()
        ),
    );
    let options = [
        "--peer",
        "192.0.2.7",
        "--trusted",
        "SSH_CONNECTION=192.0.2.7 1 192.0.2.8 2",
        "--pam",
        "full",
        "--pam-env",
        "TELEPORT_USERNAME=alice",
    ];
    let command = "echo $FROM_PAM $HOME $PATH ${LD_PRELOAD-none} $TELEPORT_USERNAME ${MAIL-none}; ulimit -n; ulimit -Hn; umask";
    let output = run(&host, &options, LOGIN, command);
    let home = host.home().display().to_string();
    let expected = format!("yes {home} /from/pam:/usr/bin:/bin none alice none\n123\n321\n0027\n");
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    let told = || fs::read_to_string(host.path("told")).unwrap_or_default();
    until("the end of PAM's session", || told().matches("--").count() == 2);
    let told = told();
    let visits: Vec<&str> = told.split("--\n").collect();
    for (visit, kind) in visits.iter().zip(["open_session", "close_session"]) {
        for line in [
            "PAM_RHOST=192.0.2.7",
            "PAM_SERVICE=full",
            "PAM_TTY=ssh",
            &format!("PAM_TYPE={kind}"),
            "PAM_USER=tess",
            "SSH_CONNECTION=192.0.2.7 1 192.0.2.8 2",
            "TELEPORT_USERNAME=alice",
        ] {
            assert!(visit.lines().any(|told| told == line), "{kind}: {line} not in {visit}");
        }
    }
}

#[test]
fn pam_s_words_are_for_shells_at_a_terminal_and_its_session_ends_with_a_killed_one() {
    let Some(host) = Host::new() else { return };
    if !modules(&["pam_echo.so", "pam_exec.so"]) {
        return;
    }
    host.write("words", "welcome from a module\n");
    let (words, ended) = (host.path("words"), host.path("ended"));
    host.write(
        "end",
        &format!("#!/bin/sh\n[ $PAM_TYPE = close_session ] && echo $PAM_TTY >> {}\n", ended.display()),
    );
    fs::set_permissions(host.path("end"), Permissions::from_mode(0o755)).expect("own file");
    host.pam(
        "speaks",
        &format!(
            "auth required pam_permit.so\naccount required pam_permit.so\nsession optional pam_echo.so file={}\n\
             session optional pam_exec.so {}\n",
            words.display(),
            host.path("end").display()
        ),
    );
    let said = stdout(&at_terminal(&host, &["--pam", "speaks"], LOGIN, "exit\n"));
    assert!(said.contains("welcome from a module\n") && !said.contains("of the day"), "{said:?}");
    until("the end of PAM's session", || ended.exists());
    assert!(fs::read_to_string(&ended).expect("written").starts_with("/dev/pts/"));
    fs::remove_file(&ended).expect("removed");
    for options in [&["--pam", "speaks", "--pty"][..], &["--pam", "speaks"]] {
        let output = run(&host, options, LOGIN, "echo only this; kill -KILL $$");
        assert_eq!(stdout(&output), "only this\n");
        assert_eq!(stderr(&output), "signal KILL core_dumped=false\n");
        until("the end of PAM's session", || ended.exists());
        fs::remove_file(&ended).expect("removed");
    }
}

#[test]
fn a_module_that_asks_gets_no_answer_and_no_session() {
    let Some(host) = Host::new() else { return };
    // An expired password: pam_unix wants it changed; that is a question.
    if !modules(&["pam_unix.so"]) {
        return;
    }
    host.write("shadow", &format!("{LOGIN}:$6$salt$hash:0:0:99999:7:::\n"));
    host.pam(
        "asks",
        "auth required pam_permit.so\naccount required pam_unix.so\nsession required pam_permit.so\n",
    );
    let output = run(&host, &["--pam", "asks"], LOGIN, "id");
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(255)));
    assert!(stderr(&output).contains("refuses account \"tess\""), "{}", stderr(&output));
}

#[test]
fn modules_may_add_groups() {
    let Some(host) = Host::new() else { return };
    if !modules(&["pam_group.so"]) || !Path::new("/etc/security/group.conf").exists() {
        return;
    }
    host.write("group.conf", "grouped;*;*;Al0000-2400;other\n");
    host.pam(
        "grouped",
        "auth required pam_group.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    );
    let script =
        "mount --bind \"$1\" /etc/security/group.conf; exec \"$2\" --pam grouped tess exec 'id -G; id -u'";
    let output = host
        .command(
            "sh",
            &[
                "-c",
                script,
                "sh",
                &host.path("group.conf").display().to_string(),
                &support::local_session().display().to_string(),
            ],
        )
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    let said = stdout(&output);
    let groups: Vec<&str> = said.lines().next().unwrap_or_default().split(' ').collect();
    assert!(
        groups.contains(&"61005") && groups.contains(&GID.to_string().as_str()),
        "{said} {}",
        stderr(&output)
    );
    assert!(said.ends_with(&format!("{UID}\n")), "{said}");
}

#[test]
fn the_keeper_is_beside_the_session_and_nobody_s_child() {
    let Some(host) = Host::new() else { return };
    // From inside, as root, who may look: it is the one that waits for the end of this shell.
    let script = "for p in $(pgrep -x session-exec); do \
        grep -qs \"^Pid:[[:space:]]*$$\\$\" /proc/$p/fdinfo/* && \
        echo $p $(ps -o ppid=,sid=,tpgid= -p $p) $(stat -c %u /proc/$p); done; echo me $$";
    let output = run(&host, &["--pty"], "root", script);
    let said = stdout(&output);
    let me = said.lines().find_map(|line| line.strip_prefix("me ")).expect("the session");
    let keepers: Vec<Vec<&str>> = said
        .lines()
        .filter(|line| !line.starts_with("me"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    for keeper in &keepers {
        let [_, parent, session, foreground, uid] = keeper[..] else { panic!("{said}") };
        assert!(parent != me && session != me && foreground == "-1" && uid == "0", "{said}");
    }
    assert_eq!(keepers.len(), 1, "{said}");
}
