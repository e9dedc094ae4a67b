//! `portvakt register verify`: the permits that the register derives, put to Altinn's decision point.
//!
//! A difference shortly after a change says little, since Altinn answers from memory for some minutes: it
//! is set apart. A no is asked for twice, for a look-up that fails at Altinn says "no" as well.

use super::CANNOT_TELL;
use super::held::{HeldError, Origin};
use crate::app::{AppError, Judge};
use crate::cli::{FAILED, complain};
use crate::config::{Config, LogConfig};
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::party::Party;
use crate::domain::resource::{Question, ResourceId, Right};
use crate::enforce::ports::{Account, Call, RemotePdp, Urgency};
use crate::telemetry::{self, metrics::Metrics};
use clap::Args;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Handle;

/// How much to compare.
#[derive(Args, Debug)]
pub struct Extent {
    /// Most pairs of a system user and a party; drawn by lot where there are more.
    #[arg(long, default_value_t = NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MIN))]
    pairs: NonZeroUsize,
    /// Every pair.
    #[arg(long, conflicts_with = "pairs")]
    all: bool,
}

/// Altinn's memory, with a minute on top (contract authorization.md §4).
const DELEGATIONS: Duration = Duration::from_secs(6 * 60);
const POLICIES: Duration = Duration::from_secs(11 * 60);
/// Our own ceiling refuses a call that waits too long; then it is asked again.
const PATIENCE: usize = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(6);
/// Pairs asked about at once; the ceiling of calls holds for all of them together.
const AT_ONCE: usize = 8;
const OWN: Call = Call { account: Account::Own, urgency: Urgency::Behind };

/// What the register derives for one system user and one party.
#[derive(Clone, Debug)]
struct Pair {
    questions: Vec<Question>,
    changed: Option<Duration>,
    read: Option<Duration>,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error(transparent)]
    Held(#[from] HeldError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error(
        "Altinn cannot be asked: no client of our own is configured (`maskinporten.client_id`)"
    )]
    NoClient,
    #[error("the summary of the register cannot be read")]
    Summary,
    #[error("the export of the register cannot be read: {0}")]
    Line(String),
}

/// Counts by outcome.
#[derive(Debug, Default)]
struct Counts {
    agreed: usize,
    differ: usize,
    apart: usize,
    untold: usize,
}

/// Compares, and prints what differs. Exit code 0 when nothing does, 1 when something does, 3 when it could
/// not be told for some, or when something changed too lately.
pub(super) async fn run(
    config: &Config,
    from: &Origin,
    extent: &Extent,
    control: &Handle,
) -> ExitCode {
    let _ = telemetry::start_log(&LogConfig { filter: "warn".into(), json: false });
    match verify(config, *from, extent, control).await {
        Ok(counts) if counts.differ > 0 => ExitCode::from(FAILED),
        Ok(counts) if counts.apart + counts.untold > 0 => ExitCode::from(CANNOT_TELL),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = complain(&error);
            ExitCode::from(CANNOT_TELL)
        }
    }
}

async fn verify(
    config: &Config,
    from: Origin,
    extent: &Extent,
    control: &Handle,
) -> Result<Counts, VerifyError> {
    let changes = policy_changes(from.summary(config).await?).ok_or(VerifyError::Summary)?;
    let most = if extent.all { usize::MAX } else { extent.pairs.get() };
    let (pairs, all) = draw(config, from, most).await?;
    let judge = Judge::beside(config, &Metrics::new()?, control)?;
    let pdp = judge.altinn.ok_or(VerifyError::NoClient)?.pdp;
    let mut verifier = Verifier { changes, counts: Counts::default() };
    let at_once = config.altinn.requests_per_second.get().min(AT_ONCE);
    let asked = pairs.iter().map(|pair| ask(&*pdp, pair));
    let mut asked = stream::iter(asked).buffer_unordered(at_once);
    while let Some((pair, verdicts)) = asked.next().await {
        for (question, verdict) in pair.questions.iter().zip(verdicts) {
            verifier.judge(question, pair, verdict);
        }
    }
    let Counts { agreed, differ, apart, untold } = verifier.counts;
    say(&format!(
        "{} of {all} pairs compared: {agreed} permits agreed, {differ} differ, \
         {apart} differ shortly after a change, {untold} could not be told",
        pairs.len()
    ));
    Ok(verifier.counts)
}

fn say(line: &str) {
    // A reader that has gone is no failure of ours.
    let _ = writeln!(io::stdout(), "{line}");
}

/// How long ago the policy of each resource last changed.
fn policy_changes(summary: Value) -> Option<HashMap<String, Duration>> {
    let summary: Summary = serde_json::from_value(summary).ok()?;
    let all = summary.policies.resources.into_iter();
    let change = |it: ResourcePart| Some((it.resource, Duration::from_secs(it.changed_seconds?)));
    Some(all.filter_map(change).collect())
}

