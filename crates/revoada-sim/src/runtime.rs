//! The executor of the simulation, cut into processes: each task belongs to the process that spawned it, and a process
//! can be killed, stopped and let go on, and has a clock that may run too fast or too slow.
//!
//! A kill drops every future of a process before any of them runs again, as the kernel does. Rejected: a runtime for each
//! node. They would have to agree on what comes next, which is what one queue already does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::panic::Location;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use revoada_mesh::runtime::Runtime;

use crate::executor::{
    Elapsed, SimInstant, SimJoinError, SimJoinHandle, SimRuntime, SimSleep, SimTimeout, message, polls_now,
};
use crate::wire::SimWire;

/// The runtime of simulated nodes.
#[derive(Debug)]
pub struct Sim;

thread_local! {
    /// Who is polled while time stands still, and at which moment that is.
    static RESTLESS: RefCell<(Option<SimInstant>, BTreeMap<String, u64>)> = const { RefCell::new((None, BTreeMap::new())) };
    static CURRENT: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// How fast a right clock runs, in parts of a million.
pub const RIGHT: u64 = 1_000_000;

/// A process of the simulated cluster.
#[derive(Debug)]
pub struct Process {
    dead: AtomicBool,
    stopped: AtomicBool,
    clock: Mutex<Pace>,
    /// Whether its clock was ever anything but right.
    skewed: AtomicBool,
    next: AtomicU64,
    tasks: Mutex<BTreeMap<u64, Waker>>,
    panics: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// A process without tasks. What its tasks panic with is put into `panics`.
    pub fn new(panics: Arc<Mutex<Vec<String>>>) -> Arc<Self> {
        Arc::new(Self {
            dead: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            clock: Mutex::new(Pace {
                since: SimInstant::now(),
                felt: SimInstant::now(),
                rate: RIGHT,
            }),
            skewed: AtomicBool::new(false),
            next: AtomicU64::new(0),
            tasks: Mutex::default(),
            panics,
        })
    }

    /// Does something in the process: what it spawns is the process's.
    pub fn enter<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        let done = work();
        CURRENT.with(|current| current.replace(before));
        done
    }

    /// Ends it; its tasks are dropped before anything else that is theirs happens.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.wake_all();
    }

    /// Whether it was ended.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Stops it, as SIGSTOP does; time goes on.
    pub fn pause(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.stopped.store(false, Ordering::Relaxed);
        self.wake_all();
    }

    /// How fast its clock runs from here on, in parts of a million.
    pub fn set_rate(&self, rate: u64) {
        self.skewed.store(true, Ordering::Relaxed);
        let mut clock = self.clock.lock();
        let now = SimInstant::now();
        clock.felt = clock.felt_at(now);
        clock.since = now;
        clock.rate = rate;
    }

    fn wake_all(&self) {
        let wakers: Vec<_> = self.tasks.lock().values().cloned().collect();
        for waker in wakers {
            waker.wake();
        }
    }

    fn current() -> Option<Arc<Self>> {
        CURRENT.with(|current| current.borrow().clone())
    }
}

/// How a clock has run since it was last set.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: SimInstant,
    felt: SimInstant,
    rate: u64,
}

fn scaled(duration: Duration, by: u64, of: u64) -> Duration {
    if by == of {
        return duration;
    }
    Duration::from_nanos((duration.as_nanos() * u128::from(by) / u128::from(of.max(1))) as u64)
}

impl Pace {
    fn felt_at(&self, now: SimInstant) -> SimInstant {
        self.felt + scaled(now - self.since, self.rate, RIGHT)
    }

    /// How long it takes until the clock has gone on so far; a fast one takes less.
    fn takes(&self, felt: Duration) -> Duration {
        if self.rate == RIGHT {
            return felt;
        }
        // Rounded up, or a wait would end a moment before its time, again and again.
        scaled(felt, RIGHT, self.rate) + Duration::from_nanos(1)
    }
}

/// How the clock of the current process runs; none where it is right.
fn pace() -> Option<Pace> {
    CURRENT.with(|current| {
        let current = current.borrow();
        let process = current.as_ref()?;
        process.skewed.load(Ordering::Relaxed).then(|| *process.clock.lock())
    })
}

/// A point on the clock of a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Felt(SimInstant);

