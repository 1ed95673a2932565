//! A JSON schema, as schemars writes it for serde types, seen one level at a time.
//!
//! Only the forms that schemars produces are understood; a form that is not becomes [`Shape::Any`], and serde then has
//! the last word. References are followed when a level is looked at, so recursive types are no trouble.

use serde_json::{Map, Value};

use crate::scalar::Native;

/// What may stand at one place of a file.
pub(crate) enum Shape<'s> {
    Any,
    Bool,
    /// Bounds included.
    Integer(i128, i128),
    Number,
    Text,
    /// One of a closed list of words.
    Words(Vec<Word<'s>>),
    List(&'s Value),
    /// Keys of the user's choosing.
    Map(&'s Value),
    Record(Record<'s>),
    /// Records told apart by the value of one key.
    Variants(&'s str, Vec<(&'s str, Record<'s>)>),
    Either(Vec<&'s Value>),
}

pub(crate) struct Word<'s> {
    pub(crate) name: &'s str,
    pub(crate) about: Option<&'s str>,
}

pub(crate) struct Record<'s> {
    schema: &'s Map<String, Value>,
}

/// A schema document: types refer to each other by name within it.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'s> {
    root: &'s Value,
}

impl<'s> Schema<'s> {
    pub(crate) fn new(root: &'s Value) -> Self {
        Self { root }
    }

    pub(crate) fn root(self) -> &'s Value {
        self.root
    }

    pub(crate) fn shape(self, at: &'s Value) -> Shape<'s> {
        let Some(schema) = self.resolve(at).as_object() else { return Shape::Any };
        if let Some(words) = words_of(schema) {
            return Shape::Words(words);
        }
        if let Some(one_of) = alternatives(schema) {
            return self.alternatives_shape(one_of);
        }
        match type_of(schema) {
            Some("boolean") => Shape::Bool,
            Some("integer") => integer_shape(schema),
            Some("number") => Shape::Number,
            Some("string") => Shape::Text,
            Some("array") => schema.get("items").map_or(Shape::Any, Shape::List),
            Some("object") => object_shape(schema),
            _ => Shape::Any,
        }
    }

    pub(crate) fn about(self, at: &'s Value) -> Option<&'s str> {
        let text = |schema: &'s Value| schema.get("description").and_then(Value::as_str);
        text(at).or_else(|| text(self.resolve(at)))
    }

    pub(crate) fn default(self, at: &'s Value) -> Option<&'s Value> {
        at.get("default").or_else(|| self.resolve(at).get("default"))
    }

    /// Follows references, and the `Option` of a type to the type.
    pub(crate) fn resolve(self, at: &'s Value) -> &'s Value {
        let mut here = at;
        // As many hops as a sensible schema has; a circle of bare references means nothing.
        for _ in 0..16 {
            let next = here.get("$ref").and_then(Value::as_str).and_then(|name| self.named(name));
            match next.or_else(|| only_alternative(here)) {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }

    fn named(self, reference: &str) -> Option<&'s Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    fn alternatives_shape(self, alternatives: &'s [Value]) -> Shape<'s> {
        let alternatives: Vec<&Value> = alternatives.iter().filter(|one| !is_null(one)).collect();
        if let Some((tag, variants)) = self.variants(&alternatives) {
            return Shape::Variants(tag, variants);
        }
        Shape::Either(alternatives)
    }

    /// Records of which each fixes the same key to a word of its own.
    fn variants(self, alternatives: &[&'s Value]) -> Option<(&'s str, Vec<(&'s str, Record<'s>)>)> {
        let first = self.record(alternatives.first()?)?;
        let (tag, _) = first.keys().find(|(_, at)| at.get("const").is_some())?;
        let variant = |one: &&'s Value| {
            let record = self.record(one)?;
            let word = record.schema.get("properties")?.get(tag)?.get("const")?.as_str()?;
            Some((word, record))
        };
        let variants: Option<Vec<_>> = alternatives.iter().map(variant).collect();
        Some((tag, variants?))
    }

    fn record(self, at: &'s Value) -> Option<Record<'s>> {
        match self.shape(at) {
            Shape::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Alternatives without nesting, for matching a value against them.
    pub(crate) fn flat_alternatives(self, alternatives: Vec<&'s Value>) -> Vec<&'s Value> {
        let mut flat = Vec::new();
        for one in alternatives {
            match self.shape(one) {
                Shape::Either(inner) if flat.len() < 32 => flat.extend(inner),
                _ => flat.push(one),
            }
        }
        flat
    }
}

impl<'s> Record<'s> {
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'s str, &'s Value)> + use<'s> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, at)| (key.as_str(), at))
    }

    pub(crate) fn about(&self) -> Option<&'s str> {
        self.schema.get("description").and_then(Value::as_str)
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'s Value> {
        self.schema.get("properties")?.get(name)
    }

    /// The type of keys that are not listed, where there is one.
    pub(crate) fn other_keys(&self) -> Option<&'s Value> {
        self.schema.get("additionalProperties").filter(|other| other.is_object())
    }

    pub(crate) fn requires(&self, name: &str) -> bool {
        self.required().any(|required| required == name)
    }

    pub(crate) fn required(&self) -> impl Iterator<Item = &'s str> + use<'s> {
        let required = self.schema.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str)
    }
}

impl Shape<'_> {
    /// How messages name what is expected.
    pub(crate) fn expected(&self, schema: Schema<'_>) -> String {
        match self {
            Self::Any => "a value".to_owned(),
            Self::Bool => "yes or no".to_owned(),
            Self::Integer(i128::MIN, i128::MAX) => "a whole number".to_owned(),
            Self::Integer(least, i128::MAX) => format!("a whole number of at least {least}"),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number => "a number".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Words(words) => one_of(words.iter().map(|word| word.name)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) | Self::Record(_) | Self::Variants(..) => "a mapping".to_owned(),
            Self::Either(alternatives) => {
                let mut names: Vec<String> = Vec::new();
                for one in alternatives {
                    let name = schema.shape(one).expected(schema);
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                names.join(" or ")
            }
        }
    }

    /// Whether a scalar that looks like this is at home here; used to choose between alternatives.
    pub(crate) fn is_native(&self, native: Native) -> bool {
        matches!(
            (self, native),
            (Self::Bool, Native::Bool(_))
                | (Self::Integer(..), Native::Integer(_))
                | (Self::Number, Native::Integer(_) | Native::Float(_))
        )
    }
}

/// "one of a, b, c", or the word itself when there is but one.
pub(crate) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.as_slice() {
        [only] => format!("\"{only}\""),
        several => format!("one of {}", several.join(", ")),
    }
}

fn alternatives(schema: &Map<String, Value>) -> Option<&[Value]> {
    let several = schema.get("oneOf").or_else(|| schema.get("anyOf"))?;
    several.as_array().map(Vec::as_slice)
}

/// `Option<T>`, or a type wrapped only to give it a description.
fn only_alternative(at: &Value) -> Option<&Value> {
    let schema = at.as_object()?;
    let several = alternatives(schema).or_else(|| schema.get("allOf")?.as_array().map(Vec::as_slice))?;
    let mut real = several.iter().filter(|one| !is_null(one));
    let only = real.next()?;
    // A single word keeps its place in the list, so that it can be printed as one.
    (real.next().is_none() && only.get("const").is_none() && !schema.contains_key("properties"))
        .then_some(only)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|one| one == "null")
}

/// Words of a closed list: `enum` of strings, or `oneOf` of described constants and further lists.
fn words_of(schema: &Map<String, Value>) -> Option<Vec<Word<'_>>> {
    if let Some(name) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![Word { name, about: schema.get("description").and_then(Value::as_str) }]);
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        let word = |value| Value::as_str(value).map(|name| Word { name, about: None });
        return list.iter().filter(|value| !value.is_null()).map(word).collect();
    }
    let parts = alternatives(schema)?.iter().filter(|one| !is_null(one));
    let lists: Option<Vec<_>> = parts.map(|one| words_of(one.as_object()?)).collect();
    lists.filter(|lists| !lists.is_empty()).map(|lists| lists.into_iter().flatten().collect())
}

