//! Lays the screen out: title, commands to type, table, totals, events, legend.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use jeton_core::keep::connection::Condition;
use jeton_core::time::whole_seconds;

use super::events::EventLevel;
use super::providers::{DEVIATIONS, TOKEN_LIFE};
use super::run::RunInfo;
use super::state::{ConnectionRow, DemoState};

const PLAIN: Style = Style::new();
const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BUSY: Style = AnsiColor::Cyan.on_default();
const TROUBLE: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// From this many rows on, there is room for commands to type and for the legend.
const HIGH: usize = 23;

/// From this many columns on, the table says how each provider behaves.
const WIDE: usize = 160;

/// From this many columns on, the last event of a connection is a sentence: most of them fit.
const SENTENCE: usize = 53;

const LEGEND: [&str; 4] = [
    "errors: callers who got no token though there could be one. doomed and",
    "wrong-client can have none, and say why. dead: dead tokens that were served.",
    DEVIATIONS[0],
    DEVIATIONS[1],
];

/// How long the narrow table shows the same in its last column.
const TURN: Duration = Duration::from_secs(4);

/// One line in pieces of different colours. Each character takes one column.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    fn of(style: Style, text: impl Into<String>) -> Self {
        Self::default().and(style, text)
    }

    /// Appends a text.
    fn and(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// The line as a terminal takes it, cut to `width` columns.
    pub(super) fn render(&self, width: usize, colour: bool) -> String {
        let mut left = width;
        let render = |(style, text): &(Style, String)| {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            if colour { format!("{style}{text}{style:#}") } else { text }
        };
        self.0.iter().map(render).collect()
    }
}

/// The lines of a terminal, at most `rows`. The last ones are missing where it is too small.
pub(super) fn frame(info: &RunInfo, state: &DemoState, width: usize, rows: usize) -> Vec<Line> {
    let mut lines = vec![title(info, state, width)];
    let mut legend = Vec::new();
    if rows >= HIGH {
        lines.extend(hints(info, width));
        legend.extend(LEGEND.map(|text| Line::of(FAINT, format!(" {text}"))));
    }
    // Every third turn, in a table that has no room for both.
    let shows_provider = (state.elapsed.as_secs() / TURN.as_secs()) % 3 == 1;
    lines.extend(table(&state.rows, width, shows_provider));
    lines.extend(totals(state));
    let room = rows.saturating_sub(lines.len() + legend.len());
    let shown = if room > 5 { room - 1 } else { room };
    lines.extend(state.events.iter().skip(state.events.len().saturating_sub(shown)).map(|event| {
        Line::of(FAINT, format!(" {:>5}  ", clock(event.at.since(info.began_at))))
            .and(PLAIN, format!("{:<12}  ", event.connection))
            .and(level_style(event.level), &event.long)
    }));
    // The legend stays at the bottom.
    lines.resize(rows.saturating_sub(legend.len()), Line::default());
    lines.extend(legend);
    lines
}

fn title(info: &RunInfo, state: &DemoState, width: usize) -> Line {
    let length = info.length.map(|length| format!(" of {}", clock(length))).unwrap_or_default();
    let run = format!("  {}  {}{length}, seed {}", info.base_url, clock(state.elapsed), info.seed);
    let (style, end) =
        if state.ending { (BUSY, "ending: refreshes finish") } else { (FAINT, "Ctrl-C ends it") };
    let room = width.saturating_sub(" jeton demo".len() + run.len()).max(end.len() + 2);
    Line::of(STRONG, " jeton demo").and(PLAIN, run).and(style, format!("{end:>room$}"))
}

/// Minutes and seconds.
pub(super) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Commands to type. One that is too wide goes on in a line of its own, as a shell takes it.
fn hints(info: &RunInfo, width: usize) -> Vec<Line> {
    let head = format!(" Type in another terminal{}:", info.port_note);
    let mut lines = vec![Line::default(), Line::of(FAINT, head)];
    for hint in &info.hints {
        match hint.split_once(" --config ") {
            Some((command, file)) if hint.len() + 3 > width => {
                lines.push(Line::of(BUSY, format!("   {command} \\")));
                lines.push(Line::of(BUSY, format!("     --config {file}")));
            }
            _ => lines.push(Line::of(BUSY, format!("   {hint}"))),
        }
    }
    lines.push(Line::default());
    lines
}

