use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::hosts::HostPattern;
use super::*;

fn template(text: &str) -> Result<UrlTemplate, Flaw> {
    let vars = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    UrlTemplate::parse(text, AllowedNames { vars: &vars, built_in: &[Name::ClientId] })
}

fn fill(text: &str, value: &str, source: ValueSource) -> Result<String, UrlFault> {
    let hosts = ["*.amocrm.ru", "api.example.com"].map(|host| HostPattern::parse(host).unwrap());
    let target = template(text)
        .unwrap()
        .fill(|_| Some(SourcedValue { text: value, source }), AllowedHosts::of_file(&hosts))?;
    Ok(target.unwrap().url.to_string())
}

#[test]
fn values_are_escaped_for_the_place_they_stand_in() {
    let filled =
        fill("https://api.example.com/x/${a}/y?q=${b}", "a/b?c#d %é", ValueSource::Operator).unwrap();
    assert_eq!(filled, "https://api.example.com/x/a%2Fb%3Fc%23d%20%25%C3%A9/y?q=a%2Fb%3Fc%23d%20%25%C3%A9");
    assert_eq!(
        fill("${a}/v1/tokens", "https://api.example.com/ide/", ValueSource::File).unwrap(),
        "https://api.example.com/ide/v1/tokens"
    );
    assert_eq!(
        fill("${a}", "https://sso.corp/t?x=1", ValueSource::Operator).unwrap(),
        "https://sso.corp/t?x=1"
    );
}

#[test]
fn a_captured_host_must_be_a_listed_one() {
    let url = "https://${a}/oauth2/access_token";
    assert_eq!(
        fill(url, "acme.amocrm.ru", ValueSource::Captured).unwrap(),
        "https://acme.amocrm.ru/oauth2/access_token"
    );
    for evil in [
        "evil.com",
        "evil.com/.amocrm.ru",
        "evil.com#.amocrm.ru",
        "evil.com?.amocrm.ru",
        "acme.amocrm.ru@evil.com",
        "evil.com\\.amocrm.ru",
        "acme.amocrm.ru:8443",
        "acme.amocrm.ru.evil.com",
        "",
        "127.0.0.1",
        "a\tb.amocrm.ru",
        "ⅇvil.amocrm.ru",
    ] {
        assert!(fill(url, evil, ValueSource::Captured).is_err(), "{evil}");
    }
}

#[test]
fn only_a_whole_host_makes_the_operator_answer_for_it() {
    assert!(fill("https://${a}/t", "sso.corp:8443", ValueSource::Operator).is_ok());
    assert!(fill("https://${a}.amocrm.ru/t", "acme", ValueSource::Operator).is_ok());
    assert!(fill("https://x.${a}/t", "evil.com", ValueSource::Operator).is_err());
    assert!(
        fill("https://${a}/t", "sso.corp", ValueSource::File).is_err(),
        "a default is the file's own word"
    );
}

#[test]
fn the_target_says_that_its_host_was_captured() {
    let hosts = [HostPattern::parse("*.amocrm.ru").unwrap()];
    let value = |source| move |_: &Name| Some(SourcedValue { text: "acme.amocrm.ru", source });
    let url = template("https://${a}/t").unwrap();
    assert!(
        url.fill(value(ValueSource::Captured), AllowedHosts::of_file(&hosts)).unwrap().unwrap().captured_host
    );
    assert!(
        !url.fill(value(ValueSource::Operator), AllowedHosts::of_file(&hosts))
            .unwrap()
            .unwrap()
            .captured_host
    );
}

#[test]
fn templates_that_could_not_be_a_url_are_refused_when_they_are_loaded() {
    for bad in [
        "ftp://x.com/",
        "/path",
        "https://u@x.com/",
        "https://${a}@x.com/",
        "https://x.com/#y",
        "${a}.com/x",
        "${a}${b}",
        "x${a}",
    ] {
        assert!(template(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_captured_value_leaves_the_listed_hosts(value in "\\PC{0,40}", shape in 0_usize..4) {
        let url = ["https://${a}/t", "https://${a}.amocrm.ru/t", "${a}/t", "https://x.${a}/t"][shape];
        if let Ok(filled) = fill(url, &value, ValueSource::Captured) {
            let url = Url::parse(&filled).unwrap();
            let host = url.host_str().unwrap();
            prop_assert!(host.ends_with(".amocrm.ru") || host == "api.example.com", "{filled}");
            prop_assert!(url.username().is_empty() && url.scheme() == "https" && url.port().is_none());
        }
    }

    #[test]
    fn near_misses_of_a_listed_host_do_not_slip_through(
        prefix in "[a-z./@#?:\\\\%]{0,8}", middle in "acme\\.amocrm\\.ru", suffix in "[a-z./@#?:\\\\%]{0,8}",
    ) {
        if let Ok(filled) = fill("https://${a}/t", &format!("{prefix}{middle}{suffix}"), ValueSource::Captured) {
            prop_assert!(Url::parse(&filled).unwrap().host_str().unwrap().ends_with(".amocrm.ru"), "{filled}");
        }
    }

    #[test]
    fn a_value_in_a_path_stays_one_segment(value in "\\PC{1,40}") {
        if let Ok(filled) = fill("https://api.example.com/a/${a}/z", &value, ValueSource::Operator) {
            let url = Url::parse(&filled).unwrap();
            prop_assert_eq!(url.path_segments().unwrap().count(), 3);
            prop_assert_eq!(url.query(), None);
            prop_assert_eq!(url.host_str(), Some("api.example.com"));
        }
    }
}
