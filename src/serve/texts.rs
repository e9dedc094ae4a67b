//! What refusals say, in Norwegian Bokmål, Norwegian Nynorsk and English.

use crate::config::Language;
use crate::enforce::rejection::Code;
use http::{HeaderMap, header};

/// Title and detail of a problem (RFC 9457 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Text {
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
}

/// The language tag (RFC 5646).
pub(super) fn tag(language: Language) -> &'static str {
    match language {
        Language::Nb => "nb",
        Language::Nn => "nn",
        Language::En => "en",
    }
}

/// The language that the caller prefers among ours (RFC 9110 §12.5.4), else `default`.
pub(super) fn preferred(headers: &HeaderMap, default: Language) -> Language {
    let ranges =
        headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
    let mut best: Option<(u16, Language)> = None;
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let Some(language) = parts.next().and_then(language) else { continue };
        let weight = parts.find_map(|parameter| parameter.strip_prefix("q=")).map_or(1000, weight);
        // The first of equals stays, in the order written.
        if weight > 0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    best.map_or(default, |(_, language)| language)
}

fn language(range: &str) -> Option<Language> {
    let primary = range.split('-').next().unwrap_or_default().to_ascii_lowercase();
    match primary.as_str() {
        "nb" | "no" => Some(Language::Nb),
        "nn" => Some(Language::Nn),
        "en" => Some(Language::En),
        _ => None,
    }
}

/// A weight in thousandths; what is no number weighs nothing.
fn weight(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<3}");
    match (whole, digits.parse()) {
        ("1", _) => 1000,
        ("0", Ok(thousandths @ 0..=999)) => thousandths,
        _ => 0,
    }
}

/// The text of `code` in `language`.
pub(super) fn text(code: Code, language: Language) -> Text {
    let [nb, nn, en] = texts(code);
    let (title, detail) = match language {
        Language::Nb => nb,
        Language::Nn => nn,
        Language::En => en,
    };
    Text { title, detail }
}

type Pair = (&'static str, &'static str);

fn texts(code: Code) -> [Pair; 3] {
    match code {
        Code::BadRequest
        | Code::TargetTooLong
        | Code::HeadersTooLarge
        | Code::BodyTooLarge
        | Code::RequestTimeout
        | Code::NoRoute
        | Code::PartyInvalid => request_texts(code),
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::InsufficientScope
        | Code::SystemUserRequired
        | Code::Denied
        | Code::NoRight => access_texts(code),
        Code::Overloaded | Code::TooManyRequests | Code::TokenUnverified | Code::CannotDecide => {
            service_texts(code)
        }
        Code::UpstreamUnavailable
        | Code::UpstreamLeftOut
        | Code::UpstreamTimeout
        | Code::UpstreamBadAnswer
        | Code::Lapsed
        | Code::Internal => later_texts(code),
    }
}

fn request_texts(code: Code) -> [Pair; 3] {
    match code {
        Code::TargetTooLong => [
            ("Adressen er for lang", "Adressen i forespørselen er lengre enn tjenesten tar imot."),
            ("Adressa er for lang", "Adressa i førespurnaden er lengre enn tenesta tek imot."),
            ("Address too long", "The request target is longer than this service accepts."),
        ],
        Code::HeadersTooLarge => [
            (
                "For store hodefelt",
                "Hodefeltene i forespørselen er flere eller lengre enn tjenesten tar imot.",
            ),
            (
                "For store hovudfelt",
                "Hovudfelta i førespurnaden er fleire eller lengre enn tenesta tek imot.",
            ),
            (
                "Header fields too large",
                "The header fields are more or longer than this service accepts.",
            ),
        ],
        Code::BodyTooLarge => [
            (
                "Innholdet er for stort",
                "Innholdet i forespørselen er større enn tjenesten tar imot her.",
            ),
            (
                "Innhaldet er for stort",
                "Innhaldet i førespurnaden er større enn tenesta tek imot her.",
            ),
            ("Body too large", "The request body is larger than this service accepts here."),
        ],
        Code::RequestTimeout => [
            (
                "Forespørselen kom ikke fram i tide",
                "Tjenesten ventet for lenge på resten av forespørselen. Send den på nytt.",
            ),
            (
                "Førespurnaden kom ikkje fram i tide",
                "Tenesta venta for lenge på resten av førespurnaden. Send han på nytt.",
            ),
            (
                "Request timed out",
                "The service waited too long for the rest of the request. Send it again.",
            ),
        ],
        Code::NoRoute => [
            (
                "Ukjent adresse",
                "Tjenesten tilbyr ikke denne metoden på denne adressen. Se etter skrivefeil, også store og små bokstaver.",
            ),
            (
                "Ukjend adresse",
                "Tenesta tilbyr ikkje denne metoden på denne adressa. Sjå etter skrivefeil, òg store og små bokstavar.",
            ),
            (
                "No such address",
                "The service does not offer this method at this address. Check the spelling, case included.",
            ),
        ],
        Code::PartyInvalid => [
            (
                "Det er uklart hvem forespørselen gjelder",
                "Forespørselen må nevne én part, på ett vis: et gyldig organisasjonsnummer på ni siffer. Se `reason`.",
            ),
            (
                "Det er uklårt kven førespurnaden gjeld",
                "Førespurnaden må nemne éin part, på éin måte: eit gyldig organisasjonsnummer på ni siffer. Sjå `reason`.",
            ),
            (
                "It is unclear whom the request concerns",
                "The request must name one party, in one way: a valid organisation number of nine digits. See `reason`.",
            ),
        ],
        _ => [
            (
                "Forespørselen kan ikke leses entydig",
                "Forespørselen bryter med HTTP eller kan leses på flere måter, og ble derfor ikke sendt videre. Se `reason`.",
            ),
            (
                "Førespurnaden kan ikkje lesast eintydig",
                "Førespurnaden bryt med HTTP eller kan lesast på fleire måtar, og vart difor ikkje send vidare. Sjå `reason`.",
            ),
            (
                "The request cannot be read in one way",
                "The request breaks HTTP or can be read in more than one way, so it was not passed on. See `reason`.",
            ),
        ],
    }
}

