//! Vocabulary: connections on loan. A download asks for one for each exchange, and gives it back.

use crate::base::link::LinkKey;
use crate::base::{Family, Instant, LinkOutput, Reach};
use crate::proto::http::{self, Connection};
use crate::wire::http::Origin;
use core::net::IpAddr;

/// What a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The host.
    pub origin: Origin,
    /// Where its name may lead.
    pub reach: Reach,
    /// The family of addresses that it must be reached over; any, where left out.
    pub family: Option<Family>,
    /// The own address that it must come from, over whose family it goes then; any, where left out.
    pub from: Option<IpAddr>,
}

/// What is asked of whoever keeps the connections of all downloads; `K` names an exchange.
#[derive(Debug)]
pub enum Output<K> {
    /// A connection for one exchange; it is leased, or told that there is none.
    Lease {
        /// The exchange.
        slot: K,
        /// Where to.
        to: Destination,
    },
    /// The connection is not wanted any more.
    Unlease {
        /// The exchange.
        slot: K,
        /// Where to.
        to: Destination,
    },
    /// The exchange is over: the connection is idle or closed.
    Release(Lease),
    /// Do something on a link.
    Link(LinkKey, LinkOutput),
}

impl<K> Output<K> {
    /// The same with another name for the exchange.
    pub fn map<T>(self, name: impl FnOnce(K) -> T) -> Output<T> {
        match self {
            Self::Lease { slot, to } => Output::Lease { slot: name(slot), to },
            Self::Unlease { slot, to } => Output::Unlease { slot: name(slot), to },
            Self::Release(lease) => Output::Release(lease),
            Self::Link(link, output) => Output::Link(link, output),
        }
    }

    /// The same over a connection that comes from that own address.
    #[must_use]
    pub fn bound_to(mut self, own: Option<IpAddr>) -> Self {
        if let Self::Lease { to, .. } | Self::Unlease { to, .. } = &mut self {
            to.from = own;
        }
        self
    }
}

/// A connection on loan.
#[derive(Debug)]
pub struct Lease {
    /// The link under it.
    pub link: LinkKey,
    /// The conversation over it.
    pub connection: Box<Connection>,
    /// Whether it has served before.
    pub reused: bool,
    /// Whether it leads into the own network, or to this machine.
    pub local: bool,
    /// A family of addresses that the host has besides the one that this leads over.
    pub other_family: Option<Family>,
}

impl Lease {
    /// Its exchange is broken off: what is not idle is of no use any more.
    pub(super) fn break_off(mut self, now: Instant) -> Self {
        if !self.connection.is_idle() {
            self.connection.close(now);
        }
        self
    }

    /// Gives it back when its exchange is over.
    pub(super) fn give_back<K>(mut self) -> Vec<Output<K>> {
        let mut outputs = Vec::new();
        while let Some(output) = self.connection.poll_output() {
            if let http::Output::Link(output) = output {
                outputs.push(Output::Link(self.link, output));
            }
        }
        outputs.push(Output::Release(self));
        outputs
    }
}
