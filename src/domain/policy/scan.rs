//! Before the XML is parsed: encoding, size, depth and what no policy needs. One pass, no recursion.

use super::error::{Fault, PolicyError};

/// Largest policy, in bytes. The largest of Altinn's own tests has 53 000.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;

const MAX_DEPTH: usize = 32;
const MAX_ELEMENTS: usize = 50_000;
const MAX_ATTRIBUTES: usize = 32;

/// The policy as text without a byte order mark, bounded in every direction.
///
/// # Errors
/// [`Fault`] for what is not UTF-8, goes beyond a limit, or holds a document type, a CDATA section or a
/// processing instruction. What is not well-formed may pass; the parser finds it.
pub(super) fn check(bytes: &[u8]) -> Result<&str, PolicyError> {
    if bytes.len() > MAX_POLICY_BYTES {
        return Err(Fault::TooLarge.at("", 0));
    }
    let text = decode(bytes)?;
    let mut scan = Scan { text, depth: 0, elements: 0 };
    let mut place = declaration(text)?;
    while let Some(next) = scan.find(place, "<") {
        place = scan.markup(next)?;
    }
    Ok(text)
}

fn decode(bytes: &[u8]) -> Result<&str, PolicyError> {
    let encoding = |name: &str| Fault::Encoding(name.to_owned()).at("", 0);
    match bytes {
        [0xfe, 0xff, ..] | [0, b'<', ..] | [0xff, 0xfe, ..] | [b'<', 0, ..] => {
            return Err(encoding("UTF-16"));
        }
        _ => {}
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let text = std::str::from_utf8(valid).unwrap_or_default();
        Fault::Encoding("with bytes that are not UTF-8".to_owned()).at(text, text.len())
    })
}

/// Where the text goes on after the XML declaration, which must not name another encoding.
fn declaration(text: &str) -> Result<usize, PolicyError> {
    let Some(end) = text.starts_with("<?xml ").then(|| text.find("?>")).flatten() else {
        return Ok(0);
    };
    let declaration = text.get(..end).unwrap_or_default();
    if let Some((_, named)) = declaration.split_once("encoding") {
        let named = named.trim_start_matches([' ', '\t', '\r', '\n', '=']);
        let name = named.split(['"', '\'']).nth(1).unwrap_or_default();
        if !name.eq_ignore_ascii_case("utf-8") {
            return Err(Fault::Encoding(super::error::quoted(name)).at(text, 0));
        }
    }
    Ok(end + 2)
}

struct Scan<'a> {
    text: &'a str,
    depth: usize,
    elements: usize,
}

impl Scan<'_> {
    fn rest(&self, place: usize) -> &str {
        self.text.get(place..).unwrap_or_default()
    }

    /// Where `what` next begins.
    fn find(&self, place: usize, what: &str) -> Option<usize> {
        self.rest(place).find(what).map(|found| place + found)
    }

    /// Where the text goes on after the markup at `place`.
    fn markup(&mut self, place: usize) -> Result<usize, PolicyError> {
        let rest = self.rest(place);
        let refused = if rest.starts_with("<!--") {
            // From the dashes on: `<!-->` is no comment yet.
            return Ok(self.find(place + 4, "-->").map_or(self.text.len(), |end| end + 3));
        } else if rest.starts_with("<![CDATA[") {
            Fault::Cdata
        } else if rest.starts_with("<!") {
            Fault::DocumentType
        } else if rest.starts_with("<?") {
            Fault::ProcessingInstruction
        } else if rest.starts_with("</") {
            self.depth = self.depth.saturating_sub(1);
            return Ok(place + 2);
        } else {
            return self.start_tag(place);
        };
        Err(refused.at(self.text, place))
    }

    fn start_tag(&mut self, place: usize) -> Result<usize, PolicyError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(Fault::TooManyElements.at(self.text, place));
        }
        let mut attributes = 0;
        let mut bytes = self.rest(place).bytes().enumerate();
        let mut before = 0;
        while let Some((offset, byte)) = bytes.next() {
            match byte {
                b'"' | b'\'' => {
                    attributes += 1;
                    if attributes > MAX_ATTRIBUTES {
                        return Err(Fault::TooManyAttributes.at(self.text, place + offset));
                    }
                    // A value may hold `>` and `/`.
                    bytes.by_ref().find(|(_, closing)| *closing == byte);
                }
                b'>' if before == b'/' => return Ok(place + offset),
                b'>' => return self.deeper(place).map(|()| place + offset),
                _ => {}
            }
            before = byte;
        }
        Ok(self.text.len())
    }

    fn deeper(&mut self, place: usize) -> Result<(), PolicyError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Fault::TooDeep.at(self.text, place)) } else { Ok(()) }
    }
}

