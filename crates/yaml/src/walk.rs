//! Holds a tree against a schema: collects every mistake and keeps what is right.
//!
//! What is right comes out as JSON of exactly the types the schema asks for, so that deserialising it cannot stumble
//! over spelling. Parts with mistakes are left out, so that later checks can go on with the rest.

use serde_json::{Map, Value};

use crate::{
    dropped::Dropped,
    mistake::Mistake,
    path::KeyPath,
    refusals::{Refusals, Verdict},
    scalar::{Native, integer_value},
    schema::{Record, Schema, Shape, Word, one_of},
    tree::{Data, Entry, Node, Scalar},
};

/// How deep sections are searched for the place where a misplaced key belongs.
const SECTION_DEPTH: usize = 4;

pub(crate) struct Walk<'s> {
    pub(crate) schema: Schema<'s>,
    pub(crate) refusals: &'s Refusals,
    pub(crate) mistakes: Vec<Mistake>,
    /// Keys that the author evidently meant to give, though something is wrong with them: not to be called missing.
    pub(crate) meant: Vec<KeyPath>,
    pub(crate) dropped: Dropped,
}

impl<'s> Walk<'s> {
    pub(crate) fn new(schema: Schema<'s>, refusals: &'s Refusals) -> Self {
        Self { schema, refusals, mistakes: Vec::new(), meant: Vec::new(), dropped: Dropped::default() }
    }

    /// The part of `node` that is right, or `None` when there is nothing to keep.
    pub(crate) fn value(&mut self, node: &Node, at: &'s Value, path: &KeyPath) -> Option<Value> {
        match (self.schema.shape(at), &node.data) {
            (Shape::Any, _) => Some(any(node)),
            (Shape::Either(alternatives), _) => self.either(node, alternatives, path),
            (Shape::List(item), Data::List(items)) => Some(self.list(items, item, path)),
            (Shape::Map(values), Data::Map(entries)) => Some(self.map(entries, values, path)),
            (Shape::Record(record), Data::Map(entries)) => self.record(node, entries, &record, path),
            (Shape::Variants(tag, variants), Data::Map(entries)) => {
                self.variant(node, entries, tag, &variants, path)
            }
            (shape, Data::Scalar(scalar)) => self.scalar(node, scalar, &shape, path),
            (shape, _) => self.wrong_type(node, &shape, path),
        }
    }

    fn list(&mut self, items: &[Node], item: &'s Value, path: &KeyPath) -> Value {
        let mut values = Vec::new();
        for (nth, node) in items.iter().enumerate() {
            match self.value(node, item, &path.item(nth)) {
                Some(value) => values.push(value),
                None => self.dropped.add(path.item(nth)),
            }
        }
        Value::Array(values)
    }

    fn map(&mut self, entries: &[Entry], values: &'s Value, path: &KeyPath) -> Value {
        let mut map = Map::new();
        for entry in entries {
            if let Some(value) = self.value(&entry.node, values, &path.key(&entry.key)) {
                map.insert(entry.key.clone(), value);
            }
        }
        Value::Object(map)
    }

    /// `None` when a required key is missing: what is left could not be made into the type.
    fn record(
        &mut self,
        node: &Node,
        entries: &[Entry],
        record: &Record<'s>,
        path: &KeyPath,
    ) -> Option<Value> {
        let mut map = Map::new();
        for entry in entries {
            if let Some(value) = self.entry(entry, record, path) {
                map.insert(entry.key.clone(), value);
            }
        }
        let complete = self.is_complete(node, record, &map, path);
        complete.then_some(Value::Object(map))
    }

    fn entry(&mut self, entry: &Entry, record: &Record<'s>, above: &KeyPath) -> Option<Value> {
        let path = above.key(&entry.key);
        match self.refusals.judge(&path, &entry.node) {
            Verdict::Refused(reason) => return self.mistake(entry.line, &path, reason.to_owned()),
            Verdict::Harmless if record.key(&entry.key).is_none() => return None,
            Verdict::Harmless | Verdict::Unlisted => {}
        }
        let Some(at) = record.key(&entry.key).or_else(|| record.other_keys()) else {
            return self.unknown_key(entry, record, above);
        };
        // `labels:` with nothing behind it is the key not given.
        if matches!(&entry.node.data, Data::Scalar(scalar) if scalar.is_null()) {
            return None;
        }
        let before = self.mistakes.len();
        let value = self.value(&entry.node, at, &path);
        if self.mistakes.len() > before {
            self.meant.push(path);
        }
        value
    }

