//! A node that turned against its cluster: it says anything, without end, to the proxy and to whoever connects through
//! it. Both stay small, the user gets a short answer, and the proxy goes on to serve others.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use testkit::cluster::NodeSettings;
use testkit::programs::{command, ours, theirs};
use testkit::{Bot, Cluster, Layout, until};

/// Far more than anybody may keep of it.
const ENDLESS: usize = 96 << 20;
/// How much larger than when it is treated well a program may have been at any time.
const FLAT: u64 = 24 << 10;

/// What the node says: the beginning once, then the rest over and over.
#[derive(Clone)]
struct Speech {
    start: Vec<u8>,
    endless: Vec<u8>,
}

impl Speech {
    fn new(start: &[u8], endless: &[u8]) -> Self {
        // In pieces that are worth a system call.
        let endless = endless.repeat(65_536_usize.div_ceil(endless.len().max(1)));
        Self { start: start.to_vec(), endless }
    }
}

/// A packet before the first key exchange (RFC 4253, section 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(1 + payload.len() + padding).expect("small");
    [&length.to_be_bytes()[..], &[u8::try_from(padding).expect("small")], payload, &vec![0; padding]].concat()
}

fn text_message(number: u8, head: &[u8], text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("small").to_be_bytes();
    packet(&[&[number], head, &length, text, &[0; 4]].concat())
}

/// The hostile node's SSH port.
struct Hostile {
    port: u16,
    speech: Arc<Mutex<Speech>>,
    /// Bytes that somebody took.
    said: Arc<AtomicUsize>,
}

impl Hostile {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let speech = Arc::new(Mutex::new(Speech::new(b"", b"")));
        let said = Arc::new(AtomicUsize::new(0));
        let (shared, counter) = (Arc::clone(&speech), Arc::clone(&said));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (speech, said) = (shared.lock().expect("a lock").clone(), Arc::clone(&counter));
                std::thread::spawn(move || talk(stream, &speech, &said));
            }
        });
        Self { port, speech, said }
    }

    fn says(&self, speech: Speech) {
        *self.speech.lock().expect("a lock") = speech;
        self.said.store(0, Ordering::Relaxed);
    }
}

