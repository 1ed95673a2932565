//! Answers that are owed: they may become known in any order and go out in that of the questions (RFC 4254, sections 4
//! and 5.4).

use std::collections::VecDeque;

use crate::error::Violation;

/// So many questions may wait for whoever answers them; what comes on top is answered no.
const MAX_WAITING: usize = 64;
/// So many answers may wait behind one that is not known yet.
const MAX_OWED: usize = 1024;

/// One question that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(u64);

#[derive(Debug)]
pub(super) struct Replies<A> {
    /// The number of the first that is owed.
    first: u64,
    owed: VecDeque<Option<A>>,
    waiting: usize,
}

impl<A> Default for Replies<A> {
    fn default() -> Self {
        Self { first: 0, owed: VecDeque::new(), waiting: 0 }
    }
}

impl<A> Replies<A> {
    /// A question came; nothing when there are too many to ask anybody.
    pub(super) fn ask(&mut self, no: A) -> Result<Option<Token>, Violation> {
        if self.owed.len() >= MAX_OWED {
            return Err(Violation::new("too many requests wait for an answer"));
        }
        if self.waiting >= MAX_WAITING {
            self.owed.push_back(Some(no));
            return Ok(None);
        }
        self.waiting += 1;
        self.owed.push_back(None);
        Ok(Some(Token(self.first + self.owed.len() as u64 - 1)))
    }

    /// A question came and is answered at once.
    pub(super) fn answered(&mut self, answer: A) -> Result<(), Violation> {
        if self.owed.len() >= MAX_OWED {
            return Err(Violation::new("too many requests wait for an answer"));
        }
        self.owed.push_back(Some(answer));
        Ok(())
    }

    /// The answer to a question; a second one to the same has no effect.
    pub(super) fn answer(&mut self, Token(number): Token, answer: A) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(owed @ None) = index.and_then(|index| self.owed.get_mut(index)) {
            *owed = Some(answer);
            self.waiting -= 1;
        }
    }

    /// The next answer that may go out.
    pub(super) fn next(&mut self) -> Option<A> {
        let answer = self.owed.front_mut()?.take()?;
        self.owed.pop_front();
        self.first += 1;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_OWED, MAX_WAITING, Replies};

    fn drain(replies: &mut Replies<bool>) -> Vec<bool> {
        std::iter::from_fn(|| replies.next()).collect()
    }

    /// RFC 4254, section 4: in the order of the requests.
    #[test]
    fn rfc4254_4_answers_keep_the_order_of_the_questions() {
        let mut replies = Replies::default();
        let [a, b, c] = [(); 3].map(|()| replies.ask(false).expect("room").expect("asked"));
        replies.answer(c, true);
        replies.answer(b, false);
        assert_eq!(drain(&mut replies), []);
        replies.answer(a, true);
        replies.answer(a, false);
        assert_eq!(drain(&mut replies), [true, false, true]);
        replies.answer(b, true);
        assert_eq!(drain(&mut replies), [], "answered long ago");
    }

    #[test]
    fn questions_without_end_are_bounded() {
        let mut replies = Replies::default();
        for _ in 0..MAX_WAITING {
            assert!(replies.ask(false).expect("room").is_some());
        }
        for _ in MAX_WAITING..MAX_OWED {
            assert!(replies.ask(false).expect("room").is_none(), "nobody is asked");
        }
        assert!(replies.ask(false).is_err() && replies.answered(true).is_err());
    }
}
