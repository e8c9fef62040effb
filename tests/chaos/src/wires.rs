//! A network of its own for every node: a network namespace, joined by a veth pair to a bridge that
//! belongs to this run alone. So a cable can be pulled (nobody is told: no FIN, no RST), packets of
//! one direction can vanish, and a link can be narrow.
//!
//! Needs root, `ip` and `nsenter`; for the loss of packets `nft`, for narrow links `tc`. What is
//! missing is said by returning none, or by [`Wires::can_drop`]. Nothing that exists is touched: all
//! names begin with `kv`, the process id and a number, the subnet is a free one of 198.18.0.0/16, and
//! rules of packets are installed within the namespaces. A [`Broom`] removes everything.

use crate::broom::Broom;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Ends what runs in the namespaces `$@` and removes them; the bridge is `$0`.
const SWEEP: &str = "for name in \"$@\"; do \
    for pid in $(ip netns pids $name); do kill -9 $pid; done; \
    ip link del $name; ip netns del $name; done; \
    ip link del $0";

/// Name of a node's end of its link, in its namespace.
const LINK: &str = "eth0";

/// Packets of which direction, as the node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
    Both,
}

/// The networks of one cluster.
pub struct Wires {
    prefix: String,
    subnet: String,
    can_drop: bool,
    _broom: Broom,
}

impl Wires {
    /// Networks for `count` nodes, if that is possible here.
    pub fn create(count: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("kv{}s{serial}", std::process::id());
        let subnet = free_subnet(serial)?;
        let names = (0..count).map(|at| format!("{prefix}n{at}"));
        let broom = Broom::start(SWEEP, std::iter::once(prefix.clone()).chain(names)).ok()?;
        let mut wires = Wires { prefix, subnet, can_drop: false, _broom: broom };
        let bridge = wires.prefix.clone();
        let gateway = wires.gateway();
        let made = ip(&format!("link add {bridge} type bridge"))
            && ip(&format!("addr add {gateway}/24 dev {bridge}"))
            && ip(&format!("link set {bridge} up"))
            && (0..count).all(|at| wires.connect(at));
        if !made || !(0..count).all(|at| wires.is_reached_soon(at)) {
            return None;
        }
        wires.can_drop = wires.lose(0, Way::Both, 100) && !wires.is_reached(0);
        wires.heal(0);
        wires.is_reached_soon(0).then_some(wires)
    }

    fn connect(&self, at: usize) -> bool {
        let (name, bridge) = (self.name(at), &self.prefix);
        ip(&format!("netns add {name}"))
            && ip(&format!("link add {name} type veth peer name {LINK} netns {name}"))
            && ip(&format!("link set {name} master {bridge} up"))
            && ip(&format!("-n {name} link set lo up"))
            && ip(&format!("-n {name} addr add {}/24 dev {LINK}", self.address(at)))
            && ip(&format!("-n {name} link set {LINK} up"))
    }

