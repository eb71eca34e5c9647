//! The file `.env` of the working directory: variables that count as if they were in the environment.
//!
//! Lines of `NAME=VALUE`, with or without `export` before them. A value ends at its line, or at ` #`; in quotes it may hold
//! both, and more than one line. In double quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` stand for one character. Nothing is put
//! in the place of `$NAME`: a secret may hold a `$`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use jeton_core::secret::Secret;

/// A variable of the file.
pub(crate) struct EnvLine {
    pub(crate) name: String,
    pub(crate) value: Secret,
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
}

/// What cannot be read, and in which line. It repeats nothing of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvFault {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// What a file says, and what is wrong with it. A file that is not there says nothing.
pub(crate) fn read(file: &Path) -> (Vec<EnvLine>, Vec<EnvFault>) {
    match fs::read_to_string(file) {
        Ok(text) => parse(&text),
        // Python calls the folder of a virtual environment like this.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
            (Vec::new(), Vec::new())
        }
        Err(error) => {
            let problem = format!("cannot be read: {error}; let this user read it, or remove it");
            (Vec::new(), vec![EnvFault { line: 1, problem }])
        }
    }
}

fn parse(text: &str) -> (Vec<EnvLine>, Vec<EnvFault>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let (read, after) = variable(first.trim(), rest, after);
        match read {
            Ok(Some((name, value))) => found.push(EnvLine { name, value, line }),
            Ok(None) => {}
            Err(problem) => faults.push(EnvFault { line, problem: problem.to_owned() }),
        }
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    (found, faults)
}

/// A name and its value, if the line has them.
type ReadLine = Result<Option<(String, Secret)>, &'static str>;

/// The variable of a line, and what follows it. `rest` begins with the line, and `after` with the next one.
fn variable<'t>(line: &str, rest: &'t str, after: &'t str) -> (ReadLine, &'t str) {
    if line.is_empty() || line.starts_with('#') {
        return (Ok(None), after);
    }
    let is_name =
        |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "\"'#".contains(c));
    let name = line.split_once('=').map(|(name, _)| name.trim());
    let name =
        name.map(|name| name.strip_prefix("export ").map_or(name, str::trim)).filter(|name| is_name(name));
    let (Some(name), Some((_, value))) = (name, rest.split_once('=')) else {
        return (Err("is no variable; write NAME=VALUE, or `#` before a comment"), after);
    };
    let value = value.trim_start_matches([' ', '\t']);
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let value = line.split_once('=').map_or("", |(_, value)| value);
        let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
        return (Ok(Some((name.to_owned(), Secret::new(value[..end].trim())))), after);
    };
    let Some((text, behind)) = unquote(&value[1..], quote) else {
        return (
            Err(
                "has a quote that is never closed; close it, or write `\\` before a quote that belongs to the value",
            ),
            after,
        );
    };
    let (behind, after) = behind.split_once('\n').unwrap_or((behind, ""));
    let behind = behind.trim();
    if !behind.is_empty() && !behind.starts_with('#') {
        return (Err("goes on behind the quote that ends its value; put all of the value in quotes"), after);
    }
    (Ok(Some((name.to_owned(), text))), after)
}

/// The text up to `quote`, and what follows that.
fn unquote(text: &str, quote: char) -> Option<(Secret, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quote == '"' => {
                let (_, escaped) = characters.next()?;
                match escaped {
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    '"' | '\\' | '$' => value.push(escaped),
                    other => value.extend(['\\', other]),
                }
            }
            character if character == quote => return Some((Secret::from(value), &text[at + 1..])),
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, String, usize)> {
        let (found, faults) = parse(text);
        assert_eq!(faults, [], "{text:?}");
        found.into_iter().map(|line| (line.name, line.value.reveal().to_owned(), line.line)).collect()
    }

    #[test]
    fn a_value_is_what_a_shell_or_php_would_take_but_a_dollar_sign_stays() {
        for (line, value) in [
            ("A=b", "b"),
            ("A = b ", "b"),
            ("export A=b\r", "b"),
            ("A=", ""),
            ("A=\"\"", ""),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=b=c", "b=c"),
            ("A=pa$$word${x}$1", "pa$$word${x}$1"),
            ("A='b # c' # comment", "b # c"),
            (r#"A="b\n\"c\" \$d \\ \x""#, "b\n\"c\" $d \\ \\x"),
            (r"A='b\n'", r"b\n"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=\u{645}\u{631}\u{62d}\u{628}\u{627}", "\u{645}\u{631}\u{62d}\u{628}\u{627}"),
        ] {
            assert_eq!(values(line), [("A".to_owned(), value.to_owned(), 1)], "{line:?}");
        }
        let text = "\u{feff}# one\n\nA='1\n2'\nB=3\n  # end";
        assert_eq!(
            values(text),
            [("A".to_owned(), "1\n2".to_owned(), 3), ("B".to_owned(), "3".to_owned(), 5)]
        );
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_and_the_others_count() {
        let text = "A=1\nhush: secret\n=2\nB=\"x\" y\nC='open\nD=4";
        let (found, faults) = parse(text);
        let names: Vec<_> = found.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["A", "D"]);
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert!(faults.iter().all(|fault| !fault.problem.contains("hush")));
    }

    #[test]
    fn a_file_that_is_not_there_says_nothing_and_one_that_cannot_be_read_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let read_of = |name: &str| read(&folder.path().join(name));
        assert!(matches!(read_of("none"), (found, faults) if found.is_empty() && faults.is_empty()));
        assert!(matches!(read(folder.path()), (found, faults) if found.is_empty() && faults.is_empty()));
        fs::write(folder.path().join("latin"), b"A=\xff").unwrap();
        assert!(read_of("latin").1[0].problem.contains("cannot be read"));
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_as_it_was(value in "\\PC*", name in "[A-Z_]{1,9}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            prop_assert_eq!(values(&format!("{name}=\"{escaped}\" # x\n")), [(name, value, 1)]);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~\n='\"#\\\\]{0,60}") {
            let _ = parse(&text);
        }
    }
}
