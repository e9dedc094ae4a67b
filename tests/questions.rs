//! Two different questions never share an answer: neither in memory, nor on their way to Altinn, nor on
//! disk. What makes them different is written out here, beside the types that the program compares.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use futures_util::future::join_all;
use portvakt::config::ConfirmationConfig;
use portvakt::domain::decision::{Undecided, Verdict};
use portvakt::domain::party::{OrgNumber, Party};
use portvakt::domain::resource::{Question, Right};
use portvakt::enforce::confirmations::{Asking, Confirmations};
use portvakt::enforce::ports::{Account, Call, EdgeFuture, RemotePdp, Urgency};
use portvakt::register::Ticks;
use portvakt::store::{Options, Secret, open};
use portvakt::sync::ports::{Saved, StorableQuestion, Store};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);
const CALL: Call = Call { account: Account::Own, urgency: Urgency::Waiting };

/// Everything that a question is about, as plain text: what [`Question`] is to tell apart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Fields {
    user: String,
    person: bool,
    party: String,
    resource: String,
    action: String,
    instance: Option<String>,
}

impl Fields {
    fn question(&self) -> Question {
        let party = if self.person {
            Party::Person(self.party.parse().unwrap())
        } else {
            let number = self.party.parse().unwrap();
            Party::Organization(OrgNumber::from_packed(number).unwrap())
        };
        let right = Right {
            resource: self.resource.parse().unwrap(),
            action: self.action.parse().unwrap(),
        };
        let instance = self.instance.as_ref().map(|id| id.parse().unwrap());
        Question::new(self.user.parse().unwrap(), party, right, instance)
    }

    fn of(question: &Question) -> Self {
        Self {
            user: question.system_user().to_string(),
            person: matches!(question.party(), Party::Person(_)),
            party: question.party().expose().to_owned(),
            resource: question.resource().to_string(),
            action: question.action().to_string(),
            instance: question.instance().map(ToString::to_string),
        }
    }
}

/// Nine digits and the two that make a national identity number of them, if any do.
fn person(nine: &str) -> Option<String> {
    const FIRST: &[u32] = &[3, 7, 6, 1, 8, 9, 4, 5, 2];
    const SECOND: &[u32] = &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2];
    let check = |digits: &str, weights: &[u32]| {
        let digits = digits.bytes().map(|digit| u32::from(digit - b'0'));
        let sum: u32 = digits.zip(weights).map(|(digit, weight)| digit * weight).sum();
        let digit = (11 - sum % 11) % 11;
        (digit < 10).then_some(digit)
    };
    let ten = format!("{nine}{}", check(nine, FIRST)?);
    let last = check(&ten, SECOND)?;
    Some(ten + &last.to_string())
}

/// Few values of each kind, so that questions are alike in all but one thing; many of them beginnings or
/// ends of others, or the same text in another place.
fn mostly(few: &'static [&'static str], rest: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![4 => select(few).prop_map(str::to_owned), 1 => rest]
}

fn user() -> impl Strategy<Value = String> {
    let few = &["11111111-1111-4111-8111-111111111111", "11111111-1111-4111-8111-111111111112"];
    mostly(few, "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}")
}

/// Whether it is a person, and the number: persons that begin as organisations do.
fn party() -> impl Strategy<Value = (bool, String)> {
    let number = mostly(&["310000027", "310000035", "000000007"], "[0-9]{9}");
    (any::<bool>(), number).prop_map(|(is_person, nine)| match person(&nine) {
        Some(eleven) if is_person => (true, eleven),
        _ => (false, nine),
    })
}

fn resource() -> impl Strategy<Value = String> {
    mostly(&["read", "ex-a", "ex-ab", "ex-a_b", "1234"], "[a-z0-9_-]{4,12}")
}

fn action() -> impl Strategy<Value = String> {
    mostly(&["read", "Read", "b", "rea", "1234", "ex-a"], "[A-Za-z0-9._:-]{1,12}")
}

fn instance() -> impl Strategy<Value = Option<String>> {
    prop::option::of(mostly(&["1", "11", "read", "1234", "ex-a"], "[A-Za-z0-9._-]{1,12}"))
}

fn fields() -> impl Strategy<Value = Fields> {
    (user(), party(), resource(), action(), instance()).prop_map(
        |(user, (person, party), resource, action, instance)| Fields {
            user,
            person,
            party,
            resource,
            action,
            instance,
        },
    )
}

/// `one` but for one thing, which is as in `other`: all that differ from it.
fn neighbours(one: &Fields, other: &Fields) -> Vec<Fields> {
    let with = |change: fn(&mut Fields, &Fields)| {
        let mut changed = one.clone();
        change(&mut changed, other);
        changed
    };
    let all = [
        with(|to, from| to.user.clone_from(&from.user)),
        with(|to, from| (to.person, to.party) = (from.person, from.party.clone())),
        with(|to, from| to.resource.clone_from(&from.resource)),
        with(|to, from| to.action.clone_from(&from.action)),
        with(|to, from| to.instance.clone_from(&from.instance)),
    ];
    all.into_iter().filter(|neighbour| neighbour != one).collect()
}

/// Says to each question what it is told to, and counts how often each was asked.
#[derive(Default)]
struct Pdp {
    says: Mutex<HashMap<Fields, Verdict>>,
    asked: Mutex<BTreeMap<Fields, usize>>,
}

impl RemotePdp for Pdp {
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        _: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(async move {
            // Lets all who wait for an answer arrive before it does.
            tokio::task::yield_now().await;
            let about = Fields::of(question);
            let verdict = self.says.lock().unwrap()[&about];
            *self.asked.lock().unwrap().entry(about).or_default() += 1;
            Ok(verdict)
        })
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(join_all(questions.iter().map(move |question| self.ask(question, call))))
    }
}

