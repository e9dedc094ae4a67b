//! Our own Maskinporten client, as platforms give it: each form gets a token from the sandbox, each broken form is told
//! precisely and shows no secret, and a key that is changed while the program runs is taken up without a refused call.

#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, and counts are whole"
)]

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::upstream::Upstream;
use support::{Proxy, World, config, own_key, seed, turn, wait_until};

const SCOPES: &str =
    "altinn:authorization/authorize altinn:accessmanagement/authorizedparties.resourceowner";
const GRANTED: &str = "portvakt_own_tokens_total{result=\"ok\",step=\"grant\"}";
const EXCHANGED: &str = "portvakt_own_tokens_total{result=\"ok\",step=\"exchange\"}";

/// What it is, the section `maskinporten`, and variables.
type Form<'f> = (&'f str, String, &'f [(&'f str, &'f str)]);

async fn sandbox() -> RunningSandbox {
    Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts")
}

/// A configuration whose client is described by `maskinporten`.
fn with(sandbox: &RunningSandbox, maskinporten: &str) -> String {
    let upstream = "upstream: { url: \"http://127.0.0.1:9\" }";
    config(sandbox, upstream, &format!("maskinporten: {maskinporten}\n"))
}

/// A folder as digdirator's Secret is mounted: each file a link into the folder that `..data` links to.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.put("..one", files);
        for (name, _) in files {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// All files at once, as Kubernetes does it.
    fn put(&self, version: &str, files: &[(&str, &str)]) {
        let new = self.path().join(version);
        fs::create_dir_all(&new).unwrap();
        for (name, text) in files {
            fs::write(new.join(name), text).unwrap();
        }
        let link = self.path().join("..data_tmp");
        std::os::unix::fs::symlink(version, &link).unwrap();
        fs::rename(link, self.path().join("..data")).unwrap();
    }
}

fn digdirator<'a>(issuer: &'a str, key: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("MASKINPORTEN_CLIENT_ID", seed::PROXY_CLIENT),
        ("MASKINPORTEN_CLIENT_JWK", key),
        ("MASKINPORTEN_SCOPES", SCOPES),
        ("MASKINPORTEN_ISSUER", issuer),
    ]
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_that_a_platform_gives_gets_a_token() {
    let sandbox = sandbox().await;
    let (key, issuer) = (own_key(&sandbox).await, sandbox.issuer());
    let jwk: Value = serde_json::from_str(&key).unwrap();
    let base64 = STANDARD.encode(&key);
    let folder = tempfile::tempdir().unwrap();
    let mounted = Folder::new(&digdirator(issuer, &key));
    let id = seed::PROXY_CLIENT;
    let authority = issuer.trim_end_matches('/');
    let plain = write(
        &folder,
        "maskinporten-settings.json",
        &json!({ "authority": issuer, "clientId": id, "jwk": jwk, "jwks": { "keys": [] } })
            .to_string(),
    );
    let wrapped = json!({ "MaskinportenSettings":
        { "Authority": authority, "ClientId": id, "JwkBase64": base64 } });
    let wrapped = write(&folder, "wrapped.json", &format!("\u{feff}{wrapped}"));
    let encoded = json!({ "ClientId": id, "Scope": SCOPES, "EncodedJwk": base64 });
    let encoded = write(&folder, "encoded.json", &encoded.to_string());
    let url_safe = write(&folder, "key.b64", &format!("{}\n", URL_SAFE_NO_PAD.encode(&key)));
    let from = |path: &Path| format!("{{ credentials: {} }}", path.display());
    let key_file = format!("{{ client_id: \"{id}\", key_file: {} }}", url_safe.display());
    let key_env = format!("{{ client_id: \"{id}\", key_env: ENCODED }}");
    let lines: Vec<&str> =
        base64.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect();
    let lines = lines.join("\n");
    let variables = digdirator(issuer, &base64);
    let forms: [Form<'_>; 7] = [
        ("a folder", from(mounted.path()), &[]),
        ("Altinn Studio's settings", from(&plain), &[]),
        ("within MaskinportenSettings, in base64", from(&wrapped), &[]),
        ("encodedJwk", from(&encoded), &[]),
        ("a file with base64", key_file, &[]),
        ("a variable with base64, in lines", key_env, &[("ENCODED", &lines)]),
        ("the platform's variables", "{}".into(), &variables),
    ];
    for (form, maskinporten, environment) in forms {
        let proxy = Proxy::start(&with(&sandbox, &maskinporten), environment);
        wait_until(form, async || proxy.metric(EXCHANGED).await == 1.0).await;
        assert!(!proxy.log().join("\n").contains(jwk["d"].as_str().unwrap()), "{form}");
    }
}

