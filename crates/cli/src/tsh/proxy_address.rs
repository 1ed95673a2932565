//! Where the proxy is: as given, or on one of the two usual ports.

use super::Global;
use crate::Failure;
use crate::connection::PROXY_PORT;
use access::HostPort;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Our default, then the port that gets through most firewalls.
pub(super) const PORTS: [u16; 2] = [PROXY_PORT, 443];
/// How much of a start the first port has.
const HEAD_START: Duration = Duration::from_millis(500);
/// After this long without a connection the first port is taken, for its error.
const PATIENCE: Duration = Duration::from_secs(10);

/// The proxy of `--proxy`. Without a port, the first usual one on which something listens.
pub async fn resolve(global: &Global) -> Result<HostPort, Failure> {
    let text = global.proxy.as_deref().filter(|text| !text.is_empty()).ok_or_else(|| {
        Failure::new("no proxy is given").hint("give --proxy HOST[:PORT], or set TELEPORT_PROXY")
    })?;
    let (first, second) = candidates(text)?;
    let Some(second) = second else { return Ok(first) };
    let chosen = choose(first, second).await;
    global.tell(|| format!("the proxy is {chosen}"));
    Ok(chosen)
}

/// One address, or two when no port was given.
fn candidates(text: &str) -> Result<(HostPort, Option<HostPort>), Failure> {
    let with = |port| {
        HostPort::parse(text, port).map_err(|error| {
            Failure::new(error.to_string()).hint("give --proxy HOST[:PORT] without a scheme")
        })
    };
    let (first, second) = (with(PORTS[0])?, with(PORTS[1])?);
    let no_port_given = first != second;
    Ok((first, no_port_given.then_some(second)))
}

async fn choose(first: HostPort, second: HostPort) -> HostPort {
    let race = async {
        let early = listens(&first);
        tokio::pin!(early);
        tokio::select! {
            answered = &mut early => return if answered || !listens(&second).await { &first } else { &second },
            () = sleep(HEAD_START) => {}
        }
        let late = listens(&second);
        tokio::pin!(late);
        tokio::select! {
            answered = &mut early => if answered || !late.await { &first } else { &second },
            answered = &mut late => if answered || !early.await { &second } else { &first },
        }
    };
    timeout(PATIENCE, race).await.unwrap_or(&first).clone()
}

async fn listens(address: &HostPort) -> bool {
    TcpStream::connect((address.host(), address.port())).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::{candidates, choose};
    use access::HostPort;

    #[test]
    fn a_port_is_taken_as_given() {
        for (text, first, second) in [
            ("p:1234", "p:1234", None),
            ("p:3080", "p:3080", None),
            ("p", "p:3080", Some("p:443")),
            ("::1", "[::1]:3080", Some("[::1]:443")),
            ("[::1]:9", "[::1]:9", None),
        ] {
            let (one, two) = candidates(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (one.to_string().as_str(), two.map(|two| two.to_string()).as_deref()),
                (first, second)
            );
        }
        for text in ["https://p", "-p", "p:x", "a b"] {
            assert!(candidates(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_port_on_which_something_listens_is_chosen() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open =
            HostPort::new("127.0.0.1", listener.local_addr().expect("bound").port()).expect("an address");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let closed =
            HostPort::new("127.0.0.1", free.local_addr().expect("bound").port()).expect("an address");
        drop(free);
        assert_eq!(choose(open.clone(), closed.clone()).await, open);
        assert_eq!(choose(closed, open.clone()).await, open);
    }
}
