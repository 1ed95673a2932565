//! `tctl events verify`.

use crate::Failure;
use crate::tctl::session::Session;
use api::v1::{VerifyRequest, VerifyResponse};
use serde::Serialize;

#[derive(Serialize)]
struct Shown {
    whole: bool,
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_broken: Option<u64>,
    head: String,
}

pub(in crate::tctl) async fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let answer = session.audit()?.verify(VerifyRequest {}).await?.into_inner();
    let VerifyResponse { events, first_broken, head } = answer;
    let shown = Shown {
        whole: first_broken == 0,
        events,
        first_broken: (first_broken != 0).then_some(first_broken),
        head: hex::encode(head),
    };
    let sentence = match shown.whole {
        true => format!("The audit log is whole: {events} events, head {}.", shown.head),
        false => format!("The audit log is broken: {events} events were read."),
    };
    session.tell(&shown, sentence)?;
    match shown.first_broken {
        None => Ok(()),
        Some(number) => Err(Failure::new(format!("event {number} of the audit log does not fit the one before it"))
            .hint("it or its predecessor was changed or removed after it was written; compare with a copy of the log")),
    }
}
