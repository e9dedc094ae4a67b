//! The one thread that writes the audit log: it seals, rotates, and knows what was written.
//!
//! What could not be written is either given up and counted, or kept until it can be, as the operator chose.

use super::audit::rfc3339;
use super::chain::{Event, Head, Sealer, Why, sha256};
use super::output::{Output, Turn};
use super::resume::kept;
use crate::clock::Clock;
use crate::config::OnLoss;
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

/// Most bytes that are written at once, but for one longer line.
const BATCH: usize = 64 * 1024;

/// How long a record that comes alone waits for others. To wake this thread costs a worker as much as half a
/// request, and so it is woken once for all of them; a kill takes what came within this time.
const TOGETHER: Duration = Duration::from_millis(5);

/// How often the file is looked at when nothing is to be written.
const TICK: Duration = Duration::from_millis(500);

/// How long after a failure what is kept is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// How long after a new file could not be begun that is tried again: each try is a checkpoint in the old one.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// What is sent to the thread.
#[derive(Debug)]
pub(super) enum Message {
    /// A record, without its end.
    Line(Vec<u8>),
    /// Look at the file now.
    Look,
    /// Write what was sent before, and end.
    End,
}

/// What the thread and those who send to it both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Nothing more is taken.
    pub(super) closed: AtomicBool,
    /// The output takes nothing at the moment.
    pub(super) failing: AtomicBool,
    /// Records handed over whose fate is open.
    pub(super) queued: AtomicU64,
    /// Places taken: by those, and by requests in flight that were promised one.
    pub(super) taken: AtomicUsize,
    /// Records lost that the log does not tell of yet.
    pub(super) lost: AtomicU64,
}

/// What is counted.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) written: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) rotations: IntCounterVec,
    pub(super) sequence: IntGauge,
}

/// The chain, and when the next checkpoint is due.
pub(super) struct Chain {
    pub(super) sealer: Sealer,
    pub(super) head: Head,
    /// Most records between two checkpoints.
    pub(super) records: u64,
    /// Longest time between a record and the checkpoint after it.
    pub(super) interval: Duration,
    /// Records since the last checkpoint.
    pub(super) since: u64,
    /// When the last was made.
    pub(super) last: Instant,
}

/// What becomes a line.
#[derive(Debug)]
pub(super) enum Item {
    Record(Vec<u8>),
    Event(Event, String),
}

/// Dropped with the thread, also when it ends in a panic: then nothing is written any more, and somebody is told.
pub(super) struct Alive {
    pub(super) shared: Arc<Shared>,
    pub(super) ended: Option<Box<dyn FnOnce() + Send>>,
    /// Counts what it leaves behind.
    pub(super) dropped: IntCounter,
    /// Hangs up.
    pub(super) _line: Sender<()>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if !self.shared.closed.load(Ordering::Acquire) {
            self.shared.failing.store(true, Ordering::Release);
            self.dropped.inc_by(self.shared.queued.load(Ordering::Acquire));
            if let Some(ended) = self.ended.take() {
                ended();
            }
        }
    }
}

pub(super) struct Writer<O> {
    pub(super) output: O,
    pub(super) queue: Receiver<Message>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) on_loss: OnLoss,
    pub(super) counters: Counters,
    pub(super) chain: Option<Chain>,
    /// The output ends in these bytes, which are no whole line.
    pub(super) torn: Option<Vec<u8>>,
    /// Events that must be written before anything else.
    pub(super) owed: VecDeque<Item>,
    pub(super) items: VecDeque<Item>,
    /// When a new file could last not be begun, since one could.
    pub(super) stuck: Option<Instant>,
    pub(super) _alive: Alive,
}

impl<O: Output> Writer<O> {
    pub(super) fn run(mut self) {
        self.put();
        loop {
            let end = self.gather();
            self.look();
            self.put();
            if end {
                self.checkpoint(Why::Stop);
                return;
            }
            self.checkpoint_when_due();
        }
    }

    /// Waits for records, and takes those that came together. Whether the end was among them.
    fn gather(&mut self) -> bool {
        let mut next = match self.first() {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let mut bytes = 0;
        loop {
            match next {
                Message::End => return true,
                Message::Look => {}
                Message::Line(line) => {
                    bytes += line.len();
                    self.items.push_back(Item::Record(line));
                }
            }
            if bytes >= BATCH {
                return false;
            }
            next = match self.queue.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            };
        }
    }

