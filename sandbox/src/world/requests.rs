//! What vendors ask of customers: requests for a system user, and for changes to one.

use super::model::{SystemUserKind, is_zero};
use super::number::OrgNumber;
use super::party::is_false;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Age at which an unanswered request calls itself timed out. Nothing else happens then.
pub(crate) const TIME_OUT_SECONDS: i64 = 180 * 86_400;

/// How many requests of each kind a world holds; those that were withdrawn count too.
pub(crate) const MOST_REQUESTS: usize = 100_000;

/// Where a request stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum RequestStatus {
    #[default]
    New,
    Accepted,
    Rejected,
}

impl RequestStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Accepted => "Accepted",
            Self::Rejected => "Rejected",
        }
    }
}

/// A vendor asks a customer for a system user; the system user gets the id of the request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserRequest {
    pub(crate) id: Uuid,
    pub(crate) kind: SystemUserKind,
    pub(crate) system: String,
    pub(crate) party: OrgNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Resource ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rights: Vec<String>,
    /// Package codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) packages: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirect_url: Option<String>,
    #[serde(default)]
    pub(crate) status: RequestStatus,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) escalated: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) created: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
}

impl UserRequest {
    /// The external reference, by default the customer's number.
    pub(crate) fn reference(&self) -> &str {
        self.external_ref.as_deref().unwrap_or(self.party.as_str())
    }

    pub(crate) fn timed_out(&self, now: i64) -> bool {
        self.status == RequestStatus::New && now.saturating_sub(self.created) > TIME_OUT_SECONDS
    }
}

/// A vendor asks a customer to change what a system user holds; the id is the vendor's correlation id.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    pub(crate) id: Uuid,
    pub(crate) system_user: Uuid,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) required_rights: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unwanted_rights: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) required_packages: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unwanted_packages: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirect_url: Option<String>,
    #[serde(default)]
    pub(crate) status: RequestStatus,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) created: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
}

impl ChangeRequest {
    pub(crate) fn timed_out(&self, now: i64) -> bool {
        self.status == RequestStatus::New && now.saturating_sub(self.created) > TIME_OUT_SECONDS
    }
}
