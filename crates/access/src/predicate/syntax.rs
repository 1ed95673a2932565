//! The grammar that label expressions, `where` clauses and templates share.
//!
//! Recursive descent over at most [`MAX_SOURCE`] bytes and [`MAX_DEPTH`] levels; chains of one operator are
//! one node, so no input makes the tree deeper than that. It knows no words: who uses it says which names
//! and functions exist.

mod lexer;

use lexer::{Lexer, Token};

/// The longest expression, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// The deepest nesting of parentheses, negations and calls.
pub const MAX_DEPTH: usize = 32;

/// Why an expression cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at character {at})")]
pub struct SyntaxError {
    /// Counted in characters from 1.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

/// A parsed expression with the place where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub at: usize,
    pub shape: Shape,
}

/// What kind of expression it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Or(Vec<Node>),
    And(Vec<Node>),
    Not(Box<Node>),
    Equal(Box<Node>, Box<Node>),
    NotEqual(Box<Node>, Box<Node>),
    Text(String),
    /// `a.b.c`
    Name(String),
    /// `a.b["key"]`
    Index(String, String),
    /// `a.b(...)`
    Call(String, Vec<Node>),
}

impl Node {
    /// An error about this node.
    pub fn error(&self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { at: self.at, reason: reason.into() }
    }

    /// The text, where a constant is required.
    pub fn constant(&self) -> Result<&str, SyntaxError> {
        match &self.shape {
            Shape::Text(text) => Ok(text),
            _ => Err(self.error("a text in quotes is needed here")),
        }
    }
}

