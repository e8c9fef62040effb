//! Tests of CLUSTER's view of the Raft group.

use crate::commands::fake_node::FakeNode;
use crate::node_control::{MembershipChange, Order};
use crate::status::{Role, cluster_name};
use protocol::Reply;

fn name(id: u64) -> String {
    cluster_name(0xc0ffee, id)
}

/// The ports and names of the nodes of the one slot range, the master first.
fn slot_owners(node: &FakeNode) -> Vec<String> {
    let Reply::Array(ranges) = node.reply("CLUSTER SLOTS") else { panic!("an array") };
    let Some(Reply::Array(range)) = ranges.into_iter().next() else {
        return Vec::new();
    };
    assert_eq!(range[..2], [Reply::Integer(0), Reply::Integer(16383)]);
    let name_of = |owner: &Reply| match owner {
        Reply::Array(fields) => crate::commands::fake_node::text_of(&fields[2]),
        other => panic!("{other:?}"),
    };
    range[2..].iter().map(name_of).collect()
}

#[test]
fn the_leader_owns_all_slots_and_usable_members_are_its_replicas() {
    let mut node = FakeNode::new(Some(1));
    assert_eq!(slot_owners(&node), [name(1), name(2), name(3)]);
    node.status.members[1].connected = false;
    node.status.members[2].match_index = Some(0);
    assert_eq!(slot_owners(&node), [name(1)]);
    let node = FakeNode::new(Some(2));
    assert_eq!(slot_owners(&node), [name(2), name(1), name(3)]);
}

#[test]
fn without_a_leader_this_node_is_asked_and_outside_of_a_cluster_nobody() {
    let mut node = FakeNode::new(None);
    assert_eq!(slot_owners(&node)[0], name(1));
    assert!(node.text("CLUSTER INFO").starts_with("cluster_state:fail\r\n"));
    node.status.role = Role::Removed;
    assert_eq!(slot_owners(&node), [""; 0]);
}

#[test]
fn nodes_are_lines_that_clients_can_read() {
    let mut node = FakeNode::new(Some(1));
    node.status.members[2].connected = false;
    let text = node.text("CLUSTER NODES");
    let lines: Vec<&str> = text.lines().collect();
    let (one, two, three) = (name(1), name(2), name(3));
    assert_eq!(
        lines,
        [
            format!("{one} 10.0.0.1:6379@16379 myself,master - 0 0 7 connected 0-16383"),
            format!("{two} 10.0.0.2:6379@16379 slave {one} 0 1699999998000 7 connected"),
            format!("{three} 10.0.0.3:6379@16379 slave,fail? {one} 0 1699999997000 7 disconnected"),
        ]
    );
    let Reply::Array(replicas) = node.reply(&format!("CLUSTER REPLICAS {one}")) else { panic!() };
    assert_eq!(replicas.len(), 2);
    let refused = node.text(&format!("CLUSTER REPLICAS {two}"));
    assert_eq!(refused, "ERR The specified node is not a master");
    assert_eq!(node.text("CLUSTER MYID"), one);
}

#[test]
fn forget_removes_a_member_but_not_this_one() {
    let node = FakeNode::new(Some(1));
    assert_eq!(node.text(&format!("CLUSTER FORGET {}", name(3))), "OK");
    let removed = Order::Membership(MembershipChange::Remove { id: 3 });
    assert_eq!(*node.orders.lock(), [removed]);
    let refused = node.text(&format!("CLUSTER FORGET {}", name(1)));
    assert_eq!(refused, "ERR I tried hard but I can't forget myself...");
    assert_eq!(node.text("CLUSTER FORGET nosuch"), "ERR Unknown node nosuch");
}

#[test]
fn slots_of_keys_are_checked() {
    let node = FakeNode::new(Some(1));
    assert_eq!(node.reply("CLUSTER KEYSLOT foo"), Reply::Integer(12182));
}
