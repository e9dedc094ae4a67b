//! Every sentence of the pages, in Norwegian (bokmål) and English. A sentence without one of them does not compile.

/// The language of a page.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Language {
    #[default]
    Norwegian,
    English,
}

impl Language {
    /// Reads a code, `nb` or `en`.
    pub(super) fn parse(code: &str) -> Option<Self> {
        match code {
            "nb" => Some(Self::Norwegian),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Norwegian => "nb",
            Self::English => "en",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Norwegian => Self::English,
            Self::English => Self::Norwegian,
        }
    }

    pub(super) fn t(self, text: Text) -> &'static str {
        let (norwegian, english) = text.both();
        match self {
            Self::Norwegian => norwegian,
            Self::English => english,
        }
    }

    /// A sentence with `{name}`s filled in.
    pub(super) fn fill(self, text: Text, values: &[(&str, &str)]) -> String {
        values.iter().fold(self.t(text).to_owned(), |said, (name, value)| {
            said.replace(&format!("{{{name}}}"), value)
        })
    }
}

macro_rules! texts {
    ($($key:ident: $norwegian:literal, $english:literal;)*) => {
        /// A sentence or word.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Text { $($key),* }

        impl Text {
            /// In Norwegian and in English.
            fn both(self) -> (&'static str, &'static str) {
                match self { $(Self::$key => ($norwegian, $english)),* }
            }

            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$key),*];
        }
    };
}

