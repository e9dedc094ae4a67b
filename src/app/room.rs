//! How many connections and requests there are file descriptors for.
//!
//! A client that holds its connection open holds a descriptor, a request that is forwarded one more, and so does a connection
//! to an upstream that is kept for the next. If they could take all, nobody could be asked for keys or rights, no file opened, and whoever looks whether the program lives would
//! be turned away (threat 73).

use crate::config::{Config, UpstreamConfig};
use std::collections::BTreeMap;

/// Kept for everything else: listeners, files, the admin listener, and calls to the issuer and Altinn. Of few, a quarter.
const RESERVED: usize = 100;

/// How much is let in at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Room {
    /// Connections of clients.
    pub(super) connections: usize,
    /// Requests.
    pub(super) requests: usize,
    /// Idle connections that each worker keeps to each upstream, at the most.
    pub(super) idle: usize,
    /// File descriptors that there may be; `None` where they have no bound.
    pub(super) descriptors: Option<usize>,
}

impl Room {
    /// As `config` allows, or less where `descriptors` are too few for it; `None` where they have no bound.
    pub(super) fn within(config: &Config, descriptors: Option<usize>) -> Self {
        let limits = &config.limits;
        let sides = descriptors.map_or(Sides::UNBOUND, |all| {
            // Who only answers another proxy's questions connects to no upstream.
            if config.listen.forward_auth.is_some() {
                return Sides { each: free(all).max(1), idle: usize::MAX };
            }
            let workers = config.listen.workers.get();
            // One that speaks HTTP/2 keeps its connection, whatever is said of idle ones.
            let kept =
                config.upstreams.values().map(|upstream| upstream.max_idle_connections.max(1));
            Sides::of(free(all), workers * config.upstreams.len(), workers * kept.sum::<usize>())
        });
        Self {
            connections: limits.connections.min(sides.each),
            requests: limits.requests_in_flight.min(sides.each),
            idle: sides.idle,
            descriptors,
        }
    }

    /// The upstreams of `config`, each with no more idle connections than there is room for.
    pub(super) fn upstreams(self, config: &Config) -> BTreeMap<String, UpstreamConfig> {
        let mut upstreams = config.upstreams.clone();
        for upstream in upstreams.values_mut() {
            upstream.max_idle_connections = upstream.max_idle_connections.min(self.idle);
        }
        upstreams
    }

    /// Says aloud where it is less than `config` allows.
    pub(super) fn tell(self, config: &Config) {
        let limits = &config.limits;
        if self.connections < limits.connections || self.requests < limits.requests_in_flight {
            tracing::warn!(
                descriptors = self.descriptors,
                connections = self.connections,
                requests_in_flight = self.requests,
                "there are too few file descriptors for `limits.connections` or `limits.requests_in_flight`: \
                 less is taken at once. Raise their bound (LimitNOFILE, ulimit -n), or lower the limits"
            );
        }
    }
}

/// What is not kept for everything else.
fn free(all: usize) -> usize {
    all - RESERVED.min(all / 4)
}

/// How those that are free are divided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Sides {
    /// For clients; and as many for requests.
    each: usize,
    /// For the idle connections of one worker to one upstream.
    idle: usize,
}

impl Sides {
    const UNBOUND: Self = Self { each: usize::MAX, idle: usize::MAX };

    /// Idle connections take what all `pools` are configured to keep, but no more than a third; each may keep one.
    fn of(free: usize, pools: usize, wanted: usize) -> Self {
        let idle = wanted.min((free / 3).max(pools));
        let each = (free.saturating_sub(idle) / 2).max(1);
        // Where there is enough, one pool may be configured to keep more than another.
        let most = if idle == wanted { usize::MAX } else { idle / pools.max(1) };
        Self { each, idle: most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_left_whoever_comes() {
        for all in 0..3000 {
            for (workers, upstreams, idle) in [(1, 1, 1), (2, 1, 64), (2, 4, 64), (8, 3, 2)] {
                let pools = workers * upstreams;
                let sides = Sides::of(free(all), pools, pools * idle);
                let taken = 2 * sides.each + pools * sides.idle.min(idle);
                let left = all.saturating_sub(taken);
                let enough = free(all) >= pools + 2;
                assert!(left >= RESERVED.min(all / 4) || !enough, "{left} of {all}, {pools} pools");
                assert!(sides.idle >= 1, "{all}");
            }
        }
    }

    #[test]
    fn twice_the_connections_and_what_is_kept_idle_and_a_hundred_do() {
        let unbound = usize::MAX;
        assert_eq!(Sides::of(free(20_228), 2, 128), Sides { each: 10_000, idle: unbound });
        assert_eq!(Sides::of(free(20_227), 2, 128), Sides { each: 9_999, idle: unbound });
        assert_eq!(Sides::of(free(256), 8, 512), Sides { each: 64, idle: 8 });
        assert_eq!(Sides::of(free(64), 2, 128), Sides { each: 16, idle: 8 });
        assert_eq!(free(10_100), 10_000);
    }
}
