//! The register, and how old its answers may be.

use super::secret::Reference;
use super::world::number;
use super::{Resolver, either, section};
use crate::config::error::Place;
use crate::config::raw::{
    RawFreshness, RawFreshnessByMethod, RawRegister, RawSnapshot, Setting, Time,
};
use crate::config::{Freshness, PolicyConfig, RegisterConfig, SnapshotConfig};
use crate::domain::system_user::SystemUserId;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::time::Duration;

/// What holds for methods that change nothing, and for all others.
pub(super) type ByMethod = [Freshness; 2];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

const READ: Freshness =
    Freshness { fresh_for: MINUTE, max_age: Duration::from_secs(300), outage_grace: HOUR };
// What is written is binding: an outage of Altinn stops it.
const WRITE: Freshness =
    Freshness { fresh_for: Duration::from_secs(15), max_age: MINUTE, outage_grace: Duration::ZERO };

/// The keys that stand in the file.
struct Wrote {
    fresh_for: Option<Duration>,
    max_age: Option<Duration>,
    outage_grace: Option<Duration>,
}

impl Wrote {
    fn over(&self, default: Freshness) -> Freshness {
        let max_age = self.max_age.unwrap_or(default.max_age);
        // Who asks for every request does not mean to live on old answers.
        let grace = if max_age.is_zero() { Duration::ZERO } else { default.outage_grace };
        Freshness {
            fresh_for: self.fresh_for.unwrap_or(default.fresh_for.min(max_age)),
            max_age,
            outage_grace: self.outage_grace.unwrap_or(grace),
        }
    }
}

impl Resolver<'_> {
    pub(super) fn freshness_by_method(
        &mut self,
        written: Setting<RawFreshnessByMethod>,
    ) -> ByMethod {
        let raw = section(written, "freshness").raw;
        let [read] = self.freshness(&raw.read, [READ]);
        let [write] = self.freshness(&raw.write, [WRITE]);
        [read, write]
    }

    /// What is written, over each of the defaults.
    pub(super) fn freshness<const KINDS: usize>(
        &mut self,
        written: &Setting<RawFreshness>,
        defaults: [Freshness; KINDS],
    ) -> [Freshness; KINDS] {
        let Some((raw, _)) = written.written() else { return defaults };
        let wrote = Wrote {
            fresh_for: self.measure(&raw.fresh_for, Time::parse),
            max_age: self.measure(&raw.max_age, Time::parse),
            outage_grace: self.measure(&raw.outage_grace, Time::parse),
        };
        let all = defaults.map(|default| wrote.over(default));
        self.check_freshness(raw, &all);
        all
    }

    fn check_freshness(&mut self, raw: &RawFreshness, all: &[Freshness]) {
        if let Some(place) = raw.fresh_for.place()
            && all.iter().any(|each| each.fresh_for > each.max_age)
        {
            let cure = "write at most `max_age`, or raise that";
            self.sink.report(place, "longer than `max_age`", cure);
        }
        let useless =
            |each: &Freshness| !each.outage_grace.is_zero() && each.outage_grace < each.max_age;
        if let Some(place) = raw.outage_grace.place()
            && all.iter().any(useless)
        {
            let message = "shorter than `max_age`, so that it gives nothing";
            self.sink.report(place, message, "write more than `max_age`, or `0s` for no grace");
        }
        let oldest = all.iter().map(|each| each.max_age).max().unwrap_or_default();
        self.warn_of_old_permits(&raw.max_age, oldest);
    }

    /// A right that is withdrawn is felt this late.
    fn warn_of_old_permits(&mut self, written: &Setting<Time>, age: Duration) {
        let Some(place) = written.place().filter(|_| age > HOUR) else { return };
        self.warnings.push(format!(
            "`{}` lets a right that was withdrawn work for {} minutes",
            place.key,
            age.as_secs() / 60
        ));
    }

    pub(super) fn register(&mut self, written: Setting<RawRegister>) -> Option<RegisterConfig> {
        let raw = section(written, "register").raw;
        // What is in use is read again when it is called for; docs/decisions/0008.
        let refresh_most = self.time(&raw.refresh_most, HOUR / 2);
        let refresh_least = self.time(&raw.refresh_least, refresh_most.min(HOUR / 2));
        if refresh_most < refresh_least {
            let (most, least) = (raw.refresh_most.place(), raw.refresh_least.place());
            if let Some(place) = most {
                let cure = "write at least `refresh_least`";
                self.sink.report(place, "less than `refresh_least`", cure);
            } else if let Some(place) = least {
                let message = "more than `refresh_most`, which is `30m` when it is not written";
                let cure = "write `refresh_most` too, at least as much";
                self.sink.report(place, message, cure);
            }
        }
        let system_users = raw.system_users.value().map(Vec::as_slice).unwrap_or_default();
        let cure =
            "write the UUID of a system user, such as `11111111-2222-4333-8444-555555555555`";
        let config = RegisterConfig {
            max_system_users: self.count_up_to(&raw.max_system_users, number(100_000), 10_000_000),
            max_bytes: self.size(&raw.max_bytes, 128 << 20),
            keep_for: self.time(&raw.keep_for, 2 * HOUR),
            system_users: system_users
                .iter()
                .filter_map(|id| self.parsed::<SystemUserId>(id, cure))
                .collect(),
            refresh_least,
            refresh_most,
            policies: PolicyConfig {
                poll: self.time(&raw.policy_poll, MINUTE),
                check: self.time(&raw.policy_check, HOUR),
                max_age: self.time(&raw.policy_max_age, 10 * MINUTE),
            },
            access_lists_owner: self.org_code(&raw.access_lists_owner),
            sample_one_in: self.count(&raw.sample_one_in, number(1000)),
            snapshot: self.snapshot(&raw.snapshot),
        };
        // Those listed are never let go: more than there is room for would leave none for others.
        if let Some(place) = raw.system_users.place()
            && config.system_users.len() > config.max_system_users.get()
        {
            let cure = "list fewer, or raise `max_system_users`";
            self.sink.report(place, "more than `max_system_users`", cure);
        }
        either(&raw.enabled, true).then_some(config)
    }

    fn org_code(&self, written: &Setting<String>) -> Option<String> {
        let (code, place) = written.written()?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if (2..=10).contains(&code.len()) && code.bytes().all(allowed) {
            return Some(code.clone());
        }
        self.sink.report(place, "not an org code", "write your own, such as `skd`");
        None
    }

    fn snapshot(&self, written: &Setting<RawSnapshot>) -> Option<SnapshotConfig> {
        let (raw, place) = written.written()?;
        if raw.file.is_absent() {
            let cure = "write a path that outlives a restart, such as `/var/lib/portvakt/register`";
            self.missing(place, "file", cure);
        }
        let key = self.secret(&Reference {
            inline: None,
            file: &raw.key_file,
            variable: &raw.key_env,
            platform: None,
        });
        let key = key.ok().flatten().map(|(key, place)| self.snapshot_key(key, &place));
        let (file, at) = raw.file.written()?;
        if file.trim().is_empty() {
            self.sink.report(at, "an empty path", "write the path of the file");
        }
        Some(SnapshotConfig {
            file: PathBuf::from(file),
            save_interval: self.time(&raw.save_interval, Duration::from_secs(5)),
            key,
        })
    }

    fn snapshot_key(&self, key: SecretString, place: &Place) -> SecretString {
        let text = key.expose_secret().trim();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let cure = "draw one, such as with `openssl rand -hex 32`";
            self.sink.report(place, "not 64 hexadecimal digits", cure);
        }
        key
    }
}
