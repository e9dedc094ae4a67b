//! Decision requests and responses of XACML in XML and in the JSON profile, read and written. The product writes
//! one question and reads one answer; this reads what anybody sends, so it lives with the tests.

use portvakt::domain::policy::{Attribute, Category, Request};
use roxmltree::{Document, Node};
use serde_json::{Map, Value, json};

pub(crate) const STRING: &str = "http://www.w3.org/2001/XMLSchema#string";
const NAMESPACE: &str = "urn:oasis:names:tc:xacml:3.0:core:schema:wd-17";
const SHORT: [(&str, &str); 3] = [
    ("accesssubject", "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject"),
    ("action", "urn:oasis:names:tc:xacml:3.0:attribute-category:action"),
    ("resource", "urn:oasis:names:tc:xacml:3.0:attribute-category:resource"),
];

/// One attribute, of a request or of a result.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Given {
    pub(crate) id: String,
    pub(crate) issuer: Option<String>,
    pub(crate) data_type: String,
    pub(crate) values: Vec<String>,
    pub(crate) include: bool,
}

/// Attributes of one category.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Attributes {
    pub(crate) category: String,
    pub(crate) id: Option<String>,
    pub(crate) given: Vec<Given>,
}

/// A decision request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) attributes: Vec<Attributes>,
    /// The requests of a multi-request, each by the ids of its categories.
    pub(crate) references: Vec<Vec<String>>,
}

/// One assignment of an obligation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) obligation: String,
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) data_type: String,
    pub(crate) value: String,
}

/// One result.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) decision: String,
    pub(crate) status: String,
    pub(crate) obligations: Vec<Assignment>,
    pub(crate) attributes: Vec<Attributes>,
}

impl Asked {
    /// The request as a policy sees it. A category that no policy here speaks of is left out.
    pub(crate) fn request(&self) -> Request {
        let mut attributes = Vec::new();
        for of in &self.attributes {
            let Some(category) = Category::parse(&of.category) else { continue };
            for given in &of.given {
                attributes.push(Attribute {
                    category,
                    id: given.id.clone(),
                    issuer: given.issuer.clone(),
                    data_type: given.data_type.clone(),
                    values: given.values.clone(),
                });
            }
        }
        Request::new(attributes)
    }
}

/// Bytes as text: UTF-8, or UTF-16 with a byte order mark.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, String> {
    let units = |big: bool| {
        let pairs = bytes[2..].chunks(2);
        let unit = |pair: &[u8]| {
            let pair = [pair[0], *pair.get(1).unwrap_or(&0)];
            if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        String::from_utf16(&pairs.map(unit).collect::<Vec<_>>()).map_err(|error| error.to_string())
    };
    match bytes {
        [0xff, 0xfe, ..] => units(false),
        [0xfe, 0xff, ..] => units(true),
        _ => String::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).to_vec())
            .map_err(|error| error.to_string()),
    }
}

fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.has_tag_name((NAMESPACE, name)))
}

fn text(node: Node<'_, '_>) -> String {
    node.children().filter(Node::is_text).filter_map(|part| part.text()).collect()
}

fn xml_attributes(of: Node<'_, '_>) -> Result<Attributes, String> {
    let need = |node: Node<'_, '_>, name| {
        node.attribute(name).map(str::to_owned).ok_or(format!("no {name}"))
    };
    let mut attributes = Attributes {
        category: need(of, "Category")?,
        id: of.attribute("id").map(str::to_owned),
        given: vec![],
    };
    for attribute in children(of, "Attribute") {
        // A bag of values of one type each, as the standard has it.
        for value in children(attribute, "AttributeValue") {
            attributes.given.push(Given {
                id: need(attribute, "AttributeId")?,
                issuer: attribute.attribute("Issuer").map(str::to_owned),
                data_type: need(value, "DataType")?,
                values: vec![text(value)],
                include: attribute.attribute("IncludeInResult") == Some("true"),
            });
        }
    }
    Ok(attributes)
}

fn xml<'a>(document: &'a Document<'a>, root: &'static str) -> Result<Node<'a, 'a>, String> {
    let element = document.root_element();
    if element.has_tag_name((NAMESPACE, root)) { Ok(element) } else { Err(format!("no {root}")) }
}

/// Reads a `Request` in XML.
pub(crate) fn read_xml_request(source: &str) -> Result<Asked, String> {
    let document = Document::parse(source).map_err(|error| error.to_string())?;
    let root = xml(&document, "Request")?;
    let attributes = children(root, "Attributes").map(xml_attributes).collect::<Result<_, _>>()?;
    let references =
        children(root, "MultiRequests").flat_map(|of| children(of, "RequestReference"));
    let ids = |reference| {
        let parts = children(reference, "AttributesReference");
        parts.filter_map(|part| part.attribute("ReferenceId")).map(str::to_owned).collect()
    };
    Ok(Asked { attributes, references: references.map(ids).collect() })
}

/// Reads a `Response` in XML.
pub(crate) fn read_xml_response(source: &str) -> Result<Vec<Told>, String> {
    let document = Document::parse(source).map_err(|error| error.to_string())?;
    let results = children(xml(&document, "Response")?, "Result").map(xml_result);
    results.collect()
}

