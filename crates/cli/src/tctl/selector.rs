//! Which resources a command means: `role`, `role/admin`, `roles,users/alice`, `all`.

use access::resource::Kind;
use access::resource::kind::UnknownKind;

/// A kind, or one resource of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The kind.
    pub kind: Kind,
    /// The one resource, or every one of the kind.
    pub name: Option<String>,
}

/// Why a word selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// No such kind.
    #[error("{0}")]
    Kind(#[from] UnknownKind),
    /// Nothing between two commas, or after a slash.
    #[error("{0:?} names no resource; write KIND or KIND/NAME, for example role/admin")]
    Empty(String),
    /// One resource is needed and a kind was given.
    #[error("{0:?} names a kind; one resource is needed here, for example {0}/NAME")]
    NoName(String),
}

impl Selector {
    /// Reads the words of a command line: each may hold several with commas, and `kind name` is `kind/name`.
    pub fn read(words: &[String]) -> Result<Vec<Self>, SelectorError> {
        if let [kind, name] = words
            && !name.contains('/')
            && !kind.contains(['/', ','])
            && name.parse::<Kind>().is_err()
        {
            return Ok(vec![Self { kind: kind.parse()?, name: Some(name.clone()) }]);
        }
        let words = words.iter().flat_map(|word| word.split(','));
        let selectors: Vec<Vec<Self>> = words.map(Self::word).collect::<Result<_, _>>()?;
        Ok(selectors.into_iter().flatten().collect())
    }

    /// Reads words each of which must name one resource; where there is one of a kind only, the kind is enough.
    pub fn read_named(words: &[String]) -> Result<Vec<(Kind, String)>, SelectorError> {
        let named = Self::read(words)?.into_iter().map(|Self { kind, name }| {
            let name = name.or_else(|| kind.single_name().map(str::to_owned));
            name.map(|name| (kind, name)).ok_or_else(|| SelectorError::NoName(kind.to_string()))
        });
        named.collect()
    }

    fn word(word: &str) -> Result<Vec<Self>, SelectorError> {
        if word == "all" {
            return Ok(Kind::all().map(|kind| Self { kind, name: None }).collect());
        }
        let (kind, name) = match word.split_once('/') {
            Some((kind, name)) => (kind, Some(name)),
            None => (word, None),
        };
        if kind.is_empty() || name.is_some_and(str::is_empty) {
            return Err(SelectorError::Empty(word.to_owned()));
        }
        Ok(vec![Self { kind: kind.parse()?, name: name.map(str::to_owned) }])
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Selector, SelectorError};

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn read(text: &str) -> Result<Vec<(Kind, Option<String>)>, SelectorError> {
        Ok(Selector::read(&words(text))?.into_iter().map(|one| (one.kind, one.name)).collect())
    }

    #[test]
    fn kinds_and_names() {
        let named = |kind, name: &str| (kind, Some(name.to_owned()));
        for (text, expected) in [
            ("role", vec![(Kind::Role, None)]),
            ("roles/admin", vec![named(Kind::Role, "admin")]),
            ("role admin", vec![named(Kind::Role, "admin")]),
            ("role user", vec![(Kind::Role, None), (Kind::User, None)]),
            ("roles,users/alice", vec![(Kind::Role, None), named(Kind::User, "alice")]),
            ("bot_instance/b/0", vec![named(Kind::BotInstance, "b/0")]),
            ("cap", vec![(Kind::ClusterAuthPreference, None)]),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        assert_eq!(read("all").expect("everything").len(), Kind::all().count());
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        for text in ["", "elephant", "role/", "/x", "role,,user", "role,"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(Selector::read_named(&words("role")), Err(SelectorError::NoName("role".into())));
        let single = Selector::read_named(&words("cap")).expect("there is one only");
        assert_eq!(single, [(Kind::ClusterAuthPreference, "cluster-auth-preference".to_owned())]);
    }
}
