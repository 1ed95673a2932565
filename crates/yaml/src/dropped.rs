//! List items that were left out because of a mistake, so that the places of the others can still be told.

use crate::path::{KeyPath, Segment};

/// The items left out, by their place in the file.
#[derive(Default)]
pub(crate) struct Dropped(Vec<KeyPath>);

impl Dropped {
    pub(crate) fn add(&mut self, item_in_file: KeyPath) {
        self.0.push(item_in_file);
    }

    /// From a place in the value that was read to its place in the file.
    pub(crate) fn place_in_file(&self, in_value: &KeyPath) -> KeyPath {
        in_value.segments().iter().fold(KeyPath::default(), |above, segment| match segment {
            Segment::Key(key) => above.key(key),
            Segment::Item(nth) => above.item(self.index_in_file(&above, *nth)),
        })
    }

    fn index_in_file(&self, list: &KeyPath, index_in_value: usize) -> usize {
        let mut gone: Vec<usize> = self.0.iter().filter_map(|item| index_within(item, list)).collect();
        gone.sort_unstable();
        gone.into_iter().fold(index_in_value, |index, gone| if gone <= index { index + 1 } else { index })
    }
}

fn index_within(item: &KeyPath, list: &KeyPath) -> Option<usize> {
    match item.segments().split_last() {
        Some((Segment::Item(nth), above)) if above == list.segments() => Some(*nth),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Dropped;
    use crate::path::KeyPath;

    #[test]
    fn later_items_keep_their_place() {
        let mut dropped = Dropped::default();
        dropped.add(KeyPath::from("a[2]"));
        dropped.add(KeyPath::from("a[0]"));
        dropped.add(KeyPath::from("a[1].b[0]"));
        for (in_value, in_file) in
            [("a[0]", "a[1]"), ("a[1].x", "a[3].x"), ("a[0].b[0]", "a[1].b[1]"), ("c[0]", "c[0]"), ("a", "a")]
        {
            assert_eq!(dropped.place_in_file(&KeyPath::from(in_value)), KeyPath::from(in_file), "{in_value}");
        }
    }
}
