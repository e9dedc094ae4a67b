//! After the permit: while an answer or a tunnel goes on, the right is judged again and again, and who has
//! lost it is cut off (threats 15 and 62).
//!
//! Judged is the same question for the same system user, as a new request would be. "Cannot tell" ends it as
//! well as "no": nothing goes on longer than the route lets an answer be old. On a route in shadow all of that is told,
//! and nothing is cut until the route is enforced.

use super::answers::Answers;
use super::authenticate::TokenError;
use super::authorize::{Permit, Refusal, judge};
use super::ports::{KeyError, KeySource, VerificationKey};
use super::rejection::Rejection;
use super::route::{Route, Routes};
use super::{Enforcer, Grant};
use crate::clock::Clock;
use crate::config::{AccessConfig, Freshness, RightConfig, RouteConfig};
use crate::domain::claims::ClaimError;
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::domain::scope::{GrantedScopes, ScopeRule};
use crate::domain::time::UnixTime;
use crate::register::Seen;
use http::{HeaderValue, Method, Uri};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The shortest time between two looks: a route with `max_age: 0s` is not asked for without end.
const LEAST: Duration = Duration::from_secs(1);

/// How often keys and the wall clock are looked at: both may change while we sleep.
const LOOK: Duration = Duration::from_secs(60);

/// Why what went on had to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lapse {
    /// The right is held no longer.
    #[error("the right is held no longer")]
    No(Verdict),
    /// It could not be told whether it still is.
    #[error("it can no longer be told whether the right is held")]
    Unknown(Undecided),
    /// The token has ended.
    #[error("the token has ended")]
    TokenEnded,
    /// The issuer has withdrawn the key of the token.
    #[error("the issuer has withdrawn the token's key")]
    KeyGone,
    /// The configuration was changed, and does not grant it any more.
    #[error("the route does not grant it any more")]
    RouteChanged,
    /// The program is stopping, and streams have had their grace.
    #[error("the server is stopping")]
    Stopping,
}

impl Lapse {
    /// The stable label in audit records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::No(Verdict::NotApplicable) => "no_right",
            Self::No(Verdict::Deny | Verdict::Unmet(_) | Verdict::Permit) => "denied",
            Self::Unknown(_) => "cannot_decide",
            Self::TokenEnded => "expired",
            Self::KeyGone => "unknown_key",
            Self::RouteChanged => "route_changed",
            Self::Stopping => "stopping",
        }
    }
}

/// What was asked for, kept for as long as it goes on.
#[derive(Clone)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The target, as it came.
    pub uri: Uri,
}

/// What is watched, and how.
pub struct Vigil {
    again: Option<Again>,
    token: Option<Held>,
    route: RouteHeld,
    standing: Standing,
    clock: Arc<dyn Clock>,
}

/// The routes as the newest configuration has them: what goes on is held to these, whichever it began with. A clone
/// follows the same configurations.
#[derive(Clone, Debug)]
pub struct Newest(Arc<watch::Sender<Rules>>);

/// What a route grants, and how often that is judged again.
#[derive(Debug, Default)]
struct Rules {
    routes: Option<Arc<Routes>>,
    answers: Option<Arc<Answers>>,
}

impl Default for Newest {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Rules::default())))
    }
}

impl Newest {
    /// From now on what goes on is held to these routes and answers.
    pub fn publish(&self, routes: Arc<Routes>, answers: Option<Arc<Answers>>) {
        self.0.send_replace(Rules { routes: Some(routes), answers });
    }
}

/// What goes on, and the routes that it is held to.
#[derive(Clone)]
struct Standing {
    newest: watch::Receiver<Rules>,
    route: Arc<Route>,
    asked: Asked,
    going: Going,
}

impl Standing {
    /// The same route as it is now; `None` when a new request would have another, or none.
    fn now<'r>(&'r self, rules: &'r Rules) -> Option<&'r RouteConfig> {
        let before = &self.route.config;
        // Nothing was ever changed.
        let Some(routes) = &rules.routes else { return Some(before) };
        let now = &routes.of(&self.asked.method, self.asked.uri.path())?.config;
        (now.id == before.id && now.path == before.path).then_some(now)
    }

