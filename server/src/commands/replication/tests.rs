//! Tests of roles, waits and orders.

use crate::commands::fake_node::FakeNode;
use crate::node_control::{MembershipChange, Order};
use protocol::Reply;

fn bulks(texts: &[&str]) -> Reply {
    Reply::Array(texts.iter().map(Reply::bulk).collect())
}

#[test]
fn role_is_that_of_redis() {
    let mut node = FakeNode::new(Some(1));
    node.status.members[2].connected = false;
    let replicas = Reply::Array(vec![bulks(&["10.0.0.2", "6379", "92"])]);
    let expected = [Reply::bulk("master"), Reply::Integer(100), replicas];
    assert_eq!(node.reply("ROLE"), Reply::Array(expected.into()));

    let mut node = FakeNode::new(Some(3));
    let expected = |host: &str, port, state: &str, offset| {
        let state = Reply::bulk(state);
        let fields = [Reply::bulk("slave"), Reply::bulk(host), port, state, offset];
        Reply::Array(fields.into())
    };
    let integer = Reply::Integer;
    assert_eq!(node.reply("ROLE"), expected("10.0.0.3", integer(6379), "connected", integer(98)));
    node.status.leader_id = None;
    assert_eq!(node.reply("ROLE"), expected("", integer(0), "connect", integer(-1)));
}

#[test]
fn wait_counts_nodes() {
    let node = FakeNode::new(Some(1));
    assert_eq!(node.reply("WAIT 1 100"), Reply::Integer(1));
    assert_eq!(node.reply("WAIT -1 0"), Reply::Integer(0));
    assert_eq!(node.text("WAIT x 0"), "ERR value is not an integer or out of range");
    assert_eq!(node.text("WAIT 0 -1"), "ERR timeout is negative");
    let counts = |counts: [i64; 2]| Reply::Array(counts.map(Reply::Integer).into());
    assert_eq!(node.reply("WAITAOF 1 5 10"), counts([1, 2]));
    assert_eq!(node.text("WAITAOF 2 0 0"), "ERR value is out of range, value must between 0 and 1");
    assert_eq!(node.metrics.blocked_clients.get(), 0, "whoever waited does not any more");
}

#[tokio::test]
async fn failover_is_a_transfer_of_leadership() {
    let check = |line: &str, reply: &str, order: Option<Order>| {
        let node = FakeNode::new(Some(1));
        assert_eq!(node.text(line), reply, "{line}");
        assert_eq!(node.orders.lock().pop(), order, "{line}");
    };
    let transfer = |to| Some(Order::TransferLeader { to });
    check("FAILOVER", "OK", transfer(None));
    check("FAILOVER TO 10.0.0.2 6379 TIMEOUT 10", "OK", transfer(Some(2)));
    check("RAFT.TRANSFER_LEADER 3", "OK", transfer(Some(3)));
    let nobody = "ERR FAILOVER target HOST and PORT is not a replica.";
    check("FAILOVER TO 10.0.0.1 6379", nobody, None);
    check("FAILOVER ABORT", "ERR No failover in progress.", None);
    check("FAILOVER TIMEOUT 0", "ERR FAILOVER timeout must be greater than 0", None);
    check("FAILOVER TO 10.0.0.2", "ERR syntax error", None);
    let needs = "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
    check("FAILOVER FORCE", needs, None);

    let mut node = FakeNode::new(Some(1));
    node.status.transferring = true;
    assert_eq!(node.text("FAILOVER"), "ERR FAILOVER already in progress.");
    node.status.transferring = false;
    node.status.members.truncate(1);
    assert_eq!(node.text("FAILOVER"), "ERR FAILOVER requires connected replicas.");
}

#[test]
fn members_are_changed_by_orders() {
    let check = |line: &str, order: Order| {
        let node = FakeNode::new(Some(1));
        assert_eq!(node.text(line), "OK", "{line}");
        assert_eq!(*node.orders.lock(), [order], "{line}");
    };
    let add = MembershipChange::Add { address: "h:1".into() };
    check("RAFT.NODE ADD h:1", Order::Membership(add));
    check("raft.node remove 3", Order::Membership(MembershipChange::Remove { id: 3 }));
    check("RAFT.NODE PROMOTE 3", Order::Membership(MembershipChange::Promote { id: 3 }));
    check("RAFT.CLUSTER INIT", Order::Init);
    let addresses = vec!["a:1".to_owned(), "b:2".to_owned()];
    check("RAFT.CLUSTER JOIN a:1 b:2", Order::Join { addresses });
    check("RAFT.SNAPSHOT", Order::Snapshot);
    let node = FakeNode::new(Some(1));
    assert_eq!(node.text("RAFT.NODE ADD nonsense"), "ERR invalid address: give HOST:PORT");
    assert_eq!(node.text("RAFT.NODE REMOVE 0"), "ERR invalid node id");
    let Reply::Array(members) = node.reply("RAFT.NODE LIST") else { panic!("an array") };
    assert_eq!(members.len(), 3);
}

#[test]
fn readonly_is_a_state_of_the_session() {
    let node = FakeNode::new(Some(2));
    let mut session = node.session();
    node.run(&mut session, "READONLY");
    assert!(session.readonly && session.client.flags() == "r");
    node.run(&mut session, "READWRITE");
    assert!(!session.readonly);
}
