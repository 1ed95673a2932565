//! An SSH server or client for measurements, by the engine of `transport::ssh` or by russh directly; `scripts/bench-ssh`
//! and `scripts/bench-node` drive it. As a server, what runs in a session is a few lines in this process ([`commands`]), so that no shell, pipe or terminal
//! is measured with the engine.
//!
//! `ours` uses the public interface of `transport::ssh` only: it measures whichever engine is beneath.

#![allow(clippy::print_stdout, reason = "what it measured is its output")]

mod commands;
mod ours;
mod peer;
mod pki;
mod russh_engine;
mod sessions;
#[cfg(test)]
mod tests;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use futures_util::{StreamExt, stream};
use peer::{Outcome, Wish};
use pki::Pki;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use work::Load;

#[derive(Parser)]
#[command(about = "An SSH peer for measurements: server or client, our engine or russh")]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Makes authorities, a host and a user in a directory
    Pki {
        directory: PathBuf,
        /// The account that the user's certificate is good for
        #[arg(long)]
        login: String,
    },
    /// Says whether an engine knows a key exchange, by its status
    Knows {
        #[arg(long)]
        engine: Engine,
        key_exchange: String,
    },
    /// Serves on a free port of the loopback interface; prints `port N`
    Serve {
        #[arg(long)]
        engine: Engine,
        #[arg(long)]
        pki: PathBuf,
    },
    /// Logs in again and again, with a session if there is a command; prints `seconds N`
    Connect {
        #[command(flatten)]
        client: Client,
        #[arg(long)]
        connections: usize,
        /// How many at once
        #[arg(long, default_value_t = 4)]
        parallel: usize,
        /// Run on each connection; has to say something
        #[arg(long)]
        command: Option<String>,
    },
    /// Runs a command that says something again and again on one connection; prints `seconds N`
    Sessions {
        #[command(flatten)]
        client: Client,
        #[arg(long)]
        count: usize,
        /// How many at once
        #[arg(long, default_value_t = 4)]
        parallel: usize,
        command: String,
    },
    /// Opens as many connections as each line of its input says, with sessions if there is a command, prints `open N`, and
    /// keeps them
    Hold {
        #[command(flatten)]
        client: Client,
        /// Run on each connection before it falls idle
        #[arg(long)]
        first: Option<String>,
        /// Runs in each session; has to say something and to stay
        #[arg(long, requires = "sessions")]
        command: Option<String>,
        /// How many of them each connection has
        #[arg(long, default_value_t = 0, requires = "command", conflicts_with = "first")]
        sessions: usize,
        /// How many connections are opened at once
        #[arg(long, default_value_t = 1)]
        parallel: usize,
    },
    /// Runs a command; prints `received N`, `seconds N` and what little it said
    Run {
        #[command(flatten)]
        client: Client,
        /// Zeros for its input
        #[arg(long, default_value_t = 0)]
        send: u64,
        command: String,
    },
    /// Measures round trips through a command that echoes; prints `p50 N` and `p99 N` in microseconds
    Echo {
        #[command(flatten)]
        client: Client,
        #[arg(long)]
        samples: usize,
        #[command(flatten)]
        load: Load,
        command: String,
    },
    /// Measures single bytes through a terminal that echoes; prints as `echo`
    Keystrokes {
        #[command(flatten)]
        client: Client,
        #[arg(long)]
        samples: usize,
        /// Milliseconds between them
        #[arg(long, default_value_t = 20)]
        pause: u64,
        command: String,
    },
}

#[derive(Args)]
struct Client {
    /// The server's name in its certificate
    #[arg(long, default_value = pki::HOST)]
    name: String,
    #[arg(long)]
    engine: Engine,
    #[arg(long)]
    pki: PathBuf,
    #[arg(long)]
    server: SocketAddr,
    #[arg(long, default_value = "curve25519-sha256")]
    key_exchange: String,
    #[arg(long, default_value = "aes128-gcm@openssh.com")]
    cipher: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Ours,
    Russh,
}

