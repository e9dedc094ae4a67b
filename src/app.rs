//! Wiring: builds every part in order, owns the tasks, readiness and the end.
//!
//! Requests are served by workers, each a thread with a runtime, a listener and upstream connections of
//! its own. Everything else (keys, our own token, the PDP, the admin listener) lives on the control
//! runtime, so that it is reachable when the workers are not.

mod credentials;
mod notify;
pub mod offline;
pub mod reload;
mod room;
mod snapshot;
mod told;
mod traces;

use crate::altinn::gate::Gate;
use crate::altinn::pdp::PdpClient;
use crate::altinn::source::AltinnSource;
use crate::altinn::token::OwnToken;
use crate::altinn::{Altinn, AltinnError};
use crate::clock::{Clock, SystemClock};
use crate::config::{
    Config, ListenAddress, RightConfig, RouteConfig, ShutdownConfig, SnapshotConfig, UpstreamConfig,
};
use crate::domain::party::CheckDigits;
use crate::domain::resource::{Question, Right};
use crate::domain::salt::Salt;
use crate::enforce::Enforcer;
use crate::enforce::answers::{Answers, Sampler, doubter};
use crate::enforce::authenticate::{Authenticator, NoRandomness};
use crate::enforce::confirmations::{Confirmations, SecondAsking};
use crate::enforce::notices::Notices;
use crate::enforce::ports::{KeySource, RemotePdp};
use crate::enforce::rate::Rates;
use crate::enforce::route::{RouteConflict, Routes};
use crate::enforce::vigil::Newest;
use crate::forward::Forwarder;
use crate::maskinporten::Issuer;
use crate::maskinporten::grant::{Grant, SigningKeyError};
use crate::maskinporten::http::HttpError;
use crate::maskinporten::jwks::JwksKeySource;
use crate::record::Recorder;
use crate::record::audit::{Audit, AuditError};
use crate::record::pseudonyms::Pseudonyms;
use crate::record::refusals::Refusals;
use crate::register::{self, Limits, Reader, Ticks, TooManyRights};
use crate::serve::Worker;
use crate::serve::admin::{Admin, Readiness};
use crate::serve::entrance::Entrance;
use crate::serve::history::History;
use crate::serve::listener::{Bound, Sharing, SocketFile, listen};
use crate::serve::proxy::{Generation, Proxy, Stop};
use crate::serve::register::{CountCalls, RegisterPages};
use crate::store;
use crate::sync::ports::{Saved, Source, Store};
use crate::sync::{Parts, Saving, Sync, distinct};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::process;
use crate::tls::TlsError;
use crate::tls::client::Client as TlsClient;
use crate::tls::server::Server as TlsServer;
use crate::tls::watch::{All, Reloads, Watch};
use crate::trace::Tracer;
use arc_swap::ArcSwap;
use notify::{Notify, State};
use reload::{Origin, Reloader, demanded};
use room::Room;
use secrecy::ExposeSecret;
use snapshot::taken;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use traces::Traces;

/// What to do about an address that cannot be bound.
fn cure_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "something is there already: end it, or write another address",
        io::ErrorKind::PermissionDenied => {
            "write a port or a path that the program's user may have"
        }
        _ => "write an address of this machine",
    }
}

