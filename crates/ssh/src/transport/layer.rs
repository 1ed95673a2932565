//! How the layers above take input in: the same loop for both handshakes and for the connection.

use super::{Step, Transport, Wish};
use crate::error::{Error, Violation};

/// A layer above the transport.
pub(crate) trait Layer {
    fn transport(&mut self) -> &mut Transport;

    /// Whether something has to be answered, looked at or sent before more input is taken.
    fn holds_back(&self) -> bool;

    /// Deals with a message that is for this layer.
    fn message(&mut self, message: &[u8]) -> Result<(), Violation>;

    /// Makes an event of what the transport cannot do by itself.
    fn wish(&mut self, wish: Wish);
}

/// Takes in what arrived and says how many bytes that were.
pub(crate) fn receive(layer: &mut impl Layer, input: &mut [u8]) -> Result<usize, Error> {
    let mut taken = 0;
    while !layer.holds_back() {
        match layer.transport().next(&mut input[taken..])? {
            Step::Nothing => break,
            Step::Taken(count) => taken += count,
            Step::Message(count, message) => {
                taken += count;
                layer.message(message).map_err(|violation| layer.transport().fail(violation))?;
            }
        }
        if let Some(wish) = layer.transport().take_wish() {
            layer.wish(wish);
        }
    }
    Ok(taken)
}