fn type_of(schema: &Map<String, Value>) -> Option<&str> {
    match schema.get("type")? {
        Value::String(one) => Some(one),
        Value::Array(several) => {
            let mut real = several.iter().filter_map(Value::as_str).filter(|one| *one != "null");
            let only = real.next()?;
            real.next().is_none().then_some(only)
        }
        _ => None,
    }
}

fn integer_shape<'s>(schema: &Map<String, Value>) -> Shape<'s> {
    let bound =
        |name: &str| schema.get(name).and_then(Value::as_number).and_then(|n| n.to_string().parse().ok());
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i128::from(u8::MAX)),
        Some("uint16") => (0, i128::from(u16::MAX)),
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("uint" | "uint64") => (0, i128::MAX),
        Some("int8") => (i128::from(i8::MIN), i128::from(i8::MAX)),
        Some("int16") => (i128::from(i16::MIN), i128::from(i16::MAX)),
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::MIN, i128::MAX),
    };
    Shape::Integer(bound("minimum").unwrap_or(least), bound("maximum").unwrap_or(most))
}

fn object_shape(schema: &Map<String, Value>) -> Shape<'_> {
    if schema.contains_key("properties") {
        return Shape::Record(Record { schema });
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => Shape::Record(Record { schema }),
        Some(values) => Shape::Map(values),
        None => Shape::Any,
    }
}
