//! What an SSH certificate says: rows C3 to C5, C7 to C11.

use super::{as_host, as_user, cluster, from, named};
use crate::forge::people::{changed, full_bot, host, person, renewable_bot};
use crate::forge::ssh::{Certificate, HOST, USER, wrapped};
use crate::forge::{NOW, now};
use access::SystemRole;
use identity::verify::ssh;

mod c3_principals {
    use super::*;

    #[test]
    fn an_empty_list_is_nobody() {
        let (cluster, trust) = cluster();
        let user = Certificate::of(&person()).with(|user| user.principals.clear());
        assert_eq!(as_user(&user.sign(&cluster.user), &trust), Err("no_principals"));
        let host = Certificate::of(&host(SystemRole::Node)).with(|host| host.principals.clear());
        assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("no_principals"));
    }

    #[test]
    fn only_plain_names() {
        let (cluster, trust) = cluster();
        let odd = [
            "",
            "*",
            "ro*",
            "root,deploy",
            "root\0",
            "root\n",
            "root ",
            " root",
            "ROOT",
            "rооt",
            "-l",
            "$(id)",
            "%h",
            "ro\u{200b}ot",
            "!root",
            "root/..",
        ];
        for principal in odd {
            let user = Certificate::of(&person())
                .with(|user| user.principals = vec![b"root".to_vec(), principal.as_bytes().to_vec()]);
            assert_eq!(as_user(&user.sign(&cluster.user), &trust), Err("bad_principal"), "{principal:?}");
            let host = Certificate::of(&host(SystemRole::Node))
                .with(|host| host.principals.push(principal.as_bytes().to_vec()));
            assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("bad_identity"), "{principal:?}");
        }
        let not_text = Certificate::of(&person()).with(|user| user.principals.push(vec![0xff]));
        assert_eq!(as_user(&not_text.sign(&cluster.user), &trust), Err("malformed"));
    }

    #[test]
    fn exact_matches_only() {
        let (cluster, trust) = cluster();
        for login in ["roo", "root2", "root.", "deploy"] {
            let other = changed(person(), |user| user.logins = vec![login.parse().expect("a login")]);
            let blob = Certificate::of(&other).sign(&cluster.user);
            assert_eq!(as_user(&blob, &trust), Err("login_not_in_certificate"), "{login}");
        }
    }

    #[test]
    fn nobody_logs_in_and_stands_alone() {
        let (cluster, trust) = cluster();
        let nobody = Certificate::of(&changed(person(), |user| user.logins.clear()));
        assert_eq!(as_user(&nobody.sign(&cluster.user), &trust), Err("login_not_in_certificate"));
        let principal = String::from_utf8(nobody.principals[0].clone()).expect("text");
        assert!(principal.starts_with("-teleport-nologin-"));
        let with_another = nobody.with(|nobody| nobody.principals.push(b"root".to_vec()));
        assert_eq!(as_user(&with_another.sign(&cluster.user), &trust), Err("bad_principal"));
        let not_ours = Certificate::of(&person())
            .with(|user| user.principals = vec![b"-teleport-nologin-root".to_vec()]);
        assert_eq!(as_user(&not_ours.sign(&cluster.user), &trust), Err("bad_principal"));
    }
}

mod c4_types {
    use super::*;

    #[test]
    fn a_host_is_no_user_and_a_user_no_host() {
        let (cluster, trust) = cluster();
        let user = Certificate::of(&person()).with(|user| user.kind = HOST);
        assert_eq!(as_user(&user.sign(&cluster.user), &trust), Err("wrong_cert_type"));
        let host = Certificate::of(&host(SystemRole::Node)).with(|host| host.kind = USER);
        assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("wrong_cert_type"));
        let neither = Certificate::of(&person()).with(|user| user.kind = 3);
        assert_eq!(as_user(&neither.sign(&cluster.user), &trust), Err("malformed"));
    }
}

mod c5_hosts {
    use super::*;

    #[test]
    fn a_host_is_only_itself() {
        let (cluster, trust) = cluster();
        let blob = Certificate::of(&host(SystemRole::Node)).sign(&cluster.host);
        assert_eq!(named(&blob, &trust, &["web-1"]), Ok(()));
        assert_eq!(named(&blob, &trust, &["other", "web-1.example.com"]), Ok(()));
        for names in [&[][..], &["web-2"], &["10.0.0.6"], &["*"], &[""], &["web"], &["web-1."]] {
            assert_eq!(named(&blob, &trust, names), Err("wrong_host"), "{names:?}");
        }
    }

