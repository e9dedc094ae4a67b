//! From the file as written to the configuration: defaults, bounds, references and everything that
//! one key demands of another. Reports every problem and goes on with the default in its place.

mod audit;
mod listen;
mod path;
mod platform;
mod register;
mod route;
mod secret;
mod section;
mod tracing;
mod upstream;
mod world;

use super::error::{Place, Sink};
use super::raw::{Count, InvalidMeasure, RawConfig, Setting, Size, Time};
use super::source::Env;
use super::{ClientConfig, Config, RegisterConfig};
use platform::Mounted;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// What reading a section needs.
pub(super) struct Resolver<'a> {
    sink: &'a Sink,
    env: &'a dyn Env,
    /// What a platform has mounted of our own client; `None` where its variables count.
    mounted: Option<Mounted>,
    warnings: Vec<String>,
    /// The files of secrets that were read.
    secret_files: RefCell<Vec<PathBuf>>,
}

/// A section, with its place for keys that are missing in it.
struct Section<T> {
    raw: T,
    place: Place,
    /// Whether it could be read; if not, nothing can be said to be missing.
    readable: bool,
}

/// Checks the whole file; `None` when a problem was reported.
pub(super) fn resolve(raw: RawConfig, sink: &Sink, env: &dyn Env) -> Option<Config> {
    let config = Resolver::new(sink, env).config(raw);
    // A problem anywhere outweighs a configuration that could be put together all the same.
    config.filter(|_| sink.is_empty())
}

/// Reads our own client alone, as [`resolve`] would beside this register; `None` when a problem was reported.
pub(super) fn client(
    raw: RawConfig,
    sink: &Sink,
    env: &dyn Env,
    register: Option<&RegisterConfig>,
) -> Option<ClientConfig> {
    let mut resolver = Resolver::new(sink, env);
    resolver.find_platform(&raw.maskinporten);
    let world = resolver.world(&raw.environment, raw.custom);
    let maskinporten = resolver.maskinporten(raw.maskinporten, world.as_ref(), true, register)?;
    maskinporten.client.filter(|_| sink.is_empty())
}

impl<'a> Resolver<'a> {
    fn new(sink: &'a Sink, env: &'a dyn Env) -> Self {
        Self { sink, env, mounted: None, warnings: Vec::new(), secret_files: RefCell::default() }
    }
}

