//! Heads of requests that are under way: how much of them all connections together may have us hold.
//!
//! The HTTP library holds a head until it is whole. Each is bounded, but ten thousand connections with a head cut short of
//! that bound would be more than a gigabyte, which who has no token must not be able to take (threats 68 and 74). A head
//! as they usually are fits what a connection costs anyhow; what is longer takes of one room for all, and a connection for
//! which there is none left is ended.
//!
//! Of HTTP/2 a list of fields may come in several frames, and the library reads each as it comes: a byte may name a field
//! that takes a hundred. So a list that goes on takes the most that one can, whatever came of it, and of a room of its own:
//! else a few bytes from each of some hundred connections would leave none for the long heads of others.

use super::activity::Activity;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a head that are free: the library's first buffer has room for them.
const FREE: usize = 8 * 1024;

/// Bytes of heads that are longer, beyond what is free of each, and of lists that go on. What the library takes for them is
/// up to twice as much.
const ROOM: usize = 64 * 1024 * 1024;

/// The rooms for heads, shared by all connections.
#[derive(Debug)]
pub(super) struct Heads {
    /// For those that are long.
    long: Room,
    /// For lists of HTTP/2 that go on in a frame to come.
    lists: Room,
}

impl Heads {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { long: Room::new(), lists: Room::new() })
    }
}

#[derive(Debug)]
struct Room {
    left: AtomicUsize,
}

impl Room {
    const fn new() -> Self {
        Self { left: AtomicUsize::new(ROOM) }
    }

    /// Has `taken` become `bytes`; tells whether there was room for that.
    fn hold(&self, taken: &mut usize, bytes: usize) -> bool {
        if bytes > *taken {
            if !self.take(bytes - *taken) {
                return false;
            }
        } else {
            self.give_back(*taken - bytes);
        }
        *taken = bytes;
        true
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The head that is under way on one connection.
#[derive(Debug)]
pub(super) struct Head {
    heads: Arc<Heads>,
    activity: Arc<Activity>,
    reading: Reading,
    /// Requests that had begun when the bytes were last looked at.
    begun: u64,
    /// Bytes of HTTP/1.1 since the last request began.
    bytes: usize,
    /// Taken of the room for long heads.
    long: usize,
    /// Taken of the room for lists that go on.
    list: usize,
    most: Most,
}

/// What the library holds of one head at the most, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// Of HTTP/1. A body that goes on after its answer is over looks like a head, and takes no more than that.
    pub(super) head: usize,
    /// Of HTTP/2, decoded.
    pub(super) list: usize,
}

/// No room was left for a head.
#[derive(Debug)]
pub(super) struct NoRoom;

#[derive(Debug)]
enum Reading {
    /// So many bytes are as HTTP/2 begins.
    Either(usize),
    Http1,
    Http2(Frames),
}

/// How HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Head {
    pub(super) fn new(heads: &Arc<Heads>, activity: &Arc<Activity>, most: Most) -> Self {
        let (heads, activity) = (Arc::clone(heads), Arc::clone(activity));
        let reading = Reading::Either(0);
        Self { heads, activity, reading, begun: 0, bytes: 0, long: 0, list: 0, most }
    }

    /// Takes note of bytes that came.
    pub(super) fn came(&mut self, mut bytes: &[u8]) -> Result<(), NoRoom> {
        if let Reading::Either(matched) = &mut self.reading {
            let rest = PREFACE.get(*matched..).unwrap_or_default();
            let alike = bytes.iter().zip(rest).take_while(|(byte, like)| byte == like).count();
            if alike == rest.len() {
                bytes = bytes.get(alike..).unwrap_or_default();
                self.reading = Reading::Http2(Frames::default());
            } else if alike == bytes.len() {
                *matched += alike;
                return Ok(());
            } else {
                self.reading = Reading::Http1;
            }
        }
        let held = match &mut self.reading {
            Reading::Http2(frames) => {
                frames.came(bytes);
                let list = if frames.list { self.most.list } else { 0 };
                if !self.heads.lists.hold(&mut self.list, list) {
                    return self.crowded();
                }
                frames.held(|| self.activity.is_busy())
            }
            Reading::Either(_) | Reading::Http1 => {
                self.bytes = self.bytes.saturating_add(bytes.len());
                if self.bytes > FREE {
                    self.look(bytes.len());
                }
                self.bytes
            }
        };
        self.hold(held.saturating_sub(FREE))
    }

