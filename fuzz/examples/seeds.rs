//! Writes the seeds: for each target a few inputs that are right, from which the fuzzer makes wrong ones.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use access::{SystemRole, Traits};
use exec::sftp::record::{Action, Operation, Record};
use exec::{Launch, SessionRequest};
use fuzz::wire::Message;
use fuzz::{certificate, keys};
use identity::ssh::Claims;
use identity::{BotIdentity, HostIdentity, Identity, Permits, Subject, UserIdentity};
use ssh::algorithms::KeyAlgorithm;
use ssh::{Role, fuzzing};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("where to?")?);
    let seeds = [
        ("packet", packet()),
        ("keys", keys_and_signatures()),
        ("requests", requests()),
        ("server", handshakes(Role::Server)),
        ("client", handshakes(Role::Client)),
        ("certificates", certificates()?),
        ("hello", hello()),
        ("sftp", sftp()),
        ("helper", helper()?),
        ("environment", environment()),
        ("modes", modes()),
        ("vouchers", vouchers()),
        ("tpm", tpm()),
        ("witness", witness()),
        ("authority", authority()),
    ];
    for (target, seeds) in seeds {
        let directory = directory.join(target);
        std::fs::create_dir_all(&directory)?;
        for (name, seed) in seeds {
            write(&directory, name, &seed)?;
        }
    }
    Ok(())
}

