//! Compaction: of each key only the latest record stays.
//!
//! Owns when a log is to be cleaned, the two passes, and the swap of segments. A [`CleanJob`] holds the segments it
//! reads and runs anywhere; the log takes over its outcome if the segments are still the same. Must not know who
//! schedules it.
//!
//! Invariants: nothing at or behind the last stable offset, and nothing of the active segment, is touched; offsets
//! never change; a record is removed only when a later one of its key is in the cleaned part.

mod offset_map;
mod rewrite;
mod transactions;

use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use ottla_model::{Millis, Offset, ProducerEpoch, ProducerId};
use ottla_record::Batch;

use crate::config::LogConfig;
use crate::error::StorageError;
use crate::file_cache::FileCache;
use crate::log::Log;
use crate::segment::Segment;

use offset_map::OffsetMap;
use rewrite::rewrite_group;
use transactions::collect_aborted;

/// What a cleaning may use.
#[derive(Clone, Copy, Debug)]
pub struct CleanerLimits {
    /// Memory for the map of latest offsets (`log.cleaner.dedupe.buffer.size` per thread).
    pub map_bytes: usize,
    /// How full it may get (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// What a compressed batch may decompress to.
    pub batch_bytes_max: usize,
}

impl Default for CleanerLimits {
    fn default() -> Self {
        Self { map_bytes: 128 << 20, load_factor: 0.9, batch_bytes_max: Batch::MAX_DECOMPRESSED_BYTES }
    }
}

/// What of a log could be cleaned now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cleanable {
    /// Where the dirty part begins.
    pub first_dirty: Offset,
    /// Where the part begins that must not be touched.
    pub first_uncleanable: Offset,
    /// Share of dirty bytes.
    pub dirty_ratio: f64,
    /// `max.compaction.lag.ms` has passed for some record.
    pub overdue: bool,
    /// The checkpoint did not fit the log (any more): write it anew.
    pub checkpoint_invalid: bool,
}

impl Cleanable {
    /// Whether it is worth it, by `min.cleanable.dirty.ratio` and `max.compaction.lag.ms`. Among several logs the one
    /// with the greatest ratio comes first.
    pub fn is_due(&self, config: &LogConfig) -> bool {
        self.first_uncleanable > self.first_dirty
            && (self.overdue || self.dirty_ratio > config.min_cleanable_dirty_ratio)
    }
}

/// The last thing a producer wrote: its batch must survive, or the producer would be forgotten.
#[derive(Clone, Copy, Debug)]
struct LastOfProducer {
    last_data_offset: Option<Offset>,
    epoch: ProducerEpoch,
}

/// What a rewrite has to know besides the segments.
#[derive(Debug)]
struct Rules {
    now: Millis,
    delete_retention_ms: i64,
    /// Tombstones and markers of the legacy formats go in segments last written before this.
    legacy_horizon: Millis,
    /// The batch that ends here stays, even empty.
    upper_bound: Offset,
    producers: HashMap<ProducerId, LastOfProducer, RandomState>,
    index_interval_bytes: u32,
    batch_bytes_max: usize,
}

/// One cleaning, ready to run.
#[derive(Debug)]
#[must_use]
pub struct CleanJob {
    files: Arc<FileCache>,
    dir: std::path::PathBuf,
    config: LogConfig,
    limits: CleanerLimits,
    cleanable: Cleanable,
    segments: Vec<Arc<Segment>>,
    producers: HashMap<ProducerId, LastOfProducer, RandomState>,
    now: Millis,
    generation: u64,
}

/// New segments to put in place of old ones.
#[derive(Debug)]
#[must_use]
pub struct CleanOutcome {
    groups: Vec<(Vec<Arc<Segment>>, Segment)>,
    end_offset: Offset,
    generation: u64,
    stats: CleanStats,
}

/// What a cleaning did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CleanStats {
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub records_read: u64,
    pub records_kept: u64,
    pub segments_before: usize,
    pub segments_after: usize,
}

/// What a cleaning has done so far, and who slows it down.
struct Meter<'a> {
    stats: CleanStats,
    pace: &'a mut dyn FnMut(u64),
}

