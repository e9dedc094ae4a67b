//! Step 6: may this system user act for this party?
//!
//! Takes [`Concerned`], gives the [`Permit`] that `forward` needs. Only here is one made. What is known
//! and young enough is used; what is older is asked; and what cannot be asked is used once more, where the
//! route grants that.

use super::answers::{Answers, Known, KnownPermit};
use super::authenticate::{Authenticated, VerifiedToken};
use super::confirmations::Confirmation;
use super::party::Concerned;
use super::ports::Account;
use super::rejection::{DeniedBy, Malformed, Rejection};
use super::route::Route;
use crate::config::Freshness;
use crate::domain::decision::{Cause, Source, Undecided, Verdict};
use crate::domain::party::OrgNumber;
use crate::domain::resource::Question;
use crate::domain::system_user::{Owner, SystemUserId};
use crate::register::{NotDerived, PolicyVersion, Seen};
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// With this field a caller asks for an answer no older than so many seconds; it can only be stricter
/// than the route.
pub const MAX_AGE: HeaderName = HeaderName::from_static("portvakt-max-age");

/// The right is held. Bound to the one system user that holds it.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    token: Arc<VerifiedToken>,
    question: Question,
    evidence: Evidence,
}

/// What a permit rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// Where the answer came from.
    pub source: Source,
    /// How old it was when it was used.
    pub age: Duration,
    /// The policy that it was derived from.
    pub policy: Option<PolicyVersion>,
    /// Why it was not derived; `None` where it was, or where there is no register.
    pub not_derived: Option<NotDerived>,
    /// It was older than the route allows, and used since Altinn could not be asked.
    pub in_grace: bool,
}

impl Permit {
    /// The route it was given for.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The token it was given to.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// What was asked; its system user is the one that holds the right.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// What the token says of the system user.
    pub(super) fn seen(&self) -> Seen {
        let claims = &self.token.claims;
        let user = claims.system_user.as_ref();
        Seen {
            id: self.question.system_user(),
            owner: user.map(|user| user.owner.0),
            system: user.map(|user| user.system.clone()),
            vendor: Some(claims.supplier.map_or(claims.consumer.0, |supplier| supplier.0)),
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }
}

/// A resource without a policy is looked at about every minute.
const NO_POLICY_PAUSE: Duration = Duration::from_secs(60);

/// What a question that ends with its own budget needs to say why.
const GRACE: Duration = Duration::from_millis(50);

/// Looks for a system user of the token that holds the right, in order: first in what is known, then by
/// asking. The first that holds it is bound to the request. All of it takes no longer than `budget`.
///
/// # Errors
/// [`Malformed::MaxAge`]; [`Rejection::Undecided`] when for any of them it could not be told, for "no" would
/// then be a guess; else [`Rejection::Denied`] when any was denied; else [`Rejection::NoRight`].
pub async fn authorize(
    concerned: Concerned<'_>,
    answers: &Answers,
    budget: Duration,
) -> Result<Permit, Rejection> {
    let asked_for = max_age(concerned.scoped.authenticated.routed.admitted.facts.headers)?;
    let judge = Judge {
        answers,
        freshness: stricter(concerned.freshness, asked_for),
        // Who asks for a young answer means all that it rests on.
        policy_max_age: answers.policy_max_age.min(asked_for.unwrap_or(Duration::MAX)),
        account: Account::Vendor(concerned.vendor()),
    };
    let mut refusals = Refusals::default();
    let mut open = Vec::new();
    for id in &concerned.system_user.ids {
        let question = concerned.question(*id);
        match judge.by_what_is_known(&question) {
            Standing::Permit(evidence) => return Ok(concerned.permit(question, evidence)),
            Standing::No(verdict) => refusals.no(question, verdict),
            Standing::Open(known) => {
                if known.not_derived == Some(NotDerived::Unwatched) {
                    answers.watch(*id, || concerned.seen(*id));
                }
                open.push((question, known));
            }
        }
    }
    // What is known took no time.
    let end = Instant::now() + budget + GRACE;
    for (question, known) in open {
        match judge.by_asking(&question, &known, end).await {
            Ok(evidence) => return Ok(concerned.permit(question, evidence)),
            Err(No::Verdict(verdict)) => refusals.no(question, verdict),
            Err(No::Undecided(undecided)) => {
                refusals.undecided = refusals.undecided.or(Some(undecided));
            }
        }
    }
    Err(refusals.into_rejection(concerned.system_user.owner))
}

/// Why one question gave no permit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The PDP said no.
    No(Verdict),
    /// It could not be told.
    Undecided(Undecided),
}

