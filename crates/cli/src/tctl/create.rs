//! `tctl create`: resources from a file. Nothing is applied while anything in the file is wrong.

use super::resources::Resources;
use super::session::Session;
use super::show::called;
use crate::Failure;
use crate::documents::{self, Document, MAX_BYTES};
use access::bot::bot_of;
use access::resource::{Kind, Resource};
use api::status::Class;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `tctl create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Replace what exists
    #[arg(short, long)]
    pub force: bool,
    /// YAML or JSON with one or several resources; - or nothing for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// What became of one document.
#[derive(Serialize)]
struct Applied {
    kind: &'static str,
    name: String,
    action: &'static str,
    #[serde(skip)]
    sentence: String,
}

impl Create {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let text = self.text(session)?;
        let documents = documents::read(&text)
            .map_err(|mistakes| Failure::new(mistakes.to_string()).hint("nothing was changed"))?;
        let documents = without_made_by_cluster(documents, session)?;
        let mut resources = session.resources()?;
        let (count, mut applied) = (documents.len(), Vec::new());
        let mut outcome = Ok(());
        for document in documents {
            let number = document.number;
            match self.apply(document.resource, &mut resources).await {
                Ok(done) => applied.push(done),
                Err(failure) => {
                    outcome = Err(self.stopped(failure, number, count));
                    break;
                }
            }
        }
        session.show(&applied, |applied, console| {
            applied.iter().try_for_each(|done| console.say(&done.sentence))
        })?;
        outcome
    }

    fn text(&self, session: &mut Session<'_>) -> Result<String, Failure> {
        let path = self.file.as_deref().unwrap_or(Path::new("-"));
        let (called, bytes) = match path == Path::new("-") {
            true => ("standard input".to_owned(), session.console.read(MAX_BYTES + 1)),
            false => (path.display().to_string(), read_file(path)),
        };
        let bytes = bytes.map_err(|error| Failure::new(format!("cannot read {called}: {error}")))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Failure::new(format!("{called} is larger than {} MiB", MAX_BYTES / (1024 * 1024))));
        }
        String::from_utf8(bytes).map_err(|_| Failure::new(format!("{called} is not text in UTF-8")))
    }

    async fn apply(&self, mut resource: Resource, resources: &mut Resources) -> Result<Applied, Failure> {
        // The file says what shall be, not what it was made from: revisions matter to edit only.
        resource.metadata_mut().revision = None;
        let (kind, name) = (resource.kind(), called_as_shown(&resource.clone().without_secrets()));
        let created = match self.force {
            true => resources.upsert(&resource).await?,
            false => resources.create(&resource).await.map(|_| true)?,
        };
        let action = if created { "created" } else { "updated" };
        let shown = resource.without_secrets();
        Ok(Applied {
            kind: kind.as_str(),
            name: shown.name().to_owned(),
            action,
            sentence: sentence(kind, &name, action),
        })
    }

    fn stopped(&self, failure: Failure, number: usize, count: usize) -> Failure {
        let exists = failure.class == Some(Class::Exists) && !self.force;
        let failure = match exists {
            true => failure.hint("use -f or --force flag to overwrite"),
            false => failure,
        };
        match count {
            1 => failure,
            count => failure.about(&format!("document {number} of {count}, with which create stopped")),
        }
    }
}

/// `role "x" has been created`; what there is one of has no name to tell.
fn sentence(kind: Kind, called: &str, action: &str) -> String {
    match kind.single_name() {
        Some(name) => format!("{} has been {action}", name.replace('-', " ")),
        None => format!("{called} has been {action}"),
    }
}

/// Without secrets the name of a token is one that may be said.
fn called_as_shown(shown: &Resource) -> String {
    format!("{} {:?}", shown.kind().as_str(), shown.name())
}

/// Why the cluster itself makes this one, if it does.
fn made_by_cluster(resource: &Resource) -> Option<String> {
    let kind = resource.kind().as_str();
    match resource.kind() {
        Kind::BotInstance | Kind::Node | Kind::CertAuthority => {
            Some(format!("creating resources of type {kind:?} is not supported"))
        }
        Kind::Role | Kind::User => {
            let bot = bot_of(resource.metadata())?;
            Some(format!(
                "{} follows from the bot {:?}",
                called(resource.kind(), resource.name()),
                bot.as_str()
            ))
        }
        _ => None,
    }
}

/// Leaves out, with a remark, what only the cluster itself makes, so that a file with everything that `tctl get`
/// prints can be given back. A file with nothing else is refused.
fn without_made_by_cluster(
    documents: Vec<Document>,
    session: &mut Session<'_>,
) -> Result<Vec<Document>, Failure> {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for document in documents {
        match made_by_cluster(&document.resource) {
            None => kept.push(document),
            Some(why) => left_out.push(format!("document {}: {why}", document.number)),
        }
    }
    if kept.is_empty() {
        let hint = "nothing was changed; hosts, instances, authorities and what follows from bots are made by the \
                    cluster itself";
        return Err(Failure::new(left_out.join("\n")).hint(hint));
    }
    for line in left_out {
        session.console.remark(format!("left out: {line}"));
    }
    Ok(kept)
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
