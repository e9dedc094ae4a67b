//! The PROXY protocol, version 2: a load balancer's word on where a connection comes from, before anything
//! else on it. Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header that is read, its first 16 bytes apart. Two addresses take 36; the rest are notes.
const MOST: usize = 4096;

/// Reads the header and nothing behind it. `None`: the load balancer speaks for itself, as in a health check.
///
/// # Errors
/// When it is absent or malformed, or tells of no TCP connection over IP; and when the connection ends.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let [signature @ .., command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if signature != SIGNATURE || length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    source(command, family, &rest)
}

fn source(command: u8, family: u8, rest: &[u8]) -> io::Result<Option<IpAddr>> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    match (command, family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_OVER_IPV4) => {
            // Source, destination, and a port of each.
            let [a, b, c, d, ..] = *rest.first_chunk::<12>().ok_or(io::ErrorKind::InvalidData)?;
            Ok(Some(Ipv4Addr::new(a, b, c, d).into()))
        }
        (PROXY, TCP_OVER_IPV6) => {
            let addresses = rest.first_chunk::<36>().ok_or(io::ErrorKind::InvalidData)?;
            let source = addresses.first_chunk::<16>().ok_or(io::ErrorKind::InvalidData)?;
            Ok(Some(IpAddr::from(Ipv6Addr::from(*source)).to_canonical()))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    async fn told(bytes: &[u8]) -> Option<(Option<IpAddr>, usize)> {
        let mut left = bytes;
        let told = read(&mut left).await.ok()?;
        Some((told, left.len()))
    }

    #[tokio::test]
    async fn the_source_is_read_and_nothing_behind_the_header() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
        let six =
            [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 20]].concat();
        let address = |text: &str| Some(text.parse().unwrap());
        let cases = [
            (header(0x21, 0x11, &four), Some(address("192.0.2.1"))),
            (header(0x21, 0x21, &six), Some(address("2001:db8::9"))),
            (header(0x21, 0x11, &[&four[..], &[3, 0, 1, 9]].concat()), Some(address("192.0.2.1"))),
            (header(0x20, 0, &[]), Some(None)),
            (header(0x21, 0x11, &four[..11]), None),
            (header(0x21, 0x21, &six[..35]), None),
            // No TCP over IP; another version; another command.
            (header(0x21, 0, &[]), None),
            (header(0x21, 0x12, &four), None),
            (header(0x21, 0x31, &[0; 216]), None),
            (header(0x11, 0x11, &four), None),
            (header(0x22, 0x11, &four), None),
            (header(0x21, 0x11, &vec![0; MOST + 1]), None),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(), None),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), None),
        ];
        for (bytes, expected) in cases {
            let with_request = [&bytes[..], b"GET /"].concat();
            assert_eq!(told(&with_request).await, expected.map(|told| (told, 5)), "{bytes:?}");
        }
        let whole = header(0x21, 0x11, &four);
        for length in 0..whole.len() {
            assert_eq!(told(&whole[..length]).await, None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(
            command in any::<u8>(),
            family in any::<u8>(),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = source(command, family, &rest);
        }
    }
}
