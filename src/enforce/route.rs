//! Step 2: the one route that a method and a path belong to.
//!
//! Takes [`Admitted`], gives [`Routed`]. A path is matched as it stands: a template's fixed text
//! matches the same bytes and nothing else. No route is a refusal; so is a path that a laxer reader
//! (one that decodes, or ignores case or a last slash) would take to another route.

use super::admit::Admitted;
use super::path::{CanonicalPath, is_lax, lax};
use super::rejection::Rejection;
use super::told::RouteTold;
use crate::config::RouteConfig;
use http::Method;
use prometheus::{Histogram, IntCounter};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Every route, ready to be matched.
#[derive(Debug)]
pub struct Routes {
    table: Table,
    lax: Table,
}

type Table = matchit::Router<Vec<Arc<Route>>>;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub config: RouteConfig,
    /// What of it is told to the upstream.
    pub told: RouteTold,
    /// What is counted of it.
    pub counted: Counted,
    /// Names of the path variables, from left to right.
    variables: Vec<String>,
}

/// Members of the program's metrics that nearly every request of a route counts. Found by who counts the first one, and
/// kept here, so that the others need no look-up.
#[derive(Debug, Default)]
pub struct Counted {
    /// Requests that were permitted and forwarded.
    pub permitted: OnceLock<IntCounter>,
    /// Answers that say that all is well: 2xx.
    pub served: OnceLock<IntCounter>,
    /// Times from a request's head to the last byte of its answer.
    pub seconds: OnceLock<Histogram>,
}

/// Two routes that would match the same request, or a template that cannot be matched.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("route `{id}`: the path `{path}` conflicts with another route")]
pub struct RouteConflict {
    /// Id of the route that could not be added.
    pub id: String,
    /// Its path.
    pub path: String,
}

impl RouteConflict {
    fn of(route: &Route) -> Self {
        Self { id: route.config.id.clone(), path: route.config.path.clone() }
    }
}

/// A request and its route.
#[derive(Debug)]
pub struct Routed<'r> {
    pub(super) admitted: Admitted<'r>,
    pub(super) route: Arc<Route>,
    /// In place for as many as most templates have.
    values: SmallVec<[&'r str; 4]>,
}

impl Routes {
    /// Builds the table.
    ///
    /// # Errors
    /// [`RouteConflict`] for the first route that does not fit in.
    pub fn new(configs: Vec<RouteConfig>) -> Result<Self, RouteConflict> {
        let mut places: BTreeMap<String, Vec<Arc<Route>>> = BTreeMap::new();
        let mut lax_places: BTreeMap<String, Vec<Arc<Route>>> = BTreeMap::new();
        for config in configs {
            let (template, variables) = compile(&config.path);
            let told = RouteTold::of(&config);
            let counted = Counted::default();
            let route = Arc::new(Route { config, told, counted, variables });
            lax_places.entry(lax(&template)).or_default().push(Arc::clone(&route));
            let place = places.entry(template).or_default();
            if place.iter().any(|other| other.overlaps(&route)) {
                return Err(RouteConflict::of(&route));
            }
            place.push(route);
        }
        Ok(Self { table: table(places)?, lax: table(lax_places)? })
    }

    /// Finds the route.
    ///
    /// # Errors
    /// [`Rejection::NoRoute`].
    pub fn route<'r>(&self, admitted: Admitted<'r>) -> Result<Routed<'r>, Rejection> {
        let found = self.find(admitted.facts.method, admitted.path).ok_or(Rejection::NoRoute)?;
        let (route, values) = found;
        let values = values.iter().map(|(_, value)| value).collect();
        Ok(Routed { admitted, route: Arc::clone(route), values })
    }

    /// The route that a request for `path` has, if it has one.
    pub(super) fn of(&self, method: &Method, path: &str) -> Option<&Arc<Route>> {
        self.find(method, CanonicalPath::parse(path).ok()?).map(|(route, _)| route)
    }

    /// The route, and its variables from left to right.
    fn find<'p>(
        &self,
        method: &Method,
        path: CanonicalPath<'p>,
    ) -> Option<(&Arc<Route>, matchit::Params<'_, 'p>)> {
        let found = self.table.at(path.as_str()).ok()?;
        let route = found.value.iter().find(|route| route.serves(method))?;
        let same = self.is_same_to_a_lax_reader(path, route);
        same.then_some((route, found.params))
    }

    fn is_same_to_a_lax_reader(&self, path: CanonicalPath<'_>, route: &Arc<Route>) -> bool {
        // Most paths are in this form already, which is seen without making it.
        if is_lax(path.as_str()) {
            return true;
        }
        let lax = lax(path.as_str());
        // The root trims to nothing.
        let found = self.lax.at(if lax.is_empty() { "/" } else { &lax });
        found.is_ok_and(|found| found.value.iter().any(|other| Arc::ptr_eq(other, route)))
    }
}