texts! {
    // --- the frame
    SiteName: "Portvakt sandkasse", "Portvakt sandbox";
    Banner: "Sandkasse – ikke ekte data.", "Sandbox – no real data.";
    BannerWhat: "Alle personer, virksomheter og rettigheter her er oppdiktet.", "All people, organisations and rights here are made up.";
    SkipToContent: "Hopp til hovedinnhold", "Skip to main content";
    NavLabel: "Hovedmeny", "Main menu";
    NavMenu: "Meny", "Menu";
    NavStart: "Start", "Start";
    NavMine: "Mine systemtilganger", "My system users";
    NavClients: "Klientadministrasjon", "Client administration";
    NavVendor: "Leverandør", "Vendor";
    NavResources: "Ressurser", "Resources";
    NavLive: "Se spørsmålene", "Watch the questions";
    NavControls: "Testbrytere", "Test controls";
    NobodyChosen: "Ingen person valgt", "No person chosen";
    YouAre: "Du er", "You are";
    LogOut: "Logg ut", "Log out";
    FooterWhat: "Dette er en simulering av Maskinporten og Altinn for test og demo. Den har ingen forbindelse med de virkelige tjenestene.", "This is a simulation of Maskinporten and Altinn for tests and demos. It has no connection to the real services.";
    FooterStyle: "Utseendet bruker", "The look uses";
    ToStart: "Til startsiden", "To the start page";
    Back: "Tilbake", "Back";
    Cancel: "Avbryt", "Cancel";
    Next: "Neste", "Next";
    Choose: "Velg", "Choose";
    Delete: "Slett", "Delete";

    // --- start
    StartTitle: "Hvem vil du være?", "Who do you want to be?";
    StartLead: "Lev hele historien om en systemtilgang: leverandøren ber om den, kunden godkjenner, og leverandøren kaller tjenesten.", "Live the whole story of a system user: the vendor asks for it, the customer approves, and the vendor calls the service.";
    ChoosePerson: "Velg en person", "Choose a person";
    ChoosePersonLead: "I virkeligheten logger man inn med BankID. Her velger du bare.", "In reality people log in with BankID. Here you just choose.";
    BePerson: "Vær {name}", "Be {name}";
    IdentityNumber: "Fødselsnummer", "Identity number";
    UnknownPerson: "Personen finnes ikke i denne verdenen.", "There is no such person in this world.";
    LogInTitle: "Velg en person først", "Choose a person first";
    LogInLead: "Denne siden er for den som er logget inn. Velg hvem du vil være.", "This page is for somebody who is logged in. Choose whom to be.";
    IsGeneralManager: "Daglig leder i {org}: kan godkjenne og gi alt, og administrere klienter.", "General manager of {org}: may approve and give everything, and administer clients.";
    IsMainAdministrator: "Hovedadministrator i {org}: kan godkjenne, gi tilgangspakker og administrere klienter.", "Main administrator of {org}: may approve, give access packages and administer clients.";
    IsAccessManager: "Tilgangsstyrer i {org}: kan godkjenne og gi det hun eller han selv har.", "Access manager of {org}: may approve, and give what he or she holds.";
    IsClientAdministrator: "Klientadministrator i {org}: legger til og fjerner klienter.", "Client administrator of {org}: adds and removes clients.";
    IsEmployee: "Ansatt i {org}: kan ikke godkjenne, men sende forespørsler videre.", "Employee of {org}: may not approve, but may hand requests on.";
    HoldsPackages: "Har tilgangspakken {packages}.", "Holds the access package {packages}.";
    RolesTitle: "Veier gjennom sandkassen", "Ways through the sandbox";
    RoleVendor: "Leverandør", "Vendor";
    RoleVendorLead: "Be en kunde om systemtilgang, hent et token og kall tjenesten.", "Ask a customer for a system user, take a token and call the service.";
    RoleCustomer: "Kunde", "Customer";
    RoleCustomerLead: "Svar på forespørsler, og se, opprett og slett systemtilganger.", "Answer requests, and see, create and delete system users.";
    RoleFacilitator: "Regnskapsfører, revisor", "Accountant, auditor";
    RoleFacilitatorLead: "Velg hvilke klienter systemtilgangen kan handle for.", "Choose the clients that a system user may act for.";
    RoleOwner: "Tjenesteeier", "Service owner";
    RoleOwnerLead: "Se hvem som kan gjøre hva på hver ressurs.", "See who may do what on each resource.";
    RoleTester: "Tester", "Tester";
    RoleTesterLead: "Flytt klokken, legg inn feil, bytt nøkler.", "Move the clock, inject faults, change keys.";

    // --- words of rights
    System: "System", "System";
    Vendor: "Leverandør", "Vendor";
    Customer: "Kunde", "Customer";
    Reference: "Ekstern referanse", "External reference";
    IntegrationName: "Navn på systemtilgangen", "Name of the system user";
    AskedAt: "Spurt", "Asked";
    SystemUser: "Systemtilgang", "System user";
    SystemUserId: "Systembruker-id", "System user id";
    KindStandard: "For egen virksomhet", "For one's own organisation";
    KindAgent: "For klienter", "For clients";
    Kind: "Type systemtilgang", "Kind of system user";
    Packages: "Tilgangspakker", "Access packages";
    Package: "Tilgangspakke", "Access package";
    SingleRights: "Enkeltrettigheter", "Single rights";
    SingleRight: "Enkeltrettighet", "Single right";
    ActionRead: "lese", "read";
    ActionWrite: "fylle ut og sende inn", "fill in and submit";
    ActionAccess: "få tilgang", "have access";
    ActionEvery: "alt", "everything";
    NoRights: "Ingen rettigheter.", "No rights.";
    MayDo: "Dette kan systemtilgangen gjøre", "What the system user may do";
    RoleAccountant: "regnskapsfører (REGN)", "accountant (REGN)";
    RoleAuditor: "revisor (REVI)", "auditor (REVI)";
    RoleBusinessManager: "forretningsfører (FFØR)", "business manager (FFØR)";
    RoleRightHolder: "fullmakt fra kunden", "power of attorney from the customer";
    RoleNamed: "rollen {role}", "the role {role}";
    Anybody: "alle", "anybody";
    Denied: "Nektet:", "Denied:";

    // --- confirm
    ConfirmTitle: "Forespørsel om systemtilgang", "Request for a system user";
    ConfirmLead: "{vendor} ber om at systemet {system} får en systemtilgang hos {customer}, med rettighetene under.", "{vendor} asks that the system {system} gets a system user at {customer}, with the rights below.";
    ConfirmAgentLead: "{vendor} ber om at systemet {system} får en systemtilgang hos {customer} for å handle for klienter. Ingen klient er med før en klientadministrator legger den til.", "{vendor} asks that the system {system} gets a system user at {customer} that acts for clients. No client is included until a client administrator adds it.";
    YouCanGive: "Du kan gi denne", "You can give this";
    YouCannotGive: "Du kan ikke gi denne", "You cannot give this";
    YouCanGiveActions: "Du kan gi: {actions}", "You can give: {actions}";
    Approve: "Godkjenn", "Approve";
    Reject: "Avvis", "Reject";
    Escalate: "Send videre til en tilgangsstyrer", "Hand on to an access manager";
    ApproveNote: "Når du godkjenner, får systemet rettighetene med én gang. Du kan slette systemtilgangen når som helst.", "When you approve, the system gets the rights at once. You can delete the system user at any time.";
    ApproveAgentNote: "Når du godkjenner, opprettes systemtilgangen uten klienter. Du kan slette den når som helst, så lenge den ikke har noen.", "When you approve, the system user is created without clients. You can delete it at any time while it has none.";
    OnlyManagers: "Bare en tilgangsstyrer kan godkjenne eller avvise.", "Only an access manager may approve or reject.";
    Escalated: "Forespørselen er sendt videre til en tilgangsstyrer.", "The request has been handed on to an access manager.";
    TimedOut: "Forespørselen er eldre enn 180 dager og regnes som utløpt. Den kan fortsatt besvares.", "The request is older than 180 days and counts as timed out. It can still be answered.";
    WasApproved: "Forespørselen er godkjent. Systemtilgangen er opprettet.", "The request is approved. The system user has been created.";
    WasRejected: "Forespørselen er avvist.", "The request is rejected.";
    IsOpen: "Forespørselen venter på svar.", "The request waits for an answer.";
    BackToVendor: "Tilbake til leverandøren", "Back to the vendor";
    NothingToDoWith: "Du har ingen rolle i {org}, og kan verken se eller svare på forespørselen.", "You have no role in {org}, and can neither see nor answer the request.";

    // --- change request
    ChangeTitle: "Forespørsel om endring", "Request for a change";
    ChangeLead: "{vendor} ber om å endre rettighetene som {system} har hos {customer}.", "{vendor} asks to change the rights that {system} has at {customer}.";
    ChangeMore: "Får i tillegg", "Gets in addition";
    ChangeLess: "Mister", "Loses";
    ChangeApproved: "Endringen er godkjent og gjelder fra nå.", "The change is approved and takes effect now.";
    ChangeRejected: "Endringen er avvist. Rettighetene er som før.", "The change is rejected. The rights are as before.";

    // --- my system users
    MineTitle: "Mine systemtilganger", "My system users";
    MineLead: "Systemer som kan handle for virksomheten, og det leverandører ber om.", "Systems that may act for the organisation, and what vendors ask for.";
    MineList: "Systemtilganger", "System users";
    ActingFor: "Du handler for", "You act for";
    NotYourOrganization: "Du har ingen rolle i denne virksomheten.", "You have no role in this organisation.";
    Waiting: "Venter på svar", "Waiting for an answer";
    AsksForUser: "Leverandøren ber om en systemtilgang.", "The vendor asks for a system user.";
    AsksForChange: "Leverandøren ber om endrede rettigheter.", "The vendor asks for changed rights.";
    LookAtChange: "Se på endringen for {name}", "Look at the change for {name}";
    LookAt: "Se på {name}", "Look at {name}";
    NoUsers: "Virksomheten har ingen systemtilganger.", "The organisation has no system users.";
    SystemGone: "Systemet finnes ikke lenger hos leverandøren. Systemtilgangen får ingen nye token.", "The system is no longer at the vendor. The system user gets no new tokens.";
    AgentPackages: "Tilgangspakker som brukes for hver klient", "Access packages used for each client";
    AgentClients: "Klienter", "Clients";
    NoAgentClients: "Ingen klienter ennå.", "No clients yet.";
    DeleteTitle: "Vil du slette {name}?", "Delete {name}?";
    DeleteLead: "Rettighetene blir borte, og systemet får ingen nye token. Dette kan ikke angres.", "The rights are gone, and the system gets no new tokens. This cannot be undone.";
    DeleteForGood: "Slett systemtilgangen", "Delete the system user";
    WasCreated: "Systemtilgangen er opprettet.", "The system user has been created.";
    WasDeleted: "Systemtilgangen er slettet.", "The system user has been deleted.";
    CreateTitle: "Opprett systemtilgang", "Create a system user";
    CreateLead: "Velg systemet som skal handle for virksomheten.", "Choose the system that is to act for the organisation.";
    ChooseSystem: "Systemer i systemregisteret", "Systems in the system register";
    AcceptTitle: "Gi {system} tilgang", "Give {system} access";
    AcceptLead: "Systemet trenger rettighetene under. Du må godta alle for å opprette systemtilgangen.", "The system needs the rights below. You must accept all of them to create the system user.";
    IntegrationHelp: "Navnet som vises i listen din.", "The name that is shown in your list.";
    AcceptAndCreate: "Godta og opprett", "Accept and create";

    // --- client administration
    ClientsTitle: "Klientadministrasjon", "Client administration";
    ClientsLead: "Velg hvilke klienter en systemtilgang kan handle for. Hvem som er klient, står i Enhetsregisteret eller er gitt som fullmakt.", "Choose the clients that a system user may act for. The Central Coordinating Register says who is a client, or a power of attorney does.";
    NoClientAdministrator: "Bare en klientadministrator i {org} kan gjøre dette.", "Only a client administrator of {org} may do this.";
    NoAgents: "Virksomheten har ingen systemtilgang for klienter ennå. En leverandør må be om den.", "The organisation has no system user for clients yet. A vendor must ask for one.";
    Agents: "Systemtilganger for klienter", "System users for clients";
    ClientsOf: "Klienter i {name}", "Clients of {name}";
    AgentNeeds: "Hver klient må tilby:", "Each client must offer:";
    Client: "Klient", "Client";
    Relation: "Relasjon", "Relation";
    State: "Status", "State";
    Action: "Handling", "Action";
    ClientAdded: "Lagt til", "Added";
    ClientNotAdded: "Ikke lagt til", "Not added";
    ClientWithoutEffect: "Lagt til, uten virkning", "Added, without effect";
    ClientLacks: "Tilbyr ikke:", "Does not offer:";
    AddClient: "Legg til {name}", "Add {name}";
    RemoveClient: "Fjern {name}", "Remove {name}";
    RelationEnded: "relasjonen er avsluttet", "the relation has ended";
    RelationsTitle: "Hvem som er klient", "Who is a client";
    RelationsLead: "Slik står det i det simulerte Enhetsregisteret og i fullmaktene.", "As the simulated Central Coordinating Register and the powers of attorney have it.";
    NoRelations: "Virksomheten har ingen klienter.", "The organisation has no clients.";

    // --- vendor
    VendorTitle: "Leverandørens side", "The vendor's page";
    VendorLead: "Be en kunde om systemtilgang, hent et token for den, og kall tjenesten gjennom Portvakt.", "Ask a customer for a system user, take a token for it, and call the service through Portvakt.";
    VendorChoose: "1. Velg system", "1. Choose a system";
    SystemAndClient: "Leverandør, system og Maskinporten-klient", "Vendor, system and Maskinporten client";
    NoSystems: "Ingen systemer har en Maskinporten-klient med denne id-en.", "No system has a Maskinporten client with this id.";
    DeletedMark: " [slettet]", " [deleted]";
    AskTitle: "2. Be om en systemtilgang", "2. Ask for a system user";
    AskLead: "Kunden får en lenke der noen i virksomheten svarer. Har kunden allerede en systemtilgang med samme referanse, sier Altinn nei.", "The customer gets a link where somebody in the organisation answers. If the customer already has a system user with the same reference, Altinn says no.";
    Needs: "Rettigheter det bes om", "Rights that are asked for";
    NeedsNothing: "Systemet trenger ingen rettigheter.", "The system needs no rights.";
    ReferenceHelp: "Kan stå tom. Bruk en ny for å be en gang til.", "May be empty. Use a new one to ask again.";
    Redirect: "Send brukeren tilbake til", "Send the user back to";
    NoRedirect: "Ingen, vis en kvittering", "Nowhere, show a receipt";
    Ask: "Send forespørsel", "Send the request";
    Asked: "Forespørselen er opprettet.", "The request has been created.";
    AskedBefore: "Den samme forespørselen fantes fra før.", "The same request existed before.";
    ConfirmUrlLead: "Send kunden denne lenken:", "Send the customer this link:";
    ConfirmUrl: "Kundens lenke:", "The customer's link:";
    Requests: "Forespørsler", "Requests";
    StatusNew: "Venter", "Waiting";
    StatusEscalated: "Sendt videre", "Handed on";
    StatusAccepted: "Godkjent", "Approved";
    StatusRejected: "Avvist", "Rejected";
    TokenTitle: "3. Hent et token", "3. Take a token";
    TokenLead: "Systemet ber Maskinporten om et token for kundens systemtilgang.", "The system asks Maskinporten for a token for the customer's system user.";
    NoSystemUsers: "Ingen kunde har gitt systemet en systemtilgang ennå.", "No customer has given the system a system user yet.";
    Scope: "Scope", "Scope";
    Scopes: "Scopes", "Scopes";
    TakeToken: "Hent token", "Take a token";
    TokenRefused: "Maskinporten sa nei: {why}", "Maskinporten said no: {why}";
    TokenTaken: "Tokenet", "The token";
    TokenTakenLead: "Slik leser Portvakt det. Alt er åpent for den som har tokenet; bare signaturen gjør det ekte.", "This is how Portvakt reads it. Everything is open to who has the token; only the signature makes it genuine.";
    TokenHeader: "Hode", "Header";
    TokenClaims: "Innhold", "Claims";
    TokenSignature: "Signatur:", "Signature:";
    ClaimKid: "Nøkkelen som signaturen er laget med.", "The key that made the signature.";
    ClaimAlg: "Hvordan signaturen er laget.", "How the signature was made.";
    ClaimIss: "Hvem som har utstedt tokenet: Maskinporten.", "Who issued the token: Maskinporten.";
    ClaimAud: "Hvem tokenet er ment for.", "Whom the token is meant for.";
    ClaimScope: "Hvilke API-er leverandøren har fått tilgang til.", "The APIs that the vendor has been given access to.";
    ClaimClient: "Leverandørens klient i Maskinporten.", "The vendor's client at Maskinporten.";
    ClaimConsumer: "Virksomheten som eier klienten: leverandøren.", "The organisation that owns the client: the vendor.";
    ClaimSupplier: "Virksomheten som bruker scopet på vegne av en annen.", "The organisation that uses the scope on behalf of another.";
    ClaimDetails: "Systemtilgangen som tokenet gjelder, og virksomheten som eier den.", "The system user of the token, and the organisation that owns it.";
    ClaimExp: "Når tokenet slutter å gjelde.", "When the token expires.";
    ClaimIat: "Når tokenet ble utstedt.", "When the token was issued.";
    ClaimJti: "Tokenets egen id.", "The token's own id.";
    BackToVendorPage: "Tilbake til leverandørens side", "Back to the vendor's page";
    CallTitle: "4. Kall tjenesten", "4. Call the service";
    CallLead: "Kallet går gjennom Portvakt på", "The call goes through Portvakt at";
    NoProxy: "Sandkassen kjenner ingen proxy. Start den med --proxy http://127.0.0.1:8080 for å gjøre kallet. Du ser likevel hva sandkassen selv ville svart.", "The sandbox knows no proxy. Start it with --proxy http://127.0.0.1:8080 to make the call. You still see what the sandbox itself would answer.";
    Call: "Kall", "Call";
    OwnCall: "Eget kall", "A call of your own";
    Party: "Hvem kallet gjelder", "Whom the call concerns";
    Method: "Metode", "Method";
    Path: "Sti", "Path";
    PathHelp: "Begynner med skråstrek. Brukes når «Eget kall» er valgt over.", "Begins with a slash. Used when “A call of your own” is chosen above.";
    BadPath: "Stien må begynne med skråstrek og kan ikke ha mellomrom.", "The path must begin with a slash and hold no spaces.";
    MakeCall: "Kall", "Call";
    CallResult: "Svar på kallet", "Answer to the call";
    ProxyAnswered: "Portvakt svarte {status}.", "Portvakt answered {status}.";
    ProxySilent: "Portvakt svarte ikke: {why}", "Portvakt did not answer: {why}";

    // --- verdict
    StepsTitle: "Steg for steg", "Step by step";
    StepsLead: "Slik sandkassen ser det, ut fra sin egen modell. Portvakt spør selv, og kan ha et eldre svar i minnet.", "As the sandbox sees it, from its own model. Portvakt asks for itself, and may remember an older answer.";
    StepGood: "Ja", "Yes";
    StepBad: "Nei", "No";
    StepUnknown: "Til orientering", "For information";
    StepToken: "Er tokenet ekte og gyldig?", "Is the token genuine and valid?";
    StepScope: "Har tokenet riktig scope?", "Does the token have the right scope?";
    StepUser: "Hvilken systemtilgang?", "Which system user?";
    StepHeld: "Har den noe for denne aktøren?", "Does it hold anything for this party?";
    StepRules: "Hva krever ressursen?", "What does the resource demand?";
    StepPdp: "Hva sier Altinn?", "What does Altinn say?";
    StepProxy: "Hva sa Portvakt?", "What did Portvakt say?";
    TokenLeft: "{seconds} sekunder til det utløper.", "{seconds} seconds until it expires.";
    ScopeHeld: "I tokenet:", "In the token:";
    ScopeNeeded: "Ruten krever:", "The route demands:";
    UserDeleted: "Systemtilgangen er slettet.", "The system user is deleted.";
    NoUserInToken: "Tokenet navngir ingen systemtilgang som finnes.", "The token names no system user that exists.";
    HoldsNothing: "Ingen tilgangspakker og ingen enkeltrettigheter.", "No access packages and no single rights.";
    PdpSays: "Beslutningen er", "The decision is";
    MinimumLevel: "Krav til sikkerhetsnivå", "Security level demanded";
    ProblemCode: "Feilkode:", "Error code:";
    CannotTell: "Svaret betyr «kan ikke avgjøres nå», ikke «nei».", "The answer means “cannot be told now”, not “no”.";
    UpstreamDown: "Kallet slapp gjennom, men tjenesten bak Portvakt svarte ikke.", "The call was let through, but the service behind Portvakt did not answer.";
    ExplainTitle: "La Portvakt forklare selv", "Let Portvakt explain for itself";
    ExplainLead: "Legg tokenet i filen token.txt og kjør:", "Put the token into the file token.txt and run:";
    WholeToken: "Hele tokenet", "The whole token";

    // --- service owner
    ResourcesTitle: "Ressurser og hvem som kan bruke dem", "Resources and who may use them";
    ResourcesLead: "Tjenesteeierens ressurser i ressursregisteret, med reglene i ord.", "The service owner's resources in the resource registry, with their rules in words.";
    AccessLists: "Tilgangslister", "Access lists";
    NoPolicy: "Ingen regler er lastet opp.", "No policy has been uploaded.";
    SeePolicy: "Se regelfilen for {id}", "See the policy of {id}";

    // --- live
    LiveTitle: "Hva Altinn ble spurt om", "What Altinn was asked";
    LiveLead: "De siste hundre spørsmålene og kallene til den simulerte Altinn og Maskinporten.", "The latest hundred questions and calls to the simulated Altinn and Maskinporten.";
    LiveQuestions: "Spørsmål om rettigheter", "Questions about rights";
    LiveCalls: "Alle kall", "All calls";
    LiveNothing: "Ingenting ennå.", "Nothing yet.";
    LivePause: "Stans oppdateringen", "Pause the updates";
    LiveGoOn: "Fortsett oppdateringen", "Go on updating";
    Refresh: "Oppdater", "Refresh";
    Time: "Tid", "Time";
    Who: "Systemtilgang", "System user";
    What: "Spørsmål", "Question";
    Answer: "Svar", "Answer";
    Endpoint: "Endepunkt", "Endpoint";
    AskedParties: "For hvem kan den handle?", "For whom may it act?";
    AnsweredParties: "Liste over aktører", "List of parties";
    Unanswered: "Ikke besvart", "Not answered";

    // --- controls
    ControlsTitle: "Testbrytere", "Test controls";
    ControlsLead: "Forstyrr den simulerte Altinn og Maskinporten, og se at Portvakt gjør det rette.", "Disturb the simulated Altinn and Maskinporten, and see that Portvakt does the right thing.";
    KnobTurned: "Utført.", "Done.";
    BadKnob: "Feltene var ikke riktig fylt ut.", "The fields were not filled in as they must be.";
    Clock: "Klokke", "Clock";
    ClockNow: "Klokken i sandkassen er", "The time in the sandbox is";
    ClockMoved: "Den er flyttet {seconds} sekunder.", "It has been moved {seconds} seconds.";
    ClockSeconds: "Antall sekunder", "Number of seconds";
    ClockHelp: "Minus går bakover.", "Minus goes backwards.";
    ClockMove: "Flytt klokken", "Move the clock";
    Plus2Minutes: "Et token utløper (130 s)", "A token expires (130 s)";
    PlusHour: "En time frem", "An hour on";
    PlusDay: "Et døgn frem", "A day on";
    Faults: "Feil", "Faults";
    FaultsLead: "En feil rammer ett endepunkt til den fjernes, eller så mange ganger du sier.", "A fault strikes one endpoint until it is cleared, or as many times as you say.";
    NoFaults: "Ingen feil er satt.", "No faults are set.";
    Fault: "Feil som settes", "Fault to set";
    FaultTimes: "Antall ganger", "Number of times";
    FaultTimesHelp: "Tom: til den fjernes.", "Empty: until it is cleared.";
    SetFault: "Sett feilen", "Set the fault";
    ClearFaults: "Fjern alle feil", "Clear all faults";
    FaultSlow: "Svarer etter 2 sekunder", "Answers after 2 seconds";
    FaultHang: "Svarer aldri", "Never answers";
    FaultClose: "Lukker forbindelsen", "Closes the connection";
    Fault503: "503 Service Unavailable", "503 Service Unavailable";
    Fault429: "429 med Retry-After: 5", "429 with Retry-After: 5";
    FaultSome: "500 på tre av ti kall", "500 on three calls in ten";
    FaultHtml: "HTML i stedet for JSON", "HTML instead of JSON";
    FaultTruncate: "Avbrutt svar", "Truncated answer";
    FaultDrip: "Svaret kommer én byte om gangen", "The answer comes one byte at a time";
    FaultStale: "Svarer som om ingenting er endret siden nå", "Answers as if nothing had changed since now";
    FaultIndeterminate: "pdp: Indeterminate", "pdp: Indeterminate";
    FaultHidden: "pdp: NotApplicable som skjuler en feil", "pdp: NotApplicable that hides an error";
    Caches: "Mellomlagre i Altinn", "Caches in Altinn";
    CachesLead: "Altinn husker rettigheter i 5 minutter og regler i 10. Med to instanser kan svarene veksle.", "Altinn remembers rights for 5 minutes and policies for 10. With two instances answers may alternate.";
    CachesOff: "Av", "Off";
    CachesOne: "På, én instans", "On, one instance";
    CachesTwo: "På, to instanser", "On, two instances";
    SetCaches: "Lagre valget", "Save the choice";
    Keys: "Signeringsnøkler", "Signing keys";
    KeySigning: "Maskinporten signerer nå med", "Maskinporten now signs with";
    KeysPublished: "Publiserte nøkler: {count}.", "Published keys: {count}.";
    Rotate: "Bytt nøkkel, behold de gamle", "Change the key, keep the old ones";
    RotateDrop: "Bytt nøkkel, fjern de gamle", "Change the key, drop the old ones";
    Reset: "Nullstill sandkassen", "Reset the sandbox";
    ResetLead: "Verdenen, klokken, feil og minne blir som ved start. Nøklene blir stående.", "World, clock, faults and memory become as at the start. Keys stay.";
    ResetSure: "Ja, alt jeg har gjort her kan forsvinne", "Yes, all I have done here may go";

    // --- refusals
    FailedTitle: "Feil: {title}", "Error: {title}";
    CannotTitle: "Det går ikke", "That cannot be done";
    NotFound: "Fant ikke siden.", "The page was not found.";
    NotFoundTitle: "Siden finnes ikke", "There is no such page";
    NoForm: "Skjemaet var ikke riktig fylt ut.", "The form was not filled in as it must be.";
    ForeignForm: "Skjemaet kom ikke fra denne siden, eller er for gammelt. Gå tilbake, last siden på nytt og prøv igjen.", "The form did not come from this site, or is too old. Go back, reload the page and try again.";
    NotAllowed: "Du har ikke lov til dette.", "You are not allowed to do this.";
    FailedWith: "Altinn svarte {status}.", "Altinn answered {status}.";
    ProblemOrganization: "Virksomheten finnes ikke.", "The organisation does not exist.";
    ProblemRight: "En rettighet finnes ikke, eller systemet trenger den ikke.", "A right does not exist, or the system does not need it.";
    ProblemExists: "Virksomheten har allerede en slik systemtilgang for dette systemet.", "The organisation already has such a system user for this system.";
    ProblemNoRequest: "Forespørselen finnes ikke, eller er trukket tilbake.", "The request does not exist, or has been withdrawn.";
    ProblemNoSystem: "Systemet finnes ikke, eller er slettet.", "The system does not exist, or is deleted.";
    ProblemAnswered: "Forespørselen er allerede besvart.", "The request has already been answered.";
    ProblemNoUser: "Systemtilgangen finnes ikke, eller er slettet.", "The system user does not exist, or is deleted.";
    ProblemRole: "Du kan ikke godkjenne: du mangler rollen som en av rettighetene krever.", "You cannot approve: you lack the role that one of the rights demands.";
    ProblemDelegation: "Du kan ikke godkjenne: ingen har gitt deg en av rettighetene.", "You cannot approve: nobody has given you one of the rights.";
    ProblemLevel: "Du kan ikke godkjenne: innloggingen har for lavt sikkerhetsnivå.", "You cannot approve: the security level of your login is too low.";
    ProblemRedirect: "Adressen brukeren skal sendes tilbake til, er ikke registrert på systemet.", "The address to send the user back to is not registered with the system.";
    ProblemClientsLeft: "Systemtilgangen har fortsatt klienter. Fjern dem først.", "The system user still has clients. Remove them first.";
    ProblemPackage: "Du kan ikke godkjenne: du har ikke alle tilgangspakkene selv.", "You cannot approve: you do not hold all the access packages yourself.";
    ProblemNothingAsked: "Be om minst én tilgangspakke eller enkeltrettighet. En systemtilgang for klienter må ha en tilgangspakke.", "Ask for at least one access package or single right. A system user for clients must have an access package.";
    ProblemUserGone: "Systemtilgangen som forespørselen gjelder, er slettet.", "The system user that the request is about is deleted.";
    ProblemPackageKind: "En tilgangspakke hører ikke til systemet, eller passer ikke for denne typen systemtilgang.", "An access package is not one of the system's, or does not fit this kind of system user.";
    ProblemNoManager: "Bare en tilgangsstyrer kan gjøre dette.", "Only an access manager may do this.";
    ProblemResourcePackage: "Du kan ikke godkjenne: du mangler tilgangspakken som en av rettighetene krever.", "You cannot approve: you lack the access package that one of the rights demands.";
    ProblemAccessList: "Virksomheten står ikke på tilgangslisten for en av rettighetene.", "The organisation is not on the access list of one of the rights.";
    ProblemNotDelegable: "En av rettighetene kan ikke gis til en systemtilgang.", "One of the rights cannot be given to a system user.";
    ProblemNoClient: "Virksomheten er ikke klient.", "The organisation is not a client.";
    ProblemClientLacks: "Klienten tilbyr ikke alle tilgangspakkene som systemtilgangen trenger.", "The client does not offer all the access packages that the system user needs.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names in braces.
    fn names(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|rest| rest.split_once('}'))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn every_sentence_is_there_in_both_languages_with_the_same_names() {
        for text in Text::ALL {
            let (norwegian, english) = text.both();
            assert!(!norwegian.is_empty() && !english.is_empty(), "{text:?}");
            assert_eq!(names(norwegian), names(english), "{text:?}");
        }
    }

    #[test]
    fn whole_sentences_are_not_left_untranslated() {
        for text in Text::ALL {
            let (norwegian, english) = text.both();
            assert!(norwegian != english || !norwegian.ends_with('.'), "{text:?}");
        }
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(Language::English.fill(Text::BePerson, &[("name", "Kari")]), "Be Kari");
        assert_eq!(Language::parse("fr"), None);
    }
}
