//! The names of all settings and what each of them takes. Their defaults and descriptions stand in
//! `config.default.toml`; a test holds the two together.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jeton_core::keep::provider::suggest;
use toml::Value;

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, and nothing else about it is known here.
    Text,
    /// Text that must not be shown.
    Secret,
    /// Whole numbers.
    Count,
    /// `true` or `false`.
    Switch,
    /// A list of texts.
    List,
    /// Whatever the policy of a provider takes under this name.
    Policy,
    /// A table of a list of tables.
    Entry,
}

/// Stands for any name at its place in a path.
const ANY: &str = "*";

/// All settings by their dotted names.
pub(crate) const SETTINGS: &[(&str, Kind)] = &[
    ("data_dir", Kind::Text),
    ("key_file", Kind::Text),
    ("server.listen", Kind::Text),
    ("server.public_url", Kind::Text),
    ("store.url", Kind::Text),
    ("store.password_file", Kind::Text),
    ("store.pool", Kind::Count),
    ("store.pooler", Kind::Switch),
    ("store.patience", Kind::Text),
    ("store.migrate", Kind::Switch),
    ("log.level", Kind::Text),
    ("log.format", Kind::Text),
    ("access.max_staleness", Kind::Text),
    ("keeper.lease", Kind::Text),
    ("keeper.redeem_timeout", Kind::Text),
    ("keeper.claim_wait", Kind::Text),
    ("keeper.wait", Kind::Text),
    ("keeper.poll", Kind::Text),
    ("keeper.cooldown", Kind::Text),
    ("keeper.visit", Kind::Text),
    ("keeper.provider_concurrency", Kind::Count),
    ("keeper.spill_slots", Kind::Count),
    ("keeper.memory_age", Kind::Text),
    ("keeper.waiters", Kind::Count),
    ("keeper.drain", Kind::Text),
    ("keeper.allow_private_captured_hosts", Kind::Switch),
    ("outbound.ca_file", Kind::Text),
    ("gateway.connect_timeout", Kind::Text),
    ("gateway.first_byte_timeout", Kind::Text),
    ("gateway.idle_timeout", Kind::Text),
    ("gateway.tunnel_idle_timeout", Kind::Text),
    ("gateway.tunnels", Kind::Count),
    ("gateway.replay_body", Kind::Count),
    ("gateway.replay_memory", Kind::Count),
    ("alias.*", Kind::Entry),
    ("providers.paths", Kind::List),
    ("connections.*.provider", Kind::Text),
    ("connections.*.import", Kind::Text),
    ("connections.*.emulated_at", Kind::Text),
    ("connections.*.aliases", Kind::Switch),
    ("connections.*.vars.*", Kind::Secret),
    ("connections.*.client.id", Kind::Text),
    ("connections.*.client.secret", Kind::Secret),
    ("connections.*.client.secret_env", Kind::Text),
    ("connections.*.client.secret_file", Kind::Text),
    ("connections.*.client.redirect_uri", Kind::Text),
    ("connections.*.policy.rotation", Kind::Policy),
    ("connections.*.policy.reuse_grace", Kind::Policy),
    ("connections.*.policy.old_access", Kind::Policy),
    ("connections.*.policy.on_unknown", Kind::Policy),
    ("connections.*.policy.on_dead", Kind::Policy),
    ("connections.*.policy.unknown_hold", Kind::Policy),
    ("connections.*.policy.margin", Kind::Policy),
    ("connections.*.policy.earliest", Kind::Policy),
    ("connections.*.policy.refresh_ttl", Kind::Policy),
    ("connections.*.policy.refresh_idle_ttl", Kind::Policy),
    ("connections.*.policy.idle_keepalive", Kind::Policy),
    ("connections.*.policy.budget", Kind::Policy),
    ("connections.*.policy.ambiguous_5xx", Kind::Policy),
    ("connections.*.policy.min_refresh_length", Kind::Policy),
    ("connections.*.policy.access_format", Kind::Policy),
];

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    /// A setting.
    Setting(Kind),
    /// A table of settings.
    Section,
    /// Nothing.
    Unknown,
}

/// All settings by their keys: a file may have a million lines, and each of them is looked up.
static ROOT: LazyLock<Branch> = LazyLock::new(|| {
    let mut root = Branch::default();
    for (name, kind) in SETTINGS {
        let leaf = name.split('.').fold(&mut root, |branch, key| branch.below.entry(key).or_default());
        leaf.kind = Some(*kind);
    }
    root
});

/// What has a path in common.
#[derive(Default)]
struct Branch {
    /// It is a setting.
    kind: Option<Kind>,
    below: BTreeMap<&'static str, Branch>,
}

