//! The register at scale: resident memory, look-ups while a writer publishes, updates per second.
//!
//! `cargo bench --bench register` takes a million system users with 1.5 parties each on average and an
//! agent with 10,000 clients; `-- USERS` another number. Every figure of memory comes from a process of
//! its own, beyond what it took before the first entry.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "a measurement prints, and stops when it cannot go on"
)]

use portvakt::domain::delegation::{PackageId, PartyRights};
use portvakt::domain::party::{OrgNumber, Party};
use portvakt::domain::resource::{Question, Right};
use portvakt::domain::system_user::{SystemId, SystemUserId};
use portvakt::register::{
    Limits, PolicyState, PolicyVersion, Reader, Restored, Seen, Ticks, Writer, open,
};
use portvakt::store::{Options, Secret, open as open_snapshot};
use portvakt::sync::ports::{Saved, SavedUser, Store};
use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PACKAGES: usize = 40;
const SETS: u64 = 200;
const RIGHTS: usize = 20;
const AGENT: u64 = u64::MAX;
const CLIENTS: u32 = 10_000;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let users = |text: &String| text.parse::<u64>().unwrap();
    match arguments.as_slice() {
        [mode, users] => run(mode, users.parse().unwrap()),
        rest => {
            let users = rest.first().map_or(1_000_000, users);
            println!(
                "{users} system users, 1.5 parties on average, one agent with {CLIENTS} clients"
            );
            for mode in ["live", "restored", "map", "disk", "sealed"] {
                let mut child = Command::new(std::env::current_exe().unwrap());
                assert!(child.args([mode, &users.to_string()]).status().unwrap().success());
            }
        }
    }
}

fn run(mode: &str, users: u64) {
    match mode {
        "live" => live(users),
        "restored" => restored(users),
        "map" => plain_map(users),
        // A snapshot for a start within a second, and one as large as the register.
        "disk" | "sealed" => [100_000, users].iter().for_each(|users| disk(*users, mode)),
        other => panic!("no mode {other}"),
    }
}

/// Everything watched and published one by one, as in a running program; then the look-ups.
fn live(users: u64) {
    let world = World::new();
    let (mut writer, reader) = world.register();
    let before = resident();
    let begun = Instant::now();
    for user in (0..users).chain([AGENT]) {
        writer.watch(&world.seen(user));
    }
    rate("watch one by one", users, begun);
    let begun = Instant::now();
    for user in (0..users).chain([AGENT]) {
        writer.publish(id(user), writer.ticks().now(), world.parties(user));
    }
    rate("first publish one by one", users, begun);
    memory("register, published one by one", before, &reader);
    look_ups(&world, &reader, users, "nothing else at work");
    with_writer(&world, writer, &reader, users);
    memory("after the writer's updates", before, &reader);
}

/// Taken in from a snapshot.
fn restored(users: u64) {
    let world = World::new();
    let (mut writer, reader) = world.register();
    let before = resident();
    let begun = Instant::now();
    let now = writer.ticks().now();
    let all: Vec<u64> = (0..users).chain([AGENT]).collect();
    for batch in all.chunks(20_000) {
        let restored = batch.iter().map(|user| Restored {
            seen: world.seen(*user),
            fetched: Some(now),
            changed: now,
            lost: None,
            last_used: now,
            parties: world.parties(*user),
        });
        writer.restore(restored.collect());
    }
    drop(all);
    rate("restore in batches of 20,000", users, begun);
    memory("register, restored", before, &reader);
    let begun = Instant::now();
    let gone =
        writer.evict(reader.size() - 1, usize::MAX, Duration::from_secs(3600), &HashSet::new());
    println!("  evict the one least recently used: {:?} ({})", begun.elapsed(), gone.len());
    let begun = Instant::now();
    black_box(reader.stats());
    println!("  stats over everything: {:?}", begun.elapsed());
}

/// What a plain map of the same takes.
fn plain_map(users: u64) {
    let world = World::new();
    let before = resident();
    let mut map: HashMap<[u8; 16], Vec<(String, Vec<String>)>> = HashMap::new();
    for user in (0..users).chain([AGENT]) {
        let named = |rights: PartyRights| {
            let packages = rights.packages.iter().map(ToString::to_string).collect();
            (rights.party.to_string(), packages)
        };
        map.insert(*id(user).as_bytes(), world.parties(user).into_iter().map(named).collect());
    }
    println!("plain HashMap of vectors of strings: {:.1} MiB", mib(resident() - before));
    black_box(&map);
}

