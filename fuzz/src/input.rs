//! A fuzzer's bytes as a script: whoever has to choose draws from them. When they are used up every choice is zero, so
//! zero has to mean that nothing special happens.

use std::cell::RefCell;
use std::rc::Rc;

/// Bytes that several parties draw from, in turn.
#[derive(Clone)]
pub struct Input(Rc<RefCell<Cursor>>);

struct Cursor {
    bytes: Vec<u8>,
    next: usize,
}

impl Input {
    pub fn new(bytes: &[u8]) -> Self {
        Self(Rc::new(RefCell::new(Cursor { bytes: bytes.to_vec(), next: 0 })))
    }

    pub fn is_empty(&self) -> bool {
        let cursor = self.0.borrow();
        cursor.next >= cursor.bytes.len()
    }

    /// The next choice.
    pub fn byte(&self) -> u8 {
        let mut cursor = self.0.borrow_mut();
        let byte = cursor.bytes.get(cursor.next).copied().unwrap_or(0);
        cursor.next += 1;
        byte
    }

    /// One of so many.
    pub fn below(&self, count: usize) -> usize {
        if count <= 256 { usize::from(self.byte()) % count.max(1) } else { usize::from(self.short()) % count }
    }

    pub fn chance(&self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn short(&self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number as peers send them: small, near a power of two, near the end, or anything.
    pub fn number(&self) -> u32 {
        let choice = self.byte();
        match choice >> 5 {
            0..=3 => u32::from(choice & 0x7f),
            4 => (1u32 << (choice & 0x1f)).wrapping_sub(1),
            5 => 1u32 << (choice & 0x1f),
            6 => u32::MAX - u32::from(choice & 0x1f),
            _ => u32::from(self.short()) << 16 | u32::from(self.short()),
        }
    }

    /// A string of its own length, or as much of it as there is.
    pub fn bytes(&self) -> Vec<u8> {
        let length = match self.byte() {
            255 => usize::from(self.short()),
            short => usize::from(short),
        };
        self.take(length)
    }

    /// So many bytes, or as many as there are.
    pub fn take(&self, length: usize) -> Vec<u8> {
        let mut cursor = self.0.borrow_mut();
        let start = cursor.next.min(cursor.bytes.len());
        let end = start.saturating_add(length).min(cursor.bytes.len());
        cursor.next = end;
        cursor.bytes[start..end].to_vec()
    }

    /// All that is left.
    pub fn rest(&self) -> Vec<u8> {
        self.take(usize::MAX)
    }
}
