//! Path templates: what a route matches, written so that it can be matched byte for byte.

use std::collections::BTreeSet;

/// A template that holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Template {
    /// Names of the variables, in order.
    pub(super) variables: Vec<String>,
    /// In the notation of `matchit`, variables numbered: equal for templates that match the same.
    pub(super) shape: String,
}

/// Why a template does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidTemplate {
    #[error("a path begins with `/`")]
    NoSlash,
    #[error("an empty segment: a canonical path has no `//`")]
    EmptySegment,
    #[error("a dot segment: a canonical path has none")]
    DotSegment,
    #[error("`*` stands for the whole last segment only")]
    Star,
    #[error(
        "a variable is a whole segment, such as `{{party}}`: letters, digits and `_` in braces"
    )]
    Variable,
    #[error("two variables have the same name")]
    SameName,
    #[error("a character that the path of a route cannot hold")]
    Character,
}

impl InvalidTemplate {
    pub(super) fn cure(self) -> &'static str {
        match self {
            Self::NoSlash => "write it like `/v1/parties/{party}`",
            Self::EmptySegment => "write one slash",
            Self::DotSegment => "write the path without `.` and `..`",
            Self::Star => "end the path with `/*`",
            Self::Variable => "write it like `/v1/parties/{party}/x`",
            Self::SameName => "give each variable a name of its own",
            Self::Character => {
                "write letters, digits and -._~!$&'()+,=:@ as they are; `%`, `;` and spaces are \
                 refused in every request"
            }
        }
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let rest = text.strip_prefix('/').ok_or(InvalidTemplate::NoSlash)?;
        let mut template = Self { variables: Vec::new(), shape: String::new() };
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            template.push(segment, segments.peek().is_none())?;
        }
        let names: BTreeSet<&String> = template.variables.iter().collect();
        if names.len() < template.variables.len() {
            return Err(InvalidTemplate::SameName);
        }
        Ok(template)
    }

    fn push(&mut self, segment: &str, last: bool) -> Result<(), InvalidTemplate> {
        self.shape.push('/');
        match segment {
            "" if last => {}
            "" => return Err(InvalidTemplate::EmptySegment),
            "." | ".." => return Err(InvalidTemplate::DotSegment),
            "*" if last => self.shape.push_str("{*rest}"),
            _ if segment.contains('*') => return Err(InvalidTemplate::Star),
            _ if segment.contains(['{', '}']) => {
                let name = variable(segment).ok_or(InvalidTemplate::Variable)?;
                self.shape.push_str(&["{v", &self.variables.len().to_string(), "}"].concat());
                self.variables.push(name.to_owned());
            }
            _ if segment.bytes().all(is_literal) => self.shape.push_str(segment),
            _ => return Err(InvalidTemplate::Character),
        }
        Ok(())
    }
}

fn variable(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    (begins && name.bytes().all(word)).then_some(name)
}

/// `pchar` of RFC 3986 §3.3 without `%` and `;`, which requests may not hold either, and `*`.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_canonical_and_its_variables_are_whole_segments() {
        let cases = [
            ("/", Ok("/")),
            ("/*", Ok("/{*rest}")),
            ("/v1/x", Ok("/v1/x")),
            ("/v1/x/", Ok("/v1/x/")),
            ("/v1/{party}/{_id2}", Ok("/v1/{v0}/{v1}")),
            ("/v1/{party}/*", Ok("/v1/{v0}/{*rest}")),
            ("/a.b/~c:d@e", Ok("/a.b/~c:d@e")),
            ("", Err(InvalidTemplate::NoSlash)),
            ("v1", Err(InvalidTemplate::NoSlash)),
            ("*", Err(InvalidTemplate::NoSlash)),
            ("//", Err(InvalidTemplate::EmptySegment)),
            ("/a//b", Err(InvalidTemplate::EmptySegment)),
            ("/a/../b", Err(InvalidTemplate::DotSegment)),
            ("/.", Err(InvalidTemplate::DotSegment)),
            ("/*/a", Err(InvalidTemplate::Star)),
            ("/a*", Err(InvalidTemplate::Star)),
            ("/{*rest}", Err(InvalidTemplate::Star)),
            ("/x{party}", Err(InvalidTemplate::Variable)),
            ("/{}", Err(InvalidTemplate::Variable)),
            ("/{1a}", Err(InvalidTemplate::Variable)),
            ("/{a-b}", Err(InvalidTemplate::Variable)),
            ("/{{a}}", Err(InvalidTemplate::Variable)),
            ("/{a}/{a}", Err(InvalidTemplate::SameName)),
            ("/a%2fb", Err(InvalidTemplate::Character)),
            ("/a;b", Err(InvalidTemplate::Character)),
            ("/a b", Err(InvalidTemplate::Character)),
            ("/a?b", Err(InvalidTemplate::Character)),
            ("/a\\b", Err(InvalidTemplate::Character)),
            ("/ærlig", Err(InvalidTemplate::Character)),
        ];
        for (text, expected) in cases {
            let shape = Template::parse(text).map(|template| template.shape);
            assert_eq!(shape, expected.map(str::to_owned), "{text}");
        }
    }
}
