//! Where an upstream is: its name, looked up again and again, so that a new address is used within a
//! stated time and the last good one while no look-up works, for a while: an address may become another's.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A look-up of a name and a port: the system's, or a test's.
pub(super) type LookUp = Box<dyn Fn(String, u16) -> Found + Send + Sync>;
type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Told of every look-up: whether it worked.
pub(super) type Told = Box<dyn Fn(bool) + Send + Sync>;

/// After a look-up that failed, the next is made so much later at the earliest.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for a look-up where older addresses are held. Name servers that do not answer keep a look-up
/// waiting for many seconds, and connections must go on meanwhile.
const PATIENCE: Duration = Duration::from_millis(250);

/// So long after the first look-up that did not work, the last good addresses are used no more. An outage of
/// name servers seldom lasts so long, and what a name is gone from may be anybody's by then.
const HELD: Duration = Duration::from_secs(600);

/// The addresses of one name.
pub(super) struct Addresses {
    name: String,
    port: u16,
    /// Time between two look-ups.
    interval: Duration,
    look_up: LookUp,
    told: Told,
    state: Mutex<State>,
    /// Held while a look-up goes on.
    one: tokio::sync::Mutex<()>,
    /// Told when one has ended.
    ended: Notify,
}

#[derive(Default)]
struct State {
    addresses: Arc<[SocketAddr]>,
    /// When the first look-up began that has not worked, of those after the last that did.
    failing: Option<Instant>,
    /// When the next look-up is due; `None` before the first.
    due: Option<Instant>,
    looking: bool,
}

impl Addresses {
    pub(super) fn new(name: &str, port: u16, interval: Duration, told: Told) -> Self {
        Self::with(name, port, interval, told, Box::new(|name, port| Box::pin(system(name, port))))
    }

    fn with(name: &str, port: u16, interval: Duration, told: Told, look_up: LookUp) -> Self {
        let mut state = State::default();
        if let Ok(address) = name.parse::<IpAddr>() {
            state.addresses = Arc::new([SocketAddr::new(address, port)]);
        }
        Self {
            name: name.to_owned(),
            port,
            interval,
            look_up,
            told,
            state: Mutex::new(state),
            one: tokio::sync::Mutex::default(),
            ended: Notify::new(),
        }
    }

    /// Where to connect, after a look-up if one is due.
    ///
    /// # Errors
    /// When no look-up ever worked, or none for too long, and this one did not either.
    pub(super) async fn now(self: &Arc<Self>) -> io::Result<Arc<[SocketAddr]>> {
        if !self.is_due() {
            return self.held();
        }
        if self.held().is_err() {
            return self.look().await;
        }
        let mut ended = pin!(self.ended.notified());
        ended.as_mut().enable();
        self.renew();
        // In time or not: what is held then is the best there is.
        let _ = tokio::time::timeout(PATIENCE, ended).await;
        self.held()
    }

    async fn look(&self) -> io::Result<Arc<[SocketAddr]>> {
        let _one = self.one.lock().await;
        // Another may have looked while this one waited.
        if !self.is_due() {
            return self.held();
        }
        // One that never ends has not worked either.
        self.state().failing.get_or_insert_with(Instant::now);
        let found = (self.look_up)(self.name.clone(), self.port).await;
        let found = found.and_then(|found| if found.is_empty() { none() } else { Ok(found) });
        (self.told)(found.is_ok());
        let mut state = self.state();
        let pause = if found.is_ok() { self.interval } else { PAUSE.min(self.interval) };
        state.due = Some(Instant::now() + pause);
        match found {
            Ok(found) => {
                state.addresses = found.into();
                state.failing = None;
            }
            // The last good ones go on.
            Err(_) if state.holds() => {}
            Err(error) => {
                if !state.addresses.is_empty() {
                    state.addresses = Arc::default();
                    let name = &self.name;
                    tracing::error!(name, %error, "an upstream's name is not found any more");
                }
                return Err(error);
            }
        }
        Ok(Arc::clone(&state.addresses))
    }

    /// Looks up behind, if that is due and nobody does.
    pub(super) fn renew(self: &Arc<Self>) {
        if !self.is_due() {
            return;
        }
        let mut state = self.state();
        if state.looking {
            return;
        }
        state.looking = true;
        drop(state);
        let addresses = Arc::clone(self);
        tokio::spawn(async move {
            // What was found is held, and what went wrong is told of.
            let _ = addresses.look().await;
            addresses.state().looking = false;
            addresses.ended.notify_waiters();
        });
    }

    /// Whether `address` is still one of them.
    pub(super) fn hold(&self, address: SocketAddr) -> bool {
        let state = self.state();
        state.holds() && state.addresses.contains(&address)
    }

