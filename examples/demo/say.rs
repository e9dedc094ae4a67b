//! Tells the story on standard output, and keeps count of what did not go as told.

use crate::Failure;
use crate::explain::Explanation;
use crate::stage::Stage;
use crate::story::{Call, Knob, Step};
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, Instant};

/// Width of the text, in characters.
const WIDTH: usize = 100;

/// Tells of a problem with the demo itself.
pub(crate) fn problem(text: &str) {
    // With standard error gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn say(text: &str) {
    // As above; the exit code still tells.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The answer to a call.
struct Answer {
    status: reqwest::StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// A header field by its name, or a member of the body by its JSON pointer.
    fn member(&self, name: &str) -> Option<String> {
        if !name.starts_with('/') {
            return Some(self.headers.get(name)?.to_str().ok()?.to_owned());
        }
        let value = self.body.pointer(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

/// Tells the story.
pub(crate) struct Teller<'s> {
    stage: &'s Stage,
    titles: usize,
    calls: usize,
    not_as_told: usize,
}

impl<'s> Teller<'s> {
    /// Has told nothing yet.
    pub(crate) fn new(stage: &'s Stage) -> Self {
        Self { stage, titles: 0, calls: 0, not_as_told: 0 }
    }

    /// Whether everything went as told.
    pub(crate) fn all_as_told(&self) -> bool {
        self.not_as_told == 0
    }

    /// Who takes part, and where.
    pub(crate) fn introduction(&self) {
        let stage = self.stage;
        say(&format!(
            "Portvakt, a gatekeeper in front of an API\n\n\
             \x20 vendor  ──►  Portvakt {proxy}  ──►  sample API {api}\n\
             \x20                 │  keys, decisions\n\
             \x20                 ▼\n\
             \x20              sandbox {sandbox}, which plays Maskinporten and Altinn\n\n\
             Configuration, log and audit records of Portvakt are in {directory}\n\
             Every command below can be pasted into a shell while this program is up.",
            proxy = stage.proxy(),
            api = stage.api,
            sandbox = stage.sandbox(),
            directory = stage.file("").display(),
        ));
    }

    /// Plays one step and tells how it went.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        self.title(step.title);
        say(&wrapped(step.words));
        say("");
        for knob in &step.before {
            say(&indented(&self.knob_command(knob)));
            self.stage.turn(knob).await?;
        }
        say(&indented(&self.call_command(&step.call)));
        let answer = self.call(&step.call).await?;
        self.calls += 1;
        for knob in &step.after {
            self.stage.turn(knob).await?;
        }
        let as_told = tell_answer(&answer, step);
        for knob in &step.after {
            say(&format!("  and to put it right again:\n{}", indented(&self.knob_command(knob))));
        }
        self.verdict(as_told);
        Ok(())
    }

    /// Shows what `portvakt explain` said.
    pub(crate) fn explanation(&mut self, explanation: &Explanation) {
        self.title("Why? Ask `portvakt explain`");
        say(&wrapped(
            "For whoever has to find out why a request is refused: the verdict of every step, with nothing \
             forwarded. Exit code 0 means it would pass, 1 refused, 3 that it could not be told.",
        ));
        say(&format!("\n{}\n", indented(&explanation.command)));
        say(&indented(explanation.output.trim_end()));
        self.verdict(explanation.as_told);
    }

    /// Shows what operators have: metrics, and audit records.
    pub(crate) async fn records(&mut self) -> Result<(), Failure> {
        self.title("What was recorded");
        let url = format!("{}/metrics", self.stage.admin());
        let metrics = self.stage.http.get(&url).send().await?.text().await?;
        say(&format!("  curl -s {url} | grep ^portvakt_requests_total\n"));
        for line in metrics.lines().filter(|line| line.starts_with("portvakt_requests_total")) {
            say(&format!("    {line}"));
        }
        let path = self.stage.file("audit.jsonl");
        let records = self.audit_records(&path).await?;
        say(&format!("\n  One audit record a request, {} so far:\n", records.len()));
        say(&format!("  tail -n 1 {}\n", path.display()));
        say(&indented(records.last().map_or("(none)", String::as_str)));
        self.verdict(records.len() == self.calls);
        Ok(())
    }

    /// Says that the demo waits for Ctrl-C.
    pub(crate) fn stays_up(&self) {
        let outcome =
            if self.all_as_told() { "All went as told." } else { "Not all went as told." };
        say(&format!(
            "\n{outcome} Everything stays up, for you to try. The sandbox's knobs are in sandbox/README.md.\n\
             Ctrl-C ends it."
        ));
    }

    fn title(&mut self, title: &str) {
        self.titles += 1;
        let head = format!("── {}. {title} ", self.titles);
        say(&format!("\n{head}{}\n", "─".repeat(WIDTH.saturating_sub(head.chars().count()))));
    }

    fn verdict(&mut self, as_told: bool) {
        self.not_as_told += usize::from(!as_told);
        say(if as_told { "\n  as told ✓" } else { "\n  NOT as told ✗" });
    }

    async fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let token = self.stage.token(&call.token).await?;
        let url = format!("{}{}", self.stage.proxy(), call.path);
        let mut request = self.stage.http.request(call.method.parse()?, url).bearer_auth(token);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        Ok(Answer { status, headers, body })
    }

    /// The records so far; a record of every step is waited for, since another thread writes them.
    async fn audit_records(&self, path: &std::path::Path) -> Result<Vec<String>, Failure> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let records: Vec<String> =
                std::fs::read_to_string(path)?.lines().map(str::to_owned).collect();
            if records.len() >= self.calls || Instant::now() > end {
                return Ok(records);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn call_command(&self, call: &Call) -> String {
        let token = token_command(self.stage.sandbox(), &call.token);
        let method =
            if call.method == "GET" { String::new() } else { format!(" -X {}", call.method) };
        let body = call.body.as_ref().map_or_else(String::new, |body| {
            format!(" \\\n  -H 'Content-Type: application/json' -d '{body}'")
        });
        format!(
            "curl -i{method} {}{} \\\n  -H \"Authorization: Bearer $({token})\"{body}",
            self.stage.proxy(),
            call.path
        )
    }

    fn knob_command(&self, Knob(method, path, body): &Knob) -> String {
        let body = body.as_ref().map_or_else(String::new, |body| format!(" -d '{body}'"));
        format!("curl -s -X {method} {}/sandbox/{path}{body}", self.stage.sandbox())
    }
}

/// Shows the status and the members that were claimed; tells whether they came.
fn tell_answer(answer: &Answer, step: &Step) -> bool {
    say(&format!("\n  {}", answer.status));
    let mut as_told = answer.status.as_u16() == step.told.status;
    for (name, claimed) in step.told.members {
        let member = answer.member(name);
        as_told &= member.as_deref().is_some_and(|value| claimed.is_empty() || value == *claimed);
        let label = name.trim_start_matches('/').replace('/', ".");
        say(&format!("    {label}: {}", member.as_deref().unwrap_or("(absent)")));
    }
    as_told
}

/// A command that prints a token.
pub(crate) fn token_command(sandbox: &str, wish: &Value) -> String {
    format!(
        "curl -s {sandbox}/sandbox/token -d '{wish}' | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/'"
    )
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length > 0 && length + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
