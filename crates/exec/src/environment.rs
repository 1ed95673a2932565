//! Which environment variables a session gets, and whose word counts.
//!
//! Sources, strongest first: the account (`HOME`, `USER`, `LOGNAME`, `SHELL`) with the terminal (`TERM`, `SSH_TTY`); the
//! node (`SSH_CONNECTION` and the like); PAM's modules; the host's defaults (`PATH`, `MAIL`); the client; the user's own
//! file. A weaker one can add, never replace. A client, and a file that a client can write, never set what a loader,
//! shell or interpreter acts on before the user's own files do. The same rule runs in the node and again in the helper.

use std::collections::BTreeMap;

/// Prefixes of variables that change how programs load or what they trust. No source may set them.
const DANGEROUS_PREFIXES: [&str; 8] =
    ["LD_", "DYLD_", "LDR_", "_RLD", "BASH_FUNC_", "MALLOC_", "GCONV_", "GLIBC_"];
/// Variables of the same kind without a common prefix.
const DANGEROUS: [&str; 60] = [
    "AWKLIBPATH",
    "AWKPATH",
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "ENV",
    "ERL_AFLAGS",
    "ERL_FLAGS",
    "FPATH",
    "GEM_HOME",
    "GEM_PATH",
    "GETCONF_DIR",
    "GLOBIGNORE",
    "GUILE_LOAD_PATH",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "KRB5_CONFIG",
    "LIBPATH",
    "LOCALDOMAIN",
    "LOCPATH",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "NIS_PATH",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NULLCMD",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONBREAKPOINT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "READNULLCMD",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "R_ENVIRON_USER",
    "R_PROFILE_USER",
    "SHELLOPTS",
    "SHLIB_PATH",
    "TCLLIBPATH",
    "TERMPATH",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
/// Variables that belong to the account, the terminal or the node: a client may not set them even where they are unset.
const RESERVED: [&str; 16] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LOGNAME",
    "MAIL",
    "OLDPWD",
    "PATH",
    "PWD",
    "SHELL",
    "SHLVL",
    "TERMINFO",
    "TMPDIR",
    "USER",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "_",
];
/// `SSH_CONNECTION`, `SSH_AUTH_SOCK` and all others of the family are the node's to set.
const RESERVED_PREFIXES: [&str; 2] = ["SSH_", "SUDO_"];

/// What the host's modules, which run as root, and the programs that they start would act on, beside what is dangerous to all.
const NOT_FOR_MODULES: [&str; 2] = ["PATH", "TMPDIR"];
/// Prefixes of such.
const NOT_FOR_MODULES_PREFIXES: [&str; 2] = ["XDG_", "DBUS_"];

const MAX_NAME: usize = 256;
const MAX_VALUE: usize = 32 * 1024;

/// Whether a client may set this variable at all. Meant for the node's `env` handler too, so that a refusal can be seen
/// by the client.
pub fn client_may_set(name: &str, value: &str) -> bool {
    node_may_set(name, value)
        && !RESERVED.contains(&name)
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether even the node may set this variable in a session.
pub fn node_may_set(name: &str, value: &str) -> bool {
    is_name(name)
        && value.len() <= MAX_VALUE
        && !value.contains('\0')
        && !DANGEROUS.contains(&name)
        && !DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        // A shell function passed through the environment, under any name: what CVE-2014-6271 was about.
        && !value.starts_with("()")
}

/// Whether PAM's modules may be told this variable. They are root, and may run programs with it.
pub fn modules_may_be_told(name: &str, value: &str) -> bool {
    node_may_set(name, value)
        && !NOT_FOR_MODULES.contains(&name)
        && !NOT_FOR_MODULES_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A portable name: letters, digits and underscores, not starting with a digit.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a value for `TERM` is a plain terminal name, so that nothing looks a path up for it.
pub(crate) fn is_terminal_name(term: &str) -> bool {
    !term.is_empty()
        && term.len() <= 128
        && term.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'.'))
        && !term.starts_with(['.', '-'])
}

/// Where the variables of a session come from, strongest first.
#[derive(Debug, Default)]
pub(crate) struct Sources<'a> {
    /// The account and its terminal.
    pub(crate) own: Vec<(String, String)>,
    /// The node.
    pub(crate) node: &'a [(String, String)],
    /// PAM's modules.
    pub(crate) modules: Vec<(String, String)>,
    /// What the host has for everybody, unless its modules say otherwise.
    pub(crate) defaults: Vec<(String, String)>,
    /// What the client sent.
    pub(crate) client: &'a [(String, String)],
    /// What the user's own file says.
    pub(crate) user: Vec<(String, String)>,
    /// What nobody else has set.
    pub(crate) fallback: Vec<(String, String)>,
}

