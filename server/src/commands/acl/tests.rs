//! Users, by their rules: texts as redis-server 7.0.15 prints them.

use super::user::User;
use super::{Denied, sealed};
use crate::commands::fake_node::FakeNode;
use crate::commands::spec::{Arity, Keys};
use crate::commands::test_support::Runner;
use crate::commands::{all, numbering};
use protocol::Request;

fn user(rules: &str) -> User {
    User::parse(rules.as_bytes()).unwrap()
}

/// The user that rules lead to, as ACL LIST prints it.
fn check(rules: &str, expected: &str) {
    let made = user(rules);
    assert_eq!(String::from_utf8(made.describe()).unwrap(), expected, "{rules}");
    assert_eq!(User::parse(&made.describe()), Ok(made), "{rules}: read back");
}

#[test]
fn users_are_listed_as_redis_lists_them() {
    check("off", "off resetchannels -@all");
    check("on nopass ~* &* +@all", "on nopass ~* &* +@all");
    check("reset", "off sanitize-payload resetchannels -@all");
    check("skip-sanitize-payload ON", "on skip-sanitize-payload resetchannels -@all");
    check(
        "on >p ~a* %R~r* &ch* +get +SET (%W~w* +set)",
        "on #148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940 ~a* %R~r* \
         resetchannels &ch* -@all +get +set (%W~w* resetchannels -@all +set)",
    );
    check("%R~x %W~x", "off ~x resetchannels -@all");
    // Redis prints `~*`, and reads what it printed no more.
    check(
        "%RW~* ~x (%W~* %R~* ~y)",
        "off %RW~* ~x resetchannels -@all (%RW~* ~y resetchannels -@all)",
    );
    check("+@all -@dangerous -get +get", "off resetchannels +@all -@dangerous");
    check("+@read -get", "off resetchannels -@all +@read -get");
    check("+get +@read", "off resetchannels -@all +@read");
    check("+config|get +config", "off resetchannels -@all +config");
    check("+select|0 -select", "off resetchannels -@all");
    check("+@hash", "off resetchannels -@all +@hash");
    check("() (~x) clearselectors", "off resetchannels -@all");
    check("+get resetpass nocommands", "off resetchannels -@all");
}

#[test]
fn wrong_rules_are_refused_with_the_words_of_redis() {
    let mut runner = Runner::new();
    let unknown = "Unknown command or category name in ACL";
    let hash = "The password hash must be exactly 64 characters and contain only lowercase \
                hexadecimal characters";
    let keys = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does \
                not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    let channels = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid \
                    and does not have any effect. Try 'resetchannels' to start with an empty list \
                    of channels";
    let first = "Allowing first-arg of a subcommand is not supported";
    for (rules, wrong, why) in [
        ("foo", "foo", "Syntax error"),
        ("#abc", "#abc", hash),
        ("!abc", "!abc", hash),
        ("+nosuch", "+nosuch", unknown),
        ("on +@nosuch", "+@nosuch", unknown),
        ("+select|0|1", "+select|0|1", unknown),
        ("+config|get|x", "+config|get|x", first),
        ("+config|", "+config|", "Syntax error"),
        ("-select|0", "-select|0", unknown),
        ("%X~a", "%X~a", "Syntax error"),
        ("%~a", "%~a", "Syntax error"),
        ("+get)", "+get)", unknown),
        ("(nopass)", "(nopass)", "Syntax error"),
        ("(+get +foo)", "(+get +foo)", unknown),
        ("+", "+", unknown),
        ("~* ~a", "~a", keys),
        ("&* &a", "&a", channels),
    ] {
        let expected = format!("-ERR Error in ACL SETUSER modifier '{wrong}': {why}");
        assert_eq!(runner.run(&format!("ACL SETUSER joe {rules}")), expected);
    }
    let open = "-ERR Unmatched parenthesis in acl selector starting at '(+get'.";
    assert_eq!(runner.run("ACL SETUSER joe on (+get +set"), open);
    // Nothing of all this has made a user.
    assert_eq!(runner.run("ACL DELUSER joe"), ":0");
}

#[test]
fn a_change_is_whole_or_nothing() {
    let mut runner = Runner::new();
    runner.check(&[
        ("ACL SETUSER joe on +get", "OK"),
        ("ACL SETUSER joe +set foo", "-ERR Error in ACL SETUSER modifier 'foo': Syntax error"),
        ("FLUSHALL", "OK"),
        ("ACL DELUSER joe nobody", ":1"),
        ("ACL DELUSER joe", ":0"),
        ("ACL DELUSER joe default", "-ERR The 'default' user cannot be removed"),
    ]);
}

