//! What a node runs on: tasks, time, entropy, and a wire to the others. openraft's `AsyncRuntime`, and what is missing there.
//!
//! It is a type and not an object, as openraft's is, so production is compiled for tokio alone and pays for nothing. The
//! simulation puts virtual time in its place, and the code between is the same. Rejected: tokio's own paused clock. Its
//! `select!`, its watch channel and openraft's timeouts would still draw from the thread's own random numbers.

use std::future::Future;
use std::io;
use std::task::Poll;
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use openraft_rt::watch::{Watch, WatchReceiver as _};

use crate::transport::Wire;

pub use openraft_rt::Instant;
/// The runtime of production.
pub use openraft_rt_tokio::TokioRuntime as Tokio;

/// The end of a watch channel that sees changes.
pub type Watched<R, T> = <<R as AsyncRuntime>::Watch as Watch>::Receiver<T>;
/// The end of a watch channel that makes them.
pub type Announcer<R, T> = <<R as AsyncRuntime>::Watch as Watch>::Sender<T>;
/// A point on the runtime's clock, which never goes back.
pub type InstantOf<R> = <R as AsyncRuntime>::Instant;

/// See the module.
pub trait Runtime: AsyncRuntime + Send + Sync {
    /// How bytes come from node to node.
    type Wire: Wire;

    /// Spawns a task that nobody waits for; it runs on until it ends.
    #[track_caller]
    fn detach<T>(task: T)
    where
        T: Future<Output: Send> + Send + 'static,
    {
        drop(Self::spawn(task));
    }

    /// Does what waits for a disk or takes long where that holds nobody up. Dropping the future leaves it running.
    fn blocking<T, F>(work: F) -> impl Future<Output = io::Result<T>> + Send
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static;

    /// The same for work whose end nobody waits for.
    fn detach_blocking<F>(work: F)
    where
        F: FnOnce() + Send + 'static,
    {
        Self::detach(async move {
            // Work that panicked has said so, and there is nobody else to tell.
            drop(Self::blocking(work).await);
        });
    }

    /// Lets everything else that is ready have its turn.
    fn yield_now() -> impl Future<Output = ()> + Send {
        let mut yielded = false;
        std::future::poll_fn(move |context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

impl Runtime for Tokio {
    type Wire = crate::transport::TlsWire;

    /// Sockets have their turn as well, which a task that wakes itself does not give them.
    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    async fn blocking<T, F>(work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}

/// Resolves at once, and then again each time that a period is over. One that was missed is not made up for.
pub struct Ticks<R: Runtime> {
    period: Duration,
    next: InstantOf<R>,
}

impl<R: Runtime> Ticks<R> {
    /// Ticks from now on.
    pub fn every(period: Duration) -> Self {
        Self {
            period,
            next: InstantOf::<R>::now(),
        }
    }

    /// The next tick. Cancel-safe.
    pub async fn tick(&mut self) {
        let next = self.next;
        if next > InstantOf::<R>::now() {
            R::sleep_until(next).await;
        }
        self.next = InstantOf::<R>::now().max(next) + self.period;
    }
}

/// How long ago `then` was.
pub fn elapsed<R: Runtime>(then: InstantOf<R>) -> Duration {
    InstantOf::<R>::now().saturating_duration_since(then)
}

/// Waits until `condition` holds of what is watched; none when nobody is left who could change it. Cancel-safe.
pub async fn wait_until<R: Runtime, T: Clone + Send + Sync>(
    watched: &mut Watched<R, T>,
    condition: impl Fn(&T) -> bool + Send,
) -> Option<T> {
    watched.wait_until(condition).await.ok()
}

/// The newest value of what is watched; a later wait is for a newer one.
pub fn newest<R: Runtime, T: Clone + Send + Sync>(watched: &mut Watched<R, T>) -> T {
    watched.borrow_and_update().clone()
}

/// Waits for a newer value; false when there is nobody left who could make one. Cancel-safe.
pub async fn changed<R: Runtime, T: Send + Sync>(watched: &mut Watched<R, T>) -> bool {
    watched.changed().await.is_ok()
}
