//! What settings mean together: layers, provenance, and every sentence about what is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use tempfile::TempDir;

use super::*;
use crate::env_vars::EnvVars;

/// A folder with a settings file.
struct Folder(TempDir);

impl Folder {
    fn new(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("jeton.toml", text, 0o600);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, environment: EnvVars) -> LoadedSettings {
        let config = Some(self.path("jeton.toml"));
        load(&SettingSources { config, environment, ..SettingSources::default() })
    }

    /// Every fault as one sentence, without the path of the folder.
    fn faults(&self, environment: EnvVars) -> Vec<String> {
        let faults = self.load(environment).settings.expect_err("something is wrong");
        let folder = format!("{}/", self.0.path().display());
        faults.iter().map(|fault| fault.to_string().replace(&folder, "")).collect()
    }
}

fn faults(text: &str) -> Vec<String> {
    Folder::new(text).faults(EnvVars::default())
}

const ACME: &str = "[connections.acme]\nprovider = 'oauth2'\n[connections.acme.vars]\ntoken_url = 'https://login.example.com/token'\n";

#[test]
fn the_defaults_are_those_of_the_libraries() {
    let settings = load(&SettingSources { config: Some("/dev/null".into()), ..SettingSources::default() })
        .settings
        .unwrap();
    assert_eq!(settings.keeper, jeton_keeper::Settings::default());
    assert_eq!(settings.gateway, jeton_gateway::Settings::default());
    assert_eq!(settings.aliases, []);
    assert!(
        matches!(&settings.store, StoreSettings::Sqlite(path) if path == Path::new("/dev/jeton-data/jeton.sqlite"))
    );
    assert_eq!(settings.listen.to_string(), "127.0.0.1:9095");
}

/// A connection with every setting that can be written beside the others, and an alias.
const EVERY: &str = "[[alias]]\npath = '/a'\nconnection = 'acme'\nupstream = '/x'\n[connections.acme]\nprovider = 'oauth2'\n\
    [connections.acme.vars]\ntoken_url = 'https://login.example.com/token'\n[connections.acme.client]\nid = 'me'\n";

#[test]
fn every_setting_is_read_and_rejects_a_value_of_the_wrong_type_with_its_line() {
    let (mut values, mut faults) = (values::Section::default(), Vec::new());
    document::read(&schema::examples(), &|_| fault::Origin::Default, &mut values, &mut faults);
    assert_eq!(faults, []);
    for (path, _) in values.iter() {
        let name = path.join(".").replace("NAME", "acme").replace("VARIABLE", "scope");
        // A date: no setting takes one.
        let mut table: toml::Table = EVERY.parse().unwrap();
        let date = toml::Value::from(toml::value::Datetime::from_str("1979-05-27").unwrap());
        if name == "alias.0" {
            table["alias"].as_array_mut().unwrap()[0] = date;
        } else {
            let keys: Vec<&str> = name.split('.').collect();
            let (key, above) = keys.split_last().unwrap();
            let section = above.iter().fold(&mut table, |table, key| {
                table.entry(*key).or_insert_with(|| toml::Table::new().into()).as_table_mut().unwrap()
            });
            section.insert((*key).to_owned(), date);
        }
        let faults = self::faults(&table.to_string());
        let of_it: Vec<_> = faults.iter().filter(|fault| fault.contains(&format!(": {name}: "))).collect();
        assert_eq!(of_it.len(), 1, "{name}: {faults:?}");
        assert!(of_it[0].starts_with("jeton.toml:"), "{of_it:?}");
    }
}

