//! Whether what is derived agrees with Altinn's PDP: samples, and resources for which derivation is off
//! because it did not.

use super::ports::{Saved, StorableQuestion};
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::resource::{Question, ResourceId};
use crate::enforce::answers::REMEMBERED;
use std::collections::HashMap;
use std::time::Duration;

/// Altinn's PDP remembers policies for ten minutes (contract authorization.md §4); a minute is added for what
/// it takes to get there.
const POLICIES: Duration = Duration::from_secs(11 * 60);
/// Agreements in a row after which a resource is derived again.
const ENOUGH: u32 = 3;

/// What a comparison of a derived permit with the PDP came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Both permit.
    Agreed,
    /// The PDP said no, and read anew the register derives nothing either: what was read had grown old.
    Outdated,
    /// They differ, and something changed so shortly before that the PDP may not know it yet.
    AltinnCaches,
    /// They differ, and nothing explains it.
    Disagreed,
    /// The PDP, or what the system user holds, could not be asked.
    Undecided,
}

impl Outcome {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Outdated => "outdated",
            Self::AltinnCaches => "altinn_caches",
            Self::Disagreed => "disagreed",
            Self::Undecided => "undecided",
        }
    }
}

/// What is known when the PDP has said no to a derived permit, twice.
pub(super) struct Dispute {
    /// What the PDP said the second time.
    pub(super) second: Result<Verdict, Undecided>,
    /// Whether what the system user holds could be read anew.
    pub(super) read: bool,
    /// Whether the register still derives a permit from it.
    pub(super) derived: bool,
    /// How long ago what the system user holds last changed.
    pub(super) entry_changed: Option<Duration>,
    /// How long ago the policy last changed.
    pub(super) policy_changed: Option<Duration>,
}

impl Dispute {
    pub(super) fn outcome(&self) -> Outcome {
        let recent = |age: Option<Duration>, within| age.is_some_and(|age| age < within);
        match self.second {
            Err(_) => Outcome::Undecided,
            Ok(Verdict::Permit) => Outcome::Agreed,
            Ok(_) if !self.read => Outcome::Undecided,
            Ok(_) if !self.derived => Outcome::Outdated,
            Ok(_)
                if recent(self.entry_changed, REMEMBERED)
                    || recent(self.policy_changed, POLICIES) =>
            {
                Outcome::AltinnCaches
            }
            Ok(_) => Outcome::Disagreed,
        }
    }
}

/// The resources for which derivation is off, each with the question on which both differ. That question is
/// asked again now and then; what others ask about the resource says nothing of it.
#[derive(Debug, Default)]
pub(super) struct SwitchedOff(HashMap<ResourceId, (Question, u32)>);

impl SwitchedOff {
    /// The PDP disagreed about this question; whether its resource was derived until now.
    pub(super) fn disagreed(&mut self, question: Question) -> bool {
        self.0.insert(question.resource().clone(), (question, 0)).is_none()
    }

    /// Whether nothing is derived about this resource.
    pub(super) fn contains(&self, resource: &ResourceId) -> bool {
        self.0.contains_key(resource)
    }

    /// What is to be written of it, about each of these resources.
    pub(super) fn save<'a>(
        &self,
        resources: impl Iterator<Item = &'a ResourceId>,
        batch: &mut Vec<Saved>,
    ) {
        batch.extend(resources.map(|resource| {
            let held = self.0.get(resource).map(|(question, _)| question.clone());
            let held = held.and_then(StorableQuestion::of);
            held.map_or_else(|| Saved::SwitchedOn(resource.clone()), Saved::SwitchedOff)
        }));
    }

    /// The questions that are to be asked again.
    pub(super) fn disputed(&self) -> impl Iterator<Item = &Question> {
        self.0.values().map(|(question, _)| question)
    }

    /// The question was asked again; whether its resource may be derived from now on.
    pub(super) fn compared(&mut self, question: &Question, agreed: bool) -> bool {
        let Some((_, agreements)) = self.0.get_mut(question.resource()) else { return false };
        *agreements = if agreed { *agreements + 1 } else { 0 };
        let enough = *agreements >= ENOUGH;
        if enough {
            self.0.remove(question.resource());
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::Cause;

    const LONG_AGO: Option<Duration> = Some(Duration::from_secs(3600));

    fn dispute() -> Dispute {
        Dispute {
            second: Ok(Verdict::NotApplicable),
            read: true,
            derived: true,
            entry_changed: LONG_AGO,
            policy_changed: LONG_AGO,
        }
    }

    #[test]
    fn only_what_nothing_explains_is_a_disagreement() {
        let just_now = |seconds| Some(Duration::from_secs(seconds));
        let cases = [
            ("nothing explains it", dispute(), Outcome::Disagreed),
            ("denied, too", Dispute { second: Ok(Verdict::Deny), ..dispute() }, Outcome::Disagreed),
            (
                "a hidden fault of the PDP",
                Dispute { second: Ok(Verdict::Permit), ..dispute() },
                Outcome::Agreed,
            ),
            (
                "asked in vain",
                Dispute { second: Err(Cause::TimedOut.into()), ..dispute() },
                Outcome::Undecided,
            ),
            ("read in vain", Dispute { read: false, ..dispute() }, Outcome::Undecided),
            ("withdrawn meanwhile", Dispute { derived: false, ..dispute() }, Outcome::Outdated),
            (
                "delegated five minutes ago",
                Dispute { entry_changed: just_now(359), ..dispute() },
                Outcome::AltinnCaches,
            ),
            (
                "delegated six minutes ago",
                Dispute { entry_changed: just_now(360), ..dispute() },
                Outcome::Disagreed,
            ),
            (
                "a new policy",
                Dispute { policy_changed: just_now(659), ..dispute() },
                Outcome::AltinnCaches,
            ),
            (
                "a policy of eleven minutes",
                Dispute { policy_changed: just_now(660), ..dispute() },
                Outcome::Disagreed,
            ),
        ];
        for (why, dispute, expected) in cases {
            assert_eq!(dispute.outcome(), expected, "{why}");
        }
    }

    #[test]
    fn a_resource_is_derived_again_after_three_agreements_in_a_row() {
        let question = crate::enforce::test_support::question("read");
        let mut off = SwitchedOff::default();
        assert!(off.disagreed(question.clone()));
        assert!(!off.disagreed(question.clone()), "off already");
        assert!(off.contains(question.resource()) && off.disputed().eq([&question]));
        for agreed in [true, true, false, true, true] {
            assert!(!off.compared(&question, agreed));
        }
        assert!(off.compared(&question, true));
        assert!(!off.compared(&question, true), "on already");
        assert!(!off.contains(question.resource()));
    }
}
