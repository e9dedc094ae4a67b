//! Sends what a case says, and collects what came of it.

use crate::frames::{self, Frames};
use crate::h2;
use crate::judge::{self, Outcome};
use crate::keys::base64url;
use crate::stage::{Answers, Behaviour, Client, Forbidden, LIMIT, Outside, Said, Then, Upstream};
use crate::support::{Proxy, wait_for};
use crate::world::{Call, Context, Told, World, latin1};
use crate::{faults, xacml};
use serde_json::{Value, json};
use std::time::Duration;

/// The world, ready for stages to be set up in it.
pub(crate) struct Runner {
    world: World,
}

/// The program and what stands round it.
pub(crate) struct Stage {
    proxy: Proxy,
    upstream: Upstream,
    forbidden: Forbidden,
    /// Whether the program answers the questions of another proxy.
    asked: bool,
}

/// What came of a case.
pub(crate) enum Verdict {
    /// Everything that is not as it must be.
    Ran(Vec<String>),
    /// Not run, and why.
    LeftOut(String),
}

/// Members of a case that are read, beside those that describe it.
const KNOWN: [&str; 36] = [
    "id",
    "class",
    "kind",
    "title",
    "why",
    "note",
    "expect",
    "route",
    "party",
    "header",
    "claims",
    "header_text",
    "claims_text",
    "header_text_gen",
    "claims_text_gen",
    "header_encoding",
    "claims_encoding",
    "token_text",
    "sign",
    "sign_with",
    "after",
    "send",
    "token",
    "method",
    "target",
    "headers",
    "body",
    "sequence",
    "tamper",
    "keep_signature",
    "raw",
    "key_set",
    "register_replace",
    "register_add",
    "frames",
    "peer",
];

/// What a step sends.
pub(crate) enum Sent {
    Http1(Vec<u8>),
    Http2(Frames),
}

/// One request of a case, as bytes.
pub(crate) struct Step {
    pub(crate) sent: Sent,
    /// By which its audit record is found.
    trace: Option<String>,
    pub(crate) expect: Value,
}

impl Runner {
    pub(crate) fn new(world: Value, cases: &str) -> Told<Self> {
        Ok(Self { world: World::new(world, cases)? })
    }

    /// Runs one case and tells what is not as it must be. `shared` is a stage for cases that leave the
    /// world as it is.
    pub(crate) fn run(&self, case: &Value, shared: &mut Option<Stage>) -> Verdict {
        let ran = match case["kind"].as_str() {
            Some("fault") => return faults::run(case),
            Some("xacml") => Ok(xacml::judge(case).err().into_iter().collect()),
            Some("upstream_answer") => self.upstream_answer(case),
            Some("http2_flood") => self.flood(case),
            _ => self.try_run(case, shared),
        };
        Verdict::Ran(ran.unwrap_or_else(|why| vec![format!("cannot be run: {why}")]))
    }

    fn try_run(&self, case: &Value, shared: &mut Option<Stage>) -> Told<Vec<String>> {
        let members = case.as_object().ok_or("no object")?;
        let unknown =
            members.keys().find(|name| !KNOWN.contains(&name.as_str()) && *name != "minimum_level");
        if let Some(name) = unknown {
            return Err(format!("the runner does not know `{name}`"));
        }
        let changes = ["register_replace", "register_add", "minimum_level", "key_set", "peer"];
        if changes.iter().any(|name| case.get(name).is_some()) {
            let stage = self.set_up(case)?;
            return self.play(case, &stage);
        }
        if shared.is_none() {
            *shared = Some(self.set_up(case)?);
        }
        self.play(case, shared.as_ref().ok_or("no stage")?)
    }

    /// Starts everything, and waits until the program is as the case wants to find it.
    fn set_up(&self, case: &Value) -> Told<Stage> {
        self.set_up_before(case, Upstream::start(), 2)
    }

