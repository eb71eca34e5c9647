//! Loading a provider file: reading it, and checking all that can be checked without a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::address::{SourcedValue, UrlFault, UrlTemplate, ValueSource};
use super::alias::{self, Alias};
use super::condition::ErrorRule;
use super::condition::ReplyCondition;
use super::expiry::ExpirySource;
use super::fault::{FileError, Flaw, Under};
use super::hosts::{AllowedHosts, HostPattern};
use super::locate;
use super::payload::check_header_name;
use super::policy::{self, Policy, PolicyOverrides, Rotation};
use super::schema::{self, Confidence, RateLimitReach};
use super::step::ClientAuth;
use super::step::{AuthChoice, FileDefaults, Step, StepSpec};
use super::template::{AllowedNames, Name, Template};
use super::vars::{Capture, Var};
use super::vector_schema::Vector;
use crate::id::ProviderName;
use crate::suggest;

/// At most `max` calls in any span of `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub max: u32,
    /// In how long a span.
    pub within: Duration,
}

/// Where an access token is put in a call to the API.
#[derive(Clone, Copy, Debug)]
pub(super) enum InjectPlace {
    Header,
    Query,
    Cookie,
    Body,
}

#[derive(Clone, Debug)]
pub(super) struct ApiSpec {
    pub(super) base: UrlTemplate,
    pub(super) expired: Vec<ReplyCondition>,
    pub(super) rate: Option<Rate>,
    pub(super) rate_limit_reach: Option<RateLimitReach>,
}

/// The word for a client without a secret.
pub const PUBLIC_CLIENT: &str = ClientAuth::None.as_str();

