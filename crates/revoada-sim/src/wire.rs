//! The network between simulated nodes: what TCP makes of a bad one.
//!
//! Links speak over connections, so the faults are those that a connection lets through. A lost segment is a pause and
//! everything behind it waits; a cut in either direction stalls, and after the patience of the kernel breaks, what goes
//! over it; a reset loses what was in flight, and whoever sent it sends again or does not know. So Raft's messages are
//! delayed, lost with their connection, repeated and overtaken by those of a newer one: where something in between resets one side
//! alone, the other side goes on reading what was on its way, while the same is sent again. Rejected: to lose or double single
//! frames of a connection. No network does that to TCP, and the links are right to rely on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Sink, Stream};
use openraft_rt::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;
use revoada_attest::NodeId;
use revoada_mesh::runtime::Runtime;
use revoada_mesh::transport::{Frames, Handler, Protocol, Transport, Wire};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::entropy::Chance;
use crate::executor::{SimInstant, SimRuntime, wake_at};
use crate::runtime::{Process, Sim};

/// A place in the cluster, counted from 0.
pub type Place = usize;

/// How much of one direction of a connection the kernels on both sides hold.
const WINDOW_BYTES: usize = 4 << 20;
/// How long a lost segment is waited for before it is sent again, in milliseconds.
const RESEND_MS: (u64, u64) = (200, 400);
/// How long a cut is borne before a connection is broken, in milliseconds (`limits::LINK_UNACKNOWLEDGED_MS_MAX` and the
/// probes of an idle one).
const CUT_BORNE_MS: (u64, u64) = (3_000, 4_000);

/// The address of a place.
pub fn address_of(place: Place) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, place as u8 + 1], 7_000))
}

fn place_of(address: SocketAddr) -> Option<Place> {
    match address.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]).checked_sub(1),
        std::net::IpAddr::V6(_) => None,
    }
}

/// How bad the way from one place to another is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// The least time of a message, in microseconds.
    pub delay_us: u64,
    /// What may come on top, in microseconds.
    pub jitter_us: u64,
    /// How many of a thousand messages are lost at first.
    pub loss_permille: u64,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            delay_us: 150,
            jitter_us: 250,
            loss_permille: 0,
        }
    }
}

/// What a process does with connections that are made to it.
struct Listener {
    process: Arc<Process>,
    transport: Arc<Transport<Sim>>,
    handlers: Arc<BTreeMap<Protocol, Handler<Sim>>>,
}

struct Ways {
    chance: Chance,
    powered: BTreeSet<Place>,
    listeners: BTreeMap<Place, Listener>,
    /// How many faults cut a way just now.
    cut: BTreeMap<(Place, Place), usize>,
    quality: BTreeMap<(Place, Place), Quality>,
    connections: Vec<Weak<Connection>>,
    messages: u64,
}

/// The network.
pub struct Net(Mutex<Ways>);

