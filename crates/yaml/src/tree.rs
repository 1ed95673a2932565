//! YAML text as a tree that remembers lines and keeps scalars as written.
//!
//! What a scalar means (`1.10`, `yes`) is decided by the type that asks for it, so the tree does not guess.
//! Bounded in size, depth and the work that aliases can cause; keys that stand twice are mistakes.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::{mistake::Mistake, path::KeyPath};

const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
/// Nodes after aliases are expanded.
const MAX_NODES: usize = 50_000;

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) data: Data,
}

#[derive(Clone)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// `plain` is false for quoted and block scalars, which are text whatever they look like.
#[derive(Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) plain: bool,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Data::Scalar(_) | Data::List(_) => None,
        }
    }

    /// How messages name what was found.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Map(_) => "a mapping",
            Data::List(_) => "a list",
            Data::Scalar(scalar) => scalar.kind(),
        }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Scalar(_) => 0,
            Data::List(items) => items.iter().map(Self::size).sum(),
            Data::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }
}

/// Reads exactly one document. The error is what stopped the reading; repeated keys are collected in `mistakes` (the
/// first of them counts) and do not stop it.
pub(crate) fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Result<Node, Mistake> {
    if text.len() > MAX_BYTES {
        return Err(stop(0, format!("file is larger than {MAX_BYTES} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { text, parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0, mistakes };
    builder.document()
}

struct Builder<'t, 'm> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    /// Finished nodes by anchor; an anchor that is still open is not here, so nothing can contain itself.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Node, Mistake> {
        let node = loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => {
                    return Err(stop(0, "file is empty".to_owned()));
                }
                (event, span) => break self.node(event, span, &KeyPath::default(), 0)?,
            }
        };
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(node),
                (Event::DocumentStart(_), span) => {
                    let text = "a second document begins here; a configuration file holds one".to_owned();
                    return Err(stop(span.start.line(), text));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Mistake> {
        match self.parser.next_event() {
            Some(event) => event.map_err(|error| not_yaml(&error, self.text)),
            None => Err(stop(0, "file ends in the middle of a value".to_owned())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, path: &KeyPath, depth: usize) -> Result<Node, Mistake> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(stop(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.spend(1, line)?;
        let (anchor, data) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text_tag(tag.as_deref(), line)?;
                (anchor, Data::Scalar(Scalar { text: text.into_owned(), plain }))
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", line)?;
                (anchor, Data::List(self.items(path, depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", line)?;
                (anchor, Data::Map(self.entries(path, depth)?))
            }
            _ => return Err(stop(line, "a value is missing here".to_owned())),
        };
        let node = Node { line, data };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, path: &KeyPath, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, &path.item(items.len()), depth + 1)?),
            }
        }
    }

    fn entries(&mut self, path: &KeyPath, depth: usize) -> Result<Vec<Entry>, Mistake> {
        let mut entries: Vec<Entry> = Vec::new();
        // Beside the list, so that a mapping of many keys is not searched from the start for each of them.
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (event, span) => (key_text(event, span)?, span.start.line()),
            };
            let path = path.key(&key);
            let (event, span) = self.next()?;
            let node = self.node(event, span, &path, depth + 1)?;
            if let Some(first) = seen.get(&key) {
                let text = format!("key is given twice, first in line {first}; remove one of them");
                self.mistakes.push(Mistake { line, path, text });
                continue;
            }
            seen.insert(key.clone(), line);
            entries.push(Entry { key, line, node });
        }
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, Mistake> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(stop(line, "alias refers to a value that contains it".to_owned()));
        };
        let size = node.size();
        let mut node = node.clone();
        node.line = line;
        self.spend(size, line)?;
        Ok(node)
    }

    fn spend(&mut self, nodes: usize, line: usize) -> Result<(), Mistake> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(stop(line, format!("more than {MAX_NODES} values, aliases included")));
        }
        Ok(())
    }
}

fn key_text(event: Event<'_>, span: Span) -> Result<String, Mistake> {
    let line = span.start.line();
    match event {
        Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
            Err(stop(line, "merge keys (`<<`) are not supported; write the keys out".to_owned()))
        }
        Event::Scalar(text, _, 0, None) => Ok(text.into_owned()),
        _ => Err(stop(line, "a key is plain text, without anchor, alias or tag".to_owned())),
    }
}

/// `!!str` makes text of a plain scalar; every other tag would ask for a type of somebody else's.
fn is_text_tag(tag: Option<&Tag>, line: usize) -> Result<bool, Mistake> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) => Err(unknown_tag(tag, line)),
    }
}

