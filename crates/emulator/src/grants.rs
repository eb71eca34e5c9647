//! The grants and their tokens: the strict half of the emulator, with no I/O.

use std::collections::HashMap;
use std::time::Duration;

use jeton_core::keep::provider::{OldAccess, Rotation, TokenKind};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use crate::random::SeededEntropy;
use crate::record::{EmulatedGrantId, RequestOutcome};
use crate::settings::Settings;

/// Why a grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantEnd {
    /// A spent refresh token came again.
    Reuse,
    /// Somebody revoked it.
    Revoked,
}

/// How a grant stands.
#[derive(Clone, Debug)]
pub struct EmulatedGrant {
    /// Which grant.
    pub id: EmulatedGrantId,
    /// Why it is over, if it is.
    pub ended: Option<GrantEnd>,
    /// How many times its refresh token has been rotated.
    pub generation: u64,
}

impl EmulatedGrant {
    /// Whether its refresh token can still be used, expiry aside.
    pub fn is_alive(&self) -> bool {
        self.ended.is_none()
    }
}

/// What a good answer carries.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access: Secret,
    pub(crate) expires_in: Duration,
    pub(crate) refresh: Option<Secret>,
    /// When the refresh token ends that is good from now on.
    pub(crate) refresh_expires_at: Timestamp,
}

/// What became of a refresh token that was presented.
#[derive(Debug)]
pub(crate) struct Redeemed {
    pub(crate) outcome: RequestOutcome,
    pub(crate) grant: Option<EmulatedGrantId>,
    pub(crate) generation: Option<u64>,
    /// There if and only if the outcome is an accepted one.
    pub(crate) issued: Option<Issued>,
}

struct Access {
    /// `None` for a token of the client itself (RFC 6749, section 4.4).
    grant: Option<EmulatedGrantId>,
    expires_at: Timestamp,
    /// It died with its grant. Kept, to tell this death from others.
    ended: bool,
}

struct Grant {
    ended: Option<GrantEnd>,
    generation: u64,
    rotated_at: Timestamp,
    refresh: Secret,
    refresh_expires_at: Timestamp,
    /// Living access tokens, oldest first.
    access: Vec<String>,
    /// The access token of the last answer and its expiry, for replays.
    answered: Option<(Secret, Timestamp)>,
}

/// All grants and tokens of one emulator.
pub(crate) struct Grants {
    settings: Settings,
    random: SeededEntropy,
    all: Vec<Grant>,
    /// Every refresh token ever issued: its grant and the generation at which it is the current one.
    refresh: HashMap<String, (EmulatedGrantId, u64)>,
    access: HashMap<String, Access>,
}

impl Grants {
    pub(crate) fn new(settings: Settings) -> Self {
        let random = SeededEntropy::new(settings.seed);
        Self { settings, random, all: Vec::new(), refresh: HashMap::new(), access: HashMap::new() }
    }

    /// A new grant; answers its first refresh token.
    pub(crate) fn mint(&mut self, now: Timestamp) -> Secret {
        let refresh = self.refresh_text(now + self.settings.refresh_ttl);
        self.all.push(Grant {
            ended: None,
            generation: 0,
            rotated_at: now,
            refresh: Secret::new(refresh.clone()),
            refresh_expires_at: now + self.settings.refresh_ttl,
            access: Vec::new(),
            answered: None,
        });
        let id = EmulatedGrantId(u64::try_from(self.all.len()).expect("a count of grants fits 64 bits"));
        self.refresh.insert(refresh.clone(), (id, 0));
        Secret::new(refresh)
    }

    /// The grant a refresh token belongs to, whether it is spent or not.
    pub(crate) fn grant_of(&self, refresh: &str) -> Option<EmulatedGrantId> {
        self.refresh.get(refresh).map(|(id, _)| *id)
    }

