//! Every change of a sealed log is found.

use crate::files::*;
use portvakt::config::{AuditConfig, AuditOutput, ChainConfig, OnLoss, RotateConfig};
use portvakt::record::audit::Audit;
use portvakt::record::chain::{MacKey, PublicKey};
use portvakt::record::verify::{Extent, Keys, Kind, Report, verify};
use portvakt::telemetry::metrics::Metrics;
use proptest::prelude::*;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

fn config(path: &Path, rotate: RotateConfig) -> AuditConfig {
    AuditConfig {
        output: AuditOutput::File(path.to_owned()),
        queue: NonZeroUsize::new(10_000).unwrap(),
        on_loss: OnLoss::Count,
        rotate,
        chain: Some(ChainConfig {
            mac_key: MAC_KEY.into(),
            signing_key: SIGNING_KEY.into(),
            checkpoint_records: NonZeroUsize::new(5).unwrap(),
            checkpoint_interval: Duration::from_secs(3600),
        }),
        pseudonym_key: None,
    }
}

/// One run of the writer with so many records, one batch each.
fn run(path: &Path, rotate: RotateConfig, records: usize) {
    run_with(&config(path, rotate), records);
}

fn run_with(config: &AuditConfig, records: usize) {
    let metrics = Metrics::new().unwrap();
    let audit = Audit::open(config, &metrics, || ()).unwrap();
    let written = metrics.audit_records.with_label_values(&["written"]);
    for number in 0..records {
        let line = json!({"time": "2026-11-23T08:00:00.000000Z", "number": number}).to_string();
        audit.write(line.into_bytes(), None);
        let wanted = u64::try_from(number).unwrap() + 1;
        while written.get() < wanted {
            std::thread::yield_now();
        }
    }
    audit.close();
}

fn keys() -> Keys {
    Keys {
        codes: vec![MacKey::new(MAC_KEY)],
        signatures: vec![PublicKey::from_pem(PUBLIC_KEY).unwrap()],
    }
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// Files of a good log of two runs, by name.
static LOG: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let rotate = RotateConfig { max_bytes: Some(4000), ..RotateConfig::default() };
    run(&path, rotate, 23);
    run(&path, rotate, 17);
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let all = files(folder.path());
    let mut all: Vec<_> =
        all.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect();
    all.rotate_left(1);
    all
});

fn check(log: &[(String, Vec<u8>)], keys: &Keys) -> Report {
    check_extent(log, keys, Extent::default())
}

fn check_extent(log: &[(String, Vec<u8>)], keys: &Keys, extent: Extent) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let write = |(name, bytes): &(String, Vec<u8>)| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut paths: Vec<PathBuf> = log.iter().map(write).collect();
    // The order in which they are named is of no consequence.
    paths.reverse();
    verify(&paths, keys, extent).unwrap()
}

/// What is kept beside the log tells how far it had come.
fn whole() -> Extent {
    let last = u64::try_from(lines_of(&LOG).len()).unwrap();
    Extent { until: Some(last), ..Extent::default() }
}

/// All lines, with the number of their file.
fn lines_of(log: &[(String, Vec<u8>)]) -> Vec<(usize, Vec<u8>)> {
    let mut all = Vec::new();
    for (place, (_, bytes)) in log.iter().enumerate() {
        all.extend(bytes.split_inclusive(|byte| *byte == b'\n').map(|line| (place, line.to_vec())));
    }
    all
}

fn from_lines(lines: &[(usize, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut log: Vec<(String, Vec<u8>)> =
        LOG.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
    for (place, line) in lines {
        log[*place].1.extend_from_slice(line);
    }
    log
}

#[test]
fn a_log_as_it_was_written_is_in_order() {
    assert!(LOG.len() >= 3, "rotated: {}", LOG.len());
    let report = check(&LOG, &keys());
    assert_eq!(
        (kinds(&report), report.notices.len(), report.closed),
        (vec![], 0, true),
        "{report:?}"
    );
    assert!(report.checkpoints >= 8);
    // Each kind of key alone is enough for what it can see.
    for keys in [Keys { codes: vec![], ..keys() }, Keys { signatures: vec![], ..keys() }] {
        let report = check(&LOG, &keys);
        assert_eq!((kinds(&report), report.closed), (vec![], true), "{report:?}");
    }
    let strange = Keys { codes: vec![MacKey::new("another key")], signatures: vec![] };
    assert!(kinds(&check(&LOG, &strange)).iter().all(|kind| *kind == Kind::UnknownKey));
    assert!(!check(&LOG, &strange).findings.is_empty());
}

/// One thing that somebody does to a log.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Duplicate(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index),
    Cut(prop::sample::Index),
    Tear(prop::sample::Index),
    File(prop::sample::Index),
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), 1u8..).prop_map(|(place, mask)| Mutation::Flip(place, mask)),
        2 => at().prop_map(Mutation::Remove),
        2 => (at(), at()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        2 => (at(), at()).prop_map(|(line, to)| Mutation::Duplicate(line, to)),
        1 => at().prop_map(Mutation::Insert),
        2 => at().prop_map(Mutation::Cut),
        2 => at().prop_map(Mutation::Tear),
        1 => at().prop_map(Mutation::File),
    ]
}