    /// As [`Standing::now`], where the route still allows what a tunnel speaks.
    fn served<'r>(&'r self, rules: &'r Rules) -> Option<&'r RouteConfig> {
        self.now(rules).filter(|now| match &self.going {
            Going::Answer => true,
            Going::Tunnel(protocol) => {
                let is = |name: &String| protocol.as_bytes().eq_ignore_ascii_case(name.as_bytes());
                now.upgrades.iter().any(is)
            }
        })
    }

    /// Whether a new request would get it whoever asked, since the route is in shadow.
    fn in_shadow(&self) -> bool {
        self.served(&self.newest.borrow()).is_some_and(RouteConfig::in_shadow)
    }

    /// Ends when it is not any more.
    async fn out_of_shadow(mut self) {
        self.newest.mark_unchanged();
        while self.in_shadow() {
            if self.newest.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// The route that it was granted by, and what it was granted to.
struct RouteHeld {
    standing: Standing,
    scopes: Option<GrantedScopes>,
    /// Nobody was found to hold anything: it was let through in shadow.
    unproven: bool,
}

impl RouteHeld {
    /// Ends when the route is gone, or would not grant the same any more.
    async fn lapse(mut self) -> Lapse {
        while self.is_granted() {
            if self.standing.newest.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        Lapse::RouteChanged
    }

    fn is_granted(&mut self) -> bool {
        self.standing.newest.mark_unchanged();
        let rules = self.standing.newest.borrow();
        let Some(now) = self.standing.served(&rules) else { return false };
        if self.unproven {
            return now.in_shadow() || matches!(now.access, AccessConfig::Anonymous);
        }
        let meets = |rule: &ScopeRule| {
            self.scopes.as_ref().is_some_and(|scopes| rule.check(scopes).is_ok())
        };
        match (&self.standing.route.config.access, &now.access) {
            (_, AccessConfig::Anonymous) => true,
            (AccessConfig::Anonymous, _) | (AccessConfig::Scopes(_), AccessConfig::Right(_)) => {
                false
            }
            (_, AccessConfig::Scopes(rule)) => meets(rule),
            (AccessConfig::Right(old), AccessConfig::Right(new)) => {
                asks_the_same(old, new) && meets(&new.scopes)
            }
        }
    }
}

/// Whether the same request leads to the same question.
fn asks_the_same(old: &RightConfig, new: &RightConfig) -> bool {
    old.right == new.right && old.party == new.party && old.instance == new.instance
}

/// The token that it was granted to.
struct Held {
    standing: Standing,
    ends: UnixTime,
    key: Arc<VerificationKey>,
    keys: Arc<dyn KeySource>,
}

struct Again {
    answers: Arc<Answers>,
    question: Question,
    seen: Seen,
    standing: Standing,
    since: Instant,
    budget: Duration,
}

/// What goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Going {
    /// The answer to one request: a download may outlive its token unless its route says otherwise.
    Answer,
    /// A tunnel of this protocol, which can carry any number of requests: it ends with its token unless its
    /// route says otherwise.
    Tunnel(HeaderValue),
}

impl Enforcer {
    /// Watches over what was granted at `since`.
    #[must_use]
    pub fn vigil(&self, grant: &Grant, asked: &Asked, going: Going, since: Instant) -> Vigil {
        let newest = self.newest.0.subscribe();
        let (route, asked) = (Arc::clone(grant.route()), asked.clone());
        let standing = Standing { newest, route, asked, going };
        let leeway = self.authenticator.leeway();
        let token = grant.token().map(|token| Held {
            standing: standing.clone(),
            ends: token.claims.expires.saturating_add(leeway),
            key: Arc::clone(token.key()),
            keys: Arc::clone(self.authenticator.keys()),
        });
        let again = match grant {
            Grant::Right(permit) => self.again(permit, standing.clone(), since),
            Grant::Scopes(_) | Grant::Anonymous(_) | Grant::Shadow(_) => None,
        };
        let scopes = grant.token().map(|token| token.claims.scopes.clone());
        let unproven = matches!(grant, Grant::Shadow(_));
        let route = RouteHeld { standing: standing.clone(), scopes, unproven };
        Vigil { again, token, route, standing, clock: Arc::clone(self.authenticator.clock()) }
    }

    fn again(&self, permit: &Permit, standing: Standing, since: Instant) -> Option<Again> {
        Some(Again {
            answers: Arc::clone(self.answers.as_ref()?),
            question: permit.question().clone(),
            seen: permit.seen(),
            standing,
            since,
            budget: self.budget,
        })
    }
}

impl Vigil {
    /// Ends when what was granted must end; never, where nothing can end it. What would have ended it on a route in shadow
    /// is told to `outlived`, at most once, and ends it only when the route is enforced, or gone.
    pub async fn lapse(self, outlived: impl FnOnce(Lapse)) -> Lapse {
        let standing = self.standing.clone();
        let lapse = self.judged().await;
        if standing.in_shadow() {
            outlived(lapse);
            standing.out_of_shadow().await;
        }
        lapse
    }

    async fn judged(self) -> Lapse {
        let Self { again, token, route, standing: _, clock } = self;
        let right = async {
            match again {
                Some(again) => again.lapse().await,
                None => std::future::pending().await,
            }
        };
        let token = async {
            match token {
                Some(token) => token.lapse(&*clock).await,
                None => std::future::pending().await,
            }
        };
        // Of several at the same moment, that which asks nobody.
        tokio::select! {
            biased;
            lapse = token => lapse,
            lapse = route.lapse() => lapse,
            lapse = right => lapse,
        }
    }
}

impl Held {
    async fn lapse(mut self, clock: &dyn Clock) -> Lapse {
        loop {
            match self.keys.find(&self.key.key_id) {
                Ok(key) if Arc::ptr_eq(&key, &self.key) => {}
                Ok(_) | Err(KeyError::Unknown) => return Lapse::KeyGone,
                Err(KeyError::Unavailable) => return Lapse::Unknown(Cause::NoKeys.into()),
            }
            let left = if self.ends_with_token() { clock.now().until(self.ends) } else { LOOK };
            if left.is_zero() {
                return Lapse::TokenEnded;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(left.min(LOOK)) => {}
                Ok(()) = self.standing.newest.changed() => {}
            }
        }
    }

    /// As the newest configuration says of its route. Where that is gone, it is ended elsewhere.
    fn ends_with_token(&self) -> bool {
        let rules = self.standing.newest.borrow();
        let said = self.standing.now(&rules).and_then(|route| route.streams.end_with_token);
        said.unwrap_or(matches!(self.standing.going, Going::Tunnel(_)))
    }
}

impl Again {
    async fn lapse(self) -> Lapse {
        let mut newest = self.standing.newest.clone();
        let mut last = self.since;
        loop {
            let Some((_, _, every)) = self.rules() else { return Lapse::RouteChanged };
            let due = (last + every).max(Instant::now());
            tokio::select! {
                biased;
                // It may be due sooner by the new ones.
                Ok(()) = newest.changed() => continue,
                () = tokio::time::sleep_until(due) => {}
            }
            last = due;
            let Some((answers, freshness, _)) = self.rules() else { return Lapse::RouteChanged };
            let judged = judge(&self.question, &answers, freshness, &self.seen, self.budget).await;
            match judged {
                Ok(_) => {}
                Err(Refusal::No(verdict)) => return Lapse::No(verdict),
                Err(Refusal::Undecided(undecided)) => return Lapse::Unknown(undecided),
            }
        }
    }
}

impl Again {
    /// What it is judged by now: the newest configuration, or the one that it began with if there was no other.
    fn rules(&self) -> Option<(Arc<Answers>, Freshness, Duration)> {
        let rules = self.standing.newest.borrow();
        let route = self.standing.now(&rules)?;
        let answers = if rules.routes.is_some() { rules.answers.as_ref()? } else { &self.answers };
        // A route that asks for no right any more is looked at elsewhere.
        let right = route.right().or(self.standing.route.config.right())?;
        let freshness = right.freshness(&self.standing.asked.method);
        let every = route.streams.recheck.unwrap_or(freshness.max_age).max(LEAST);
        Some((Arc::clone(answers), freshness, every))
    }
}

impl Lapse {
    /// What a caller is told to whom nothing was said yet: "cannot tell" is no "no" here either.
    #[must_use]
    pub fn into_rejection(self) -> Rejection {
        match self {
            Self::No(_) | Self::RouteChanged | Self::Stopping => Rejection::Lapsed(self),
            Self::Unknown(undecided) => Rejection::Undecided(undecided),
            Self::TokenEnded => TokenError::Claim(ClaimError::Expired).into(),
            Self::KeyGone => TokenError::UnknownKey.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Enforcement;
    use crate::domain::resource::Right;
    use crate::enforce::ports::EdgeFuture;
    use crate::enforce::test_support::anonymous_route;

    const PATH: &str = "/v1/parties/{party}/returns/{id}";
    const TARGET: &str = "/v1/parties/310000507/returns/7";

    /// A route with a right that anybody with a token meets, as a socket and as an answer.
    fn with_right() -> RouteConfig {
        let fresh = Freshness {
            fresh_for: Duration::ZERO,
            max_age: Duration::ZERO,
            outage_grace: Duration::ZERO,
        };
        let right =
            Right { resource: "ex-returns".parse().unwrap(), action: "read".parse().unwrap() };
        let right = RightConfig {
            scopes: ScopeRule { all_of: Vec::new(), any_of: Vec::new() },
            right,
            party: crate::config::PartyConfig { path: Some("party".into()), ..Default::default() },
            instance: Some("id".into()),
            read: fresh,
            write: fresh,
        };
        RouteConfig {
            access: AccessConfig::Right(right),
            upgrades: vec!["websocket".into()],
            ..anonymous_route("read", "GET", PATH)
        }
    }

    fn standing(newest: &Newest, config: RouteConfig, going: Going) -> Standing {
        let asked = Asked { method: Method::GET, uri: TARGET.parse().unwrap() };
        let routes = Routes::new(vec![config]).unwrap();
        let route = Arc::clone(routes.of(&asked.method, asked.uri.path()).unwrap());
        Standing { newest: newest.0.subscribe(), route, asked, going }
    }

    /// Whether what `going` began with the route goes on with those.
    fn goes_on(going: Going, routes: Vec<RouteConfig>) -> bool {
        let newest = Newest::default();
        let standing = standing(&newest, with_right(), going);
        let scopes = Some(GrantedScopes::default());
        let mut held = RouteHeld { standing, scopes, unproven: false };
        assert!(held.is_granted(), "before any change");
        newest.publish(Arc::new(Routes::new(routes).unwrap()), None);
        held.is_granted()
    }

    fn changed(change: impl FnOnce(&mut RouteConfig, &mut RightConfig)) -> Vec<RouteConfig> {
        let mut route = with_right();
        let AccessConfig::Right(mut right) = route.access.clone() else { unreachable!() };
        change(&mut route, &mut right);
        route.access = AccessConfig::Right(right);
        vec![route]
    }

    #[test]
    fn what_a_new_request_would_not_get_does_not_go_on() {
        let same = || changed(|_, _| ());
        let with = |path: &str| [same(), vec![anonymous_route("other", "GET", path)]].concat();
        let scope = |name: &str| vec![name.parse().unwrap()];
        let cases = [
            ("the same", same(), true),
            ("no route", Vec::new(), false),
            ("another id", changed(|route, _| route.id = "other".into()), false),
            ("another method", changed(|route, _| route.methods = vec![Method::POST]), false),
            (
                "another upstream is that of new ones",
                changed(|route, _| route.upstream = "b".into()),
                true,
            ),
            (
                "another right",
                changed(|_, right| right.right.action = "write".parse().unwrap()),
                false,
            ),
            ("another party", changed(|_, right| right.party.path = Some("id".into())), false),
            ("another instance", changed(|_, right| right.instance = Some("party".into())), false),
            ("no instance", changed(|_, right| right.instance = None), false),
            ("a scope it lacks", changed(|_, right| right.scopes.all_of = scope("a:b")), false),
            ("a wider route beside it", with("/v1/*"), true),
            ("a narrower one elsewhere", with("/v1/parties/{party}/returns/8"), true),
            ("a narrower one in its place", with("/v1/parties/{party}/returns/7"), false),
        ];
        for (what, routes, expected) in cases {
            for going in [Going::Answer, Going::Tunnel(HeaderValue::from_static("WebSocket"))] {
                assert_eq!(goes_on(going.clone(), routes.clone()), expected, "{what}: {going:?}");
            }
        }
    }

    #[test]
    fn a_tunnel_does_not_outlive_the_upgrade_of_its_route() {
        let without = changed(|route, _| route.upgrades = vec!["other".into()]);
        let websocket = || Going::Tunnel(HeaderValue::from_static("websocket"));
        assert!(!goes_on(websocket(), without.clone()));
        assert!(goes_on(Going::Answer, without), "an answer has nothing to do with it");
    }

    fn in_shadow(mut routes: Vec<RouteConfig>) -> Vec<RouteConfig> {
        for route in &mut routes {
            route.enforcement = Enforcement::Shadow;
        }
        routes
    }

    #[test]
    fn what_went_through_in_shadow_goes_on_for_as_long_as_a_new_request_would() {
        let open = || changed(|route, _| route.id = "read".into());
        let anonymous = || {
            let mut routes = open();
            routes[0].access = AccessConfig::Anonymous;
            routes
        };
        let other_right = || changed(|_, right| right.right.action = "write".parse().unwrap());
        for (what, routes, expected) in [
            ("in shadow", in_shadow(open()), true),
            ("in shadow, with other demands", in_shadow(other_right()), true),
            ("open to all", anonymous(), true),
            ("enforced", open(), false),
            ("gone", Vec::new(), false),
            ("another", in_shadow(changed(|route, _| route.id = "other".into())), false),
            ("no upgrade", in_shadow(changed(|route, _| route.upgrades = Vec::new())), false),
        ] {
            let newest = Newest::default();
            let begun = in_shadow(changed(|_, _| ())).remove(0);
            let going = Going::Tunnel(HeaderValue::from_static("websocket"));
            let standing = standing(&newest, begun, going);
            let mut held = RouteHeld { standing, scopes: None, unproven: true };
            assert!(held.is_granted(), "{what}: before any change");
            newest.publish(Arc::new(Routes::new(routes).unwrap()), None);
            assert_eq!(held.is_granted(), expected, "{what}");
        }
    }

    /// A tunnel that began in shadow, whose token ends after twenty minutes.
    fn ending_tunnel(newest: &Newest) -> Vigil {
        let key = Arc::new(VerificationKey {
            key_id: "a".into(),
            algorithm: None,
            key: crate::enforce::signature::PublicKey::unused(),
        });
        let begun = in_shadow(changed(|_, _| ())).remove(0);
        let standing =
            standing(newest, begun, Going::Tunnel(HeaderValue::from_static("websocket")));
        let keys: Arc<dyn KeySource> = Arc::new(Keys(Arc::clone(&key)));
        let ends = UnixTime::from_seconds(20 * 60);
        let token = Held { standing: standing.clone(), ends, key, keys };
        let scopes = Some(GrantedScopes::default());
        let route = RouteHeld { standing: standing.clone(), scopes, unproven: false };
        let clock = Arc::new(Since(Instant::now()));
        Vigil { again: None, token: Some(token), route, standing, clock }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lapse_in_shadow_is_told_once_and_ends_nothing_before_the_route_does() {
        let minute = Duration::from_secs(60);
        let same = || changed(|_, _| ());
        for (what, after, ends) in [
            ("enforced", same(), true),
            ("gone", Vec::new(), true),
            ("no upgrade", in_shadow(changed(|route, _| route.upgrades = Vec::new())), true),
            ("in shadow still", in_shadow(same()), false),
        ] {
            let (newest, told) = (Newest::default(), std::cell::Cell::new(Vec::new()));
            let note = |lapse| told.set([told.take(), vec![lapse]].concat());
            let lapse = ending_tunnel(&newest).lapse(note);
            tokio::pin!(lapse);
            assert!(tokio::time::timeout(19 * minute, &mut lapse).await.is_err());
            assert_eq!(told.take(), [], "{what}");
            assert!(tokio::time::timeout(11 * minute, &mut lapse).await.is_err(), "{what}");
            assert_eq!(told.take(), [Lapse::TokenEnded], "{what}");
            newest.publish(Arc::new(Routes::new(after).unwrap()), None);
            let ended = tokio::time::timeout(60 * minute, &mut lapse).await;
            assert_eq!(ended.ok(), ends.then_some(Lapse::TokenEnded), "{what}");
            assert_eq!(told.take(), [], "{what}");
        }
    }

    /// The one key.
    struct Keys(Arc<VerificationKey>);

    impl KeySource for Keys {
        fn find(&self, _: &str) -> Result<Arc<VerificationKey>, KeyError> {
            Ok(Arc::clone(&self.0))
        }

        fn fetch<'a>(
            &'a self,
            key_id: &'a str,
        ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>> {
            Box::pin(async move { self.find(key_id) })
        }
    }

    /// The time of the test, from 1970.
    struct Since(Instant);

    impl Clock for Since {
        fn now(&self) -> UnixTime {
            UnixTime::from_seconds(i64::try_from(self.0.elapsed().as_secs()).unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_route_says_whether_it_ends_with_its_token() {
        let minute = Duration::from_secs(60);
        let ending = |says| changed(move |route, _| route.streams.end_with_token = says);
        let tunnel = || Going::Tunnel(HeaderValue::from_static("websocket"));
        // Said at first, said after ten minutes, and whether it then ends with its token: after twenty.
        for (going, before, after, ends) in [
            (Going::Answer, None, Some(true), true),
            (Going::Answer, Some(true), None, false),
            (Going::Answer, Some(true), Some(true), true),
            (tunnel(), None, Some(false), false),
            (tunnel(), Some(false), None, true),
            (tunnel(), Some(false), Some(false), false),
        ] {
            let (newest, begun) = (Newest::default(), Instant::now());
            let key = Arc::new(VerificationKey {
                key_id: "a".into(),
                algorithm: None,
                key: crate::enforce::signature::PublicKey::unused(),
            });
            let route = ending(before).pop().unwrap();
            let held = Held {
                standing: standing(&newest, route, going.clone()),
                ends: UnixTime::from_seconds(20 * 60),
                keys: Arc::new(Keys(Arc::clone(&key))),
                key,
            };
            let clock = Since(begun);
            let lapse = held.lapse(&clock);
            tokio::pin!(lapse);
            assert!(tokio::time::timeout(10 * minute, &mut lapse).await.is_err());
            newest.publish(Arc::new(Routes::new(ending(after)).unwrap()), None);
            let ended = tokio::time::timeout(60 * minute, lapse).await;
            assert_eq!(
                ended.ok(),
                ends.then_some(Lapse::TokenEnded),
                "{going:?} {before:?} {after:?}"
            );
            let at = if ends { 20 * minute } else { 70 * minute };
            assert_eq!(begun.elapsed().as_secs(), at.as_secs());
        }
    }
}