fn xml_result(result: Node<'_, '_>) -> Result<Told, String> {
    let status = children(result, "Status").flat_map(|status| children(status, "StatusCode"));
    let mut told = Told {
        decision: children(result, "Decision")
            .map(text)
            .next()
            .ok_or("no decision")?
            .trim()
            .to_owned(),
        status: status
            .filter_map(|code| code.attribute("Value"))
            .map(str::to_owned)
            .next()
            .unwrap_or_default(),
        ..Told::default()
    };
    for obligation in children(result, "Obligations").flat_map(|of| children(of, "Obligation")) {
        for assignment in children(obligation, "AttributeAssignment") {
            let of = |node: Node<'_, '_>, name| node.attribute(name).unwrap_or_default().to_owned();
            told.obligations.push(Assignment {
                obligation: of(obligation, "ObligationId"),
                id: of(assignment, "AttributeId"),
                category: of(assignment, "Category"),
                data_type: of(assignment, "DataType"),
                value: text(assignment),
            });
        }
    }
    told.attributes =
        children(result, "Attributes").map(xml_attributes).collect::<Result<_, _>>()?;
    Ok(told)
}

/// A member by its name in any case; two spellings of one name are an error.
fn member<'a>(object: &'a Value, name: &str) -> Result<Option<&'a Value>, String> {
    let object = object.as_object().ok_or(format!("no object with {name}"))?;
    let mut found = object.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(format!("{name} twice")),
        (first, _) => Ok(first.map(|(_, value)| value).filter(|value| !value.is_null())),
    }
}

fn list<'a>(object: &'a Value, name: &str) -> Result<&'a [Value], String> {
    let list =
        member(object, name)?.map(|value| value.as_array().ok_or(format!("{name} is no list")));
    Ok(list.transpose()?.map_or(&[], Vec::as_slice))
}

fn string(object: &Value, name: &str) -> Result<Option<String>, String> {
    Ok(member(object, name)?.and_then(Value::as_str).map(str::to_owned))
}

fn json_attributes(of: &Value, short: Option<&str>) -> Result<Attributes, String> {
    let category = string(of, "CategoryId")?.or(short.map(str::to_owned)).ok_or("no category")?;
    let mut attributes = Attributes { category, id: string(of, "Id")?, given: vec![] };
    for attribute in list(of, "Attribute")? {
        let data_type = string(attribute, "DataType")?.filter(|given| !given.is_empty());
        attributes.given.push(Given {
            id: string(attribute, "AttributeId")?.ok_or("no attribute id")?,
            issuer: string(attribute, "Issuer")?,
            data_type: data_type.unwrap_or_else(|| STRING.to_owned()),
            values: vec![string(attribute, "Value")?.ok_or("no value")?],
            include: member(attribute, "IncludeInResult")?
                .and_then(Value::as_bool)
                .unwrap_or_default(),
        });
    }
    Ok(attributes)
}

/// Reads a `Request` of the JSON profile, in either spelling of its names.
pub(crate) fn read_json_request(source: &str) -> Result<Asked, String> {
    let source: Value = serde_json::from_str(source).map_err(|error| error.to_string())?;
    let request = member(&source, "Request")?.ok_or("no request")?;
    let mut asked = Asked::default();
    for (name, category) in SHORT {
        for of in list(request, name)? {
            asked.attributes.push(json_attributes(of, Some(category))?);
        }
    }
    for of in list(request, "Category")? {
        asked.attributes.push(json_attributes(of, None)?);
    }
    if let Some(multi) = member(request, "MultiRequests")? {
        for reference in list(multi, "RequestReference")? {
            let ids = list(reference, "ReferenceId")?.iter().filter_map(Value::as_str);
            asked.references.push(ids.map(str::to_owned).collect());
        }
    }
    Ok(asked)
}

/// Reads a `Response` of the JSON profile, in either spelling of its names.
pub(crate) fn read_json_response(source: &str) -> Result<Vec<Told>, String> {
    let source: Value = serde_json::from_str(source).map_err(|error| error.to_string())?;
    list(&source, "Response")?.iter().map(json_result).collect()
}

fn json_result(result: &Value) -> Result<Told, String> {
    let status =
        member(result, "Status")?.map(|status| member(status, "StatusCode")).transpose()?.flatten();
    let mut told = Told {
        decision: string(result, "Decision")?.ok_or("no decision")?,
        status: status.map(|code| string(code, "Value")).transpose()?.flatten().unwrap_or_default(),
        ..Told::default()
    };
    for obligation in list(result, "Obligations")? {
        for assignment in list(obligation, "AttributeAssignment")? {
            let of = |object, name| Ok::<_, String>(string(object, name)?.unwrap_or_default());
            told.obligations.push(Assignment {
                obligation: of(obligation, "Id")?,
                id: of(assignment, "AttributeId")?,
                category: of(assignment, "Category")?,
                data_type: of(assignment, "DataType")?,
                value: of(assignment, "Value")?,
            });
        }
    }
    for of in list(result, "Category")? {
        told.attributes.push(json_attributes(of, None)?);
    }
    Ok(told)
}

