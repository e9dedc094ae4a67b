//! Whom a request concerns: what could be read as two parties, or as none, is refused with 400 and never
//! reaches Altinn or the upstream. Threats 33–35, 40–41.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::float_cmp,
    reason = "a test that cannot go on fails, and counts are whole"
)]

mod support;

use support::raw::Ask;
use support::{World, seed};

/// A route of its own for what the usual ones do not have: sources that must agree, and persons.
const MORE_ROUTES: &str = r#"
  - id: everywhere
    match: { methods: [GET], path: "/v1/everywhere/{party}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party, query: party, header: X-Party-Org, token: systemuser_org }
  - id: folded
    match: { methods: [GET], path: "/v1/folded" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { query: party_org }
  - id: read-or-write
    match: { methods: [GET, DELETE, PUT], path: "/v1/both/{party}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party, json: "/party" }
  - id: letters
    match: { methods: [GET], path: "/v1/letters" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { query: skatteyters_id }
  - id: letters-json
    match: { methods: [POST], path: "/v1/letters" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { json: "/skatteyters_id" }
  - id: query-post
    match: { methods: [POST], path: "/v1/query-post" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { query: party }
"#;

const A: &str = seed::BAKKEN;
const B: &str = seed::STRAND;

struct Table {
    world: World,
    token: String,
}

impl Table {
    async fn start() -> Self {
        let world = World::start_with(&format!(
            "register: {{ enabled: false }}\nroutes:{}{MORE_ROUTES}",
            support::ROUTES
        ))
        .await;
        let token = world.token(seed::BAKKEN).await;
        Self { world, token }
    }

    async fn refuse(&self, why: &str, reason: &str, ask: Ask) {
        let forwarded = self.world.upstream.count();
        let answer = self.world.ask(&ask.clone().bearer(&self.token)).await;
        let problem = answer.text();
        assert_eq!(answer.status, 400, "{why}: {problem}\n{ask:?}");
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:portvakt:problem:party_invalid", "{why}: {problem}");
        assert_eq!(problem["reason"], reason, "{why}: {problem}");
        assert_eq!(self.world.upstream.count(), forwarded, "{why}");
    }

    async fn pass(&self, why: &str, ask: Ask) {
        let forwarded = self.world.upstream.count();
        let answer = self.world.ask(&ask.bearer(&self.token)).await;
        assert_eq!(answer.status, 200, "{why}: {}", answer.text());
        assert_eq!(self.world.upstream.count(), forwarded + 1, "{why}");
        assert_eq!(self.world.upstream.last().header("portvakt-party"), [A], "{why}");
    }

    /// Refused requests cost Altinn nothing.
    async fn finish(&self, asked: u64) {
        assert_eq!(self.world.calls("pdp").await, asked, "questions to Altinn");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_nine_digits_with_a_good_check_digit_in_one_spelling() {
    let table = Table::start().await;
    let in_path = |text: &str| Ask::get(&format!("/v1/parties/{text}/returns/7"));
    for (why, text) in [
        ("a wrong check digit", "310000508"),
        ("eight digits", "31000050"),
        ("a leading zero", "0310000507"),
        ("ten digits", "3100005070"),
        ("a sign", "+310000507"),
        ("a minus", "-310000507"),
        ("an exponent", "3.10000507e8"),
        ("a country", "NO310000507"),
        ("a suffix", "310000507MVA"),
        ("the prefix of ISO 6523", "0192:310000507"),
        ("a space that is encoded", "310000507%20"),
        ("spaces within", "310%20000%20507"),
        ("a plus for a space", "310000507+"),
        ("digits of another script", "%D9%A3%D9%A1%D9%A0%D9%A0%D9%A0%D9%A0%D9%A5%D9%A0%D9%A7"),
        ("a list", "310000507,310000604"),
        ("a person where none is taken", "01010750160"),
        ("a word", "me"),
        ("a wildcard", "*"),
    ] {
        table.refuse(why, "party_invalid", in_path(text)).await;
        table.refuse(why, "party_invalid", Ask::get(&format!("/v1/returns?party={text}"))).await;
    }
    for (why, text) in
        [("inner space", "310 000 507"), ("a list", "310000507, 310000604"), ("empty", "")]
    {
        table.refuse(why, "party_invalid", Ask::get("/v1/mine").header("X-Party-Org", text)).await;
    }
    table.pass("in the path", in_path(A)).await;
    table.pass("in the query", Ask::get(&format!("/v1/returns?party={A}"))).await;
    // White space around a field's value is no part of it (RFC 9110 §5.5).
    table.pass("in a header", Ask::get("/v1/mine").header("X-Party-Org", &format!(" {A} "))).await;
    table.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_names_the_party_once_under_its_own_name() {
    let table = Table::start().await;
    for (why, reason, query) in [
        ("no query", "party_missing", ""),
        ("another name", "party_missing", "partyid=310000507"),
        ("empty", "party_invalid", "party="),
        ("a bare name", "party_ambiguous", "party"),
        ("twice, different", "party_ambiguous", "party=310000507&party=310000604"),
        ("twice, equal", "party_ambiguous", "party=310000507&party=310000507"),
        ("and a bare name", "party_ambiguous", "party=310000507&party"),
        ("and in another case", "party_ambiguous", "party=310000507&Party=310000604"),
        ("only in another case", "party_ambiguous", "PARTY=310000507"),
        ("an encoded name", "party_ambiguous", "party=310000507&p%61rty=310000604"),
        ("only an encoded name", "party_ambiguous", "p%61rty=310000507"),
        ("a name encoded twice", "party_ambiguous", "party=310000507&p%2561rty=310000604"),
        ("brackets", "party_ambiguous", "party=310000507&party[]=310000604"),
        ("encoded brackets", "party_ambiguous", "party=310000507&party%5B0%5D=310000604"),
        ("a member", "party_ambiguous", "party=310000507&party.id=310000604"),
        ("a space before the name", "party_ambiguous", "party=310000507&+party=310000604"),
        ("a NUL after the name", "party_ambiguous", "party=310000507&party%00=310000604"),
        ("a semicolon between", "party_invalid", "party=310000507;party=310000604"),
        ("a semicolon elsewhere", "party_invalid", "party=310000507&x=1;party=310000604"),
        ("a question mark between", "party_invalid", "party=310000507?party=310000604"),
        ("an encoded value", "party_invalid", "party=31000050%37"),
        ("an encoded ampersand", "party_invalid", "party=310000507%26party%3D310000604"),
        ("a bad sequence in a name", "party_invalid", "%zz=1&party=310000507"),
    ] {
        let target = if query.is_empty() {
            "/v1/returns".to_owned()
        } else {
            format!("/v1/returns?{query}")
        };
        table.refuse(why, reason, Ask::get(&target)).await;
    }
    for (why, query) in [
        ("alone", "party=310000507"),
        ("between others", "a=1&party=310000507&partyid=310000604&b"),
        ("a semicolon that names no party", "x=1;y=2&party=310000507"),
        ("empty pairs", "&&party=310000507&"),
    ] {
        table.pass(why, Ask::get(&format!("/v1/returns?{query}"))).await;
    }
    for (why, query) in [
        ("a hyphen for the underscore", "party_org=310000507&party-org=310000604"),
        ("a space for the underscore", "party_org=310000507&party%20org=310000604"),
        ("a dot for the underscore", "party_org=310000507&party.org=310000604"),
        ("an open bracket for the underscore", "party_org=310000507&party%5Borg=310000604"),
    ] {
        table.refuse(why, "party_ambiguous", Ask::get(&format!("/v1/folded?{query}"))).await;
    }
    table.pass("the name itself", Ask::get("/v1/folded?party_org=310000507")).await;
    table.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_names_the_party_once_under_its_own_name() {
    let table = Table::start().await;
    let mine = || Ask::get("/v1/mine");
    let named = || mine().header("X-Party-Org", A);
    for (why, reason, ask) in [
        ("none", "party_missing", mine()),
        ("twice", "party_ambiguous", named().header("X-Party-Org", B)),
        ("twice, equal", "party_ambiguous", named().header("x-party-org", A)),
        ("with underscores beside", "party_ambiguous", named().header("X_Party_Org", B)),
        ("only with underscores", "party_ambiguous", mine().header("X_Party_Org", A)),
        ("with a dot beside", "party_ambiguous", named().header("X-Party.Org", B)),
        ("with a tilde beside", "party_ambiguous", named().header("X-Party~Org", B)),
        ("bytes beyond ASCII", "party_invalid", mine().header("X-Party-Org", "31000050\u{fffd}")),
    ] {
        table.refuse(why, reason, ask).await;
    }
    table.pass("in any case", mine().header("x-PARTY-org", A)).await;
    table.pass("beside a longer name", named().header("X-Party-Org-Name", B)).await;
    table.pass("named by Connection", named().header("Connection", "close, x-party-org")).await;
    assert_eq!(table.world.upstream.last().header("x-party-org"), [A]);
    table.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_that_names_a_party_names_the_same() {
    let table = Table::start().await;
    let path = |party: &str, query: &str| Ask::get(&format!("/v1/everywhere/{party}{query}"));
    for (why, ask) in [
        ("the query disagrees", path(A, "?party=310000604")),
        ("the header disagrees", path(A, "").header("X-Party-Org", B)),
        ("the path disagrees with the token", path(B, "")),
        ("all but the token agree", path(B, "?party=310000604").header("X-Party-Org", B)),
        ("one of three disagrees", path(A, "?party=310000507").header("X-Party-Org", B)),
    ] {
        table.refuse(why, "party_conflict", ask).await;
    }
    table.refuse("one of them is none", "party_invalid", path(A, "?party=x")).await;
    table.pass("path and token", path(A, "")).await;
    table.pass("all four", path(A, "?party=310000507").header("X-Party-Org", A)).await;
    // Where a route does not look, a party is the upstream's own affair.
    table.pass("in a query that nobody reads", Ask::get("/v1/own?party=310000604")).await;
    table.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_names_the_party_once_in_a_document_with_one_reading() {
    let table = Table::start().await;
    let post = |text: &str| Ask::new("POST", "/v1/json/310000507").body(text);
    let json = |text: &str| post(text).header("Content-Type", "application/json");
    for (why, reason, text) in [
        ("another party", "party_conflict", r#"{"data":{"party":"310000604"}}"#),
        ("a number", "party_invalid", r#"{"data":{"party":310000507}}"#),
        ("null", "party_invalid", r#"{"data":{"party":null}}"#),
        ("a list", "party_invalid", r#"{"data":{"party":["310000507"]}}"#),
        ("a space", "party_invalid", r#"{"data":{"party":"310000507 "}}"#),
        ("the name twice", "body", r#"{"data":{"party":"310000604","party":"310000507"}}"#),
        (
            "the name twice, once escaped",
            "body",
            r#"{"data":{"p\u0061rty":"310000604","party":"310000507"}}"#,
        ),
        ("the parent twice", "body", r#"{"data":{},"data":{"party":"310000507"}}"#),
        ("another name twice", "body", r#"{"data":{"party":"310000507"},"x":1,"x":2}"#),
        (
            "a sibling in another case",
            "party_ambiguous",
            r#"{"data":{"party":"310000507","Party":"310000604"}}"#,
        ),
        (
            "a parent in another case",
            "party_ambiguous",
            r#"{"Data":{},"data":{"party":"310000507"}}"#,
        ),
        ("half a document", "body", r#"{"data":{"party":"310000507""#),
        ("two documents", "body", r#"{"data":{"party":"310000507"}}{}"#),
        ("a comment", "body", r#"{"data":{"party":"310000507"}/**/}"#),
        ("a byte order mark", "body", "\u{feff}{\"data\":{\"party\":\"310000507\"}}"),
        ("a trailing comma", "body", r#"{"data":{"party":"310000507",}}"#),
        ("no document", "body", ""),
    ] {
        table.refuse(why, reason, json(text)).await;
    }
    let good = r#"{ "data" : {"party": "310000507"} , "n": 1.0 }"#;
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = utf16.len().to_string();
    let utf16 =
        Ask::new("POST", "/v1/json/310000507").header("Content-Length", &length).bytes(utf16);
    for (why, reason, ask) in [
        ("no media type", "media_type", post(good)),
        ("another media type", "media_type", post(good).header("Content-Type", "text/plain")),
        (
            "a form",
            "media_type",
            post(good).header("Content-Type", "application/x-www-form-urlencoded"),
        ),
        (
            "another charset",
            "media_type",
            post(good).header("Content-Type", "application/json; charset=utf-16"),
        ),
        ("two media types", "media_type", json(good).header("Content-Type", "text/plain")),
        ("compressed", "content_encoding", json(good).header("Content-Encoding", "gzip")),
        ("UTF-16 that says it is JSON", "body", utf16.header("Content-Type", "application/json")),
    ] {
        table.refuse(why, reason, ask).await;
    }
    table.pass("in the body and the path", json(good)).await;
    assert_eq!(table.world.upstream.last().body, good.as_bytes(), "byte for byte");
    table.pass("in the path only", json(r#"{"data":{}}"#)).await;
    table
        .pass(
            "a suffix of JSON",
            post(good).header("Content-Type", "application/vnd.x+json;charset=UTF-8"),
        )
        .await;
    table.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_names_the_party_once() {
    let table = Table::start().await;
    let post = |text: &str| Ask::new("POST", "/v1/form").body(text);
    let form = |text: &str| post(text).header("Content-Type", "application/x-www-form-urlencoded");
    for (why, reason, text) in [
        ("no field", "party_missing", "a=1"),
        ("no body", "party_missing", ""),
        ("twice", "party_ambiguous", "party=310000507&party=310000604"),
        ("an encoded name", "party_ambiguous", "party=310000507&%70arty=310000604"),
        ("brackets", "party_ambiguous", "party=310000507&party[]=310000604"),
        ("a semicolon", "party_invalid", "party=310000507;party=310000604"),
        ("a line after", "party_invalid", "party=310000507\n"),
    ] {
        table.refuse(why, reason, form(text)).await;
    }
    let latin = Ask::new("POST", "/v1/form").header("Content-Length", "17");
    let latin = latin.bytes(b"party=310000507&\xe6");
    for (why, reason, ask) in [
        ("JSON", "media_type", post("party=310000507").header("Content-Type", "application/json")),
        (
            "parts",
            "media_type",
            post("party=310000507").header("Content-Type", "multipart/form-data; boundary=x"),
        ),
        ("not UTF-8", "body", latin.header("Content-Type", "application/x-www-form-urlencoded")),
    ] {
        table.refuse(why, reason, ask).await;
    }
    table.pass("once", form("a=%C3%A6+1&party=310000507")).await;
    assert_eq!(table.world.upstream.last().body, "a=%C3%A6+1&party=310000507");
    table.finish(1).await;
}

/// Letters beyond ASCII that some libraries take for `s`, `k` and `i` where case does not count: Go's
/// `encoding/json` the first two, Java's `equalsIgnoreCase` all.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_letters_that_fold_to_the_same_is_the_same_name() {
    let table = Table::start().await;
    let json = |other: &str| {
        Ask::new("POST", "/v1/letters")
            .header("Content-Type", "application/json")
            .body(&format!(r#"{{"skatteyters_id":"{A}","{other}":"{B}"}}"#))
    };
    let query = |other: &str| Ask::get(&format!("/v1/letters?skatteyters_id={A}&{other}={B}"));
    for (why, plain, encoded) in [
        ("a long s", "\u{17f}katteyters_id", "%C5%BFkatteyters_id"),
        ("the sign of kelvin", "s\u{212a}atteyters_id", "s%E2%84%AAatteyters_id"),
        ("an i without a dot", "skatteyters_\u{131}d", "skatteyters_%C4%B1d"),
        ("a capital with a dot", "skatteyters_\u{130}d", "skatteyters_%C4%B0d"),
        ("another case", "SkatteYters_ID", "SKATTEYTERS_ID"),
    ] {
        table.refuse(why, "party_ambiguous", json(plain)).await;
        table.refuse(why, "party_ambiguous", query(encoded)).await;
    }
    table.pass("letters that look alike only", json("s\u{43a}atteyters_id")).await;
    table.pass("letters that look alike only", query("s%D0%BAatteyters_id")).await;
    table.finish(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_body_names_no_party_in_it() {
    let table = Table::start().await;
    let both = |method: &str| Ask::new(method, "/v1/both/310000507");
    table.pass("GET", both("GET")).await;
    table.pass("DELETE", both("DELETE")).await;
    table.pass("PUT of nothing", both("PUT").body("")).await;
    let json = |ask: Ask| ask.header("Content-Type", "application/json");
    table.pass("PUT", json(both("PUT")).body(r#"{"party":"310000507"}"#)).await;
    for (why, reason, ask) in [
        ("another party", "party_conflict", json(both("PUT")).body(r#"{"party":"310000604"}"#)),
        (
            "a GET that carries one after all",
            "party_conflict",
            json(both("GET")).body(r#"{"party":"310000604"}"#),
        ),
        (
            "a body that does not say what it is",
            "media_type",
            both("PUT").body(r#"{"party":"310000604"}"#),
        ),
        (
            "in chunks",
            "media_type",
            both("GET").header("Transfer-Encoding", "chunked").bytes("2\r\n{}\r\n0\r\n\r\n"),
        ),
        ("nothing that says it is JSON", "body", json(both("PUT")).body("")),
    ] {
        table.refuse(why, reason, ask).await;
    }
    table
        .refuse("and nowhere else", "party_missing", Ask::new("POST", "/v1/letters").body(""))
        .await;
    table.finish(1).await;
}

/// Frameworks pour path variables, query and form into one bag, each with its own idea of which one wins.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_one_source_says_nothing_else_in_another() {
    let table = Table::start().await;
    let form = |target: &str, body: &str| {
        Ask::new("POST", target)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body)
    };
    let of = |name: &str, party: &str| format!("{name}={party}");
    let path = format!("/v1/parties/{A}/returns");
    let query = format!("/v1/query-post?party={A}");
    for (why, ask) in [
        ("path, and the same in the query", form(&format!("{path}?party={A}"), "x=1")),
        ("path, and the same in a form", form(&path, &of("party", A))),
        ("query, and a form without it", form(&query, "x=1")),
        ("form, and the same in the query", form(&format!("/v1/form?party={A}"), &of("party", A))),
    ] {
        table.pass(why, ask).await;
    }
    for (why, reason, ask) in [
        ("path, query", "party_conflict", form(&format!("{path}?party={B}"), "x=1")),
        ("path, query in capitals", "party_ambiguous", form(&format!("{path}?PARTY={A}"), "x=1")),
        ("path, form", "party_conflict", form(&path, &of("party", B))),
        ("path, form, encoded name", "party_ambiguous", form(&path, &of("p%61rty", B))),
        ("query, form", "party_conflict", form(&query, &of("party", B))),
        ("query, form with brackets", "party_ambiguous", form(&query, &of("party[]", B))),
        (
            "query, and a multipart form",
            "media_type",
            Ask::new("POST", &query)
                .header("Content-Type", "multipart/form-data; boundary=b")
                .body("--b--"),
        ),
        ("form, query", "party_conflict", form(&format!("/v1/form?party={B}"), &of("party", A))),
    ] {
        table.refuse(why, reason, ask).await;
    }
    table.finish(1).await;
}
