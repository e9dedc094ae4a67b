//! XACML text -> [`Policy`]. Every element and attribute is either understood or an error: a narrow rule whose
//! condition was skipped would be a wide one.

use super::compare::is_value;
use super::element::{Children, Element, read, root};
use super::error::{Fault, PolicyError, quoted};
use super::names::{Algorithm, Category, DataType, Effect, Function, is_in, one_and_only};
use super::{
    AllOf, AnyOf, Condition, Designator, Match, ObligationExpression, Policy, Rule, Shape, Target,
    scan,
};
use crate::domain::decision::Obligation;
use crate::domain::delegation::PackageId;

const ACCESS_PACKAGE: &str = "urn:altinn:accesspackage";

impl Policy {
    /// Reads one `Policy` of XACML 3.0 in UTF-8, with or without a byte order mark. Source: XACML 3.0 §5.14,
    /// contract resource-registry.md §3.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing that is not understood, with its place. Nothing is skipped.
    pub fn parse(xml: &[u8]) -> Result<Self, PolicyError> {
        let text = scan::check(xml)?;
        let document = read(text)?;
        let element =
            root(&document, "Policy")?.only(&["PolicyId", "Version", "RuleCombiningAlgId"])?;
        element.attribute("Version")?;
        let mut children = element.children()?;
        description(&mut children)?;
        let mut policy = Self {
            id: element.attribute("PolicyId")?.to_owned(),
            algorithm: element.known("RuleCombiningAlgId", Algorithm::parse, Fault::Algorithm)?,
            target: target(children.need("Target")?)?,
            rules: rules(&mut children)?,
            obligations: obligations(&mut children)?,
            packages: std::collections::BTreeSet::new(),
        };
        children.end()?;
        policy.packages = policy.matches().filter_map(Match::package).collect();
        Ok(policy)
    }
}

impl Match {
    /// Whether it asks for an access package of the subject.
    pub(super) fn asks_for_package(&self) -> bool {
        self.designator.category == Category::Subject && self.designator.id == ACCESS_PACKAGE
    }

    /// The one access package that fulfils it, if there is exactly one.
    pub(super) fn package(&self) -> Option<PackageId> {
        let suffix = match self.function {
            Function::StringEqual => self.value.parse(),
            // Letters outside ASCII stay and do not parse, so that no folding is left open.
            Function::StringEqualIgnoreCase => self.value.to_ascii_lowercase().parse(),
            Function::AnyUriEqual | Function::IntegerEqual => return None,
        };
        suffix.ok().filter(|_| self.asks_for_package())
    }
}

/// Free text for people.
fn description(children: &mut Children<'_>) -> Result<(), PolicyError> {
    match children.take("Description") {
        Some(element) => element.only(&[])?.prose(),
        None => Ok(()),
    }
}

fn rules(children: &mut Children<'_>) -> Result<Vec<Rule>, PolicyError> {
    let mut rules = Vec::new();
    while let Some(element) = children.take("Rule") {
        rules.push(rule(element)?);
    }
    Ok(rules)
}

fn rule(element: Element<'_>) -> Result<Rule, PolicyError> {
    let element = element.only(&["RuleId", "Effect"])?;
    let mut children = element.children()?;
    description(&mut children)?;
    let rule = Rule {
        id: element.attribute("RuleId")?.to_owned(),
        effect: element.known("Effect", Effect::parse, Fault::Effect)?,
        target: children.take("Target").map(target).transpose()?,
        condition: children.take("Condition").map(condition).transpose()?,
    };
    // Obligations and advice of a rule too: the two readings differ in whether they count.
    children.end()?;
    Ok(rule)
}

fn target(element: Element<'_>) -> Result<Target, PolicyError> {
    let mut children = element.only(&[])?.children()?;
    let mut target = Target::default();
    while let Some(element) = children.take("AnyOf") {
        let all_of = element.only(&[])?.children()?.all("AllOf", all_of)?;
        target.any_of.push(AnyOf { all_of });
    }
    children.end()?;
    Ok(target)
}

fn all_of(element: Element<'_>) -> Result<AllOf, PolicyError> {
    let matches = element.only(&[])?.children()?.all("Match", one_match)?;
    Ok(AllOf { matches })
}

fn one_match(element: Element<'_>) -> Result<Match, PolicyError> {
    let element = element.only(&["MatchId"])?;
    let function = element.known("MatchId", Function::parse, Fault::Function)?;
    let mut children = element.children()?;
    let (data_type, value) = attribute_value(children.need("AttributeValue")?)?;
    let designator = designator(children.need("AttributeDesignator")?)?;
    children.end()?;
    let types = [data_type, designator.data_type];
    if types != [function.data_type(); 2] {
        return Err(element.fault(Fault::Types));
    }
    Ok(Match { function, value, designator })
}

