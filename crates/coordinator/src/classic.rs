//! Classic groups: the rebalance protocol of JoinGroup, SyncGroup, Heartbeat and LeaveGroup.

mod group;
mod join;
mod membership;
mod rebalance;
mod subscription;
mod sync;

pub(crate) use join::{Join, join_response};
pub(crate) use sync::sync_failure;

pub(crate) use group::{ClassicGroup, GroupState, MemberState, Protocol};

use ottla_model::Millis;

use crate::config::CoordinatorConfig;
use crate::event::{Record, Response, Ticket};
use crate::outbox::{Effect, Outbox};
use crate::timers::Timers;

/// What a group needs of the coordinator while it makes a step.
pub(crate) struct Step<'a> {
    pub now: Millis,
    pub config: &'a CoordinatorConfig,
    pub timers: &'a mut Timers,
    pub outbox: &'a mut Outbox,
}

impl Step<'_> {
    pub fn reply(&mut self, ticket: Ticket, response: Response) {
        self.outbox.reply(ticket, response);
    }

    pub fn append(&mut self, records: Vec<Record>, effect: Effect, reply: Option<(Ticket, Response)>) {
        let deadline = self.now + self.config.write_timeout_ms;
        self.outbox.append(deadline, records, effect, reply);
    }
}