#[test]
fn later_places_cover_earlier_ones_and_each_value_knows_where_it_came_from() {
    let folder = Folder::new("data_dir = 'd'\n[log]\nlevel = 'warn'\n[keeper]\nwait = '1s'\n");
    let loaded = load(&SettingSources {
        without_secrets: false,
        config: Some(folder.path("jeton.toml")),
        flags: vec![("--set", "keeper.wait".to_owned(), "3s".to_owned())],
        environment: [("JETON__KEEPER__WAIT", "2s"), ("JETON__LOG__LEVEL", "debug"), ("OTHER", "x")].into(),
    });
    let origin = |name: &str| loaded.values.origin(&values::path(name)).unwrap().to_string();
    assert_eq!(origin("keeper.wait"), "--set");
    assert_eq!(origin("log.level"), "environment JETON__LOG__LEVEL");
    assert_eq!(origin("data_dir"), format!("{}:1", folder.path("jeton.toml").display()));
    assert_eq!(origin("keeper.lease"), "default");
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.keeper.wait, Duration::from_secs(3));
    assert_eq!(settings.data_dir, folder.path("d"));
    assert!(settings.level_is_explicit);
}

#[test]
fn a_connection_can_be_set_up_by_the_environment_alone() {
    let folder = Folder::new("");
    let settings = folder.load(
        [
            ("JETON__CONNECTIONS__ACME__PROVIDER", "oauth2"),
            ("JETON__CONNECTIONS__ACME__VARS__TOKEN_URL", "https://login.example.com/token"),
            ("JETON__CONNECTIONS__ACME__CLIENT__ID", "me"),
            ("JETON__CONNECTIONS__ACME__CLIENT__SECRET", "hush"),
            ("JETON__CONNECTIONS__ACME__POLICY__MIN_REFRESH_LENGTH", "9"),
            ("JETON__CONNECTIONS__ACME__POLICY__MARGIN", "9s"),
        ]
        .into(),
    );
    let definitions = settings.settings.unwrap().definitions;
    let acme = &definitions[&"acme".parse().unwrap()];
    assert_eq!(acme.policy().min_refresh_length, 9);
    assert_eq!(acme.policy().margin, Some(Duration::from_secs(9)));
    assert!(!format!("{acme:?}").contains("hush"));
}

#[test]
fn the_names_of_the_old_gateway_set_up_a_connection_and_a_settings_file_counts_more() {
    let old = || {
        EnvVars::from([
            ("AMO_DOMAIN", "acme.amocrm.ru"),
            ("AMO_CLIENT_ID", "me"),
            ("AMO_CLIENT_SECRET", "hush"),
            ("AMO_REDIRECT_URI", "https://gw.example.com/oauth/callback"),
            ("TOKEN_STORAGE_PATH", "/var/lib/gateway/tokens.json"),
        ])
    };
    let settings = Folder::new("").load(old()).settings.unwrap();
    let amocrm: ConnectionName = "amocrm".parse().unwrap();
    let definition = &settings.definitions[&amocrm];
    assert_eq!(definition.vars()["domain"].reveal(), "acme.amocrm.ru");
    assert_eq!(definition.client().secret.as_ref().unwrap().reveal(), "hush");
    assert_eq!(settings.imports[&amocrm], Path::new("/var/lib/gateway/tokens.json"));
    assert!(settings.aliases.iter().any(|alias| alias.alias.path() == "/api/v1/info/account"));
    assert_eq!(settings.old_gateway.as_ref(), Some(&amocrm));

    let own =
        "[[alias]]\npath = '/api/v1/info/account'\nconnection = 'amocrm'\nupstream = '/api/v4/account'\n";
    let aliases = Folder::new(own).load(old()).settings.unwrap().aliases;
    assert_eq!((aliases.len(), aliases[0].alias.path()), (6, "/api/v1/info/account"));
    let elsewhere = "[[alias]]\npath = '/api/v1/info/account'\nconnection = 'other'\nupstream = '/api/v4/account'\n\
         [connections.other]\nprovider = 'amocrm'\n[connections.other.vars]\ndomain = 'other.amocrm.ru'\n\
         [connections.other.client]\nid = 'me'\nsecret = 'hush'\nredirect_uri = 'https://gw.example.com/oauth/callback'\n";
    let aliases = Folder::new(elsewhere).load(old()).settings.unwrap().aliases;
    assert_eq!((aliases.len(), aliases[0].connection.as_str()), (6, "other"), "what is written counts");
    let folder = Folder::new("[connections.amocrm]\naliases = false\n");
    assert_eq!(folder.load(old()).settings.unwrap().aliases, []);

    let folder = Folder::new("[connections.amocrm.vars]\ndomain = 'other.kommo.com'\n");
    let settings = folder.load(old()).settings.unwrap();
    assert_eq!(settings.definitions[&amocrm].vars()["domain"].reveal(), "other.kommo.com");

    let alone = EnvVars::from([("TOKEN_STORAGE_PATH", "/tmp/x")]);
    assert!(Folder::new("").load(alone).settings.unwrap().definitions.is_empty());
    let wrong = EnvVars::from([("AMO_CLIENT_ID", "me"), ("AMO_DOMAIN", "acme.example.com")]);
    let faults = Folder::new("").faults(wrong);
    assert!(faults[0].starts_with("environment AMO_DOMAIN: connections.amocrm.vars.domain: "), "{faults:?}");
}

