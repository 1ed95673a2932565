//! Keys and certificates made by `ssh-keygen`, and a server of ours whose sessions are small programs in this process.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use russh::keys::ssh_key::Certificate;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use transport::ssh::server::{
    AcceptError, Attempt, Authenticator, Channel, Connection, Event, Handle, Rejection, Request,
    ServerConfig, accept,
};
use transport::ssh::{ExitSignal, HostCredentials, Negotiated, UserCredentials, relay};

/// A directory with a host CA, a user CA, another CA, a certified host key and a certified user.
pub struct Pki {
    dir: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().expect("a directory") };
        for ca in ["host_ca", "user_ca", "other_ca"] {
            pki.keygen(&["-q", "-t", "ed25519", "-N", "", "-C", ca, "-f", ca]);
        }
        pki.certify_host("host", "host_ca", "localhost,127.0.0.1");
        pki.certify_user("user", "user_ca", "alice,root");
        let authority = std::fs::read_to_string(pki.path("host_ca.pub")).expect("the CA");
        std::fs::write(pki.path("known_hosts"), format!("@cert-authority * {authority}")).expect("written");
        pki
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file of the fixture")
    }

    pub fn keygen(&self, args: &[&str]) {
        let output =
            Command::new("ssh-keygen").args(args).current_dir(self.dir.path()).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn certify_host(&self, name: &str, ca: &str, names: &str) {
        self.keygen(&["-q", "-t", "ecdsa", "-m", "PKCS8", "-N", "", "-f", name]);
        self.keygen(&[
            "-q",
            "-s",
            ca,
            "-h",
            "-I",
            "host",
            "-n",
            names,
            "-V",
            "-1m:+1h",
            &format!("{name}.pub"),
        ]);
    }

    pub fn certify_user(&self, name: &str, ca: &str, principals: &str) {
        self.keygen(&["-q", "-t", "ecdsa", "-m", "PKCS8", "-N", "", "-f", name]);
        self.keygen(&["-q", "-s", ca, "-I", name, "-n", principals, "-V", "-1m:+1h", &format!("{name}.pub")]);
    }

    pub fn host(&self, name: &str) -> HostCredentials {
        HostCredentials::new(&self.read(name), &self.read(&format!("{name}-cert.pub"))).expect("a pair")
    }

    pub fn user(&self, name: &str) -> UserCredentials {
        UserCredentials::new(&self.read(name), &self.read(&format!("{name}-cert.pub"))).expect("a pair")
    }

    /// `ssh` as `user`, with nothing from the machine's configuration.
    pub fn ssh(&self, server: SocketAddr, user: &str) -> Command {
        self.ssh_as(server, user, "alice")
    }

    /// `ssh` as `user` to the account `login`.
    pub fn ssh_as(&self, server: SocketAddr, user: &str, login: &str) -> Command {
        let mut ssh = Command::new("ssh");
        self.options(&mut ssh, server, user);
        ssh.args(["-l", login]);
        ssh
    }

    fn options(&self, command: &mut Command, server: SocketAddr, user: &str) {
        let path = |name: &str| self.path(name).display().to_string();
        command
            .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=INFO"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", path("known_hosts")))
            .arg("-o")
            .arg(format!("Port={}", server.port()))
            .arg("-i")
            .arg(path(user))
            .stdin(Stdio::null());
        if Path::new(&path(&format!("{user}-cert.pub"))).exists() {
            command.arg("-o").arg(format!("CertificateFile={}", path(&format!("{user}-cert.pub"))));
        }
    }
}

/// Runs a command on a thread of its own.
pub async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("joins")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Accepts certificates of one CA; `mallory` is told that he may not.
pub struct OneAuthority(pub String);

impl Authenticator for OneAuthority {
    type Grant = String;