/// The log after it; `None` where it is the same as before.
fn mutated(mutation: &Mutation) -> Option<Vec<(String, Vec<u8>)>> {
    let mut lines = lines_of(&LOG);
    let all = lines.len();
    match mutation {
        Mutation::Flip(place, mask) => {
            let mut log = LOG.clone();
            let mut place = place.index(log.iter().map(|(_, bytes)| bytes.len()).sum());
            for (_, bytes) in &mut log {
                if place < bytes.len() {
                    bytes[place] ^= mask;
                    break;
                }
                place -= bytes.len();
            }
            return Some(log);
        }
        Mutation::Remove(place) => drop(lines.remove(place.index(all))),
        Mutation::Swap(one, other) => {
            let (one, other) = (one.index(all), other.index(all));
            let (first, second) = (lines[one].1.clone(), lines[other].1.clone());
            lines[one].1 = second;
            lines[other].1 = first;
            if one == other {
                return None;
            }
        }
        Mutation::Duplicate(line, to) => {
            let (line, to) = (lines[line.index(all)].1.clone(), to.index(all));
            let file = lines[to].0;
            lines.insert(to, (file, line));
        }
        Mutation::Insert(place) => {
            let place = place.index(all);
            let forged =
                String::from_utf8(lines[place].1.clone()).unwrap().replacen("number", "numbir", 1);
            let forged = forged.replacen("08:00", "08:01", 1).into_bytes();
            let file = lines[place].0;
            lines.insert(place, (file, forged));
        }
        Mutation::Cut(place) => lines.truncate(place.index(all)),
        Mutation::Tear(place) => {
            let place = place.index(all);
            lines.truncate(place + 1);
            let half = lines[place].1.len() / 2;
            lines[place].1.truncate(half);
        }
        Mutation::File(place) => {
            let mut log = LOG.clone();
            log.remove(place.index(log.len()));
            return Some(log);
        }
    }
    Some(from_lines(&lines))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_one_change_is_found(mutation in mutations()) {
        if let Some(log) = mutated(&mutation) {
            let report = check_extent(&log, &keys(), whole());
            prop_assert!(!report.findings.is_empty() || !report.closed, "{:?}: {:?}", mutation, report);
        }
    }

    /// Who has the public key only sees every change before the last checkpoint, but for the codes of checkpoints.
    #[test]
    fn a_changed_record_is_found_with_the_public_key_alone(line: prop::sample::Index, place: prop::sample::Index, mask in 1u8..) {
        let mut lines = lines_of(&LOG);
        let records: Vec<usize> = (0..lines.len())
            .filter(|line| !String::from_utf8_lossy(&lines[*line].1).contains("checkpoint"))
            .collect();
        let line = records[line.index(records.len())];
        let place = place.index(lines[line].1.len());
        lines[line].1[place] ^= mask;
        let report = check(&from_lines(&lines), &Keys { codes: vec![], ..keys() });
        prop_assert!(!report.findings.is_empty(), "{report:?}");
    }
}

#[test]
fn every_cut_is_told_and_nothing_that_is_left_is_called_wrong_for_it() {
    let lines = lines_of(&LOG);
    let mut ends = 0;
    for length in 1..lines.len() {
        let cut = from_lines(&lines[..length]);
        let report = check(&cut, &keys());
        assert!(kinds(&report).is_empty(), "{length}: {report:?}");
        // The log of the first run alone is a whole one, as far as it can tell itself.
        let is_end = String::from_utf8_lossy(&lines[length - 1].1).contains("\"why\":\"stop\"");
        assert_eq!(report.closed, is_end, "{length}: {report:?}");
        ends += usize::from(is_end);
        let told: Vec<Kind> = report.notices.iter().map(|finding| finding.kind).collect();
        assert_eq!(told.contains(&Kind::OpenEnd), !is_end, "{length}: {report:?}");
        assert_eq!(kinds(&check_extent(&cut, &keys(), whole())), [Kind::Cut]);
    }
    assert_eq!(ends, 1);
}

