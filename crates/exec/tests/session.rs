//! Real sessions, started as the node starts them, as users of a host of their own.

mod support;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use support::{GID, GROUPS, Host, LOGIN, UID, stderr, stdout};

#[test]
fn a_session_is_the_user_and_nothing_more() {
    let Some(host) = Host::new() else { return };
    let output = host.run(LOGIN, "id -u; id -g; id -G; grep -E '^(Uid|Gid|Cap)' /proc/self/status");
    let text = stdout(&output);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(UID.to_string().as_str()));
    assert_eq!(lines.next(), Some(GID.to_string().as_str()));
    let mut groups: Vec<u32> =
        lines.next().expect("groups").split(' ').map(|group| group.parse().expect("a number")).collect();
    groups.sort_unstable();
    assert_eq!(groups, [GID, GROUPS[0], GROUPS[1]]);
    assert!(text.contains(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}")), "{text}");
    assert!(text.contains(&format!("Gid:\t{GID}\t{GID}\t{GID}\t{GID}")), "{text}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
}

#[test]
fn root_gets_root() {
    let Some(host) = Host::new() else { return };
    let output = host.run("root", "id -u; echo $PATH");
    assert_eq!(stdout(&output), "0\n/usr/sbin:/usr/bin:/sbin:/bin:/test-root\n");
}

#[test]
fn exit_codes_and_signals_arrive() {
    let Some(host) = Host::new() else { return };
    for code in [0, 1, 42, 254, 255] {
        assert_eq!(host.run(LOGIN, &format!("exit {code}")).status.code(), Some(code));
    }
    for name in ["TERM", "KILL", "HUP", "PIPE"] {
        let output = host.run(LOGIN, &format!("kill -{name} $$"));
        assert_eq!(stderr(&output), format!("signal {name} core_dumped=false\n"));
    }
}

#[test]
fn input_output_and_errors_are_three_binary_streams() {
    let Some(host) = Host::new() else { return };
    let mut child = host
        .session(&[LOGIN, "exec", "echo error >&2; cat; exit 5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let sent: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = child.stdin.take().expect("a pipe");
    let copy = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&copy));
    let output = child.wait_with_output().expect("an end");
    writer.join().expect("no panic").expect("all taken");
    assert_eq!(output.stdout.len(), sent.len());
    assert!(output.stdout == sent, "the bytes differ");
    assert_eq!((stderr(&output).as_str(), output.status.code()), ("error\n", Some(5)));
}

#[test]
fn standard_streams_can_be_opened_by_name() {
    let Some(host) = Host::new() else { return };
    let output = host.run(LOGIN, "echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin");
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));
}

#[test]
fn the_environment_is_made_new() {
    let Some(host) = Host::new() else { return };
    let home = host.home().display().to_string();
    let output = host
        .session(&[
            "--trusted",
            "SSH_CONNECTION=192.0.2.1 5 192.0.2.2 22",
            "--trusted",
            "LD_PRELOAD=/node.so",
            "--env",
            "LC_TIME=C",
            "--env",
            "LANG=C.UTF-8",
            "--env",
            "SSH_CONNECTION=forged",
            "--env",
            "SSH_AUTH_SOCK=/forged",
            "--env",
            "HOME=/forged",
            "--env",
            "PATH=/forged",
            "--env",
            "LD_PRELOAD=/client.so",
            "--env",
            "BASH_ENV=/client",
            "--env",
            "ENV=/client",
            "--env",
            "IFS=x",
            "--env",
            "X=() { :; }; echo shock",
            LOGIN,
            "exec",
            "exec /usr/bin/env",
        ])
        .env("NODE_SECRET", "must not be inherited")
        .env("LD_LIBRARY_PATH", "/node")
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let text = stdout(&output);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    // PWD is the shell's own work.
    let home_line = format!("HOME={home}");
    let pwd_line = format!("PWD={home}");
    let expected = [
        home_line.as_str(),
        "LANG=C.UTF-8",
        "LC_TIME=C",
        "LOGNAME=tess",
        "MAIL=/var/mail/tess",
        "PATH=/usr/bin:/bin:/test-user",
        pwd_line.as_str(),
        "SHELL=/bin/sh",
        "SSH_CONNECTION=192.0.2.1 5 192.0.2.2 22",
        "USER=tess",
    ];
    let without_shells_own: Vec<&str> =
        lines.into_iter().filter(|line| !line.starts_with("SHLVL=") && !line.starts_with("_=")).collect();
    assert_eq!(without_shells_own, expected, "{}", stderr(&output));
}

