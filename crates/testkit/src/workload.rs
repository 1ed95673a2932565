//! Workloads that ask an agent's Workload API for what they are, with the library that SPIFFE's users have.

use crate::process::run;
use crate::programs::{command, theirs};
use crate::wait::until;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Whether there can be any; says so when not.
pub fn possible() -> bool {
    python().is_some()
}

/// A Python that has the libraries of the tests.
pub fn python() -> Option<PathBuf> {
    Some(theirs("fab")?.with_file_name("python3"))
}

/// Asks the socket as a workload of this user.
pub fn ask(socket: &Path, what: &str, user: Option<u32>) -> Value {
    let said = run(&mut asking(socket, what, user));
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

fn asking(socket: &Path, what: &str, user: Option<u32>) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/workload.py");
    let mut task = json!({"socket": socket, "do": what});
    if let Some(user) = user {
        (task["uid"], task["gid"]) = (user.into(), user.into());
    }
    let mut command = command(python().expect("looked for before"));
    command.arg(script).arg(task.to_string());
    command
}

/// A workload that goes on until this value is dropped.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    told: Receiver<Value>,
}

impl Workload {
    /// Starts one of this user.
    pub fn start(socket: &Path, what: &str, user: Option<u32>) -> Self {
        let mut command = asking(socket, what, user);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a Python that starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (say, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if say.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, told }
    }

    /// The first of what it says from now on that fits.
    pub fn says(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(what, || {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                panic!("the workload ended with {status} before {what}");
            }
            self.told.try_iter().find(&fits)
        })
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