fn write(directory: &Path, name: &str, seed: &[u8]) -> std::io::Result<()> {
    std::fs::write(directory.join(name), seed)
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// What comes behind the bytes that choose.
fn behind(choice: &[u8], rest: &[u8]) -> Vec<u8> {
    [choice, rest].concat()
}

/// An endorsement key, an attestation key, and a certificate with which either side of its verification begins.
fn tpm() -> Seeds {
    let certificate: &[u8] = include_bytes!("endorsement-certificate.der");
    let begin = [0x30, 0x82, 0x01, 0x22];
    let at = certificate.windows(4).position(|bytes| bytes == begin).expect("has a key");
    let area = [0, 0x23, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10];
    let point = [&[0, 32][..], &[7; 32], &[0, 32], &[8; 32]].concat();
    vec![
        ("endorsement-key", behind(&[0], &certificate[at..at + 294])),
        ("attestation-key", behind(&[1], &[&area[..], &point].concat())),
        ("certificate", behind(&[2], certificate)),
        ("authority", behind(&[3], certificate)),
    ]
}

fn kexinit() -> Vec<u8> {
    let exchanges = "mlkem768x25519-sha256,sntrup761x25519-sha512,curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com,kex-strict-s-v00@openssh.com";
    let ciphers = "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
    let lists = [exchanges, "ssh-ed25519,rsa-sha2-512", ciphers, ciphers, "", "", "none", "none", "", ""];
    let message = Message::new(20).raw(&[5; 16]);
    lists.iter().fold(message, |message, list| message.string(list.as_bytes())).byte(0).number(0).0
}

fn vouchers() -> Seeds {
    let claims = |more: &str| {
        let (now, cluster) = (fuzz::vouchers::NOW, fuzz::vouchers::CLUSTER);
        format!(r#"{{"aud":"{cluster}","iat":{now},"exp":{},{more}}}"#, now + 600)
    };
    let gitlab = claims(r#""iss":"https://gitlab.com","project_path":"us/app","ref_protected":"true""#);
    let google = r#"{"compute_engine":{"project_id":"p","zone":"us-west1-b"}}"#;
    let gcp = claims(&format!(r#""iss":"https://accounts.google.com","google":{google}"#));
    let pod = claims(r#""sub":"system:serviceaccount:ci:runner","kubernetes.io":{"pod":{"name":"p"}}"#);
    let review = r#"{"status":{"authenticated":true,"audiences":["example.com"],"user":{"username":"system:serviceaccount:ci:runner","groups":["system:serviceaccounts"],"extra":{"authentication.kubernetes.io/pod-name":["p"]}}}}"#;
    let caller = r#"{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"123456789012","Arn":"arn:aws:iam::123456789012:user/ci"}}}"#;
    let machine = "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/ci/providers/Microsoft.Compute/virtualMachines/runner-1";
    let answer = format!(
        r#"{{"id":"{machine}","properties":{{"vmId":"11111111-2222-3333-4444-555555555555"}},"identity":{{"principalId":"p"}}}}"#
    );
    let request = "sts.eu-central-1.amazonaws.com\n20231114T221320Z\nAKIDEXAMPLEEXAMPLE\ntoken";
    // With a part of the signature gone: what is right would be a finding.
    let forged = |claims: &str| {
        let mut token = fuzz::vouchers::minted(claims.as_bytes()).into_bytes();
        token.truncate(token.len() - 4);
        token
    };
    vec![
        ("key-set", behind(&[0], fuzz::vouchers::key_set().as_bytes())),
        ("forged", behind(&[1], &forged(&gitlab))),
        ("gitlab", behind(&[2], gitlab.as_bytes())),
        ("gcp", behind(&[26], gcp.as_bytes())),
        ("azure-document", behind(&[6], include_bytes!("attested-document.der"))),
        ("azure-machine", behind(&[7], machine.as_bytes())),
        ("azure-answer", behind(&[7], answer.as_bytes())),
        ("pod", behind(&[34], pod.as_bytes())),
        ("claimed", behind(&[3], &forged(&pod))),
        ("review", behind(&[4], review.as_bytes())),
        ("caller", behind(&[5], caller.as_bytes())),
        ("request", behind(&[5], request.as_bytes())),
    ]
}

fn packet() -> Seeds {
    let packets = [kexinit(), Message::new(21).0].map(|payload| fuzzing::packet(&payload)).concat();
    vec![
        ("identification-of-a-client", behind(&[0], b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")),
        ("identification-of-a-server", behind(&[1], b"hello\r\nSSH-1.99-OpenSSH_9.2\n")),
        ("packets", behind(&[2], &packets)),
        ("kexinit-of-a-client", behind(&[4], &kexinit()[1..])),
        ("kexinit-of-a-server", behind(&[5], &kexinit()[1..])),
        ("sealed", behind(&[6], &[0, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 5, 0, 9, 1, 1])),
    ]
}

fn rsa() -> Vec<u8> {
    Message(Vec::new())
        .string(b"ssh-rsa")
        .string(&[1, 0, 1])
        .string(&[[0].as_slice(), &[0xa5; 256]].concat())
        .0
}

/// The base point of P-256 as a public key.
fn p256() -> Vec<u8> {
    let x = 0x6b17_d1f2_e12c_4247_f8bc_e6e5_63a4_40f2_u128.to_be_bytes();
    let x = [x, 0x7703_7d81_2deb_33a0_f4a1_3945_d898_c296_u128.to_be_bytes()].concat();
    let y = 0x4fe3_42e2_fe1a_7f9b_8ee7_eb4a_7c0f_9e16_u128.to_be_bytes();
    let y = [y, 0x2bce_3357_6b31_5ece_cbb6_4068_37bf_51f5_u128.to_be_bytes()].concat();
    let point = [&[4], &x[..], &y[..]].concat();
    Message(Vec::new()).string(b"ecdsa-sha2-nistp256").string(b"nistp256").string(&point).0
}

fn keys_and_signatures() -> Seeds {
    let (plain, user) = (keys::HOST.public().blob(), keys::USER_BLOB.clone());
    let p256 = p256();
    let place = |wanted: &str| {
        let found = KeyAlgorithm::ALL.iter().position(|algorithm| algorithm.name() == wanted);
        u8::try_from(found.expect("an algorithm")).expect("few")
    };
    let signature = keys::HOST.sign(keys::PLAIN.scheme, b"message").expect("signs");
    let ecdsa_body = Message(Vec::new()).string(&[1; 32]).string(&[2; 32]).0;
    let ecdsa = Message(Vec::new()).string(b"ecdsa-sha2-nistp256").string(&ecdsa_body).0;
    let rsa_signature = Message(Vec::new()).string(b"rsa-sha2-512").string(&[1; 256]).0;
    let pair = |key: &[u8], signature: &[u8]| {
        let (length, rest) = (key.len().div_ceil(4), key.len().next_multiple_of(4) - key.len());
        // Keys end where their length says, so this is one too many for some: the fuzzer takes it from there.
        [&[u8::try_from(length).expect("short")], key, &vec![0; rest], signature].concat()
    };
    vec![
        ("ed25519", behind(&[0], &plain)),
        ("p256", behind(&[0], &p256)),
        ("rsa", behind(&[0], &rsa())),
        ("certificate", behind(&[8 + place("ssh-ed25519-cert-v01@openssh.com")], &user)),
        ("of-rsa", behind(&[8 + place("rsa-sha2-256")], &rsa())),
        ("signature", behind(&[16 + place("ssh-ed25519")], &signature)),
        ("signature-p256", behind(&[16 + place("ecdsa-sha2-nistp256")], &pair(&p256, &ecdsa))),
        ("signature-rsa", behind(&[16 + place("rsa-sha2-512")], &pair(&rsa(), &rsa_signature))),
        ("pkcs8", behind(&[24], &keys::pkcs8(1))),
    ]
}

/// Scripts; see `requests` and `messages` in `src`.
fn requests() -> Seeds {
    let session = [1, 1, 0, 0, 0, 0, 11, 12, 8, 0, 2, 0];
    let data = [1, 6, 0, 200, 11, 12, 8, 0, 0, 1, 9, 30];
    let exec = [1, 10, 0, 1, 1, 4, b'e', b'c', b'h', b'o', 0, 11, 12, 7, 0, 1];
    let mut server = behind(&[0], &session);
    server.extend(exec);
    server.extend(data);
    let mut client = behind(&[1, 12, 1, 0], &[1, 3, 0, 0, 0, 11]);
    client.extend(data);
    vec![
        ("server", server),
        ("client", client),
        ("fresh-keys", vec![2, 10, 1, 1, 17, 0, 0, 0, 1, 17, 1, 11, 12, 4]),
    ]
}

fn handshakes(role: Role) -> Seeds {
    let mut stream = b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec();
    stream.extend(fuzzing::packet(&kexinit()));
    let number = if role == Role::Server { 30 } else { 31 };
    let half = match role {
        Role::Server => Message::new(number).string(&[[9].as_slice(), &[0; 31]].concat()),
        Role::Client => {
            let message = Message::new(number).string(&keys::HOST.public().blob());
            message.string(&[[9].as_slice(), &[0; 1119]].concat()).string(&[0; 83])
        }
    };
    stream.extend(fuzzing::packet(&half.0));
    let messages = match role {
        Role::Server => vec![32, 1, 3, 0, 0, 4, 0, 0, 4, 0, 2, 4, 0, 3],
        Role::Client => vec![32, 1, 5, 0, 0, 2, 2, b'h', b'i', 3, 0],
    };
    // The rest of a conversation after its settings is zeros: nothing is changed.
    let conversation = |exchange, choices| [&[96, exchange, choices][..], &[0; 64]].concat();
    vec![
        ("stream", behind(&[0], &stream)),
        ("messages", messages),
        ("conversation", conversation(0, 0)),
        ("conversation-mlkem", conversation(200, 1)),
        ("conversation-sntrup", conversation(255, 2)),
        ("conversation-fresh-keys", conversation(0, 4)),
    ]
}

fn certificates() -> Result<Seeds, Box<dyn Error>> {
    let cluster = access::ClusterName::new("example.com")?;
    let bot = UserIdentity {
        name: "bot-example".parse()?,
        bot: Some(BotIdentity {
            name: "example".parse()?,
            instance: "0197a8c2-2f44-7b11-9d53-5a61c2f0e001".parse()?,
            generation: Some(7),
            join_token: Some("ci-runner".to_owned()),
        }),
        roles: vec!["example-role".parse()?, "other".parse()?],
        traits: Traits(BTreeMap::from([("logins".to_owned(), vec!["root".to_owned()])])),
        logins: vec!["root".parse()?, "deploy".parse()?],
        permits: Permits { pty: true, port_forwarding: true, agent_forwarding: true, x11_forwarding: true },
        impersonator: Some("bot-example".parse()?),
        renewable: false,
        disallow_reissue: true,
        login_ip: Some("192.0.2.7".parse()?),
        pinned_ip: Some("192.0.2.7".parse()?),
    };
    let person = UserIdentity {
        logins: vec!["root".parse()?],
        ..UserIdentity::person("alice".parse()?, vec!["access".parse()?])
    };
    let names = ["web-1", "web-1.example.com", "10.0.0.5"].map(str::to_owned).to_vec();
    let host =
        HostIdentity { id: "0197a8c2-2f44-7b11-9d53-5a61c2f0e002".parse()?, role: SystemRole::Node, names };
    let body = |subject| {
        let identity = Identity { cluster: cluster.clone(), subject };
        certificate::body(&Claims::of(&identity, uuid::Uuid::from_u128(1)))
    };
    let (bot, person) = (body(Subject::User(Box::new(bot))), body(Subject::User(Box::new(person))));
    Ok(vec![
        ("bot", behind(&[1 + 4], &bot)),
        ("person", behind(&[1], &person)),
        ("person-of-a-stranger", behind(&[3], &person)),
        ("host", behind(&[2], &body(Subject::Host(host)))),
        ("unsigned", behind(&[0], &keys::USER_BLOB)),
    ])
}

/// Streams as clients send them; scripts the fuzzer makes by itself.
fn sftp() -> Seeds {
    let framed = |packet: Message| Message(Vec::new()).string(&packet.0).0;
    let stream = |packets: Vec<Message>| {
        let hello = framed(Message::new(1).number(3));
        behind(&[0], &packets.into_iter().fold(hello, |all, packet| [all, framed(packet)].concat()))
    };
    let handle = 0u64.to_be_bytes();
    let open = |path: &[u8], flags| Message::new(3).number(1).string(path).number(flags).number(0);
    let at = |kind, offset| Message::new(kind).number(2).string(&handle).number(0).number(offset);
    vec![
        (
            "read",
            stream(vec![open(b"f", 1), at(5, 0).number(100), Message::new(4).number(3).string(&handle)]),
        ),
        ("write", stream(vec![open(b"new", 0x1a), at(6, 10).string(b"data")])),
        (
            "list",
            stream(vec![Message::new(11).number(1).string(b"."), Message::new(12).number(2).string(&handle)]),
        ),
        (
            "names",
            stream(vec![
                Message::new(16).number(1).string(b"d/.."),
                Message::new(18).number(2).string(b"f").string(b"g"),
            ]),
        ),
        ("attributes", stream(vec![Message::new(9).number(1).string(b"f").number(4).number(0o600)])),
        ("extended", stream(vec![Message::new(200).number(1).string(b"statvfs@openssh.com").string(b"/")])),
        ("script", vec![1, 1, 0, 3, 0, 0, 5, 26, 5, 0, 1, 2, 4, 3, 0, 5, 0, 5, 0, 5, 100]),
    ]
}

/// One of each kind.
fn helper() -> Result<Seeds, Box<dyn Error>> {
    let command = Launch::Command(b"id".to_vec());
    let mut request = SessionRequest::new("alice", command);
    request.client_env = vec![("LANG".to_owned(), "C".to_owned())];
    let mut record = Vec::new();
    let operation =
        Operation { action: Action::Rename, path: b"a".to_vec(), target: Some(b"b".to_vec()), error: None };
    Record::Operation(operation).encode(&mut record);
    Ok(vec![
        ("request", behind(&[0], &request.encode()?)),
        ("modes", behind(&[1], &[53, 0, 0, 0, 1, 128, 0, 0, 0x96, 0, 0])),
        ("variable", behind(&[2], b"LC_ALL=C.UTF-8")),
        ("record", behind(&[3], &record)),
        ("status", behind(&[4], &[1, 0, 0, 0, 42, 0, 0, 3, 0xe8])),
    ])
}

fn environment() -> Seeds {
    // A command, alice, one variable of the client's, none of the node's, a terminal.
    let request = b"\0\x01\x02id\x01\x01\0\x01C\0\x01\x50\x18\0\0\x05xterm\x05\x35\0\0\0\x01\0\0";
    // The node's, a module's, the client's, the user's own.
    let variables = b"\x01\x01\x0a\x01n\x01\x01\x01m\x02\0\x01c\x04\x02/x\x01\x0d\x01u";
    vec![("request", request.to_vec()), ("variables", variables.to_vec())]
}

fn modes() -> Seeds {
    let openssh = [129, 0, 0, 0x96, 0, 128, 0, 0, 0x96, 0, 1, 0, 0, 0, 3, 53, 0, 0, 0, 1, 91, 0, 0, 0, 1, 0];
    vec![
        ("openssh", openssh.to_vec()),
        ("raw", [[51, 0, 0, 0, 0], [70, 0, 0, 0, 0], [92, 0, 0, 0, 1]].concat()),
    ]
}

/// The exchanges of a curve and of a group, and an ignored message, whole and byte by byte.
fn witness() -> Seeds {
    let shown = |number: u8| {
        let key = Message(vec![]).string(b"ssh-ed25519").string(&[7; 32]).0;
        Message::new(number).string(&key).string(&[8; 32]).string(&[9; 83]).0
    };
    let group = Message::new(31).string(&[&[0][..], &[0xff; 256]].concat()).string(&[2]).0;
    let ignored = Message::new(2).string(b"x").0;
    let said = |choice: u8, messages: &[Vec<u8>]| {
        let packets: Vec<u8> = messages.iter().flat_map(|message| fuzzing::packet(message)).collect();
        behind(&[choice], &[b"SSH-2.0-x\r\n", &packets[..]].concat())
    };
    vec![
        ("curve", said(255, &[kexinit(), shown(31), Message::new(21).0])),
        ("group", said(1, &[ignored, kexinit(), group, shown(33)])),
        ("keys-at-once", said(16, &[kexinit(), Message::new(21).0])),
        ("old-version", behind(&[9], b"SSH-1.99-x\r\n")),
    ]
}

/// A stream as gRPC's C core begins one, and scripts by which frames are written.
fn authority() -> Seeds {
    let block = b"\x83\x40\x0a:authority\x0crun%2Fa.sock\x00\x01x\x03a%b";
    let stream = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &b"\0\0\0\x04\0\0\0\0\0"[..],
        &[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1],
        block,
        b"\0\0\x03\0\0\0\0\0\x01%%%",
    ]
    .concat();
    // In a frame with padding: by its number, in letters, in Huffman's code, a field of another name, one that is known.
    let script = b"\x01\x28\x03\x05\x02\0\x03a%b\x01\x0e\0\x01\x03a%b\x01\x02\0\x03a%b\x04\x14\0\x01x\x01\x03a%b\x01\0\x01";
    vec![
        ("stream", behind(&[0, 7], &stream)),
        ("written", behind(&[1, 3], script)),
        ("other-frames", behind(&[1, 255], b"\0\x04\x05%%%%%\x01\x04\x01\x02\0\x02%%")),
    ]
}

fn hello() -> Seeds {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v4 = [&signature[..], b"\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x16\0\x17SSH-"].concat();
    let v6 = [&signature[..], b"\x21\x21\0\x24", &[1; 36], b"SSH-"].concat();
    vec![
        ("version-1", b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 22\r\nSSH-2.0-x\r\n".to_vec()),
        ("version-1-of-v6", b"PROXY TCP6 2001:db8::1 ::1 5000 22\r\n".to_vec()),
        ("version-1-unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("version-2", v4),
        ("version-2-of-v6", v6),
        ("version-2-local", [&signature[..], b"\x20\0\0\0"].concat()),
    ]
}