#[test]
fn nothing_of_the_node_is_inherited() {
    let Some(host) = Host::new() else { return };
    let session = support::local_session();
    // A node with descriptors that are open across exec, odd signal settings, priority, mask and out-of-memory score.
    let node = r#"exec 5</etc/passwd 6</etc/group 9>/dev/null; trap '' PIPE USR1 TERM; umask 077
        echo 300 > /proc/self/oom_score_adj; exec nice -n 7 "$0" tess exec "$1""#;
    let script = r"ls /proc/self/fd | tr '\n' ' '; umask; nice; cat /proc/self/oom_score_adj
        grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -c
        test $(ps -o sid= -p $$) = $$ && test $(ps -o pgid= -p $$) = $$ && echo own-session";
    let session = session.display().to_string();
    let output = host
        .command("sh", &["-c", &format!("ulimit -S -c 17; {node}"), &session, script])
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let expected =
        "0 1 2 3 0022\n0\n0\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n17\nown-session\n";
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
}

#[test]
fn the_login_shell_knows_that_it_is_one() {
    let Some(host) = Host::new() else { return };
    let mut child = host
        .session(&[LOGIN, "shell"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    child.stdin.take().expect("a pipe").write_all(b"echo $0; pwd; exit 3\n").expect("a shell reads");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(stdout(&output), format!("-sh\n{}\n", host.home().display()));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stdout(&host.run(LOGIN, "echo $0")), "sh\n");
}

#[test]
fn a_home_that_cannot_be_entered_is_said_and_survived() {
    let Some(host) = Host::new() else { return };
    for (login, home) in [("homeless", "/nonexistent/home"), ("lockedhome", "/root/private")] {
        let output = host.run(login, "pwd; echo $HOME");
        assert_eq!(stdout(&output), format!("/\n{home}\n"));
        let message =
            format!("Could not set shell's cwd to home directory \"{home}\", defaulting to \"/\"\n");
        assert_eq!(stderr(&output), message);
    }
}

#[test]
fn what_cannot_start_says_why_and_exits_255() {
    let Some(host) = Host::new() else { return };
    for (login, words) in [
        ("nobody-here", "unknown account \"nobody-here\""),
        ("shellless", "shell \"/nonexistent/shell\" of account \"shellless\" cannot be run: no such file"),
        ("relative", "shell \"bin/sh\" of account \"relative\" cannot be run: not an absolute path"),
        ("-root", "the login name is not one"),
        ("a:b", "the login name is not one"),
    ] {
        let output = host.run(login, "id");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(255), "{login}: {text}");
        assert!(
            text.starts_with("Failed to launch: ") && text.ends_with(".\r\n") && text.contains(words),
            "{text}"
        );
        assert_eq!(stdout(&output), "", "{login}");
    }
}

#[test]
fn a_command_that_the_system_cannot_carry_is_refused() {
    if !support::is_root() {
        return;
    }
    // Through the library: one argument of more than 128 KiB could not even reach the example.
    let command = [b": ".to_vec(), vec![b'x'; 200_000]].concat();
    let request = exec::SessionRequest::new("root", exec::Launch::Command(command));
    let spawned = exec::spawn(support::helper(), &request).expect("the helper starts");
    let error = spawned.started(std::time::Duration::from_secs(60)).expect_err("too long");
    assert!(error.to_string().contains("too long for this system"), "{error}");
}