/// A provider file that was loaded and found right.
pub struct Provider {
    name: ProviderName,
    title: String,
    about: Option<String>,
    host_names: Vec<String>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) vars: BTreeMap<String, Var>,
    pub(super) auth: AuthChoice,
    pub(super) steps: BTreeMap<Step, StepSpec>,
    pub(super) errors: Vec<ErrorRule>,
    pub(super) policy: PolicyOverrides,
    pub(super) inject: Vec<(InjectPlace, String, Template)>,
    pub(super) api: Option<ApiSpec>,
    aliases: Vec<Alias>,
    pub(super) confidence: BTreeMap<String, Confidence>,
    /// Each with the line it begins on.
    pub(super) vectors: Vec<(Option<usize>, Vector)>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Provider {
    /// Loads the text of a provider file. `file` is its name as messages should show it; where it ends in `.toml`,
    /// its stem must be the provider's name.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, FileError> {
        let written: schema::ProviderFile =
            toml::from_str(text).map_err(|error| locate::syntax(file, text, &error))?;
        Self::compile(file, text, written).map_err(|flaw| locate::flaw(file, text, &flaw))
    }

    fn compile(file: &str, text: &str, written: schema::ProviderFile) -> Result<Self, Flaw> {
        let name = check_name(file, &written.name).under("name")?;
        let hosts =
            written.hosts.iter().enumerate().map(|(index, host)| HostPattern::parse(host).under(index));
        let hosts: Vec<_> = hosts.collect::<Result<_, _>>().under("hosts")?;
        let mut vars = BTreeMap::new();
        for (var_name, var) in written.vars {
            let var = Var::compile(&var_name, var).under(&var_name).under("vars")?;
            vars.insert(var_name, var);
        }
        let names: BTreeSet<String> = vars.keys().cloned().collect();
        let auth = match &written.client.auth {
            Some(text) => AuthChoice::compile(text, &vars).under("auth").under("client")?,
            None => AuthChoice::Fixed(ClientAuth::Basic),
        };
        let around =
            FileDefaults { vars: &vars, names: &names, ok: written.ok.as_ref(), take: written.take.as_ref() };
        let tables = [
            (Step::Authorize, &written.authorize),
            (Step::Exchange, &written.exchange),
            (Step::Acquire, &written.acquire),
            (Step::Refresh, &written.refresh),
            (Step::Introspect, &written.introspect),
            (Step::Revoke, &written.revoke),
            (Step::Probe, &written.probe),
        ];
        let mut steps = BTreeMap::new();
        for (step, table) in tables {
            if let Some(table) = table {
                steps.insert(step, StepSpec::compile(step, table, around).under(step)?);
            }
        }
        let provider = Self {
            name,
            title: written.title,
            about: written.about,
            host_names: written.hosts,
            inject: inject(written.inject, &names).under("inject")?,
            api: written.api.map(|table| api(table, &names, &vars)).transpose().under("api")?,
            aliases: alias::check_all(written.alias).under("alias")?,
            hosts,
            vars,
            auth,
            steps,
            errors: ErrorRule::compile_all(&written.errors).under("errors")?,
            policy: written.policy,
            confidence: written.confidence,
            vectors: locate::each_line(text, "tests").into_iter().zip(written.tests).collect(),
        };
        provider.validate()?;
        locate::all_written(text, provider.confidence.keys()).under("confidence")?;
        Ok(provider)
    }

    /// The name that connections use.
    pub fn name(&self) -> &ProviderName {
        &self.name
    }

    /// The name that people read.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What it is, in words.
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// The closed list of hosts as written.
    pub fn hosts(&self) -> &[String] {
        &self.host_names
    }

    /// Its variables, by name.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.vars.values()
    }

    /// Its steps; one whose URL hangs on an optional variable may still be missing from a connection, see
    /// [`Definition::has`](super::Definition::has).
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.keys().copied()
    }

    /// Its policy, with every default filled in, for a connection that sets no variables.
    pub fn policy(&self) -> Policy {
        Policy::from_written(self.policy.clone(), self.has_step(Step::Acquire, |_| None))
    }

    /// Paths of the gateway that stand for calls to its API, for connections that want them.
    pub fn aliases(&self) -> &[Alias] {
        &self.aliases
    }

    /// How well single statements of the file are known to be true, by dotted key.
    pub fn confidence(&self) -> &BTreeMap<String, Confidence> {
        &self.confidence
    }

    /// How many golden vectors the file has.
    pub fn test_count(&self) -> usize {
        self.vectors.len()
    }

    /// The variable that names the issuer, where a connection can have its endpoints from the issuer's metadata.
    pub fn issuer_variable(&self) -> Option<&Var> {
        let Name::Var(name) = self.issuer_template()?.only_hole()? else { return None };
        self.vars.get(name).filter(|_| self.vars.values().any(|var| var.discover().is_some()))
    }

    /// The variable by which a connection says that its client has no secret, where the file leaves that to the connection.
    pub fn public_client_variable(&self) -> Option<&Var> {
        let AuthChoice::Var(name) = &self.auth else { return None };
        let listed =
            |var: &&Var| var.one_of().is_some_and(|one_of| one_of.iter().any(|one| one == PUBLIC_CLIENT));
        self.vars.get(name).filter(listed)
    }

    /// Who the issuer is, where the file says so.
    pub(super) fn issuer_template(&self) -> Option<&Template> {
        self.steps.get(&Step::Authorize)?.issuer.as_ref()
    }

    /// Every URL that tokens or credentials may go to, with the key of its table.
    pub(super) fn urls(&self) -> impl Iterator<Item = (&'static str, &UrlTemplate)> {
        let steps = self.steps.iter().map(|(step, spec)| (step.as_str(), &spec.url));
        steps.chain(self.api.iter().map(|api| ("api", &api.base)))
    }
}

fn check_name(file: &str, name: &str) -> Result<ProviderName, Flaw> {
    let parsed: ProviderName =
        name.parse().map_err(|error: crate::id::InvalidName| Flaw::new(error.to_string()))?;
    let base = file.rsplit(['/', '\\']).next().unwrap_or(file);
    if let Some(stem) = base.strip_suffix(".toml")
        && stem != name
    {
        return Err(Flaw::new(format!(
            "the file is called `{base}` and must name itself `{stem}`, not `{name}`"
        )));
    }
    Ok(parsed)
}

