//! `portvakt explain`: a token and a request, and what every step says to them, in words.
//!
//! The steps are those of `run`, asked with the same configuration; only nothing is forwarded.

use super::{complain, load};
use crate::app::Judge;
use crate::config::{AccessConfig, Config, LogConfig};
use crate::domain::decision::Source;
use crate::enforce::Grant;
use crate::enforce::facts::{BodyError, BodyReader, Facts};
use crate::enforce::ports::EdgeFuture;
use crate::enforce::rejection::{DeniedBy, Rejection};
use crate::enforce::trail::{Step, Trail};
use crate::telemetry::{self, metrics::Metrics};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
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
    /// Longest wait for the issuer's keys, seconds.
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
}

/// It could not be told whether the request would pass.
const CANNOT_TELL: u8 = 3;
const REFUSED: u8 = 1;

/// Explains a request. Exit code 0 when it would be forwarded, 1 when refused, 3 when that could not be told.
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
    let judge = Judge::build(config, &Metrics::new()?, runtime.handle())?;
    let (trail, result) = runtime.block_on(async {
        let stop = CancellationToken::new();
        let refresh = tokio::spawn(Arc::clone(&judge.keys).run(stop.clone()));
        let wait = Duration::from_secs(request.wait);
        // Without keys the step that needs them says so.
        let _ = tokio::time::timeout(wait, judge.keys.wait_until_loaded()).await;
        let facts = Facts {
            method: &request.method,
            uri: &request.target,
            version: Version::HTTP_11,
            headers: &headers,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let mut trail = Trail::default();
        let result = judge.enforcer.enforce(facts, &mut body, &mut trail).await;
        stop.cancel();
        let _ = refresh.await;
        (trail, result)
    });
    let code = match &result {
        Ok(_) => 0,
        Err(Rejection::Undecided(_) | Rejection::Unverified(_)) => CANNOT_TELL,
        Err(_) => REFUSED,
    };
    Ok((tell(request, &trail, &result), code))
}

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
fn tell(request: &Request, trail: &Trail, result: &Result<Grant, Rejection>) -> String {
    // The template, not the path: that may hold a national identity number.
    let place = trail.route.as_ref().map_or("(no route)", |route| route.config.path.as_str());
    let mut text = format!("{} {place}\n\n", request.method);
    let refused_at = result.is_err().then(|| trail.steps.last().map(|(step, _)| *step)).flatten();
    for (step, took) in &trail.steps {
        let refusal = result.as_ref().err().filter(|_| refused_at == Some(*step));
        let (mark, words) = match refusal {
            Some(rejection) => ("NO", refusal_in_words(rejection)),
            None => ("ok", step_in_words(*step, trail)),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<13} {mark}  {words}  ({} µs)", step.label(), took.as_micros());
    }
    let reached = |step: &Step| trail.steps.iter().any(|(done, _)| done == step);
    let judged = Step::ALL.iter().filter(|step| **step != Step::Forward);
    for step in judged.filter(|step| result.is_err() && !reached(step)) {
        let _ = writeln!(text, "  {:<13} --  not reached", step.label());
    }
    let outcome = match result {
        Ok(grant) => format!("forwarded to upstream `{}`", grant.route().config.upstream),
        Err(rejection) => {
            let code = rejection.code();
            format!(
                "refused: {} {} (answer: {})",
                code.status().as_u16(),
                code.label(),
                rejection.answer()
            )
        }
    };
    let _ = writeln!(text, "\n  {outcome}");
    text
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
            let source = match trail.evidence.as_ref().map(|evidence| evidence.source) {
                Some(Source::Derived) => "derived from its access packages",
                Some(Source::Confirmed) => "from a confirmation held",
                Some(Source::Pdp) | None => "confirmed by Altinn's PDP now",
            };
            format!("system user {user} holds the right, {source}")
        }
        Step::Forward => String::new(),
    }
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

fn refusal_in_words(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Scope { missing, .. } => missing.to_string(),
        Rejection::NoRight(question, _) => format!(
            "nothing delegated gives system user {} `{}` on `{}` for this party (NotApplicable)",
            question.system_user(),
            question.action(),
            question.resource()
        ),
        Rejection::Denied(question, by) => {
            let why = match by {
                DeniedBy::Policy => "the policy or the access list says no".to_owned(),
                DeniedBy::Obligation(obligation) => obligation.to_string(),
            };
            format!("`{}` on `{}` is denied: {why}", question.action(), question.resource())
        }
        Rejection::Malformed(_)
        | Rejection::OverLimit(_)
        | Rejection::RequestTimeout
        | Rejection::Overloaded
        | Rejection::NoRoute
        | Rejection::NoToken
        | Rejection::Token(_)
        | Rejection::Unverified(_)
        | Rejection::NoSystemUser
        | Rejection::Party(_)
        | Rejection::Undecided(_)
        | Rejection::Upstream(_)
        | Rejection::Internal => rejection.to_string(),
    }
}
