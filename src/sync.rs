//! The second road: keeps the register in step with Altinn.
//!
//! `altinn -> sync -> register`: one task watches the system users that tokens name, reads what they may
//! do, and publishes it. It touches no request; requests read the register and never wait for this.

pub mod ports;
