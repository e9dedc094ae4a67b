//! Where the frames of a WebSocket end (RFC 6455 §5.2): only between two of them can another be said.

use crate::enforce::vigil::Lapse;

/// Where the bytes from the upstream stand.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 14],
    have: usize,
    payload_left: u64,
}

impl Frames {
    /// Takes note of bytes that went to the client.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= u64::try_from(skipped).unwrap_or(u64::MAX);
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            bytes = rest;
            if let Some(payload) = payload(&self.head, self.have) {
                (self.have, self.payload_left) = (0, payload);
            }
        }
    }

    /// Whether the last frame is whole.
    pub(super) fn between(&self) -> bool {
        self.have == 0 && self.payload_left == 0
    }
}

/// The length of the payload, once the first `have` bytes of the head are all of it.
fn payload(head: &[u8; 14], have: usize) -> Option<u64> {
    let [_, second, long @ ..] = head;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extended, payload) = match second & 0x7f {
        126 => (2, long.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes).into())),
        127 => (8, long.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))),
        short => (0, short.into()),
    };
    (have >= 2 && have == 2 + extended + mask).then_some(payload)
}

/// The frame that closes a WebSocket, and why (RFC 6455 §5.5.1 and §7.4.1): 1001, going away, when the program
/// stops; else 1008, policy violation.
pub(super) fn close(lapse: Lapse) -> Vec<u8> {
    const CLOSE: u8 = 0x88;
    let why = lapse.label().as_bytes();
    let length = u8::try_from(why.len() + 2).unwrap_or(2);
    let code: u16 = if lapse == Lapse::Stopping { 1001 } else { 1008 };
    [&[CLOSE, length][..], &code.to_be_bytes(), why].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask: u8 = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask + u8::try_from(length).unwrap()),
            126..0x1_0000 => {
                frame.push(mask + 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask + 127);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.resize(frame.len() + if masked { 4 } else { 0 } + length, 0xff);
        frame
    }

    proptest! {
        /// However the bytes are cut: between frames, and only there.
        #[test]
        fn the_ends_of_frames_are_found(
            frames in prop::collection::vec(
                (prop_oneof![0..3_usize, 124..128_usize, 65_534..65_538_usize], any::<bool>()), 1..6),
            piece in 1..70_000_usize,
        ) {
            let (mut all, mut ends) = (Vec::new(), vec![0]);
            for (length, masked) in frames {
                all.extend(frame(length, masked));
                ends.push(all.len());
            }
            let (mut state, mut passed) = (Frames::default(), 0);
            for bytes in all.chunks(piece) {
                state.passed(bytes);
                passed += bytes.len();
                prop_assert_eq!(state.between(), ends.contains(&passed), "after {}", passed);
            }
        }
    }
}
