//! The program, without sockets: what judges, keeps the register and keeps the keys, wired as it is when it
//! serves.

use super::dice::mix;
use super::keys::ISSUER;
use super::world::{Outside, RESOURCE_IDS};
use portvakt::app::reload::{announce, course, succeed};
use portvakt::app::{self, OnDisk};
use portvakt::config::{Config, source};
use portvakt::domain::salt::Salt;
use portvakt::enforce::Enforcer;
use portvakt::maskinporten::jwks::JwksKeySource;
use portvakt::sync::Course;
use portvakt::telemetry::metrics::Metrics;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How old answers may be by one of the configurations, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    pub(crate) max_age: u64,
    pub(crate) grace: u64,
}

pub(crate) const NO_FOR: u64 = 3_000;
pub(crate) const POLICY_MAX_AGE: u64 = 20_000;
pub(crate) const KEYS_MAX_AGE: u64 = 90_000;
pub(crate) const UNKNOWN_KEY: u64 = 5_000;
pub(crate) const LEEWAY: i64 = 10;

/// Reading, then writing.
pub(crate) const AGES: [[Ages; 2]; 2] = [
    [Ages { max_age: 20_000, grace: 120_000 }, Ages { max_age: 6_000, grace: 0 }],
    [Ages { max_age: 40_000, grace: 60_000 }, Ages { max_age: 0, grace: 0 }],
];
const FRESH: [[u64; 2]; 2] = [[5_000, 2_000], [10_000, 0]];

/// The second one has no route for this resource.
pub(crate) const LEFT_OUT: u64 = 1;

const JWK: &str = r#"{"kty":"RSA","kid":"ours","n":"AQAB","e":"AQAB","d":"c2VjcmV0"}"#;

static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(|| [0, 1].map(config));

fn config(which: usize) -> Config {
    let freshness = |name: &str, write: usize| {
        let (fresh, Ages { max_age, grace }) = (FRESH[which][write], AGES[which][write]);
        format!(
            "  {name}: {{ fresh_for: {fresh}ms, max_age: {max_age}ms, outage_grace: {grace}ms }}\n"
        )
    };
    let route = |resource: &str, method: &str, action: &str| {
        format!(
            "  - id: {resource}-{action}\n    match: {{ methods: [{method}], path: \"/v1/parties/{{party}}/{resource}\" }}\n    \
             scopes: {{ all_of: [\"ex:all\"] }}\n    resource: {resource}\n    action: {action}\n    \
             party: {{ path: party }}\n"
        )
    };
    let there = RESOURCE_IDS
        .iter()
        .enumerate()
        .filter(|(number, _)| which == 0 || *number as u64 != LEFT_OUT);
    let routes: String =
        there.map(|(_, id)| route(id, "GET", "read") + &route(id, "POST", "write")).collect();
    let text = format!(
        "environment: custom\n\
         custom: {{ issuer: \"{ISSUER}\", altinn: \"http://127.0.0.1:9\" }}\n\
         listen: {{ address: \"127.0.0.1:0\" }}\n\
         upstream: {{ url: \"http://127.0.0.1:9\" }}\n\
         altinn: {{ subscription_key: key }}\n\
         maskinporten: {{ client_id: \"client\", key_env: JWK, refresh: 30s, max_age: {KEYS_MAX_AGE}ms, \
         unknown_kid_interval: {UNKNOWN_KEY}ms }}\n\
         tokens: {{ leeway: {LEEWAY}s }}\n\
         confirmations: {{ no_for: {NO_FOR}ms }}\n\
         register: {{ refresh_least: 60s, refresh_most: 60s, policy_poll: 5s, policy_check: 30s, \
         policy_max_age: {POLICY_MAX_AGE}ms, sample_one_in: 3 }}\n\
         freshness:\n{}{}routes:\n{routes}",
        freshness("read", 0),
        freshness("write", 1),
    );
    let env = |name: &str| (name == "JWK").then(|| JWK.to_owned());
    source::load_text(&text, "simulation.yaml", &env)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

pub(crate) fn settings(which: u64) -> &'static Config {
    &CONFIGS[usize::try_from(which).unwrap()]
}

/// What judges by one configuration.
pub(crate) struct Generation {
    pub(crate) enforcer: Enforcer,
    pub(crate) which: u64,
}

pub(crate) struct Program {
    pub(crate) generation: Arc<Generation>,
    keys: Arc<JwksKeySource>,
    courses: watch::Sender<Option<Arc<Course>>>,
    keeping: [JoinHandle<()>; 2],
    stop: CancellationToken,
}

impl Program {
    /// Starts with what is on disk.
    pub(crate) fn start(seed: u64, outside: &Outside, metrics: &Metrics, which: u64) -> Self {
        let (run, saved) = {
            let mut world = outside.lock();
            world.run += 1;
            let run = world.run;
            world.note(format_args!("the program starts, run {run}, configuration {which}"));
            (run, world.load())
        };
        let (config, salt) = (settings(which), Salt::known(mix(&[seed, run])));
        let world = || Arc::new(outside.clone());
        let keys = JwksKeySource::new(
            &config.maskinporten,
            world(),
            world(),
            Arc::new(metrics.clone()),
            Handle::current(),
            salt,
        );
        let keys = Arc::new(keys);
        let on_disk = OnDisk {
            store: Box::new(outside.clone()),
            load: Some(Box::new(|take| saved.into_iter().for_each(take))),
            interval: Duration::from_secs(10),
        };
        let ports = app::Outside {
            pdp: world(),
            source: world(),
            clock: world(),
            salt,
            saved: Some(on_disk),
        };
        let (answers, sync) = app::rights(config, ports, metrics).unwrap();
        let sync = sync.unwrap();
        let enforcer =
            app::enforcer(config, Arc::<JwksKeySource>::clone(&keys), world(), Some(answers))
                .unwrap();
        let stop = CancellationToken::new();
        let courses = sync.courses();
        let keeping = [
            tokio::spawn(sync.run(stop.clone())),
            tokio::spawn(Arc::clone(&keys).run(stop.clone())),
        ];
        Self { generation: Arc::new(Generation { enforcer, which }), keys, courses, keeping, stop }
    }

    /// Takes up another configuration, in the order in which the program does.
    pub(crate) async fn reload(&mut self, which: u64) {
        let config = settings(which);
        let enforcer = succeed(&self.generation.enforcer, config).unwrap();
        self.keys.prepare(&config.maskinporten).await;
        announce(&enforcer, config);
        self.generation = Arc::new(Generation { enforcer, which });
        self.keys.keep_to(&config.maskinporten);
        self.courses.send_replace(Some(Arc::new(course(config).unwrap())));
    }

    /// Stops as it should: what was not saved is saved.
    pub(crate) async fn drain(self) {
        self.stop.cancel();
        for task in self.keeping {
            task.await.unwrap();
        }
    }

    /// Dies: what was not saved is lost.
    pub(crate) async fn die(self) {
        for task in self.keeping {
            task.abort();
            drop(task.await);
        }
    }
}