fn confirmations(pdp: &Arc<Pdp>, ticks: &Ticks) -> Confirmations {
    let config = ConfirmationConfig { no_for: DAY, max_entries: 10_000, suspicious_for: DAY };
    Confirmations::new(Arc::<Pdp>::clone(pdp), ticks.clone(), &config, DAY, Box::new(|_, _| {}))
}

fn distinct(mut all: Vec<Fields>) -> Vec<Fields> {
    all.sort();
    all.dedup();
    all
}

const VERDICTS: [Verdict; 3] = [Verdict::Permit, Verdict::Deny, Verdict::NotApplicable];

/// Asks all at once, each with a verdict of its own, twice: each gets its own, and so does each that looks
/// it up later; nothing is asked for another's sake.
async fn each_gets_its_own(all: &[Fields], seed: usize) {
    let (pdp, ticks) = (Arc::<Pdp>::default(), Ticks::new());
    let confirmations = confirmations(&pdp, &ticks);
    let asking = Asking { call: CALL, max_age: Duration::ZERO, expected: false };
    let mut before: HashMap<&Fields, Verdict> = HashMap::new();
    for round in 0..2 {
        let verdict = |place: usize| VERDICTS[(place + seed + round) % VERDICTS.len()];
        let says = all.iter().enumerate().map(|(place, about)| (about.clone(), verdict(place)));
        *pdp.says.lock().unwrap() = says.collect();
        pdp.asked.lock().unwrap().clear();
        let questions: Vec<Question> = all.iter().map(Fields::question).collect();
        // Each twice: who asks the same waits for the same answer.
        let twice = questions.iter().chain(&questions);
        let answers = join_all(twice.map(|question| confirmations.ask(question, asking))).await;
        for (place, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.unwrap().verdict, verdict(place % all.len()), "{round} {place}");
        }
        for (place, about) in all.iter().enumerate() {
            let held = confirmations.held(&about.question()).unwrap();
            assert_eq!(held.verdict, verdict(place), "{round} {about:?}");
            // A no is asked for once more only where this very question was permitted.
            let sudden = verdict(place) == Verdict::NotApplicable
                && before.get(about) == Some(&Verdict::Permit);
            let asked = pdp.asked.lock().unwrap()[about];
            assert_eq!(asked, 1 + usize::from(sudden), "{round} {about:?}");
            before.insert(about, verdict(place));
        }
        assert_eq!(pdp.asked.lock().unwrap().len(), all.len());
        let mut shown = Vec::new();
        confirmations.each_held(&mut |question, _| shown.push(Fields::of(&question)));
        assert_eq!(distinct(shown), all, "none more, none less");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_question_gets_its_own_answer(
        all in prop::collection::vec(fields(), 1..60),
        seed in 0..3usize,
    ) {
        let all = distinct(all);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(each_gets_its_own(&all, seed));
    }

    #[test]
    fn a_question_that_differs_in_one_thing_is_another(one in fields(), other in fields()) {
        let question = one.question();
        prop_assert_eq!(&Fields::of(&question), &one, "nothing is lost on the way");
        prop_assert_eq!(&one.question(), &question);
        let ticks = Ticks::new();
        let confirmations = confirmations(&Arc::default(), &ticks);
        confirmations.restore(&question, ticks.now());
        prop_assert!(confirmations.held(&one.question()).is_some());
        for neighbour in neighbours(&one, &other) {
            prop_assert_ne!(&neighbour.question(), &question);
            prop_assert_eq!(confirmations.held(&neighbour.question()), None, "{:?}", neighbour);
        }
    }
}

fn saved_at(place: usize) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + u64::try_from(place).unwrap())
}

/// What a snapshot holds of confirmations, each with its time.
fn load(options: &Options) -> BTreeMap<Fields, SystemTime> {
    let opened = open(options, saved_at(0)).unwrap();
    assert!(opened.set_aside.is_none());
    let mut all = BTreeMap::new();
    let mut take = |saved| {
        let Saved::Confirmation(question, asked) = saved else { unreachable!() };
        assert_eq!(all.insert(Fields::of(question.question()), asked), None, "twice");
    };
    opened.loader.load(&mut take).unwrap();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_question_has_a_record_of_its_own_on_disk(
        all in prop::collection::vec(fields(), 1..60),
        key in prop::option::of(any::<[u8; 32]>()),
        gone in any::<Index>(),
    ) {
        let all = distinct(all);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("register");
        let key = key.map(Secret::new);
        let options = Options { path, binding: b"tt02".to_vec(), key };
        let storable = |about: &Fields| StorableQuestion::of(about.question());
        prop_assert!(all.iter().all(|about| storable(about).is_none() == about.person));
        let kept: Vec<&Fields> = all.iter().filter(|about| !about.person).collect();
        let record = |(place, about): (usize, &&Fields)| {
            Saved::Confirmation(storable(about).unwrap(), saved_at(place))
        };
        let mut expected: BTreeMap<Fields, SystemTime> =
            kept.iter().enumerate().map(|(place, about)| ((*about).clone(), saved_at(place))).collect();
        let mut store = open(&options, saved_at(0)).unwrap().store;
        store.save(kept.iter().enumerate().map(record).collect()).unwrap();
        drop(store);
        prop_assert_eq!(&load(&options), &expected);
        if let Some(about) = (!kept.is_empty()).then(|| gone.get(&kept)) {
            let mut store = open(&options, saved_at(0)).unwrap().store;
            store.save(vec![Saved::Unconfirm(storable(about).unwrap())]).unwrap();
            drop(store);
            expected.remove(*about);
            prop_assert_eq!(&load(&options), &expected, "one is taken away, and no other");
        }
    }
}
