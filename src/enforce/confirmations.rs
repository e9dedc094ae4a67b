//! Answers that the PDP gave, each held for exactly its question.
//!
//! A question is asked once, however many requests wait for it, and the newest answer is held. How old an
//! answer may be when it is used is not decided here. What could not be told is never held. Ages run from
//! before the question was sent.

use super::memory::{Change, Memory};
use super::ports::{Call, RemotePdp};
use crate::config::ConfirmationConfig;
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::resource::Question;
use crate::register::{Tick, Ticks};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// An answer and when it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Confirmation {
    /// What the PDP said.
    pub verdict: Verdict,
    /// Just before the question was sent.
    pub asked: Tick,
}

/// What became of a "nothing covers it" where a permit was to be expected.
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

/// Told of every no, when it is noted.
pub type OnNo = Box<dyn Fn(&Question) + Send + Sync>;

/// How a question is to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// On whose account.
    pub call: Call,
    /// An answer that others asked for may be this old.
    pub max_age: Duration,
    /// The register derives a permit, so that a no would be a surprise.
    pub expected: bool,
}

/// The answers held.
pub struct Confirmations {
    pdp: Arc<dyn RemotePdp>,
    ticks: Ticks,
    held: Memory<Question, Confirmation>,
    begun: Instant,
    flights: moka::future::Cache<Question, Flight>,
    permitted: moka::sync::Cache<Question, ()>,
    on_second_asking: OnSecondAsking,
    on_no: Option<OnNo>,
    journal: Arc<OnceLock<Journal>>,
    /// How long an answer is kept, in milliseconds: past the greatest age at which any can be of use.
    kept: AtomicU64,
}

/// One asking, for all who wait for it.
#[derive(Clone, Copy, Debug)]
struct Flight {
    asked: Instant,
    answered: Instant,
    answer: Confirmation,
}

/// Where new answers are noted for the snapshot on disk.
struct Journal {
    notes: mpsc::Sender<(Question, Option<Confirmation>)>,
    incomplete: Arc<AtomicBool>,
}

impl Journal {
    fn note(&self, question: Question, answer: Option<Confirmation>) {
        if self.notes.try_send((question, answer)).is_err() {
            self.incomplete.store(true, Ordering::Release);
        }
    }
}

/// The other end of the journal.
#[derive(Debug)]
pub struct JournalReader {
    /// Every new answer, in order; `None` for one that is let go.
    pub notes: mpsc::Receiver<(Question, Option<Confirmation>)>,
    /// Set when a note was lost: all that is held is to be saved again.
    pub incomplete: Arc<AtomicBool>,
}

const JOURNAL: usize = 16 * 1024;
/// A flight that has landed is of no use to anybody who comes later; it is swept up when nobody did.
const LANDED: Duration = Duration::from_secs(1);

impl fmt::Debug for Confirmations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmations").field("held", &self.count()).finish_non_exhaustive()
    }
}

impl Confirmations {
    /// Holds nothing yet. `longest` is the greatest age at which any answer can be of use.
    #[must_use]
    pub fn new(
        pdp: Arc<dyn RemotePdp>,
        ticks: Ticks,
        config: &ConfirmationConfig,
        longest: Duration,
        on_second_asking: OnSecondAsking,
    ) -> Self {
        // The caches only tidy up; every use checks the age itself.
        let (most, suspicious) = (config.max_entries, config.suspicious_for);
        let journal: Arc<OnceLock<Journal>> = Arc::default();
        let (held, begun, kept) = (Memory::new(most), Instant::now(), AtomicU64::new(0));
        let permitted = moka::sync::Cache::builder();
        let permitted = permitted.max_capacity(most).time_to_live(suspicious).build();
        let flights = moka::future::Cache::builder();
        let flights = flights.max_capacity(most).time_to_live(LANDED).build();
        let on_no = None;
        let new = Self {
            pdp,
            ticks,
            held,
            begun,
            flights,
            permitted,
            on_second_asking,
            on_no,
            journal,
            kept,
        };
        new.keep_for(longest.max(config.no_for));
        new
    }

    /// Keeps what is answered from now on for so long.
    pub fn keep_for(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.kept.store(longest, Ordering::Relaxed);
    }

    /// From now on tells of every no.
    pub fn tell_no(&mut self, on_no: OnNo) {
        self.on_no = Some(on_no);
    }

