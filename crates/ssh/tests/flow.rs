//! The flow of data: a reader that is slow or never reads hangs nothing but its own channel, and costs one window.

mod support;

use ssh::connection::{ChannelEvent, ChannelId, Connection, Event, Inbound, Limits, Purpose, Stream};
use ssh::{Rekey, Settings};
use support::{Pair, Setup};

/// A session; its numbers at the client and at the server.
fn session(pair: &mut Pair) -> (ChannelId, ChannelId) {
    let here = pair.client.open(&Purpose::Session).expect("room");
    let (_, at_server) = pair.settle();
    let [Event::Channel(there, ChannelEvent::Offered(_))] = at_server[..] else { panic!("{at_server:?}") };
    pair.server.accept(there);
    pair.settle();
    (here, there)
}

/// Somebody who writes so much, of one byte after the other.
struct Writer {
    id: ChannelId,
    left: usize,
    at: u8,
}

impl Writer {
    fn new(id: ChannelId, bytes: usize) -> Self {
        Self { id, left: bytes, at: 0 }
    }

    fn go_on(&mut self, connection: &mut Connection) -> usize {
        let data: Vec<u8> = (0..self.left.min(33_000)).map(|i| self.at.wrapping_add(i as u8)).collect();
        let written = connection.write(self.id, Stream::Data, &data).expect("open");
        self.left -= written;
        self.at = self.at.wrapping_add(written as u8);
        written
    }
}

/// Somebody who reads, and looks at every byte.
struct Reader {
    id: ChannelId,
    got: usize,
    at: u8,
}

impl Reader {
    fn new(id: ChannelId) -> Self {
        Self { id, got: 0, at: 0 }
    }

    fn go_on(&mut self, connection: &mut Connection) -> usize {
        let before = self.got;
        while let Some(inbound) = connection.read(self.id) {
            let Inbound::Data(data) = inbound else { panic!("{inbound:?}") };
            for byte in &data {
                assert_eq!(*byte, self.at, "in order");
                self.at = self.at.wrapping_add(1);
            }
            self.got += data.len();
        }
        self.got - before
    }
}

/// Time passes a little, so that fresh keys are wanted when they are due.
fn tick(pair: &mut Pair) {
    pair.client.tick(pair.now).expect("in time");
    pair.server.tick(pair.now).expect("in time");
}

#[test]
fn a_channel_that_is_never_read_stops_no_other() {
    let mut pair = Pair::new(&Setup::default());
    let (deaf, deaf_there) = session(&mut pair);
    let (here, there) = session(&mut pair);
    let mut flood = Writer::new(deaf, 1 << 30);
    let (mut writer, mut reader) = (Writer::new(here, 4 << 20), Reader::new(there));
    let mut rounds = 0;
    while reader.got < 4 << 20 {
        flood.go_on(&mut pair.client);
        writer.go_on(&mut pair.client);
        pair.settle();
        reader.go_on(&mut pair.server);
        rounds += 1;
        assert!(rounds < 1000, "{} bytes", reader.got);
        assert!(pair.server.unread() <= 2 * Limits::default().window as usize);
    }
    assert_eq!(flood.go_on(&mut pair.client), 0, "it waits");
    // And it goes on when somebody reads.
    assert!(Reader::new(deaf_there).go_on(&mut pair.server) == Limits::default().window as usize);
    pair.settle();
    assert!(flood.go_on(&mut pair.client) > 0);
}

/// `ssh host 'head -c 50M /dev/zero; cat >/dev/null' < 50M`: neither waits for the other.
#[test]
fn a_side_may_write_all_before_it_reads_anything() {
    const SIZE: usize = 50_000_000;
    let mut pair = Pair::new(&Setup::default());
    let (here, there) = session(&mut pair);
    let (mut up, mut down) = (Writer::new(here, SIZE), Writer::new(there, SIZE));
    let (mut at_client, mut at_server) = (Reader::new(here), Reader::new(there));
    while at_server.got < SIZE {
        let mut moved = up.go_on(&mut pair.client) + down.go_on(&mut pair.server);
        pair.settle();
        moved += at_client.go_on(&mut pair.client);
        if down.left == 0 {
            moved += at_server.go_on(&mut pair.server);
        }
        pair.settle();
        assert!(moved > 0, "{} up and {} down", at_server.got, at_client.got);
        assert!(pair.server.unread() <= Limits::default().max_window as usize);
    }
    assert_eq!((at_client.got, up.left), (SIZE, 0));
}

