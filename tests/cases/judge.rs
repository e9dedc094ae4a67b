//! Compares what came of a request with what must.

use crate::readings::readings;
use crate::run::{Sent, Step};
use crate::stage::{Answers, Reached};
use crate::wire::{Message, has_one_reading};
use crate::world::World;
use serde_json::Value;

/// What came of one step.
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Message>,
    /// Whether the program closed the connection.
    pub(crate) closed: bool,
    pub(crate) reached: Reached,
    pub(crate) audit: Vec<Value>,
    /// How often the forbidden listener was called.
    pub(crate) egress: usize,
    /// The status of a good request afterwards, where it is asked for.
    pub(crate) after: Option<u64>,
    pub(crate) log: Vec<String>,
}

/// Everything that is not as it must be.
pub(crate) fn judge(sent: &Step, outcome: &Outcome, world: &World) -> Vec<String> {
    let expect = &sent.expect;
    let Some(members) = expect.as_object() else { return vec!["no expectation".into()] };
    let was_reset = (expect["reset"] == true || expect["reset_ok"] == true)
        && outcome.messages.is_empty()
        && outcome.closed;
    let judged = members.iter().map(|(name, must)| match name.as_str() {
        "status" | "www_authenticate" if was_reset => Ok(()),
        "status" => status(expect, must, outcome),
        "statuses" => statuses(must, outcome),
        "upstream" => upstream(must, &outcome.reached),
        "upstream_target" => each(&outcome.reached, |message| {
            same(&[message.word(1)], &texts(must), "target at the upstream")
        }),
        "upstream_identity" => each(&outcome.reached, |message| identity(message, must, world)),
        "upstream_headers" => each(&outcome.reached, |message| headers(message, must)),
        "upstream_headers_once" => each(&outcome.reached, |message| {
            let several = texts(must).into_iter().find(|name| message.header(name).len() != 1);
            several.map_or(Ok(()), |name| Err(format!("{name}: {:?}", message.header(name))))
        }),
        "upstream_headers_absent" => each(&outcome.reached, |message| absent(message, must)),
        "upstream_headers_absent_folded" => each(&outcome.reached, |message| {
            absent_folded(message, must, &expect["upstream_headers"])
        }),
        "decision_uses_header" => each(&outcome.reached, |message| has_identity(message, world)),
        "upstream_host_not" => each(&outcome.reached, |message| {
            let host = message.header("host");
            if texts(must).iter().any(|not| host.contains(not)) {
                return Err(format!("the upstream was told the host {host:?}"));
            }
            Ok(())
        }),
        "second_request" => second_request(sent, outcome),
        "www_authenticate" => challenge(must, outcome),
        "audit" => audit(must, outcome),
        "egress" => same(&[outcome.egress], &[0], "connections to the forbidden address"),
        "survive" => same(&[outcome.after], &[Some(200)], "status of a good request afterwards"),
        "close" if *must == true && !outcome.closed => Err("the connection is not closed".into()),
        "log" => log(must, outcome, world),
        "close" | "alt_ok" | "reset" | "reset_ok" | "note" | "why" => Ok(()),
        other => Err(format!("the runner does not know `{other}`")),
    });
    let alike = each(&outcome.reached, |message| {
        has_one_reading(message)?;
        is_read_alike(message, world)
    });
    judged.chain([alike]).filter_map(Result::err).collect()
}

/// However a server behind us reads the target, it finds the route and the party that we name to it.
fn is_read_alike(message: &Message, world: &World) -> Result<(), String> {
    let named = identity_headers(world).into_iter().find(|name| name.ends_with("party"));
    let judged = named.and_then(|name| message.header(name).first().copied());
    let found = readings(&world.templates, message.word(0), message.word(1));
    let (first, others) = found.split_first().ok_or("nobody reads the target")?;
    if let Some((how, other)) = others.first() {
        let target = message.word(1);
        return Err(format!("{target}: {:?}, but {how} {other:?}", first.1));
    }
    let (_, reading) = first;
    for party in [&reading.path_party, &reading.query_party].into_iter().flatten() {
        if judged.is_some_and(|judged| judged != party) {
            return Err(format!("{judged:?} was judged, {party} is what the target names"));
        }
    }
    if reading.route.is_none() {
        return Err(format!("{} is of no route", message.start));
    }
    Ok(())
}

/// What came of a flood.
pub(crate) struct Flooded {
    /// Whether its connection is still there.
    pub(crate) alive: bool,
    /// The statuses of good requests while it lasted.
    pub(crate) meanwhile: Vec<u64>,
    /// Bytes of memory more than before.
    pub(crate) growth: u64,
    /// The status of a good request afterwards.
    pub(crate) after: u64,
}

