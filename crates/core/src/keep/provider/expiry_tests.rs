use proptest::prelude::*;
use serde_json::json;

use super::*;

const SENT: Timestamp = Timestamp::from_secs(1_700_000_000);

fn sources(written: &str) -> Result<Vec<ExpirySource>, Flaw> {
    #[derive(serde::Deserialize)]
    struct Holder {
        expires: OneOrMany<TextOr<schema::ExpiryTable>>,
    }
    let holder: Holder = toml::from_str(&format!("expires = {written}")).unwrap();
    compile(&holder.expires)
}

fn read_one(written: &str, body: &Value) -> ExpiryReading {
    let evidence = ReplyTokens { body, access: None, refresh: None, sent_at: SENT.into(), date: None };
    read(&sources(written).unwrap(), evidence, "the expiry")
}

fn seconds(written: &str, body: &Value) -> Option<i64> {
    read_one(written, body).at.map(|at| at.as_secs() - SENT.as_secs())
}

#[test]
fn an_expiry_is_read_in_every_unit_and_spelling() {
    let path = |unit: &str| format!("{{ path = 'e', as = '{unit}' }}");
    for value in [json!(3600), json!("3600"), json!(" 3600.0 "), json!(3600.0)] {
        assert_eq!(seconds(&path("s"), &json!({"e": value})), Some(3600), "{value}");
    }
    assert_eq!(seconds(&path("ms"), &json!({"e": "864000000"})), Some(864_000));
    assert_eq!(seconds(&path("epoch_s"), &json!({"e": 1_700_000_060})), Some(60));
    assert_eq!(seconds(&path("epoch_ms"), &json!({"e": 1_700_000_060_000_i64})), Some(60));
    assert_eq!(seconds(&path("rfc3339"), &json!({"e": "2023-11-14T22:14:20Z"})), Some(60));
    assert_eq!(seconds(&path("m"), &json!({"e": "90"})), Some(5_400));
    for unit in ["rfc3339", "http_date", "date"] {
        for date in ["2023-11-14T22:14:20Z", "2023-11-14 22:14:20", "Tue, 14 Nov 2023 22:14:20 GMT"] {
            assert_eq!(seconds(&path(unit), &json!({"e": date})), Some(60), "{unit} {date}");
        }
    }
    let local = "{ path = 'e', as = 'date', zone = '+03:30' }";
    assert_eq!(seconds(local, &json!({"e": "2023-11-15 01:44:20"})), Some(60));
}

#[test]
fn an_expiry_that_cannot_be_read_is_an_hour_away_unless_the_file_says_otherwise() {
    let hour = Some(SENT + Duration::from_hours(1));
    let date = "{ path = 'e', as = 'date' }";
    for value in
        [json!("next week"), json!("14/11/2023"), json!(true), json!({}), json!("2001-01-01 00:00:00")]
    {
        let reading = read_one(date, &json!({"e": value}));
        assert_eq!((reading.at, reading.assumed), (None, hour), "{value}");
        let fallback = read_one(&format!("[{date}, {{ fixed = '2h' }}]"), &json!({"e": value}));
        assert_eq!((fallback.at, fallback.assumed), (Some(SENT + Duration::from_hours(2)), None), "{value}");
    }
    assert_eq!(read_one("{ path = 'e', as = 's' }", &json!({"e": "soon"})).assumed, hour);
    for forever in [json!(0), json!(-1), json!("0"), json!(null)] {
        assert_eq!(read_one("{ path = 'e', as = 's' }", &json!({"e": forever})).assumed, None, "{forever}");
    }
    let warned = read_one(date, &json!({"e": "2023-11-14 22:14:20"}));
    assert_eq!(warned.warnings, ["the expiry has no zone and was read as UTC"]);
}

#[test]
fn strange_values_are_as_good_as_absent_and_leave_a_warning() {
    for value in [json!(0), json!(-5), json!("NaN"), json!("soon"), json!(true), json!([]), json!("-inf")] {
        let body = json!({"e": value});
        let alone = read_one("{ path = 'e', as = 's' }", &body);
        assert_eq!((alone.at, alone.warnings.len()), (None, 1), "{value}");
        let with_fallback = read_one("[{ path = 'e', as = 's' }, { fixed = '1h' }]", &body);
        assert_eq!(with_fallback.at, Some(SENT + Duration::from_hours(1)), "{value}");
    }
    let past = read_one("{ path = 'e', as = 'epoch_s' }", &json!({"e": 1_600_000_000}));
    assert_eq!((past.at, past.warnings.len()), (None, 1));
    for absurd in [json!(1e300), json!(u64::MAX), json!("inf"), json!("1e30")] {
        let reading = read_one("{ path = 'e', as = 's' }", &json!({"e": absurd}));
        assert_eq!((reading.at, reading.warnings.len()), (Some(SENT + LONGEST), 1), "{absurd}");
    }
}

