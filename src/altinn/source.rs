//! What Altinn tells to a service owner, for the register.
//!
//! Source: contract sync.md §1.1 (U1, U3, U4, U6, U7). All of it is kept fresh behind the requests: calls
//! give way at the gate, and who calls backs off by itself.

use super::authorized_parties::{self, Told, read_parties};
use super::calls::{Ask, Body, Calls, Time};
use super::gate::Gate;
use super::packages::{self, read_packages};
use super::registry::{self, Page};
use super::token::OwnToken;
use super::{Altinn, Endpoint};
use crate::clock::Clock;
use crate::config::AltinnConfig;
use crate::domain::decision::{Cause, Undecided};
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::CheckDigits;
use crate::domain::resource::ResourceId;
use crate::domain::system_user::SystemUserId;
use crate::enforce::ports::{Account, Call, EdgeFuture, Urgency};
use crate::sync::ports::{
    AccessList, AccessLists, Feed, FeedPosition, PublishedResource, Source, Wanted,
};
use crate::telemetry::metrics::Metrics;
use ::http::StatusCode;
use reqwest::Url;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

const JSON: &[&str] = &["application/json"];
const XML: &[&str] = &["text/xml", "application/xml"];
/// Most entries a page of the feed.
const PAGE: &str = "1000";
/// Most pages of anything: a feed that has more is not believed.
const MAX_PAGES: usize = 1_000;
/// Most changes, lists, or members and connections of one list.
const MAX_ITEMS: usize = 200_000;
/// Most access lists of one owner.
const MAX_LISTS: usize = 1_000;
const OWN: Call = Call { account: Account::Own, urgency: Urgency::Behind };

/// Altinn, as the register's source.
pub struct AltinnSource {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Calls,
    check: CheckDigits,
    small: Time,
    large: Time,
}

impl AltinnSource {
    /// A source that calls on `runtime`, through `gate`. Times follow from the configured ones of the PDP:
    /// a small answer has as long as a question may take in all; the head of a large one may take ten times
    /// as long as one answer of the PDP, silence within it five times, all of it thirty times.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of the edge, put together once at start"
    )]
    pub fn new(
        config: &AltinnConfig,
        check: CheckDigits,
        altinn: Arc<Altinn>,
        own_token: Arc<OwnToken>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        let (budget, attempt) = (config.budget, config.attempt_timeout);
        // Nobody waits: rather late than not at all.
        let wait = budget * 10;
        let small = Time { wait, head: budget, idle: budget, total: budget };
        let large = Time { wait, head: attempt * 10, idle: attempt * 5, total: attempt * 30 };
        let calls = Calls::new(altinn, own_token, gate, clock, metrics, runtime);
        Self { shared: Arc::new(Shared { calls, check, small, large }) }
    }

    /// Runs `work` where every call to the outside runs; ends with the caller.
    fn run<T, F>(
        &self,
        work: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    ) -> EdgeFuture<'static, Result<T, Undecided>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Undecided>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let runtime = shared.calls.runtime.clone();
            let task = AbortOnDropHandle::new(runtime.spawn(work(shared)));
            task.await.unwrap_or(Err(Cause::Unreachable.into()))
        })
    }
}

impl Source for AltinnSource {
    fn parties<'a>(
        &'a self,
        system_user: SystemUserId,
        wanted: &'a Arc<Wanted>,
        account: Account,
    ) -> EdgeFuture<'a, Result<Vec<PartyRights>, Undecided>> {
        let wanted = Arc::clone(wanted);
        let call = Call { account, urgency: Urgency::Behind };
        self.run(move |shared| async move { shared.parties(system_user, wanted, call).await })
    }

    fn resource<'a>(
        &'a self,
        id: &'a ResourceId,
    ) -> EdgeFuture<'a, Result<Option<PublishedResource>, Undecided>> {
        let id = id.clone();
        self.run(move |shared| async move { shared.resource(&id).await })
    }

    fn changes<'a>(
        &'a self,
        position: Option<&'a FeedPosition>,
    ) -> EdgeFuture<'a, Result<Feed, Undecided>> {
        let position = position.map(|FeedPosition(token)| token.clone());
        self.run(move |shared| async move { shared.changes(position).await })
    }

    fn packages(&self) -> EdgeFuture<'_, Result<HashMap<String, PackageId>, Undecided>> {
        self.run(|shared| async move { shared.packages().await })
    }

    fn access_lists<'a>(
        &'a self,
        owner: &'a str,
    ) -> EdgeFuture<'a, Result<AccessLists, Undecided>> {
        let owner = owner.to_owned();
        self.run(move |shared| async move { shared.access_lists(&owner).await })
    }
}

