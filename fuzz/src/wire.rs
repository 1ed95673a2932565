//! The data types of RFC 4251, section 5, written and read by hand: what is checked must not check itself.

/// Appends values to a message that begins with this number.
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn new(number: u8) -> Self {
        Self(vec![number])
    }

    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub fn string(mut self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).expect("short");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Takes values from the front of a message of ours. Panics where there is none: ours are well-formed.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    pub fn string(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        self.take(length)
    }

    pub fn end(self) {
        assert!(self.0.is_empty(), "bytes after a message of ours");
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).expect("a message of ours is well-formed");
        self.0 = rest;
        taken
    }
}
