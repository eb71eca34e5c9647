//! Reading a settings file: every value with the line of its key.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::fault::Fault;
use super::origin::Origin;
use super::schema::{self, Kind, Place};
use super::values::{Values, unknown};

/// Adds what a file says to `values`, and what is wrong with it to `faults`. `origin` makes the origin of a line.
pub(crate) fn read(
    text: &str,
    origin: &dyn Fn(usize) -> Origin,
    values: &mut Values,
    faults: &mut Vec<Fault>,
) {
    let parsed = DeTable::parse(text).and_then(|places| Ok((places, text.parse::<Table>()?)));
    match parsed {
        Ok((places, table)) => {
            Document { lines: Lines::of(text), origin, values, faults }.walk(places.get_ref(), table, &[]);
        }
        Err(error) => {
            let line = error.span().map_or(1, |span| Lines::of(text).of_offset(span.start));
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            faults.push(Fault::new(Some(origin(line)), "", format!("this is not TOML: {what}")));
        }
    }
}

struct Document<'a> {
    lines: Lines,
    origin: &'a dyn Fn(usize) -> Origin,
    values: &'a mut Values,
    faults: &'a mut Vec<Fault>,
}

impl Document<'_> {
    fn walk(&mut self, places: &DeTable<'_>, table: Table, above: &[String]) {
        // Both come from one text: every key is in both.
        for (key, value) in table {
            let Some((written, place)) = places.get_key_value(key.as_str()) else { continue };
            let origin = (self.origin)(self.lines.of_offset(written.span().start));
            let mut path = above.to_vec();
            path.push(key);
            self.take(path, value, place, origin);
        }
    }

    fn take(&mut self, path: Vec<String>, value: Value, place: &Spanned<DeValue<'_>>, origin: Origin) {
        let fault = match (schema::place(&path), value, place.get_ref()) {
            (Place::Section, Value::Table(table), DeValue::Table(places)) => {
                self.values.note_section(path.clone(), origin);
                self.walk(places, table, &path);
                return;
            }
            // A list of tables: each has its place in the list for a name, and a line of its own.
            (Place::Section, Value::Array(items), DeValue::Array(places)) if is_list(&path) => {
                for (index, (item, place)) in items.into_iter().zip(places).enumerate() {
                    let origin = (self.origin)(self.lines.of_offset(place.span().start));
                    let path = path.iter().cloned().chain([index.to_string()]).collect();
                    self.faults.extend(self.values.set(path, item, origin).err());
                }
                return;
            }
            (Place::Unknown, ..) => Err(unknown(&path, origin)),
            (_, value, _) => self.values.set(path, value, origin),
        };
        self.faults.extend(fault.err());
    }
}

/// Whether what is below `path` is a list of tables.
fn is_list(path: &[String]) -> bool {
    let first: Vec<String> = path.iter().cloned().chain(["0".to_owned()]).collect();
    schema::place(&first) == Place::Setting(Kind::Entry)
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
        let origin = |line| Origin::File { path: "jeton.toml".to_owned(), line };
        read(text, &origin, &mut values, &mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "[server]\n# where\nlisten = \"127.0.0.1:1\"\n[connections.\"a.b\"]\nvars = { token_url = \"x\",\n scope = \"y\" }\n";
        let (mut values, mut faults) = (Values::default(), Vec::new());
        read(text, &|line| Origin::File { path: "f".to_owned(), line }, &mut values, &mut faults);
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
        assert!(values.connections().contains("a.b"));
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
