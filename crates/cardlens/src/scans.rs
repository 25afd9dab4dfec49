//! The scan endpoint of a process: where gateways read this engine's customers.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use cardlens_engine::view::{Desk, Layout};
use cardlens_engine::{Deployment, Error, Metrics, Shared, SystemClock};
use cardlens_query::scan::{Endpoint, Setup, describe};

/// Digits after the decimal point of a currency that has none of its own.
const EXPONENT: u16 = 2;

/// Digits after the decimal point of a currency.
#[must_use]
pub fn exponent(currency: &str) -> u8 {
    let currency = iso_currency::Currency::from_code(currency);
    let digits = currency.and_then(iso_currency::Currency::exponent).unwrap_or(EXPONENT);
    u8::try_from(digits).unwrap_or(2)
}

/// What the endpoint serves, and for whom.
pub struct Scans {
    desk: Desk,
    endpoint: Endpoint,
}

/// What there is to serve.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// The deployment.
    pub deployment: &'a Deployment,
    /// What its partitions share.
    pub shared: &'a Shared,
    /// Windows of exported features, in days.
    pub windows: &'a [u16],
    /// Changes of segment to keep.
    pub recent_changes: u32,
    /// What this instance is called.
    pub instance: &'a str,
}

impl Scans {
    /// Listens and answers.
    ///
    /// # Errors
    /// The address cannot be had, which is [`Error::Unavailable`].
    pub fn start(address: &str, served: Served<'_>, metrics: &Metrics) -> anyhow::Result<Self> {
        let Served { deployment, shared, windows, .. } = served;
        let listener = TcpListener::bind(address).map_err(|error| {
            Error::caused(format!("listen on `{address}` (`scan.listen`)"), error)
        })?;
        let layout = Layout::new(shared, windows)?;
        let exponent = exponent(&deployment.currency);
        let description = describe(deployment, shared, &layout, (windows, exponent));
        let recent = usize::try_from(served.recent_changes).unwrap_or(usize::MAX);
        let desk = Desk::new(layout, recent, Box::new(SystemClock::new()), metrics.clone());
        let setup = Setup {
            desk: desk.clone(),
            description: Arc::new(description),
            instance: served.instance.to_owned(),
        };
        let endpoint = Endpoint::start(listener, setup).context("answer scans")?;
        Ok(Self { desk, endpoint })
    }

    /// Where views are asked for, for the worker.
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Where gateways find it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }
}
