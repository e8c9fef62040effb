//! What is sent: verbs, values, and the bytes of one round of pipelined requests.
//!
//! A round is encoded into one buffer that is reused, from byte templates: what a request costs
//! here is four copies and one random number, so that the generator is not what is measured.
//! Values are slices at random places of one pool of random bytes: binary, not compressible.
//!
//! Invariant: after [`RoundEncoder::encode`] there is one [`Expect`] for each request, in order.

use crate::keys::{Distribution, KEYS_MAX, KeyPicker, Random, push_digits};
use bytes::BytesMut;
use protocol::{encode_request, key_slot};
use serde::Serialize;
use std::cell::Cell;
use std::rc::Rc;

/// Largest value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most keys in one MSET.
pub(crate) const MSET_KEYS_MAX: u64 = 1_000;
/// Most bytes that one round of one connection may take.
const ROUND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Random bytes beyond the size of a value, so that values differ.
const POOL_SLACK_BYTES: usize = 64 * 1024;
/// How long the server may wait for replicas, in milliseconds: the argument of WAIT.
const WAIT_TIMEOUT_MS: u32 = 1_000;
/// Draws after which a key of another node is accepted; its redirect is then counted.
const OWNED_DRAWS_MAX: u32 = 10_000;

/// What is known of the keys that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Presence {
    /// Nothing: a value and null are both right.
    Unknown,
    /// Every key was written: null is wrong.
    Filled,
    /// No key was ever written: a value is wrong.
    Absent,
}

/// The requests of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    /// `SET key value`
    Set,
    /// `GET key`
    Get,
    /// `INCR counter`, on keys of its own
    Incr,
    /// `MSET key value ...`
    Mset,
    /// GET and SET at random, see `--read-percent`
    Mix,
}

/// A workload; the same for every connection of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Workload {
    /// The requests sent.
    pub(crate) verb: Verb,
    /// Share of GET in [`Verb::Mix`], 0 to 100.
    pub(crate) read_percent: u8,
    /// Pairs in each [`Verb::Mset`].
    pub(crate) mset_keys: u64,
    /// Size of the key space.
    pub(crate) keys: u64,
    /// Number of its first key; with `keys` at most [`KEYS_MAX`].
    pub(crate) first_key: u64,
    /// Whether the keys are there, as far as is known.
    pub(crate) presence: Presence,
    /// How keys are drawn.
    pub(crate) distribution: Distribution,
    /// Size of each value in bytes.
    pub(crate) value_bytes: usize,
}

impl Workload {
    /// Whether the workload reads keys that should exist.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.verb, Verb::Get | Verb::Mix)
    }

    /// Checks bounds that involve several options; `pipeline` is requests per round.
    pub(crate) fn check(&self, pipeline: usize) -> Result<(), String> {
        assert!(self.first_key + self.keys <= KEYS_MAX && self.value_bytes <= VALUE_BYTES_MAX);
        let values = if self.verb == Verb::Mset { self.mset_keys as usize } else { 1 };
        let bytes = pipeline.saturating_mul(values).saturating_mul(self.value_bytes + 64);
        if bytes > ROUND_BYTES_MAX {
            return Err(format!(
                "one round would take {bytes} bytes, more than {ROUND_BYTES_MAX}: \
                 lower --pipeline or --value-bytes"
            ));
        }
        Ok(())
    }
}

/// The reply that makes a request a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// `+OK`: a write.
    Stored,
    /// A bulk string or null: a read.
    Value,
    /// A bulk string: a read of a key that exists.
    Present,
    /// Null: a read of a key that does not exist.
    Absent,
    /// An integer: a write.
    Counter,
    /// An integer of at least the number asked for: WAIT, which is no operation of its own.
    Replicas,
}

/// For each hash slot, whether the node that a connection talks to owns it.
pub(crate) type OwnedSlots = Rc<[bool]>;

/// Encodes rounds for one connection.
pub(crate) struct RoundEncoder {
    workload: Rc<Workload>,
    picker: KeyPicker,
    random: Random,
    pool: Rc<[u8]>,
    value_header: Vec<u8>,
    wait: Option<BytesMut>,
    owned: Option<OwnedSlots>,
    /// The requests of the last round.
    pub(crate) bytes: Vec<u8>,
    /// What each of them should get.
    pub(crate) expected: Vec<Expect>,
}