impl Resolver<'_> {
    fn config(&mut self, raw: RawConfig) -> Option<Config> {
        let needs_altinn = route::any_right(&raw.routes);
        self.find_platform(&raw.maskinporten);
        let world = self.world(&raw.environment, raw.custom);
        let listen = self.listen(raw.listen);
        let admin = self.admin(raw.admin, &listen);
        let upstreams = if listen.forward_auth.is_none() {
            Some(self.upstreams(&raw.upstream, &raw.upstreams))
        } else {
            let keys = [raw.upstream.place(), raw.upstreams.place(), raw.forwarded.place()];
            self.refuse_forwarding(keys.into_iter());
            None
        };
        let altinn = self.altinn(raw.altinn, world.as_ref(), needs_altinn);
        let register = self.register(raw.register);
        let maskinporten =
            self.maskinporten(raw.maskinporten, world.as_ref(), needs_altinn, register.as_ref());
        let tokens = self.tokens(raw.tokens, world.as_ref());
        let freshness = self.freshness_by_method(raw.freshness);
        let confirmations = self.confirmations(raw.confirmations);
        let limits = self.limits(raw.limits, tokens.max_bytes);
        let shutdown = self.shutdown(raw.shutdown, &limits);
        let routes = self.routes(&raw.routes, upstreams.as_ref(), freshness);
        let forwarded = self.forwarded(raw.forwarded);
        let refusals = self.refusals(raw.refusals);
        let audit = self.audit(raw.audit, &limits);
        let log = self.log(raw.log);
        let tracing = self.tracing(raw.tracing);
        Some(Config {
            environment: world?.environment,
            listen,
            admin,
            upstreams: upstreams
                .into_iter()
                .flatten()
                .filter_map(|(name, found)| Some((name, found?)))
                .collect(),
            maskinporten: maskinporten?,
            altinn: altinn?,
            tokens,
            register,
            confirmations,
            limits,
            shutdown,
            routes,
            forwarded,
            refusals,
            audit,
            log,
            tracing,
            warnings: std::mem::take(&mut self.warnings),
            secret_files: self.secret_files.take(),
        })
    }

    /// Where other proxies ask and forward themselves, what tells how to is of no use.
    fn refuse_forwarding<'p>(&self, keys: impl Iterator<Item = Option<&'p Place>>) {
        for place in keys.flatten() {
            let message = "means nothing with `listen.forward_auth`: nothing is forwarded";
            self.sink.report(place, message, "take it away, or `listen.forward_auth`");
        }
    }

    /// A time that is not zero.
    fn time(&self, written: &Setting<Time>, default: Duration) -> Duration {
        let time = self.time_or_zero(written, default);
        if !time.is_zero() {
            return time;
        }
        if let Some(place) = written.place() {
            self.sink.report(place, "zero, with which nothing would work", "write a longer time");
        }
        default
    }

    fn time_or_zero(&self, written: &Setting<Time>, default: Duration) -> Duration {
        self.measure(written, Time::parse).unwrap_or(default)
    }

    /// A size of something that is held in memory.
    fn size(&self, written: &Setting<Size>, default: usize) -> usize {
        /// No head or token comes near; it keeps sizes within what every library can count.
        const MOST: usize = 1 << 30;
        let parse = |size: &Size| {
            let size = usize::try_from(size.parse()?).map_err(|_| InvalidMeasure::TooLarge)?;
            if size > MOST { Err(InvalidMeasure::TooLarge) } else { Ok(size) }
        };
        self.measure(written, parse).unwrap_or(default)
    }

    fn measure<T, M>(
        &self,
        written: &Setting<T>,
        parse: impl FnOnce(&T) -> Result<M, InvalidMeasure>,
    ) -> Option<M> {
        let (value, place) = written.written()?;
        parse(value).map_err(|problem| self.sink.report(place, problem, problem.cure())).ok()
    }

    fn count(&self, written: &Setting<Count>, default: NonZeroUsize) -> NonZeroUsize {
        self.count_up_to(written, default, 1_000_000_000)
    }

    fn count_up_to(
        &self,
        written: &Setting<Count>,
        default: NonZeroUsize,
        most: usize,
    ) -> NonZeroUsize {
        let parse = |count: &Count| {
            let number = usize::try_from(count.get()).map_err(|_| InvalidMeasure::TooLarge)?;
            let number = NonZeroUsize::new(number).ok_or(InvalidMeasure::Zero)?;
            if number.get() > most { Err(InvalidMeasure::TooLarge) } else { Ok(number) }
        };
        self.measure(written, parse).unwrap_or(default)
    }

    /// Reads text into a type of its own.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        written: &Setting<String>,
        cure: &str,
    ) -> Option<T> {
        let (text, place) = written.written()?;
        text.parse().map_err(|problem| self.sink.report(place, problem, cure)).ok()
    }

    fn missing(&self, at: &Place, name: &str, cure: &str) {
        self.sink.report_absent(&at.child(name), "missing", cure);
    }
}

impl<T> Section<T> {
    /// Whether a required key is to be called missing.
    fn lacks<V>(&self, key: impl FnOnce(&T) -> &Setting<V>) -> bool {
        self.readable && key(&self.raw).is_absent()
    }
}

/// A section, or an empty one in its place: its keys then have their defaults.
fn section<T: Default>(written: Setting<T>, name: &str) -> Section<T> {
    match written {
        Setting::Written(raw, place) => Section { raw, place, readable: true },
        Setting::Wrong(place) => Section { raw: T::default(), place, readable: false },
        Setting::Absent => {
            let place = Place { key: name.to_owned(), line: 1, column: 1 };
            Section { raw: T::default(), place, readable: true }
        }
    }
}

/// The value of a key with a simple default.
fn either<T: Copy>(written: &Setting<T>, default: T) -> T {
    written.value().copied().unwrap_or(default)
}
