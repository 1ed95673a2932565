//! From text to a checked value, with all mistakes of a file in one report.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    dropped::Dropped,
    located::{Located, Positions},
    mistake::{Mistake, Mistakes},
    path::{KeyPath, Segment},
    refusals::Refusals,
    schema::Schema,
    tree::{self, Data, Node},
    walk::Walk,
};

/// At most this many mistakes are looked for among those that only deserialising finds.
const DESERIALISE_ROUNDS: usize = 50;

static NOTHING_REFUSED: Refusals = Refusals::new(&[]);

/// Reads `text` as a `T`; `name` is the file's name in messages.
///
/// Unknown keys are mistakes whether or not `T` says `deny_unknown_fields`. `T` must not use `serde(flatten)`.
///
/// # Errors
/// All mistakes of the file.
pub fn decode<T: DeserializeOwned + JsonSchema>(name: &str, text: &str) -> Result<Located<T>, Mistakes> {
    Reader::new(name).decode(text)
}

/// How a kind of configuration file is read; see [`decode`] for the plain case.
pub struct Reader<'a> {
    name: &'a str,
    refusals: &'a Refusals,
    /// The section's name, and the other name it may have in files.
    alias: Option<(&'a str, &'a str)>,
}

impl<'a> Reader<'a> {
    /// A reader for the file of this name; the name is used in messages only.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self { name, refusals: &NOTHING_REFUSED, alias: None }
    }

    /// Keys to refuse by name.
    #[must_use]
    pub fn refusals(mut self, refusals: &'a Refusals) -> Self {
        self.refusals = refusals;
        self
    }

    /// Lets the top-level section `section` also be called `other`; both in one file are a mistake. Paths in the rest of
    /// the program always say `section`, messages say what the file says.
    #[must_use]
    pub fn alias(mut self, section: &'a str, other: &'a str) -> Self {
        self.alias = Some((section, other));
        self
    }

    /// Reads `text` as a `T`.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn decode<T: DeserializeOwned + JsonSchema>(&self, text: &str) -> Result<Located<T>, Mistakes> {
        let mut reading = self.read::<T>(text);
        match reading.value.take() {
            Some(value) if reading.mistakes.is_empty() => Ok(Located::new(value, reading.positions)),
            _ => Err(self.report(reading.mistakes, reading.alias_used)),
        }
    }

    /// Reads `text` as a `T` and makes a `C` of it. `check` adds what it finds wrong to the [`Report`]; it also runs when
    /// there are mistakes already, on the part of the file that is right, so that all of them are reported at once.
    ///
    /// # Errors
    /// All mistakes of the file, those of the syntax and those of the check.
    pub fn check<T, C>(
        &self,
        text: &str,
        check: impl FnOnce(T, &mut Report<'_>) -> Option<C>,
    ) -> Result<C, Mistakes>
    where
        T: DeserializeOwned + JsonSchema,
    {
        let mut reading = self.read::<T>(text);
        let mut report = Report {
            positions: &reading.positions,
            meant: &reading.meant,
            dropped: &reading.dropped,
            found: Vec::new(),
        };
        let checked = reading.value.take().and_then(|value| check(value, &mut report));
        let found = report.found;
        reading.mistakes.extend(found);
        match checked {
            Some(checked) if reading.mistakes.is_empty() => Ok(checked),
            _ => {
                if reading.mistakes.is_empty() {
                    let text = "refused by its check without a reason".to_owned();
                    reading.mistakes.push(Mistake { line: 0, path: KeyPath::default(), text });
                }
                Err(self.report(reading.mistakes, reading.alias_used))
            }
        }
    }

    fn read<T: DeserializeOwned + JsonSchema>(&self, text: &str) -> Reading<T> {
        let mut mistakes = Vec::new();
        let mut root = match tree::parse(text, &mut mistakes) {
            Ok(root) => root,
            Err(stopped) => return Reading::stopped(mistakes, stopped),
        };
        let alias_used = self.unify_alias(&mut root, &mut mistakes);
        let root_schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>();
        let schema = Schema::new(root_schema.as_value());
        let mut walk = Walk::new(schema, self.refusals);
        let value = walk.value(&root, schema.root(), &KeyPath::default());
        let positions = Positions::new(root);
        let mut meant = walk.meant;
        meant.extend(mistakes.iter().chain(&walk.mistakes).map(|mistake| mistake.path.clone()));
        mistakes.append(&mut walk.mistakes);
        let mut reading =
            Reading { value: None, positions, mistakes, meant, dropped: walk.dropped, alias_used };
        reading.value = value.and_then(|value| reading.deserialise(value));
        reading
    }

    /// Gives the section its own name in the tree, if the file uses the other one.
    fn unify_alias(&self, root: &mut Node, mistakes: &mut Vec<Mistake>) -> bool {
        let (Some((section, other)), Data::Map(entries)) = (self.alias, &mut root.data) else { return false };
        let Some(at) = entries.iter().position(|entry| entry.key == other) else { return false };
        if let Some(first) = entries.iter().find(|entry| entry.key == section) {
            let text = format!(
                "\"{other}\" is another name for \"{section}\", given in line {}; keep one",
                first.line
            );
            mistakes.push(Mistake { line: entries[at].line, path: KeyPath::from(other), text });
            entries.remove(at);
            return false;
        }
        section.clone_into(&mut entries[at].key);
        true
    }

    fn report(&self, mut mistakes: Vec<Mistake>, alias_used: bool) -> Mistakes {
        if let (Some((section, other)), true) = (self.alias, alias_used) {
            for mistake in &mut mistakes {
                mistake.path = mistake.path.rename_top(section, other);
            }
        }
        Mistakes::new(self.name, mistakes)
    }
}

