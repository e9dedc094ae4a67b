//! Listeners: connections in, bounded and timed, drained at the end.

mod activity;
pub mod admin;
mod aside;
pub mod entrance;
mod extended;
mod forward_auth;
mod frames;
pub mod guard;
mod heads;
pub mod history;
pub mod listener;
pub mod pages;
mod peers;
mod places;
pub mod proxy;
mod proxy_protocol;
pub mod register;
pub mod respond;
mod streams;
mod texts;
mod tunnel;
mod watch;

use crate::config::LimitConfig;
use crate::deadlines::{Deadline, Deadlines};
use crate::enforce::rejection::Code;
use crate::stream::Socket;
use crate::telemetry::metrics::Metrics;
use activity::{Activity, Quiet};
use aside::Aside;
use entrance::{Entered, Entrance};
use heads::{Head, Most};
use hyper::rt::{Sleep, Timer};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use listener::Listener;
use places::{Place, Placed};
use proxy::Proxy;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use streams::Streams;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One worker: its listener, and what it serves connections with.
#[derive(Debug)]
pub struct Worker {
    /// What judges and forwards.
    pub proxy: Arc<Proxy>,
    /// Connections that may still be opened, all workers together.
    pub connections: Arc<Semaphore>,
    /// What a connection passes before it can carry requests, the same for all workers.
    pub entrance: Arc<Entrance>,
    /// The metrics.
    pub metrics: Metrics,
}

impl Worker {
    /// Accepts and serves until it is to close, then lets requests in flight end, for a bounded time.
    pub async fn run(self, listener: Listener) {
        let stop = self.proxy.stop.closing.clone();
        let serving = Arc::new(Serving { worker: self, deadlines: Arc::default() });
        let worker = &serving.worker;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => serving.take(socket, peer, &stop),
                    Err(error) => worker.accept_failed(&error).await,
                },
                () = stop.cancelled() => break,
            }
        }
        // Whoever is in the queue has been told that it is connected.
        listener.drain(|socket, peer| serving.take(socket, peer, &stop));
        // Connections and the tunnels that some of them have become.
        worker.proxy.tasks.close();
        let limit = worker.proxy.limits().drain_timeout;
        let drained = tokio::time::timeout(limit, worker.proxy.tasks.wait());
        let cut = tokio::select! {
            drained = drained => drained.is_err(),
            () = worker.proxy.stop.now.cancelled() => true,
        };
        if cut {
            // With the runtime, which is dropped next: each record is written as it is dropped.
            tracing::warn!("requests were still in flight at the end of the drain and are cut");
        }
    }

    /// Out of descriptors, or the like: wait for some to come back instead of spinning.
    async fn accept_failed(&self, error: &io::Error) {
        self.refused("accept");
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    fn refused(&self, reason: &str) {
        self.metrics.connections_refused.with_label_values(&[reason]).inc();
    }
}

/// What the library takes of a head at the most, in bytes: more than is let in, so that ours is met first and recorded.
fn longest_head(limits: &LimitConfig) -> usize {
    ((limits.header_bytes + limits.target_bytes) * 2).max(64 * 1024)
}

/// What a list of HTTP/2 may be at the most as RFC 9113 §6.5.2 counts it, in bytes: what is let in, each field with the 32 of
/// its own, and some more, so that ours is met first and recorded by who goes little beyond. The library keeps of a list that
/// is longer no more than this.
fn longest_list(limits: &LimitConfig) -> usize {
    const MORE: usize = 8 * 1024;
    limits.header_bytes + limits.target_bytes + 32 * limits.header_count + MORE
}

fn server(limits: &LimitConfig, deadlines: &Arc<Deadlines>) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(Streams { limit: limits.body_idle_timeout });
    // The library's own limits are wider than ours, so that ours are met first and recorded.
    server
        .http1()
        .timer(HeadTimer(Arc::clone(deadlines)))
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.header_count * 2 + 16)
        .max_buf_size(longest_head(limits));
    let list = u32::try_from(longest_list(limits)).unwrap_or(u32::MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .enable_connect_protocol()
        .max_header_list_size(list)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    server
}

/// How the library waits for the head of an HTTP/1 request.
struct HeadTimer(Arc<Deadlines>);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.0.at(Instant::now() + duration))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.0.at(deadline.into()))
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

impl Sleep for Deadline {}

/// A worker at work.
struct Serving {
    worker: Worker,
    deadlines: Arc<Deadlines>,
}

