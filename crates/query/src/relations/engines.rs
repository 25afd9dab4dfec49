//! The engines that there are: who answers at the configured names, and who owns what.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;

use super::backend::{Board, Instance, InstanceAnswer};
use crate::Error;
use crate::scan::{Client, Description, Listing, PartitionState};

/// Longest that a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Engines by their configured names, and what the last description of them was.
#[derive(Debug)]
pub(super) struct Engines {
    /// `host:port` each. A host of several addresses is an engine at each, as a headless service of
    /// Kubernetes has one for every pod.
    names: Vec<String>,
    /// All that were ever asked: statements know them by their place here.
    clients: Mutex<Vec<Arc<Client>>>,
    described: Mutex<Option<(String, Arc<Description>)>>,
}

impl Engines {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names, clients: Mutex::default(), described: Mutex::default() }
    }

    /// The engine at a place.
    pub(super) fn client(&self, engine: usize) -> Arc<Client> {
        Arc::clone(&locked(&self.clients)[engine])
    }

    /// The place of the engine at an address.
    fn place(&self, address: String) -> usize {
        let mut clients = locked(&self.clients);
        let known = clients.iter().position(|client| client.address() == address);
        known.unwrap_or_else(|| {
            clients.push(Arc::new(Client::new(address)));
            clients.len() - 1
        })
    }

    /// Places of all engines that there are now.
    async fn present(&self) -> Vec<usize> {
        let addresses = join_all(self.names.iter().map(|name| addresses(name))).await;
        let mut places: Vec<usize> = Vec::new();
        for address in addresses.into_iter().flatten() {
            let place = self.place(address);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    pub(super) async fn board(&self) -> Result<Board, Error> {
        let engines = self.present().await;
        let clients: Vec<_> = engines.iter().map(|engine| self.client(*engine)).collect();
        let listings = join_all(clients.iter().map(|client| client.list())).await;
        let mut first: Option<(usize, &Listing)> = None;
        for (at, listing) in listings.iter().enumerate() {
            let Ok(listing) = listing else { continue };
            let (known, other) = *first.get_or_insert((at, listing));
            if other.description_digest != listing.description_digest {
                let (one, two) = (clients[known].address(), clients[at].address());
                return Err(Error::Disagree(format!(
                    "engines `{one}` and `{two}` have different rules or settings; a rolling \
                     restart may be under way"
                )));
            }
        }
        let Some((at, listing)) = first else {
            let silent = listings.into_iter().find_map(Result::err);
            return Err(silent.unwrap_or_else(|| Error::Refused("no engine is named".into())));
        };
        let description = self.description(&clients[at], &listing.description_digest).await?;
        let known = listings.iter().flatten().filter_map(|it| it.partitions_all);
        // A topic has one at least: none is what an engine says that has not looked.
        let partitions_all = known.filter(|all| *all > 0).max();
        let partitions = owners(&engines, &listings);
        let instances = engines.iter().zip(&clients).zip(listings);
        let instances = instances.map(|((engine, client), listing)| Instance {
            engine: *engine,
            address: client.address().to_owned(),
            answer: listing.map(|listing| InstanceAnswer {
                instance: listing.instance,
                rules_version: listing.rules_version,
                rules_digest: listing.rules_digest,
            }),
        });
        let instances = instances.collect();
        Ok(Board { description, instances, partitions, partitions_all })
    }

    async fn description(&self, client: &Client, digest: &str) -> Result<Arc<Description>, Error> {
        let known = locked(&self.described).clone();
        if let Some((_, description)) = known.filter(|(known, _)| known == digest) {
            return Ok(description);
        }
        let description = Arc::new(client.describe().await?);
        *locked(&self.described) = Some((digest.to_owned(), Arc::clone(&description)));
        Ok(description)
    }
}

/// Who owns what. Of two that believe to own a partition, the later one does.
fn owners(engines: &[usize], listings: &[Result<Listing, Error>]) -> Vec<(usize, PartitionState)> {
    let mut partitions: BTreeMap<u32, (usize, PartitionState)> = BTreeMap::new();
    for (engine, listing) in engines.iter().zip(listings) {
        for state in listing.iter().flat_map(|listing| &listing.partitions) {
            let known = partitions.get(&state.partition);
            if known.is_none_or(|(_, known)| known.epoch < state.epoch) {
                partitions.insert(state.partition, (*engine, state.clone()));
            }
        }
    }
    partitions.into_values().collect()
}

/// Where the engines of a name are: at the name itself where it stands for one address, or for none
/// as yet, so that messages say what the configuration says.
async fn addresses(name: &str) -> Vec<String> {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if literal || host == "localhost" {
        return vec![name.to_owned()];
    }
    let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host(name)).await;
    let found = found.ok().and_then(Result::ok).map(Iterator::collect).unwrap_or_default();
    several(name, found)
}

/// One name, or all of its addresses where there are several.
fn several(name: &str, mut found: Vec<SocketAddr>) -> Vec<String> {
    found.sort_unstable();
    found.dedup();
    // A machine of both families has one of each: it would count twice.
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    match found.len() {
        0 | 1 => vec![name.to_owned()],
        _ => found.iter().map(SocketAddr::to_string).collect(),
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_several_addresses_is_an_engine_at_each() {
        let found = |all: &[&str]| all.iter().map(|it| it.parse().unwrap()).collect();
        let engines = |all: &[&str]| several("engines:7", found(all));
        assert_eq!(engines(&[]), ["engines:7"]);
        assert_eq!(engines(&["10.0.0.1:7", "10.0.0.1:7"]), ["engines:7"]);
        assert_eq!(engines(&["10.0.0.2:7", "10.0.0.1:7"]), ["10.0.0.1:7", "10.0.0.2:7"]);
        assert_eq!(engines(&["10.0.0.1:7", "[fd00::1]:7"]), ["engines:7"]);
        assert_eq!(engines(&["[fd00::1]:7", "[fd00::2]:7"]), ["[fd00::1]:7", "[fd00::2]:7"]);
    }

    #[tokio::test]
    async fn engines_keep_their_places() {
        let names = ["127.0.0.1:1", "localhost:2", "[::1]:3", "127.0.0.1:1", "nobody.invalid:4"];
        let engines = Engines::new(names.map(str::to_owned).to_vec());
        assert_eq!(engines.present().await, [0, 1, 2, 3]);
        assert_eq!(engines.present().await, [0, 1, 2, 3]);
        let addresses: Vec<_> =
            (0..4).map(|engine| engines.client(engine).address().to_owned()).collect();
        assert_eq!(addresses, [names[0], names[1], names[2], names[4]]);
    }
}
