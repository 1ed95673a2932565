//! Actions of rules; only `log("level", "text")` exists.

use super::syntax::{Shape, SyntaxError, parse};

/// Whether an action can be understood.
pub fn check_action(source: &str) -> Result<(), SyntaxError> {
    let node = parse(source)?;
    match &node.shape {
        Shape::Call(name, arguments) if name == "log" => {
            let [level, text] = arguments.as_slice() else {
                return Err(node.error("log takes a level and a text"));
            };
            text.constant()?;
            match level.constant()? {
                "debug" | "info" | "warning" | "error" => Ok(()),
                _ => Err(level.error("the level is one of debug, info, warning and error")),
            }
        }
        _ => Err(node.error("the only action is log(\"info\", \"text\")")),
    }
}

#[cfg(test)]
mod tests {
    use super::check_action;

    #[test]
    fn only_logging_is_an_action() {
        assert_eq!(check_action(r#"log("info", "seen")"#), Ok(()));
        for wrong in [
            r#"log("loud", "x")"#,
            r#"log("info")"#,
            r#"run("info", "x")"#,
            "\"x\"",
            "log(user.metadata.name, \"x\")",
        ] {
            assert!(check_action(wrong).is_err(), "{wrong}");
        }
    }
}