/// Judges one question as [`authorize`] does, without a request: for simulations of many.
///
/// # Errors
/// [`Refusal`], where `authorize` would refuse.
pub async fn judge(
    question: &Question,
    answers: &Answers,
    freshness: Freshness,
    seen: &Seen,
    budget: Duration,
) -> Result<Evidence, Refusal> {
    let end = Instant::now() + budget + GRACE;
    let account = seen.vendor.map_or(Account::Own, Account::Vendor);
    let judge = Judge { answers, freshness, policy_max_age: answers.policy_max_age, account };
    let known = match judge.by_what_is_known(question) {
        Standing::Permit(evidence) => return Ok(evidence),
        Standing::No(verdict) => return Err(Refusal::No(verdict)),
        Standing::Open(known) => known,
    };
    if known.not_derived == Some(NotDerived::Unwatched) {
        answers.watch(seen.id, || seen.clone());
    }
    judge.by_asking(question, &known, end).await.map_err(|no| match no {
        No::Verdict(verdict) => Refusal::No(verdict),
        No::Undecided(undecided) => Refusal::Undecided(undecided),
    })
}

impl Concerned<'_> {
    /// What is asked about one system user of the token.
    pub(super) fn question(&self, id: SystemUserId) -> Question {
        Question::new(id, self.party, self.right.clone(), self.instance.clone())
    }

    /// Who built the system that calls: pays for calls to Altinn.
    fn vendor(&self) -> OrgNumber {
        let claims = &self.scoped.authenticated.token.claims;
        claims.supplier.map_or(claims.consumer.0, |supplier| supplier.0)
    }

    /// What the token says of a system user.
    pub(super) fn seen(&self, id: SystemUserId) -> Seen {
        Seen {
            id,
            owner: Some(self.system_user.owner.0),
            system: Some(self.system_user.system.clone()),
            vendor: Some(self.vendor()),
        }
    }

    fn permit(self, question: Question, evidence: Evidence) -> Permit {
        let Authenticated { routed, token } = self.scoped.authenticated;
        Permit { route: routed.route, token, question, evidence }
    }
}

/// The age that a caller asks for.
fn max_age(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    let mut fields = headers.get_all(MAX_AGE).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    // Digits alone, and so few that every number fits.
    let digits = field.to_str().ok().filter(|text| (1..=9).contains(&text.len()));
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|text| text.parse().ok()).ok_or(Malformed::MaxAge)?;
    if fields.next().is_some() {
        Err(Malformed::MaxAge)
    } else {
        Ok(Some(Duration::from_secs(seconds)))
    }
}

/// A caller may ask for more than the route does, never for less.
fn stricter(route: Freshness, asked_for: Option<Duration>) -> Freshness {
    let most = asked_for.unwrap_or(Duration::MAX);
    Freshness {
        fresh_for: route.fresh_for.min(most),
        max_age: route.max_age.min(most),
        outage_grace: route.outage_grace.min(most),
    }
}

/// What judges the questions of one request.
struct Judge<'a> {
    answers: &'a Answers,
    freshness: Freshness,
    policy_max_age: Duration,
    account: Account,
}

/// Where a question stands before anything was asked.
enum Standing {
    Permit(Evidence),
    No(Verdict),
    Open(Known),
}

/// Why asking gave no permit.
enum No {
    Verdict(Verdict),
    Undecided(Undecided),
}

