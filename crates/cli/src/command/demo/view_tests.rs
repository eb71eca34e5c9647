use jeton_core::keep::connection::Condition;

use super::super::events::EventLevel;
use super::super::scenarios::SCENARIOS;
use super::super::watch::ConnectionRow;
use super::*;

const PLAIN: TextStyle = TextStyle { colour: false, unicode: true };

fn event(at: i64, connection: &str, short: &str, long: &str) -> Event {
    Event {
        at: Timestamp::from_secs(1_000 + at),
        connection: connection.to_owned(),
        short: short.to_owned(),
        long: long.to_owned(),
        level: EventLevel::Trouble,
    }
}

fn observation() -> Observation {
    let row = |number: usize, name: &str, condition, left: Option<u64>| ConnectionRow {
        name: name.to_owned(),
        about: SCENARIOS[number].about,
        condition,
        left: left.map(Duration::from_secs),
        share: left.map_or(0.0, |left| f64::from(u32::try_from(left).unwrap()) / 30.0),
        next: left.map(|left| Duration::from_secs(left.saturating_sub(6))),
        generation: 12,
        last: Some(event(3, name, "502: tries again", "502 before acceptance: nothing spent, tried again")),
        served: 12_345,
        errors: 0,
    };
    Observation {
        rows: vec![
            row(0, "calm", Condition::Live, Some(24)),
            row(1, "slow", Condition::Refreshing, Some(6)),
            row(2, "a-connection-with-a-very-long-name", Condition::Interrupted, Some(15)),
            row(5, "doomed", Condition::Dead, None),
        ],
        new_events: Vec::new(),
        calls: CallCounts { served: 123_456, told: 402, ..CallCounts::default() },
        tokens: TokenCounts { requests: 34, accepted: 22, lost_upstream: 1, lost: 0 },
    }
}

fn shown(columns: usize, rows: usize, style: TextStyle) -> Vec<String> {
    let (observation, events) = (
        observation(),
        VecDeque::from([
            event(2, "flaky", "old", "the first event"),
            event(62, "flaky", "new", "the last event"),
        ]),
    );
    let hints = [
        vec![
            "curl -sH X-API-KEY:demo".to_owned(),
            "http://127.0.0.1:9095/api/v1/connections/calm/token".to_owned(),
        ],
        vec![
            "target/release/jeton status".to_owned(),
            "--config /tmp/jeton-demo-abcdef/jeton.toml".to_owned(),
        ],
    ];
    let data = ViewData {
        base_url: "http://127.0.0.1:9095".to_owned(),
        port_note: None,
        hints: &hints,
        seed: 7,
        began_at: Timestamp::from_secs(1_000),
        elapsed: Duration::from_secs(75),
        length: Some(Duration::from_mins(2)),
        ending: false,
        observation: &observation,
        events: &events,
    };
    frame(&data, Size { columns, rows }, style)
}

#[test]
fn eighty_columns_hold_every_column_of_the_table() {
    let frame = shown(80, 24, PLAIN);
    assert_eq!(frame.len(), 24);
    let text = frame.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n");
    let expected = " jeton demo  http://127.0.0.1:9095  1:15 of 2:00, seed 7         Ctrl-C ends it

 Type in another terminal:
   curl -sH X-API-KEY:demo http://127.0.0.1:9095/api/v1/connections/calm/token
   target/release/jeton status --config /tmp/jeton-demo-abcdef/jeton.toml

 CONNECTION    STATE        TOKEN LIFE   NEXT  GEN SERVED ERR  LAST EVENT
 calm          live         ██████▌· 24s  18s   12 12,345   0  502: tries again
 slow          refreshing   █▋······  6s  now   12 12,345   0  502: tries again
 a-connectio…  interrupted  ████···· 15s   9s   12 12,345   0  502: tries again
 doomed        dead         no token        -   12 12,345   0  502: tries again

 callers 123,456 served     402 told why not    0 errors    0 dead
 tokens       34 requests    22 accepted        0 lost      1 lost upstream

  0:02  flaky         the first event
  1:02  flaky         the last event




 errors: callers who got no token though there could be one. doomed and
 wrong-client can have none, and say why. dead: dead tokens that were served.
 flaky sets ambiguous_5xx = false; lossy's provider has 20 s of reuse_grace.";
    assert_eq!(text, expected);
}

#[test]
fn two_hundred_columns_say_what_each_provider_does_and_tell_events_in_sentences() {
    let frame = shown(200, 50, PLAIN);
    assert_eq!(frame.len(), 50);
    let head = frame.iter().find(|line| line.contains("CONNECTION")).unwrap();
    for word in [
        "ITS PROVIDER",
        "STATE",
        "TOKEN LIFE",
        "NEXT REFRESH",
        "GENERATION",
        "CALLERS SERVED",
        "ERRORS",
        "LAST EVENT",
    ] {
        assert!(head.contains(word), "{head}");
    }
    let row = frame.iter().find(|line| line.starts_with(" calm")).unwrap();
    assert!(row.contains("answers at once"), "{row}");
    assert!(row.contains("████████████████···· 24s"), "{row}");
    assert!(row.trim_end().ends_with("502 before acceptance: nothing spent, tried again"), "{row}");
}

#[test]
fn no_frame_is_larger_than_its_terminal() {
    for columns in [1, 20, 40, 79, 80, 100, 139, 140, 180, 300] {
        for rows in [1, 2, 6, 12, 23, 24, 60] {
            let frame = shown(columns, rows, PLAIN);
            assert!(frame.len() <= rows, "{columns}x{rows}: {} lines", frame.len());
            for line in &frame {
                assert!(
                    line.chars().count() < columns.max(1) || line.is_empty(),
                    "{columns}x{rows}: {line:?}"
                );
            }
        }
    }
}

#[test]
fn a_small_terminal_keeps_title_and_table() {
    let frame = shown(80, 6, PLAIN);
    assert!(frame[0].contains("jeton demo") && frame[1].contains("CONNECTION"), "{frame:?}");
    assert!(frame[5].contains("doomed"), "{frame:?}");
}

#[test]
fn without_unicode_and_colour_there_is_ascii_alone() {
    let ascii = shown(80, 24, TextStyle { colour: false, unicode: false });
    assert!(ascii.iter().all(|line| line.is_ascii() && !line.contains('\x1b')), "{ascii:?}");
    assert!(ascii.iter().any(|line| line.contains("#######.")), "{ascii:?}");
}

#[test]
fn a_command_that_is_too_wide_is_broken_where_a_shell_goes_on() {
    let pieces = ["jeton status".to_owned(), "--config /tmp/x".to_owned()];
    assert_eq!(command(&pieces, 80), ["   jeton status --config /tmp/x"]);
    assert_eq!(command(&pieces, 25), ["   jeton status \\", "     --config /tmp/x"]);
}