#[test]
fn the_variable_of_the_old_gateway_that_is_missing_is_named() {
    let all = [
        ("AMO_DOMAIN", "acme.amocrm.ru"),
        ("AMO_CLIENT_ID", "me"),
        ("AMO_CLIENT_SECRET", "hush"),
        ("AMO_REDIRECT_URI", "https://gw.example.com/oauth/callback"),
    ];
    for (missing, _) in all {
        for text in ["", " "] {
            let variables = all.map(|(name, value)| (name, if name == missing { text } else { value }));
            let faults = Folder::new("").faults(EnvVars::from(variables));
            assert!(faults.len() == 1 && faults[0].contains(missing), "{missing}: {faults:?}");
            assert!(faults[0].ends_with("in the environment or in `.env`"), "{faults:?}");
        }
    }
    // A settings file may use one of the names for itself.
    let own = format!("{ACME}[connections.acme.client]\nid = 'me'\nsecret_env = 'AMO_CLIENT_SECRET'\n");
    let loaded = Folder::new(&own).load([("AMO_CLIENT_SECRET", "hush")].into());
    assert_eq!(loaded.faults(), []);
}

#[test]
fn the_connection_in_the_place_of_the_old_gateway_is_one_that_there_is() {
    let own = format!(
        "[old_gateway]\nconnection = 'acme'\n{ACME}[connections.acme.client]\nid = 'me'\nsecret = 'x'\n"
    );
    let settings = Folder::new(&own).load(EnvVars::default()).settings.unwrap();
    assert_eq!(settings.old_gateway, Some("acme".parse().unwrap()));
    assert!(settings.gateway.old_gateway);
    let faults = faults(&own.replace("= 'acme'", "= 'other'"));
    assert_eq!(
        faults,
        ["jeton.toml:2: old_gateway.connection: there is no [connections.other]; name one that there is"]
    );
}

#[test]
fn a_name_that_no_variable_can_spell_is_matched_by_underscores() {
    let folder = Folder::new(&ACME.replace("acme", "my-shop"));
    let environment = [
        ("JETON__CONNECTIONS__MY_SHOP__CLIENT__ID", "me"),
        ("JETON__CONNECTIONS__MY_SHOP__CLIENT__SECRET", "hush"),
    ];
    assert!(
        folder
            .load(environment.into())
            .settings
            .unwrap()
            .definitions
            .contains_key(&"my-shop".parse().unwrap())
    );
}

#[test]
fn an_unknown_name_in_the_environment_is_named_with_the_nearest_right_one() {
    assert_eq!(
        Folder::new("").faults([("JETON__STORE__URI", "x")].into()),
        ["environment JETON__STORE__URI: store.uri: there is no such setting; did you mean `url`?"]
    );
}

