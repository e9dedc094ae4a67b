//! RSA keys, compact JWS and the little DER that private JWKs and certificates need.
//!
//! Written on aws-lc-rs directly, not on a JWT library, so that the proxy's token validation has an independent
//! counterpart to be tested against.

pub(crate) mod der;
pub(crate) mod jws;
pub(crate) mod rsa;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Base64url without padding, as JOSE writes it.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads base64url without padding.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Plain base64 with padding, as `x5c` and Altinn's JWKS write it.
pub(crate) fn base64_std(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads plain base64 with padding.
pub(crate) fn from_base64_std(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