/// Why the program cannot start, or has to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A runtime or a thread cannot be made.
    #[error("a runtime cannot be started")]
    Runtime(#[source] io::Error),
    /// An address cannot be bound.
    #[error("{0} cannot be listened on; {cure}", cure = cure_of(.1))]
    Listen(ListenAddress, #[source] io::Error),
    /// Certificates, keys or authorities do not serve.
    #[error("TLS of {0} cannot be set up")]
    Tls(String, #[source] TlsError),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for")]
    Signal(#[source] io::Error),
    /// The metric families clash.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The audit output cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Two routes clash.
    #[error(transparent)]
    Routes(#[from] RouteConflict),
    /// More rights than can be numbered.
    #[error(transparent)]
    Rights(#[from] TooManyRights),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// Maskinporten cannot be called.
    #[error("Maskinporten cannot be called")]
    Issuer(#[from] HttpError),
    /// Altinn cannot be called.
    #[error("Altinn cannot be called")]
    Altinn(#[from] AltinnError),
    /// Our own client's key cannot be used.
    #[error("the key of our own Maskinporten client cannot be used")]
    OwnKey(#[from] SigningKeyError),
    /// Somebody did not want to wait for what was still in flight.
    #[error("a second signal ended the program at once: what was in flight is cut")]
    Hurried,
    /// A part that must live has ended.
    #[error("{0} ended, which it never should; stopping so that the program is started anew")]
    PartEnded(&'static str),
}

/// What judges, and the task that keeps its keys: shared by `run` and `explain`.
pub struct Judge {
    /// What judges.
    pub enforcer: Enforcer,
    /// The issuer's keys; to be kept fresh by spawning [`JwksKeySource::run`].
    pub keys: Arc<JwksKeySource>,
    /// Keeps the register; to be run by whoever serves. `None` when there is none to keep.
    pub sync: Option<Sync>,
    /// The way to Altinn; `None` when nothing goes it.
    pub altinn: Option<Way>,
}

/// The way to Altinn: what asks, and the gate that all calls pass.
#[derive(Clone)]
pub struct Way {
    /// Altinn's PDP.
    pub pdp: Arc<dyn RemotePdp>,
    /// The ceiling of calls.
    pub gate: Gate,
    /// Our own token.
    pub own_token: Arc<OwnToken>,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("enforcer", &self.enforcer).finish_non_exhaustive()
    }
}

impl Judge {
    /// Builds what judges from a configuration. Calls nothing yet; calls will run on `control`, recorded by `tracer`.
    ///
    /// # Errors
    /// [`AppError`] when a part cannot be built.
    pub fn build(
        config: &Config,
        metrics: &Metrics,
        control: &Handle,
        tracer: Tracer,
    ) -> Result<Self, AppError> {
        let snapshot = config.register.as_ref().and_then(|register| register.snapshot.as_ref());
        Self::with(config, metrics, control, (snapshot, tracer))
    }

    /// As [`Judge::build`], for a look beside the program that serves: the snapshot is that program's, and
    /// neither read nor written.
    ///
    /// # Errors
    /// [`AppError`] when a part cannot be built.
    pub fn beside(config: &Config, metrics: &Metrics, control: &Handle) -> Result<Self, AppError> {
        Self::with(config, metrics, control, (None, Tracer::off()))
    }

    fn with(
        config: &Config,
        metrics: &Metrics,
        control: &Handle,
        (snapshot, tracer): (Option<&SnapshotConfig>, Tracer),
    ) -> Result<Self, AppError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let shared_metrics = Arc::new(metrics.clone());
        let issuer = Issuer::new(&config.maskinporten)?.traced_by(tracer.clone());
        let issuer = Arc::new(issuer);
        let keys = Arc::new(JwksKeySource::new(
            &config.maskinporten,
            Arc::<Issuer>::clone(&issuer),
            Arc::clone(&clock),
            Arc::clone(&shared_metrics),
            control.clone(),
            Salt::random(),
        ));
        let altinn = altinn(config, issuer, &clock, &shared_metrics, (control, tracer))?;
        let (way, source) = altinn.map_or((None, None), |(way, source)| (Some(way), Some(source)));
        let rights = match (&way, source) {
            (Some(way), Some(source)) => {
                let saved = snapshot.and_then(|at| taken(config, at, &clock));
                let (pdp, clock) = (Arc::clone(&way.pdp), Arc::clone(&clock));
                let outside = Outside { pdp, source, clock, salt: Salt::random(), saved };
                Some(rights(config, outside, metrics)?)
            }
            _ => None,
        };
        let (answers, sync) = rights.map_or((None, None), |(answers, sync)| (Some(answers), sync));
        let key_source: Arc<dyn KeySource> = Arc::<JwksKeySource>::clone(&keys);
        let enforcer = enforcer(config, key_source, clock, answers)?;
        Ok(Self { enforcer, keys, sync, altinn: way })
    }
}

/// What judges by a configuration, from its parts.
///
/// # Errors
/// [`AppError`] when two routes clash, or there is no randomness.
pub fn enforcer(
    config: &Config,
    keys: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    answers: Option<Arc<Answers>>,
) -> Result<Enforcer, AppError> {
    Ok(Enforcer {
        limits: config.limits.clone(),
        routes: Arc::new(Routes::new(config.routes.clone())?),
        authenticator: Authenticator::new(keys, clock, config.tokens.clone())?,
        rates: Rates::new(&config.limits),
        answers,
        budget: config.altinn.budget,
        check_digits: config.tokens.rules.check_digits,
        newest: Newest::default(),
    })
}

/// What rights rest on outside the program.
pub struct Outside {
    /// Altinn's PDP.
    pub pdp: Arc<dyn RemotePdp>,
    /// What Altinn tells a service owner.
    pub source: Arc<dyn Source>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What things are spread by.
    pub salt: Salt,
    /// The register on disk; `None` where it is not saved.
    pub saved: Option<OnDisk>,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// The register on disk.
pub struct OnDisk {
    /// Where it is saved.
    pub store: Box<dyn Store>,
    /// Hands over what was saved; `None` where nothing can be read now.
    pub load: Option<Load>,
    /// Time between two writings.
    pub interval: Duration,
}

impl std::fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDisk").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// Hands over what was saved, fact by fact.
pub type Load = Box<dyn FnOnce(&mut dyn FnMut(Saved))>;

/// Altinn as this program reaches it.
type Reached = (Way, Arc<dyn Source>);

/// The clients of Altinn; `None` when no client of our own is configured, for no route then needs them.
fn altinn(
    config: &Config,
    issuer: Arc<Issuer>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    (control, tracer): (&Handle, Tracer),
) -> Result<Option<Reached>, AppError> {
    let Some(client) = &config.maskinporten.client else { return Ok(None) };
    let altinn = Arc::new(Altinn::new(&config.altinn)?.traced_by(tracer));
    let own_token = Arc::new(OwnToken::new(
        Grant::new(client, issuer, Arc::clone(clock))?,
        Arc::clone(&altinn),
        Arc::clone(clock),
        Arc::clone(metrics),
        control.clone(),
    ));
    // The first question then finds a token there. A failure is logged, counted and tried again.
    let early = Arc::clone(&own_token);
    control.spawn(async move { drop(early.current().await) });
    let gate = Gate::new(
        config.altinn.requests_per_second,
        config.altinn.max_in_flight,
        metrics,
        control.clone(),
    );
    let pdp: Arc<dyn RemotePdp> = Arc::new(PdpClient::new(
        &config.altinn,
        Arc::clone(&altinn),
        Arc::clone(&own_token),
        gate.clone(),
        Arc::clone(clock),
        Arc::clone(metrics),
        control.clone(),
    ));
    let source = Arc::new(AltinnSource::new(
        &config.altinn,
        config.tokens.rules.check_digits,
        altinn,
        Arc::clone(&own_token),
        gate.clone(),
        Arc::clone(clock),
        Arc::clone(metrics),
        control.clone(),
    ));
    Ok(Some((Way { pdp, gate, own_token }, source)))
}

/// What answers questions, and what keeps it in step with Altinn.
///
/// # Errors
/// [`AppError::Rights`].
pub fn rights(
    config: &Config,
    outside: Outside,
    metrics: &Metrics,
) -> Result<(Arc<Answers>, Option<Sync>), AppError> {
    let Outside { pdp, source, clock, salt, saved } = outside;
    let ticks = Ticks::new();
    let mut confirmations = confirmations(config, &pdp, &ticks, metrics);
    let Some(register) = &config.register else {
        let confirmations = Arc::new(confirmations);
        return Ok((Arc::new(answers_by(config, confirmations, ticks, None)), None));
    };
    let rights = routed(config);
    let limits =
        Limits { max_entries: register.max_system_users.get(), max_sets: register::MAX_SETS };
    // Each as its route holds it, since the register knows a right by where its texts lie.
    let opened = register::open_by(demanded(config), limits, ticks.clone(), salt);
    let (writer, reader) = opened?;
    let (notices, receiver) = Notices::by(metrics.notices_lost.clone(), salt);
    let notices = Arc::new(notices);
    confirmations.tell_no(doubter(reader.clone(), Arc::clone(&notices)));
    let kept = Some((reader.clone(), notices));
    let (saving, load) = saved.map_or((None, None), |OnDisk { store, load, interval }| {
        let journal = confirmations.keep_journal();
        (Some(Saving { store, journal, interval }), load)
    });
    let answers = Arc::new(answers_by(config, Arc::new(confirmations), ticks, kept));
    let parts = Parts {
        config: register.clone(),
        rights,
        graces: graces(config),
        writer,
        source,
        pdp,
        answers: Arc::clone(&answers),
        clock,
        notices: receiver,
        metrics: metrics.sync.clone(),
        saving,
    };
    let mut sync = Sync::new(parts, reader);
    sync.spread_by(salt);
    if let Some(load) = load {
        sync.restore(load);
    }
    Ok((answers, Some(sync)))
}

fn snapshot_options(config: &Config, at: &SnapshotConfig) -> store::Options {
    let key = at.key.as_ref().and_then(|key| from_hex(key.expose_secret().trim()));
    store::Options { path: at.file.clone(), binding: binding(config), key }
}

/// What gives a snapshot its meaning: another environment, Altinn or client of ours makes it a foreign one.
/// Routes may change: what is held of a right does not depend on who asks for it.
fn binding(config: &Config) -> Vec<u8> {
    let client = config.maskinporten.client.as_ref().map_or("", |client| &client.client_id);
    let parts = [
        "1",
        config.maskinporten.issuer.as_str(),
        config.altinn.url.as_str(),
        client,
        match config.tokens.rules.check_digits {
            CheckDigits::Required => "required",
            CheckDigits::Ignored => "ignored",
        },
    ];
    parts.join("\n").into_bytes()
}

/// A key of 64 hexadecimal digits, as the configuration has seen to.
fn from_hex(text: &str) -> Option<store::Secret> {
    let mut key = store::Secret::new([0; 32]);
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn answers_by(
    config: &Config,
    confirmations: Arc<Confirmations>,
    ticks: Ticks,
    kept: Option<(Reader, Arc<Notices>)>,
) -> Answers {
    let (register, notices) =
        kept.map_or((None, None), |(reader, notices)| (Some(reader), Some(notices)));
    let settings = config.register.as_ref();
    let one_in = settings.map_or(NonZeroUsize::MAX, |register| register.sample_one_in);
    Answers {
        register,
        confirmations,
        notices,
        ticks,
        no_for: config.confirmations.no_for,
        policy_max_age: settings.map_or(Duration::ZERO, |register| register.policies.max_age),
        sampler: Sampler::new(one_in),
    }
}

/// For how old an answer each route is served while Altinn cannot be reached.
fn graces(config: &Config) -> Vec<(String, Duration)> {
    let grace = |right: &RightConfig| right.read.outage_grace.max(right.write.outage_grace);
    let all = config.routes.iter();
    all.filter_map(|route| Some((route.id.clone(), grace(route.right()?)))).collect()
}

/// What routes ask for, each right once.
fn routed(config: &Config) -> Vec<Right> {
    distinct(&demanded(config))
}

/// The greatest age at which any answer can be of use.
fn longest(config: &Config) -> Duration {
    let both = |right: &RightConfig| [right.read, right.write];
    let all = config.routes.iter().filter_map(RouteConfig::right).flat_map(both);
    let longest = all.map(|each| each.max_age.max(each.outage_grace)).max().unwrap_or_default();
    longest.max(config.confirmations.no_for)
}

fn confirmations(
    config: &Config,
    pdp: &Arc<dyn RemotePdp>,
    ticks: &Ticks,
    metrics: &Metrics,
) -> Confirmations {
    let suspicious = metrics.suspicious.clone();
    let told = move |question: &Question, second: SecondAsking| {
        suspicious.with_label_values(&[second.label()]).inc();
        tracing::warn!(
            system_user = %question.system_user(),
            resource = %question.resource(),
            action = %question.action(),
            second = second.label(),
            "a right permitted shortly before was suddenly not covered; asked once more"
        );
    };
    let pdp = Arc::clone(pdp);
    let longest = longest(config);
    let config = &config.confirmations;
    Confirmations::new(pdp, ticks.clone(), config, longest, Box::new(told))
}

/// Ready when the issuer's keys are there and no stop was asked for.
struct AppReadiness {
    keys: Arc<JwksKeySource>,
    confirmations: Option<Arc<Confirmations>>,
    recorder: Arc<Recorder>,
    stopping: AtomicBool,
    metrics: Metrics,
    /// What calls to Altinn pass, if any are made.
    gate: Option<Gate>,
}

impl AppReadiness {
    fn of(
        keys: &Arc<JwksKeySource>,
        enforcer: &Enforcer,
        recorder: &Arc<Recorder>,
        altinn: Option<&Way>,
    ) -> Self {
        let answers = enforcer.answers.as_ref();
        Self {
            keys: Arc::clone(keys),
            confirmations: answers.map(|answers| Arc::clone(&answers.confirmations)),
            recorder: Arc::clone(recorder),
            stopping: AtomicBool::new(false),
            metrics: recorder.metrics.clone(),
            gate: altinn.map(|way| way.gate.clone()),
        }
    }
}

impl Readiness for AppReadiness {
    fn obstacles(&self) -> Vec<&'static str> {
        let mut obstacles = Vec::new();
        if !self.keys.loaded() {
            obstacles.push("issuer_keys");
        }
        if self.recorder.audit.stopped() {
            obstacles.push("audit");
        }
        if self.stopping.load(Ordering::Acquire) {
            obstacles.push("stopping");
        }
        obstacles
    }

    fn observe(&self) {
        self.metrics.ready.set(i64::from(self.obstacles().is_empty()));
        self.metrics.permit_age_worst.observe();
        if let Some(gate) = &self.gate {
            gate.observe();
        }
        let audit = &self.recorder.audit;
        self.metrics.audit_stopped.set(i64::from(audit.stopped()));
        self.metrics.audit_waiting.set(i64::try_from(audit.waiting()).unwrap_or(i64::MAX));
        let held = self.confirmations.as_ref().map_or(0, |held| held.count());
        self.metrics.confirmations_held.set(i64::try_from(held).unwrap_or(i64::MAX));
    }
}

/// Runs until SIGTERM or SIGINT, then drains. `given` is listened on in place of what would be bound.
///
/// # Errors
/// [`AppError`] when a part cannot be started, or one that must live has ended.
pub fn run(config: Config, origin: Origin, given: Option<Bound>) -> Result<(), AppError> {
    let control = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(AppError::Runtime)?;
    let result =
        Running::start(config, origin, given, &control).and_then(|running| running.wait(&control));
    // Calls to Altinn that nobody waits for any more are not worth waiting for either.
    control.shutdown_timeout(LAST_THREADS);
    result
}

/// Longest wait for what a runtime still does in threads of its own, look-ups of names above all: the system
/// cannot be told to give one up.
const LAST_THREADS: Duration = Duration::from_millis(100);

/// Longest wait for the issuer's keys before connections are taken without them.
const FIRST_KEYS: Duration = Duration::from_secs(3);

/// Longest wait for workers that were told to cut what is in flight.
const LAST_CUT: Duration = Duration::from_secs(1);

/// Longest wait for the register to be saved at the end.
const LAST_SAVE: Duration = Duration::from_secs(5);

/// The program while it runs.
struct Running {
    readiness: Arc<AppReadiness>,
    recorder: Arc<Recorder>,
    workers: Vec<JoinHandle<()>>,
    /// Taken away at the end.
    socket: Option<SocketFile>,
    /// The task that keeps the register.
    sync: Option<tokio::task::JoinHandle<()>>,
    /// The task that sends spans.
    exporter: tokio::task::JoinHandle<()>,
    shutdown: Arc<ArcSwap<ShutdownConfig>>,
    notify: Notify,
    signals: Signals,
    stop: Stop,
    stop_control: CancellationToken,
    /// Told by every part that ends.
    ended: mpsc::UnboundedReceiver<&'static str>,
}

impl Running {
    fn start(
        config: Config,
        origin: Origin,
        given: Option<Bound>,
        control: &Runtime,
    ) -> Result<Self, AppError> {
        let metrics = Metrics::new()?;
        let room = Room::within(&config, process::descriptors());
        publish_limits(&config, room, &metrics);
        // Before anybody is told that it is ready: a signal would end the process without them.
        let (signals, hangup) = Signals::new(control)?;
        let (tell, ended) = mpsc::unbounded_channel();
        let (traces, exporter) = Traces::begin(&config, &metrics);
        let recorder = Arc::new(recorder(&config, &metrics, &tell, traces.tracer())?);
        let Judge { enforcer, keys, sync, altinn } =
            Judge::build(&config, &metrics, control.handle(), traces.tracer())?;
        let enforcer = Arc::new(enforcer);
        let readiness = AppReadiness::of(&keys, &enforcer, &recorder, altinn.as_ref());
        let readiness = Arc::new(readiness);
        let stop_control = CancellationToken::new();
        let exporting = exporter.run(stop_control.clone());
        let exporter = supervise(control, &tell, "what sends spans", exporting);
        let calls = altinn.clone().map(told::count_calls);
        let pages = told::pages(&config, &enforcer, sync.as_ref(), calls.clone()).map(Arc::new);
        let admin = bind(config.admin.address, Sharing::Alone, control)?;
        let admin_address = local(&admin, config.admin.address)?;
        let telling = telling(&config, &readiness, pages.clone(), calls, metrics);
        let (in_force, guard) = (Arc::clone(&telling.in_force), Arc::clone(&telling.guard));
        let telling = telling.run(admin, stop_control.clone());
        supervise(control, &tell, "the admin listener", telling);
        supervise(
            control,
            &tell,
            "the refresh of the issuer's keys",
            Arc::clone(&keys).run(stop_control.clone()),
        );
        let courses = sync.as_ref().map(Sync::courses);
        let sync = sync.map(|sync| {
            let task = sync.run(stop_control.clone());
            supervise(control, &tell, "the task that keeps the register", task)
        });
        let secrets = Secured::read(&config, &recorder.metrics)?;
        let (watched, what) = watch::channel(secrets.reloads());
        let watch = Watch::new(what, recorder.metrics.clone());
        supervise(control, &tell, "the watch over certificates", watch.run(stop_control.clone()));
        wait_for_keys(&keys, control);
        let stop = Stop::default();
        // A socket that was given is taken away by who gave it.
        let own = given.is_none();
        let listeners = bind_workers(&config, given, control)?;
        let address = listeners.first().and_then(Bound::address);
        let address = address.unwrap_or_else(|| config.listen.address.clone());
        let socket = if own { SocketFile::of(&address) } else { None };
        let (listener, clients) = (secrets.listener(), secrets.clients.clone());
        let shared = Shared::new(&config, room, enforcer, &recorder, secrets);
        let (mut workers, mut proxies) = (Vec::new(), Vec::new());
        for listener in listeners {
            let (worker, proxy) = shared.spawn_worker(listener, &stop, &tell)?;
            workers.push(worker);
            proxies.push(proxy);
        }
        let (connections, in_flight) =
            (Arc::clone(&shared.connections), Arc::clone(&shared.in_flight));
        tracing::info!(%address, admin = %admin_address, workers = workers.len(), "listening");
        let shutdown = Arc::new(ArcSwap::from_pointee(config.shutdown));
        let notify = Notify::of_process();
        let telling = notify.clone().keep_telling(stop_control.clone());
        supervise(control, &tell, "what tells the service manager", telling);
        let reloader = Reloader {
            own_token: altinn.map(|way| way.own_token),
            origin,
            hangup,
            config,
            proxies,
            keys,
            courses,
            pages,
            in_force,
            guard,
            listener,
            clients,
            watched,
            connections,
            in_flight,
            descriptors: room.descriptors,
            shutdown: Arc::clone(&shutdown),
            notify: notify.clone(),
            metrics: recorder.metrics.clone(),
            traces,
        };
        let reloads = reloader.run(stop_control.clone());
        supervise(control, &tell, "the watch over the configuration", reloads);
        notify.tell(State::Ready);
        Ok(Self {
            readiness,
            recorder,
            workers,
            socket,
            sync,
            exporter,
            shutdown,
            notify,
            signals,
            stop,
            stop_control,
            ended,
        })
    }

    /// Waits for a signal or for a part to end, then stops step by step.
    fn wait(mut self, control: &Runtime) -> Result<(), AppError> {
        let result = control.block_on(async {
            let ended = self.serve_on().await;
            self.readiness.stopping.store(true, Ordering::Release);
            self.notify.tell(State::Stopping);
            let left = if ended.is_ok() { self.leave().await } else { Ok(()) };
            let closed = self.close(left).await;
            ended.and(closed)
        });
        drop(self.socket);
        self.stop_control.cancel();
        if let Some(sync) = self.sync {
            // It saves a last time; what it cannot save in time is read anew after a restart.
            let _ = control.block_on(async { tokio::time::timeout(LAST_SAVE, sync).await });
        }
        self.recorder.audit.close();
        traces::sent(self.exporter, control);
        tracing::info!("stopped");
        result
    }

    /// Until somebody wants it to stop.
    async fn serve_on(&mut self) -> Result<(), AppError> {
        let signals = &mut self.signals;
        loop {
            tokio::select! {
                () = signals.stop.recv() => return Ok(()),
                _ = signals.hangup.recv() => self.recorder.audit.reopen(),
                part = self.ended.recv() => {
                    return Err(AppError::PartEnded(part.unwrap_or("a part")));
                }
            }
        }
    }

    /// Not ready any more, but serving: whoever sends us requests has time to notice.
    async fn leave(&mut self) -> Result<(), AppError> {
        let signals = &mut self.signals;
        let wait = self.shutdown.load().wait;
        tracing::info!(seconds = wait.as_secs(), "stopping: not ready any more, still serving");
        self.stop.leaving.cancel();
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                () = signals.stop.recv() => return Err(AppError::Hurried),
                _ = signals.hangup.recv() => self.recorder.audit.reopen(),
                // Stopping is all that is left to do about it.
                _ = self.ended.recv() => return Ok(()),
            }
        }
    }

    /// Ends connections after what is in flight on them, each worker within the limit of the drain; at once when
    /// somebody would not wait even for what was `left`.
    async fn close(&mut self, left: Result<(), AppError>) -> Result<(), AppError> {
        tracing::info!("stopping: no new connections, requests in flight are served to their end");
        self.stop.leaving.cancel();
        self.stop.closing.cancel();
        let (grace, streams) = (self.shutdown.load().stream_grace, self.stop.streams.clone());
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            streams.cancel();
        });
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                // A worker that panicked has been told of by its end.
                let _ = worker.join();
            }
        });
        tokio::pin!(joined);
        let hurried = if let Err(hurried) = left {
            hurried
        } else {
            tokio::select! {
                _ = &mut joined => return Ok(()),
                () = self.signals.stop.recv() => AppError::Hurried,
            }
        };
        self.stop.now.cancel();
        // The records of what is cut are written while workers end, and the log is closed after them.
        if tokio::time::timeout(LAST_CUT, joined).await.is_err() {
            tracing::error!("a worker does not end; what was in flight there is not recorded");
        }
        Err(hurried)
    }
}

/// What the admin listener answers from.
fn telling(
    config: &Config,
    readiness: &Arc<AppReadiness>,
    register: Option<Arc<RegisterPages>>,
    calls: Option<CountCalls>,
    metrics: Metrics,
) -> Admin {
    Admin {
        guard: Arc::new(ArcSwap::from_pointee(told::guard(config))),
        history: Arc::new(History::new(metrics.clone())),
        in_force: Arc::new(ArcSwap::from_pointee(told::in_force(config, 1))),
        recorder: Arc::clone(&readiness.recorder),
        readiness: Arc::<AppReadiness>::clone(readiness),
        register,
        calls,
        metrics,
    }
}

/// What the program is told from outside.
struct Signals {
    stop: StopSignals,
    hangup: Signal,
}

/// What the program is told from outside to make it stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// With a SIGHUP for the configuration.
    fn new(control: &Runtime) -> Result<(Self, Signal), AppError> {
        let _entered = control.enter();
        let of = |kind| signal(kind).map_err(AppError::Signal);
        let stop = StopSignals {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        };
        Ok((Self { stop, hangup: of(SignalKind::hangup())? }, of(SignalKind::hangup())?))
    }
}

