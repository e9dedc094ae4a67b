//! The vocabulary: what a Norwegian system-user call is about, in types that cannot be wrong.
//!
//! Pure: no network, file, environment, thread or time of day. Every value is parsed once, at the
//! edge, and carries its own proof. Terms are those of OAuth, XACML and Altinn; the Norwegian word
//! stands once, at the type.

pub mod claims;
pub mod decision;
pub mod delegation;
pub mod json;
pub mod party;
pub mod policy;
pub mod resource;
pub mod salt;
pub mod scope;
pub mod system_user;
pub mod time;
