//! A secret number by which things are spread: places in a table, and moments at which many would else do
//! the same.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// Makes hashes that nobody foresees who does not know it. The same salt makes the same hashes, in every
/// run of the program: a simulation that is repeated draws one of its own.
#[derive(Clone, Copy)]
pub struct Salt([u64; 2]);

impl Salt {
    /// A random one.
    #[must_use]
    pub fn random() -> Self {
        let random = RandomState::new();
        Self([0, 1].map(|word: u8| random.hash_one(word)))
    }

    /// One that is known: for simulations only.
    #[must_use]
    pub fn known(number: u64) -> Self {
        Self([number, !number])
    }

    /// Itself, for who hashes in another way.
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        self.0
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salt").finish_non_exhaustive()
    }
}

impl BuildHasher for Salt {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        self.0.into_iter().for_each(|word| hasher.write_u64(word));
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_salt_makes_the_same_hash_and_another_one_another() {
        let of = |salt: Salt| salt.hash_one("text");
        assert_eq!(of(Salt::known(7)), of(Salt::known(7)));
        assert_ne!(of(Salt::known(7)), of(Salt::known(8)));
        assert_ne!(of(Salt::random()), of(Salt::random()));
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", Salt::known(7)), "Salt { .. }");
    }
}
