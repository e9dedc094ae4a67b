//! The story: what a vendor does, what it is told, and what we claim about it beforehand.
//!
//! Names and numbers are those of the sandbox's world (`sandbox/README.md`, "The seed world").

use serde_json::{Value, json};

/// One step: a call, and what must come of it.
pub(crate) struct Step {
    /// What it shows.
    pub(crate) title: &'static str,
    /// What happens, in plain words.
    pub(crate) words: &'static str,
    /// How the sandbox is changed first.
    pub(crate) before: Vec<Knob>,
    /// What the vendor does.
    pub(crate) call: Call,
    /// What must come of it.
    pub(crate) told: Told,
    /// How the sandbox is put right again.
    pub(crate) after: Vec<Knob>,
}

/// A change to the sandbox: method, path below `/sandbox`, and body.
pub(crate) struct Knob(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Option<Value>);

/// A call to the API, through the proxy.
pub(crate) struct Call {
    /// Which token the vendor has, as `POST /sandbox/token` is asked for it.
    pub(crate) token: Value,
    /// The method.
    pub(crate) method: &'static str,
    /// The path.
    pub(crate) path: &'static str,
    /// The body, where there is one.
    pub(crate) body: Option<Value>,
}

/// The outcome that is claimed.
pub(crate) struct Told {
    /// The status.
    pub(crate) status: u16,
    /// Header fields by name, and members of the body by JSON pointer. `""` stands for any value.
    pub(crate) members: &'static [(&'static str, &'static str)],
}

/// The vendors' clients at Maskinporten.
const NORDLYS: &str = "c1000000-0000-4000-8000-000000000011";
const BREKKE: &str = "c1000000-0000-4000-8000-000000000021";

/// The organisations that system users belong to.
const BAKKEN: &str = "310000507";
const STRAND: &str = "310000604";
const FJELL: &str = "310000302";

const VAT_RETURNS: &str = "/v1/parties/310000507/vat-returns";

fn token(client: &str, scope: &str, owner: &str) -> Value {
    json!({ "client_id": client, "scope": scope, "systemuser_org": owner })
}

/// A VAT return that Nordlys submits for Bakken: what most steps are about.
fn submit() -> Call {
    let token = token(NORDLYS, "skatteetaten:mva", BAKKEN);
    let body = Some(json!({ "period": "2026-5", "amount": 12500 }));
    Call { token, method: "POST", path: VAT_RETURNS, body }
}

/// Every step, in order.
pub(crate) fn steps() -> Vec<Step> {
    [permitted(), token_refused(), right_refused(), accountant(), altinn_away(), revoked()]
        .into_iter()
        .flatten()
        .collect()
}

/// A step that leaves the sandbox as it is.
fn step(title: &'static str, words: &'static str, call: Call, told: Told) -> Step {
    Step { title, words, before: Vec::new(), call, told, after: Vec::new() }
}

fn permitted() -> Vec<Step> {
    let read = Call { method: "GET", body: None, ..submit() };
    vec![
        step(
            "Permit",
            "The vendor Nordlys submits a VAT return for its customer Bakken Handel. The token is good, it \
             has the scope, and Bakken has given Nordlys' system user the right to write VAT returns: \
             Altinn's decision point says so. The API is told who asks, and for whom.",
            submit(),
            Told {
                status: 201,
                members: &[
                    ("/number", ""),
                    ("/evidence/portvakt-party", BAKKEN),
                    ("/evidence/portvakt-system-user", "5e000000-0000-4000-8000-000000000001"),
                    ("/evidence/portvakt-answer", "permit"),
                    ("/evidence/portvakt-source", "pdp"),
                ],
            },
        ),
        step(
            "Permit, to read it back",
            "To read is another right than to write, so Altinn is asked again.",
            read,
            Told {
                status: 200,
                members: &[("/returns/0/period", "2026-5"), ("/evidence/portvakt-action", "read")],
            },
        ),
    ]
}

