//! Bearer tokens: the administrator's, those of service accounts, and bootstrap tokens.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use skiff_shared::telemetry::Chain;

use crate::api::{Authenticator, certificate_user};
use crate::auth::jwt::Signer;
use crate::auth::tokens::{self, Reviewed};
use crate::auth::{User, bootstrap_token};
use crate::controllers::signing::ClientAuthority;
use crate::objects::Objects;
use crate::pki::Pki;

impl ClientAuthority for Pki {
    fn sign(&self, request_pem: &[u8], seconds: i64, now: Timestamp) -> Result<String, String> {
        let lifetime = Duration::from_secs(seconds.try_into().unwrap_or_default());
        self.sign_client(request_pem, lifetime, now).map_err(|e| Chain(&e).to_string())
    }
}

/// Knows every kind of token.
#[derive(Debug)]
pub(super) struct Identities {
    pub(super) pki: Arc<Pki>,
    pub(super) signer: Arc<Signer>,
    pub(super) objects: Objects,
}

impl Authenticator for Identities {
    fn bearer(&self, token: &str) -> Option<User> {
        let reviewed = self.review(token, &[]);
        reviewed.inspect_err(|error| tracing::debug!(error, "a bearer token was refused")).ok().map(|r| r.user)
    }

    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<User> {
        let good = chain.first().filter(|_| self.pki.is_client(chain, Timestamp::now()));
        good.and_then(|certificate| certificate_user(certificate))
    }

    fn review(&self, token: &str, audiences: &[String]) -> Result<Reviewed, String> {
        // Tokens that are no JWT do not say for whom they are: they are for everyone.
        let plain = |user| Reviewed { user, audiences: audiences.to_vec() };
        if let Some(subject) = self.pki.bearer(token) {
            return Ok(plain(User { name: subject.name, groups: subject.groups, ..User::default() }));
        }
        let (snapshot, now) = (self.objects.snapshot(), Timestamp::now());
        if let Some(user) = bootstrap_token::user(token, &snapshot, now) {
            return Ok(plain(user));
        }
        tokens::review(&self.signer, token, audiences, &snapshot, now)
    }

    fn signer(&self) -> Option<&Signer> {
        Some(&self.signer)
    }
}