fn write_attributes(of: &Attributes, short: bool) -> Value {
    let attribute = |given: &Given| {
        json!({ "AttributeId": given.id, "DataType": given.data_type, "Value": given.values[0],
            "IncludeInResult": given.include, "Issuer": given.issuer })
    };
    let mut written = Map::new();
    if !short {
        written.insert("CategoryId".into(), json!(of.category));
    }
    written.extend(of.id.iter().map(|id| ("Id".to_owned(), json!(id))));
    written.insert("Attribute".into(), of.given.iter().map(attribute).collect());
    Value::Object(written)
}

/// Writes a request in the JSON profile.
pub(crate) fn write_json_request(asked: &Asked) -> Value {
    let mut request = Map::new();
    for (name, category) in
        [("AccessSubject", SHORT[0].1), ("Action", SHORT[1].1), ("Resource", SHORT[2].1)]
    {
        let of = asked.attributes.iter().filter(|of| of.category == category);
        request.insert(name.into(), of.map(|of| write_attributes(of, true)).collect());
    }
    let short = |of: &&Attributes| SHORT.iter().any(|(_, category)| of.category == *category);
    let others = asked.attributes.iter().filter(|of| !short(of));
    request.insert("Category".into(), others.map(|of| write_attributes(of, false)).collect());
    if !asked.references.is_empty() {
        let references = asked.references.iter().map(|ids| json!({ "ReferenceId": ids }));
        request.insert(
            "MultiRequests".into(),
            json!({ "RequestReference": references.collect::<Vec<_>>() }),
        );
    }
    json!({ "Request": request })
}

/// Writes a response in the JSON profile.
pub(crate) fn write_json_response(told: &[Told]) -> Value {
    let obligation = |one: &Assignment| {
        json!({ "id": one.obligation, "attributeAssignment": [{ "attributeId": one.id, "value": one.value,
            "category": one.category, "dataType": one.data_type, "issuer": null }] })
    };
    let result = |told: &Told| {
        json!({ "decision": told.decision, "status": { "statusCode": { "value": told.status } },
            "obligations": told.obligations.iter().map(obligation).collect::<Vec<_>>(),
            "category": told.attributes.iter().map(|of| write_attributes(of, false)).collect::<Vec<_>>() })
    };
    json!({ "response": told.iter().map(result).collect::<Vec<_>>() })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write_xml_attributes(of: &Attributes) -> String {
    let attribute = |given: &Given| {
        format!(
            "<Attribute AttributeId=\"{}\"{} IncludeInResult=\"{}\"><AttributeValue DataType=\"{}\">{}\
             </AttributeValue></Attribute>",
            escaped(&given.id),
            given
                .issuer
                .as_ref()
                .map(|issuer| format!(" Issuer=\"{}\"", escaped(issuer)))
                .unwrap_or_default(),
            given.include,
            escaped(&given.data_type),
            escaped(&given.values[0])
        )
    };
    let id = of.id.as_ref().map(|id| format!(" id=\"{}\"", escaped(id))).unwrap_or_default();
    let given: String = of.given.iter().map(attribute).collect();
    format!("<Attributes Category=\"{}\"{id}>{given}</Attributes>", escaped(&of.category))
}

/// Writes a request in XML.
pub(crate) fn write_xml_request(asked: &Asked) -> String {
    let attributes: String = asked.attributes.iter().map(write_xml_attributes).collect();
    let part = |id: &String| format!("<AttributesReference ReferenceId=\"{}\"/>", escaped(id));
    let reference = |ids: &Vec<String>| {
        format!("<RequestReference>{}</RequestReference>", ids.iter().map(part).collect::<String>())
    };
    let references: String = asked.references.iter().map(reference).collect();
    let multi = if references.is_empty() {
        String::new()
    } else {
        format!("<MultiRequests>{references}</MultiRequests>")
    };
    format!(
        "<Request xmlns=\"{NAMESPACE}\" CombinedDecision=\"false\" ReturnPolicyIdList=\"false\">{attributes}{multi}\
         </Request>"
    )
}

/// Writes a response in XML.
pub(crate) fn write_xml_response(told: &[Told]) -> String {
    let assignment = |one: &Assignment| {
        format!(
            "<Obligation ObligationId=\"{}\"><AttributeAssignment AttributeId=\"{}\" Category=\"{}\" \
             DataType=\"{}\">{}</AttributeAssignment></Obligation>",
            escaped(&one.obligation),
            escaped(&one.id),
            escaped(&one.category),
            escaped(&one.data_type),
            escaped(&one.value)
        )
    };
    let result = |told: &Told| {
        format!(
            "<Result><Decision>{}</Decision><Status><StatusCode Value=\"{}\"/></Status><Obligations>{}</Obligations>\
             {}</Result>",
            told.decision,
            escaped(&told.status),
            told.obligations.iter().map(assignment).collect::<String>(),
            told.attributes.iter().map(write_xml_attributes).collect::<String>()
        )
    };
    let results: String = told.iter().map(result).collect();
    format!("<Response xmlns=\"{NAMESPACE}\">{results}</Response>")
}
