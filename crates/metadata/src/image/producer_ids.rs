//! The producer ids that have been handed out.

use ottla_protocol::records::metadata::{MetadataRecord, ProducerIdsRecord};

use crate::ReplayError;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerIdsImage {
    /// First id of the next block; 0 if no block was ever handed out.
    pub next_producer_id: i64,
}

impl ProducerIdsImage {
    pub(crate) fn replay(&mut self, record: &ProducerIdsRecord) -> Result<(), ReplayError> {
        if record.next_producer_id <= self.next_producer_id {
            return Err(ReplayError::BadValue {
                record: "ProducerIdsRecord",
                field: "nextProducerId",
                value: record.next_producer_id,
            });
        }
        self.next_producer_id = record.next_producer_id;
        Ok(())
    }

    pub(super) fn write(&self, records: &mut Vec<MetadataRecord>) {
        if self.next_producer_id > 0 {
            let next_producer_id = self.next_producer_id;
            records.push(ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id }.into());
        }
    }
}
