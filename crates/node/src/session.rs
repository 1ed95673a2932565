//! A session channel, state by state: [`preparing`] collects what the client wants, [`launching`] starts it,
//! [`running`] carries input and output, [`ended`] says how it went. Each state is a type that only the one before it
//! makes.

mod ended;
mod launching;
mod offers;
mod preparing;
mod pump;
mod running;
mod transfers;

use std::sync::Arc;

use transport::ssh::server::Channel;
use uuid::Uuid;

use crate::audit::{Event, Kind};
use crate::connection::Context;
use offers::Offers;

pub(crate) use transfers::file_records;

/// What the states of one session have in common.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) connection: Arc<Context>,
    pub(crate) id: Uuid,
    offers: Offers,
}

impl Scope {
    fn event(&self, kind: Kind) -> Event {
        self.connection.event(kind).with("sid", self.id.to_string())
    }

    fn emit(&self, event: Event) {
        self.connection.shared.emit(event);
    }
}

/// From an open channel to a closed one.
pub(crate) async fn run(channel: Channel, connection: Arc<Context>) {
    let scope = Scope { connection, id: Uuid::new_v4(), offers: Offers::default() };
    let writer = channel.writer.clone();
    let launched = match preparing::prepare(scope, channel).await {
        Some(Ok(prepared)) => prepared.launch().await,
        Some(Err(failed)) => Err(failed),
        None => return writer.close().await,
    };
    match launched {
        Ok(running) => running.until_end().await.conclude(),
        Err(failed) => failed.conclude().await,
    }
    writer.close().await;
}
