//! Which settings exist: `config.default.toml` is the schema. A setting without a default stands there behind a `#`
//! without a space, with an example, and the type of the example is the type of the setting.

use std::sync::LazyLock;

use jeton_core::suggest;
use toml::{Table, Value};

/// Every setting with its default and its description.
pub(crate) const DEFAULTS: &str = include_str!("../../../../config.default.toml");

/// Keys of `config.default.toml` that stand for any key.
const ANY: [&str; 2] = ["NAME", "VARIABLE"];

static EXAMPLES: LazyLock<Table> =
    LazyLock::new(|| examples().parse().expect("config.default.toml is TOML without its comment signs too"));

/// `config.default.toml` with every setting in force.
pub(super) fn examples() -> String {
    let in_force =
        |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
    DEFAULTS.lines().flat_map(|line| [in_force(line), "\n"]).collect()
}

/// What a path of keys leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathKind {
    /// A setting, with a value of its type.
    Setting(&'static Value),
    /// A table of settings.
    Section,
    /// A list of tables.
    List,
    Unknown,
}

/// What `path` leads to. A settings file may have a million lines, each looked up here.
pub(crate) fn path_kind(path: &[String]) -> PathKind {
    let mut below = &*EXAMPLES;
    for (depth, key) in path.iter().enumerate() {
        let Some(value) = child(below, key) else { return PathKind::Unknown };
        let rest = &path[depth + 1..];
        match (value, rest) {
            (Value::Table(_), []) => return PathKind::Section,
            (Value::Table(table), _) => below = table,
            // Only at the top is a list of tables one whose tables are settings by themselves.
            (Value::Array(tables), []) if depth == 0 && !tables.is_empty() => return PathKind::List,
            (Value::Array(tables), [_]) if depth == 0 && !tables.is_empty() => {
                return PathKind::Setting(&tables[0]);
            }
            (value, []) => return PathKind::Setting(value),
            _ => return PathKind::Unknown,
        }
    }
    PathKind::Section
}

fn child(table: &'static Table, key: &str) -> Option<&'static Value> {
    table.get(key).or_else(|| ANY.iter().find_map(|any| table.get(*any)))
}

/// The end of a sentence about a path whose last key is unknown: the nearest right name, or the names there are.
pub(crate) fn hint(path: &[String]) -> String {
    let Some((wrong, section)) = path.split_last() else { return String::new() };
    let below = section.iter().try_fold(&*EXAMPLES, |table, key| child(table, key)?.as_table());
    let siblings: Vec<&str> = below
        .into_iter()
        .flat_map(Table::keys)
        .map(String::as_str)
        .filter(|key| !ANY.contains(key))
        .collect();
    if suggest::nearest_name(wrong, siblings.iter().copied()).is_none() {
        // A right name at the wrong place.
        let all = names(&EXAMPLES);
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let keys: Vec<String> =
            all.iter().map(|name| last(name)).filter(|key| !ANY.contains(&key.as_str())).collect();
        let nearest = suggest::nearest_name(wrong, keys.iter().map(String::as_str));
        if let Some(name) = all.iter().find(|name| Some(last(name).as_str()) == nearest) {
            return format!("did you mean `{name}`?");
        }
    }
    suggest::hint(wrong, siblings)
}

/// The dotted names of all settings in a table.
fn names(table: &Table) -> Vec<String> {
    let below = |(key, value): (&String, &Value)| match value {
        Value::Table(table) => names(table).iter().map(|name| format!("{key}.{name}")).collect(),
        _ => vec![key.clone()],
    };
    table.iter().flat_map(below).collect()
}

/// Reads the text of an environment variable or a flag as a value of the type of `example`. Text that does not fit stays
/// text, for the reader of the setting to reject.
pub(crate) fn from_text(example: &Value, text: &str) -> Value {
    let toml = || format!("value = {text}").parse::<Table>().ok()?.remove("value");
    match example {
        Value::Integer(_) | Value::Boolean(_) | Value::Table(_) => {
            toml().filter(|value| value.same_type(example)).unwrap_or_else(|| text.into())
        }
        Value::Array(_) => toml().filter(Value::is_array).unwrap_or_else(|| {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(Value::from).collect())
        }),
        _ => text.into(),
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
    fn a_path_leads_to_a_setting_a_section_a_list_or_nothing() {
        let kind = |dotted| path_kind(&path(dotted));
        assert_eq!(kind("keeper.waiters"), PathKind::Setting(&Value::Integer(10_000)));
        assert!(matches!(kind("connections.acme.vars.token_url"), PathKind::Setting(Value::String(_))));
        assert!(matches!(kind("connections.acme.policy.budget"), PathKind::Setting(Value::Array(_))));
        assert_eq!(kind("connections.acme"), PathKind::Section);
        assert_eq!(kind("alias"), PathKind::List);
        assert!(matches!(kind("alias.3"), PathKind::Setting(Value::Table(_))));
        assert_eq!(kind("connections.acme.vars.token_url.x"), PathKind::Unknown);
        assert_eq!(kind("sever"), PathKind::Unknown);
    }

    #[test]
    fn the_hint_for_an_unknown_name_is_the_nearest_one_or_its_right_place() {
        assert_eq!(hint(&path("sever")), "did you mean `server`?");
        assert_eq!(hint(&path("keeper.leese")), "did you mean `lease`?");
        assert_eq!(hint(&path("listen")), "did you mean `server.listen`?");
        assert_eq!(hint(&path("connections.acme.scret")), "did you mean `connections.NAME.client.secret`?");
    }

    #[test]
    fn text_of_the_environment_is_read_by_the_type_of_the_setting() {
        let read = |name: &str, text: &str| match path_kind(&path(name)) {
            PathKind::Setting(example) => from_text(example, text),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(read("store.pool", "12"), Value::Integer(12));
        assert_eq!(read("store.pool", "twelve"), Value::from("twelve"));
        assert_eq!(read("store.migrate", "true"), Value::Boolean(true));
        assert_eq!(read("connections.a.client.id", "12"), Value::from("12"));
        assert_eq!(read("connections.a.policy.margin", "10s"), Value::from("10s"));
        assert_eq!(read("connections.a.policy.rotation", "single_use"), Value::from("single_use"));
        assert_eq!(read("connections.a.policy.min_refresh_length", "20"), Value::Integer(20));
        assert!(
            read("connections.a.policy.budget", "[{ per = 'client' }]").as_array().unwrap()[0].is_table()
        );
        assert_eq!(read("providers.paths", "a.toml, b"), Value::from(vec!["a.toml", "b"]));
    }

    #[test]
    fn the_policy_of_a_connection_has_the_settings_of_a_providers_policy() {
        let error = toml::from_str::<PolicyOverrides>("no_such_name = 1").unwrap_err().to_string();
        let mut theirs: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        let all = names(&EXAMPLES);
        let mut ours: Vec<&str> =
            all.iter().filter_map(|name| name.strip_prefix("connections.NAME.policy.")).collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(theirs, ours);
    }
}
