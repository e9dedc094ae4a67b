//! What every endpoint shares: the world, the keys, the faults and the record of calls.

use crate::calls::Calls;
use crate::clock;
use crate::crypto::rsa::{KeyError, RsaKey};
use crate::faults::Faults;
use crate::maskinporten::certificate::Authority;
use crate::maskinporten::client_keys::ClientKeys;
use crate::maskinporten::replay::UsedAssertions;
use crate::world::World;
use crate::world::seed::{self, SeedError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::ScopedJoinHandle;
use uuid::Uuid;

/// One running sandbox.
pub(crate) struct Shared {
    pub(crate) urls: Urls,
    seed: String,
    world: RwLock<World>,
    maskinporten_keys: RwLock<KeyRing>,
    /// Altinn's own keys; they do not rotate.
    pub(crate) altinn_keys: KeyRing,
    pub(crate) client_keys: ClientKeys,
    pub(crate) authority: Authority,
    used_assertions: Mutex<UsedAssertions>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
}

/// Where the two services say they are.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// Maskinporten's issuer, with a trailing slash.
    pub(crate) issuer: String,
    /// Altinn's base, without one.
    pub(crate) altinn: String,
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
    pub(crate) fn new(urls: Urls, seed: String, world: World, keys: SigningKeys) -> Self {
        Self {
            urls,
            seed,
            world: RwLock::new(world),
            maskinporten_keys: RwLock::new(keys.maskinporten),
            altinn_keys: keys.altinn,
            client_keys: ClientKeys::default(),
            authority: Authority::default(),
            used_assertions: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    pub(crate) fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
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

    /// Back to the seed world, without faults and memories. Keys stay.
    pub(crate) fn reset(&self) -> Result<(), SeedError> {
        *self.world_mut() = seed::parse(&self.seed, clock::now())?;
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
    }
}
