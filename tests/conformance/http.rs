//! Requests as bytes, and paths that servers read in more than one way: whatever reaches the upstream has
//! one reading, and it is the one that was judged.

use crate::stage::{Client, LIMIT, Then, Upstream};
use crate::support::{Proxy, say};
use crate::vectors::{Tally, read, same};
use crate::wire::{Message, has_one_reading};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Enough to make it quick: each has its own program, so that what reaches an upstream is of one case.
const STAGES: usize = 6;

/// Vectors that a strict parser refuses and hyper reads; what it then writes to the upstream has one reading.
const READ_BY_HYPER: [(&str, &str); 2] = [
    ("llhttp/transfer-encoding/330", "hyper takes a chunk size followed by a semicolon alone"),
    ("llhttp/transfer-encoding/1186", "hyper takes a chunk size followed by a space"),
];

struct Stage {
    proxy: Proxy,
    upstream: Upstream,
}

impl Stage {
    /// The program lets every path through without a token.
    fn start() -> Self {
        let upstream = Upstream::start();
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let config = json!({
            "environment": "custom",
            // Nobody is there, and nobody is asked: no route wants a token.
            "custom": { "issuer": "http://127.0.0.1:1/", "altinn": "http://127.0.0.1:1" },
            "listen": { "address": "127.0.0.1:0", "workers": 1 },
            "admin": { "address": "127.0.0.1:0" },
            "upstream": { "url": format!("http://{}", upstream.address) },
            // What waits for more is closed soon; a request that comes late is cut, which is no failure here.
            "limits": { "header_timeout": "300ms", "body_idle_timeout": "300ms" },
            "routes": [{ "id": "all", "match": { "methods": methods, "path": "/*" }, "access": "anonymous" }],
        });
        Self { proxy: Proxy::start(&config.to_string(), &[]), upstream }
    }

    /// Sends bytes, waits for the end of the connection, and gives what reached the upstream.
    fn send(&self, raw: &[u8]) -> Vec<Message> {
        self.upstream.take();
        let mut client = Client::connect(self.proxy.address());
        let answers = client.exchange(raw, 0, Then::AwaitClose(LIMIT));
        assert!(
            answers.closed,
            "the connection stays open after {:?}",
            String::from_utf8_lossy(raw)
        );
        self.upstream.take().messages
    }
}

/// Runs `judge` for every case, on several stages at once.
fn on_stages<T: Send>(cases: &[Value], judge: impl Fn(&Stage, &Value) -> T + Sync) -> Vec<T> {
    let size = cases.len().div_ceil(STAGES);
    let work = |part: &[Value]| {
        let stage = Stage::start();
        part.iter().map(|case| judge(&stage, case)).collect::<Vec<T>>()
    };
    let work = &work;
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            cases.chunks(size).map(|part| scope.spawn(move || work(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("whole")).collect()
    })
}

/// What arrived is what a strict parser understood: in order, each with its method and length.
fn is_what_was_meant(arrived: &[Message], case: &Value) -> Result<(), String> {
    let mut meant = case["messages"].as_array().into_iter().flatten();
    for message in arrived {
        let same = |meant: &Value| {
            meant["method"] == message.word(0)
                && meant["complete"] == true
                && meant["body_len"].as_u64() == u64::try_from(message.body.len()).ok()
        };
        if !meant.any(same) {
            return Err(format!(
                "{} with {} bytes reached the upstream",
                message.start,
                message.body.len()
            ));
        }
    }
    Ok(())
}

/// The same bytes with a `Host` in the first head, without which nothing is let through.
fn with_host(raw: &[u8]) -> Option<Vec<u8>> {
    let end = raw.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let (line, rest) = raw.split_at(end);
    let named = rest.to_ascii_lowercase().windows(5).any(|name| name == b"host:");
    (!named).then(|| [line, b"Host: api.example.test\r\n", rest].concat())
}

#[test]
fn of_any_bytes_only_what_has_one_reading_reaches_the_upstream() {
    let Some(file) = read("http", "llhttp.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let outcomes = on_stages(cases, |stage, case| {
        let raw = STANDARD.decode(case["raw_b64"].as_str().expect("bytes")).expect("base64");
        let forms = [Some(raw.clone()), with_host(&raw)];
        let arrived: Vec<_> = forms.iter().flatten().map(|raw| stage.send(raw)).collect();
        let one_reading = arrived.iter().flatten().try_for_each(has_one_reading);
        let strict = case["mode"] == "strict";
        let as_meant =
            arrived.iter().filter(|_| strict).try_for_each(|one| is_what_was_meant(one, case));
        (one_reading, as_meant, arrived.iter().flatten().count())
    });
    let mut tally = Tally::of("llhttp.json");
    let mut arrived = 0;
    for (case, (one_reading, as_meant, count)) in cases.iter().zip(outcomes) {
        let id = case["id"].as_str().expect("an id");
        let told = |why: String| format!("{}: {why}", case["title"]);
        arrived += count;
        match READ_BY_HYPER.iter().find(|(known, _)| *known == id) {
            Some((_, reason)) if as_meant.is_err() && one_reading.is_ok() => {
                tally.left_out(id, reason);
            }
            _ => tally.ran(id, one_reading.and(as_meant).map_err(told)),
        }
    }
    // So that refusing everything is no way to pass.
    assert!(arrived >= 20, "only {arrived} messages reached the upstream");
    tally.close(cases.len(), READ_BY_HYPER.len());
}

#[test]
fn a_path_that_servers_read_differently_is_refused() {
    let Some(file) = read("url", "whatwg_paths.json") else { return };
    let cases = file["cases"].as_array().or_else(|| file.as_array()).expect("cases");
    let outcomes = on_stages(cases, |stage, case| {
        let path = case["target_path"].as_str().expect("a path");
        let head =
            [b"GET ", path.as_bytes(), b" HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n"]
                .concat();
        let arrived = stage.send(&head);
        let result = arrived.iter().try_for_each(|message| {
            has_one_reading(message)?;
            let forwarded = message.word(1);
            same(
                forwarded == path,
                true,
                &format!("{path} is forwarded as {forwarded}; the same"),
            )?;
            let other = case["whatwg_pathname"].as_str().expect("a path");
            same(
                other == path,
                true,
                &format!("{path} is forwarded and can be read as {other}; the same"),
            )
        });
        (result, arrived.len())
    });
    let mut tally = Tally::of("whatwg_paths.json");
    let mut arrived = 0;
    for (case, (result, count)) in cases.iter().zip(outcomes) {
        arrived += count;
        tally.ran(&case["target_path"].to_string(), result);
    }
    assert!(arrived > 0, "refusing everything is no solution");
    say(&format!("whatwg_paths.json: {arrived} are forwarded, the others refused"));
    tally.close(cases.len(), 0);
}
