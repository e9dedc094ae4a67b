//! What a connection passes before it can carry requests: the PROXY protocol, the bound on connections of
//! one peer, the TLS handshake. Each within a time, and at most so many handshakes at once.

use super::heads::Heads;
use super::peers::{Guest, Peers};
use super::proxy_protocol;
use crate::config::{LimitConfig, ListenConfig, Network};
use crate::forward::Client;
use crate::paced::Paced;
use crate::stream::{Socket, Stream};
use crate::telemetry::metrics::Metrics;
use crate::tls::certificate::Facts;
use crate::tls::server::Server;
use http::HeaderValue;
use rustls::ServerConnection;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// What connections pass, the same for all workers.
#[derive(Debug)]
pub struct Entrance {
    /// Who begins with a PROXY protocol header.
    proxy_protocol: Option<Vec<Network>>,
    peers: Option<Arc<Peers>>,
    tls: Option<Tls>,
    /// For the heads of requests on connections that are in.
    pub(super) heads: Arc<Heads>,
}

#[derive(Debug)]
struct Tls {
    server: Arc<Server>,
    places: Semaphore,
    limit: Duration,
}

/// A connection that can carry requests.
pub(super) struct Entered {
    pub(super) stream: Stream,
    pub(super) client: Arc<Client>,
    pub(super) guest: Option<Guest>,
}

/// Why a connection is ended before its first request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    ProxyProtocol,
    TooManyOfPeer,
    TooManyHandshakes,
    HandshakeTimedOut,
    HandshakeFailed,
}

impl Refused {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy_protocol",
            Self::TooManyOfPeer => "too_many_of_peer",
            Self::TooManyHandshakes => "tls_too_many",
            Self::HandshakeTimedOut => "tls_timed_out",
            Self::HandshakeFailed => "tls_failed",
        }
    }
}

impl Entrance {
    /// As the configuration says; `tls` is what its certificates were made into.
    #[must_use]
    pub fn new(listen: &ListenConfig, limits: &LimitConfig, tls: Option<Arc<Server>>) -> Self {
        let tls = listen.tls.as_ref().zip(tls).map(|(config, server)| Tls {
            server,
            places: Semaphore::new(config.pending_handshakes.get()),
            limit: config.handshake_timeout,
        });
        let peers = limits.connections_per_peer;
        Self {
            proxy_protocol: listen.proxy_protocol.clone(),
            // A bound that is never met need not be counted for.
            peers: (peers < limits.connections).then(|| Peers::new(peers)),
            tls,
            heads: Heads::new(),
        }
    }

    pub(super) async fn enter(
        &self,
        mut socket: Socket,
        peer: IpAddr,
        limits: &LimitConfig,
        metrics: &Metrics,
    ) -> Result<Entered, Refused> {
        let address = match &self.proxy_protocol {
            Some(trusted) => {
                told_source((trusted, limits.header_timeout), &mut socket, peer).await?
            }
            None => peer,
        };
        let guest = match &self.peers {
            Some(peers) => Some(peers.enter(address).ok_or(Refused::TooManyOfPeer)?),
            None => None,
        };
        let socket = Paced::new(socket, limits.body_idle_timeout);
        let (stream, subject) = match &self.tls {
            Some(tls) => {
                let _pending = Pending::begin(metrics);
                tls.shake_hands(socket).await?
            }
            None => (Stream::Plain(socket), None),
        };
        let client = Arc::new(Client::new(address, self.tls.is_some(), subject));
        Ok(Entered { stream, client, guest })
    }
}

/// The address that a load balancer tells.
async fn told_source(
    (trusted, limit): (&[Network], Duration),
    socket: &mut Socket,
    peer: IpAddr,
) -> Result<IpAddr, Refused> {
    if !trusted.iter().any(|network| network.contains(peer)) {
        return Err(Refused::ProxyProtocol);
    }
    match tokio::time::timeout(limit, proxy_protocol::read(socket)).await {
        Ok(Ok(told)) => Ok(told.unwrap_or(peer)),
        Ok(Err(_)) | Err(_) => Err(Refused::ProxyProtocol),
    }
}

impl Tls {
    async fn shake_hands(
        &self,
        socket: Paced<Socket>,
    ) -> Result<(Stream, Option<HeaderValue>), Refused> {
        let _place = self.places.try_acquire().map_err(|_| Refused::TooManyHandshakes)?;
        let accepting = TlsAcceptor::from(self.server.current()).accept(socket);
        let stream = tokio::time::timeout(self.limit, accepting)
            .await
            .map_err(|_| Refused::HandshakeTimedOut)?
            .map_err(|_| Refused::HandshakeFailed)?;
        let subject = subject(stream.get_ref().1)?;
        Ok((Stream::Tls(Box::new(stream.into())), subject))
    }
}

/// Whom the client's certificate names; the TLS library has verified it. `None` when it showed none.
fn subject(connection: &ServerConnection) -> Result<Option<HeaderValue>, Refused> {
    /// Longer than any name of an authority that means well.
    const MOST: usize = 4096;
    let Some(leaf) = connection.peer_certificates().and_then(<[_]>::first) else { return Ok(None) };
    let facts = Facts::read(leaf).filter(|facts| facts.subject.len() <= MOST);
    let subject = facts.and_then(|facts| HeaderValue::try_from(facts.subject).ok());
    subject.map(Some).ok_or(Refused::HandshakeFailed)
}

/// A handshake that goes on, counted until this is dropped.
struct Pending<'m>(&'m Metrics);

impl<'m> Pending<'m> {
    fn begin(metrics: &'m Metrics) -> Self {
        metrics.tls_handshakes.inc();
        Self(metrics)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.tls_handshakes.dec();
    }
}
