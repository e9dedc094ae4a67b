//! Any bytes as what Altinn tells the register: authorized parties, packages, the resource registry.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::altinn::authorized_parties::read_parties;
use portvakt::altinn::packages::read_packages;
use portvakt::altinn::registry;
use portvakt::domain::party::CheckDigits;
use portvakt::sync::ports::Wanted;
use serde_json::Value;

thread_local! {
    static WANTED: Wanted = Wanted {
        packages: [("lonn".to_owned(), "lonn".parse().unwrap())].into(),
        resources: ["ske-arkiv".parse().unwrap()].into(),
    };
}

fuzz_target!(|bytes: &[u8]| {
    let id = "ske-arkiv".parse().unwrap();
    let taken = WANTED.with(|wanted| read_parties(bytes, wanted, CheckDigits::Required).is_ok())
        | read_packages(bytes).is_ok()
        | registry::read_metadata(bytes, &id).is_ok()
        | registry::read_changes(bytes).is_ok()
        | registry::read_lists(bytes).is_ok()
        | registry::read_members(bytes, CheckDigits::Required).is_ok()
        | registry::read_connections(bytes).is_ok();
    // An answer is taken whole or not at all.
    assert!(!taken || serde_json::from_slice::<Value>(bytes).is_ok());
});