impl Net {
    /// A good network between machines that are on.
    pub fn new(places: usize, chance: Chance) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Ways {
            chance,
            powered: (0..places).collect(),
            listeners: BTreeMap::new(),
            cut: BTreeMap::new(),
            quality: BTreeMap::new(),
            connections: Vec::new(),
            messages: 0,
        })))
    }

    /// Hands connections to `place` to a process from here on.
    pub fn listen(
        &self,
        place: Place,
        process: Arc<Process>,
        transport: Arc<Transport<Sim>>,
        handlers: BTreeMap<Protocol, Handler<Sim>>,
    ) {
        self.0.lock().listeners.insert(
            place,
            Listener {
                process,
                transport,
                handlers: Arc::new(handlers),
            },
        );
    }

    /// Nobody listens at `place` any more.
    pub fn deafen(&self, place: Place) {
        let listener = self.0.lock().listeners.remove(&place);
        // What it holds may end connections, which look at the network.
        drop(listener);
    }

    /// Turns a machine off: what it was sent is lost and nobody is told; or on: its old connections are unknown to it.
    pub fn power(&self, place: Place, on: bool) {
        let (changed, ends) = {
            let mut ways = self.0.lock();
            let changed = if on {
                ways.powered.insert(place)
            } else {
                ways.powered.remove(&place)
            };
            (changed, ways.live(|ends| ends.contains(&place)))
        };
        if !changed {
            return;
        }
        for connection in ends {
            if on {
                connection.break_now();
            } else {
                self.doom(&connection);
            }
        }
    }

    /// Cuts or mends the way from one place to another; the other direction is another way.
    pub fn cut(&self, from: Place, to: Place, is_cut: bool) {
        let ends = {
            let mut ways = self.0.lock();
            if !ways.count_cut((from, to), is_cut) {
                return;
            }
            ways.live(|ends| *ends == [from, to] || *ends == [to, from])
        };
        for connection in ends {
            if is_cut {
                self.doom(&connection);
            } else {
                self.mend(&connection);
            }
        }
    }

    /// Mends everything.
    pub fn heal(&self) {
        let cut: Vec<_> = {
            let mut ways = self.0.lock();
            ways.quality.clear();
            ways.cut.values_mut().for_each(|count| *count = 1);
            ways.cut.keys().copied().collect()
        };
        for (from, to) in cut {
            self.cut(from, to, false);
        }
    }

    /// Makes all ways as bad as is said.
    pub fn spoil(&self, places: usize, quality: Quality) {
        let mut ways = self.0.lock();
        for from in 0..places {
            for to in (0..places).filter(|to| *to != from) {
                ways.quality.insert((from, to), quality);
            }
        }
    }

    /// Resets the connections between two places.
    pub fn reset(&self, a: Place, b: Place) {
        let ends = self.0.lock().live(|ends| ends.contains(&a) && ends.contains(&b));
        for connection in ends {
            connection.break_now();
        }
    }

    /// Resets the side of `a` alone of the connections between two places. What is on its way from there still arrives, so
    /// much later, behind what may have been sent again; `b` learns of it when it writes, or by its probes.
    pub fn reset_side(&self, a: Place, b: Place, later: Duration) {
        let ends = self.0.lock().live(|ends| ends.contains(&a) && ends.contains(&b));
        for connection in ends {
            let side = usize::from(connection.ends[0] != a);
            {
                let mut state = connection.state.lock();
                state.half_broken[side] = true;
                let pipe = &mut state.pipes[side];
                pipe.last += later;
                for (at, _) in &mut pipe.queue {
                    *at += later;
                }
                pipe.closed = pipe.closed.map(|closed| closed.max(pipe.last));
                state.wake();
            }
            self.doom(&connection);
            connection.accepted.notify_waiters();
        }
    }

    /// How many messages were sent.
    pub fn messages(&self) -> u64 {
        self.0.lock().messages
    }

    fn doom(&self, connection: &Connection) {
        let patience = self.0.lock().chance.ms(CUT_BORNE_MS.0, CUT_BORNE_MS.1);
        let mut state = connection.state.lock();
        let doom = SimInstant::now() + patience;
        state.doomed = Some(state.doomed.map_or(doom, |before| before.min(doom)));
        state.wake();
    }

    fn mend(&self, connection: &Connection) {
        let mut ways = self.0.lock();
        let [a, b] = connection.ends;
        if !ways.whole(a, b) {
            return;
        }
        let resend = ways.chance.ms(RESEND_MS.0, RESEND_MS.1);
        let mut state = connection.state.lock();
        if state.half_broken == [false; 2] {
            state.doomed = None;
        }
        for pipe in &mut state.pipes {
            let at = (SimInstant::now() + resend).max(pipe.last);
            while let Some(message) = pipe.stalled.pop_front() {
                pipe.queue.push_back((at, message));
                pipe.last = at;
            }
        }
        state.wake();
    }
}

impl Ways {
    /// Whether the way has changed.
    fn count_cut(&mut self, way: (Place, Place), is_cut: bool) -> bool {
        if is_cut {
            let count = self.cut.entry(way).or_default();
            *count += 1;
            return *count == 1;
        }
        let Some(count) = self.cut.get_mut(&way) else {
            return false;
        };
        *count -= 1;
        let mended = *count == 0;
        if mended {
            self.cut.remove(&way);
        }
        mended
    }

    fn live(&mut self, which: impl Fn(&[Place; 2]) -> bool) -> Vec<Arc<Connection>> {
        self.connections.retain(|connection| connection.strong_count() > 0);
        let connections = self.connections.iter().filter_map(Weak::upgrade);
        connections.filter(|connection| which(&connection.ends)).collect()
    }

    /// Whether messages and their acknowledgements come through.
    fn whole(&self, a: Place, b: Place) -> bool {
        !self.cut.contains_key(&(a, b))
            && !self.cut.contains_key(&(b, a))
            && self.powered.contains(&a)
            && self.powered.contains(&b)
    }

    fn delay(&mut self, from: Place, to: Place) -> Duration {
        let quality = self.quality.get(&(from, to)).copied().unwrap_or_default();
        let jitter = self.chance.below(quality.jitter_us + 1);
        let mut delay = Duration::from_micros(quality.delay_us + jitter);
        if quality.loss_permille > 0 && self.chance.permille(quality.loss_permille) {
            delay += self.chance.ms(RESEND_MS.0, RESEND_MS.1);
        }
        delay
    }
}