    fn set_up_before(&self, case: &Value, upstream: Upstream, workers: u32) -> Told<Stage> {
        let world = &self.world.value;
        let context = Context::new(&self.world, "", String::new(), String::new());
        let mut rights =
            self.world.rights(case.get("register_replace").unwrap_or(&world["altinn_says"]))?;
        if let Some(more) = case.get("register_add") {
            rights.extend(self.world.rights(more)?);
        }
        let mut minimum_level = World::levels(&case["minimum_level"]);
        minimum_level.extend(World::levels(&world["minimum_level"]));
        let untrusted = case["key_set"] == json!(["{TLS:self_signed}"]);
        let key_sets = match &case["key_set"] {
            Value::Null => vec![self.world.key_set()?],
            _ if untrusted => vec![self.world.key_set()?],
            Value::Array(sets) => {
                sets.iter().map(|set| context.expand_json(set)).collect::<Told<_>>()?
            }
            set => vec![context.expand_json(set)?],
        };
        let several = key_sets.len() > 1;
        let issuer = self.world.issuer()?;
        let said = Said { key_sets, rights, minimum_level, ..Said::default() };
        let outside = Outside::start(issuer, said, None);
        let tls = untrusted.then(|| {
            let key = crate::keys::Key::rsa(2048).expect("a key");
            let key_sets = vec![self.world.key_set().expect("a key set")];
            Outside::start(issuer, Said { key_sets, ..Said::default() }, Some(&key))
        });
        let forbidden = Forbidden::start();
        let issuer_at = tls.as_ref().unwrap_or(&outside);
        let mut config =
            self.world.config(&outside.url, &issuer_at.url, &upstream.address.to_string())?;
        config["listen"]["workers"] = workers.into();
        if several {
            config["maskinporten"]["refresh"] = "100ms".into();
        }
        let asked = case["kind"] == "forward_auth";
        if asked {
            World::ask_in_place_of_forwarding(&mut config, is_trusted(case)?);
        }
        let proxy = Proxy::start(&config.to_string(), &[("RUNNER_JWK", &self.world.client_key()?)]);
        wait_for(LIMIT, || {
            let said = issuer_at.said.lock().expect("whole");
            // The last set has been read when the program comes for it again.
            let settled = match (untrusted, case.get("key_set")) {
                (true, _) => said.connections >= 2,
                (false, Some(_)) if several => said.fetched > said.key_sets.len() + 1,
                (false, Some(_)) => said.fetched >= 2,
                (false, None) => false,
            };
            drop(said);
            (settled || (!several && admin(&proxy, "/readyz").0 == 200)).then_some(())
        });
        Ok(Stage { proxy, upstream, forbidden, asked })
    }

    fn play(&self, case: &Value, stage: &Stage) -> Told<Vec<String>> {
        let host = stage.proxy.address();
        let attacker = stage.forbidden.address.to_string();
        let mut context =
            Context::new(&self.world, host, attacker, stage.upstream.address.to_string());
        let steps = self.steps(case, &mut context)?;
        let called = stage.forbidden.called();
        let mut client = None;
        let mut differences = Vec::new();
        let several = steps.len() > 1;
        for (index, step) in steps.into_iter().enumerate() {
            if step.trace.is_none() && step.expect.get("audit").is_some() {
                self.settle(stage)?;
            }
            stage.upstream.take();
            let before = stage.proxy.audit().len();
            let Answers { messages, closed } =
                exchange(host, &mut client, &step, several, self.patience());
            let reached = stage.upstream.take();
            let audit = audit(stage, &step, before);
            let egress = stage.forbidden.called() - called;
            let after =
                (step.expect["survive"] == true).then(|| self.good_request(stage)).transpose()?;
            let outcome =
                Outcome { messages, closed, reached, audit, egress, after, log: stage.proxy.log() };
            let found = judge::judge(&step, &outcome, &self.world);
            differences.extend(
                found
                    .into_iter()
                    .map(|what| if several { format!("step {}: {what}", index + 1) } else { what }),
            );
        }
        Ok(differences)
    }

