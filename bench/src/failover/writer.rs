//! Writers that go on whatever happens, remember every acknowledgement, and can check them.

use crate::control::redirect_target;
use crate::error::Failure;
use crate::pacing::Pacer;
use bytes::BytesMut;
use protocol::encode_request;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Longest that one attempt may take; a node holds a request for less while it has no leader.
const ATTEMPT_MAX: Duration = Duration::from_secs(6);
/// Longest that connecting may take.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// Longest that a write is repeated.
const WRITE_MAX: Duration = Duration::from_secs(20);
/// Pause before another attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// Reads that are sent at once in the check.
const CHECK_PIPELINE: usize = 500;
/// Longest that one batch of the check may take.
const CHECK_MAX: Duration = Duration::from_secs(30);
/// Missing keys that are named.
const EXAMPLES_MAX: usize = 10;

/// What one writer saw.
#[derive(Default)]
pub(super) struct WriterLog {
    /// Position among the writers.
    pub(super) writer: usize,
    /// Numbers of the writes that were acknowledged.
    pub(super) acknowledged: Vec<u64>,
    /// When, in order.
    pub(super) acknowledged_at: Vec<Instant>,
    /// Attempts that failed and were repeated.
    pub(super) repeated: u64,
    /// Writes that were given up.
    pub(super) given_up: u64,
    /// Errors by their first word.
    pub(super) errors: BTreeMap<String, u64>,
}

fn key(writer: usize, number: u64) -> String {
    format!("failover:{writer:05}:{number:010}")
}

/// Writes at `rate` over all `writers` until `stop`; blocks.
///
/// Errors: the runtime cannot be made.
pub(super) fn write_until(
    addresses: &[String],
    writers: usize,
    rate: f64,
    stop: &AtomicBool,
) -> Result<Vec<WriterLog>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let addresses: Rc<[String]> = addresses.into();
    LocalSet::new().block_on(&runtime, async {
        let pacer = Pacer::start()?;
        let origin = Instant::now();
        let interval = writers as f64 / rate;
        let each = (0..writers).map(|index| {
            let writer = Writer {
                addresses: Rc::clone(&addresses),
                at: index % addresses.len(),
                named: None,
                stream: None,
                log: WriterLog { writer: index, ..WriterLog::default() },
            };
            let first = origin + Duration::from_secs_f64(interval * index as f64 / writers as f64);
            writer.run(&pacer, first, interval, stop)
        });
        Ok(futures_util::future::join_all(each).await)
    })
}

struct Writer {
    addresses: Rc<[String]>,
    /// Position of the address that is tried.
    at: usize,
    /// An address that a redirect named, tried first.
    named: Option<String>,
    stream: Option<TcpStream>,
    log: WriterLog,
}

impl Writer {
    async fn run(
        mut self,
        pacer: &Pacer,
        first: Instant,
        interval_s: f64,
        stop: &AtomicBool,
    ) -> WriterLog {
        for number in 0_u64.. {
            pacer.until(first + Duration::from_secs_f64(number as f64 * interval_s)).await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if self.write(number).await {
                self.log.acknowledged.push(number);
                self.log.acknowledged_at.push(Instant::now());
            } else {
                self.log.given_up += 1;
            }
        }
        self.log
    }

    /// Repeats one write until it is acknowledged; `false` when that took too long.
    async fn write(&mut self, number: u64) -> bool {
        let (began, key) = (Instant::now(), key(self.log.writer, number));
        while began.elapsed() < WRITE_MAX {
            let error = match self.attempt(&key, &number.to_string()).await {
                Ok(None) => return true,
                Ok(Some(error)) => {
                    self.named = redirect_target(&error, &self.addresses[self.at]);
                    if self.named.is_none() {
                        self.at = (self.at + 1) % self.addresses.len();
                    }
                    error
                }
                Err(error) => {
                    self.at = (self.at + 1) % self.addresses.len();
                    format!("{:?}", error.kind())
                }
            };
            self.stream = None;
            self.log.repeated += 1;
            let word = error.split(' ').next().unwrap_or_default().to_owned();
            *self.log.errors.entry(word).or_default() += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        false
    }

    /// One SET; the text of an error reply if it got one.
    async fn attempt(&mut self, key: &str, value: &str) -> io::Result<Option<String>> {
        if self.stream.is_none() {
            let address = self.named.take().unwrap_or_else(|| self.addresses[self.at].clone());
            let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut request = BytesMut::new();
        encode_request(&["SET", key, value], &mut request);
        let replies = tokio::time::timeout(ATTEMPT_MAX, converse(stream, &request, 1)).await??;
        match replies.into_iter().next() {
            Some(OwnedFrame::SimpleString(text)) if text == b"OK" => Ok(None),
            Some(OwnedFrame::Error(text)) => Ok(Some(text)),
            other => Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
}

/// Sends `request` and reads `count` replies.
async fn converse(
    stream: &mut TcpStream,
    request: &[u8],
    count: usize,
) -> io::Result<Vec<OwnedFrame>> {
    stream.write_all(request).await?;
    let (mut received, mut replies) = (Vec::new(), Vec::with_capacity(count));
    while replies.len() < count {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut used = 0;
        while let Some((frame, bytes)) =
            decode(&received[used..]).map_err(|error| io::Error::other(error.to_string()))?
        {
            used += bytes;
            replies.push(frame);
        }
        received.drain(..used);
    }
    Ok(replies)
}

/// How many acknowledged writes the node at `address` does not have as they were written, and the
/// keys of the first.
///
/// Errors: it does not answer.
pub(super) async fn missing(
    address: &str,
    logs: &[WriterLog],
) -> Result<(u64, Vec<String>), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let all = |log: &WriterLog| {
        let writer = log.writer;
        log.acknowledged.iter().map(move |&number| (writer, number)).collect::<Vec<_>>()
    };
    let written: Vec<(usize, u64)> = logs.iter().flat_map(all).collect();
    let (mut count, mut examples) = (0, Vec::new());
    for batch in written.chunks(CHECK_PIPELINE) {
        let mut request = BytesMut::new();
        for &(writer, number) in batch {
            encode_request(&["GET", &key(writer, number)], &mut request);
        }
        let replies = tokio::time::timeout(CHECK_MAX, converse(&mut stream, &request, batch.len()))
            .await
            .map_err(|_| Failure::new(format!("{address}: no reply to the check")))??;
        for (&(writer, number), reply) in batch.iter().zip(replies) {
            match reply {
                OwnedFrame::BulkString(value) if value == number.to_string().as_bytes() => {}
                OwnedFrame::Error(text) => {
                    return Err(Failure::new(format!("{address}: check: {text}")));
                }
                _ => {
                    count += 1;
                    if examples.len() < EXAMPLES_MAX {
                        examples.push(key(writer, number));
                    }
                }
            }
        }
    }
    Ok((count, examples))
}

#[cfg(test)]
mod tests;