impl StopSignals {
    /// SIGTERM or SIGINT.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What all workers share.
struct Shared<'c> {
    config: &'c Config,
    upstreams: BTreeMap<String, UpstreamConfig>,
    enforcer: Arc<Enforcer>,
    recorder: Arc<Recorder>,
    connections: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
    entrance: Arc<Entrance>,
    upstream_tls: BTreeMap<String, Arc<TlsClient>>,
}

impl<'c> Shared<'c> {
    fn new(
        config: &'c Config,
        room: Room,
        enforcer: Arc<Enforcer>,
        recorder: &Arc<Recorder>,
        secured: Secured,
    ) -> Self {
        let Secured { server, clients: upstream_tls } = secured;
        let entrance = Arc::new(Entrance::new(&config.listen, &config.limits, server));
        Self {
            entrance,
            upstream_tls,
            upstreams: room.upstreams(config),
            config,
            enforcer,
            recorder: Arc::clone(recorder),
            connections: Arc::new(Semaphore::new(room.connections)),
            in_flight: Arc::new(Semaphore::new(room.requests)),
        }
    }

    fn spawn_worker(
        &self,
        listener: Bound,
        stop: &Stop,
        tell: &mpsc::UnboundedSender<&'static str>,
    ) -> Result<(JoinHandle<()>, Arc<Proxy>), AppError> {
        let metrics = self.recorder.metrics.clone();
        let generation = Generation {
            enforcer: Arc::clone(&self.enforcer),
            forwarder: Forwarder::new(
                &self.upstreams,
                &self.upstream_tls,
                self.config.forwarded.clone(),
                metrics.clone(),
                None,
            ),
            refusals: self.config.refusals.clone(),
            altinn: self.config.altinn.url.to_string(),
        };
        let proxy = Arc::new(Proxy {
            generation: ArcSwap::from_pointee(generation),
            recorder: Arc::clone(&self.recorder),
            clock: Arc::new(SystemClock),
            in_flight: Arc::clone(&self.in_flight),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            questions: self.config.listen.forward_auth.clone(),
        });
        let worker = Worker {
            proxy: Arc::clone(&proxy),
            connections: Arc::clone(&self.connections),
            entrance: Arc::clone(&self.entrance),
            metrics,
        };
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(AppError::Runtime)?;
        let end = End { part: "a worker", tell: tell.clone() };
        let serve = move || {
            let _end = end;
            runtime.block_on(async {
                match listener.into_listener() {
                    Ok(listener) => worker.run(listener).await,
                    Err(error) => tracing::error!(%error, "a listener cannot be used"),
                }
            });
            // Dropped, it would wait without bound, and audit records are still to be written.
            runtime.shutdown_timeout(LAST_THREADS);
        };
        let spawned = std::thread::Builder::new().name("worker".into()).spawn(serve);
        Ok((spawned.map_err(AppError::Runtime)?, proxy))
    }
}