#[test]
fn a_finding_says_where() {
    let lines = lines_of(&LOG);
    let changed = |line: usize| {
        let mut lines = lines.clone();
        let text = String::from_utf8(lines[line].1.clone()).unwrap();
        lines[line].1 = text.replacen("08:00:00", "08:00:01", 1).into_bytes();
        lines
    };
    // The third line of the first file is the second record.
    let report = check(&from_lines(&changed(2)), &keys());
    let first = &report.findings[0];
    assert_eq!((first.kind, first.line, first.sequence), (Kind::Changed, 3, Some(3)), "{report:?}");
    assert!(first.file.ends_with(&LOG[0].0));
    // The checkpoint after it does not fit either.
    assert_eq!(kinds(&report), [Kind::Changed, Kind::Digest]);
    let mut missing = lines.clone();
    missing.remove(2);
    let report = check(&from_lines(&missing), &keys());
    assert_eq!(kinds(&report), [Kind::Missing, Kind::Digest], "{report:?}");
    assert!(report.findings[0].message.contains("line 3 is missing"), "{report:?}");
    let mut twice = lines.clone();
    twice.insert(3, lines[2].clone());
    assert_eq!(kinds(&check(&from_lines(&twice), &keys())), [Kind::Repeated, Kind::Digest]);
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let report = check(&from_lines(&swapped), &keys());
    assert_eq!(kinds(&report), [Kind::Missing, Kind::Repeated, Kind::Digest], "{report:?}");
}

#[test]
fn an_end_that_was_cut_off_before_a_start_is_found_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    run(&path, RotateConfig::default(), 12);
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(9).collect();
    std::fs::write(&path, kept.concat()).unwrap();
    run(&path, RotateConfig::default(), 3);
    let report = verify(std::slice::from_ref(&path), &keys(), Extent::default()).unwrap();
    assert_eq!(kinds(&report), [Kind::Cut], "{report:?}");
    // As is a log that was away altogether.
    std::fs::remove_file(&path).unwrap();
    run(&path, RotateConfig::default(), 3);
    let report = verify(std::slice::from_ref(&path), &keys(), Extent::default()).unwrap();
    assert_eq!(kinds(&report), [Kind::Beginning], "{report:?}");
}

#[test]
fn a_log_that_was_not_sealed_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "{\"plain\":1}\n").unwrap();
    run(&path, RotateConfig::default(), 3);
    let report = verify(std::slice::from_ref(&path), &keys(), Extent::default()).unwrap();
    assert_eq!((kinds(&report), report.closed), (vec![], true), "{report:?}");
    let aside =
        files(folder.path()).into_iter().find(|file| file.to_string_lossy().contains("unsealed"));
    assert_eq!(std::fs::read_to_string(aside.unwrap()).unwrap(), "{\"plain\":1}\n");
}

/// The next checkpoint would sign them as ours.
#[test]
fn lines_that_were_changed_or_put_in_while_the_program_stood_still_are_not_taken_up() {
    let whole = lines_of(&LOG);
    let lines: Vec<String> = whole
        .iter()
        .filter(|(place, _)| *place == 0)
        .map(|(_, line)| String::from_utf8(line.clone()).unwrap())
        .collect();
    // The first checkpoint and two records, as a kill leaves them.
    let killed = &lines[..3];
    let altered = |line: &String| line.replacen("08:00:00", "08:00:01", 1);
    let last = killed[2].clone();
    let cases = [
        ("as it was", killed.concat(), false),
        ("changed", [&killed[0], &altered(&killed[1]), &last].map(String::as_str).concat(), true),
        (
            "the last changed",
            [&killed[0], &killed[1], &altered(&last)].map(String::as_str).concat(),
            true,
        ),
        (
            "put in at the end",
            [killed.concat(), last.replacen("\"seq\":3", "\"seq\":4", 1)].concat(),
            true,
        ),
        ("twice", [killed.concat(), last.clone()].concat(), true),
        ("one missing", [killed[0].as_str(), &last].concat(), true),
        (
            "no line of ours between",
            [killed[0].as_str(), "rubbish\n", &killed[1], &last].concat(),
            true,
        ),
        (
            "the checkpoint changed",
            [killed[0].replacen("\"why\":\"start\"", "\"why\":\"open\"", 1), killed[1].clone()]
                .concat(),
            true,
        ),
    ];
    for (name, text, refused) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, &text).unwrap();
        run(&path, RotateConfig::default(), 2);
        let report = verify(std::slice::from_ref(&path), &keys(), Extent::default()).unwrap();
        assert_eq!((kinds(&report), report.closed), (vec![], true), "{name}: {report:?}");
        let now = std::fs::read_to_string(&path).unwrap();
        assert_eq!(!now.starts_with(&text), refused, "{name}");
        let aside = files(folder.path()).into_iter().find(|file| *file != path);
        let aside = aside.map(|file| std::fs::read_to_string(file).unwrap());
        assert_eq!(aside, refused.then_some(text), "{name}");
    }
}

