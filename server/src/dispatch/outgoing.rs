//! Replies on their way to one client: gathered, written at once, bounded.
//!
//! A pipeline's replies are one write. Replies beyond a batch are written before more are made, so
//! a client that does not read holds up only itself; a client whose replies exceed the output
//! limits is closed. In a pipeline that waits again and again, replies do not wait with it for long.
//!
//! Long values are written from where they are, not copied; long writes are made in pieces, in turns
//! with those of others.

use crate::config::OutputLimit;
use crate::dispatch::replies::{Replies, values_in};
use crate::dispatch::turns::Turns;
use crate::limits::{
    LONG_VALUE_BYTES, READ_INLINE_ARGS_MAX, REPLY_BATCH_BYTES, REPLY_DELAY_MAX, WRITE_TURN_BYTES,
};
use crate::server::Server;
use crate::session::{ReplyMode, Session};
use crate::stream::Writer;
use bytes::BytesMut;
use protocol::{Reply, RespVersion};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Encodes a long reply beside the connections' threads: a hundred thousand values take milliseconds.
pub(crate) struct Encoder {
    version: RespVersion,
    /// Bytes of values beyond which nothing is encoded.
    bytes_max: u64,
}

/// A reply, encoded or not.
pub(crate) enum Made {
    Encoded(Replies),
    /// It is short, or an error, or not wanted, or beyond the limit.
    Reply(Reply),
}

impl Encoder {
    /// Encodes a reply that is worth it.
    pub(crate) fn make(&self, reply: Reply) -> Made {
        let values_bytes = values_in(&reply);
        let worth = matches!(&reply, Reply::Array(items) if items.len() > READ_INLINE_ARGS_MAX)
            || values_bytes >= LONG_VALUE_BYTES as u64;
        if !worth || values_bytes > self.bytes_max || self.bytes_max == 0 {
            return Made::Reply(reply);
        }
        let mut replies = Replies::default();
        replies.add(&reply, values_bytes, self.version);
        Made::Encoded(replies)
    }
}

impl Made {
    /// Whether it is an error reply.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Made::Reply(reply) if reply.is_error())
    }
}

/// The writing half of a connection.
pub(crate) struct Outgoing {
    server: Arc<Server>,
    write: Writer,
    replies: Replies,
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
            replies: Replies::default(),
            turns: Turns::of_this_thread(),
            gathering_since_ns: 0,
            overflown: false,
        }
    }

    /// The writing half, for who writes in another way from now on; what waits is lost.
    pub(crate) fn into_writer(self) -> Writer {
        self.write
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
        let values_bytes = values_in(reply);
        if self.replies.len() as u64 + values_bytes > self.bytes_max() {
            // Not encoded: it would be in memory twice. The next flush closes the connection.
            self.overflown = true;
            session.closing = true;
            return;
        }
        match session.reply_mode {
            ReplyMode::On => self.replies.add(reply, values_bytes, session.version),
            ReplyMode::Off => {}
            ReplyMode::SkipNext => session.reply_mode = ReplyMode::SkipThis,
            ReplyMode::SkipThis => session.reply_mode = ReplyMode::On,
        }
    }

    /// Bytes that may wait to be written.
    fn bytes_max(&self) -> u64 {
        match self.server.settings.load().client_output_limits.normal.hard_bytes {
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    /// What encodes the next reply on another thread, if it is long.
    pub(crate) fn encoder(&self, session: &Session) -> Encoder {
        let wanted = session.reply_mode == ReplyMode::On;
        let room_bytes = self.bytes_max().saturating_sub(self.replies.len() as u64);
        Encoder { version: session.version, bytes_max: if wanted { room_bytes } else { 0 } }
    }

    /// Adds a reply that an [`Encoder`] made since.
    pub(crate) fn add_made(&mut self, session: &mut Session, made: Made) {
        match made {
            Made::Encoded(replies) => self.replies.append(replies),
            Made::Reply(reply) => self.add(session, &reply),
        }
    }

    /// Adds what is no reply to a request: a line of MONITOR, or why the connection ends.
    pub(crate) fn add_bytes(&mut self, add: impl FnOnce(&mut BytesMut)) {
        add(&mut self.replies.buffer);
    }

    /// Whether a batch is full.
    pub(crate) fn is_full(&self) -> bool {
        self.replies.len() >= REPLY_BATCH_BYTES
    }

    /// Writes when a batch is full.
    pub(crate) async fn flush_if_full(&mut self, session: &Session) -> io::Result<()> {
        if self.is_full() { self.flush(session).await } else { Ok(()) }
    }

    /// Writes when there are replies that have been ready for [`REPLY_DELAY_MAX`]; called before
    /// each wait of a pipeline.
    pub(crate) async fn flush_if_late(&mut self, session: &Session, now_ns: u64) -> io::Result<()> {
        if self.replies.len() == 0 {
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
        if self.replies.len() == 0 {
            return Ok(());
        }
        let bytes = self.replies.len() as u64;
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
        let buffer = &mut self.replies.buffer;
        match buffer.capacity() > WRITE_TURN_BYTES {
            true => *buffer = BytesMut::new(),
            false => buffer.clear(),
        }
        Ok(())
    }

    /// Writes what waits; the buffer may be left as it is.
    async fn write(&mut self) -> io::Result<()> {
        match self.replies.as_slice() {
            Some(bytes) if bytes.len() <= WRITE_TURN_BYTES => return self.write.write(bytes).await,
            _ => {}
        }
        let mut parts = self.replies.take();
        while !parts.is_empty() {
            self.turns.wait().await;
            self.write.write_parts(&mut parts, WRITE_TURN_BYTES).await?;
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

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "the client's replies exceed its output limit")
}
