//! Who may come in, and how that is proved.
//!
//! Nobody is told whether a name exists: an unknown one gets a salt as stable as a known one, and
//! the same words at the end. Outside loopback a connection is encrypted before a proof of a
//! password travels on it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{ScramAuth, gen_salted_password};
use datafusion_postgres::pgwire::api::auth::sasl::{
    SASLState, SCRAM_SHA_256_METHOD, SCRAM_SHA_256_PLUS_METHOD,
};
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler,
    finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{
    ClientInfo, METADATA_DATABASE, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::TlsAcceptor;
use futures::{Sink, SinkExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Mutex;

use super::server::Registry;
use crate::front::{DATABASE, Fault, Role, Roles, SERVER_VERSION, State, WRONG};
use crate::session::Session;
use crate::session::settings::Settings;

/// Rounds of hashing a password, as PostgreSQL has them.
const ROUNDS: usize = 4_096;

/// A certificate and its key.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// As it stands in its file, for channel binding.
    certificate: Arc<[u8]>,
    key: Arc<[u8]>,
}

impl Tls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// Either cannot be read, or they do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let named = |path: &Path, error: &dyn std::fmt::Display| {
            format!("read {}: {error}", path.display())
        };
        let pem = std::fs::read(certificate).map_err(|error| named(certificate, &error))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| named(certificate, &error))?;
        if chain.is_empty() {
            return Err(named(certificate, &"no certificate in it"));
        }
        let key_pem = std::fs::read(key).map_err(|error| named(key, &error))?;
        let secret = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| named(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| named(key, &error))?;
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, certificate: pem.into(), key: key_pem.into() })
    }

    /// Certificate and key as they stand in their files, for another protocol.
    #[must_use]
    pub fn identity(&self) -> (Vec<u8>, Vec<u8>) {
        (self.certificate.to_vec(), self.key.to_vec())
    }
}

/// What proves the roles, worked out once.
#[derive(Debug)]
pub(super) struct Proofs {
    salted: BTreeMap<String, Vec<u8>>,
    keys: [RandomState; 2],
}

impl Proofs {
    pub(super) fn new(roles: &Roles) -> Self {
        let mut proofs =
            Self { salted: BTreeMap::new(), keys: [RandomState::new(), RandomState::new()] };
        for name in roles.names() {
            let salt = proofs.salt(name);
            let secret = roles.secret(name).unwrap_or_default();
            proofs.salted.insert(name.to_owned(), gen_salted_password(secret, &salt, ROUNDS));
        }
        proofs
    }

    /// Of a name, known or not.
    fn salt(&self, name: &str) -> Vec<u8> {
        self.keys.iter().flat_map(|key| key.hash_one(name).to_be_bytes()).collect()
    }
}

#[async_trait]
impl AuthSource for Proofs {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let name = login.user().unwrap_or_default();
        let unknown = || {
            // Nobody can have hashed to it.
            let key = RandomState::new();
            (0_u64..4).flat_map(|part| key.hash_one(part).to_be_bytes()).collect()
        };
        let salted = self.salted.get(name).cloned().unwrap_or_else(unknown);
        Ok(Password::new(Some(self.salt(name)), salted))
    }
}

/// How connections log in.
pub(super) struct Door {
    pub(super) roles: Roles,
    pub(super) proofs: Arc<Proofs>,
    pub(super) tls: Option<Tls>,
    pub(super) loopback_without_password: bool,
    pub(super) insecure: bool,
    pub(super) registry: Arc<Registry>,
    pub(super) numbers: RandomPidSecretKeyGenerator,
}

/// One connection's way through the door.
pub(super) struct Login {
    door: Arc<Door>,
    state: Mutex<SASLState>,
}

impl Login {
    pub(super) fn new(door: Arc<Door>) -> Self {
        Self { door, state: Mutex::new(SASLState::Initial) }
    }

    fn scram(&self, secure: bool) -> PgWireResult<ScramAuth> {
        let proofs: Arc<dyn AuthSource> = Arc::clone(&self.door.proofs) as _;
        let mut scram = ScramAuth::new(proofs);
        scram.set_iterations(ROUNDS);
        if secure && let Some(tls) = &self.door.tls {
            scram.configure_certificate(&tls.certificate)?;
        }
        Ok(scram)
    }

    /// The session of a client that has proved who it is.
    async fn enter<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<C::Error>,
    {
        let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
        let role = self.door.roles.role(&user);
        let role = role.unwrap_or_else(|| Arc::new(Role { name: user.clone(), ..Role::default() }));
        let settings = settings(client)?;
        let (number, secret) = self.door.numbers.generate(client);
        client.set_pid_and_secret_key(number, secret.clone());
        let address = client.socket_addr().ip().to_canonical().to_string();
        let session = Arc::new(Session::new(user, role, number, address, settings));
        let entry = self.door.registry.enter(number, secret.to_bytes(), &session);
        client.session_extensions().insert(entry);
        client.session_extensions().insert(Arc::clone(&session));
        let mut told = DefaultServerParameterProvider::default();
        told.server_version = SERVER_VERSION.to_owned();
        told.is_superuser = false;
        told.default_transaction_read_only = true;
        told.date_style = session.settings().get("datestyle")?;
        told.time_zone = session.settings().get("timezone")?;
        told.search_path = session.settings().get("search_path")?;
        finish_authentication(client, &told).await
    }