    async fn authenticate(&self, attempt: &Attempt) -> Result<String, Rejection> {
        let offer = attempt.verify()?;
        let certificate = Certificate::from_bytes(offer.certificate.blob()).expect("the engine read it");
        let authority = russh::keys::ssh_key::PublicKey::from_openssh(&self.0).expect("a CA");
        if certificate.signature_key() != authority.key_data() {
            return Err(Rejection::untold("untrusted_ca"));
        }
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        if !(certificate.valid_after()..certificate.valid_before()).contains(&now) {
            return Err(Rejection::untold("expired"));
        }
        if offer.login == "mallory" {
            return Err(Rejection::told("login \"mallory\" is not allowed (no_grant)"));
        }
        if !certificate.valid_principals().contains(&offer.login) {
            return Err(Rejection::untold("login"));
        }
        Ok(offer.login)
    }
}

/// A server on a free port of the loopback interface.
pub struct Server {
    pub address: SocketAddr,
    /// Connections and refusals, as they come.
    pub accepted: mpsc::UnboundedReceiver<Result<(Handle, Negotiated), AcceptError>>,
    pub host: watch::Sender<Arc<HostCredentials>>,
}

impl Server {
    pub async fn start(pki: &Pki) -> Self {
        Self::start_with(pki, |_| {}).await
    }

    pub async fn start_with(pki: &Pki, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let (host, source) = watch::channel(Arc::new(pki.host("host")));
        let mut config = ServerConfig::new(source);
        change(&mut config);
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, accepted) = mpsc::unbounded_channel();
        let authority = pki.read("user_ca.pub");
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                stream.set_nodelay(true).expect("an option");
                let (config, tell) = (Arc::clone(&config), tell.clone());
                let authenticator = OneAuthority(authority.clone());
                tokio::spawn(async move {
                    match accept(stream, config, peer, authenticator).await {
                        Ok(connection) => {
                            let _ = tell.send(Ok((connection.handle.clone(), connection.negotiated)));
                            serve(connection).await;
                        }
                        Err(error) => drop(tell.send(Err(error))),
                    }
                });
            }
        });
        Self { address, accepted, host }
    }

    pub async fn refusal(&mut self) -> AcceptError {
        loop {
            if let Err(error) = self.accepted.recv().await.expect("the server lives") {
                return error;
            }
        }
    }

    pub async fn connection(&mut self) -> Handle {
        self.connected().await.0
    }

    /// What the next connection agreed on.
    pub async fn negotiated(&mut self) -> Negotiated {
        self.connected().await.1
    }

    async fn connected(&mut self) -> (Handle, Negotiated) {
        loop {
            if let Ok(connected) = self.accepted.recv().await.expect("the server lives") {
                return connected;
            }
        }
    }
}

async fn serve(connection: Connection<String>) {
    let Connection { handle, mut events, .. } = connection;
    while let Some(event) = events.next().await {
        match event {
            Event::Session(open) => drop(tokio::spawn(async move { session(open.accept().await).await })),
            Event::DirectTcpip { host, port, open, .. } => drop(tokio::spawn(async move {
                use transport::ssh::server::OpenRefusal::{ConnectFailed, Prohibited};
                if host == "forbidden" {
                    return open.reject(Prohibited, "not there").await;
                }
                match tokio::net::TcpStream::connect((host, port)).await {
                    Ok(stream) => {
                        let channel = open.accept().await;
                        relay(channel.reader, channel.writer, stream).await;
                    }
                    Err(error) => open.reject(ConnectFailed, &error.to_string()).await,
                }
            })),
            Event::TcpipForward { address, port, reply } => {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
                reply.accept(listener.local_addr().expect("an address").port());
                tokio::spawn(forward(handle.clone(), listener, address));
            }
            Event::CancelTcpipForward { reply, .. } | Event::CancelStreamlocalForward { reply, .. } => {
                reply.refuse();
            }
            Event::DirectStreamlocal { path, open } => drop(tokio::spawn(async move {
                let path = std::str::from_utf8(&path).expect("text");
                let stream = tokio::net::UnixStream::connect(path).await.expect("a socket");
                let channel = open.accept().await;
                relay(channel.reader, channel.writer, stream).await;
            })),
            Event::StreamlocalForward { path, reply } => {
                let listener = UnixListener::bind(std::str::from_utf8(&path).expect("text")).expect("free");
                reply.accept();
                let handle = handle.clone();
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        let (reader, writer) =
                            handle.open_forwarded_streamlocal(&path).await.expect("a channel");
                        tokio::spawn(async move { relay(reader, writer, stream).await });
                    }
                });
            }
        }
    }
}

