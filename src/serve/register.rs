//! The register as JSON: for the admin listener, and for `portvakt register` where it reads a snapshot.
//!
//! Names no person (none is held) and no secret. Ages are whole seconds, rounded down; `null` is never.

use crate::domain::delegation::PackageId;
use crate::domain::party::OrgNumber;
use crate::domain::resource::{ResourceId, Right};
use crate::domain::system_user::{SystemId, SystemUserId};
use crate::register::{NotDerived, Reader, SHARDS, Shown, Stats, Tick, Ticks};
use crate::sync::bound::grace_left;
use crate::sync::status::{ResourceStatus, Status, StatusReader};
use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Counting walks over everything: not more often than this, however often somebody asks.
const COUNTING: Duration = Duration::from_secs(1);

/// What is told of the register.
pub struct RegisterPages {
    /// The register.
    pub reader: Reader,
    /// How the task that keeps it stands.
    pub status: StatusReader,
    /// Its bounds, and those of its routes.
    pub bounds: ArcSwap<Bounds>,
    /// How busy the way to Altinn is; `None` where nobody goes it.
    pub calls: Option<CountCalls>,
    counted: Mutex<Option<(Instant, Stats)>>,
}

/// What the configuration says of the register.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Most system users watched.
    pub max_system_users: usize,
    /// Most bytes for what is known of them.
    pub max_bytes: usize,
    /// Greatest age of what is known of policies, outages apart.
    pub policy_max_age: Duration,
    /// The routes that ask for a right.
    pub graces: Vec<RouteGrace>,
}

/// How old an answer a route is served with while Altinn cannot be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteGrace {
    /// The route's id.
    pub route: String,
    /// For methods that change nothing; `None` where it takes none.
    pub reads: Option<Duration>,
    /// For every other method; `None` where it takes none.
    pub writes: Option<Duration>,
}

/// Tells how busy the way to Altinn is.
pub type CountCalls = Arc<dyn Fn() -> Calls + Send + Sync>;

/// How busy the way to Altinn is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Calls {
    /// Calls that the declared ceiling leaves now.
    pub left: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that wait, with a request waiting for them.
    pub waiting: usize,
    /// Calls that wait, with nobody waiting for them.
    pub behind: usize,
    /// For how long Altinn asked not to be called.
    pub paused: Option<Duration>,
}

impl std::fmt::Debug for RegisterPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisterPages").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl RegisterPages {
    /// Tells of this register.
    #[must_use]
    pub fn new(
        reader: Reader,
        status: StatusReader,
        bounds: Bounds,
        calls: Option<CountCalls>,
    ) -> Self {
        Self {
            reader,
            status,
            bounds: ArcSwap::from_pointee(bounds),
            calls,
            counted: Mutex::new(None),
        }
    }

    /// Counts, ages, policies and remaining grace. `worst_served` is the greatest age of a permit served,
    /// in seconds; `None` where nobody is served.
    #[must_use]
    pub fn summary(&self, worst_served: Option<i64>) -> Value {
        let (counted, status, ticks) = (self.stats(), self.status.status(), self.reader.ticks());
        json!({
            "system_users": {
                "watched": self.reader.size(),
                "read": counted.read,
                "doubted": counted.doubted,
                "most": self.bounds.load().max_system_users,
            },
            "parties": counted.parties,
            "rights_sets": counted.sets,
            "rights_sets_refused": counted.refused_sets,
            "bytes": self.reader.bytes(),
            "most_bytes": self.bounds.load().max_bytes,
            "oldest_seconds": age(ticks, counted.oldest),
            "oldest_in_use_seconds": age(ticks, status.oldest),
            "worst_served_seconds": worst_served,
            "waiting": { "system_users": status.waiting, "longest_seconds": status.lag.as_secs() },
            "policies": policies(&status, ticks),
            "grace": self.graces(&status),
            "altinn": self.calls.as_ref().map(|calls| calls().json()),
        })
    }

    /// What is known of one system user.
    #[must_use]
    pub fn system_user(&self, id: SystemUserId) -> Option<Value> {
        self.reader.show(id).map(|shown| user(&shown, self.reader.ticks()))
    }

    /// The JSON lines of one shard after the other, none empty: whoever takes them takes the next when it
    /// has room for it.
    pub fn export(self: Arc<Self>) -> impl Iterator<Item = Bytes> + Send + 'static {
        (0..SHARDS).map(move |shard| self.lines(shard)).filter(|lines| !lines.is_empty())
    }

    fn lines(&self, shard: usize) -> Bytes {
        let (mut lines, ticks) = (String::new(), self.reader.ticks());
        self.reader.show_shard(shard, &mut |shown| {
            lines.push_str(&user(&shown, ticks).to_string());
            lines.push('\n');
        });
        lines.into()
    }

    /// How long each route is served if Altinn stays away, in words.
    pub(super) fn grace_words(&self) -> Vec<(String, String)> {
        let text = |it: &Value, name: &str| it.get(name)?.as_str().map(str::to_owned);
        let graces = self.graces(&self.status.status());
        graces.iter().filter_map(|it| Some((text(it, "route")?, text(it, "words")?))).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *counted {
            Some((at, stats)) if now.duration_since(at) < COUNTING => stats,
            Some(_) | None => {
                let stats = self.reader.stats();
                *counted = Some((now, stats));
                stats
            }
        }
    }

    fn graces(&self, status: &Status) -> Vec<Value> {
        let ticks = self.reader.ticks();
        let users = status.oldest.map(|tick| ticks.age(tick)).unwrap_or_default();
        let policies = status.verified.map(|tick| ticks.age(tick));
        let left = |grace| grace_left(grace, users, policies, self.bounds.load().policy_max_age);
        self.bounds.load().graces.iter().map(|grace| grace.json(left)).collect()
    }
}