fn attribute_value(element: Element<'_>) -> Result<(DataType, String), PolicyError> {
    let element = element.only(&["DataType"])?;
    let data_type = element.known("DataType", DataType::parse, Fault::DataType)?;
    let value = element.value()?;
    if is_value(data_type, value) {
        Ok((data_type, value.to_owned()))
    } else {
        Err(element.fault(Fault::Value(quoted(value))))
    }
}

fn designator(element: Element<'_>) -> Result<Designator, PolicyError> {
    let element =
        element.only(&["AttributeId", "Category", "DataType", "Issuer", "MustBePresent"])?;
    element.children()?.end()?;
    Ok(Designator {
        category: element.known("Category", Category::parse, Fault::Category)?,
        id: element.attribute("AttributeId")?.to_owned(),
        issuer: element.optional("Issuer").map(str::to_owned),
        data_type: element.known("DataType", DataType::parse, Fault::DataType)?,
        must_be_present: element.known(
            "MustBePresent",
            |text| text.parse().ok(),
            Fault::Boolean,
        )?,
    })
}

/// The two shapes of a condition that both readings give a meaning to. Source: XACML 3.0 §5.25, §A.3.10.
fn condition(element: Element<'_>) -> Result<Condition, PolicyError> {
    let mut children = element.only(&[])?.children()?;
    let apply = children.need("Apply")?.only(&["FunctionId"])?;
    children.end()?;
    match is_in(apply.attribute("FunctionId")?) {
        Some(function) => membership(apply, function),
        None => comparison(apply),
    }
}

fn membership(apply: Element<'_>, function: Function) -> Result<Condition, PolicyError> {
    let mut arguments = apply.children()?;
    let value = attribute_value(arguments.need("AttributeValue")?)?;
    let designator = designator(arguments.need("AttributeDesignator")?)?;
    arguments.end()?;
    finished(apply, Shape::IsIn, function, value, designator)
}

fn comparison(apply: Element<'_>) -> Result<Condition, PolicyError> {
    let function = apply.known("FunctionId", Function::parse, Fault::Function)?;
    let mut arguments = apply.children()?;
    let first = arguments.take("AttributeValue").map(attribute_value).transpose()?;
    let only = arguments.need("Apply")?.only(&["FunctionId"])?;
    let value = match first {
        Some(value) => value,
        None => attribute_value(arguments.need("AttributeValue")?)?,
    };
    arguments.end()?;
    let data_type = only.known("FunctionId", one_and_only, Fault::Function)?;
    let mut bag = only.children()?;
    let designator = designator(bag.need("AttributeDesignator")?)?;
    bag.end()?;
    if data_type != designator.data_type {
        return Err(only.fault(Fault::Types));
    }
    finished(apply, Shape::OneAndOnly, function, value, designator)
}

fn finished(
    apply: Element<'_>,
    shape: Shape,
    function: Function,
    (data_type, value): (DataType, String),
    designator: Designator,
) -> Result<Condition, PolicyError> {
    if [data_type, designator.data_type] == [function.data_type(); 2] {
        Ok(Condition { shape, function, value, designator })
    } else {
        Err(apply.fault(Fault::Types))
    }
}

fn obligations(children: &mut Children<'_>) -> Result<Vec<ObligationExpression>, PolicyError> {
    let Some(element) = children.take("ObligationExpressions") else {
        return Ok(Vec::new());
    };
    let expressions = element.only(&[])?.children()?.all("ObligationExpression", obligation)?;
    Ok(expressions.into_iter().flatten().collect())
}

/// One obligation for each assignment, since the category says what it is; one without any would say nothing.
fn obligation(element: Element<'_>) -> Result<Vec<ObligationExpression>, PolicyError> {
    let element = element.only(&["ObligationId", "FulfillOn"])?;
    element.attribute("ObligationId")?;
    let fulfil_on = element.known("FulfillOn", Effect::parse, Fault::Effect)?;
    let assignments = element.children()?.all("AttributeAssignmentExpression", assignment)?;
    let due = |obligation| ObligationExpression { fulfil_on, obligation };
    Ok(assignments.into_iter().map(due).collect())
}

fn assignment(element: Element<'_>) -> Result<Obligation, PolicyError> {
    let element = element.only(&["AttributeId", "Category"])?;
    element.attribute("AttributeId")?;
    let mut children = element.children()?;
    // Only what is written out: an attribute of the request would make the obligation depend on it.
    let (_, value) = attribute_value(children.need("AttributeValue")?)?;
    children.end()?;
    Ok(Obligation { category: element.attribute("Category")?.to_owned(), value })
}
