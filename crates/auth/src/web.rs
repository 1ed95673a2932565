//! Web servers that are asked about joiners, and how often they are.

use crate::pacing::Pace;
use access::HostPort;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use store::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};
use transport::https::{Client, FetchError, Question};

/// Questions to one service at once, and how long one waits for its turn.
const AT_ONCE: usize = 8;
const TURN: Duration = Duration::from_secs(10);
/// So many may wait for theirs: joiners who are asked about must not fill the places of all the others.
const WAITING: usize = 16;
pub(crate) const INSIDE: usize = AT_ONCE + WAITING;
/// Questions that may be asked in a row, and those that each second earns back, whoever makes auth ask.
const IN_A_ROW: u32 = 200;
const PER_SECOND: u32 = 20;

/// The client; made when it is needed, because it reads the system's authorities.
pub struct Web {
    roots: Vec<Vec<u8>>,
    reach: Vec<(HostPort, HostPort)>,
    client: OnceLock<Client>,
}

impl Web {
    /// Believes servers by the system's authorities and `roots` (DER), and reaches them as `reach` says.
    pub fn new(roots: Vec<Vec<u8>>, reach: Vec<(HostPort, HostPort)>) -> Arc<Self> {
        Arc::new(Self { roots, reach, client: OnceLock::new() })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(&self.roots).reaching(&self.reach))
    }
}

/// Who asks a service about each joiner takes turns.
pub struct Turns {
    clock: Arc<dyn Clock>,
    pace: Pace,
    places: Semaphore,
    /// Those who wait, too.
    inside: Semaphore,
}

/// A question that may be asked.
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _inside: SemaphorePermit<'a>,
}

impl Turns {
    /// Nothing has been asked yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let pace = Pace::new(IN_A_ROW, PER_SECOND, clock.now());
        Self { clock, pace, places: Semaphore::new(AT_ONCE), inside: Semaphore::new(INSIDE) }
    }

    /// A turn, kept while the question is under way. The error is for administrators.
    pub async fn take(&self) -> Result<Turn<'_>, String> {
        let inside = self.inside.try_acquire();
        let inside = inside.map_err(|_| format!("{WAITING} others wait to be asked about"))?;
        let turn = tokio::time::timeout(TURN, self.places.acquire()).await;
        let turn = turn
            .map_err(|_| format!("{AT_ONCE} questions are under way, and none ended within {TURN:?}"))?
            .map_err(|error| error.to_string())?;
        match self.pace.takes(self.clock.now()) {
            true => Ok(Turn { _place: turn, _inside: inside }),
            false => Err(format!("auth asks at most {PER_SECOND} times a second")),
        }
    }
}

/// Servers of one kind that are asked about joiners: each in turns of its own, so that one that does not answer holds up nobody
/// at another, and all within one bound.
pub struct Servers {
    web: Arc<Web>,
    clock: Arc<dyn Clock>,
    /// What they are, in a sentence.
    what: &'static str,
    /// By address, of which there are few.
    turns: Mutex<HashMap<String, Arc<Turns>>>,
    pub(crate) inside: Semaphore,
}

/// Joins that wait for servers of one kind: a part of those that auth works on.
pub(crate) const MOST: usize = 64;

/// Why a server has not answered.
pub enum Silent {
    /// It was not asked. The words are for administrators.
    Unasked(String),
    /// It was, and this came of it.
    Asked(FetchError),
}

impl Servers {
    /// Nobody has been asked yet.
    pub fn new(web: Arc<Web>, clock: Arc<dyn Clock>, what: &'static str) -> Self {
        Self { web, clock, what, turns: Mutex::default(), inside: Semaphore::new(MOST) }
    }

    /// The answer of the one with this name.
    pub async fn ask(&self, server: &str, question: Question<'_>) -> Result<Vec<u8>, Silent> {
        let busy = |_| Silent::Unasked(format!("{MOST} joins wait for {} already", self.what));
        let _inside = self.inside.try_acquire().map_err(busy)?;
        let turns = self.turns(server);
        let _turn = turns.take().await.map_err(Silent::Unasked)?;
        self.web.client().ask(question).await.map_err(Silent::Asked)
    }

    fn turns(&self, server: &str) -> Arc<Turns> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Turns::new(Arc::clone(&self.clock)));
        Arc::clone(turns.entry(server.to_owned()).or_insert_with(new))
    }
}