fn inject(
    written: Option<Vec<schema::InjectTable>>,
    names: &BTreeSet<String>,
) -> Result<Vec<(InjectPlace, String, Template)>, Flaw> {
    let known = AllowedNames { vars: names, built_in: &[Name::Access, Name::ClientId] };
    let Some(written) = written else {
        let bearer = Template::parse("Bearer ${access}", known)?;
        return Ok(vec![(InjectPlace::Header, "authorization".to_owned(), bearer)]);
    };
    let one = |entry: schema::InjectTable| {
        let value = Template::parse(&entry.value, known).under("value")?;
        match (entry.header, entry.query, entry.cookie, entry.body) {
            (Some(header), None, None, None) => {
                Ok((InjectPlace::Header, check_header_name(&header).under("header")?, value))
            }
            (None, Some(query), None, None) => Ok((InjectPlace::Query, query, value)),
            // The name of a cookie has the characters of a header's name (RFC 6265, section 4.1.1).
            (None, None, Some(cookie), None) => {
                check_header_name(&cookie).under("cookie")?;
                Ok((InjectPlace::Cookie, cookie, value))
            }
            (None, None, None, Some(body)) => Ok((InjectPlace::Body, body, value)),
            _ => Err(Flaw::new("write where the value goes: one of `header`, `query`, `cookie` and `body`")),
        }
    };
    written.into_iter().enumerate().map(|(index, entry)| one(entry).under(index)).collect()
}

fn api(
    table: schema::ApiTable,
    names: &BTreeSet<String>,
    vars: &BTreeMap<String, Var>,
) -> Result<ApiSpec, Flaw> {
    let base = UrlTemplate::parse(&table.base, AllowedNames { vars: names, built_in: &[] }).under("base")?;
    if base
        .names()
        .any(|(name, _)| matches!(name, Name::Var(var) if vars.get(var).is_some_and(Var::is_secret)))
    {
        return Err(Flaw::new("a URL is logged and must not hold a secret: use `inject`").under("base"));
    }
    let expired = match &table.expired {
        Some(written) => ReplyCondition::compile_all(written).under("expired")?,
        None => vec![ReplyCondition::on_status(401)],
    };
    let rate = match table.rate {
        Some(rate) if rate.max == 0 || rate.within.0.is_zero() => {
            return Err(Flaw::new("allows no call: `max` and `in` are 1 or more").under("rate"));
        }
        rate => rate.map(|rate| Rate { max: rate.max, within: rate.within.0 }),
    };
    Ok(ApiSpec { base, expired, rate, rate_limit_reach: table.rate_limit_reach })
}

impl Provider {
    /// Checks everything that takes more than one key to see.
    pub(super) fn validate(&self) -> Result<(), Flaw> {
        self.check_tokens()?;
        self.check_policy()?;
        self.check_captures()?;
        self.check_discovery()?;
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

    /// Metadata is that of the issuer, so that a file that reads any must say who the issuer is.
    fn check_discovery(&self) -> Result<(), Flaw> {
        let reads = self.vars.values().find(|var| var.discover().is_some());
        let Some(var) = reads.filter(|_| self.issuer_template().is_none()) else { return Ok(()) };
        let problem = "is read of the issuer's metadata: say who that is, by `issuer` under [authorize]";
        Err(Flaw::new(problem).under("discover").under(var.name()).under("vars"))
    }

    /// Checks the hosts of all URLs that the file itself decides, defaults of variables included.
    fn check_hosts(&self) -> Result<(), Flaw> {
        for (key, url) in self.urls() {
            let value = |name: &Name| match name {
                Name::Var(var) => {
                    let default = self.vars.get(var).and_then(Var::default_value);
                    default.map(|text| SourcedValue { text, source: ValueSource::File })
                }
                _ => None,
            };
            // Holes in paths and queries cannot change the host: any value shows what the host is.
            let in_host: Vec<_> = url.host_names().collect();
            let filled = url.fill(
                |name| {
                    let stand_in = SourcedValue { text: "x", source: ValueSource::File };
                    value(name).or_else(|| (!in_host.contains(&name)).then_some(stand_in))
                },
                AllowedHosts::of_file(&self.hosts),
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