/// What is made of the files of certificates, keys and authorities.
struct Secured {
    server: Option<Arc<TlsServer>>,
    clients: BTreeMap<String, Arc<TlsClient>>,
}

impl Secured {
    fn read(config: &Config, metrics: &Metrics) -> Result<Self, AppError> {
        let server = config.listen.tls.as_ref().map(|tls| {
            let server = TlsServer::new(tls.clone(), metrics.clone());
            server.map(Arc::new).map_err(|error| AppError::Tls("`listen`".into(), error))
        });
        let mut clients = BTreeMap::new();
        for (name, upstream) in &config.upstreams {
            if let Some(tls) = &upstream.tls {
                let client = TlsClient::new(tls.clone(), metrics.clone())
                    .map_err(|error| AppError::Tls(format!("the upstream `{name}`"), error))?;
                client.tell();
                clients.insert(name.clone(), Arc::new(client));
            }
        }
        Ok(Self { server: server.transpose()?, clients })
    }

    /// What is made for clients.
    fn listener(&self) -> All {
        let server = self.server.iter();
        server.map(|server| -> Arc<dyn Reloads> { Arc::<TlsServer>::clone(server) }).collect()
    }

    fn reloads(&self) -> All {
        let clients = self.clients.values();
        let clients = clients.map(|client| -> Arc<dyn Reloads> { Arc::<TlsClient>::clone(client) });
        self.listener().into_iter().chain(clients).collect()
    }
}

