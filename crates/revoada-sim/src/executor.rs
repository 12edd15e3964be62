//! One thread, one queue, virtual time: what simulated nodes run on.
//!
//! Tasks are polled in the order in which they became runnable. When none is, time jumps to the next timer; timers for one
//! moment fire in the order in which they were made. So a seed decides everything, and nothing of the machine does.
//!
//! It is openraft's deterministic runtime in what it promises, and passes openraft's suite for runtimes; channels are
//! openraft's own. Rejected: that runtime itself. It makes a new waker for each poll, so that whoever waits registers anew
//! each time, and searches its queue at each wake: a third of what a simulation cost.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::task::{ArcWake, waker_ref};
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::{SimRuntime as Openraft, SimWatch};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

pub use openraft_rt_sim::SimJoinError;

/// Virtual time begins a day in, so that a timeout can be subtracted from it.
const EPOCH_NANOS: u64 = 86_400 * 1_000_000_000;
/// The task that `block_on` was given.
const MAIN: u64 = 0;

thread_local! {
    /// The virtual time; 0 where no runtime runs.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// How often tasks were polled since it last went on.
    static POLLS: Cell<u64> = const { Cell::new(0) };
    static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

/// A point in virtual time, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimInstant(u64);

impl SimInstant {
    /// The virtual time; none outside of a runtime.
    pub fn try_now() -> Option<Self> {
        Some(NOW.get()).filter(|now| *now > 0).map(Self)
    }

    /// How long virtual time has gone on.
    pub fn elapsed_since_start(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(EPOCH_NANOS))
    }
}

impl fmt::Debug for SimInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.elapsed_since_start())
    }
}

/// Five hundred years are enough for anybody who waits without an end.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .checked_sub(nanos(duration))
                .expect("virtual time has a beginning"),
        )
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for SimInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl openraft_rt::Instant for SimInstant {
    #[track_caller]
    fn now() -> Self {
        Self::try_now().expect("virtual time is asked for outside of a simulation")
    }
}

type Ready = Arc<Mutex<VecDeque<Arc<Task>>>>;
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const DONE: u8 = 2;

/// A task is its own waker, the same one for as long as it lives: whoever it waits for sees that it waits already.
struct Task {
    number: u64,
    state: AtomicU8,
    work: Mutex<Option<Work>>,
    ready: Ready,
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        let queued = task
            .state
            .compare_exchange(IDLE, QUEUED, Ordering::AcqRel, Ordering::Relaxed);
        if queued.is_ok() {
            task.ready.lock().push_back(task.clone());
        }
    }
}

/// Who is to be woken when. What is called off stays in the heap until its moment: most that waits for an answer is called
/// off long before, and to look for it there would cost more than to pass over it.
#[derive(Default)]
struct Timers {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Timers {
    /// Adds one, and says by which place it is known until its moment.
    fn add(&mut self, at: u64, timer: u64, waker: Waker) -> usize {
        let place = match self.free.pop() {
            Some(place) => {
                self.wakers[place] = Some(waker);
                place
            }
            None => {
                self.wakers.push(Some(waker));
                self.wakers.len() - 1
            }
        };
        self.heap.push(Reverse((at, timer, place)));
        place
    }

    /// The moment of the first that was not called off.
    fn first(&mut self) -> Option<u64> {
        while let Some(Reverse((at, _, place))) = self.heap.peek().copied() {
            if self.wakers[place].is_some() {
                return Some(at);
            }
            self.heap.pop();
            self.free.push(place);
        }
        None
    }

    /// Takes the first if it is due.
    fn take(&mut self, now: u64) -> Option<Waker> {
        let at = self.first()?;
        let Reverse((_, _, place)) = if at <= now { self.heap.pop()? } else { return None };
        self.free.push(place);
        self.wakers[place].take()
    }
}

/// What one runtime holds.
struct Inner {
    number: u64,
    seed: u64,
    now: Cell<u64>,
    next_task: Cell<u64>,
    next_timer: Cell<u64>,
    draws: Cell<u64>,
    timers: RefCell<Timers>,
    /// Room for those that fire.
    due: Cell<Vec<Waker>>,
    tasks: RefCell<BTreeMap<u64, Arc<Task>>>,
    ready: Ready,
}

impl Inner {
    fn task(&self, number: u64, work: Option<Work>) -> Arc<Task> {
        Arc::new(Task {
            number,
            state: AtomicU8::new(IDLE),
            work: Mutex::new(work),
            ready: self.ready.clone(),
        })
    }

    fn spawn(&self, work: Work) {
        let number = self.next_task.get();
        self.next_task.set(number + 1);
        let task = self.task(number, Some(work));
        self.tasks.borrow_mut().insert(number, task.clone());
        Task::wake_by_ref(&task);
    }

    fn timer(&self) -> u64 {
        let timer = self.next_timer.get();
        self.next_timer.set(timer + 1);
        timer
    }

    fn poll(&self, task: &Arc<Task>) {
        let mut work = task.work.lock();
        let Some(future) = work.as_mut() else { return };
        let waker = waker_ref(task);
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            task.state.store(DONE, Ordering::Release);
            let done = work.take();
            drop(work);
            self.tasks.borrow_mut().remove(&task.number);
            drop(done);
        }
    }

