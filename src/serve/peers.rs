//! How many connections each peer has, so that one cannot take the places of all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections by peer. Holds an entry for each peer that has any, so no more than there are connections.
#[derive(Debug)]
pub(super) struct Peers {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// One more connection of `peer`; `None` when it has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Guest> {
        let peer = counted_as(peer);
        // Numbers, whole after every change.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Guest { peers: Arc::clone(self), peer })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// A customer has 2^64 addresses of IPv6 at once (RFC 6177): they count as one.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_as_many_connections_as_it_may_and_leaves_nothing_behind() {
        let peers = Peers::new(2);
        let enter = |peer: &str| peers.enter(peer.parse().unwrap());
        let (one, two) = (enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some(), "another peer");
        drop(one);
        let three = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        drop((two, three));
        assert!(peers.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let peers = Peers::new(1);
        let _one = peers.enter("2001:db8:0:1::1".parse().unwrap()).unwrap();
        assert!(peers.enter("2001:db8:0:1:ffff::2".parse().unwrap()).is_none());
        assert!(peers.enter("2001:db8:0:2::1".parse().unwrap()).is_some());
    }
}
