//! What the register is told of Altinn, read from the sandbox as it would be from Altinn: well, and when
//! Altinn is not.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use portvakt::altinn::Altinn;
use portvakt::altinn::gate::Gate;
use portvakt::altinn::pdp::PdpClient;
use portvakt::altinn::source::AltinnSource;
use portvakt::altinn::token::OwnToken;
use portvakt::clock::SystemClock;
use portvakt::config::{AltinnConfig, ClientConfig, MaskinportenConfig};
use portvakt::domain::decision::{Cause, Verdict};
use portvakt::domain::delegation::PartyRights;
use portvakt::domain::party::{CheckDigits, Party};
use portvakt::domain::resource::{Question, ResourceId, Right};
use portvakt::enforce::ports::{Account, Call, RemotePdp, Urgency};
use portvakt::maskinporten::Issuer;
use portvakt::maskinporten::grant::Grant;
use portvakt::sync::ports::{Feed, FeedPosition, PublishedResource, Source, Wanted};
use portvakt::telemetry::metrics::Metrics;
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use support::{own_key, seed, turn};
use tokio::runtime::Handle;

const RESOURCES: [&str; 11] = [
    "ske-mva-melding",
    "ske-krav-og-betalinger",
    "ske-a-melding",
    "ske-saravgift",
    "ske-dokumentinnsyn",
    "ske-skjermet-skattegrunnlag",
    "ske-forskuddsskatt",
    "ske-arkiv",
    "ske-fastsetting",
    "ske-utlegg",
    "ske-uten-policy",
];
const OTHER_CODE: &str = "vergemal-namsmannen-tvangsfullbyrdelse-forliksradet";
const OTHER_SUFFIX: &str = "namsmannen-tvangsfullbyrdelse-forliksradet";

struct World {
    sandbox: RunningSandbox,
    source: AltinnSource,
    pdp: PdpClient,
    gate: Gate,
}

impl World {
    async fn start() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.expect("the sandbox starts");
        let second = Duration::from_secs(1);
        let issuer = MaskinportenConfig {
            issuer: sandbox.issuer().to_owned(),
            metadata_url: format!("{}.well-known/oauth-authorization-server", sandbox.issuer())
                .parse()
                .unwrap(),
            refresh: 600 * second,
            max_age: 3600 * second,
            unknown_kid_interval: 30 * second,
            timeout: 5 * second,
            client: None,
        };
        let client = ClientConfig {
            client_id: seed::PROXY_CLIENT.to_owned(),
            key: own_key(&sandbox).await.into(),
            key_id: None,
            scopes: [
                "altinn:authorization/authorize",
                "altinn:accessmanagement/authorizedparties.resourceowner",
                "altinn:resourceregistry/accesslist.read",
                // Without it the exchanged token does not say whose access lists these are.
                "altinn:serviceowner",
            ]
            .map(str::to_owned)
            .into(),
            files: Vec::new(),
        };
        let number = |number| NonZeroUsize::new(number).unwrap();
        let config = AltinnConfig {
            url: sandbox.altinn_url().parse().unwrap(),
            subscription_key: Some(seed::SUBSCRIPTION_KEY.into()),
            requests_per_second: number(1000),
            budget: 3 * second,
            attempt_timeout: second / 2,
            max_attempts: number(1),
            circuit_failures: number(1000),
            circuit_open_for: second,
            max_in_flight: number(20),
        };
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new().unwrap()));
        let runtime = Handle::current();
        let issuer = Arc::new(Issuer::new(&issuer).unwrap());
        let grant = Grant::new(&client, issuer, clock.clone()).unwrap();
        let altinn = Arc::new(Altinn::new(&config).unwrap());
        let token =
            OwnToken::new(grant, altinn.clone(), clock.clone(), metrics.clone(), runtime.clone());
        let token = Arc::new(token);
        let (per_second, places) = (config.requests_per_second, config.max_in_flight);
        let gate = Gate::new(per_second, places, &metrics, runtime.clone());
        let source = AltinnSource::new(
            &config,
            CheckDigits::Required,
            altinn.clone(),
            token.clone(),
            gate.clone(),
            clock.clone(),
            metrics.clone(),
            runtime.clone(),
        );
        let pdp = PdpClient::new(&config, altinn, token, gate.clone(), clock, metrics, runtime);
        Self { sandbox, source, pdp, gate }
    }

    async fn knob(&self, method: Method, path: &str, body: Value) -> Value {
        turn(&self.sandbox, method, path, body).await
    }

    async fn fault(&self, endpoint: &str, fault: Value) {
        self.knob(Method::PUT, &format!("faults/{endpoint}"), fault).await;
    }

    async fn wanted(&self) -> Arc<Wanted> {
        let packages = self.source.packages().await.expect("a catalogue");
        let resources = RESOURCES.map(|id| id.parse().unwrap()).into();
        Arc::new(Wanted { packages, resources })
    }

    async fn parties(&self, user: &str) -> Result<Vec<PartyRights>, Cause> {
        let (user, wanted) = (user.parse().unwrap(), self.wanted().await);
        let parties = self.source.parties(user, &wanted, Account::Own).await;
        parties.map_err(|undecided| undecided.cause)
    }

    async fn resource(&self, id: &str) -> Option<PublishedResource> {
        let id: ResourceId = id.parse().unwrap();
        self.source.resource(&id).await.expect("an answer")
    }

    async fn changes(&self, position: Option<&FeedPosition>) -> BTreeMap<String, String> {
        match self.source.changes(position).await.expect("an answer") {
            Feed::Changes(changes, _) => changes.into_iter().collect(),
            Feed::Absent => panic!("the sandbox has a feed"),
        }
    }
}

