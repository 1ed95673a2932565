//! A server whose every directory holds one entry of its choice, and whose files answer with too much.

use super::super::super::sftp::{Attributes, Sftp};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Starts it and greets it. Every directory lists `name` with `attributes`, once for each time it is opened.
pub(super) async fn start(name: &[u8], attributes: Attributes) -> Sftp {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(serve(far, name.to_vec(), attributes));
    Sftp::start(near).await.expect("greets")
}

async fn serve(mut stream: DuplexStream, name: Vec<u8>, attributes: Attributes) {
    let mut listed = false;
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.expect("a whole request");
        let mut answer = match request[0] {
            1 => vec![2, 0, 0, 0, 3],
            // Stat: a directory, or what it lists when asked about that.
            17 => {
                reply(105, &request, &encoded(Attributes { mode: Some(0o040_755), ..Attributes::default() }))
            }
            3 => reply(102, &request, &string(b"file")),
            11 => {
                listed = false;
                reply(102, &request, &string(b"directory"))
            }
            12 if listed => reply(101, &request, &[0, 0, 0, 1]),
            12 => {
                listed = true;
                let entry = [&[0, 0, 0, 1][..], &string(&name), &string(b""), &encoded(attributes)].concat();
                reply(104, &request, &entry)
            }
            5 => reply(103, &request, &string(&[0; 40_000])),
            _ => reply(101, &request, &[0; 4]),
        };
        let mut packet = u32::try_from(answer.len()).expect("short").to_be_bytes().to_vec();
        packet.append(&mut answer);
        if stream.write_all(&packet).await.is_err() {
            return;
        }
    }
}

/// An answer to `request`, with its number.
fn reply(kind: u8, request: &[u8], rest: &[u8]) -> Vec<u8> {
    [&[kind][..], &request[1..5], rest].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat()
}

fn encoded(attributes: Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    let flags = if attributes.size.is_some() { 1 } else { 0 } | if attributes.mode.is_some() { 4 } else { 0 };
    bytes.extend_from_slice(&u32::to_be_bytes(flags));
    bytes.extend(attributes.size.map(u64::to_be_bytes).into_iter().flatten());
    bytes.extend(attributes.mode.map(u32::to_be_bytes).into_iter().flatten());
    bytes
}
