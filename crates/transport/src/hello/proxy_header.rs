//! The PROXY protocol's header, versions 1 and 2 (HAProxy, `proxy-protocol.txt`, sections 2.1 and 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncRead;

use super::{HelloError, Rewind};

/// The longest line of version 1, its end included.
const LONGEST_V1: usize = 107;
const SIGNATURE_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses and TLVs of version 2; more than any load balancer writes.
const LONGEST_V2: usize = 2048;

/// Why a PROXY header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Version 1: the line does not end in time or is not of the form.
    #[error("version 1 line is malformed")]
    Line,
    /// Version 2: another version or an unknown command.
    #[error("version 2 header has an unknown version or command")]
    Command,
    /// Version 2: shorter than its addresses, or too long.
    #[error("version 2 header has a wrong length")]
    Length,
}

/// Takes the header off the stream and returns the client's address in it.
pub(super) async fn take<S: AsyncRead + Unpin>(
    stream: &mut Rewind<S>,
) -> Result<Option<SocketAddr>, HelloError> {
    // Both versions are longer than this.
    stream.fill_to(6).await?;
    if stream.buffered().starts_with(b"PROXY ") {
        return version_1(stream).await;
    }
    if SIGNATURE_V2.starts_with(&stream.buffered()[..6]) {
        stream.fill_to(16).await?;
        if stream.buffered().starts_with(SIGNATURE_V2) {
            return version_2(stream).await;
        }
    }
    Err(HelloError::NoProxyHeader)
}

async fn version_1<S: AsyncRead + Unpin>(stream: &mut Rewind<S>) -> Result<Option<SocketAddr>, HelloError> {
    loop {
        let seen = &stream.buffered()[..stream.buffered().len().min(LONGEST_V1)];
        if let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") {
            let source = line(&seen[..end])?;
            stream.discard(end + 2);
            return Ok(source);
        }
        if seen.len() == LONGEST_V1 {
            return Err(HeaderError::Line.into());
        }
        stream.fill_more(LONGEST_V1).await?;
    }
}

fn line(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, target, source_port, target_port] => {
            let ip = address(family, source)?;
            address(family, target)?;
            port(target_port)?;
            Ok(Some(SocketAddr::new(ip, port(source_port)?)))
        }
        _ => Err(HeaderError::Line),
    }
}

fn address(family: &str, text: &str) -> Result<IpAddr, HeaderError> {
    let parsed = match family {
        "TCP4" => text.parse().map(IpAddr::V4),
        _ => text.parse().map(IpAddr::V6),
    };
    parsed.map(|ip| ip.to_canonical()).map_err(|_| HeaderError::Line)
}

fn port(text: &str) -> Result<u16, HeaderError> {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().map_err(|_| HeaderError::Line),
        false => Err(HeaderError::Line),
    }
}

async fn version_2<S: AsyncRead + Unpin>(stream: &mut Rewind<S>) -> Result<Option<SocketAddr>, HelloError> {
    let header = stream.buffered();
    let (command, family) = (header[12], header[13]);
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > LONGEST_V2 {
        return Err(HeaderError::Length.into());
    }
    stream.fill_to(16 + length).await?;
    let source = match command {
        0x20 => None,
        0x21 => source_v2(family, &stream.buffered()[16..16 + length])?,
        _ => return Err(HeaderError::Command.into()),
    };
    stream.discard(16 + length);
    Ok(source)
}

fn source_v2(family: u8, body: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match family {
        0x11 => {
            let source: [u8; 4] = body.get(..4).and_then(|b| b.try_into().ok()).ok_or(HeaderError::Length)?;
            (body.len() >= 12).then_some(()).ok_or(HeaderError::Length)?;
            Ok(Some(SocketAddr::new(Ipv4Addr::from(source).into(), port(8))))
        }
        0x21 => {
            let source: [u8; 16] =
                body.get(..16).and_then(|b| b.try_into().ok()).ok_or(HeaderError::Length)?;
            (body.len() >= 36).then_some(()).ok_or(HeaderError::Length)?;
            Ok(Some(SocketAddr::new(IpAddr::from(Ipv6Addr::from(source)).to_canonical(), port(32))))
        }
        // Unix sockets, UDP and what may come: a client whose address cannot be told.
        _ => Ok(None),
    }
}