/// The address below `base`; segments are escaped as they must be.
pub(super) fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn page_of(mut url: Url, limit: bool, token: Option<&str>) -> Url {
    if limit {
        url.query_pairs_mut().append_pair("limit", PAGE);
    }
    if let Some(token) = token {
        url.query_pairs_mut().append_pair("token", token);
    }
    url
}

impl Shared {
    async fn parties(
        &self,
        system_user: SystemUserId,
        wanted: Arc<Wanted>,
        call: Call,
    ) -> Result<Vec<PartyRights>, Undecided> {
        // No filter: one of unknown parties only is no filter at all (contract sync.md §5).
        let body = serde_json::json!({
            "type": "urn:altinn:systemuser:uuid", "value": system_user.to_string(),
        });
        let ask = Ask {
            endpoint: Endpoint::Parties,
            call,
            url: self.calls.altinn.parties_url.clone(),
            accept: "application/json",
            bearer: true,
            body: Some(body.to_string().into()),
            absent: &[],
            time: self.large,
        };
        let (check, limit) = (self.check, authorized_parties::MAX_ANSWER_BYTES);
        let read = |body: Body| {
            let parse = move |chunks| read_parties(chunks, &wanted, check);
            body.parsed(&self.calls.runtime, JSON, limit, parse)
        };
        let Told { parties, ignored } = present(self.calls.make(&ask, read).await?)?;
        let count = |kind, number| {
            self.calls.metrics.altinn_ignored.with_label_values(&[kind]).inc_by(number);
        };
        count("package", ignored.packages);
        count("resource", ignored.resources);
        count("number", ignored.numbers);
        Ok(parties)
    }

    /// Metadata first: without them a policy says nothing about access lists.
    async fn resource(&self, id: &ResourceId) -> Result<Option<PublishedResource>, Undecided> {
        let base = &self.calls.altinn.resource_url;
        let ask =
            self.anonymous(Endpoint::Resource, below(base, &[id.as_str()]), "application/json");
        let metadata = self.calls.make(&ask, async |body: Body| {
            let bytes = body.whole(JSON, registry::MAX_ANSWER_BYTES).await?;
            Ok(registry::read_metadata(&bytes, id)?)
        });
        let Some(access_list) = metadata.await? else { return Ok(None) };
        let ask = self.anonymous(
            Endpoint::Resource,
            below(base, &[id.as_str(), "policy"]),
            "text/xml, application/xml;q=0.9",
        );
        let policy = self.calls.make(&ask, async |body: Body| {
            let policy = body.whole(XML, registry::MAX_ANSWER_BYTES).await?;
            if policy.is_empty() { Err(Cause::Unreadable) } else { Ok(policy) }
        });
        let policy = policy.await?;
        Ok(policy.map(|policy| PublishedResource { policy: policy.into(), access_list }))
    }

