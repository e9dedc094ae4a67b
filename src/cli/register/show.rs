//! `portvakt register show`: the register's JSON in words.

use super::held::{HeldError, Origin};
use crate::config::Config;
use crate::domain::system_user::SystemUserId;
use crate::serve::register::span;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// A summary, or one system user.
pub(super) async fn show(
    config: &Config,
    from: &Origin,
    system_user: Option<SystemUserId>,
) -> Result<String, HeldError> {
    match system_user {
        Some(id) => Ok(user(&from.system_user(config, id).await?)),
        None => Ok(summary(&from.summary(config).await?)),
    }
}

fn summary(told: &Value) -> String {
    let (users, waiting) = (&told["system_users"], &told["waiting"]);
    let mut text = format!(
        "system users   {} watched of at most {}, {} read, {} in doubt; {} waiting\n",
        number(&users["watched"]),
        number(&users["most"]),
        number(&users["read"]),
        number(&users["doubted"]),
        number(&waiting["system_users"]),
    );
    let _ = writeln!(
        text,
        "parties        {} in {} sets of rights, about {} KiB",
        number(&told["parties"]),
        number(&told["rights_sets"]),
        number(&told["bytes"]) / 1024,
    );
    let _ = writeln!(
        text,
        "ages           oldest {}, oldest in use {}, worst served {}",
        age(&told["oldest_seconds"]),
        age(&told["oldest_in_use_seconds"]),
        age(&told["worst_served_seconds"]),
    );
    let altinn = &told["altinn"];
    if !altinn.is_null() {
        let _ = writeln!(
            text,
            "Altinn         {} calls left now, {} in flight",
            number(&altinn["calls_left_now"]),
            number(&altinn["in_flight"]),
        );
    }
    let policies = &told["policies"];
    let _ = writeln!(text, "policies       known current {}", ago(&policies["verified_seconds"]));
    list(&policies["resources"]).for_each(|resource| tell_resource(&mut text, resource));
    text.push_str("if Altinn goes away\n");
    for route in list(&told["grace"]) {
        let _ = writeln!(text, "  {}: {}", word(&route["route"]), word(&route["words"]));
    }
    text
}

fn tell_resource(text: &mut String, resource: &Value) {
    let _ = write!(text, "  {}: {}", word(&resource["resource"]), word(&resource["state"]));
    if let Some(version) = resource["version"].as_str() {
        let _ = write!(text, ", version {version}, changed {}", ago(&resource["changed_seconds"]));
    }
    if resource["derivation"] == "off" {
        text.push_str(", derivation switched off: Altinn's decision point disagreed");
    }
    text.push('\n');
    for action in list(&resource["actions"]) {
        let told = match action["words"].as_str() {
            None => "derived from access packages".to_owned(),
            Some(why) => format!("asked: {why}"),
        };
        let _ = writeln!(text, "    {}: {told}", word(&action["action"]));
    }
}

fn user(told: &Value) -> String {
    let mut text = format!(
        "system user    {}\nowner          {}\nsystem         {} of vendor {}\n",
        word(&told["system_user"]),
        word(&told["owner"]),
        word(&told["system"]),
        word(&told["vendor"]),
    );
    let _ = writeln!(
        text,
        "read           {}, changed {}, used {}",
        ago(&told["read_seconds"]),
        ago(&told["changed_seconds"]),
        ago(&told["used_seconds"]),
    );
    if told["doubted"] == true {
        text.push_str("in doubt       Altinn's decision point said no; nothing is derived until it is read anew\n");
    }
    if told["complete"] == false {
        text.push_str("incomplete     too many distinct sets of rights\n");
    }
    for party in list(&told["parties"]) {
        let _ = writeln!(text, "for {}", word(&party["party"]));
        let _ = writeln!(text, "  access packages  {}", words(&party["packages"]));
        let _ = writeln!(text, "  single rights on {}", words(&party["resources"]));
        let derives = list(&party["derives"])
            .map(|right| format!("{} on {}", word(&right["action"]), word(&right["resource"])));
        let derives: Vec<String> = derives.collect();
        let told = if derives.is_empty() { "nothing".to_owned() } else { derives.join(", ") };
        let _ = writeln!(text, "  derived          {told}");
    }
    text
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn words(value: &Value) -> String {
    let all: Vec<&str> = list(value).map(word).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn age(value: &Value) -> String {
    value.as_u64().map_or_else(|| "none".to_owned(), |age| span(Duration::from_secs(age)))
}

fn ago(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(Duration::from_secs(age))))
}
