//! Changes of the voter set (KIP-853): one voter at a time, appended alone, in force at once, answered when committed.

use ottla_model::{ErrorCode, Millis, Offset};

use super::{Raft, State};
use crate::config::Sabotage;
use crate::leader::{ChangeStage, VoterChange};
use crate::peers::Purpose;
use crate::{
    AddVoter, AnswerWhen, Body, ControlRecord, Endpoint, Part, ReplicaKey, Request, Response, ResponseBody,
    Token, UpdateVoter, VersionRange, Voter, VoterSet,
};

/// How recently a new voter must have fetched.
const CAUGHT_UP_WITHIN_MS: i64 = 3_600_000;

/// Why a change is not made.
type Refusal = (ErrorCode, Option<String>);

fn refusal<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err((error, Some(message.into())))
}

fn keys(voters: &VoterSet) -> Vec<ReplicaKey> {
    voters.iter().map(|voter| voter.key).collect()
}

impl Raft {
    /// Whether `kraft.version` can become `version`: every voter must be known by its directory and support it.
    pub fn check_kraft_version(&self, version: i16) -> Result<(), String> {
        if version < self.history.kraft_version() {
            return Err("Can't downgrade the version of this feature.".into());
        }
        if version == self.history.kraft_version() {
            return Ok(());
        }
        match self.voters_as_introduced() {
            Some(voters) if voters.iter().all(|voter| voter.kraft_version.contains(version)) => Ok(()),
            _ => Err(format!("not every voter is known to support kraft.version {version}")),
        }
    }

    /// The voters as they have described themselves to this leader; `None` unless all have.
    fn voters_as_introduced(&self) -> Option<VoterSet> {
        let State::Leader(leader) = &self.state else { return None };
        let mut voters = Vec::new();
        for voter in self.voters().iter() {
            voters.push(if voter.key.id == self.me().id {
                self.my_entry()
            } else {
                leader.introduced.get(&voter.key.id)?.clone()
            });
        }
        Some(voters.into_iter().collect())
    }

    /// Raises `kraft.version`: from here on the voters are in the log.
    pub(super) fn set_kraft_version(&mut self, now: Millis, version: i16) {
        if version <= self.history.kraft_version() || self.check_kraft_version(version).is_err() {
            return;
        }
        if let Some(voters) = self.voters_as_introduced() {
            let records = vec![ControlRecord::KRaftVersion(version), ControlRecord::Voters(voters)];
            self.append(now, Body::Control(records));
        }
    }

    /// What every change needs: no other under way, and everything of this epoch's beginning committed.
    fn may_change(&self, doing: &str) -> Result<(), Refusal> {
        let State::Leader(leader) = &self.state else { return Err((ErrorCode::NotLeaderOrFollower, None)) };
        if self.config.is_sabotaged(Sabotage::ChangeVotersAtOnce) {
            return Ok(());
        }
        let late = ErrorCode::RequestTimedOut;
        if leader.change.is_some() {
            return refusal(
                late,
                "Request timed out waiting for leader to handle previous voter change request",
            );
        }
        let Some(high_watermark) = leader.high_watermark else {
            return refusal(
                late,
                "Request timed out waiting for leader to establish HWM and fence previous voter changes",
            );
        };
        let version = self.history.kraft_version();
        if version < 1 {
            let message = format!(
                "Cluster doesn't support {doing} voter because the kraft.version feature is {version}"
            );
            return refusal(ErrorCode::UnsupportedVersion, message);
        }
        match self.history.latest_offset() {
            Some(at) if at < high_watermark => Ok(()),
            at => {
                let at = at.map_or("Optional.empty".into(), |at| format!("Optional[{at}]"));
                refusal(
                    late,
                    format!(
                        "Request timed out waiting for voters to commit the latest voter change at {at} with HWM \
                         {high_watermark}"
                    ),
                )
            }
        }
    }

    fn answer_with(&mut self, token: Token, body: ResponseBody, (error, message): Refusal) {
        self.out.answers.push((token, Response { error, message, leadership: self.leadership(), body }));
    }

    pub(super) fn answer_change(&mut self, change: &VoterChange, error: ErrorCode, message: Option<String>) {
        let body = match change.stage {
            ChangeStage::AskVersions { .. } | ChangeStage::Added(_) => ResponseBody::AddVoter,
            ChangeStage::Removed(_) => ResponseBody::RemoveVoter,
        };
        self.answer_with(change.token, body, (error, message));
    }

    fn finish_change(&mut self, error: ErrorCode, message: Option<String>) {
        if let State::Leader(leader) = &mut self.state
            && let Some(change) = leader.change.take()
        {
            self.answer_change(&change, error, message);
        }
    }

    fn begin_change(&mut self, now: Millis, token: Token, stage: ChangeStage) {
        let until = now + self.config.request_timeout_ms;
        if let State::Leader(leader) = &mut self.state {
            leader.change = Some(VoterChange { token, stage, until });
        }
    }

