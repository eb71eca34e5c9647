//! The alias of `amocrm` that makes an unsorted lead: its body is as the older gateway made it.

use serde_json::{Value, json};

use super::alias_body::{BodyError, BodyValues};
use super::catalogue::Catalogue;
use crate::time::Timestamp;

fn make(body: &Value) -> Result<Value, BodyError> {
    make_of(&body.to_string())
}

fn make_of(body: &str) -> Result<Value, BodyError> {
    let catalogue = Catalogue::builtin();
    let aliases = catalogue.get("amocrm").unwrap().aliases();
    let unsorted = aliases.iter().find(|alias| alias.path() == "/api/v1/leads/unsorted").unwrap();
    let values = BodyValues { now: Timestamp::from_secs(1_767_225_600), unique: "6f1e".to_owned() };
    let made = unsorted.make_body(body.as_bytes(), &values)?;
    Ok(serde_json::from_slice(&made).unwrap())
}

#[test]
fn a_whole_form_becomes_a_lead_with_contact_tags_fields_note_and_metadata() {
    let sent = json!({
        "source": "site", "form_name": "Callback", "pipeline_id": "77", "form_page": "https://example.com/form",
        "referer": "https://example.com/", "ip": "203.0.113.7", "comment": "after six \"please\"\n{{ source }}",
        "utm": { "utm_source": "google", "utm_medium": 1 },
        "lead": {
            "name": "Lead", "price": 5000,
            "tags": ["site", { "name": "vip" }, { "id": 12 }],
            "custom_fields": [
                { "field_id": 1, "value": "one" },
                { "field_id": "2", "values": ["a", true, 3] },
                { "field_id": 3, "enum_ids": [10, 11] },
            ],
        },
        "contact": { "name": "Nilufar", "phone": "+998901234567", "email": "nilufar@example.com" },
    });
    // In the order of the caller, and not by name.
    let utm = (r#""utm_medium":1,"utm_source":"google""#, r#""utm_source":"google","utm_medium":1"#);
    let made = make_of(&sent.to_string().replace(utm.0, utm.1)).unwrap();
    let expected = json!([{
        "source_name": "site", "source_uid": "gw_6f1e", "created_at": 1_767_225_600, "pipeline_id": 77,
        "_embedded": {
            "leads": [{
                "name": "Lead", "price": 5000,
                "custom_fields_values": [
                    { "field_id": 1, "values": [{ "value": "one" }] },
                    { "field_id": 2, "values": [{ "value": "a" }, { "value": true }, { "value": 3 }] },
                    { "field_id": 3, "values": [{ "enum_id": 10 }, { "enum_id": 11 }] },
                ],
                "_embedded": {
                    "tags": [{ "name": "site" }, { "name": "vip" }, { "id": 12 }],
                    "notes": [{ "note_type": "common", "params": {
                        "text": "UTM:\nutm_source: google\nutm_medium: 1\n\nIzoh: after six \"please\"\n{{ source }}",
                    } }],
                },
            }],
            "contacts": [{
                "name": "Nilufar",
                "custom_fields_values": [
                    { "field_code": "PHONE", "values": [{ "value": "+998901234567", "enum_code": "WORK" }] },
                    { "field_code": "EMAIL", "values": [{ "value": "nilufar@example.com", "enum_code": "WORK" }] },
                ],
            }],
        },
        "metadata": {
            "form_id": "406c70d61a3eefd08d468bd8a7b1b77f", "form_name": "Callback",
            "form_page": "https://example.com/form", "form_sent_at": 1_767_225_600,
            "referer": "https://example.com/", "ip": "203.0.113.7",
        },
    }]);
    assert_eq!(made, expected);
}

#[test]
fn of_the_least_that_a_form_can_hold_nothing_is_invented() {
    let least = json!({ "source": "s", "form_name": "f", "lead": { "name": "l" }, "contact": { "phone": 998_901_234_567_u64 } });
    let made = make(&least).unwrap();
    let expected = json!([{
        "source_name": "s", "source_uid": "gw_6f1e", "created_at": 1_767_225_600,
        "_embedded": {
            "leads": [{ "name": "l" }],
            "contacts": [{ "custom_fields_values": [
                { "field_code": "PHONE", "values": [{ "value": "998901234567", "enum_code": "WORK" }] },
            ] }],
        },
        "metadata": { "form_id": "8fa14cdd754f91cc6554c9e71929cce7", "form_name": "f", "form_sent_at": 1_767_225_600 },
    }]);
    assert_eq!(made, expected);
    let with = |name: &str, value: Value| {
        let mut body = least.clone();
        body[name] = value;
        make(&body).unwrap()[0]["_embedded"]["leads"][0]["_embedded"]["notes"][0]["params"]["text"].clone()
    };
    assert_eq!(with("comment", json!("c")), "Izoh: c");
    assert_eq!(with("utm", json!({ "a": "b" })), "UTM:\na: b");
    assert_eq!(with("utm", json!({})), Value::Null);
}

#[test]
fn what_is_missing_is_told_by_field_in_the_words_of_the_older_gateway() {
    let faults = |body: Value| match make(&body) {
        Err(BodyError::Fields(faults)) => json!(faults),
        other => panic!("{other:?}"),
    };
    let all = json!({ "source": "source is required", "form_name": "form_name is required", "lead": "lead is required",
        "contact": "contact is required" });
    assert_eq!(faults(json!({})), all);
    assert_eq!(faults(json!([])), all);
    let some = json!({ "source": "", "form_name": "f", "lead": {}, "contact": { "name": "" } });
    let expected = json!({ "source": "source is required", "lead.name": "lead.name is required",
        "contact": "At least one contact field (name, phone, email) is required" });
    assert_eq!(faults(some), expected);
    let kinds = json!({ "source": "s", "form_name": "f", "lead": { "name": "l", "price": "much", "custom_fields": [{}] },
        "contact": { "name": "n" } });
    let expected = json!({ "lead.price": "lead.price must be a whole number",
        "lead.custom_fields.0.field_id": "lead.custom_fields.0.field_id is required" });
    assert_eq!(faults(kinds), expected);
}
