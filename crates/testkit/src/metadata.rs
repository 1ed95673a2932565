//! A server for metadata, as platforms offer one to their machines: plain HTTP with the answers that a test gives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked: method and path, then the headers, all in lower case.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Such as `put /latest/api/token`.
    pub line: String,
    /// By name.
    pub headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A running server; it ends with the test.
pub struct Metadata {
    /// `127.0.0.1:port`.
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Metadata {
    /// Serves what `answer` gives; 404 where that is nothing.
    pub fn serve<B: AsRef<[u8]>>(answer: impl Fn(&Asked) -> Option<B> + Send + 'static) -> Self {
        Self::serve_at("127.0.0.1:0", answer)
    }

    /// The same where programs look for it, which takes a network of one's own.
    pub fn serve_at<B: AsRef<[u8]>>(
        address: &str,
        answer: impl Fn(&Asked) -> Option<B> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("binds");
        let host = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(vec![]));
        let all = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(question) = respond(stream, &answer) {
                    all.lock().expect("no test failed while it asked").push(question);
                }
            }
        });
        Self { host, asked }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test failed while it asked").clone()
    }
}

fn respond<B: AsRef<[u8]>>(stream: TcpStream, answer: &impl Fn(&Asked) -> Option<B>) -> Option<Asked> {
    let mut reader = BufReader::new(stream.try_clone().ok()?.take(64 * 1024));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (line, _) = line.rsplit_once(' ')?;
    let (method, path) = line.split_once(' ')?;
    let mut headers = vec![];
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let asked = Asked { line: format!("{} {path}", method.to_lowercase()), headers };
    let body = answer(&asked);
    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
    let body = body.as_ref().map_or(&[][..], AsRef::as_ref);
    let mut stream = stream;
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    Some(asked)
}