/// Saved, loaded into a register, and refreshed batch by batch.
fn disk(users: u64, mode: &str) {
    const BATCH: u64 = 1000;
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        path: folder.path().join("register.redb"),
        binding: b"bench".to_vec(),
        key: (mode == "sealed").then(|| Secret::new([7; 32])),
    };
    let wall = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let batch = |from: u64| {
        let users = from..users.min(from + BATCH);
        users.map(|user| Saved::User(Box::new(world.saved(user, wall)))).collect()
    };
    println!("snapshot of {users} users, {mode}:");
    let begun = Instant::now();
    let mut store = open_snapshot(&options, wall).unwrap().store;
    (0..users).step_by(1000).for_each(|from| store.save(batch(from)).unwrap());
    rate("save new ones, 1,000 a batch", users, begun);
    drop(store);
    let size = options.path.metadata().unwrap().len() as usize;
    println!("  file: {:.1} MiB", mib(size));
    let begun = Instant::now();
    let (mut writer, reader) = world.register();
    let ticks = writer.ticks().clone();
    let opened = open_snapshot(&options, wall + Duration::from_secs(60)).unwrap();
    println!("  open and check: {:.2?}", begun.elapsed());
    let mut restored = Vec::new();
    let mut take = |saved: Saved| {
        let Saved::User(user) = saved else { return };
        let moment = |at| ticks.from_wall(at, wall + Duration::from_secs(60)).unwrap();
        restored.push(Restored {
            seen: Seen {
                id: user.id,
                owner: Some(user.owner),
                system: Some(user.system),
                vendor: Some(user.vendor),
            },
            fetched: user.fetched.map(moment),
            changed: moment(user.changed),
            lost: user.lost.map(moment),
            last_used: moment(user.last_used),
            parties: user.parties,
        });
        if restored.len() == 20_000 {
            writer.restore(std::mem::take(&mut restored));
        }
    };
    opened.loader.load(&mut take).unwrap();
    writer.restore(restored);
    assert_eq!(reader.size() as u64, users);
    rate("open, check, load and restore", users, begun);
    let mut store = opened.store;
    let begun = Instant::now();
    let refreshed = 20 * BATCH;
    for n in 0..20 {
        let one = |k: u64| Saved::User(Box::new(world.saved(random(n * BATCH + k) % users, wall)));
        store.save((0..BATCH).map(one).collect()).unwrap();
    }
    rate("save again at random, 1,000 a batch", refreshed, begun);
    let begun = Instant::now();
    (0..50).for_each(|n| store.save(vec![Saved::User(Box::new(world.saved(n, wall)))]).unwrap());
    rate("save one at a time", 50, begun);
}

struct World {
    packages: Vec<PackageId>,
    sets: Vec<Vec<PackageId>>,
    rights: Vec<Right>,
    systems: Vec<SystemId>,
}

impl World {
    fn new() -> Self {
        let package = |number: usize| format!("package-of-some-length-{number}").parse().unwrap();
        let packages: Vec<PackageId> = (0..PACKAGES).map(package).collect();
        let set = |number: u64| {
            let picked = (0..=number % 6).map(|pick| random(number * 100 + pick) as usize);
            let mut set: Vec<_> = picked.map(|pick| packages[pick % PACKAGES].clone()).collect();
            set.sort_unstable();
            set.dedup();
            set
        };
        let right = |number: usize| Right {
            resource: format!("ex-resource-{}", number / 2).parse().unwrap(),
            action: ["read", "write"][number % 2].parse().unwrap(),
        };
        Self {
            sets: (0..SETS).map(set).collect(),
            rights: (0..RIGHTS).map(right).collect(),
            systems: (0..300).map(|n| format!("310000019_system_{n}").parse().unwrap()).collect(),
            packages,
        }
    }

    fn register(&self) -> (Writer, Reader) {
        let limits = Limits { max_entries: usize::MAX, max_sets: 65_536 };
        let (mut writer, reader) = open(self.rights.clone(), limits, Ticks::new()).unwrap();
        let state = |number: usize| {
            let wanted: Vec<_> =
                (0..8).map(|pick| self.packages[(number + 5 * pick) % PACKAGES].clone()).collect();
            PolicyState::Derivable {
                derive: Box::new(move |holds| wanted.iter().any(holds)),
                explain: None,
                version: PolicyVersion(number as u64),
                access: None,
                since: None,
            }
        };
        let rights = self.rights.iter().map(|right| writer.right_index(right).unwrap());
        let states = rights.zip((0..RIGHTS).map(state)).collect();
        writer.set_policies(states);
        writer.policies_verified(writer.ticks().now());
        (writer, reader)
    }

    fn seen(&self, user: u64) -> Seen {
        Seen {
            id: id(user),
            owner: Some(org(random(user) as u32 % 900_000_000)),
            system: Some(self.systems[user as usize % self.systems.len()].clone()),
            vendor: Some(org(user as u32 % 100)),
        }
    }

