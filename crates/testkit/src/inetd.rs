//! A port of the loopback interface behind which each connection gets a process of its own, as inetd does it.
//!
//! The port is one that the system chose, and it is open for as long as this lives, so nobody can take it in between.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The listener and its processes; both end when dropped.
#[derive(Debug)]
pub struct Inetd {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    children: Arc<Mutex<Vec<Child>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Inetd {
    /// Listens; each connection becomes standard input and output of what `program` makes.
    pub fn start(program: impl Fn() -> Command + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, children) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Child>>>::default());
        let accepting = {
            let (stop, children) = (Arc::clone(&stop), Arc::clone(&children));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let child = serve(stream.expect("a connection"), program());
                    children.lock().expect("not poisoned").push(child);
                }
            })
        };
        Self { address, stop, children, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(stream: TcpStream, mut program: Command) -> Child {
    // A program that takes it for a pipe knows nothing of Nagle.
    stream.set_nodelay(true).expect("a connection");
    let output = stream.try_clone().expect("a second handle");
    program.stdin(Stdio::from(OwnedFd::from(stream))).stdout(Stdio::from(OwnedFd::from(output)));
    program.stderr(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{program:?}: {error}"))
}

impl Drop for Inetd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // So that it looks.
        TcpStream::connect(self.address).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
        for child in self.children.lock().expect("not poisoned").iter_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
