//! Escapes in URLs (RFC 3986, section 2.1).

/// The byte that these three stand for, where they are an escape.
pub(crate) fn escaped([percent, high, low]: [Option<u8>; 3]) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    if percent != Some(b'%') {
        return None;
    }
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