/// Talks until nobody takes any more of it, and listens to nothing.
fn talk(mut stream: TcpStream, speech: &Speech, said: &AtomicUsize) {
    let mut deaf = stream.try_clone().expect("a second handle");
    std::thread::spawn(move || while matches!(deaf.read(&mut [0; 65_536]), Ok(1..)) {});
    stream.set_write_timeout(Some(Duration::from_secs(60))).expect("set");
    let mut piece = &speech.start;
    let mut sum = 0;
    while sum < ENDLESS {
        match stream.write_all(piece) {
            Ok(()) => sum += piece.len(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        said.fetch_add(piece.len(), Ordering::Relaxed);
        piece = &speech.endless;
        if piece.is_empty() {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// The most memory that a process had at any time, in KiB, if it runs.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// How a program ended, and its peak when it was last seen.
struct Ended {
    success: bool,
    words: String,
    peak: u64,
}

fn watch(mut program: Command) -> Ended {
    let mut child: Child =
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut most = 0;
    let outputs: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
    let readers = outputs.into_iter().map(|mut output| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = output.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let readers: Vec<_> = readers.collect();
    let status = until("the program to end", || {
        most = peak(child.id()).unwrap_or(most).max(most);
        child.try_wait().expect("our own child")
    });
    let words = readers.into_iter().map(|reader| reader.join().expect("reads")).collect();
    Ended { success: status.success(), words, peak: most }
}

fn login() -> String {
    testkit::run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned()
}

/// `tsh ssh` to a host.
fn tsh(cluster: &Cluster, bot: &Bot, host: &str) -> Command {
    let mut tsh = command(ours("tsh"));
    tsh.arg("-i").arg(bot.file("identity")).args(["--proxy", &cluster.endpoint("proxy"), "ssh"]);
    tsh.args([&format!("{}@{host}", login()), "true"]);
    tsh
}

/// Every sort of talk that needs no key.
fn speeches() -> Vec<(&'static str, Speech)> {
    let hello = b"SSH-2.0-hostile\r\n";
    let greeted = |packet: &[u8]| Speech::new(hello, packet);
    vec![
        ("lines before the identification", Speech::new(b"", b"welcome to this node\r\n")),
        ("one line before the identification", Speech::new(b"", b"x")),
        ("an identification without an end", Speech::new(b"SSH-2.0-", b"x")),
        ("a packet without an end", Speech::new(&[&hello[..], &[0xff; 4]].concat(), &[0xff])),
        ("zeros", greeted(&[0])),
        ("IGNORE", greeted(&text_message(2, b"", &[b'x'; 30_000]))),
        ("DEBUG", greeted(&text_message(4, &[1], &[b'\x1b'; 30_000]))),
        ("UNIMPLEMENTED", greeted(&packet(&[3, 0, 0, 0, 0]))),
        ("KEXINIT", greeted(&packet(&[&[20][..], &[0; 16], &[0; 45]].concat()))),
        ("a last message of 30 KB", greeted(&text_message(1, &[0, 0, 0, 2], &[b'\x07'; 30_000]))),
        ("banners before any login", greeted(&text_message(53, b"", &[b'x'; 30_000]))),
        ("channels before any login", greeted(&packet(b"\x5a\0\0\0\x07session\0\0\0\0\0\x20\0\0\0\0\x80\0"))),
    ]
}

/// A cluster with an honest node and a hostile one, and how much memory `tsh` and the proxy take when all is well.
struct Stand {
    cluster: Cluster,
    bot: Bot,
    honest: Ended,
    proxy: u32,
    before: u64,
}

impl Stand {
    fn start(hostile_port: u16) -> Self {
        let mut cluster = Cluster::start(Layout::Processes);
        let more = format!("  public_addr: 127.0.0.1:{hostile_port}\n");
        cluster.add_node(&NodeSettings { name: "hostile", labels: &[("env", "test")], more: &more });
        cluster.role("tester", &format!("[{}]", login()), "{env: test}");
        let bot = cluster.bot("tester", &["tester"]);
        bot.oneshot().ok();
        let honest = watch(tsh(&cluster, &bot, "my-host"));
        assert!(honest.success, "{}", honest.words);
        let proxy = cluster.process("proxy").pid();
        Self { cluster, bot, honest, proxy, before: peak(proxy).expect("runs") }
    }

    /// Connects to the hostile node, which says `what`; `said` gives how many bytes it got rid of.
    fn meet(&self, what: &str, said: impl FnOnce() -> usize, may_talk: bool) {
        let ended = watch(tsh(&self.cluster, &self.bot, "hostile"));
        let said = said() >> 10;
        let Ended { success, words, peak } = ended;
        let shown: String = words.trim().chars().take(200).collect();
        eprintln!(
            "{what}: {said} KiB said; tsh at most {peak} KiB, honest {} KiB: {shown}",
            self.honest.peak
        );
        assert!(!success, "{what}");
        assert!(said > 0, "{what}: the node did not come to speak: {words}");
        assert!(words.len() < 4_096 || may_talk, "{what}: {} bytes of words", words.len());
        assert!(!words.contains(['\x07', '\x1b']), "{what}: {words:?}");
        assert!(peak < self.honest.peak + FLAT, "{what}: tsh took {peak} KiB");
    }

    /// The proxy has stayed small, and serves others.
    fn end(&self) {
        let after = peak(self.proxy).expect("runs");
        eprintln!("the proxy: {} KiB before, at most {after} KiB", self.before);
        assert!(after < self.before + FLAT, "the proxy took {after} KiB");
        assert!(watch(tsh(&self.cluster, &self.bot, "my-host")).success, "others are served");
    }
}

#[test]
fn endless_words_cost_the_proxy_and_tsh_nothing() {
    let hostile = Hostile::listen();
    let stand = Stand::start(hostile.port);
    for (what, speech) in speeches() {
        hostile.says(speech);
        stand.meet(what, || hostile.said.load(Ordering::Relaxed), false);
    }
    stand.end();
}

/// Every sort of talk of a node that has the host's key and lets everybody in.
const AFTER_KEYS: [&str; 13] = [
    "banners",
    "debug",
    "global requests",
    "host keys",
    "forwarded channels",
    "agent channels",
    "session channels",
    "exit messages",
    "unknown requests",
    "output beyond the window",
    "errors beyond the window",
    "window",
    "another channel's output",
];

/// The server that talks so, and its two lines of conversation with a test.
struct Talker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Talker {
    fn start(interpreter: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abuse/hostile_server.py");
        let mut child = command(interpreter)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let (orders, answers) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { child, orders, answers: BufReader::new(answers) }
    }

    fn hear(&mut self) -> usize {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("readable");
        line.trim().parse().unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Gives an order; how many bytes it has said since the last.
    fn order(&mut self, order: &serde_json::Value) -> usize {
        writeln!(self.orders, "{order}").expect("it listens");
        self.hear()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn endless_words_under_the_host_s_own_key_cost_the_proxy_and_tsh_nothing() {
    let Some(fab) = theirs("fab") else { return };
    let mut talker = Talker::start(&fab.with_file_name("python3"));
    let port = talker.hear();
    let stand = Stand::start(u16::try_from(port).expect("a port"));
    let data = stand.cluster.path().join("hostile");
    let (key, identity) = (data.join("launcher/host_key"), data.join("host/node/identity"));
    talker.order(&json!({"key": key, "identity": identity}));
    for talk in AFTER_KEYS {
        talker.order(&json!({"talk": talk}));
        let said = || talker.order(&json!({"talk": "nothing"}));
        stand.meet(talk, said, talk.ends_with("beyond the window"));
    }
    stand.end();
}
