//! A client and a server of this crate, end to end.

mod support;

use bytes::Bytes;
use ssh::algorithms::{Cipher, KeyExchange};
use ssh::connection::{ChannelEvent, Event, Inbound, Purpose, Request, Stream};
use ssh::{Offer, Rekey, Settings};
use support::{Pair, Setup};

/// A command that is run, says something, and ends.
fn converse(pair: &mut Pair) {
    let id = pair.client.open(&Purpose::Session).expect("room for a channel");
    let (_, at_server) = pair.settle();
    let [Event::Channel(far, ChannelEvent::Offered(Purpose::Session))] = at_server[..] else {
        panic!("{at_server:?}");
    };
    pair.server.accept(far);
    assert_eq!(pair.settle().0, [Event::Channel(id, ChannelEvent::Opened)]);
    pair.client.request(id, &Request::Exec(b"cat".to_vec()), true).expect("open");
    let (_, at_server) = pair.settle();
    let [Event::Request(_, Request::Exec(_), Some(token))] = at_server[..] else { panic!("{at_server:?}") };
    pair.server.answer(far, token, true);
    assert_eq!(pair.settle().0, [Event::Channel(id, ChannelEvent::Answered(true))]);
    assert_eq!(pair.client.write(id, Stream::Data, b"hello"), Ok(5));
    pair.client.eof(id).expect("open");
    pair.settle();
    assert_eq!(pair.server.read(far), Some(Inbound::Data(Bytes::from_static(b"hello"))));
    assert_eq!(pair.server.read(far), Some(Inbound::Eof));
    pair.server.write(far, Stream::Stderr, b"bye").expect("open");
    pair.server.exit_status(far, 7).expect("open");
    pair.server.release(far);
    pair.settle();
    let stderr = Inbound::Extended { code: 1, data: Bytes::from_static(b"bye") };
    assert_eq!(pair.client.read(id), Some(stderr));
    assert_eq!(pair.client.read(id), Some(Inbound::ExitStatus(7)));
    pair.client.release(id);
    pair.settle();
    assert_eq!((pair.client.channel_count(), pair.server.channel_count()), (0, 0));
}

#[test]
fn every_key_exchange_and_cipher_carries_a_session() {
    for key_exchange in KeyExchange::ALL {
        for cipher in Cipher::ALL {
            let offer = Offer { key_exchange: vec![key_exchange], ciphers: vec![cipher] };
            let mut pair = Pair::new(&Setup::offering(offer));
            let negotiated = pair.server.negotiated().expect("agreed");
            assert_eq!(Some(negotiated), pair.client.negotiated());
            assert_eq!((negotiated.key_exchange, negotiated.client_to_server), (key_exchange, cipher));
            assert!(negotiated.strict);
            converse(&mut pair);
        }
    }
}

#[test]
fn keys_are_changed_as_often_as_wanted() {
    let rekey = Rekey { bytes: 1 << 10, ..Rekey::default() };
    let settings = Settings { rekey, ..Settings::default() };
    let mut pair = Pair::new(&Setup { client: settings, ..Setup::default() });
    for _ in 0..20 {
        pair.client.tick(pair.now).expect("in time");
        converse(&mut pair);
    }
}
