//! portvakt