fn user(number: u8) -> String {
    format!("5e000000-0000-4000-8000-0000000000{number:02}")
}

fn rights(party: &str, packages: &[&str], resources: &[&str]) -> PartyRights {
    PartyRights {
        party: party.parse().unwrap(),
        packages: packages.iter().map(|it| it.parse().unwrap()).collect(),
        resources: resources.iter().map(|it| it.parse().unwrap()).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_user_has_its_parties_with_packages_as_policies_name_them() {
    let world = World::start().await;
    let main = &["merverdiavgift", "skattegrunnlag"];
    let agent = &["regnskapsforer-lonn", "regnskapsforer-uten-signeringsrettighet"];
    let cases = [
        (
            1,
            "a customer and its sub-units",
            vec![
                rights("310000507", main, &[]),
                rights("310000515", main, &[]),
                rights("310000523", main, &[]),
            ],
        ),
        (2, "a single right", vec![rights("310000604", &[], &["ske-krav-og-betalinger"])]),
        (
            4,
            "an agent, for three of four clients",
            ["310000701", "310000728", "310000736"].map(|it| rights(it, agent, &[])).into(),
        ),
        (8, "deleted", vec![]),
        (10, "without rights", vec![]),
        (11, "a sub-unit only", vec![rights("310000515", &["lonn"], &["ske-dokumentinnsyn"])]),
        (
            12,
            "a package whose code is not its suffix",
            vec![rights("310000701", &[OTHER_SUFFIX, "skattegrunnlag"], &[])],
        ),
        (99, "unknown", vec![]),
    ];
    for (number, what, expected) in cases {
        assert_eq!(world.parties(&user(number)).await, Ok(expected), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_not_told_and_what_is_struck_off_neither() {
    let world = World::start().await;
    let packages = world.source.packages().await.unwrap();
    let packages = packages.into_iter().filter(|(code, _)| code == "merverdiavgift").collect();
    let wanted = Arc::new(Wanted { packages, resources: ["ske-arkiv".parse().unwrap()].into() });
    let parties = async |number| {
        let user = user(number).parse().unwrap();
        world.source.parties(user, &wanted, Account::Own).await.unwrap()
    };
    assert_eq!(parties(1).await[0], rights("310000507", &["merverdiavgift"], &[]));
    assert_eq!(parties(4).await, []);
    let right =
        json!({ "system_user": user(1), "party": "310000906", "package": "merverdiavgift" });
    let granted = world.knob(Method::POST, "rights/grant", right).await;
    assert_eq!(granted["ok"], true, "{granted}");
    assert!(parties(1).await.iter().all(|rights| rights.party.as_str() != "310000906"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_tells_codes_from_suffixes() {
    let packages = World::start().await.source.packages().await.unwrap();
    assert_eq!(packages.len(), 10);
    assert_eq!(packages[OTHER_CODE].as_str(), OTHER_SUFFIX);
    assert_eq!(packages["skattegrunnlag"].as_str(), "skattegrunnlag");
    assert!(!packages.contains_key(OTHER_SUFFIX));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_has_a_policy_until_it_is_deleted() {
    let world = World::start().await;
    let published = world.resource("ske-mva-melding").await.unwrap();
    assert!(!published.access_list);
    assert!(String::from_utf8_lossy(&published.policy).contains("ske-mva-melding"));
    assert!(world.resource("ske-saravgift").await.unwrap().access_list);
    assert_eq!(world.resource("ske-uten-policy").await, None);
    assert_eq!(world.resource("ske-finnes-ikke").await, None);
    world.knob(Method::DELETE, "resources/ske-mva-melding", Value::Null).await;
    assert_eq!(world.resource("ske-mva-melding").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_of_a_resource_that_changed() {
    let world = World::start().await;
    let before = world.changes(None).await;
    assert_eq!(before.len(), 10, "all that have a policy");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.knob(Method::POST, "resources/ske-arkiv/touch", json!({})).await;
    let after = world.changes(None).await;
    let changed: Vec<_> = after.iter().filter(|(id, at)| before[*id] != **at).collect();
    assert_eq!(changed.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ["ske-arkiv"]);
    let strange = FeedPosition("not a position".to_owned());
    assert_eq!(world.changes(Some(&strange)).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_lists_are_our_own() {
    let world = World::start().await;
    let lists = world.source.access_lists("skd").await.unwrap();
    let [(resource, lists)] = &lists.iter().collect::<Vec<_>>()[..] else { panic!("{lists:?}") };
    assert_eq!(resource.as_str(), "ske-saravgift");
    let told: Vec<_> = lists
        .iter()
        .map(|list| {
            let members: Vec<_> = list.members.iter().map(ToString::to_string).collect();
            let actions = list.actions.as_ref();
            (members.join(" "), actions.map(|it| it.iter().map(ToString::to_string).collect()))
        })
        .collect();
    let all = ("310000612".to_owned(), None::<Vec<String>>);
    assert_eq!(told, [all, ("310000620".to_owned(), Some(vec!["read".to_owned()]))]);
    let other = world.source.access_lists("nav").await.unwrap_err();
    assert_eq!(other.cause, Cause::OwnCredentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_altinn_spoils_is_no_answer_and_never_an_empty_one() {
    let world = World::start().await;
    let (parties, wanted) = (user(1).parse().unwrap(), world.wanted().await);
    let html =
        json!({ "body": "<!doctype html><title>Vedlikehold</title>", "content_type": "text/html" });
    let faults = [
        (json!({ "truncate": true }), vec![Cause::Unreachable, Cause::Unreadable]),
        (json!({ "close": true }), vec![Cause::Unreachable]),
        (json!({ "hang": true }), vec![Cause::TimedOut]),
        (html, vec![Cause::Unreadable]),
        (json!({ "body": "", "content_type": "application/json" }), vec![Cause::Unreadable]),
        (json!({ "body": "{}", "content_type": "application/json" }), vec![Cause::Unreadable]),
        (json!({ "body": "[{}]", "content_type": "application/json" }), vec![Cause::Unreadable]),
        (json!({ "status": 500 }), vec![Cause::ErrorStatus]),
        (json!({ "status": 404 }), vec![Cause::ErrorStatus]),
        (json!({ "status": 403 }), vec![Cause::OwnCredentials]),
    ];
    for (fault, causes) in faults {
        world.fault("parties", fault.clone()).await;
        world.fault("registry", fault.clone()).await;
        let told = world.source.parties(parties, &wanted, Account::Own).await.unwrap_err();
        assert!(causes.contains(&told.cause), "parties: {fault} {told:?}");
        let lists = world.source.access_lists("skd").await.unwrap_err();
        assert!(causes.contains(&lists.cause), "lists: {fault} {lists:?}");
        let absent = fault["status"] == 404;
        let changes = world.source.changes(None).await.map_err(|undecided| undecided.cause);
        let resource = world.source.resource(&"ske-arkiv".parse().unwrap()).await;
        if absent {
            assert_eq!((changes, resource), (Ok(Feed::Absent), Ok(None)));
        } else {
            assert!(causes.contains(&changes.unwrap_err()), "changes: {fault}");
            assert!(causes.contains(&resource.unwrap_err().cause), "resource: {fault}");
        }
    }
    world.knob(Method::DELETE, "faults", Value::Null).await;
    assert_eq!(world.source.parties(parties, &wanted, Account::Own).await.unwrap().len(), 3);
    let load = world.gate.load();
    assert_eq!((load.in_flight, load.waiting, load.behind), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_altinn_asks_for_a_pause_nothing_is_called_until_it_is_over() {
    let world = World::start().await;
    let wanted = world.wanted().await;
    world.fault("parties", json!({ "status": 429, "retry_after": 2, "times": 1 })).await;
    let ask = async || world.source.parties(user(1).parse().unwrap(), &wanted, Account::Own).await;
    let first = ask().await.unwrap_err();
    assert_eq!((first.cause, first.retry_after), (Cause::Throttled, Some(Duration::from_secs(2))));
    let calls = world.knob(Method::GET, "calls", Value::Null).await;
    assert_eq!(ask().await.unwrap_err().cause, Cause::Throttled);
    assert_eq!(world.source.access_lists("skd").await.unwrap_err().cause, Cause::Throttled);
    assert_eq!(world.knob(Method::GET, "calls", Value::Null).await["counts"], calls["counts"]);
    tokio::time::sleep(world.gate.paused().unwrap_or_default() + Duration::from_millis(50)).await;
    assert_eq!(ask().await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_get_the_answers_that_each_gets_alone() {
    let world = World::start().await;
    let question = |number, party: &str, resource: &str, action: &str| {
        let right = Right { resource: resource.parse().unwrap(), action: action.parse().unwrap() };
        let party = Party::Organization(party.parse().unwrap());
        Question::new(user(number).parse().unwrap(), party, right, None)
    };
    let call = Call { account: Account::Own, urgency: Urgency::Behind };
    let mut questions = Vec::new();
    for resource in RESOURCES.into_iter().filter(|id| *id != "ske-uten-policy") {
        for party in ["310000507", "310000515", "310000604"] {
            for action in ["read", "write"] {
                questions.push(question(1, party, resource, action));
            }
        }
    }
    let together = world.pdp.ask_all(&questions, call).await;
    let asked = world.knob(Method::GET, "calls", Value::Null).await["counts"]["pdp"].clone();
    for (question, together) in questions.iter().zip(&together) {
        assert_eq!(world.pdp.ask(question, call).await, *together, "{question:?}");
    }
    assert!(together.contains(&Ok(Verdict::Permit)));
    assert!(together.contains(&Ok(Verdict::NotApplicable)));
    // Sixty in three calls; those on the resource that is Indeterminate for a system user are asked alone.
    assert_eq!(asked, 3 + 6, "{asked}");
    let spoilt = [
        question(1, "310000507", "ske-mva-melding", "read"),
        question(1, "310000507", "ske-uten-policy", "read"),
        question(1, "310000604", "ske-mva-melding", "read"),
    ];
    let indeterminate = Err(Cause::Indeterminate.into());
    let expected = [Ok(Verdict::Permit), indeterminate, Ok(Verdict::NotApplicable)];
    assert_eq!(world.pdp.ask_all(&spoilt, call).await, expected);
    world.fault("pdp", json!({ "extra_results": 1, "times": 1 })).await;
    let expected = [Ok(Verdict::Permit), Ok(Verdict::NotApplicable)];
    let two = [spoilt[0].clone(), spoilt[2].clone()];
    assert_eq!(world.pdp.ask_all(&two, call).await, expected);
    world.fault("pdp", json!({ "pascal_case": true })).await;
    assert_eq!(world.pdp.ask_all(&two, call).await, expected);
}
