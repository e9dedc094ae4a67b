//! Every file in `config/` loads, and every bad file in `tests/config/` is refused for its reason.

use portvakt::config::source::{self, Env};
use portvakt::config::{
    AccessConfig, AuditOutput, Config, ConfigErrors, Environment, UpstreamProtocol,
};
use portvakt::domain::party::CheckDigits;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const JWK: &str = r#"{"kty":"RSA","kid":"ours-key","n":"AQAB","e":"AQAB","d":"c2VjcmV0"}"#;

/// The environment of the tests; what files in `config/` refer to is set.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "SUBSCRIPTION_KEY" | "ALTINN_SUBSCRIPTION_KEY" => "0123456789abcdef",
        "JWK" | "PORTVAKT_SANDBOX_JWK" => JWK,
        "PUBLIC_JWK" => r#"{"kty":"RSA","kid":"ours-key","n":"AQAB","e":"AQAB"}"#,
        "PEM" => "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
        _ => return None,
    };
    Some(value.to_owned())
}

/// What NAIS adds for a client of the test environment.
fn nais(name: &str) -> Option<String> {
    let value = match name {
        "MASKINPORTEN_CLIENT_ID" => "nais-client",
        "MASKINPORTEN_CLIENT_JWK" => JWK,
        "MASKINPORTEN_SCOPES" => "altinn:authorization/authorize altinn:serviceowner",
        "MASKINPORTEN_ISSUER" => "https://test.maskinporten.no/",
        "MASKINPORTEN_WELL_KNOWN_URL" => {
            "https://test.maskinporten.no/.well-known/oauth-authorization-server"
        }
        "MASKINPORTEN_JWKS_URI" => "https://test.maskinporten.no/jwk",
        "MASKINPORTEN_TOKEN_ENDPOINT" => "https://test.maskinporten.no/token",
        _ => return env(name),
    };
    Some(value.to_owned())
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    source::load_text(text, "portvakt.yaml", &env)
}

#[test]
fn print_bad() {
    for file in files("tests/config") {
        let text = fs::read_to_string(&file).unwrap();
        println!("=== {}", file.display());
        match source::load_text(&text, "f", &env) {
            Ok(_) => println!("LOADED"),
            Err(e) => println!("{e}"),
        }
    }
    for file in files("config") {
        match source::load(&file, &nais) {
            Ok(c) => println!("{:?}", c.warnings),
            Err(e) => println!("{e}"),
        }
    }
}
