//! Logins of Flight: a name and a password once, a token afterwards.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use tracing::info;

use super::Service;
use super::peer::Peer;
use crate::front::{Role, WRONG};

/// Most logins that are remembered; the oldest is forgotten first and logs in again.
const TOKENS: usize = 10_000;

/// Tokens that were given out.
#[derive(Default)]
pub struct Tokens {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When each was given out, as a number that grows, and to whom.
    tokens: BTreeMap<String, (u64, Arc<Role>)>,
    given: u64,
}

impl Tokens {
    fn give(&self, role: &Arc<Role>) -> Result<String, Status> {
        let mut bytes = [0; 32];
        getrandom::getrandom(&mut bytes)
            .map_err(|error| Status::internal(format!("draw a token: {error}")))?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.given += 1;
        let given = known.given;
        known.tokens.insert(token.clone(), (given, Arc::clone(role)));
        if known.tokens.len() > TOKENS {
            let oldest = known.tokens.iter().min_by_key(|(_, (given, _))| *given);
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                known.tokens.remove(&oldest);
            }
        }
        Ok(token)
    }

    fn role(&self, token: &str) -> Option<Arc<Role>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tokens.get(token).map(|(_, role)| Arc::clone(role))
    }
}

/// Whoever sent a request, and what it shows of itself.
pub(super) struct Asked {
    pub(super) headers: MetadataMap,
    peer: Option<Peer>,
    secure: bool,
}

impl Asked {
    pub(super) fn by<T>(request: &Request<T>) -> Self {
        let (peer, secure) = Peer::of(request);
        Self { headers: request.metadata().clone(), peer, secure }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.peer.as_ref().and_then(|peer| peer.address)
    }

    fn loopback(&self) -> bool {
        self.address().is_some_and(|address| address.is_loopback())
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization").and_then(|text| text.to_str().ok())
    }
}

fn refused() -> Status {
    Status::unauthenticated("user name and password do not match, or the token is not known")
}

impl Service {
    /// The role of whoever asks.
    pub(super) async fn role(&self, asked: &Asked) -> Result<Arc<Role>, Status> {
        let role = match asked.authorization() {
            Some(text) if text.starts_with("Bearer ") => {
                self.tokens.role(&text["Bearer ".len()..]).ok_or_else(refused)?
            }
            Some(text) => self.prove(text, asked).await?.0,
            None if asked.loopback() && self.options.loopback_without_password => {
                Arc::new(Role { name: "somebody".into(), ..Role::default() })
            }
            None => {
                let message = "log in first: no authorization in the request";
                return Err(Status::unauthenticated(message));
            }
        };
        if let Some(peer) = &asked.peer {
            peer.enter();
        }
        Ok(role)
    }

    /// Checks a name and a password; the second is a token for what follows. What is wrong is
    /// answered after a while, and one after another on a connection.
    pub(super) async fn prove(
        &self,
        given: &str,
        asked: &Asked,
    ) -> Result<(Arc<Role>, String), Status> {
        let _alone = match &asked.peer {
            Some(peer) => Some(peer.proving.lock().await),
            None => None,
        };
        let proved = self.proved(given, asked);
        match (&proved, &asked.peer) {
            (Ok(_), Some(peer)) => peer.enter(),
            (Ok(_), None) => {}
            (Err(_), _) => {
                info!(peer = ?asked.address(), "login refused");
                tokio::time::sleep(WRONG).await;
            }
        }
        proved
    }

    fn proved(&self, given: &str, asked: &Asked) -> Result<(Arc<Role>, String), Status> {
        let loopback = asked.loopback();
        if !loopback && !asked.secure && !self.options.insecure {
            let message = "connections from other machines are encrypted here";
            return Err(Status::unauthenticated(message));
        }
        // Some clients leave the padding out.
        let config =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoded = given
            .strip_prefix("Basic ")
            .and_then(|text| GeneralPurpose::new(&STANDARD, config).decode(text.trim()).ok());
        let decoded =
            decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(refused)?;
        let (name, password) = decoded.split_once(':').ok_or_else(refused)?;
        let role = self.front.roles.role(name);
        if loopback && self.options.loopback_without_password {
            let role =
                role.unwrap_or_else(|| Arc::new(Role { name: name.to_owned(), ..Role::default() }));
            let token = self.tokens.give(&role)?;
            return Ok((role, token));
        }
        let secret = self.front.roles.secret(name);
        let right = same(secret.unwrap_or("\u{0}").as_bytes(), password.as_bytes());
        let role = role.filter(|_| right && secret.is_some()).ok_or_else(refused)?;
        let token = self.tokens.give(&role)?;
        Ok((role, token))
    }
}

/// Compares in a time that does not tell how far two texts agree.
fn same(left: &[u8], right: &[u8]) -> bool {
    let mut differ = left.len() ^ right.len();
    for (at, byte) in right.iter().enumerate() {
        let other = left.get(at % left.len().max(1)).copied().unwrap_or(0);
        differ |= usize::from(byte ^ other);
    }
    differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_bounded() {
        let tokens = Tokens::default();
        let role = Arc::new(Role::default());
        let first = tokens.give(&role).unwrap();
        for _ in 0..TOKENS {
            tokens.give(&role).unwrap();
        }
        assert!(tokens.role(&first).is_none());
        assert!(same(b"secret", b"secret") && !same(b"secret", b"secreT") && !same(b"", b"a"));
    }
}
