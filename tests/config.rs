//! Every file in `config/` loads, and every bad file in `tests/config/` is refused for its reason.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "helpers of tests count as tests")]

use http::Method;
use portvakt::config::source;
use portvakt::config::{
    AccessConfig, AuditOutput, Config, ConfigErrors, Environment, Freshness, UpstreamProtocol,
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
        "MASKINPORTEN_SCOPES" => {
            "altinn:authorization/authorize altinn:accessmanagement/authorizedparties.resourceowner"
        }
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

/// What a bad file says of itself: its reason, and each problem as `line:column key | message`.
fn expected(text: &str) -> Vec<&str> {
    assert!(text.starts_with("# "), "a bad file begins with its reason");
    text.lines().filter_map(|line| line.strip_prefix("#= ")).collect()
}

#[test]
fn each_bad_file_is_refused_for_its_reason_at_its_place() {
    for file in files("tests/config") {
        let text = fs::read_to_string(&file).unwrap();
        let errors = source::load_text(&text, "bad.yaml", &env).expect_err(&file.to_string_lossy());
        let found: Vec<String> = errors
            .problems()
            .iter()
            .map(|problem| {
                let place = &problem.place;
                format!("{}:{} {} | {}", place.line, place.column, place.key, problem.message)
            })
            .collect();
        assert_eq!(found, expected(&text), "{}", file.display());
        assert!(errors.problems().iter().all(|problem| !problem.cure.is_empty()));
    }
}

#[test]
fn no_message_shows_a_secret() {
    let mut with_secret = 0;
    for file in files("tests/config") {
        let text = fs::read_to_string(&file).unwrap();
        let errors = source::load_text(&text, "bad.yaml", &env).unwrap_err();
        for secret in ["hunter2", "me:pw", "c2VjcmV0"] {
            with_secret += usize::from(text.contains(secret));
            assert!(!errors.to_string().contains(secret), "{errors}");
            assert!(!format!("{errors:?}").contains(secret), "{errors:?}");
        }
    }
    assert!(with_secret >= 5);
}

#[test]
fn five_mistakes_are_shown_with_line_snippet_and_cure() {
    let text = fs::read_to_string("tests/config/five_mistakes.yaml").unwrap();
    let errors = source::load_text(&text, "portvakt.yaml", &env).unwrap_err();
    let shown = "\
portvakt.yaml:8:20: listen.address: not an IP address with a port
   | listen: { address: \"8080\" }
   = mend: write address and port, such as `0.0.0.0:8080` or `[::]:8080`
portvakt.yaml:9:18: upstream.url: neither http nor https
   | upstream: { url: \"ftp://127.0.0.1:3000\" }
   = mend: write it like `http://127.0.0.1:3000`, `https://api.internal` or `unix:/run/api.sock`
portvakt.yaml:10:59: altinn.budget: not a time: digits and one of the units ms, s, m, h and d
   = mend: write it like `250ms`, `15s`, `5m`, `1h` or `2d`
portvakt.yaml:12:1: limit: unknown key
   | limit: { target_bytes: 8KiB }
   = mend: did you mean `limits`?
portvakt.yaml:17:15: routes[0].resource: not a resource id: four or more of a-z, 0-9, `_` and `-`
   | resource: \"SKE mva\"
   = mend: use the id from the resource registry, such as `ske-mva-melding`";
    assert_eq!(errors.to_string(), shown);
}

#[test]
fn problems_without_end_are_cut_off() {
    let keys: Vec<String> = (0..5_000).map(|number| format!("key{number}: 1")).collect();
    let errors = load(&keys.join("\n")).unwrap_err();
    assert_eq!(errors.problems().len(), 1000);
    assert!(errors.to_string().ends_with("only the first 1000 problems are shown"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = source::load(Path::new("/nowhere/portvakt.yaml"), &env).unwrap_err();
    let shown = "/nowhere/portvakt.yaml: there is no such file\n   = mend: name it with `--config FILE` or in \
                 PORTVAKT_CONFIG; with neither it is `portvakt.yaml` of the folder where the program is started";
    assert_eq!(errors.to_string(), shown);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.yaml");
    fs::write(&path, b"environment: test\n# bl\xe5b\xe6r\n").unwrap();
    let errors = source::load(&path, &env).unwrap_err();
    assert_eq!((errors.problems()[0].place.line, errors.problems().len()), (2, 1));
}

#[test]
fn every_file_in_config_loads_and_meets_the_schema() {
    let schema = source::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for file in files("config") {
        let config = source::load(&file, &env_for(&file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings, [""; 0], "{}", file.display());
        let value = json(&fs::read_to_string(&file).unwrap());
        let refused: Vec<String> =
            validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(refused, [""; 0], "{}", file.display());
    }
}

/// example.yaml leaves to NAIS what NAIS sets; the sandbox is another issuer.
fn env_for(file: &Path) -> fn(&str) -> Option<String> {
    if file.ends_with("example.yaml") { nais } else { env_with_nais_key }
}

fn env_with_nais_key(name: &str) -> Option<String> {
    if name == "MASKINPORTEN_CLIENT_JWK" { Some(JWK.to_owned()) } else { env(name) }
}

fn json(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn the_schema_refuses_what_is_of_another_shape() {
    let schema = source::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let shapes = [
        "five_mistakes",
        "not_a_mapping",
        "null_value",
        "quoted_number",
        "signed_number",
        "size_unit",
        "time_without_unit",
        "unknown_key",
        "unknown_section",
        "unknown_word",
        "wrong_access",
        "wrong_kind",
        "zero_count",
        "zero_size",
    ];
    for name in shapes {
        let text = fs::read_to_string(format!("tests/config/{name}.yaml")).unwrap();
        assert!(!validator.is_valid(&json(&text)), "{name}");
    }
}

/// Paths of all properties of a schema: `routes[].match.path`; `*` for any name.
fn properties(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    path: &str,
    to: &mut BTreeSet<String>,
) {
    if let Some(name) = schema["$ref"].as_str() {
        properties(root.pointer(&name[1..]).unwrap(), root, path, to);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        to.insert(path.clone());
        properties(property, root, &path, to);
    }
    if schema["items"].is_object() {
        properties(&schema["items"], root, &format!("{path}[]"), to);
    }
    if schema["additionalProperties"].is_object() {
        properties(&schema["additionalProperties"], root, &format!("{path}.*"), to);
    }
}

/// Paths of all keys in a value, in the same notation; `upstreams` has names of its own.
fn keys(value: &serde_json::Value, path: &str, to: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = if path == ".upstreams" { "*" } else { name };
        let path = format!("{path}.{name}");
        to.insert(path.clone());
        keys(value, &path, to);
    }
    for item in value.as_array().into_iter().flatten() {
        keys(item, &format!("{path}[]"), to);
    }
}

/// The reference with the keys that it leaves out written in.
fn whole_reference() -> String {
    let text = fs::read_to_string("config/reference.yaml").unwrap();
    let lines = text.lines().map(|line| {
        let key = line
            .trim_start()
            .strip_prefix('#')
            .is_some_and(|rest| !rest.starts_with(' ') && !rest.is_empty());
        if key { line.replacen('#', "", 1) } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_shows_every_key_and_no_other() {
    let schema = source::schema();
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    properties(&schema, &schema, "", &mut known);
    keys(&json(&whole_reference()), "", &mut shown);
    shown.remove(".upstreams.*");
    let missing: Vec<_> = known.difference(&shown).collect();
    let foreign: Vec<_> = shown.difference(&known).collect();
    assert_eq!((missing, foreign), (vec![], vec![]));
    assert!(known.len() > 100);
}

#[test]
fn the_reference_states_the_defaults() {
    let reference = fs::read_to_string("config/reference.yaml").unwrap();
    let routes = &reference[reference.find("\nroutes:").unwrap()..];
    let least = format!(
        "environment: test
upstream: {{ url: \"http://127.0.0.1:3000\" }}
altinn: {{ subscription_key_env: ALTINN_SUBSCRIPTION_KEY }}
maskinporten: {{ client_id: 11111111-2222-4333-8444-555555555555 }}{routes}"
    );
    let [stated, defaults] = [reference.as_str(), least.as_str()]
        .map(|text| format!("{:#?}", source::load_text(text, "f", &env_with_nais_key).unwrap()));
    assert_eq!(stated, defaults);
}

#[test]
fn the_reference_is_read_as_it_is_written() {
    let config = source::load(Path::new("config/reference.yaml"), &env_with_nais_key).unwrap();
    assert_eq!(config.environment, Environment::Test);
    assert_eq!(config.maskinporten.issuer, "https://test.maskinporten.no/");
    assert_eq!(config.tokens.rules.issuer, config.maskinporten.issuer);
    assert_eq!(config.tokens.rules.check_digits, CheckDigits::Required);
    assert_eq!(
        config.maskinporten.metadata_url.as_str(),
        "https://test.maskinporten.no/.well-known/oauth-authorization-server"
    );
    assert_eq!(config.altinn.url.as_str(), "https://platform.tt02.altinn.no/");
    assert_eq!(config.altinn.subscription_key.unwrap().expose_secret(), "0123456789abcdef");
    assert_eq!(config.maskinporten.client.unwrap().key.expose_secret(), JWK);
    assert_eq!(config.upstreams["default"].authority, "127.0.0.1:3000");
    assert_eq!(config.upstreams["default"].protocol, UpstreamProtocol::Http1);
    assert_eq!(config.limits.body_bytes, None);
    assert_eq!(config.audit.output, AuditOutput::Stdout);
    let AccessConfig::Right(right) = &config.routes[0].access else { panic!("a right") };
    let seconds = Duration::from_secs;
    let fifteen =
        Freshness { fresh_for: seconds(10), max_age: seconds(15), outage_grace: Duration::ZERO };
    assert_eq!((right.read, right.write), (fifteen, fifteen));
    assert_eq!(right.instance.as_deref(), Some("period"));
    assert_eq!(right.party.header.as_ref().unwrap(), "x-party");
    assert!(right.party.token_owner && !right.party.persons);
    let AccessConfig::Right(right) = &config.routes[1].access else { panic!("a right") };
    let (get, post) = (right.freshness(&Method::GET), right.freshness(&Method::POST));
    assert_eq!((get.max_age, get.outage_grace), (seconds(300), seconds(3600)));
    assert_eq!((post.max_age, post.outage_grace), (seconds(60), Duration::ZERO));
    assert_eq!(right.party.json.as_deref(), Some("/party/number"));
    assert_eq!(config.routes[1].upstream, "default");
}

const RIGHT: &str = "
upstream: { url: \"http://127.0.0.1:3000\" }
altinn: { subscription_key_env: SUBSCRIPTION_KEY }
routes:
  - id: read
    match: { methods: [GET], path: \"/v1/{party}\" }
    scopes: { all_of: [\"owner:read\"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
";

#[test]
fn what_nais_sets_is_used_where_the_file_is_silent() {
    let config = source::load_text(RIGHT, "f", &nais).unwrap();
    assert_eq!(config.environment, Environment::Test);
    let client = config.maskinporten.client.unwrap();
    assert_eq!(client.client_id, "nais-client");
    let parties = "altinn:accessmanagement/authorizedparties.resourceowner";
    assert_eq!(client.scopes, ["altinn:authorization/authorize", parties]);

    let text = format!(
        "{RIGHT}\nmaskinporten: {{ client_id: ours, scopes: [\"altinn:authorization/authorize.admin\"] }}"
    );
    let client = source::load_text(&text, "f", &nais).unwrap().maskinporten.client.unwrap();
    assert_eq!((client.client_id.as_str(), client.scopes.len()), ("ours", 1));
}

#[test]
fn a_platform_of_another_world_is_refused() {
    let errors = |environment: &str| {
        let text = format!("environment: {environment}\n{RIGHT}");
        source::load_text(&text, "f", &nais).map(|_| ()).map_err(|errors| {
            errors.problems().iter().map(|problem| problem.place.key.clone()).collect::<Vec<_>>()
        })
    };
    assert_eq!(errors("test"), Ok(()));
    let all = [
        "MASKINPORTEN_WELL_KNOWN_URL",
        "MASKINPORTEN_JWKS_URI",
        "MASKINPORTEN_TOKEN_ENDPOINT",
        "MASKINPORTEN_ISSUER",
    ];
    assert_eq!(errors("prod"), Err(all.map(str::to_owned).to_vec()));
    let custom = "custom\ncustom: { issuer: \"https://other.example/\", altinn: \"https://altinn.example\" }";
    assert_eq!(errors(custom), Err(vec!["MASKINPORTEN_ISSUER".to_owned()]));
}

/// Variables, and what is mounted where platforms do.
struct Platform {
    variables: fn(&str) -> Option<String>,
    mounted: Vec<PathBuf>,
}

impl source::Env for Platform {
    fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name)
    }

    fn mounted(&self) -> Vec<PathBuf> {
        self.mounted.clone()
    }
}

/// A folder as NAIS and Skiperator mount it.
fn mounted(client: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("MASKINPORTEN_CLIENT_ID", client),
        ("MASKINPORTEN_CLIENT_JWK", JWK),
        ("MASKINPORTEN_ISSUER", "https://test.maskinporten.no/"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn what_a_platform_mounts_goes_before_its_variables_and_is_never_mixed_with_them() {
    let (ours, other) = (mounted("nais-client"), mounted("another-client"));
    let absent = PathBuf::from("/nowhere/at/all");
    let load = |text: &str, variables, mounted: &[&Path]| {
        let mounted = mounted.iter().map(|path| path.to_path_buf()).collect();
        let text = format!("{text}{RIGHT}");
        source::load_text(&text, "f", &Platform { variables, mounted })
    };
    let client = |config: Config| config.maskinporten.client.unwrap();
    // Alone, without any variable of Maskinporten; the environment follows it.
    let config = load("", env, &[&absent, ours.path()]).unwrap();
    assert_eq!(config.environment, Environment::Test);
    let found = client(config);
    assert_eq!((found.client_id.as_str(), found.files.len()), ("nais-client", 7));
    // Beside the variables: the scopes of these are not taken over.
    let scopes = client(load("", nais, &[ours.path()]).unwrap()).scopes;
    assert_eq!(scopes.len(), 2);
    // Without a file, variables count, and nothing is watched.
    assert!(client(load("", nais, &[&absent]).unwrap()).files.is_empty());
    // Who we are may not differ between the two, and two platforms are one too many.
    let problem = |result: Result<Config, ConfigErrors>| {
        let errors = result.expect_err("refused");
        assert_eq!(errors.problems().len(), 1, "{errors}");
        errors.problems()[0].message.clone()
    };
    let message = problem(load("", nais, &[other.path()]));
    let different =
        "the variable MASKINPORTEN_CLIENT_ID and what is mounted here name different ones";
    assert_eq!(message, different);
    let message = problem(load("", env, &[ours.path(), other.path()]));
    assert!(message.ends_with("is mounted as well: which client is ours?"), "{message}");
    let written = format!("maskinporten: {{ credentials: {} }}\n", other.path().display());
    let found = client(load(&written, nais, &[ours.path(), other.path()]).unwrap());
    assert_eq!(found.client_id, "another-client");
    // Who describes the client in the file needs nothing of it.
    let written = "environment: test\nmaskinporten: { client_id: own, key_env: JWK }\n";
    let found = client(load(written, env, &[ours.path(), other.path()]).unwrap());
    assert_eq!((found.client_id.as_str(), found.files.len()), ("own", 0));
    // An id of the file with the key of another client is said aloud.
    let written = "maskinporten: { client_id: own }\n";
    let warnings = load(written, env, &[ours.path()]).unwrap().warnings;
    assert!(warnings.iter().any(|it| it.contains("another client than MASKINPORTEN_CLIENT_ID")));
}

#[test]
fn a_custom_world_may_come_from_the_platform() {
    let platform = |name: &str| match name {
        "MASKINPORTEN_ISSUER" => Some("http://127.0.0.1:8400/".to_owned()),
        "MASKINPORTEN_WELL_KNOWN_URL" => Some("http://127.0.0.1:8400/meta".to_owned()),
        _ => env_with_nais_key(name),
    };
    let text = format!(
        "environment: custom\ncustom: {{ altinn: \"http://[::1]:8400\" }}\nmaskinporten: {{ client_id: c }}{RIGHT}"
    );
    let config = source::load_text(&text, "f", &platform).unwrap();
    assert_eq!(config.maskinporten.issuer, "http://127.0.0.1:8400/");
    assert_eq!(config.maskinporten.metadata_url.as_str(), "http://127.0.0.1:8400/meta");
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn without_a_right_no_client_is_made() {
    let text = "environment: test
upstream: { url: \"http://127.0.0.1:3000\" }
routes: [{ id: open, match: { methods: [GET], path: /open }, access: anonymous }]";
    assert!(load(text).unwrap().maskinporten.client.is_none());
    assert!(source::load_text(text, "f", &nais).unwrap().maskinporten.client.is_none());
}

#[test]
fn secrets_come_from_files_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (key, jwk) = (write("key", "fedcba\n"), write("jwk.json", &format!("{JWK}\n")));
    let empty = write("empty", " \n");
    let text = |key: &str| {
        format!("environment: test\nmaskinporten: {{ client_id: c, key_file: \"{jwk}\" }}{RIGHT}")
            .replace(
                "subscription_key_env: SUBSCRIPTION_KEY",
                &format!("subscription_key_file: \"{key}\""),
            )
    };
    let config = load(&text(&key)).unwrap();
    assert_eq!(config.altinn.subscription_key.unwrap().expose_secret(), "fedcba");
    assert_eq!(config.maskinporten.client.unwrap().key.expose_secret(), JWK);
    let errors = load(&text(&empty)).unwrap_err();
    assert_eq!(errors.problems()[0].message, "the secret is empty");
}

/// What may not stand there is in `tests/config/problem_type_*.yaml`.
#[test]
fn a_problems_type_may_be_an_address_of_the_pages_for_vendors() {
    let of = |refusals: &str| {
        let text = format!(
            "environment: test\nmaskinporten: {{ client_id: c, key_env: JWK }}{RIGHT}{refusals}"
        );
        load(&text).unwrap().refusals.problem_type.of("no_right")
    };
    assert_eq!(of(""), "urn:portvakt:problem:no_right");
    for (written, made) in [
        ("https://docs.example.no/p/{code}/", "https://docs.example.no/p/no_right/"),
        (
            "https://docs.example.no/p?code={code}#top",
            "https://docs.example.no/p?code=no_right#top",
        ),
        ("http://127.0.0.1:8123/{code}.html", "http://127.0.0.1:8123/no_right.html"),
        ("urn:example:{code}", "urn:example:no_right"),
    ] {
        assert_eq!(of(&format!("refusals: {{ problem_type: \"{written}\" }}\n")), made);
    }
}

#[test]
fn what_opens_more_than_it_seems_is_said_aloud() {
    let text = "environment: custom
custom:
  issuer: \"http://issuer.test/\"
  altinn: \"http://127.0.0.1:8400\"
  allow_plain_http: true
  synthetic_organisation_numbers: true
upstream: { url: \"http://127.0.0.1:3000\" }
freshness: { read: { max_age: 61m, outage_grace: 0s } }
forwarded: { trusted_peers: [\"::/0\", \"10.0.0.0/8\"] }
routes:
  - { id: top, match: { methods: [GET], path: / }, access: anonymous }
  - { id: all, match: { methods: [GET], path: /* }, access: anonymous }
  - { id: v1, match: { methods: [GET], path: /v1/* }, access: anonymous }
  - { id: typed, match: { methods: [GETT, PROPFIND], path: /v2 }, access: anonymous }";
    let config = load(text).unwrap();
    assert_eq!(config.tokens.rules.check_digits, CheckDigits::Ignored);
    let said = [
        "`custom.issuer` is plain http",
        "organisation numbers",
        "`freshness.read.max_age`",
        "`top` opens `/`",
        "`all` opens everything",
        "`typed` takes the method `GETT`; did you mean `GET`?",
        "`forwarded.trusted_peers[0]`",
    ];
    for (warning, part) in config.warnings.iter().zip(said) {
        assert!(warning.contains(part), "{warning}");
    }
    assert_eq!(config.warnings.len(), said.len());

    let inline = format!("environment: test\nmaskinporten: {{ client_id: c, key_env: JWK, scopes: [\"altinn:serviceowner\"] }}{RIGHT}")
        .replace("subscription_key_env: SUBSCRIPTION_KEY", "subscription_key: hunter2");
    let warnings = load(&inline).unwrap().warnings;
    assert!(warnings[0].contains("`altinn.subscription_key`") && !warnings[0].contains("hunter2"));
    assert!(warnings[1].contains("Altinn will not answer"));
}

#[test]
fn check_tells_what_is_open_and_to_whom() {
    let folder = tempfile::tempdir().unwrap();
    let (key, jwk) = (folder.path().join("key"), folder.path().join("jwk.json"));
    fs::write(&key, "hunter2").unwrap();
    fs::write(&jwk, JWK).unwrap();
    let path = folder.path().join("portvakt.yaml");
    let text = RIGHT.replace(
        "subscription_key_env: SUBSCRIPTION_KEY",
        &format!("subscription_key_file: \"{}\"", key.display()),
    );
    let text = format!(
        "environment: test
listen: {{ address: \"0.0.0.0:8080\", workers: 2 }}
maskinporten: {{ client_id: c, key_file: \"{}\" }}
{text}
  - {{ id: open, match: {{ methods: [GET, POST], path: / }}, access: anonymous }}",
        jwk.display()
    );
    fs::write(&path, text).unwrap();
    let shown = "\
environment  test
issuer       https://test.maskinporten.no/
altinn       https://platform.tt02.altinn.no/
listen       0.0.0.0:8080 (2 workers)
admin        127.0.0.1:9090
upstream     default: http://127.0.0.1:3000 (HTTP/1.1)

ROUTE  METHODS   PATH         ACCESS     SCOPES      RIGHT                    PARTY       UPSTREAM
read   GET       /v1/{party}  right      owner:read  read on ske-mva-melding  path party  default
open   GET,POST  /            anonymous  -           -                        -           default

RIGHT WITHDRAWN  METHODS  REFUSED AFTER  AT MOST  ALTINN AWAY
read             GET      61s            5m       1h
From when Altinn says so; its PDP remembers delegations for 5 and policies for 10 minutes.

warning: route `open` opens `/`: no token is asked for there
";
    assert_eq!(source::check(&path).unwrap(), shown);
    fs::write(&path, "environment: tset").unwrap();
    assert!(source::check(&path).unwrap_err().to_string().contains("did you mean `test`?"));
}

/// The reference with some of its bytes replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let text = whole_reference().into_bytes();
    let cut = (0..text.len(), 0..40usize, prop::collection::vec(any::<u8>(), 0..4));
    let piece = prop_oneof![
        cut.clone(),
        cut.prop_map(|(at, length, _)| (at, length, b"[{&a *a !!x \"".to_vec())),
        (0..text.len(), 0..3usize, Just(b": ".to_vec())),
    ];
    prop::collection::vec(piece, 1..4).prop_map(move |pieces| {
        let mut text = text.clone();
        for (at, length, new) in pieces {
            let from = at.min(text.len());
            let to = (from + length).min(text.len());
            text.splice(from..to, new);
        }
        text
    })
}

proptest! {
    #[test]
    fn any_bytes_give_a_configuration_or_problems(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), damaged()]
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.yaml");
        fs::write(&path, &bytes).unwrap();
        if let Err(errors) = source::load(&path, &env) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_gives_a_configuration_or_problems(text in "[-a-z:{}\\[\\]&*!|>\"'#, \n]{0,80}") {
        if let Err(errors) = load(&text) {
            prop_assert!(!errors.problems().is_empty());
        }
    }
}

/// The configuration with this section on traces, and these variables.
fn tracing(section: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let text = format!(
        "environment: test\nupstream: {{ url: \"http://127.0.0.1:3000\" }}\ntracing: {section}\nroutes: \
         [{{ id: open, match: {{ methods: [GET], path: /open }}, access: anonymous }}]\n"
    );
    let env = |name: &str| {
        let found = variables.iter().find(|(each, _)| *each == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    source::load_text(&text, "portvakt.yaml", &env)
}

#[test]
fn where_spans_go_is_told_by_the_file_or_else_by_variables() {
    const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://base:4318/otlp/");
    const WHOLE: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://whole/x");
    const OVER_GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let grpc = |host: &str| format!("{host}{GRPC}");
    let file = "{ enabled: true, endpoint: \"http://file:4318\" }";
    for (section, variables, expected) in [
        (file, &[BASE, WHOLE][..], "http://file:4318/v1/traces".to_owned()),
        ("{ enabled: true }", &[BASE], "http://base:4318/otlp/v1/traces".to_owned()),
        ("{ enabled: true }", &[BASE, WHOLE], "https://whole/x".to_owned()),
        ("{ enabled: true }", &[BASE, OVER_GRPC], grpc("http://base:4318")),
        (file, &[OVER_GRPC], grpc("http://file:4318")),
    ] {
        let tracing = tracing(section, variables).unwrap().tracing.unwrap();
        assert_eq!(tracing.url.as_str(), expected, "{section} {variables:?}");
    }
    for (section, variables) in [
        ("{ enabled: false }", &[BASE, ("OTEL_TRACES_SAMPLER", "nonsense")][..]),
        ("{}", &[BASE]),
        (file, &[("OTEL_SDK_DISABLED", "TRUE")]),
    ] {
        assert_eq!(tracing(section, variables).unwrap().tracing, None, "{section} {variables:?}");
    }
}

#[test]
fn how_much_is_recorded_is_told_by_the_file_or_else_by_variables() {
    const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
    const SHARE: (&str, &str) = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
    let section = |more: &str| format!("{{ enabled: true, endpoint: \"http://c:4318\"{more} }}");
    let on = section("");
    for (section, variables, expected) in [
        (&on, &[][..], 100_000),
        (&on, &[(SAMPLER, "always_on"), SHARE], 1_000_000),
        (&on, &[(SAMPLER, "parentbased_always_off")], 0),
        (&on, &[(SAMPLER, "parentbased_traceidratio"), SHARE], 250_000),
        (&on, &[(SAMPLER, "traceidratio")], 1_000_000),
        (&section(", ratio: 0.5"), &[(SAMPLER, "always_on")], 500_000),
    ] {
        let tracing = tracing(section, variables).unwrap().tracing.unwrap();
        assert_eq!(tracing.per_million, expected, "{section} {variables:?}");
        assert!(!tracing.trust_parent, "no variable says so");
    }
    for (name, value) in [
        (SAMPLER, "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "host=other"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
    ] {
        let errors = tracing(&on, &[(name, value)]).unwrap_err();
        let keys: Vec<_> = errors.problems().iter().map(|it| it.place.key.as_str()).collect();
        assert_eq!(keys, [name], "{value}");
        assert!(!errors.to_string().contains(value), "{errors}");
    }
    let share = [(SAMPLER, "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.5")];
    assert!(tracing(&on, &share).is_err());
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")];
    assert!(tracing("{ enabled: true }", &endpoint).is_err());
}

#[test]
fn header_fields_for_a_collector_are_secrets() {
    let section = "{ enabled: true, endpoint: \"http://c:4318\" }";
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret, x-team=a%2Cb")];
    let config = tracing(section, &variables).unwrap();
    let tracing = config.tracing.as_ref().unwrap();
    let fields: Vec<_> = tracing
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(fields, [("authorization", "Bearer s3cret"), ("x-team", "a,b")]);
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(config.warnings.iter().any(|it| it.contains("plain http")), "{:?}", config.warnings);
}
