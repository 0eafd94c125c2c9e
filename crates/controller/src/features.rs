//! Feature levels: which may be finalized, and what that takes.

use std::collections::BTreeMap;

use ottla_metadata::features::{
    self, ELIGIBLE_LEADER_REPLICAS_VERSION, KRAFT_VERSION, METADATA_VERSION, MetadataVersion,
    SupportedFeature,
};
use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::update_features::{
    UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use ottla_protocol::records::metadata::{ConfigRecord, FeatureLevelRecord, MetadataRecord};

use crate::{Outcome, Refusal, State};

const BROKER: i8 = 4;
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

pub(crate) struct FeatureControl<'a> {
    pub state: &'a State<'a>,
    /// The level that the quorum keeps itself.
    pub kraft_version: i16,
}

/// What an UpdateFeatures leads to: records, and a new kraft.version for the quorum to write.
pub struct FeatureOutcome {
    pub outcome: Outcome<UpdateFeaturesResponse>,
    pub kraft_version: Option<i16>,
}

impl FeatureControl<'_> {
    /// All updates or none.
    pub fn update(&self, request: &UpdateFeaturesRequest) -> FeatureOutcome {
        let mut proposed: BTreeMap<&str, i16> = self.state.image.features.iter().collect();
        for update in &request.feature_updates {
            proposed.insert(&update.feature, update.max_version_level);
        }
        let mut seen = Vec::new();
        let (mut records, mut kraft_version) = (Vec::new(), None);
        for update in &request.feature_updates {
            let result = if seen.contains(&&update.feature) {
                let message = "Each feature must appear at most once.";
                Err(Refusal::new(ErrorCode::InvalidRequest, message))
            } else {
                seen.push(&update.feature);
                // Version 0 of the request has a flag where later ones have the type.
                let upgrade_type = if update.allow_downgrade { SAFE_DOWNGRADE } else { update.upgrade_type };
                self.update_one(&update.feature, update.max_version_level, upgrade_type, &proposed)
            };
            match result {
                Ok(Change::Records(more)) => records.extend(more),
                Ok(Change::KRaftVersion(level)) => kraft_version = Some(level),
                Ok(Change::Nothing) => {}
                Err(refusal) => return refused(&refusal),
            }
        }
        if request.validate_only {
            records.clear();
            kraft_version = None;
        }
        let results = request
            .feature_updates
            .iter()
            .map(|update| UpdatableFeatureResult { feature: update.feature.clone(), ..Default::default() });
        let response = UpdateFeaturesResponse { results: results.collect(), ..Default::default() };
        FeatureOutcome { outcome: Outcome::new(records, response), kraft_version }
    }

    fn update_one(
        &self,
        name: &str,
        level: i16,
        upgrade_type: i8,
        proposed: &BTreeMap<&str, i16>,
    ) -> Result<Change, Refusal> {
        let invalid = |why: String| invalid(name, level, &why);
        if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&upgrade_type) {
            return Err(invalid("The controller does not support the given upgrade type.".into()));
        }
        let current = match name {
            METADATA_VERSION => self.state.metadata_version().0,
            KRAFT_VERSION => self.kraft_version,
            _ => self.state.image.features.level(name),
        };
        if level < 0 {
            return Err(invalid("A feature version cannot be less than 0.".into()));
        }
        if let Some(why) = self.not_supported(name, level) {
            return Err(invalid(why));
        }
        if level < current && upgrade_type == UPGRADE {
            return Err(invalid(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
                 downgrade."
                    .into(),
            ));
        }
        if level > current && upgrade_type != UPGRADE {
            return Err(invalid("Can't downgrade to a newer version.".into()));
        }
        if let Some((needed, at_least)) = features::dependency(name, level) {
            let found = proposed.get(needed).copied().unwrap_or(0);
            if found < at_least {
                return Err(invalid(format!(
                    "{name} could not be set to {level} because it depends on {needed} level {at_least}"
                )));
            }
        }
        match name {
            KRAFT_VERSION if level < current => {
                Err(invalid("Can't downgrade the version of this feature.".into()))
            }
            KRAFT_VERSION if level == current => Ok(Change::Nothing),
            KRAFT_VERSION => Ok(Change::KRaftVersion(level)),
            METADATA_VERSION => {
                let (from, to) = (self.state.metadata_version(), MetadataVersion(level));
                if level < current && from.downgrade_loses_metadata(to) {
                    let why = match upgrade_type {
                        UNSAFE_DOWNGRADE => "Unsafe metadata downgrade is not supported in this version.",
                        _ => {
                            "Refusing to perform the requested downgrade because it might delete metadata \
                             information."
                        }
                    };
                    return Err(Refusal::new(
                        ErrorCode::InvalidUpdateVersion,
                        format!("Unsupported metadata.version downgrade from {current} to {level}. {why}"),
                    ));
                }
                Ok(Change::Records(vec![level_record(name, level)]))
            }
            ELIGIBLE_LEADER_REPLICAS_VERSION if level > 0 => {
                let mut records = self.one_min_isr();
                records.push(level_record(name, level));
                Ok(Change::Records(records))
            }
            _ => Ok(Change::Records(vec![level_record(name, level)])),
        }
    }

    /// Why some node of the cluster cannot run the level; `None` if all can.
    fn not_supported(&self, name: &str, level: i16) -> Option<String> {
        let reason = |what: String, min: i16, max: i16| match (min..=max).contains(&level) {
            true => None,
            false if max == 0 => Some(format!("{what} does not support this feature.")),
            false if min == max => Some(format!("{what} only supports versions {min}")),
            false => Some(format!("{what} only supports versions {min}-{max}")),
        };
        let own = self.state.config.node_id;
        let (min, max) = SupportedFeature::named(name).map_or((0, 0), |feature| (feature.min, feature.max));
        let local = reason(format!("Local controller {own}"), min, max);
        let range = |ranges: &[ottla_metadata::SupportedRange]| {
            ranges.iter().find(|range| *range.name == *name).map_or((0, 0), |range| (range.min, range.max))
        };
        let brokers = || {
            self.state.brokers().find_map(|broker| {
                let (min, max) = range(&broker.features);
                reason(format!("Broker {}", broker.id), min, max)
            })
        };
        let controllers = || {
            self.state.image.cluster.controllers().filter(|controller| controller.id != own).find_map(
                |controller| {
                    let (min, max) = range(&controller.features);
                    reason(format!("Controller {}", controller.id), min, max)
                },
            )
        };
        local.or_else(brokers).or_else(controllers)
    }

    /// With eligible leader replicas there is one minimum of in-sync replicas, set for the cluster.
    fn one_min_isr(&self) -> Vec<MetadataRecord> {
        min_isr_records(self.state)
    }
}

