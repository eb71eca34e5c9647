//! Undoing the content coding of a reply (RFC 9110, section 8.4.1), whatever its headers say of it.
//!
//! We ask for none. Some servers send gzip all the same, and some proxies take the header away and leave the coding. A stream
//! of deflate says itself where it ends; the checksums after it are not needed to know that a reply is whole.

use std::io::Read as _;

use flate2::bufread::DeflateDecoder;
use jeton_core::keep::provider::is_whole_document;
use zeroize::Zeroizing;

/// How often a body may be coded; more is no reply but an attack.
const MAX_LAYERS: usize = 5;

/// What every gzip stream begins with (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The length of the checksum and the size after a stream, in bytes.
const GZIP_TRAILER: usize = 8;

/// A body without its coding.
pub(super) struct Decoded {
    pub(super) body: Zeroizing<Vec<u8>>,
    /// Why it may lack its end.
    pub(super) damage: Option<String>,
    /// A coding that is not known here, and was left.
    pub(super) unknown: Option<String>,
}

/// Undoes what `codings` names, in lower case and in the order in which they were applied, and gzip or zlib that nobody named. At
/// most `limit` bytes come out.
pub(super) fn undo(body: &[u8], codings: &[String], limit: usize) -> Decoded {
    let mut decoded = Decoded { body: body.to_vec().into(), damage: None, unknown: None };
    let mut codings = codings.to_vec();
    for _ in 0..MAX_LAYERS {
        if is_whole_document(&decoded.body) {
            break;
        }
        let named = codings.pop();
        let coded = &decoded.body[..];
        let inflated = match named.as_deref() {
            _ if coded.starts_with(&GZIP) => {
                // Where the header names another coding as the last, the body knows better.
                codings.extend(named.filter(|named| !is_gzip(named)));
                gunzip(coded, limit)
            }
            None if is_zlib(coded) => match inflate(&mut &coded[2..], limit) {
                // Text may begin in the same way, and is no whole stream.
                Inflated { damage: Some(_), .. } => break,
                whole => whole,
            },
            None => break,
            Some("deflate") if is_zlib(coded) => inflate(&mut &coded[2..], limit),
            // Without the frame of zlib, as some servers understand `deflate`.
            Some("deflate") => inflate(&mut &*coded, limit),
            // Undone already by a proxy that left the header.
            Some(named) if is_gzip(named) || named == "identity" => continue,
            Some(named) => {
                decoded.unknown = Some(named.to_owned());
                continue;
            }
        };
        match inflated {
            // It was never coded that way.
            Inflated { body, damage: Some(_) } if body.is_empty() => {}
            Inflated { body, .. } if body.len() > limit => {
                let damage = Some(format!("it is longer than {limit} bytes when decompressed"));
                return Decoded { body: Zeroizing::default(), damage, unknown: None };
            }
            Inflated { body, damage } => {
                decoded.damage = decoded.damage.or(damage);
                decoded.body = body;
            }
        }
    }
    decoded
}

fn is_gzip(name: &str) -> bool {
    name == "gzip" || name == "x-gzip"
}

/// Whether a body begins with the header of zlib (RFC 1950, section 2.2).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

/// What came out of a stream, up to a byte more than the limit.
struct Inflated {
    body: Zeroizing<Vec<u8>>,
    /// Why more should have come.
    damage: Option<String>,
}

/// Undoes deflate, and leaves in `coded` what follows the stream.
fn inflate(coded: &mut &[u8], limit: usize) -> Inflated {
    let mut body = Zeroizing::new(Vec::new());
    // What was read before an error stays.
    let read = DeflateDecoder::new(coded).take(limit as u64 + 1).read_to_end(&mut body);
    Inflated { body, damage: read.err().map(|error| format!("its compressed body is damaged ({error})")) }
}

/// Undoes gzip, which may be several streams one after the other (RFC 1952, section 2.2). What follows them is left.
fn gunzip(mut coded: &[u8], limit: usize) -> Inflated {
    let mut all = Inflated { body: Zeroizing::default(), damage: None };
    while coded.starts_with(&GZIP) && all.damage.is_none() && all.body.len() <= limit {
        let Some(mut stream) = after_gzip_header(coded) else {
            all.damage = Some("its gzip header is damaged".to_owned());
            break;
        };
        let Inflated { body, damage } = inflate(&mut stream, limit);
        all.body.extend_from_slice(&body);
        all.damage = damage;
        coded = stream.get(GZIP_TRAILER..).unwrap_or_default();
    }
    all
}

