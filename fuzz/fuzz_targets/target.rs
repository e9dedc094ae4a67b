//! Any text as a request target: what is judged is what every kind of upstream reads, or it is refused.

#![no_main]

#[path = "../../tests/targets/judge.rs"]
mod judge;
#[path = "../../tests/cases/keys.rs"]
mod keys;
#[path = "../../tests/cases/readings.rs"]
#[allow(dead_code)]
mod readings;

use judge::{Judge, agree, templates};
use libfuzzer_sys::fuzz_target;
use readings::Template;

thread_local! {
    static JUDGE: (Judge, Vec<Template>) = (Judge::new(), templates());
}

fuzz_target!(|text: &str| {
    let Some((method, target)) = text.split_once(' ') else { return };
    if !["GET", "HEAD", "POST"].contains(&method) {
        return;
    }
    JUDGE.with(|(judge, templates)| {
        if let Some(judged) = judge.judge(method, target) {
            agree(templates, method, &judged).unwrap();
        }
    });
});