/// Everything about a flood that is not as it must be.
pub(crate) fn flood(expect: &Value, flooded: &Flooded) -> Vec<String> {
    let Some(members) = expect.as_object() else { return vec!["no expectation".into()] };
    let judged = members.iter().map(|(name, must)| match name.as_str() {
        "connection" => {
            let ends = must.as_str().unwrap_or_default().split(" or ");
            let good = ends.map(|end| match end {
                "closed" => Ok(!flooded.alive),
                "all served" => Ok(flooded.alive),
                other => Err(format!("the runner does not know the end `{other}`")),
            });
            match good.collect::<Result<Vec<bool>, String>>() {
                Ok(good) if good.contains(&true) => Ok(()),
                Ok(_) => Err(format!("alive: {}, must be {must}", flooded.alive)),
                Err(why) => Err(why),
            }
        }
        "rss_growth_mb<" => {
            let limit = must.as_u64().unwrap_or(0) * 1024 * 1024;
            if flooded.growth < limit {
                return Ok(());
            }
            Err(format!("{} bytes more memory, must be less than {must} MB", flooded.growth))
        }
        "good_request_meanwhile" => {
            let good = |status: &u64| must.as_u64() == Some(*status);
            if flooded.meanwhile.iter().all(good) {
                return Ok(());
            }
            Err(format!("good requests meanwhile: {:?}", flooded.meanwhile))
        }
        "survive" => same(&[flooded.after], &[200], "status of a good request afterwards"),
        other => Err(format!("the runner does not know `{other}`")),
    });
    judged.filter_map(Result::err).collect()
}

/// Everything about an answer of the upstream that reached the client otherwise than it must.
pub(crate) fn upstream_answer(expect: &Value, answers: &Answers, reached: &Reached) -> Vec<String> {
    let Some(members) = expect.as_object() else { return vec!["no expectation".into()] };
    let answer = answers.messages.first();
    let status = answer.map(Message::status);
    let one_of = |must: &Value| {
        let listed = must.as_array().map_or_else(|| vec![must.clone()], Clone::clone);
        status.is_some_and(|status| listed.contains(&Value::from(status)))
    };
    // A message that is not whole is none.
    let sees = |words: &str| match words.split(' ').collect::<Vec<_>>().as_slice() {
        ["incomplete"] => Ok(answer.is_none() && answers.closed),
        ["a", "complete", number] | [number] => {
            let number: u64 = number.parse().map_err(|_| format!("no status: {number}"))?;
            Ok(status == Some(number))
        }
        _ => Err(format!("the runner does not know what `{words}` is")),
    };
    let judged = members.iter().map(|(name, must)| match name.as_str() {
        "client_status" if one_of(must) => Ok(()),
        "client_status" => Err(format!("status {status:?}, must be {must}")),
        "client_body" => {
            let body = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
            same(&[body.as_deref()], &[must.as_str()], "body")
        }
        "client_headers_absent" => answer.map_or(Ok(()), |answer| absent(answer, must)),
        "client_sees" => {
            let words = must.as_str().unwrap_or_default();
            let found: Result<Vec<bool>, String> = words.split(" or ").map(sees).collect();
            match found {
                Ok(found) if found.contains(&true) => Ok(()),
                Ok(_) => Err(format!("the client sees {answer:?}, must be {must}")),
                Err(why) => Err(why),
            }
        }
        "never" => match sees(must.as_str().unwrap_or_default()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(format!("the client sees {must}")),
            Err(why) => Err(why),
        },
        "connection_reused" if *must == false && reached.on_one_connection > 1 => {
            Err("the connection to the upstream is used again".into())
        }
        "connection_reused" if *must == true && reached.on_one_connection < 2 => {
            Err("the connection to the upstream is not used again".into())
        }
        "no_tunnel" if *must == true && status == Some(101) => Err("a tunnel".into()),
        "connection_reused" | "no_tunnel" | "note" | "why" => Ok(()),
        other => Err(format!("the runner does not know `{other}`")),
    });
    judged.filter_map(Result::err).collect()
}

fn same<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    is: &[T],
    must: &[U],
    what: &str,
) -> Result<(), String> {
    if is == must { Ok(()) } else { Err(format!("{what}: {is:?}, must be {must:?}")) }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map_or_else(
        || value.as_str().into_iter().collect(),
        |list| list.iter().filter_map(Value::as_str).collect(),
    )
}

fn each(reached: &Reached, judge: impl Fn(&Message) -> Result<(), String>) -> Result<(), String> {
    reached.messages.iter().try_for_each(judge)
}

fn status(expect: &Value, must: &Value, outcome: &Outcome) -> Result<(), String> {
    let Some(answer) = outcome.messages.first() else {
        return Err(format!("no answer, must be {must}"));
    };
    let status = Value::from(answer.status());
    let tolerated = |list: &Value| list.as_array().is_some_and(|list| list.contains(&status));
    if tolerated(must) || tolerated(&expect["alt_ok"]) {
        return Ok(());
    }
    Err(format!("status {status}, must be {must}: {}", String::from_utf8_lossy(&answer.body)))
}

fn statuses(must: &Value, outcome: &Outcome) -> Result<(), String> {
    let must: Vec<u64> = must.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let is: Vec<u64> = outcome.messages.iter().take(must.len()).map(Message::status).collect();
    same(&is, &must, "statuses")
}