#[test]
fn wrong_values_say_where_they_stand_and_what_is_expected() {
    assert_eq!(
        faults(
            "[server]\nlisten = 'localhost'\npublic_url = 'ftp://x'\n[store]\nurl = 'mysql://u:hunter2@h/d'\n\
             [log]\nlevel = 'inof'\n[keeper]\nwait = 30\nwaiters = 'many'\nspill_slots = 0\npoll = '0s'\ncooldown = '5 s'\n"
        ),
        [
            "jeton.toml:3: server.public_url: the scheme must be https, or http, and is `ftp`",
            "jeton.toml:5: store.url: the scheme of a store must be `sqlite` or `postgres`, and `mysql` is not one; write sqlite:PATH or postgres://USER@HOST/DATABASE",
            "jeton.toml:2: server.listen: \"localhost\" is not an address with a port; write one such as 127.0.0.1:9095",
            "jeton.toml:7: log.level: `inof` is not a level; did you mean `info`?",
            "jeton.toml:9: keeper.wait: expected a duration in quotes, such as \"45s\", found a number",
            "jeton.toml:12: keeper.poll: must be 1ms or more",
            "jeton.toml:13: keeper.cooldown: \"5 s\" is not a duration: write whole numbers with a unit, such as 250ms, \
             30s, 10m, 12h, 90d or 1h30m",
            "jeton.toml:11: keeper.spill_slots: must be from 1 to 1000, and is 0",
            "jeton.toml:10: keeper.waiters: expected a whole number, found a text",
        ]
    );
}

#[test]
fn a_lease_that_a_refresh_could_outlive_is_refused() {
    let faults = faults("[keeper]\nlease = '30s'\n");
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].starts_with("jeton.toml:2: keeper.lease: must be longer than `keeper.redeem_timeout`"),
        "{faults:?}"
    );
}

#[test]
fn the_authorities_of_a_company_are_trusted_for_token_endpoints_and_apis_alike() {
    let made = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()]).unwrap();
    let folder = Folder::new("[outbound]\nca_file = 'ca.pem'\n");
    folder.write("ca.pem", &made.cert.pem(), 0o644);
    let settings = folder.load(EnvVars::default()).settings.unwrap();
    let roots = jeton_keeper::Roots::from_pem(made.cert.pem().as_bytes()).unwrap();
    assert_eq!((&settings.keeper.outbound.roots, &settings.gateway.outbound.roots), (&roots, &roots));

    let broken = made.cert.pem().replacen("MII", "M!!", 1);
    for (text, problem) in [
        (made.signing_key.serialize_pem(), "holds no certificate (`-----BEGIN CERTIFICATE-----`)"),
        (format!("{}{broken}", made.cert.pem()), "cannot be used: its certificate number 2 is broken"),
    ] {
        folder.write("ca.pem", &text, 0o644);
        let [fault] = folder.faults(EnvVars::default()).try_into().unwrap();
        assert!(fault.starts_with("jeton.toml:2: outbound.ca_file: the file ca.pem "), "{fault}");
        assert!(fault.contains(problem) && fault.ends_with("or leave it out"), "{fault}");
    }
    fs::remove_file(folder.path("ca.pem")).unwrap();
    let [fault] = folder.faults(EnvVars::default()).try_into().unwrap();
    assert!(fault.contains("the file ca.pem cannot be read"), "{fault}");
}

#[test]
fn a_misspelt_variable_is_named_with_its_line_and_the_nearest_right_name() {
    let text = format!("{ACME}scpoe = 'a'\n[connections.acme.client]\nid = 'me'\nsecret = 'hush'\n");
    assert_eq!(
        faults(&text),
        [
            "jeton.toml:5: connections.acme.vars.scpoe: the provider `oauth2` has no variable `scpoe`; did you mean `scope`?"
        ]
    );
}