impl Meter<'_> {
    fn wrote(&mut self, bytes: u64) {
        self.stats.bytes_written += bytes;
        (self.pace)(bytes);
    }
}

impl CleanJob {
    /// Reads the dirty part, rewrites everything below its end. The new segments are durable when it returns, under
    /// `.cleaned` names. `pace` is told of bytes that were read and written, and may take its time.
    pub fn run(self, pace: &mut dyn FnMut(u64)) -> Result<CleanOutcome, StorageError> {
        let mut map = OffsetMap::new(self.limits.map_bytes, self.limits.load_factor);
        let aborted =
            collect_aborted(&self.segments, self.cleanable.first_dirty, self.cleanable.first_uncleanable)?;
        map.build(&self.segments, &self.cleanable, aborted, self.limits.batch_bytes_max, pace)?;
        let end_offset = map.end_offset();
        if end_offset <= self.cleanable.first_dirty {
            return Err(StorageError::corrupt(
                &self.dir,
                "a single batch has more keys than the cleaner's map can hold",
            ));
        }
        let inputs: Vec<_> =
            self.segments.iter().filter(|segment| segment.base_offset < end_offset).cloned().collect();
        let last_clean =
            self.segments.iter().rev().find(|segment| segment.base_offset < self.cleanable.first_dirty);
        let legacy_horizon = match last_clean {
            Some(segment) => Millis(segment.modified()? - Millis(self.config.delete_retention_ms)),
            None => Millis(0),
        };
        let rules = Rules {
            now: self.now,
            delete_retention_ms: self.config.delete_retention_ms,
            legacy_horizon,
            upper_bound: end_offset,
            producers: self.producers,
            index_interval_bytes: self.config.index_interval_bytes,
            batch_bytes_max: self.limits.batch_bytes_max,
        };
        let stats = CleanStats { segments_before: inputs.len(), ..CleanStats::default() };
        let mut meter = Meter { stats, pace };
        let mut transactions = transactions::CleanedTransactions::default();
        let mut groups = Vec::new();
        for group in group_segments(&inputs, &self.config, end_offset) {
            let cleaned = rewrite_group(
                &self.files,
                &self.dir,
                &self.segments,
                &group,
                &map,
                &rules,
                &mut transactions,
                &mut meter,
            )?;
            groups.push((group, cleaned));
        }
        let stats = CleanStats { segments_after: groups.len(), ..meter.stats };
        Ok(CleanOutcome { groups, end_offset, generation: self.generation, stats })
    }
}

/// Neighbours that fit into one segment together.
fn group_segments(
    segments: &[Arc<Segment>],
    config: &LogConfig,
    end_offset: Offset,
) -> Vec<Vec<Arc<Segment>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut sizes = (0, 0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let (size, index, time_index) =
            (segment.size_bytes(), 8 * segment.index.len() as u64, 12 * segment.time_index.len() as u64);
        let next_base = segments.get(at + 1).map_or(end_offset, |next| next.base_offset);
        let index_max = u64::from(config.segment_index_bytes);
        let fits = |group: &Vec<Arc<Segment>>| {
            sizes.0 + size <= u64::from(config.segment_bytes)
                && sizes.1 + index <= index_max
                && sizes.2 + time_index <= index_max
                && (size == 0 || next_base - group[0].base_offset <= i64::from(i32::MAX))
        };
        match groups.last_mut().filter(|group| fits(group)) {
            Some(group) => {
                group.push(segment.clone());
                sizes = (sizes.0 + size, sizes.1 + index, sizes.2 + time_index);
            }
            None => {
                groups.push(vec![segment.clone()]);
                sizes = (size, index, time_index);
            }
        }
    }
    groups
}

