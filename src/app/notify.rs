//! Tells the service manager how it stands: `sd_notify(3)` over the datagram socket that `NOTIFY_SOCKET` names. Without
//! one nothing is said. A few lines of text need no library.

use crate::config::source::{Env, ProcessEnv};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The service manager, if there is one. A clone is as good.
#[derive(Clone, Debug, Default)]
pub(super) struct Notify {
    manager: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// How often it wants to hear that the process lives.
    watchdog: Option<Duration>,
}

/// What it is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// It listens.
    Ready,
    /// The configuration is read anew; [`State::Ready`] follows.
    Reloading,
    /// It has begun to stop.
    Stopping,
    /// It lives.
    Alive,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::Ready => "READY=1",
            Self::Reloading => "RELOADING=1",
            Self::Stopping => "STOPPING=1",
            Self::Alive => "WATCHDOG=1",
        }
    }
}

impl Notify {
    /// As the environment says.
    pub(super) fn of_process() -> Self {
        let Some(name) = ProcessEnv.variable("NOTIFY_SOCKET") else { return Self::default() };
        let manager = socket(&name).map(Arc::new);
        if manager.is_none() {
            tracing::warn!("NOTIFY_SOCKET names no socket that can be written to");
        }
        let ours = |id: String| id == std::process::id().to_string();
        let meant = ProcessEnv.variable("WATCHDOG_PID").is_none_or(ours);
        let period = ProcessEnv.variable("WATCHDOG_USEC").filter(|_| meant);
        let period = period.and_then(|text| text.parse().ok()).filter(|period| *period > 0);
        let watchdog = period.map(Duration::from_micros).filter(|_| manager.is_some());
        Self { manager, watchdog }
    }

    /// Tells it. Nobody is waited for.
    pub(super) fn tell(&self, state: State) {
        if let Some((socket, manager)) = self.manager.as_deref() {
            // A service manager that does not listen has its own time limits.
            let _ = socket.send_to_addr(state.text().as_bytes(), manager);
        }
    }

    /// Tells that the process lives, twice as often as the service manager wants it, until `stop`; or waits for that.
    pub(super) async fn keep_telling(self, stop: CancellationToken) {
        let Some(period) = self.watchdog else { return stop.cancelled().await };
        loop {
            self.tell(State::Alive);
            tokio::select! {
                () = tokio::time::sleep(period / 2) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// A path, or after `@` a name without one.
fn socket(name: &str) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}
