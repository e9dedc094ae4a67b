//! `portvakt explain`: a token and a request, and what every step says to them, in words.
//!
//! The steps are those of `run`, asked with the same configuration; only nothing is forwarded. A register
//! is filled for the system users of the token, so that its part is told as well; offline it is the one that
//! was saved, and nothing is asked.

mod known;

use super::{complain, load};
use crate::app::Judge;
use crate::app::offline::{self, OfflineError, SavedKeys};
use crate::config::{AccessConfig, Config, LogConfig};
use crate::domain::decision::Source;
use crate::domain::resource::Question;
use crate::enforce::answers::Answers;
use crate::enforce::authorize::Evidence;
use crate::enforce::facts::{BodyError, BodyReader, Facts};
use crate::enforce::ports::EdgeFuture;
use crate::enforce::rejection::Rejection;
use crate::enforce::trail::{Step, Trail};
use crate::enforce::{Enforcer, Grant};
use crate::maskinporten::key_set::{KeySetError, parse_key_set};
use crate::register::Seen;
use crate::serve::register::span;
use crate::sync::Sync;
use crate::telemetry::{self, metrics::Metrics};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use known::Known;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The request to explain.
#[derive(Args, Debug)]
pub struct Request {
    /// The configuration.
    #[arg(short, long, env = "PORTVAKT_CONFIG", default_value = "portvakt.yaml")]
    config: PathBuf,
    /// File with the token, `-` for standard input. Not taken as an argument: those are seen by others.
    #[arg(short, long)]
    token_file: Option<PathBuf>,
    /// Header field, `Name: value`; may be given several times.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// File with the body.
    #[arg(short, long)]
    body_file: Option<PathBuf>,
    /// Ask nobody: judge as if Altinn were away, from the snapshot that the configuration names.
    #[arg(long)]
    offline: bool,
    /// With --offline: file with the issuer's key set (JWKS), without which no token can be verified.
    #[arg(long, requires = "offline")]
    keys_file: Option<PathBuf>,
    /// Longest wait for the issuer's keys, and then for the register, seconds.
    #[arg(long, default_value_t = 10)]
    wait: u64,
    /// The method, such as GET.
    method: Method,
    /// The path and query, such as `/v1/parties/310000027/returns/7`.
    target: Uri,
}