    fn is_complete(
        &mut self,
        node: &Node,
        record: &Record<'s>,
        given: &Map<String, Value>,
        path: &KeyPath,
    ) -> bool {
        let mut complete = true;
        for key in record.required().filter(|key| !given.contains_key(*key)) {
            let path = path.key(key);
            if !self.meant.contains(&path) {
                let _: Option<Value> =
                    self.mistake(node.line, &path, "missing; this key is required".to_owned());
            }
            complete = false;
        }
        complete
    }

    fn unknown_key(&mut self, entry: &Entry, record: &Record<'s>, above: &KeyPath) -> Option<Value> {
        let mut text = "unknown key".to_owned();
        let elsewhere = self.sections_with(&entry.key, above);
        if let Some(near) = nearest(&entry.key, record.keys().map(|(key, _)| key)) {
            text += &format!("; did you mean \"{near}\"?");
            self.meant.push(above.key(near));
        } else if !elsewhere.is_empty() {
            text += &format!(" here; it belongs to {}", elsewhere.join(" or "));
        } else {
            text += &format!("; known here: {}", known(record));
        }
        self.mistake(entry.line, &above.key(&entry.key), text)
    }

    fn variant(
        &mut self,
        node: &Node,
        entries: &[Entry],
        tag: &str,
        variants: &[(&'s str, Record<'s>)],
        path: &KeyPath,
    ) -> Option<Value> {
        let words = || variants.iter().map(|(word, _)| *word);
        let tag_path = path.key(tag);
        let Some(entry) = node.entry(tag) else {
            return self.mistake(node.line, &tag_path, format!("missing; expected {}", one_of(words())));
        };
        if let Verdict::Refused(reason) = self.refusals.judge(&tag_path, &entry.node) {
            return self.mistake(entry.line, &tag_path, reason.to_owned());
        }
        let given = match &entry.node.data {
            Data::Scalar(scalar) => scalar.text.as_str(),
            Data::List(_) | Data::Map(_) => "",
        };
        match variants.iter().find(|(word, _)| *word == given) {
            Some((_, record)) => self.record(node, entries, record, path),
            None => {
                let text = unknown_word(given, &words().collect::<Vec<_>>());
                self.mistake(entry.line, &tag_path, text)
            }
        }
    }

    /// Chooses the alternative that a value was written for; when none takes it, complains in terms of the nearest.
    fn either(&mut self, node: &Node, alternatives: Vec<&'s Value>, path: &KeyPath) -> Option<Value> {
        let mut candidates = self.schema.flat_alternatives(alternatives.clone());
        candidates.retain(|at| admits(&self.schema.shape(at), node));
        candidates.sort_by_key(|at| preference(&self.schema.shape(at), node));
        let mut best: Option<Walk<'s>> = None;
        for at in candidates {
            let mut trial = Walk::new(self.schema, self.refusals);
            let value = trial.value(node, at, path);
            if trial.mistakes.is_empty() {
                return value;
            }
            if best.as_ref().is_none_or(|best| trial.mistakes.len() < best.mistakes.len()) {
                best = Some(trial);
            }
        }
        let Some(nearest) = best else {
            return self.wrong_type(node, &Shape::Either(alternatives), path);
        };
        self.mistakes.extend(nearest.mistakes);
        self.meant.extend(nearest.meant);
        None
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar, shape: &Shape<'s>, path: &KeyPath) -> Option<Value> {
        let value = match shape {
            Shape::Text if !scalar.is_null() => Some(Value::String(scalar.text.clone())),
            Shape::Bool => scalar.to_bool().map(Value::Bool),
            Shape::Integer(least, most) => {
                scalar.to_integer().filter(|whole| (least..=most).contains(&whole)).and_then(integer_value)
            }
            Shape::Number => scalar.to_number(),
            Shape::Words(words) => return self.word(node, scalar, words, path),
            _ => None,
        };
        value.or_else(|| self.wrong_type(node, shape, path))
    }