    /// A position that the registry does not take any more is forgotten: the feed is read anew.
    async fn changes(&self, position: Option<String>) -> Result<Feed, Undecided> {
        let url = below(&self.calls.altinn.resource_url, &["changes"]);
        let ask = |token: Option<&str>| {
            let url = page_of(url.clone(), true, token);
            self.anonymous(Endpoint::Changes, url, "application/json")
        };
        let (mut position, mut first) = (position, None);
        if let Some(token) = &position {
            let absent = &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND];
            let ask = Ask { absent, ..ask(Some(token)) };
            first = self.page(&ask, &registry::read_changes).await?;
        }
        if first.is_none() {
            position = None;
            first = self.page(&ask(None), &registry::read_changes).await?;
        }
        let Some(first) = first else { return Ok(Feed::Absent) };
        let mut pages = Pages::new(position, first, MAX_ITEMS);
        while let Some(token) = pages.next()? {
            let ask = Ask { absent: &[], ..ask(Some(&token)) };
            let page = self.page(&ask, &registry::read_changes).await?;
            pages.push(token, present(page)?)?;
        }
        Ok(Feed::Changes(pages.items, pages.last_token.map(FeedPosition)))
    }

    async fn packages(&self) -> Result<HashMap<String, PackageId>, Undecided> {
        let url = self.calls.altinn.packages_url.clone();
        let ask = self.anonymous(Endpoint::Packages, url, "application/json");
        let ask = Ask { absent: &[], time: self.large, ..ask };
        let limit = packages::MAX_ANSWER_BYTES;
        let read = |body: Body| body.parsed(&self.calls.runtime, JSON, limit, read_packages);
        present(self.calls.make(&ask, read).await?)
    }

    async fn access_lists(&self, owner: &str) -> Result<AccessLists, Undecided> {
        let base = &self.calls.altinn.access_lists_url;
        let lists = self.all(below(base, &[owner]), MAX_LISTS, &registry::read_lists).await?;
        let mut by_resource = AccessLists::new();
        for list in lists.into_iter().collect::<BTreeSet<_>>() {
            let url = below(base, &[owner, &list, "resource-connections"]);
            let connections = self.all(url, MAX_ITEMS, &registry::read_connections).await?;
            let connections: Vec<_> = connections.into_iter().flatten().collect();
            if connections.is_empty() {
                continue;
            }
            let url = below(base, &[owner, &list, "members"]);
            let read = |bytes: &[u8]| registry::read_members(bytes, self.check);
            let members = self.all(url, MAX_ITEMS, &read).await?;
            let mut members: Vec<_> = members.into_iter().flatten().collect();
            members.sort_unstable();
            members.dedup();
            for (resource, actions) in connections {
                let list = AccessList { members: members.clone(), actions };
                by_resource.entry(resource).or_default().push(list);
            }
        }
        Ok(by_resource)
    }

    /// A read that needs no token.
    fn anonymous(&self, endpoint: Endpoint, url: Url, accept: &'static str) -> Ask {
        Ask {
            endpoint,
            call: OWN,
            url,
            accept,
            bearer: false,
            body: None,
            absent: &[StatusCode::NOT_FOUND],
            time: self.small,
        }
    }

    async fn page<T>(
        &self,
        ask: &Ask,
        read: &(impl Fn(&[u8]) -> Result<Page<T>, super::lean::Unreadable> + Sync),
    ) -> Result<Option<Page<T>>, Undecided> {
        let page = self.calls.make(ask, async |body: Body| {
            let bytes = body.whole(JSON, registry::MAX_ANSWER_BYTES).await?;
            Ok(read(&bytes)?)
        });
        page.await
    }

    /// Every page of our own access lists.
    async fn all<T: Send>(
        &self,
        url: Url,
        most: usize,
        read: &(impl Fn(&[u8]) -> Result<Page<T>, super::lean::Unreadable> + Sync),
    ) -> Result<Vec<T>, Undecided> {
        let ask = |token: Option<&str>| {
            let url = page_of(url.clone(), false, token);
            let ask = self.anonymous(Endpoint::AccessLists, url, "application/json");
            Ask { bearer: true, absent: &[], ..ask }
        };
        let first = present(self.page(&ask(None), read).await?)?;
        let mut pages = Pages::new(None, first, most);
        while let Some(token) = pages.next()? {
            let page = present(self.page(&ask(Some(&token)), read).await?)?;
            pages.push(token, page)?;
        }
        Ok(pages.items)
    }
}

/// Where nothing can be absent, that was told as an error already.
fn present<T>(answer: Option<T>) -> Result<T, Undecided> {
    answer.ok_or(Undecided::from(Cause::Unreadable))
}

/// Pages put together: bounded, and none read twice.
struct Pages<T> {
    items: Vec<T>,
    most: usize,
    used: HashSet<String>,
    /// The token with which the last page was read.
    last_token: Option<String>,
    next: Option<String>,
    count: usize,
}

impl<T> Pages<T> {
    fn new(token: Option<String>, first: Page<T>, most: usize) -> Self {
        let used = token.iter().cloned().collect();
        Self { items: first.items, most, used, last_token: token, next: first.next, count: 1 }
    }

