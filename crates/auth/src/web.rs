//! Web servers that are asked about joiners, and how often they are.

use crate::pacing::Pace;
use access::HostPort;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};
use transport::https::Client;

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
