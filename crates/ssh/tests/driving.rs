//! How the engine is driven, in the few lines that `docs/src/design/ssh-engine.md` shows: what is between the marks stands
//! there word for word.

mod support;

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use ssh::connection::{ChannelEvent, Connection, Event, GlobalAnswer, Inbound, Purpose, Request, Stream};
use ssh::keys::SigningKey;
use ssh::server::Proven;
use ssh::{OpenFailure, client, server};
use support::{Keys, Setup};

// <sketch>
/// Serves one client on a blocking stream: every command is answered with its own words.
fn serve(
    stream: &mut (impl Read + Write),
    config: Arc<server::Config>,
    host_key: &SigningKey,
    may_come_in: impl Fn(&Proven) -> bool,
) -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut handshake = server::Handshake::new(config);
    let connection = loop {
        // What is not taken is shown again, with what follows it.
        let taken = handshake.receive(&mut input)?;
        input.drain(..taken);
        let mut admitted = None;
        while let Some(event) = handshake.event() {
            match event {
                // May be answered later, and by another process: nothing is taken in before.
                server::Event::Sign(wish) => {
                    handshake.signed(&host_key.sign(wish.algorithm.scheme, &wish.data)?)?;
                }
                // The client has the key of a certificate. What that certificate is worth is for us to know.
                server::Event::Proof(proof) => match proof.verify() {
                    Ok(proven) if may_come_in(&proven) => admitted = Some(proven),
                    _ => handshake.refuse()?,
                },
                server::Event::Tried(_) => {}
            }
        }
        if let Some(proven) = admitted {
            // There is no other way to a connection.
            break handshake.admit(&proven)?;
        }
        handshake.take_output(&mut output);
        if !carry(stream, &mut output, &mut input, taken == 0)? {
            return Ok(());
        }
    };
    run(stream, connection, input, host_key)
}

fn run(
    stream: &mut (impl Read + Write),
    mut connection: Connection,
    mut input: Vec<u8>,
    host_key: &SigningKey,
) -> Result<(), Box<dyn Error>> {
    let (started, mut output) = (Instant::now(), Vec::new());
    loop {
        connection.tick(started.elapsed())?;
        let taken = connection.receive(&mut input)?;
        input.drain(..taken);
        while let Some(event) = connection.event() {
            match event {
                Event::Sign(wish) => {
                    connection.signed(&host_key.sign(wish.algorithm.scheme, &wish.data)?)?;
                }
                Event::Channel(id, ChannelEvent::Offered(Purpose::Session)) => connection.accept(id),
                Event::Channel(id, ChannelEvent::Offered(_)) => {
                    connection.reject(id, OpenFailure::Prohibited, "sessions only");
                }
                Event::Request(id, Request::Exec(command), Some(token)) => {
                    connection.answer(id, token, true);
                    // Takes what there is room for; `Writable` would tell when to go on.
                    connection.write(id, Stream::Data, &command)?;
                    connection.exit_status(id, 0)?;
                    connection.close(id);
                }
                Event::Request(id, _, Some(token)) => connection.answer(id, token, false),
                Event::Global(_, token) => connection.answer_global(token, GlobalAnswer::Refused),
                // To take what arrived is what gives the client more window.
                Event::Channel(id, ChannelEvent::Readable) => while connection.read(id).is_some() {},
                Event::Channel(id, ChannelEvent::Closed) => connection.release(id),
                _ => {}
            }
        }
        connection.take_output(&mut output);
        if !carry(stream, &mut output, &mut input, taken == 0)? {
            return Ok(());
        }
    }
}

/// Sends what there is to send, and reads where nothing is left to do without. Says whether the stream goes on.
fn carry(
    stream: &mut (impl Read + Write),
    output: &mut Vec<u8>,
    input: &mut Vec<u8>,
    read: bool,
) -> std::io::Result<bool> {
    stream.write_all(output)?;
    output.clear();
    if !read {
        return Ok(true);
    }
    let mut arrived = [0; 4096];
    let count = stream.read(&mut arrived)?;
    input.extend_from_slice(&arrived[..count]);
    Ok(count > 0)
}
// </sketch>

/// A client of this crate that is in.
fn come_in(stream: &mut UnixStream, keys: &Keys, input: &mut Vec<u8>) -> Option<Connection> {
    let mut handshake = client::Handshake::new(Arc::new(keys.client_config(&Setup::default())));
    let mut output = Vec::new();
    loop {
        let taken = handshake.receive(input).ok()?;
        input.drain(..taken);
        while let Some(event) = handshake.event() {
            match event {
                client::Event::Host(_) => handshake.trust().expect("keys"),
                client::Event::Sign(to_sign) => {
                    let signature = keys.user.sign(to_sign.algorithm.scheme, &to_sign.data);
                    handshake.signed(&signature.expect("signs"));
                }
                client::Event::Accepted => return handshake.connection().ok(),
                client::Event::Refused => return None,
                client::Event::Banner(_) => {}
            }
        }
        handshake.take_output(&mut output);
        carry(stream, &mut output, input, taken == 0).expect("a stream");
    }
}

/// What a command says, and how it ends.
fn command(
    stream: &mut UnixStream,
    mut connection: Connection,
    mut input: Vec<u8>,
) -> (Vec<u8>, Option<u32>) {
    let (mut output, mut said, mut status) = (Vec::new(), Vec::new(), None);
    let id = connection.open(&Purpose::Session).expect("room");
    loop {
        let taken = connection.receive(&mut input).expect("the server keeps the rules");
        input.drain(..taken);
        while let Some(event) = connection.event() {
            match event {
                Event::Channel(_, ChannelEvent::Opened) => {
                    connection.request(id, &Request::Exec(b"hello".to_vec()), true).expect("open");
                }
                Event::Channel(_, ChannelEvent::Closed) => return (said, status),
                Event::Channel(_, ChannelEvent::Readable) => {
                    while let Some(inbound) = connection.read(id) {
                        match inbound {
                            Inbound::Data(data) => said.extend_from_slice(&data),
                            Inbound::ExitStatus(code) => status = Some(code),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        connection.take_output(&mut output);
        carry(stream, &mut output, &mut input, taken == 0).expect("a stream");
    }
}

#[test]
fn the_sketch_serves_whom_it_should_and_nobody_else() {
    for welcome in [true, false] {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let keys = &Keys::default();
        let config = Arc::new(keys.server_config(&Setup::default()));
        std::thread::scope(|scope| {
            let serving = scope.spawn(move || {
                let served =
                    serve(&mut ours, config, &keys.host, |proven| welcome && proven.login() == "alice");
                served.map_err(|error| error.to_string())
            });
            let mut input = Vec::new();
            let connection = come_in(&mut theirs, keys, &mut input);
            assert_eq!(connection.is_some(), welcome);
            if let Some(connection) = connection {
                assert_eq!(command(&mut theirs, connection, input), (b"hello".to_vec(), Some(0)));
            }
            theirs.shutdown(std::net::Shutdown::Both).expect("shut down");
            assert_eq!(serving.join().expect("no panic"), Ok(()));
        });
    }
}
