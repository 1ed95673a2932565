//! X servers: a real one, and one that only says that it was reached.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use node::{Config, Displays};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Pki;

/// X11 forwarding, with displays that nothing else on the machine uses.
pub fn on(config: &mut Config) {
    config.x11 = Some(Displays { offset: 300, most: 1300 });
}

/// Xvfb for one test.
pub struct Screen {
    child: Child,
    number: String,
    authority: PathBuf,
}

impl Screen {
    pub fn start(pki: &Pki) -> Self {
        const COOKIE: &str = "00112233445566778899aabbccddeeff";
        let authority = pki.path("authority");
        let entry = |display: &str| {
            let mut xauth = Command::new("xauth");
            xauth.arg("-q").arg("-f").arg(&authority).args(["add", display, ".", COOKIE]);
            assert!(xauth.stderr(Stdio::null()).status().expect("xauth runs").success());
        };
        // The server takes any entry's cookie; which number it will have is not known yet.
        entry(":0");
        let mut xvfb = Command::new("Xvfb");
        xvfb.args(["-displayfd", "1", "-screen", "0", "320x200x8", "-nolisten", "tcp", "-auth"]);
        let mut child =
            xvfb.arg(&authority).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Xvfb runs");
        let mut number = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut number).expect("its number");
        let number = format!(":{}", number.trim());
        entry(&number);
        Self { child, number, authority }
    }

    /// Lets a client of X11 use it.
    pub fn give(&self, command: &mut Command) {
        command.env("DISPLAY", &self.number).env("XAUTHORITY", &self.authority);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What reached a display that is none.
pub type Reached = Arc<Mutex<Vec<Vec<u8>>>>;

/// Something at a display's port on the client's side: its name for `DISPLAY`, and what reached it. It answers with what
/// it was sent.
pub async fn recording() -> (String, Reached) {
    let reached = Reached::default();
    for number in 2000_u16..3000 {
        let Ok(listener) = TcpListener::bind(("127.0.0.1", 6000 + number)).await else { continue };
        let seen = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        seen.lock().expect("a lock").push(buffer[..count].to_vec());
                        let _ = stream.write_all(&buffer[..count]).await;
                    }
                });
            }
        });
        return (format!("127.0.0.1:{number}"), reached);
    }
    panic!("no free port for a display");
}