/// They would reach the terminal of whoever checks the log.
#[test]
fn an_id_of_a_key_is_sixteen_digits_or_the_line_is_none_of_ours() {
    let mut lines = lines_of(&LOG);
    let text = String::from_utf8(lines[2].1.clone()).unwrap();
    let id = MacKey::new(MAC_KEY).id().to_owned();
    lines[2].1 = text.replacen(&id, "\\u001b[2J\\nwhole", 1).into_bytes();
    let report = check(&from_lines(&lines), &keys());
    assert_eq!(kinds(&report)[0], Kind::Unreadable, "{report:?}");
    let told = report.findings.iter().map(|finding| finding.message.as_str());
    assert!(told.flat_map(str::chars).all(|c| !c.is_control()), "{report:?}");
}

#[test]
fn only_so_many_rotated_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let foreign = folder.path().join("audit.jsonl.1");
    std::fs::write(&foreign, "not ours").unwrap();
    let keep = NonZeroUsize::new(2);
    run(&path, RotateConfig { max_bytes: Some(1500), keep, max_age: None }, 40);
    let left = files(folder.path());
    // Two renamed ones, the one that is written, and one that is not ours.
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(foreign.exists());
    let ours: Vec<PathBuf> = left.into_iter().filter(|file| *file != foreign).collect();
    let report = verify(&ours, &keys(), Extent::default()).unwrap();
    assert_eq!(kinds(&report), [Kind::Beginning], "{report:?}");
    let extent = Extent { from: report.first.unwrap(), until: None };
    let report = verify(&ours, &keys(), extent).unwrap();
    assert_eq!((kinds(&report), report.closed), (vec![], true), "{report:?}");
}

/// The file that is begun is as sealed as any, whatever became of the old ones.
#[test]
fn an_old_file_that_cannot_be_removed_is_no_fault_of_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    // A folder where the oldest file would be is not removed as one.
    let stubborn = folder.path().join("audit.jsonl.20200101T000000.000000Z");
    std::fs::create_dir(&stubborn).unwrap();
    let keep = NonZeroUsize::new(1);
    run(&path, RotateConfig { max_bytes: Some(1500), keep, max_age: None }, 40);
    let ours: Vec<PathBuf> =
        files(folder.path()).into_iter().filter(|file| *file != stubborn).collect();
    assert_eq!(ours.len(), 2, "{ours:?}");
    let report = verify(&ours, &keys(), Extent::default()).unwrap();
    assert_eq!((kinds(&report), report.closed), (vec![Kind::Beginning], true), "{report:?}");
}

#[test]
fn keys_may_be_changed_at_a_start() {
    const OTHER: &str = "fedcba9876543210fedcba9876543210";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    run(&path, RotateConfig::default(), 7);
    let mut changed = config(&path, RotateConfig::default());
    changed.chain.as_mut().unwrap().mac_key = OTHER.into();
    run_with(&changed, 7);
    let files = [path];
    let mut keys = keys();
    let report = verify(&files, &keys, Extent::default()).unwrap();
    assert!(!report.findings.is_empty(), "the second half is of another key");
    assert!(kinds(&report).iter().all(|kind| *kind == Kind::UnknownKey), "{report:?}");
    keys.codes.push(MacKey::new(OTHER));
    let report = verify(&files, &keys, Extent::default()).unwrap();
    assert_eq!((kinds(&report), report.closed), (vec![], true), "{report:?}");
}

#[test]
fn a_chain_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let config = config(&path, RotateConfig::default());
    let metrics = Metrics::new().unwrap();
    let first = Audit::open(&config, &metrics, || ()).unwrap();
    let second = Audit::open(&config, &metrics, || ()).unwrap_err().to_string();
    assert!(second.contains("written by another process"), "{second}");
    first.close();
    Audit::open(&config, &metrics, || ()).unwrap().close();
}