impl Add<Duration> for Felt {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Felt {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for Felt {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl SubAssign<Duration> for Felt {
    fn sub_assign(&mut self, duration: Duration) {
        self.0 -= duration;
    }
}

impl Sub<Self> for Felt {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

impl openraft_rt::Instant for Felt {
    fn now() -> Self {
        let now = SimInstant::now();
        Self(pace().map_or(now, |pace| pace.felt_at(now)))
    }
}

fn takes(felt: Duration) -> Duration {
    pace().map_or(felt, |pace| pace.takes(felt))
}

pin_project! {
    /// A task of a process. Resolves to none when its process was killed.
    struct Held<F> {
        process: Option<Arc<Process>>,
        number: u64,
        spawned: &'static Location<'static>,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Held<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(process) = this.process.take() {
                process.tasks.lock().remove(this.number);
                process.enter(|| this.future.set(None));
            }
        }
    }
}

impl<F: Future> Future for Held<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(process) = this.process else {
            note_poll(this.spawned);
            return match this.future.as_pin_mut() {
                Some(future) => future.poll(context).map(Some),
                None => Poll::Ready(None),
            };
        };
        if process.is_dead() {
            process.tasks.lock().remove(this.number);
            let process = process.clone();
            process.enter(|| this.future.set(None));
            return Poll::Ready(None);
        }
        if *this.number == u64::MAX {
            *this.number = process.next.fetch_add(1, Ordering::Relaxed);
            process.tasks.lock().insert(*this.number, context.waker().clone());
        }
        if process.stopped.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        // The process is lent to the thread, and comes back also where the task panics.
        let before = CURRENT.with(|current| current.replace(this.process.take()));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            note_poll(this.spawned);
            future.poll(context)
        }));
        *this.process = CURRENT.with(|current| current.replace(before));
        let Some(process) = this.process else {
            return Poll::Ready(None);
        };
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                process.tasks.lock().remove(this.number);
                Poll::Ready(Some(output))
            }
            Err(payload) => {
                process.panics.lock().push(message(&*payload));
                std::panic::resume_unwind(payload)
            }
        }
    }
}

/// The tasks that are polled while time stands still, to tell who it is that does not let it go on: panics where they are
/// too many, which is found as any other panic of a process is.
fn note_poll(spawned: &'static Location<'static>) {
    const MANY: u64 = 50_000;
    let polls = polls_now();
    if polls <= MANY / 2 {
        return;
    }
    RESTLESS.with(|restless| {
        let mut restless = restless.borrow_mut();
        let now = SimInstant::try_now();
        if restless.0 != now {
            *restless = (now, BTreeMap::new());
        }
        *restless.1.entry(spawned.to_string()).or_default() += 1;
        assert!(polls < MANY, "time stands still for these tasks: {:?}", restless.1);
    });
}

/// Waits for a task of a process.
pub struct Handle<T>(SimJoinHandle<Option<T>>);

impl<T> Future for Handle<T> {
    type Output = Result<T, SimJoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(SimJoinError::Cancelled),
            Err(error) => Err(error),
        })
    }
}

impl AsyncRuntime for Sim {
    type JoinError = SimJoinError;
    type JoinHandle<T: Send + 'static> = Handle<T>;
    type Sleep = SimSleep;
    type Instant = Felt;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = SimTimeout<T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    #[track_caller]
    fn spawn<T>(future: T) -> Handle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        Handle(SimRuntime::spawn(Held {
            process: Process::current(),
            number: u64::MAX,
            spawned: Location::caller(),
            future: Some(future),
        }))
    }

    fn sleep(duration: Duration) -> SimSleep {
        SimRuntime::sleep(takes(duration))
    }

    fn sleep_until(deadline: Felt) -> SimSleep {
        SimRuntime::sleep(takes(deadline.saturating_duration_since(Felt::now())))
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> SimTimeout<F> {
        SimRuntime::timeout(takes(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Felt, future: F) -> SimTimeout<F> {
        SimRuntime::timeout(takes(deadline.saturating_duration_since(Felt::now())), future)
    }

    fn is_panic(error: &SimJoinError) -> bool {
        SimRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(_: usize) -> Self {
        Self
    }

    /// Runs on a runtime of its own, for openraft's suites; a simulation is begun by [`crate::run`].
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        SimRuntime::with_seed(0).block_on(future)
    }
}

/// How long blocking work takes, at least: long enough for other things to happen before it is done.
const BLOCKING: Duration = Duration::from_micros(300);

impl Runtime for Sim {
    type Wire = SimWire;

    async fn blocking<T, F>(work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Self::sleep(BLOCKING).await;
        Ok(work())
    }
}
