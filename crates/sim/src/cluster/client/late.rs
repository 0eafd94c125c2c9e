//! What brokers of the past have sent arrives late: requests of incarnations that have ended.

use std::ops::RangeInclusive;

use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;

use super::{Client, lock};
use crate::node::CONTROLLER_PORT;

const BETWEEN_MS_MAX: i64 = 2_000;

impl Client {
    /// One heartbeat after the other, of incarnations that the controller asked knows to have ended.
    pub async fn send_late(mut self, controllers: RangeInclusive<i32>) {
        loop {
            self.pause(BETWEEN_MS_MAX).await;
            let count = i64::from(controllers.end() - controllers.start() + 1);
            let controller = controllers.start() + self.random.below(count) as i32;
            let broker = 1 + self.random.below(i64::from(self.nodes)) as i32;
            let Some((broker_epoch, present)) = lock(&self.ledger).ended_incarnation(controller, broker)
            else {
                continue;
            };
            let request = BrokerHeartbeatRequest { broker_id: broker, broker_epoch, ..Default::default() };
            let answer = self.ask_at(controller, CONTROLLER_PORT, &request).await;
            if answer.is_some_and(|answer| answer.error_code == 0) {
                lock(&self.ledger).breaks(format!(
                    "controller {controller} takes a heartbeat of broker {broker} in epoch {broker_epoch}, though it \
                     knows of epoch {present}"
                ));
            }
        }
    }
}
