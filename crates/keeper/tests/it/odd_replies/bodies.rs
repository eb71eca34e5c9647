//! Bodies that are odd, in replies that are not: character sets, dialects of JSON, forms.

use super::corpus::{FORM, JSON, OddReply, numbered};

pub(super) fn character_sets() -> Vec<OddReply> {
    let text = String::from_utf8(JSON.to_vec()).expect("ASCII").replace('}', ",\"name\":\"Müller 😀\"}");
    let marked = format!("\u{feff}{text}");
    let wide = |text: &str| -> [Vec<u8>; 4] {
        [
            text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
            text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        ]
    };
    let names = ["utf-16le", "utf-16be", "utf-32le", "utf-32be"];
    let plain = names.map(str::to_owned).into_iter().zip(wide(&text));
    let with_mark = names.map(|name| format!("{name} with a mark")).into_iter().zip(wide(&marked));
    let mut sets: Vec<_> = plain.chain(with_mark).collect();
    sets.push(("utf-8".to_owned(), text.into_bytes()));
    sets.push(("utf-8 with a mark".to_owned(), marked.into_bytes()));
    let types = [
        "application/json",
        "application/json; charset=utf-8",
        "application/json; charset=utf-16",
        "text/plain",
        "text/html; charset=iso-8859-1",
        "application/octet-stream",
    ];
    let each = |(set, body): &(String, Vec<u8>)| {
        types.map(|kind| OddReply::usual(format!("{set} as {kind}"), kind, body))
    };
    sets.iter().flat_map(each).collect()
}

