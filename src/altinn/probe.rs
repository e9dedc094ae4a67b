//! What the program asks of Altinn all the time, asked once, for who wants to know whether it would work: no gate, no
//! second attempt, nothing remembered. Nothing that is asked here changes anything at Altinn, and no decision of one is logged
//! there (contract authorization.md §2.3).

use super::{Altinn, wire};
use crate::domain::party::{CheckDigits, OrgNumber, Party};
use crate::domain::resource::{Question, ResourceId, Right};
use crate::domain::system_user::SystemUserId;
use crate::maskinporten::grant::BearerToken;
use crate::maskinporten::http::{self, HttpError, Reply};
use crate::trace::Calling;
use ::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use ::http::{HeaderMap, Method, StatusCode};
use reqwest::Url;
use std::time::Duration;

/// Policies and metadata are far smaller; of a party list the first part is enough.
const REPLY_BYTES: usize = 1024 * 1024;
/// Longest wait for an answer: nobody but a person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// A system user that nobody has.
const NOBODY: [u8; 16] = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
/// Digitaliseringsdirektoratet.
const SOMEBODY: &str = "991825827";

/// An answer.
#[derive(Debug)]
pub struct Said {
    /// Its status.
    pub status: StatusCode,
    /// Of a 401: what is wrong, where the answer tells.
    pub blame: Option<Blame>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What a 401 is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// The key of the API gateway, which is looked at first.
    SubscriptionKey,
    /// The token.
    Token,
}

impl Said {
    fn of(reply: Reply) -> Self {
        let blame = (reply.status == StatusCode::UNAUTHORIZED)
            .then(|| blame(&reply.headers, &reply.body))
            .flatten();
        Self { status: reply.status, blame, body: reply.body }
    }
}

/// The gateway (Azure API Management) names its key in the challenge and in the text; Altinn's services say `Bearer`, or
/// nothing at all.
fn blame(headers: &HeaderMap, body: &[u8]) -> Option<Blame> {
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    let challenges: Vec<&str> = challenges.filter_map(|value| value.to_str().ok()).collect();
    let text = String::from_utf8_lossy(body.get(..1024).unwrap_or(body)).to_ascii_lowercase();
    let begins = |word: &str| challenges.iter().any(|it| it.to_ascii_lowercase().starts_with(word));
    if begins("azureapimanagementkey") || text.contains("subscription key") {
        Some(Blame::SubscriptionKey)
    } else if begins("bearer") {
        Some(Blame::Token)
    } else {
        None
    }
}

impl Altinn {
    /// Asks the PDP, about a system user that nobody has. Twice in one call, which is not logged there.
    ///
    /// # Errors
    /// [`HttpError`] when there was no answer.
    pub async fn probe_decision(
        &self,
        token: &BearerToken,
        right: &Right,
    ) -> Result<Said, HttpError> {
        let body =
            question(right).and_then(|question| wire::several_body(&[question.clone(), question]));
        // INVARIANT: both constants above can be read, so there are two questions.
        self.post(&self.authorize_url, token, body.unwrap_or_default()).await
    }

    /// Asks for whom a system user that nobody has may act.
    ///
    /// # Errors
    /// [`HttpError`] when there was no answer.
    pub async fn probe_parties(&self, token: &BearerToken) -> Result<Said, HttpError> {
        let nobody = SystemUserId::from_bytes(NOBODY).map(|id| id.to_string());
        let body = serde_json::json!({ "type": "urn:altinn:systemuser:uuid", "value": nobody });
        self.post(&self.parties_url, token, body.to_string().into_bytes()).await
    }

    /// Asks for the access lists of a service owner.
    ///
    /// # Errors
    /// [`HttpError`] when there was no answer.
    pub async fn probe_access_lists(
        &self,
        token: &BearerToken,
        owner: &str,
    ) -> Result<Said, HttpError> {
        self.get(&self.access_lists_url, &[owner], "application/json", Some(token)).await
    }

    /// Asks for the metadata of a resource.
    ///
    /// # Errors
    /// [`HttpError`] when there was no answer.
    pub async fn probe_resource(&self, id: &ResourceId) -> Result<Said, HttpError> {
        self.get(&self.resource_url, &[id.as_str()], "application/json", None).await
    }

    /// Asks for the policy of a resource.
    ///
    /// # Errors
    /// [`HttpError`] when there was no answer.
    pub async fn probe_policy(&self, id: &ResourceId) -> Result<Said, HttpError> {
        const XML: &str = "text/xml, application/xml;q=0.9";
        self.get(&self.resource_url, &[id.as_str(), "policy"], XML, None).await
    }

    async fn get(
        &self,
        base: &Url,
        segments: &[&str],
        accept: &'static str,
        token: Option<&BearerToken>,
    ) -> Result<Said, HttpError> {
        let url = super::source::below(base, segments);
        let request = self.request(Method::GET, &url, accept, token).timeout(PATIENCE);
        let reply = http::send(request, REPLY_BYTES, Calling::default()).await?;
        Ok(Said::of(reply))
    }

    async fn post(&self, url: &Url, token: &BearerToken, body: Vec<u8>) -> Result<Said, HttpError> {
        let request = self.request(Method::POST, url, "application/json", Some(token));
        let request = request.header(CONTENT_TYPE, "application/json").body(body).timeout(PATIENCE);
        http::send(request, REPLY_BYTES, Calling::default()).await.map(Said::of)
    }
}

fn question(right: &Right) -> Option<Question> {
    let nobody = SystemUserId::from_bytes(NOBODY)?;
    let somebody = OrgNumber::parse(SOMEBODY, CheckDigits::Ignored).ok()?;
    Some(Question::new(nobody, Party::Organization(somebody), right.clone(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refused_is_told_apart_where_the_answer_tells() {
        let of = |challenge: Option<&str>, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(challenge) = challenge {
                headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
            }
            blame(&headers, body.as_bytes())
        };
        let gateway =
            r#"{"statusCode":401,"message":"Access denied due to invalid subscription key."}"#;
        assert_eq!(of(None, gateway), Some(Blame::SubscriptionKey));
        let challenge = r#"AzureApiManagementKey realm="r",name="Ocp-Apim-Subscription-Key""#;
        assert_eq!(of(Some(challenge), ""), Some(Blame::SubscriptionKey));
        assert_eq!(of(Some("Bearer error=\"invalid_token\""), ""), Some(Blame::Token));
        assert_eq!(of(None, ""), None);
    }

    #[test]
    fn there_is_a_question_to_ask() {
        let right = wire::tests::question().right().clone();
        let question = question(&right).expect("both constants can be read");
        assert!(wire::several_body(&[question.clone(), question]).is_some());
    }
}