/// Runs a generic function of [`work`] with the engine that was asked for.
macro_rules! with_engine {
    ($client:expr, $link:ident => $call:expr) => {{
        match $client.engine {
            Engine::Ours => {
                type $link = ours::Client;
                $call
            }
            Engine::Russh => {
                type $link = russh_engine::Client;
                $call
            }
        }
    }};
}

#[tokio::main]
async fn main() -> Outcome<()> {
    match Cli::parse().action {
        Action::Pki { directory, login } => pki::create(&directory, &login),
        Action::Knows { engine, key_exchange } => match engine {
            Engine::Ours => ours::knows(&key_exchange),
            Engine::Russh => russh_engine::knows(&key_exchange),
        },
        Action::Serve { engine, pki } => serve(engine, Arc::new(Pki::read(&pki)?)).await,
        Action::Connect { client, connections, parallel, command } => {
            let (wish, command) = (client.wish()?, command.as_deref());
            let work =
                with_engine!(client, L => work::connect::<L>(&wish, connections, parallel, command).await);
            println!("seconds {:.6}", work?);
            Ok(())
        }
        Action::Sessions { client, count, parallel, command } => {
            let wish = client.wish()?;
            let work = with_engine!(client, L => sessions::on_one_connection::<L>(&wish, &command, count, parallel).await);
            println!("seconds {:.6}", work?);
            Ok(())
        }
        Action::Hold { client, first, command: None, parallel, .. } => {
            let wish = client.wish()?;
            with_engine!(client, L => hold(parallel, async || work::idle::<L>(&wish, first.as_deref()).await).await)
        }
        Action::Hold { client, command: Some(command), sessions, parallel, .. } => {
            let wish = client.wish()?;
            with_engine!(client, L => hold(parallel, async || sessions::hold::<L>(&wish, &command, sessions).await).await)
        }
        Action::Run { client, send, command } => {
            let wish = client.wish()?;
            let ran = with_engine!(client, L => work::run::<L>(&wish, &command, send).await)?;
            println!("received {}\nseconds {:.6}\nsaid {}", ran.received, ran.seconds, ran.said);
            Ok(())
        }
        Action::Echo { client, samples, load, command } => {
            let wish = client.wish()?;
            let trips = with_engine!(client, L => work::echo::<L>(&wish, &command, samples, &load).await)?;
            print_trips(&trips);
            Ok(())
        }
        Action::Keystrokes { client, samples, pause, command } => {
            let (wish, pause) = (client.wish()?, Duration::from_millis(pause));
            let trips =
                with_engine!(client, L => sessions::keystrokes::<L>(&wish, &command, samples, pause).await)?;
            print_trips(&trips);
            Ok(())
        }
    }
}

impl Client {
    fn wish(&self) -> Outcome<Wish> {
        Ok(Wish {
            server: self.server,
            name: self.name.clone(),
            pki: Arc::new(Pki::read(&self.pki)?),
            key_exchange: self.key_exchange.clone(),
            cipher: self.cipher.clone(),
        })
    }
}

async fn serve(engine: Engine, pki: Arc<Pki>) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    match engine {
        Engine::Ours => ours::serve(listener, pki).await,
        Engine::Russh => russh_engine::serve(listener, pki).await,
    }
}

fn print_trips(trips: &work::Trips) {
    println!("p50 {:.1}\np99 {:.1}", trips.percentile(50), trips.percentile(99));
}

async fn hold<T>(parallel: usize, open: impl AsyncFn() -> Outcome<T>) -> Outcome<()> {
    let mut held: Vec<T> = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut opening =
            stream::iter(0..line.trim().parse::<usize>()?).map(|_| open()).buffer_unordered(parallel);
        while let Some(opened) = opening.next().await {
            held.push(opened?);
        }
        drop(opening);
        println!("open {}", held.len());
    }
    Ok(())
}
