//! Who is logged in, and the tokens that forms carry.

use crate::crypto::base64url;
use crate::world::number::PersonNumber;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use std::collections::{HashMap, VecDeque};
use uuid::Uuid;

/// Sessions with a person that are remembered; the oldest goes first.
pub(crate) const KEPT: usize = 1_000;

/// Sessions in which somebody has been chosen. One without a person is only its cookie.
pub(crate) struct Sessions {
    key: hmac::Key,
    people: HashMap<SessionId, PersonNumber>,
    order: VecDeque<SessionId>,
}

/// The value of the session's cookie.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct SessionId(Uuid);

impl SessionId {
    pub(super) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    pub(super) fn text(self) -> String {
        self.0.simple().to_string()
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let mut secret = [0; 32];
        // Without randomness nothing here would have started: there would be no signing keys.
        let _ = SystemRandom::new().fill(&mut secret);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Self { key, people: HashMap::new(), order: VecDeque::new() }
    }
}

impl Sessions {
    pub(super) fn person(&self, session: SessionId) -> Option<PersonNumber> {
        self.people.get(&session).copied()
    }

    /// Begins a session for a person. The id is new, so that nobody can have planted it.
    pub(super) fn begin(&mut self, person: PersonNumber) -> SessionId {
        let session = SessionId::new();
        self.people.insert(session, person);
        self.order.push_back(session);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.people.remove(&oldest);
        }
        session
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn end(&mut self, session: SessionId) {
        self.people.remove(&session);
        self.order.retain(|kept| *kept != session);
    }

    /// What forms of this session carry, so that no other site can send them.
    pub(super) fn form_token(&self, session: SessionId) -> String {
        base64url(hmac::sign(&self.key, session.0.as_bytes()).as_ref())
    }

    pub(super) fn is_form_token(&self, session: SessionId, token: &str) -> bool {
        crate::crypto::from_base64url(token)
            .is_some_and(|tag| hmac::verify(&self.key, session.0.as_bytes(), &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> PersonNumber {
        PersonNumber::parse("01819049901").unwrap()
    }

    #[test]
    fn a_form_token_is_good_for_its_own_session_only() {
        let sessions = Sessions::default();
        let (mine, other) = (SessionId::new(), SessionId::new());
        let token = sessions.form_token(mine);
        assert!(sessions.is_form_token(mine, &token));
        assert!(!sessions.is_form_token(other, &token));
        assert!(!sessions.is_form_token(mine, ""));
        assert!(!Sessions::default().is_form_token(mine, &token));
    }

    #[test]
    fn the_oldest_session_is_forgotten_when_there_are_too_many() {
        let mut sessions = Sessions::default();
        let first = sessions.begin(person());
        let second = sessions.begin(person());
        for _ in 1..KEPT {
            sessions.begin(person());
        }
        assert_eq!(sessions.person(first), None);
        assert_eq!(sessions.person(second), Some(person()));
        sessions.end(second);
        assert_eq!(sessions.person(second), None);
    }
}
