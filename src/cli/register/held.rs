//! Where the register is read from: the running process, or the snapshot. Both tell the same.

use crate::app::offline::{self, OfflineError};
use crate::config::Config;
use crate::domain::system_user::SystemUserId;
use crate::serve::register::RegisterPages;
use secrecy::ExposeSecret;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the process to say anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest line: an agent with ten thousand clients takes some megabytes.
const LINE: usize = 256 << 20;

/// Where to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// The admin listener of the running process.
    Process(SocketAddr),
    /// The file that it has left.
    Snapshot,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeldError {
    #[error(
        "the admin listener at {0} cannot be reached: start portvakt, name another address with \
         --admin, or read the snapshot with --snapshot"
    )]
    Unreachable(SocketAddr, #[source] reqwest::Error),
    #[error("the admin listener at {0} broke off; try again")]
    BrokeOff(SocketAddr, #[source] reqwest::Error),
    #[error("{0}")]
    Refused(String),
    #[error("what answers at {0} is not this version of portvakt's admin listener")]
    Unreadable(SocketAddr),
    #[error(transparent)]
    Offline(#[from] OfflineError),
    #[error("the system user is not in the watched set")]
    Unwatched,
}

impl Origin {
    /// Counts, ages and policies.
    pub(super) async fn summary(self, config: &Config) -> Result<Value, HeldError> {
        match self {
            Self::Process(address) => json(address, config, "/register").await,
            Self::Snapshot => Ok(offline::pages(config)?.summary(None)),
        }
    }

    /// One system user.
    pub(super) async fn system_user(
        self,
        config: &Config,
        id: SystemUserId,
    ) -> Result<Value, HeldError> {
        match self {
            Self::Process(address) => {
                json(address, config, &format!("/register/system-users/{id}")).await
            }
            Self::Snapshot => offline::pages(config)?.system_user(id).ok_or(HeldError::Unwatched),
        }
    }

    /// Every system user, a line each, until `take` says no.
    pub(super) async fn export(
        self,
        config: &Config,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), HeldError> {
        match self {
            Self::Process(address) => lines(address, config, take).await,
            Self::Snapshot => {
                export(offline::pages(config)?, take);
                Ok(())
            }
        }
    }
}

fn export(pages: RegisterPages, take: &mut dyn FnMut(&str) -> bool) {
    for shard in Arc::new(pages).export() {
        let text = String::from_utf8_lossy(&shard);
        if !text.lines().all(&mut *take) {
            return;
        }
    }
}

async fn get(
    address: SocketAddr,
    config: &Config,
    path: &str,
) -> Result<reqwest::Response, HeldError> {
    let client = reqwest::Client::builder().read_timeout(PATIENCE).no_proxy().build();
    let client = client.map_err(|error| HeldError::Unreachable(address, error))?;
    let mut request = client.get(format!("http://{address}{path}"));
    if let Some(token) = &config.admin.token {
        request = request.bearer_auth(token.expose_secret());
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| HeldError::Unreachable(address, error))?;
    match answer.status().as_u16() {
        200 => Ok(answer),
        401 | 403 | 404 => {
            let text = answer.text().await.map_err(|error| HeldError::BrokeOff(address, error))?;
            Err(HeldError::Refused(text.trim().chars().take(500).collect()))
        }
        _ => Err(HeldError::Unreadable(address)),
    }
}

async fn json(address: SocketAddr, config: &Config, path: &str) -> Result<Value, HeldError> {
    let text = get(address, config, path).await?.bytes().await;
    let text = text.map_err(|error| HeldError::BrokeOff(address, error))?;
    serde_json::from_slice(&text).map_err(|_| HeldError::Unreadable(address))
}

async fn lines(
    address: SocketAddr,
    config: &Config,
    take: &mut dyn FnMut(&str) -> bool,
) -> Result<(), HeldError> {
    let mut answer = get(address, config, "/register/export").await?;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(piece) =
        answer.chunk().await.map_err(|error| HeldError::BrokeOff(address, error))?
    {
        rest.extend_from_slice(&piece);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            if rest.len() > LINE {
                return Err(HeldError::Unreadable(address));
            }
            continue;
        };
        let later = rest.split_off(end + 1);
        let whole = std::mem::replace(&mut rest, later);
        let whole = std::str::from_utf8(&whole).map_err(|_| HeldError::Unreadable(address))?;
        if !whole.lines().all(&mut *take) {
            return Ok(());
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(HeldError::Unreadable(address)) }
}