    #[test]
    fn a_hosts_id_is_in_its_names() {
        let (cluster, trust) = cluster();
        for key_id in ["", "web-1", "0197a8c2-2f44-7b11-9d53-5a61c2f0e999"] {
            let host = Certificate::of(&host(SystemRole::Node)).with(|host| host.key_id = key_id.into());
            assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("bad_identity"), "{key_id:?}");
        }
    }

    #[test]
    fn roles_are_known_and_none_is_a_bot() {
        let (cluster, trust) = cluster();
        for role in ["", "Bot", "node", "Admin"] {
            let host = Certificate::of(&host(SystemRole::Node)).extension("x-teleport-role", role);
            assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("bad_identity"), "{role:?}");
        }
    }

    #[test]
    fn the_name_of_auth_is_reserved() {
        let (cluster, trust) = cluster();
        let host = Certificate::of(&host(SystemRole::Node))
            .with(|host| host.principals.push(b"auth.postern.internal".to_vec()));
        assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("bad_identity"));
    }
}

mod c7_critical_options {
    use super::*;

    fn user_with(options: &[(&str, Vec<u8>)]) -> super::super::Code {
        let (cluster, trust) = cluster();
        let user = Certificate::of(&person()).with(|user| {
            user.critical =
                options.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect();
        });
        as_user(&user.sign(&cluster.user), &trust)
    }

    #[test]
    fn the_unknown_is_refused() {
        for name in ["force-command", "verify-required", "x@example.com", "", "Source-address"] {
            assert_eq!(user_with(&[(name, wrapped(b"x"))]), Err("unknown_critical_option"), "{name:?}");
        }
        let (cluster, trust) = cluster();
        let host = Certificate::of(&host(SystemRole::Node))
            .with(|host| host.critical = vec![(b"force-command".to_vec(), wrapped(b"x"))]);
        assert_eq!(as_host(&host.sign(&cluster.host), &trust), Err("unknown_critical_option"));
    }

    #[test]
    fn malformed_and_twice() {
        let right = wrapped(b"192.0.2.7/32");
        assert_eq!(user_with(&[("source-address", right.clone())]), Ok(()));
        let trailing = [&right[..], &[0]].concat();
        assert_eq!(user_with(&[("source-address", trailing)]), Err("bad_source_address"));
        let twice = [("source-address", right.clone()), ("source-address", right)];
        assert_eq!(user_with(&twice), Err("malformed"));
    }

