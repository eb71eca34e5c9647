//! A connection that a provider file itself shows: what its golden vectors are set up with.

use std::sync::Arc;

use super::define::Setup;
use super::load::Provider;
use super::policy::PolicyOverrides;
use super::request_values::Vars;
use super::step::Step;
use super::vector_schema::Vector;
use crate::secret::Secret;

impl Provider {
    /// A connection that the file's own vectors show, with made-up values, whose tokens can be asked for at once; `None`
    /// where no vector shows one.
    pub fn example(self: &Arc<Self>) -> Option<Setup> {
        let setups = || self.vectors.iter().filter_map(|(_, vector)| self.shown_by(vector));
        let mut setup = setups().find(|setup| self.is_complete(setup))?;
        // Another vector may know what this one does without.
        for other in setups().map(|other| other.client) {
            setup.client.id = setup.client.id.or(other.id);
            setup.client.secret = setup.client.secret.or(other.secret);
            setup.client.redirect_uri = setup.client.redirect_uri.or(other.redirect_uri);
        }
        for (name, value) in self.vectors.iter().flat_map(|(_, vector)| self.captures_of(vector)) {
            let mut more = setup.clone();
            more.vars.entry(name).or_insert(value);
            if self.is_complete(&more) {
                setup = more;
            }
        }
        Some(setup)
    }

    /// What callbacks and replies of a vector bring.
    fn captures_of(self: &Arc<Self>, vector: &Vector) -> Vec<(String, Secret)> {
        let before = self.prepare(vector).map(|(_, values)| values.captured).unwrap_or_default();
        let taken = vector.expect.as_ref().and_then(|expect| expect.vars.clone()).unwrap_or_default();
        let before = before.into_iter().map(|(name, value)| (name, Secret::new(value.reveal())));
        before.chain(taken.into_iter().map(|(name, value)| (name, Secret::from(value)))).collect()
    }

    fn shown_by(self: &Arc<Self>, vector: &Vector) -> Option<Setup> {
        let (definition, values) = self.prepare(vector).ok()?;
        let given = definition.vars().iter().chain(&values.captured);
        let vars = given.map(|(name, value)| (name.clone(), Secret::new(value.reveal()))).collect();
        Some(Setup { vars, client: definition.client().clone(), policy: PolicyOverrides::default() })
    }

    fn is_complete(self: &Arc<Self>, setup: &Setup) -> bool {
        let Ok(definition) = self.define(setup.clone()) else { return false };
        let nothing = Vars::new();
        let known = |step| definition.endpoint(step, &nothing);
        let steps = [Step::Refresh, Step::Acquire];
        steps.iter().any(|step| matches!(known(*step), Ok(Some(_))))
            && steps.iter().all(|step| known(*step).is_ok())
    }
}