struct Pipe {
    queue: VecDeque<(SimInstant, Bytes)>,
    stalled: VecDeque<Bytes>,
    bytes: usize,
    /// When the newest message arrives: none overtakes another.
    last: SimInstant,
    closed: Option<SimInstant>,
    reader: Option<Waker>,
    /// When the reader is woken next, whatever comes until then.
    alarm: Option<SimInstant>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            stalled: VecDeque::new(),
            bytes: 0,
            last: SimInstant::now(),
            closed: None,
            reader: None,
            alarm: None,
            writer: None,
        }
    }

    /// Lets the reader look again at a moment. It is not woken before: there is nothing that it could do.
    fn wake_reader_at(&mut self, at: SimInstant) {
        let Some(reader) = &self.reader else { return };
        let now = SimInstant::now();
        if at <= now {
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        } else if self.alarm.is_none_or(|alarm| alarm <= now || at < alarm) {
            wake_at(at, reader.clone());
            self.alarm = Some(at);
        }
    }
}

struct ConnectionState {
    /// From the caller to the called, and back.
    pipes: [Pipe; 2],
    broken: bool,
    /// Whether one side of it is told that it is broken, and the other is not.
    half_broken: [bool; 2],
    /// When the kernels give it up, if nothing is mended before.
    doomed: Option<SimInstant>,
    accepted: bool,
}

impl ConnectionState {
    fn wake(&mut self) {
        for pipe in &mut self.pipes {
            for waker in [pipe.reader.take(), pipe.writer.take()].into_iter().flatten() {
                waker.wake();
            }
        }
    }

    fn is_over(&self, side: usize, now: SimInstant) -> bool {
        self.broken || self.half_broken[side] || self.doomed.is_some_and(|doomed| doomed <= now)
    }
}

struct Connection {
    /// The caller and the called.
    ends: [Place; 2],
    keys: [NodeId; 2],
    protocol: Protocol,
    state: Mutex<ConnectionState>,
    accepted: Notify,
}

