//! Reads a settings file: every value with the line of its key.

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::fault::{Origin, SettingFault};
use super::schema::{self, PathKind};
use super::values::{Section, SettingValue, unknown_setting, value_for_section};

/// Adds what a file says to `values`, and what is wrong with it to `faults`. `origin` makes the origin of a line.
pub(crate) fn read(
    text: &str,
    origin: &dyn Fn(usize) -> Origin,
    values: &mut Section,
    faults: &mut Vec<SettingFault>,
) {
    let lines = Lines::of(text);
    match DeTable::parse(text) {
        Ok(table) => {
            let mut reader = DocumentReader { lines, origin, path: Vec::new(), faults };
            reader.read_table(table.into_inner(), values);
        }
        Err(error) => {
            let line = error.span().map_or(1, |span| lines.of_offset(span.start));
            faults.push(not_toml(&error, origin(line)));
        }
    }
}

fn not_toml(error: &toml::de::Error, origin: Origin) -> SettingFault {
    let what = error.message().lines().collect::<Vec<_>>().join(", ");
    SettingFault::new(Some(origin), "", format!("this is not TOML: {what}"))
}

struct DocumentReader<'a> {
    lines: Lines,
    origin: &'a dyn Fn(usize) -> Origin,
    /// The keys that lead to the table being read.
    path: Vec<String>,
    faults: &'a mut Vec<SettingFault>,
}

impl DocumentReader<'_> {
    fn read_table(&mut self, table: DeTable<'_>, section: &mut Section) {
        for (key, written) in table {
            let origin = self.origin_of(key.span().start);
            self.path.push(key.into_inner().into_owned());
            self.read_entry(written, origin, section);
            self.path.pop();
        }
    }

    /// Reads the value of the last key of `path` into `section`.
    fn read_entry(&mut self, written: Spanned<DeValue<'_>>, origin: Origin, section: &mut Section) {
        let key = self.path.last().cloned().unwrap_or_default();
        match (schema::path_kind(&self.path), written.get_ref()) {
            (PathKind::Setting(_), _) => self.insert(key, written, origin, section),
            (PathKind::Section, DeValue::Table(_)) => {
                let below = section.enter(&key, origin);
                if let DeValue::Table(table) = written.into_inner() {
                    self.read_table(table, below);
                }
            }
            (PathKind::List, DeValue::Array(_)) => {
                let below = section.enter(&key, origin);
                if let DeValue::Array(tables) = written.into_inner() {
                    for (index, table) in tables.into_iter().enumerate() {
                        let origin = self.origin_of(table.span().start);
                        self.insert(index.to_string(), table, origin, below);
                    }
                }
            }
            (PathKind::Section, _) => self.faults.push(value_for_section(&self.path, origin)),
            (PathKind::List, _) => {
                let problem = format!("is a list of tables; write each of them below [[{key}]]");
                self.faults.push(SettingFault::new(Some(origin), key, problem));
            }
            (PathKind::Unknown, _) => self.faults.push(unknown_setting(&self.path, origin)),
        }
    }

    fn insert(&mut self, key: String, written: Spanned<DeValue<'_>>, origin: Origin, section: &mut Section) {
        let value = match written.get_ref() {
            // Nearly all values, and quickly copied.
            DeValue::String(text) => Ok(Value::String(text.clone().into_owned())),
            _ => Value::deserialize(ValueDeserializer::from(written)),
        };
        match value {
            Ok(value) => section.insert(key, SettingValue { value, origin }),
            // It has the form of TOML, and no value that can be held: a number that is too large.
            Err(error) => self.faults.push(not_toml(&error, origin)),
        }
    }

    fn origin_of(&self, offset: usize) -> Origin {
        (self.origin)(self.lines.of_offset(offset))
    }
}

/// The offsets of all line ends, so that a line is found without reading the text from its beginning.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(offset, _)| offset).collect())
    }

    /// The line of an offset, counted from 1.
    fn of_offset(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|end| *end < offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::values::path;
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let (mut values, mut faults) = (Section::default(), Vec::new());
        let origin = |line| Origin::File { path: "jeton.toml".into(), line };
        read(text, &origin, &mut values, &mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "[server]\n# where\nlisten = \"127.0.0.1:1\"\n[connections.\"a.b\"]\nvars = { token_url = \"x\",\n scope = \"y\" }\n";
        let (mut values, mut faults) = (Section::default(), Vec::new());
        read(text, &|line| Origin::File { path: "f".into(), line }, &mut values, &mut faults);
        assert_eq!(faults, []);
        let line = |path: &[String]| match values.origin(path) {
            Some(Origin::File { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(&path("server.listen")), 3);
        let scope = ["connections", "a.b", "vars", "scope"].map(str::to_owned);
        assert_eq!(line(&scope), 6);
        assert_eq!(
            line(&["connections", "a.b", "client", "secret"].map(str::to_owned)),
            4,
            "the connection itself"
        );
        assert_eq!(values.connections().collect::<Vec<_>>(), ["a.b"]);
    }

    #[test]
    fn an_unknown_name_is_reported_with_its_line_and_the_nearest_right_name() {
        assert_eq!(
            faults("[server]\nlisen = 1\n"),
            ["jeton.toml:2: server.lisen: there is no such setting; did you mean `listen`?"]
        );
        assert_eq!(
            faults("\n[sever]\nlisten = 1\nx = 2\n"),
            ["jeton.toml:2: sever: there is no such setting; did you mean `server`?"]
        );
        assert_eq!(
            faults("[connections.acme]\nprovder = 'oauth2'\n"),
            ["jeton.toml:2: connections.acme.provder: there is no such setting; did you mean `provider`?"]
        );
    }

    #[test]
    fn a_section_with_a_value_and_a_value_with_settings_are_told_apart() {
        assert_eq!(
            faults("server = 'x'\n"),
            ["jeton.toml:1: server: is a section and takes no value; its settings stand below [server]"]
        );
        assert_eq!(
            faults("[server.listen]\nport = 1\n"),
            [] as [&str; 0],
            "the reader of the setting rejects it"
        );
        assert_eq!(
            faults("[alias]\npath = '/x'\n"),
            ["jeton.toml:1: alias: is a list of tables; write each of them below [[alias]]"]
        );
    }

    #[test]
    fn text_that_is_not_toml_is_reported_with_its_line() {
        let faults = faults("[server]\nlisten = 127.0.0.1:1\n");
        assert!(faults[0].starts_with("jeton.toml:2: this is not TOML: "), "{faults:?}");
    }

    #[test]
    fn a_number_that_is_too_large_is_reported_with_its_line() {
        let faults = faults("[keeper]\n\nwaiters = 99999999999999999999\n");
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("jeton.toml:3: this is not TOML: "), "{faults:?}");
    }

    proptest! {
        #[test]
        fn the_line_of_an_offset_is_one_more_than_the_ends_of_lines_before_it(text in "[a\n]{0,40}") {
            let lines = Lines::of(&text);
            for offset in 0..=text.len() {
                let ends = text[..offset].matches('\n').count();
                prop_assert_eq!(lines.of_offset(offset), 1 + ends);
            }
        }
    }
}
