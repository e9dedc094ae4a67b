//! The XACML JSON request: bound leniently, as the service does, with member names in any letter case.

use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) const SUBJECT_CATEGORY: &str =
    "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject";
pub(crate) const RESOURCE_CATEGORY: &str =
    "urn:oasis:names:tc:xacml:3.0:attribute-category:resource";
pub(crate) const ACTION_CATEGORY: &str = "urn:oasis:names:tc:xacml:3.0:attribute-category:action";
pub(crate) const STRING_TYPE: &str = "http://www.w3.org/2001/XMLSchema#string";

const DATA_TYPES: [&str; 4] = [
    "string",
    STRING_TYPE,
    "http://www.w3.org/2001/XMLSchema#anyURI",
    "http://www.w3.org/2001/XMLSchema#integer",
];

#[derive(Debug, Deserialize)]
struct RawEnvelope {
    request: RawRequest,
}

#[derive(Debug, Deserialize)]
struct RawRequest {
    accesssubject: Option<Vec<RawCategory>>,
    action: Option<Vec<RawCategory>>,
    resource: Option<Vec<RawCategory>>,
    category: Option<Vec<RawCategory>>,
    multirequests: Option<RawMulti>,
}

#[derive(Clone, Debug, Deserialize)]
struct RawCategory {
    categoryid: Option<String>,
    id: Option<String>,
    attribute: Option<Vec<Attribute>>,
}

#[derive(Debug, Deserialize)]
struct RawMulti {
    requestreference: Option<Vec<RawReference>>,
}

#[derive(Debug, Deserialize)]
struct RawReference {
    referenceid: Option<Vec<String>>,
}

/// One attribute of a category.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Attribute {
    attributeid: Option<String>,
    value: Option<String>,
    datatype: Option<String>,
    includeinresult: Option<bool>,
}

impl Attribute {
    fn of((id, value): (&str, &str)) -> Self {
        Self {
            attributeid: Some(id.to_owned()),
            value: Some(value.to_owned()),
            datatype: None,
            includeinresult: None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.attributeid.as_deref().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    pub(crate) fn data_type(&self) -> &str {
        self.datatype.as_deref().filter(|name| !name.is_empty()).unwrap_or(STRING_TYPE)
    }

    /// Whether a policy that compares strings looks at it.
    pub(crate) fn is_string(&self) -> bool {
        [STRING_TYPE, "string"].contains(&self.data_type())
    }

    pub(crate) fn wanted_in_result(&self) -> bool {
        self.includeinresult.unwrap_or(false)
    }
}

/// A bound request: one question, or several by reference.
#[derive(Debug)]
pub(crate) struct AuthorizeRequest {
    singles: Vec<SingleRequest>,
    lacks_ids: bool,
}

impl AuthorizeRequest {
    /// Binds a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let RawEnvelope { request } = serde_json::from_value(with_lower_case_names(value))
            .map_err(|error| error.to_string())?;
        Ok(Self::from_raw(&request))
    }

    fn from_raw(raw: &RawRequest) -> Self {
        let references = raw
            .multirequests
            .as_ref()
            .and_then(|multi| multi.requestreference.as_deref())
            .unwrap_or_default();
        // One reference or none: a single request of everything that is there.
        if references.len() < 2 {
            return Self { singles: vec![SingleRequest::merged(raw)], lacks_ids: false };
        }
        let lists = [&raw.accesssubject, &raw.action, &raw.resource];
        let lacks_ids = raw.resource.is_none()
            || lists.into_iter().flatten().flatten().any(|category| category.id.is_none());
        let singles =
            references.iter().map(|reference| SingleRequest::referenced(raw, reference)).collect();
        Self { singles, lacks_ids }
    }

    /// The questions in reference order.
    pub(crate) fn singles(&self) -> &[SingleRequest] {
        &self.singles
    }

    /// A multi request with a category that no reference can name.
    pub(crate) fn lacks_ids(&self) -> bool {
        self.lacks_ids
    }
}

/// One question.
#[derive(Debug, Default)]
pub(crate) struct SingleRequest {
    subjects: Vec<Vec<Attribute>>,
    subject_pool: Vec<Attribute>,
    action_pool: Vec<Attribute>,
    resource_pool: Vec<Attribute>,
    has_resource: bool,
}

impl SingleRequest {
    /// A question put together without a body; attributes are `(id, value)`.
    pub(crate) fn of(
        subject: (&str, &str),
        action: (&str, &str),
        resource: &[(&str, &str)],
    ) -> Self {
        let subject = vec![Attribute::of(subject)];
        Self {
            subject_pool: subject.clone(),
            subjects: vec![subject],
            action_pool: vec![Attribute::of(action)],
            resource_pool: resource.iter().map(|pair| Attribute::of(*pair)).collect(),
            has_resource: true,
        }
    }

