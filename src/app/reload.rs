//! Another configuration while the program runs: read, resolved and built whole beside the one in force, then put in
//! its place at once, or refused with every reason while the old one goes on. `docs/decisions/0012` says what survives.

use super::credentials::{Credentials, Found};
use super::notify::{Notify, State};
use super::room::Room;
use super::traces::Traces;
use super::{AppError, answers_by, graces, publish_limits, told};
use crate::altinn::token::OwnToken;
use crate::clock::{Clock, SystemClock};
use crate::config::source::{ProcessEnv, Written};
use crate::config::{
    ClientConfig, Config, ConfigErrors, LimitConfig, RouteConfig, ShutdownConfig, UpstreamConfig,
};
use crate::domain::resource::Right;
use crate::enforce::Enforcer;
use crate::enforce::route::Routes;
use crate::forward::Forwarder;
use crate::maskinporten::grant::Grant;
use crate::maskinporten::jwks::JwksKeySource;
use crate::serve::guard::Guard;
use crate::serve::pages::InForce;
use crate::serve::proxy::{Generation, Proxy};
use crate::serve::register::RegisterPages;
use crate::sync::Course;
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsError;
use crate::tls::client::Client as TlsClient;
use crate::tls::watch::{All, Reloads};
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Time between two looks at the file. It is taken when two in a row find the same, so that one that is being
/// written is not: the first half of a file may be a configuration too.
const LOOK: Duration = Duration::from_secs(2);

/// What was refused is tried again at every so many looks.
const RETRY: u32 = 5;

/// The file that the configuration came from.
#[derive(Debug)]
pub struct Origin {
    path: PathBuf,
    taken: Content,
    /// What is in force, as it was written.
    written: Arc<Written>,
    /// The files that our own client came from.
    credentials: Credentials,
}

/// A digest of a text; `None` when it could not be read. Kubernetes swaps a link, and the time of change says little.
type Content = Option<Vec<u8>>;

impl Origin {
    /// `written` was read there, and is in force.
    #[must_use]
    pub fn of(path: &Path, written: Written) -> Self {
        let taken = content(&written);
        let credentials = Credentials::default();
        Self { path: path.to_owned(), taken, written: Arc::new(written), credentials }
    }
}

fn content(written: &Written) -> Content {
    written.text().map(|text| digest(&SHA256, text.as_bytes()).as_ref().to_vec())
}

/// Does what may wait for a disk: nothing else that runs here waits with it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Thread)
}

/// Why another configuration is not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error("these need a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    #[error(transparent)]
    Part(#[from] AppError),
    #[error("it could not be read: the thread that does ended")]
    Thread,
}

/// TLS towards upstreams, by their names.
pub(super) type Clients = BTreeMap<String, Arc<TlsClient>>;

/// Takes up changed configurations.
pub(super) struct Reloader {
    /// `None` where no client of our own is needed.
    pub(super) own_token: Option<Arc<OwnToken>>,
    pub(super) origin: Origin,
    pub(super) hangup: Signal,
    pub(super) config: Config,
    /// One a worker.
    pub(super) proxies: Vec<Arc<Proxy>>,
    pub(super) keys: Arc<JwksKeySource>,
    pub(super) courses: Option<watch::Sender<Option<Arc<Course>>>>,
    pub(super) pages: Option<Arc<RegisterPages>>,
    /// What is told of the configuration in force.
    pub(super) in_force: Arc<ArcSwap<InForce>>,
    /// Who may see more of the admin listener than probes and metrics.
    pub(super) guard: Arc<ArcSwap<Guard>>,
    /// Certificates towards clients; these change by their files alone.
    pub(super) listener: All,
    pub(super) clients: Clients,
    pub(super) watched: watch::Sender<All>,
    pub(super) connections: Arc<Semaphore>,
    pub(super) in_flight: Arc<Semaphore>,
    /// File descriptors that there may be; `None` where they have no bound.
    pub(super) descriptors: Option<usize>,
    pub(super) shutdown: Arc<ArcSwap<ShutdownConfig>>,
    pub(super) notify: Notify,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
}

/// A configuration with everything that is made of it, not in use yet.
struct Next {
    config: Config,
    generations: Vec<Arc<Generation>>,
    clients: Clients,
    /// Our client's new credentials, where they are others.
    grant: Option<Grant>,
}