    /// The first of those that came together.
    fn first(&mut self) -> Result<Message, RecvTimeoutError> {
        match self.queue.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        let first = self.queue.recv_timeout(TICK)?;
        if matches!(first, Message::Line(_)) {
            std::thread::sleep(TOGETHER);
        }
        Ok(first)
    }

    /// Begins a new file where one is called for.
    fn look(&mut self) {
        let now = self.clock.wall();
        let turn = self.output.turn(now);
        match turn {
            Turn::Stay => return,
            Turn::Cut => return self.owe(Why::Open),
            Turn::Moved | Turn::Full => {}
        }
        if self.stuck.is_some_and(|at| at.elapsed() < RENEW_AGAIN) {
            return;
        }
        // The file that is left ends in a checkpoint; where it takes none, it is not left yet.
        if turn == Turn::Full && !self.checkpoint(Why::Rotate) {
            return;
        }
        if turn == Turn::Moved && self.stuck.is_none() {
            self.checkpoint(Why::Rotate);
        }
        let renewed = self.output.renew(turn, now);
        let result = if renewed.is_ok() { "done" } else { "failed" };
        self.counters.rotations.with_label_values(&[result]).inc();
        match renewed {
            Ok(()) => {
                self.stuck = None;
                self.torn = None;
                self.owe(Why::Open);
                if turn == Turn::Full
                    && let Err(error) = self.output.prune()
                {
                    tracing::warn!(%error, "audit files that are no longer to be kept cannot be removed");
                }
            }
            Err(error) => {
                if self.stuck.replace(Instant::now()).is_none() {
                    tracing::error!(%error, "a new audit file cannot be begun; the old one is still written to");
                }
            }
        }
    }

    /// Writes all that is there, or gives it up, as the operator chose.
    fn put(&mut self) {
        loop {
            self.tell_of_losses();
            let nothing = self.items.is_empty() && self.owed.is_empty();
            let result = match self.on_loss {
                OnLoss::Count if nothing => return,
                // Traffic depends on it: a full disk is to be noticed before the next request.
                OnLoss::Stop if nothing => self.output.probe(),
                OnLoss::Count | OnLoss::Stop => self.write(),
            };
            let Err(error) = result else { return self.works() };
            self.fails(&error);
            let closed = self.shared.closed.load(Ordering::Acquire);
            if self.on_loss == OnLoss::Count || closed {
                return self.give_up();
            }
            if self.items.is_empty() {
                return;
            }
            std::thread::sleep(AGAIN);
            self.look();
        }
    }

