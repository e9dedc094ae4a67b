//! Tokens that this thread met lately, word for word: to see that one is the same takes less than a keyed hash
//! of it, and looking that up in the cache of all threads.
//!
//! What is found here is used as what the cache of all threads gives: its end and its key are judged again. It is no other
//! than the token that was verified, byte by byte; nobody can bring about that two share a place, and if they do the
//! second is looked up as if it were new here.

use super::authenticate::VerifiedToken;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Places of each thread: a power of two.
const PLACES: usize = 2048;

/// Longest token that is kept, so that a thread keeps 4 MiB at most.
const LONGEST: usize = 2048;

/// How many times another than the one in a place has to come before it gets the place: where far more tokens are in use than
/// there is room for, most of them are not copied.
const PATIENCE: u8 = 4;

/// Whose tokens they are: what was verified by one set of rules says nothing to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Whose(u64);

impl Whose {
    /// Nobody's yet.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The token `text`, if this thread has met it.
    pub(super) fn find(self, text: &[u8]) -> Option<Arc<VerifiedToken>> {
        RECENT.with_borrow(|recent| {
            let kept = recent.of(self)?.get(place(text))?.kept.as_ref()?;
            same(&kept.text, text).then(|| Arc::clone(&kept.token))
        })
    }

    /// Keeps a token that was found good, unless its place is another's who comes as often.
    pub(super) fn keep(self, text: &[u8], token: &Arc<VerifiedToken>) {
        if text.len() > LONGEST {
            return;
        }
        RECENT.with_borrow_mut(|recent| {
            if recent.whose != Some(self) {
                let places = (0..PLACES).map(|_| Place::default()).collect();
                *recent = Recent { whose: Some(self), places };
            }
            if let Some(place) = recent.places.get_mut(place(text)) {
                place.take(text, token);
            }
        });
    }
}

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent { whose: None, places: Vec::new() }) };
}

struct Recent {
    whose: Option<Whose>,
    places: Vec<Place>,
}

#[derive(Default)]
struct Place {
    kept: Option<Kept>,
    refused: u8,
}

struct Kept {
    text: Zeroizing<Box<[u8]>>,
    token: Arc<VerifiedToken>,
}

impl Recent {
    fn of(&self, whose: Whose) -> Option<&[Place]> {
        (self.whose == Some(whose)).then_some(&self.places)
    }
}

impl Place {
    fn take(&mut self, text: &[u8], token: &Arc<VerifiedToken>) {
        let others = self.kept.as_ref().is_some_and(|kept| **kept.text != *text);
        if others && self.refused < PATIENCE {
            self.refused += 1;
            return;
        }
        let text = Zeroizing::new(Box::<[u8]>::from(text));
        *self = Self { kept: Some(Kept { text, token: Arc::clone(token) }), refused: 0 };
    }
}

/// Whether two tokens are one. Looks at every byte: how long it takes must not tell how much of a token was guessed.
fn same(kept: &[u8], text: &[u8]) -> bool {
    kept.len() == text.len() && kept.iter().zip(text).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// By the end of a token: that of its signature, which is as good as drawn.
fn place(text: &[u8]) -> usize {
    let end = text.last_chunk().map_or(0, |end| u64::from_le_bytes(*end));
    // Spreads what the last letters say over the upper bits.
    let spread = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(spread).unwrap_or_default() % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_in_all_its_bytes() {
        let token = *b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl";
        assert!(same(&token, &token));
        for (place, byte) in token.iter().enumerate() {
            let mut other = token;
            other[place] = byte ^ 1;
            assert!(!same(&token, &other), "{place}");
        }
        assert!(!same(&token, &token[1..]) && !same(&token, b""));
    }

    #[test]
    fn places_are_spread_by_the_end_of_a_token() {
        let mut taken = vec![0; PLACES];
        for number in 0..u64::try_from(PLACES).unwrap() {
            // As base64url of a signature ends.
            let drawn = number.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            let letters =
                drawn.map(|byte| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[usize::from(byte % 32)]);
            taken[place(&letters)] += 1;
        }
        let used = taken.iter().filter(|count| **count > 0).count();
        assert!(used > PLACES / 2, "{used}");
        assert_eq!(place(b"short"), 0);
    }
}
