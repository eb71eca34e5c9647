//! Patterns with stars, for names and for paths.

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// This byte.
    Byte(u8),
    /// Any run of bytes without `/`, the empty one too.
    Within,
    /// Any run of bytes.
    Across,
}

/// A pattern: `*` is any run of characters within one segment, `**` crosses segments.
///
/// A name has no segments, so that both mean the same there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    text: String,
    steps: Vec<Step>,
}

impl Glob {
    /// The pattern of that text. Every text is one.
    pub fn new(text: &str) -> Self {
        let mut steps = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, steps.last_mut()) {
                (b'*', Some(last @ (Step::Within | Step::Across))) => *last = Step::Across,
                (b'*', _) => steps.push(Step::Within),
                (byte, _) => steps.push(Step::Byte(byte)),
            }
        }
        Self { text: text.to_owned(), steps }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it covers the whole of `text`. Takes steps in the product of both lengths, whatever the pattern.
    pub fn covers(&self, text: &str) -> bool {
        let end = self.steps.len();
        let mut reached = vec![false; end + 1];
        reached[0] = true;
        self.pass_stars(&mut reached);
        for byte in text.bytes() {
            let mut next = vec![false; end + 1];
            for (at, step) in self.steps.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match step {
                    Step::Byte(wanted) if *wanted == byte => next[at + 1] = true,
                    Step::Within if byte != b'/' => next[at] = true,
                    Step::Across => next[at] = true,
                    _ => {}
                }
            }
            self.pass_stars(&mut next);
            reached = next;
        }
        reached[end]
    }

    /// A star may stand for nothing.
    fn pass_stars(&self, reached: &mut [bool]) {
        for (at, step) in self.steps.iter().enumerate() {
            if reached[at] && !matches!(step, Step::Byte(_)) {
                reached[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stays_in_its_segment_and_two_cross() {
        for (pattern, text, covered) in [
            ("acme", "acme", true),
            ("acme", "acme2", false),
            ("acme*", "acme-eu", true),
            ("*-eu", "acme-eu", true),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("/api/*/leads", "/api/v4/leads", true),
            ("/api/*/leads", "/api/v4/x/leads", false),
            ("/api/**/leads", "/api/v4/x/leads", true),
            ("/api/**", "/api/", true),
            ("/api/**", "/api", false),
            ("/api/***", "/api/a/b", true),
            ("/a*b/**/c", "/axb/1/2/c", true),
            ("/a*b/**/c", "/a/b/1/c", false),
        ] {
            assert_eq!(Glob::new(pattern).covers(text), covered, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_without_stars_covers_itself_alone(one in "[a-z/.]{0,20}", two in "[a-z/.]{0,20}") {
            let glob = Glob::new(&one);
            prop_assert!(glob.covers(&one));
            prop_assert_eq!(glob.covers(&two), one == two);
        }

        #[test]
        fn a_star_may_replace_any_run_within_a_segment(
            before in "[a-z/]{0,8}", run in "[a-z/]{0,8}", after in "[a-z/]{0,8}"
        ) {
            let text = format!("{before}{run}{after}");
            let (one, two) = (format!("{before}*{after}"), format!("{before}**{after}"));
            prop_assert!(Glob::new(&two).covers(&text));
            prop_assert!(run.contains('/') || Glob::new(&one).covers(&text));
        }

        /// The slow way, which is plainly right.
        #[test]
        fn it_agrees_with_trying_everything(pattern in "[a*/]{0,7}", text in "[a/]{0,7}") {
            fn tried(pattern: &[u8], text: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'*', b'*', rest @ ..] => {
                        let rest = &rest[rest.iter().take_while(|byte| **byte == b'*').count()..];
                        (0..=text.len()).any(|run| tried(rest, &text[run..]))
                    }
                    [b'*', rest @ ..] => (0..=text.len())
                        .take_while(|run| !text[..*run].contains(&b'/'))
                        .any(|run| tried(rest, &text[run..])),
                    [byte, rest @ ..] => text.first() == Some(byte) && tried(rest, &text[1..]),
                }
            }
            prop_assert_eq!(Glob::new(&pattern).covers(&text), tried(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