    /// The token of the next page to read.
    fn next(&mut self) -> Result<Option<String>, Cause> {
        let Some(token) = self.next.take() else { return Ok(None) };
        self.count += 1;
        let fits = self.count <= MAX_PAGES && self.items.len() <= self.most;
        if fits && self.used.insert(token.clone()) {
            Ok(Some(token))
        } else {
            Err(Cause::Unreadable)
        }
    }

    fn push(&mut self, token: String, page: Page<T>) -> Result<(), Cause> {
        self.items.extend(page.items);
        (self.last_token, self.next) = (Some(token), page.next);
        if self.items.len() > self.most { Err(Cause::Unreadable) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::authorized_parties::tests::{party, wanted};
    use super::*;
    use crate::clock::SystemClock;
    use crate::maskinporten::grant::tests::grant;
    use crate::maskinporten::stub::{Answer, Call, Stub};
    use serde_json::{Value, json};
    use std::num::NonZeroUsize;
    use std::sync::Mutex;
    use std::time::Duration;

    const EXCHANGE: &str = "/authentication/api/v1/exchange/maskinporten";
    const PARTIES: &str = "/accessmanagement/api/v1/resourceowner/authorizedparties";
    const EXPORT: &str = "/accessmanagement/api/v1/meta/info/accesspackages/export";
    const RESOURCE: &str = "/resourceregistry/api/v1/resource/ske-arkiv";
    const POLICY: &str = "/resourceregistry/api/v1/resource/ske-arkiv/policy";
    const CHANGES: &str = "/resourceregistry/api/v1/resource/changes";
    const LISTS: &str = "/resourceregistry/api/v1/access-lists/skd";

    struct World {
        altinn: Stub,
        source: AltinnSource,
        metrics: Arc<Metrics>,
    }

    /// Altinn answers as told; the n-th exchanged token is `altinn.n.token`.
    async fn world(answers: impl Fn(&Call) -> Answer + Clone + Send + Sync + 'static) -> World {
        let granted = r#"{"access_token":"mp.mp.mp","token_type":"Bearer"}"#;
        let (_, grant) = grant(Answer::ok(granted)).await;
        let exchanged = Arc::new(Mutex::new(0));
        let altinn = Stub::start(move |call| {
            if call.path != EXCHANGE {
                return answers(call);
            }
            let mut count = exchanged.lock().unwrap();
            *count += 1;
            Answer::ok(format!("altinn.{}.token", *count - 1))
        })
        .await;
        let number = |number| NonZeroUsize::new(number).unwrap();
        let config = AltinnConfig {
            url: altinn.url.clone(),
            subscription_key: Some("gateway-key".into()),
            requests_per_second: number(1000),
            budget: Duration::from_millis(900),
            // Ten times for a head, five for silence, thirty for the whole of a large answer.
            attempt_timeout: Duration::from_millis(150),
            max_attempts: number(1),
            circuit_failures: number(1000),
            circuit_open_for: Duration::from_secs(1),
            max_in_flight: number(10),
        };
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new().unwrap()));
        let runtime = Handle::current();
        let edge = Arc::new(Altinn::new(&config).unwrap());
        let token =
            OwnToken::new(grant, edge.clone(), clock.clone(), metrics.clone(), runtime.clone());
        let token = Arc::new(token);
        let (per_second, places) = (config.requests_per_second, config.max_in_flight);
        let gate = Gate::new(per_second, places, &metrics, runtime.clone());
        let check = CheckDigits::Required;
        let source = AltinnSource::new(
            &config,
            check,
            edge,
            token,
            gate,
            clock,
            Arc::clone(&metrics),
            runtime,
        );
        World { altinn, source, metrics }
    }

    impl World {
        async fn parties(&self) -> Result<Vec<PartyRights>, Cause> {
            let user = "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1".parse().unwrap();
            let parties = self.source.parties(user, &Arc::new(wanted()), Account::Own).await;
            parties.map_err(|undecided| undecided.cause)
        }

        async fn resource(&self) -> Result<Option<PublishedResource>, Cause> {
            let id = "ske-arkiv".parse().unwrap();
            self.source.resource(&id).await.map_err(|undecided| undecided.cause)
        }

