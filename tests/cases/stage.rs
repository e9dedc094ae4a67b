//! What stands round the program: the issuer and Altinn, an upstream that records bytes, and a listener
//! that nobody may call. Plain threads, so that nothing of the program's own libraries is in the way.

use crate::keys::{Key, base64url};
use crate::wire::{Kind, Message, Reader};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What one system user may do for one party.
#[derive(Clone, Debug)]
pub(crate) struct Right {
    pub(crate) system_user: String,
    pub(crate) party: String,
    pub(crate) resource: String,
    pub(crate) actions: Vec<String>,
}

/// What the issuer and Altinn say.
#[derive(Default)]
pub(crate) struct Said {
    /// Served one after the other; the last one for ever.
    pub(crate) key_sets: Vec<Value>,
    pub(crate) rights: Vec<Right>,
    /// Served in the place of a key set, whatever it is.
    pub(crate) key_set: Option<Vec<u8>>,
    /// Served in the place of a decision, whatever it is.
    pub(crate) decision: Option<Vec<u8>>,
    /// Resource and level.
    pub(crate) minimum_level: Vec<(String, u64)>,
    /// How often the key set was fetched.
    pub(crate) fetched: usize,
    /// How many connections came.
    pub(crate) connections: usize,
}

impl Said {
    fn served_key_set(&mut self) -> Vec<u8> {
        let listed = self.listed_key_set().to_string().into_bytes();
        self.key_set.clone().unwrap_or(listed)
    }

    fn listed_key_set(&mut self) -> Value {
        let last = self.key_sets.len().saturating_sub(1);
        let set = self.key_sets.get(self.fetched.min(last)).cloned();
        self.fetched += 1;
        set.unwrap_or(json!({ "keys": [] }))
    }

    fn decide(&self, question: &Value) -> Value {
        let attribute = |category: &str, ends: &str| {
            let attributes = question["Request"][category][0]["Attribute"].as_array()?;
            let found = attributes
                .iter()
                .find(|one| one["AttributeId"].as_str().is_some_and(|id| id.ends_with(ends)))?;
            found["Value"].as_str().map(str::to_owned)
        };
        let user = attribute("AccessSubject", ":systemuser:uuid");
        let party = attribute("Resource", ":organization:identifier-no");
        let (resource, action) =
            (attribute("Resource", ":resource"), attribute("Action", ":action-id"));
        let asked = |right: &&Right| {
            Some(&right.system_user) == user.as_ref()
                && Some(&right.party) == party.as_ref()
                && Some(&right.resource) == resource.as_ref()
                && action.as_ref().is_some_and(|action| right.actions.contains(action))
        };
        let permit = self.rights.iter().find(asked).is_some();
        let level = self.minimum_level.iter().find(|(of, _)| Some(of) == resource.as_ref());
        let obligations: Vec<Value> = level
            .iter()
            .map(|(_, level)| {
                json!({ "id": "urn:altinn:obligation:1", "attributeAssignment": [{
                    "attributeId": "urn:altinn:obligation-assignment:1", "value": level.to_string(),
                    "category": "urn:altinn:minimum-authenticationlevel",
                    "dataType": "http://www.w3.org/2001/XMLSchema#integer", "issuer": null }] })
            })
            .collect();
        let result = if permit {
            json!({ "decision": "Permit", "obligations": obligations })
        } else {
            json!({ "decision": "NotApplicable" })
        };
        json!({ "response": [result] })
    }
}

/// The issuer and Altinn, at one address.
pub(crate) struct Outside {
    pub(crate) url: String,
    pub(crate) said: Arc<Mutex<Said>>,
}

impl Outside {
    /// Speaks plain http, or TLS with a certificate that nobody else has signed.
    pub(crate) fn start(issuer: &str, said: Said, tls: Option<&Key>) -> Self {
        let (listener, address) = listen();
        let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
        let said = Arc::new(Mutex::new(said));
        let metadata = json!({
            "issuer": issuer, "jwks_uri": format!("{url}/jwk"), "token_endpoint": format!("{url}/token")
        });
        let tls = tls.map(self_signed);
        let told = Arc::clone(&said);
        each_connection(listener, move |stream| {
            told.lock().expect("whole").connections += 1;
            let Some(tls) = &tls else { return serve(stream, &metadata, &told) };
            let connection = rustls::ServerConnection::new(Arc::clone(tls)).expect("TLS");
            serve(rustls::StreamOwned::new(connection, stream), &metadata, &told);
        });
        Self { url, said }
    }
}

