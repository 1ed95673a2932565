//! One direction of a proxied connection: as much as is there is gathered, then written at once.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Held for each direction.
const BUFFER: usize = 256 * 1024;

/// Carries bytes until the source has ended and the sink has everything; telling the sink so is the caller's. Holds at most one buffer: a sink that does not take
/// any more stops the reading.
pub async fn pump(source: impl AsyncRead, sink: impl AsyncWrite) -> io::Result<()> {
    let (mut source, mut sink) = (pin!(source), pin!(sink));
    let mut pump = Pump { buffer: vec![0; BUFFER].into_boxed_slice(), taken: 0, filled: 0, ended: false };
    std::future::poll_fn(|cx| pump.poll(cx, source.as_mut(), sink.as_mut())).await
}

struct Pump {
    buffer: Box<[u8]>,
    /// Written up to here.
    taken: usize,
    /// Read up to here.
    filled: usize,
    ended: bool,
}

impl Pump {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Pin<&mut impl AsyncRead>,
        mut sink: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        loop {
            let dry = self.gather(cx, source.as_mut())?;
            while self.taken < self.filled {
                let waiting = &self.buffer[self.taken..self.filled];
                self.taken += match ready!(sink.as_mut().poll_write(cx, waiting))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => count,
                };
            }
            (self.taken, self.filled) = (0, 0);
            if dry || self.ended {
                // TLS holds back what the socket did not take.
                ready!(sink.as_mut().poll_flush(cx))?;
                return if self.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    /// Reads until the buffer is full or the source has nothing now, which it says by `true`: it will wake us.
    fn gather(&mut self, cx: &mut Context<'_>, mut source: Pin<&mut impl AsyncRead>) -> io::Result<bool> {
        while !self.ended && self.filled < self.buffer.len() {
            let mut room = ReadBuf::new(&mut self.buffer[self.filled..]);
            match source.as_mut().poll_read(cx, &mut room) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) => match room.filled().len() {
                    0 => self.ended = true,
                    count => self.filled += count,
                },
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFER, pump};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_then_the_end() {
        for length in [0, 1, BUFFER - 1, BUFFER, 3 * BUFFER + 17] {
            let (mut writer, source) = duplex(70_000);
            let (sink, mut reader) = duplex(1000);
            let sent = pattern(length);
            let copy = sent.clone();
            let writing = tokio::spawn(async move {
                writer.write_all(&copy).await.expect("taken");
            });
            let pumping = tokio::spawn(pump(source, sink));
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.expect("read to the end");
            assert!(received == sent, "{length}");
            writing.await.expect("joins");
            pumping.await.expect("joins").expect("done");
        }
    }

    #[tokio::test]
    async fn a_byte_does_not_wait_for_more() {
        let (mut writer, source) = duplex(16);
        let (sink, mut reader) = duplex(16);
        let _pumping = tokio::spawn(pump(source, sink));
        for byte in 0..3 {
            writer.write_u8(byte).await.expect("taken");
            assert_eq!(reader.read_u8().await.expect("passed on"), byte);
        }
    }

    #[tokio::test]
    async fn a_sink_that_takes_nothing_stops_the_reading() {
        let (mut writer, source) = duplex(1024);
        let (sink, _reader) = duplex(1024);
        let pumping = tokio::spawn(pump(source, sink));
        let sent = pattern(4 * BUFFER);
        let mut taken = 0;
        // On one thread: when the writer is not served after a turn of everybody else, nobody reads any more.
        while let Ok(count) =
            tokio::time::timeout(std::time::Duration::from_millis(200), writer.write(&sent)).await
        {
            taken += count.expect("open");
        }
        assert!(taken <= BUFFER + 2 * 1024, "{taken}");
        assert!(!pumping.is_finished());
    }

    #[tokio::test]
    async fn a_sink_that_is_gone_is_an_error() {
        let (mut writer, source) = duplex(16);
        let (sink, reader) = duplex(16);
        drop(reader);
        writer.write_u8(1).await.expect("taken");
        assert!(pump(source, sink).await.is_err());
    }
}