    /// The strict rule of this server: a current token gets a successor, its immediate predecessor inside the grace gets
    /// the same one again, and any other use of a spent token kills the grant.
    pub(crate) fn redeem(&mut self, presented: &str, now: Timestamp) -> Redeemed {
        let Some(&(id, generation)) = self.refresh.get(presented) else {
            return Redeemed {
                outcome: RequestOutcome::UnknownToken,
                grant: None,
                generation: None,
                issued: None,
            };
        };
        let (outcome, issued) = self.judge(id, generation, now);
        Redeemed { outcome, grant: Some(id), generation: Some(self.grant(id).generation), issued }
    }

    fn judge(
        &mut self,
        id: EmulatedGrantId,
        presented: u64,
        now: Timestamp,
    ) -> (RequestOutcome, Option<Issued>) {
        let grace = self.settings.reuse_grace;
        let grant = self.grant(id);
        if grant.ended.is_some() {
            return (RequestOutcome::DeadGrant, None);
        }
        if presented == grant.generation {
            if grant.refresh_expires_at <= now {
                return (RequestOutcome::ExpiredToken, None);
            }
            return match self.settings.rotation {
                Rotation::None => (RequestOutcome::Issued, Some(self.issue_access(id, now))),
                Rotation::SingleUse | Rotation::Detect => {
                    (RequestOutcome::Rotated, Some(self.rotate(id, now)))
                }
            };
        }
        let predecessor = presented + 1 == grant.generation;
        if predecessor && grace > Duration::ZERO && now < grant.rotated_at + grace {
            return (RequestOutcome::Replayed, Some(self.replay(id, now)));
        }
        self.end(id, GrantEnd::Reuse);
        (RequestOutcome::Reuse, None)
    }

    fn rotate(&mut self, id: EmulatedGrantId, now: Timestamp) -> Issued {
        let successor = self.refresh_text(now + self.settings.refresh_ttl);
        let refresh_ttl = self.settings.refresh_ttl;
        let grant = self.grant_mut(id);
        grant.generation += 1;
        grant.rotated_at = now;
        grant.refresh = Secret::new(successor.clone());
        grant.refresh_expires_at = now + refresh_ttl;
        let generation = grant.generation;
        self.refresh.insert(successor.clone(), (id, generation));
        let issued = self.issue_access(id, now);
        Issued { refresh: Some(Secret::new(successor)), ..issued }
    }

    /// A new grant with its first pair, for a client that needs no refresh token to begin with.
    pub(crate) fn begin(&mut self, now: Timestamp) -> Issued {
        let refresh = self.mint(now);
        let id = EmulatedGrantId(u64::try_from(self.all.len()).expect("a count of grants fits 64 bits"));
        Issued { refresh: Some(refresh), ..self.issue_access(id, now) }
    }

    /// An authorization code.
    pub(crate) fn code(&self) -> String {
        format!("emc_{}", self.random.text(40))
    }

    fn refresh_text(&self, expires_at: Timestamp) -> String {
        let Some(emulation) = &self.settings.emulation else {
            return format!("emr_{}", self.random.text(60));
        };
        let least = emulation.definition().policy().min_refresh_length;
        let random = format!("emr_{}", self.random.text(least.max(60)));
        emulation.token(TokenKind::Refresh, &random, expires_at).reveal().to_owned()
    }

    fn access_text(&self, expires_at: Timestamp) -> String {
        let random = format!("ema_{}", self.random.text(40));
        match &self.settings.emulation {
            Some(emulation) => emulation.token(TokenKind::Access, &random, expires_at).reveal().to_owned(),
            None => random,
        }
    }

    /// The pair of the last rotation once more. Where its access token was revoked meanwhile it comes back dead, as it
    /// would from a server that remembers its answer.
    fn replay(&self, id: EmulatedGrantId, now: Timestamp) -> Issued {
        let grant = self.grant(id);
        let (access, expires_at) = grant.answered.clone().expect("a rotated grant has answered");
        let refresh_expires_at = grant.refresh_expires_at;
        let refresh = Some(grant.refresh.clone());
        Issued { access, expires_in: expires_at.since(now), refresh, refresh_expires_at }
    }