    #[test]
    fn extensions_of_ours_are_read_strictly() {
        let (cluster, trust) = cluster();
        let with = |name: &str, value: &str| {
            as_user(&Certificate::of(&full_bot()).extension(name, value).sign(&cluster.user), &trust)
        };
        assert_eq!(with("id@example.com", "anything"), Ok(()), "unknown extensions are not critical");
        for (name, value) in [
            ("permit-pty", "yes"),
            ("renewable", ""),
            ("generation", "-1"),
            ("generation", ""),
            ("bot-name@goteleport.com", "other"),
            ("bot-name@goteleport.com", ""),
            ("bot-instance-id@goteleport.com", "1"),
            ("impersonator", "a b"),
            ("login-ip", "here"),
            ("teleport-roles", ""),
            ("teleport-roles", "[]"),
            ("teleport-roles", r#"{"version":"v1","roles":[]}"#),
            ("teleport-roles", r#"{"version":"v2","roles":["a"]}"#),
            ("teleport-roles", r#"{"version":"v1","roles":["*"]}"#),
            ("teleport-traits", "1"),
            ("teleport-route-to-cluster", ""),
        ] {
            assert_eq!(with(name, value), Err("bad_identity"), "{name} {value}");
        }
        for missing in ["teleport-roles", "teleport-route-to-cluster", "bot-name@goteleport.com"] {
            let user = Certificate::of(&full_bot())
                .with(|user| user.extensions.retain(|(name, _)| name != missing.as_bytes()));
            assert_eq!(as_user(&user.sign(&cluster.user), &trust), Err("bad_identity"), "{missing}");
        }
    }
}

mod c8_impersonation {
    use super::*;

    #[test]
    fn what_may_not_be_reissued_does_not_renew() {
        let (cluster, trust) = cluster();
        let both = Certificate::of(&full_bot()).extension("renewable", "");
        assert_eq!(as_user(&both.sign(&cluster.user), &trust), Err("bad_identity"));
        for (name, value) in [("renewable", ""), ("generation", "3"), ("bot-name@goteleport.com", "x")] {
            let person = Certificate::of(&person()).extension(name, value);
            assert_eq!(as_user(&person.sign(&cluster.user), &trust), Err("bad_identity"), "{name}");
        }
    }
}

mod c9_pins {
    use super::*;

    /// A certificate for a network, used from one address: whatever is issued on its strength has that address.
    #[test]
    fn a_network_narrows_to_the_address_it_was_used_from() {
        let (cluster, trust) = cluster();
        let wide = Certificate::of(&person()).with(|user| {
            user.critical = vec![(b"source-address".to_vec(), wrapped(b"192.0.2.0/24,10.0.0.0/8"))]
        });
        let peer = Some("::ffff:192.0.2.7".parse().expect("an address"));
        let context = ssh::UserContext { trust: &trust, now: now(), peer, login: None };
        let verified = ssh::user(&wide.sign(&cluster.user), &context).expect("accepted");
        assert_eq!(verified.user().pinned_ip, Some("192.0.2.7".parse().expect("an address")));
    }

    #[test]
    fn the_pin_survives() {
        let (cluster, trust) = cluster();
        let peer = Some("192.0.2.7".parse().expect("an address"));
        let context = ssh::UserContext { trust: &trust, now: now(), peer, login: None };
        let blob = Certificate::of(&renewable_bot()).sign(&cluster.user);
        let verified = ssh::user(&blob, &context).expect("accepted");
        assert_eq!(verified.user().pinned_ip, peer);
    }
}

mod c10_source_addresses {
    use super::*;

    #[test]
    fn the_true_peer_decides() {
        let (cluster, trust) = cluster();
        let with = |list: &[u8], peer: Option<&str>| {
            let value = match list {
                [] => Vec::new(),
                list => wrapped(list),
            };
            let user = Certificate::of(&person())
                .with(|user| user.critical = vec![(b"source-address".to_vec(), value)]);
            from(&user.sign(&cluster.user), &trust, peer)
        };
        assert_eq!(with(b"192.0.2.7/32", Some("192.0.2.7")), Ok(()));
        assert_eq!(with(b"192.0.2.7/32", Some("::ffff:192.0.2.7")), Ok(()));
        assert_eq!(with(b"::ffff:192.0.2.7/128", Some("192.0.2.7")), Ok(()));
        assert_eq!(with(b"2001:db8::/32", Some("2001:db8::9")), Ok(()));
        assert_eq!(with(b"192.0.2.7/32", Some("192.0.2.8")), Err("wrong_source_address"));
        assert_eq!(with(b"192.0.2.7/32", None), Err("wrong_source_address"));
        assert_eq!(with(b"::/0", Some("192.0.2.7")), Err("wrong_source_address"));
        for odd in
            [&b""[..], b",", b"192.0.2.7/24", b"192.0.2.7/33", b"192.0.2.7/32,", b"all", b"192.0.2.7/32\n"]
        {
            assert_eq!(with(odd, Some("192.0.2.7")), Err("bad_source_address"), "{odd:?}");
        }
    }
}

mod c11_time {
    use super::*;

    #[test]
    fn exactly() {
        let (cluster, trust) = cluster();
        let now = NOW as u64;
        let within = |after: u64, before: u64| {
            let user = Certificate::of(&person())
                .with(|user| (user.valid_after, user.valid_before) = (after, before));
            as_user(&user.sign(&cluster.user), &trust)
        };
        assert_eq!(within(now, now + 1), Ok(()));
        assert_eq!(within(now - 60, now - 1), Err("expired"));
        assert_eq!(within(now - 60, now), Err("expired"));
        assert_eq!(within(now + 61, now + 3600), Err("not_yet_valid"));
        assert_eq!(within(now + 1, now + 3600), Err("not_yet_valid"));
        assert_eq!(within(now - 60, u64::MAX), Err("bad_validity"));
        assert_eq!(within(0, u64::MAX), Err("bad_validity"));
        assert_eq!(within(now + 60, now - 60), Err("bad_validity"));
        assert_eq!(within(now - 60, now + 32 * 86_400), Err("bad_validity"));
    }
}

/// For the record of a refusal: who came, if the cluster ever said so.
#[test]
fn a_refused_certificate_tells_its_holder_only_if_it_is_ours() {
    let (cluster, trust) = cluster();
    let over = || {
        let now = NOW as u64;
        Certificate::of(&person()).with(|user| (user.valid_after, user.valid_before) = (now - 60, now - 1))
    };
    let holder = |blob: &[u8]| ssh::holder(blob, &trust).map(|name| name.to_string());
    let person = person().user().expect("a user").name.to_string();
    assert_eq!(holder(&over().sign(&cluster.user)), Some(person));
    assert_eq!(holder(&over().sign(&cluster.host)), None);
    assert_eq!(holder(&over().sign(&crate::Cluster::new().user)), None);
    assert_eq!(holder(b"certificate"), None);
}
