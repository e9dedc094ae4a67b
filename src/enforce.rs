//! The first road: one request, judged.

pub mod ports;
