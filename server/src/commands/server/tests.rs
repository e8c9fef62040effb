//! Tests of the node's commands.

use crate::commands::fake_node::{FakeNode, text_of};
use crate::metrics::CommandOutcome;
use crate::node_control::Order;
use protocol::Reply;

fn array(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(items) => items,
        other => panic!("no array: {other:?}"),
    }
}

#[test]
fn the_clock_is_told() {
    let node = FakeNode::new(Some(1));
    let expected = vec![Reply::bulk("1700000000"), Reply::bulk("0")];
    assert_eq!(array(node.reply("TIME")), expected);
    assert_eq!(node.reply("LASTSAVE"), Reply::Integer(1_699_999_999));
}

#[test]
fn settings_are_read_and_set() {
    let node = FakeNode::new(Some(1));
    assert_eq!(node.text("CONFIG SET timeout 7"), "OK");
    let pair = (Reply::bulk("TimeOut"), Reply::bulk("7"));
    assert_eq!(node.reply("CONFIG GET TimeOut"), Reply::Map(vec![pair]));
    assert_eq!(node.text("CONFIG SET timeout 7 x"), "ERR syntax error");
    node.metrics.connections_received.increment();
    assert_eq!(node.text("CONFIG RESETSTAT"), "OK");
    assert_eq!(node.metrics.connections_received.get(), 0);
}

#[test]
fn debug_needs_leave() {
    let node = FakeNode::new(Some(1));
    assert!(node.text("DEBUG JMAP").starts_with("ERR DEBUG command not allowed."));
}

#[test]
fn debug_digest_is_forty_digits() {
    let mut node = FakeNode::new(Some(1));
    let flags = [("enable-debug-command".to_owned(), "yes".to_owned())];
    node.settings = crate::config::Settings::from_sources(None, [], &flags).unwrap();
    assert_eq!(node.text("DEBUG DIGEST"), format!("{}abc", "0".repeat(37)));
    assert_eq!(node.text("DEBUG STATE-DIGEST"), format!("{}def", "0".repeat(37)));
    assert!(node.text("DEBUG DIGEST 1").starts_with("ERR unknown subcommand"));
}

#[test]
fn shutdown_is_an_order_without_an_answer() {
    let node = FakeNode::new(Some(1));
    for line in ["SHUTDOWN BAD", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW"] {
        assert_eq!(node.text(line), "ERR syntax error", "{line}");
    }
    assert_eq!(node.text("SHUTDOWN ABORT"), "ERR No shutdown in progress.");
    let mut session = node.session();
    let reply = node.start(&mut session, "SHUTDOWN NOSAVE NOW");
    assert_eq!(reply, None, "nothing is answered");
    assert!(session.client.is_killed());
    assert_eq!(*node.orders.lock(), [Order::Shutdown]);
}

#[test]
fn latency_histograms_have_the_form_of_redis() {
    let node = FakeNode::new(Some(1));
    let get = crate::commands::numbering::find(b"config|get").unwrap();
    node.metrics.record(get, 1, 1_500, CommandOutcome::Ok, true);
    let integer = Reply::Integer;
    let described = Reply::Map(vec![
        (Reply::bulk("calls"), integer(1)),
        (Reply::bulk("histogram_usec"), Reply::Map(vec![(integer(2), integer(1))])),
    ]);
    let expected = Reply::Map(vec![(Reply::bulk("config|get"), described)]);
    for line in ["LATENCY HISTOGRAM", "LATENCY HISTOGRAM config", "latency histogram CONFIG|GET"] {
        assert_eq!(node.reply(line), expected, "{line}");
    }
    assert_eq!(node.reply("LATENCY HISTOGRAM nosuch"), Reply::Map(Vec::new()));
    assert_eq!(node.reply("LATENCY RESET"), integer(0));
}

#[test]
fn keys_of_commands_are_found() {
    let node = FakeNode::new(Some(1));
    let keys = |line: &str| -> Vec<String> {
        array(node.reply(&format!("COMMAND GETKEYS {line}"))).iter().map(text_of).collect()
    };
    assert_eq!(keys("MSET a 1 b 2"), ["a", "b"]);
    assert_eq!(keys("memory usage k samples 5"), ["k"]);
    assert_eq!(keys("WATCH a b"), ["a", "b"]);
    let refused = |line: &str, text: &str| assert_eq!(node.text(line), text, "{line}");
    refused("COMMAND GETKEYS SELECT 1", "ERR The command has no key arguments");
    refused("COMMAND GETKEYS NOSUCH a", "ERR Invalid command specified");
    let wrong = "ERR Invalid number of arguments specified for command";
    refused("COMMAND GETKEYS GET a b", wrong);
    let flagged = array(node.reply("COMMAND GETKEYSANDFLAGS RENAME a b"));
    let second = Reply::Set(vec![Reply::simple("OW"), Reply::simple("update")]);
    assert_eq!(flagged[1], Reply::Array(vec![Reply::bulk("b"), second]));
}

#[test]
fn commands_describe_themselves() {
    let node = FakeNode::new(Some(1));
    let count = crate::commands::all().count();
    assert_eq!(node.reply("COMMAND COUNT"), Reply::Integer(count as i64));
    assert_eq!(array(node.reply("COMMAND")).len(), count);
    let info = array(node.reply("COMMAND INFO get nosuch config|get"));
    assert_eq!((array(info[0].clone()).len(), &info[1]), (10, &Reply::Null));
    assert_eq!(array(info[2].clone())[0], Reply::bulk("config|get"));
    let names = array(node.reply("COMMAND LIST FILTERBY PATTERN GETDE?"));
    assert_eq!(names, [Reply::bulk("getdel")]);
    let names = array(node.reply("COMMAND LIST FILTERBY ACLCAT transaction"));
    assert_eq!(names.len(), 5);
    let Reply::Map(docs) = node.reply("COMMAND DOCS get nosuch") else { panic!("a map") };
    assert_eq!(docs.len(), 1);
    let Reply::Map(docs) = node.reply("COMMAND DOCS") else { panic!("a map") };
    assert_eq!(docs.len(), count);
}