    fn issue_access(&mut self, id: EmulatedGrantId, now: Timestamp) -> Issued {
        let dies = self.settings.old_access == OldAccess::Dies;
        let before = std::mem::take(&mut self.grant_mut(id).access);
        let keep = |token: &String| !dies && self.access.get(token).is_some_and(|a| a.expires_at > now);
        let (mut living, dead): (Vec<_>, Vec<_>) = before.into_iter().partition(keep);
        for token in dead {
            self.access.remove(&token);
        }
        let (issued, access) = self.new_access(Some(id), now);
        living.push(access);
        let grant = self.grant_mut(id);
        grant.access = living;
        grant.answered = Some((issued.access.clone(), now + issued.expires_in));
        issued
    }

    /// An access token of the client itself.
    pub(crate) fn issue_to_client(&mut self, now: Timestamp) -> Issued {
        self.access.retain(|_, access| access.grant.is_some() || access.expires_at > now);
        self.new_access(None, now).0
    }

    fn new_access(&mut self, grant: Option<EmulatedGrantId>, now: Timestamp) -> (Issued, String) {
        let expires_in = self.settings.access_ttl;
        let token = self.access_text(now + expires_in);
        self.access.insert(token.clone(), Access { grant, expires_at: now + expires_in, ended: false });
        let refresh_expires_at = match grant {
            Some(id) => self.grant(id).refresh_expires_at,
            None => now + self.settings.refresh_ttl,
        };
        let access = Secret::new(token.clone());
        (Issued { access, expires_in, refresh: None, refresh_expires_at }, token)
    }

    /// When an access token ends, if it is good now.
    pub(crate) fn good_until(&self, access: &str, now: Timestamp) -> Option<Timestamp> {
        self.access.get(access).filter(|a| now < a.expires_at && !a.ended).map(|a| a.expires_at)
    }

    /// Whether an access token is good now.
    pub(crate) fn accepts(&self, access: &str, now: Timestamp) -> bool {
        self.good_until(access, now).is_some()
    }

    /// Whether an access token died because its grant was ended.
    pub(crate) fn died_with_grant(&self, access: &str) -> bool {
        self.access.get(access).is_some_and(|a| a.ended)
    }

    /// Ends one access token early. False when it was not alive.
    pub(crate) fn revoke_access(&mut self, access: &str) -> bool {
        let Some(gone) = self.access.remove(access) else { return false };
        if let Some(id) = gone.grant {
            self.grant_mut(id).access.retain(|token| token != access);
        }
        !gone.ended
    }

    /// Ends the grant that a refresh token belongs to. False when there is none that lives.
    pub(crate) fn revoke_refresh(&mut self, refresh: &str) -> bool {
        match self.grant_of(refresh) {
            Some(id) if self.grant(id).ended.is_none() => {
                self.end(id, GrantEnd::Revoked);
                true
            }
            _ => false,
        }
    }

    fn end(&mut self, id: EmulatedGrantId, why: GrantEnd) {
        let grant = self.grant_mut(id);
        grant.ended = Some(why);
        for token in std::mem::take(&mut grant.access) {
            if let Some(access) = self.access.get_mut(&token) {
                access.ended = true;
            }
        }
    }

    /// How every grant stands, in the order they were minted.
    pub(crate) fn states(&self) -> Vec<EmulatedGrant> {
        let state = |(id, grant): (u64, &Grant)| EmulatedGrant {
            id: EmulatedGrantId(id),
            ended: grant.ended,
            generation: grant.generation,
        };
        (1..).zip(&self.all).map(state).collect()
    }

    fn place(id: EmulatedGrantId) -> usize {
        usize::try_from(id.0 - 1).expect("ids are made from places in memory")
    }

    fn grant(&self, id: EmulatedGrantId) -> &Grant {
        &self.all[Self::place(id)]
    }