        async fn changes(&self, position: Option<&str>) -> Result<Feed, Cause> {
            let position = position.map(|token| FeedPosition(token.to_owned()));
            self.source.changes(position.as_ref()).await.map_err(|undecided| undecided.cause)
        }

        fn count(&self, endpoint: &str, result: &str) -> u64 {
            self.metrics.altinn_calls.with_label_values(&[endpoint, result]).get()
        }

        fn queries(&self, path: &str) -> Vec<String> {
            let calls = self.altinn.calls().into_iter().filter(|call| call.path == path);
            calls.map(|call| call.query).collect()
        }
    }

    fn one_party() -> String {
        json!([party("310000027", &["lonn", "jordbruk"], &["ske-arkiv"])]).to_string()
    }

    #[tokio::test]
    async fn parties_are_asked_for_without_a_filter_and_with_our_token() {
        let world = world(|_| Answer::json(one_party())).await;
        assert_eq!(world.parties().await.unwrap().len(), 1);
        let call = world.altinn.calls().into_iter().find(|call| call.path == PARTIES).unwrap();
        assert_eq!(call.method, "POST");
        assert_eq!(call.headers["authorization"], "Bearer altinn.0.token");
        assert_eq!(call.headers["ocp-apim-subscription-key"], "gateway-key");
        assert_eq!(
            call.query,
            "includeAccessPackages=true&includeRoles=false&includeResources=true&includeInstances=false"
        );
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let user = "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1";
        assert_eq!(body, json!({ "type": "urn:altinn:systemuser:uuid", "value": user }));
        assert_eq!(world.count("parties", "ok"), 1);
        assert_eq!(world.metrics.altinn_ignored.with_label_values(&["package"]).get(), 1);
        assert_eq!(world.metrics.altinn_in_flight.get(), 0);
    }

    #[tokio::test]
    async fn each_answer_of_authorized_parties_has_one_meaning() {
        let typed = |kind: &str, body: String| {
            Answer::Whole(200, Some(("content-type", kind.to_owned())), body.into_bytes())
        };
        let moved = Some(("location", "/elsewhere".to_owned()));
        let open = one_party().trim_end_matches(']').to_owned();
        let cases = [
            (Answer::json(one_party()), Ok(1)),
            (Answer::json("[]"), Ok(0)),
            (Answer::json(""), Err(Cause::Unreadable)),
            (Answer::json(open.clone()), Err(Cause::Unreadable)),
            (Answer::json(one_party() + "[]"), Err(Cause::Unreadable)),
            (Answer::json("{}"), Err(Cause::Unreadable)),
            (Answer::ok(one_party()), Err(Cause::Unreadable)),
            (typed("text/html", one_party()), Err(Cause::Unreadable)),
            (typed("Application/JSON", one_party()), Ok(1)),
            (Answer::Broken(open.into_bytes()), Err(Cause::Unreachable)),
            (Answer::Broken(one_party().into_bytes()), Err(Cause::Unreachable)),
            (Answer::Stalled(one_party().into_bytes()), Err(Cause::TimedOut)),
            (Answer::Never, Err(Cause::TimedOut)),
            (Answer::status(204), Err(Cause::ErrorStatus)),
            (Answer::Whole(307, moved, one_party().into_bytes()), Err(Cause::ErrorStatus)),
            (Answer::status(400), Err(Cause::ErrorStatus)),
            (Answer::status(403), Err(Cause::OwnCredentials)),
            (Answer::status(404), Err(Cause::ErrorStatus)),
            (Answer::status(500), Err(Cause::ErrorStatus)),
        ];
        for (given, expected) in cases {
            let label: String = format!("{given:?}").chars().take(80).collect();
            let world = world(move |_| given.clone()).await;
            assert_eq!(world.parties().await.map(|parties| parties.len()), expected, "{label}");
            assert_eq!(world.altinn.calls_to(PARTIES), 1, "{label}");
            let result = expected.err().map_or("ok", Cause::label);
            assert_eq!(world.count("parties", result), 1, "{label}");
        }
    }

