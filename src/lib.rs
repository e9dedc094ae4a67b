//! Portvakt: a reverse proxy that validates Maskinporten system-user tokens, checks with Altinn that
//! the system user holds the right a route needs for the party the request concerns, and forwards
//! the request or refuses it.
//!
//! A request's road: `serve → admit → route → authenticate → scope → party → authorize → forward →
//! record`. The layers, and which may know which, are in `docs/architecture.md`.

pub mod altinn;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
mod deadlines;
pub mod domain;
pub mod enforce;
pub mod families;
pub mod forward;
pub mod maskinporten;
mod paced;
pub mod record;
pub mod register;
pub mod serve;
pub mod store;
mod stream;
pub mod sync;
pub mod telemetry;
pub mod tls;
pub mod trace;
