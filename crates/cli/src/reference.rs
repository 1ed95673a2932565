//! The reference of a program in Markdown, generated from its definition, so that it cannot be wrong.

use clap::{Arg, Command};
use std::fmt::Write;

/// Every command of `program` that is not hidden, with its arguments.
pub fn markdown(program: &Command) -> String {
    let mut program = program.clone();
    program.build();
    let mut text = String::new();
    describe(&program, program.get_name(), 1, &mut text);
    text
}

fn describe(command: &Command, path: &str, level: usize, text: &mut String) {
    put(text, format_args!("{} `{path}`\n\n", "#".repeat(level.min(4))));
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        put(text, format_args!("{about}\n\n"));
    }
    let usage = command.clone().render_usage().to_string();
    put(text, format_args!("```text\n{}\n```\n\n", usage.trim_start_matches("Usage: ").trim()));
    arguments(command, level == 1, text);
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
    {
        describe(below, &format!("{path} {}", below.get_name()), level + 1, text);
    }
}

/// Options that every command has are told once, at the top.
fn arguments(command: &Command, top: bool, text: &mut String) {
    let shown = |argument: &&Arg| {
        let everywhere = matches!(argument.get_id().as_str(), "help" | "version");
        !argument.is_hide_set() && !everywhere && (top || !argument.is_global_set())
    };
    let rows: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str("| Argument | Meaning |\n|---|---|\n");
    for argument in rows {
        put(text, format_args!("| `{}` | {} |\n", cell(&written(argument)), cell(&meaning(argument))));
    }
    text.push('\n');
}

fn written(argument: &Arg) -> String {
    let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = value.map(|names| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "));
    let flags = [
        argument.get_short().map(|short| format!("-{short}")),
        argument.get_long().map(|long| format!("--{long}")),
    ];
    let flags = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match (flags.is_empty(), value) {
        (true, value) => value.unwrap_or_else(|| argument.get_id().to_string()),
        (false, Some(value)) => format!("{flags} {value}"),
        (false, None) => flags,
    }
}

fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = match argument.get_action().takes_values() {
        true => {
            let shown = argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
            shown.map(|value| format!("`{}`", value.get_name())).collect()
        }
        false => Vec::new(),
    };
    if !choices.is_empty() {
        put(&mut text, format_args!("; one of {}", choices.join(", ")));
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        put(&mut text, format_args!("; default `{}`", defaults.join(",")));
    }
    if let Some(variable) = argument.get_env() {
        put(&mut text, format_args!("; environment `{}`", variable.to_string_lossy()));
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    #[test]
    fn says_what_the_definition_says() {
        let program = Command::new("prog")
            .about("Does things")
            .arg(
                Arg::new("level")
                    .long("level")
                    .short('l')
                    .value_name("N")
                    .default_value("3")
                    .help("How | much"),
            )
            .subcommand(
                Command::new("run").about("Runs").arg(Arg::new("file").value_name("FILE").help("What")),
            )
            .subcommand(Command::new("secret").hide(true));
        let text = super::markdown(&program);
        for part in [
            "# `prog`\n\nDoes things\n",
            "| `-l, --level N` | How \\| much; default `3` |",
            "## `prog run`\n\nRuns\n",
            "| `FILE` | What |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("secret") && !text.contains("help"), "{text}");
    }
}
