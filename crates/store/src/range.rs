//! Listing: what to list and one page of the answer.

use crate::{Entry, Key, Revision};

/// Asks for the entries at and below a prefix, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Only this key and those below it, by whole segments.
    pub prefix: Key,
    /// Only keys after this one: the last key of the page before.
    pub after: Option<Key>,
    /// At most this many entries, [`Range::MAX_LIMIT`] in any case. Large values make a page
    /// shorter, so only [`Page::next`] tells whether there is more.
    pub limit: usize,
}

impl Range {
    /// The most entries in one page.
    pub const MAX_LIMIT: usize = 1000;

    /// The first page under `prefix`, as large as allowed.
    pub fn under(prefix: Key) -> Self {
        Self { prefix, after: None, limit: Self::MAX_LIMIT }
    }

    /// The page that follows `key`.
    pub fn after(mut self, key: Key) -> Self {
        self.after = Some(key);
        self
    }

    /// A page of at most `limit` entries.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The visible entries, in key order.
    pub entries: Vec<Entry>,
    /// The revision the page shows. To follow a list of several pages, watch from the first
    /// page's revision.
    pub revision: Revision,
    /// Where the next page starts ([`Range::after`]); none when this is the last.
    pub next: Option<Key>,
}