    fn merged(raw: &RawRequest) -> Self {
        let extra = |category: &str| {
            let list = raw.category.iter().flatten();
            let wanted = list.filter(|item| item.categoryid.as_deref() == Some(category));
            wanted.cloned().collect::<Vec<_>>()
        };
        let all = |list: &Option<Vec<RawCategory>>, category: &str| {
            list.iter().flatten().cloned().chain(extra(category)).collect::<Vec<_>>()
        };
        Self::from_categories(
            &all(&raw.accesssubject, SUBJECT_CATEGORY),
            &all(&raw.action, ACTION_CATEGORY),
            &all(&raw.resource, RESOURCE_CATEGORY),
        )
    }

    /// An id that names nothing is silently ignored.
    fn referenced(raw: &RawRequest, reference: &RawReference) -> Self {
        let ids = reference.referenceid.as_deref().unwrap_or_default();
        let named = |list: &Option<Vec<RawCategory>>| {
            let list = list.iter().flatten();
            list.filter(|item| item.id.as_ref().is_some_and(|id| ids.contains(id)))
                .cloned()
                .collect::<Vec<_>>()
        };
        Self::from_categories(
            &named(&raw.accesssubject),
            &named(&raw.action),
            &named(&raw.resource),
        )
    }

    fn from_categories(
        subjects: &[RawCategory],
        actions: &[RawCategory],
        resources: &[RawCategory],
    ) -> Self {
        let pool = |list: &[RawCategory]| -> Vec<Attribute> {
            list.iter().flat_map(|item| item.attribute.iter().flatten()).cloned().collect()
        };
        Self {
            subjects: subjects
                .iter()
                .map(|item| item.attribute.clone().unwrap_or_default())
                .collect(),
            subject_pool: pool(subjects),
            action_pool: pool(actions),
            resource_pool: pool(resources),
            has_resource: !resources.is_empty(),
        }
    }

    /// Whether there is at least one subject and one resource category.
    pub(crate) fn is_complete(&self) -> bool {
        !self.subjects.is_empty() && self.has_resource
    }

    /// Whether every data type is one the service knows.
    pub(crate) fn has_known_types(&self) -> bool {
        let pools = [&self.subject_pool, &self.action_pool, &self.resource_pool];
        pools.into_iter().flatten().all(|item| DATA_TYPES.contains(&item.data_type()))
    }

    /// The subject category that the system-user check looks at.
    pub(crate) fn first_subject(&self) -> &[Attribute] {
        self.subjects.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The attributes of every subject category.
    pub(crate) fn subject(&self) -> &[Attribute] {
        &self.subject_pool
    }

    /// The attributes of every action category.
    pub(crate) fn action(&self) -> &[Attribute] {
        &self.action_pool
    }

    /// The attributes of every resource category.
    pub(crate) fn resource(&self) -> &[Attribute] {
        &self.resource_pool
    }

    /// The value of a resource attribute; of several the last one counts.
    pub(crate) fn resource_value(&self, id: &str) -> Option<&str> {
        self.resource_attribute(id).map(Attribute::text)
    }

    /// A resource attribute; of several the last one counts.
    pub(crate) fn resource_attribute(&self, id: &str) -> Option<&Attribute> {
        self.resource_pool.iter().rev().find(|item| item.id() == id)
    }
}

fn with_lower_case_names(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| (name.to_lowercase(), with_lower_case_names(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items.into_iter().map(with_lower_case_names).collect(),
        other => other,
    }
}