fn access_texts(code: Code) -> [Pair; 3] {
    match code {
        Code::TokenMissing => [
            ("Tilgangstoken mangler", "Send et token fra Maskinporten i `Authorization: Bearer`."),
            ("Tilgangstoken manglar", "Send eit token frå Maskinporten i `Authorization: Bearer`."),
            ("No access token", "Send a token from Maskinporten in `Authorization: Bearer`."),
        ],
        Code::TokenInvalid => [
            (
                "Tilgangstokenet er ikke gyldig",
                "Tokenet er utløpt, feil signert, fra en annen utsteder eller ment for en annen tjeneste. Hent et nytt. Se `reason`.",
            ),
            (
                "Tilgangstokenet er ikkje gyldig",
                "Tokenet er gått ut, feil signert, frå ein annan utferdar eller meint for ei anna teneste. Hent eit nytt. Sjå `reason`.",
            ),
            (
                "The access token is not valid",
                "The token has expired, has a bad signature, is from another issuer or meant for another service. Get a new one. See `reason`.",
            ),
        ],
        Code::InsufficientScope => [
            (
                "Tokenet mangler et scope",
                "Be Maskinporten om et token med scopene i `requiredScopes`.",
            ),
            (
                "Tokenet manglar eit scope",
                "Be Maskinporten om eit token med scopa i `requiredScopes`.",
            ),
            (
                "The token lacks a scope",
                "Ask Maskinporten for a token with the scopes in `requiredScopes`.",
            ),
        ],
        Code::SystemUserRequired => [
            (
                "Systembruker mangler i tokenet",
                "Be Maskinporten om et systembrukertoken: `authorization_details` av typen `urn:altinn:systemuser`.",
            ),
            (
                "Systembrukar manglar i tokenet",
                "Be Maskinporten om eit systembrukartoken: `authorization_details` av typen `urn:altinn:systemuser`.",
            ),
            (
                "The token names no system user",
                "Ask Maskinporten for a system-user token: `authorization_details` of type `urn:altinn:systemuser`.",
            ),
        ],
        Code::NoRight => [
            (
                "Systembrukeren har ikke rettigheten",
                "Ingen har gitt systembrukeren denne rettigheten for denne parten. `remedy` viser hva du kan be kunden om, og hvordan.",
            ),
            (
                "Systembrukaren har ikkje retten",
                "Ingen har gjeve systembrukaren denne retten for denne parten. `remedy` viser kva du kan be kunden om, og korleis.",
            ),
            (
                "The system user does not hold the right",
                "Nobody has given the system user this right for this party. `remedy` shows what to ask the customer for, and how.",
            ),
        ],
        _ => [
            (
                "Avvist av tjenesteeierens regler",
                "Reglene for ressursen sier nei for denne parten. En ny delegering endrer ikke det; spør tjenesteeieren.",
            ),
            (
                "Avvist av reglane til tenesteeigaren",
                "Reglane for ressursen seier nei for denne parten. Ei ny delegering endrar ikkje det; spør tenesteeigaren.",
            ),
            (
                "Denied by the service owner's rules",
                "The rules of the resource say no for this party. A new delegation does not change that; ask the service owner.",
            ),
        ],
    }
}