fn upstream(must: &Value, reached: &Reached) -> Result<(), String> {
    let (count, more) = (reached.messages.len(), reached.has_more());
    let good = match must.as_str() {
        Some("none") => reached.bytes == 0,
        Some("once") => count == 1 && !more,
        Some("once_or_none") => count <= 1 && !more,
        Some("at_most_one_message") => count <= 1,
        Some("no_complete_message") => count == 0,
        other => return Err(format!("the runner does not know the upstream {other:?}")),
    };
    if good {
        return Ok(());
    }
    Err(format!("upstream got {count} messages, {} bytes, must be {must}", reached.bytes))
}

fn identity_headers(world: &World) -> Vec<&str> {
    texts(&world.value["identity_headers_set_by_pep"])
}

/// The system user that is named to the upstream, in whichever of the identity headers names one.
fn identity(message: &Message, must: &Value, world: &World) -> Result<(), String> {
    let name = identity_headers(world).into_iter().find(|name| name.contains("user"));
    let name = name.ok_or("no identity header names a user")?;
    same(&message.header(name), &texts(must), name)
}

fn has_identity(message: &Message, world: &World) -> Result<(), String> {
    let missing: Vec<_> = identity_headers(world)
        .into_iter()
        .filter(|name| message.header(name).len() != 1)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("identity headers missing: {missing:?}")) }
}

fn headers(message: &Message, must: &Value) -> Result<(), String> {
    let mut listed = must.as_object().into_iter().flatten();
    listed.try_for_each(|(name, values)| same(&message.header(name), &texts(values), name))
}

fn absent(message: &Message, must: &Value) -> Result<(), String> {
    let none: [&str; 0] = [];
    texts(must).iter().try_for_each(|name| same(&message.header(name), &none, name))
}

/// No header that reads as one of these after `_` and `.` are read as `-`, but those that are expected.
fn absent_folded(message: &Message, must: &Value, expected: &Value) -> Result<(), String> {
    let forbidden = texts(must);
    let found = message.headers.iter().map(|(name, _)| name).find(|name| {
        let folded = name.replace(['_', '.'], "-");
        forbidden.contains(&folded.as_str()) && expected.get(name.as_str()).is_none()
    });
    found.map_or(Ok(()), |name| Err(format!("`{name}` reached the upstream")))
}

/// The request hidden behind the first one never arrives.
fn second_request(sent: &Step, outcome: &Outcome) -> Result<(), String> {
    let Sent::Http1(raw) = &sent.sent else { return Err("no bytes of HTTP/1".into()) };
    let text: String = raw.iter().copied().map(char::from).collect();
    let (_, behind) = text.split_once("\r\n\r\n").ok_or("no second request")?;
    let hidden =
        behind.lines().find(|line| line.contains(" HTTP/1.")).ok_or("no second request")?;
    let target = hidden.split(' ').nth(1).unwrap_or_default();
    let arrived = outcome.reached.messages.iter().any(|message| {
        message.word(1) == target || String::from_utf8_lossy(&message.body).contains(hidden)
    });
    if arrived || outcome.reached.messages.len() > 1 {
        Err("the second request arrived".into())
    } else {
        Ok(())
    }
}

fn challenge(must: &Value, outcome: &Outcome) -> Result<(), String> {
    let Some(answer) = outcome.messages.first() else { return Err("no answer".into()) };
    // A status without a challenge, such as 503, has none to compare.
    if !matches!(answer.status(), 401 | 403) {
        return Ok(());
    }
    let value = answer.header("www-authenticate");
    let [value] = value.as_slice() else { return Err(format!("challenges: {value:?}")) };
    let error = value.split_once("error=\"").and_then(|(_, rest)| rest.split('"').next());
    same(&[error], &[must.as_str()], "error of the challenge")
}

fn audit(must: &Value, outcome: &Outcome) -> Result<(), String> {
    let answers: Vec<&str> =
        outcome.audit.iter().filter_map(|record| record["answer"].as_str()).collect();
    let good = match must.as_str() {
        Some("deny") => !answers.is_empty() && !answers.contains(&"permit"),
        Some("permit") => answers.contains(&"permit"),
        _ => return Err(format!("the runner does not know the audit {must}")),
    };
    if good { Ok(()) } else { Err(format!("audit says {answers:?}, must be {must}")) }
}

/// `warning`, and what must not be in it.
fn log(must: &Value, outcome: &Outcome, world: &World) -> Result<(), String> {
    let level = |line: &String| {
        serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] == "WARN")
    };
    let words = must.as_str().unwrap_or_default();
    if words.contains("warning") && !outcome.log.iter().any(level) {
        return Err("no warning in the log".into());
    }
    if words.contains("without the private members") {
        let secrets = world.private_numbers();
        if outcome.log.iter().any(|line| secrets.iter().any(|secret| line.contains(secret))) {
            return Err("private members in the log".into());
        }
    }
    Ok(())
}
