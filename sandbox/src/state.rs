//! What every endpoint shares: the world, the keys, the faults and the record of calls.

use crate::altinn::pdp::caches::Pods;
use crate::calls::{self, Calls};
use crate::clock::Clock;
use crate::crypto::rsa::{KeyError, RsaKey};
use crate::faults::Faults;
use crate::maskinporten::certificate::Authority;
use crate::maskinporten::client_keys::{self, ClientKeys};
use crate::maskinporten::replay::{self, UsedAssertions};
use crate::pages::session::{self, Sessions};
use crate::world::World;
use crate::world::requests::MOST_REQUESTS;
use crate::world::seed::{self, SeedError};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::ScopedJoinHandle;
use uuid::Uuid;

/// One running sandbox.
pub(crate) struct Shared {
    pub(crate) urls: Urls,
    seed: String,
    world: RwLock<Arc<World>>,
    /// The time of day for everything in this sandbox.
    pub(crate) clock: Clock,
    /// How many instances of the decision point cache from the start; none means no caching.
    pods_at_start: usize,
    pods: Mutex<Pods>,
    features: Mutex<Features>,
    maskinporten_keys: RwLock<KeyRing>,
    /// Altinn's own keys; they do not rotate.
    pub(crate) altinn_keys: KeyRing,
    pub(crate) client_keys: ClientKeys,
    pub(crate) authority: Authority,
    used_assertions: Mutex<UsedAssertions>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
    sessions: Mutex<Sessions>,
    /// The proxy that the vendor's page may call, `http://HOST:PORT`.
    pub(crate) proxy: Option<String>,
}

/// What this deployment of Altinn has.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Features {
    /// The registry's `changes` feed; older deployments answer 404.
    pub(crate) changes_feed: bool,
    /// Rows on a page of access lists, members and connections.
    pub(crate) access_list_page: usize,
}

impl Default for Features {
    fn default() -> Self {
        Self { changes_feed: true, access_list_page: 100 }
    }
}

/// The world as a request sees it: the present one, or an older one where a fault makes reads stale.
pub(crate) struct View(pub(crate) Arc<World>);

/// The older world that a request is to see.
#[derive(Clone)]
pub(crate) struct Frozen(pub(crate) Arc<World>);

impl FromRequestParts<Arc<Shared>> for View {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &Arc<Shared>,
    ) -> Result<Self, Infallible> {
        let frozen = parts.extensions.get::<Frozen>().map(|Frozen(world)| Arc::clone(world));
        Ok(Self(frozen.unwrap_or_else(|| shared.snapshot())))
    }
}

/// The world, to be changed. Who holds an older one keeps it.
pub(crate) struct WorldMut<'a>(RwLockWriteGuard<'a, Arc<World>>);

impl Deref for WorldMut<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl DerefMut for WorldMut<'_> {
    fn deref_mut(&mut self) -> &mut World {
        Arc::make_mut(&mut self.0)
    }
}

/// Where the two services say they are.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// Maskinporten's issuer, with a trailing slash.
    pub(crate) issuer: String,
    /// Altinn's base, without one.
    pub(crate) altinn: String,
    /// Host and port on which plain HTTP is answered.
    pub(crate) listener: String,
}

impl Urls {
    /// The issuer of exchanged tokens.
    pub(crate) fn altinn_issuer(&self) -> String {
        format!("{}/authentication/api/v1/openid/", self.altinn)
    }

    /// Maskinporten's token endpoint.
    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}token", self.issuer)
    }
}

impl Shared {
    pub(crate) fn new(
        urls: Urls,
        seed: String,
        keys: SigningKeys,
        pods: usize,
        proxy: Option<String>,
    ) -> Result<Self, SeedError> {
        let clock = Clock::default();
        let world = seed::parse(&seed, clock.now())?;
        Ok(Self {
            urls,
            seed,
            world: RwLock::new(Arc::new(world)),
            clock,
            pods_at_start: pods,
            pods: Mutex::new(Pods::new(pods)),
            features: Mutex::default(),
            maskinporten_keys: RwLock::new(keys.maskinporten),
            altinn_keys: keys.altinn,
            client_keys: ClientKeys::default(),
            authority: Authority::default(),
            used_assertions: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            sessions: Mutex::default(),
            proxy,
        })
    }

    /// Seconds since 1970 on the sandbox's clock.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    pub(crate) fn world(&self) -> RwLockReadGuard<'_, Arc<World>> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world as it is now, to be kept.
    pub(crate) fn snapshot(&self) -> Arc<World> {
        Arc::clone(&self.world())
    }

