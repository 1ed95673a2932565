//! What runs, what does not and why, and where a node is known to answer unlike sshd.

use super::run;
use super::stand::Route;

/// A script that runs.
#[derive(Debug)]
pub struct Script {
    /// Its test: its file with `_` for `-`, without `.sh`.
    pub name: &'static str,
    /// What of a server it proves.
    pub about: &'static str,
    /// Why it does not run through the proxy too.
    pub straight_only: Option<&'static str>,
}

/// A check that a node does not pass, and is not going to be changed for.
#[derive(Debug)]
pub struct Difference {
    /// The script.
    pub script: &'static str,
    /// The step that it is at, in its own words.
    pub step: &'static str,
    /// What it complains of, in its own words.
    pub said: &'static str,
    /// Why.
    pub why: &'static str,
}

/// Makes the table, and a test of each script on each of its routes.
macro_rules! scripts {
    (both { $($both:ident $about:literal,)* } straight { $($straight:ident $what:literal because $why:literal,)* }) => {
        /// Everything that runs.
        pub const SCRIPTS: &[Script] = &[
            $(Script { name: stringify!($both), about: $about, straight_only: None },)*
            $(Script { name: stringify!($straight), about: $what, straight_only: Some($why) },)*
        ];

        mod straight {
            $(#[test] fn $both() { super::run_straight(stringify!($both)); })*
            $(#[test] fn $straight() { super::run_straight(stringify!($straight)); })*
        }

        mod proxied {
            $(#[test] fn $both() { super::run_proxied(stringify!($both)); })*
        }
    };
}

scripts! {
    both {
        agent "a forwarded agent is used, and another one than the client's own",
        broken_pipe "a client whose output nobody reads (it does not get as far as a server)",
        connect "a login, a command, and another name of the host",
        connect_uri "`ssh://user@host:port`",
        dynamic_forward "SOCKS 4 and 5 by `-D`, and by `-R` with `PermitRemoteOpen`",
        envpass "variables that are sent and accepted, and those that are not",
        exit_status_signal "a command that a signal ended",
        forwarding "chains of `-L` and `-R`, of TCP and Unix sockets, `-W`, ports that are taken, `ExitOnForwardFailure`",
        host_expand "`LocalCommand` with the host's names after a login",
        localcommand "`LocalCommand` after a login",
        proto_version "the version that a server tells who says nothing",
        scp "both protocols: files, directories, globs, times, servers that send what was not asked for",
        scp_uri "`scp://user@host:port/path`, both protocols",
        scp3 "between two hosts through the client, both protocols",
        sftp_badcmds "what does not exist, and what is a directory",
        sftp_batch "batch files, and what stops one",
        sftp_cmds "the commands of `sftp`, names with quotes, spaces and brackets",
        sftp_glob "globs, escaped and not",
        sftp_uri "`sftp://user@host:port/path`",
        stderr_after_eof "standard error after the end of standard output",
        transfer "a file in either direction, and pieces of it of every size",
        yes_head "a command whose output is cut off",
    }
    straight {
        exit_status "exit codes, also of a command that closed its output before"
            because "it sleeps for 25 seconds; the guide's test has exit codes through the proxy",
        integrity "thirty connections in which one byte of the server's is changed, each found out"
            because "the proxy passes bytes, and has no part in what seals them",
        kextype "each key exchange, four times"
            because "the proxy passes bytes, and has no part in what is negotiated",
        multiplex "many sessions over one connection, exit codes, forwards that come and go, ends"
            because "it sleeps for 55 seconds; `clients` has a master through the proxy",
        portnum "ports as numbers, right and wrong"
            because "it is about the client's reading of a number",
        rekey "fresh keys by volume and time while data moves, for each algorithm"
            because "the proxy passes bytes, and it takes minutes",
        sftp "`get` and `put` in requests from 5 to 64,000 bytes, 1 to 10 at a time"
            because "it asks for a file in pieces of five bytes, which takes a minute",
        stderr_data "a program's standard error whole, with and without input"
            because "it sleeps for 12 seconds; `stderr-after-eof` is much the same through the proxy",
        try_ciphers "each cipher"
            because "the proxy passes bytes, and has no part in what is negotiated",
    }
}

fn run_straight(name: &str) {
    run::script(Route::Straight, name, &format!("scripts::straight::{name}"));
}

fn run_proxied(name: &str) {
    run::script(Route::Proxied, name, &format!("scripts::proxied::{name}"));
}

/// What a script complains of is compared with this.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        script: "envpass",
        step: "test environment passing: server setenv wins",
        said: "environment not found",
        why: "a node has no `SetEnv`",
    },
    other_variables("envpass", "test environment passing: pass single env, accept single env"),
    other_variables("envpass", "test environment passing: pass multiple env, accept multiple env"),
    other_variables("envpass", "test environment passing: setenv, accept"),
    other_variables("envpass", "test environment passing: setenv, first match wins"),
    other_variables("multiplex", "setenv over multiplexed connection"),
    other_variables("multiplex", "env passing over multiplexed connection"),
    Difference {
        script: "rekey",
        step: "0 rekeying(s)",
        said: "no rekeying occurred",
        why: "the steps with `RekeyLimit` in sshd's configuration: a node's limits are fixed, a gigabyte and an hour",
    },
];

/// For the configuration of the script's sshd, which has `AcceptEnv`.
const fn other_variables(script: &'static str, step: &'static str) -> Difference {
    let why = "the script's variables are none that a node takes";
    Difference { script, step, said: "environment not found", why }
}

/// Scripts that do not run, each with its reason. The first of several reasons counts.
pub const EXCLUDED: &[(&str, &[&str])] = &[
    (
        "They are about the client, the agent or `ssh-keygen` alone: no connection is made, or nothing of a server is looked at.",
        &[
            "agent-getpeereid",
            "agent-pkcs11",
            "agent-ptrace",
            "agent-subprocess",
            "agent-timeout",
            "cfginclude",
            "keygen-change",
            "keygen-comment",
            "keygen-convert",
            "keygen-knownhosts",
            "keygen-moduli",
            "keygen-sshfp",
            "knownhosts",
            "krl",
            "percent",
            "sshcfgparse",
            "sshsig",
        ],
    ),
    (
        "They are about how sshd reads its configuration.",
        &["addrmatch", "cfgmatch", "cfgmatchlisten", "cfgparse", "reconfigure", "reexec", "servcfginclude"],
    ),
    (
        "They configure their sshd with what a node has not, or what roles decide here: `Banner`, `ForceCommand`, \
         `AllowUsers`, `ChannelTimeout`, `UnusedConnectionTimeout`, `ExposeAuthInfo`, `PermitOpen`, a chroot, \
         restrictions of its sftp-server.",
        &[
            "allow-deny-users",
            "authinfo",
            "banner",
            "channel-timeout",
            "connection-timeout",
            "forcecommand",
            "forward-control",
            "sftp-chroot",
            "sftp-perm",
        ],
    ),
    (
        "They are about keys and certificates in `authorized_keys`, or about commands that name keys: a node knows one \
         authority of users, and its tests (`crates/node`, `crates/access`) have tables of certificates instead.",
        &[
            "brokenkeys",
            "cert-file",
            "cert-userkey",
            "key-options",
            "keys-command",
            "limit-keytype",
            "multipubkey",
            "principals-command",
        ],
    ),
    (
        "They need a server with host keys of their choice: a node has one, with a certificate of the cluster's authority.",
        &[
            "agent-restrict",
            "cert-hostkey",
            "hostbased",
            "hostkey-agent",
            "hostkey-rotate",
            "keyscan",
            "keytype",
            "knownhosts-command",
            "sshfp-connect",
        ],
    ),
    (
        "They want `sshd -i`'s own exit code, sandbox or environment; a node is a daemon.",
        &["connect-privsep", "proto-mismatch", "proxy-connect"],
    ),
    (
        "They are about algorithms that a node has not, or about nothing that could fail.",
        &["cipher-speed", "dhgex"],
    ),
    (
        "It waits for 15 seconds beside one silent connection; `abuse` has many, and looks at more.",
        &["login-timeout"],
    ),
    (
        "They run other clients, without a certificate, or that are not to be had: `crates/testkit/tests/clients` has \
         PuTTY with one.",
        &[
            "conch-ciphers",
            "putty-ciphers",
            "putty-kex",
            "putty-transfer",
            "ssh-com",
            "ssh-com-client",
            "ssh-com-keygen",
            "ssh-com-sftp",
        ],
    ),
    (
        "They are no tests: parts of others.",
        &["scp-ssh-wrapper", "ssh2putty", "sshd-log-wrapper", "test-exec", "valgrind-unit"],
    ),
];

/// Whether a script of this file name is in one of the tables.
pub fn knows(file: &str) -> bool {
    SCRIPTS.iter().any(|script| script.file() == file)
        || EXCLUDED.iter().any(|(_, files)| files.contains(&file))
}

/// The script whose test has this name.
pub fn find(name: &str) -> &'static Script {
    SCRIPTS.iter().find(|script| script.name == name).unwrap_or_else(|| panic!("no script {name}"))
}

impl Script {
    /// Its file, without `.sh`.
    pub fn file(&self) -> String {
        self.name.replace('_', "-")
    }

    /// What it complains of and should not, and what it should complain of and does not.
    pub fn unlike_expected(&self, failed: &[String]) -> Vec<String> {
        let mine = || DIFFERENCES.iter().filter(|difference| difference.script == self.file());
        let known = |failure: &&String| mine().any(|difference| difference.matches(failure));
        let new = failed.iter().filter(|failure| !known(failure)).map(|failure| format!("new: {failure}"));
        let gone = mine().filter(|difference| !failed.iter().any(|failure| difference.matches(failure)));
        new.chain(gone.map(|gone| format!("gone, so take it out of the table: {gone:?}"))).collect()
    }
}

impl Difference {
    fn matches(&self, failure: &str) -> bool {
        failure == format!("{}: {}", self.step, self.said)
    }
}
