//! Watches over an answer that goes on: asleep, and costing nothing, until it lasts or is silent.

use crate::enforce::vigil::{Going, Lapse};
use crate::enforce::{Enforcer, Grant};
use http::Method;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Whether an answer may still go on.
pub(super) struct Watch(State);

enum State {
    Asleep(Box<Asleep>),
    Awake(Pin<Box<dyn Future<Output = Lapse> + Send>>),
}

struct Asleep {
    enforcer: Arc<Enforcer>,
    grant: Grant,
    method: Method,
    frames: u32,
}

/// Answers of fewer frames, each there when it is asked for, are over before anything could change.
const SHORT: u32 = 64;

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&matches!(self.0, State::Awake(_))).finish()
    }
}

impl Watch {
    pub(super) fn new(enforcer: Arc<Enforcer>, grant: Grant, method: Method) -> Self {
        Self(State::Asleep(Box::new(Asleep { enforcer, grant, method, frames: 0 })))
    }

    /// Looks on at each frame; `waiting` when it is not there yet.
    pub(super) fn poll(&mut self, waiting: bool, cx: &mut Context<'_>) -> Poll<Lapse> {
        if let State::Asleep(asleep) = &mut self.0 {
            asleep.frames += 1;
            if !waiting && asleep.frames < SHORT {
                return Poll::Pending;
            }
            let vigil = asleep.enforcer.vigil(&asleep.grant, &asleep.method, Going::Answer);
            self.0 = State::Awake(Box::pin(vigil.lapse()));
        }
        match &mut self.0 {
            State::Asleep(_) => Poll::Pending,
            State::Awake(lapse) => lapse.as_mut().poll(cx),
        }
    }
}