impl Reloader {
    /// Looks until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        self.metrics.config_taken.set(SystemClock.now().seconds());
        self.origin.credentials = Credentials::of(&self.config);
        if !self.origin.written.is_lasting() {
            return self.only_told(stop).await;
        }
        let mut settled = self.origin.taken.clone();
        // The content that was refused last, and why.
        let mut refused: Option<(Content, String)> = None;
        let mut looks = 0_u32;
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                Some(()) = self.hangup.recv() => true,
                () = stop.cancelled() => return,
            };
            self.look_at_credentials().await;
            let path = self.origin.path.clone();
            let Ok(written) = aside(move || Written::read(&path)).await else { continue };
            let seen = content(&written);
            let last = std::mem::replace(&mut settled, seen.clone());
            looks = looks.wrapping_add(1);
            let changed = match &refused {
                // What it names, such as a secret, may have come since.
                Some((content, _)) => *content != seen || looks.is_multiple_of(RETRY),
                None => seen != self.origin.taken,
            };
            if !asked && (!changed || seen != last) {
                continue;
            }
            // What is tried again and refused again is no news to anybody.
            let news = asked || refused.as_ref().is_none_or(|(content, _)| *content != seen);
            if news {
                self.notify.tell(State::Reloading);
            }
            let reloaded = self.reload(written).await;
            if news {
                self.notify.tell(State::Ready);
            }
            match reloaded {
                Ok(()) => {
                    (self.origin.taken, refused) = (seen, None);
                    self.tell_taken();
                }
                Err(why) => {
                    let now = Some((seen, chain(&why)));
                    if asked || refused != now {
                        self.tell_refused(now.as_ref().map_or("", |(_, problems)| problems));
                    }
                    refused = now;
                }
            }
        }
    }

    /// What came out of a pipe cannot be read again, and to open that pipe once more would wait for ever.
    async fn only_told(&mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                Some(()) = self.hangup.recv() => {
                    self.notify.tell(State::Reloading);
                    tracing::warn!("the configuration did not come from a file, so it is not read anew");
                    self.notify.tell(State::Ready);
                }
                () = tokio::time::sleep(LOOK) => self.look_at_credentials().await,
                () = stop.cancelled() => return,
            }
        }
    }

    /// The same is told once, unless somebody asks.
    fn tell_refused(&self, problems: &str) {
        self.metrics.config_reloads.with_label_values(&["refused"]).inc();
        self.metrics.config_refused.set(1);
        tracing::error!(problems, "the configuration is not taken; the old one goes on");
    }

    fn tell_taken(&self) {
        self.metrics.config_reloads.with_label_values(&["taken"]).inc();
        self.metrics.config_refused.set(0);
        self.metrics.config_taken.set(SystemClock.now().seconds());
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            routes = self.config.routes.len(),
            "the configuration is read anew and in force"
        );
    }

    async fn reload(&mut self, written: Written) -> Result<(), Refused> {
        let (config, written) =
            aside(move || written.load(&ProcessEnv).map(|config| (config, written))).await??;
        let fixed = needs_restart(&self.config, &config);
        if !fixed.is_empty() {
            return Err(Refused::NeedsRestart(fixed));
        }
        let (before, metrics) = (self.clients.clone(), self.metrics.clone());
        let upstreams = config.upstreams.clone();
        let clients = aside(move || clients(&before, &upstreams, &metrics)).await??;
        let next = self.build(config, clients)?;
        self.keys.prepare(&next.config.maskinporten).await;
        self.put_in_force(next);
        self.origin.written = Arc::new(written);
        Ok(())
    }

    /// Takes up changed credentials of our client, or says why not. What else is in the configuration counts as it stands:
    /// a file that was refused must not keep a new key out.
    async fn look_at_credentials(&mut self) {
        let Some(own_token) = self.own_token.clone() else { return };
        let before = std::mem::take(&mut self.origin.credentials);
        let (written, register) = (Arc::clone(&self.origin.written), self.config.register.clone());
        let looked = aside(move || {
            let mut credentials = before;
            let found = credentials.look(|| written.client(&ProcessEnv, register.as_ref()));
            (credentials, found)
        });
        let Ok((credentials, found)) = looked.await else {
            self.origin.credentials = Credentials::of(&self.config);
            return;
        };
        self.origin.credentials = credentials;
        let client = match found {
            Found::Same => return,
            Found::AsBefore => return self.credentials_refused(None),
            Found::Other(Ok(client)) => client,
            Found::Other(Err(errors)) => {
                self.origin.credentials.settle(false);
                return self.credentials_refused(Some(&errors));
            }
        };
        if client_id(&self.config) != Some(client.client_id.as_str()) {
            self.origin.credentials.settle(false);
            let why = Refused::NeedsRestart(vec!["maskinporten.client_id"]);
            return self.credentials_refused(Some(&why));
        }
        let known = self.config.maskinporten.client.as_ref().map(facts) == Some(facts(&client));
        if known {
            self.origin.credentials.settle(true);
            return self.credentials_refused(None);
        }
        match own_token.grant_by(&client) {
            Ok(grant) => {
                self.ask_by(&own_token, grant);
                self.config.maskinporten.client = Some(client);
                self.origin.credentials.settle(true);
                self.metrics.credentials_refused.set(0);
            }
            Err(error) => {
                self.origin.credentials.settle(false);
                self.credentials_refused(Some(&error));
            }
        }
    }

    fn ask_by(&self, own_token: &OwnToken, grant: Grant) {
        let key_id = grant.key_id().to_owned();
        own_token.ask_by(grant);
        self.metrics.credentials_reloads.with_label_values(&["taken"]).inc();
        tracing::info!(key_id, "changed credentials of our Maskinporten client are in use");
    }

    /// `None` when what was refused is gone and the old ones are back.
    fn credentials_refused(&self, why: Option<&dyn Error>) {
        self.metrics.credentials_refused.set(i64::from(why.is_some()));
        let Some(why) = why else { return };
        self.metrics.credentials_reloads.with_label_values(&["refused"]).inc();
        tracing::error!(
            problems = chain(why),
            "changed credentials of our Maskinporten client are not taken; the old ones go on"
        );
    }

    /// Everything else that can fail.
    fn build(&self, config: Config, clients: Clients) -> Result<Next, AppError> {
        let mut generations = Vec::with_capacity(self.proxies.len());
        let mut enforcer: Option<Arc<Enforcer>> = None;
        let upstreams = Room::within(&config, self.descriptors).upstreams(&config);
        for proxy in &self.proxies {
            let before = proxy.generation.load();
            let judge = match &enforcer {
                Some(judge) => Arc::clone(judge),
                None => Arc::clone(enforcer.insert(Arc::new(succeed(&before.enforcer, &config)?))),
            };
            let forwarder = Forwarder::new(
                &upstreams,
                &clients,
                config.forwarded.clone(),
                self.metrics.clone(),
                Some(&before.forwarder),
            );
            generations.push(Arc::new(Generation {
                enforcer: judge,
                forwarder,
                refusals: config.refusals.clone(),
                altinn: config.altinn.url.to_string(),
            }));
        }
        let grant = self.changed_grant(&config)?;
        Ok(Next { config, generations, clients, grant })
    }

    /// What asks by the credentials of `config`, where these are others than those in use.
    fn changed_grant(&self, config: &Config) -> Result<Option<Grant>, AppError> {
        let of = |config: &Config| config.maskinporten.client.as_ref().map(facts);
        if of(&self.config) == of(config) {
            return Ok(None);
        }
        let new = self.own_token.as_ref().zip(config.maskinporten.client.as_ref());
        let grant = new.map(|(own_token, client)| own_token.grant_by(client));
        grant.transpose().map_err(AppError::from)
    }

    /// Cannot fail, and waits for nothing. What goes on is told first: what begins with the new routes finds them.
    fn put_in_force(&mut self, next: Next) {
        let Next { config, generations, clients, grant } = next;
        if let (Some(token), Some(grant)) = (&self.own_token, grant) {
            self.ask_by(token, grant);
        }
        // They were read with the configuration.
        self.origin.credentials = Credentials::of(&config);
        self.metrics.credentials_refused.set(0);
        if let Some(first) = generations.first() {
            announce(&first.enforcer, &config);
        }
        for (proxy, generation) in self.proxies.iter().zip(generations) {
            proxy.generation.store(generation);
        }
        self.keys.keep_to(&config.maskinporten);
        if let (Some(courses), Some(course)) = (&self.courses, course(&config)) {
            courses.send_replace(Some(Arc::new(course)));
        }
        if let (Some(pages), Some(bounds)) = (&self.pages, told::bounds(&config)) {
            pages.bounds.store(Arc::new(bounds));
        }
        let generation = self.in_force.load().generation + 1;
        self.in_force.store(Arc::new(told::in_force(&config, generation)));
        self.guard.store(Arc::new(told::guard(&config)));
        let all = self.listener.iter().cloned();
        // Told of only now: one that was refused never was in use.
        for client in clients.values() {
            client.tell();
        }
        let of_upstreams =
            clients.values().map(|client| -> Arc<dyn Reloads> { Arc::<TlsClient>::clone(client) });
        self.watched.send_replace(all.chain(of_upstreams).collect());
        let [old, new] = [&self.config, &config].map(|of| Room::within(of, self.descriptors));
        resize(&self.connections, old.connections, new.connections);
        resize(&self.in_flight, old.requests, new.requests);
        self.shutdown.store(Arc::new(config.shutdown));
        publish_limits(&config, new, &self.metrics);
        let stays = |id: &str| config.routes.iter().any(|route| route.id == id);
        for gone in self.config.routes.iter().filter(|route| !stays(&route.id)) {
            self.metrics.forget_route(&gone.id);
        }
        self.traces.keep_to(&config);
        (self.config, self.clients) = (config, clients);
    }
}

