//! What a client does while it or its server is measured.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::task::JoinSet;

use super::peer::{Link, Outcome, Sink, Source, Wish};
use super::sessions;

/// A bulk channel is under way once this much went through it, window and buffers filled.
const UNDER_WAY: u64 = 8 << 20;
/// As many zeros as nobody waits for.
const ENDLESS: u64 = 1 << 50;
/// What is echoed: a line of a terminal.
const LINE: &[u8] = &[b'x'; 64];
/// Between two echoes; long enough for the load to go on in between.
const PAUSE: Duration = Duration::from_millis(2);
/// How long an echo may take; a connection that stands still is told from a slow one by this.
const STUCK: Duration = Duration::from_secs(20);

/// Logs in `connections` times, so many at once, with or without a session, and gives the seconds that all took together.
pub async fn connect<L: Link>(
    wish: &Wish,
    connections: usize,
    parallel: usize,
    command: Option<&str>,
) -> Outcome<f64> {
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..parallel {
        let (wish, command) = (wish.clone(), command.map(str::to_owned));
        let share = (connections + worker) / parallel;
        workers.spawn(async move {
            for _ in 0..share {
                let link = L::connect(&wish).await?;
                if let Some(command) = &command {
                    sessions::to_end(&link, command).await?;
                }
                link.close().await;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// A connection on which nothing happens, any more if `first` says what happens on it first.
pub async fn idle<L: Link>(wish: &Wish, first: Option<&str>) -> Outcome<L> {
    let link = L::connect(wish).await?;
    if let Some(command) = first {
        let (mut source, sink) = link.run(command).await?;
        sink.end().await;
        while source.next().await.is_some() {}
    }
    Ok(link)
}

/// A command that ran.
pub struct Ran {
    pub received: u64,
    pub seconds: f64,
    /// Its output, if that was short.
    pub said: String,
}

/// Runs a command and gives it zeros to read. The time is that of the transfer, without the login.
pub async fn run<L: Link>(wish: &Wish, command: &str, send: u64) -> Outcome<Ran> {
    let link = L::connect(wish).await?;
    let start = Instant::now();
    let (mut source, sink) = link.run(command).await?;
    let sending = tokio::spawn(async move {
        let sent = sink.send_zeros(send).await;
        sink.end().await;
        sent.map(|()| sink)
    });
    let (mut received, mut said) = (0, Vec::new());
    while let Some(data) = source.next().await {
        received += data.len() as u64;
        if said.len() + data.len() <= 80 {
            said.extend_from_slice(&data);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(sending.await??);
    link.close().await;
    let said = if received <= 80 { String::from_utf8_lossy(&said).trim().to_owned() } else { String::new() };
    Ok(Ran { received, seconds, said })
}

/// What else is moved while echoes are timed.
#[derive(Args)]
pub struct Load {
    /// Bulk channels on the connection of the echoes
    #[arg(long, default_value_t = 0)]
    pub beside: usize,
    /// Other connections with one bulk channel each
    #[arg(long, default_value_t = 0)]
    pub others: usize,
    /// Which way the bulk goes
    #[arg(long, default_value = "down")]
    pub direction: Direction,
    /// Makes or takes the bulk without an end
    #[arg(long, default_value = "zeros 1125899906842624")]
    pub bulk: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From the server
    Down,
    /// To the server
    Up,
}

/// Round trips in microseconds, in order of size.
pub struct Trips(Vec<f64>);

impl Trips {
    pub fn new(mut microseconds: Vec<f64>) -> Outcome<Self> {
        if microseconds.is_empty() {
            return Err("no samples, no percentiles".into());
        }
        microseconds.sort_by(f64::total_cmp);
        Ok(Self(microseconds))
    }

    pub fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// Times round trips of a short line while bulk is moved.
pub async fn echo<L: Link>(wish: &Wish, command: &str, samples: usize, load: &Load) -> Outcome<Trips> {
    let link = L::connect(wish).await?;
    // Held until the end: without its link a channel is closed.
    let mut others = Vec::new();
    let mut bulk = JoinSet::new();
    for _ in 0..load.others {
        let other = L::connect(wish).await?;
        start_bulk(&other, load, &mut bulk).await?;
        others.push(other);
    }
    for _ in 0..load.beside {
        start_bulk(&link, load, &mut bulk).await?;
    }
    let (mut source, sink) = link.run(command).await?;
    let mut trips = Vec::with_capacity(samples);
    for _ in 0..samples {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        tokio::time::timeout(STUCK, round_trip(&mut source, &sink)).await.map_err(|_| "stuck")??;
        trips.push(start.elapsed().as_secs_f64() * 1e6);
        if let Some(ended) = bulk.try_join_next() {
            ended??;
            return Err("the bulk ended before the echoes did".into());
        }
    }
    Trips::new(trips)
}

async fn round_trip(source: &mut impl Source, sink: &impl Sink) -> Outcome<()> {
    sink.send(LINE.into()).await?;
    let mut back = 0;
    while back < LINE.len() {
        back += source.next().await.ok_or("the echo ended")?.len();
    }
    Ok(())
}

/// Starts one bulk channel and waits until it is under way.
async fn start_bulk<L: Link>(link: &L, load: &Load, bulk: &mut JoinSet<Outcome<()>>) -> Outcome<()> {
    let (mut source, sink) = link.run(&load.bulk).await?;
    match load.direction {
        Direction::Down => {
            let mut received = 0;
            while received < UNDER_WAY {
                received += source.next().await.ok_or("the bulk ended at once")?.len() as u64;
            }
            bulk.spawn(async move {
                // The channel's own end would close it.
                let _sink = sink;
                while source.next().await.is_some() {}
                Ok(())
            });
        }
        Direction::Up => {
            sink.send_zeros(UNDER_WAY).await?;
            bulk.spawn(async move {
                let _source = source;
                sink.send_zeros(ENDLESS).await
            });
        }
    }
    Ok(())
}