    #[tokio::test]
    async fn an_agent_with_ten_thousand_clients_is_read_whole() {
        let numbers: Vec<String> = (100_000_000..)
            .map(|number: u32| number.to_string())
            .filter(|number| number.parse::<crate::domain::party::OrgNumber>().is_ok())
            .take(10_000)
            .collect();
        let party = party("N", &["lonn"], &[]).to_string();
        let parties: Vec<_> =
            numbers.iter().map(|number| party.replace("\"N\"", &format!("\"{number}\""))).collect();
        let answer = format!("[{}]", parties.join(","));
        assert!(answer.len() > 4_000_000);
        let world = world(move |_| Answer::json(answer.clone())).await;
        let told = world.parties().await.unwrap();
        assert!(
            told.iter().map(|rights| rights.party.as_str()).eq(numbers.iter().map(String::as_str))
        );
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let world = world(|_| Answer::Endless).await;
        let cause = world.parties().await.unwrap_err();
        assert!(matches!(cause, Cause::Unreadable | Cause::TimedOut), "{cause:?}");
        assert_eq!(world.metrics.altinn_in_flight.get(), 0);
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let world = world(|call| {
            let old = call.headers["authorization"] == "Bearer altinn.0.token";
            if old { Answer::status(401) } else { Answer::json("[]") }
        })
        .await;
        assert_eq!(world.parties().await, Ok(vec![]));
        assert_eq!((world.altinn.calls_to(PARTIES), world.altinn.calls_to(EXCHANGE)), (2, 2));
        let world = self::world(|_| Answer::status(401)).await;
        assert_eq!(world.parties().await, Err(Cause::OwnCredentials));
        assert_eq!((world.altinn.calls_to(PARTIES), world.altinn.calls_to(EXCHANGE)), (2, 2));
        assert_eq!(world.count("parties", "own_credentials"), 2);
    }

    #[tokio::test]
    async fn a_pause_that_one_endpoint_asks_for_binds_them_all() {
        let busy = Answer::Whole(429, Some(("retry-after", "120".into())), Vec::new());
        let world = world(move |_| busy.clone()).await;
        assert_eq!(world.parties().await, Err(Cause::Throttled));
        let refused = world.source.packages().await.unwrap_err();
        assert_eq!(refused.cause, Cause::Throttled);
        assert!(refused.retry_after.unwrap() > Duration::from_secs(100));
        assert_eq!(world.altinn.calls_to(EXPORT), 0);
    }

    fn metadata(mode: &str) -> String {
        json!({ "identifier": "ske-arkiv", "accessListMode": mode }).to_string()
    }

    fn xml(text: &str) -> Answer {
        Answer::Whole(200, Some(("content-type", "text/xml".to_owned())), text.into())
    }

    #[tokio::test]
    async fn a_resource_is_its_metadata_and_its_policy_read_without_a_token() {
        type Expected = Result<Option<bool>, Cause>;
        let long = " ".repeat(registry::MAX_ANSWER_BYTES + 1);
        let cases: [(Answer, Answer, Expected); 12] = [
            (Answer::json(metadata("Disabled")), xml("<p/>"), Ok(Some(false))),
            (Answer::json(metadata("Enabled")), xml("<p/>"), Ok(Some(true))),
            (Answer::status(404), xml("<p/>"), Ok(None)),
            (Answer::json(metadata("Disabled")), Answer::status(404), Ok(None)),
            (Answer::json(metadata("Disabled")), xml(""), Err(Cause::Unreadable)),
            (Answer::json(metadata("Disabled")), xml(&long), Err(Cause::Unreadable)),
            (Answer::json(metadata("Disabled")), Answer::json("<p/>"), Err(Cause::Unreadable)),
            (Answer::json(metadata("Disabled")), Answer::status(500), Err(Cause::ErrorStatus)),
            (Answer::json(metadata("?")), xml("<p/>"), Err(Cause::Unreadable)),
            (Answer::ok(metadata("Disabled")), xml("<p/>"), Err(Cause::Unreadable)),
            (Answer::json(long.clone()), xml("<p/>"), Err(Cause::Unreadable)),
            (Answer::status(401), xml("<p/>"), Err(Cause::OwnCredentials)),
        ];
        for (metadata, policy, expected) in cases {
            let label: String = format!("{metadata:?} {policy:?}").chars().take(200).collect();
            let world = world(move |call| match call.path.as_str() {
                RESOURCE => metadata.clone(),
                POLICY => policy.clone(),
                _ => Answer::Never,
            })
            .await;
            let resource = world.resource().await;
            assert_eq!(resource.map(|it| it.map(|it| it.access_list)), expected, "{label}");
            for call in world.altinn.calls() {
                assert_eq!(call.headers.get("authorization"), None);
                assert_eq!(call.headers["ocp-apim-subscription-key"], "gateway-key");
            }
        }
    }