fn table(places: BTreeMap<String, Vec<Arc<Route>>>) -> Result<Table, RouteConflict> {
    let mut table = Table::new();
    for (template, place) in places {
        let conflict = place.first().map(|route| RouteConflict::of(route));
        let template = if template.is_empty() { "/".to_owned() } else { template };
        if let (Err(_), Some(conflict)) = (table.insert(template, place), conflict) {
            return Err(conflict);
        }
    }
    Ok(table)
}

impl Route {
    pub(super) fn serves(&self, method: &Method) -> bool {
        // HEAD is GET without the body (RFC 9110 §9.3.2).
        let head = *method == Method::HEAD && self.config.methods.contains(&Method::GET);
        head || self.config.methods.contains(method)
    }

    fn overlaps(&self, other: &Self) -> bool {
        other.config.methods.iter().any(|method| self.serves(method))
            || self.config.methods.iter().any(|method| other.serves(method))
    }
}

impl<'r> Routed<'r> {
    /// The raw text of a path variable; it has no percent sequence that hides a letter or digit.
    pub(super) fn variable(&self, name: &str) -> Option<&'r str> {
        let place = self.route.variables.iter().position(|variable| variable == name)?;
        self.values.get(place).copied()
    }
}

/// A template with its variables numbered, so that `/a/{x}` and `/a/{y}` are the same place.
fn compile(path: &str) -> (String, Vec<String>) {
    let mut variables = Vec::new();
    let segments: Vec<String> = path
        .split('/')
        .map(|segment| {
            if segment == "*" {
                return "{*tail}".to_owned();
            }
            match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => {
                    variables.push(name.to_owned());
                    format!("{{v{}}}", variables.len())
                }
                None => segment.to_owned(),
            }
        })
        .collect();
    (segments.join("/"), variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::test_support::{admitted, anonymous_route};

    fn routes(list: &[(&str, &str, &str)]) -> Result<Routes, RouteConflict> {
        Routes::new(
            list.iter().map(|(id, method, path)| anonymous_route(id, method, path)).collect(),
        )
    }

    fn find(routes: &Routes, method: &str, path: &str) -> Option<String> {
        admitted(method, path, |admitted| {
            routes.route(admitted).ok().map(|routed| routed.route.config.id.clone())
        })
    }

    #[test]
    fn a_request_has_the_route_of_its_method_and_path() {
        let table = routes(&[
            ("read", "GET", "/v1/parties/{party}/returns/{id}"),
            ("submit", "POST", "/v1/parties/{who}/returns/{id}"),
            ("list", "GET", "/v1/returns"),
            ("public", "GET", "/public/*"),
        ])
        .unwrap();
        let cases = [
            ("GET", "/v1/parties/310000027/returns/7", Some("read")),
            ("HEAD", "/v1/parties/310000027/returns/7", Some("read")),
            ("POST", "/v1/parties/310000027/returns/7", Some("submit")),
            ("GET", "/v1/returns", Some("list")),
            ("GET", "/public/a/b", Some("public")),
            ("DELETE", "/v1/returns", None),
            ("get", "/v1/returns", None),
            ("GET", "/v1/returns/", None),
            ("GET", "/V1/returns", None),
            ("GET", "/v1/returns/x", None),
            ("GET", "/public", None),
            ("GET", "/", None),
        ];
        for (method, path, expected) in cases {
            assert_eq!(find(&table, method, path).as_deref(), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_a_lax_reader_takes_elsewhere_has_no_route() {
        let table = routes(&[
            ("right", "GET", "/v1/vat:returns/{party}"),
            ("wide", "GET", "/v1/*"),
            ("root", "GET", "/"),
        ])
        .unwrap();
        let cases = [
            ("/v1/vat:returns/310000027", Some("right")),
            ("/v1/vat:returns/Ab%3A1", Some("right")),
            ("/v1/Other/x", Some("wide")),
            ("/v1/other/x/", Some("wide")),
            ("/", Some("root")),
            ("/v1/vat%3Areturns/310000027", None),
            ("/v1/VAT:returns/310000027", None),
            ("/v1/vat:returns/310000027/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(find(&table, "GET", path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn variables_are_read_by_name() {
        let table = routes(&[("read", "GET", "/a/{x}/b/{y}")]).unwrap();
        admitted("GET", "/a/1/b/2", |admitted| {
            let routed = table.route(admitted).unwrap();
            assert_eq!(routed.variable("x"), Some("1"));
            assert_eq!(routed.variable("y"), Some("2"));
            assert_eq!(routed.variable("z"), None);
        });
    }

    #[test]
    fn two_routes_for_the_same_request_are_a_conflict() {
        assert!(routes(&[("a", "GET", "/a/{x}"), ("b", "GET", "/a/{y}")]).is_err());
        assert!(routes(&[("a", "GET", "/a/{x}"), ("b", "HEAD", "/a/{y}")]).is_err());
        assert!(routes(&[("a", "GET", "/a/{x}"), ("b", "POST", "/a/{y}")]).is_ok());
        assert!(
            routes(&[("a", "GET", "/a/{x}"), ("b", "GET", "/a/b")]).is_ok(),
            "fixed text goes first"
        );
    }
}
