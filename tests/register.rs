//! The register against a plain model, and read while it is written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use portvakt::domain::delegation::PartyRights;
use portvakt::domain::party::{OrgNumber, Party};
use portvakt::domain::resource::{Question, Right};
use portvakt::domain::system_user::SystemUserId;
use portvakt::register::{
    Limits, NotDerived, PolicyState, PolicyVersion, Publish, Reader, Seen, Ticks, Watch, Writer,
    open,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const USERS: u8 = 5;
const PARTIES: u32 = 40;

fn id(number: u8) -> SystemUserId {
    format!("11111111-1111-4111-8111-1111111111{number:02x}").parse().unwrap()
}

fn org(number: u32) -> OrgNumber {
    OrgNumber::from_packed(number).unwrap()
}

fn right(number: usize) -> Right {
    Right { resource: format!("ex-{number}").parse().unwrap(), action: "read".parse().unwrap() }
}

fn question(user: u8, party: u32, number: usize) -> Question {
    Question::new(id(user), Party::Organization(org(party)), right(number), None)
}

/// As many sets as four system users can hold at once with one publishing of each, and some: they are soon
/// used up, and those that nobody holds any more must make room.
const SETS: usize = 64;

/// Right number `n` opens with package number `n`.
fn register() -> (Writer, Reader) {
    let limits = Limits { max_entries: 4, max_sets: SETS };
    let (mut writer, reader) = open((0..3).map(right).collect(), limits, Ticks::new()).unwrap();
    let state = |number: usize| {
        let package = format!("p{number}").parse().unwrap();
        let derive = Box::new(move |holds: &dyn Fn(&_) -> bool| holds(&package));
        PolicyState::Derivable {
            derive,
            explain: None,
            version: PolicyVersion(0),
            access: None,
            since: None,
        }
    };
    let states = (0..3).map(|n| (writer.right_index(&right(n)).unwrap(), state(n))).collect();
    writer.set_policies(states);
    writer.policies_verified(writer.ticks().now());
    (writer, reader)
}

fn seen(user: u8) -> Seen {
    let system = Some("310000019_regnskap".parse().unwrap());
    Seen { id: id(user), owner: Some(org(1)), system, vendor: Some(org(2)) }
}

#[derive(Clone, Debug)]
enum Step {
    Watch(u8),
    Publish(u8, BTreeMap<u32, u8>),
    Forget(u8),
    Doubt(u8),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = || 0..USERS;
    let parties = prop::collection::btree_map(0..PARTIES, 0..8u8, 0..40);
    let step = prop_oneof![
        user().prop_map(Step::Watch),
        (user(), parties).prop_map(|(user, parties)| Step::Publish(user, parties)),
        user().prop_map(Step::Forget),
        user().prop_map(Step::Doubt),
        Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

fn rights(parties: &BTreeMap<u32, u8>) -> Vec<PartyRights> {
    rights_and("p9", parties)
}

/// The rights, and a package that opens nothing: with another one each time every set is a new one.
fn rights_and(more: &str, parties: &BTreeMap<u32, u8>) -> Vec<PartyRights> {
    let held = |bits: u8| (0..3).filter(move |n| bits >> n & 1 == 1).map(|n| format!("p{n}"));
    let one = |(party, bits): (&u32, &u8)| PartyRights {
        party: org(*party),
        packages: held(*bits).chain([more.to_owned()]).map(|p| p.parse().unwrap()).collect(),
        resources: vec![],
    };
    parties.iter().map(one).collect()
}

/// What a watched user holds, if read; when; and since when it is in doubt. Times count the waits.
#[derive(Default)]
struct Model {
    parties: Option<BTreeMap<u32, u8>>,
    fetched: u32,
    doubted: Option<u32>,
}

fn expected(model: Option<&Model>, party: u32, number: usize) -> Result<(), NotDerived> {
    let model = model.ok_or(NotDerived::Unwatched)?;
    let parties = model.parties.as_ref().ok_or(NotDerived::NeverRead)?;
    let bits = parties.get(&party).ok_or(NotDerived::NoParty)?;
    match bits >> number & 1 == 1 {
        false => Err(NotDerived::NotCovered),
        true if model.doubted.is_some_and(|at| at >= model.fetched) => Err(NotDerived::Doubted),
        true => Ok(()),
    }
}

fn run(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut writer, reader) = register();
        let (mut models, mut clock) = (HashMap::<u8, Model>::new(), 0);
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Watch(user) => {
                    let told = match models.contains_key(user) {
                        true => Watch::Known,
                        false if models.len() == 4 => Watch::Full,
                        false => Watch::New,
                    };
                    assert_eq!(writer.watch(&seen(*user)), told);
                    if told == Watch::New {
                        models.insert(*user, Model::default());
                    }
                }
                Step::Publish(user, parties) => {
                    // A doubt is about what it holds and about the policies; here both are read together.
                    writer.policies_verified(writer.ticks().now());
                    let told = writer.publish(
                        id(*user),
                        writer.ticks().now(),
                        rights_and(&format!("x{number}"), parties),
                    );
                    assert_eq!(told == Publish::NotWatched, !models.contains_key(user));
                    if let Some(model) = models.get_mut(user) {
                        (model.parties, model.fetched) = (Some(parties.clone()), clock);
                    }
                }
                Step::Forget(user) => {
                    assert_eq!(writer.forget(id(*user)), models.remove(user).is_some());
                }
                Step::Doubt(user) => {
                    reader.doubt(id(*user));
                    if let Some(model) = models.get_mut(user) {
                        model.doubted = Some(clock);
                    }
                }
                Step::Wait => {
                    tokio::time::advance(Duration::from_millis(100)).await;
                    clock += 1;
                }
            }
            assert_eq!((reader.size(), reader.stats().refused_sets), (models.len(), 0));
            for (user, party, number) in (0..USERS)
                .flat_map(|u| (0..PARTIES).flat_map(move |p| (0..3).map(move |n| (u, p, n))))
            {
                let derived = reader.look_up(&question(user, party, number)).derived.map(|_| ());
                assert_eq!(derived, expected(models.get(&user), party, number));
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn it_answers_every_question_as_a_plain_map_does(steps in steps()) {
        run(&steps);
    }
}

#[test]
fn readers_see_whole_old_or_whole_new_entries_and_no_doubt_is_lost() {
    let (mut writer, reader) = register();
    writer.watch(&seen(1));
    writer.watch(&seen(2));
    let whole = |bits: u8, count: u32| (0..count).map(|party| (party, bits)).collect();
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (whole(1, 40), whole(2, 3));
    let stop = AtomicBool::new(false);
    let earlier = writer.ticks().now();
    writer.publish(id(2), earlier, rights(&new));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let view = reader.view(id(1)).unwrap();
                    let whole = view.parties.is_empty()
                        || view.parties == rights(&old)
                        || view.parties == rights(&new);
                    assert!(whole, "{:?}", view.parties);
                }
            });
        }
        scope.spawn(|| {
            // Once noted, a doubt is seen whatever the writer does with the entry or its neighbours.
            reader.doubt(id(2));
            while !stop.load(Ordering::Relaxed) {
                let derived = reader.look_up(&question(2, 0, 1)).derived;
                assert_eq!(derived, Err(NotDerived::Doubted));
            }
        });
        for round in 0..20_000 {
            let parties = if round % 2 == 0 { &old } else { &new };
            writer.publish(id(1), writer.ticks().now(), rights(parties));
            writer.publish(id(2), earlier, rights(&new));
            writer.watch(&seen(3));
            writer.forget(id(3));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_set_that_takes_the_place_of_another_opens_nothing_to_who_held_that() {
    let (mut writer, reader) = register();
    writer.watch(&seen(1));
    writer.watch(&seen(2));
    let (first, second) = (BTreeMap::from([(7, 1)]), BTreeMap::from([(7, 2)]));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (user, never) in [(1, 1), (2, 0)] {
            let (reader, stop) = (&reader, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert!(reader.look_up(&question(user, 7, never)).derived.is_err());
                }
            });
        }
        // Every set is new and the one before held by nobody, so that places change hands all the time.
        for round in 0..5_000 {
            let more = format!("x{round}");
            let now = writer.ticks().now();
            writer.publish(id(1), now, rights_and(&more, &first));
            writer.publish(id(2), now, rights_and(&more, &second));
            assert!(reader.look_up(&question(1, 7, 0)).derived.is_ok());
            assert!(reader.look_up(&question(2, 7, 1)).derived.is_ok());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reader.stats().sets <= SETS);
    assert_eq!(reader.stats().refused_sets, 0);
}
