//! Chance that can be repeated, and what a seed makes of it: a plan of events.

/// `SplitMix64`.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// A number that depends on these alone: not on who asks first.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |mixed, part| Dice::new(mixed ^ part).next())
}

pub(crate) const USERS: u64 = 3;
pub(crate) const PARTIES: u64 = 2;
pub(crate) const RESOURCES: u64 = 3;
pub(crate) const PACKAGES: u64 = 4;
pub(crate) const KEYS: u64 = 4;

/// How somebody outside answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Weather {
    Fair,
    Down,
    Slow,
    Throttled,
    Rubbish,
    Indeterminate,
    /// Some calls fail.
    Flaky,
    /// The PDP hides failed look-ups as "nothing covers it".
    Hiding,
}

/// What a system user may hold for a party.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Held {
    Package(u64),
    Single(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Pdp,
    Register,
    Both,
    Issuer,
}

/// A token's key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kid {
    /// The newest that the issuer has.
    Newest,
    /// One that it has, or had, or may have later.
    Any(u64),
    /// One that nobody has.
    MadeUp(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) user: u64,
    /// A second system user in the token.
    pub(crate) other: Option<u64>,
    pub(crate) party: u64,
    pub(crate) resource: u64,
    pub(crate) write: bool,
    pub(crate) kid: Kid,
    /// How long ago the token was issued, in seconds; it lasts for a minute.
    pub(crate) issued: i64,
    /// The greatest age that the caller asks for, in seconds.
    pub(crate) max_age: Option<u64>,
    /// After so many milliseconds the client leaves.
    pub(crate) leaves: Option<u64>,
    /// The answer goes on for as long as it is granted.
    pub(crate) stream: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Grant(u64, u64, Held),
    Revoke(u64, u64, Held),
    RevokeAll(u64),
    /// The packages that open a resource for reading, that open it for writing, and that close it; a bit each.
    Policy(u64, u64, u64, u64),
    PolicyGone(u64),
    Weather(Part, Weather),
    Publish(u64),
    Withdraw(u64),
    DiskFull(bool),
    /// The wall clock is set, by so many seconds.
    Jump(i64),
    /// The program dies and comes back after so many milliseconds.
    Crash(u64),
    /// The program is stopped as it should be, and comes back.
    Drain(u64),
    Reload(u64),
    Request(Call),
}

/// An event, and how long after the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// In milliseconds, whole tens: what is done between steps never falls on the same moment.
    pub(crate) gap: u64,
    pub(crate) event: Event,
}

/// What happens in the world of a seed. Depends on the seed alone, so that any part of it can be left out.
pub(crate) fn plan(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let count = 25 + dice.below(30);
    let mut steps = Vec::new();
    for _ in 0..count {
        let step = Step { gap: gap(&mut dice), event: event(&mut dice) };
        steps.push(step);
        // What a clock that was set back does to the snapshot is seen by a restart only.
        if matches!(step.event, Event::Jump(..0)) && dice.percent(60) {
            let gap = 10 * (110 + dice.below(800));
            steps.push(Step { gap, event: Event::Drain(10 * dice.below(200)) });
        }
    }
    steps
}

/// One package in a policy in three.
pub(crate) fn closes(dice: &mut Dice) -> u64 {
    if dice.percent(33) { 1 << dice.below(PACKAGES) } else { 0 }
}

fn gap(dice: &mut Dice) -> u64 {
    10 * match dice.below(100) {
        0..40 => 1 + dice.below(30),
        40..75 => 1 + dice.below(200),
        75..97 => 1 + dice.below(700),
        _ => 1 + dice.below(4000),
    }
}

fn event(dice: &mut Dice) -> Event {
    let held = |dice: &mut Dice| {
        if dice.percent(70) {
            Held::Package(dice.below(PACKAGES))
        } else {
            Held::Single(dice.below(RESOURCES))
        }
    };
    match dice.below(1000) {
        0..60 => Event::Grant(dice.below(USERS), dice.below(PARTIES), held(dice)),
        60..130 => Event::Revoke(dice.below(USERS), dice.below(PARTIES), held(dice)),
        130..140 => Event::RevokeAll(dice.below(USERS)),
        140..165 => {
            Event::Policy(dice.below(RESOURCES), dice.below(8), dice.below(8), closes(dice))
        }
        165..172 => Event::PolicyGone(dice.below(RESOURCES)),
        172..250 => {
            let part =
                dice.pick(&[Part::Pdp, Part::Register, Part::Both, Part::Both, Part::Issuer]);
            let bad = [
                Weather::Down,
                Weather::Down,
                Weather::Slow,
                Weather::Throttled,
                Weather::Rubbish,
                Weather::Indeterminate,
                Weather::Flaky,
                Weather::Hiding,
            ];
            let weather = if dice.percent(45) { Weather::Fair } else { dice.pick(&bad) };
            Event::Weather(part, weather)
        }
        250..262 => Event::Publish(dice.below(KEYS)),
        262..274 => Event::Withdraw(dice.below(KEYS)),
        274..284 => Event::DiskFull(dice.percent(50)),
        284..304 => {
            let far = if dice.percent(30) { 3600 } else { 60 };
            let seconds = 3 + i64::try_from(dice.below(far)).unwrap();
            Event::Jump(if dice.percent(50) { seconds } else { -seconds })
        }
        304..320 => Event::Crash(10 * dice.below(1500)),
        320..334 => Event::Drain(10 * dice.below(300)),
        334..352 => Event::Reload(dice.below(2)),
        _ => Event::Request(call(dice)),
    }
}

fn call(dice: &mut Dice) -> Call {
    let kid = match dice.below(100) {
        0..84 => Kid::Newest,
        84..94 => Kid::Any(dice.below(KEYS)),
        _ => Kid::MadeUp(dice.below(3)),
    };
    let issued = match dice.below(100) {
        0..86 => 0,
        86..93 => 60,
        _ => 90,
    };
    Call {
        user: dice.below(USERS),
        other: dice.percent(10).then(|| dice.below(USERS)),
        party: dice.below(PARTIES),
        resource: dice.below(RESOURCES),
        write: dice.percent(30),
        kid,
        issued,
        max_age: dice.percent(10).then(|| dice.below(12)),
        leaves: dice.percent(5).then(|| 10 * (1 + dice.below(20))),
        stream: dice.percent(15),
    }
}