/// TLS towards upstreams: where nothing is different, what there is. Reads files.
fn clients(
    before: &Clients,
    upstreams: &BTreeMap<String, UpstreamConfig>,
    metrics: &Metrics,
) -> Result<Clients, AppError> {
    let mut clients = BTreeMap::new();
    for (name, upstream) in upstreams {
        let Some(tls) = &upstream.tls else { continue };
        let same = before.get(name).filter(|client| client.config() == tls).cloned();
        let made = || TlsClient::new(tls.clone(), metrics.clone()).map(Arc::new);
        let wrong = |error: TlsError| AppError::Tls(format!("the upstream `{name}`"), error);
        clients.insert(name.clone(), same.map_or_else(made, Ok).map_err(wrong)?);
    }
    Ok(clients)
}

/// The right of each route, as the route holds it.
pub(super) fn demanded(config: &Config) -> Vec<Right> {
    let rights = config.routes.iter().filter_map(RouteConfig::right);
    rights.map(|right| right.right.clone()).collect()
}

/// What goes on is held to this configuration, by which `enforcer` judges.
pub fn announce(enforcer: &Enforcer, config: &Config) {
    enforcer.newest.publish(Arc::clone(&enforcer.routes), enforcer.answers.clone());
    if let Some(answers) = &enforcer.answers {
        answers.confirmations.keep_for(super::longest(config));
    }
}

