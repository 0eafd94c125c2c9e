//! Blocks of producer ids.

use ottla_model::ErrorCode;
use ottla_protocol::api::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use ottla_protocol::records::metadata::{MetadataRecord, ProducerIdsRecord};

use crate::{Outcome, Refusal, State};

/// Producer ids handed to a broker at a time.
pub const BLOCK_LEN: i32 = 1000;

pub(crate) struct ProducerIdControl<'a> {
    pub state: &'a State<'a>,
}

impl ProducerIdControl<'_> {
    /// The next block. The caller has checked the broker's epoch.
    pub fn allocate(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Result<Outcome<AllocateProducerIdsResponse>, Refusal> {
        let start = self.state.image.producer_ids.next_producer_id;
        let next_producer_id = start.checked_add(i64::from(BLOCK_LEN)).ok_or_else(|| {
            let message = format!("Exhausted all producerIds as the next block's end producerId is {start}");
            Refusal::new(ErrorCode::UnknownServerError, message)
        })?;
        let (broker_id, broker_epoch) = (request.broker_id, request.broker_epoch);
        let record = ProducerIdsRecord { broker_id, broker_epoch, next_producer_id };
        let response = AllocateProducerIdsResponse {
            producer_id_start: start,
            producer_id_len: BLOCK_LEN,
            ..Default::default()
        };
        Ok(Outcome::new(vec![MetadataRecord::ProducerIds(record)], response))
    }
}