    fn tell_of_losses(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::AcqRel);
        if lost == 0 || self.chain.is_none() {
            return;
        }
        if let Some(Item::Event(Event::Lost(records), _)) = self.items.back_mut() {
            *records = records.saturating_add(lost);
        } else {
            let event = self.event(Event::Lost(lost));
            self.items.push_back(event);
        }
    }

    /// Writes what is owed and what is there. What was not written is still there afterwards.
    fn write(&mut self) -> io::Result<()> {
        self.mend()?;
        let mut all = std::mem::take(&mut self.owed);
        let owed = all.len();
        all.append(&mut self.items);
        let before = self.chain.as_ref().map(|chain| chain.head.clone());
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(all.len()));
        for item in &all {
            self.seal(item, &mut bytes);
            ends.push(bytes.len());
        }
        let (count, result) = put(&mut self.output, &bytes);
        let whole = ends.partition_point(|end| *end <= count);
        if whole < all.len() {
            self.rewind(before, all.iter().take(whole));
            let good = whole.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
            let part = bytes.get(good..count).unwrap_or_default();
            if !part.is_empty() && !self.output.take_back(part.len()) {
                self.torn = Some(part.to_vec());
            }
        }
        let records = all.drain(..whole).filter(|item| matches!(item, Item::Record(_))).count();
        self.owed = all.drain(..owed.saturating_sub(whole)).collect();
        self.items = all;
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        if let Some(chain) = &mut self.chain {
            chain.since = chain.since.saturating_add(records);
            self.counters.sequence.set(i64::try_from(chain.head.sequence).unwrap_or(i64::MAX));
        }
        self.counters.written.inc_by(records);
        self.settle(records);
        result.and_then(|()| self.output.flush())
    }

    /// A part of a line that is there already must not become one with the next.
    fn mend(&mut self) -> io::Result<()> {
        let Some(torn) = self.torn.take() else { return Ok(()) };
        let (count, result) = put(&mut self.output, b"\n");
        if count == 0 {
            self.torn = Some(torn);
            return result;
        }
        let mut event = None;
        if let Some(chain) = &mut self.chain {
            chain.head.absorb(&torn);
            chain.head.absorb(b"\n");
            event = Some(Event::Torn { bytes: torn.len(), digest: sha256(&[&torn]) });
        }
        if let Some(event) = event {
            let event = self.event(event);
            self.owed.push_front(event);
        }
        Ok(())
    }

    fn seal(&mut self, item: &Item, bytes: &mut Vec<u8>) {
        match (&mut self.chain, item) {
            (Some(chain), Item::Record(text)) => chain.sealer.record(&mut chain.head, text, bytes),
            (Some(chain), Item::Event(event, time)) => {
                chain.sealer.event(&mut chain.head, event, time, bytes);
            }
            (None, Item::Record(text)) => {
                bytes.extend_from_slice(text);
                bytes.push(b'\n');
            }
            // Without a chain nothing but requests is told.
            (None, Item::Event(..)) => {}
        }
    }

    /// Goes back to `before`, and on again over what was written: sealing gives the same each time.
    fn rewind<'i>(&mut self, before: Option<Head>, written: impl Iterator<Item = &'i Item>) {
        let (Some(chain), Some(before)) = (&mut self.chain, before) else { return };
        chain.head = before;
        let mut again = Vec::new();
        for item in written {
            self.seal(item, &mut again);
        }
    }

    fn event(&self, event: Event) -> Item {
        Item::Event(event, rfc3339(self.clock.wall()))
    }

    fn owe(&mut self, why: Why) {
        if self.chain.is_some() {
            let event = self.event(Event::Checkpoint { why, expected: None });
            self.owed.push_back(event);
            if let Some(chain) = &mut self.chain {
                chain.since = 0;
            }
        }
    }

    fn checkpoint_when_due(&mut self) {
        let Some(chain) = &self.chain else { return };
        if chain.since >= chain.records
            || (chain.since > 0 && chain.last.elapsed() >= chain.interval)
        {
            self.checkpoint(Why::Interval);
        }
    }

    /// Writes a checkpoint and sees it onto the disk; `false` where it could not be written.
    fn checkpoint(&mut self, why: Why) -> bool {
        if self.chain.is_none() {
            return true;
        }
        let event = self.event(Event::Checkpoint { why, expected: None });
        // Behind what is there already, if that could not be written before.
        let waiting = std::mem::take(&mut self.items);
        self.items.push_back(event);
        let result = self.write();
        let done = self.items.is_empty();
        self.items = waiting;
        let Some(chain) = &mut self.chain else { return done };
        if done {
            (chain.since, chain.last) = (0, Instant::now());
            let text = kept(&chain.head, why, &chain.sealer.mac);
            if let Err(error) = self.output.sync().and_then(|()| self.output.keep(&text)) {
                tracing::warn!(%error, "how far the audit log has come cannot be kept beside it");
            }
        } else if let Err(error) = result {
            self.fails(&error);
        }
        done
    }

    fn works(&mut self) {
        if self.shared.failing.swap(false, Ordering::AcqRel) {
            tracing::warn!("audit lines are written again");
        }
    }

    fn fails(&mut self, error: &io::Error) {
        if self.shared.failing.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.on_loss {
            OnLoss::Count => tracing::error!(%error, "audit lines cannot be written and are lost"),
            OnLoss::Stop => {
                tracing::error!(%error, "audit lines cannot be written; requests are refused until they can be");
            }
        }
    }

    fn give_up(&mut self) {
        let mut lost = 0u64;
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Record(_) => {
                    self.counters.failed.inc();
                    self.settle(1);
                    lost += 1;
                }
                Item::Event(Event::Lost(records), _) => lost += records,
                Item::Event(..) => {}
            }
        }
        self.shared.lost.fetch_add(lost, Ordering::AcqRel);
    }

    /// The fate of so many records is known: their places are free.
    fn settle(&self, records: u64) {
        self.shared.queued.fetch_sub(records, Ordering::AcqRel);
        let places = usize::try_from(records).unwrap_or(usize::MAX);
        self.shared.taken.fetch_sub(places, Ordering::AcqRel);
    }
}

/// Writes all it can; tells how many bytes that were, also when it fails.
fn put(output: &mut impl Output, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut count = 0;
    while let Some(rest) = bytes.get(count..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return (count, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => count += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (count, Err(error)),
        }
    }
    (count, Ok(()))
}