/// The table: a head, and a row for each connection. Bars and the last event take the columns that are free. Where those are few,
/// the last column has the last event, or `shows_provider`.
pub(super) fn table(rows: &[ConnectionRow], width: usize, shows_provider: bool) -> Vec<Line> {
    let about = if width < WIDE { 0 } else { 20 };
    let life_width = 12 + (width.saturating_sub(80) / 4).min(12);
    let room = width.saturating_sub(51 + about + life_width);
    let shows_provider = shows_provider && about == 0;
    let last = if shows_provider { "ITS PROVIDER" } else { "LAST EVENT" };
    let head = format!(
        " {:<12}{:<about$.about$}  {:<11}  {:<life_width$} {:>4}  {:>3} {:>6} {:>3}  {last}",
        "CONNECTION", "  ITS PROVIDER", "STATE", "TOKEN LIFE", "NEXT", "GEN", "SERVED", "ERR"
    );
    let mut lines = vec![Line::of(FAINT, head)];
    for row in rows {
        let line = Line::of(STRONG, format!(" {:<12}", row.name))
            .and(FAINT, format!("{:<about$.about$}", format!("  {}", row.about)))
            .and(state_style(row.condition), format!("  {:<11}  ", row.condition.as_str()));
        let line = match row.left {
            Some(left) => {
                let (full, rest) = bar(left, life_width - 4);
                let style = if left > TOKEN_LIFE / 6 { GOOD } else { TROUBLE };
                line.and(style, full).and(FAINT, rest).and(PLAIN, format!("{:>4}", seconds(left)))
            }
            None => line.and(FAINT, format!("{:<life_width$}", "no token")),
        };
        let next = match row.next {
            Some(next) if next.as_secs() == 0 => "now".to_owned(),
            Some(next) => seconds(next),
            None => "-".to_owned(),
        };
        let served =
            if row.served < 100_000 { count(row.served) } else { format!("{}k", row.served / 1_000) };
        let (style, last) = match &row.last {
            _ if shows_provider => (FAINT, row.about),
            Some(event) if room < SENTENCE => (level_style(event.level), &*event.short),
            Some(event) => (level_style(event.level), &*event.long),
            None => (FAINT, row.about),
        };
        let line = line
            .and(PLAIN, format!(" {next:>4}  {:>3} {served:>6}", row.generation))
            .and(zero_style(row.errors), format!(" {:>3}  ", row.errors))
            .and(style, last);
        lines.push(line);
    }
    lines
}

fn state_style(condition: Condition) -> Style {
    match condition {
        Condition::Live => GOOD,
        Condition::Refreshing => BUSY,
        Condition::Dead => BAD,
        _ => TROUBLE,
    }
}

fn level_style(level: EventLevel) -> Style {
    match level {
        EventLevel::Good => PLAIN,
        EventLevel::Trouble => TROUBLE,
        EventLevel::Bad => BAD,
    }
}

/// The style of a number that should be zero.
fn zero_style(number: u64) -> Style {
    if number == 0 { GOOD } else { BAD }
}

/// A bar of `width` columns for what is left of a token's life: its filled part and the rest.
fn bar(left: Duration, width: usize) -> (String, String) {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    // Rounded up, so that a token that lives is never shown as dead.
    let eighths = (left.as_millis() * 8 * width as u128).div_ceil(TOKEN_LIFE.as_millis());
    let eighths = usize::try_from(eighths).map_or(8 * width, |eighths| eighths.min(8 * width));
    let full = "█".repeat(eighths / 8) + PARTS[eighths % 8];
    (full, "·".repeat(width - eighths.div_ceil(8)))
}

/// Whole seconds, rounded up; minutes from 100 s on.
fn seconds(duration: Duration) -> String {
    let seconds = whole_seconds(duration);
    if seconds < 100 { format!("{seconds}s") } else { format!("{}m", seconds / 60) }
}

/// A number with commas.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The counts of the whole run, in columns.
fn totals(state: &DemoState) -> [Line; 4] {
    let (calls, tokens) = (&state.calls, &state.tokens);
    let line = |name: &str, counts: [(Style, u64, &str); 4]| {
        let start = Line::of(FAINT, format!(" {name:<8}"));
        counts.into_iter().zip([(7, 8), (6, 14), (3, 8), (3, 0)]).fold(
            start,
            |line, ((style, number, word), (digits, letters))| {
                line.and(style, format!("{:>digits$}", count(number)))
                    .and(FAINT, format!(" {word:<letters$}"))
            },
        )
    };
    let calls = [
        (PLAIN, calls.served, "served"),
        (PLAIN, calls.refused, "refused"),
        (zero_style(calls.errors), calls.errors, "errors"),
        (zero_style(calls.dead), calls.dead, "dead"),
    ];
    let tokens = [
        (PLAIN, tokens.requests, "requests"),
        (PLAIN, tokens.accepted, "accepted"),
        (zero_style(tokens.lost), tokens.lost, "lost"),
        (PLAIN, tokens.lost_upstream, "lost upstream"),
    ];
    [Line::default(), line("callers", calls), line("tokens", tokens), Line::default()]
}

#[cfg(test)]
mod tests {
    use jeton_core::time::Timestamp;

    use super::super::events::Event;
    use super::super::providers::CallCounts;
    use super::super::state::TokenCounts;
    use super::*;

    fn event(at: i64, connection: &str, long: &str) -> Event {
        Event {
            at: Timestamp::from_secs(1_000 + at),
            connection: connection.to_owned(),
            short: "HTTP 502".to_owned(),
            long: long.to_owned(),
            level: EventLevel::Trouble,
        }
    }

    fn shown(columns: usize, rows: usize, colour: bool) -> Vec<String> {
        shown_at(Duration::from_secs(75), columns, rows, colour)
    }