impl Serving {
    /// Serves a connection in a task of its own, if there is room for it.
    fn take(self: &Arc<Self>, socket: Socket, peer: IpAddr, stop: &CancellationToken) {
        let Ok(permit) = Arc::clone(&self.worker.connections).try_acquire_owned() else {
            self.worker.refused("too_many");
            return;
        };
        let (serving, stop) = (Arc::clone(self), stop.clone());
        let place = Place::new(permit, self.worker.metrics.connections.clone());
        self.worker.proxy.tasks.spawn(async move {
            // A connection keeps to the bounds that it came in with; its requests are judged by the newest.
            let limits = serving.worker.proxy.limits();
            let Worker { entrance, metrics, .. } = &serving.worker;
            let entering = entrance.enter(socket, peer, &limits, metrics);
            let entered = tokio::select! {
                entered = entering => entered.map_err(Some),
                () = late(&stop, &limits) => Err(None),
            };
            match entered {
                Ok(entered) => serving.serve(entered, place, &limits, &stop).await,
                Err(Some(refused)) => serving.worker.refused(refused.label()),
                Err(None) => {}
            }
        });
    }

    async fn serve(
        &self,
        entered: Entered,
        place: Place,
        limits: &LimitConfig,
        stop: &CancellationToken,
    ) {
        let Entered { stream, client, guest } = entered;
        let (proxy, address) = (&self.worker.proxy, client.address);
        let (server, patience) = (server(limits, &self.deadlines), Patience::of(limits));
        let activity = Activity::new();
        let most = Most { head: longest_head(limits), list: longest_list(limits) };
        let head = Head::new(&self.worker.entrance.heads, &activity, most);
        let stream = Placed { stream, head, _place: place, _guest: guest };
        let (begins, judge) = (Arc::clone(&activity), Arc::clone(proxy));
        let service = hyper::service::service_fn(move |request| {
            let (proxy, client, busy) = (Arc::clone(&judge), Arc::clone(&client), begins.begin());
            async move {
                match &proxy.questions {
                    None => proxy.handle(request, &client, busy).await,
                    Some(asked) => Box::pin(proxy.answer(asked, request, &client, busy)).await,
                }
            }
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut stopping = false;
        let ended = loop {
            let asked = !stopping;
            let turn = pin!(async {
                tokio::select! {
                    () = ending(stop, &activity, limits), if asked => Turn::Stopping,
                    quiet = activity.quiet(patience.first, patience.idle) => Turn::Quiet(quiet),
                }
            });
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    let crowded = activity.is_crowded_out();
                    break ended.map_err(|error| if crowded { Ending::Crowded } else { Ending::Broken(error) });
                }
                turn = Aside::new(turn) => match turn {
                    Turn::Stopping => {
                        stopping = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    Turn::Quiet(quiet) => {
                        if quiet == Quiet::Idle {
                            connection.as_mut().graceful_shutdown();
                            // What is left of it is said in this time or not at all.
                            let _ = tokio::time::timeout(patience.first, connection.as_mut()).await;
                        }
                        break Err(Ending::Quiet(quiet));
                    }
                }
            }
        };
        if let Err(ending) = ended {
            self.worker.refused(ending.label());
            if let Some(code) = ending.unreadable() {
                proxy.unreadable(address, code);
            }
        }
    }
}

/// How long who connected at the last moment has for a first request, when no more connections are taken.
const LATE: Duration = Duration::from_secs(1);

/// Ends when it is too late for a first request.
async fn late(stop: &CancellationToken, limits: &LimitConfig) {
    stop.cancelled().await;
    tokio::time::sleep(LATE.min(limits.drain_timeout / 2)).await;
}

/// Ends when a connection is to end after what is in flight on it: its first request has begun, or will not come.
async fn ending(stop: &CancellationToken, activity: &Activity, limits: &LimitConfig) {
    tokio::select! {
        () = async { stop.cancelled().await; activity.first().await } => {}
        () = late(stop, limits) => {}
    }
}

/// A connection without a request in flight is kept for as long as so many heads may take.
const IDLE_HEADS: u32 = 6;

/// How long a connection may be without requests.
#[derive(Clone, Copy)]
struct Patience {
    /// Before the first.
    first: Duration,
    /// After any other.
    idle: Duration,
}

impl Patience {
    fn of(limits: &LimitConfig) -> Self {
        let first = limits.header_timeout;
        Self { first, idle: first * IDLE_HEADS }
    }
}

/// What happens beside the requests of a connection.
enum Turn {
    /// It is to end after what is in flight.
    Stopping,
    /// It was without requests for too long.
    Quiet(Quiet),
}

/// Why a connection did not end in good order.
enum Ending {
    Quiet(Quiet),
    /// There was no room for its head.
    Crowded,
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl Ending {
    fn label(&self) -> &'static str {
        match self {
            Self::Quiet(quiet) => quiet.label(),
            Self::Crowded => "heads",
            Self::Broken(_) => "broken",
        }
    }

    /// The code of a request that the library refused without asking us.
    fn unreadable(&self) -> Option<Code> {
        let Self::Broken(error) = self else { return None };
        let error = error.downcast_ref::<hyper::Error>()?;
        match (error.is_parse_too_large(), error.is_parse()) {
            (true, _) => Some(Code::HeadersTooLarge),
            (false, true) => Some(Code::BadRequest),
            (false, false) => None,
        }
    }
}