    /// Pages of one change each: the token is the number of the page.
    fn feed(pages: usize) -> impl Fn(&Call) -> Answer + Clone {
        move |call| {
            let token = call.query.split('&').find_map(|pair| pair.strip_prefix("token="));
            let Ok(page) = token.unwrap_or("0").parse::<usize>() else {
                return Answer::status(400);
            };
            let next =
                format!("https://internal.example:8443/changes?limit=1000&token={}", page + 1);
            let links = if page < pages { json!({ "next": next }) } else { json!({}) };
            let change = json!({ "resourceId": format!("r{page}"), "changedAt": "t" });
            Answer::json(json!({ "links": links, "data": [change] }).to_string())
        }
    }

    fn told(feed: &Feed) -> (usize, Option<&str>) {
        let Feed::Changes(changes, position) = feed else { panic!("no feed") };
        (changes.len(), position.as_ref().map(|FeedPosition(token)| token.as_str()))
    }

    #[tokio::test]
    async fn the_feed_is_read_to_its_end_and_goes_on_from_its_last_page() {
        let whole = world(feed(3)).await;
        assert_eq!(told(&whole.changes(None).await.unwrap()), (4, Some("3")));
        let queries =
            ["limit=1000", "limit=1000&token=1", "limit=1000&token=2", "limit=1000&token=3"];
        assert_eq!(whole.queries(CHANGES), queries);
        assert_eq!(told(&whole.changes(Some("3")).await.unwrap()), (1, Some("3")));
        // A position that is not taken any more: from the beginning.
        assert_eq!(told(&whole.changes(Some("old")).await.unwrap()), (4, Some("3")));
        let short = world(feed(0)).await;
        assert_eq!(told(&short.changes(None).await.unwrap()), (1, None));
    }

    #[tokio::test]
    async fn a_feed_that_is_absent_is_told_from_one_that_cannot_be_read() {
        let page = |token: &str| {
            let links = json!({ "next": format!("/changes?token={token}") });
            Answer::json(json!({ "links": links, "data": [] }).to_string())
        };
        let absent = world(|_| Answer::status(404)).await;
        assert_eq!(absent.changes(None).await, Ok(Feed::Absent));
        assert_eq!(absent.changes(Some("7")).await, Ok(Feed::Absent));
        let looping = world(move |_| page("7")).await;
        assert_eq!(looping.changes(None).await, Err(Cause::Unreadable));
        assert_eq!(looping.changes(Some("7")).await, Err(Cause::Unreadable));
        let endless = world(feed(usize::MAX)).await;
        assert_eq!(endless.changes(None).await, Err(Cause::Unreadable));
        assert_eq!(endless.altinn.calls_to(CHANGES), MAX_PAGES);
        let lost =
            world(
                move |call: &Call| {
                    if call.query.contains("token") { Answer::status(404) } else { page("7") }
                },
            )
            .await;
        assert_eq!(lost.changes(None).await, Err(Cause::ErrorStatus), "not the first page");
        let broken = world(|_| Answer::json("{}")).await;
        assert_eq!(broken.changes(None).await, Err(Cause::Unreadable));
    }