/// `head -c 30M /dev/zero | ssh -o RekeyLimit=1M host cat`, with fresh keys all the time.
#[test]
fn an_echo_goes_through_any_number_of_key_exchanges() {
    const SIZE: usize = 30_000_000;
    let settings = Settings { rekey: Rekey { bytes: 1 << 20, ..Rekey::default() }, ..Settings::default() };
    let mut pair = Pair::new(&Setup { client: settings.clone(), server: settings, ..Setup::default() });
    let (here, there) = session(&mut pair);
    let (mut up, mut back, mut at_client) = (Writer::new(here, SIZE), Vec::new(), Reader::new(here));
    while at_client.got < SIZE {
        let mut moved = up.go_on(&mut pair.client);
        tick(&mut pair);
        pair.settle();
        if back.is_empty()
            && let Some(Inbound::Data(data)) = pair.server.read(there)
        {
            back = data.to_vec();
        }
        let written = pair.server.write(there, Stream::Data, &back).expect("open");
        back.drain(..written);
        pair.settle();
        moved += written + at_client.go_on(&mut pair.client);
        assert!(moved > 0, "{} bytes came back", at_client.got);
    }
}

/// A reader that takes one piece now and then: what waits for it stays within its window.
#[test]
fn a_slow_reader_costs_one_window() {
    for growth in [0, Limits::default().growth] {
        let limits = Limits { growth, ..Limits::default() };
        let mut pair = Pair::new(&Setup { limits, ..Setup::default() });
        let (here, there) = session(&mut pair);
        let mut writer = Writer::new(here, 8_000_000);
        let mut got = 0;
        while got < 8_000_000 {
            for _ in 0..8 {
                writer.go_on(&mut pair.client);
                pair.settle();
            }
            assert!(pair.server.unread() <= limits.window as usize + growth);
            let Some(Inbound::Data(data)) = pair.server.read(there) else { panic!("{got} bytes") };
            got += data.len();
        }
        assert_eq!((got, pair.server.unread()), (8_000_000, 0));
    }
}

/// What is ignored takes no room, and does not stop the writer.
#[test]
fn what_nobody_wants_is_dropped_and_stops_nobody() {
    let mut pair = Pair::new(&Setup::default());
    let (here, there) = session(&mut pair);
    pair.server.ignore(there);
    let mut writer = Writer::new(here, 5_000_000);
    while writer.left > 0 {
        assert!(writer.go_on(&mut pair.client) > 0, "{} bytes are left", writer.left);
        pair.settle();
        assert_eq!(pair.server.unread(), 0);
    }
}

/// What goes up in one round trip of a path that holds any amount: all that the window allows arrives at once, is read at
/// once, and what the server says to that arrives at once.
fn round_trip(pair: &mut Pair, here: ChannelId, there: ChannelId) -> usize {
    let mut sent = 0;
    loop {
        let written = pair.client.write(here, Stream::Data, &[0; 32 << 10]).expect("open");
        pair.up.fill(|output| pair.client.take_output(output));
        while pair.client.event().is_some() {}
        sent += written;
        if written == 0 {
            break;
        }
    }
    while pair.up.drain(|input| pair.server.receive(input)).expect("rules are kept") > 0 {
        while pair.server.event().is_some() {}
        while pair.server.read(there).is_some() {}
        pair.down.fill(|output| pair.server.take_output(output));
    }
    while pair.down.drain(|input| pair.client.receive(input)).expect("rules are kept") > 0 {
        while pair.client.event().is_some() {}
    }
    sent
}

/// A window of 2 MiB holds a path of 100 ms to 20 MB/s; ours grows to what such a path needs for 160.
#[test]
fn a_window_grows_to_what_a_long_path_holds() {
    let mut pair = Pair::new(&Setup::default());
    let (here, there) = session(&mut pair);
    let limits = Limits::default();
    assert_eq!(round_trip(&mut pair, here, there), limits.window as usize);
    let rounds: Vec<usize> = (0..20).map(|_| round_trip(&mut pair, here, there)).collect();
    assert_eq!(rounds.last(), Some(&(limits.max_window as usize)), "{rounds:?}");
}