/// Up to `most` pairs for which something is derived, each as likely as another; and how many there are.
async fn draw(
    config: &Config,
    from: Origin,
    most: usize,
) -> Result<(Vec<Pair>, usize), VerifyError> {
    let (mut drawn, mut all, mut unreadable) = (Vec::new(), 0usize, None);
    let lot = RandomState::new();
    from.export(config, &mut |line| {
        let Some(pairs) = pairs(line) else {
            unreadable = Some(line.chars().take(200).collect());
            return false;
        };
        for pair in pairs {
            all += 1;
            if drawn.len() < most {
                drawn.push(pair);
                continue;
            }
            // Takes the place of another one with the odds that every one before had.
            let number = usize::try_from(lot.hash_one(all) >> 1).unwrap_or(usize::MAX) % all;
            if let Some(place) = drawn.get_mut(number) {
                *place = pair;
            }
        }
        true
    })
    .await?;
    match unreadable {
        Some(line) => Err(VerifyError::Line(line)),
        None => Ok((drawn, all)),
    }
}

/// The pairs of one line for which something is derived; `None` for a line of another kind.
fn pairs(line: &str) -> Option<Vec<Pair>> {
    let user: UserLine = serde_json::from_str(line).ok()?;
    let id = user.system_user.parse().ok()?;
    let age = |seconds: Option<u64>| seconds.map(Duration::from_secs);
    let mut pairs = Vec::new();
    for party in user.parties.iter().filter(|party| !party.derives.is_empty()) {
        let number = Party::Organization(party.party.parse().ok()?);
        let question = |right: &RightPart| {
            let resource: ResourceId = right.resource.parse().ok()?;
            let right = Right { resource, action: right.action.parse().ok()? };
            Some(Question::new(id, number, right, None))
        };
        let questions = party.derives.iter().map(question).collect::<Option<_>>()?;
        let (changed, read) = (age(user.changed_seconds), age(user.read_seconds));
        pairs.push(Pair { questions, changed, read });
    }
    Some(pairs)
}

/// What is read of `/register`.
#[derive(Deserialize)]
struct Summary {
    policies: PoliciesPart,
}

#[derive(Deserialize)]
struct PoliciesPart {
    resources: Vec<ResourcePart>,
}

#[derive(Deserialize)]
struct ResourcePart {
    resource: String,
    changed_seconds: Option<u64>,
}

/// What is read of a line of the export.
#[derive(Deserialize)]
struct UserLine {
    system_user: String,
    changed_seconds: Option<u64>,
    read_seconds: Option<u64>,
    parties: Vec<PartyPart>,
}

#[derive(Deserialize)]
struct PartyPart {
    party: String,
    derives: Vec<RightPart>,
}

#[derive(Deserialize)]
struct RightPart {
    resource: String,
    action: String,
}

/// Asks all questions of a pair; those that are not permitted once more, alone.
async fn ask<'p>(
    pdp: &dyn RemotePdp,
    pair: &'p Pair,
) -> (&'p Pair, Vec<Result<Verdict, Undecided>>) {
    let mut verdicts = pdp.ask_all(&pair.questions, OWN).await;
    for (question, verdict) in pair.questions.iter().zip(&mut verdicts) {
        if *verdict != Ok(Verdict::Permit) {
            *verdict = ask_again(pdp, question).await;
        }
    }
    (pair, verdicts)
}

/// Asks alone; again where only our own ceiling, or a pause, stood in the way.
async fn ask_again(pdp: &dyn RemotePdp, question: &Question) -> Result<Verdict, Undecided> {
    let mut verdict = pdp.ask(question, OWN).await;
    for _ in 1..PATIENCE {
        let Err(Undecided { retry_after: Some(pause), .. }) = verdict else { break };
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        verdict = pdp.ask(question, OWN).await;
    }
    verdict
}

struct Verifier {
    changes: HashMap<String, Duration>,
    counts: Counts,
}

impl Verifier {
    fn judge(&mut self, question: &Question, pair: &Pair, verdict: Result<Verdict, Undecided>) {
        let (what, why) = match (verdict, self.changed_lately(question, pair)) {
            (Ok(Verdict::Permit), _) => {
                self.counts.agreed += 1;
                return;
            }
            (Err(undecided), _) => {
                self.counts.untold += 1;
                ("could not be told", undecided.to_string())
            }
            (Ok(no), Some(why)) => {
                self.counts.apart += 1;
                ("differs, shortly after a change", format!("{}; {why}", in_words(no)))
            }
            (Ok(no), None) => {
                self.counts.differ += 1;
                ("differs", in_words(no).to_owned())
            }
        };
        let read = pair.read.map_or(0, |age| age.as_secs());
        say(&format!(
            "{what}: system user {}, party {}, {} on {}: {why} (read {read} s ago)",
            question.system_user(),
            question.party().expose(),
            question.action(),
            question.resource(),
        ));
    }

    fn changed_lately(&self, question: &Question, pair: &Pair) -> Option<String> {
        let policy = self.changes.get(question.resource().as_str());
        if let Some(age) = pair.changed.filter(|age| *age < DELEGATIONS) {
            return Some(format!("what it holds changed {} s ago", age.as_secs()));
        }
        let age = policy.filter(|age| **age < POLICIES)?;
        Some(format!("the policy changed {} s ago", age.as_secs()))
    }
}

fn in_words(no: Verdict) -> &'static str {
    match no {
        Verdict::Permit => "permitted",
        Verdict::Deny => "Altinn denies it",
        Verdict::Unmet(_) => "Altinn permits it with an obligation that is not fulfilled",
        Verdict::NotApplicable => "nothing covers it at Altinn",
    }
}