    fn grant_mut(&mut self, id: EmulatedGrantId) -> &mut Grant {
        &mut self.all[Self::place(id)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000);

    fn rotate(grants: &mut Grants, refresh: &str, now: Timestamp) -> Issued {
        grants.redeem(refresh, now).issued.expect("a living token is accepted")
    }

    #[test]
    fn one_grant_dies_alone() {
        let mut grants = Grants::new(Settings::default());
        let (first, other) = (grants.mint(START), grants.mint(START));
        rotate(&mut grants, first.reveal(), START);
        grants.redeem(first.reveal(), START);
        assert_eq!(grants.redeem(other.reveal(), START).outcome, RequestOutcome::Rotated);
    }

    #[test]
    fn inside_the_grace_the_predecessor_gets_the_same_pair_and_after_it_the_grant_dies() {
        let grace = Duration::from_secs(10);
        let mut grants = Grants::new(Settings { reuse_grace: grace, ..Settings::default() });
        let first = grants.mint(START);
        let pair = rotate(&mut grants, first.reveal(), START);
        let again = rotate(&mut grants, first.reveal(), START + Duration::from_secs(9));
        assert_eq!(again.access, pair.access);
        assert_eq!(again.refresh, pair.refresh);
        assert_eq!(again.expires_in, pair.expires_in.saturating_sub(Duration::from_secs(9)));
        assert_eq!(grants.redeem(first.reveal(), START + grace).outcome, RequestOutcome::Reuse);
    }

    #[test]
    fn inside_the_grace_a_token_older_than_the_predecessor_kills() {
        let mut grants =
            Grants::new(Settings { reuse_grace: Duration::from_secs(10), ..Settings::default() });
        let first = grants.mint(START);
        let second = rotate(&mut grants, first.reveal(), START).refresh.expect("a successor");
        rotate(&mut grants, second.reveal(), START);
        assert_eq!(grants.redeem(first.reveal(), START).outcome, RequestOutcome::Reuse);
    }

    #[test]
    fn without_rotation_a_refresh_token_stays_and_no_reply_carries_one() {
        let mut grants = Grants::new(Settings { rotation: Rotation::None, ..Settings::default() });
        let token = grants.mint(START);
        for _ in 0..3 {
            let redeemed = grants.redeem(token.reveal(), START);
            assert_eq!(redeemed.outcome, RequestOutcome::Issued);
            assert!(redeemed.issued.expect("accepted").refresh.is_none());
        }
    }

    #[test]
    fn the_old_access_token_lives_or_dies_as_set() {
        for (old_access, lives) in [(OldAccess::Lives, true), (OldAccess::Dies, false)] {
            let mut grants = Grants::new(Settings { old_access, ..Settings::default() });
            let first = grants.mint(START);
            let pair = rotate(&mut grants, first.reveal(), START);
            rotate(&mut grants, pair.refresh.expect("a successor").reveal(), START);
            assert_eq!(grants.accepts(pair.access.reveal(), START), lives);
        }
    }

    #[test]
    fn tokens_expire_to_the_millisecond() {
        let lives = Settings {
            access_ttl: Duration::from_millis(1_500),
            refresh_ttl: Duration::from_millis(2_500),
            ..Settings::default()
        };
        let mut grants = Grants::new(lives);
        let first = grants.mint(START);
        let pair = rotate(&mut grants, first.reveal(), START);
        assert!(grants.accepts(pair.access.reveal(), START + Duration::from_millis(1_499)));
        assert!(!grants.accepts(pair.access.reveal(), START + Duration::from_millis(1_500)));
        let successor = pair.refresh.expect("a successor");
        let late = grants.redeem(successor.reveal(), START + Duration::from_millis(2_500));
        assert_eq!(late.outcome, RequestOutcome::ExpiredToken);
        assert!(grants.states()[0].is_alive(), "an expired token does not kill");
    }

    #[test]
    fn the_same_seed_mints_the_same_tokens() {
        let mint = |seed| Grants::new(Settings { seed, ..Settings::default() }).mint(START);
        assert_eq!(mint(4), mint(4));
        assert_ne!(mint(4), mint(5));
    }
}
