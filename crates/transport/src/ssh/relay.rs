//! Joins a channel and a byte stream: what forwarding is made of.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::channel::{Reader, Writer};

/// How much is read at once; one channel packet.
const CHUNK: usize = 32 << 10;
/// How long a stream may take for what a closed channel left to it.
const LINGER: Duration = Duration::from_secs(10);

/// What went through a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the channel to the stream.
    pub from_channel: u64,
    /// Bytes from the stream to the channel.
    pub to_channel: u64,
}

/// Copies both ways until both directions have ended or either side is gone, then closes the channel.
///
/// An end in one direction is passed on as such (end of file, shutdown), so half-closed protocols work.
pub async fn relay<IO>(mut reader: Reader, writer: Writer, io: IO) -> Relayed
where
    IO: AsyncRead + AsyncWrite + Send,
{
    let (mut source, mut sink) = tokio::io::split(io);
    let mut done = Relayed::default();
    let Relayed { from_channel, to_channel } = &mut done;
    let inward = async {
        while let Some(data) = reader.data().await {
            sink.write_all(&data).await?;
            *from_channel += data.len() as u64;
        }
        sink.shutdown().await
    };
    let outward = async {
        while let Some(data) = chunk(&mut source).await {
            let length = data.len() as u64;
            if writer.data(data).await.is_err() {
                return;
            }
            *to_channel += length;
        }
        let _ = writer.eof().await;
    };
    both(inward, outward, &writer).await;
    writer.close().await;
    done
}

/// Waits for both directions; a stream that takes no more and a channel that is closed end the other one too.
async fn both(
    inward: impl Future<Output = std::io::Result<()>>,
    outward: impl Future<Output = ()>,
    writer: &Writer,
) {
    tokio::pin!(inward, outward);
    let (mut inward_done, mut outward_done) = (false, false);
    while !(inward_done && outward_done) {
        tokio::select! {
            ended = &mut inward, if !inward_done => match ended {
                Ok(()) => inward_done = true,
                Err(_) => return,
            },
            () = &mut outward, if !outward_done => outward_done = true,
            () = writer.closed() => {
                if !inward_done {
                    let _ = tokio::time::timeout(LINGER, inward).await;
                }
                return;
            }
        }
    }
}

async fn chunk<R: AsyncRead + Unpin>(source: &mut R) -> Option<Bytes> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    match source.read_buf(&mut buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(buffer.freeze()),
    }
}