    /// From now on notes every new answer in a journal, the first that is asked for; gives its other end.
    #[must_use]
    pub fn keep_journal(&self) -> JournalReader {
        let (notes, receiver) = mpsc::channel(JOURNAL);
        let incomplete = Arc::new(AtomicBool::new(false));
        let _first = self.journal.set(Journal { notes, incomplete: Arc::clone(&incomplete) });
        JournalReader { notes: receiver, incomplete }
    }

    /// The newest answer to `question`, whatever its age. Allocates nothing.
    #[must_use]
    pub fn held(&self, question: &Question) -> Option<Confirmation> {
        self.held.get(question)
    }

    /// Lets go a part of what is of no use any more: it must not stay on disk for ever. Called every second, it comes to all
    /// in a minute.
    pub fn tidy(&self) {
        self.held.sweep(self.now(), &mut |question, _| self.has_gone(question));
    }

    /// Takes up a permit that was saved.
    pub fn restore(&self, question: &Question, asked: Tick) {
        self.hold(question, Confirmation { verdict: Verdict::Permit, asked });
    }

    /// Lets an answer go: since then Altinn has said otherwise to somebody who holds none.
    pub fn forget(&self, question: &Question) {
        self.held.forget(question);
        if let Some(journal) = self.journal.get() {
            journal.note(question.clone(), None);
        }
    }

    /// Shows every answer held.
    pub fn each_held(&self, show: &mut dyn FnMut(Question, Confirmation)) {
        self.held.each(&mut |question, answer| show(question.clone(), *answer));
    }

    /// How many answers are held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Asks, together with all who ask the same.
    ///
    /// # Errors
    /// [`Undecided`] when it could not be told.
    pub async fn ask(
        &self,
        question: &Question,
        asking: Asking,
    ) -> Result<Confirmation, Undecided> {
        let begun = Instant::now();
        let flight = self.ask_together(question, asking).await?;
        // An answer that was under way may be older than this caller wants; one asked for now is not.
        let young_enough = self.ticks.age(flight.answer.asked) < asking.max_age;
        if flight.asked >= begun || (flight.answered >= begun && young_enough) {
            return Ok(flight.answer);
        }
        self.ask_together(question, asking).await.map(|flight| flight.answer)
    }

    /// Asks several questions about one system user behind, in as few calls as can be. What could not be
    /// told stays as it was.
    pub async fn ask_behind(&self, questions: &[Question], call: Call) {
        let asked = self.ticks.now();
        let verdicts = self.pdp.ask_all(questions, call).await;
        for (question, verdict) in questions.iter().zip(verdicts) {
            let Ok(verdict) = verdict else { continue };
            if self.surprising(question, verdict, false) {
                let asking = Asking { call, max_age: Duration::ZERO, expected: true };
                // Told, and held, by the asking.
                let _ = self.ask(question, asking).await;
            } else {
                self.note(question, Confirmation { verdict, asked });
            }
        }
    }

    /// One asking for all who wait for the same answer.
    async fn ask_together(&self, question: &Question, asking: Asking) -> Result<Flight, Undecided> {
        let flight = self.ask_and_doubt(question, asking);
        let flight = self.flights.try_get_with_by_ref(question, flight).await;
        self.flights.invalidate(question).await;
        flight.map_err(|undecided| *undecided)
    }

    /// Asks, and asks once more when a right that was there a moment ago is suddenly not: Altinn hides a
    /// failed delegation look-up as `NotApplicable` (contract authorization.md §4 step 7).
    async fn ask_and_doubt(
        &self,
        question: &Question,
        asking: Asking,
    ) -> Result<Flight, Undecided> {
        let first = self.ask_once(question, asking.call).await?;
        let surprising = self.surprising(question, first.answer.verdict, asking.expected);
        let last = if surprising { self.ask_again(question, asking.call).await? } else { first };
        self.note(question, last.answer);
        Ok(last)
    }

    fn surprising(&self, question: &Question, verdict: Verdict, expected: bool) -> bool {
        verdict == Verdict::NotApplicable && (expected || self.permitted.contains_key(question))
    }

    async fn ask_again(&self, question: &Question, call: Call) -> Result<Flight, Undecided> {
        let second = self.ask_once(question, call).await;
        let told = match second.as_ref().map(|flight| flight.answer.verdict) {
            Ok(Verdict::Permit) => SecondAsking::Permitted,
            Ok(Verdict::Deny | Verdict::Unmet(_) | Verdict::NotApplicable) => {
                SecondAsking::Confirmed
            }
            Err(_) => SecondAsking::Undecided,
        };
        (self.on_second_asking)(question, told);
        second
    }