impl RoundEncoder {
    /// An encoder that draws keys with `seed` and values from `pool` (see [`value_pool`]).
    ///
    /// With `sequence`, keys are taken from it one after another instead of at random. With
    /// `wait_replicas`, every round ends with `WAIT n 1000`.
    pub(crate) fn new(
        workload: Rc<Workload>,
        seed: u64,
        pool: Rc<[u8]>,
        sequence: Option<Rc<Cell<u64>>>,
        wait_replicas: Option<u32>,
    ) -> Self {
        let picker = match sequence {
            Some(next) => KeyPicker::Sequence { keys: workload.keys, next },
            None => KeyPicker::new(workload.distribution, workload.keys),
        };
        let wait = wait_replicas.map(|replicas| {
            let (replicas, timeout) = (replicas.to_string(), WAIT_TIMEOUT_MS.to_string());
            let mut request = BytesMut::new();
            encode_request(&["WAIT", &replicas, &timeout], &mut request);
            request
        });
        let value_header = format!("\r\n${}\r\n", workload.value_bytes).into_bytes();
        Self {
            picker,
            random: Random::new(seed),
            pool,
            value_header,
            wait,
            owned: None,
            bytes: Vec::new(),
            expected: Vec::new(),
            workload,
        }
    }

    /// From now on draws only keys of these slots; all keys when `None`.
    pub(crate) fn restrict(&mut self, owned: Option<OwnedSlots>) {
        self.owned = owned;
    }

    /// Replaces the buffer by a round of `count` requests.
    pub(crate) fn encode(&mut self, count: usize) {
        self.bytes.clear();
        self.expected.clear();
        for _ in 0..count {
            match self.workload.verb {
                Verb::Set => self.push_set(),
                Verb::Get => self.push_get(),
                Verb::Incr => self.push_incr(),
                Verb::Mset => self.push_mset(),
                Verb::Mix if self.random.below(100) < u64::from(self.workload.read_percent) => {
                    self.push_get();
                }
                Verb::Mix => self.push_set(),
            }
        }
        if let Some(wait) = &self.wait {
            self.bytes.extend_from_slice(wait);
            self.expected.push(Expect::Replicas);
        }
    }

    fn push_set(&mut self) {
        let number = self.draw(b"key:", b"");
        self.bytes.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:");
        push_digits(&mut self.bytes, number);
        self.push_value();
        self.expected.push(Expect::Stored);
    }

    fn push_get(&mut self) {
        let number = self.draw(b"key:", b"");
        self.bytes.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:");
        push_digits(&mut self.bytes, number);
        self.bytes.extend_from_slice(b"\r\n");
        self.expected.push(match self.workload.presence {
            Presence::Unknown => Expect::Value,
            Presence::Filled => Expect::Present,
            Presence::Absent => Expect::Absent,
        });
    }

    fn push_incr(&mut self) {
        let number = self.draw(b"ctr:", b"");
        self.bytes.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n$16\r\nctr:");
        push_digits(&mut self.bytes, number);
        self.bytes.extend_from_slice(b"\r\n");
        self.expected.push(Expect::Counter);
    }

    /// The keys of one MSET share a hash tag, because a cluster takes keys of one slot only.
    fn push_mset(&mut self) {
        let pairs = self.workload.mset_keys;
        let number = self.draw(b"{", b"}");
        self.bytes.extend_from_slice(format!("*{}\r\n$4\r\nMSET\r\n", 1 + 2 * pairs).as_bytes());
        for pair in 0..pairs {
            self.bytes.extend_from_slice(b"$19\r\n{");
            push_digits(&mut self.bytes, number);
            self.bytes.extend_from_slice(format!("}}:{pair:04}").as_bytes());
            self.push_value();
        }
        self.expected.push(Expect::Stored);
    }

