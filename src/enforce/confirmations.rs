//! Answers that the PDP gave, each held for exactly its question and for a short while.
//!
//! A question that is not held is asked once, however many requests wait for it. A permit and a no
//! have lives of their own; what could not be told is never held. Ages run on the monotonic clock,
//! from before the question was sent.

use super::ports::{Account, Call, RemotePdp, Urgency};
use crate::config::ConfirmationConfig;
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::resource::Question;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const WAITING: Call = Call { account: Account::Own, urgency: Urgency::Waiting };

/// An answer and when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation {
    /// What the PDP said.
    pub verdict: Verdict,
    /// Just before the question was sent.
    pub asked: Instant,
}

/// What became of a "nothing covers it" for a question that had been permitted shortly before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecondAsking {
    /// The PDP permitted after all: the no was a hidden fault.
    Permitted,
    /// The PDP said no again: the right is gone.
    Confirmed,
    /// It could not be told.
    Undecided,
}

impl SecondAsking {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Confirmed => "confirmed",
            Self::Undecided => "undecided",
        }
    }
}

/// Told of every second asking.
pub type OnSecondAsking = Box<dyn Fn(&Question, SecondAsking) + Send + Sync>;

/// The answers held.
pub struct Confirmations {
    pdp: Arc<dyn RemotePdp>,
    config: ConfirmationConfig,
    held: moka::future::Cache<Question, Confirmation>,
    permitted: moka::sync::Cache<Question, ()>,
    on_second_asking: OnSecondAsking,
}

