//! `tctl users rm`.

use crate::Failure;
use crate::tctl::session::Session;
use access::UserName;
use access::resource::Kind;
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl users rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// The users, several with commas
    #[arg(value_delimiter = ',', required = true)]
    pub names: Vec<UserName>,
}

#[derive(Serialize)]
struct Removed {
    name: UserName,
    action: &'static str,
}

impl Rm {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut resources = session.resources()?;
        let (mut removed, mut outcome) = (Vec::new(), Ok(()));
        for name in self.names {
            outcome = resources.delete(Kind::User, name.as_str()).await.map(drop);
            if outcome.is_err() {
                break;
            }
            removed.push(Removed { name, action: "deleted" });
        }
        session.show(&removed, |removed, console| {
            removed
                .iter()
                .try_for_each(|one| console.say(format!("User {:?} has been deleted", one.name.as_str())))
        })?;
        outcome
    }
}
