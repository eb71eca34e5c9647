//! Whether the parts of a provider file make sense together.

use super::address::{Given, Source, UrlFault};
use super::expiry::ExpirySource;
use super::fault::Flaw;
use super::load::Provider;
use super::policy::{self, Rotation};
use super::step::Step;
use super::template::Name;
use super::vars::{Capture, Var};
use crate::suggest;

impl Provider {
    /// Checks everything that takes more than one key to see.
    pub(super) fn validate(&self) -> Result<(), Flaw> {
        self.check_tokens()?;
        self.check_policy()?;
        self.check_captures()?;
        self.check_hosts()
    }

    fn check_tokens(&self) -> Result<(), Flaw> {
        if !self.steps.contains_key(&Step::Refresh) && !self.steps.contains_key(&Step::Acquire) {
            return Err(Flaw::new(
                "a provider needs a `refresh` or an `acquire` step, or its tokens cannot be kept alive",
            ));
        }
        let asks = |source: &ExpirySource| *source == ExpirySource::Introspect;
        for (step, spec) in &self.steps {
            let no_step = !self.steps.contains_key(&Step::Introspect) || *step == Step::Introspect;
            if no_step && spec.take.expires.iter().any(asks) {
                let problem = "`introspect` needs an `introspect` step that is not this one";
                return Err(Flaw::new(problem).under("expires").under("take").under(step));
            }
            if spec.take.refresh_expires.iter().any(asks) {
                let problem =
                    "an introspection is about the access token: use `path`, `jwt`, `fixed` or `none`";
                return Err(Flaw::new(problem).under("refresh_expires").under("take").under(step));
            }
            for (name, _) in &spec.take.vars {
                let captured = self.vars.get(name).is_some_and(|var| var.capture() == Some(&Capture::Take));
                if !captured {
                    let takers = self.vars.values().filter(|var| var.capture() == Some(&Capture::Take));
                    let names: Vec<_> = takers.map(Var::name).collect();
                    let cure = suggest::hint(name, names);
                    let problem = format!("`{name}` is not a variable with `capture = \"take\"`; {cure}");
                    return Err(Flaw::new(problem).under(name).under("vars").under("take").under(step));
                }
            }
        }
        Ok(())
    }

    fn check_policy(&self) -> Result<(), Flaw> {
        if let Some((key, problem)) =
            policy::contradiction(&self.policy, self.steps.contains_key(&Step::Acquire))
        {
            return Err(Flaw::new(problem).under(key).under("policy"));
        }
        let rotates = self.policy.rotation != Some(Rotation::None);
        if rotates && self.steps.get(&Step::Refresh).is_some_and(|spec| spec.spends == Some(false)) {
            let problem = "a refresh token that rotates is spent: leave `spends` out, or write `policy.rotation = \"none\"`";
            return Err(Flaw::new(problem).under("spends").under("refresh"));
        }
        Ok(())
    }

    /// A captured variable that decides a host is worth nothing without a list of hosts to hold it to.
    fn check_captures(&self) -> Result<(), Flaw> {
        let captured = |name: &Name| matches!(name, Name::Var(var) if self.vars.get(var).is_some_and(|var| var.capture().is_some()));
        for (key, url) in self.urls() {
            if self.hosts.is_empty() && url.host_names().any(captured) {
                let problem = format!("`{key}.url` takes its host from outside: list the hosts that may be");
                return Err(Flaw::new(problem).under("hosts"));
            }
        }
        Ok(())
    }

    /// Checks the hosts of all URLs that the file itself decides, defaults of variables included.
    fn check_hosts(&self) -> Result<(), Flaw> {
        for (key, url) in self.urls() {
            let value = |name: &Name| match name {
                Name::Var(var) => {
                    let default = self.vars.get(var).and_then(Var::default_value);
                    default.map(|text| Given { text, source: Source::File })
                }
                _ => None,
            };
            // Holes in paths and queries cannot change the host: any value shows what the host is.
            let in_host: Vec<_> = url.host_names().collect();
            let filled = url.fill(
                |name| {
                    let stand_in = Given { text: "x", source: Source::File };
                    value(name).or_else(|| (!in_host.contains(&name)).then_some(stand_in))
                },
                &self.hosts,
            );
            if let Err(UrlFault::Bad(name, problem)) = filled {
                let flaw = match name {
                    Some(name) => Flaw::new(problem).under("default").under(name).under("vars"),
                    None => Flaw::new(problem).under(if key == "api" { "base" } else { "url" }).under(key),
                };
                return Err(flaw);
            }
        }
        Ok(())
    }
}
