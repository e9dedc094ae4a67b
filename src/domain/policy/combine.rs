//! One decision out of many. The tables of XACML 3.0 appendix C, with extended Indeterminate; for rules and
//! policies they are the same.

use super::names::Algorithm;
use super::{Decision, Potential};

/// Combines the decisions of rules, in the order of the policy.
pub(super) fn combine(
    algorithm: Algorithm,
    decisions: impl IntoIterator<Item = Decision>,
) -> Decision {
    let mut decisions = decisions.into_iter();
    match algorithm {
        Algorithm::DenyOverrides => overrides(decisions, Decision::Deny),
        Algorithm::PermitOverrides => overrides(decisions, Decision::Permit),
        Algorithm::DenyUnlessPermit => unless(decisions, Decision::Permit, Decision::Deny),
        Algorithm::PermitUnlessDeny => unless(decisions, Decision::Deny, Decision::Permit),
        Algorithm::FirstApplicable => decisions
            .find(|decision| *decision != Decision::NotApplicable)
            .unwrap_or(Decision::NotApplicable),
    }
}

/// C.6 deny-unless-permit, C.7 permit-unless-deny: an empty list gives `otherwise`.
fn unless(
    mut decisions: impl Iterator<Item = Decision>,
    sought: Decision,
    otherwise: Decision,
) -> Decision {
    if decisions.any(|decision| decision == sought) { sought } else { otherwise }
}

/// C.2 deny-overrides and C.4 permit-overrides: one table, with the two effects exchanged.
fn overrides(decisions: impl Iterator<Item = Decision>, strong: Decision) -> Decision {
    let mut seen = Seen::default();
    for decision in decisions {
        seen.note(decision);
    }
    let (strong_potential, weak_potential, weak) = match strong {
        Decision::Permit => (Potential::Permit, Potential::Deny, Decision::Deny),
        Decision::Deny | Decision::NotApplicable | Decision::Indeterminate(_) => {
            (Potential::Deny, Potential::Permit, Decision::Permit)
        }
    };
    let failed = |potential| seen.has(Decision::Indeterminate(potential));
    let could_be_strong = failed(strong_potential);
    if seen.has(strong) {
        strong
    } else if failed(Potential::Both)
        || (could_be_strong && (failed(weak_potential) || seen.has(weak)))
    {
        Decision::Indeterminate(Potential::Both)
    } else if could_be_strong {
        Decision::Indeterminate(strong_potential)
    } else if seen.has(weak) {
        weak
    } else if failed(weak_potential) {
        Decision::Indeterminate(weak_potential)
    } else {
        Decision::NotApplicable
    }
}

/// Which decisions occur.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn note(&mut self, decision: Decision) {
        self.0 |= bit(decision);
    }

    fn has(&self, decision: Decision) -> bool {
        self.0 & bit(decision) != 0
    }
}

fn bit(decision: Decision) -> u8 {
    match decision {
        Decision::NotApplicable => 0,
        Decision::Permit => 1,
        Decision::Deny => 2,
        Decision::Indeterminate(Potential::Permit) => 4,
        Decision::Indeterminate(Potential::Deny) => 8,
        Decision::Indeterminate(Potential::Both) => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Algorithm::{
        DenyOverrides, DenyUnlessPermit, FirstApplicable, PermitOverrides, PermitUnlessDeny,
    };

    const P: Decision = Decision::Permit;
    const D: Decision = Decision::Deny;
    const NA: Decision = Decision::NotApplicable;
    const IP: Decision = Decision::Indeterminate(Potential::Permit);
    const ID: Decision = Decision::Indeterminate(Potential::Deny);
    const IDP: Decision = Decision::Indeterminate(Potential::Both);

    #[track_caller]
    fn table(algorithm: Algorithm, rows: &[(&[Decision], Decision, &str)]) {
        for (decisions, expected, why) in rows {
            assert_eq!(combine(algorithm, decisions.iter().copied()), *expected, "{why}");
        }
    }

    #[test]
    fn deny_overrides_as_in_appendix_c_2() {
        table(
            DenyOverrides,
            &[
                (&[], NA, "no rule"),
                (&[NA, NA], NA, "no rule applies"),
                (&[P, NA], P, "one permits"),
                (&[P, D], D, "deny wins over an earlier permit"),
                (&[D, P, IDP], D, "and over what failed"),
                (&[P, IP], P, "what could only permit changes nothing"),
                (&[IP, NA], IP, "nothing but what could permit"),
                (&[ID, NA], ID, "nothing but what could deny"),
                (&[P, ID], IDP, "a permit beside what could deny"),
                (&[ID, IP], IDP, "either could have been"),
                (&[P, IDP], IDP, "a failed policy"),
            ],
        );
    }

    #[test]
    fn permit_overrides_as_in_appendix_c_4() {
        table(
            PermitOverrides,
            &[
                (&[], NA, "no rule"),
                (&[D, NA], D, "one denies"),
                (&[D, P, IDP], P, "permit wins"),
                (&[D, ID], D, "what could only deny changes nothing"),
                (&[ID, NA], ID, "nothing but what could deny"),
                (&[IP, NA], IP, "nothing but what could permit"),
                (&[D, IP], IDP, "a deny beside what could permit"),
                (&[ID, IP], IDP, "either could have been"),
                (&[D, IDP], IDP, "a failed policy"),
            ],
        );
    }

    #[test]
    fn the_unless_algorithms_always_give_an_answer() {
        table(DenyUnlessPermit, &[(&[], D, "no rule"), (&[NA, IDP, ID], D, "no permit")]);
        table(DenyUnlessPermit, &[(&[D, IP, P], P, "a permit")]);
        table(PermitUnlessDeny, &[(&[], P, "no rule"), (&[NA, IDP, ID], P, "no deny")]);
        table(PermitUnlessDeny, &[(&[P, ID, D], D, "a deny")]);
    }

    #[test]
    fn first_applicable_ends_at_the_first_that_says_anything() {
        table(
            FirstApplicable,
            &[
                (&[], NA, "no rule"),
                (&[NA, P, D], P, "the first"),
                (&[NA, D, P], D, "the first, the other way"),
                (&[IP, D], IP, "what failed is not passed over"),
                (&[NA, NA], NA, "none"),
            ],
        );
    }
}