/// What reading a file came to, as far as it went.
struct Reading<T> {
    value: Option<T>,
    positions: Positions,
    mistakes: Vec<Mistake>,
    meant: Vec<KeyPath>,
    dropped: Dropped,
    alias_used: bool,
}

impl<T> Reading<T> {
    fn stopped(mut mistakes: Vec<Mistake>, stopped: Mistake) -> Self {
        mistakes.push(stopped);
        let positions = Positions::new(Node { line: 0, data: Data::Map(Vec::new()) });
        Self {
            value: None,
            positions,
            mistakes,
            meant: Vec::new(),
            dropped: Dropped::default(),
            alias_used: false,
        }
    }
}

impl<T: DeserializeOwned> Reading<T> {
    /// Deserialises what the schema found right. What only serde knows (newtypes that check their text) stops it at
    /// the first mistake; so the part is recorded, left out, and the rest tried again.
    fn deserialise(&mut self, mut value: Value) -> Option<T> {
        for _ in 0..DESERIALISE_ROUNDS {
            let error = match serde_path_to_error::deserialize::<_, T>(&value) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let path = key_path(error.path());
            let text = error.into_inner().to_string();
            // Left out because of a mistake that is on the list already.
            if text.starts_with("missing field") && !self.mistakes.is_empty() {
                return None;
            }
            let place = self.dropped.place_in_file(&path);
            let line = self.positions.line_at_or_above(&place);
            self.mistakes.push(Mistake { line, path: place.clone(), text });
            self.meant.push(place.clone());
            match remove(&mut value, &path)? {
                Segment::Item(_) => self.dropped.add(place),
                Segment::Key(_) => {}
            }
        }
        None
    }
}

/// Where a semantic check writes what it finds.
pub struct Report<'r> {
    positions: &'r Positions,
    meant: &'r [KeyPath],
    dropped: &'r Dropped,
    found: Vec<Mistake>,
}

impl Report<'_> {
    /// Adds a mistake at a key, which need not stand in the file: its line is then that of the enclosing section.
    ///
    /// Says nothing when the key has a mistake already; a key that is misspelt is not also missing.
    pub fn mistake(&mut self, path: impl Into<KeyPath>, text: impl Into<String>) {
        let path = path.into();
        if self.is_mistaken(path.clone()) {
            return;
        }
        let path = self.dropped.place_in_file(&path);
        self.found.push(Mistake { line: self.positions.line_at_or_above(&path), path, text: text.into() });
    }

    /// Whether reading the file has found a mistake at this key: its value is not what was meant.
    pub fn is_mistaken(&self, path: impl Into<KeyPath>) -> bool {
        let path = self.dropped.place_in_file(&path.into());
        self.meant.iter().any(|meant| meant.is_within(&path))
    }

    /// For `result.map_err(...)` in one line: adds the error at the key and gives what was there otherwise.
    pub fn take<V, E: std::fmt::Display>(
        &mut self,
        path: impl Into<KeyPath>,
        result: Result<V, E>,
    ) -> Option<V> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(path, error.to_string());
                None
            }
        }
    }
}

fn key_path(path: &serde_path_to_error::Path) -> KeyPath {
    use serde_path_to_error::Segment as Step;
    path.iter().fold(KeyPath::default(), |above, step| match step {
        Step::Seq { index } => above.item(*index),
        Step::Map { key } => above.key(key),
        Step::Enum { .. } | Step::Unknown => above,
    })
}

/// Takes a part out of the value; tells whether it was a key or a list item, `None` if it was not found.
fn remove(value: &mut Value, path: &KeyPath) -> Option<Segment> {
    let (last, above) = path.segments().split_last()?;
    let mut here = value;
    for segment in above {
        here = match segment {
            Segment::Key(key) => here.get_mut(key)?,
            Segment::Item(nth) => here.get_mut(nth)?,
        };
    }
    match (last, here) {
        (Segment::Key(key), Value::Object(map)) => drop(map.remove(key)?),
        (Segment::Item(nth), Value::Array(items)) if *nth < items.len() => drop(items.remove(*nth)),
        _ => return None,
    }
    Some(last.clone())
}