    fn steps(&self, case: &Value, context: &mut Context<'_>) -> Told<Vec<Step>> {
        let expect = |index: usize| case["expect"].get(index).unwrap_or(&case["expect"]).clone();
        match case["kind"].as_str() {
            Some("jwt" | "keyset") => {
                context.token = Some(context.make_token(case)?);
                Ok(vec![self.token_step(case, context)?])
            }
            Some("forward_auth") => Ok(vec![self.question(case, expect(0), context)?]),
            Some("request") => match case["sequence"].as_array() {
                Some(steps) => steps
                    .iter()
                    .enumerate()
                    .map(|(index, step)| request_step(step, expect(index), context))
                    .collect(),
                None => Ok(vec![request_step(case, expect(0), context)?]),
            },
            Some("http1") => {
                let raw = case["raw"].as_str().ok_or("no `raw`")?;
                let sent = Sent::Http1(latin1(&context.expand(raw)?)?);
                Ok(vec![Step { sent, trace: None, expect: expect(0) }])
            }
            Some("http2") => {
                let sent = Sent::Http2(frames::of_case(case, context)?);
                Ok(vec![Step { sent, trace: None, expect: expect(0) }])
            }
            other => Err(format!("the runner does not know the kind {other:?}")),
        }
    }

    /// What another proxy asks. The question's own method and target would be permitted, so that a program which
    /// falls back on them shows.
    fn question(&self, case: &Value, expect: Value, context: &Context<'_>) -> Told<Step> {
        let Call { method, target, header } = self.world.call(&Value::Null)?;
        let mut headers = pairs(&case["headers"], context)?;
        headers.extend(header);
        let body = case["body"].as_str().map(|body| context.expand(body)).transpose()?;
        let own =
            |name: &str, usual| case[name].as_str().map_or(Ok(usual), |own| context.expand(own));
        let (method, target) = (own("method", method)?, own("target", target)?);
        Ok(build(&method, &target, &headers, body.as_deref(), expect, context))
    }

    /// The request that carries the token of a case.
    fn token_step(&self, case: &Value, context: &Context<'_>) -> Told<Step> {
        let Call { method, mut target, header: party } = self.world.call(case)?;
        let send = &case["send"];
        if let Some(query) = send["query"].as_str() {
            let separator = if target.contains('?') { '&' } else { '?' };
            target = format!("{target}{separator}{}", context.expand(query)?);
        }
        let mut headers = match send.get("headers") {
            Some(listed) => pairs(listed, context)?,
            None => vec![("Authorization".into(), context.expand("Bearer {TOKEN}")?)],
        };
        headers.extend(party);
        let body = send["body"].as_str().map(|body| context.expand(body)).transpose()?;
        let method = send["method"].as_str().unwrap_or(&method);
        Ok(build(method, &target, &headers, body.as_deref(), case["expect"].clone(), context))
    }

    fn patience(&self) -> Duration {
        let idle = self.world.value["limits"]["header_read_timeout_s"].as_u64().unwrap_or(10);
        LIMIT.min(Duration::from_millis(idle * 500))
    }

    /// Whether the program is alive and well: the status of a request that must be let through.
    fn good_request(&self, stage: &Stage) -> Told<u64> {
        let answers = self.ask(stage, "good", None)?;
        Ok(answers.messages.first().map_or(0, crate::wire::Message::status))
    }

    /// A request with a token of the world by a route of it, on a connection of its own.
    fn ask(&self, stage: &Stage, token: &str, route: Option<&str>) -> Told<Answers> {
        let step = self.named_step(stage, token, route)?;
        Ok(exchange(stage.proxy.address(), &mut None, &step, false, self.patience()))
    }

    /// Waits until the record of every earlier request is written.
    fn settle(&self, stage: &Stage) -> Told<()> {
        let idle = "\nportvakt_requests_in_flight 0\n";
        wait_for(LIMIT, || admin(&stage.proxy, "/metrics").1.contains(idle).then_some(()));
        // Records are written in their order.
        let last = self.named_step(stage, "good", None)?;
        let before = stage.proxy.audit().len();
        exchange(stage.proxy.address(), &mut None, &last, false, self.patience());
        let expect = json!({ "audit": "permit" });
        audit(stage, &Step { expect, ..last }, before);
        Ok(())
    }

