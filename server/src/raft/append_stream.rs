//! A peer's stream of appends: fed in order, answered in order, and it ends with the first conflict.
//!
//! Every request that was taken is answered, also those that were waiting when the stream ended: a
//! leader holds each of them against a limit of time, and would wait for it. openraft reads ahead in
//! a task of its own, which looks up only at the next request; [`Queue`] ends that read.

use crate::raft::frame::Frame;
use crate::raft::types::*;
use futures_util::Stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

type Requests = mpsc::Receiver<(Frame, AppendRequest)>;

/// The connection's end of a stream.
pub(crate) struct AppendStream {
    requests: mpsc::Sender<(Frame, AppendRequest)>,
    /// Set before the answer that ends the stream is sent: what comes after that answer belongs to
    /// the next stream.
    ended: Arc<AtomicBool>,
}

impl AppendStream {
    /// A stream that takes so many requests at a time; what it feeds to Raft; and its other end.
    pub(crate) fn new(
        requests_max: usize,
    ) -> (AppendStream, impl Stream<Item = AppendRequest> + Send + 'static, Ending) {
        let (requests, received) = mpsc::channel(requests_max);
        let (answered, heads) = mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        let stop = CancellationToken::new();
        let (leave, left) = oneshot::channel();
        let received = Some((received, leave));
        let queue = Queue { requests: received, heads: answered, stop: stop.clone() };
        let input = futures_util::stream::unfold(queue, |mut queue| async {
            let request = queue.next().await?;
            Some((request, queue))
        });
        let stream = AppendStream { requests, ended: ended.clone() };
        (stream, input, Ending { heads, left: Some(left), rest: None, ended, stop })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes a request, given as the head of its frame and its content; `Err`: the head of one
    /// that came too late.
    pub(crate) async fn send(&self, head: Frame, request: AppendRequest) -> Result<(), Frame> {
        self.requests.send((head, request)).await.map_err(|refused| refused.0.0)
    }
}

/// The heads of the frames to answer, and the way to end the stream.
pub(crate) struct Ending {
    heads: mpsc::UnboundedReceiver<Frame>,
    /// What nobody read, once the stream is dropped.
    left: Option<oneshot::Receiver<Requests>>,
    rest: Option<Requests>,
    ended: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Ending {
    /// The head of the next frame to answer: those that were read, and after the stream was dropped
    /// those that were not; None: all are accounted for.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        if let Some(head) = self.heads.recv().await {
            return Some(head);
        }
        if let Some(left) = self.left.take() {
            self.rest = left.await.ok();
        }
        // Waits for senders that have their place in the queue and did not run since.
        self.rest.as_mut()?.recv().await.map(|(head, _)| head)
    }

    /// Says that the stream takes no more: what was taken comes out of `next`, and then nothing.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.stop.cancel();
    }
}

/// What waits to be appended. Dropping it leaves what was not to the `Ending`.
struct Queue {
    requests: Option<(Requests, oneshot::Sender<Requests>)>,
    heads: mpsc::UnboundedSender<Frame>,
    stop: CancellationToken,
}

impl Queue {
    async fn next(&mut self) -> Option<AppendRequest> {
        let (requests, _) = self.requests.as_mut()?;
        let (head, request) = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            received = requests.recv() => received?,
        };
        // Nobody answers when the connection is gone.
        drop(self.heads.send(head));
        Some(request)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some((mut requests, leave)) = self.requests.take() {
            requests.close();
            // Nobody answers when the connection is gone.
            drop(leave.send(requests));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::frame::Kind;
    use bytes::Bytes;
    use futures_util::StreamExt;

    fn head(request_id: u64) -> Frame {
        Frame {
            kind: Kind::AppendStream,
            shard: 0,
            cluster_id: 1,
            from: 2,
            to: 3,
            request_id,
            payload: Bytes::new(),
        }
    }

    fn request() -> AppendRequest {
        AppendRequest {
            vote: Vote::new_committed(1, 2),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        }
    }

    #[tokio::test]
    async fn requests_that_wait_when_a_stream_ends_are_handed_back_in_order() {
        let (stream, input, mut ending) = AppendStream::new(8);
        // Reads ahead, as openraft does, and looks up only at the next request.
        let reader = tokio::spawn(async move {
            futures_util::pin_mut!(input);
            while input.next().await.is_some() {}
        });
        for request_id in 0..3 {
            stream.send(head(request_id), request()).await.unwrap();
        }
        for expected in 0..3 {
            assert_eq!(ending.next().await.unwrap().request_id, expected);
        }
        ending.end();
        assert!(stream.has_ended());
        reader.await.unwrap();
        let late = stream.send(head(3), request()).await;
        assert_eq!(late.unwrap_err().request_id, 3);
        assert!(ending.next().await.is_none(), "everything is accounted for");

        let (stream, input, mut ending) = AppendStream::new(8);
        for request_id in 0..5 {
            stream.send(head(request_id), request()).await.unwrap();
        }
        // Nobody reads any more.
        drop(input);
        for expected in 0..5 {
            assert_eq!(ending.next().await.unwrap().request_id, expected);
        }
        assert!(ending.next().await.is_none());
    }

    /// One thread runs everything, so whoever waits on it without giving it back waits for ever.
    #[test]
    fn a_sender_that_has_its_place_and_did_not_run_yet_blocks_nobody() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (stream, input, mut ending) = AppendStream::new(1);
                let mut input = Box::pin(input);
                stream.send(head(0), request()).await.unwrap();
                let sender =
                    tokio::spawn(async move { stream.send(head(1), request()).await.is_ok() });
                tokio::task::yield_now().await;
                // Its place goes to the sender, which runs only when this task waits.
                assert!(input.next().await.is_some());
                drop(input);
                assert_eq!(ending.next().await.unwrap().request_id, 0);
                let next = ending.next().await.map(|head| head.request_id);
                assert_eq!(next, sender.await.unwrap().then_some(1));
                assert!(ending.next().await.is_none());
            });
            done.send(()).unwrap();
        });
        is_done.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    }
}
