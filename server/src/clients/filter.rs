//! Which clients CLIENT KILL and CLIENT LIST mean.

use super::Client;

/// Redis's classes of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Ordinary ones, MONITOR included.
    Normal,
    /// Redis's master link. None here: peers are no clients.
    Master,
    /// Redis's replicas. None here.
    Replica,
    /// Subscribers of channels.
    PubSub,
}

impl ClientKind {
    /// The class of this name, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match name.as_slice() {
            b"normal" => Some(ClientKind::Normal),
            b"master" => Some(ClientKind::Master),
            b"slave" | b"replica" => Some(ClientKind::Replica),
            b"pubsub" => Some(ClientKind::PubSub),
            _ => None,
        }
    }
}

/// Clients meet all conditions that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// Their id.
    pub id: Option<u64>,
    /// Their address.
    pub address: Option<String>,
    /// The address they connected to.
    pub local_address: Option<String>,
    /// Their class.
    pub kind: Option<ClientKind>,
    /// Their user.
    pub user: Option<String>,
    /// Leaves the caller out.
    pub skip_caller: bool,
}

impl ClientFilter {
    /// Whether it means `client`, asked by the client with id `caller`.
    pub fn names(&self, client: &Client, caller: u64) -> bool {
        self.id.is_none_or(|id| id == client.id)
            && self.address.as_ref().is_none_or(|address| *address == client.address)
            && self.local_address.as_ref().is_none_or(|local| *local == client.local_address)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self.user.as_ref().is_none_or(|user| client.user() == user.as_bytes())
            && !(self.skip_caller && client.id == caller)
    }
}