/// Bytes of old character sets, or damaged ones, beside the tokens.
pub(super) fn old_characters() -> Vec<OddReply> {
    let names: [(&str, &[u8]); 9] = [
        ("latin-1", b"M\xfcller"),
        ("windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2"),
        ("windows-1252", b"\x80 5 \x93quoted\x94"),
        ("half a character", b"caf\xc3"),
        ("the end of a character", b"\xa9\x82"),
        ("an overlong character", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\xbd"),
        ("no character at all", b"\xff\xfe\xfd"),
        ("latin-1 and utf-8", b"M\xfcller, Jos\xc3\xa9"),
    ];
    let types = [
        "application/json",
        "application/json;charset=UTF-8",
        "application/json; charset=iso-8859-1",
        "text/html",
        "text/plain; charset=windows-1251",
    ];
    let each = |(name, bytes): &(&str, &[u8])| {
        let (open, rest) = JSON.split_at(1);
        let body = [open, b"\"name\":\"", bytes, b"\",", rest].concat();
        types.map(|kind| OddReply::usual(format!("{name} as {kind}"), kind, &body))
    };
    names.iter().flat_map(each).collect()
}

/// What is put into the usual document, before its last brace.
fn with(more: &str) -> String {
    let json = std::str::from_utf8(JSON).expect("ASCII");
    json.replace('}', &format!(",{more}}}"))
}

pub(super) fn dialects() -> Vec<OddReply> {
    let json = std::str::from_utf8(JSON).expect("ASCII");
    let nested = |depth: usize| with(&format!("\"deep\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    let long = with(&format!("\"id_token\":\"{}\"", "x".repeat(400_000)));
    let many = numbered(3_000, |index| format!("\"k{index}\":{index},"));
    let bodies = [
        ("white space around", format!("\r\n\r\n\t  {json}\n\n  ")),
        (
            "pretty",
            json.replace('{', "{\r\n\t")
                .replace(',', ",\r\n\t")
                .replace(':', " : ")
                .replace('}', "\r\n}\r\n"),
        ),
        ("white space and a mark", format!("\u{feff}\n{json}")),
        ("NaN", with("\"score\":NaN")),
        ("Infinity", with("\"score\":Infinity")),
        ("minus Infinity", with("\"score\":-Infinity")),
        ("a number beyond floats", with("\"id\":1e400")),
        ("a number below floats", with("\"id\":-1e400")),
        ("a tiny number", with("\"id\":1e-400")),
        ("an integer of 30 digits", with(&format!("\"id\":{}", "9".repeat(30)))),
        ("an integer of 400 digits", with(&format!("\"id\":{}", "9".repeat(400)))),
        ("a float of 400 digits", with(&format!("\"id\":0.{}", "1".repeat(400)))),
        ("minus zero", with("\"id\":-0,\"e\":-0.0e-0")),
        ("equal keys", with("\"scope\":\"a\",\"scope\":\"b\"")),
        (
            "equal tokens, the last right",
            json.replacen('{', "{\"access_token\":\"old\",\"refresh_token\":\"old\",", 1),
        ),
        ("an empty key", with("\"\":\"\"")),
        ("a key in escapes", json.replace("\"access_token\"", "\"\\u0061ccess\\u005ftoken\"")),
        ("a token in escapes", json.replace("at-1", "\\u0061\\u0074\\u002D1")),
        ("slashes in escapes", with("\"url\":\"https:\\/\\/x\\/\"")),
        ("half a surrogate pair", with("\"name\":\"\\ud83d\"")),
        ("the other half", with("\"name\":\"\\ude00x\"")),
        ("a surrogate pair", with("\"name\":\"\\ud83d\\ude00\"")),
        ("an escaped zero", with("\"name\":\"a\\u0000b\"")),
        ("a byte of delete", with("\"name\":\"a\u{7f}b\"")),
        ("separators of lines", with("\"name\":\"a\u{2028}b\u{2029}c\"")),
        ("a mark inside", with("\"name\":\"\u{feff}\"")),
        ("nested 100 deep", nested(100)),
        ("nested 200 deep", nested(200)),
        ("nested 900 deep", nested(900)),
        ("an object in the way", with("\"user\":{\"access_token\":\"other\",\"a\":[{},[],null,true,false]}")),
        ("a long field", long),
        ("many fields", json.replacen('{', &format!("{{{many}"), 1)),
        ("zeros after it", format!("{json}\0\0")),
        ("a notice after it", format!("{json}<br />\n<b>Notice</b>: x")),
        ("a semicolon after it", format!("{json};")),
        ("a second document after it", format!("{json}\n{{\"time\":3}}")),
    ];
    as_json(bodies)
}

pub(super) fn fields() -> Vec<OddReply> {
    let json = std::str::from_utf8(JSON).expect("ASCII");
    let expiring = |value: &str| json.replace("3600", value);
    let bodies = [
        ("expires_in as text", expiring("\"3600\"")),
        ("expires_in as text with spaces", expiring("\" 3600 \"")),
        ("expires_in as a float", expiring("3600.0")),
        ("expires_in with an exponent", expiring("3.6e3")),
        ("expires_in null", expiring("null")),
        ("expires_in empty", expiring("\"\"")),
        ("expires_in in words", expiring("\"an hour\"")),
        ("expires_in true", expiring("true")),
        ("expires_in zero", expiring("0")),
        ("expires_in below zero", expiring("-3600")),
        ("expires_in NaN", expiring("NaN")),
        ("expires_in Infinity", expiring("Infinity")),
        ("expires_in beyond floats", expiring("1e999")),
        ("expires_in a list", expiring("[3600]")),
        ("expires_in an object", expiring("{\"s\":3600}")),
        ("token_type null", json.replace("\"Bearer\"", "null")),
        ("token_type a number", json.replace("\"Bearer\"", "5")),
        ("token_type in upper case", json.replace("Bearer", "BEARER")),
        ("token_type empty", json.replace("Bearer", "")),
        ("error null", with("\"error\":null,\"error_description\":null")),
        ("error empty", with("\"error\":\"\"")),
        ("scope a list", with("\"scope\":[\"a\",\"b\"]")),
        ("scope null", with("\"scope\":null")),
    ];
    as_json(bodies)
}

fn as_json<const N: usize>(bodies: [(&str, String); N]) -> Vec<OddReply> {
    let reply = |(name, body): (&str, String)| {
        OddReply::usual(format!("JSON, {name}"), "application/json", body.as_bytes())
    };
    bodies.into_iter().map(reply).collect()
}

pub(super) fn forms() -> Vec<OddReply> {
    let form = std::str::from_utf8(FORM).expect("ASCII");
    let types = [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "APPLICATION/X-WWW-FORM-URLENCODED",
        "text/plain",
        "text/html; charset=UTF-8",
        "application/json",
        "",
    ];
    let mut replies: Vec<_> =
        types.iter().map(|kind| OddReply::usual(format!("a form as {kind:?}"), kind, FORM)).collect();
    let bodies = [
        ("a line end", format!("{form}\r\n")),
        ("an ampersand at its end", format!("{form}&")),
        ("two ampersands", form.replace('&', "&&")),
        ("a mark", format!("\u{feff}{form}")),
        ("spaces that are not coded", format!("{form}&scope=read write")),
        ("plus signs", format!("{form}&scope=read+write")),
        ("percent signs that mean nothing", format!("{form}&rate=100%&x=%zz")),
        ("a key without a value", format!("{form}&flag&other=")),
        ("everything in percent signs", form.replace('-', "%2D").replace('_', "%5f")),
        ("utf-8 in percent signs", format!("{form}&name=M%C3%BCller")),
        ("latin-1 in percent signs", format!("{form}&name=M%FCller")),
    ];
    for (name, body) in bodies {
        replies.push(OddReply::usual(format!("a form with {name}"), types[0], body.as_bytes()));
    }
    let latin = [FORM, b"&name=M\xfcller"].concat();
    replies.push(OddReply::usual("a form with latin-1", types[0], &latin));
    replies
}

/// What nobody reads a token from.
pub(super) fn no_tokens() -> Vec<OddReply> {
    let json = std::str::from_utf8(JSON).expect("ASCII");
    let bodies = [
        ("nothing", String::new()),
        ("null", "null".to_owned()),
        ("a text", "\"at-1-xxxxxxxx\"".to_owned()),
        ("a list", format!("[{json}]")),
        ("a document in a text", serde_json::Value::String(json.to_owned()).to_string()),
        ("JSONP", format!("callback({json})")),
        ("a prefix against hijacking", format!(")]}}'\n{json}")),
        ("a comment before it", format!("/* x */{json}")),
        ("a notice before it", format!("<b>Notice</b>: x\n{json}")),
        ("single quotes", json.replace('"', "'")),
        ("no quotes at keys", json.replace("\"access_token\"", "access_token")),
        ("a comma at its end", json.replace('}', ",}")),
        ("a control character", json.replace("Bearer", "Bea\trer")),
        ("half of it", json[..50].to_owned()),
        ("XML", "<access_token>at-1-xxxxxxxx</access_token>".to_owned()),
        ("a page", "<!doctype html><p>access_token=at-1-xxxxxxxx".to_owned()),
        ("no access token", json.replace("access_token", "token")),
        ("an empty access token", json.replace("at-1-xxxxxxxx", "")),
        ("an access token that is a number", json.replace("\"at-1-xxxxxxxx\"", "5")),
    ];
    bodies
        .into_iter()
        .map(|(name, body)| {
            OddReply::usual(format!("no tokens: {name}"), "application/json", body.as_bytes()).unreadable()
        })
        .collect()
}
