//! Client quotas: what users, client ids and addresses may use.

use core::net::IpAddr;
use std::collections::BTreeMap;

use ottla_metadata::QuotaEntity;
use ottla_model::ErrorCode;
use ottla_protocol::api::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, AlterClientQuotasResponse,
    AlterClientQuotasResponseEntityData, AlterClientQuotasResponseEntryData, OpData,
};
use ottla_protocol::records::metadata::{ClientQuotaRecord, EntityData, MetadataRecord};

use crate::outcome::code_and_message;
use crate::{Outcome, Refusal, State};

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// Further from a whole number than this is a fraction.
const FRACTION_MIN: f64 = 1e-6;

pub(crate) struct ClientQuotaControl<'a> {
    pub state: &'a State<'a>,
}

impl ClientQuotaControl<'_> {
    pub fn alter(&self, request: &AlterClientQuotasRequest) -> Outcome<AlterClientQuotasResponse> {
        let mut records = Vec::new();
        let entries = request.entries.iter().map(|entry| {
            let result = self.alter_one(entry);
            let (error_code, error_message) = code_and_message(&result);
            records.extend(result.unwrap_or_default());
            let entity = entry.entity.iter().map(|part| AlterClientQuotasResponseEntityData {
                entity_type: part.entity_type.clone(),
                entity_name: part.entity_name.clone(),
            });
            AlterClientQuotasResponseEntryData { error_code, error_message, entity: entity.collect() }
        });
        let response = AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() };
        if request.validate_only {
            records.clear();
        }
        Outcome::new(records, response)
    }

    fn alter_one(&self, entry: &AlterClientQuotasRequestEntryData) -> Result<Vec<MetadataRecord>, Refusal> {
        let parts = entry.entity.iter().map(|part| (&*part.entity_type, part.entity_name.as_deref()));
        let entity = QuotaEntity::new(parts);
        let keys = keys_of(&entity)?;
        let mut changes: BTreeMap<&str, &OpData> = BTreeMap::new();
        for op in &entry.ops {
            if changes.insert(&op.key, op).is_some() {
                return Err(invalid(format!("Duplicate quota key {}", op.key)));
            }
        }
        let current = self.state.image.client_quotas.of(&entity);
        let mut records = Vec::new();
        for (key, op) in changes {
            let known = current.and_then(|quotas| quotas.get(key));
            let changed = match op.remove {
                true => known.is_some(),
                false => {
                    check_value(keys, key, op.value)?;
                    known != Some(&op.value)
                }
            };
            if changed {
                let part = |(kind, name): (&str, Option<&str>)| EntityData {
                    entity_type: kind.into(),
                    entity_name: name.map(Into::into),
                };
                records.push(MetadataRecord::ClientQuota(ClientQuotaRecord {
                    entity: entity.parts().map(part).collect(),
                    key: key.into(),
                    value: if op.remove { 0.0 } else { op.value },
                    remove: op.remove,
                }));
            }
        }
        Ok(records)
    }
}

/// A quota's name, and the largest value if only whole numbers make sense.
type Key = (&'static str, Option<f64>);

const OF_CLIENTS: &[Key] = &[
    ("producer_byte_rate", Some(i64::MAX as f64)),
    ("consumer_byte_rate", Some(i64::MAX as f64)),
    ("request_percentage", None),
    ("controller_mutation_rate", None),
];
const OF_ADDRESSES: &[Key] = &[("connection_creation_rate", Some(i32::MAX as f64))];

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

fn keys_of(entity: &QuotaEntity) -> Result<&'static [Key], Refusal> {
    let mut kinds = Vec::new();
    for (kind, name) in entity.parts() {
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err(invalid(format!("Unhandled client quota entity type: {kind}")));
        }
        if name == Some("") {
            return Err(invalid(format!("Empty {kind} not supported")));
        }
        kinds.push((kind, name));
    }
    match kinds[..] {
        [] => Err(invalid("Invalid empty client quota entity".into())),
        [(IP, name)] => match name {
            Some(name) if !is_host(name) => {
                Err(invalid(format!("{name} is not a valid IP or resolvable host.")))
            }
            _ => Ok(OF_ADDRESSES),
        },
        _ if kinds.iter().any(|(kind, _)| *kind == IP) => Err(invalid(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId".into(),
        )),
        _ => Ok(OF_CLIENTS),
    }
}

/// An address, or what could be a host's name: whether it resolves is not known here.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.parse::<IpAddr>().is_ok() || name.split('.').all(is_label)
}

fn check_value(keys: &[Key], key: &str, value: f64) -> Result<(), Refusal> {
    let known = keys.iter().find(|(name, _)| *name == key);
    let (_, whole_max) = known.ok_or_else(|| invalid(format!("Invalid configuration key {key}")))?;
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let Some(max) = whole_max else { return Ok(()) };
    if value > *max {
        let kind = if *max > f64::from(i32::MAX) { "a LONG" } else { "an INT" };
        return Err(invalid(format!("Proposed value for {key} is too large for {kind}.")));
    }
    if value % 1.0 > FRACTION_MIN {
        return Err(invalid(format!("{key} cannot be a fractional value.")));
    }
    Ok(())
}
