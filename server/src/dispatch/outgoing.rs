//! Replies on their way to one client: gathered, written at once, bounded.
//!
//! A pipeline's replies are one write. Replies beyond a batch are written before more are made, so
//! a client that does not read holds up only itself; a client whose replies exceed the output
//! limits is closed. In a pipeline that waits again and again, replies do not wait with it for long.
//!
//! Long values are written from where they are, not copied; long writes are made in pieces, in turns
//! with those of others.

use crate::config::OutputLimit;
use crate::dispatch::turns::Turns;
use crate::limits::{LONG_VALUE_BYTES, REPLY_BATCH_BYTES, REPLY_DELAY_MAX, WRITE_TURN_BYTES};
use crate::server::Server;
use crate::session::{ReplyMode, Session};
use crate::stream::Writer;
use bytes::{Bytes, BytesMut};
use protocol::{Reply, RespVersion, encode, encode_bulk_head};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The writing half of a connection.
pub(crate) struct Outgoing {
    server: Arc<Server>,
    write: Writer,
    /// Replies that come before those in `buffer`: long values, and what is around them.
    long: VecDeque<Bytes>,
    /// Their bytes.
    long_bytes: usize,
    /// Encoded replies that are not written yet.
    pub(crate) buffer: BytesMut,
    turns: Turns,
    /// When the replies of this pipeline last began to gather, on the monotonic clock.
    gathering_since_ns: u64,
    /// A reply was dropped because it exceeded the output limit.
    overflown: bool,
}

impl Outgoing {
    pub(crate) fn new(server: Arc<Server>, write: Writer) -> Self {
        Outgoing {
            server,
            write,
            long: VecDeque::new(),
            long_bytes: 0,
            buffer: BytesMut::new(),
            turns: Turns::of_this_thread(),
            gathering_since_ns: 0,
            overflown: false,
        }
    }

    /// Bytes that are not written yet.
    fn waiting(&self) -> usize {
        self.long_bytes + self.buffer.len()
    }

    /// Waits for the connection's turn with something that takes long.
    pub(crate) async fn turn(&self) {
        self.turns.wait().await;
    }

    /// Adds a reply, unless the client asked for none.
    pub(crate) fn add(&mut self, session: &mut Session, reply: &Reply) {
        if let Reply::Error(text) = reply {
            self.server.metrics.record_error(text);
        }
        let hard_bytes = self.server.settings.load().client_output_limits.normal.hard_bytes;
        let bytes = self.waiting() as u64 + values_bytes(reply);
        if hard_bytes > 0 && bytes > hard_bytes {
            // Not encoded: it would be in memory twice. The next flush closes the connection.
            self.overflown = true;
            session.closing = true;
            return;
        }
        match session.reply_mode {
            ReplyMode::On => self.encode(reply, session.version),
            ReplyMode::Off => {}
            ReplyMode::SkipNext => session.reply_mode = ReplyMode::SkipThis,
            ReplyMode::SkipThis => session.reply_mode = ReplyMode::On,
        }
    }

    fn encode(&mut self, reply: &Reply, version: RespVersion) {
        match reply {
            Reply::Bulk(value) if value.len() >= LONG_VALUE_BYTES => {
                encode_bulk_head(value.len(), &mut self.buffer);
                let before = self.buffer.split().freeze();
                self.long_bytes += before.len() + value.len();
                self.long.extend([before, value.clone()]);
                self.buffer.extend_from_slice(b"\r\n");
            }
            _ => encode(reply, version, &mut self.buffer),
        }
    }

    /// Whether a batch is full.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= REPLY_BATCH_BYTES
    }

    /// Writes when a batch is full.
    pub(crate) async fn flush_if_full(&mut self, session: &Session) -> io::Result<()> {
        if self.is_full() { self.flush(session).await } else { Ok(()) }
    }

    /// Writes when there are replies that have been ready for [`REPLY_DELAY_MAX`]; called before
    /// each wait of a pipeline.
    pub(crate) async fn flush_if_late(&mut self, session: &Session, now_ns: u64) -> io::Result<()> {
        if self.waiting() == 0 {
            self.gathering_since_ns = now_ns;
            return Ok(());
        }
        let gathered = Duration::from_nanos(now_ns.saturating_sub(self.gathering_since_ns));
        if gathered < REPLY_DELAY_MAX {
            return Ok(());
        }
        self.gathering_since_ns = now_ns;
        self.flush(session).await
    }

    /// Writes everything.
    pub(crate) async fn flush(&mut self, session: &Session) -> io::Result<()> {
        if self.overflown {
            self.server.metrics.output_limit_disconnections.increment();
            return Err(too_much());
        }
        if self.waiting() == 0 {
            return Ok(());
        }
        let bytes = self.waiting() as u64;
        let limit = self.server.settings.load().client_output_limits.normal;
        session.client.output_bytes.store(bytes, Relaxed);
        let written = match self.check(bytes, limit) {
            Err(error) => Err(error),
            Ok(None) => self.write().await,
            Ok(Some(wait)) => {
                let write = self.write();
                tokio::time::timeout(wait, write).await.unwrap_or_else(|_| Err(too_much()))
            }
        };
        if let Err(error) = &written
            && error.kind() == io::ErrorKind::OutOfMemory
        {
            self.server.metrics.output_limit_disconnections.increment();
        }
        written?;
        session.client.output_bytes.store(0, Relaxed);
        session.client.total_output_bytes.fetch_add(bytes, Relaxed);
        self.server.metrics.net_output_bytes.add(bytes);
        match self.buffer.capacity() > 2 * REPLY_BATCH_BYTES {
            true => self.buffer = BytesMut::new(),
            false => self.buffer.clear(),
        }
        Ok(())
    }

    /// Writes what waits; the buffer may be left as it is.
    async fn write(&mut self) -> io::Result<()> {
        if self.long.is_empty() && self.buffer.len() <= WRITE_TURN_BYTES {
            return self.write.write(&self.buffer).await;
        }
        self.long.push_back(self.buffer.split().freeze());
        self.long_bytes = 0;
        while !self.long.is_empty() {
            self.turns.wait().await;
            self.write.write_parts(&mut self.long, WRITE_TURN_BYTES).await?;
        }
        Ok(())
    }

    /// The connection ends: nothing more is written.
    pub(crate) async fn finish(&mut self) {
        self.write.finish().await;
    }

    /// Whether so many bytes may wait, and for how long.
    fn check(&self, bytes: u64, limit: OutputLimit) -> io::Result<Option<Duration>> {
        if limit.hard_bytes > 0 && bytes > limit.hard_bytes {
            return Err(too_much());
        }
        let soft = limit.soft_bytes > 0 && bytes > limit.soft_bytes;
        Ok(soft.then(|| Duration::from_secs(limit.soft_seconds)))
    }
}

/// Bytes of the values in a reply: what makes a reply long.
fn values_bytes(reply: &Reply) -> u64 {
    match reply {
        Reply::Bulk(value) | Reply::Verbatim(_, value) => value.len() as u64,
        Reply::Array(replies) | Reply::Set(replies) | Reply::Push(replies) => {
            replies.iter().map(values_bytes).sum()
        }
        Reply::Map(pairs) => {
            pairs.iter().map(|(key, value)| values_bytes(key) + values_bytes(value)).sum()
        }
        Reply::Simple(_)
        | Reply::Error(_)
        | Reply::Integer(_)
        | Reply::Null
        | Reply::NullArray
        | Reply::Double(_)
        | Reply::Boolean(_)
        | Reply::BigNumber(_) => 0,
    }
}

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "the client's replies exceed its output limit")
}