impl Judge<'_> {
    fn by_what_is_known(&self, question: &Question) -> Standing {
        let known = self.answers.known(question);
        if let Some(permit) = known.permit.filter(|permit| self.is_young_enough(permit)) {
            if permit.age >= self.freshness.fresh_for {
                self.answers.refresh(question, permit.source, self.account);
            }
            if permit.source == Source::Derived {
                self.answers.sample(question);
            }
            return Standing::Permit(permit.evidence(&known, false));
        }
        match known.no {
            Some((verdict, age)) if age < self.answers.no_for.min(self.freshness.max_age) => {
                Standing::No(verdict)
            }
            Some(_) | None => Standing::Open(known),
        }
    }

    fn is_young_enough(&self, permit: &KnownPermit) -> bool {
        let policy = permit.policy.is_none_or(|(_, age)| age <= self.policy_max_age);
        policy && permit.age < self.freshness.max_age
    }

    async fn by_asking(
        &self,
        question: &Question,
        known: &Known,
        end: Instant,
    ) -> Result<Evidence, No> {
        // The PDP remembers policies for ten minutes, and would go on permitting by one that was deleted.
        if known.not_derived == Some(NotDerived::PolicyMissing) {
            let retry_after = Some(NO_POLICY_PAUSE);
            return Err(No::Undecided(Undecided { cause: Cause::NoPolicy, retry_after }));
        }
        let (account, max_age) = (self.account, self.freshness.max_age);
        let stale = |permit: &KnownPermit| permit.age >= self.freshness.fresh_for;
        if let Some(permit) = known.permit.filter(stale)
            && permit.source == Source::Derived
        {
            // Else the answer would be refreshed in its place from now on, one question at a time.
            self.answers.refresh(question, permit.source, account);
        }
        // Boxed: few requests ask, and the others do not carry along what asking needs.
        let asking = Box::pin(self.answers.ask(question, account, max_age, known));
        // One budget for all questions and for every asking again; a single one keeps to it by itself.
        let answer = tokio::time::timeout_at(end, asking).await;
        match answer.unwrap_or(Err(Cause::Busy.into())) {
            Ok(Confirmation { verdict: Verdict::Permit, asked }) => {
                let age = self.answers.ticks.age(asked);
                let not_derived = known.not_derived;
                Ok(Evidence {
                    source: Source::Pdp,
                    age,
                    policy: None,
                    not_derived,
                    in_grace: false,
                })
            }
            Ok(Confirmation { verdict, .. }) => Err(No::Verdict(verdict)),
            Err(undecided) => {
                // As it is now: what was known before may be older, or outdone, since.
                let known = self.answers.known(question);
                let outage = undecided.cause.is_outage();
                let evidence = known.permit.and_then(|permit| {
                    let young = self.is_young_enough(&permit);
                    let usable = young || (outage && self.is_in_grace(&permit));
                    usable.then(|| permit.evidence(&known, !young))
                });
                evidence.ok_or(No::Undecided(undecided))
            }
        }
    }

    /// Whether a permit too old for the route still serves, since Altinn cannot be asked.
    fn is_in_grace(&self, permit: &KnownPermit) -> bool {
        let grace = self.freshness.outage_grace;
        let policy = |(_, age)| age <= self.policy_max_age.max(grace);
        permit.age < grace && permit.policy.is_none_or(policy)
    }
}

impl KnownPermit {
    fn evidence(self, known: &Known, in_grace: bool) -> Evidence {
        let policy = self.policy.map(|(version, _)| version);
        let not_derived = known.not_derived;
        Evidence { source: self.source, age: self.age, policy, not_derived, in_grace }
    }
}

/// The refusals so far, the first of each kind.
#[derive(Default)]
struct Refusals {
    undecided: Option<Undecided>,
    denied: Option<(Question, DeniedBy)>,
    no_right: Option<Question>,
}

impl Refusals {
    fn no(&mut self, question: Question, verdict: Verdict) {
        match verdict {
            Verdict::Deny => {
                self.denied.get_or_insert((question, DeniedBy::Policy));
            }
            Verdict::Unmet(obligation) => {
                self.denied.get_or_insert((question, DeniedBy::Obligation(obligation)));
            }
            Verdict::NotApplicable => {
                self.no_right.get_or_insert(question);
            }
            // A permit returns before it could come here; were it to, it must not open anything.
            Verdict::Permit => {}
        }
    }

