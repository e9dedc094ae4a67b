//! The snapshot against what happens to disks and processes: killed at any moment, no room, taken twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; a child process is told by its environment what to do"
)]

use portvakt::domain::delegation::PartyRights;
use portvakt::domain::party::OrgNumber;
use portvakt::domain::system_user::SystemUserId;
use portvakt::store::{OpenError, Opened, Options, Secret, open};
use portvakt::sync::ports::{FeedPosition, Saved, SavedUser, Store, StoreError};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FILE: &str = "PORTVAKT_TEST_SNAPSHOT";
const SEALED: &str = "PORTVAKT_TEST_SEALED";
/// Whether the process ends while the disk is full.
const ENDS: &str = "PORTVAKT_TEST_ENDS";
/// System users of a batch; every one tells which batch wrote it.
const USERS: u32 = 30;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn options(path: &Path, sealed: bool) -> Options {
    let key = sealed.then(|| Secret::new([7; 32]));
    Options { path: path.to_owned(), binding: b"tt02".to_vec(), key }
}

fn id(number: u32) -> SystemUserId {
    format!("11111111-1111-4111-8111-1111{number:08x}").parse().unwrap()
}

fn batch(number: u32) -> Vec<Saved> {
    let organisation = |number| OrgNumber::from_packed(number).unwrap();
    let user = |user: u32| {
        let package = format!("package-{number}").parse().unwrap();
        let rights = |party| PartyRights {
            party: organisation(party),
            packages: vec![package],
            resources: vec![],
        };
        Saved::User(Box::new(SavedUser {
            id: id(user),
            owner: organisation(number),
            system: "310000019_regnskap".parse().unwrap(),
            vendor: organisation(user),
            fetched: Some(now() + Duration::from_millis(number.into())),
            changed: now(),
            lost: None,
            last_used: now(),
            parties: vec![rights(number)],
            read_for: None,
        }))
    };
    let feed = Saved::Feed(FeedPosition(number.to_string()));
    // One comes and goes with the parity of the batch, so that leaving is torn neither.
    let guest = if number.is_multiple_of(2) { user(USERS) } else { Saved::ForgetUser(id(USERS)) };
    (0..USERS).map(user).chain([feed, guest]).collect()
}

/// The batch that the snapshot holds: whole, and nothing of another.
fn held(opened: Opened) -> Option<u32> {
    let Opened { store, loader, set_aside, tightened: _ } = opened;
    assert!(set_aside.is_none(), "{set_aside:?}");
    let mut all = Vec::new();
    loader.load(&mut |saved| all.push(saved)).unwrap();
    drop(store);
    let Some(Saved::Feed(FeedPosition(number))) = all.first() else {
        assert!(all.is_empty());
        return None;
    };
    let number = number.parse().unwrap();
    let mut expected: Vec<Saved> = batch(number);
    expected.retain(|saved| !matches!(saved, Saved::ForgetUser(_)));
    let text = |saved: &Saved| format!("{saved:?}");
    let (mut all, mut expected): (Vec<_>, Vec<_>) =
        (all.iter().map(text).collect(), expected.iter().map(text).collect());
    all.sort_unstable();
    expected.sort_unstable();
    assert!(all == expected, "not exactly batch {number}");
    Some(number)
}

/// This test program again, doing what `child` says instead.
fn child(name: &str, file: &Path, sealed: bool) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(FILE, file).env(SEALED, if sealed { "yes" } else { "no" });
    command.stdout(Stdio::piped());
    command
}

fn told() -> Options {
    let file = env::var_os(FILE).expect("run by another test only");
    options(Path::new(&file), env::var(SEALED).unwrap() == "yes")
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n:{line}").unwrap();
    out.flush().unwrap();
}

/// The lines that the child says, as far as it comes.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix(':').map(str::to_owned))
}

