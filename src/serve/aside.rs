//! A future beside another in one task. Whoever wakes the task has it poll both; this one is left alone until it was woken
//! itself, since it waits for minutes beside one that is woken for every request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled for its own sake only.
pub(super) struct Aside<F> {
    future: F,
    bell: Option<Arc<Bell>>,
}

/// Told when the future is to be polled, and tells the task.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F: Future + Unpin> Aside<F> {
    /// Polled once by the first poll, and then whenever it was woken.
    pub(super) fn new(future: F) -> Self {
        Self { future, bell: None }
    }
}

impl<F: Future + Unpin> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let known = this.bell.take().filter(|bell| bell.task.will_wake(cx.waker()));
        let bell = known.unwrap_or_else(|| {
            // The first task, or another: it does not know of this one yet.
            Arc::new(Bell { rung: AtomicBool::new(true), task: cx.waker().clone() })
        });
        let bell = this.bell.insert(bell);
        // A look costs less than an exchange. Cleared before the poll: what happens during it may be for the next one.
        if !bell.rung.load(Ordering::Relaxed) || !bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(bell));
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::task::ready;

    /// Ends when it is told to; counts its polls.
    #[derive(Default)]
    struct Told {
        polls: Mutex<usize>,
        waker: Mutex<Option<Waker>>,
        end: AtomicBool,
    }

    impl Told {
        fn poll(&self, cx: &Context<'_>) -> Poll<()> {
            *self.polls.lock().unwrap() += 1;
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            if self.end.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        }

        fn wake(&self) {
            self.waker.lock().unwrap().as_ref().unwrap().wake_by_ref();
        }

        fn polls(&self) -> usize {
            *self.polls.lock().unwrap()
        }
    }

    #[tokio::test]
    async fn it_is_polled_first_and_then_when_it_was_woken() {
        let told = Told::default();
        let mut aside = Aside::new(poll_fn(|cx| told.poll(cx)));
        let mut look = async || poll_fn(|cx| Poll::Ready(Pin::new(&mut aside).poll(cx))).await;
        for _ in 0..3 {
            assert!(look().await.is_pending());
        }
        assert_eq!(told.polls(), 1);
        told.wake();
        for _ in 0..3 {
            assert!(look().await.is_pending());
        }
        assert_eq!(told.polls(), 2);
        told.end.store(true, Ordering::Relaxed);
        assert!(look().await.is_pending(), "nobody has told of it");
        told.wake();
        assert!(look().await.is_ready());
    }

    #[tokio::test]
    async fn its_waking_wakes_the_task() {
        let told = Arc::new(Told::default());
        let beside = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut aside = Aside::new(poll_fn(|cx| beside.poll(cx)));
            poll_fn(|cx| {
                ready!(Pin::new(&mut aside).poll(cx));
                Poll::Ready(())
            })
            .await;
        });
        while told.polls() == 0 {
            tokio::task::yield_now().await;
        }
        told.end.store(true, Ordering::Relaxed);
        told.wake();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_takes_it_over_is_woken_too() {
        let told = Arc::new(Told::default());
        let beside = Arc::clone(&told);
        let mut aside = Aside::new(poll_fn(move |cx| beside.poll(cx)));
        let look = poll_fn(|cx| Poll::Ready(Pin::new(&mut aside).poll(cx))).await;
        assert!(look.is_pending());
        let task = tokio::spawn(aside);
        while told.polls() == 1 {
            tokio::task::yield_now().await;
        }
        told.end.store(true, Ordering::Relaxed);
        told.wake();
        task.await.unwrap();
    }
}
