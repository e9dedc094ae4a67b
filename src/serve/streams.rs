//! HTTP/2 streams, given up when the client takes nothing of their answer for too long.
//!
//! A stream whose window is closed stalls without a write to the socket, so [`crate::paced`] cannot see
//! it, and its answer is not polled, so no timer of its own could end it. What can is the task that it
//! runs in (threats 67 and 69).

use hyper::rt::Executor;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

tokio::task_local! {
    static DELIVERY: Arc<Delivery>;
}

/// How an answer goes over to the client, told by its body and watched by the task of its stream.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Frames handed over; the lowest bit is set while the client is waited for.
    state: AtomicU64,
}

impl Delivery {
    /// The delivery of the stream that the caller serves; `None` outside of one.
    pub(super) fn current() -> Option<Arc<Self>> {
        DELIVERY.try_with(Arc::clone).ok()
    }

    /// Notes whether a frame was handed over, so that it is the client's turn.
    pub(super) fn polled(&self, handed_over: bool) {
        let before = self.state.load(Ordering::Relaxed) & !1;
        let after = if handed_over { before.wrapping_add(2) | 1 } else { before };
        self.state.store(after, Ordering::Relaxed);
    }

    /// The number of the frame that the client has yet to take.
    fn offered(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        (state & 1 == 1).then_some(state)
    }
}

/// Runs each stream in a task that ends with it, or when nothing of it is taken for `limit`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) limit: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let delivery = Arc::new(Delivery::default());
        let stream = Box::pin(DELIVERY.scope(Arc::clone(&delivery), stream));
        tokio::spawn(Watched { stream, delivery, limit: self.limit, stalled: None });
    }
}

struct Watched<F> {
    stream: Pin<Box<F>>,
    delivery: Arc<Delivery>,
    limit: Duration,
    /// Set while the client takes nothing: which frame, and until when.
    stalled: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(offered) = self.delivery.offered() else {
            self.stalled = None;
            return Poll::Pending;
        };
        let end = Instant::now() + self.limit;
        let (frame, timer) =
            self.stalled.get_or_insert_with(|| (offered, Box::pin(tokio::time::sleep_until(end))));
        if *frame != offered {
            *frame = offered;
            timer.as_mut().reset(end);
        }
        // The end of this task drops the stream, which resets it.
        timer.as_mut().poll(cx)
    }
}
