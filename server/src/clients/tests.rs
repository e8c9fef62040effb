//! Tests of the registry: list, kill, pause, monitor.

use super::*;
use crate::clock::ManualClock;
use futures_util::FutureExt;
use protocol::Request;

fn registry() -> (ClientRegistry, Vec<Arc<Client>>) {
    let registry = ClientRegistry::default();
    let clients = (1..=3)
        .map(|n| registry.register(format!("10.0.0.{n}:50"), "127.0.0.1:6379".into(), 8 + n, 1000))
        .collect();
    (registry, clients)
}

#[test]
fn clients_are_counted_listed_and_removed() {
    let (registry, clients) = registry();
    assert_eq!(registry.count(), 3);
    registry.remove(2);
    registry.remove(2);
    assert_eq!(registry.count(), 2);
    let ids: Vec<u64> = registry.list().iter().map(|client| client.id).collect();
    assert_eq!(ids, [1, 3]);
    assert!(registry.get(2).is_none() && registry.get(3).is_some());
    assert_eq!(clients[0].id, 1);
}

#[test]
fn a_filter_kills_those_it_names() {
    let (registry, clients) = registry();
    let by_address = ClientFilter { address: Some("10.0.0.2:50".into()), ..Default::default() };
    assert_eq!(registry.kill(&by_address, 1), (1, false));
    assert!(clients[1].is_killed() && !clients[0].is_killed());
    let all_others = ClientFilter { skip_caller: true, ..Default::default() };
    assert_eq!(registry.kill(&all_others, 1), (2, false));
    assert!(clients[2].is_killed() && !clients[0].is_killed());
    assert_eq!(registry.kill(&ClientFilter { id: Some(1), ..Default::default() }, 1), (1, true));
    assert!(!clients[0].is_killed(), "the caller closes by itself");
    let pubsub = ClientFilter { kind: ClientKind::parse(b"PubSub"), ..Default::default() };
    assert_eq!(registry.kill(&pubsub, 1), (0, false));
    let nobody = ClientFilter { user: Some("nobody".into()), ..Default::default() };
    assert_eq!(registry.kill(&nobody, 1), (0, false));
}

#[test]
fn a_client_describes_itself_in_redis_order() {
    let (registry, clients) = registry();
    let client = &clients[0];
    client.set_name("me");
    client.set_library_name("lib");
    client.note_command(crate::commands::lookup(b"strlen").unwrap(), 3000);
    client.output_bytes.store(5, Ordering::Relaxed);
    client.is_readonly.store(true, Ordering::Relaxed);
    let line = client.describe(5500);
    let start = "id=1 addr=10.0.0.1:50 laddr=127.0.0.1:6379 fd=9 name=me age=4 idle=2 flags=r db=0 \
                 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
                 rbp=0 obl=0 oll=1 omem=5 tot-mem=";
    assert!(line.starts_with(start), "{line}");
    let end = "events=rw cmd=strlen user=default redir=-1 resp=2 lib-name=lib lib-ver=";
    assert!(line.ends_with(end), "{line}");
    assert_eq!(registry.get(2).unwrap().last_command(), None);
}

#[test]
fn a_pause_takes_the_longer_time_and_the_stricter_mode() {
    let (registry, _) = registry();
    assert_eq!(registry.paused_until(true, 0), None);
    registry.pause(PauseMode::Write, 500, 100);
    assert_eq!(
        (registry.paused_until(true, 100), registry.paused_until(false, 100)),
        (Some(500), None)
    );
    registry.pause(PauseMode::All, 300, 100);
    assert_eq!(registry.paused_until(false, 499), Some(500));
    assert_eq!(registry.paused_until(true, 500), None, "it is over");
    registry.pause(PauseMode::Write, 900, 600);
    assert_eq!(registry.paused_until(false, 600), None, "an old pause leaves nothing behind");
    registry.unpause();
    assert_eq!(registry.paused_until(true, 600), None);
}

#[tokio::test]
async fn unpause_lets_waiters_go() {
    let registry = Arc::new(ClientRegistry::default());
    registry.pause(PauseMode::All, 1_000_000, 0);
    let clock = ManualClock::new(0);
    let waiting = registry.wait_unpaused(false, &clock);
    tokio::pin!(waiting);
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), &mut waiting).await;
    assert!(early.is_err(), "it waits");
    registry.unpause();
    waiting.await;
}

#[test]
fn monitors_see_commands_without_secrets_until_they_are_too_slow() {
    let (registry, clients) = registry();
    assert!(!registry.has_monitors());
    registry.monitor(&clients[0]);
    let mut feed = clients[0].take_monitor_feed().unwrap();
    assert!(clients[0].take_monitor_feed().is_none());
    assert!(registry.has_monitors());
    let request = Request::from_parts(&[&b"set"[..], b"a\"\n\x01", b"v"]);
    registry.monitor_feed(1_700_000_000_000_042, 3, "1.1.1.1:2", &request);
    let line = feed.recv().now_or_never().flatten().unwrap();
    let expected = b"+1700000000.000042 [3 1.1.1.1:2] \"set\" \"a\\\"\\n\\x01\" \"v\"\r\n";
    assert_eq!(&line[..], &expected[..]);
    registry.monitor_feed(0, 0, "a", &Request::from_parts(&["auth", "hush"]));
    let line = feed.recv().now_or_never().flatten().unwrap();
    assert_eq!(&line[..], b"+0.000000 [0 a] \"auth\" \"(redacted)\"\r\n");
    for _ in 0..=crate::limits::MONITOR_QUEUE_LINES {
        registry.monitor_feed(0, 0, "a", &request);
    }
    assert!(clients[0].is_killed() && !registry.has_monitors());
    registry.monitor(&clients[1]);
    registry.end_monitor(&clients[1]);
    assert!(!registry.has_monitors());
    registry.monitor(&clients[2]);
    registry.remove(clients[2].id);
    assert!(!registry.has_monitors());
}

#[test]
fn clients_with_most_memory_are_closed_until_the_others_fit() {
    let registry = ClientRegistry::default();
    let clients: Vec<_> = [10, 400, 30, 900, 500]
        .into_iter()
        .map(|bytes| {
            let client = registry.register("127.0.0.1:1".into(), String::new(), 3, 0);
            client.output_bytes.store(bytes / 2, Ordering::Relaxed);
            client.input_bytes.store(bytes - bytes / 2, Ordering::Relaxed);
            client
        })
        .collect();
    clients[4].no_evict.store(true, Ordering::Relaxed);
    assert_eq!(registry.evict(1840), 0);
    assert_eq!(registry.evict(600), 2);
    let killed: Vec<bool> = clients.iter().map(|client| client.is_killed()).collect();
    assert_eq!(killed, [false, true, false, true, false]);
}