fn serve(stream: impl Read + Write, metadata: &Value, said: &Mutex<Said>) {
    let mut reader = Reader::new(stream);
    while let Ok(request) = reader.message(Kind::Request, &mut |_| {}) {
        let path = request.word(1).split('?').next().unwrap_or_default();
        // Three parts, as a token has them.
        let token = || ["{}", "{}", "signature"].map(base64url).join(".");
        let mut status = "200 OK";
        let body = match path {
            "/metadata" => metadata.to_string().into_bytes(),
            "/jwk" => said.lock().expect("whole").served_key_set(),
            "/token" => {
                json!({ "access_token": token(), "token_type": "Bearer", "expires_in": 600 })
                    .to_string()
                    .into_bytes()
            }
            "/authentication/api/v1/exchange/maskinporten" => token().into_bytes(),
            "/authorization/api/v1/authorize" => {
                let question = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                let said = said.lock().expect("whole");
                said.decision.clone().unwrap_or_else(|| said.decide(&question).to_string().into())
            }
            // Lists and policies: whatever is not told must be asked. Not 404: a resource without a policy
            // is not even asked for.
            _ => {
                status = "503 Service Unavailable";
                b"{}".to_vec()
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if reader.stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn self_signed(key: &Key) -> Arc<rustls::ServerConfig> {
    let certificate = STANDARD.decode(key.certificate().expect("a certificate")).expect("base64");
    let private = PrivatePkcs8KeyDer::from(key.pkcs8().expect("PKCS#8"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], private.into());
    Arc::new(config.expect("a certificate and its key"))
}

/// What reached the upstream since it was last asked.
#[derive(Default)]
pub(crate) struct Reached {
    /// Bytes, also those of no whole message.
    pub(crate) bytes: usize,
    pub(crate) messages: Vec<Message>,
    /// The most messages that came on one connection.
    pub(crate) on_one_connection: usize,
}

impl Reached {
    /// Whether there are bytes beside the whole messages.
    pub(crate) fn has_more(&self) -> bool {
        self.bytes > self.messages.iter().map(|message| message.length).sum()
    }
}

/// What an upstream does with a request.
pub(crate) enum Behaviour {
    /// Answers 200.
    Well,
    /// Writes these bytes, and closes the connection unless they are a whole answer.
    Bytes(Vec<u8>),
    /// Takes no connection.
    Refuse,
}

/// An upstream that records bytes.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    reached: Arc<Mutex<Reached>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        Self::start_as(Behaviour::Well)
    }

    pub(crate) fn start_as(behaviour: Behaviour) -> Self {
        let (listener, address) = listen();
        let reached = Arc::new(Mutex::new(Reached::default()));
        let kept = Arc::clone(&reached);
        if matches!(behaviour, Behaviour::Refuse) {
            drop(listener);
            return Self { address, reached };
        }
        let stays = match &behaviour {
            Behaviour::Bytes(bytes) => is_whole(bytes),
            Behaviour::Well | Behaviour::Refuse => true,
        };
        each_connection(listener, move |stream| {
            let mut reader = Reader::new(stream);
            let mut came = |bytes| kept.lock().expect("whole").bytes += bytes;
            let mut served = 0;
            while let Ok(request) = reader.message(Kind::Request, &mut came) {
                served += 1;
                let answer = answer(&behaviour, &request);
                let mut reached = kept.lock().expect("whole");
                reached.messages.push(request);
                reached.on_one_connection = reached.on_one_connection.max(served);
                drop(reached);
                if reader.stream.write_all(&answer).is_err() || !stays {
                    return;
                }
            }
        });
        Self { address, reached }
    }

    /// What reached it since the last call.
    pub(crate) fn take(&self) -> Reached {
        std::mem::take(&mut *self.reached.lock().expect("whole"))
    }
}

fn answer(behaviour: &Behaviour, request: &Message) -> Vec<u8> {
    if let Behaviour::Bytes(bytes) = behaviour {
        return bytes.clone();
    }
    let body = if request.word(0) == "HEAD" { "" } else { "{}" };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    format!("{head}{body}").into_bytes()
}

/// Whether bytes are at least one answer, whose end they tell themselves.
fn is_whole(mut answer: &[u8]) -> bool {
    loop {
        let mut reader = Reader::new(answer);
        match reader.message(Kind::Answer, &mut |_| {}) {
            // A head that announces another, unless it ends HTTP altogether.
            Ok(message) if message.status() < 200 && message.status() != 101 => {
                answer = &answer[message.length..];
            }
            Ok(message) => {
                let framed = ["content-length", "transfer-encoding"];
                return framed.iter().any(|name| !message.header(name).is_empty())
                    || matches!(message.status(), 101 | 204 | 304);
            }
            Err(_) => return false,
        }
    }
}

/// A listener that must never be called.
pub(crate) struct Forbidden {
    pub(crate) address: SocketAddr,
    called: Arc<Mutex<usize>>,
}

impl Forbidden {
    pub(crate) fn start() -> Self {
        let (listener, address) = listen();
        let called = Arc::new(Mutex::new(0));
        let kept = Arc::clone(&called);
        each_connection(listener, move |_| *kept.lock().expect("whole") += 1);
        Self { address, called }
    }

    /// How often it was called.
    pub(crate) fn called(&self) -> usize {
        *self.called.lock().expect("whole")
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Serves every connection in a thread of its own, until the test process ends.
fn each_connection(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// How a raw exchange goes on when the answers that are waited for have come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// Keep the connection for what comes next.
    Keep,
    /// The other side must close, within this time.
    AwaitClose(Duration),
    /// One more request, that is always refused and asks for the end of the connection: its answer comes
    /// after everything that the bytes before it have set off.
    Flush,
}

/// A client that sends bytes as they are.
pub(crate) struct Client {
    reader: Reader<TcpStream>,
}

/// What came back.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) messages: Vec<Message>,
    /// Whether the other side closed.
    pub(crate) closed: bool,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the program listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        stream.set_write_timeout(Some(LIMIT)).expect("a time limit");
        Self { reader: Reader::new(stream) }
    }

    /// Sends `raw` and reads `count` answers.
    pub(crate) fn exchange(&mut self, raw: &[u8], count: usize, then: Then) -> Answers {
        let mut writer = self.reader.stream.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            // Written beside the reading: an early answer may come while the rest still waits. A write
            // that fails shows in what is read.
            let written = scope.spawn(move || writer.write_all(raw).is_ok());
            let kind = if raw.starts_with(b"HEAD ") { Kind::AnswerToHead } else { Kind::Answer };
            let mut answers = self.read(kind, count);
            if answers.closed || then == Then::Keep {
                return answers;
            }
            if let Then::AwaitClose(limit) = then {
                self.reader.stream.set_read_timeout(Some(limit)).expect("a time limit");
            }
            if then == Then::Flush && written.join().unwrap_or(false) {
                let last = b"GET /%00 HTTP/1.1\r\nHost: flush\r\nConnection: close\r\n\r\n";
                // When it is closed already, that shows below.
                let _ = self.reader.stream.write_all(last);
            }
            let rest = self.read(Kind::Answer, usize::MAX);
            answers.messages.extend(rest.messages);
            answers.closed = rest.closed;
            answers
        })
    }

    fn read(&mut self, kind: Kind, count: usize) -> Answers {
        let mut answers = Answers::default();
        while answers.messages.len() < count {
            match self.reader.message(kind, &mut |_| {}) {
                Ok(message)
                    if (102..200).contains(&message.status()) || message.status() == 100 => {}
                Ok(message) => answers.messages.push(message),
                Err(end) => {
                    answers.closed = end == crate::wire::End::Closed;
                    break;
                }
            }
        }
        answers
    }
}
