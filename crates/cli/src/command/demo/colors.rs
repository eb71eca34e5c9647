//! Coloured text that fits a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::env_vars::EnvVars;

/// What may be written to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextStyle {
    /// Colours are allowed.
    pub(super) colour: bool,
    /// The locale has more than ASCII.
    pub(super) unicode: bool,
}

impl TextStyle {
    /// Follows `NO_COLOR` and the locale.
    pub(super) fn of(environment: &EnvVars) -> Self {
        let text = |name: &str| environment.get(name).ok().flatten().filter(|text| !text.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text);
        let unicode = locale.is_some_and(|locale| {
            let locale = locale.reveal().to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { colour: text("NO_COLOR").is_none(), unicode }
    }

    fn cut_mark(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }
}

/// The color of a text, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Plain,
    Strong,
    Faint,
    Good,
    Busy,
    Trouble,
    Bad,
}

impl Color {
    /// The parameter of "select graphic rendition" (ECMA-48).
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Busy => Some("36"),
            Self::Trouble => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// One line of a screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StyledLine(Vec<(Color, String)>);

impl StyledLine {
    /// A line of one colour.
    pub(super) fn of(color: Color, text: impl Into<String>) -> Self {
        Self::default().and(color, text)
    }

    /// Appends a text.
    #[must_use]
    pub(super) fn and(mut self, color: Color, text: impl Into<String>) -> Self {
        self.0.push((color, text.into()));
        self
    }

    /// How many columns it takes.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.width()).sum()
    }

    /// The line as a terminal takes it, cut to `width` columns.
    pub(super) fn render(&self, width: usize, style: TextStyle) -> String {
        let mut left = width;
        let mut rendered = String::new();
        for (color, text) in &self.0 {
            let text = cut(text, left, style);
            left -= text.width();
            match color.code().filter(|_| style.colour && !text.is_empty()) {
                Some(code) => rendered.extend(["\x1b[", code, "m", &text, "\x1b[0m"]),
                None => rendered.push_str(&text),
            }
        }
        rendered
    }
}

/// `text` in at most `width` columns, without control characters; a mark shows that it was cut.
pub(super) fn cut(text: &str, width: usize, style: TextStyle) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.width() <= width {
        return clean;
    }
    let mark = style.cut_mark();
    let Some(room) = width.checked_sub(mark.width()) else { return String::new() };
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or_default();
        taken <= room
    };
    clean.chars().take_while(fits).chain(mark.chars()).collect()
}

/// How a cell is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// `text` in exactly `width` columns, aligned to `side`.
pub(super) fn cell(text: &str, width: usize, side: Side, style: TextStyle) -> String {
    let text = cut(text, width, style);
    let gap = " ".repeat(width.saturating_sub(text.width()));
    match side {
        Side::Left => text + &gap,
        Side::Right => gap + &text,
    }
}

/// A bar of `width` columns: its filled part, `share` of it (0 to 1), and the rest.
pub(super) fn bar(share: f64, width: usize, style: TextStyle) -> (String, String) {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let steps = if style.unicode { PARTS.len() } else { 1 };
    let total = width * steps;
    // Counted in steps, so that a share above 0 is never shown as empty.
    let filled = (0..total).filter(|step| share * as_f64(total) > as_f64(*step)).count();
    let (whole, part) = (filled / steps, filled % steps);
    let (block, blank) = if style.unicode { ("█", "·") } else { ("#", ".") };
    let full = block.repeat(whole) + PARTS[part];
    let rest = blank.repeat(width - whole - usize::from(part > 0));
    (full, rest)
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A count in at most `width` columns: with commas where they fit, in thousands where nothing else does.
pub(super) fn count(number: u64, width: usize) -> String {
    let plain = number.to_string();
    let mut commas = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            commas.push(',');
        }
        commas.push(digit);
    }
    [commas, plain]
        .into_iter()
        .find(|text| text.len() <= width)
        .unwrap_or_else(|| format!("{}k", number / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: TextStyle = TextStyle { colour: false, unicode: true };
    const ASCII: TextStyle = TextStyle { colour: false, unicode: false };

    #[test]
    fn text_is_cut_by_columns_and_not_by_characters() {
        assert_eq!(cut("connection", 10, PLAIN), "connection");
        assert_eq!(cut("connections", 10, PLAIN), "connectio…");
        assert_eq!(cut("connections", 10, ASCII), "connectio~");
        assert_eq!(cut("日本語の名前", 7, PLAIN), "日本語…");
        assert_eq!(cut("日本語の名前", 6, PLAIN), "日本…");
        assert_eq!(cut("abc", 0, PLAIN), "");
        assert_eq!(cut("a\x1b[31m\nb", 9, PLAIN), "a [31m b");
    }

    #[test]
    fn a_cell_takes_its_columns_exactly() {
        assert_eq!(cell("7", 3, Side::Right, PLAIN), "  7");
        assert_eq!(cell("日本", 5, Side::Left, PLAIN), "日本 ");
        assert_eq!(cell("wrong-client", 5, Side::Left, PLAIN), "wron…");
    }

    #[test]
    fn a_line_is_cut_across_its_colours() {
        let line = StyledLine::of(Color::Good, "live").and(Color::Plain, " and well");
        assert_eq!(line.render(80, PLAIN), "live and well");
        assert_eq!(line.render(8, PLAIN), "live an…");
        let colour = TextStyle { colour: true, ..PLAIN };
        assert_eq!(line.render(8, colour), "\x1b[32mlive\x1b[0m an…");
        assert_eq!(line.width(), 13);
    }

    #[test]
    fn a_bar_moves_in_eighths_and_is_never_empty_while_something_is_left() {
        let drawn = |share, style| {
            let (full, rest) = bar(share, 4, style);
            full + &rest
        };
        assert_eq!(drawn(1.0, PLAIN), "████");
        assert_eq!(drawn(0.5, PLAIN), "██··");
        assert_eq!(drawn(0.53, PLAIN), "██▏·");
        assert_eq!(drawn(0.001, PLAIN), "▏···");
        assert_eq!(drawn(0.0, PLAIN), "····");
        assert_eq!(drawn(0.5, ASCII), "##..");
        assert_eq!(drawn(0.001, ASCII), "#...");
    }

    #[test]
    fn counts_have_commas_where_they_fit() {
        assert_eq!(count(7, 6), "7");
        assert_eq!(count(12_345, 6), "12,345");
        assert_eq!(count(123_456, 6), "123456");
        assert_eq!(count(12_345_678, 6), "12345k");
    }

    #[test]
    fn colour_and_characters_are_as_the_environment_says() {
        let style = |variables: &[(&str, &str)]| match variables {
            [one] => TextStyle::of(&EnvVars::from([*one])),
            [one, two] => TextStyle::of(&EnvVars::from([*one, *two])),
            _ => TextStyle::of(&EnvVars::default()),
        };
        assert_eq!(style(&[]), TextStyle { colour: true, unicode: false });
        assert_eq!(style(&[("LANG", "en_US.UTF-8")]), TextStyle { colour: true, unicode: true });
        assert_eq!(
            style(&[("LANG", "C.UTF-8"), ("LC_ALL", "C")]),
            TextStyle { colour: true, unicode: false }
        );
        assert_eq!(style(&[("NO_COLOR", "1")]), TextStyle { colour: false, unicode: false });
        assert_eq!(style(&[("NO_COLOR", "")]), TextStyle { colour: true, unicode: false });
    }
}