fn service_texts(code: Code) -> [Pair; 3] {
    match code {
        Code::Overloaded => [
            ("Tjenesten har for mye å gjøre", "Prøv igjen om litt, se `Retry-After`."),
            ("Tenesta har for mykje å gjere", "Prøv igjen om litt, sjå `Retry-After`."),
            ("The service is overloaded", "Try again shortly, see `Retry-After`."),
        ],
        Code::TooManyRequests => [
            (
                "For mange forespørsler",
                "Dere kaller oftere enn tjenesten tillater. Vent til tiden i `Retry-After` er gått, og fordel kallene jevnere.",
            ),
            (
                "For mange førespurnader",
                "De kallar oftare enn tenesta tillèt. Vent til tida i `Retry-After` er gått, og spre kalla jamnare.",
            ),
            (
                "Too many requests",
                "You call more often than the service allows. Wait for the time in `Retry-After`, and spread the calls.",
            ),
        ],
        Code::TokenUnverified => [
            (
                "Tokenet kunne ikke kontrolleres nå",
                "Nøklene fra Maskinporten er ikke tilgjengelige. Det sier ingenting om tokenet ditt. Prøv igjen, se `Retry-After`.",
            ),
            (
                "Tokenet kunne ikkje kontrollerast no",
                "Nøklane frå Maskinporten er ikkje tilgjengelege. Det seier ingenting om tokenet ditt. Prøv igjen, sjå `Retry-After`.",
            ),
            (
                "The token could not be checked now",
                "Maskinporten's keys are not available. This says nothing about your token. Try again, see `Retry-After`.",
            ),
        ],
        _ => [
            (
                "Rettigheten kunne ikke kontrolleres nå",
                "Altinn ga ikke noe sikkert svar. Det betyr ikke at rettigheten mangler. Prøv igjen, se `Retry-After`.",
            ),
            (
                "Retten kunne ikkje kontrollerast no",
                "Altinn gav ikkje noko sikkert svar. Det tyder ikkje at retten manglar. Prøv igjen, sjå `Retry-After`.",
            ),
            (
                "The right could not be checked now",
                "Altinn gave no certain answer. It does not mean that the right is missing. Try again, see `Retry-After`.",
            ),
        ],
    }
}

