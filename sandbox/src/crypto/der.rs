//! Just enough DER to take a PKCS#8 key apart and to make and read the sandbox's own certificates.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// A cursor over concatenated DER values.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The content of the next value, if it has this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).map(|(content, _)| content)
    }

    /// The next value with its tag and length, if it has this tag.
    pub(crate) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).map(|(_, whole)| whole)
    }

    /// Goes into the next value, if it has this tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.content(tag).map(Reader::new)
    }

    fn next(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (&found, after_tag) = self.rest.split_first()?;
        let (&first, after_first) = after_tag.split_first()?;
        let (length, body) = if first < 0x80 {
            (usize::from(first), after_first)
        } else {
            let (digits, body) = after_first.split_at_checked(usize::from(first & 0x7f))?;
            let number = digits.iter().try_fold(0_usize, |number, digit| {
                number.checked_mul(256)?.checked_add(usize::from(*digit))
            })?;
            (number, body)
        };
        let (content, rest) = body.split_at_checked(length)?;
        if found != tag {
            return None;
        }
        let (whole, _) = self.rest.split_at_checked(self.rest.len() - rest.len())?;
        self.rest = rest;
        Some((content, whole))
    }
}

/// One value: tag, length and the parts joined as content.
pub(crate) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let digits: Vec<u8> =
        content.len().to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
    let mut out = vec![tag];
    match digits.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            out.extend_from_slice(long);
        }
    }
    out.extend(content);
    out
}

/// A non-negative integer from big-endian bytes.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let trimmed = without_leading_zeros(bytes);
    match trimmed.first() {
        None => value(INTEGER, &[&[0]]),
        Some(first) if *first >= 0x80 => value(INTEGER, &[&[0], trimmed]),
        Some(_) => value(INTEGER, &[trimmed]),
    }
}

/// Big-endian bytes as JWK wants them.
pub(crate) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_read_back() {
        let long = vec![7_u8; 300];
        let bytes = value(SEQUENCE, &[&value(OCTET_STRING, &[&long]), &integer(&[0x80])]);
        let mut inside = Reader::new(&bytes).enter(SEQUENCE).unwrap();
        assert_eq!(inside.content(OCTET_STRING).unwrap(), long);
        assert_eq!(inside.content(INTEGER).unwrap(), [0, 0x80]);
        assert!(inside.content(INTEGER).is_none());
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        assert!(Reader::new(&[SEQUENCE, 5, 1]).content(SEQUENCE).is_none());
        assert!(Reader::new(&[SEQUENCE, 0x88, 255]).content(SEQUENCE).is_none());
    }
}