impl Calls {
    fn json(self) -> Value {
        json!({
            "calls_left_now": self.left,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "waiting_behind": self.behind,
            "paused_seconds": self.paused.map(|pause| pause.as_secs()),
        })
    }
}

impl RouteGrace {
    fn json(&self, left: impl Fn(Duration) -> Duration) -> Value {
        let (reads, writes) = (self.reads.map(&left), self.writes.map(&left));
        let said = [("reads", reads), ("writes", writes)];
        let said = said.iter().filter_map(|(what, left)| Some(in_words(what, (*left)?)));
        json!({
            "route": self.route,
            "reads_seconds": reads.map(|left| left.as_secs()),
            "writes_seconds": writes.map(|left| left.as_secs()),
            "words": said.collect::<Vec<_>>().join(", "),
        })
    }
}

/// `reads safe for 41 min`: what an outage of Altinn would leave, or leaves.
fn in_words(what: &str, left: Duration) -> String {
    if left.is_zero() {
        return format!("{what} stop with Altinn");
    }
    format!("{what} safe for {}", span(left))
}

/// A span of time in one unit, rounded down: `41 min`.
#[must_use]
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn age(ticks: &Ticks, tick: Option<Tick>) -> Option<u64> {
    tick.map(|tick| ticks.age(tick).as_secs())
}

fn policies(status: &Status, ticks: &Ticks) -> Value {
    let resource = |resource: &ResourceStatus| {
        json!({
            "resource": resource.id.as_str(),
            "state": resource.state,
            "version": resource.version.map(|version| version.to_string()),
            "changed_seconds": age(ticks, resource.changed),
            "access_list": resource.access_list,
            "derivation": if resource.switched_off { "off" } else { "on" },
            "actions": resource.actions.iter().map(|(action, derivable)| json!({
                "action": action.as_str(),
                "derivable": derivable.is_ok(),
                "reason": derivable.err().map(NotDerived::label),
                "words": derivable.err().map(|why| why.to_string()),
            })).collect::<Vec<_>>(),
        })
    };
    json!({
        "verified_seconds": age(ticks, status.verified),
        "resources": status.resources.iter().map(resource).collect::<Vec<_>>(),
        "packages": status.packages.iter().map(PackageId::as_str).collect::<Vec<_>>(),
    })
}

fn user(shown: &Shown, ticks: &Ticks) -> Value {
    let user = &shown.user;
    let held = user.parties.iter().zip(&shown.derives);
    let parties = held.map(|(held, derives)| {
        json!({
            "party": held.party.as_str(),
            "packages": held.packages.iter().map(PackageId::as_str).collect::<Vec<_>>(),
            "resources": held.resources.iter().map(ResourceId::as_str).collect::<Vec<_>>(),
            "derives": rights(derives),
        })
    });
    json!({
        "system_user": user.id.to_string(),
        "owner": user.owner.as_ref().map(OrgNumber::as_str),
        "vendor": user.vendor.as_ref().map(OrgNumber::as_str),
        "system": user.system.as_ref().map(SystemId::as_str),
        "read_seconds": age(ticks, user.fetched),
        "changed_seconds": age(ticks, Some(user.changed)),
        "used_seconds": age(ticks, Some(user.last_used)),
        "doubted": user.doubted.is_some_and(|since| user.fetched.is_none_or(|read| read <= since)),
        "complete": user.complete,
        "parties": parties.collect::<Vec<_>>(),
    })
}

fn rights(rights: &[Right]) -> Vec<Value> {
    let mut names: Vec<(&str, &str)> =
        rights.iter().map(|right| (right.resource.as_str(), right.action.as_str())).collect();
    names.sort_unstable();
    names
        .iter()
        .map(|(resource, action)| json!({ "resource": resource, "action": action }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_span_is_told_in_the_unit_that_people_use() {
        for (seconds, expected) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (41 * 60 + 59, "41 min"),
            (7200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_route_tells_what_an_outage_leaves_of_it() {
        let grace = |reads, writes| RouteGrace { route: "a".into(), reads, writes };
        let left = |grace: Duration| grace.saturating_sub(19 * MINUTE);
        for (reads, writes, words) in [
            (Some(60 * MINUTE), None, "reads safe for 41 min"),
            (
                Some(60 * MINUTE),
                Some(Duration::ZERO),
                "reads safe for 41 min, writes stop with Altinn",
            ),
            (None, Some(20 * MINUTE), "writes safe for 60 s"),
        ] {
            let told = grace(reads, writes).json(left);
            assert_eq!(told["words"], words);
            assert_eq!(told["reads_seconds"], json!(reads.map(|reads| left(reads).as_secs())));
        }
    }
}