    /// One party for three in four, three for one in four: 1.5 on average. The agent has its clients.
    fn parties(&self, user: u64) -> Vec<PartyRights> {
        let count = match user {
            AGENT => CLIENTS,
            user if random(user).is_multiple_of(4) => 3,
            _ => 1,
        };
        let party = |number: u32| PartyRights {
            party: party(user, number),
            packages: self.sets[(random(user ^ u64::from(number)) % SETS) as usize].clone(),
            resources: vec![],
        };
        (0..count).map(party).collect()
    }

    fn saved(&self, user: u64, wall: SystemTime) -> SavedUser {
        let Seen { id, owner, system, vendor } = self.seen(user);
        let parties = self.parties(user);
        SavedUser {
            id,
            owner: owner.unwrap(),
            system: system.unwrap(),
            vendor: vendor.unwrap(),
            fetched: Some(wall),
            changed: wall,
            lost: None,
            last_used: wall,
            parties,
            read_for: None,
        }
    }

    fn question(&self, user: u64, party: OrgNumber) -> Question {
        let right = self.rights[random(user.wrapping_add(7)) as usize % RIGHTS].clone();
        Question::new(id(user), Party::Organization(party), right, None)
    }
}

fn party(user: u64, number: u32) -> OrgNumber {
    org(random(user.wrapping_add(1)) as u32 % 900_000_000 + number)
}

fn look_ups(world: &World, reader: &Reader, users: u64, beside: &str) {
    const ASKED: u64 = 300_000;
    let pick = |n: u64| random(n + 99) % users;
    let first = |n: u64| world.question(pick(n), party(pick(n), 0));
    let permits = |question: &Question| reader.look_up(question).derived.is_ok();
    let (hits, misses): (Vec<_>, Vec<_>) = (0..ASKED).map(first).partition(permits);
    let unwatched = |n: u64| world.question(users + n, party(n, 0));
    let client = |n: u64| world.question(AGENT, party(AGENT, n as u32 % CLIENTS));
    println!("  look-up in ns, {beside}:");
    measure("a permit derived", reader, &hits);
    measure("not covered", reader, &misses);
    measure("not watched", reader, &(0..ASKED).map(unwatched).collect::<Vec<_>>());
    measure("a client of the agent", reader, &(0..ASKED).map(client).collect::<Vec<_>>());
}

fn measure(what: &str, reader: &Reader, questions: &[Question]) {
    let mut times: Vec<u64> = Vec::with_capacity(questions.len());
    for question in questions {
        let begun = Instant::now();
        black_box(reader.look_up(black_box(question)));
        times.push(begun.elapsed().as_nanos() as u64);
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("    {what:24} p50 {p50:5}  p99 {p99:5}  p99.9 {p999:6}");
}

/// Look-ups while a writer publishes as fast as it can.
fn with_writer(world: &World, mut writer: Writer, reader: &Reader, users: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let updates = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let stopped = Arc::clone(&stop);
        let updates = &updates;
        scope.spawn(move || {
            let begun = Instant::now();
            let mut n = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                let user = random(n) % users;
                // Something else than before, so that the content changes.
                let parties = world.parties(user + n % 3);
                writer.publish(id(user), writer.ticks().now(), parties);
                n += 1;
            }
            updates.store((n as f64 / begun.elapsed().as_secs_f64()) as usize, Ordering::Relaxed);
        });
        look_ups(world, reader, users, "a writer publishing as fast as it can");
        stop.store(true, Ordering::Relaxed);
    });
    println!("  the writer made {} updates/s meanwhile", updates.load(Ordering::Relaxed));
}

fn memory(what: &str, before: usize, reader: &Reader) {
    let stats = reader.stats();
    println!(
        "{what}: {:.1} MiB resident beyond the empty program ({:.1} estimated), {} users, {} parties, {} sets",
        mib(resident().saturating_sub(before)),
        mib(stats.bytes),
        stats.users,
        stats.parties,
        stats.sets
    );
}

fn rate(what: &str, count: u64, begun: Instant) {
    let took = begun.elapsed();
    println!("  {what}: {took:.2?}, {:.0}/s", count as f64 / took.as_secs_f64());
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn id(user: u64) -> SystemUserId {
    let (high, low) = (random(user).to_be_bytes(), random(user ^ 0x5555).to_be_bytes());
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high);
    bytes[8..].copy_from_slice(&low);
    SystemUserId::from_bytes(bytes).unwrap()
}

fn org(number: u32) -> OrgNumber {
    OrgNumber::from_packed(number % 1_000_000_000).unwrap()
}

/// Splitmix64: the same world in every run.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