fn token_refused() -> Vec<Step> {
    let wrong_scope =
        Call { token: token(NORDLYS, "skatteetaten:kravogbetalinger", BAKKEN), ..submit() };
    let expired = json!({
        "client_id": NORDLYS,
        "scope": "skatteetaten:mva",
        "systemuser_org": BAKKEN,
        "lifetime_seconds": -60,
    });
    let expired = Call { token: expired, ..submit() };
    vec![
        step(
            "Wrong scope",
            "The first call, with a token for another scope. A right does not stand in for a scope, so Altinn \
             is not even asked.",
            wrong_scope,
            Told {
                status: 403,
                members: &[
                    ("/type", "urn:portvakt:problem:insufficient_scope"),
                    ("/requiredScopes/0", "skatteetaten:mva"),
                    (
                        "www-authenticate",
                        "Bearer error=\"insufficient_scope\", scope=\"skatteetaten:mva\"",
                    ),
                ],
            },
        ),
        step(
            "Expired token",
            "The first call, with a token that ended a minute ago.",
            expired,
            Told {
                status: 401,
                members: &[
                    ("/type", "urn:portvakt:problem:token_invalid"),
                    ("/reason", "expired"),
                    ("www-authenticate", ""),
                ],
            },
        ),
    ]
}

fn right_refused() -> Vec<Step> {
    let call = Call {
        token: token(NORDLYS, "skatteetaten:kravogbetalinger", STRAND),
        method: "POST",
        path: "/v1/parties/310000604/claims",
        body: Some(json!({ "amount": 400 })),
    };
    vec![step(
        "Right missing, with its remedy",
        "Strand Bygg lets Nordlys' system user read claims, and not write them. The answer is a no, and \
         tells the vendor which right is missing and the call to Altinn that asks the customer for it.",
        call,
        Told {
            status: 403,
            members: &[
                ("/type", "urn:portvakt:problem:no_right"),
                ("/resource", "ske-krav-og-betalinger"),
                ("/action", "write"),
                ("/party", STRAND),
                ("/remedy/systemUser", "5e000000-0000-4000-8000-000000000002"),
                ("/remedy/changeRequest/url", ""),
                ("/remedy/changeRequest/body/requiredRights", ""),
            ],
        },
    )]
}

fn accountant() -> Vec<Step> {
    let call = |employer: &str| Call {
        token: token(BREKKE, "skatteetaten:lonn", FJELL),
        method: "POST",
        path: "/v1/payroll",
        body: Some(json!({ "employer": employer, "employees": 3 })),
    };
    vec![
        step(
            "An accountant for a client",
            "Fjell Regnskap is an accountant. Its system user at the vendor Brekke reports payroll for Lia \
             Snekkeri, a client that has delegated this to Fjell. The party stands in the JSON body.",
            call("310000701"),
            Told {
                status: 201,
                members: &[
                    ("/evidence/portvakt-party", "310000701"),
                    ("/evidence/portvakt-system-user-owner", FJELL),
                ],
            },
        ),
        step(
            "An accountant for a client that has not delegated",
            "The same for Odden Fisk, a client of Fjell that has not.",
            call("310000744"),
            Told {
                status: 403,
                members: &[("/type", "urn:portvakt:problem:no_right"), ("/party", "310000744")],
            },
        ),
    ]
}

fn altinn_away() -> Vec<Step> {
    vec![Step {
        before: vec![Knob("PUT", "faults/pdp", Some(json!({ "status": 503 })))],
        after: vec![Knob("DELETE", "faults", None)],
        ..step(
            "Altinn's decision point is down",
            "The very call of the first step, while Altinn answers with errors. Portvakt tries three times. \
             \"Cannot tell\" is never shown as \"no\": the vendor learns that its right may well be there, and \
             when to come back.",
            submit(),
            Told {
                status: 503,
                members: &[
                    ("/type", "urn:portvakt:problem:cannot_decide"),
                    ("/reason", "error_status"),
                    ("/detail", ""),
                    ("retry-after", ""),
                ],
            },
        )
    }]
}

fn revoked() -> Vec<Step> {
    let all = json!({ "system_user": "5e000000-0000-4000-8000-000000000001", "party": BAKKEN });
    vec![Step {
        before: vec![Knob("POST", "rights/revoke", Some(all))],
        after: vec![Knob("POST", "reset", None)],
        ..step(
            "Revoked",
            "Bakken takes its rights back. This route asks for every request, so the next call is refused. \
             Since the right was there a moment ago, Altinn is asked once more before its no is believed.",
            submit(),
            Told {
                status: 403,
                members: &[
                    ("/type", "urn:portvakt:problem:no_right"),
                    ("/action", "write"),
                    ("/party", BAKKEN),
                ],
            },
        )
    }]
}
