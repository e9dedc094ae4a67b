//! Watches over an answer that goes on: asleep, and costing nothing, until it lasts or is silent.

use crate::enforce::vigil::{Asked, Going, Lapse};
use crate::enforce::{Enforcer, Grant};
use crate::record::Record;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whether an answer may still go on.
pub(super) struct Watch(State);

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are asleep, and are boxed with their answer"
)]
enum State {
    Asleep(Asleep),
    Awake(Pin<Box<dyn Future<Output = Lapse> + Send>>),
}

struct Asleep {
    enforcer: Arc<Enforcer>,
    grant: Grant,
    asked: Asked,
    since: Instant,
    ending: Option<CancellationToken>,
}

/// What is over sooner needs no watching.
pub(super) const SHORT: Duration = Duration::from_secs(1);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&matches!(self.0, State::Awake(_))).finish()
    }
}

impl Watch {
    /// `ending` tells when it has to end whoever holds the right; `None` for what ends by itself.
    pub(super) fn new(
        enforcer: Arc<Enforcer>,
        grant: Grant,
        asked: Asked,
        ending: Option<CancellationToken>,
    ) -> Self {
        let since = Instant::now();
        Self(State::Asleep(Asleep { enforcer, grant, asked, since, ending }))
    }

    /// Looks on at each frame; `waiting` when it is not there yet. `record` is told what a route in shadow does not end.
    pub(super) fn poll(
        &mut self,
        waiting: bool,
        record: &mut Record,
        cx: &mut Context<'_>,
    ) -> Poll<Lapse> {
        if let State::Asleep(asleep) = &mut self.0 {
            if !waiting && asleep.since.elapsed() < SHORT {
                return Poll::Pending;
            }
            let vigil =
                asleep.enforcer.vigil(&asleep.grant, &asleep.asked, Going::Answer, asleep.since);
            let outlived = record.outlived();
            let lapse = vigil.lapse(move |lapse| outlived.note(lapse));
            self.0 = match asleep.ending.take() {
                Some(ending) => State::Awake(Box::pin(until(ending, lapse))),
                None => State::Awake(Box::pin(lapse)),
            };
        }
        match &mut self.0 {
            State::Asleep(_) => Poll::Pending,
            State::Awake(lapse) => lapse.as_mut().poll(cx),
        }
    }
}

/// The lapse, or the end of the grace that streams have when the program stops.
pub(super) async fn until(ending: CancellationToken, lapse: impl Future<Output = Lapse>) -> Lapse {
    tokio::select! {
        lapse = lapse => lapse,
        () = ending.cancelled() => Lapse::Stopping,
    }
}
