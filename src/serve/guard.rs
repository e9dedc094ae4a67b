//! Who may see more of the admin listener than probes and metrics: whoever shows the token. Without a token in
//! the configuration, whoever asks on loopback, and elsewhere nobody.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use std::net::{IpAddr, SocketAddr};

/// Lets in, or does not.
#[derive(Clone, Debug)]
pub struct Guard(Rule);

#[derive(Clone, Debug)]
enum Rule {
    /// Whoever shows what has this digest: of one length, so that the length of a token is not told by time.
    Token(Digest),
    /// Everybody on this machine.
    Loopback,
    /// Nobody.
    Nobody,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closed {
    /// No token, or another one.
    Token,
    /// There is none that would open.
    NoToken,
    /// Another host than this machine is asked for: perhaps a page of somebody else's, whose name was made to lead
    /// here (DNS rebinding).
    Host,
}

impl Guard {
    /// Guards a listener at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<&SecretString>) -> Self {
        Self(match token {
            Some(token) => Rule::Token(digest(&SHA256, token.expose_secret().as_bytes())),
            None if address.ip().to_canonical().is_loopback() => Rule::Loopback,
            None => Rule::Nobody,
        })
    }

    /// Lets in who sends these header fields.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Closed> {
        match &self.0 {
            Rule::Token(expected) => {
                let shown = shown(headers).ok_or(Closed::Token)?;
                let shown = digest(&SHA256, &shown);
                verify_slices_are_equal(shown.as_ref(), expected.as_ref())
                    .map_err(|_| Closed::Token)
            }
            Rule::Loopback if asks_this_machine(headers) => Ok(()),
            Rule::Loopback => Err(Closed::Host),
            Rule::Nobody => Err(Closed::NoToken),
        }
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1), or of `Basic` with any name and the token as
/// password (RFC 7617), which is what browsers ask people for.
fn shown(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = only(headers, header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = STANDARD.decode(credentials).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    pair.get(colon + 1..).map(<[u8]>::to_vec)
}

/// Whether `Host` is `localhost` or an address: a name that somebody else made lead here is neither.
fn asks_this_machine(headers: &HeaderMap) -> bool {
    let authority = only(headers, header::HOST)
        .and_then(|value| value.to_str().ok()?.parse::<Authority>().ok())
        .filter(|authority| !authority.as_str().contains('@'));
    authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    })
}

/// The one field of this name.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn guard(address: &str, token: Option<&str>) -> Guard {
        Guard::new(address.parse().unwrap(), token.map(SecretString::from).as_ref())
    }

    fn headers(fields: &[(header::HeaderName, &str)]) -> HeaderMap {
        let all = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.extend(all.map(|(name, value): (_, HeaderValue)| (name, value)));
        headers
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn a_token_opens_wherever_it_is_asked_for_and_nothing_else_does() {
        let right = format!("Bearer {TOKEN}");
        let almost = format!("Bearer {}e", TOKEN.trim_end_matches('f'));
        for (value, opens) in [
            (right.as_str(), true),
            (&format!("bearer  {TOKEN}"), true),
            (&basic(&format!("anybody:{TOKEN}")), true),
            (&basic(&format!(":{TOKEN}")), true),
            (&basic(&format!("{TOKEN}:")), false),
            (&basic(TOKEN), false),
            (&basic(&format!("a:{TOKEN}:")), false),
            (&almost, false),
            (&format!("Bearer {TOKEN}0"), false),
            (&format!("Digest {TOKEN}"), false),
            ("Basic !", false),
            ("Bearer ", false),
            ("Bearer", false),
            (TOKEN, false),
            ("", false),
        ] {
            for address in ["127.0.0.1:9090", "0.0.0.0:9090", "[::]:9090"] {
                let told = guard(address, Some(TOKEN)).admit(&headers(&[
                    (header::HOST, "portvakt.example"),
                    (header::AUTHORIZATION, value),
                ]));
                assert_eq!(told, if opens { Ok(()) } else { Err(Closed::Token) }, "{value}");
            }
        }
        let twice = headers(&[(header::AUTHORIZATION, &right), (header::AUTHORIZATION, &right)]);
        assert_eq!(guard("127.0.0.1:1", Some(TOKEN)).admit(&twice), Err(Closed::Token));
        assert_eq!(guard("127.0.0.1:1", Some(TOKEN)).admit(&HeaderMap::new()), Err(Closed::Token));
    }

    #[test]
    fn without_a_token_only_loopback_is_open() {
        let here = headers(&[(header::HOST, "localhost:9090")]);
        for (address, expected) in [
            ("127.0.0.1:9090", Ok(())),
            ("127.9.9.9:9090", Ok(())),
            ("[::1]:9090", Ok(())),
            ("[::ffff:127.0.0.1]:9090", Ok(())),
            ("0.0.0.0:9090", Err(Closed::NoToken)),
            ("[::]:9090", Err(Closed::NoToken)),
            ("10.0.0.1:9090", Err(Closed::NoToken)),
        ] {
            assert_eq!(guard(address, None).admit(&here), expected, "{address}");
        }
        let bearer = headers(&[(header::AUTHORIZATION, "Bearer ")]);
        assert_eq!(guard("0.0.0.0:9090", None).admit(&bearer), Err(Closed::NoToken));
    }

    #[test]
    fn on_loopback_a_name_that_was_made_to_lead_here_is_turned_away() {
        for (host, opens) in [
            ("127.0.0.1:9090", true),
            ("localhost", true),
            ("LocalHost:1", true),
            ("[::1]:9090", true),
            ("10.1.2.3:9090", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9090", false),
            ("a@127.0.0.1", false),
            ("", false),
        ] {
            let told = guard("127.0.0.1:9090", None).admit(&headers(&[(header::HOST, host)]));
            assert_eq!(told, if opens { Ok(()) } else { Err(Closed::Host) }, "{host}");
        }
        let open = guard("127.0.0.1:9090", None);
        assert_eq!(open.admit(&HeaderMap::new()), Err(Closed::Host));
        let two = headers(&[(header::HOST, "localhost"), (header::HOST, "evil.example")]);
        assert_eq!(open.admit(&two), Err(Closed::Host));
    }
}