/// Why a request could not be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("{} cannot be read", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("`{0}` is not `Name: value`")]
    Header(String),
    #[error("the token holds characters that a header cannot")]
    Token,
    #[error("a runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    App(#[from] crate::app::AppError),
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Offline(#[from] OfflineError),
    #[error("{} holds no key set that can be used", .0.display())]
    Keys(PathBuf, #[source] KeySetError),
}

/// It could not be told whether the request would pass.
const CANNOT_TELL: u8 = 3;
const REFUSED: u8 = 1;

/// Explains a request. Exit code 0 when it would be forwarded, 1 when refused, 3 when that could not be told; on a route
/// in shadow as if it were enforced.
pub(super) fn run(request: &Request) -> ExitCode {
    let config = match load(&request.config) {
        Ok(config) => config,
        Err(errors) => return complain(&errors),
    };
    match explain(request, &config) {
        Ok((text, code)) => {
            // A reader that has gone is no failure of ours.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::from(code)
        }
        Err(error) => complain(&error),
    }
}

fn explain(request: &Request, config: &Config) -> Result<(String, u8), ExplainError> {
    // Why Altinn could not be asked is told by those who ask. This filter can always be read.
    let _ = telemetry::start_log(&LogConfig { filter: "warn".into(), json: false });
    let headers = request.headers()?;
    let mut body = FileBody(match &request.body_file {
        Some(path) => std::fs::read(path).map_err(|e| ExplainError::File(path.clone(), e))?.into(),
        None => Bytes::new(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(ExplainError::Runtime)?;
    let metrics = Metrics::new()?;
    let asked = Asked { request, headers: &headers };
    let told = if request.offline {
        let keys = Arc::new(request.keys()?);
        let enforcer = offline::enforcer(config, &metrics, keys)?;
        runtime.block_on(asked.judge(&enforcer, None, &mut body))
    } else {
        let judge = Judge::beside(config, &metrics, runtime.handle())?;
        runtime.block_on(asked.live(judge, &metrics, &mut body))
    };
    let code = match told.refusal() {
        None => 0,
        Some(Rejection::Undecided(_) | Rejection::Unverified(_)) => CANNOT_TELL,
        Some(_) => REFUSED,
    };
    Ok((tell(request, &told), code))
}

/// What became of the request.
struct Told {
    trail: Trail,
    result: Result<Grant, Rejection>,
    /// What the register knows of it.
    known: String,
}

impl Told {
    /// What refuses it, or would if its route were not in shadow.
    fn refusal(&self) -> Option<&Rejection> {
        self.trail.shadow.as_ref().or(self.result.as_ref().err())
    }
}

/// The request, as the enforcer sees it.
struct Asked<'r> {
    request: &'r Request,
    headers: &'r HeaderMap,
}

impl Asked<'_> {
    fn facts(&self) -> Facts<'_> {
        Facts {
            method: &self.request.method,
            uri: &self.request.target,
            version: Version::HTTP_11,
            headers: self.headers,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Judges with keys and a register that are filled for this request.
    async fn live(&self, judge: Judge, metrics: &Metrics, body: &mut FileBody) -> Told {
        let Judge { enforcer, keys, sync, .. } = judge;
        let stop = CancellationToken::new();
        let refresh = tokio::spawn(Arc::clone(&keys).run(stop.clone()));
        // Without keys the step that needs them says so.
        let _ = timeout_at(self.patience(), keys.wait_until_loaded()).await;
        let (end, stopped) = (self.patience(), stop.clone());
        let filling = sync.map(|sync| Filling { sync, metrics, end, stop: stopped });
        let told = self.judge(&enforcer, filling, body).await;
        stop.cancel();
        let _ = refresh.await;
        told
    }

    fn patience(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.request.wait)
    }

    async fn judge(
        &self,
        enforcer: &Enforcer,
        filling: Option<Filling<'_>>,
        body: &mut FileBody,
    ) -> Told {
        let asked = enforcer.questions(self.facts(), body).await;
        if let (Some(filling), Some(answers)) = (filling, &enforcer.answers) {
            filling.fill(answers, &asked).await;
        }
        let reader = enforcer.answers.as_ref().and_then(|answers| answers.register.as_ref());
        let questions: Vec<Question> = asked.into_iter().map(|(question, _)| question).collect();
        let mut trail = Trail::default();
        let result = enforcer.enforce(self.facts(), body, &mut trail).await;
        let permitted = result.is_ok() && trail.shadow.is_none();
        let offline = self.request.offline;
        let known = reader.map(|reader| Known { reader, permitted, offline }.tell(&questions));
        Told { trail, result, known: known.unwrap_or_default() }
    }
}

/// A register that is to be filled, if the request comes so far.
struct Filling<'m> {
    sync: Sync,
    metrics: &'m Metrics,
    end: Instant,
    stop: CancellationToken,
}

impl Filling<'_> {
    /// Has these system users read, and waits until they were, or could not be. The policies come first:
    /// what system users hold is kept by what these name.
    async fn fill(self, answers: &Answers, asked: &[(Question, Seen)]) {
        let Some(reader) = answers.register.as_ref().filter(|_| !asked.is_empty()) else { return };
        let (status, end) = (self.sync.status(), self.end);
        // Runs until the request is judged: a confirmation may be noted there.
        let _task = tokio::spawn(self.sync.run(self.stop));
        until(end, || status.status().policy_readings > 0).await;
        for (_, seen) in asked {
            answers.watch(seen.id, || seen.clone());
        }
        let is_read = |(question, _): &(Question, Seen)| {
            let watched = reader.explain(question).look_up.watched;
            watched.is_some_and(|watched| watched.fetched.is_some())
        };
        let failed = self.metrics.sync.refreshes.with_label_values(&["failed"]);
        until(end, || failed.get() > 0 || asked.iter().all(is_read)).await;
    }
}

async fn until(end: Instant, reached: impl Fn() -> bool) {
    while !reached() && Instant::now() < end {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Request {
    fn headers(&self) -> Result<HeaderMap, ExplainError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("explain.invalid"));
        for line in &self.headers {
            let parsed = line.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            // The line may hold a token, so only its name is told.
            let name = line.split(':').next().unwrap_or_default();
            let (name, value) = parsed.ok_or_else(|| ExplainError::Header(name.to_owned()))?;
            headers.append(name, value);
        }
        if let Some(token) = self.token()? {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| ExplainError::Token)?;
            value.set_sensitive(true);
            headers.append(header::AUTHORIZATION, value);
        }
        Ok(headers)
    }

    fn keys(&self) -> Result<SavedKeys, ExplainError> {
        let Some(path) = &self.keys_file else { return Ok(SavedKeys::new(None)) };
        let text = std::fs::read(path).map_err(|error| ExplainError::File(path.clone(), error))?;
        let keys = parse_key_set(&text).map_err(|error| ExplainError::Keys(path.clone(), error))?;
        Ok(SavedKeys::new(Some(keys)))
    }

    fn token(&self) -> Result<Option<String>, ExplainError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let mut text = String::new();
        let read = if path.as_os_str() == "-" {
            io::stdin().read_to_string(&mut text).map(|_| ())
        } else {
            std::fs::read_to_string(path).map(|read| text = read)
        };
        read.map_err(|error| ExplainError::File(path.clone(), error))?;
        Ok(Some(text))
    }
}

/// A body that is all there.
struct FileBody(Bytes);

impl BodyReader for FileBody {
    fn read(&mut self, limit: usize) -> EdgeFuture<'_, Result<Bytes, BodyError>> {
        let fits = self.0.len() <= limit;
        let body = self.0.clone();
        Box::pin(async move { if fits { Ok(body) } else { Err(BodyError::TooLong) } })
    }
}

