//! Text of others on a terminal: without what moves its cursor, sets its title, or turns the direction of writing round.

use std::borrow::Cow;

/// The text with every character that a terminal would obey written as its escape, such as `\\u{1b}`. Line ends and tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'))
}

/// The same, in one line: a line end could begin a sentence that looks like ours.
pub(crate) fn single_line(text: &str) -> String {
    escape(text, |c| is_obeyed(c) && c != '\n').replace('\n', " ")
}

/// Whether a terminal would obey this text.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.contains(is_obeyed)
}

fn escape(text: &str, is_unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unwanted) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unwanted(c) { clean.extend(c.escape_unicode()) } else { clean.push(c) }
    }
    clean.into()
}

/// Control characters, separators of lines and paragraphs, and marks of direction (UAX 9).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_escape() {
        assert_eq!(printable("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(printable("a\u{202e}b\u{9b}1m"), "a\\u{202e}b\\u{9b}1m");
        assert_eq!(printable("two\n\tlines, Ünïcode 名"), "two\n\tlines, Ünïcode 名");
        assert_eq!(single_line("a\nerror: b\r"), "a error: b\\u{d}");
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_obey(text in any::<String>()) {
            prop_assert!(is_printable(&single_line(&text)));
            prop_assert!(is_printable(&printable(&text).replace(['\n', '\t'], "")));
        }
    }
}
