//! Peers that are programs: started with a deadline, gone with the test.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// More than any of them needs; only a hang takes longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What `work` gives, within the deadline.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} hangs: not done in {DEADLINE:?}"))
}

/// Runs a program to its end with this input.
pub async fn run(command: impl Into<Command>, input: &[u8]) -> Output {
    let mut command = command.into();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let what = format!("{:?}", command.as_std());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{what}: {error}; scripts/test-tools installs it"));
    let (mut pipe, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    // A program is free not to read.
    tokio::spawn(async move { pipe.write_all(&input).await.ok() });
    within(&what, child.wait_with_output()).await.expect("ends")
}

/// One of the scripts beside this file with its task, in the environment that `scripts/test-tools` makes.
fn script(name: &str, task: &Value) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../.venv/bin/python");
    let module = name.split('_').next().expect("never empty");
    let library = format!("../../.venv/lib/python3*/site-packages/{module}");
    assert!(
        python.exists() && installed(&here.join("../../.venv/lib"), module),
        "{library} is missing; scripts/test-tools installs it"
    );
    let mut command = Command::new(python);
    command.arg(here.join("tests/interop").join(name)).arg(task.to_string());
    command
}

fn installed(libraries: &Path, module: &str) -> bool {
    let versions = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("site-packages").join(module))
        .any(|path: PathBuf| path.exists())
}

/// What a client that is a script saw.
pub async fn client(name: &str, task: &Value) -> Value {
    let output = run(script(name, task), b"").await;
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(said.trim())
        .unwrap_or_else(|_| panic!("{name} {task}: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A server that is a script.
pub struct Server {
    name: String,
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub port: u16,
}

impl Server {
    pub async fn start(name: &str, task: &Value) -> Self {
        let mut command = script(name, task);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut server = Self { name: name.to_owned(), _child: child, lines, port: 0 };
        let port = server.says("port").await;
        server.port = u16::try_from(port).expect("a port");
        server
    }

    /// The number of this name on the next line.
    pub async fn says(&mut self, what: &str) -> u64 {
        let line = within(&self.name, self.lines.next_line()).await.expect("text");
        let line = line.unwrap_or_else(|| panic!("{} ended before it said its {what}", self.name));
        let said: Value = serde_json::from_str(&line).expect("JSON");
        said[what].as_u64().unwrap_or_else(|| panic!("{}: no {what} in {line}", self.name))
    }
}
