//! `tctl edit`: a resource in an editor, stored only if nobody changed it meanwhile. What was typed is never lost.

use super::Selector;
use super::session::Session;
use super::show::called;
use crate::Failure;
use crate::documents::{self, Ordered};
use access::resource::{Kind, Resource};
use api::status::Class;
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// Arguments of `tctl edit`.
#[derive(Debug, Args)]
pub struct Edit {
    /// KIND/NAME
    #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
    pub resource: Vec<String>,
}

#[derive(Serialize)]
struct Edited {
    kind: &'static str,
    name: String,
    action: &'static str,
}

impl Edit {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let named =
            Selector::read_named(&self.resource).map_err(|error| Failure::usage(error.to_string()))?;
        let [(kind, name)] = named.as_slice() else {
            return Err(Failure::usage("one resource at a time can be edited"));
        };
        let (kind, name) = (*kind, name.as_str());
        let value = session.resources()?.one(kind, name, true).await?;
        let before = documents::to_yaml(&Ordered::of(&value))?;
        let revision = value["metadata"]["revision"].as_str().map(str::to_owned);
        let file = scratch(&before)
            .map_err(|error| Failure::new(format!("cannot write a scratch file: {error}")))?;
        run_editor(&editor(), file.path())?;
        let after = read_back(&file)?;
        if after == before {
            return session.tell(&edited(kind, name, "unchanged"), "Edit cancelled, no changes were made.");
        }
        match store(&after, (kind, name), revision, session).await {
            Ok(()) => {
                let sentence = format!("{} has been updated", called(kind, name));
                session.tell(&edited(kind, name, "updated"), sentence)
            }
            Err(failure) => Err(kept(failure, file)),
        }
    }
}

fn edited(kind: Kind, name: &str, action: &'static str) -> Edited {
    let name = if kind == Kind::Token { access::resource::token::masked(name) } else { name.to_owned() };
    Edited { kind: kind.as_str(), name, action }
}

async fn store(
    text: &str,
    (kind, name): (Kind, &str),
    revision: Option<String>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut documents = documents::read(text).map_err(|mistakes| Failure::new(mistakes.to_string()))?;
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return Err(Failure::new("several resources in one edit").hint("use tctl create -f for several"));
    };
    let mut resource: Resource = document.resource;
    if resource.kind() != kind || resource.name() != name {
        return Err(Failure::new(format!(
            "kind and name of {} cannot be changed by an edit",
            called(kind, name)
        ))
        .hint("create the other one with tctl create and remove this one with tctl rm"));
    }
    // What was read is what may be replaced, whatever happened to the line in the editor.
    resource.metadata_mut().revision = revision;
    session.resources()?.upsert(&resource).await.map(drop)
}

/// The user's text stays where it is, and the failure says where.
fn kept(failure: Failure, file: NamedTempFile) -> Failure {
    let advice = match failure.class {
        Some(Class::Conflict) => "somebody changed it meanwhile; edit again",
        _ => "mend it and store it with tctl create -f",
    };
    let advice =
        if failure.hint.is_empty() { advice.to_owned() } else { format!("{}; {advice}", failure.hint) };
    match file.keep() {
        Ok((_, path)) => failure.hint(format!("{advice}; your text is kept in {}", path.display())),
        Err(error) => failure.hint(format!("{advice}; your text could not be kept: {}", error.error)),
    }
}

/// Readable by its owner only: it may hold secrets.
fn scratch(text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("tctl-edit-").suffix(".yaml").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

fn read_back(file: &NamedTempFile) -> Result<String, Failure> {
    // By name: editors replace the file rather than write into it.
    std::fs::read_to_string(file.path())
        .map_err(|error| Failure::new(format!("cannot read the edited text: {error}; nothing was changed")))
}

/// The editor and its arguments, as people set it (`code --wait`).
fn editor() -> Vec<String> {
    let set = ["TELEPORT_EDITOR", "VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    let mut set = set.map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    set.find(|words| !words.is_empty()).unwrap_or_else(|| vec!["vi".to_owned()])
}

fn run_editor(editor: &[String], file: &Path) -> Result<(), Failure> {
    let (program, arguments) = editor.split_first().ok_or_else(|| Failure::new("there is no editor"))?;
    let status = Command::new(program).args(arguments).arg(file).status();
    let hint = "nothing was changed; EDITOR names the editor";
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("the editor {program} failed: {status}")).hint(hint)),
        Err(error) => Err(Failure::new(format!("cannot run the editor {program}: {error}")).hint(hint)),
    }
}
