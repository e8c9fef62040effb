//! Bytes to values and back: RESP2 and RESP3 requests and replies, their limits, the key slot hash.
//!
//! This package knows no command, no storage and no clock. The server reads requests with the
//! resumable scanner of [`scanner`] (what strangers send must cost bounded memory), hands them on
//! as [`Request`], and writes answers given as [`Reply`] with [`encode`].

pub mod reply;
pub mod request;

pub use reply::Reply;
pub use request::Request;
