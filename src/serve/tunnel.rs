//! A tunnel after an upgrade: bytes both ways, counted as they pass, until both sides have ended, none
//! has moved for too long, or what it was opened by has lapsed.

use super::frames::{self, Frames};
use crate::enforce::vigil::Lapse;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Bytes that went through, for whoever looks and whenever.
#[derive(Debug, Default)]
pub(super) struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

impl Counts {
    /// Bytes to the upstream, and to the client.
    pub(super) fn both(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Both sides said that they had nothing more.
    Whole,
    /// A connection broke.
    Broken,
    /// No byte moved for too long.
    Idle,
    /// The right or the token did not last.
    Lapsed(Lapse),
}

/// Carries bytes both ways. `idle` is the longest time without any; `lapse` ends when it has to. The client
/// of a WebSocket (`true`) is then told so.
pub(super) async fn relay<C, U>(
    (client, websocket): (C, bool),
    upstream: U,
    counts: &Counts,
    idle: Duration,
    lapse: impl Future<Output = Lapse>,
) -> End
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let mut frames = websocket.then(Frames::default);
    let both = async {
        tokio::try_join!(
            carry(from_client, &mut to_upstream, &counts.up, |_| {}),
            carry(from_upstream, &mut to_client, &counts.down, |bytes| {
                if let Some(frames) = &mut frames {
                    frames.passed(bytes);
                }
            }),
        )
    };
    let end = tokio::select! {
        ended = both => if ended.is_ok() { End::Whole } else { End::Broken },
        () = still(counts, idle) => End::Idle,
        lapse = lapse => End::Lapsed(lapse),
    };
    // In the middle of a message nothing can be said.
    if let End::Lapsed(lapse) = end
        && frames.is_some_and(|frames| frames.between())
    {
        let last_word = async {
            to_client.write_all(&frames::close(lapse)).await?;
            to_client.shutdown().await
        };
        // Who does not listen is not waited for.
        let _ = tokio::time::timeout(LAST_WORD, last_word).await;
    }
    end
}

/// How long a client may take to hear why it is cut off.
const LAST_WORD: Duration = Duration::from_secs(5);

async fn carry(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
    mut passed: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        if rest.is_empty() {
            return to.shutdown().await;
        }
        while !rest.is_empty() {
            let written = to.write(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            passed(rest.get(..written).unwrap_or_default());
            count.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::Relaxed);
            rest = rest.get(written..).unwrap_or_default();
        }
        to.flush().await?;
    }
}

/// Ends when no byte has moved for `idle`, to a quarter of it.
async fn still(counts: &Counts, idle: Duration) {
    let (mut seen, mut since) = (counts.both(), Instant::now());
    loop {
        tokio::time::sleep(idle / 4).await;
        let now = counts.both();
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() >= idle {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    const IDLE: Duration = Duration::from_secs(60);

    /// The outer ends of a running WebSocket.
    fn tunnel(life: Option<Duration>) -> (DuplexStream, DuplexStream, JoinHandle<(End, u64, u64)>) {
        let lapse = async move {
            match life {
                Some(life) => tokio::time::sleep(life).await,
                None => std::future::pending().await,
            }
            Lapse::TokenEnded
        };
        let (client, near_client) = duplex(64);
        let (upstream, near_upstream) = duplex(64);
        let running = tokio::spawn(async move {
            let counts = Counts::default();
            let end = relay((near_client, true), near_upstream, &counts, IDLE, lapse).await;
            let (up, down) = counts.both();
            (end, up, down)
        });
        (client, upstream, running)
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_is_whole_when_both_sides_have_ended() {
        let (mut client, mut upstream, running) = tunnel(None);
        client.write_all(b"ask").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        upstream.read_to_end(&mut got).await.unwrap();
        upstream.write_all(b"answer").await.unwrap();
        upstream.shutdown().await.unwrap();
        assert_eq!((running.await.unwrap(), &got[..]), ((End::Whole, 3, 6), &b"ask"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_without_bytes_ends_and_what_went_before_is_counted() {
        let (mut client, _upstream, running) = tunnel(None);
        for _ in 0..3 {
            tokio::time::sleep(IDLE * 9 / 10).await;
            client.write_all(b"x").await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(running.await.unwrap(), (End::Idle, 3, 0));
        assert!(begun.elapsed() >= IDLE && begun.elapsed() <= IDLE * 5 / 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_with_what_opened_it_and_the_client_is_told_between_two_frames() {
        // Two frames, and the head and half of a third.
        let frames = b"\x81\x02hi\x82\x01!\x81\x04ha";
        for (sent, told) in [(0, true), (4, true), (7, true), (3, false), (8, false), (11, false)] {
            let (mut client, mut upstream, running) = tunnel(Some(Duration::from_secs(30)));
            let begun = Instant::now();
            upstream.write_all(&frames[..sent]).await.unwrap();
            let count = u64::try_from(sent).unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(running.await.unwrap(), (End::Lapsed(Lapse::TokenEnded), 0, count));
            assert_eq!(begun.elapsed().as_secs(), 30);
            let close = frames::close(Lapse::TokenEnded);
            assert_eq!(&got[sent..], if told { &close[..] } else { &[] }, "after {sent}");
        }
    }
}
