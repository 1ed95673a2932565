//! The two messages before the SSH bytes of an SSH transport: each preceded by its length as a big-endian u32.

use std::io;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message, as `dial.proto` says.
const LONGEST: usize = 64 * 1024;

/// Reads one message. The memory for it grows with what arrives, not with what is announced.
pub async fn read<M: Message + Default>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(invalid("the message is longer than 64 KiB"));
    }
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    M::decode(&bytes[..]).map_err(|_| invalid("the message is malformed"))
}

/// Writes one message, as one write.
pub async fn write<M: Message>(stream: &mut (impl AsyncWrite + Unpin), message: &M) -> io::Result<()> {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    if length as usize > LONGEST {
        return Err(invalid("the message is longer than 64 KiB"));
    }
    let mut bytes = length.to_be_bytes().to_vec();
    message.encode(&mut bytes).map_err(|_| invalid("the message cannot be encoded"))?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use api::v1::DialRequest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_message_goes_through_and_what_follows_stays() {
        let request =
            DialRequest { host: "web-1".into(), port: 22, cluster: String::new(), login: "root".into() };
        let mut wire = Vec::new();
        write(&mut wire, &request).await.expect("written");
        wire.write_all(b"SSH-2.0-x\r\n").await.expect("written");
        let mut reader = &wire[..];
        assert_eq!(read::<DialRequest>(&mut reader).await.expect("read"), request);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await.expect("the rest");
        assert_eq!(rest, "SSH-2.0-x\r\n");
    }

    #[tokio::test]
    async fn refuses_what_is_too_long_cut_short_or_malformed() {
        for wire in
            [&b"\0\x01\0\x01"[..], b"\xff\xff\xff\xff", b"\0\0\0\x05abc", b"\0\0", b"\0\0\0\x02\xff\xff"]
        {
            assert!(read::<DialRequest>(&mut { wire }).await.is_err(), "{wire:?}");
        }
        let request = DialRequest { host: "x".repeat(70_000), ..DialRequest::default() };
        assert!(write(&mut Vec::new(), &request).await.is_err());
    }
}
