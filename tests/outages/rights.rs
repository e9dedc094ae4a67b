//! What is derived, what is confirmed, and what is refused: everything up.

use crate::stage::*;
use crate::support::World;

/// Who asks what, and what the third asking rests on; "403" is refused.
const QUESTIONS: [(Who, &str, &str, &str, &str, &str); 31] = [
    (BAKKEN, "GET", MVA, "310000507", "derived", "a package"),
    (BAKKEN, "POST", MVA, "310000507", "derived", "the same package"),
    (BAKKEN, "GET", MVA, "310000515", "derived", "a sub-unit has what its main unit gave"),
    (BAKKEN, "GET", MVA, "310000604", "403", "another's organisation"),
    (BAKKEN, "GET", CLAIMS, "310000507", "derived", "another package"),
    (BAKKEN, "POST", CLAIMS, "310000507", "403", "the package opens reading only"),
    (BAKKEN, "GET", DOCUMENTS, "310000507", "derived", "deny-unless-permit, with the package"),
    (BERGEN, "GET", DOCUMENTS, "310000515", "403", "deny-unless-permit, with a single right only"),
    (STRAND, "GET", CLAIMS, "310000604", "confirmed", "a single right, of which read was given"),
    (STRAND, "POST", CLAIMS, "310000604", "403", "and write was not"),
    (STRAND_STORE, "POST", CLAIMS, "310000604", "confirmed", "a single right"),
    (
        STRAND_STORE,
        "GET",
        ADVANCE,
        "310000604",
        "confirmed",
        "a single right where policies know roles",
    ),
    (STRAND_STORE, "POST", ADVANCE, "310000604", "403", "not among the single rights"),
    (STRAND, "GET", ADVANCE, "310000604", "403", "another system user of the same owner"),
    (BAKKEN, "GET", SHIELDED, "310000507", "403", "wants authentication level 4"),
    (BAKKEN, "GET", ARCHIVE, "310000507", "derived", "the deny rule is for writing"),
    (BAKKEN, "POST", ARCHIVE, "310000507", "403", "a deny rule"),
    (LIA, "GET", ATTACHED, "310000701", "derived", "its package's code is not its URN suffix"),
    (BAKKEN, "GET", ATTACHED, "310000507", "403", "without that package"),
    (AGENT, "GET", MVA, "310000701", "derived", "an agent, its first client"),
    (AGENT, "GET", MVA, "310000728", "derived", "an agent, its second client"),
    (AGENT, "GET", MVA, "310000736", "derived", "an agent, its third client"),
    (AGENT, "GET", MVA, "310000744", "403", "an agent, a client not delegated to it"),
    (AGENT, "GET", MVA, "310000302", "403", "an agent is not its own client"),
    (AGENT, "POST", MVA, "310000701", "403", "an agent whose package opens reading only"),
    (AGENT, "POST", PAYROLL, "310000701", "derived", "an agent, its other package"),
    (BERGEN, "GET", PAYROLL, "310000515", "derived", "a sub-unit that gave a package itself"),
    (BERGEN, "GET", PAYROLL, "310000507", "403", "nothing flows up to the main unit"),
    (NOTHING, "GET", MVA, "310000507", "403", "a system user without rights"),
    (STRAND_PAYROLL, "GET", EXCISE, "310000604", "403", "the package, on no access list"),
    (SUND, "POST", EXCISE, "310000620", "403", "on a list for reading only"),
];

/// Those on an access list: derived where the lists are read.
const LISTED: [(Who, &str, &str); 3] =
    [(SKJAER, "GET", "310000612"), (SKJAER, "POST", "310000612"), (SUND, "GET", "310000620")];

async fn questions(world: &World, listed: &'static str) -> Vec<(Ask, &'static str, String)> {
    let mut all = Vec::new();
    let listed = LISTED
        .iter()
        .map(|(who, method, party)| (*who, *method, EXCISE, *party, listed, "on an access list"));
    for (who, method, resource, party, expected, why) in QUESTIONS.into_iter().chain(listed) {
        let question = ask_of(world, who, method, resource, party).await;
        all.push((question, expected, format!("{why}: {method} {resource} {party}")));
    }
    all
}

async fn assert_all(sections: &str, listed: &'static str) {
    // What was refused is remembered for longer than this takes.
    let sections = format!("confirmations: {{ no_for: 1m }}\n{QUICK}{sections}");
    let world = stage(&sections).await;
    let questions = questions(&world, listed).await;
    for (question, expected, what) in &questions {
        let told = ask(&world, question).await;
        let status = if *expected == "403" { 403 } else { 200 };
        assert_eq!(told.status, status, "{what}: {told:?}");
        assert!(status == 403 || ["asked", "derived"].contains(&told.basis()), "{what}: {told:?}");
    }
    // An answer to the very question counts until what is read behind is newer.
    for (question, _, _) in questions.iter().filter(|(_, expected, _)| *expected == "derived") {
        until_basis(&world, question, "derived").await;
    }
    for round in ["second", "third"] {
        let before = world.calls("pdp").await;
        for (question, expected, what) in &questions {
            let told = ask(&world, question).await;
            if *expected == "403" {
                assert_eq!(told.status, 403, "{what}: {told:?}");
                continue;
            }
            assert_eq!(told.status, 200, "{what}: {told:?}");
            let upstream = world.upstream.last();
            let version = upstream.header("portvakt-policy-version");
            if *expected == "derived" {
                assert_eq!(told.basis(), "derived", "{round}: {what}: {told:?}");
                assert_eq!(upstream.header("portvakt-source"), ["register"], "{what}");
                assert_eq!(version.len(), 1, "{what}");
            } else if round == "third" {
                // What was said before the rights were first read is asked once more.
                assert_eq!(told.basis(), "confirmed", "{what}: {told:?}");
                assert!(version.is_empty(), "{what}");
            }
        }
        let calls = world.calls("pdp").await - before;
        assert!(round == "second" || calls == 0, "{calls} calls in the third round");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_by_package_is_derived_and_a_single_one_confirmed() {
    assert_all("register: { refresh_least: 1s }\n", "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_access_lists_are_read_their_members_rights_are_derived() {
    let scopes = "maskinporten: { client_id: \"c1000000-0000-4000-8000-000000000001\", key_env: PROXY_JWK, \
        scopes: [\"altinn:authorization/authorize\", \"altinn:accessmanagement/authorizedparties.resourceowner\", \
        \"altinn:resourceregistry/accesslist.read\", \"altinn:serviceowner\"] }\n\
        register: { refresh_least: 1s, access_lists_owner: skd }\n";
    assert_all(scopes, "derived").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_right_costs_no_question_from_the_second_request_on() {
    let world = stage(&format!("{QUICK}register: {{ refresh_least: 1s }}\n")).await;
    let question = ask_of(&world, BAKKEN, "POST", MVA, "310000507").await;
    // Asked, unless it was read before the answer came and the first question met a fault of the start.
    assert_eq!(ask(&world, &question).await.status, 200);
    let asked = world.calls("pdp").await;
    until_basis(&world, &question, "derived").await;
    assert_eq!(ask(&world, &question).await.basis(), "derived");
    let seen = world.upstream.last();
    assert_eq!(seen.header("portvakt-source"), ["register"]);
    assert_eq!(seen.header("portvakt-policy-version").len(), 1);
    assert_eq!(world.calls("pdp").await, asked);
    let neighbour = ask_of(&world, BAKKEN, "POST", MVA, "310000604").await;
    assert_eq!(ask(&world, &neighbour).await.status, 403);
}
