//! One direction: bytes that are under way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Room for 1.2 GiB/s over 50 ms, so that what limits a transfer is never this.
const ROOM: usize = 64 << 20;
const BLOCK: usize = 128 << 10;

/// What was read and has not arrived. One thread fills, one drains.
pub struct Line {
    delay: Duration,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    length: usize,
    /// When the end of the stream arrives.
    end: Option<Instant>,
    /// Nobody takes any more.
    broken: bool,
}

impl Line {
    pub fn new(delay: Duration) -> Self {
        Self { delay, queue: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes everything until the stream ends or fails, which is the same to the other side.
    pub fn fill(&self, from: &mut impl Read) {
        let mut block = vec![0; BLOCK];
        loop {
            match from.read(&mut block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    if !self.push(block[..count].to_vec()) {
                        return;
                    }
                }
            }
        }
        self.queue().end = Some(Instant::now() + self.delay);
        self.changed.notify_all();
    }

    /// Gives everything when its time has come; returns when the end has arrived.
    pub fn drain(&self, into: &mut impl Write) -> io::Result<()> {
        while let Some((due, piece)) = self.pop() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if let Err(error) = into.write_all(&piece) {
                self.queue().broken = true;
                self.changed.notify_all();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits for room. Says whether anybody takes it.
    fn push(&self, piece: Vec<u8>) -> bool {
        let due = Instant::now() + self.delay;
        let full = |queue: &mut Queue| queue.length >= ROOM && !queue.broken;
        let waited = self.changed.wait_while(self.queue(), full);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        queue.length += piece.len();
        queue.pieces.push_back((due, piece));
        self.changed.notify_all();
        !queue.broken
    }

    /// Waits for the next piece; nothing once the end is due.
    fn pop(&self) -> Option<(Instant, Vec<u8>)> {
        let nothing = |queue: &mut Queue| queue.pieces.is_empty() && queue.end.is_none();
        let waited = self.changed.wait_while(self.queue(), nothing);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some((due, piece)) = queue.pieces.pop_front() {
            queue.length -= piece.len();
            self.changed.notify_all();
            return Some((due, piece));
        }
        let end = queue.end;
        drop(queue);
        thread::sleep(end?.saturating_duration_since(Instant::now()));
        None
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
