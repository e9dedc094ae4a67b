//! What the admin listener is given to tell of the register.

use super::Way;
use crate::config::{Config, RouteConfig, summary};
use crate::enforce::Enforcer;
use crate::serve::guard::Guard;
use crate::serve::pages::InForce;
use crate::serve::register::{Bounds, Calls, CountCalls, RegisterPages, RouteGrace};
use crate::sync::Sync;
use std::sync::Arc;

/// The register's pages; `None` when none is kept.
pub(super) fn pages(
    config: &Config,
    enforcer: &Enforcer,
    sync: Option<&Sync>,
    calls: Option<CountCalls>,
) -> Option<RegisterPages> {
    let reader = enforcer.answers.as_ref()?.register.clone()?;
    Some(RegisterPages::new(reader, sync?.status(), bounds(config)?, calls))
}

/// The configuration in words.
pub(super) fn in_force(config: &Config, generation: u64) -> InForce {
    let (summary, withdrawn_note) = (summary::of(config), summary::memory());
    let problem_type = config.refusals.problem_type.clone();
    InForce { summary, withdrawn_note, problem_type, generation }
}

/// Who may see more of the admin listener than probes and metrics.
pub(super) fn guard(config: &Config) -> Guard {
    Guard::new(config.admin.address, config.admin.token.as_ref())
}

/// Counts calls on their way to Altinn.
pub(super) fn count_calls(way: Way) -> CountCalls {
    Arc::new(move || calls(&way))
}

fn calls(way: &Way) -> Calls {
    let load = way.gate.load();
    Calls {
        left: load.free_turns,
        in_flight: load.in_flight,
        waiting: load.waiting,
        behind: load.behind,
        paused: way.gate.paused(),
    }
}

/// What the configuration says of the register; `None` when it is switched off.
pub(super) fn bounds(config: &Config) -> Option<Bounds> {
    let register = config.register.as_ref()?;
    Some(Bounds {
        max_system_users: register.max_system_users.get(),
        max_bytes: register.max_bytes,
        policy_max_age: register.policies.max_age,
        graces: config.routes.iter().filter_map(grace).collect(),
    })
}

fn grace(route: &RouteConfig) -> Option<RouteGrace> {
    let right = route.right()?;
    let takes = |safe: bool| route.methods.iter().any(|method| method.is_safe() == safe);
    Some(RouteGrace {
        route: route.id.clone(),
        reads: takes(true).then_some(right.read.outage_grace),
        writes: takes(false).then_some(right.write.outage_grace),
    })
}