    fn shown_at(elapsed: Duration, columns: usize, rows: usize, colour: bool) -> Vec<String> {
        let row = |name: &str, condition, left: Option<u64>| ConnectionRow {
            name: name.to_owned(),
            about: "answers at once",
            condition,
            left: left.map(Duration::from_secs),
            next: left.map(|left| Duration::from_secs(left.saturating_sub(6))),
            generation: 12,
            last: Some(event(3, name, "refresh failed: the provider could not answer now (HTTP 502)")),
            served: 12_345,
            errors: 0,
        };
        let state = DemoState {
            elapsed,
            rows: vec![
                row("calm", Condition::Live, Some(24)),
                row("slow", Condition::Refreshing, Some(6)),
                row("flaky", Condition::Interrupted, Some(15)),
                row("doomed", Condition::Dead, None),
            ],
            events: [event(2, "flaky", "the first event"), event(62, "flaky", "the last event")].into(),
            calls: CallCounts { served: 123_456, refused: 402, ..CallCounts::default() },
            tokens: TokenCounts { requests: 34, accepted: 22, lost_upstream: 1, lost: 0 },
            ..DemoState::default()
        };
        let info = RunInfo {
            base_url: "http://127.0.0.1:9095".to_owned(),
            port_note: "",
            hints: [
                "curl -sH X-API-KEY:demo http://127.0.0.1:9095/api/v1/connections/calm/token".to_owned(),
                "target/release/jeton status --config /tmp/jeton-demo-abcdef/jeton.toml".to_owned(),
                "/home/someone/jeton/target/release/jeton logs --config /tmp/jeton-demo-abcdef/jeton.toml"
                    .to_owned(),
            ],
            seed: 7,
            began_at: Timestamp::from_secs(1_000),
            length: Some(Duration::from_mins(2)),
        };
        frame(&info, &state, columns, rows).iter().map(|line| line.render(columns, colour)).collect()
    }

    #[test]
    fn eighty_columns_hold_every_column_of_the_table() {
        let frame = shown(79, 24, false);
        let text = frame.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n");
        let expected = " jeton demo  http://127.0.0.1:9095  1:15 of 2:00, seed 7         Ctrl-C ends it

 Type in another terminal:
   curl -sH X-API-KEY:demo http://127.0.0.1:9095/api/v1/connections/calm/token
   target/release/jeton status --config /tmp/jeton-demo-abcdef/jeton.toml
   /home/someone/jeton/target/release/jeton logs \\
     --config /tmp/jeton-demo-abcdef/jeton.toml

 CONNECTION    STATE        TOKEN LIFE   NEXT  GEN SERVED ERR  LAST EVENT
 calm          live         ██████▌· 24s  18s   12 12,345   0  HTTP 502
 slow          refreshing   █▋······  6s  now   12 12,345   0  HTTP 502
 flaky         interrupted  ████···· 15s   9s   12 12,345   0  HTTP 502
 doomed        dead         no token        -   12 12,345   0  HTTP 502

 callers 123,456 served     402 refused         0 errors    0 dead
 tokens       34 requests    22 accepted        0 lost      1 lost upstream

  0:02  flaky         the first event
  1:02  flaky         the last event

 errors: callers who got no token though there could be one. doomed and
 wrong-client can have none, and say why. dead: dead tokens that were served.
 not the defaults: flaky ambiguous_5xx = false, unknown_hold = 2s; lossy
 reuse_grace = 20s; doomed confirm_dead = 3s; margins of 8 to 15 s.";
        assert_eq!(text, expected);
    }

    #[test]
    fn eighty_columns_say_by_turns_what_each_provider_does() {
        let turns: Vec<_> = [0, 4, 8, 12, 16].map(Duration::from_secs).into();
        let said = turns.iter().map(|elapsed| shown_at(*elapsed, 80, 24, false).join("\n"));
        let said: Vec<bool> = said
            .map(|text| {
                let provider = text.contains("ITS PROVIDER") && text.contains("answers at once");
                assert_eq!(text.contains("LAST EVENT"), !provider, "{text}");
                provider
            })
            .collect();
        assert_eq!(said, [false, true, false, false, true]);
        for scenario in &crate::command::demo::providers::SCENARIOS {
            assert!(scenario.about.len() <= 17, "{}", scenario.about);
        }
    }

    #[test]
    fn a_frame_fits_its_terminal() {
        for columns in [0, 1, 20, 40, 79, 80, 100, 159, 160, 300] {
            for rows in [1, 2, 6, 12, 22, 23, 24, 60] {
                let frame = shown(columns, rows, false);
                assert!(frame.len() <= rows, "{columns}x{rows}: {} lines", frame.len());
                assert!(
                    frame.iter().all(|line| line.chars().count() <= columns),
                    "{columns}x{rows}: {frame:?}"
                );
            }
        }
        let wide = shown(200, 50, true).join("\n");
        for text in ["ITS PROVIDER", "answers at once", "\x1b[31m  dead", "could not answer now (HTTP 502)"] {
            assert!(wide.contains(text), "{wide}");
        }
        let small = shown(80, 6, false);
        assert!(small[1].contains("CONNECTION") && small[5].contains("doomed"), "{small:?}");
    }
}
