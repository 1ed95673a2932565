//! What a scalar means to the type that asks for it.
//!
//! Plain scalars follow the YAML 1.2 core schema. Two kindnesses, both only where nothing else could be meant: a
//! yes/no key takes `yes`, `no`, `on`, `off` in any case and also quoted, and a numeric key takes a quoted number.

use serde_json::Value;

use crate::tree::Scalar;

/// What a plain scalar is when nobody asks for a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Native {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text,
}

impl Scalar {
    pub(crate) fn native(&self) -> Native {
        if !self.plain {
            return Native::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Native::Null,
            "true" | "True" | "TRUE" => Native::Bool(true),
            "false" | "False" | "FALSE" => Native::Bool(false),
            text => integer(text)
                .map(Native::Integer)
                .or_else(|| float(text).map(Native::Float))
                .unwrap_or(Native::Text),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.native() == Native::Null
    }

    pub(crate) fn to_bool(&self) -> Option<bool> {
        match self.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn to_integer(&self) -> Option<i128> {
        integer(&self.text)
    }

    pub(crate) fn to_number(&self) -> Option<Value> {
        if let Some(whole) = self.to_integer() {
            return integer_value(whole);
        }
        serde_json::Number::from_f64(float(&self.text)?).map(Value::Number)
    }

    /// The value for a key that takes anything.
    pub(crate) fn to_any(&self) -> Value {
        match self.native() {
            Native::Null => Value::Null,
            Native::Bool(flag) => Value::Bool(flag),
            Native::Integer(whole) => {
                integer_value(whole).unwrap_or_else(|| Value::String(self.text.clone()))
            }
            Native::Float(float) => serde_json::Number::from_f64(float)
                .map_or_else(|| Value::String(self.text.clone()), Value::Number),
            Native::Text => Value::String(self.text.clone()),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.native() {
            Native::Null => "nothing",
            Native::Bool(_) => "true or false",
            Native::Integer(_) | Native::Float(_) => "a number",
            Native::Text => "text",
        }
    }
}

/// `None` when JSON cannot hold it, that is outside of i64 and u64.
pub(crate) fn integer_value(whole: i128) -> Option<Value> {
    i64::try_from(whole).map(Value::from).or_else(|_| u64::try_from(whole).map(Value::from)).ok()
}

fn integer(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits
            .chars()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| i128::from_str_radix(digits, 16).ok())?;
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits.chars().all(|c| c.is_digit(8)).then(|| i128::from_str_radix(digits, 8).ok())?;
    }
    text.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    // Rust also reads `inf`, `nan` and `infinity`, which are plain words in YAML.
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
        && text.contains(|c: char| c.is_ascii_digit());
    if numeric { text.parse().ok().filter(|float: &f64| float.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::Native;
    use crate::tree::Scalar;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, native) in [
            ("", Native::Null),
            ("~", Native::Null),
            ("true", Native::Bool(true)),
            ("yes", Native::Text),
            ("0", Native::Integer(0)),
            ("-17", Native::Integer(-17)),
            ("0x1F", Native::Integer(31)),
            ("0o17", Native::Integer(15)),
            ("0x-1", Native::Text),
            ("1.10", Native::Float(1.1)),
            ("1e3", Native::Float(1000.0)),
            (".", Native::Text),
            ("inf", Native::Text),
            ("1.2.3", Native::Text),
            ("10m", Native::Text),
        ] {
            assert_eq!(Scalar { text: text.to_owned(), plain: true }.native(), native, "{text}");
            assert_eq!(
                Scalar { text: text.to_owned(), plain: false }.native(),
                Native::Text,
                "quoted {text}"
            );
        }
    }

    #[test]
    fn yes_and_no_in_every_spelling() {
        for (text, flag) in
            [("yes", Some(true)), ("On", Some(true)), ("FALSE", Some(false)), ("off", Some(false))]
        {
            assert_eq!(Scalar { text: text.to_owned(), plain: false }.to_bool(), flag);
        }
        for odd in ["", "y", "1", "enabled"] {
            assert_eq!(Scalar { text: odd.to_owned(), plain: true }.to_bool(), None, "{odd}");
        }
    }
}