    /// Words are told apart without regard to case: no list has two that differ only in it.
    fn word(&mut self, node: &Node, scalar: &Scalar, words: &[Word<'s>], path: &KeyPath) -> Option<Value> {
        let found = words.iter().find(|word| word.name.eq_ignore_ascii_case(&scalar.text));
        if let Some(word) = found {
            return Some(Value::String(word.name.to_owned()));
        }
        let names: Vec<&str> = words.iter().map(|word| word.name).collect();
        self.mistake(node.line, path, unknown_word(&scalar.text, &names))
    }

    fn wrong_type(&mut self, node: &Node, shape: &Shape<'s>, path: &KeyPath) -> Option<Value> {
        let mut text = format!("expected {}, found {}", shape.expected(self.schema), node.kind());
        if let (Shape::Integer(..), Data::Scalar(scalar)) = (shape, &node.data)
            && scalar.to_integer().is_some()
        {
            text = format!("expected {}; this number is outside", shape.expected(self.schema));
        }
        self.mistake(node.line, path, text)
    }

    fn mistake<T>(&mut self, line: usize, path: &KeyPath, text: String) -> Option<T> {
        self.mistakes.push(Mistake { line, path: path.clone(), text });
        None
    }

    /// Sections, other than this one, that know the key.
    fn sections_with(&self, key: &str, above: &KeyPath) -> Vec<String> {
        let mut found = Vec::new();
        self.search(self.schema.root(), &KeyPath::default(), key, &mut found);
        found.retain(|section| section != above);
        found.truncate(3);
        let name = |path: &KeyPath| {
            if path.segments().is_empty() { "the top level".to_owned() } else { path.to_string() }
        };
        found.iter().map(name).collect()
    }

    fn search(&self, at: &'s Value, path: &KeyPath, key: &str, found: &mut Vec<KeyPath>) {
        let Shape::Record(record) = self.schema.shape(at) else { return };
        if record.key(key).is_some() {
            found.push(path.clone());
        }
        if path.segments().len() < SECTION_DEPTH {
            for (name, inner) in record.keys() {
                self.search(inner, &path.key(name), key, found);
            }
        }
    }
}

fn any(node: &Node) -> Value {
    match &node.data {
        Data::Scalar(scalar) => scalar.to_any(),
        Data::List(items) => Value::Array(items.iter().map(any).collect()),
        Data::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), any(&entry.node))).collect(),
    }
}

fn admits(shape: &Shape<'_>, node: &Node) -> bool {
    match (shape, &node.data) {
        (Shape::Any, _) => true,
        (Shape::List(_), data) => matches!(data, Data::List(_)),
        (Shape::Map(_) | Shape::Record(_) | Shape::Variants(..), data) => matches!(data, Data::Map(_)),
        (_, data) => matches!(data, Data::Scalar(_)),
    }
}

/// Smaller is tried earlier.
fn preference(shape: &Shape<'_>, node: &Node) -> u8 {
    let native = match &node.data {
        Data::Scalar(scalar) => scalar.native(),
        Data::List(_) | Data::Map(_) => Native::Text,
    };
    match shape {
        shape if shape.is_native(native) => 0,
        Shape::Words(_) => 1,
        Shape::Text => 2,
        _ => 3,
    }
}

fn unknown_word(given: &str, words: &[&str]) -> String {
    let expected = one_of(words.iter().copied());
    match nearest(given, words.iter().copied()) {
        Some(near) => format!("unknown value {given:?}; did you mean \"{near}\"? (expected {expected})"),
        None => format!("unknown value {given:?}; expected {expected}"),
    }
}

/// The known word that was probably meant.
fn nearest<'w>(given: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Longer than any key of ours, and the distance is quadratic.
    if given.len() > 100 {
        return None;
    }
    let given = given.to_ascii_lowercase().replace('-', "_");
    let distance = |word: &str| strsim::osa_distance(&given, &word.replace('-', "_"));
    let (distance, word) = known.map(|word| (distance(word), word)).min_by_key(|(distance, _)| *distance)?;
    let longest = word.chars().count().max(given.chars().count());
    (distance * 3 <= longest).then_some(word)
}

fn known(record: &Record<'_>) -> String {
    let keys: Vec<&str> = record.keys().map(|(key, _)| key).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}
