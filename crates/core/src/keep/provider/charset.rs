//! The character set of a body: recognised by its bytes, because what headers say of it is often wrong.

use std::borrow::Cow;

/// A body as text: UTF-8, or UTF-16 or UTF-32 in either order of bytes, with a byte order mark or without one. Bytes that are
/// no UTF-8 are read as Latin-1, one by one, so that a name in an old character set costs that name and not the tokens
/// beside it.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, str> {
    match raw {
        [0xef, 0xbb, 0xbf, text @ ..] => utf_8(text),
        [0xff, 0xfe, 0, 0, text @ ..] => utf_32(text, u32::from_le_bytes),
        [0, 0, 0xfe, 0xff, text @ ..] => utf_32(text, u32::from_be_bytes),
        [0xff, 0xfe, text @ ..] => utf_16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf_16(text, u16::from_be_bytes),
        // JSON and forms begin with two ASCII characters: where the zeros lie says the rest (RFC 4627, section 3).
        [0, 0, 0, 1..=255, ..] => utf_32(raw, u32::from_be_bytes),
        [1..=255, 0, 0, 0, ..] => utf_32(raw, u32::from_le_bytes),
        [0, 1..=255, 0, 1..=255, ..] => utf_16(raw, u16::from_be_bytes),
        [1..=255, 0, 1..=255, 0, ..] => utf_16(raw, u16::from_le_bytes),
        _ => utf_8(raw),
    }
}

fn utf_8(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(raw.len() + raw.len() / 8);
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    Cow::Owned(text)
}

fn utf_16(raw: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'_, str> {
    let units = raw.as_chunks().0.iter().map(|bytes| unit(*bytes));
    char::decode_utf16(units).map(|found| found.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn utf_32(raw: &[u8], unit: fn([u8; 4]) -> u32) -> Cow<'_, str> {
    let units = raw.as_chunks().0.iter().map(|bytes| unit(*bytes));
    units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A text in every width and order of bytes, with a byte order mark and without one.
    fn encodings(text: &str) -> Vec<Vec<u8>> {
        let marked = format!("\u{feff}{text}");
        let both = [text, marked.as_str()];
        let wide = |text: &str| -> [Vec<u8>; 4] {
            [
                text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
                text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
            ]
        };
        both.into_iter().flat_map(|text| wide(text).into_iter().chain([text.as_bytes().to_vec()])).collect()
    }

    #[test]
    fn latin_1_among_utf_8_is_read_byte_by_byte() {
        assert_eq!(
            decode(b"M\xfcller, \xc3\xa9t\xc3\xa9 \xe2\x82"),
            "M\u{fc}ller, \u{e9}t\u{e9} \u{e2}\u{82}"
        );
    }

    proptest! {
        #[test]
        fn a_text_is_read_in_every_encoding(rest in "\\PC{0,30}") {
            let text = format!("{{\"{rest}");
            for encoded in encodings(&text) {
                prop_assert_eq!(&decode(&encoded), &text, "{:?}", encoded);
            }
        }

        #[test]
        fn any_bytes_make_a_text(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = decode(&raw);
            prop_assert!(text.len() <= raw.len() * 3);
        }
    }
}