/// What stands at `path`.
pub(crate) fn place(path: &[String]) -> PathKind {
    let found = path
        .iter()
        .try_fold(&*ROOT, |branch, key| branch.below.get(key.as_str()).or_else(|| branch.below.get(ANY)));
    match found {
        Some(Branch { kind: Some(kind), .. }) => PathKind::Setting(*kind),
        Some(_) => PathKind::Section,
        None => PathKind::Unknown,
    }
}

/// The end of a sentence about a path whose last key is unknown: the nearest right name, or the names there are.
pub(crate) fn cure(path: &[String]) -> String {
    let Some((wrong, section)) = path.split_last() else { return String::new() };
    let mut here: Vec<&str> = Vec::new();
    for (name, _) in SETTINGS {
        let mut parts = name.split('.');
        let below = section.iter().all(|key| parts.next().is_some_and(|part| part == ANY || part == key));
        if below
            && let Some(next) = parts.next()
            && next != ANY
            && !here.contains(&next)
        {
            here.push(next);
        }
    }
    if suggest::nearest(wrong, here.iter().copied()).is_some() {
        return suggest::hint(wrong, here);
    }
    // A right name at the wrong place.
    let last = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    let there =
        suggest::nearest(wrong, SETTINGS.iter().map(|(name, _)| last(name)).filter(|name| *name != ANY));
    match SETTINGS.iter().find(|(name, _)| Some(last(name)) == there) {
        Some((name, _)) => format!("did you mean `{}`?", name.replace(ANY, "NAME")),
        None => suggest::hint(wrong, here),
    }
}

/// Reads the text of an environment variable or a flag as what the setting takes. Text that does not fit stays text,
/// for the reader of the setting to refuse.
pub(crate) fn from_text(kind: Kind, text: &str) -> Value {
    let plain = || Value::String(text.to_owned());
    match kind {
        Kind::Text | Kind::Secret => plain(),
        Kind::Count => text.trim().parse().map_or_else(|_| plain(), Value::Integer),
        Kind::Switch => text.trim().parse().map_or_else(|_| plain(), Value::Boolean),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        // `10s` is no TOML value and stays text; `true`, `5` and `[{ ... }]` are.
        Kind::Policy | Kind::Entry => {
            let table: Result<toml::Table, _> = format!("value = {text}").parse();
            table.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(plain)
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::keep::provider::PolicyOverrides;

    use super::*;

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_path_leads_to_a_setting_a_section_or_nothing() {
        assert_eq!(place(&path("keeper.waiters")), PathKind::Setting(Kind::Count));
        assert_eq!(place(&path("connections.acme.vars.token_url")), PathKind::Setting(Kind::Secret));
        assert_eq!(place(&path("connections.acme")), PathKind::Section);
        assert_eq!(place(&path("connections.acme.vars.token_url.x")), PathKind::Unknown);
        assert_eq!(place(&path("sever")), PathKind::Unknown);
    }

    #[test]
    fn an_unknown_name_is_cured_by_its_neighbour_or_by_its_right_place() {
        assert_eq!(cure(&path("sever")), "did you mean `server`?");
        assert_eq!(cure(&path("keeper.leese")), "did you mean `lease`?");
        assert_eq!(cure(&path("listen")), "did you mean `server.listen`?");
        assert_eq!(cure(&path("connections.acme.scret")), "did you mean `connections.NAME.client.secret`?");
    }

    #[test]
    fn text_of_the_environment_is_read_as_what_the_setting_takes() {
        assert_eq!(from_text(Kind::Count, "12"), Value::Integer(12));
        assert_eq!(from_text(Kind::Switch, "true"), Value::Boolean(true));
        assert_eq!(from_text(Kind::Text, "12"), Value::String("12".to_owned()));
        assert_eq!(from_text(Kind::Policy, "10s"), Value::String("10s".to_owned()));
        assert_eq!(from_text(Kind::Policy, "single_use"), Value::String("single_use".to_owned()));
        assert_eq!(from_text(Kind::Policy, "20"), Value::Integer(20));
        assert_eq!(from_text(Kind::List, "a.toml, b"), Value::Array(vec!["a.toml".into(), "b".into()]));
    }

    #[test]
    fn the_policy_of_a_connection_is_the_policy_of_a_provider() {
        let error = toml::from_str::<PolicyOverrides>("no_such_name = 1").unwrap_err().to_string();
        let mut theirs: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        let mut ours: Vec<&str> =
            SETTINGS.iter().filter_map(|(name, _)| name.strip_prefix("connections.*.policy.")).collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(theirs, ours);
    }
}
