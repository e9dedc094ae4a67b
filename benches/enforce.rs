//! The decision by itself: route, token, scope, party and right of a warm request, alone and on two threads at
//! once; and the check of a signature beside the crypto library's own.
//!
//! `cargo bench --bench enforce`. Medians over rounds; the three are measured in turn within each round, so that
//! their ratios hold on a machine that is not quiet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unused_imports,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a measurement prints, stops when it cannot go on, and uses a part of what the tests share"
)]

#[path = "../tests/targets/judge.rs"]
mod judge;
#[path = "../tests/cases/keys.rs"]
mod keys;
#[path = "../tests/cases/readings.rs"]
mod readings;
#[path = "../tests/targets/warm.rs"]
mod warm;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portvakt::enforce::authenticate::SignedToken;
use portvakt::maskinporten::key_set::parse_key_set;
use std::hint::black_box;
use std::time::Instant;
use warm::Warm;

const ROUNDS: usize = 15;
const REQUESTS: u32 = 200_000;
const SIGNATURES: u32 = 4_000;

fn main() {
    let (one, other) = (Warm::new(), Warm::new());
    let both = [&one, &other];
    let signatures = Signatures::of(&one);
    let mut alone = Vec::new();
    let mut scaling = Vec::new();
    let mut verified = Vec::new();
    let mut overhead = Vec::new();
    for _ in 0..ROUNDS {
        let single = each(REQUESTS, || _ = black_box(one.permit()));
        let two = std::thread::scope(|threads| {
            let begun = Instant::now();
            let run = |warm| move || each(REQUESTS, || _ = black_box(Warm::permit(warm)));
            let running = both.map(|warm| threads.spawn(run(warm)));
            for thread in running {
                thread.join().unwrap();
            }
            begun.elapsed().as_secs_f64() / f64::from(2 * REQUESTS)
        });
        let ours = each(SIGNATURES, || signatures.verify());
        let theirs = each(SIGNATURES, || signatures.verify_by_library());
        alone.push(single);
        scaling.push(single / two);
        verified.push(ours);
        overhead.push(ours / theirs);
    }
    println!("a warm request judged: {:.0} ns", median(alone) * 1e9);
    println!("two threads do {:.2} times as many as one", median(scaling));
    println!("RS256 with 2048 bits verified: {:.1} us", median(verified) * 1e6);
    println!("that is {:.3} times what the crypto library takes alone", median(overhead));
}

/// Seconds that one takes.
fn each(times: u32, mut run: impl FnMut()) -> f64 {
    let begun = Instant::now();
    for _ in 0..times {
        run();
    }
    begun.elapsed().as_secs_f64() / f64::from(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

/// A token, and its signature apart.
struct Signatures {
    token: String,
    key: std::sync::Arc<portvakt::enforce::ports::VerificationKey>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    public: ParsedPublicKey,
}

impl Signatures {
    fn of(warm: &Warm) -> Self {
        let mut jwk = warm.key().public.clone();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let numbers = RsaPublicKeyComponents { n: part("n"), e: part("e") };
        let public = numbers.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap();
        jwk["kid"] = "k".into();
        let set = parse_key_set(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes()).unwrap();
        let token = warm.token().to_owned();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let signed = signed.as_bytes().to_vec();
        let key = std::sync::Arc::new(set.keys.into_iter().next().unwrap());
        Self { token, key, signed, signature, public }
    }

    fn verify(&self) {
        SignedToken::parse(black_box(&self.token)).unwrap().verify(&self.key).unwrap();
    }

    fn verify_by_library(&self) {
        self.public.verify_sig(black_box(&self.signed), &self.signature).unwrap();
    }
}
