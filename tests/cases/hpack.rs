//! HPACK (RFC 7541): field lists written so that nothing is checked or compressed, and answers read.

/// Writes a field list: each field a literal that is never indexed, each character of it one byte.
pub(crate) fn encode(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, text: &[u8]) {
    // The length with seven bits in its first byte.
    let mut rest = text.len();
    if rest < 0x7f {
        block.push(low_bits(rest));
    } else {
        block.push(0x7f);
        rest -= 0x7f;
        while rest > 0x7f {
            block.push(low_bits(rest & 0x7f) | 0x80);
            rest >>= 7;
        }
        block.push(low_bits(rest));
    }
    block.extend_from_slice(text);
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number).expect("seven bits")
}

/// Reads a field list of a peer that was told to keep no table; `None` when it is none.
pub(crate) fn decode(mut block: &[u8]) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    while let Some(first) = block.first().copied() {
        match first {
            0x80.. => {
                let index = integer(&mut block, 7)?;
                let (name, value) = STATIC.get(index.checked_sub(1)?)?;
                fields.push(((*name).to_owned(), (*value).to_owned()));
            }
            // A new size of a table that we do not have.
            0x20..=0x3f => drop(integer(&mut block, 5)?),
            _ => {
                let index = integer(&mut block, if first >= 0x40 { 6 } else { 4 })?;
                let name = match index.checked_sub(1) {
                    Some(place) => STATIC.get(place)?.0.to_owned(),
                    None => string(&mut block)?,
                };
                fields.push((name, string(&mut block)?));
            }
        }
    }
    Some(fields)
}

fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let mut byte = || {
        let (first, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*first))
    };
    let most = (1 << bits) - 1;
    let mut number = byte()? & most;
    if number < most {
        return Some(number);
    }
    for shift in [0, 7, 14, 21] {
        let next = byte()?;
        number += (next & 0x7f) << shift;
        if next < 0x80 {
            return Some(number);
        }
    }
    None
}

fn string(block: &mut &[u8]) -> Option<String> {
    let squeezed = *block.first()? >= 0x80;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length)?;
    *block = rest;
    if squeezed { huffman(bytes) } else { Some(bytes.iter().copied().map(char::from).collect()) }
}

/// The code of RFC 7541, Appendix B, is canonical: codes of one length follow each other in the order of
/// their bytes, so the lengths are all there is to know.
fn huffman(bytes: &[u8]) -> Option<String> {
    let mut by_length: Vec<(u8, u8)> = LENGTHS.iter().copied().zip(0..=u8::MAX).collect::<Vec<_>>();
    by_length.sort_unstable();
    let (mut code, mut last) = (0_u32, 0);
    let codes: std::collections::BTreeMap<(u8, u32), u8> = by_length
        .into_iter()
        .map(|(length, byte)| {
            code <<= length - last;
            last = length;
            let entry = ((length, code), byte);
            code += 1;
            entry
        })
        .collect();
    let (mut text, mut read, mut length) = (String::new(), 0_u32, 0_u8);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        read = read << 1 | u32::from(bit);
        length += 1;
        if let Some(byte) = codes.get(&(length, read)) {
            text.push(char::from(*byte));
            (read, length) = (0, 0);
        }
    }
    // What is left over is padding, all ones.
    (length < 8 && read == (1 << length) - 1).then_some(text)
}

#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30,
    28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5,
    7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22,
    22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23,
    22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22,
    21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26,
    26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
    24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27,
    27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541, Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""),
    ("vary", ""), ("via", ""), ("www-authenticate", ""),
];
