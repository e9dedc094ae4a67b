//! What the doctor finds: which step, about what, how it went, and the cure. Holds no secret, token or person.

use serde::Serialize;
use std::fmt::Write;

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The file, its variables and secrets.
    Configuration,
    /// Keys, certificates, and where the program writes.
    Files,
    /// The way to Maskinporten: name, TCP, TLS.
    IssuerAddress,
    /// What Maskinporten says of itself.
    IssuerMetadata,
    /// Its keys.
    IssuerKeys,
    /// Our clock against its.
    Clock,
    /// Our own token from Maskinporten.
    OwnToken,
    /// The way to Altinn.
    AltinnAddress,
    /// Our own token at Altinn.
    Exchange,
    /// Altinn's decision point.
    Decisions,
    /// Authorized parties, which the register is filled from.
    Parties,
    /// Our access lists.
    AccessLists,
    /// Each resource that a route names.
    Resources,
    /// Each upstream.
    Upstreams,
    /// Our own addresses.
    Listen,
}

impl Step {
    /// The stable name, as in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Files => "files",
            Self::IssuerAddress => "issuer_address",
            Self::IssuerMetadata => "issuer_metadata",
            Self::IssuerKeys => "issuer_keys",
            Self::Clock => "clock",
            Self::OwnToken => "own_token",
            Self::AltinnAddress => "altinn_address",
            Self::Exchange => "exchange",
            Self::Decisions => "decisions",
            Self::Parties => "parties",
            Self::AccessLists => "access_lists",
            Self::Resources => "resources",
            Self::Upstreams => "upstreams",
            Self::Listen => "listen",
        }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and deserves a look.
    Warning,
    /// It does not work.
    Failed,
    /// Not looked at: it rests on something that failed, or nothing needs it.
    Skipped,
}

macro_rules! codes {
    ($($name:ident $label:literal $outcome:ident $cure:literal;)*) => {
        /// What can be wrong: a stable label, how bad it is, and its cure.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Code { $(#[doc = $cure] $name,)* }

        impl Code {
            /// Every one, for the documents.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable label.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What helps.
            #[must_use]
            pub fn cure(self) -> &'static str {
                match self { $(Self::$name => $cure,)* }
            }

            fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)* }
            }
        }
    };
}

codes! {
    Needs "needs" Skipped "mend the step that it names first";
    NotNeeded "not_needed" Skipped "nothing: the configuration does not ask for it";
    Configuration "configuration" Failed "mend what the problems name; each has its own cure";
    OwnKey "own_key" Failed "give the whole private RSA key that is registered on the Maskinporten client, as JWK with `kid` or as PEM";
    Certificate "certificate" Failed "give certificate and key in PEM, the one for the other, and let the program's user read them";
    CertificateTime "certificate_time" Failed "renew the certificate; it is taken up by itself";
    CertificateEnds "certificate_ends" Warning "renew the certificate before it ends; it is taken up by itself";
    Exposed "exposed" Warning "take the right to write it away from others (`chmod go-w`), and the right to read it if it is a secret";
    Folder "folder" Failed "make the folder, and give the program's user leave to write there: a volume, not the image";
    DiskFull "disk_full" Failed "make room on that disk, or give the volume more";
    NoFile "no_file" Failed "name a file there, or take away what stands in its place";
    Name "name" Failed "correct the host name; in a cluster, open egress for DNS";
    Unreachable "unreachable" Failed "open egress to that host and port, or start what should listen there";
    TimedOut "timed_out" Failed "find what swallows the packets: a firewall, egress rules, or an overloaded service";
    Tls "tls" Failed "have the certificate's name, authority and time put right, or give its authority (`ca_file`); in an image, ship the system's authorities";
    MetadataStatus "metadata_status" Failed "correct `custom.metadata_url`, or wait for the issuer";
    MetadataUnreadable "metadata_unreadable" Failed "correct `custom.metadata_url`: what answers there is no metadata (RFC 8414); a proxy in between may answer in its place";
    OtherIssuer "other_issuer" Failed "write `custom.issuer` byte for byte as the metadata do, slash included, or set `environment` to the world that is meant";
    KeysStatus "keys_status" Failed "wait for the issuer, or open egress to its `jwks_uri`";
    KeysUnreadable "keys_unreadable" Failed "look what answers at the issuer's `jwks_uri`: it is no key set";
    NoUsableKey "no_usable_key" Failed "tell the issuer: its key set has no RSA key for signatures of 2048 bits or more, and no token can be verified";
    ClockSkew "clock_skew" Failed "let the machine's clock be set by NTP: Maskinporten takes 10 seconds at most";
    ClockDrifts "clock_drifts" Warning "look at the machine's time synchronisation: Maskinporten takes 10 seconds at most";
    NoDate "no_date" Warning "compare the clock by hand: the issuer sends no `Date`";
    ClientUnknown "client_unknown" Failed "correct the client id, or the environment: this Maskinporten does not know the client";
    Audience "audience" Failed "set `environment` (or `custom.issuer`) to the Maskinporten that issues the tokens";
    KeyExpired "key_expired" Failed "upload the key to the client again, or a new one: registered keys live for a year";
    KeyUnknown "key_unknown" Failed "register the public half of this key on the client, with the same `kid`, or give the key that is registered";
    AssertionTime "assertion_time" Failed "set the machine's clock right (NTP)";
    Scope "scope" Failed "have the scope given to your organisation by its owner, and add it to the client in Maskinporten's self-service";
    TokenRefused "token_refused" Failed "look the MP code up in Digdir's error list (docs.digdir.no, Maskinporten, feilsøking)";
    TokenStatus "token_status" Failed "wait for Maskinporten, and look at its status page";
    TokenUnreadable "token_unreadable" Failed "look what answers at the issuer's token endpoint: it is no token";
    ExchangeRefused "exchange_refused" Failed "let Maskinporten and Altinn be of one world: TT02 takes tokens of Maskinporten test only";
    ExchangeStatus "exchange_status" Failed "correct `custom.altinn`, or wait for Altinn";
    ExchangeUnreadable "exchange_unreadable" Failed "correct `custom.altinn`: what answers there is no token exchange";
    SubscriptionKey "subscription_key" Failed "give the subscription key of this environment, as Altinn has it now (`altinn.subscription_key_file` or `_env`)";
    AltinnToken "altinn_token" Failed "set the machine's clock right, and let issuer and Altinn be of one world: Altinn refuses the token that it exchanged";
    Unauthorized "unauthorized" Failed "check the subscription key first: the token was exchanged just now, and Altinn does not say which of the two it refuses";
    AltinnScope "altinn_scope" Failed "have the scope that is named given to your organisation, add it to the client and to `maskinporten.scopes` where that is written";
    AltinnStatus "altinn_status" Failed "wait for Altinn, or correct `custom.altinn`";
    AltinnUnreadable "altinn_unreadable" Failed "correct `custom.altinn`: what answers there is not Altinn";
    ResourceUnknown "resource_unknown" Failed "correct the id, or publish the resource in the registry of this environment";
    ResourceUnreadable "resource_unreadable" Failed "look at the resource in the registry: its metadata cannot be read";
    ResourceType "resource_type" Failed "name a resource of another type: this one cannot be given to a system user";
    PolicyMissing "policy_missing" Failed "publish the policy of the resource: without one every decision is `Indeterminate`";
    PolicyNotUnderstood "policy_not_understood" Warning "nothing has to be done: every question about it is asked of Altinn. A simpler policy would be derived";
    ActionUnknown "action_unknown" Failed "write the action as the policy does, or add a rule for it to the policy: nobody is permitted it";
    ActionCase "action_case" Failed "write the action in the letter case of the policy: Altinn compares it exactly";
    NotDelegable "not_delegable" Failed "let the policy name access packages, or the resource be delegable: no system user can hold this right";
    SingleRightsOnly "single_rights_only" Warning "nothing, if that is meant: no access package opens the resource, so customers must give it as a single right";
    AddressTaken "address_taken" Failed "stop the other program, or choose another address";
    AddressUnusable "address_unusable" Failed "choose an address of this machine, and a port that the program's user may open";
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Where.
    pub step: Step,
    /// About what: a file, an address, a resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How it went.
    pub outcome: Outcome,
    /// The stable label of what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What was seen.
    pub message: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<&'static str>,
}

