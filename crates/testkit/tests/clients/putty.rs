//! PuTTY's `plink` and `psftp` with the bot's certificate, through the proxy, with the host authority checked.

use std::path::PathBuf;

use testkit::process::run_with_input;
use testkit::programs::{command, ours, theirs};
use testkit::{Bot, Outcome, run};

use super::story::{NO_SUCH_LOGIN, Story};

/// PuTTY's directory with the bot's key in its format, a saved session of this login, and one host authority.
fn configure(story: &Story, login: &str, authority: &str) -> PathBuf {
    let directory = story.path("putty");
    for part in ["sessions", "sshhostcas"] {
        std::fs::create_dir_all(directory.join(part)).expect("made");
    }
    let key = directory.join("key.ppk");
    run(command("puttygen").arg(story.bot.file("key")).args(["-O", "private", "-o"]).arg(&key)).ok();
    let known = format!("PublicKey={authority}\nValidity=*\nPermitRSASHA1=0\n");
    std::fs::write(directory.join("sshhostcas/cluster"), known).expect("written");
    let proxied = format!(
        "{} ssh-proxy-command --destination-dir={} --proxy-server={} --user=%user --host=%host --port=%port",
        ours("tbot").display(),
        story.bot.output().display(),
        story.cluster.endpoint("proxy"),
    );
    let session = format!(
        "Protocol=ssh\nHostName={}\nPortNumber=3022\nUserName={login}\nTryAgent=0\nPublicKeyFile={}\n\
         DetachedCertificate={}\nProxyMethod=5\nProxyLocalhost=1\nProxyTelnetCommand={}\n",
        Bot::host("my-host"),
        key.display(),
        story.bot.file("key-cert.pub").display(),
        proxied.replace("%user", login),
    );
    std::fs::write(directory.join("sessions/node"), session).expect("written");
    directory
}

/// The cluster's host authority, as the blob in base64.
fn authority(story: &Story) -> String {
    let known = std::fs::read_to_string(story.bot.file("known_hosts")).expect("written");
    let line = known.lines().find(|line| line.starts_with("@cert-authority ")).expect("an authority");
    line.split(' ').nth(3).expect("a key").to_owned()
}

fn putty(story: &Story, program: &str, input: &[u8], arguments: &[&str]) -> Outcome {
    let mut putty = command(program);
    putty.env("HOME", story.cluster.path()).env("PUTTYDIR", story.path("putty"));
    run_with_input(putty.args(["-batch", "-load", "node"]).args(arguments), input)
}

#[test]
fn commands_and_files() {
    let [Some(_), Some(_)] = [theirs("plink"), theirs("psftp")] else { return };
    let story = Story::start();
    configure(&story, &story.login, &authority(&story));
    let sent: Vec<u8> = (0..300_000u32).map(|at| b'a' + (at % 23) as u8).collect();
    let back = putty(&story, "plink", &sent, &["-no-antispoof", "cat"]).ok();
    assert!(back.as_bytes() == sent, "{} bytes came back", back.len());
    let both = putty(&story, "plink", b"", &["-no-antispoof", "echo out; echo err >&2; exit 7"]);
    assert_eq!((both.code(), both.stdout.as_str(), both.stderr.as_str()), (7, "out\n", "err\n"));

    std::fs::write(story.path("file"), &sent).expect("written");
    let (file, there, again) = (story.text("file"), story.text("there"), story.text("again"));
    std::fs::write(
        story.path("batch"),
        format!("put {file} {there}\nget {there} {again}\nrm {there}\nquit\n"),
    )
    .expect("written");
    putty(&story, "psftp", b"", &["-b", &story.text("batch")]).ok();
    assert!(std::fs::read(&again).expect("fetched") == sent && !story.path("there").exists());
}

#[test]
fn other_authorities_and_other_logins_are_refused() {
    let Some(_) = theirs("plink") else { return };
    let story = Story::start();
    let other = story.path("other");
    run(command("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other)).ok();
    let public = std::fs::read_to_string(other.with_extension("pub")).expect("written");
    configure(&story, &story.login, public.split(' ').nth(1).expect("a key"));
    let refused = putty(&story, "plink", b"", &["true"]).refused();
    assert!(refused.contains("signed by a different certification authority"), "{refused}");

    configure(&story, "daemon", &authority(&story));
    let refused = putty(&story, "plink", b"", &["true"]).refused();
    assert!(
        refused.contains("No supported authentication methods available") || refused.contains(NO_SUCH_LOGIN),
        "{refused}"
    );
}