#[test]
fn a_missing_or_unknown_provider_is_named() {
    let missing = faults("[connections.acme]\n");
    assert!(
        missing[0].starts_with("jeton.toml:1: connections.acme.provider: is missing: name the provider"),
        "{missing:?}"
    );
    let unknown = faults("[connections.acme]\nprovider = 'oauth'\n");
    assert_eq!(
        unknown,
        ["jeton.toml:2: connections.acme.provider: there is no provider `oauth`; did you mean `oauth2`?"]
    );
    let name = faults("[connections.Acme]\nprovider = 'oauth2'\n");
    assert!(
        name[0].starts_with("jeton.toml:1: connections.Acme: the name \"Acme\" is not usable"),
        "{name:?}"
    );
}

#[test]
fn a_token_url_with_a_wrong_scheme_is_refused() {
    let text = ACME.replace("https:", "ftp:") + "[connections.acme.client]\nid = 'me'\nsecret = 'hush'\n";
    let faults = faults(&text);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("jeton.toml:4: connections.acme.vars.token_url: "), "{faults:?}");
    assert!(faults[0].contains("https"), "{faults:?}");
}

#[test]
fn a_missing_client_secret_says_how_to_give_one() {
    let faults = faults(&format!("{ACME}[connections.acme.client]\nid = 'me'\n"));
    assert_eq!(
        faults,
        [
            "jeton.toml:5: connections.acme.client.secret: the provider `oauth2` needs it for its token requests: set it, as \
             `secret_file`, `secret_env` or `secret`"
        ]
    );
}

#[test]
fn a_client_secret_comes_from_exactly_one_place() {
    let with = |client: &str| Folder::new(&format!("{ACME}[connections.acme.client]\nid = 'me'\n{client}\n"));
    let secret = |folder: &Folder, environment: EnvVars| {
        let definitions = folder.load(environment).settings.unwrap().definitions;
        definitions[&"acme".parse().unwrap()].client().secret.as_ref().unwrap().reveal().to_owned()
    };
    let folder = with("secret_file = 's'");
    folder.write("s", "from-file\n", 0o600);
    assert_eq!(secret(&folder, EnvVars::default()), "from-file");
    assert_eq!(secret(&with("secret_env = 'S'"), [("S", "from-env")].into()), "from-env");
    assert_eq!(
        with("secret = 'a'\nsecret_env = 'S'").faults(EnvVars::default()),
        ["jeton.toml:8: connections.acme.client.secret_env: `secret` is set too; keep one of the two"]
    );
    assert_eq!(
        with("secret_env = 'S'").faults(EnvVars::default()),
        [
            "jeton.toml:7: connections.acme.client.secret_env: the environment variable S is not set; set it to the client secret"
        ]
    );
    folder.write("s", "", 0o600);
    assert!(folder.faults(EnvVars::default())[0].contains("s is empty; write the secret into it"));
}

#[test]
fn a_secret_file_that_others_can_read_is_refused_with_the_cure() {
    let folder = Folder::new(&format!("{ACME}[connections.acme.client]\nid = 'me'\nsecret_file = 's'\n"));
    folder.write("s", "hush", 0o644);
    assert_eq!(
        folder.faults(EnvVars::default()),
        ["jeton.toml:7: connections.acme.client.secret_file: s can be read by others; run `chmod 600 s`"]
    );
}