    async fn prove<C>(&self, client: &mut C, message: PasswordMessageFamily) -> PgWireResult<bool>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        PgWireError: From<C::Error>,
    {
        let mut state = self.state.lock().await;
        let message = if matches!(*state, SASLState::Initial) {
            let first = message.into_sasl_initial_response()?;
            let known = [SCRAM_SHA_256_METHOD, SCRAM_SHA_256_PLUS_METHOD];
            if !known.contains(&first.auth_method.as_str()) {
                return Err(PgWireError::UnsupportedSASLAuthMethod(first.auth_method));
            }
            *state = SASLState::ScramClientFirstReceived;
            PasswordMessageFamily::SASLInitialResponse(first)
        } else {
            PasswordMessageFamily::SASLResponse(message.into_sasl_response()?)
        };
        let scram = self.scram(client.is_secure())?;
        let (answer, next) = scram.process_scram_message(client, message, &state).await?;
        client.send(PgWireBackendMessage::Authentication(answer)).await?;
        *state = next;
        Ok(matches!(*state, SASLState::Finished))
    }
}

#[async_trait]
impl StartupHandler for Login {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                check(client)?;
                let loopback = client.socket_addr().ip().to_canonical().is_loopback();
                if loopback && self.door.loopback_without_password {
                    return self.enter(client).await;
                }
                if !client.is_secure() && !loopback && !self.door.insecure {
                    let fault = Fault::fatal(
                        State::NotAuthorized,
                        "connections from other machines are encrypted here",
                    );
                    return Err(fault.hint("connect with sslmode=require or stronger").into());
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                let mut ways = vec![SCRAM_SHA_256_METHOD.to_owned()];
                if client.is_secure() && self.door.tls.is_some() {
                    ways.push(SCRAM_SHA_256_PLUS_METHOD.to_owned());
                }
                let ask = Authentication::SASL(ways);
                client.send(PgWireBackendMessage::Authentication(ask)).await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(message) => {
                match self.prove(client, message).await {
                    Ok(true) => self.enter(client).await,
                    Ok(false) => Ok(()),
                    Err(error) => {
                        let user = client.metadata().get(METADATA_USER);
                        let user = user.cloned().unwrap_or_default();
                        tracing::info!(%error, peer = %client.socket_addr(), "login refused");
                        tokio::time::sleep(WRONG).await;
                        let message = format!("password authentication failed for user \"{user}\"");
                        Err(Fault::fatal(State::WrongPassword, message).into())
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

/// What a start-up message asks for.
fn check<C: ClientInfo>(client: &C) -> Result<(), Fault> {
    let of = |name: &str| client.metadata().get(name).map(String::as_str);
    let Some(user) = of(METADATA_USER).filter(|user| !user.is_empty()) else {
        return Err(Fault::fatal(State::NotAuthorized, "no user name in the start-up message"));
    };
    let database = of(METADATA_DATABASE).unwrap_or(user);
    if database != DATABASE {
        let message = format!("database \"{database}\" does not exist");
        return Err(Fault::fatal(State::NoDatabase, message)
            .hint(format!("the database is \"{DATABASE}\"")));
    }
    if of("replication").is_some_and(|value| !matches!(value, "false" | "off" | "0" | "no")) {
        return Err(Fault::fatal(State::NotSupported, "there is no replication here"));
    }
    Ok(())
}

/// Settings of the start-up message, those inside `options` among them.
fn settings<C: ClientInfo>(client: &C) -> Result<Settings, Fault> {
    let mut settings = Settings::default();
    let fatal = |fault: Fault| Fault { fatal: true, ..fault };
    for (name, value) in client.metadata() {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            name if name.starts_with("_pq_.") => {}
            "options" => {
                let mut words = value.split_ascii_whitespace();
                while let Some(word) = words.next() {
                    let given = match word {
                        "-c" => words.next(),
                        word => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
                    };
                    if let Some((name, value)) = given.and_then(|given| given.split_once('=')) {
                        settings.set(name, Some(value), false).map_err(fatal)?;
                    }
                }
            }
            name => drop(settings.set(name, Some(value), false).map_err(fatal)?),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn papers_that_are_of_no_use_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(file("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        std::fs::write(file("other"), other.serialize_pem()).unwrap();
        std::fs::write(file("text"), "no PEM at all").unwrap();
        assert!(Tls::read(&file("cert"), &file("key")).is_ok());
        for (cert, key, wrong, why) in [
            ("none", "key", "none", "No such file"),
            ("text", "key", "text", "no certificate in it"),
            ("cert", "none", "none", "No such file"),
            ("cert", "text", "text", ""),
            ("cert", "other", "other", "KeyMismatch"),
        ] {
            let told = Tls::read(&file(cert), &file(key)).err().unwrap();
            let begins = format!("read {}: ", file(wrong).display());
            assert!(told.starts_with(&begins) && told.contains(why), "{cert} {key}: {told}");
        }
    }
}