    /// Whether packets go there and come back: nobody listens, and that is said.
    fn is_reached(&self, at: usize) -> bool {
        let Ok(addr) = format!("{}:9", self.address(at)).parse::<SocketAddr>() else {
            return false;
        };
        let asked = TcpStream::connect_timeout(&addr, Duration::from_millis(1500));
        asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    /// As [`Self::is_reached`], for a machine that is busy.
    fn is_reached_soon(&self, at: usize) -> bool {
        (0..5).any(|_| self.is_reached(at))
    }

    /// Name of a node's namespace, and of the other end of its link.
    fn name(&self, at: usize) -> String {
        format!("{}n{at}", self.prefix)
    }

    /// Address of a node.
    pub fn address(&self, at: usize) -> String {
        format!("{}.{}", self.subnet, 10 + at)
    }

    /// The address at which nodes reach this process.
    pub fn gateway(&self) -> String {
        format!("{}.1", self.subnet)
    }

    /// What starts a program in the network of a node; it becomes that program.
    pub fn launcher(&self, at: usize) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name(at))]
    }

    /// Whether packets can be dropped.
    pub fn can_drop(&self) -> bool {
        self.can_drop
    }

    /// Pulls the cable of a node, or puts it back.
    pub fn plug(&self, at: usize, up: bool) -> bool {
        ip(&format!("link set {} {}", self.name(at), if up { "up" } else { "down" }))
    }

    /// Drops so many of a hundred packets.
    pub fn lose(&self, at: usize, way: Way, percent: u64) -> bool {
        let when = if percent < 100 {
            format!("numgen random mod 100 < {percent}")
        } else {
            String::new()
        };
        let mut table = "table inet chaos { counter lost { }\n".to_owned();
        for (hook, others, name) in [("input", Way::Out, "iifname"), ("output", Way::In, "oifname")]
        {
            if way != others {
                table += &format!(
                    "chain {hook} {{ type filter hook {hook} priority 0; \
                     {name} {LINK} {when} counter name lost drop\n }}\n"
                );
            }
        }
        self.run(at, &["nft", &(table + "}")]).is_some()
    }

    /// Packets dropped by [`Self::lose`] so far.
    pub fn lost(&self, at: usize) -> u64 {
        figure(&self.run(at, &["nft", "list", "counters"]).unwrap_or_default(), "packets ")
    }

    /// Lets so many kilobits a second pass, each way.
    pub fn narrow(&self, at: usize, kilobits: u64) -> bool {
        let rate = format!("{kilobits}kbit");
        let words = |link: &str| -> Vec<String> {
            ["tc", "qdisc", "add", "dev", link, "root", "tbf", "rate", &rate, "burst", "8kb"]
                .into_iter()
                .chain(["latency", "300ms"])
                .map(str::to_owned)
                .collect()
        };
        let (near, far) = (words(&self.name(at)), words(LINK));
        let far: Vec<&str> = far.iter().map(String::as_str).collect();
        run(&near[0], &near[1..]).is_some() && self.run(at, &far).is_some()
    }

    /// Packets that had to wait for a narrow link so far.
    pub fn waited(&self, at: usize) -> u64 {
        let far = self.run(at, &["tc", "-s", "qdisc", "show", "dev", LINK]);
        let near = run("tc", &["-s", "qdisc", "show", "dev", &self.name(at)]);
        [far, near].iter().flatten().map(|text| figure(text, "overlimits ")).sum()
    }

    /// Ends what [`Self::plug`], [`Self::lose`] and [`Self::narrow`] began.
    pub fn heal(&self, at: usize) {
        self.plug(at, true);
        // Each fails where there is nothing to end.
        let _ = self.run(at, &["nft", "delete", "table", "inet", "chaos"]);
        let _ = self.run(at, &["tc", "qdisc", "del", "dev", LINK, "root"]);
        let _ = run("tc", &["qdisc", "del", "dev", &self.name(at), "root"]);
    }

    fn run(&self, at: usize, words: &[&str]) -> Option<String> {
        let launcher = self.launcher(at);
        let words: Vec<&str> =
            launcher[1..].iter().map(String::as_str).chain(words.iter().copied()).collect();
        run(&launcher[0], &words)
    }
}

/// A /24 that no address and no route of this machine is in.
fn free_subnet(serial: u32) -> Option<String> {
    let taken = run("ip", &["-4", "addr"])? + &run("ip", &["-4", "route", "show", "table", "all"])?;
    let first = std::process::id().wrapping_mul(7).wrapping_add(serial);
    (0..250)
        .map(|turn| format!("198.18.{}", 1 + first.wrapping_add(turn) % 250))
        .find(|subnet| !taken.contains(&format!("{subnet}.")))
}

/// The first number after `name`.
fn figure(text: &str, name: &str) -> u64 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn ip(words: &str) -> bool {
    run("ip", &words.split(' ').collect::<Vec<_>>()).is_some()
}

/// What a program says; none when it fails or does not exist.
fn run<A: AsRef<std::ffi::OsStr>>(program: &str, words: &[A]) -> Option<String> {
    let done = Command::new(program).args(words).stdin(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cables_packets_and_rates_and_nothing_is_left() {
        let Some(wires) = Wires::create(2) else {
            // Not possible here; the table of a run says so, too.
            return;
        };
        let name = wires.name(1);
        assert!(wires.plug(1, false));
        assert!(!wires.is_reached(1) && wires.is_reached_soon(0));
        wires.heal(1);
        assert!(wires.is_reached_soon(1));
        if wires.can_drop() {
            for way in [Way::In, Way::Out] {
                assert!(wires.lose(1, way, 100));
                assert!(!wires.is_reached(1), "{way:?}");
                assert!(wires.lost(1) > 0, "{way:?}");
                wires.heal(1);
            }
            assert!(wires.is_reached_soon(1));
        }
        let network = format!("/run/netns/{name}");
        assert!(std::path::Path::new(&network).exists());
        drop(wires);
        assert!(!std::path::Path::new(&network).exists());
        assert!(!run("ip", &["link"]).unwrap_or_default().contains(&name[..name.len() - 2]));
    }
}