/// What goes wrong after the request was let through.
fn later_texts(code: Code) -> [Pair; 3] {
    match code {
        Code::Lapsed => [
            ("Tilgangen varte ikke", "Retten eller tokenet tok slutt mens svaret pågikk."),
            ("Tilgangen varte ikkje", "Retten eller tokenet tok slutt medan svaret var i gang."),
            ("The access did not last", "The right or the token ended while the answer went on."),
        ],
        Code::UpstreamUnavailable => [
            (
                "Tjenesten svarer ikke",
                "Forespørselen ble godkjent, men tjenesten bak kunne ikke nås.",
            ),
            (
                "Tenesta svarar ikkje",
                "Førespurnaden vart godkjend, men tenesta bak kunne ikkje nåast.",
            ),
            (
                "The service does not respond",
                "The request was let through, but the service behind could not be reached.",
            ),
        ],
        Code::UpstreamLeftOut => [
            (
                "Tjenesten kan ikke nås",
                "Forespørselen ble godkjent, men tjenesten bak har ikke kunnet nås, og får et øyeblikks ro. Ingenting ble utført.",
            ),
            (
                "Tenesta kan ikkje nåast",
                "Førespurnaden vart godkjend, men tenesta bak har ikkje kunna nåast, og får ei kort stund ro. Ingenting vart utført.",
            ),
            (
                "The service cannot be reached",
                "The request was let through, but the service behind could not be reached and is left alone for a moment. Nothing was carried out.",
            ),
        ],
        Code::UpstreamTimeout => [
            (
                "Tjenesten svarte ikke i tide",
                "Forespørselen ble godkjent og kan ha blitt utført, men tjenesten bak svarte ikke i tide.",
            ),
            (
                "Tenesta svara ikkje i tide",
                "Førespurnaden vart godkjend og kan ha vorte utført, men tenesta bak svara ikkje i tide.",
            ),
            (
                "The service did not respond in time",
                "The request was let through and may have been carried out, but the service behind did not respond in time.",
            ),
        ],
        Code::UpstreamBadAnswer => [
            (
                "Tjenesten ga et ugyldig svar",
                "Forespørselen ble godkjent, men svaret fra tjenesten bak kunne ikke sendes videre.",
            ),
            (
                "Tenesta gav eit ugyldig svar",
                "Førespurnaden vart godkjend, men svaret frå tenesta bak kunne ikkje sendast vidare.",
            ),
            (
                "The service gave an invalid response",
                "The request was let through, but the response of the service behind could not be passed on.",
            ),
        ],
        _ => [
            ("Intern feil", "Noe gikk galt hos oss. Oppgi `traceId` når du melder fra."),
            ("Intern feil", "Noko gjekk gale hos oss. Oppgje `traceId` når du melder frå."),
            (
                "Internal error",
                "Something went wrong on our side. Give `traceId` when you report it.",
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::collections::HashSet;

    #[test]
    fn the_caller_is_met_in_the_language_it_prefers() {
        let cases = [
            ("", Language::Nb),
            ("en", Language::En),
            ("nn-NO, en;q=0.5", Language::Nn),
            ("en;q=0.5, nn;q=0.8", Language::Nn),
            ("no", Language::Nb),
            ("de, fr", Language::Nb),
            ("de, en;q=0.1", Language::En),
            ("en;q=0, nn;q=0.001", Language::Nn),
            ("en;q=abc", Language::Nb),
            ("*", Language::Nb),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(value));
            assert_eq!(preferred(&headers, Language::Nb), expected, "{value}");
        }
    }

    /// The page of a problem in the documentation for vendors, whose example is an answer of ours.
    fn page(code: Code, language: Language) -> String {
        let ending = if language == Language::Nb { "nb.md" } else { "md" };
        let path = format!("docs/vendor/problems/{}.{ending}", code.label());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    const SECTIONS: [(Language, &str, [&str; 6]); 2] = [
        (
            Language::En,
            "README.md",
            [
                "What happened",
                "Why",
                "What you do now",
                "Should you try again?",
                "What to tell the customer and the service owner",
                "An answer",
            ],
        ),
        (
            Language::Nb,
            "README.nb.md",
            [
                "Hva som skjedde",
                "Hvorfor",
                "Hva du gjør nå",
                "Bør du prøve igjen?",
                "Hva du sier til kunden og tjenesteeieren",
                "Et svar",
            ],
        ),
    ];

    #[test]
    fn every_problem_has_a_page_in_both_languages_that_says_what_we_say() {
        for (code, (language, index, sections)) in
            Code::ALL.iter().flat_map(|code| SECTIONS.map(|it| (*code, it)))
        {
            let (page, text, label) = (page(code, language), text(code, language), code.label());
            assert!(page.starts_with(&format!("# {}\n", text.title)), "{label}: {page}");
            let headings: Vec<&str> =
                page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            assert_eq!(headings, sections, "{label}");
            let example = page.rsplit("```http\n").next().unwrap().split("```").next().unwrap();
            let (head, body) = example.split_once("\n\n").expect("an answer");
            let status = code.status();
            let phrase =
                format!("HTTP/1.1 {} {}", status.as_u16(), status.canonical_reason().unwrap());
            assert_eq!(head.lines().next(), Some(phrase.as_str()), "{label}");
            let said = |field: &str| head.lines().any(|line| line.starts_with(field));
            assert!(said(&format!("Content-Language: {}", tag(language))), "{label}: {head}");
            assert_eq!(said("Retry-After: "), matches!(status.as_u16(), 503 | 429), "{label}");
            let body: serde_json::Value = serde_json::from_str(body).expect(label);
            let address = format!("/vendor/problems/{label}/");
            assert!(body["type"].as_str().unwrap().ends_with(&address), "{label}");
            assert_eq!(body["code"], label);
            assert_eq!(body["status"], status.as_u16(), "{label}");
            assert_eq!(body["title"], text.title, "{label}");
            assert_eq!(body["detail"], text.detail, "{label}");
            let index = std::fs::read_to_string(format!("docs/vendor/problems/{index}")).unwrap();
            let row = format!(
                "({label}.{}) | {} | {} |",
                if language == Language::Nb { "nb.md" } else { "md" },
                status.as_u16(),
                text.title
            );
            assert!(index.contains(&row), "the list of problems has no {row}");
        }
    }

    #[test]
    fn every_page_is_of_a_problem_that_there_is() {
        let mut found: Vec<String> = std::fs::read_dir("docs/vendor/problems")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut expected: Vec<String> = Code::ALL
            .iter()
            .map(|code| code.label())
            .chain(["README"])
            .flat_map(|it| [format!("{it}.md"), format!("{it}.nb.md")])
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_code_has_a_text_of_its_own_in_every_language() {
        for language in [Language::Nb, Language::Nn, Language::En] {
            let details: HashSet<&str> =
                Code::ALL.iter().map(|code| text(*code, language).detail).collect();
            assert_eq!(details.len(), Code::ALL.len(), "{language:?}");
        }
    }
}
