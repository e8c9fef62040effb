//! The two halves of a client's connection, plain or TLS.
//!
//! The plain ones are TCP's own, and cost one branch for each read and write. Of TLS the socket is
//! shared, so that it can be asked whether the client has hung up while nobody reads.

mod room;

use crate::limits::{READ_CHUNK_BYTES, TLS_GOODBYE_WAIT};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf, ReadHalf, WriteHalf,
};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// Room for what an idle TLS client sends first, in bytes: whether there is something to read shows
/// only when it is read.
const FIRST_READ_BYTES: usize = 512;

/// Parts of replies that are written by one call.
const PARTS_AT_ONCE: usize = 8;

/// A connection whose handshake is done.
pub(crate) type Encrypted = TlsStream<SharedTcp>;

/// The reading half.
pub(crate) enum Reader {
    Plain(OwnedReadHalf),
    Tls(ReadHalf<Encrypted>, Arc<TcpStream>),
}

/// The writing half.
pub(crate) enum Writer {
    Plain(OwnedWriteHalf),
    Tls(WriteHalf<Encrypted>),
}

/// The halves of a plain connection.
pub(crate) fn plain(stream: TcpStream) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    (Reader::Plain(read), Writer::Plain(write))
}

/// The halves of a TLS connection.
pub(crate) fn encrypted(stream: Encrypted) -> (Reader, Writer) {
    let socket = stream.get_ref().0.0.clone();
    let (read, write) = tokio::io::split(stream);
    (Reader::Tls(read, socket), Writer::Tls(write))
}

/// The socket of the halves of a plain connection; `None` of a TLS connection.
pub(crate) fn whole(read: Reader, write: Writer) -> Option<TcpStream> {
    match (read, write) {
        // They are of one connection, so this does not fail.
        (Reader::Plain(read), Writer::Plain(write)) => read.reunite(write).ok(),
        _ => None,
    }
}

impl Reader {
    /// Waits for bytes and adds them to `buffer`; 0: the client has ended. What is cancelled has
    /// read nothing.
    pub(crate) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            // There is room only while something is read: idle clients have none. Asking first
            // whether there is something does not do, for a new socket says yes.
            Reader::Plain(read) => {
                poll_fn(|context| {
                    room::lend(buffer);
                    let polled = pin!(read.read_buf(buffer)).poll(context);
                    if polled.is_pending() {
                        room::give_back(buffer);
                    }
                    polled
                })
                .await
            }
            Reader::Tls(read, _) => {
                if buffer.capacity() == buffer.len() {
                    buffer.reserve(FIRST_READ_BYTES);
                }
                let mut bytes = read.read_buf(buffer).await?;
                // What else was decrypted, or waits to be.
                while bytes > 0 && bytes < READ_CHUNK_BYTES {
                    if buffer.capacity() == buffer.len() {
                        buffer.reserve(READ_CHUNK_BYTES);
                    }
                    match read.read_buf(buffer).now_or_never() {
                        Some(Ok(more)) if more > 0 => bytes += more,
                        // An end or an error comes again at the next read.
                        Some(_) | None => break,
                    }
                }
                Ok(bytes)
            }
        }
    }

    /// Gives room back that `buffer` does not need until the next read.
    pub(crate) fn release_room(&self, buffer: &mut BytesMut) {
        match self {
            Reader::Plain(_) => room::give_back(buffer),
            // It waits with room in its hand, so it keeps the one it has, unless that is too much.
            Reader::Tls(..) if buffer.is_empty() && buffer.capacity() <= READ_CHUNK_BYTES => {}
            Reader::Tls(..) => room::give_back(buffer),
        }
    }

    /// Whether the client has hung up.
    pub(crate) fn has_hung_up(&self) -> bool {
        let ready = match self {
            Reader::Plain(read) => read.ready(Interest::READABLE).now_or_never(),
            Reader::Tls(_, socket) => socket.ready(Interest::READABLE).now_or_never(),
        };
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }
}