    /// Takes note that an answer is written: the head that it answers is not under way any more.
    pub(super) fn answered(&mut self) {
        if self.long > 0 && matches!(self.reading, Reading::Http1) {
            self.look(0);
            // Only ever less.
            let _ = self.hold(self.bytes.saturating_sub(FREE));
        }
    }

    /// Bytes count from the request that began last; while one is in flight, they are its body's.
    fn look(&mut self, last: usize) {
        let begun = self.activity.requests();
        if begun != self.begun || self.activity.is_busy() {
            self.begun = begun;
            self.bytes = if self.activity.is_busy() { 0 } else { last };
        }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = bytes.min(self.most.head);
        if self.heads.long.hold(&mut self.long, bytes) { Ok(()) } else { self.crowded() }
    }

    fn crowded(&self) -> Result<(), NoRoom> {
        self.activity.crowd_out();
        Err(NoRoom)
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.heads.long.give_back(self.long);
        self.heads.lists.give_back(self.list);
    }
}

/// Where the bytes from an HTTP/2 client stand (RFC 9113 §4.1).
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 9],
    have: usize,
    payload: usize,
    left: usize,
    /// The frames before this one began a list that has not ended.
    list: bool,
}

impl Frames {
    fn came(&mut self, mut bytes: &[u8]) {
        loop {
            if self.have == self.head.len() {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                if self.left > 0 {
                    return;
                }
                self.list = self.goes_on();
                (self.have, self.payload) = (0, 0);
            }
            let Some((first, rest)) = bytes.split_first() else { return };
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            (self.have, bytes) = (self.have + 1, rest);
            if self.have == self.head.len() {
                let [high, middle, low, ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.payload = usize::try_from(length).unwrap_or(usize::MAX);
                self.left = self.payload;
            }
        }
    }

    /// Of a list of fields: HEADERS or CONTINUATION; or `PUSH_PROMISE`, which no client may send, and which the library
    /// reads to its end before it says so.
    fn of_list(&self) -> bool {
        let [_, _, _, kind, ..] = self.head;
        matches!(kind, 0x1 | 0x5 | 0x9)
    }

    /// Of a list that is not at its end: `END_HEADERS` is not set.
    fn goes_on(&self) -> bool {
        let [_, _, _, _, flags, ..] = self.head;
        self.of_list() && flags & 0x4 == 0
    }

    /// Bytes of a frame that the library holds until more come. Data, which it hands on, come while a request is in flight.
    fn held(&self, busy: impl FnOnce() -> bool) -> usize {
        let whole = self.have == self.head.len();
        let part = if whole { self.payload - self.left } else { 0 };
        if part > FREE && (self.of_list() || !busy()) { part } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: Most = Most { head: 128 * 1024, list: 96 * 1024 };

    fn connection(heads: &Arc<Heads>) -> (Head, Arc<Activity>) {
        let activity = Activity::new();
        (Head::new(heads, &activity, MOST), activity)
    }

    fn taken(heads: &Heads) -> usize {
        ROOM - heads.long.left.load(Ordering::Relaxed)
    }

    fn lists(heads: &Heads) -> usize {
        ROOM - heads.lists.left.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_long_head_takes_room_until_its_request_is_answered() {
        let heads = Heads::new();
        let (mut head, activity) = connection(&heads);
        head.came(b"GET / HTTP/1.1\r\n").unwrap();
        head.came(&[b'x'; FREE]).unwrap();
        assert_eq!(taken(&heads), 16);
        let request = activity.begin();
        head.came(&vec![b'b'; 100_000]).unwrap();
        assert_eq!(taken(&heads), 0, "a body takes none");
        drop(request);
        head.came(&[b'x'; FREE + 1]).unwrap();
        assert_eq!(taken(&heads), 1, "the next head");
        drop(activity.begin());
        head.answered();
        assert_eq!(taken(&heads), 0);
        for _ in 0..100 {
            head.came(&[b'x'; FREE]).unwrap();
        }
        assert_eq!(taken(&heads), MOST.head, "more is never held");
        drop(head);
        assert_eq!(taken(&heads), 0, "gone");
    }

    #[tokio::test]
    async fn who_finds_no_room_is_ended_and_short_heads_need_none() {
        let heads = Heads::new();
        let mut many: Vec<_> = (0..ROOM / FREE).map(|_| connection(&heads)).collect();
        for (head, _) in &mut many {
            head.came(&[b'x'; 2 * FREE]).unwrap();
        }
        let (mut late, crowded) = connection(&heads);
        late.came(&[b'x'; FREE]).unwrap();
        assert!(!crowded.is_crowded_out());
        late.came(b"x").unwrap_err();
        assert!(crowded.is_crowded_out());
        many.pop();
        connection(&heads).0.came(&[b'x'; FREE + 1]).unwrap();
    }

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(9 + length, 7);
        frame
    }

    #[tokio::test]
    async fn a_list_that_goes_on_takes_the_most_that_it_can_and_is_given_back_at_its_end() {
        let heads = Heads::new();
        let (mut head, _activity) = connection(&heads);
        head.came(PREFACE).unwrap();
        head.came(&frame(0x4, 0, 30)).unwrap();
        assert_eq!(lists(&heads), 0);
        // HEADERS and PUSH_PROMISE; a byte of a list may name much.
        for kind in [0x1, 0x5] {
            head.came(&frame(kind, 0, 1)).unwrap();
            assert_eq!(lists(&heads), MOST.list, "{kind}");
            head.came(&frame(0x9, 0, 3000)).unwrap();
            assert_eq!(lists(&heads), MOST.list, "{kind} and more");
            head.came(&frame(0x9, 0x4, 10)).unwrap();
            assert_eq!(lists(&heads), 0, "{kind} at its end");
        }
        let whole = [frame(0x1, 0, 16_000), frame(0x9, 0x4, 10)].concat();
        head.came(&whole).unwrap();
        assert_eq!((taken(&heads), lists(&heads)), (0, 0), "came as one");
        head.came(&frame(0x1, 0, 1)).unwrap();
        drop(head);
        assert_eq!(lists(&heads), 0, "gone");
    }

    #[tokio::test]
    async fn lists_that_go_on_leave_room_for_long_heads_and_whole_lists() {
        let heads = Heads::new();
        let begun = [PREFACE.to_vec(), frame(0x1, 0, 1)].concat();
        let mut many: Vec<_> = (0..ROOM / MOST.list).map(|_| connection(&heads)).collect();
        for (head, _) in &mut many {
            head.came(&begun).unwrap();
        }
        let (mut late, crowded) = connection(&heads);
        late.came(&begun).unwrap_err();
        assert!(crowded.is_crowded_out());
        connection(&heads).0.came(&[b'x'; 2 * FREE]).unwrap();
        let whole = [PREFACE.to_vec(), frame(0x1, 0x4, 16_000)].concat();
        connection(&heads).0.came(&whole).unwrap();
        many.pop();
        connection(&heads).0.came(&begun).unwrap();
    }

    #[tokio::test]
    async fn a_part_of_a_frame_takes_room_and_data_of_a_request_none() {
        let heads = Heads::new();
        let (mut head, activity) = connection(&heads);
        head.came(PREFACE).unwrap();
        let data = frame(0x0, 0, 16_000);
        head.came(&data[..15_000]).unwrap();
        assert_eq!(taken(&heads), 15_000 - 9 - FREE, "for no request");
        let _request = activity.begin();
        head.came(&data[15_000..]).unwrap();
        head.came(&data[..15_000]).unwrap();
        assert_eq!(taken(&heads), 0);
    }

    proptest! {
        /// However the bytes are cut, the same is under way at the end.
        #[test]
        fn cuts_change_nothing(
            all in prop::collection::vec((0..10_u8, 0..6_u8, 0..20_000_usize), 1..6),
            cut in 0..20_000_usize,
            piece in 1..30_000_usize,
        ) {
            let mut bytes: Vec<u8> = all.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, *length)).collect();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let (mut whole, mut pieces) = (Frames::default(), Frames::default());
            whole.came(&bytes);
            for piece in bytes.chunks(piece) {
                pieces.came(piece);
            }
            prop_assert_eq!(whole.held(|| false), pieces.held(|| false));
            prop_assert_eq!((whole.have, whole.left, whole.list), (pieces.have, pieces.left, pieces.list));
        }
    }
}