async fn forward(handle: Handle, listener: TcpListener, address: String) {
    let port = listener.local_addr().expect("an address").port();
    while let Ok((stream, peer)) = listener.accept().await {
        let origin =
            transport::ssh::server::Origin { address: peer.ip().to_string(), port: peer.port().into() };
        let (reader, writer) = handle.open_forwarded((&address, port), origin).await.expect("a channel");
        tokio::spawn(async move { relay(reader, writer, stream).await });
    }
}

/// Takes requests until something is to be run, then runs it and goes on taking requests.
async fn session(mut channel: Channel) {
    let mut seen: Vec<String> = Vec::new();
    let command = loop {
        match channel.requests.next().await {
            Some(Request::Exec { command, reply }) => {
                reply.accept();
                break text(&command);
            }
            Some(Request::Shell(reply)) => {
                reply.accept();
                break "shell".to_owned();
            }
            Some(Request::Subsystem { reply, .. }) => reply.refuse(),
            Some(Request::Pty { pty, reply }) => {
                seen.push(format!("pty {} {:?}", pty.term, pty.modes));
                reply.accept();
            }
            Some(Request::Env { name, value, reply }) => {
                seen.push(format!("{name}={value}"));
                reply.accept();
            }
            Some(other) => seen.push(format!("{other:?}")),
            None => return,
        }
    };
    let writer = channel.writer.clone();
    let (signals, mut signal) = mpsc::unbounded_channel();
    let mut requests = channel.requests;
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Request::Signal(name) = request {
                let _ = signals.send(name);
            }
        }
    });
    let mut words = command.split(' ');
    let (verb, number) =
        (words.next().unwrap_or_default(), words.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0));
    let mut status = 0;
    match verb {
        "exit" => status = number,
        "both" => {
            writer.data(Bytes::from_static(b"out")).await.expect("open");
            writer.stderr(Bytes::from_static(b"err")).await.expect("open");
        }
        "cat" => {
            while let Some(data) = channel.reader.data().await {
                writer.data(data).await.expect("open");
            }
        }
        "count" => {
            let mut total = 0;
            while let Some(data) = channel.reader.data().await {
                total += data.len();
            }
            writer.data(total.to_string().into()).await.expect("open");
        }
        "zeros" => {
            for _ in 0..number / (64 << 10) {
                writer.data(vec![0; 64 << 10].into()).await.expect("open");
            }
        }
        // Says so much before it reads what is said to it.
        "late" => {
            for _ in 0..number / (64 << 10) {
                writer.data(vec![0; 64 << 10].into()).await.expect("open");
            }
            while let Some(data) = channel.reader.data().await {
                writer.data(data).await.expect("open");
            }
        }
        // Never reads its input.
        "deaf" => drop(signal.recv().await),
        "killed" => {
            let signal = ExitSignal { name: "KILL".to_owned(), core_dumped: false, message: String::new() };
            writer.exit_signal(signal).await.expect("open");
            return writer.close().await;
        }
        "seen" => writer.data(seen.join(";").into()).await.expect("open"),
        "signal" => {
            writer.data(Bytes::from_static(b"ready")).await.expect("open");
            let name = signal.recv().await.expect("a signal");
            writer.data(name.into()).await.expect("open");
        }
        _ => status = 127,
    }
    let _ = writer.eof().await;
    let _ = writer.exit_status(status).await;
    writer.close().await;
}
