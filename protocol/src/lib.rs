//! Bytes to values and back: RESP2 and RESP3 requests and replies, their limits, the key slot hash.
//!
//! This package knows no command, no storage and no clock. The server reads requests with the
//! resumable scanner of [`scanner`] (what strangers send must cost bounded memory), hands them on
//! as [`Request`], and writes answers given as [`Reply`] with [`encode()`]. The other direction, used
//! by tools, tests and the load generator, is [`codec`].

#![warn(missing_docs)]

pub mod codec;
pub mod encode;
pub mod error;
pub mod inline;
pub mod limits;
pub mod reply;
pub mod request;
pub mod scanner;
pub mod slot;

mod grow;
mod number;
#[cfg(test)]
mod reference_server;

pub use codec::{DecodeError, RespClientCodec};
pub use encode::{RespVersion, encode, encode_array_head, encode_bulk_head, encode_request};
pub use error::ProtocolError;
pub use limits::ScanLimits;
pub use reply::Reply;
pub use request::Request;
pub use scanner::Scanner;
pub use slot::key_slot;