#[test]
#[ignore = "a child process of the test below"]
fn child_saves_until_it_is_killed() {
    let options = told();
    let mut number = held(open(&options, now()).unwrap()).map_or(0, |number| number + 1);
    let mut store = open(&options, now()).unwrap().store;
    say("ready");
    loop {
        store.save(batch(number)).unwrap();
        say(&number.to_string());
        number += 1;
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_the_last_batch_it_told_of_or_one_more() {
    let rounds: u64 =
        env::var("PORTVAKT_KILL_ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (mut saved, mut unsaid) = (0, 0);
    for round in 0..rounds {
        let sealed = round % 2 == 1;
        // Two files that live through all rounds, and now and then one that is just being made.
        let fresh = round % 10 >= 8;
        let name = if fresh { format!("fresh-{round}") } else { format!("sealed-{sealed}") };
        let file = folder.path().join(name);
        let before = held(open(&options(&file, sealed), now()).unwrap()).filter(|_| !fresh);
        if fresh {
            std::fs::remove_file(&file).unwrap();
        }
        let mut child = child("child_saves_until_it_is_killed", &file, sealed).spawn().unwrap();
        let wait = Duration::from_micros(random(round) % 60_000);
        let killer = std::thread::scope(|scope| {
            let mut lines = lines(&mut child);
            // Some are killed while they open, most while they save.
            if round % 4 > 0 {
                lines.next();
            }
            let last = scope.spawn(|| lines.last());
            std::thread::sleep(wait);
            child.kill().unwrap();
            child.wait().unwrap();
            last.join().unwrap()
        });
        let acknowledged = killer.and_then(|line| line.parse::<u32>().ok()).or(before);
        let held = held(open(&options(&file, sealed), now()).unwrap());
        let next = acknowledged.map_or(0, |number| number + 1);
        assert!(held == acknowledged || held == Some(next), "{held:?}, told {acknowledged:?}");
        unsaid += u32::from(held != acknowledged);
        saved += held.unwrap_or(0).saturating_sub(before.unwrap_or(0));
    }
    let left = std::fs::read_dir(folder.path()).unwrap();
    let aside = left.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().contains("set-aside")
    });
    assert_eq!(aside.count(), 0);
    println!("{rounds} rounds, {saved} batches, {unsaid} written but not yet told of");
    assert!(saved > 0);
}

#[test]
#[ignore = "a child process of the test below"]
fn child_meets_a_full_disk() {
    let mut store = open(&told(), now()).unwrap().store;
    (1..=5).for_each(|number| store.save(batch(number)).unwrap());
    say("5");
    let mut too_large = batch(6);
    too_large.push(Saved::Feed(FeedPosition("x".repeat(4 << 20))));
    for _ in 0..2 {
        let refused = store.save(too_large.clone());
        assert!(matches!(refused, Err(StoreError::Disk(_))), "{refused:?}");
    }
    if env::var_os(ENDS).is_some() {
        return;
    }
    // Room again.
    let own = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &own, "--fsize=unlimited"]).status();
    assert!(status.unwrap().success());
    store.save(too_large).unwrap();
    store.save(batch(7)).unwrap();
    say("7");
}

/// Runs the child above on a disk where the file may not grow past two megabytes. A limit of the process
/// stands for the disk: nothing of the machine has to be changed for it.
fn on_a_small_disk(file: &Path, ends: bool) -> Vec<u32> {
    let mut child = child("child_meets_a_full_disk", file, false);
    if ends {
        child.env(ENDS, "yes");
    }
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; exec prlimit --fsize=1900000:unlimited \"$@\"", "sh"]);
    limited.arg(child.get_program()).args(child.get_args());
    limited.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = limited.stdout(Stdio::piped()).spawn().unwrap();
    let said: Vec<u32> = lines(&mut running).map(|line| line.parse().unwrap()).collect();
    assert!(running.wait().unwrap().success());
    said
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register.redb");
    let said = on_a_small_disk(&file, true);
    assert_eq!(said.len(), 1);
    assert_eq!(held(open(&options(&file, false), now()).unwrap()), Some(said[0]));
}

#[test]
fn a_full_disk_is_forgotten_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register.redb");
    let said = on_a_small_disk(&file, false);
    assert_eq!(said.len(), 2);
    assert_eq!(held(open(&options(&file, false), now()).unwrap()), Some(said[1]));
}

#[test]
fn a_second_process_gets_no_snapshot_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("register.redb");
    let mut child = child("child_saves_until_it_is_killed", &file, true).spawn().unwrap();
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    let begun = Instant::now();
    assert!(matches!(open(&options(&file, true), now()), Err(OpenError::InUse)));
    assert!(begun.elapsed() < Duration::from_secs(5), "told at once");
    let before: u32 = lines.next().unwrap().parse().unwrap();
    assert!(lines.next().unwrap().parse::<u32>().unwrap() > before, "the first goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Splitmix64: the same moments in every run, as far as the machine allows.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