#[test]
fn a_settings_file_with_a_secret_that_others_can_read_is_warned_of() {
    let folder = Folder::new(&format!("{ACME}[connections.acme.client]\nid = 'me'\nsecret = 'hush'\n"));
    assert_eq!(folder.load(EnvVars::default()).warnings, [] as [&str; 0]);
    fs::set_permissions(folder.path("jeton.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = folder.load(EnvVars::default()).warnings;
    assert!(warnings[0].contains("can be read by others; run `chmod 600"), "{warnings:?}");
}

#[test]
fn a_variable_that_is_a_secret_is_one_in_a_settings_file_too() {
    let vars = "[connections.keys]\nprovider = 'jibit-ide'\n[connections.keys.vars]\napi_key = 'k'\nsecret_key = 'hush'\n";
    let folder = Folder::new(vars);
    fs::set_permissions(folder.path("jeton.toml"), fs::Permissions::from_mode(0o604)).unwrap();
    let warnings = folder.load(EnvVars::default()).warnings;
    assert!(warnings[0].contains("holds connections.keys.vars.api_key and can be read"), "{warnings:?}");
    let folder = Folder::new(&format!("{ACME}[connections.acme.client]\nid = 'me'\nsecret_env = 'NONE'\n"));
    fs::set_permissions(folder.path("jeton.toml"), fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(folder.load(EnvVars::default()).warnings, [] as [&str; 0]);
}

#[test]
fn a_policy_is_read_setting_by_setting() {
    let text = format!(
        "{ACME}[connections.acme.client]\nid = 'me'\nsecret = 'x'\n[connections.acme.policy]\nmargin = 5\nrotation = 'never'\n"
    );
    let faults = faults(&text);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("jeton.toml:9: connections.acme.policy.margin: "), "{faults:?}");
    assert!(faults[1].starts_with("jeton.toml:10: connections.acme.policy.rotation: "), "{faults:?}");
}

#[test]
fn callbacks_come_in_below_the_public_url() {
    let folder = Folder::new(&format!(
        "[server]\npublic_url = 'https://tokens.example.com/jeton/'\n{ACME}[connections.acme.client]\nid = 'me'\nsecret = 'x'\n"
    ));
    let definitions = folder.load(EnvVars::default()).settings.unwrap().definitions;
    assert_eq!(
        definitions[&"acme".parse().unwrap()].client().redirect_uri.as_deref(),
        Some("https://tokens.example.com/jeton/oauth/callback")
    );
}

#[test]
fn provider_files_of_the_operator_join_the_catalogue() {
    let folder = Folder::new("[providers]\npaths = ['more', 'gone.toml']\n");
    fs::create_dir(folder.path("more")).unwrap();
    folder.write(
        "more/mine.toml",
        "name = 'mine'\ntitle = 'Mine'\nhosts = ['login.example.com']\n[refresh]\nurl = 'https://login.example.com/t'\n\
         form = { grant_type = 'refresh_token', refresh_token = '${refresh}' }\n[take]\naccess = 'access_token'\n",
        0o644,
    );
    folder.write("more/broken.toml", "name = 'broken'\nttle = 'x'\n", 0o644);
    folder.write("more/notes.txt", "not a provider", 0o644);
    let loaded = folder.load(EnvVars::default());
    assert_eq!(loaded.added_providers, ["mine"]);
    let faults = folder.faults(EnvVars::default());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].starts_with("more/broken.toml:2: ttle: ") && faults[0].contains("`title`"),
        "{faults:?}"
    );
    assert!(faults[1].starts_with("jeton.toml:2: providers.paths: gone.toml cannot be read"), "{faults:?}");
}

#[test]
fn what_is_shown_hides_every_secret() {
    let folder = Folder::new(&format!("{ACME}[connections.acme.client]\nid = 'me'\nsecret = 'hush'\n"));
    let environment = EnvVars::from([("API_KEY", "hush"), ("JETON__KEY", "hush")]);
    let loaded = folder.load(environment.clone());
    let shown: Vec<_> = show::shown(&loaded.values, &loaded.catalogue, &environment)
        .into_iter()
        .map(|one| (one.name.clone(), one.text()))
        .collect();
    assert!(shown.contains(&("connections.acme.client.secret".to_owned(), "[hidden]".to_owned())));
    assert!(shown.contains(&("connections.acme.client.id".to_owned(), "\"me\"".to_owned())));
    assert!(
        shown
            .iter()
            .any(|(name, text)| name == "connections.acme.vars.token_url" && text.contains("https://"))
    );
    assert!(shown.contains(&("JETON__KEY".to_owned(), "[hidden]".to_owned())));
    assert!(shown.iter().all(|(_, text)| !text.contains("hush")));
}