    #[tokio::test]
    async fn an_empty_catalogue_is_no_catalogue() {
        let packages = |body: &'static str| async move {
            let world = world(move |_| Answer::json(body)).await;
            world.source.packages().await.map_err(|undecided| undecided.cause)
        };
        let one = r#"[{"areas":[{"packages":[{"urn":"urn:altinn:accesspackage:lonn"}]}]}]"#;
        assert_eq!(packages(one).await.unwrap()["lonn"].as_str(), "lonn");
        assert_eq!(packages("[]").await, Err(Cause::Unreadable));
        let world = world(|_| Answer::status(204)).await;
        assert_eq!(world.source.packages().await.unwrap_err().cause, Cause::ErrorStatus);
    }

    #[tokio::test]
    async fn access_lists_are_read_page_by_page_and_by_resource() {
        const MEMBER: &str = "urn:altinn:organization:identifier-no";
        let world = world(|call| {
            let member =
                |number: &str| json!({ "identifiers": { MEMBER: format!("{MEMBER}:{number}") } });
            let list = |id: &str| json!({ "identifier": id });
            let (data, next) = match (call.path.strip_prefix(LISTS).unwrap(), call.query.as_str()) {
                ("", "") => (json!([list("b"), list("a")]), Some("2")),
                ("", _) => (json!([list("unused")]), None),
                ("/a/members", "") => {
                    (json!([member("310000507"), member("310000028")]), Some("2"))
                }
                ("/a/members", _) => (json!([member("310000027"), member("310000507")]), None),
                ("/b/members", _) => (json!([member("310000604")]), None),
                ("/a/resource-connections", _) => (
                    json!([{ "resourceIdentifier": "ske-arkiv", "actionFilters": ["read"] }]),
                    None,
                ),
                ("/b/resource-connections", _) => (
                    json!([{ "resourceIdentifier": "ske-arkiv" },
                        { "resourceIdentifier": "ske-mva-melding", "actionFilters": [] }]),
                    None,
                ),
                _ => (json!([]), None),
            };
            assert_eq!(call.headers["authorization"], "Bearer altinn.0.token");
            let next = next.map(|token| format!("http://internal/?token={token}"));
            Answer::json(json!({ "links": { "next": next }, "data": data }).to_string())
        })
        .await;
        let lists = world.source.access_lists("skd").await.unwrap();
        let list = |members: &[&str], actions: Option<&str>| AccessList {
            members: members.iter().map(|number| number.parse().unwrap()).collect(),
            actions: actions.map(|action| [action.parse().unwrap()].into()),
        };
        let expected: AccessLists = [
            (
                "ske-arkiv",
                vec![list(&["310000027", "310000507"], Some("read")), list(&["310000604"], None)],
            ),
            ("ske-mva-melding", vec![list(&["310000604"], None)]),
        ]
        .map(|(id, lists)| (id.parse().unwrap(), lists))
        .into();
        assert_eq!(lists, expected);
        assert_eq!(world.altinn.calls_to(&format!("{LISTS}/unused/members")), 0);
    }

    #[tokio::test]
    async fn one_page_that_cannot_be_read_spoils_the_lists() {
        for path in ["", "/a/members", "/a/resource-connections"] {
            for spoilt in [Answer::status(404), Answer::json("{}"), Answer::Never] {
                let spoilt_too = spoilt.clone();
                let world = world(move |call| {
                    let part = call.path.strip_prefix(LISTS).unwrap();
                    let data = match part {
                        _ if part == path => return spoilt_too.clone(),
                        "" => json!([{ "identifier": "a" }]),
                        "/a/resource-connections" => json!([{ "resourceIdentifier": "ske-arkiv" }]),
                        _ => json!([]),
                    };
                    Answer::json(json!({ "links": {}, "data": data }).to_string())
                })
                .await;
                assert!(world.source.access_lists("skd").await.is_err(), "{path} {spoilt:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_owner_cannot_leave_its_folder() {
        let world = world(|_| Answer::json(r#"{"links":{},"data":[]}"#)).await;
        for owner in ["a/b", "a?b", "..", "%2e%2e"] {
            let _ = world.source.access_lists(owner).await;
        }
        let paths: Vec<_> = world.altinn.calls().into_iter().map(|call| call.path).collect();
        let base = "/resourceregistry/api/v1/access-lists";
        assert!(paths.iter().all(|path| path.starts_with(base) || path == EXCHANGE), "{paths:?}");
        assert!(paths.contains(&format!("{base}/a%2Fb")), "{paths:?}");
    }

    #[tokio::test]
    async fn who_asks_no_longer_holds_nothing() {
        let world = world(|_| Answer::Never).await;
        tokio::select! {
            _ = world.parties() => panic!("no answer comes"),
            () = async {
                while world.altinn.calls_to(PARTIES) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(5);
        while world.metrics.altinn_in_flight.get() > 0 {
            assert!(tokio::time::Instant::now() < until, "the place is free again");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
