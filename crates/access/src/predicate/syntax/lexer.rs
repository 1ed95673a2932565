//! Splits an expression into tokens, each with its place.

use super::SyntaxError;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// The smallest parts of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Dot,
    Comma,
    Open,
    Close,
    OpenIndex,
    CloseIndex,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self {
            Self::Word(text) | Self::Text(text) => return write!(f, "{text:?}"),
            Self::End => return f.write_str("the end"),
            Self::Dot => ".",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::OpenIndex => "[",
            Self::CloseIndex => "]",
            Self::Not => "!",
            Self::And => "&&",
            Self::Or => "||",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        };
        write!(f, "{sign:?}")
    }
}

/// Reads characters, counting them.
pub(super) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a str) -> Self {
        Self { rest: source.chars().peekable(), at: 0 }
    }

    /// All tokens; the last one is always [`Token::End`].
    pub fn tokens(mut self) -> Result<Vec<(usize, Token)>, SyntaxError> {
        let mut tokens = Vec::new();
        loop {
            while self.accept_if(char::is_whitespace).is_some() {}
            let start = self.at + 1;
            let Some(first) = self.bump() else {
                tokens.push((start, Token::End));
                return Ok(tokens);
            };
            if let Some(token) = self.token(first, start)? {
                tokens.push((start, token));
            }
        }
    }

    /// The token that starts with `first`; nothing for a comment.
    fn token(&mut self, first: char, start: usize) -> Result<Option<Token>, SyntaxError> {
        let token = match first {
            '.' => Token::Dot,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '[' => Token::OpenIndex,
            ']' => Token::CloseIndex,
            '!' => match self.accept('=') {
                true => Token::NotEqual,
                false => Token::Not,
            },
            '=' if self.accept('=') => Token::Equal,
            '&' if self.accept('&') => Token::And,
            '|' if self.accept('|') => Token::Or,
            '/' if self.accept('/') => {
                while self.accept_if(|c| c != '\n').is_some() {}
                return Ok(None);
            }
            '"' => Token::Text(self.quoted(start)?),
            '`' => Token::Text(self.raw(start)?),
            letter if letter.is_ascii_alphabetic() || letter == '_' => Token::Word(self.word(letter)),
            other => {
                return Err(SyntaxError {
                    at: start,
                    reason: format!("{other:?} is not part of the language"),
                });
            }
        };
        Ok(Some(token))
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(next) = self.accept_if(|c| c.is_ascii_alphanumeric() || c == '_') {
            word.push(next);
        }
        word
    }

    fn quoted(&mut self, start: usize) -> Result<String, SyntaxError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some('\n') | None => return Err(unclosed(start)),
                Some(other) => text.push(other),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, SyntaxError> {
        let at = self.at;
        match self.bump() {
            Some(plain @ ('"' | '\\')) => Ok(plain),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some(other) => {
                let reason = format!("unknown escape \\{other}; write \\\\ for a backslash, or use `...`");
                Err(SyntaxError { at, reason })
            }
            None => Err(unclosed(at)),
        }
    }

    fn raw(&mut self, start: usize) -> Result<String, SyntaxError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('`') => return Ok(text),
                Some(other) => text.push(other),
                None => return Err(unclosed(start)),
            }
        }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.at += usize::from(next.is_some());
        next
    }

    fn accept(&mut self, wanted: char) -> bool {
        self.accept_if(|c| c == wanted).is_some()
    }

    fn accept_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let next = self.rest.next_if(|c| wanted(*c));
        self.at += usize::from(next.is_some());
        next
    }
}

fn unclosed(at: usize) -> SyntaxError {
    SyntaxError { at, reason: "this quote is never closed".into() }
}
