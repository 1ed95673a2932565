//! Distance changes nothing but the time: bytes, their order, and the ends of both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::serve;

/// A relay to `to`, for as long as the test runs.
fn relay(to: SocketAddr, round_trip: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || serve(&listener, to, round_trip));
    address
}

/// A server that passes its one connection to `work`.
fn server<T: Send + 'static>(
    work: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (address, thread::spawn(move || work(listener.accept().expect("a client").0)))
}

/// Bytes that are different everywhere.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn send_in_uneven_pieces(mut stream: &TcpStream, bytes: &[u8]) {
    let mut rest = bytes;
    let mut size = 1;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(size.min(rest.len()));
        stream.write_all(piece).expect("sent");
        (rest, size) = (more, size % 70_001 * 3 + 1);
    }
    stream.shutdown(Shutdown::Write).expect("ended");
}

fn receive(mut stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("received");
    received
}

#[test]
fn bytes_and_their_order_are_kept_both_ways() {
    for round_trip in [Duration::ZERO, Duration::from_millis(7)] {
        let (up, down) = (noise(1, 3_000_017), noise(2, 2_000_003));
        let answer = down.clone();
        let (address, served) = server(move |stream| {
            thread::scope(|scope| {
                scope.spawn(|| send_in_uneven_pieces(&stream, &answer));
                receive(&stream)
            })
        });
        let client = TcpStream::connect(relay(address, round_trip)).expect("connected");
        let received = thread::scope(|scope| {
            scope.spawn(|| send_in_uneven_pieces(&client, &up));
            receive(&client)
        });
        assert!(received == down, "what came down is not what was sent");
        assert!(served.join().expect("served") == up, "what came up is not what was sent");
    }
}

#[test]
fn an_end_of_one_direction_leaves_the_other_open() {
    let (address, served) = server(|mut stream| {
        let question = receive(&stream);
        stream.write_all(b"answer").expect("sent");
        question
    });
    let mut client = TcpStream::connect(relay(address, Duration::from_millis(2))).expect("connected");
    client.write_all(b"question").expect("sent");
    client.shutdown(Shutdown::Write).expect("ended");
    assert_eq!(receive(&client), b"answer");
    assert_eq!(served.join().expect("served"), b"question");
}

#[test]
fn a_server_that_goes_away_takes_the_connection_with_it() {
    let (address, served) = server(drop);
    let client = TcpStream::connect(relay(address, Duration::ZERO)).expect("connected");
    served.join().expect("served");
    assert_eq!(receive(&client), b"");
}

#[test]
fn nothing_arrives_too_early() {
    let (address, _served) = server(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("received");
        stream.write_all(&byte).expect("sent");
    });
    let round_trip = Duration::from_millis(20);
    let start = Instant::now();
    let mut client = TcpStream::connect(relay(address, round_trip)).expect("connected");
    client.write_all(b"x").expect("sent");
    assert_eq!(receive(&client), b"x");
    // One for the connection, one for the byte. How much later is the machine's business.
    assert!(start.elapsed() >= 2 * round_trip);
}