    fn push_value(&mut self) {
        let size = self.workload.value_bytes;
        let start = self.random.below((self.pool.len() - size) as u64 + 1) as usize;
        self.bytes.extend_from_slice(&self.value_header);
        self.bytes.extend_from_slice(&self.pool[start..start + size]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The next key number whose slot belongs to the node at the other end.
    fn draw(&mut self, prefix: &[u8], suffix: &[u8]) -> u64 {
        let first = self.workload.first_key;
        let mut number = first + self.picker.pick(&mut self.random);
        let Some(owned) = &self.owned else {
            return number;
        };
        let mut key = Vec::with_capacity(24);
        for _ in 0..OWNED_DRAWS_MAX {
            key.clear();
            key.extend_from_slice(prefix);
            push_digits(&mut key, number);
            key.extend_from_slice(suffix);
            if owned[usize::from(key_slot(&key))] {
                break;
            }
            number = first + self.picker.pick(&mut self.random);
        }
        number
    }
}

/// The bytes that values are cut from.
pub(crate) fn value_pool(workload: &Workload, seed: u64) -> Rc<[u8]> {
    let mut random = Random::new(seed);
    (0..workload.value_bytes + POOL_SLACK_BYTES).map(|_| random.next() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_protocol::resp2::decode::decode;
    use redis_protocol::resp2::types::OwnedFrame;

    fn workload(verb: Verb) -> Workload {
        Workload {
            verb,
            read_percent: 50,
            mset_keys: 3,
            first_key: 0,
            presence: Presence::Unknown,
            keys: 1_000,
            distribution: Distribution::Uniform,
            value_bytes: 20,
        }
    }

    fn encoder(verb: Verb, wait: Option<u32>) -> RoundEncoder {
        let workload = Rc::new(workload(verb));
        let pool = value_pool(&workload, 1);
        RoundEncoder::new(workload, 7, pool, None, wait)
    }

    /// Decodes a round with a RESP decoder that is not ours.
    fn requests(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        while let Some((frame, used)) = decode(bytes).unwrap() {
            let OwnedFrame::Array(parts) = frame else { panic!("a request is an array") };
            all.push(
                parts
                    .into_iter()
                    .map(|part| match part {
                        OwnedFrame::BulkString(bytes) => bytes,
                        other => panic!("an argument is a bulk string, not {other:?}"),
                    })
                    .collect(),
            );
            bytes = &bytes[used..];
        }
        assert!(bytes.is_empty());
        all
    }

    #[test]
    fn each_verb_is_encoded_as_redis_expects() {
        for (verb, name, arguments) in [
            (Verb::Set, "SET", 3),
            (Verb::Get, "GET", 2),
            (Verb::Incr, "INCR", 2),
            (Verb::Mset, "MSET", 7),
        ] {
            let mut encoder = encoder(verb, None);
            encoder.encode(5);
            let sent = requests(&encoder.bytes);
            assert_eq!((sent.len(), encoder.expected.len()), (5, 5));
            for request in &sent {
                assert_eq!(request[0], name.as_bytes());
                assert_eq!(request.len(), arguments);
            }
            assert!(sent.windows(2).any(|pair| pair[0][1] != pair[1][1]), "keys vary");
            encoder.encode(2);
            assert_eq!(requests(&encoder.bytes).len(), 2, "a round replaces the one before");
        }
    }

    #[test]
    fn a_mix_has_the_share_of_reads_asked_for() {
        let mut encoder = encoder(Verb::Mix, None);
        encoder.encode(4_000);
        let reads = encoder.expected.iter().filter(|&&expect| expect == Expect::Value).count();
        assert!((1_800..2_200).contains(&reads), "{reads}");
        let names: Vec<bool> =
            requests(&encoder.bytes).iter().map(|request| request[0] == b"GET").collect();
        let expected: Vec<bool> =
            encoder.expected.iter().map(|&expect| expect == Expect::Value).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn wait_ends_each_round() {
        let mut encoder = encoder(Verb::Set, Some(2));
        encoder.encode(3);
        let last = requests(&encoder.bytes).pop().unwrap();
        assert_eq!(last, [b"WAIT".to_vec(), b"2".to_vec(), b"1000".to_vec()]);
        assert_eq!(encoder.expected.last(), Some(&Expect::Replicas));
    }

    #[test]
    fn keys_are_drawn_from_owned_slots_only() {
        let owned: OwnedSlots = (0..16_384).map(|slot| slot % 2 == 0).collect();
        for verb in [Verb::Set, Verb::Get, Verb::Incr, Verb::Mset] {
            let mut encoder = encoder(verb, None);
            encoder.restrict(Some(Rc::clone(&owned)));
            encoder.encode(50);
            for request in requests(&encoder.bytes) {
                let keys = request[1..].iter().step_by(2);
                for key in keys {
                    assert!(owned[usize::from(key_slot(key))], "{verb:?}");
                }
            }
        }
    }

    #[test]
    fn a_round_that_is_too_large_is_refused() {
        let large = Workload { value_bytes: 1024 * 1024, ..workload(Verb::Set) };
        assert!(large.check(16).is_ok());
        assert!(large.check(64).is_err());
        assert!(Workload { verb: Verb::Mset, mset_keys: 100, ..large }.check(1).is_err());
    }
}