#[test]
fn shells_that_refuse_do_so_themselves() {
    let Some(host) = Host::new() else { return };
    assert_eq!(stdout(&host.run("default", "echo $SHELL")), "/bin/sh\n");
    if fs::exists("/usr/sbin/nologin").is_ok_and(|there| there) {
        let output = host.run("nologin", "id");
        assert_eq!((output.status.code(), stdout(&output).contains("not available")), (Some(1), true));
    }
}

#[test]
fn an_account_without_a_login_shell_gets_no_files_either() {
    let Some(host) = Host::new() else { return };
    for (login, words) in [
        ("nologin", "has no login shell on this host"),
        ("restricted", "has the restricted shell /usr/bin/rbash"),
        ("shellless", "which cannot be run on this host"),
        ("relative", "which cannot be run on this host"),
        ("unlisted", "add it to /etc/shells, or set another with usermod --shell"),
    ] {
        let output = host.session(&[login, "sftp"]).stdin(Stdio::null()).output().expect("unshare runs");
        assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(255)), "{login}");
        assert!(stderr(&output).contains(words), "{login}: {}", stderr(&output));
    }
    for login in [LOGIN, "default"] {
        let output = host.session(&[login, "sftp"]).stdin(Stdio::null()).output().expect("unshare runs");
        assert_eq!(output.status.code(), Some(0), "{login}: {}", stderr(&output));
    }
}

#[test]
fn accounts_that_the_host_has_closed_get_neither_shell_nor_files() {
    let Some(host) = Host::new() else { return };
    for (login, words) in [
        ("locked", "account \"locked\" is locked on this host"),
        ("starred", "account \"starred\" is locked on this host"),
        ("expired", "account \"expired\" has expired on this host"),
    ] {
        for what in [vec![login, "exec", "id"], vec![login, "shell"], vec![login, "sftp"]] {
            let output = host.session(&what).stdin(Stdio::null()).output().expect("unshare runs");
            assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(255)), "{what:?}");
            assert!(stderr(&output).contains(words), "{what:?}: {}", stderr(&output));
        }
    }
    // No password fits, which is the usual state of an account for certificates.
    assert_eq!(
        stdout(&host.run("keyonly", "id -un")),
        "keyonly
"
    );
}

#[test]
fn a_terminal_is_the_user_s_and_controls_the_session() {
    let Some(host) = Host::new() else { return };
    let script = "tty; stty size; stat -c '%U %G %a' $(tty); echo $TERM $SSH_TTY; echo yes > /dev/tty; \
                  stty -a | grep -c -- '-echo '; ps -o tpgid= -p $$ | grep -qw $$ && echo foreground";
    let output =
        host.session(&["--pty", LOGIN, "exec", script]).stdin(Stdio::null()).output().expect("unshare runs");
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    let [tty, size, owner, names, controlling, echo_off, foreground] = lines[..] else { panic!("{text}") };
    assert!(tty.starts_with("/dev/pts/"), "{text}");
    assert_eq!(size, "37 101");
    assert_eq!(owner, "tess tty 620");
    assert_eq!(names, format!("xterm {tty}"));
    assert_eq!((controlling, echo_off, foreground), ("yes", "1", "foreground"));
}

#[test]
fn without_root_only_the_own_account_can_be_had() {
    let Some(host) = Host::new() else { return };
    // Where other users can reach them.
    for (name, from) in
        [("local_session", support::local_session()), ("session-exec", support::helper().into())]
    {
        fs::copy(from, host.path(name)).expect("a copy");
    }
    let nested = |login: &str, command: &str| {
        let here = |name: &str| host.path(name).display().to_string();
        host.run(
            LOGIN,
            &format!("{} --helper {} {login} exec '{command}'", here("local_session"), here("session-exec")),
        )
    };
    let own = nested(LOGIN, "id -u; id -G | wc -w; pwd");
    assert_eq!(stdout(&own), format!("{UID}\n3\n{}\n", host.home().display()), "{}", stderr(&own));
    for other in ["root", "homeless"] {
        let refused = nested(other, "id -u");
        assert_eq!((stdout(&refused).as_str(), refused.status.code()), ("", Some(255)));
        assert!(stderr(&refused).contains("this node runs as uid 61001"), "{}", stderr(&refused));
    }
}
