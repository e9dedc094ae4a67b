//! Enterprise certificates (virksomhetssertifikat) for `x5c`: made by the sandbox's authority, and checked.
//!
//! Only what the error table needs: who issued it, whose organisation it names, which key it holds.

use crate::crypto::der::{self, Reader};
use crate::crypto::rsa::{Algorithm, KeyError, PublicKey, RsaKey};
use crate::crypto::{base64_std, from_base64_std};
use crate::{clock, maskinporten::error::TokenError};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};

/// `2.5.4.97` organizationIdentifier, written `NTRNO-123456789`.
const ORGANIZATION_IDENTIFIER: &[u8] = &[0x55, 0x04, 0x61];
/// `2.5.4.3` commonName.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `1.2.840.113549.1.1.11` sha256WithRSAEncryption.
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
/// `1.2.840.113549.1.1.1` rsaEncryption.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `[0] EXPLICIT` around the version.
const VERSION_TAG: u8 = 0xa0;
const YEAR_SECONDS: i64 = 365 * 86_400;

/// The certificate authority of this environment and a foreign one, each made when first needed.
#[derive(Default)]
pub(crate) struct Authority {
    own: Mutex<Option<RsaKey>>,
    foreign: Mutex<Option<RsaKey>>,
}

impl Authority {
    /// A certificate for a key and an organisation, as the elements of `x5c`.
    pub(crate) fn issue(
        &self,
        subject: &PublicKey,
        organization: &str,
        foreign: bool,
        now: i64,
    ) -> Result<Vec<String>, KeyError> {
        let (slot, name) =
            if foreign { (&self.foreign, "Fremmed CA") } else { (&self.own, "Sandkasse CA") };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match slot.take() {
            Some(key) => key,
            None => RsaKey::generate(name.to_owned())?,
        };
        let issued = issue(&key, name, subject, organization, now);
        *slot = Some(key);
        Ok(vec![base64_std(&issued?)])
    }

    /// The key of a certificate that this environment's authority issued to the organisation.
    pub(crate) fn check(&self, x5c: &Value, organization: &str) -> Result<PublicKey, TokenError> {
        let leaf = x5c
            .as_array()
            .and_then(|chain| chain.first())
            .and_then(Value::as_str)
            .and_then(from_base64_std)
            .ok_or_else(malformed)?;
        let certificate = Certificate::parse(&leaf).ok_or_else(malformed)?;
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let trusted = own.as_ref().is_some_and(|key| {
            key.public().verifies(Algorithm::Rs256, certificate.signed, certificate.signature)
        });
        if !trusted {
            return Err(TokenError::grant("MP-120", "The certificate is not valid here."));
        }
        if certificate.organization != organization {
            return Err(TokenError::grant(
                "MP-122",
                "The certificate's organisation is not the client's.",
            ));
        }
        Ok(certificate.key)
    }
}

fn malformed() -> TokenError {
    TokenError::grant("MP-123", "x5c is not an array of certificates.")
}

struct Certificate<'a> {
    signed: &'a [u8],
    signature: &'a [u8],
    organization: String,
    key: PublicKey,
}

impl<'a> Certificate<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut outer = Reader::new(bytes).enter(der::SEQUENCE)?;
        let signed = outer.whole(der::SEQUENCE)?;
        outer.content(der::SEQUENCE)?;
        let signature = outer.content(der::BIT_STRING)?.split_first()?.1;
        let mut body = Reader::new(signed).enter(der::SEQUENCE)?;
        body.content(VERSION_TAG)?;
        body.content(der::INTEGER)?;
        for _ in ["signature", "issuer", "validity"] {
            body.content(der::SEQUENCE)?;
        }
        let organization = organization_of(body.enter(der::SEQUENCE)?)?;
        let mut key = body.enter(der::SEQUENCE)?;
        key.content(der::SEQUENCE)?;
        let key = PublicKey::from_der(key.content(der::BIT_STRING)?.split_first()?.1)?;
        Some(Self { signed, signature, organization, key })
    }
}

/// The number in the organisation identifier of a subject.
fn organization_of(mut subject: Reader<'_>) -> Option<String> {
    while let Some(mut set) = subject.enter(der::SET) {
        let mut pair = set.enter(der::SEQUENCE)?;
        if pair.content(der::OBJECT_ID)? == ORGANIZATION_IDENTIFIER {
            let text = std::str::from_utf8(pair.content(der::UTF8_STRING)?).ok()?;
            return text.strip_prefix("NTRNO-").map(str::to_owned);
        }
    }
    None
}

fn issue(
    authority: &RsaKey,
    authority_name: &str,
    subject: &PublicKey,
    organization: &str,
    now: i64,
) -> Result<Vec<u8>, KeyError> {
    let algorithm = der::value(
        der::SEQUENCE,
        &[&der::value(der::OBJECT_ID, &[SHA256_WITH_RSA]), &der::value(der::NULL, &[])],
    );
    let time = |at| der::value(der::GENERALIZED_TIME, &[clock::generalized(at).as_bytes()]);
    let identifier = format!("NTRNO-{organization}");
    let body = der::value(
        der::SEQUENCE,
        &[
            &der::value(VERSION_TAG, &[&der::integer(&[2])]),
            &der::integer(uuid::Uuid::new_v4().as_bytes()),
            &algorithm,
            &name(COMMON_NAME, authority_name),
            &der::value(der::SEQUENCE, &[&time(now - 60), &time(now + YEAR_SECONDS)]),
            &name(ORGANIZATION_IDENTIFIER, &identifier),
            &key_info(subject),
        ],
    );
    let signature = authority.sign(Algorithm::Rs256, &body)?;
    Ok(der::value(
        der::SEQUENCE,
        &[&body, &algorithm, &der::value(der::BIT_STRING, &[&[0], &signature])],
    ))
}

fn name(attribute: &[u8], text: &str) -> Vec<u8> {
    let pair = der::value(
        der::SEQUENCE,
        &[
            &der::value(der::OBJECT_ID, &[attribute]),
            &der::value(der::UTF8_STRING, &[text.as_bytes()]),
        ],
    );
    der::value(der::SEQUENCE, &[&der::value(der::SET, &[&pair])])
}

fn key_info(key: &PublicKey) -> Vec<u8> {
    let algorithm = der::value(
        der::SEQUENCE,
        &[&der::value(der::OBJECT_ID, &[RSA_ENCRYPTION]), &der::value(der::NULL, &[])],
    );
    der::value(der::SEQUENCE, &[&algorithm, &der::value(der::BIT_STRING, &[&[0], &key.to_der()])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_own_authority_and_the_right_organisation_pass() {
        let authority = Authority::default();
        let key = RsaKey::generate("k".into()).unwrap();
        let chain =
            |foreign| json!(authority.issue(key.public(), "310000205", foreign, 0).unwrap());
        let good = chain(false);
        let number = |x5c: &Value, organization| {
            authority.check(x5c, organization).map_err(|error| error.number())
        };
        assert_eq!(number(&good, "310000205"), Ok(key.public().clone()));
        assert_eq!(number(&good, "310000213"), Err(Some("MP-122")));
        assert_eq!(number(&chain(true), "310000205"), Err(Some("MP-120")));
        assert_eq!(number(&good[0], "310000205"), Err(Some("MP-123")));
        assert_eq!(number(&json!(["AAAA"]), "310000205"), Err(Some("MP-123")));
    }
}