    pub(crate) fn world_mut(&self) -> WorldMut<'_> {
        WorldMut(self.world.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another world in place of this one. What changed shows in the change feed.
    ///
    /// Reading a large world takes a while and holds up nobody; changes made meanwhile to the old one are lost.
    pub(crate) fn load_world(&self, text: &str) -> Result<(), SeedError> {
        let world = Arc::new(seed::parse_successor(text, self.now(), &self.snapshot())?);
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = world;
        Ok(())
    }

    /// Adds to this world and replaces in it what a document names.
    pub(crate) fn patch_world(&self, text: &str) -> Result<(), SeedError> {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        *world = Arc::new(seed::patch(text, self.now(), &world)?);
        Ok(())
    }

    pub(crate) fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn features(&self) -> Features {
        *self.features.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_features(&self, features: Features) {
        *self.features.lock().unwrap_or_else(PoisonError::into_inner) = features;
    }

    pub(crate) fn maskinporten_keys(&self) -> RwLockReadGuard<'_, KeyRing> {
        self.maskinporten_keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn maskinporten_keys_mut(&self) -> RwLockWriteGuard<'_, KeyRing> {
        self.maskinporten_keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn used_assertions(&self) -> MutexGuard<'_, UsedAssertions> {
        self.used_assertions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is logged in to the pages.
    pub(crate) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered besides the world: how much of it, and how much at the most.
    pub(crate) fn held(&self) -> BTreeMap<&'static str, (usize, usize)> {
        let world = self.snapshot();
        let (questions, calls) = self.calls().held();
        BTreeMap::from([
            ("questions", (questions, calls::KEPT)),
            ("calls", (calls, calls::KEPT)),
            ("used_assertions", (self.used_assertions().len(), replay::MOST)),
            ("sessions", (self.sessions().len(), session::KEPT)),
            ("cached", self.pods().held()),
            ("published_keys", (self.maskinporten_keys().published().count(), PUBLISHED_KEYS)),
            ("client_keys", (self.client_keys.len(), client_keys::MOST)),
            ("requests", (world.requests.len(), MOST_REQUESTS)),
            ("change_requests", (world.change_requests.len(), MOST_REQUESTS)),
        ])
    }

    /// Back to the seed world and the real time, without faults and memories. Keys stay.
    pub(crate) fn reset(&self) -> Result<(), SeedError> {
        self.clock.reset();
        let world = seed::parse(&self.seed, self.now())?;
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        *self.pods() = Pods::new(self.pods_at_start);
        self.set_features(Features::default());
        *self.used_assertions() = UsedAssertions::default();
        *self.faults() = Faults::default();
        *self.calls() = Calls::default();
        Ok(())
    }
}

/// Both key sets, made at start.
pub(crate) struct SigningKeys {
    maskinporten: KeyRing,
    altinn: KeyRing,
}

impl SigningKeys {
    /// Makes three keys, side by side since each takes a noticeable time.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        std::thread::scope(|scope| {
            let [spare, maskinporten, altinn] = [(); 3].map(|()| scope.spawn(KeyRing::new_key));
            let made = |maker: ScopedJoinHandle<'_, Result<RsaKey, KeyError>>| {
                maker.join().map_err(|_| KeyError)?.map(Arc::new)
            };
            Ok(Self {
                maskinporten: KeyRing { others: vec![made(spare)?], current: made(maskinporten)? },
                altinn: KeyRing { others: Vec::new(), current: made(altinn)? },
            })
        })
    }
}

/// How many keys are published at the most; the oldest goes first.
pub(crate) const PUBLISHED_KEYS: usize = 20;

/// Published keys: the one that signs, and before it old ones and spares.
pub(crate) struct KeyRing {
    others: Vec<Arc<RsaKey>>,
    current: Arc<RsaKey>,
}

impl KeyRing {
    /// A key with a fresh id.
    pub(crate) fn new_key() -> Result<RsaKey, KeyError> {
        RsaKey::generate(Uuid::new_v4().simple().to_string())
    }

    /// The key that signs.
    pub(crate) fn current(&self) -> Arc<RsaKey> {
        Arc::clone(&self.current)
    }

    /// Every published key, the signing one last.
    pub(crate) fn published(&self) -> impl Iterator<Item = &RsaKey> {
        self.others.iter().chain([&self.current]).map(Arc::as_ref)
    }

    /// Signs with a new key from now on. What was published stays so, unless it is dropped.
    pub(crate) fn rotate(&mut self, new: RsaKey, drop_old: bool) {
        let old = std::mem::replace(&mut self.current, Arc::new(new));
        self.others.push(old);
        if drop_old {
            self.others.clear();
        }
        if self.others.len() >= PUBLISHED_KEYS {
            self.others.remove(0);
        }
    }
}