#[test]
fn an_empty_key_in_the_environment_is_no_key() {
    assert_eq!(
        Folder::new("").faults([("JETON__KEY", " ")].into()),
        ["environment JETON__KEY: is empty: give it a value or leave it out"]
    );
}

#[test]
fn a_settings_file_that_is_named_must_be_there() {
    let loaded =
        load(&SettingSources { config: Some("/nowhere/jeton.toml".into()), ..SettingSources::default() });
    let faults = loaded.settings.unwrap_err();
    assert!(
        faults[0].to_string().contains("the settings file /nowhere/jeton.toml cannot be read"),
        "{faults:?}"
    );
}

const CLIENT: &str = "[connections.acme.client]\nid = 'a'\nsecret = 'b'\n";

#[test]
fn aliases_are_those_that_are_written_and_those_that_a_connection_wants() {
    let amocrm = "[connections.crm]\nprovider = 'amocrm'\naliases = true\n[connections.crm.vars]\ndomain = 'acme.amocrm.ru'\n\
                  [connections.crm.client]\nid = 'a'\nsecret = 'b'\nredirect_uri = 'https://jeton.example.com/oauth/callback'\n";
    let own = "[[alias]]\npath = '/crm/{id}'\nconnection = 'crm'\nupstream = '/api/v4/leads/{id}'\n";
    let loaded = Folder::new(&format!("{own}{amocrm}")).load(EnvVars::default());
    let aliases = loaded.settings.unwrap().aliases;
    let paths: Vec<_> = aliases.iter().map(|alias| alias.alias.path()).collect();
    assert_eq!(
        paths,
        [
            "/crm/{id}",
            "/api/v1/info/account",
            "/api/v1/info/pipelines",
            "/api/v1/info/pipelines/{id}",
            "/api/v1/info/lead-fields",
            "/api/v1/info/contact-fields",
            "/api/v1/leads/unsorted"
        ]
    );
    assert!(aliases.iter().all(|alias| alias.connection.as_str() == "crm"));
}

#[test]
fn each_alias_that_cannot_be_served_is_named_with_its_line() {
    let text = "[[alias]]\npath = '/a'\nconnection = 'nobody'\nupstream = '/x'\n\
                [[alias]]\npath = '/a'\nupstream = '/x'\n\
                [[alias]]\npath = '/a'\nconnection = 'acme'\nupstream = '../x'\n\
                [[alias]]\npath = '/a'\nconnection = 'acme'\nupstraem = '/x'\n\
                [[alias]]\npath = '/api/v1/connections/x'\nconnection = 'acme'\nupstream = '/x'\n\
                [[alias]]\npath = '/b/{one}'\nconnection = 'acme'\nupstream = '/x'\n\
                [[alias]]\npath = '/b/{other}'\nconnection = 'acme'\nupstream = '/y'\n";
    let faults = faults(&format!("{text}{ACME}{CLIENT}"));
    let expected = [
        "jeton.toml:1: alias.0: there is no [connections.nobody]",
        "jeton.toml:5: alias.1: `connection` is missing",
        "jeton.toml:8: alias.2: upstream: must begin with `/`",
        "jeton.toml:12: alias.3: unknown field `upstraem`",
        "jeton.toml:16: alias.4: `/api/v1/connections/x` is among the URLs of jeton itself",
        "jeton.toml:24: alias.6: `/b/{other}` stands for a call of `acme` already",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}");
    }
}

#[test]
fn a_provider_without_aliases_has_none_to_serve() {
    let text = ACME.replace("provider = 'oauth2'\n", "provider = 'oauth2'\naliases = true\n");
    let faults = faults(&format!("{text}{CLIENT}"));
    assert_eq!(
        faults,
        ["jeton.toml:3: connections.acme.aliases: the provider `oauth2` has no aliases: leave it out"]
    );
}
