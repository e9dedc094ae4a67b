//! What every mode must supply about a request, and nothing of how it arrived.

use super::ports::EdgeFuture;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};
use std::net::IpAddr;

/// The head of a request as the client sent it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// The method.
    pub method: &'r Method,
    /// The request target.
    pub uri: &'r Uri,
    /// The protocol version.
    pub version: Version,
    /// The header fields, unchanged.
    pub headers: &'r HeaderMap,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
}

/// The body of a request, for routes that read the party from it.
pub trait BodyReader: Send {
    /// Reads the whole body, once, and keeps it for forwarding.
    ///
    /// # Errors
    /// [`BodyError`] when it is longer than `limit` bytes, breaks off, or is too slow.
    fn read(&mut self, limit: usize) -> EdgeFuture<'_, Result<Bytes, BodyError>>;
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit.
    #[error("the body is too long")]
    TooLong,
    /// The client broke off, or the framing is bad.
    #[error("the body broke off")]
    Broken,
    /// Too long a silence.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// Whoever asks about the request keeps its body.
    #[error("the body is not shown")]
    Unseen,
}
