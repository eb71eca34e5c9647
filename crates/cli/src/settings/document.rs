//! Reading a settings file: every value with the line of its key.

use serde::Deserialize as _;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::fault::SettingFault;
use super::origin::Origin;
use super::schema::{self, Kind, PathKind};
use super::values::{Section, SettingValue, Values, misplaced, unknown};

/// Adds what a file says to `values`, and what is wrong with it to `faults`. `origin` makes the origin of a line.
pub(crate) fn read(
    text: &str,
    origin: &dyn Fn(usize) -> Origin,
    values: &mut Values,
    faults: &mut Vec<SettingFault>,
) {
    let lines = Lines::of(text);
    match DeTable::parse(text) {
        Ok(table) => {
            let mut document = Document { lines, origin, path: Vec::new(), faults };
            document.walk(table.into_inner(), values.root_mut());
        }
        Err(error) => {
            let line = error.span().map_or(1, |span| lines.of_offset(span.start));
            faults.push(no_toml(&error, origin(line)));
        }
    }
}

fn no_toml(error: &toml::de::Error, origin: Origin) -> SettingFault {
    let what = error.message().lines().collect::<Vec<_>>().join(", ");
    SettingFault::new(Some(origin), "", format!("this is not TOML: {what}"))
}

struct Document<'a> {
    lines: Lines,
    origin: &'a dyn Fn(usize) -> Origin,
    /// Where the reader is.
    path: Vec<String>,
    faults: &'a mut Vec<SettingFault>,
}

impl Document<'_> {
    /// Takes everything of a table into its section.
    fn walk(&mut self, table: DeTable<'_>, section: &mut Section) {
        for (key, written) in table {
            let origin = self.origin_of(key.span().start);
            self.path.push(key.into_inner().into_owned());
            let value = self.take(written, &origin, section);
            if let (Some(key), Some(value)) = (self.path.pop(), value) {
                section.put(key, SettingValue { value, origin });
            }
        }
    }

    /// The value of a setting; what is no setting is taken into the section, or is a fault.
    fn take(
        &mut self,
        written: Spanned<DeValue<'_>>,
        origin: &Origin,
        section: &mut Section,
    ) -> Option<Value> {
        let place = schema::place(&self.path);
        let key = self.path.last().map(String::as_str).unwrap_or_default();
        match (place, written.get_ref()) {
            (PathKind::Setting(_), _) => return self.value(written, origin),
            (PathKind::Section, DeValue::Table(_)) => {
                let below = section.note(key, origin.clone());
                if let DeValue::Table(table) = written.into_inner() {
                    self.walk(table, below);
                }
            }
            // A list of tables: each has its place in the list for a name, and a line of its own.
            (PathKind::Section, DeValue::Array(_)) if is_list(&self.path) => {
                let below = section.note(key, origin.clone());
                if let DeValue::Array(items) = written.into_inner() {
                    self.list(items, below);
                }
            }
            (PathKind::Section, _) => self.faults.push(misplaced(&self.path, origin.clone())),
            (PathKind::Unknown, _) => self.faults.push(unknown(&self.path, origin.clone())),
        }
        None
    }

    fn list(&mut self, items: DeArray<'_>, section: &mut Section) {
        for (index, item) in items.into_iter().enumerate() {
            let origin = self.origin_of(item.span().start);
            if let Some(value) = self.value(item, &origin) {
                section.put(index.to_string(), SettingValue { value, origin });
            }
        }
    }

    fn value(&mut self, written: Spanned<DeValue<'_>>, origin: &Origin) -> Option<Value> {
        // Nearly all of them, and quickly taken.
        if let DeValue::String(text) = written.get_ref() {
            return Some(Value::String(text.clone().into_owned()));
        }
        let value = Value::deserialize(ValueDeserializer::from(written));
        // It may have the form of TOML, and no value that can be held: a number that is too large.
        value.map_err(|error| self.faults.push(no_toml(&error, origin.clone()))).ok()
    }

    fn origin_of(&self, offset: usize) -> Origin {
        (self.origin)(self.lines.of_offset(offset))
    }
}

/// Whether what is below `path` is a list of tables.
fn is_list(path: &[String]) -> bool {
    let first: Vec<String> = path.iter().cloned().chain(["0".to_owned()]).collect();
    schema::place(&first) == PathKind::Setting(Kind::Entry)
}

/// Where the lines of a text end, so that a file with very many keys is not read from its beginning for each of them.
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
        let (mut values, mut faults) = (Values::default(), Vec::new());
        let origin = |line| Origin::File { path: "jeton.toml".into(), line };
        read(text, &origin, &mut values, &mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "[server]\n# where\nlisten = \"127.0.0.1:1\"\n[connections.\"a.b\"]\nvars = { token_url = \"x\",\n scope = \"y\" }\n";
        let (mut values, mut faults) = (Values::default(), Vec::new());
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
    fn unknown_names_say_where_they_stand_and_what_was_meant() {
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
            "its reader says what it expected"
        );
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_line() {
        let faults = faults("[server]\nlisten = 127.0.0.1:1\n");
        assert!(faults[0].starts_with("jeton.toml:2: this is not TOML: "), "{faults:?}");
    }

    #[test]
    fn a_number_that_no_setting_can_hold_is_said_with_its_line() {
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