/// What the configuration says to the task that keeps the register; `None` where there is none.
#[must_use]
pub fn course(config: &Config) -> Option<Course> {
    let register = config.register.clone()?;
    Some(Course { config: register, rights: demanded(config), graces: graces(config) })
}

/// What judges by another configuration, with all that is known already.
///
/// # Errors
/// [`AppError`] when a part cannot be built.
pub fn succeed(before: &Enforcer, config: &Config) -> Result<Enforcer, AppError> {
    let answers = before.answers.as_ref().map(|before| {
        let kept = before.register.clone().zip(before.notices.clone());
        let confirmations = Arc::clone(&before.confirmations);
        Arc::new(answers_by(config, confirmations, before.ticks.clone(), kept))
    });
    if let Some(register) = answers.as_ref().and_then(|answers| answers.register.as_ref()) {
        register.can_route(demanded(config))?;
    }
    Ok(Enforcer {
        limits: config.limits.clone(),
        routes: Arc::new(Routes::new(config.routes.clone())?),
        authenticator: before.authenticator.next(config.tokens.clone())?,
        rates: before.rates.next(&config.limits),
        answers,
        budget: config.altinn.budget,
        check_digits: config.tokens.rules.check_digits,
        newest: before.newest.clone(),
    })
}

/// A bound that is lowered is met as soon as what is there above it has ended.
fn resize(places: &Arc<Semaphore>, old: usize, new: usize) {
    places.add_permits(new.saturating_sub(old));
    let less = old.saturating_sub(new);
    let taken = places.forget_permits(less);
    if let Some(left) = u32::try_from(less - taken).ok().filter(|left| *left > 0) {
        let places = Arc::clone(places);
        tokio::spawn(async move {
            if let Ok(permit) = places.acquire_many_owned(left).await {
                permit.forget();
            }
        });
    }
}