#[test]
fn no_password_is_proposed() {
    let request = Request::from_parts(&["ACL", "SETUSER", "joe", "on", ">hush", "<hush", "~a"]);
    let hidden = sealed(&request, None);
    assert!(hidden.iter().all(|part| !part.windows(4).any(|window| window == b"hush")));
    assert_eq!((hidden.len(), hidden.arg(6)), (7, &b"~a"[..]));
    let mut user = User::nobody();
    user.apply(hidden.arg(4)).unwrap();
    user.apply(b"on").unwrap();
    assert!(user.accepts(b"hush") && !user.accepts(b"hash"));
    user.apply(hidden.arg(5)).unwrap();
    assert!(!user.accepts(b"hush"));
    // The default user that nobody changed keeps this node's password.
    let request = Request::from_parts(&["ACL", "SETUSER", "default", "-get"]);
    let whole = sealed(&request, Some(&User::everybody("first")));
    let mut default = User::everybody("");
    whole.iter().skip(3).for_each(|rule| match default.apply(rule) {
        Ok(()) => {}
        Err(error) => panic!("{}: {error}", rule.escape_ascii()),
    });
    assert!(default.accepts(b"first") && !default.accepts(b"other"));
}

fn denied(rules: &str, line: &str) -> Option<Denied> {
    let request = Request::from_parts(&line.split(' ').collect::<Vec<_>>());
    let spec = numbering::resolve(&request).unwrap();
    user(rules).check(spec, &request).err()
}

#[test]
fn keys_are_checked_by_what_is_done_to_them() {
    let rules = "~a* %R~r* +get +set +copy +exists +mget (%W~w* +set)";
    for (line, expected) in [
        ("GET a", None),
        ("GET r1", None),
        ("GET b", Some(Denied::Key(1))),
        ("DEL a", Some(Denied::Command)),
        ("SET r1 x", Some(Denied::Key(1))),
        ("SET w1 x", None),
        ("SET w1 x GET", Some(Denied::Key(1))),
        ("COPY r1 a1", None),
        ("COPY r1 r2", Some(Denied::Key(2))),
        ("EXISTS r1", None),
        ("EXISTS w1", Some(Denied::Key(1))),
        ("MGET a r w", Some(Denied::Key(3))),
        ("AUTH x", None),
    ] {
        assert_eq!(denied(rules, line), expected, "{line}");
    }
    assert_eq!(denied("+select|0", "SELECT 0"), None);
    assert_eq!(denied("+select|0", "SELECT 1"), Some(Denied::Command));
    assert_eq!(denied("+config|get", "CONFIG SET a b"), Some(Denied::Command));
}

/// Every command of the table at every level of right: none, the command alone, the wrong key, and
/// both.
#[test]
fn every_command_is_denied_until_it_is_allowed() {
    for spec in all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
        let name = numbering::full_name_of(spec);
        let least = match spec.arity {
            Arity::Exactly(count) | Arity::AtLeast(count) => count,
        };
        let mut parts: Vec<&str> = name.split('|').collect();
        parts.resize(least.max(parts.len()), "key");
        let request = Request::from_parts(&parts);
        let check = |rules: &str| user(rules).check(spec, &request).err();
        let open = spec.flags.has(crate::commands::spec::Flags::NO_AUTH);
        assert_eq!(check("allkeys"), (!open).then_some(Denied::Command), "{name}");
        assert_eq!(check(&format!("+@all ~* -{name}")), (!open).then_some(Denied::Command));
        let mut keys = 0;
        spec.keys.positions(&request, |_| keys += 1);
        assert_eq!(keys > 0, !matches!(spec.keys, Keys::None) && keys > 0, "{name}");
        let wrong = check(&format!("+{name} ~other"));
        assert_eq!(matches!(wrong, Some(Denied::Key(_))), keys > 0, "{name}");
        assert_eq!(check(&format!("+{name} ~key")), None, "{name}");
    }
}

#[test]
fn denials_and_passwords_are_shown_without_secrets() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    node.run(&mut session, "AUTH joe hush");
    let log = format!("{:?}", node.run(&mut session, "ACL LOG"));
    assert!(log.contains("joe") && log.contains("AUTH") && !log.contains("hush"), "{log}");
    assert_eq!(node.text("ACL GENPASS 5"), "a5");
    assert_eq!(node.text("ACL GENPASS"), "a5".repeat(32));
}
