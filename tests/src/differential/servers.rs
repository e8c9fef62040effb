//! The servers that are compared, started as processes of their own.

use super::Addresses;
use crate::cluster::Cluster;
use crate::redis_server::{RedisServer, start_named_redis_server};
use std::ffi::OsStr;

/// Pairs of a Kvorum and a redis-server; they end when this is dropped.
pub struct Servers {
    pairs: Vec<(Cluster, RedisServer)>,
}

impl Servers {
    /// Starts so many pairs, each with nothing else to do.
    ///
    /// # Panics
    /// One of them cannot be started.
    pub fn start(pairs: usize, redis_server: &OsStr) -> Servers {
        let start = |_| {
            let kvorum = Cluster::start(1, &["storage-engine=memory", "appendfsync=everysec"]);
            (kvorum, start_named_redis_server(redis_server, &[]))
        };
        Servers { pairs: (0..pairs).map(start).collect() }
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<Addresses> {
        let of = |(kvorum, redis): &(Cluster, RedisServer)| Addresses {
            kvorum: kvorum.nodes[0].addr.clone(),
            redis: redis.addr.clone(),
        };
        self.pairs.iter().map(of).collect()
    }
}
