//! `portvakt audit report`: what routes in shadow would have refused, by route, vendor and reason.

use crate::cli::{complain, say};
use crate::config::summary::{aligned, table};
use crate::record::report::{Counting, Report, RouteReport, Tally};
use clap::Args;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

/// What is to be counted.
#[derive(Args, Debug)]
pub struct Wish {
    /// The files of audit logs, in any order; `-` for standard input.
    #[arg(default_value = "-")]
    files: Vec<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", .0.display())]
struct Unreadable(PathBuf, #[source] io::Error);

/// Does it. Exit code 0 when every line was counted, 3 when some were not, or a file could not be read: more may be
/// refused than is told then.
pub(super) fn run(wish: &Wish) -> ExitCode {
    let report = match count(wish) {
        Ok(report) => report,
        Err(error) => {
            let _ = complain(&error);
            return ExitCode::from(super::CANNOT_TELL);
        }
    };
    if wish.json {
        match serde_json::to_string(&report) {
            Ok(text) => say(&text),
            Err(error) => return complain(&error),
        };
    } else {
        say(&tell(&report));
    }
    if report.torn + report.foreign == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::CANNOT_TELL)
    }
}

fn count(wish: &Wish) -> Result<Report, Unreadable> {
    let mut counting = Counting::default();
    for file in &wish.files {
        let read = if file.as_os_str() == "-" {
            counting.read(file, io::stdin().lock())
        } else {
            File::open(file).and_then(|open| counting.read(file, BufReader::new(open)))
        };
        read.map_err(|error| Unreadable(file.clone(), error))?;
    }
    Ok(counting.report())
}

fn tell(report: &Report) -> String {
    let mut text = String::new();
    let in_shadow = || report.routes.iter().filter(|route| route.in_shadow > 0);
    let sum: u64 = in_shadow().map(|route| route.in_shadow).sum();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{} requests{}, {sum} of them on routes in shadow", report.requests, {
        let (first, last) = (&report.first, &report.last);
        if first.is_empty() { String::new() } else { format!(" from {first} to {last}") }
    });
    if sum > 0 {
        text.push('\n');
        let head = ["ROUTE", "REQUESTS", "IN SHADOW", "WOULD BE REFUSED", "SHARE", "FIRST", "LAST"];
        text.push_str(&aligned(&table(head, in_shadow().map(of_route))));
    }
    if in_shadow().any(|route| !route.refusals.is_empty()) {
        text.push('\n');
        let head = ["ROUTE", "VENDOR", "CODE", "REASON", "COUNT", "SHARE", "FIRST", "LAST"];
        text.push_str(&aligned(&table(head, in_shadow().flat_map(of_refusals))));
    }
    if report.more > 0 {
        let _ = writeln!(text, "\nof more kinds than are told apart: {}", report.more);
    }
    if report.torn + report.foreign > 0 {
        let (torn, foreign) = (report.torn, report.foreign);
        let _ = writeln!(
            text,
            "\nNOT COUNTED: lines that are no whole JSON: {torn}, that are no audit record: {foreign}; the first of them:"
        );
        for notice in &report.notices {
            let _ = writeln!(text, "{}:{}: {}", notice.file.display(), notice.line, notice.message);
        }
    }
    text
}

fn of_route(route: &RouteReport) -> [String; 7] {
    let [count, share, first, last] = of_tally(&route.refused);
    let (requests, in_shadow) = (route.requests.to_string(), route.in_shadow.to_string());
    [route.route.clone(), requests, in_shadow, count, share, first, last]
}

fn of_refusals(route: &RouteReport) -> impl Iterator<Item = [String; 8]> {
    route.refusals.iter().map(|refusal| {
        let [count, share, first, last] = of_tally(&refusal.refused);
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (vendor, reason) = (or_dash(&refusal.vendor), or_dash(&refusal.reason));
        let code = refusal.code.to_owned();
        [route.route.clone(), vendor, code, reason, count, share, first, last]
    })
}

fn of_tally(tally: &Tally) -> [String; 4] {
    let percent = tally.share * 100.0;
    let share = match tally.would_be_refused {
        0 => "-".to_owned(),
        _ if percent < 0.01 => "<0.01 %".to_owned(),
        _ => format!("{percent:.2} %"),
    };
    let or_dash = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
    [tally.would_be_refused.to_string(), share, or_dash(&tally.first), or_dash(&tally.last)]
}