impl Connection {
    fn break_now(&self) {
        let mut state = self.state.lock();
        state.broken = true;
        state.wake();
        drop(state);
        self.accepted.notify_waiters();
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// One node's access to the network.
pub struct SimWire {
    /// The network.
    pub net: Arc<Net>,
    /// Where the node is.
    pub place: Place,
    /// Whose key it holds.
    pub key: NodeId,
}

/// A connection before keys were shown.
pub struct SimSocket {
    net: Arc<Net>,
    called: Place,
    connection: Option<Arc<Connection>>,
}

impl Wire for SimWire {
    type Socket = SimSocket;
    type Frames = SimFrames;

    async fn call(&self, address: SocketAddr) -> io::Result<SimSocket> {
        let called = place_of(address).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let there_and_back = {
            let mut ways = self.net.0.lock();
            if ways.whole(self.place, called) {
                Some(ways.delay(self.place, called) + ways.delay(called, self.place))
            } else {
                None
            }
        };
        match there_and_back {
            Some(time) => SimRuntime::sleep(time).await,
            // Nobody says that nobody is there.
            None => std::future::pending().await,
        }
        if !self.net.0.lock().listeners.contains_key(&called) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(SimSocket {
            net: self.net.clone(),
            called,
            connection: None,
        })
    }

    async fn secure(&self, socket: SimSocket, _: SocketAddr, protocol: Protocol) -> io::Result<(NodeId, SimFrames)> {
        let (connection, there_and_back) = {
            let mut ways = self.net.0.lock();
            let Some(listener) = ways.listeners.get(&socket.called) else {
                return Err(reset());
            };
            let (process, transport, handlers) = (
                listener.process.clone(),
                listener.transport.clone(),
                listener.handlers.clone(),
            );
            let connection = Arc::new(Connection {
                ends: [self.place, socket.called],
                keys: [self.key, transport.id()],
                protocol,
                state: Mutex::new(ConnectionState {
                    pipes: [Pipe::new(), Pipe::new()],
                    broken: false,
                    half_broken: [false; 2],
                    doomed: None,
                    accepted: false,
                }),
                accepted: Notify::new(),
            });
            ways.connections.push(Arc::downgrade(&connection));
            let there_and_back = ways.delay(self.place, socket.called) + ways.delay(socket.called, self.place);
            let theirs = SimSocket {
                net: self.net.clone(),
                called: socket.called,
                connection: Some(connection.clone()),
            };
            let address = address_of(self.place);
            process.enter(|| Sim::detach(transport.attend(theirs, address, handlers, (), CancellationToken::new())));
            (connection, there_and_back)
        };
        let frames = SimFrames::new(self.net.clone(), connection.clone(), 0);
        SimRuntime::sleep(there_and_back).await;
        loop {
            let accepted = connection.accepted.notified();
            {
                let state = connection.state.lock();
                if state.is_over(0, SimInstant::now()) {
                    return Err(reset());
                }
                if state.accepted {
                    break;
                }
            }
            accepted.await;
        }
        Ok((connection.keys[1], frames))
    }

    async fn accept(&self, socket: SimSocket) -> io::Result<(Protocol, NodeId, SimFrames)> {
        let connection = socket.connection.ok_or(io::ErrorKind::InvalidInput)?;
        connection.state.lock().accepted = true;
        connection.accepted.notify_waiters();
        let frames = SimFrames::new(socket.net, connection.clone(), 1);
        Ok((connection.protocol, connection.keys[0], frames))
    }
}

/// One end of a connection.
pub struct SimFrames {
    net: Arc<Net>,
    connection: Arc<Connection>,
    /// 0 for the caller: the pipe that it writes to.
    side: usize,
}

impl SimFrames {
    fn new(net: Arc<Net>, connection: Arc<Connection>, side: usize) -> Self {
        Self { net, connection, side }
    }

    fn way(&self) -> (Place, Place) {
        (self.connection.ends[self.side], self.connection.ends[1 - self.side])
    }

    fn finish(&self) {
        let (from, to) = self.way();
        let mut ways = self.net.0.lock();
        if !ways.powered.contains(&from) {
            return;
        }
        let delay = ways.delay(from, to);
        let whole = ways.whole(from, to);
        drop(ways);
        let mut state = self.connection.state.lock();
        let now = SimInstant::now();
        if whole {
            let pipe = &mut state.pipes[self.side];
            pipe.closed = Some((now + delay).max(pipe.last));
            state.wake();
        }
    }
}

impl Drop for SimFrames {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Frames for SimFrames {
    fn allow(&mut self, _: usize) {}
}

impl Stream for SimFrames {
    type Item = io::Result<BytesMut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let now = SimInstant::now();
        let mut state = self.connection.state.lock();
        let over = state.is_over(self.side, now);
        let doomed = state.doomed;
        let pipe = &mut state.pipes[1 - self.side];
        // What has arrived can still be read from a connection that is broken.
        let arrives = match pipe.queue.front() {
            Some((at, _)) if *at <= now => {
                let message = pipe.queue.pop_front().map(|(_, message)| message).unwrap_or_default();
                pipe.bytes -= message.len();
                if let Some(writer) = pipe.writer.take() {
                    writer.wake();
                }
                // Copied only where the sender keeps it.
                let message = message
                    .try_into_mut()
                    .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                return Poll::Ready(Some(Ok(message)));
            }
            _ if over => return Poll::Ready(Some(Err(reset()))),
            None if pipe.closed.is_some_and(|at| at <= now) => return Poll::Ready(None),
            front => front.map(|(at, _)| *at),
        };
        if !pipe
            .reader
            .as_ref()
            .is_some_and(|reader| reader.will_wake(context.waker()))
        {
            pipe.reader = Some(context.waker().clone());
            pipe.alarm = None;
        }
        if let Some(next) = [arrives, pipe.closed, doomed].into_iter().flatten().min() {
            pipe.wake_reader_at(next);
        }
        Poll::Pending
    }
}

impl Sink<Bytes> for SimFrames {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.connection.state.lock();
        if state.is_over(self.side, SimInstant::now())
            || state.pipes[1 - self.side]
                .closed
                .is_some_and(|at| at <= SimInstant::now())
        {
            return Poll::Ready(Err(reset()));
        }
        let pipe = &mut state.pipes[self.side];
        if pipe.bytes >= WINDOW_BYTES {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Bytes) -> io::Result<()> {
        let (from, to) = self.way();
        let mut ways = self.net.0.lock();
        ways.messages += 1;
        let delay = ways.delay(from, to);
        let (arrives, whole) = (
            !ways.cut.contains_key(&(from, to)) && ways.powered.contains(&to),
            ways.whole(from, to),
        );
        drop(ways);
        if !whole && self.connection.state.lock().doomed.is_none() {
            self.net.doom(&self.connection);
        }
        let mut state = self.connection.state.lock();
        if state.half_broken[1 - self.side] {
            // Nobody is there any more, and that is the answer.
            let answered = SimInstant::now() + 2 * delay;
            state.doomed = Some(state.doomed.map_or(answered, |doomed| doomed.min(answered)));
        }
        let pipe = &mut state.pipes[self.side];
        pipe.bytes += message.len();
        if arrives && pipe.stalled.is_empty() {
            let at = (SimInstant::now() + delay).max(pipe.last);
            pipe.last = at;
            pipe.queue.push_back((at, message));
            pipe.wake_reader_at(at);
        } else {
            pipe.stalled.push_back(message);
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.state.lock().is_over(self.side, SimInstant::now()) {
            return Poll::Ready(Err(reset()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
