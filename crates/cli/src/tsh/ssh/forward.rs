//! `-L [bind:]port:host:hostport`: connections to a port here come out of the remote host.

use crate::Failure;
use crate::console::Console;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use transport::ssh::client::Client;
use transport::ssh::relay;

/// Connections through one forwarded port at once; more wait.
const AT_ONCE: usize = 64;

/// One forwarded port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalForward {
    bind: String,
    port: u16,
    host: String,
    host_port: u16,
}

impl FromStr for LocalForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not [bind:]port:host:hostport; write IPv6 addresses in brackets");
        let fields = fields(text).ok_or_else(wrong)?;
        let (bind, rest) = match fields.as_slice() {
            [_, _, _] => ("127.0.0.1", &fields[..]),
            [bind, rest @ ..] if rest.len() == 3 => (*bind, rest),
            _ => return Err(wrong()),
        };
        let [port, host, host_port] = rest else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let bind = match bind {
            "" | "*" => "0.0.0.0",
            "localhost" => "127.0.0.1",
            bind => bind,
        };
        let plain = |text: &str| access::HostPort::new(text, 0).map(|address| address.host().to_owned());
        Ok(Self {
            bind: plain(bind).map_err(|_| wrong())?,
            port: number(port)?,
            host: plain(host).map_err(|_| wrong())?,
            host_port: number(host_port).ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        })
    }
}

/// Splits at colons outside of brackets.
fn fields(mut text: &str) -> Option<Vec<&str>> {
    let mut fields = Vec::new();
    loop {
        let (field, rest) = match text.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        fields.push(field);
        match rest.strip_prefix(':') {
            Some(next) => text = next,
            None => return rest.is_empty().then_some(fields),
        }
    }
}

impl LocalForward {
    /// Listens from now on, for as long as the connection lives.
    pub(super) async fn listen(&self, client: Client) -> Result<(), Failure> {
        let address = format!("{}:{}", self.bind, self.port);
        let listener = TcpListener::bind((self.bind.as_str(), self.port)).await.map_err(|error| {
            Failure::new(format!("cannot listen on {address}: {error}")).hint("give another port to -L")
        })?;
        if self.port == 0
            && let Ok(bound) = listener.local_addr()
        {
            Console::of_process().remark(format!("forwarding {bound} to {}:{}", self.host, self.host_port));
        }
        tokio::spawn(self.clone().accept(listener, client));
        Ok(())
    }

    async fn accept(self, listener: TcpListener, client: Client) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, origin)) => {
                    let (forward, client) = (self.clone(), client.clone());
                    tokio::spawn(async move {
                        forward.carry(stream, origin, client).await;
                        drop(place);
                    });
                }
                // Out of descriptors, most likely; the next connection may find some.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }

    async fn carry(&self, stream: TcpStream, origin: SocketAddr, client: Client) {
        let _ = stream.set_nodelay(true);
        let from = origin.ip().to_string();
        match client.direct_tcpip(&self.host, self.host_port, (&from, origin.port())).await {
            Ok((reader, writer)) => {
                relay(reader, writer, stream).await;
            }
            Err(error) => {
                let to = format!("{}:{}", self.host, self.host_port);
                Console::of_process().remark(format!("cannot forward to {to}: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LocalForward;

    #[test]
    fn reads_what_ssh_reads() {
        for (text, bind, port, host, host_port) in [
            ("8080:db:5432", "127.0.0.1", 8080, "db", 5432),
            ("localhost:1:h:2", "127.0.0.1", 1, "h", 2),
            ("*:1:h:2", "0.0.0.0", 1, "h", 2),
            (":1:h:2", "0.0.0.0", 1, "h", 2),
            ("[::1]:1:[2001:db8::1]:2", "::1", 1, "2001:db8::1", 2),
            ("0:h:2", "127.0.0.1", 0, "h", 2),
        ] {
            let forward: LocalForward = text.parse().unwrap_or_else(|error| panic!("{error}"));
            let read = (forward.bind.as_str(), forward.port, forward.host.as_str(), forward.host_port);
            assert_eq!(read, (bind, port, host, host_port), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_forward() {
        for text in [
            "",
            "1",
            "1:h",
            "1:h:0",
            "x:h:2",
            "1:h:x",
            "1:-h:2",
            "a:b:1:h:2",
            "1:[::1:2",
            "1:h:99999",
            "1:h\n:2",
        ] {
            assert!(text.parse::<LocalForward>().is_err(), "{text:?}");
        }
    }
}
