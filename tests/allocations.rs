//! What is known of a question is looked up without an allocation: whatever the register says, however many
//! clients an agent has. Where the PDP's own answer is held, every 64th look-up or so tidies up the cache.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    reason = "a test that cannot go on fails, and uses a part of what the others share"
)]

#[path = "targets/judge.rs"]
mod judge;
#[path = "cases/keys.rs"]
mod keys;
#[path = "cases/readings.rs"]
mod readings;
#[path = "targets/warm.rs"]
mod warm;

use allocation_counter::measure;
use futures_util::FutureExt;
use http::HeaderMap;
use portvakt::clock::SystemClock;
use portvakt::config::{ConfirmationConfig, Freshness, source};
use portvakt::domain::decision::{Source, Undecided, Verdict};
use portvakt::domain::delegation::PartyRights;
use portvakt::domain::party::{OrgNumber, Party};
use portvakt::domain::resource::{Question, Right};
use portvakt::domain::system_user::SystemUserId;
use portvakt::enforce::answers::{Answers, Known, Sampler};
use portvakt::enforce::authorize::judge;
use portvakt::enforce::confirmations::{Asking, Confirmations};
use portvakt::enforce::ports::{Account, Call, EdgeFuture, RemotePdp, Urgency};
use portvakt::families::Families;
use portvakt::register::{
    Limits, NotDerived, PolicyState, PolicyVersion, Seen, Ticks, Writer, open,
};
use portvakt::trace::spans::RequestSpans;
use portvakt::trace::{Queue, TraceMetrics, Tracer};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

const LOOK_UPS: usize = 20_000;
const CLIENTS: u32 = 10_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Its users: 1 holds `lonn` for one party, 2 is an agent that holds it for 10,000, 3 was never read, 4 is
/// in doubt; others are not watched.
fn id(number: u32) -> SystemUserId {
    format!("11111111-1111-4111-8111-1111{number:08x}").parse().unwrap()
}

fn organisation(number: u32) -> Party {
    Party::Organization(OrgNumber::from_packed(number).unwrap())
}

fn right(action: &str) -> Right {
    Right { resource: "ex-returns".parse().unwrap(), action: action.parse().unwrap() }
}

fn question(user: u32, party: Party, action: &str, instance: Option<&str>) -> Question {
    Question::new(id(user), party, right(action), instance.map(|id| id.parse().unwrap()))
}

/// Permits whatever is `sign`, and says nothing to the rest.
struct Pdp;

impl RemotePdp for Pdp {
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        _: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        let permits = question.action().as_str() == "sign";
        let verdict = if permits { Verdict::Permit } else { Verdict::NotApplicable };
        Box::pin(std::future::ready(Ok(verdict)))
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(futures_util::future::join_all(questions.iter().map(move |q| self.ask(q, call))))
    }
}

struct Stage {
    answers: Answers,
    _writer: Writer,
}

/// `read` opens with `lonn`, `write` with nothing that anybody holds, of `sign` there is no reading.
fn stage() -> Stage {
    let actions = ["read", "write", "sign"];
    let limits = Limits { max_entries: 10, max_sets: 10 };
    let ticks = Ticks::new();
    let (mut writer, reader) = open(actions.map(right).to_vec(), limits, ticks.clone()).unwrap();
    let opens_with = |package: &str| {
        let package = package.parse().unwrap();
        PolicyState::Derivable {
            since: None,
            derive: Box::new(move |held| held(&package)),
            explain: None,
            version: PolicyVersion(7),
            access: None,
        }
    };
    let unsettled = PolicyState::NotDerivable(NotDerived::PolicyNotUnderstood("function"));
    let states = [opens_with("lonn"), opens_with("skatt"), unsettled];
    let index = actions.map(|action| writer.right_index(&right(action)).unwrap());
    writer.set_policies(index.into_iter().zip(states).collect());
    for user in 1..=4 {
        let system = Some("310000019_regnskap".parse().unwrap());
        let org = |number| OrgNumber::from_packed(number);
        writer.watch(&Seen { id: id(user), owner: org(1), system, vendor: org(2) });
    }
    let lonn = |party| PartyRights {
        party: OrgNumber::from_packed(party).unwrap(),
        packages: vec!["lonn".parse().unwrap()],
        resources: Vec::new(),
    };
    for (user, parties) in [(1, 1), (2, CLIENTS), (4, 1)] {
        let parties = (0..parties).map(lonn).collect();
        writer.publish(id(user), writer.ticks().now(), parties);
    }
    writer.policies_verified(writer.ticks().now());
    reader.doubt(id(4));
    let config = ConfirmationConfig { no_for: DAY, max_entries: 1000, suspicious_for: DAY };
    let confirmations =
        Confirmations::new(Arc::new(Pdp), ticks.clone(), &config, DAY, Box::new(|_, _| {}));
    let answers = Answers {
        register: Some(reader),
        confirmations: Arc::new(confirmations),
        notices: None,
        ticks,
        no_for: DAY,
        policy_max_age: DAY,
        sampler: Sampler::new(NonZeroUsize::MAX),
    };
    Stage { answers, _writer: writer }
}

