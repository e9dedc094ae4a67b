//! What is told to the upstream of a token and of a route, as values of header fields. Made once for each, since
//! to make a value anew for every request takes memory and to copy one takes none.

use crate::config::{AccessConfig, RouteConfig};
use crate::domain::claims::Claims;
use crate::domain::system_user::SystemUserId;
use bytes::Bytes;
use http::HeaderValue;

/// What a token says. The values share one piece of memory, since many tokens are remembered.
#[derive(Debug)]
pub struct TokenTold {
    /// Organisation number of the consumer.
    pub consumer: Option<HeaderValue>,
    /// Organisation number of the supplier, if there is one.
    pub supplier: Option<HeaderValue>,
    /// Id of the system.
    pub system: Option<HeaderValue>,
    /// Organisation number of the system user's owner.
    pub owner: Option<HeaderValue>,
    system_users: Box<[(SystemUserId, HeaderValue)]>,
}

impl TokenTold {
    pub(super) fn of(claims: &Claims) -> Self {
        let user = claims.system_user.as_ref();
        let ids = user.map_or(&[][..], |user| &user.ids);
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut texts = vec![
            claims.consumer.0.as_str(),
            claims.supplier.as_ref().map_or("", |supplier| supplier.0.as_str()),
            user.map_or("", |user| user.system.as_str()),
            user.map_or("", |user| user.owner.0.as_str()),
        ];
        texts.extend(names.iter().map(String::as_str));
        let mut values = values(&texts);
        let mut next = || values.next().flatten();
        Self {
            consumer: next(),
            supplier: next(),
            system: next(),
            owner: next(),
            system_users: ids.iter().filter_map(|id| Some((*id, next()?))).collect(),
        }
    }

    /// One of the token's system users.
    #[must_use]
    pub fn system_user(&self, id: SystemUserId) -> Option<&HeaderValue> {
        self.system_users.iter().find(|(known, _)| *known == id).map(|(_, value)| value)
    }
}

/// What a route says.
#[derive(Debug)]
pub struct RouteTold {
    /// The route's id.
    pub route: Option<HeaderValue>,
    /// The resource of its right, if it asks for one.
    pub resource: Option<HeaderValue>,
    /// The action of its right, if it asks for one.
    pub action: Option<HeaderValue>,
}

impl RouteTold {
    pub(super) fn of(route: &RouteConfig) -> Self {
        let right = match &route.access {
            AccessConfig::Right(right) => Some(&right.right),
            AccessConfig::Scopes(_) | AccessConfig::Anonymous => None,
        };
        let resource = right.map_or("", |right| right.resource.as_str());
        let action = right.map_or("", |right| right.action.as_str());
        let mut values = values(&[&route.id, resource, action]);
        let mut next = || values.next().flatten();
        Self { route: next(), resource: next(), action: next() }
    }
}

/// Each text as a value, all in one piece of memory; none for an empty one. Every text is digits, a UUID or
/// visible ASCII, so it is a header value.
fn values(texts: &[&str]) -> impl Iterator<Item = Option<HeaderValue>> + use<> {
    let whole = Bytes::from(texts.concat());
    let mut begin = 0;
    let slices = texts.iter().map(|text| {
        let slice = whole.slice(begin..begin + text.len());
        begin += text.len();
        slice
    });
    let slices: Vec<Bytes> = slices.collect();
    slices.into_iter().map(|slice| {
        (!slice.is_empty()).then(|| HeaderValue::from_maybe_shared(slice).ok()).flatten()
    })
}