/// Parses a whole expression.
pub(crate) fn parse(source: &str) -> Result<Node, SyntaxError> {
    if source.len() > MAX_SOURCE {
        let reason =
            format!("the expression is {} bytes long; at most {MAX_SOURCE} are allowed", source.len());
        return Err(SyntaxError { at: 1, reason });
    }
    let mut parser = Parser { tokens: Lexer::new(source).tokens()?, next: 0, depth: 0 };
    let node = parser.or()?;
    match parser.peek() {
        Token::End => Ok(node),
        other => Err(parser.error(format!("{other} does not belong here"))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn or(&mut self) -> Result<Node, SyntaxError> {
        self.chain(&Token::Or, Self::and, Shape::Or)
    }

    fn and(&mut self) -> Result<Node, SyntaxError> {
        self.chain(&Token::And, Self::comparison, Shape::And)
    }

    fn chain(
        &mut self,
        operator: &Token,
        operand: fn(&mut Self) -> Result<Node, SyntaxError>,
        shape: fn(Vec<Node>) -> Shape,
    ) -> Result<Node, SyntaxError> {
        let first = operand(self)?;
        let at = first.at;
        let mut operands = vec![first];
        while self.accept(operator) {
            operands.push(operand(self)?);
        }
        match operands.len() {
            1 => Ok(operands.remove(0)),
            _ => Ok(Node { at, shape: shape(operands) }),
        }
    }

    fn comparison(&mut self) -> Result<Node, SyntaxError> {
        let left = self.unary()?;
        let shape: fn(Box<Node>, Box<Node>) -> Shape = match self.peek() {
            Token::Equal => Shape::Equal,
            Token::NotEqual => Shape::NotEqual,
            _ => return Ok(left),
        };
        self.next += 1;
        let right = self.unary()?;
        Ok(Node { at: left.at, shape: shape(Box::new(left), Box::new(right)) })
    }

    fn unary(&mut self) -> Result<Node, SyntaxError> {
        let at = self.at();
        if !self.accept(&Token::Not) {
            return self.primary();
        }
        let inner = self.deeper(Self::unary)?;
        Ok(Node { at, shape: Shape::Not(Box::new(inner)) })
    }

    fn primary(&mut self) -> Result<Node, SyntaxError> {
        let at = self.at();
        match self.take() {
            Token::Text(text) => Ok(Node { at, shape: Shape::Text(text) }),
            Token::Word(word) => self.name(at, word),
            Token::Open => {
                let inner = self.deeper(Self::or)?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Token::End => Err(SyntaxError { at, reason: "the expression ends too early".into() }),
            other => Err(SyntaxError { at, reason: format!("{other} does not belong here") }),
        }
    }

    fn name(&mut self, at: usize, first: String) -> Result<Node, SyntaxError> {
        let mut name = first;
        while self.accept(&Token::Dot) {
            match self.take() {
                Token::Word(word) => {
                    name.push('.');
                    name.push_str(&word);
                }
                _ => return Err(SyntaxError { at, reason: format!("a name must follow \"{name}.\"") }),
            }
        }
        if self.accept(&Token::OpenIndex) {
            let Token::Text(key) = self.take() else {
                return Err(SyntaxError { at, reason: format!("{name}[...] needs a text in quotes") });
            };
            self.expect(&Token::CloseIndex)?;
            return Ok(Node { at, shape: Shape::Index(name, key) });
        }
        if self.accept(&Token::Open) {
            let arguments = self.deeper(Self::arguments)?;
            return Ok(Node { at, shape: Shape::Call(name, arguments) });
        }
        Ok(Node { at, shape: Shape::Name(name) })
    }

    fn arguments(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut arguments = Vec::new();
        if self.accept(&Token::Close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.or()?);
            if self.accept(&Token::Close) {
                return Ok(arguments);
            }
            self.expect(&Token::Comma)?;
        }
    }

    fn deeper<T>(&mut self, parse: fn(&mut Self) -> Result<T, SyntaxError>) -> Result<T, SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        let place = self.tokens.get(self.next).or(self.tokens.last());
        place.map_or(1, |(at, _)| *at)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn accept(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token) -> Result<(), SyntaxError> {
        match self.accept(token) {
            true => Ok(()),
            false => Err(self.error(format!("{token} is missing before {}", self.peek()))),
        }
    }

    fn error(&self, reason: String) -> SyntaxError {
        SyntaxError { at: self.at(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_DEPTH, MAX_SOURCE, Shape, parse};
    use proptest::prelude::*;

    #[test]
    fn operators_bind_as_in_go() {
        let tree = parse(r#"a == "1" || !b.c && d["k"] != `x\y`  // why"#).expect("parses");
        let Shape::Or(sides) = tree.shape else { panic!("|| binds weakest") };
        assert!(matches!(sides[0].shape, Shape::Equal(..)));
        let Shape::And(terms) = &sides[1].shape else { panic!("&& binds stronger than ||") };
        assert!(matches!(terms[0].shape, Shape::Not(..)));
        let Shape::NotEqual(left, right) = &terms[1].shape else { panic!("!= binds stronger than &&") };
        assert_eq!(left.shape, Shape::Index("d".into(), "k".into()));
        assert_eq!(right.shape, Shape::Text(r"x\y".into()));
    }

    #[test]
    fn mistakes_are_placed_and_named() {
        for (source, at, part) in [
            ("", 1, "ends too early"),
            ("a &&", 5, "ends too early"),
            ("(a", 3, "\")\" is missing"),
            ("a)", 2, "does not belong"),
            ("a.", 1, "must follow"),
            ("a[b]", 1, "text in quotes"),
            ("f(a,", 5, "ends too early"),
            ("f(a b)", 5, "is missing"),
            ("\"open", 1, "quote"),
            ("a & b", 3, "&"),
            ("a == b == c", 8, "does not belong"),
        ] {
            let error = parse(source).expect_err(source);
            assert!(error.reason.contains(part) && error.at == at, "{source}: {error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse(&"!".repeat(MAX_SOURCE)).is_err());
        assert!(parse(&"f(".repeat(MAX_SOURCE / 2)).is_err());
        assert!(parse(&format!("\"{}\"", "a".repeat(MAX_SOURCE))).is_err());
        assert!(parse(&vec!["a"; 1000].join("||")).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(source in "\\PC{0,60}") {
            let _ = parse(&source);
        }

        #[test]
        fn never_panics_on_near_misses(parts in prop::collection::vec(
            prop::sample::select(vec!["a", ".", "[", "]", "(", ")", "\"k\"", "!", "&&", "||", "==", "!=", ",", " ", "//", "\n", "`", "\\"]), 0..30)) {
            let _ = parse(&parts.concat());
        }
    }
}