/// Before anything is listened on: where the port or the socket is shared with a predecessor, requests come at once,
/// and without keys they would be refused. An issuer that is away holds the start up for [`FIRST_KEYS`] only.
fn wait_for_keys(keys: &JwksKeySource, control: &Runtime) {
    let loaded = control.block_on(async {
        tokio::time::timeout(FIRST_KEYS, keys.wait_until_loaded()).await.is_ok()
    });
    if !loaded {
        tracing::warn!("the issuer's keys are not there yet; listening without them");
    }
}

/// Tells of the end of a part, also when it ends in a panic.
struct End {
    part: &'static str,
    tell: mpsc::UnboundedSender<&'static str>,
}

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens any more when the program is stopping.
        let _ = self.tell.send(self.part);
    }
}

fn supervise(
    control: &Runtime,
    tell: &mpsc::UnboundedSender<&'static str>,
    part: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let end = End { part, tell: tell.clone() };
    control.spawn(async move {
        let _end = end;
        task.await;
    })
}

fn bind(address: SocketAddr, sharing: Sharing, control: &Runtime) -> Result<TcpListener, AppError> {
    let _entered = control.enter();
    listen(address, sharing).map_err(|error| AppError::Listen(ListenAddress::Tcp(address), error))
}

fn local(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|error| AppError::Listen(ListenAddress::Tcp(asked), error))
}