/// Without any variable, a home or a working directory that can be written to.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_mounted_files_is_needed() {
    let sandbox = sandbox().await;
    let (key, issuer) = (own_key(&sandbox).await, sandbox.issuer());
    let mounted = Folder::new(&digdirator(issuer, &key));
    let nowhere = tempfile::tempdir().unwrap();
    let text = with(&sandbox, &format!("{{ credentials: {} }}", mounted.path().display()));
    let mut rights = fs::metadata(nowhere.path()).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o555);
    fs::set_permissions(nowhere.path(), rights).unwrap();
    let under = ["env", "-i", "-C", nowhere.path().to_str().unwrap()];
    let proxy = Proxy::start_under(&under, &text, &[]);
    wait_until("a token", async || proxy.metric(EXCHANGED).await == 1.0).await;
    assert_eq!(fs::read_dir(nowhere.path()).unwrap().count(), 0);
}

/// `portvakt check` by `words`: exit code and what it says.
fn check(under: &[&str], config: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut rights = fs::metadata(folder.path()).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
    fs::set_permissions(folder.path(), rights).unwrap();
    let path = write(&folder, "portvakt.yaml", config);
    let words: Vec<&str> = under
        .iter()
        .copied()
        .chain([env!("CARGO_BIN_EXE_portvakt"), "check", "--config"])
        .collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(&path).envs(environment.iter().copied());
    let output = command.output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What each broken set is told, beside its whole neighbour.
#[tokio::test(flavor = "multi_thread")]
async fn each_broken_form_is_told_precisely_and_shows_no_secret() {
    const SECRET: &str = "c2VjcmV0LXByaXZhdGUtcGFydA";
    let sandbox = sandbox().await;
    let issuer = sandbox.issuer();
    let key = format!(r#"{{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB","d":"{SECRET}"}}"#);
    let public = r#"{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB"}"#;
    let refused = |said: (Option<i32>, String), expected: &str| {
        assert_eq!(said.0, Some(1), "{expected}: {}", said.1);
        assert!(said.1.contains(expected), "{expected}:\n{}", said.1);
        assert!(!said.1.contains(SECRET), "{}", said.1);
    };
    let mounted = |files: &[(&str, &str)]| {
        let folder = Folder::new(files);
        let text = with(&sandbox, &format!("{{ credentials: {} }}", folder.path().display()));
        check(&[], &text, &[])
    };
    assert_eq!(mounted(&digdirator(issuer, &key)).0, Some(0));
    let all = digdirator(issuer, &key);
    refused(
        mounted(&all[1..]),
        "maskinporten.credentials: the folder has no file MASKINPORTEN_CLIENT_ID",
    );
    refused(mounted(&all[..1]), "the folder has no file MASKINPORTEN_CLIENT_JWK, or it is empty");
    refused(mounted(&digdirator(issuer, " \n")), "no file MASKINPORTEN_CLIENT_JWK, or it is empty");
    let other = mounted(&digdirator("https://test.maskinporten.no/", &key));
    refused(other, "(MASKINPORTEN_ISSUER): the platform names another issuer");
    let half = &key[..key.len() - 9];
    for (text, expected) in [
        (
            half,
            "(MASKINPORTEN_CLIENT_JWK): a JWK that cannot be read: not strict JSON at line 1, column",
        ),
        (&STANDARD.encode(half), "a JWK that cannot be read: not strict JSON at line 1"),
        (SECRET, "(MASKINPORTEN_CLIENT_JWK): neither a JWK nor PEM"),
        (public, "not the private half of an RSA key"),
        (&format!(r#"{{"keys":[{key}]}}"#), "a set of keys (`keys`), not one key"),
        (&"x".repeat(70_000), "the file MASKINPORTEN_CLIENT_JWK there is larger than 65536 bytes"),
    ] {
        refused(mounted(&digdirator(issuer, text)), expected);
    }
    let settings = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, "maskinporten-settings.json", text);
        check(&[], &with(&sandbox, &format!("{{ credentials: {} }}", path.display())), &[])
    };
    let base64 = STANDARD.encode(&key);
    let whole = format!(r#"{{"authority":"{issuer}","clientId":"c","jwk":{key}}}"#);
    assert_eq!(settings(&whole).0, Some(0));
    for (text, expected) in [
        (whole.replace(r#""jwk":"#, r#""jwk" "#), "not strict JSON at line 1, column"),
        (format!(r#"{{"jwk":{key}}}"#), "`clientId` is missing"),
        (r#"{"clientId":"c"}"#.into(), "the key is missing: `jwk`, `jwkBase64` or `encodedJwk`"),
        (format!(r#"{{"clientId":"c","jwk":"{base64}"}}"#), "`jwk` is no JSON object"),
        (
            format!(r#"{{"clientId":"c","jwk":{key},"JwkBase64":"{base64}"}}"#),
            "the key is given twice",
        ),
        (format!(r#"{{"clientId":"c","ClientID":"d","jwk":{key}}}"#), "`clientId` stands twice"),
        (format!(r#"{{"clientId":"c","encodedJwk":"{SECRET}"}}"#), "neither a JWK nor PEM"),
        (format!(r#"["{SECRET}"]"#), "holds no JSON object"),
        (whole.replace(issuer, "https://maskinporten.no"), "names another issuer"),
    ] {
        refused(settings(&text), expected);
    }
    let text = with(&sandbox, "{ credentials: /nowhere/at/all }");
    refused(check(&[], &text, &[]), "maskinporten.credentials: nothing is there");
    let folder = Folder::new(&all);
    let path = folder.path().display();
    let text = with(&sandbox, &format!("{{ credentials: {path}, client_id: c, key_env: KEY }}"));
    let twice = check(&[], &text, &[("KEY", &key)]);
    refused(twice.clone(), "maskinporten.client_id: given twice");
    refused(twice, "maskinporten.key_env: given twice");
}

/// Only root may become somebody else to find out.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_another_user_may_not_read_are_named() {
    if fs::read("/proc/self/environ").is_err() || !fs::metadata("/root").is_ok_and(|_| is_root()) {
        return support::skipped("not root");
    }
    let sandbox = sandbox().await;
    let (key, issuer) = (own_key(&sandbox).await, sandbox.issuer());
    let folder = Folder::new(&digdirator(issuer, &key));
    let mode = |path: &Path, mode: u32| {
        let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, rights).unwrap();
    };
    mode(folder.path(), 0o755);
    let secret = folder.path().join("..one/MASKINPORTEN_CLIENT_JWK");
    let text = with(&sandbox, &format!("{{ credentials: {} }}", folder.path().display()));
    let nobody = ["setpriv", "--reuid=1069", "--regid=1069", "--clear-groups", "env", "-i"];
    mode(&secret, 0o444);
    let (code, said) = check(&nobody, &text, &[]);
    assert_eq!(code, Some(0), "{said}");
    mode(&secret, 0o400);
    let (code, said) = check(&nobody, &text, &[]);
    let expected = "the file MASKINPORTEN_CLIENT_JWK there cannot be read: permission denied";
    assert!(code == Some(1) && said.contains(expected), "{said}");
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}

/// Has the sandbox know another key of the proxy's client, and no longer the one before; gives its private half.
async fn replace_key(sandbox: &RunningSandbox, spare: &str) -> String {
    let spare = format!("clients/c1000000-0000-4000-8000-0000000000{spare}/jwk");
    let key = turn(sandbox, Method::GET, &spare, Value::Null).await;
    let public = json!({ "kid": key["kid"], "n": key["n"], "e": key["e"] });
    let scopes: Vec<&str> = SCOPES.split(' ').collect();
    let client = json!({ "id": seed::PROXY_CLIENT, "organization": "310000108", "scopes": scopes, "jwk": public });
    turn(sandbox, Method::PATCH, "world", json!({ "clients": [client] })).await;
    key.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_changed_while_it_runs_is_taken_up_and_a_broken_one_is_not() {
    let sandbox = sandbox().await;
    let (key, issuer) = (own_key(&sandbox).await, sandbox.issuer().to_owned());
    let mounted = Folder::new(&digdirator(&issuer, &key));
    let upstream = Upstream::start().await;
    let place = format!("upstream: {{ url: \"{}\" }}", upstream.url());
    let section = format!("maskinporten: {{ credentials: {} }}\n", mounted.path().display());
    let text = config(&sandbox, &place, &section);
    let world = World::start_config(sandbox, upstream, &text).await;
    let token = world.token(seed::BAKKEN).await;
    let read = "/v1/parties/310000507/returns/7";
    let works =
        async |when: &str| assert_eq!(world.get(read, &token).await.status(), 200, "{when}");
    works("before").await;
    let refused = async || world.proxy.metric("portvakt_credentials_refused").await;

    // What cannot be used is told, and what is in use goes on.
    let broken = &key[..key.len() / 2];
    mounted.put("..two", &digdirator(&issuer, broken));
    wait_until("refused", async || refused().await == 1.0).await;
    let log = world.proxy.log().join("\n");
    assert!(log.contains("changed credentials of our Maskinporten client are not taken"), "{log}");
    assert!(log.contains("a JWK that cannot be read"), "{log}");
    let secret: Value = serde_json::from_str(&key).unwrap();
    assert!(!log.contains(secret["n"].as_str().unwrap()), "nothing of the key");
    works("with a broken key in place").await;
    // Another client is another matter.
    let mut files = digdirator(&issuer, &key);
    files[0].1 = seed::NORDLYS;
    mounted.put("..three", &files);
    let restart = "these need a restart: maskinporten.client_id";
    wait_until(restart, async || world.proxy.log().join("\n").contains(restart)).await;
    mounted.put("..four", &digdirator(&issuer, &key));
    wait_until("as it was", async || refused().await == 0.0).await;
    assert_eq!(world.proxy.metric(GRANTED).await, 1.0, "nothing was changed yet");

    // The issuer forgets the old key, and the new one comes after it.
    let new = replace_key(&world.sandbox, "26").await;
    works("between the two keys").await;
    mounted.put("..five", &digdirator(&issuer, &new));
    wait_until("a token by the new key", async || {
        works("while the keys change").await;
        world.proxy.metric(GRANTED).await == 2.0
    })
    .await;
    works("after").await;
    let metric = async |sample: &str| world.proxy.metric(sample).await;
    assert_eq!(metric("portvakt_credentials_reloads_total{result=\"taken\"}").await, 1.0);
    // A configuration that is read anew brings the newest with it.
    let newer = replace_key(&world.sandbox, "25").await;
    mounted.put("..six", &digdirator(&issuer, &newer));
    world.proxy.signal("HUP");
    wait_until("a token by the newest key", async || metric(GRANTED).await == 3.0).await;
    works("after a SIGHUP").await;
    assert_eq!(metric("portvakt_credentials_reloads_total{result=\"taken\"}").await, 2.0);
    assert_eq!(metric("portvakt_own_tokens_total{result=\"refused\",step=\"grant\"}").await, 0.0);
    let log = world.proxy.log().join("\n");
    assert!(log.contains("changed credentials of our Maskinporten client are in use"), "{log}");
}
