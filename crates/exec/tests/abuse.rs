//! What a user of a session, or the session's own processes, may try against the host.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use exec::{Launch, Running, SessionIo, SessionRequest, cgroup, spawn};
use rustix::io::ioctl_fionbio;
use support::{Host, LOGIN, UID, stderr, stdout, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn own_login() -> String {
    let me = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(me.stdout).expect("a name").trim().to_owned()
}

/// A session of the account that runs the tests, and what it says.
fn session(command: &str) -> (Running, BufReader<fs::File>) {
    let request = SessionRequest::new(own_login(), Launch::Command(command.as_bytes().to_vec()));
    let running = spawn(support::helper(), &request).expect("spawn").started(PATIENCE).expect("started");
    let SessionIo::Pipes { stdout, .. } = &running.io else { panic!("asked for no terminal") };
    let output = stdout.try_clone().expect("a copy");
    ioctl_fionbio(&output, false).expect("a descriptor");
    (running, BufReader::new(output.into()))
}

/// A session in a control group, or nothing, said aloud.
fn grouped(command: &str) -> Option<(Running, BufReader<fs::File>, PathBuf)> {
    let (running, output) = session(command);
    let group = running.started.group.clone();
    if group.is_none() {
        eprintln!("SKIPPED: needs a cgroup2 file system that this process may write to");
    }
    group.map(|group| (running, output, group))
}

fn numbers(output: &mut impl BufRead, count: usize) -> Vec<u32> {
    let line = || {
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        line.trim().parse().expect("a number")
    };
    std::iter::repeat_with(line).take(count).collect()
}

fn lives(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

mod abuse {
    use super::*;

    #[test]
    fn n1_a_session_inherits_no_descriptor_variable_signal_limit_or_priority_of_the_node() {
        let Some(host) = Host::new() else { return };
        let node = r#"exec 5</etc/shadow 6<>/dev/null 9</etc/passwd; trap '' PIPE USR1 TERM; umask 077; ulimit -S -c 17
            echo 300 > /proc/self/oom_score_adj; export NODE_SECRET=x; exec nice -n 7 "$0" tess exec "$1""#;
        let script = r"ls /proc/self/fd | tr '\n' ' '; umask; nice; cat /proc/self/oom_score_adj
            grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -S -c; echo ${NODE_SECRET-none}";
        let session = support::local_session().display().to_string();
        let output =
            host.command("sh", &["-c", node, &session, script]).stdin(Stdio::null()).output().expect("runs");
        let expected = "0 1 2 3 0022\n0\n0\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n17\nnone\n";
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    }

    #[test]
    fn n1_a_session_inherits_no_capability_whatever_the_node_passes_on() {
        let Some(host) = Host::new() else { return };
        // All that a daemon could have set up: inheritable and ambient capabilities, and a kept uid 0 behaviour.
        let session = support::local_session().display().to_string();
        let script = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; id -u";
        let node = [
            "--inh-caps=+net_raw,+kill,+sys_admin",
            "--ambient-caps=+net_raw,+kill,+sys_admin",
            &session,
            LOGIN,
            "exec",
            script,
        ];
        let output = host.command("setpriv", &node).stdin(Stdio::null()).output().expect("runs");
        let said = stdout(&output);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(said.contains(&format!("{set}:\t0000000000000000\n")), "{said} {}", stderr(&output));
        }
        assert!(said.ends_with(&format!("{UID}\n")), "{said}");
    }

    #[test]
    fn n1_a_session_does_not_see_the_node_s_keys() {
        let Some(host) = Host::new() else { return };
        if !Path::new("/proc/keys").exists()
            || !cfg!(target_arch = "x86_64")
            || !Path::new("/usr/bin/perl").exists()
        {
            eprintln!("SKIPPED: needs a kernel with keyrings, x86_64 and perl");
            return;
        }
        // keyctl(JOIN_SESSION_KEYRING), add_key to it, and then a session of root's, which could read it if it were there.
        let name = format!("node-secret-{}", std::process::id());
        let node = format!(
            r#"syscall(250, 1, 0); my ($t, $n, $d) = ("user", "{name}", "x");
            syscall(248, $t, $n, $d, 1, -3) > 0 or die "no key"; $| = 1; print syscall(250, 10, -3, $t, $n, 0) > 0, "\n";
            exec @ARGV"#
        );
        let session = support::local_session().display().to_string();
        let search = format!(
            r#"perl -e 'my ($t, $n) = ("user", "{name}"); print syscall(250, 10, -3, $t, $n, 0), "\n"'"#
        );
        for login in ["root", LOGIN] {
            let output = host
                .command("perl", &["-e", &node, &session, login, "exec", &search])
                .stdin(Stdio::null())
                .output()
                .expect("runs");
            assert_eq!(stdout(&output), "1\n-1\n", "{}", stderr(&output));
        }
    }

    #[test]
    fn n2_nothing_that_a_client_sends_reaches_a_loader_or_replaces_what_is_trusted() {
        let Some(host) = Host::new() else { return };
        let forged = [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
            "BASH_ENV",
            "ENV",
            "IFS",
            "PS4",
            "PROMPT_COMMAND",
            "SHELLOPTS",
            "BASHOPTS",
            "GLIBC_TUNABLES",
            "PYTHONPATH",
            "PERL5OPT",
            "HOME",
            "SHELL",
            "USER",
            "LOGNAME",
            "MAIL",
            "SSH_CONNECTION",
            "SSH_CLIENT",
            "SSH_TTY",
            "SSH_AUTH_SOCK",
            "SSH_ORIGINAL_COMMAND",
            "SUDO_USER",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
            "DISPLAY",
            "TMPDIR",
        ];
        let pairs: Vec<String> = forged.iter().map(|name| format!("{name}=/forged")).collect();
        let mut args: Vec<&str> = pairs.iter().flat_map(|pair| ["--env", pair.as_str()]).collect();
        args.extend([
            "--env",
            "F=() { :; }; echo shock",
            "--env",
            "LANG=C",
            LOGIN,
            "exec",
            "exec /usr/bin/env",
        ]);
        let output = host.session(&args).stdin(Stdio::null()).output().expect("runs");
        let said = stdout(&output);
        assert!(!said.contains("forged") && !said.contains("shock"), "{said}");
        assert!(said.contains("LANG=C\n") && said.contains("PATH=/usr/bin:/bin:/test-user\n"), "{said}");
        // The user's own file, which a client can write by SFTP, is no way around that.
        fs::create_dir(host.home().join(".tsh")).expect("made");
        fs::write(host.home().join(".tsh/environment"), pairs.join("\n")).expect("written");
        let output = host
            .session(&["--user-env", LOGIN, "exec", "exec /usr/bin/env"])
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        assert!(!stdout(&output).contains("forged"), "{}", stdout(&output));
    }

    #[test]
    fn n5_a_cut_ends_daemons_and_orphans_too() {
        let script = "echo $$; (setsid sh -c 'echo $$; (setsid sleep 1000 & echo $!) ; exec sleep 1000' &); \
                      nohup sleep 1000 >/dev/null 2>&1 & echo $!; wait; sleep 1000";
        let Some((running, mut output, group)) = grouped(script) else { return };
        let pids = numbers(&mut output, 4);
        assert!(pids.iter().all(|pid| lives(*pid)));
        running.session.kill();
        until("the end of all", || !pids.iter().any(|pid| lives(*pid)));
        drop(running);
        assert!(!group.exists());
    }

    #[test]
    fn n5_what_forks_as_fast_as_it_can_does_not_outrun_a_cut() {
        let script = "while :; do setsid sh -c 'while :; do setsid sleep 5 & sleep 0.01; done' & sleep 0.02; done & \
                      sleep 0.3; echo 1; wait";
        let Some((running, mut output, group)) = grouped(script) else { return };
        numbers(&mut output, 1);
        drop(running);
        until("an empty group", || {
            fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().is_empty()
        });
    }

    #[test]
    fn n5_a_process_cannot_leave_its_session_s_group() {
        let Some(host) = Host::new() else { return };
        let script = "grep ^0:: /proc/self/cgroup; mount=$(awk '/ - cgroup2 /{print $5; exit}' /proc/self/mountinfo); \
                      echo $$ 2>/dev/null > $mount/cgroup.procs && echo left; mkdir $mount/mine 2>/dev/null && echo made; true";
        let output = host.run(LOGIN, script);
        let said = stdout(&output);
        assert!(!said.contains("left") && !said.contains("made"), "{said}");
    }

    #[test]
    fn n5_what_a_session_leaves_in_the_background_by_itself_goes_on() {
        let script = "nohup sleep 1000 >/dev/null 2>&1 </dev/null & echo $!; (setsid sleep 1000 >/dev/null 2>&1 & echo $!)";
        let (running, mut output) = session(script);
        let pids = numbers(&mut output, 2);
        running.session.wait().expect("an end");
        let group = running.started.group.clone();
        drop(running);
        assert!(pids.iter().all(|pid| lives(*pid)));
        if let Some(group) = group {
            assert!(group.exists());
            cgroup::kill(&group);
            until("the end", || !pids.iter().any(|pid| lives(*pid)));
            // Whatever session ends next takes the empty group along.
            until("an empty group", || {
                drop(session("true"));
                !group.exists()
            });
        }
        for pid in pids {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }

    #[test]
    fn n5_sessions_of_a_daemon_that_died_end_at_the_next_start_and_their_groups_go() {
        let login = own_login();
        let script = "trap '' HUP PIPE; grep ^0:: /proc/self/cgroup; echo $$; setsid sleep 1000 & echo $!; wait; sleep 1000";
        let mut daemon = Command::new(support::local_session())
            .args([&login, "exec", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs");
        let mut output = BufReader::new(daemon.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let pids = numbers(&mut output, 2);
        let name = line.trim().rsplit('/').next().unwrap_or_default().to_owned();
        cgroup::clean_up();
        assert!(pids.iter().all(|pid| lives(*pid)), "the sessions of a daemon that lives are its own");
        daemon.kill().expect("killed");
        daemon.wait().expect("ends");
        if !name.starts_with("postern-") {
            eprintln!("SKIPPED: needs a cgroup2 file system that this process may write to");
            for pid in pids {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            return;
        }
        assert!(pids.iter().all(|pid| lives(*pid)));
        until("the end of what was left", || {
            cgroup::clean_up();
            !pids.iter().any(|pid| lives(*pid))
        });
    }

    #[test]
    fn n5_what_a_finished_session_has_left_goes_on_when_the_daemon_dies_too() {
        let login = own_login();
        let script = "grep ^0:: /proc/self/cgroup; (setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!)";
        let daemon =
            Command::new(support::local_session()).args([&login, "exec", script]).output().expect("runs");
        let said = stdout(&daemon);
        let pid: u32 = said.lines().last().and_then(|pid| pid.parse().ok()).expect("a number");
        let grouped = said.lines().next().is_some_and(|line| line.contains("/postern-"));
        cgroup::clean_up();
        assert!(lives(pid), "{said}");
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        until("the end", || !lives(pid));
        cgroup::clean_up();
        if !grouped {
            eprintln!("SKIPPED: needs a cgroup2 file system that this process may write to");
        }
    }

    #[test]
    fn n5_a_session_without_a_terminal_is_born_in_its_group() {
        let Some((running, _, group)) = grouped("exec sleep 1000") else { return };
        let name = group.file_name().and_then(|name| name.to_str()).expect("a name");
        // One that it has made itself has its number.
        assert!(name.rsplit('-').next().is_some_and(|number| number.starts_with('s')), "{name}");
        assert_eq!(
            fs::read_to_string(group.join("cgroup.procs")).expect("readable"),
            format!("{}\n", running.session.pid())
        );
        drop(running);
        until("no group", || {
            drop(session("true"));
            !group.exists()
        });
    }

    #[test]
    fn n5_what_was_released_is_nobody_s_leftover() {
        // The owner is not dead, as it would have to be for its leftovers to be looked at; so only the note is.
        let Some((running, mut output, group)) = grouped("echo $$; exec sleep 1000") else { return };
        let pids = numbers(&mut output, 1);
        running.session.release();
        drop(running);
        assert!(pids.iter().all(|pid| lives(*pid)) && group.exists());
        assert!(cgroup::is_left_alone(&group));
        cgroup::kill(&group);
        until("the end", || !pids.iter().any(|pid| lives(*pid)));
    }
}
