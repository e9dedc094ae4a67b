//! How many connections and requests there are file descriptors for.
//!
//! A client that holds its connection open holds a descriptor, and a request that is forwarded one more. If they could
//! take all, nobody could be asked for keys or rights, no file opened, and whoever looks whether the program lives would
//! be turned away (threat 73).

use crate::config::Config;

/// Kept for everything else: listeners, files, the admin listener, and calls to the issuer and Altinn. Of few, a quarter.
const RESERVED: usize = 100;

/// How much is let in at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Room {
    /// Connections of clients.
    pub(super) connections: usize,
    /// Requests.
    pub(super) requests: usize,
    /// File descriptors that there may be; `None` where they have no bound.
    pub(super) descriptors: Option<usize>,
}

impl Room {
    /// As `config` allows, or less where `descriptors` are too few for it; `None` where they have no bound.
    pub(super) fn within(config: &Config, descriptors: Option<usize>) -> Self {
        let limits = &config.limits;
        // Who only answers another proxy's questions connects to no upstream.
        let sides = if config.listen.forward_auth.is_some() { 1 } else { 2 };
        let most = descriptors.map_or(usize::MAX, |all| side(all, sides));
        Self {
            connections: limits.connections.min(most),
            requests: limits.requests_in_flight.min(most),
            descriptors,
        }
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

/// The share of one of so many sides.
fn side(all: usize, sides: usize) -> usize {
    ((all - RESERVED.min(all / 4)) / sides).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_left_whoever_comes() {
        for all in 0..3000 {
            let taken = 2 * side(all, 2);
            let left = all.saturating_sub(taken);
            assert!(left >= RESERVED.min(all / 4) || all < 4, "{left} of {all}");
        }
    }

    #[test]
    fn twice_the_connections_and_a_hundred_do() {
        assert_eq!(side(20_100, 2), 10_000);
        assert_eq!(side(20_099, 2), 9_999);
        assert_eq!(side(10_100, 1), 10_000);
        assert_eq!(side(64, 2), 24);
    }
}
