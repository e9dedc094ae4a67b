//! Elements of XACML 3.0, taken one by one: whatever is left over when a parent ends is not understood.

use super::error::{Fault, PolicyError, quoted};
use roxmltree::{Node, NodeType, ParsingOptions};

const NAMESPACE: &str = "urn:oasis:names:tc:xacml:3.0:core:schema:wd-17";
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// An element in the namespace of XACML 3.0, whatever its prefix.
#[derive(Clone, Copy)]
pub(super) struct Element<'a>(Node<'a, 'a>);

/// The child elements of one, in order.
pub(super) struct Children<'a> {
    parent: Element<'a>,
    rest: std::iter::Peekable<std::vec::IntoIter<Element<'a>>>,
}

/// Reads a text that [`super::scan`] has let through.
///
/// # Errors
/// [`Fault::Malformed`], with the parser's reason.
pub(super) fn read(text: &str) -> Result<roxmltree::Document<'_>, PolicyError> {
    roxmltree::Document::parse_with_options(text, ParsingOptions::default()).map_err(|error| {
        let place = error.pos();
        PolicyError { line: place.row, column: place.col, fault: Fault::Malformed(error) }
    })
}

/// The root element, which must have this name.
pub(super) fn root<'a>(
    document: &'a roxmltree::Document<'a>,
    name: &'static str,
) -> Result<Element<'a>, PolicyError> {
    let root = Element::checked(document.root_element())?;
    if root.name() == name {
        Ok(root)
    } else {
        let element = quoted(root.name());
        Err(root.fault(Fault::Element { parent: "the document".to_owned(), element }))
    }
}

impl<'a> Element<'a> {
    fn checked(node: Node<'a, 'a>) -> Result<Self, PolicyError> {
        let element = Self(node);
        if node.tag_name().namespace() == Some(NAMESPACE) {
            Ok(element)
        } else {
            Err(element.fault(Fault::Namespace(quoted(node.tag_name().name()))))
        }
    }

    pub(super) fn name(self) -> &'a str {
        self.0.tag_name().name()
    }

    /// `fault`, at this element.
    pub(super) fn fault(self, fault: Fault) -> PolicyError {
        fault_at(self.0, fault)
    }

    /// Refuses every attribute but `known`, and where schemas are found, which says nothing.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, PolicyError> {
        let schema = |attribute: &roxmltree::Attribute<'_, '_>| {
            attribute.namespace() == Some(SCHEMA_INSTANCE)
                && matches!(attribute.name(), "schemaLocation" | "noNamespaceSchemaLocation")
        };
        let understood = |attribute: &roxmltree::Attribute<'_, '_>| {
            schema(attribute)
                || attribute.namespace().is_none() && known.contains(&attribute.name())
        };
        match self.0.attributes().find(|attribute| !understood(attribute)) {
            Some(attribute) => Err(self.fault(Fault::Attribute(quoted(attribute.name())))),
            None => Ok(self),
        }
    }

    pub(super) fn attribute(self, name: &'static str) -> Result<&'a str, PolicyError> {
        let value = self.0.attribute(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| self.fault(Fault::MissingAttribute(name)))
    }

    pub(super) fn optional(self, name: &'static str) -> Option<&'a str> {
        self.0.attribute(name)
    }

    /// An attribute that stands for something known, or the fault that it is otherwise.
    pub(super) fn known<T>(
        self,
        name: &'static str,
        parse: fn(&str) -> Option<T>,
        unknown: fn(String) -> Fault,
    ) -> Result<T, PolicyError> {
        let text = self.attribute(name)?;
        parse(text).ok_or_else(|| self.fault(unknown(quoted(text))))
    }

    /// The child elements. Comments may stand between them, text may not.
    pub(super) fn children(self) -> Result<Children<'a>, PolicyError> {
        let mut elements = Vec::new();
        for node in self.0.children() {
            match node.node_type() {
                NodeType::Element => elements.push(Self::checked(node)?),
                NodeType::Text if is_blank(node.text().unwrap_or_default()) => {}
                NodeType::Comment => {}
                NodeType::Text | NodeType::Root => return Err(fault_at(node, Fault::Text)),
                NodeType::PI => return Err(fault_at(node, Fault::ProcessingInstruction)),
            }
        }
        Ok(Children { parent: self, rest: elements.into_iter().peekable() })
    }

    /// Text for people, which may hold comments, but no elements.
    pub(super) fn prose(self) -> Result<(), PolicyError> {
        match self.0.children().find(Node::is_element) {
            Some(node) => Err(self.stranger(node)),
            None => Ok(()),
        }
    }

    fn stranger(self, node: Node<'_, '_>) -> PolicyError {
        let element = quoted(node.tag_name().name());
        fault_at(node, Fault::Element { parent: self.name().to_owned(), element })
    }

    /// The text of a value: whole, without elements, comments or white space at its ends.
    pub(super) fn value(self) -> Result<&'a str, PolicyError> {
        let mut text = "";
        for node in self.0.children() {
            match node.node_type() {
                NodeType::Text if text.is_empty() => text = node.text().unwrap_or_default(),
                NodeType::Text | NodeType::Root => return Err(fault_at(node, Fault::Text)),
                NodeType::Comment => return Err(fault_at(node, Fault::Comment)),
                NodeType::PI => return Err(fault_at(node, Fault::ProcessingInstruction)),
                NodeType::Element => return Err(self.stranger(node)),
            }
        }
        if text.trim() == text { Ok(text) } else { Err(self.fault(Fault::WhiteSpace)) }
    }
}

impl<'a> Children<'a> {
    /// The next child, if it has this name.
    pub(super) fn take(&mut self, name: &str) -> Option<Element<'a>> {
        self.rest.next_if(|element| element.name() == name)
    }

    /// The next child, which must have this name.
    pub(super) fn need(&mut self, name: &'static str) -> Result<Element<'a>, PolicyError> {
        if let Some(element) = self.take(name) {
            return Ok(element);
        }
        // What stands in its place tells more than what is missing.
        self.refuse_next()?;
        let parent = self.parent.name().to_owned();
        Err(self.parent.fault(Fault::MissingElement { parent, element: name }))
    }

    /// One or more children of this name, and nothing after them.
    pub(super) fn all<T>(
        mut self,
        name: &'static str,
        read: fn(Element<'a>) -> Result<T, PolicyError>,
    ) -> Result<Vec<T>, PolicyError> {
        let mut found = vec![read(self.need(name)?)?];
        while let Some(element) = self.take(name) {
            found.push(read(element)?);
        }
        self.end()?;
        Ok(found)
    }

    /// Nothing may be left.
    pub(super) fn end(mut self) -> Result<(), PolicyError> {
        self.refuse_next()
    }

    fn refuse_next(&mut self) -> Result<(), PolicyError> {
        let Some(element) = self.rest.next() else {
            return Ok(());
        };
        Err(self.parent.stranger(element.0))
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

fn fault_at(node: Node<'_, '_>, fault: Fault) -> PolicyError {
    let place = node.document().text_pos_at(node.range().start);
    PolicyError { line: place.row, column: place.col, fault }
}
