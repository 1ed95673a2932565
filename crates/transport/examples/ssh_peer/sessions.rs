//! Sessions of a server that starts processes for them: how fast they come and go, many that stay, keystrokes among them.
//!
//! Commands have to say something, which tells a session that ran from one that could not be started.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::peer::{Link, Outcome, Sink, Source, Wish};
use super::work::Trips;

/// How long anything may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
/// Keystrokes that are not counted: the command is being started.
const WARM_UP: usize = 20;

/// Runs a command to its end.
pub async fn to_end<L: Link>(link: &L, command: &str) -> Outcome<()> {
    let (mut source, sink) = link.run(command).await?;
    sink.end().await;
    let mut said = 0;
    while let Some(data) = within(source.next()).await? {
        said += data.len();
    }
    if said == 0 { Err("a command said nothing, so it may not have run".into()) } else { Ok(()) }
}

/// Runs a command so many times, so many at once, on one connection, and gives the seconds that all took together.
pub async fn on_one_connection<L: Link>(
    wish: &Wish,
    command: &str,
    count: usize,
    parallel: usize,
) -> Outcome<f64> {
    let link = std::sync::Arc::new(L::connect(wish).await?);
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..parallel {
        let (link, command) = (std::sync::Arc::clone(&link), command.to_owned());
        let share = (count + worker) / parallel;
        workers.spawn(async move {
            for _ in 0..share {
                to_end(&*link, &command).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// What a connection with sessions that stay keeps open.
pub struct Held<L: Link> {
    _link: L,
    _sinks: Vec<L::Sink>,
    /// Read what the sessions say, as a client would.
    _readers: JoinSet<()>,
}

/// Opens a connection and so many sessions on it, all of which have said something.
pub async fn hold<L: Link>(wish: &Wish, command: &str, sessions: usize) -> Outcome<Held<L>> {
    let link = L::connect(wish).await?;
    let (mut sinks, mut readers) = (Vec::new(), JoinSet::new());
    for _ in 0..sessions {
        let (mut source, sink) = link.run(command).await?;
        within(source.next()).await?.ok_or("a session ended at once")?;
        readers.spawn(async move { while source.next().await.is_some() {} });
        sinks.push(sink);
    }
    Ok(Held { _link: link, _sinks: sinks, _readers: readers })
}

/// Times single bytes through a terminal that echoes.
pub async fn keystrokes<L: Link>(
    wish: &Wish,
    command: &str,
    samples: usize,
    pause: Duration,
) -> Outcome<Trips> {
    let link = L::connect(wish).await?;
    let (mut source, sink) = link.terminal(command).await?;
    let mut trips = Vec::with_capacity(samples);
    for stroke in 0..WARM_UP + samples {
        tokio::time::sleep(pause).await;
        let start = Instant::now();
        sink.send("x".into()).await?;
        within(source.next()).await?.ok_or("the terminal is gone")?;
        if stroke >= WARM_UP {
            trips.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    Trips::new(trips)
}

async fn within<T>(work: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(STUCK, work).await.map_err(|_| "stuck".into())
}
