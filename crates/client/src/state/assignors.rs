//! Who consumes what: the assignors of the classic group protocol, as the leader of a group runs them.
//!
//! Members of other brands read what we write and the reverse: subscriptions and assignments are
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment` of versions 0 to 3, and the user data of the two
//! sticky assignors is that of the Java client. Range and round-robin give exactly what the Java client gives,
//! racks included; the sticky ones are free in their choice, so here it is the simplest that is balanced and moves
//! little, with no fewer partitions read in a rack of their replicas.

mod range;
mod round_robin;
mod sticky;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::TopicPartition;
use ottla_protocol::Str;

pub use wire::{decode_assignment, decode_subscription, encode_assignment, encode_subscription};

/// An assignor by its name in `partition.assignment.strategy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignor {
    /// Consecutive partitions of each topic.
    Range,
    /// One partition after the other to one member after the other.
    RoundRobin,
    /// Balanced, and as few moves as possible; all members stop while it runs.
    Sticky,
    /// As `Sticky`, but only partitions that move stop, in a second rebalance.
    CooperativeSticky,
}

/// What members do with their partitions while a rebalance runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RebalanceProtocol {
    /// Everything is given up before joining.
    Eager,
    /// Members keep what they have; what moves is given up, and assigned in the next rebalance.
    Cooperative,
}

/// The racks of a partition's replicas, as far as brokers have one.
pub type Racks = BTreeSet<Arc<str>>;

/// The topics of a group by name, with the racks of each of their partitions.
pub type Topics = BTreeMap<Arc<str>, Vec<Racks>>;

/// What a member says of itself when it joins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscription {
    pub topics: Vec<Arc<str>>,
    pub user_data: Option<Bytes>,
    pub owned: Vec<TopicPartition>,
    /// Generation in which `owned` was assigned; -1: none.
    pub generation: i32,
    pub rack: Option<Str>,
}

/// A member as the leader of its group sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    pub member_id: Str,
    pub group_instance_id: Option<Str>,
    pub subscription: Subscription,
}

impl Member {
    /// The order in which assignors go through the members: static ones by instance id, then the others by member id.
    fn order(&self) -> (bool, &Str) {
        match &self.group_instance_id {
            Some(instance) => (false, instance),
            None => (true, &self.member_id),
        }
    }
}

impl Assignor {
    /// The name on the wire and in `partition.assignment.strategy`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of a name, or of the class name that Java applications configure.
    pub fn from_name(name: &str) -> Option<Self> {
        let class = name.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(name);
        match class {
            "range" | "RangeAssignor" => Some(Self::Range),
            "roundrobin" | "round-robin" | "RoundRobinAssignor" => Some(Self::RoundRobin),
            "sticky" | "StickyAssignor" => Some(Self::Sticky),
            "cooperative-sticky" | "CooperativeStickyAssignor" => Some(Self::CooperativeSticky),
            _ => None,
        }
    }

    /// Whether members that configure only this assignor may keep partitions during a rebalance.
    pub const fn supports_cooperative(self) -> bool {
        matches!(self, Self::CooperativeSticky)
    }

    /// The protocol that members of these assignors follow: the highest that all of them know.
    pub fn protocol(assignors: &[Self]) -> RebalanceProtocol {
        if !assignors.is_empty() && assignors.iter().all(|assignor| assignor.supports_cooperative()) {
            RebalanceProtocol::Cooperative
        } else {
            RebalanceProtocol::Eager
        }
    }

    /// User data of a subscription under this assignor, as the Java client writes it: what the member had last, in
    /// which generation.
    pub fn user_data(self, assigned: &[TopicPartition], generation: i32) -> Option<Bytes> {
        match self {
            Self::Range | Self::RoundRobin => None,
            Self::Sticky if assigned.is_empty() && generation < 0 => None,
            Self::Sticky => Some(wire::encode_sticky_user_data(assigned, generation)),
            Self::CooperativeSticky => Some(Bytes::copy_from_slice(&generation.to_be_bytes())),
        }
    }

    /// Divides the partitions of `topics` among `members`; the answer is in the order of `members`. Topics that are not
    /// in the map get no assignment.
    pub fn assign(self, topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
        match self {
            Self::Range => range::assign(topics, members),
            Self::RoundRobin => round_robin::assign(topics, members),
            Self::Sticky => {
                let claims: Vec<_> =
                    members.iter().map(|member| wire::sticky_claim(&member.subscription)).collect();
                sticky::assign(topics, members, &claims)
            }
            Self::CooperativeSticky => {
                let claims: Vec<_> =
                    members.iter().map(|member| wire::cooperative_claim(&member.subscription)).collect();
                let mut assigned = sticky::assign(topics, members, &claims);
                sticky::withhold_what_moves(&mut assigned, &claims);
                assigned
            }
        }
    }
}

/// Where a member runs, if it says so.
fn rack_of(member: &Member) -> Option<&str> {
    member.subscription.rack.as_deref().filter(|rack| !rack.is_empty())
}

/// Indexes of the members in the order of assignment.
fn in_order(members: &[Member]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| members[*a].order().cmp(&members[*b].order()));
    order
}

#[cfg(test)]
mod tests;
