//! Asks the node behind a client address who it is: how joining nodes find the peers' addresses.

use crate::raft::bootstrap::Introduction;
use bytes::BytesMut;
use protocol::{Reply, RespClientCodec, encode_request};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;

/// Time for the whole question.
const WAIT: Duration = Duration::from_millis(1000);

/// Who serves clients at `address`; None when nobody answers as a node of ours.
pub(crate) async fn probe(address: &str, requirepass: &str) -> Option<Introduction> {
    tokio::time::timeout(WAIT, ask(address, requirepass)).await.ok()?
}

async fn ask(address: &str, requirepass: &str) -> Option<Introduction> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut out = BytesMut::new();
    let mut skip = 0;
    if !requirepass.is_empty() {
        encode_request(&["AUTH", requirepass], &mut out);
        skip = 1;
    }
    encode_request(&["RAFT.PEER"], &mut out);
    stream.write_all(&out).await.ok()?;
    let mut codec = RespClientCodec::default();
    let mut buffer = BytesMut::new();
    loop {
        while let Some(reply) = codec.decode(&mut buffer).ok()? {
            match reply {
                _ if skip > 0 => skip -= 1,
                Reply::Bulk(text) => {
                    return Introduction::from_text(std::str::from_utf8(&text).ok()?);
                }
                _ => return None,
            }
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}
