//! Labels whose values are what commands print.
//!
//! Commands run as the node does, without a shell, with almost no environment and bounded in time and output. Their
//! values decide over access, so a value changes only when a command has ended.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use access::Labels;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::CommandLabel;

/// The most of a command's output that counts, in bytes.
const OUTPUT: u64 = 4 << 10;
/// The most characters of a value.
const VALUE: usize = 512;
/// A command that takes longer is killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Commands run at most this often.
const LEAST_PERIOD: Duration = Duration::from_secs(1);

/// The labels of this node. All commands run once before this returns, so that no decision is made on half of them;
/// after that each runs in its period until `stop`.
pub(crate) async fn watch(
    fixed: BTreeMap<String, String>,
    commands: Vec<CommandLabel>,
    stop: &CancellationToken,
) -> watch::Receiver<Labels> {
    let mut first = fixed;
    let values = futures_util::future::join_all(commands.iter().map(|command| run(&command.argv))).await;
    first.extend(commands.iter().map(|command| command.name.clone()).zip(values));
    let (labels, watched) = watch::channel(Labels(first));
    for command in commands {
        let (labels, stop) = (labels.clone(), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(repeat(command, &labels)).await;
        });
    }
    watched
}

async fn repeat(command: CommandLabel, labels: &watch::Sender<Labels>) {
    let CommandLabel { name, argv, period } = command;
    loop {
        tokio::time::sleep(period.max(LEAST_PERIOD)).await;
        let value = run(&argv).await;
        labels.send_if_modified(|labels| {
            let old = labels.0.insert(name.clone(), value.clone());
            let changed = old.as_deref() != Some(value.as_str());
            if changed {
                tracing::info!(label = name, value, "label changed");
            }
            changed
        });
    }
}

/// What a command prints, or in its place why it failed: an empty value would hide that.
async fn run(argv: &[String]) -> String {
    let value = match tokio::time::timeout(PATIENCE, output(argv)).await {
        Ok(Ok(output)) => output,
        Ok(Err(reason)) => reason,
        Err(_) => format!("error: no answer within {}s", PATIENCE.as_secs()),
    };
    plain(&value)
}

async fn output(argv: &[String]) -> Result<String, String> {
    let [program, arguments @ ..] = argv else {
        return Err("error: command missing".to_owned());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("error: {program}: {error}"))?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // More than counts is not read; the command then ends by SIGPIPE.
        let _ = stdout.take(OUTPUT).read_to_end(&mut printed).await;
    }
    let printed = String::from_utf8_lossy(&printed).into_owned();
    match child.wait().await {
        Ok(status) if status.success() || status.code().is_none() => Ok(printed),
        Ok(status) => Err(format!("error: {status}: {printed}")),
        Err(error) => Err(format!("error: {error}")),
    }
}

/// One line that a terminal can show.
fn plain(value: &str) -> String {
    let shown: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shown.trim().chars().take(VALUE).collect()
}

#[cfg(test)]
mod tests {
    use super::{Labels, run, watch};
    use crate::config::CommandLabel;
    use std::collections::BTreeMap;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    async fn of(argv: &[&str]) -> String {
        run(&argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
    }

    #[tokio::test]
    async fn output_becomes_a_value_and_failure_is_visible() {
        assert_eq!(of(&["echo", " web server\u{7} "]).await, "web server");
        assert_eq!(of(&["echo", "$HOME; id"]).await, "$HOME; id");
        assert_eq!(of(&["printf", "a\\nb"]).await, "a b");
        assert!(of(&["false"]).await.starts_with("error: exit status: 1"));
        assert!(of(&["/no/such/program"]).await.starts_with("error: /no/such/program:"));
        assert!(of(&[]).await.starts_with("error: "));
        assert_eq!(of(&["yes"]).await.len(), super::VALUE);
        assert_eq!(of(&["/usr/bin/env"]).await.split('=').next(), Some("PATH"));
    }

    #[tokio::test]
    async fn values_follow_their_commands() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("value");
        std::fs::write(&file, "one").expect("written");
        let command = CommandLabel {
            name: "value".to_owned(),
            argv: vec!["cat".to_owned(), file.display().to_string()],
            period: Duration::from_secs(1),
        };
        let fixed = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let stop = CancellationToken::new();
        let mut labels = watch(fixed, vec![command], &stop).await;
        let labelled = |value: &str| {
            Labels(BTreeMap::from([
                ("env".to_owned(), "prod".to_owned()),
                ("value".to_owned(), value.to_owned()),
            ]))
        };
        assert_eq!(*labels.borrow(), labelled("one"));
        std::fs::write(&file, "two").expect("written");
        labels.wait_for(|labels| *labels == labelled("two")).await.expect("the watch lives");
        stop.cancel();
    }
}