/// The variables of a session. Of two values that one source has for one name the later counts, as in sshd.
pub(crate) fn assemble(sources: &Sources<'_>) -> BTreeMap<String, String> {
    let Sources { own, node, modules, defaults, client, user, fallback } = sources;
    let mut all = BTreeMap::new();
    let mut add = |source: &[(String, String)], may_set: fn(&str, &str) -> bool| {
        let accepted: BTreeMap<String, String> =
            source.iter().filter(|(name, value)| may_set(name, value)).cloned().collect();
        for (name, value) in accepted {
            all.entry(name).or_insert(value);
        }
    };
    // The account database is the host's own word.
    add(own, |_, _| true);
    add(node, node_may_set);
    add(modules, node_may_set);
    add(defaults, |_, _| true);
    add(client, client_may_set);
    add(user, client_may_set);
    add(fallback, |_, _| true);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_client_adds_but_never_replaces() {
        let env = assemble(&Sources {
            own: pairs(&[("HOME", "/home/a"), ("TERM", "xterm")]),
            node: &pairs(&[
                ("SSH_CONNECTION", "trusted"),
                ("LD_PRELOAD", "node.so"),
                ("HOME", "/node"),
                ("APP", "node"),
            ]),
            modules: pairs(&[
                ("PATH", "/from/a/module"),
                ("LC_ALL", "module"),
                ("APP", "module"),
                ("HOME", "/module"),
                ("SSH_CONNECTION", "module"),
                ("LD_LIBRARY_PATH", "/module"),
            ]),
            defaults: pairs(&[("PATH", "/bin"), ("MAIL", "/var/mail/a")]),
            client: &pairs(&[
                ("HOME", "/tmp"),
                ("TERM", "evil"),
                ("APP", "client"),
                ("SSH_CONNECTION", "forged"),
                ("SSH_ORIGINAL_COMMAND", "forged"),
                ("LC_ALL", "first"),
                ("LC_ALL", "last"),
                ("LC_TIME", "first"),
                ("LC_TIME", "last"),
                ("LANG", "de_DE.UTF-8"),
            ]),
            user: pairs(&[("LANG", "user"), ("EDITOR", "ed"), ("PATH", "/user"), ("BASH_ENV", "/user")]),
            fallback: pairs(&[("LANG", "C.UTF-8"), ("EXTRA", "1")]),
        });
        let expected = pairs(&[
            ("APP", "node"),
            ("EDITOR", "ed"),
            ("EXTRA", "1"),
            ("HOME", "/home/a"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "module"),
            ("LC_TIME", "last"),
            ("MAIL", "/var/mail/a"),
            ("PATH", "/from/a/module"),
            ("SSH_CONNECTION", "trusted"),
            ("TERM", "xterm"),
        ]);
        assert_eq!(env.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn dangerous_names_and_values_are_dropped() {
        for name in [
            "LD_PRELOAD",
            "LD_X",
            "BASH_ENV",
            "ENV",
            "IFS",
            "GLIBC_TUNABLES",
            "LUA_INIT",
            "_JAVA_OPTIONS",
            "CLASSPATH",
            "OPENSSL_CONF",
        ] {
            assert!(!node_may_set(name, "x") && !client_may_set(name, "x"), "{name}");
        }
        for name in
            ["LD_AUDIT", "IFS", "PATH", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "A B"]
        {
            assert!(!modules_may_be_told(name, "x"), "{name}");
        }
        assert!(modules_may_be_told("TELEPORT_USERNAME", "alice") && modules_may_be_told("TEAM", "x"));
        for name in ["PATH", "HOME", "USER", "SHELL", "SSH_TTY", "SSH_AUTH_SOCK", "DISPLAY", "XAUTHORITY"] {
            assert!(node_may_set(name, "x") && !client_may_set(name, "x"), "{name}");
        }
        for (name, value) in
            [("", "x"), ("1A", "x"), ("A=B", "x"), ("A B", "x"), ("Ä", "x"), ("A", "a\0b"), ("A", "() { :;}")]
        {
            assert!(!client_may_set(name, value), "{name:?}={value:?}");
        }
        for name in ["LANG", "LC_ALL", "TZ", "COLORTERM", "GIT_PROTOCOL", "TERM", "_x"] {
            assert!(client_may_set(name, "value"), "{name}");
        }
        assert!(!client_may_set("A", &"x".repeat(MAX_VALUE + 1)));
    }

    #[test]
    fn terminal_names_are_plain() {
        for term in ["xterm-256color", "screen.xterm", "st+x", "vt100"] {
            assert!(is_terminal_name(term), "{term}");
        }
        for term in ["", "../../x", "a/b", "-x", "x y", "x\n", "ä"] {
            assert!(!is_terminal_name(term), "{term:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_the_account_s_word_stands(
            client in proptest::collection::vec((any::<String>(), any::<String>()), 0..20),
            name in "(HOME|PATH|LD_PRELOAD|SSH_TTY|IFS)",
        ) {
            let mut client = client;
            client.push((name, "client".into()));
            let own = pairs(&[("HOME", "/h"), ("PATH", "/bin")]);
            let env = assemble(&Sources { own, client: &client, user: client.clone(), ..Sources::default() });
            prop_assert!(env["HOME"] == "/h" && env["PATH"] == "/bin");
            prop_assert!(!env.keys().any(|name| name.starts_with("LD_") || name.starts_with("SSH_") || name == "IFS"));
        }
    }
}
