//! Producer ids: handed out from blocks that the controller gives.

use ottla_model::{BrokerEpoch, ErrorCode, NodeId, ProducerId};
use ottla_protocol::api::allocate_producer_ids::AllocateProducerIdsRequest;
use tokio::sync::Mutex;

use crate::controller::ControllerClient;

/// The block in use. An id is given once, by whoever holds the lock; who needs a new block waits for the controller,
/// and the others for him.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    /// An id that no producer of the cluster has had. Errors: COORDINATOR_LOAD_IN_PROGRESS while there is no block.
    pub async fn next(
        &self,
        controller: &ControllerClient,
        broker: NodeId,
        epoch: BrokerEpoch,
    ) -> Result<ProducerId, ErrorCode> {
        let mut block = self.block.lock().await;
        if block.is_empty() {
            let request = AllocateProducerIdsRequest { broker_id: broker.0, broker_epoch: epoch.0 };
            let answer = controller.allocate_producer_ids(request).await;
            let given = answer.map_err(|_| ErrorCode::CoordinatorLoadInProgress)?;
            if given.error_code != 0 {
                let code = ErrorCode::from_code(given.error_code);
                tracing::warn!(?code, "the controller gave no producer ids");
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            *block = given.producer_id_start..given.producer_id_start + i64::from(given.producer_id_len);
        }
        block.next().map(ProducerId).ok_or(ErrorCode::CoordinatorLoadInProgress)
    }
}
