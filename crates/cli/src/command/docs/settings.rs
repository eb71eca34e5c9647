//! `docs/reference/settings.md`, from `config.default.toml`.

use std::fmt::Write as _;

use crate::settings::DEFAULTS;

const HEAD: &str =
    "# Settings\n\n<!-- Made from config.default.toml by `jeton docs settings`; change it there. -->\n\n";

const OLD_NAMES: &str = "## Names of the amoCRM gateway\n\n\
    Where `AMO_CLIENT_ID` is set, in the environment or in `.env`, these make a connection `amocrm`, with its aliases, with no settings \
    file; a settings file counts more. The other three `AMO_` variables are then needed too. `old_gateway.connection` is `amocrm`, so \
    that clients of that gateway get the answers they know.\n\n\
    | variable | setting |\n| --- | --- |\n\
    | `AMO_DOMAIN` | `connections.amocrm.vars.domain` |\n\
    | `AMO_CLIENT_ID` | `connections.amocrm.client.id` |\n\
    | `AMO_CLIENT_SECRET` | `connections.amocrm.client.secret` |\n\
    | `AMO_REDIRECT_URI` | `connections.amocrm.client.redirect_uri` |\n\
    | `TOKEN_STORAGE_PATH` | `connections.amocrm.import` |\n\n";

const SECRETS: &str = "## Secrets of the environment\n\n\
    | variable | meaning |\n| --- | --- |\n\
    | `API_KEY` | the key that callers of the API send as `X-API-KEY`; at least as hard to guess as 128 random bits, \
    such as `openssl rand -hex 32` makes. Without it one is made at the first start, shown once and kept as a hash. It names the service `api-key`, which has every scope but `admin` |\n\
    | `SERVICE_TOKEN_<NAME>_HASH` | the SHA-256, in hexadecimal digits, of the token of the service NAME in lower case, \
    such as `SERVICE_TOKEN_BOT1_HASH` for `bot1`; `echo -n RAW \\| sha256sum` prints it |\n\
    | `SERVICE_TOKEN_<NAME>_SCOPES` | what that service may do, scopes with spaces between them; without it what `services.NAME.scopes` says, \
    and without that nothing but to be checked by `GET /api/v1/verify` |\n\
    | `JETON__KEY` | the sealing keys, as in `key_file`, lines separated by commas; used instead of that file |\n";

/// A item of the file, as it is read from top to bottom.
#[derive(Debug, PartialEq, Eq)]
enum DocItem<'a> {
    /// Comment that belongs to no setting.
    Prose(String),
    Section {
        name: &'a str,
        about: String,
    },
    Setting {
        name: &'a str,
        default: Option<&'a str>,
        about: String,
    },
}

/// The whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    let mut in_table = false;
    for item in items(DEFAULTS) {
        let text = match &item {
            DocItem::Prose(text) => format!("{text}\n\n"),
            DocItem::Section { name, about } => {
                section = *name;
                let about = if about.is_empty() { String::new() } else { format!("{about}\n\n") };
                format!("## `[{name}]`\n\n{about}")
            }
            DocItem::Setting { name, default, about } => {
                let default = default.map_or_else(|| "-".to_owned(), |default| format!("`{default}`"));
                let head = if in_table {
                    ""
                } else {
                    "| setting | default | environment | meaning |\n| --- | --- | --- | --- |\n"
                };
                format!(
                    "{head}| `{name}` | {default} | {} | {} |\n",
                    variable(section, name),
                    about.replace('|', "\\|")
                )
            }
        };
        let is_setting = matches!(item, DocItem::Setting { .. });
        if in_table && !is_setting {
            page.push('\n');
        }
        in_table = is_setting;
        page.push_str(&text);
    }
    write!(page, "\n{OLD_NAMES}{SECRETS}").expect("a String takes everything");
    page
}

fn variable(section: &str, name: &str) -> String {
    // Tables of a list have no names of their own, and are written in the file.
    if section.starts_with('[') {
        return "-".to_owned();
    }
    let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    format!("`JETON__{}`", path.replace('.', "__").to_uppercase())
}

/// Reads the comments, sections and settings of the file. What stands behind a `#` without a space is a section or a
/// setting that has no default.
fn items(text: &str) -> Vec<DocItem<'_>> {
    let mut items = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# ").or_else(|| (line == "#").then_some("")) {
            comment.push(words);
            continue;
        }
        let (line, has_default) = line.strip_prefix('#').map_or((line, true), |line| (line, false));
        let about = prose(&std::mem::take(&mut comment));
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            items.push(DocItem::Section { name, about });
        } else if let Some((name, value)) = line.split_once(" = ") {
            items.push(DocItem::Setting { name, default: has_default.then_some(value), about });
        } else if !about.is_empty() {
            items.push(DocItem::Prose(about));
        }
    }
    items
}

/// The lines of a comment as paragraphs.
fn prose(lines: &[&str]) -> String {
    let paragraphs = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_belong_to_what_follows_them_and_stand_alone_before_an_empty_line() {
        let text = "# All\n# of it.\n#\n# More.\n\n# Where.\n[server]\n# Port.\nlisten = \"x\"\n\n# Name.\n#url = \"y\"\n";
        assert_eq!(
            items(text),
            [
                DocItem::Prose("All of it.\n\nMore.".to_owned()),
                DocItem::Section { name: "server", about: "Where.".to_owned() },
                DocItem::Setting { name: "listen", default: Some("\"x\""), about: "Port.".to_owned() },
                DocItem::Setting { name: "url", default: None, about: "Name.".to_owned() },
            ]
        );
    }
}