impl Writer {
    /// Writes all of it, as far as the socket.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Writer::Plain(write) => write.write_all(bytes).await,
            Writer::Tls(write) => {
                write.write_all(bytes).await?;
                write.flush().await
            }
        }
    }

    /// Takes up to about `bytes_max` bytes off the front of `parts`, and writes them as [`Self::write`].
    pub(crate) async fn write_parts(
        &mut self,
        parts: &mut VecDeque<Bytes>,
        bytes_max: usize,
    ) -> io::Result<()> {
        let mut left = bytes_max;
        take(parts, 0);
        while left > 0 && !parts.is_empty() {
            let slices = piece(parts, left);
            let written = match self {
                Writer::Plain(write) => write.write_vectored(&slices).await?,
                Writer::Tls(write) => write.write_vectored(&slices).await?,
            };
            drop(slices);
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            take(parts, written);
            left = left.saturating_sub(written);
        }
        match self {
            Writer::Plain(_) => Ok(()),
            Writer::Tls(write) => write.flush().await,
        }
    }

    /// Says goodbye where the protocol has it: without it, a TLS client takes what it got for
    /// cut off.
    pub(crate) async fn finish(&mut self) {
        if let Writer::Tls(write) = self {
            // A client that does not listen any more misses nothing.
            drop(tokio::time::timeout(TLS_GOODBYE_WAIT, write.shutdown()).await);
        }
    }
}

/// The beginning of `parts`, `bytes_max` bytes at most.
fn piece(parts: &VecDeque<Bytes>, bytes_max: usize) -> SmallVec<[IoSlice<'_>; PARTS_AT_ONCE]> {
    let mut left = bytes_max;
    let slices = parts.iter().take(PARTS_AT_ONCE).map(|part| {
        let slice = &part[..part.len().min(left)];
        left -= slice.len();
        IoSlice::new(slice)
    });
    slices.filter(|slice| !slice.is_empty()).collect()
}

/// Removes the first `bytes` of `parts`, and with them parts that are empty.
fn take(parts: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(first) = parts.front_mut() {
        if bytes < first.len() {
            first.advance(bytes);
            return;
        }
        bytes -= first.len();
        parts.pop_front();
    }
}

/// A socket that can be asked for its state while a stream reads from it.
pub(crate) struct SharedTcp(pub(crate) Arc<TcpStream>);

impl AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn who_waits_for_bytes_has_no_room_and_who_gets_some_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut read, _write) = plain(listener.accept().await.unwrap().0);
        let mut buffer = BytesMut::new();
        for _ in 0..3 {
            assert!(read.read(&mut buffer).now_or_never().is_none());
            assert_eq!(buffer.capacity(), 0, "an idle client has room");
        }
        client.write_all(b"PI").await.unwrap();
        assert_eq!(read.read(&mut buffer).await.unwrap(), 2);
        read.release_room(&mut buffer);
        assert!(buffer.capacity() < READ_CHUNK_BYTES, "{}", buffer.capacity());
        client.write_all(b"NG\r\n").await.unwrap();
        while buffer.len() < 6 {
            assert!(read.read(&mut buffer).await.unwrap() > 0);
        }
        assert_eq!(&buffer[..], b"PING\r\n");
        drop(client);
        assert_eq!(read.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn parts_arrive_whole_and_in_order_however_they_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_read, mut write) = plain(listener.accept().await.unwrap().0);
        let lengths = [0, 3, 0, 100_000, 2, 1, 70_000, 0];
        let part = |(number, length): (usize, usize)| Bytes::from(vec![number as u8; length]);
        let mut parts: VecDeque<Bytes> = lengths.into_iter().enumerate().map(part).collect();
        let expected = parts.iter().flatten().copied().collect::<Vec<u8>>();
        let written = tokio::spawn(async move {
            let mut pieces = 0;
            while !parts.is_empty() {
                write.write_parts(&mut parts, 16_384).await.unwrap();
                pieces += 1;
            }
            pieces
        });
        let mut received = vec![0; expected.len()];
        client.read_exact(&mut received).await.unwrap();
        assert!(received == expected);
        assert_eq!(written.await.unwrap(), expected.len().div_ceil(16_384));
    }
}