    fn append_voters(&mut self, now: Millis, voters: VoterSet) -> Offset {
        self.append(now, Body::Control(vec![ControlRecord::Voters(voters)]))
    }

    pub(super) fn add_voter(&mut self, now: Millis, token: Token, add: AddVoter) {
        match self.check_add(&add) {
            Err(refusal) => self.answer_with(token, ResponseBody::AddVoter, refusal),
            Ok(()) => {
                let AddVoter { key, endpoints, answer } = add;
                let kraft_version = VersionRange { min: 0, max: 0 };
                let voter = Voter { key, endpoints, kraft_version };
                self.begin_change(now, token, ChangeStage::AskVersions { voter, answer });
            }
        }
    }

    fn check_add(&self, add: &AddVoter) -> Result<(), Refusal> {
        if !self.is_leader() {
            return Err((ErrorCode::NotLeaderOrFollower, None));
        }
        if !add.key.id.is_some() || add.key.directory.is_zero() {
            return refusal(ErrorCode::InvalidRequest, "Add voter request didn't include a valid voter");
        }
        self.check_endpoints("Add", &add.endpoints)?;
        self.may_change("adding")?;
        if self.voters().get(add.key.id).is_some() {
            let (key, voters) = (add.key, keys(self.voters()));
            let message = format!("The voter id for {key} is already part of the set of voters {voters:?}.");
            return refusal(ErrorCode::DuplicateVoter, message);
        }
        Ok(())
    }

    fn check_endpoints(&self, verb: &str, endpoints: &[Endpoint]) -> Result<(), Refusal> {
        let listener = &self.config.listener;
        if endpoints.iter().any(|endpoint| endpoint.listener == *listener) {
            return Ok(());
        }
        let shown: Vec<String> = endpoints
            .iter()
            .map(|endpoint| {
                let Endpoint { listener, host, port } = endpoint;
                format!("ListenerName({listener})={host}/<unresolved>:{port}")
            })
            .collect();
        let message = format!(
            "{verb} voter request didn't include the endpoint (Endpoints(endpoints={{{}}})) for the default listener \
             ListenerName({listener})",
            shown.join(", ")
        );
        refusal(ErrorCode::InvalidRequest, message)
    }

    pub(super) fn poll_change(&mut self, now: Millis) {
        let State::Leader(leader) = &self.state else { return };
        let Some(change) = &leader.change else { return };
        let (until, mut asked) = (change.until, None);
        if let ChangeStage::AskVersions { voter, .. } = &change.stage {
            asked = self.destination(voter.key.id, &voter.endpoints);
        }
        if self.is_due(now, until) {
            self.finish_change(ErrorCode::RequestTimedOut, None);
        } else if let Some(to) = asked {
            self.send(now, to, Purpose::Versions, |_| Request::ApiVersions);
        }
    }