#[test]
fn an_absent_expiry_is_unknown_unless_the_file_says_more() {
    let missing = read_one("{ path = 'e', as = 's' }", &json!({"e": null}));
    assert_eq!((missing.at, missing.warnings.len()), (None, 1));
    let never = read_one("[{ path = 'e', as = 's' }, 'none']", &json!({}));
    assert_eq!((never.at, never.warnings.len()), (None, 0));
    let asked = read_one("['introspect', { fixed = '1h' }]", &json!({}));
    assert!(asked.ask_introspection && asked.at == Some(SENT + Duration::from_hours(1)));
}

#[test]
fn a_jwt_says_when_it_expires_and_anything_else_is_passed_over() {
    let token = |claims: &str| Secret::new(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims)));
    let read_jwt = |token: Secret| {
        let body = json!({});
        let evidence = ReplyTokens {
            body: &body,
            access: Some(&token),
            refresh: None,
            sent_at: SENT.into(),
            date: None,
        };
        read(&sources("['jwt', 'none']").unwrap(), evidence, "the expiry").at
    };
    assert_eq!(read_jwt(token(r#"{"exp":1700000060}"#)), Some(Timestamp::from_secs(1_700_000_060)));
    for other in [token("{}"), token("[1]"), token("nonsense"), Secret::new("opaque"), Secret::new("a.%%.c")]
    {
        assert_eq!(read_jwt(other), None);
    }
}

#[test]
fn sources_that_mean_nothing_are_refused() {
    for bad in [
        "{ path = 'e' }",
        "{ as = 's', fixed = '1h' }",
        "{ path = 'e', as = 's', fixed = '1h' }",
        "{ jwt = 'id.exp' }",
        "{ none = false }",
        "{ path = 'e', as = 's', zone = 'UTC' }",
        "{ path = 'e', as = 'date', zone = 'Mars' }",
        "{ fixed = '1h', zone = 'UTC' }",
        "'expires_in'",
        "{}",
    ] {
        assert!(sources(bad).is_err(), "{bad}");
    }
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        "\\PC{0,24}".prop_map(Value::String),
        any::<f64>().prop_map(|number| Value::String(number.to_string())),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
    ]
}

proptest! {
    #[test]
    fn no_value_makes_the_reader_panic_and_every_result_lies_ahead(
        value in any_scalar(), unit in 0_usize..8, sent in any::<i64>(),
    ) {
        let unit = ["s", "m", "ms", "epoch_s", "epoch_ms", "rfc3339", "http_date", "date"][unit];
        let sources = sources(&format!("{{ path = 'e', as = '{unit}' }}")).unwrap();
        let sent_at = Timestamp::from_micros(sent);
        let body = json!({"e": value});
        let reading = read(&sources, ReplyTokens { body: &body, access: None, refresh: None, sent_at: sent_at.into(), date: None }, "it");
        prop_assert!(reading.at.is_none_or(|at| at > sent_at && at <= sent_at + LONGEST));
        prop_assert!(reading.at.is_some() || !reading.warnings.is_empty());
    }

    #[test]
    fn a_longer_life_never_expires_earlier(a in 1e-3_f64..1e20, b in 1e-3_f64..1e20) {
        let (short, long) = if a <= b { (a, b) } else { (b, a) };
        let at = |life: f64| read_one("{ path = 'e', as = 's' }", &json!({"e": life})).at.unwrap();
        prop_assert!(at(short) <= at(long));
    }
}

/// What an expiry that is an instant means, to a node whose civil clock is `off` by so many seconds from that of the provider.
fn seen_from(off: i64, date: Option<i64>) -> Option<i64> {
    let at = |secs| Timestamp::from_secs(SENT.as_secs() + secs);
    let body = json!({ "at": SENT.as_secs() + 3_600 });
    let evidence = ReplyTokens {
        body: &body,
        access: None,
        refresh: None,
        sent_at: SentAt { instant: SENT, civil: at(off) },
        date: date.map(at),
    };
    let source = ExpirySource::Path(JsonPath::parse("at").unwrap(), Unit::EpochS, None);
    read(&[source], evidence, "it").at.map(|at| at.as_secs() - SENT.as_secs())
}

#[test]
fn an_expiry_that_is_an_instant_is_a_life_by_the_clock_of_the_provider_or_by_ours() {
    const DAY: i64 = 86_400;
    assert_eq!(seen_from(0, None), Some(3_600));
    assert_eq!(seen_from(0, Some(0)), Some(3_600));
    // Our clock is wrong, and the provider's `Date` is not.
    for off in [DAY, -DAY, 3_600, -3_600] {
        assert_eq!(seen_from(off, Some(1)), Some(3_599), "{off}");
    }
    // The other way round: a `Date` that no clock shows.
    for date in [-SENT.as_secs(), DAY, -DAY, 3_600] {
        assert_eq!(seen_from(0, Some(date)), Some(3_600), "{date}");
    }
    assert_eq!(seen_from(DAY, None), None, "nobody believes that it is over already");
}