    async fn ask_once(&self, question: &Question, call: Call) -> Result<Flight, Undecided> {
        let (asked, tick) = (Instant::now(), self.ticks.now());
        let verdict = self.pdp.ask(question, call).await?;
        let answer = Confirmation { verdict, asked: tick };
        Ok(Flight { asked, answered: Instant::now(), answer })
    }

    /// Holds a new answer, and remembers what was permitted.
    fn note(&self, question: &Question, confirmation: Confirmation) {
        match confirmation.verdict {
            Verdict::Permit => self.permitted.insert(question.clone(), ()),
            Verdict::NotApplicable | Verdict::Deny => self.permitted.invalidate(question),
            Verdict::Unmet(_) => {}
        }
        self.hold(question, confirmation);
        if confirmation.verdict != Verdict::Permit
            && let Some(on_no) = &self.on_no
        {
            on_no(question);
        }
        if let Some(journal) = self.journal.get() {
            journal.note(question.clone(), Some(confirmation));
        }
    }

    /// The newest answer stays; of two that were asked for in the same moment, the no.
    fn hold(&self, question: &Question, new: Confirmation) {
        let stays = |held: &Confirmation| {
            let no = held.verdict != Verdict::Permit && new.verdict == Verdict::Permit;
            held.asked > new.asked || (held.asked == new.asked && no)
        };
        let kept = i64::try_from(self.kept.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let now = self.now();
        let hold = |held: Option<&Confirmation>| {
            if held.is_some_and(stays) {
                Change::Nothing
            } else {
                Change::Hold(new, now.saturating_add(kept))
            }
        };
        self.held.change(question, now, hold, &mut |question, _| self.has_gone(question));
    }

    fn has_gone(&self, question: Question) {
        if let Some(journal) = self.journal.get() {
            journal.note(question, None);
        }
    }

    /// Milliseconds since the beginning.
    fn now(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::Cause;
    use crate::enforce::ports::{Account, Urgency};
    use crate::enforce::test_support::{ScriptedPdp, question};
    use std::sync::Mutex;

    const SECOND: Duration = Duration::from_secs(1);
    const CALL: Call = Call { account: Account::Own, urgency: Urgency::Waiting };

    struct Bench {
        confirmations: Confirmations,
        ticks: Ticks,
        pdp: Arc<ScriptedPdp>,
        doubts: Arc<Mutex<Vec<SecondAsking>>>,
    }

    fn bench(script: &[Result<Verdict, Cause>]) -> Bench {
        let (pdp, ticks) = (Arc::new(ScriptedPdp::new(script)), Ticks::new());
        let doubts = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&doubts);
        let config = ConfirmationConfig {
            no_for: 5 * SECOND,
            max_entries: 100,
            suspicious_for: 3600 * SECOND,
        };
        let confirmations = Confirmations::new(
            Arc::<ScriptedPdp>::clone(&pdp),
            ticks.clone(),
            &config,
            60 * SECOND,
            Box::new(move |_, second| told.lock().unwrap().push(second)),
        );
        Bench { confirmations, ticks, pdp, doubts }
    }

    impl Bench {
        async fn ask(&self, expected: bool) -> Result<Verdict, Cause> {
            let asking = Asking { call: CALL, max_age: Duration::ZERO, expected };
            let result = self.confirmations.ask(&question("read"), asking).await;
            result.map(|answer| answer.verdict).map_err(|undecided| undecided.cause)
        }

        fn held(&self) -> Option<(Verdict, Duration)> {
            let held = self.confirmations.held(&question("read"))?;
            Some((held.verdict, self.ticks.age(held.asked)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_answer_is_held_and_ages_from_before_it_was_asked() {
        let bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::Deny)]);
        assert_eq!(bench.held(), None);
        assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
        tokio::time::advance(30 * SECOND).await;
        assert_eq!(bench.held(), Some((Verdict::Permit, 30 * SECOND)));
        assert_eq!(bench.ask(false).await, Ok(Verdict::Deny));
        assert_eq!(bench.held(), Some((Verdict::Deny, Duration::ZERO)));
        let earlier = bench.ticks.ago(SECOND).unwrap();
        bench.confirmations.restore(&question("read"), earlier);
        assert_eq!(bench.held(), Some((Verdict::Deny, Duration::ZERO)), "the newer one stays");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_ended_goes_within_a_minute_and_from_the_disk_too() {
        let bench = bench(&[Ok(Verdict::Permit)]);
        let mut journal = bench.confirmations.keep_journal();
        assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
        assert!(matches!(journal.notes.try_recv(), Ok((_, Some(_)))));
        for (later, gone) in [(59, false), (1, true)] {
            tokio::time::advance(later * SECOND).await;
            (0..64).for_each(|_| bench.confirmations.tidy());
            assert_eq!((bench.held().is_none(), bench.confirmations.count() == 0), (gone, gone));
            assert_eq!(matches!(journal.notes.try_recv(), Ok((_, None))), gone);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_never_held_and_takes_nothing_away() {
        let bench = bench(&[Ok(Verdict::Permit), Err(Cause::Indeterminate)]);
        assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
        tokio::time::advance(SECOND).await;
        assert_eq!(bench.ask(false).await, Err(Cause::Indeterminate));
        assert_eq!(bench.held(), Some((Verdict::Permit, SECOND)));
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
            assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
            tokio::time::advance(60 * SECOND).await;
            assert_eq!(bench.ask(false).await, expected);
            assert_eq!(bench.pdp.asked(), 3);
            assert_eq!(*bench.doubts.lock().unwrap(), [told]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_where_the_register_derives_a_permit_is_sudden_too() {
        let script = [Ok(Verdict::NotApplicable), Ok(Verdict::NotApplicable)];
        let expected = bench(&script);
        assert_eq!(expected.ask(true).await, Ok(Verdict::NotApplicable));
        assert_eq!(expected.pdp.asked(), 2);
        let plain = bench(&script);
        assert_eq!(plain.ask(false).await, Ok(Verdict::NotApplicable));
        assert_eq!(plain.pdp.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deny_is_believed() {
        let bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::Deny)]);
        assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
        tokio::time::advance(60 * SECOND).await;
        assert_eq!(bench.ask(true).await, Ok(Verdict::Deny));
        assert_eq!(bench.pdp.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_for_one_action_says_nothing_of_another() {
        let bench = bench(&[Ok(Verdict::Permit)]);
        assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
        assert_eq!(bench.confirmations.held(&question("write")), None);
    }

    #[tokio::test]
    async fn many_requests_for_one_question_ask_once() {
        let bench = bench(&[Ok(Verdict::Permit)]);
        let (asking, question) =
            (Asking { call: CALL, max_age: SECOND, expected: false }, question("read"));
        let all = (0..100).map(|_| bench.confirmations.ask(&question, asking));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap().verdict, Verdict::Permit);
        }
        assert_eq!(bench.pdp.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_the_answer_is_there_asks_anew() {
        let bench = bench(&[Ok(Verdict::Permit), Ok(Verdict::NotApplicable)]);
        let content = Asking { call: CALL, max_age: 60 * SECOND, expected: false };
        let ask = async || {
            let answer = bench.confirmations.ask(&question("write"), content).await;
            answer.unwrap().verdict
        };
        assert_eq!(ask().await, Verdict::Permit);
        bench.confirmations.permitted.invalidate(&question("write"));
        tokio::time::advance(SECOND / 100).await;
        assert_eq!(ask().await, Verdict::NotApplicable);
    }

    #[tokio::test(start_paused = true)]
    async fn asking_behind_takes_up_what_was_told_and_leaves_the_rest() {
        let bench = bench(&[
            Ok(Verdict::Permit),
            // Behind: the right is suddenly gone, and then gone indeed; the other cannot be told.
            Ok(Verdict::NotApplicable),
            Err(Cause::TimedOut),
            Ok(Verdict::NotApplicable),
            Ok(Verdict::NotApplicable),
        ]);
        assert_eq!(bench.ask(false).await, Ok(Verdict::Permit));
        tokio::time::advance(SECOND).await;
        let both = [question("read"), question("write")];
        bench.confirmations.ask_behind(&both, CALL).await;
        assert_eq!(bench.held(), Some((Verdict::NotApplicable, Duration::ZERO)));
        assert_eq!(bench.confirmations.held(&question("write")), None);
        assert_eq!(*bench.doubts.lock().unwrap(), [SecondAsking::Confirmed]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_tells_every_new_answer_and_that_one_was_lost() {
        let script = vec![Ok(Verdict::Permit); JOURNAL + 2];
        let bench = bench(&script);
        let mut journal = bench.confirmations.keep_journal();
        bench.ask(false).await.unwrap();
        let (noted, answer) = journal.notes.try_recv().unwrap();
        let answer = answer.unwrap();
        assert_eq!((noted, answer.verdict), (question("read"), Verdict::Permit));
        for _ in 0..JOURNAL {
            bench.confirmations.note(&question("read"), answer);
        }
        assert!(!journal.incomplete.load(Ordering::Acquire));
        bench.confirmations.note(&question("read"), answer);
        assert!(journal.incomplete.load(Ordering::Acquire));
    }
}