/// The verdict of every step that was reached, then the outcome.
fn tell(request: &Request, told: &Told) -> String {
    let Told { trail, known, .. } = told;
    let refusal = told.refusal();
    // The template, not the path: that may hold a national identity number.
    let place = trail.route.as_ref().map_or("(no route)", |route| route.config.path.as_str());
    let mut text = format!("{} {place}\n\n", request.method);
    let refused_at = refusal.and_then(|_| trail.steps().last().map(|(step, _)| step));
    for (step, took) in trail.steps() {
        let (mark, words) = match refusal.filter(|_| refused_at == Some(step)) {
            Some(rejection) => ("NO", rejection.in_words()),
            None => ("ok", step_in_words(step, trail)),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<13} {mark}  {words}  ({} µs)", step.label(), took.as_micros());
    }
    let reached = |step: &Step| trail.steps().any(|(done, _)| done == *step);
    let judged = Step::ALL.iter().filter(|step| **step != Step::Forward);
    for step in judged.filter(|step| refusal.is_some() && !reached(step)) {
        let _ = writeln!(text, "  {:<13} --  not reached", step.label());
    }
    text.push_str(known);
    let _ = writeln!(text, "\n  {}", outcome(told));
    text
}

/// What becomes of it; on a route in shadow, also what would.
fn outcome(told: &Told) -> String {
    let refused = |rejection: &Rejection| {
        let code = rejection.code();
        let status = code.status().as_u16();
        format!("refused: {status} {} (answer: {})", code.label(), rejection.answer())
    };
    let shadow = told.trail.route.as_ref().is_some_and(|route| route.config.in_shadow());
    match (&told.result, &told.trail.shadow) {
        (Ok(grant), Some(would)) => format!(
            "the route is in shadow: enforced, this would be {}\n  \
             now it is forwarded to upstream `{}` all the same, without a header that says who asks",
            refused(would),
            grant.route().config.upstream
        ),
        (Ok(grant), None) => {
            let also =
                if shadow { "; the route is in shadow, and enforced it would be too" } else { "" };
            format!("forwarded to upstream `{}`{also}", grant.route().config.upstream)
        }
        (Err(rejection), _) => {
            let also =
                if shadow { "; the route is in shadow, which does not help here" } else { "" };
            format!("{}{also}", refused(rejection))
        }
    }
}

fn step_in_words(step: Step, trail: &Trail) -> String {
    let route = trail.route.as_ref();
    match step {
        Step::Admit => "within the limits, and with one reading only".to_owned(),
        Step::Route => route.map_or_else(String::new, |route| {
            let access = match &route.config.access {
                AccessConfig::Anonymous => "open to everybody".to_owned(),
                AccessConfig::Scopes(_) => "needs a token with scopes, no right".to_owned(),
                AccessConfig::Right(right) => {
                    format!("needs `{}` on `{}`", right.right.action, right.right.resource)
                }
            };
            format!("route `{}`: {access}", route.config.id)
        }),
        Step::Authenticate => token_in_words(trail),
        Step::Scope => "the token has the scopes that the route demands".to_owned(),
        Step::Party => match &trail.party {
            Some(crate::domain::party::Party::Organization(number)) => {
                format!("the request concerns organisation {number}")
            }
            Some(crate::domain::party::Party::Person(_)) => {
                "the request concerns a person".to_owned()
            }
            None => String::new(),
        },
        Step::Authorize => {
            let user = trail.system_user.map_or_else(String::new, |id| id.to_string());
            let source = trail.evidence.as_ref().map_or_else(String::new, in_words);
            format!("system user {user} holds the right, {source}")
        }
        Step::Forward => String::new(),
    }
}

/// Where a permit came from, how old it was, and why it was not derived.
fn in_words(evidence: &Evidence) -> String {
    let age = span(evidence.age);
    let mut words = match evidence.source {
        Source::Derived => {
            let version = evidence.policy.map(|version| format!(", policy {version}"));
            format!("derived from its access packages, {age} old{}", version.unwrap_or_default())
        }
        Source::Confirmed => format!("confirmed by Altinn's PDP {age} ago"),
        Source::Pdp => "confirmed by Altinn's PDP now".to_owned(),
    };
    if let Some(why) = evidence.not_derived {
        let _ = write!(words, "; not derived: {why}");
    }
    if evidence.in_grace {
        words.push_str("; older than the route allows, used since Altinn cannot be asked");
    }
    words
}

fn token_in_words(trail: &Trail) -> String {
    let Some(token) = &trail.token else { return String::new() };
    let claims = &token.claims;
    let mut words = format!("token of consumer {}", claims.consumer);
    if let Some(system_user) = &claims.system_user {
        let ids: Vec<String> = system_user.ids.iter().map(ToString::to_string).collect();
        let _ = write!(
            words,
            " for system user {} of {}, system {}",
            ids.join(", "),
            system_user.owner,
            system_user.system
        );
    }
    words
}
