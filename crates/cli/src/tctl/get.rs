//! `tctl get`: resources as `tctl create -f` reads them.

use super::resources::Resources;
use super::session::Session;
use super::{Selector, show};
use crate::Failure;
use crate::console::{Console, Format, Table};
use crate::documents::Ordered;
use access::resource::Kind;
use clap::Args;
use serde_json::Value;

/// Arguments of `tctl get`.
#[derive(Debug, Args)]
pub struct Get {
    /// KIND, KIND/NAME, several with commas, or all
    #[arg(value_name = "KIND[/NAME]", required = true)]
    pub resources: Vec<String>,
    /// Show what is secret, such as the names of tokens; all does
    #[arg(long)]
    pub with_secrets: bool,
}

impl Get {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let selectors = Selector::read(&self.resources).map_err(|error| Failure::usage(error.to_string()))?;
        // Everything is asked for to be given back to create, which needs what is secret.
        let with_secrets = self.with_secrets || self.resources.iter().any(|word| word == "all");
        let mut resources = session.resources()?;
        let mut found = Vec::new();
        for selector in selectors {
            found.extend(select(selector, with_secrets, &mut resources).await?);
        }
        match session.options.output().unwrap_or(Format::Yaml) {
            Format::Text => session.console.say(table(&found)),
            Format::Json => {
                let ordered: Vec<_> = found.iter().map(Ordered::of).collect();
                session.console.json(&ordered)
            }
            Format::Yaml => documents(&found, session.console),
        }
    }
}

async fn select(
    selector: Selector,
    with_secrets: bool,
    resources: &mut Resources,
) -> Result<Vec<Value>, Failure> {
    let Selector { kind, name } = selector;
    let name = name.or_else(|| kind.single_name().map(str::to_owned));
    match name {
        Some(name) => Ok(vec![resources.one(kind, &name, with_secrets).await?]),
        None => resources.all(kind, with_secrets).await,
    }
}

fn documents(found: &[Value], console: &mut Console) -> Result<(), Failure> {
    for (index, value) in found.iter().enumerate() {
        if index > 0 {
            console.say("---")?;
        }
        console.yaml(&Ordered::of(value))?;
    }
    Ok(())
}

fn table(found: &[Value]) -> String {
    let mut table = Table::new(["Kind", "Name", "Version", "Labels", "Description"]);
    for value in found {
        let kind = show::text(value, "/kind");
        let one_of_kind = kind.parse().ok().and_then(Kind::single_name).is_some();
        table.row([
            kind,
            if one_of_kind { "" } else { show::name(value) },
            show::text(value, "/version"),
            &show::labels(&[value.pointer("/metadata/labels")]),
            show::text(value, "/metadata/description"),
        ]);
    }
    table.text()
}