impl Fault {
    /// This fault at a byte of `text`.
    pub(super) fn at(self, text: &str, place: usize) -> PolicyError {
        let before = text.get(..place).unwrap_or_default();
        let last = before.rsplit('\n').next().unwrap_or_default();
        let line_breaks = before.matches('\n').count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        PolicyError { line: number(line_breaks), column: number(last.chars().count()), fault: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> Fault {
        check(bytes).unwrap_err().fault
    }

    #[test]
    fn a_policy_is_utf_8_with_or_without_a_byte_order_mark() {
        for text in [
            "<a/>",
            "\u{feff}<a/>",
            "<?xml version=\"1.0\"?><a/>",
            "<?xml version='1.0' encoding = 'UTF-8' standalone='no'?><a>æ</a>",
        ] {
            assert!(check(text.as_bytes()).is_ok(), "{text}");
        }
        let utf_16 = Fault::Encoding("UTF-16".into());
        let little: &[u8] = b"<\0a\0";
        let big: &[u8] = b"\0<\0a";
        for bytes in [&[b"\xff\xfe", little].concat(), &[b"\xfe\xff", big].concat(), little, big] {
            assert_eq!(fault(bytes), utf_16);
        }
        let latin = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a/>";
        assert_eq!(fault(latin.as_bytes()), Fault::Encoding("ISO-8859-1".into()));
        let error = check(b"<a>\n x\xe6</a>").unwrap_err();
        assert_eq!((error.line, error.column), (2, 3));
    }

    #[test]
    fn what_no_policy_needs_is_refused_where_it_stands() {
        for (text, expected) in [
            (
                "<!DOCTYPE p [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><p>&e;</p>",
                Fault::DocumentType,
            ),
            ("<p><![CDATA[x]]></p>", Fault::Cdata),
            ("<p><?php x ?></p>", Fault::ProcessingInstruction),
            ("<?xml-stylesheet href='x'?><p/>", Fault::ProcessingInstruction),
        ] {
            assert_eq!(fault(text.as_bytes()), expected, "{text}");
        }
        let error = check(b"<p>\n\n  <?x?></p>").unwrap_err();
        assert_eq!((error.line, error.column), (3, 3));
        // The same texts say nothing within a comment or a value.
        assert!(check(b"<p><!-- <!DOCTYPE <?x?> --><q a='<?x?> > />'/></p>").is_ok());
    }

    #[test]
    fn depth_elements_attributes_and_size_end_at_a_limit() {
        let nested = |depth| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(check(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(fault(nested(MAX_DEPTH + 1).as_bytes()), Fault::TooDeep);
        let beside = |count| format!("<a>{}</a>", "<b/>".repeat(count));
        assert!(check(beside(MAX_ELEMENTS - 1).as_bytes()).is_ok());
        assert_eq!(fault(beside(MAX_ELEMENTS).as_bytes()), Fault::TooManyElements);
        let attributes = |count| format!("<a {}/>", "x='>' ".repeat(count));
        assert!(check(attributes(MAX_ATTRIBUTES).as_bytes()).is_ok());
        assert_eq!(fault(attributes(MAX_ATTRIBUTES + 1).as_bytes()), Fault::TooManyAttributes);
        assert!(check(&vec![b' '; MAX_POLICY_BYTES]).is_ok());
        assert_eq!(fault(&vec![b' '; MAX_POLICY_BYTES + 1]), Fault::TooLarge);
    }
}
