//! Bytes from one side to the other and back, until both are done or somebody says stop.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Held for each direction of each relay, so an idle one stays small.
const BUFFER: usize = 16 * 1024;

/// How a relay ended.
#[derive(Debug)]
pub enum Ending<Why> {
    /// Both sides closed.
    Done {
        /// Bytes from the first side to the second.
        forth: u64,
        /// Bytes from the second side to the first.
        back: u64,
    },
    /// A side failed; the other was closed.
    Broken(io::Error),
    /// It was told to stop.
    Cut(Why),
}

/// Relays between `near` and `far`. The end of one direction is passed on as such and the other goes on
/// (half-close). When `cut` resolves, both sides are dropped at once. Never holds more than one buffer a direction.
pub async fn relay<Near, Far, Why>(
    mut near: Near,
    mut far: Far,
    cut: impl Future<Output = Why>,
) -> Ending<Why>
where
    Near: AsyncRead + AsyncWrite + Unpin,
    Far: AsyncRead + AsyncWrite + Unpin,
{
    let both = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER);
    tokio::select! {
        biased;
        why = cut => Ending::Cut(why),
        ended = both => match ended {
            Ok((forth, back)) => Ending::Done { forth, back },
            Err(error) => {
                let _ = near.shutdown().await;
                let _ = far.shutdown().await;
                Ending::Broken(error)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, relay};
    use std::future::pending;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn half_close_lets_the_other_direction_finish() {
        let (mut client, near) = duplex(64);
        let (mut server, far) = duplex(64);
        let relaying = tokio::spawn(relay(near, far, pending::<()>()));
        client.write_all(b"question").await.expect("written");
        client.shutdown().await.expect("half closed");
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.expect("read to the end");
        assert_eq!(asked, "question");
        server.write_all(b"a long answer after the end of the question").await.expect("written");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read to the end");
        assert_eq!(answer, "a long answer after the end of the question");
        let Ending::Done { forth, back } = relaying.await.expect("joins") else { panic!("not done") };
        assert_eq!((forth, back), (8, answer.len() as u64));
    }

    #[tokio::test]
    async fn a_cut_closes_both_sides() {
        let (mut client, near) = duplex(64);
        let (mut server, far) = duplex(64);
        let (cut, told) = tokio::sync::oneshot::channel();
        let relaying = tokio::spawn(relay(near, far, async { told.await.expect("told") }));
        client.write_all(b"x").await.expect("written");
        server.read_u8().await.expect("relayed");
        cut.send("locked").expect("listens");
        assert!(matches!(relaying.await.expect("joins"), Ending::Cut("locked")));
        assert_eq!(client.read(&mut [0; 1]).await.expect("end"), 0);
        assert_eq!(server.read(&mut [0; 1]).await.expect("end"), 0);
    }
}