impl fmt::Debug for Confirmations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmations").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Confirmations {
    /// Holds nothing yet. `longest` is the greatest age that any route allows.
    #[must_use]
    pub fn new(
        pdp: Arc<dyn RemotePdp>,
        config: ConfirmationConfig,
        longest: Duration,
        on_second_asking: OnSecondAsking,
    ) -> Self {
        // The cache only tidies up; every use checks the age itself.
        let held = moka::future::Cache::builder()
            .max_capacity(config.max_entries)
            .time_to_live(longest.max(config.no_for))
            .build();
        let permitted = moka::sync::Cache::builder()
            .max_capacity(config.max_entries)
            .time_to_live(config.suspicious_for)
            .build();
        Self { pdp, config, held, permitted, on_second_asking }
    }

    /// The answer to `question`: the one held, if it is young enough, or a new one. A permit may be as
    /// old as `max_age`.
    ///
    /// # Errors
    /// [`Undecided`] when it had to be asked and could not be told.
    pub async fn confirm(
        &self,
        question: &Question,
        max_age: Duration,
    ) -> Result<Confirmation, Undecided> {
        if let Some(held) = self.held.get(question).await {
            if self.is_young_enough(&held, max_age) {
                return Ok(held);
            }
            self.held.invalidate(question).await;
        }
        let begun = Instant::now();
        let answer = self.ask_together(question).await?;
        // An answer that was under way may be older than this route allows; one asked for now is not.
        if answer.asked >= begun || self.is_young_enough(&answer, max_age) {
            return Ok(answer);
        }
        self.held.invalidate(question).await;
        self.ask_together(question).await
    }

    /// One asking for all who wait for the same answer.
    async fn ask_together(&self, question: &Question) -> Result<Confirmation, Undecided> {
        let asking = self.ask_and_doubt(question);
        self.held.try_get_with_by_ref(question, asking).await.map_err(|undecided| *undecided)
    }

    /// About how many answers are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.entry_count()
    }

    fn is_young_enough(&self, held: &Confirmation, max_age: Duration) -> bool {
        let most = match held.verdict {
            Verdict::Permit => max_age,
            // A route that wants permits younger than a no is held wants its no so young too.
            Verdict::Deny | Verdict::Unmet(_) | Verdict::NotApplicable => {
                self.config.no_for.min(max_age)
            }
        };
        held.asked.elapsed() < most
    }

    /// Asks, and asks once more when a right that was there a moment ago is suddenly not: Altinn hides a
    /// failed delegation look-up as `NotApplicable` (contract authorization.md §4 step 7).
    async fn ask_and_doubt(&self, question: &Question) -> Result<Confirmation, Undecided> {
        let first = self.ask(question).await?;
        let suspicious =
            first.verdict == Verdict::NotApplicable && self.permitted.contains_key(question);
        let last = if suspicious { self.ask_again(question).await? } else { first };
        match last.verdict {
            Verdict::Permit => self.permitted.insert(question.clone(), ()),
            Verdict::NotApplicable | Verdict::Deny => self.permitted.invalidate(question),
            Verdict::Unmet(_) => {}
        }
        Ok(last)
    }

    async fn ask_again(&self, question: &Question) -> Result<Confirmation, Undecided> {
        let second = self.ask(question).await;
        let told = match &second {
            Ok(Confirmation { verdict: Verdict::Permit, .. }) => SecondAsking::Permitted,
            Ok(_) => SecondAsking::Confirmed,
            Err(_) => SecondAsking::Undecided,
        };
        (self.on_second_asking)(question, told);
        second
    }

    async fn ask(&self, question: &Question) -> Result<Confirmation, Undecided> {
        let asked = Instant::now();
        let verdict = self.pdp.ask(question, WAITING).await?;
        Ok(Confirmation { verdict, asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::Cause;
    use crate::enforce::test_support::{ScriptedPdp, question};
    use std::sync::Mutex;

    const LONG: Duration = Duration::from_secs(60);

    struct Bench {
        confirmations: Confirmations,
        pdp: Arc<ScriptedPdp>,
        doubts: Arc<Mutex<Vec<SecondAsking>>>,
    }

    fn bench(script: &[Result<Verdict, Cause>]) -> Bench {
        let pdp = Arc::new(ScriptedPdp::new(script));
        let doubts = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&doubts);
        let config = ConfirmationConfig {
            permit_for: Duration::from_secs(30),
            no_for: Duration::from_secs(5),
            max_entries: 100,
            suspicious_for: Duration::from_secs(3600),
        };
        let confirmations = Confirmations::new(
            Arc::<ScriptedPdp>::clone(&pdp),
            config,
            LONG,
            Box::new(move |_, second| told.lock().unwrap().push(second)),
        );
        Bench { confirmations, pdp, doubts }
    }

    async fn verdict(bench: &Bench, max_age: Duration) -> Result<Verdict, Cause> {
        let result = bench.confirmations.confirm(&question("read"), max_age).await;
        result.map(|confirmation| confirmation.verdict).map_err(|undecided| undecided.cause)
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_is_held_as_long_as_the_route_allows() {
        let bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::Permit)]);
        let limit = Duration::from_secs(30);
        assert_eq!(verdict(&bench, limit).await, Ok(Verdict::Permit));
        tokio::time::advance(Duration::from_millis(29_999)).await;
        assert_eq!(verdict(&bench, limit).await, Ok(Verdict::Permit));
        assert_eq!(bench.pdp.asked(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(verdict(&bench, limit).await, Ok(Verdict::Permit));
        assert_eq!(bench.pdp.asked(), 2, "at its greatest age it is asked anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_that_wants_it_younger_asks_earlier() {
        let bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::Permit)]);
        assert_eq!(verdict(&bench, LONG).await, Ok(Verdict::Permit));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(verdict(&bench, Duration::from_secs(10)).await, Ok(Verdict::Permit));
        assert_eq!(bench.pdp.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_held_for_its_own_short_life() {
        for no in [Verdict::NotApplicable, Verdict::Deny] {
            let bench = bench(&[Ok(no), Ok(Verdict::Permit)]);
            assert_eq!(verdict(&bench, LONG).await, Ok(no));
            tokio::time::advance(Duration::from_millis(4_999)).await;
            assert_eq!(verdict(&bench, LONG).await, Ok(no));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(verdict(&bench, LONG).await, Ok(Verdict::Permit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_never_held() {
        let bench = bench(&[Err(Cause::Indeterminate), Ok(Verdict::Permit)]);
        assert_eq!(verdict(&bench, LONG).await, Err(Cause::Indeterminate));
        assert_eq!(verdict(&bench, LONG).await, Ok(Verdict::Permit));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sudden_no_is_asked_once_more() {
        let cases: [(&[Result<Verdict, Cause>], _, _); 3] = [
            (&[Ok(Verdict::Permit)], Ok(Verdict::Permit), SecondAsking::Permitted),
            (&[Ok(Verdict::NotApplicable)], Ok(Verdict::NotApplicable), SecondAsking::Confirmed),
            (&[Err(Cause::TimedOut)], Err(Cause::TimedOut), SecondAsking::Undecided),
        ];
        for (second, expected, told) in cases {
            let script = [&[Ok(Verdict::Permit), Ok(Verdict::NotApplicable)][..], second].concat();
            let bench = bench(&script);
            assert_eq!(verdict(&bench, LONG).await, Ok(Verdict::Permit));
            tokio::time::advance(LONG).await;
            assert_eq!(verdict(&bench, LONG).await, expected);
            assert_eq!(bench.pdp.asked(), 3);
            assert_eq!(*bench.doubts.lock().unwrap(), [told]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_no_and_a_deny_are_believed() {
        let first = bench(&[Ok(Verdict::NotApplicable)]);
        assert_eq!(verdict(&first, LONG).await, Ok(Verdict::NotApplicable));
        assert_eq!(first.pdp.asked(), 1);
        let denied = bench(&[Ok(Verdict::Permit), Ok(Verdict::Deny)]);
        assert_eq!(verdict(&denied, LONG).await, Ok(Verdict::Permit));
        tokio::time::advance(LONG).await;
        assert_eq!(verdict(&denied, LONG).await, Ok(Verdict::Deny));
        assert_eq!(denied.pdp.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_for_one_action_says_nothing_of_another() {
        let bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::NotApplicable)]);
        let ask = async |action| {
            bench.confirmations.confirm(&question(action), LONG).await.unwrap().verdict
        };
        assert_eq!(ask("read").await, Verdict::Permit);
        assert_eq!(ask("write").await, Verdict::NotApplicable);
    }

    #[tokio::test]
    async fn many_requests_for_one_question_ask_once() {
        let bench = bench(&[Ok(Verdict::Permit)]);
        let question = question("read");
        let all = (0..100).map(|_| bench.confirmations.confirm(&question, LONG));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap().verdict, Verdict::Permit);
        }
        assert_eq!(bench.pdp.asked(), 1);
    }
}
