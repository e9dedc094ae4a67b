//! What a policy is evaluated against: attributes by category.

use super::Designator;
use super::names::Category;

/// Values of one attribute. Source: XACML 3.0 §5.46.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attribute {
    /// What it describes.
    pub category: Category,
    /// Its id.
    pub id: String,
    /// Who vouches for it, if anybody is named.
    pub issuer: Option<String>,
    /// URI of its data type; one that no policy here compares never matches.
    pub data_type: String,
    /// Its values.
    pub values: Vec<String>,
}

/// The attributes of a decision request. Several with one id form one bag. Source: XACML 3.0 §5.42.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    attributes: Vec<Attribute>,
}

impl Request {
    /// A request with these attributes.
    #[must_use]
    pub fn new(attributes: Vec<Attribute>) -> Self {
        Self { attributes }
    }

    /// Adds a string, the type of all that Altinn's parties send.
    #[must_use]
    pub fn with(mut self, category: Category, id: &str, value: &str) -> Self {
        self.attributes.push(Attribute {
            category,
            id: id.to_owned(),
            issuer: None,
            data_type: super::DataType::String.urn().to_owned(),
            values: vec![value.to_owned()],
        });
        self
    }

    /// The attributes that `designator` names, whatever their type.
    pub(super) fn named<'a>(
        &'a self,
        designator: &'a Designator,
    ) -> impl Iterator<Item = &'a Attribute> {
        self.attributes.iter().filter(|attribute| {
            attribute.category == designator.category && attribute.id == designator.id
        })
    }

    /// Of these, the values of the designator's type: the bag in Altinn's reading.
    pub(super) fn typed<'a>(&'a self, designator: &'a Designator) -> impl Iterator<Item = &'a str> {
        self.named(designator).filter_map(typed_as(designator)).flatten().map(String::as_str)
    }

    /// And of the designator's issuer, if it names one: the bag in the standard's. Source: XACML 3.0 §7.3.4.
    pub(super) fn bag<'a>(&'a self, designator: &'a Designator) -> impl Iterator<Item = &'a str> {
        let issued = self.named(designator).filter(|attribute| {
            designator.issuer.is_none() || designator.issuer == attribute.issuer
        });
        issued.filter_map(typed_as(designator)).flatten().map(String::as_str)
    }
}

fn typed_as<'a>(designator: &'a Designator) -> impl Fn(&'a Attribute) -> Option<&'a Vec<String>> {
    |attribute| (attribute.data_type == designator.data_type.urn()).then_some(&attribute.values)
}
