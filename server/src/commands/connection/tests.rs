//! Tests of the connection's commands.

use crate::commands::fake_node::{FakeNode, text_of};
use crate::session::{ReplyMode, Session};
use protocol::Reply;
use protocol::encode::RespVersion;

fn check(node: &FakeNode, session: &mut Session, line: &str, expected: &str) {
    assert_eq!(text_of(&node.run(session, line)), expected, "{line}");
}

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";

#[test]
fn a_password_opens_the_session() {
    let node = FakeNode::new(Some(1));
    node.settings.set(&[("requirepass", "secret")]).unwrap();
    let mut session = node.session();
    session.authenticated = false;
    for line in ["AUTH wrong", "AUTH secre", "AUTH secrets", "AUTH other secret"] {
        check(&node, &mut session, line, WRONG);
        assert!(!session.authenticated, "{line}");
    }
    let hello = text_of(&node.run(&mut session, "HELLO 3"));
    assert!(hello.starts_with("NOAUTH HELLO must be called"), "{hello}");
    assert_eq!(session.version, RespVersion::Resp2, "a refused HELLO changes nothing");
    check(&node, &mut session, "AUTH default secret", "OK");
    assert!(session.authenticated);
    check(&node, &mut session, "AUTH a b c", "ERR syntax error");
    check(&node, &mut session, "RESET", "RESET");
    assert!(!session.authenticated);
}

#[test]
fn hello_agrees_on_everything_at_once() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    let line = "HELLO 3 AUTH default any SETNAME me";
    let Reply::Map(pairs) = node.run(&mut session, line) else { panic!("a map") };
    let role = (Reply::bulk("role"), Reply::bulk("master"));
    assert!(pairs.contains(&role) && pairs.contains(&(Reply::bulk("proto"), Reply::Integer(3))));
    assert_eq!((session.version, session.client.name().as_str()), (RespVersion::Resp3, "me"));
    let unsupported = "NOPROTO unsupported protocol version";
    check(&node, &mut session, "HELLO 4", unsupported);
    check(&node, &mut session, "HELLO 2 BAD", "ERR Syntax error in HELLO option 'BAD'");
    assert_eq!(session.version, RespVersion::Resp3);
}

#[test]
fn reset_brings_back_the_beginning() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    for line in ["SELECT 5", "CLIENT SETNAME me", "CLIENT CAPA redirect", "READONLY", "MULTI"] {
        check(&node, &mut session, line, "OK");
    }
    check(&node, &mut session, "MULTI", "ERR MULTI calls can not be nested");
    assert!(session.in_multi() && session.redirect_capable && session.database == 5);
    check(&node, &mut session, "RESET", "RESET");
    assert!(!session.in_multi() && !session.redirect_capable && session.database == 0);
    assert!(session.client.name().is_empty() && !session.readonly);
    check(&node, &mut session, "MONITOR", "OK");
    assert!(session.monitor && node.clients.has_monitors());
    check(&node, &mut session, "RESET", "RESET");
    assert!(!session.monitor && !node.clients.has_monitors());
    check(&node, &mut session, "DISCARD", "ERR DISCARD without MULTI");
}

#[test]
fn reply_modes_follow_redis() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    for (line, mode) in [
        ("CLIENT REPLY SKIP", ReplyMode::SkipNext),
        ("CLIENT REPLY OFF", ReplyMode::Off),
        ("CLIENT REPLY SKIP", ReplyMode::Off),
        ("CLIENT REPLY ON", ReplyMode::On),
    ] {
        node.run(&mut session, line);
        assert_eq!(session.reply_mode, mode, "{line}");
    }
    check(&node, &mut session, "CLIENT REPLY BAD", "ERR syntax error");
}

#[test]
fn clients_kill_and_list_each_other() {
    let node = FakeNode::new(Some(1));
    let (mut one, two) = (node.session(), node.session());
    let reply = node.run(&mut one, &format!("CLIENT KILL ID {}", two.client.id));
    assert_eq!((reply, two.client.is_killed()), (Reply::Integer(1), true));
    check(&node, &mut one, "CLIENT KILL ID 0", "ERR client-id should be greater than 0");
    check(&node, &mut one, "CLIENT KILL TYPE nosuch x", "ERR Unknown client type 'nosuch'");
    check(&node, &mut one, "CLIENT KILL 1.2.3.4:5", "ERR No such client");
    let own = format!("CLIENT KILL ID {} SKIPME no", one.client.id);
    assert_eq!(node.run(&mut one, &own), Reply::Integer(1));
    assert!(one.closing && !one.client.is_killed(), "its reply is still written");
    let list = text_of(&node.run(&mut one, "CLIENT LIST"));
    assert_eq!(list.lines().count(), 2);
    let info = text_of(&node.run(&mut one, "CLIENT INFO"));
    assert!(info.contains(" cmd=client|info ") && info.ends_with('\n'), "{info}");
    check(&node, &mut one, "CLIENT LIST ID x", "ERR Invalid client ID");
}

#[test]
fn names_are_plain_text() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    let refused = "ERR lib-ver cannot contain spaces, newlines or special characters.";
    check(&node, &mut session, "CLIENT SETINFO LIB-VER ä", refused);
    check(&node, &mut session, "CLIENT SETINFO BAD x", "ERR Unrecognized option 'BAD'");
    check(&node, &mut session, "CLIENT SETINFO lib-name jedis(x)", "OK");
    assert_eq!(node.run(&mut session, "CLIENT GETNAME"), Reply::Null);
    check(&node, &mut session, "CLIENT SETNAME me", "OK");
    check(&node, &mut session, "CLIENT GETNAME", "me");
}

#[test]
fn pause_is_for_the_registry() {
    let node = FakeNode::new(Some(1));
    let mut session = node.session();
    check(&node, &mut session, "CLIENT PAUSE 500 WRITE", "OK");
    let now_ms = 1_700_000_000_000;
    assert_eq!(node.clients.paused_until(true, now_ms), Some(now_ms + 500));
    check(&node, &mut session, "CLIENT UNPAUSE", "OK");
    assert_eq!(node.clients.paused_until(true, now_ms), None);
    let mode = "ERR CLIENT PAUSE mode must be WRITE or ALL";
    check(&node, &mut session, "CLIENT PAUSE 1 BAD", mode);
    check(&node, &mut session, "CLIENT PAUSE -1", "ERR timeout is negative");
}
