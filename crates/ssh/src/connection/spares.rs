//! Memory of data that was handed on, filled again once whoever had it is done with it.
//!
//! A stream that runs fast would else take a large piece from the system and give one back for every few packets, which
//! costs more than to decrypt them.

use bytes::BytesMut;

/// A piece of what waits is at most so large, and so is what is taken at once: of a size that is easily handed on.
pub(super) const PIECE: usize = 256 << 10;
/// So many are kept of each connection, and only while much comes.
const KEPT: usize = 4;

/// What is left of pieces that were handed on.
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<BytesMut>);

impl Spares {
    /// An empty piece; one with room for all that it may hold, if somebody is done with such a one.
    pub(super) fn take(&mut self) -> BytesMut {
        let free = self.0.iter_mut().position(|piece| piece.try_reclaim(PIECE));
        free.map_or_else(BytesMut::new, |index| self.0.swap_remove(index))
    }

    /// Keeps what is left of a piece that is handed on, if it is as large as they become.
    pub(super) fn hand_on(&mut self, mut piece: BytesMut) -> BytesMut {
        if piece.capacity() < PIECE || self.0.len() == KEPT {
            return piece;
        }
        let data = piece.split();
        self.0.push(piece);
        data
    }

    /// Little comes now: the memory is given back.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, PIECE, Spares};
    use bytes::BytesMut;

    fn full() -> BytesMut {
        BytesMut::from(&[7; PIECE][..])
    }

    #[test]
    fn a_piece_is_used_again_once_nobody_has_it() {
        let mut spares = Spares::default();
        let data = spares.hand_on(full()).freeze();
        assert_eq!(spares.take().capacity(), 0, "somebody still reads the only one");
        assert_eq!(data, &[7; PIECE][..]);
        let place = data.as_ptr();
        drop(data);
        let again = spares.take();
        assert_eq!((again.len(), again.as_ptr()), (0, place));
        assert!(again.capacity() >= PIECE);
        assert_eq!(spares.take().capacity(), 0, "it is handed out once");
    }

    #[test]
    fn few_are_kept_and_no_small_ones() {
        let mut spares = Spares::default();
        drop(spares.hand_on(BytesMut::from(&[7; PIECE / 2][..])));
        assert_eq!(spares.0.len(), 0);
        for _ in 0..2 * KEPT {
            drop(spares.hand_on(full()));
        }
        assert_eq!(spares.0.len(), KEPT);
        spares.clear();
        assert_eq!(spares.0.capacity(), 0);
    }
}