/// What went wrong in a step.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Trouble {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether nothing failed.
    pub well: bool,
    /// In the order of the steps.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Notes how something went; whether it may be built upon.
    pub(super) fn note(
        &mut self,
        step: Step,
        subject: impl Into<String>,
        went: Result<String, Trouble>,
    ) -> bool {
        let (outcome, code, message) = match went {
            Ok(message) => (Outcome::Ok, None, message),
            Err(Trouble { code, message }) => (code.outcome(), Some(code), message),
        };
        self.findings.push(Finding {
            step,
            subject: subject.into(),
            outcome,
            code: code.map(Code::label),
            message,
            cure: code.filter(|_| outcome != Outcome::Skipped).map(Code::cure),
        });
        matches!(outcome, Outcome::Ok | Outcome::Warning)
    }

    /// Notes that `step` was not looked at, since `other` failed.
    pub(super) fn skip(&mut self, step: Step, other: Step) -> bool {
        let message = format!("not looked at: it needs `{}`", other.label());
        self.note(step, "", Err(Trouble::new(Code::Needs, message)))
    }

    /// Notes that the configuration does not ask for `step`.
    pub(super) fn leave_out(&mut self, step: Step, why: &str) -> bool {
        self.note(step, "", Err(Trouble::new(Code::NotNeeded, why)))
    }

    pub(super) fn finish(mut self) -> Self {
        self.well = self.findings.iter().all(|finding| finding.outcome != Outcome::Failed);
        self
    }

    /// For people: a line for each finding, and its cure.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let outcome = match finding.outcome {
                Outcome::Ok => "ok",
                Outcome::Warning => "warning",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            let about = if finding.subject.is_empty() { "" } else { ": " };
            let (subject, message) = (&finding.subject, &finding.message);
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "{outcome:<8} {:<16} {subject}{about}{message}",
                finding.step.label()
            );
            if let (Some(code), Some(cure)) = (finding.code, finding.cure) {
                let _ = writeln!(text, "{:<25} = mend ({code}): {cure}", "");
            }
        }
        let count = |outcome| self.findings.iter().filter(|it| it.outcome == outcome).count();
        let (failed, warned) = (count(Outcome::Failed), count(Outcome::Warning));
        let skipped = count(Outcome::Skipped);
        let verdict = if self.well { "all is well" } else { "NOT well" };
        let _ = writeln!(
            text,
            "\n{verdict}: {failed} failed, {warned} warnings, {skipped} not looked at"
        );
        text
    }
}