/// One listener a worker, all on the port or socket that the first one got.
fn bind_workers(
    config: &Config,
    given: Option<Bound>,
    control: &Runtime,
) -> Result<Vec<Bound>, AppError> {
    let _entered = control.enter();
    let listen = &config.listen;
    let workers = listen.workers.get();
    let all = match given {
        Some(given) => given.shared(&listen.address, workers),
        None => Bound::all(&listen.address, workers),
    };
    all.map_err(|error| AppError::Listen(listen.address.clone(), error))
}

/// Where records go.
fn recorder(
    config: &Config,
    metrics: &Metrics,
    tell: &mpsc::UnboundedSender<&'static str>,
    tracer: Tracer,
) -> Result<Recorder, AppError> {
    Ok(Recorder {
        metrics: metrics.clone(),
        audit: {
            let end = End { part: "the thread that writes audit records", tell: tell.clone() };
            Audit::open(&config.audit, metrics, move || drop(end))?
        },
        pseudonyms: Pseudonyms::new(config.audit.pseudonym_key.as_ref()),
        refusals: Refusals::default(),
        tracer,
    })
}

/// The bounds as they hold, as metrics beside what they bound, and aloud where descriptors are too few for what is configured;
/// and what its names begin at 0.
fn publish_limits(config: &Config, room: Room, metrics: &Metrics) {
    room.tell(config);
    let limits = &config.limits;
    let set = |name, value: usize| {
        metrics.limits.with_label_values(&[name]).set(i64::try_from(value).unwrap_or(i64::MAX));
    };
    let entries = |most: u64| usize::try_from(most).unwrap_or(usize::MAX);
    set("connections", room.connections);
    set("connections_per_peer", limits.connections_per_peer);
    if let Some(tls) = &config.listen.tls {
        set("pending_handshakes", tls.pending_handshakes.get());
    }
    set("requests_in_flight", room.requests);
    set("target_bytes", limits.target_bytes);
    set("header_bytes", limits.header_bytes);
    set("header_count", limits.header_count);
    set("party_body_bytes", limits.party_body_bytes);
    set("token_bytes", config.tokens.max_bytes);
    set("token_cache_entries", entries(config.tokens.cache_entries));
    set("confirmations", entries(config.confirmations.max_entries));
    set("altinn_requests_per_second", config.altinn.requests_per_second.get());
    set("altinn_in_flight", config.altinn.max_in_flight.get());
    set("audit_queue", config.audit.queue.get());
    if let Some(register) = &config.register {
        set("register_system_users", register.max_system_users.get());
        set("register_bytes", register.max_bytes);
    }
    if let Some(tracing) = &config.tracing {
        set("trace_spans", tracing.queue_spans.get());
        let most = usize::try_from(tracing.traces_per_second.get()).unwrap_or(usize::MAX);
        set("traces_per_second", most);
    }
    for route in &config.routes {
        metrics.expect_route(&route.id);
        metrics.tell_shadow(&route.id, route.in_shadow());
    }
    config.upstreams.keys().for_each(|name| metrics.expect_upstream(name));
}