    fn held(&self) -> io::Result<Arc<[SocketAddr]>> {
        let state = self.state();
        if state.holds() { Ok(Arc::clone(&state.addresses)) } else { none() }
    }

    fn is_due(&self) -> bool {
        let state = self.state();
        match state.due {
            Some(due) => due <= Instant::now(),
            // An address that stands in the configuration is not looked up.
            None => state.addresses.is_empty(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain values, whole after every change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there are addresses that may be used.
    fn holds(&self) -> bool {
        !self.addresses.is_empty() && self.failing.is_none_or(|since| since.elapsed() < HELD)
    }
}

fn none<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

async fn system(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const INTERVAL: Duration = Duration::from_secs(30);

    /// Answers by its number from 0; `None` fails.
    fn scripted(
        answer: impl Fn(usize) -> Option<u8> + Send + Sync + 'static,
    ) -> (Arc<Addresses>, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let look_up: LookUp = Box::new(move |_, port| {
            let answer = answer(counted.fetch_add(1, Ordering::Relaxed));
            let found = answer.map(|last| vec![SocketAddr::from(([10, 0, 0, last], port))]);
            Box::pin(async move { found.ok_or_else(|| io::ErrorKind::TimedOut.into()) })
        });
        let told: Told = Box::new(|_| {});
        (Arc::new(Addresses::with("api.test", 80, INTERVAL, told, look_up)), count)
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_address_is_used_after_the_interval_and_the_old_one_held_no_more() {
        let (addresses, count) = scripted(|number| Some(u8::try_from(number).unwrap()));
        assert_eq!(*addresses.now().await.unwrap(), [at(0)]);
        tokio::time::advance(INTERVAL.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(0)]);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(addresses.hold(at(0)));
        assert_eq!(*addresses.now().await.unwrap(), [at(1)]);
        assert!(!addresses.hold(at(0)) && addresses.hold(at(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_address_goes_on_while_no_look_up_works() {
        let (addresses, count) = scripted(|number| (number != 1 && number != 2).then_some(7));
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        tokio::time::advance(INTERVAL).await;
        for _ in 0..100 {
            assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        }
        assert_eq!(count.load(Ordering::Relaxed), 2, "not for every connection");
        tokio::time::advance(PAUSE).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_gone_for_too_long_has_no_address_until_it_is_found_again() {
        let found = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let answer = Arc::clone(&found);
        let (addresses, _) = scripted(move |_| answer.load(Ordering::Relaxed).then_some(7));
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        found.store(false, Ordering::Relaxed);
        // Nobody asked for hours: that is no failure of the name's.
        tokio::time::advance(HELD * 20).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        tokio::time::advance(HELD.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        assert!(addresses.hold(at(7)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!addresses.hold(at(7)), "for connections that are open neither");
        assert!(addresses.now().await.is_err());
        found.store(true, Ordering::Relaxed);
        tokio::time::advance(PAUSE).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        // What failed before counts no more.
        found.store(false, Ordering::Relaxed);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn name_servers_that_do_not_answer_delay_connections_a_little_and_hold_none_back() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let look_up: LookUp = Box::new(move |_, _| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            Box::pin(
                async move { if first { Ok(vec![at(7)]) } else { std::future::pending().await } },
            )
        });
        let addresses = Addresses::with("api.test", 80, INTERVAL, Box::new(|_| {}), look_up);
        let addresses = Arc::new(addresses);
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
        tokio::time::advance(INTERVAL).await;
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
            assert!((PATIENCE..PATIENCE * 2).contains(&begun.elapsed()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2, "one at a time");
        tokio::time::advance(HELD).await;
        assert!(!addresses.hold(at(7)), "nor for ever");
        assert!(tokio::time::timeout(PATIENCE, addresses.now()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_never_found_is_an_error_and_is_looked_up_again() {
        let (addresses, count) = scripted(|number| (number > 0).then_some(7));
        assert!(addresses.now().await.is_err());
        assert!(addresses.now().await.is_err());
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(PAUSE).await;
        assert_eq!(*addresses.now().await.unwrap(), [at(7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_of_the_configuration_is_never_looked_up() {
        for text in ["10.0.0.7", "::1"] {
            let look_up: LookUp = Box::new(|_, _| panic!("a look-up"));
            let addresses = Addresses::with(text, 80, INTERVAL, Box::new(|_| {}), look_up);
            let addresses = Arc::new(addresses);
            tokio::time::advance(INTERVAL * 2).await;
            let expected = SocketAddr::new(text.parse().unwrap(), 80);
            assert_eq!(*addresses.now().await.unwrap(), [expected]);
        }
    }
}