    fn named_step(&self, stage: &Stage, token: &str, route: Option<&str>) -> Told<Step> {
        let host = stage.proxy.address();
        let mut context = Context::new(&self.world, host, String::new(), String::new());
        context.token = Some(context.named_token(token)?);
        let mut call = json!({ "expect": { "status": [200] } });
        if let Some(route) = route {
            call["route"] = route.into();
        }
        if stage.asked {
            let Call { method, target, header } = self.world.call(&call)?;
            let mut headers = World::told_by(&method, &target);
            headers.push(("Authorization".into(), context.expand("Bearer {TOKEN}")?));
            headers.extend(header);
            let expect = call["expect"].take();
            return Ok(build("GET", "/", &headers, None, expect, &context));
        }
        self.token_step(&call, &context)
    }

    /// What becomes of an answer that the upstream gives.
    fn upstream_answer(&self, case: &Value) -> Told<Vec<String>> {
        let raw = case["upstream_raw"].as_str().ok_or("no `upstream_raw`")?;
        let behaviour = match raw {
            "{REFUSE}" => Behaviour::Refuse,
            _ => Behaviour::Bytes(latin1(raw)?),
        };
        // One worker: connections to the upstream are kept by each.
        let stage = self.set_up_before(case, Upstream::start_as(behaviour), 1)?;
        let (token, route) = case["request"]
            .as_str()
            .and_then(|words| words.split_once(' '))
            .ok_or("a request is a token and a route")?;
        let answers = self.ask(&stage, token, Some(route))?;
        // Once more, so that a connection which must not be used again could be.
        self.ask(&stage, token, Some(route))?;
        Ok(judge::upstream_answer(&case["expect"], &answers, &stage.upstream.take()))
    }

    /// What becomes of the program under a flood of frames.
    fn flood(&self, case: &Value) -> Told<Vec<String>> {
        let stage = self.set_up(case)?;
        let text = |name: &str| case[name].as_str().ok_or_else(|| format!("no `{name}`"));
        let good = self.named_step(&stage, "good", None)?;
        let Sent::Http1(good) = &good.sent else { return Err("no head".into()) };
        let bytes = frames::flood(text("generate")?, &frames::of_head(good)?)?;
        // Whatever is made once is made before the flood.
        self.good_request(&stage)?;
        let (before, _) = stage.proxy.memory();
        let address = stage.proxy.address();
        let (alive, meanwhile) = std::thread::scope(|scope| {
            let flood =
                scope.spawn(|| h2::Connection::open(address).survives(&bytes, self.patience()));
            let mut meanwhile = Vec::new();
            while !flood.is_finished() || meanwhile.is_empty() {
                meanwhile.push(self.good_request(&stage));
            }
            (flood.join().expect("whole"), meanwhile)
        });
        let meanwhile: Told<Vec<u64>> = meanwhile.into_iter().collect();
        let (after, _) = stage.proxy.memory();
        let flooded = judge::Flooded {
            alive,
            meanwhile: meanwhile?,
            growth: after.saturating_sub(before),
            after: self.good_request(&stage)?,
        };
        Ok(judge::flood(&case["expect"], &flooded))
    }
}

fn admin(proxy: &Proxy, path: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(proxy.admin(path))
}

/// A connection that is closed for good reason is closed at once: within `patience`, which ends before an
/// idle connection would be closed anyway.
fn exchange(
    host: &str,
    client: &mut Option<Client>,
    step: &Step,
    several: bool,
    patience: Duration,
) -> Answers {
    let raw = match &step.sent {
        Sent::Http1(raw) => raw,
        Sent::Http2(frames) => {
            let mut connection = h2::Connection::open(host);
            let answers = connection.exchange(&frames.bytes, &frames.streams);
            // What comes after this has been seen comes after everything that the frames have set off.
            return Answers {
                closed: answers.closed || !connection.survives(&[], patience),
                ..answers
            };
        }
    };
    let client = client.get_or_insert_with(|| Client::connect(host));
    let count = step.expect["statuses"].as_array().map_or(1, Vec::len);
    let then = match (step.expect["close"] == true, several, &step.trace) {
        (true, ..) => Then::AwaitClose(patience),
        // Bytes as they are may hold more than one request.
        (false, false, None) => Then::Flush,
        (false, ..) => Then::Keep,
    };
    client.exchange(raw, count, then)
}