/// What comes after the header of gzip (RFC 1952, section 2.3).
fn after_gzip_header(coded: &[u8]) -> Option<&[u8]> {
    let ([_, _, _, flags, ..], mut rest) = coded.split_first_chunk::<10>()?;
    if flags & 4 != 0 {
        let (length, extra) = rest.split_first_chunk()?;
        rest = extra.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // The name of a file, and a comment.
    for text in [8, 16] {
        if flags & text != 0 {
            rest = &rest[rest.iter().position(|byte| *byte == 0)? + 1..];
        }
    }
    if flags & 2 != 0 { rest.get(2..) } else { Some(rest) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 4096;
    const TEXT: &[u8] = br#"{"access_token":"at-1","refresh_token":"rt-1"}"#;

    fn coded(body: &[u8], coding: &str) -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" | "x-gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            "raw" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            other => panic!("{other}"),
        }
    }

    fn undone(body: &[u8], codings: &[&str]) -> Decoded {
        undo(body, &codings.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), LIMIT)
    }

    fn assert_read(body: &[u8], codings: &[&str]) {
        let decoded = undone(body, codings);
        assert_eq!((&decoded.body[..], decoded.damage), (TEXT, None), "{codings:?}");
    }

    #[test]
    fn every_coding_is_undone_whatever_the_header_says() {
        for headers in
            [&["gzip"][..], &["x-gzip"], &["identity"], &["deflate"], &["gzip", "gzip"], &["br"], &[]]
        {
            assert_read(&coded(TEXT, "gzip"), headers);
            assert_read(TEXT, headers);
        }
        assert_read(&coded(TEXT, "deflate"), &["deflate"]);
        assert_read(&coded(TEXT, "raw"), &["deflate"]);
        assert_read(&coded(&coded(TEXT, "gzip"), "deflate"), &["gzip", "deflate"]);
        assert_read(&coded(&coded(TEXT, "raw"), "gzip"), &["deflate", "gzip"]);
        assert_read(&coded(&coded(TEXT, "gzip"), "gzip"), &[]);
        let [first, second] = [&TEXT[..10], &TEXT[10..]].map(|half| coded(half, "gzip"));
        assert_read(&[first, second].concat(), &["gzip"]);
    }

    #[test]
    fn a_form_that_is_said_to_be_coded_and_is_not_stays_as_it_is() {
        for name in ["gzip", "deflate", "br"] {
            let decoded = undone(b"access_token=at-1&expires_in=60", &[name]);
            assert_eq!(
                (&decoded.body[..], decoded.damage),
                (&b"access_token=at-1&expires_in=60"[..], None),
                "{name}"
            );
        }
    }

    #[test]
    fn a_coding_that_is_not_known_is_named() {
        assert_eq!(undone(b"\x0b\x02\x80", &["br"]).unknown.as_deref(), Some("br"));
    }

    #[test]
    fn a_stream_is_read_to_its_end_and_no_checksum_or_junk_after_it_matters() {
        for (name, trailer) in [("gzip", 8), ("deflate", 4)] {
            let whole = coded(TEXT, name);
            let end = whole.len() - trailer;
            for after in [&whole[end..=end], b"", b"\0\0\0\0\0\0\0\0junk"] {
                assert_read(&[&whole[..end], after].concat(), &[name]);
            }
            let decoded = undone(&whole[..end - 3], &[name]);
            assert!(TEXT.starts_with(&decoded.body) && !decoded.body.is_empty());
            assert!(decoded.damage.unwrap().contains("damaged"), "{name}");
        }
    }

    #[test]
    fn a_gzip_header_may_hold_a_name_a_comment_and_more() {
        let builder = flate2::GzBuilder::new().extra(&b"more"[..]).filename("token.json").comment("of today");
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(TEXT).unwrap();
        let whole = encoder.finish().unwrap();
        assert_read(&whole, &["gzip"]);
        for cut in 2..30 {
            assert!(undone(&whole[..cut], &["gzip"]).body.len() <= cut);
        }
    }

    #[test]
    fn what_grows_beyond_the_limit_is_not_read() {
        let mut bomb = vec![b' '; 10_000_000];
        for _ in 0..3 {
            bomb = coded(&bomb, "gzip");
        }
        let decoded = undone(&bomb, &["gzip"]);
        assert!(decoded.body.is_empty() && decoded.damage.unwrap().contains("longer than 4096"));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_bounds(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            magic in any::<bool>(),
            names in proptest::collection::vec(prop_oneof![Just("gzip"), Just("deflate"), Just("br")], 0..4),
        ) {
            let body = if magic { [&[0x1f, 0x8b, 8, 0][..], &body].concat() } else { body };
            prop_assert!(undone(&body, &names).body.len() <= LIMIT);
        }
    }
}