/// The records that leave `min.insync.replicas` set for the cluster and for no broker.
pub(crate) fn min_isr_records(state: &State<'_>) -> Vec<MetadataRecord> {
    let record = |name: &str, value: Option<Str>| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: BROKER,
            resource_name: Str::from(name),
            name: Str::from(MIN_INSYNC_REPLICAS),
            value,
        })
    };
    let mut records = Vec::new();
    if !state.configs(BROKER, "").contains_key(MIN_INSYNC_REPLICAS) {
        let value =
            state.layers().broker(MIN_INSYNC_REPLICAS).map_or("1".to_string(), |value| value.to_string());
        records.push(record("", Some(Str::from(value))));
    }
    for (resource, configs) in state.image.configs.iter() {
        let per_broker = resource.kind as i8 == BROKER && !resource.name.is_empty();
        if per_broker && configs.contains_key(MIN_INSYNC_REPLICAS) {
            records.push(record(&resource.name, None));
        }
    }
    records
}

enum Change {
    Nothing,
    Records(Vec<MetadataRecord>),
    KRaftVersion(i16),
}

fn level_record(name: &str, feature_level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord { name: Str::from(name), feature_level })
}

/// The quorum cannot take the level that was decided on.
pub fn kraft_version_refused(level: i16, why: &str) -> FeatureOutcome {
    refused(&invalid(KRAFT_VERSION, level, why))
}

fn invalid(name: &str, level: i16, why: &str) -> Refusal {
    let message = format!("Invalid update version {level} for feature {name}. {why}");
    Refusal::new(ErrorCode::InvalidUpdateVersion, message)
}

fn refused(refusal: &Refusal) -> FeatureOutcome {
    let message = format!(
        "The update failed for all features since the following feature had an error: {}",
        refusal.message.as_deref().unwrap_or("")
    );
    let error_code = refusal.code.code();
    let response =
        UpdateFeaturesResponse { error_code, error_message: Some(Str::from(message)), ..Default::default() };
    FeatureOutcome { outcome: Outcome::answer(response), kraft_version: None }
}