/// The audit records of a step. Waits for one where there must be one.
fn audit(stage: &Stage, step: &Step, before: usize) -> Vec<Value> {
    let own = || {
        let records = stage.proxy.audit();
        match &step.trace {
            Some(trace) => {
                records.into_iter().filter(|record| record["trace_id"] == trace.as_str()).collect()
            }
            None => records.get(before..).unwrap_or_default().to_vec(),
        }
    };
    if step.expect.get("audit").is_none() {
        return own();
    }
    wait_for(LIMIT, || Some(own()).filter(|records: &Vec<Value>| !records.is_empty()))
}

/// Whether whoever asks is one of the proxies that may.
fn is_trusted(case: &Value) -> Told<bool> {
    match case["peer"].as_str() {
        None | Some("trusted") => Ok(true),
        Some("untrusted") => Ok(false),
        Some(other) => Err(format!("the runner knows no peer that is {other}")),
    }
}

fn pairs(listed: &Value, context: &Context<'_>) -> Told<Vec<(String, String)>> {
    let pair = |pair: &Value| {
        let text = |index: usize| {
            context.expand(pair[index].as_str().ok_or("a header is a pair of texts")?)
        };
        Ok((text(0)?, text(1)?))
    };
    listed.as_array().ok_or("headers are a list")?.iter().map(pair).collect()
}

fn request_step(step: &Value, expect: Value, context: &Context<'_>) -> Told<Step> {
    let text = |name: &str| step[name].as_str().ok_or_else(|| format!("no `{name}`"));
    let mut headers = match step.get("headers") {
        Some(listed) => pairs(listed, context)?,
        None => Vec::new(),
    };
    match step["token"].as_str() {
        None | Some("none") => {}
        Some(name) => {
            let token = context.named_token(name)?;
            let token = match step["tamper"].as_str() {
                None => token,
                Some("payload") => with_other_payload(&token)?,
                Some(other) => {
                    return Err(format!("the runner does not know how to tamper with {other}"));
                }
            };
            headers.push(("Authorization".into(), format!("Bearer {token}")));
        }
    }
    let body = step["body"].as_str().map(|body| context.expand(body)).transpose()?;
    let target = context.expand(text("target")?)?;
    Ok(build(text("method")?, &target, &headers, body.as_deref(), expect, context))
}

/// The same token with another payload under the signature of the first.
fn with_other_payload(token: &str) -> Told<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err("not three parts".into());
    };
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
    let mut claims: Value = serde_json::from_slice(&bytes.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    claims["jti"] = uuid::Uuid::new_v4().to_string().into();
    Ok(format!("{header}.{}.{signature}", base64url(claims.to_string())))
}

fn build(
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: Option<&str>,
    expect: Value,
    context: &Context<'_>,
) -> Step {
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let mut raw = format!("{method} {target} HTTP/1.1\r\n");
    let mut line = |name: &str, value: &str| raw.extend([name, ": ", value, "\r\n"]);
    let given = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    if !given("host") {
        line("Host", &context.host);
    }
    let traced = !given("traceparent");
    if traced {
        line("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    }
    if let Some(body) = body
        && !given("content-length")
        && !given("transfer-encoding")
    {
        line("Content-Length", &body.len().to_string());
    }
    for (name, value) in headers {
        line(name, value);
    }
    let raw = format!("{raw}\r\n{}", body.unwrap_or_default());
    Step { sent: Sent::Http1(raw.into_bytes()), trace: traced.then_some(trace), expect }
}
