//! The audit record: where it goes, what happens when it cannot, and how it is sealed.

use super::secret::Reference;
use super::world::number;
use super::{Resolver, either, section};
use crate::config::error::Place;
use crate::config::raw::{RawAudit, RawAuditOutput, RawChain, RawOnLoss, RawRotate, Setting, Size};
use crate::config::{AuditConfig, AuditOutput, ChainConfig, LimitConfig, OnLoss, RotateConfig};
use crate::record::chain::Signer;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::time::Duration;

/// Eleven digits are soon tried out where the key can be guessed, and so are codes.
const LEAST_KEY: usize = 32;
pub(super) const DRAW: &str = "draw one, such as with `openssl rand -hex 32`";

impl Resolver<'_> {
    pub(super) fn audit(&self, written: Setting<RawAudit>, limits: &LimitConfig) -> AuditConfig {
        let raw = section(written, "audit").raw;
        let output = self.audit_output(&raw.output);
        let queue = self.count_up_to(&raw.queue, number(8192), 1_000_000);
        let on_loss = match either(&raw.on_loss, RawOnLoss::Count) {
            RawOnLoss::Count => OnLoss::Count,
            RawOnLoss::Stop => OnLoss::Stop,
        };
        if let Some(place) = raw.on_loss.place().filter(|_| on_loss == OnLoss::Stop)
            && queue.get() < limits.requests_in_flight.saturating_mul(2)
        {
            let message = "each request in flight keeps a place, and as many records wait to be written; \
                           `audit.queue` has fewer";
            let cure = "raise `audit.queue` to at least twice `limits.requests_in_flight`";
            self.sink.report(place, message, cure);
        }
        let key = self.secret(&Reference {
            inline: None,
            file: &raw.pseudonym_key_file,
            variable: &raw.pseudonym_key_env,
            platform: None,
        });
        let message = "shorter than 32 characters: pseudonyms could be undone";
        let pseudonym_key = key.ok().flatten().map(|key| self.long_enough(key, message));
        AuditConfig {
            rotate: self.rotate(&raw.rotate, &output),
            chain: self.chain(&raw.chain),
            output,
            queue,
            on_loss,
            pseudonym_key,
        }
    }

    fn audit_output(&self, written: &Setting<RawAuditOutput>) -> AuditOutput {
        match written.written() {
            Some((RawAuditOutput::File(path), place)) => {
                if path.trim().is_empty() {
                    self.sink.report(place, "an empty path", "write the path of the file");
                }
                AuditOutput::File(PathBuf::from(path))
            }
            Some((RawAuditOutput::Stdout, _)) | None => AuditOutput::Stdout,
        }
    }

    fn rotate(&self, written: &Setting<RawRotate>, output: &AuditOutput) -> RotateConfig {
        let Some((raw, place)) = written.written() else { return RotateConfig::default() };
        if *output == AuditOutput::Stdout {
            let cure = "write `output: { file: … }`, or take the key away";
            self.sink.report(place, "standard output is not rotated", cure);
        }
        let max_age = raw.max_age.place().map(|_| self.time(&raw.max_age, Duration::from_secs(1)));
        let max_bytes = self.measure(&raw.max_bytes, Size::parse);
        if max_age.is_none() && raw.max_bytes.is_absent() {
            let cure = "write `max_bytes`, `max_age` or both";
            self.sink.report(place, "neither size nor age: nothing would be rotated", cure);
        }
        let keep = raw.keep.place().map(|_| self.count(&raw.keep, number(1)));
        RotateConfig { max_bytes, max_age, keep }
    }

    fn chain(&self, written: &Setting<RawChain>) -> Option<ChainConfig> {
        let (raw, place) = written.written()?;
        let mac_key = self.demanded(place, "mac_key_file", (&raw.mac_key_file, &raw.mac_key_env));
        let mac_key = mac_key
            .map(|key| self.long_enough(key, "shorter than 32 characters: codes could be forged"));
        let signing_key =
            self.demanded(place, "signing_key_file", (&raw.signing_key_file, &raw.signing_key_env));
        if let Some((key, at)) = &signing_key
            && let Err(problem) = Signer::from_pem(key.expose_secret())
        {
            let cure = "make one, such as with `openssl genpkey -algorithm ed25519`";
            self.sink.report(at, problem, cure);
        }
        Some(ChainConfig {
            mac_key: mac_key?,
            signing_key: signing_key?.0,
            checkpoint_records: self.count_up_to(&raw.checkpoint_records, number(1000), 10_000),
            checkpoint_interval: self.time(&raw.checkpoint_interval, Duration::from_secs(60)),
        })
    }

    fn demanded(
        &self,
        at: &Place,
        name: &str,
        (file, variable): (&Setting<String>, &Setting<String>),
    ) -> Option<(SecretString, Place)> {
        if file.is_absent() && variable.is_absent() {
            self.missing(at, name, "name the file that holds the key");
        }
        let reference = Reference { inline: None, file, variable, platform: None };
        self.secret(&reference).ok().flatten()
    }

    pub(super) fn long_enough(
        &self,
        (key, place): (SecretString, Place),
        message: &str,
    ) -> SecretString {
        if key.expose_secret().len() < LEAST_KEY {
            self.sink.report(&place, message, DRAW);
        }
        key
    }
}