    /// The node that is to become a voter has said what it supports, or has not.
    pub(super) fn versions_known(&mut self, now: Millis, error: ErrorCode, supported: Option<VersionRange>) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(VoterChange { stage: ChangeStage::AskVersions { voter, answer }, .. }) = &leader.change
        else {
            return;
        };
        let (mut voter, answer) = (voter.clone(), *answer);
        let progress = leader.observer(voter.key);
        if error != ErrorCode::None {
            let message = format!(
                "Aborted add voter operation for since API_VERSIONS returned an error {}",
                error.name()
            );
            return self.finish_change(ErrorCode::RequestTimedOut, Some(message));
        }
        let (range, version) =
            (supported.unwrap_or(VersionRange { min: 0, max: 0 }), self.history.kraft_version());
        if !range.contains(version) {
            let message = format!(
                "Aborted add voter operation for {} since the kraft.version range (min: {}, max: {} doesn't support \
                 the finalized version {version}",
                voter.key, range.min, range.max
            );
            return self.finish_change(ErrorCode::InvalidRequest, Some(message));
        }
        let is_caught_up = progress.is_some_and(|progress| {
            progress.last_caught_up != Millis::NONE && now - progress.last_fetch < CAUGHT_UP_WITHIN_MS
        });
        if !is_caught_up {
            let message = format!("Aborted add voter operation for {} since it is lagging behind", voter.key);
            return self.finish_change(ErrorCode::RequestTimedOut, Some(message));
        }
        voter.kraft_version = range;
        let at = self.append_voters(now, self.voters().with(voter));
        if answer == AnswerWhen::Appended {
            return self.finish_change(ErrorCode::None, None);
        }
        if let State::Leader(leader) = &mut self.state
            && let Some(change) = &mut leader.change
        {
            change.stage = ChangeStage::Added(at);
        }
    }

    pub(super) fn remove_voter(&mut self, now: Millis, token: Token, key: ReplicaKey) {
        match self.check_remove(key) {
            Err(refusal) => self.answer_with(token, ResponseBody::RemoveVoter, refusal),
            Ok(()) => {
                let at = self.append_voters(now, self.voters().without(key.id));
                self.begin_change(now, token, ChangeStage::Removed(at));
            }
        }
    }

    fn check_remove(&self, key: ReplicaKey) -> Result<(), Refusal> {
        if !self.is_leader() {
            return Err((ErrorCode::NotLeaderOrFollower, None));
        }
        if !key.id.is_some() || key.directory.is_zero() {
            return refusal(ErrorCode::InvalidRequest, "Remove voter request didn't include a valid voter");
        }
        self.may_change("removing")?;
        let voters = self.voters();
        if voters.get(key.id).is_none_or(|voter| voter.key != key) || voters.len() == 1 {
            let message = format!("Cannot remove voter {key} from the set of voters {:?}", keys(voters));
            return refusal(ErrorCode::VoterNotFound, message);
        }
        Ok(())
    }

    /// Everything below `high_watermark` is committed now.
    pub(super) fn change_committed(&mut self, now: Millis, high_watermark: Offset) {
        let State::Leader(leader) = &self.state else { return };
        let change = leader.change.as_ref().map(|change| &change.stage);
        if matches!(change, Some(ChangeStage::Added(at) | ChangeStage::Removed(at)) if *at < high_watermark) {
            self.finish_change(ErrorCode::None, None);
        }
        let is_settled = self.history.latest_offset().is_some_and(|at| at < high_watermark);
        if is_settled && !self.voters().contains(self.me()) {
            self.resign(now);
        }
    }

    pub(super) fn update_voter(&mut self, now: Millis, token: Token, update: UpdateVoter) {
        let result = self.try_update(now, update).err().unwrap_or((ErrorCode::None, None));
        self.answer_with(token, ResponseBody::UpdateVoter, result);
    }

    fn try_update(&mut self, now: Millis, update: UpdateVoter) -> Result<(), Refusal> {
        if let Some(error) = self.not_leader_of(update.epoch) {
            return Err((error, None));
        }
        let voter = update.voter;
        if !voter.key.id.is_some() || voter.key.directory.is_zero() {
            return Err((ErrorCode::InvalidRequest, None));
        }
        self.check_endpoints("Update", &voter.endpoints)?;
        let version = self.history.kraft_version();
        match self.may_change("updating") {
            Err((ErrorCode::UnsupportedVersion, _)) => {}
            other => other?,
        }
        if !voter.kraft_version.contains(version) {
            return Err((ErrorCode::InvalidRequest, None));
        }
        if !self.voters().contains(voter.key) {
            return Err((ErrorCode::VoterNotFound, None));
        }
        self.heard_of(now, voter.key);
        if version >= 1 {
            self.append_voters(now, self.voters().with(voter));
        } else if let State::Leader(leader) = &mut self.state {
            leader.introduced.insert(voter.key.id, voter);
        }
        Ok(())
    }

    /// Tells the leader what this node is like, or asks it to let it in, if it is time. Whether a request is under way.
    pub(super) fn poll_update(&mut self, now: Millis) -> bool {
        let State::Follower(follower) = &self.state else { return false };
        let (update_at, has_updated) = (follower.update_at, follower.has_updated);
        if self.config.part == Part::Broker || !self.is_due(now, update_at) || self.fetch.is_some() {
            return false;
        }
        let Some(to) = self.leader_destination() else { return false };
        let (version, known) = (self.history.kraft_version(), self.voters().get(self.me().id).cloned());
        let request = if self.is_voter() {
            let is_known = if version == 0 { has_updated } else { known == Some(self.my_entry()) };
            (!is_known).then(|| {
                let update = UpdateVoter { epoch: self.epoch, voter: self.my_entry() };
                (Purpose::UpdateVoter { epoch: self.epoch }, Request::UpdateVoter(update))
            })
        } else if self.config.auto_join && version >= 1 {
            let request = match known {
                Some(old) => Request::RemoveVoter(old.key),
                None => Request::AddVoter(AddVoter {
                    key: self.me(),
                    endpoints: self.config.me.endpoints.clone(),
                    answer: AnswerWhen::Appended,
                }),
            };
            Some((Purpose::Join, request))
        } else {
            None
        };
        let period = self.config.fetch_timeout_ms;
        let is_sent = request.is_some();
        if let Some((purpose, request)) = request
            && !self.send(now, to, purpose, |_| request)
        {
            return false;
        }
        if let State::Follower(follower) = &mut self.state {
            follower.update_at = now + period;
        }
        self.is_due(now, now + period);
        is_sent
    }

    pub(super) fn updated(&mut self, error: ErrorCode) {
        if let State::Follower(follower) = &mut self.state
            && matches!(error, ErrorCode::None | ErrorCode::UnsupportedVersion)
        {
            follower.has_updated = true;
        }
    }
}
