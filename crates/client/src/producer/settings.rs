//! What a producer reads of the settings.

use std::time::Duration;

use ottla_record::{Codec, Compression};

use crate::config::{ClientConfig, ConfigError};

/// The settings of a producer, checked against each other.
#[derive(Clone, Debug)]
pub struct ProducerSettings {
    /// -1: all in-sync replicas, 1: the leader, 0: nobody acknowledges.
    pub acks: i16,
    pub batch_bytes: usize,
    pub buffer_bytes: usize,
    pub compression: Compression,
    pub delivery_timeout: Duration,
    pub idempotence: bool,
    pub linger: Duration,
    pub max_block: Duration,
    pub in_flight_max: usize,
    pub request_bytes_max: usize,
    pub request_timeout: Duration,
    pub retries: u32,
    pub partitioner: String,
    pub adaptive: bool,
    pub ignore_keys: bool,
}

impl ProducerSettings {
    /// Errors: values that contradict each other; which ones, and what would do, stands in the message.
    pub fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let codec = Codec::from_name(config.text("compression.type")).unwrap_or_default();
        let level = match codec {
            Codec::None | Codec::Snappy => 0,
            codec => config.int(&format!("compression.{codec}.level")) as i32,
        };
        let acks = match config.text("acks") {
            "0" => 0,
            "1" => 1,
            _ => -1,
        };
        let settings = Self {
            acks,
            batch_bytes: (config.int("batch.size") as usize).max(1),
            buffer_bytes: config.int("buffer.memory") as usize,
            compression: Compression { codec, level },
            delivery_timeout: config.millis("delivery.timeout.ms"),
            // As in Kafka: a default gives way to settings that it does not go with, a wish does not.
            idempotence: config.bool("enable.idempotence")
                && (config.is_set("enable.idempotence")
                    || acks == -1
                        && config.int("retries") > 0
                        && config.int("max.in.flight.requests.per.connection") <= 5),
            linger: config.millis("linger.ms"),
            max_block: config.millis("max.block.ms"),
            in_flight_max: config.int("max.in.flight.requests.per.connection") as usize,
            request_bytes_max: config.int("max.request.size") as usize,
            request_timeout: config.millis("request.timeout.ms"),
            retries: config.int("retries") as u32,
            partitioner: config.text("partitioner").to_owned(),
            adaptive: config.bool("partitioner.adaptive.partitioning.enable"),
            ignore_keys: config.bool("partitioner.ignore.keys"),
        };
        settings.check(config)?;
        Ok(settings)
    }

    fn check(&self, config: &ClientConfig) -> Result<(), ConfigError> {
        let invalid = |name: &str, allowed: &str| ConfigError::Invalid {
            name: name.into(),
            value: config.text(name).into(),
            allowed: allowed.into(),
        };
        if self.idempotence {
            if self.acks != -1 {
                return Err(invalid("acks", "all, as enable.idempotence=true"));
            }
            if self.in_flight_max > 5 {
                let name = "max.in.flight.requests.per.connection";
                return Err(invalid(name, "at most 5, as enable.idempotence=true"));
            }
            if self.retries == 0 {
                return Err(invalid("retries", "more than 0, as enable.idempotence=true"));
            }
        }
        let least = self.linger + self.request_timeout;
        if self.delivery_timeout < least && config.is_set("delivery.timeout.ms") {
            let allowed = format!("at least linger.ms + request.timeout.ms, which is {}", least.as_millis());
            return Err(invalid("delivery.timeout.ms", &allowed));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotence_gives_way_unless_it_was_asked_for() {
        let settings = |pairs: &[(&str, &str)]| {
            ProducerSettings::new(&ClientConfig::from_pairs(pairs.iter().copied()).unwrap())
        };
        assert!(settings(&[]).unwrap().idempotence);
        assert!(!settings(&[("acks", "1")]).unwrap().idempotence);
        let error = settings(&[("acks", "1"), ("enable.idempotence", "true")]).unwrap_err();
        assert_eq!(error.to_string(), "acks=1: must be all, as enable.idempotence=true");
        let error = settings(&[("delivery.timeout.ms", "10")]).unwrap_err();
        assert!(error.to_string().contains("which is 30005"), "{error}");
    }
}
