//! A store that is so simple that it is plainly right: one connection in memory, core's rules, no SQL.

use std::collections::BTreeMap;
use std::convert::Infallible;

use jeton_core::id::{AttemptId, Generation, GrantId, OperationId};
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::{self, Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{Commit, CommitAnswer, Connect, ConnectAnswer, Fail, OperatorCommand};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use crate::rules;

/// What the model remembers of an attempt.
#[derive(Clone, Debug)]
pub(super) struct ModelAttempt {
    pub(super) status: AttemptStatus,
    trigger: Trigger,
    act: Act,
    grant: GrantId,
    fingerprint: Option<Fingerprint>,
    brought: Option<Generation>,
    recovers: Option<AttemptId>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) row: Option<Connection>,
    pub(super) attempts: BTreeMap<AttemptId, ModelAttempt>,
    last_grant: Option<GrantId>,
}

impl Model {
    fn close(&mut self, closing: Option<rules::Closing>) {
        if let Some(noted) = closing.and_then(|closing| self.attempts.get_mut(&closing.attempt))
            && noted.status == AttemptStatus::Running
        {
            noted.status = AttemptStatus::Interrupted;
        }
    }

    fn place_grant(&mut self, grant: GrantId, now: Timestamp) -> GrantId {
        let placed = grant.after(self.last_grant, now);
        self.last_grant = Some(placed);
        placed
    }

    pub(super) fn connect(&mut self, connect: &Connect, now: Timestamp) -> ConnectAnswer {
        if let Some(generation) = self.attempts.get(&connect.attempt).and_then(|noted| noted.brought) {
            return ConnectAnswer::Connected { generation };
        }
        let generation = self.row.as_ref().map_or(Generation(0), |row| row.generation);
        if generation != connect.generation {
            return ConnectAnswer::Moved { generation };
        }
        if self.row.as_ref().is_some_and(|row| rules::has_already(row, connect)) {
            return ConnectAnswer::Unchanged;
        }
        let refresh = connect.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
        let spent = self.attempts.iter().rev().find(|(_, noted)| {
            let may_be = matches!(
                noted.status,
                AttemptStatus::Running | AttemptStatus::Interrupted | AttemptStatus::Success
            );
            connect.single_use && may_be && noted.fingerprint.is_some() && noted.fingerprint == refresh
        });
        if let Some((attempt, _)) = spent {
            return ConnectAnswer::Spent { attempt: *attempt };
        }
        let connect = &Connect { grant: self.place_grant(connect.grant, now), ..connect.clone() };
        let mut row = self.row.take().unwrap_or_else(|| rules::first_row(connect, now));
        let closing = rules::connect(&mut row, connect.clone(), now);
        self.close(closing);
        let generation = row.generation;
        let noted = ModelAttempt {
            status: AttemptStatus::Success,
            trigger: Trigger::Manual,
            act: Act::Connect,
            grant: row.grant,
            fingerprint: None,
            brought: Some(generation),
            recovers: None,
        };
        self.attempts.insert(connect.attempt, noted);
        self.row = Some(row);
        ConnectAnswer::Connected { generation }
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> ClaimAnswer {
        let answer = claim::answer(self.row.as_ref(), claim, now);
        let (ClaimAnswer::Won { until }, Some(mut row)) = (answer, self.row.clone()) else { return answer };
        if row.lease.is_some_and(|lease| lease.attempt == claim.attempt) {
            return answer;
        }
        if self.attempts.contains_key(&claim.attempt) {
            return ClaimAnswer::Moved { generation: row.generation };
        }
        let closing = rules::take_lease(&mut row, claim, until);
        self.close(closing);
        let noted = ModelAttempt {
            status: AttemptStatus::Running,
            trigger: claim.trigger,
            act: claim.act,
            grant: row.grant,
            fingerprint: claim.spends,
            brought: None,
            recovers: claim.recovers,
        };
        self.attempts.insert(claim.attempt, noted);
        self.row = Some(row);
        answer
    }

    /// The attempt must have been claimed before.
    pub(super) fn commit(&mut self, commit: &Commit) -> CommitAnswer {
        let mut row = self.row.clone().expect("an attempt was claimed on it");
        let noted = self.attempts.get(&commit.attempt).cloned().expect("the attempt was claimed");
        match (noted.status, noted.brought) {
            (AttemptStatus::Success, Some(generation)) => return CommitAnswer::Committed { generation },
            (AttemptStatus::Success, None) => return CommitAnswer::Orphaned { generation: row.generation },
            _ => {}
        }
        let (status, brought, answer) = if rules::is_as_claimed(&row, commit) {
            let closing = rules::commit(&mut row, commit.clone(), Some(noted.trigger));
            self.close(closing);
            let generation = row.generation;
            (AttemptStatus::Success, Some(generation), CommitAnswer::Committed { generation })
        } else {
            rules::keep_orphan(&mut row, commit.clone(), noted.grant);
            let (status, _) = rules::late_status(noted.act, commit.orphan.is_some());
            (status, None, CommitAnswer::Orphaned { generation: row.generation })
        };
        self.attempts.insert(commit.attempt, ModelAttempt { status, brought, ..noted });
        self.row = Some(row);
        answer
    }

    /// The attempt must have been claimed before.
    pub(super) fn fail(&mut self, fail: &Fail, now: Timestamp) {
        let noted = self.attempts.get_mut(&fail.attempt).expect("the attempt was claimed");
        if !matches!(noted.status, AttemptStatus::Running | AttemptStatus::Interrupted) {
            return;
        }
        noted.status = rules::failed_status(fail.effect);
        let (recovers, trigger) = (noted.recovers, noted.trigger);
        let attempts = &self.attempts;
        let look = |id: AttemptId| attempts.get(&id).map(|noted| (noted.status, noted.recovers));
        let Ok(reopens) = rules::still_unknown(recovers, |id| Ok::<_, Infallible>(look(id)));
        let row = self.row.as_mut().expect("an attempt was claimed on it");
        if rules::failure_counts(row, fail) {
            rules::fail(row, fail, reopens, trigger, now);
        }
    }

    pub(super) fn reject(&mut self, rejection: &Rejection, now: Timestamp) -> RejectionAnswer {
        let (answer, backoff) = rejection::answer(self.row.as_ref(), rejection, now);
        if let (Some(row), Some(backoff)) = (self.row.as_mut(), backoff) {
            row.backoff = Some(backoff);
        }
        answer
    }

    /// The operation must be a new one.
    pub(super) fn administer(
        &mut self,
        act: OperatorCommand,
        operation: OperationId,
        now: Timestamp,
    ) -> bool {
        if self.row.is_none() {
            return false;
        }
        let given_up_as = match act {
            OperatorCommand::Disconnect => self.place_grant(GrantId::from_bytes(*operation.as_bytes()), now),
            OperatorCommand::Pause | OperatorCommand::Resume => GrantId::from_bytes([0; 16]),
        };
        let row = self.row.as_mut().expect("it is there");
        let closing = rules::administer(row, act, given_up_as, now);
        self.close(closing);
        true
    }
}