impl Log {
    /// What of the log could be cleaned, given its entry in the cleaner checkpoint; `None` if it is not compacted.
    pub fn cleanable(
        &self,
        checkpoint: Option<Offset>,
        now: Millis,
    ) -> Result<Option<Cleanable>, StorageError> {
        let config = self.config();
        if !config.cleanup_compact {
            return Ok(None);
        }
        let log_start = self.log_start_offset();
        let known = checkpoint.unwrap_or(log_start);
        let checkpoint_invalid = known < log_start || known > self.log_end_offset();
        let first_dirty = if checkpoint_invalid { log_start } else { known };
        let segments = self.segments();
        let inactive = &segments[..segments.len() - 1];
        let dirty = inactive.partition_point(|segment| segment.base_offset <= first_dirty).max(1) - 1;
        let dirty = &inactive[dirty.min(inactive.len())..];
        let mut limit = self.last_stable_offset().min(segments[inactive.len()].base_offset);
        if config.min_compaction_lag_ms > 0 {
            for segment in dirty {
                if segment.largest_timestamp()? > now + -config.min_compaction_lag_ms {
                    limit = limit.min(segment.base_offset);
                    break;
                }
            }
        }
        let limit = limit.max(first_dirty);
        // Whole segments only: the one that holds the limit is left alone.
        let holder = segments.partition_point(|segment| segment.base_offset <= limit).max(1) - 1;
        let first_uncleanable = segments[holder].base_offset;
        let bytes = |from: Offset, to: Offset| -> u64 {
            let range =
                segments.iter().filter(|segment| segment.base_offset >= from && segment.base_offset < to);
            range.map(|segment| segment.size_bytes()).sum()
        };
        let dirty_base = dirty.first().map_or(first_uncleanable, |segment| segment.base_offset);
        let clean = bytes(Offset::ZERO, first_dirty.min(first_uncleanable));
        let dirty_bytes = bytes(dirty_base.min(first_uncleanable), first_uncleanable);
        let mut overdue = false;
        if config.max_compaction_lag_ms < i64::MAX && dirty_bytes > 0 {
            for segment in dirty {
                let first = segment.first_timestamp()?;
                overdue |= first.0 > 0 && first < now + -config.max_compaction_lag_ms.max(0);
            }
        }
        let total = clean + dirty_bytes;
        let dirty_ratio = if total == 0 { 0.0 } else { dirty_bytes as f64 / total as f64 };
        Ok(Some(Cleanable { first_dirty, first_uncleanable, dirty_ratio, overdue, checkpoint_invalid }))
    }

    /// A cleaning of what [`Self::cleanable`] found. One at a time per log.
    pub fn clean_job(&self, cleanable: Cleanable, limits: CleanerLimits, now: Millis) -> CleanJob {
        let last = |state: &crate::producer_state::ProducerState| LastOfProducer {
            last_data_offset: state.last_batch().map(|batch| Offset(batch.last_offset)),
            epoch: state.epoch,
        };
        CleanJob {
            files: self.files().clone(),
            dir: self.path().to_owned(),
            config: self.config().clone(),
            limits,
            cleanable,
            segments: self.segments().to_vec(),
            producers: self.active_producers().map(|state| (state.producer_id, last(state))).collect(),
            now,
            generation: self.generation(),
        }
    }

    /// Puts the cleaned segments in place. Returns up to where the log is clean now, for the cleaner checkpoint
    /// ([`LogDir::set_cleaner_offset`](crate::LogDir::set_cleaner_offset)); `None` if the log was cut or lost segments
    /// meanwhile: then nothing has changed, and the work was for nothing.
    pub fn complete_clean(
        &mut self,
        outcome: CleanOutcome,
        now: Millis,
    ) -> Result<Option<(Offset, CleanStats)>, StorageError> {
        let current = self.segments();
        let is_current = |segment: &Arc<Segment>| current.iter().any(|other| Arc::ptr_eq(other, segment));
        let valid = outcome.generation == self.generation()
            && outcome.groups.iter().all(|(sources, _)| sources.iter().all(is_current));
        if !valid {
            for (_, cleaned) in &outcome.groups {
                cleaned.remove_files()?;
            }
            return Ok(None);
        }
        for (sources, cleaned) in outcome.groups {
            self.replace_segments(sources, cleaned, now)?;
        }
        Ok(Some((outcome.end_offset, outcome.stats)))
    }
}