fn refuse_tag(tag: Option<&Tag>, allowed: &str, line: usize) -> Result<(), Mistake> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => Err(unknown_tag(tag, line)),
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, line: usize) -> Mistake {
    stop(line, format!("tag `{tag}` is not supported; remove it"))
}

fn not_yaml(error: &ScanError, text: &str) -> Mistake {
    let line = error.marker().line();
    if let Some(line) = indented_with_tab(error, text) {
        return stop(line, "not valid YAML: indented with a tab; indent with spaces only".to_owned());
    }
    stop(line, format!("not valid YAML: {} (column {})", error.info(), error.marker().col() + 1))
}

/// The line with the tab, where the parser complains of one: it names the line on which the value before it began.
fn indented_with_tab(error: &ScanError, text: &str) -> Option<usize> {
    if !error.info().contains("tab") {
        return None;
    }
    let from = error.marker().line();
    let numbered = (1..).zip(text.lines()).skip_while(|(number, _)| *number < from);
    let indentation = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut suspects = numbered.filter(|(_, line)| !line.trim().is_empty());
    suspects.find(|(_, line)| line[..indentation(line)].contains('\t')).map(|(number, _)| number)
}

fn stop(line: usize, text: String) -> Mistake {
    Mistake { line, path: KeyPath::default(), text }
}

#[cfg(test)]
mod tests {
    use super::{Data, parse};

    fn refusal(text: &str) -> String {
        match parse(text, &mut Vec::new()) {
            Ok(_) => panic!("accepted: {text}"),
            Err(mistake) => format!("{}: {}", mistake.line, mistake.text),
        }
    }

    #[test]
    fn hostile_or_foreign_text_is_refused_with_its_line() {
        let deep = "[".repeat(80) + &"]".repeat(80);
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..9 {
            bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
        }
        for (text, says) in [
            ("", "0: file is empty"),
            ("# only a comment\n", "0: file is empty"),
            ("a: 1\n---\nb: 2\n", "2: a second document begins here; a configuration file holds one"),
            ("a: &x [*x]\n", "1: alias refers to a value that contains it"),
            ("a: 1\n<<: {b: 1}\n", "2: merge keys (`<<`) are not supported; write the keys out"),
            ("? [a]\n: 1\n", "1: a key is plain text, without anchor, alias or tag"),
            ("a: !ruby/object x\n", "1: tag `!ruby/object` is not supported; remove it"),
            (deep.as_str(), "1: nested deeper than 64 levels"),
            (bomb.as_str(), "5: more than 50000 values, aliases included"),
        ] {
            assert_eq!(refusal(text), says, "{text:.60}");
        }
        assert!(refusal("a: [\n").starts_with("2: not valid YAML:"));
        assert!(refusal(&"x".repeat(super::MAX_BYTES + 1)).contains("larger than"));
    }

    #[test]
    fn a_tab_is_told_with_its_own_line() {
        for (text, line) in [
            ("a:\n\t- b\n", 2),
            ("a:\n  b: yes\n\tc: x\n", 3),
            ("a:\n  b: c\n\n\t\n  # d\n\tf: g\n", 6),
            ("a:\n  - b\n\t- c\n", 3),
            ("a: |\n\tx\n", 2),
            ("a: \"x\n\ty\"\n", 2),
        ] {
            let expected = format!("{line}: not valid YAML: indented with a tab; indent with spaces only");
            assert_eq!(refusal(text), expected, "{text:?}");
        }
    }

    #[test]
    fn repeated_keys_are_collected_and_the_first_counts() {
        let mut mistakes = Vec::new();
        let node = parse("a:\n  b: 1\n  b: 2\na: 3\n", &mut mistakes).map_err(|m| m.text).expect("reads");
        let said: Vec<String> = mistakes.iter().map(|m| format!("{} {}", m.line, m.path)).collect();
        assert_eq!(said, ["3 a.b", "4 a"]);
        assert!(
            matches!(node.entry("a").map(|e| &e.node.data), Some(Data::Map(entries)) if entries.len() == 1)
        );
    }

    #[test]
    fn scalars_stay_as_written_and_aliases_expand() {
        let node = parse("a: &v 1.10\nb: *v\nc: \"yes\"\nd: !!str 5\n", &mut Vec::new())
            .map_err(|m| m.text)
            .expect("reads");
        let scalar = |key: &str| match &node.entry(key).expect("key").node.data {
            Data::Scalar(scalar) => (scalar.text.clone(), scalar.plain),
            _ => panic!("not a scalar"),
        };
        assert_eq!(scalar("b"), ("1.10".to_owned(), true));
        assert_eq!(scalar("c"), ("yes".to_owned(), false));
        assert_eq!(scalar("d"), ("5".to_owned(), false));
        assert_eq!(node.entry("b").expect("key").node.line, 2);
    }
}
