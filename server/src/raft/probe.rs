//! Asks the node behind a client address who it is: how joining nodes find the peers' addresses.

use crate::raft::introduction::Introduction;
use crate::transport::Transport;
use bytes::BytesMut;
use protocol::{Reply, RespClientCodec, encode_request};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::Decoder;

/// Time for the whole question.
const WAIT: Duration = Duration::from_millis(1000);

/// Who serves clients at `address`; None when nobody answers as a node of ours.
pub(crate) async fn probe(
    way: &dyn Transport,
    address: &str,
    requirepass: &str,
) -> Option<Introduction> {
    tokio::time::timeout(WAIT, ask(way, address, requirepass)).await.ok()?
}

async fn ask(way: &dyn Transport, address: &str, requirepass: &str) -> Option<Introduction> {
    let connected = way.connect_as_client(address).await;
    let (mut read, mut write) = connected
        .inspect_err(|error| tracing::debug!(address, %error, "nobody to ask who is there"))
        .ok()?;
    let mut out = BytesMut::new();
    let mut skip = 0;
    if !requirepass.is_empty() {
        encode_request(&["AUTH", requirepass], &mut out);
        skip = 1;
    }
    encode_request(&["RAFT.PEER"], &mut out);
    write.write_all(&out).await.ok()?;
    write.flush().await.ok()?;
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
        if read.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}
