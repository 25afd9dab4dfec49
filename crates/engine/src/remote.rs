//! Stores that are reached by a URL: which there are, what may be said of them, and opening one.
//!
//! URLs and options are those of object_store; names it does not know are faults instead of being
//! passed over. A secret is never an option: it comes from the environment, or from a file that an
//! option names, and is not shown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ClientConfigKey;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig, parse_url};
use url::Url;

use crate::Error;

/// Variables of the environment that mean a store begin so.
const VARIABLES: &str = "AWS_";
/// Options that are no secret by themselves and must not be written either: they would make the
/// store another one than the URL says.
const OF_THE_URL: [AmazonS3ConfigKey; 1] = [AmazonS3ConfigKey::Bucket];
/// A store that does not answer holds up the worker: not for longer than this.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
const RETRIES_MAX: usize = 4;

/// A store at a URL, with its options. Shows no value of an option.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    url: Url,
    options: BTreeMap<String, String>,
}

impl Remote {
    /// A store at a URL, such as `s3://bucket/prefix`.
    ///
    /// # Errors
    /// It is no URL, or none of a store that this build knows.
    pub fn parse(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user or a password, which the environment is for".to_owned());
        }
        let remote = Self { url, options: BTreeMap::new() };
        match ObjectStoreScheme::parse(&remote.url) {
            Ok((ObjectStoreScheme::AmazonS3 | ObjectStoreScheme::Memory, _)) => Ok(remote),
            Ok(_) => Err("no store of this kind is in this build".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Sets an option by its name in object_store, such as `region`.
    ///
    /// # Errors
    /// There is none of that name, or it is a secret.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let key = key(name).ok_or_else(|| format!("unknown option `{name}` of a store"))?;
        if secret(&key) {
            let variable = key.as_ref().to_uppercase();
            return Err(format!("a secret is not written here: it is read from {variable}"));
        }
        if OF_THE_URL.contains(&key) {
            return Err(format!("`{name}` is in the URL already"));
        }
        self.options.insert(key.as_ref().to_owned(), value.to_owned());
        Ok(())
    }

    /// Takes what the environment says of stores and no option does.
    pub fn complete(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables.into_iter().filter(|(name, _)| name.starts_with(VARIABLES)) {
            if let Some(key) = key(&name).filter(|key| !OF_THE_URL.contains(key)) {
                self.options.entry(key.as_ref().to_owned()).or_insert(value);
            }
        }
    }

    /// Opens the store; nothing is asked of it yet.
    ///
    /// # Errors
    /// Options that do not fit together, or values that mean nothing.
    pub fn open(&self) -> Result<Arc<dyn ObjectStore>, Error> {
        let failed = |error: object_store::Error| {
            Error::Setup(format!("open the store `{}`: {error}", self.url))
        };
        let (scheme, prefix) =
            ObjectStoreScheme::parse(&self.url).map_err(|error| failed(error.into()))?;
        if scheme != ObjectStoreScheme::AmazonS3 {
            let (store, prefix) = parse_url(&self.url).map_err(failed)?;
            return Ok(Arc::new(PrefixStore::new(store, prefix)));
        }
        let retry = RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let builder = AmazonS3Builder::new().with_url(self.url.as_str()).with_retry(retry);
        let known = self.options.iter().filter_map(|(name, value)| Some((key(name)?, value)));
        let builder = known.fold(builder, |builder, (key, value)| builder.with_config(key, value));
        Ok(Arc::new(PrefixStore::new(builder.build().map_err(failed)?, prefix)))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.options.keys().collect();
        f.debug_struct("Remote").field("url", &self.url.as_str()).field("options", &names).finish()
    }
}

fn key(name: &str) -> Option<AmazonS3ConfigKey> {
    name.to_ascii_lowercase().parse().ok()
}

fn secret(key: &AmazonS3ConfigKey) -> bool {
    let known = matches!(key, AmazonS3ConfigKey::SecretAccessKey | AmazonS3ConfigKey::Token);
    // A proxy's URL may hold a password.
    let proxy = *key == AmazonS3ConfigKey::Client(ClientConfigKey::ProxyUrl);
    known || proxy || key.as_ref().ends_with("_base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        Remote::parse("s3://bucket/a/prefix").unwrap()
    }

    #[test]
    fn urls() {
        assert_eq!(remote().url(), "s3://bucket/a/prefix");
        assert!(Remote::parse("memory:///").is_ok());
        for wrong in ["s3:/x", "s3://", "gs://bucket", "https://example.com", "x", "s3://a:b@c/"] {
            assert!(Remote::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options() {
        let mut remote = remote();
        assert_eq!(remote.set("region", "eu-1"), Ok(()));
        assert_eq!(remote.set("allow_http", "true"), Ok(()));
        assert_eq!(remote.set("regoin", "x"), Err("unknown option `regoin` of a store".to_owned()));
        for secret in ["secret_access_key", "aws_session_token", "sse_customer_key_base64"] {
            let refused = remote.set(secret, "hunter2").unwrap_err();
            assert!(
                refused.contains("a secret is not written here: it is read from AWS_"),
                "{refused}"
            );
        }
        assert!(remote.set("bucket", "another").is_err());
        let variables = [
            ("AWS_REGION", "us-1"),
            ("AWS_ACCESS_KEY_ID", "me"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("PATH", "/"),
        ];
        remote.complete(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(remote.options["aws_region"], "eu-1");
        assert_eq!(remote.options["aws_secret_access_key"], "hunter2");
        assert!(!format!("{remote:?}").contains("hunter2"));
        assert!(remote.open().is_ok());
        remote.set("unsigned_payload", "perhaps").unwrap();
        assert!(remote.open().is_err());
    }

    #[test]
    fn no_answer_is_an_outage() {
        let mut remote = remote();
        for (name, value) in [("endpoint", "http://127.0.0.1:1"), ("allow_http", "true")] {
            remote.set(name, value).unwrap();
        }
        let key = ("AWS_ACCESS_KEY_ID".to_owned(), "x".to_owned());
        remote.complete([key, ("AWS_SECRET_ACCESS_KEY".to_owned(), "x".to_owned())]);
        let store = crate::SnapshotStore::remote(&remote, 3).unwrap();
        let error = store.list(cardlens_model::PartitionId(0)).unwrap_err();
        assert_eq!(error.action(), crate::Action::Retry);
    }
}
