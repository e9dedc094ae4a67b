//! Why a policy was not loaded: what, and where in the text.

/// A policy that is not loaded, whole.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct PolicyError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong there.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a policy. Texts are as written, cut to 200 characters; policies are public.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Larger than [`super::MAX_POLICY_BYTES`].
    #[error("larger than a policy may be")]
    TooLarge,
    /// Elements within elements.
    #[error("elements nested too deep")]
    TooDeep,
    /// Too many elements.
    #[error("too many elements")]
    TooManyElements,
    /// Too many attributes and namespaces at one element.
    #[error("too many attributes at one element")]
    TooManyAttributes,
    /// Not UTF-8, or said not to be.
    #[error("encoding {0}: a policy is UTF-8")]
    Encoding(String),
    /// A document type, and with it entities.
    #[error("a document type: entities and external texts are not read")]
    DocumentType,
    /// `<![CDATA[`
    #[error("a CDATA section")]
    Cdata,
    /// `<?…?>`, but for the XML declaration.
    #[error("a processing instruction")]
    ProcessingInstruction,
    /// Not well-formed.
    #[error("not well-formed XML")]
    Malformed(#[source] roxmltree::Error),
    /// An element of another namespace, or of an older XACML.
    #[error("`{0}` is not in the namespace of XACML 3.0")]
    Namespace(String),
    /// An element that this program does not evaluate, not at this place, or once more.
    #[error("`{element}` within `{parent}` is not understood")]
    Element {
        /// What it stands in.
        parent: String,
        /// Its name.
        element: String,
    },
    /// An element that must be there.
    #[error("`{parent}` has no `{element}` where it must")]
    MissingElement {
        /// What it is missing from.
        parent: String,
        /// Its name.
        element: &'static str,
    },
    /// An attribute that this program does not evaluate.
    #[error("the attribute `{0}` is not understood")]
    Attribute(String),
    /// An attribute that must be there, with a value.
    #[error("the attribute `{0}` is missing")]
    MissingAttribute(&'static str),
    /// Text between elements.
    #[error("text where only elements belong")]
    Text,
    /// A comment within a value: readers differ in what the value is then.
    #[error("a comment within a value")]
    Comment,
    /// White space at an end of a value: readers differ in whether it belongs to it.
    #[error("a value that begins or ends with white space")]
    WhiteSpace,
    /// A combining algorithm.
    #[error("the combining algorithm `{0}` is not understood")]
    Algorithm(String),
    /// An effect.
    #[error("the effect `{0}` is neither Permit nor Deny")]
    Effect(String),
    /// A function.
    #[error("the function `{0}` is not evaluated here")]
    Function(String),
    /// A data type.
    #[error("the data type `{0}` is not evaluated here")]
    DataType(String),
    /// A category of attributes.
    #[error("the category `{0}` is not understood")]
    Category(String),
    /// Neither `true` nor `false`.
    #[error("`{0}` is neither true nor false")]
    Boolean(String),
    /// A value that is not of its data type.
    #[error("`{0}` is not of its data type")]
    Value(String),
    /// A function over values of other types.
    #[error("function, value and attribute are not of one data type")]
    Types,
}

/// As much of a text as an error shows.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(200).collect()
}
