//! Creating and replacing resources.

use super::{Action, event};
use super::{binding, rules};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::refusal;
use crate::services::bots;
use crate::services::change::Change;
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, spoken};
use access::rbac::Verb;
use access::resource::{Kind, Resource};
use api::status::{Class, Problem};
use async_trait::async_trait;
use store::Txn;

/// What to do with one that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Refuse.
    Create,
    /// Replace it.
    Upsert,
}

/// A resource to be written.
pub(super) struct Put<'a> {
    pub shelf: Shelf<'a>,
    pub wanted: &'a Resource,
    pub mode: Mode,
}

/// Kinds that hosts, bots and the auth service write themselves.
pub(super) fn refuse_unwritable(kind: Kind) -> Result<(), Problem> {
    match kind {
        Kind::Node | Kind::BotInstance | Kind::CertAuthority => Err(Problem::new(
            Class::Invalid,
            "not_supported",
            format!("creating resources of type \"{kind}\" is not supported"),
        )
        .hint(match kind {
            Kind::Node => "nodes join with a token and announce themselves",
            Kind::BotInstance => "instances come from joining; make a token with tctl bots instances add",
            _ => "the auth service makes its authorities itself",
        })),
        _ => Ok(()),
    }
}

#[async_trait]
impl Change for Put<'_> {
    /// Whether it is new, and what was written.
    type Done = (bool, Resource);

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Self::Done), Problem> {
        let (shelf, wanted) = (self.shelf, self.wanted);
        let current = shelf.read_for(reads, wanted.kind(), wanted.name()).await?;
        let action = self.action(current.as_ref(), rights)?;
        let is_new = action == Action::Create;
        current.iter().chain([wanted]).try_for_each(rules::not_from_file)?;
        rules::check(shelf, reads, wanted, is_new).await?;
        let written = binding::completed(wanted, current.as_ref())?;
        let mut txn = shelf.put(Txn::new(), &written)?;
        if let (Resource::Bot(bot), true) = (wanted, is_new) {
            txn = bots::without_leftovers(shelf, reads, txn, caller, &bot.name).await?;
        }
        let record = shelf.catalog.audit.record(caller.describe(event(action, wanted)));
        Ok((txn.event(record), (is_new, written)))
    }
}

impl Put<'_> {
    /// Create or update, if the caller may and nobody was faster.
    fn action(&self, current: Option<&Resource>, rights: &Rights) -> Result<Action, Problem> {
        let (wanted, kind) = (self.wanted, self.wanted.kind());
        let may =
            |verb: Verb, resource: &Resource| rights.may(verb, kind.as_str(), Some(resource.metadata()));
        let name = spoken(kind, wanted.name());
        let Some(current) = current else {
            // A setting is always there, with its defaults.
            let is_setting = kind.single_name().is_some();
            may(if is_setting { Verb::Update } else { Verb::Create }, wanted)?;
            return match (self.mode, &wanted.metadata().revision) {
                (Mode::Upsert, Some(_)) => Err(changed(kind, &name)),
                _ if is_setting => Ok(Action::Update),
                _ => Ok(Action::Create),
            };
        };
        if self.mode == Mode::Create {
            may(Verb::Create, wanted)?;
            return Err(refusal::exists(kind, &name));
        }
        // As it was and as it will be: nobody gets a resource by giving it other labels.
        may(Verb::Update, current)?;
        may(Verb::Update, wanted)?;
        match &wanted.metadata().revision {
            Some(revision) if Some(revision) != current.metadata().revision.as_ref() => {
                Err(changed(kind, &name))
            }
            _ => Ok(Action::Update),
        }
    }
}

fn changed(kind: Kind, name: &str) -> Problem {
    let reason = format!("somebody changed {kind} {name:?} meanwhile");
    Problem::new(Class::Conflict, "changed_meanwhile", reason).hint("get it again and repeat the change")
}