    fn into_rejection(self, owner: Owner) -> Rejection {
        match (self.undecided, self.denied, self.no_right) {
            (Some(undecided), _, _) => Rejection::Undecided(undecided),
            (None, Some((question, by)), _) => Rejection::Denied(Box::new(question), by),
            (None, None, Some(question)) => Rejection::NoRight(Box::new(question), owner),
            // The list of ids is never empty, so one of the above is there.
            (None, None, None) => Rejection::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfirmationConfig;
    use crate::domain::delegation::PartyRights;
    use crate::domain::resource::Right;
    use crate::enforce::answers::{Sampler, doubter};
    use crate::enforce::confirmations::Confirmations;
    use crate::enforce::notices::{Notice, Notices};
    use crate::enforce::test_support::{ScriptedPdp, question};
    use crate::register::{self, Limits, PolicyState, Ticks, Writer};
    use std::num::NonZeroUsize;
    use tokio::sync::mpsc;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const ROUTE: Freshness =
        Freshness { fresh_for: MINUTE, max_age: Duration::from_secs(300), outage_grace: HOUR };
    const HOUR: Duration = Duration::from_secs(3600);
    const NOTHING: Result<Verdict, Cause> = Ok(Verdict::NotApplicable);
    const AWAY: Result<Verdict, Cause> = Err(Cause::Unreachable);

    struct Bench {
        answers: Answers,
        writer: Writer,
        pdp: Arc<ScriptedPdp>,
        notices: mpsc::Receiver<Notice>,
    }

    /// `read` opens with `lonn`, `write` with nothing; no system user is watched. The PDP says what the
    /// script says.
    fn bench(script: &[Result<Verdict, Cause>]) -> Bench {
        let (ticks, pdp) = (Ticks::new(), Arc::new(ScriptedPdp::new(script)));
        let rights = ["read", "write"].map(|action| Right {
            resource: question(action).resource().clone(),
            action: action.parse().unwrap(),
        });
        let limits = Limits { max_entries: 10, max_sets: 10 };
        let (mut writer, reader) = register::open(rights.to_vec(), limits, ticks.clone()).unwrap();
        let lonn = "lonn".parse().unwrap();
        let read = PolicyState::Derivable {
            since: None,
            derive: Box::new(move |held| held(&lonn)),
            explain: None,
            version: PolicyVersion(7),
            access: None,
        };
        let write = PolicyState::NotDerivable(NotDerived::PolicyNotUnderstood("function"));
        let [first, second] = rights.map(|right| writer.right_index(&right).unwrap());
        writer.set_policies(vec![(first, read), (second, write)]);
        writer.policies_verified(ticks.now());
        let (notices, receiver) =
            Notices::new(prometheus::IntCounter::new("lost", "lost").unwrap());
        let config =
            ConfirmationConfig { no_for: 5 * SECOND, max_entries: 100, suspicious_for: HOUR };
        let mut confirmations = Confirmations::new(
            Arc::<ScriptedPdp>::clone(&pdp),
            ticks.clone(),
            &config,
            HOUR,
            Box::new(|_, _| {}),
        );
        let notices = Arc::new(notices);
        confirmations.tell_no(doubter(reader.clone(), Arc::clone(&notices)));
        let answers = Answers {
            register: Some(reader),
            confirmations: Arc::new(confirmations),
            notices: Some(notices),
            ticks,
            no_for: 5 * SECOND,
            policy_max_age: 10 * MINUTE,
            sampler: Sampler::new(NonZeroUsize::MAX),
        };
        Bench { answers, writer, pdp, notices: receiver }
    }

    impl Bench {
        /// The system user of the questions is watched, and was read now.
        fn holding(mut self, packages: &[&str]) -> Self {
            self.read(packages);
            // The first derived permit is always a sample.
            let _ = self.answers.known(&question("read"));
            self
        }

        fn read(&mut self, packages: &[&str]) {
            let seen = Seen {
                id: question("read").system_user(),
                owner: Some("310000027".parse().unwrap()),
                system: Some("310000019_regnskap".parse().unwrap()),
                vendor: Some("310000035".parse().unwrap()),
            };
            self.writer.watch(&seen);
            let rights = PartyRights {
                party: "310000027".parse().unwrap(),
                packages: packages.iter().map(|package| package.parse().unwrap()).collect(),
                resources: Vec::new(),
            };
            self.writer.publish(seen.id, self.answers.ticks.now(), vec![rights]);
        }

        async fn judge(&self, action: &str, freshness: Freshness) -> String {
            let account = Account::Vendor("310000035".parse().unwrap());
            let policy_max_age = self.answers.policy_max_age;
            let judge = Judge { answers: &self.answers, freshness, policy_max_age, account };
            let question = question(action);
            let known = match judge.by_what_is_known(&question) {
                Standing::Permit(evidence) => return told(evidence),
                Standing::No(verdict) => return format!("known {verdict:?}"),
                Standing::Open(known) => known,
            };
            match judge.by_asking(&question, &known, Instant::now() + MINUTE).await {
                Ok(evidence) => told(evidence),
                Err(No::Verdict(verdict)) => format!("asked {verdict:?}"),
                Err(No::Undecided(undecided)) => undecided.cause.label().to_owned(),
            }
        }

        async fn read_at(&self, age: Duration) -> String {
            tokio::time::advance(age).await;
            self.judge("read", ROUTE).await
        }

        fn told(&mut self) -> Vec<String> {
            let all = std::iter::from_fn(|| self.notices.try_recv().ok());
            let name = |notice| format!("{notice:?}").split(['(', ' ']).next().unwrap().to_owned();
            all.map(name).filter(|name| name != "Sample").collect()
        }
    }

    fn told(evidence: Evidence) -> String {
        let grace = if evidence.in_grace { " in grace" } else { "" };
        format!("{} {}s{grace}", evidence.source.basis(), evidence.age.as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_derived_permit_is_used_then_used_and_read_anew_then_asked_for() {
        let mut bench = bench(&[Ok(Verdict::Permit)]).holding(&["lonn"]);
        assert_eq!(bench.read_at(59 * SECOND).await, "derived 59s");
        assert!(bench.told().is_empty(), "still fresh");
        assert_eq!(bench.read_at(SECOND).await, "derived 60s");
        assert_eq!(bench.told(), ["Stale"]);
        assert_eq!(bench.read_at(239 * SECOND).await, "derived 299s");
        assert_eq!(bench.pdp.asked(), 0);
        assert_eq!(bench.told(), ["Stale"]);
        assert_eq!(bench.read_at(SECOND).await, "asked 0s");
        assert_eq!(bench.pdp.asked(), 1);
        assert_eq!(bench.told(), ["Stale"], "what comes next is derived again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmed_permit_is_used_then_used_and_asked_anew_behind_then_asked_for() {
        let mut bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::Permit)]);
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
        tokio::time::advance(59 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "confirmed 59s");
        assert!(bench.told().is_empty());
        tokio::time::advance(SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "confirmed 60s");
        assert_eq!(bench.told(), ["Reconfirm"]);
        tokio::time::advance(240 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_lived_through_up_to_the_grace_and_no_further() {
        let bench = bench(&[AWAY, AWAY]).holding(&["lonn"]);
        assert_eq!(bench.read_at(3599 * SECOND).await, "derived 3599s in grace");
        assert_eq!(bench.read_at(SECOND).await, "unreachable");
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_bounds_are_no_outage() {
        let bench = bench(&[Err(Cause::Busy), Err(Cause::Throttled)]).holding(&["lonn"]);
        tokio::time::advance(600 * SECOND).await;
        assert_eq!(bench.judge("read", ROUTE).await, "busy");
        assert_eq!(bench.judge("read", ROUTE).await, "derived 600s in grace");
    }

    #[tokio::test(start_paused = true)]
    async fn without_grace_an_outage_stops_what_is_too_old_at_once() {
        let bench = bench(&[AWAY]).holding(&["lonn"]);
        let strict = Freshness { outage_grace: Duration::ZERO, ..ROUTE };
        tokio::time::advance(299 * SECOND).await;
        assert_eq!(bench.judge("read", strict).await, "derived 299s");
        tokio::time::advance(SECOND).await;
        assert_eq!(bench.judge("read", strict).await, "unreachable");
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_never_derived_and_never_outlived_by_an_older_permit() {
        // The second asking of a surprising no, and then an outage.
        let mut bench = bench(&[NOTHING, NOTHING, AWAY, AWAY, AWAY]).holding(&["lonn"]);
        assert_eq!(bench.read_at(300 * SECOND).await, "asked NotApplicable");
        assert_eq!(bench.told(), ["Stale", "Doubted"]);
        assert_eq!(bench.judge("read", ROUTE).await, "known NotApplicable");
        // Within the grace of what was read, and yet it does not serve: a no is newer.
        assert_eq!(bench.read_at(5 * SECOND).await, "unreachable");
        // Nor when nothing but the doubt is left of the no.
        bench
            .answers
            .confirmations
            .restore(&question("read"), bench.answers.ticks.ago(HOUR).unwrap());
        assert_eq!(bench.read_at(5 * SECOND).await, "unreachable");
        // What is read after it counts again, once the policies are known to be younger too.
        bench.read(&["lonn"]);
        assert_eq!(bench.judge("read", ROUTE).await, "unreachable");
        bench.writer.policies_verified(bench.answers.ticks.now());
        assert_eq!(bench.judge("read", ROUTE).await, "derived 0s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_given_a_moment_ago_works_at_once() {
        let mut bench = bench(&[NOTHING, Ok(Verdict::Permit)]).holding(&["other"]);
        assert_eq!(bench.judge("read", ROUTE).await, "asked NotApplicable");
        tokio::time::advance(SECOND).await;
        bench.read(&["lonn"]);
        bench.writer.policies_verified(bench.answers.ticks.now());
        assert_eq!(
            bench.judge("read", ROUTE).await,
            "derived 0s",
            "a newer reading beats an older no"
        );
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_confirmed_before_the_rights_changed_is_asked_anew() {
        let mut bench = bench(&[Ok(Verdict::Permit), NOTHING, NOTHING]).holding(&["lonn"]);
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
        tokio::time::advance(10 * SECOND).await;
        bench.read(&["lonn"]);
        assert_eq!(bench.judge("write", ROUTE).await, "confirmed 10s", "read, and nothing changed");
        bench.read(&[]);
        assert_eq!(bench.judge("write", ROUTE).await, "asked NotApplicable");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_just_after_a_loss_serves_no_longer_than_a_no_even_in_an_outage() {
        const PERMIT: Result<Verdict, Cause> = Ok(Verdict::Permit);
        let mut bench = bench(&[PERMIT, PERMIT, AWAY, PERMIT]).holding(&["lonn", "other"]);
        tokio::time::advance(10 * SECOND).await;
        bench.read(&["lonn"]);
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s", "perhaps from its memory");
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "confirmed 4s");
        tokio::time::advance(SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "unreachable", "no grace for it");
        // Asked so long after the loss that Altinn has forgotten what was before.
        tokio::time::advance(350 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
        tokio::time::advance(59 * SECOND).await;
        assert_eq!(bench.judge("write", ROUTE).await, "confirmed 59s");
    }

    #[tokio::test(start_paused = true)]
    async fn policies_too_old_derive_nothing_but_in_grace() {
        let mut bench = bench(&[AWAY, Ok(Verdict::Permit)]);
        tokio::time::advance(10 * MINUTE).await;
        bench.read(&["lonn"]);
        assert_eq!(bench.judge("read", ROUTE).await, "derived 0s");
        tokio::time::advance(SECOND / 10).await;
        assert_eq!(bench.judge("read", ROUTE).await, "derived 0s in grace");
        assert_eq!(bench.judge("read", ROUTE).await, "asked 0s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_without_a_policy_is_neither_served_from_what_is_held_nor_asked_for() {
        // The PDP would permit still, by the policy that it remembers.
        let mut bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::Permit)]).holding(&["lonn"]);
        let right = |action: &str| Right {
            resource: question(action).resource().clone(),
            action: action.parse().unwrap(),
        };
        assert_eq!(bench.judge("write", ROUTE).await, "asked 0s");
        let write = bench.writer.right_index(&right("write")).unwrap();
        let gone = PolicyState::NotDerivable(NotDerived::PolicyMissing);
        bench.writer.set_policies(vec![(write, gone)]);
        assert_eq!(bench.judge("write", ROUTE).await, "no_policy");
        assert_eq!(bench.pdp.asked(), 1);
    }

    #[test]
    fn a_caller_may_ask_for_stricter_and_never_for_looser() {
        let asked = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(MAX_AGE, value.parse().unwrap());
            }
            max_age(&headers)
        };
        assert_eq!(asked(&[]), Ok(None));
        assert_eq!(asked(&["0"]), Ok(Some(Duration::ZERO)));
        assert_eq!(asked(&["30"]), Ok(Some(30 * SECOND)));
        let refused: [&[&str]; 9] = [
            &[""],
            &["-1"],
            &["+1"],
            &["1.5"],
            &["1s"],
            &["1 2"],
            &["1,2"],
            &["1234567890"],
            &["30", "30"],
        ];
        for values in refused {
            assert_eq!(asked(values), Err(Malformed::MaxAge), "{values:?}");
        }
        let strict = stricter(ROUTE, Some(30 * SECOND));
        let thirty = 30 * SECOND;
        assert_eq!(strict, Freshness { fresh_for: thirty, max_age: thirty, outage_grace: thirty });
        assert_eq!(stricter(ROUTE, Some(24 * HOUR)), ROUTE);
        assert_eq!(stricter(ROUTE, None), ROUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_zero_has_altinn_asked() {
        let bench = bench(&[Ok(Verdict::Permit)]).holding(&["lonn"]);
        assert_eq!(bench.judge("read", stricter(ROUTE, Some(Duration::ZERO))).await, "asked 0s");
    }
}