    /// Jumps to the next timer and fires all that are due; false if there is none.
    fn fire(&self) -> bool {
        let mut due = self.due.take();
        {
            let mut timers = self.timers.borrow_mut();
            let Some(first) = timers.first() else {
                return false;
            };
            let now = first.max(self.now.get());
            if now > self.now.get() {
                self.now.set(now);
                NOW.set(now);
                POLLS.set(0);
            }
            while let Some(waker) = timers.take(now) {
                due.push(waker);
            }
        }
        due.drain(..).for_each(Waker::wake);
        self.due.set(due);
        true
    }

    fn draw(&self) -> u64 {
        let draw = self.draws.get();
        self.draws.set(draw + 1);
        mix(self.seed ^ mix(draw))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[track_caller]
fn current() -> Rc<Inner> {
    try_current().expect("this works in a simulation only")
}

#[track_caller]
fn with_current<T>(work: impl FnOnce(&Inner) -> T) -> T {
    CURRENT.with(|current| work(current.borrow().as_ref().expect("this works in a simulation only")))
}

fn try_current() -> Option<Rc<Inner>> {
    // Values of a thread that ends may drop timers when its runtime is gone.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// How often tasks were polled since time last went on.
pub fn polls_now() -> u64 {
    POLLS.get()
}

/// Wakes somebody at a moment, once, and cannot be called off.
pub fn wake_at(at: SimInstant, waker: Waker) {
    let inner = current();
    let timer = inner.timer();
    inner.timers.borrow_mut().add(at.0, timer, waker);
}

/// Makes a runtime the thread's for as long as it lives.
struct Entered;

impl Entered {
    fn new(inner: &Rc<Inner>) -> Self {
        let before = CURRENT.with(|current| current.replace(Some(inner.clone())));
        assert!(before.is_none(), "a simulation does not run in another one");
        NOW.set(inner.now.get());
        POLLS.set(0);
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        NOW.set(0);
        CURRENT.with(|current| current.replace(None));
    }
}

/// See the module.
pub struct SimRuntime(Rc<Inner>);

impl SimRuntime {
    /// A runtime that draws from `seed`.
    pub fn with_seed(seed: u64) -> Self {
        static RUNTIMES: AtomicU64 = AtomicU64::new(0);
        Self(Rc::new(Inner {
            number: RUNTIMES.fetch_add(1, Ordering::Relaxed),
            seed,
            now: Cell::new(EPOCH_NANOS),
            next_task: Cell::new(MAIN + 1),
            next_timer: Cell::new(0),
            draws: Cell::new(0),
            timers: RefCell::default(),
            due: Cell::default(),
            tasks: RefCell::default(),
            ready: Ready::default(),
        }))
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimRuntime")
    }
}

impl Drop for SimRuntime {
    fn drop(&mut self) {
        // Tasks that are dropped look at the clock, end timers and spawn others.
        let _entered = Entered::new(&self.0);
        loop {
            let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
            let ready = std::mem::take(&mut *self.0.ready.lock());
            if tasks.is_empty() {
                break;
            }
            for task in tasks.values() {
                task.state.store(DONE, Ordering::Release);
                let work = task.work.lock().take();
                drop(work);
            }
            drop(ready);
        }
        let timers = std::mem::take(&mut *self.0.timers.borrow_mut());
        drop(timers);
    }
}

impl AsyncRuntime for SimRuntime {
    type JoinError = SimJoinError;
    type JoinHandle<T: Send + 'static> = SimJoinHandle<T>;
    type Sleep = SimSleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = SimTimeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <Openraft as AsyncRuntime>::Mpsc;
    type Watch = SimWatch;
    type Oneshot = <Openraft as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <Openraft as AsyncRuntime>::Mutex<T>;

    #[track_caller]
    fn spawn<T>(future: T) -> SimJoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let work = Spawned {
            future,
            sender: Some(sender),
        };
        current().spawn(Box::pin(work));
        SimJoinHandle(receiver)
    }

    #[track_caller]
    fn sleep(duration: Duration) -> SimSleep {
        Self::sleep_until(<SimInstant as openraft_rt::Instant>::now() + duration)
    }

    #[track_caller]
    fn sleep_until(deadline: SimInstant) -> SimSleep {
        with_current(|inner| SimSleep {
            deadline: deadline.0,
            timer: inner.timer(),
            runtime: inner.number,
            waits: None,
        })
    }

    #[track_caller]
    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> SimTimeout<F> {
        SimTimeout {
            future,
            sleep: Self::sleep(duration),
        }
    }

    #[track_caller]
    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: SimInstant, future: F) -> SimTimeout<F> {
        SimTimeout {
            future,
            sleep: Self::sleep_until(deadline),
        }
    }

    fn is_panic(error: &SimJoinError) -> bool {
        matches!(error, SimJoinError::Panic(_))
    }

    #[track_caller]
    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(current().draw())
    }

