//! A TCP relay that makes the other end as far away as is asked for: for measurements where the kernel cannot delay.
//! `scripts/bench-node` drives it.
//!
//! Every byte arrives half a round trip after it was read, in order; bandwidth is not limited. Threads and the kernel's
//! sleep, because timers of an asynchronous runtime have milliseconds.

#![allow(clippy::print_stdout, reason = "its port is its output")]

mod line;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use line::Line;

#[derive(Parser)]
#[command(about = "Relays TCP connections over a distance; listens on a free port of the loopback interface")]
struct Cli {
    /// Where to
    #[arg(long)]
    to: SocketAddr,
    /// There and back, in milliseconds
    #[arg(long, default_value_t = 0.0)]
    round_trip: f64,
}

fn main() -> io::Result<()> {
    let Cli { to, round_trip } = Cli::parse();
    let round_trip = Duration::try_from_secs_f64(round_trip / 1e3)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("port {}", listener.local_addr()?.port());
    serve(&listener, to, round_trip)
}

fn serve(listener: &TcpListener, to: SocketAddr, round_trip: Duration) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = connection(client, to, round_trip) {
                eprintln!("delay_relay: {error}");
            }
        });
    }
}

/// Carries one connection until both directions have ended. A connection takes its time to come about, too: a client
/// knows of it after one round trip, and a server half of one later.
fn connection(client: TcpStream, to: SocketAddr, round_trip: Duration) -> io::Result<()> {
    let one_way = round_trip / 2;
    client.set_nodelay(true)?;
    thread::sleep(round_trip);
    let upward = take_from(&client, one_way)?;
    thread::sleep(one_way);
    let server = TcpStream::connect(to)?;
    server.set_nodelay(true)?;
    let downward = take_from(&server, one_way)?;
    let giving = give_to(server, upward);
    give_all(&client, &downward);
    let _ = giving.join();
    Ok(())
}

/// Reads ahead as far as the line has room.
fn take_from(stream: &TcpStream, one_way: Duration) -> io::Result<Arc<Line>> {
    let line = Arc::new(Line::new(one_way));
    let (mut from, into) = (stream.try_clone()?, Arc::clone(&line));
    thread::spawn(move || into.fill(&mut from));
    Ok(line)
}

fn give_to(stream: TcpStream, line: Arc<Line>) -> thread::JoinHandle<()> {
    thread::spawn(move || give_all(&stream, &line))
}

/// Until the end, which is passed on, or until nobody takes it, when the other side is told to stop.
fn give_all(mut stream: &TcpStream, line: &Line) {
    match line.drain(&mut stream) {
        Ok(()) => {
            let _ = stream.shutdown(Shutdown::Write);
        }
        // Whoever still sends this way is to hear of it: its own direction ends.
        Err(_) => {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