/// What differs and cannot be changed while the program runs, by name.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut fixed = Vec::new();
    let mut differ = |name, differs: bool| {
        if differs {
            fixed.push(name);
        }
    };
    differ("environment", world(old) != world(new));
    differ("listen", old.listen != new.listen);
    differ("admin.address", old.admin.address != new.admin.address);
    let asks = |config: &Config| config.maskinporten.client.is_some();
    // Our client, and all that goes with it, is there for routes that ask for a right.
    differ("a first route that asks for a right", !asks(old) && asks(new));
    differ("that no route asks for a right any more", asks(old) && !asks(new));
    let both = asks(old) && asks(new);
    differ("altinn", both && altinn(old) != altinn(new));
    differ("maskinporten.client_id", both && client_id(old) != client_id(new));
    differ("maskinporten.timeout", old.maskinporten.timeout != new.maskinporten.timeout);
    differ("tokens.cache_entries", old.tokens.cache_entries != new.tokens.cache_entries);
    let (confirmations, others) = (&old.confirmations, &new.confirmations);
    differ("confirmations.max_entries", confirmations.max_entries != others.max_entries);
    differ("confirmations.suspicious_for", confirmations.suspicious_for != others.suspicious_for);
    differ("register.enabled", both && old.register.is_some() != new.register.is_some());
    if let (Some(old), Some(new)) = (&old.register, &new.register) {
        let snapshot = |register: &crate::config::RegisterConfig| {
            register.snapshot.as_ref().map(|snapshot| {
                (snapshot.file.clone(), snapshot.save_interval, exposed(snapshot.key.as_ref()))
            })
        };
        differ("register.snapshot", snapshot(old) != snapshot(new));
        let owner = old.access_lists_owner != new.access_lists_owner;
        differ("register.access_lists_owner", owner);
    }
    let peers = |limits: &LimitConfig| {
        let most = limits.connections_per_peer;
        (most < limits.connections).then_some(most)
    };
    differ("limits.connections_per_peer", peers(&old.limits) != peers(&new.limits));
    differ("audit", audit(old) != audit(new));
    differ("log", old.log != new.log);
    fixed
}

/// What all that is known was told by.
fn world(config: &Config) -> impl PartialEq {
    let maskinporten = &config.maskinporten;
    (
        config.environment,
        maskinporten.issuer.clone(),
        maskinporten.metadata_url.clone(),
        config.altinn.url.clone(),
        config.tokens.rules.check_digits,
    )
}

fn altinn(config: &Config) -> impl PartialEq {
    // Debug text never shows the key, which is compared beside it.
    (format!("{:?}", config.altinn), exposed(config.altinn.subscription_key.as_ref()))
}

fn client_id(config: &Config) -> Option<&str> {
    config.maskinporten.client.as_ref().map(|client| client.client_id.as_str())
}

/// All of a client that its tokens depend on.
fn facts(client: &ClientConfig) -> impl PartialEq + use<> {
    let key = client.key.expose_secret().to_owned();
    (client.client_id.clone(), key, client.key_id.clone(), client.scopes.clone())
}

fn audit(config: &Config) -> impl PartialEq {
    let audit = &config.audit;
    let keys = audit.chain.as_ref().map(|chain| {
        [&chain.mac_key, &chain.signing_key].map(|key| key.expose_secret().to_owned())
    });
    (format!("{audit:?}"), keys, exposed(audit.pseudonym_key.as_ref()))
}

fn exposed(secret: Option<&SecretString>) -> Option<String> {
    secret.map(|secret| secret.expose_secret().to_owned())
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string().trim_end().to_owned();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Writing to a text cannot fail.
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}