    fn new(_: usize) -> Self {
        Self::with_seed(0)
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        let inner = &self.0;
        let _entered = Entered::new(inner);
        let mut future = std::pin::pin!(future);
        let main = inner.task(MAIN, None);
        let waker = waker_ref(&main);
        Task::wake_by_ref(&main);
        // What is ready is taken all at once; what becomes ready meanwhile comes behind it.
        let mut ready = VecDeque::new();
        loop {
            let Some(task) = ready.pop_front() else {
                std::mem::swap(&mut *inner.ready.lock(), &mut ready);
                assert!(!ready.is_empty() || inner.fire(), "nothing can ever happen again");
                continue;
            };
            POLLS.set(POLLS.get() + 1);
            let queued = task
                .state
                .compare_exchange(QUEUED, IDLE, Ordering::AcqRel, Ordering::Relaxed);
            if queued.is_err() {
                continue;
            }
            if task.number != MAIN {
                inner.poll(&task);
            } else if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                main.state.store(DONE, Ordering::Release);
                let mut queue = inner.ready.lock();
                ready.append(&mut queue);
                *queue = ready;
                return output;
            }
        }
    }

    /// There is no other thread, whose end would be of another time in each run.
    fn spawn_blocking<F, T>(_: F) -> impl Future<Output = io::Result<T>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

pin_project! {
    struct Spawned<F: Future> {
        #[pin]
        future: F,
        sender: Option<oneshot::Sender<Result<F::Output, SimJoinError>>>,
    }
}

impl<F: Future> Future for Spawned<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let future = this.future;
        let result = match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(SimJoinError::Panic(message(&*payload))),
        };
        if let Some(sender) = this.sender.take() {
            // Nobody may be waiting.
            drop(sender.send(result));
        }
        Poll::Ready(())
    }
}

/// What a panic said.
pub fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Waits for a task. Dropping it leaves the task running.
pub struct SimJoinHandle<T>(oneshot::Receiver<Result<T, SimJoinError>>);

impl<T> Future for SimJoinHandle<T> {
    type Output = Result<T, SimJoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|ended| ended.unwrap_or(Err(SimJoinError::Cancelled)))
    }
}

/// Waits for a moment.
#[derive(Debug)]
pub struct SimSleep {
    deadline: u64,
    timer: u64,
    runtime: u64,
    /// The timer's place, once it is set.
    waits: Option<usize>,
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if NOW.get() >= self.deadline {
            // A timer that was set has fired.
            self.waits = None;
            return Poll::Ready(());
        }
        let before = with_current(|inner| {
            assert!(inner.number == self.runtime, "a timer belongs to another simulation");
            let mut timers = inner.timers.borrow_mut();
            match self.waits {
                Some(place) => {
                    let waker = &mut timers.wakers[place];
                    let same = waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
                    if same {
                        None
                    } else {
                        waker.replace(context.waker().clone())
                    }
                }
                None => {
                    self.waits = Some(timers.add(self.deadline, self.timer, context.waker().clone()));
                    None
                }
            }
        });
        drop(before);
        Poll::Pending
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        // Behind its moment the place is somebody else's.
        if let Some(place) = self.waits
            && NOW.get() < self.deadline
            && let Some(inner) = try_current()
            && inner.number == self.runtime
        {
            let waker = inner.timers.borrow_mut().wakers.get_mut(place).and_then(Option::take);
            drop(waker);
        }
    }
}

/// Something took longer than it might.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is over")]
pub struct Elapsed;

pin_project! {
    /// A future with a limit. One that is ready at its very end has made it.
    #[derive(Debug)]
    pub struct SimTimeout<T> {
        #[pin]
        future: T,
        sleep: SimSleep,
    }
}

impl<T: Future> Future for SimTimeout<T> {
    type Output = Result<T::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_openraft_asks_of_a_runtime() {
        openraft_rt::testing::Suite::<SimRuntime>::test_all();
    }

    #[test]
    fn timers_fire_in_the_order_in_which_they_were_made() {
        let order = Arc::new(Mutex::new(Vec::new()));
        SimRuntime::with_seed(1).block_on(async {
            let at = <SimInstant as openraft_rt::Instant>::now() + Duration::from_millis(3);
            let sleeps: Vec<_> = (0..4).map(|_| SimRuntime::sleep_until(at)).collect();
            // Polled the other way round.
            for (number, sleep) in sleeps.into_iter().enumerate().rev() {
                let order = order.clone();
                drop(SimRuntime::spawn(async move {
                    sleep.await;
                    order.lock().push(number);
                }));
            }
            SimRuntime::sleep(Duration::from_millis(5)).await;
        });
        assert_eq!(*order.lock(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_sleep_that_is_dropped_holds_nobody_up() {
        SimRuntime::with_seed(1).block_on(async {
            let hour = SimRuntime::timeout(Duration::from_secs(3_600), std::future::ready(1));
            assert_eq!(hour.await, Ok(1));
            let late = SimRuntime::timeout(Duration::from_secs(1), std::future::pending::<()>());
            assert_eq!(late.await, Err(Elapsed));
            let now = SimInstant::try_now().unwrap();
            assert_eq!(now.elapsed_since_start(), Duration::from_secs(1));
        });
    }
}