type Told = (Option<Source>, Option<Verdict>, Option<&'static str>);

/// What is known, in a few words.
fn told(known: &Known) -> Told {
    let permit = known.permit.map(|permit| permit.source);
    (permit, known.no.map(|(no, _)| no), known.not_derived.map(NotDerived::label))
}

/// Looks all of these up, over and over, as requests do.
fn look_up(stage: &Stage, cases: &[(Question, Told)]) {
    for (question, expected) in cases.iter().cycle().take(LOOK_UPS) {
        assert_eq!(told(&stage.answers.known(black_box(question))), *expected, "{question:?}");
    }
}

/// Judges as [`look_up`] looks up. Permits only: whatever else there is may have to be asked.
fn serve(stage: &Stage, cases: &[(Question, Told)]) {
    let fresh = Freshness { fresh_for: DAY, max_age: DAY, outage_grace: Duration::ZERO };
    let seen = Seen { id: cases[0].0.system_user(), owner: None, system: None, vendor: None };
    let permits = cases.iter().filter(|(_, (source, ..))| source.is_some());
    for (question, (source, ..)) in permits.cycle().take(LOOK_UPS) {
        let judged = judge(question, &stage.answers, fresh, &seen, DAY).now_or_never();
        assert_eq!(judged.unwrap().ok().map(|evidence| evidence.source), *source);
    }
}

#[test]
fn what_the_register_says_is_looked_up_without_an_allocation() {
    let stage = stage();
    let person = Party::Person("01010750160".parse().unwrap());
    let [unknown, elsewhere] = ["print", "read"].map(right);
    let elsewhere = Right { resource: "ex-other".parse().unwrap(), ..elsewhere };
    let derived = (Some(Source::Derived), None, None);
    let open = |why| (None, None, Some(why));
    let ours = organisation(0);
    let cases = [
        (question(1, ours, "read", None), derived),
        (question(2, organisation(CLIENTS / 2), "read", None), derived),
        (question(2, organisation(CLIENTS - 1), "read", None), derived),
        (question(2, organisation(CLIENTS), "read", None), open("no_party")),
        (question(1, ours, "write", None), open("not_covered")),
        (question(9, ours, "read", None), open("unwatched")),
        (question(3, ours, "read", None), open("never_read")),
        (question(4, ours, "read", None), open("doubted")),
        (question(1, person, "read", None), open("person")),
        (question(1, ours, "read", Some("7")), open("instance")),
        (question(1, ours, "sign", None), open("policy_not_understood")),
        (Question::new(id(1), ours, unknown, None), open("not_routed")),
        (Question::new(id(1), ours, elsewhere, None), open("not_routed")),
    ];
    // A thread sets its own corners up once.
    look_up(&stage, &cases);
    assert_eq!(measure(|| look_up(&stage, &cases)).count_total, 0);
    assert_eq!(measure(|| serve(&stage, &cases)).count_total, 0);
}

#[test]
fn an_answer_that_is_held_is_looked_up_without_an_allocation() {
    let stage = stage();
    let person = Party::Person("01010750160".parse().unwrap());
    let [ours, client] = [0, CLIENTS / 2].map(organisation);
    let confirmed = |why| (Some(Source::Confirmed), None, Some(why));
    let no = |why| (None, Some(Verdict::NotApplicable), Some(why));
    let cases = [
        (question(1, ours, "sign", None), confirmed("policy_not_understood")),
        (question(2, client, "sign", None), confirmed("policy_not_understood")),
        (question(9, ours, "sign", None), confirmed("unwatched")),
        (question(1, person, "sign", Some("7")), confirmed("person")),
        (question(2, client, "write", None), no("not_covered")),
    ];
    let asking = Asking {
        call: Call { account: Account::Own, urgency: Urgency::Waiting },
        max_age: DAY,
        expected: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for (question, _) in &cases {
        runtime.block_on(stage.answers.confirmations.ask(question, asking)).unwrap();
    }
    look_up(&stage, &cases);
    assert_eq!(measure(|| look_up(&stage, &cases)).count_total, 0);
    assert_eq!(measure(|| serve(&stage, &cases)).count_total, 0);
}

/// The guard of the hot path: what it takes grows by nobody's oversight. Its time is measured by
/// `cargo bench --bench enforce`.
#[test]
fn a_warm_request_is_judged_without_an_allocation() {
    let warm = warm::Warm::new();
    for _ in 0..LOOK_UPS {
        warm.permit();
    }
    let each = measure(|| (0..LOOK_UPS).for_each(|_| _ = black_box(warm.permit())));
    assert_eq!(each.count_total, 0);
}

fn headers(traceparent: &str) -> HeaderMap {
    let fields = [("traceparent", traceparent), ("tracestate", "vendor=1"), ("accept", "*/*")];
    // A full one would grow for whatever is put in it.
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in fields {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

fn tracer(ratio: &str) -> (Tracer, Queue) {
    let text = format!(
        "environment: test\nupstream: {{ url: \"http://127.0.0.1:3000\" }}\ntracing: {{ enabled: true, endpoint: \
         \"http://127.0.0.1:4318\", ratio: {ratio}, traces_per_second: 1000000, queue_spans: 1000000 }}\n\
         routes: [{{ id: open, match: {{ methods: [GET], path: /open }}, access: anonymous }}]\n"
    );
    let config = source::load_text(&text, "test", &|_: &str| None).unwrap();
    let metrics = TraceMetrics::register(&Families::default()).unwrap();
    Tracer::new(config.tracing.as_ref(), Arc::new(SystemClock), &metrics)
}

/// What tracing costs requests: nothing where it is off, or where the caller says already that nothing is recorded; the
/// one field that the upstream gets where it is not so; and one piece handed over for a request that is recorded.
#[test]
fn a_request_that_is_not_recorded_has_its_place_in_a_trace_without_an_allocation() {
    let (none, _queue) = tracer("0");
    let (all, _other) = tracer("1");
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let (unrecorded, recorded) = (format!("{caller}-00"), format!("{caller}-01"));
    for (tracer, told, most) in [
        (&Tracer::off(), &recorded, 0),
        (&Tracer::off(), &String::new(), 0),
        (&none, &unrecorded, 0),
        (&none, &recorded, 1),
        (&all, &recorded, 1),
    ] {
        // What draws numbers is made once a thread.
        let mut headers = headers(told);
        _ = black_box(tracer.begin(&headers));
        let count = measure(|| {
            let place = tracer.begin(&headers);
            place.pass_on(&mut headers);
        });
        assert_eq!(count.count_total, most, "{told}");
    }
    let spans = |place| RequestSpans {
        place,
        at: std::time::UNIX_EPOCH,
        took: Duration::ZERO,
        steps: [Some(Duration::ZERO); 7],
        mode: "proxy",
        method: "GET",
        version: http::Version::HTTP_11,
        secure: false,
        route: None,
        shape: String::new(),
        status: Some(200),
        answer: "permit",
        code: None,
        reason: None,
        shadow_code: None,
        shadow_reason: None,
        refused_in: None,
        token_cache: None,
        evidence: None,
        complete: true,
    };
    let begun = all.begin(&headers(&recorded));
    let each = measure(|| (0..LOOK_UPS).for_each(|_| all.request(spans(begun)))).count_total;
    let look_ups = u64::try_from(LOOK_UPS).unwrap();
    // The queue grows by a piece for every 32.
    assert!(each <= look_ups + look_ups / 31, "{each}");
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(black_box(Box::new(7_u32)))).count_total, 1);
    let parties = [organisation(1), organisation(2)];
    assert_eq!(measure(|| drop(black_box(parties.to_vec()))).count_total, 1);
    let stage = stage();
    let known = question(1, organisation(0), "read", None);
    let register = stage.answers.register.as_ref().unwrap();
    // What people are told is another matter.
    assert!(measure(|| drop(black_box(register.explain(&known)))).count_total > 0);
}
