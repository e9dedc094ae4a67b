//! Who calls from the portal, and what he or she may do for an organisation there.

use super::problems;
use crate::altinn::Refusal;
use crate::altinn::bearer::Caller;
use crate::state::Shared;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::number::{OrgNumber, PersonNumber};
use crate::world::party::Organization;
use axum::http::{HeaderMap, StatusCode};

/// Scope of the portal's tokens.
const SCOPE: &str = "altinn:portal/enduser";

/// A person who is logged in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portal {
    person: PersonNumber,
    level: u8,
}

impl Portal {
    /// The caller with a token of the portal.
    pub(super) fn enter(shared: &Shared, headers: &HeaderMap) -> Result<Self, StatusCode> {
        Self::with_scope(shared, headers, SCOPE)
    }

    /// A person with a token of another end-user system.
    pub(super) fn with_scope(
        shared: &Shared,
        headers: &HeaderMap,
        scope: &str,
    ) -> Result<Self, StatusCode> {
        let caller = Caller::authorize(shared, headers, &[scope])?;
        let person = caller.person().ok_or(StatusCode::FORBIDDEN)?;
        Ok(Self { person, level: caller.level() })
    }

    /// What the person may do for an organisation.
    pub(super) fn authority(self, world: &World, organization: OrgNumber) -> Authority<'_> {
        Authority::of(world, self.person, organization, self.level)
    }

    /// The organisation with a party id, for whoever has to do with it.
    pub(super) fn organization(
        self,
        world: &World,
        party_id: u64,
    ) -> Result<(&Organization, Authority<'_>), Refusal> {
        let number = world
            .party_by_id(party_id)
            .and_then(|party| party.number().organization())
            .ok_or(StatusCode::FORBIDDEN)?;
        let organization = world.organizations.get(&number).ok_or(StatusCode::FORBIDDEN)?;
        let authority = self.authority(world, number);
        if authority.is_known() {
            Ok((organization, authority))
        } else {
            Err(StatusCode::FORBIDDEN.into())
        }
    }

    /// The same for access managers.
    pub(super) fn managed(
        self,
        world: &World,
        party_id: u64,
    ) -> Result<(&Organization, Authority<'_>), Refusal> {
        let (organization, authority) = self.organization(world, party_id)?;
        if authority.manages_access() {
            Ok((organization, authority))
        } else {
            Err(problems::auth(66))
        }
    }

    /// The same for client administrators.
    pub(super) fn administered(
        self,
        world: &World,
        party_id: u64,
    ) -> Result<&Organization, Refusal> {
        let (organization, authority) = self.organization(world, party_id)?;
        if authority.administers_clients() {
            Ok(organization)
        } else {
            Err(StatusCode::FORBIDDEN.into())
        }
    }
}
