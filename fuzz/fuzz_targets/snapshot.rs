//! Any bytes as a record of the snapshot. What reads back is written as it was read.

#![no_main]
#![allow(dead_code)]

// The module names what it uses as if it stood in the program.
#[path = "../../src/store/record.rs"]
mod record;

use libfuzzer_sys::fuzz_target;
pub use portvakt::{domain, sync};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, content)) = bytes.split_first() else { return };
    let Some(saved) = record::decode(*kind, content) else { return };
    let again = record::encode(&saved).unwrap();
    assert_eq!(again.kind.number(), *kind);
    let written = again.content.unwrap();
    let reread = record::decode(*kind, &written).unwrap();
    assert_eq!(record::encode(&reread).unwrap().content.unwrap(), written);
});
