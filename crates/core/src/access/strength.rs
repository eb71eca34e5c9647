//! How hard a credential that a person chose is to guess.

/// How many bits a credential must have, so that guessing it is hopeless however many guesses a second.
pub const REQUIRED_BITS: u32 = 128;

/// Fewer different characters than this are a pattern: one in ten million random keys of 32 hexadecimal digits has so few.
const MIN_DISTINCT: usize = 8;

/// The shortest run or repetition that counts as one character. Shorter ones are common in random texts.
const MIN_PATTERN: usize = 8;

/// The most bytes that are looked at.
const MAX_LENGTH: usize = 1024;

/// What a letter is worth where a text has nothing but letters of one case, which may be words: a random word of a list of 7,776
/// is worth 2.5 bits a letter.
const BITS_PER_WORD_LETTER: f64 = 2.5;

/// Whether a text is easier to guess than [`REQUIRED_BITS`] random bits.
///
/// It is an estimate by length and alphabet, which random texts of 22 letters and digits or 32 hexadecimal digits pass. Runs such
/// as `12345678` and repetitions count as one character, and a UUID has 122 random bits at most (RFC 9562, section 5.4). A person
/// can choose a bad key that passes: the estimate knows no words.
pub fn is_guessable(text: &str) -> bool {
    let bytes = text.trim_end_matches('=').as_bytes();
    // What follows makes no difference, and the search for repetitions takes the square of the length.
    let bytes = &bytes[..bytes.len().min(MAX_LENGTH)];
    let mut seen = [false; 256];
    for byte in bytes {
        seen[usize::from(*byte)] = true;
    }
    let distinct = seen.iter().filter(|seen| **seen).count();
    distinct < MIN_DISTINCT || is_uuid(bytes) || estimate_bits(bytes) < f64::from(REQUIRED_BITS)
}

fn estimate_bits(bytes: &[u8]) -> f64 {
    let has = |kind: fn(&u8) -> bool| bytes.iter().any(kind);
    let (lower, upper) = (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase));
    let (digits, symbols) = (has(u8::is_ascii_digit), has(|byte| !byte.is_ascii_alphanumeric()));
    // A symbol between letters of one case only separates words or groups.
    let counts_symbols = lower && upper;
    let is_counted = |byte: u8| counts_symbols || byte.is_ascii_alphanumeric();
    let hex = bytes.iter().all(|byte| byte.is_ascii_hexdigit() || !is_counted(*byte));
    let letters = if lower { 26 } else { 0 } + if upper { 26 } else { 0 };
    let base64 = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte));
    let bits = match (hex, letters, digits) {
        (true, 0, _) => 10_f64.log2(),
        (true, ..) => 16_f64.log2(),
        (false, 26, false) => BITS_PER_WORD_LETTER,
        (false, letters, digits) => {
            let symbols = if !(counts_symbols && symbols) {
                0
            } else if base64 {
                2
            } else {
                32
            };
            f64::from(letters + if digits { 10 } else { 0 } + symbols).log2()
        }
    };
    let counted: Vec<u8> = bytes.iter().copied().filter(|byte| is_counted(*byte)).collect();
    (0..count_unpredictable(&counted)).map(|_| bits).sum()
}

/// How many characters a text has where each run and each repetition counts as one.
fn count_unpredictable(text: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < text.len() {
        let predicted = run_length(&text[at..]).max(repetition_length(text, at));
        at += if predicted >= MIN_PATTERN { predicted } else { 1 };
        count += 1;
    }
    count
}

/// How many characters from the first on go up, or down, by one or by none at a time.
fn run_length(text: &[u8]) -> usize {
    let length = |step: fn(u8, u8) -> bool| {
        1 + text.windows(2).take_while(|pair| pair[0] == pair[1] || step(pair[0], pair[1])).count()
    };
    length(|one, two| two == one.wrapping_add(1)).max(length(|one, two| one == two.wrapping_add(1)))
}

/// How many characters from `at` on stand in the text before it, too.
fn repetition_length(text: &[u8], at: usize) -> usize {
    let common =
        |from: usize| text[from..].iter().zip(&text[at..]).take_while(|(one, two)| one == two).count();
    (0..at).map(common).max().unwrap_or_default()
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse_ascii(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_common_tools_generate_is_no_guess() {
        for key in [
            "9f86d081884c7d659a2feaa0c55ad015",         // openssl rand -hex 16
            "A94A8FE5CCB19BA61C4C0873D391E987",         // in upper case
            "4tQx8rZbK1mWcV7nLpYd3s",                   // 22 letters and digits
            "vP3kTq-x_7ZbWm2Lr9YdHs",                   // base64url of 16 bytes
            "q83vEjRWeJCrze8SNFZ4kA==",                 // openssl rand -base64 16
            "mzxw6ytboi5gk3tlnf2ws3q7dy",               // base32 of 16 bytes
            "x7$kQ!m2pV&zR9w@Lt4^Yb",                   // a password manager
            "jtk_0Zr9Qw3Xn7Lk5Vb1Mc8Pd2Fg6Hj4Ts0Ya9Ru", // `jeton serve`
            "testkit-api-key-7c1f0a5e9d3b4826b1d0",
        ] {
            assert!(!is_guessable(key), "{key}");
        }
    }

    #[test]
    fn what_people_make_up_can_be_guessed() {
        for key in [
            "a",
            "short",
            "secret123",
            "ffffffffffffffffffffffffffffffff",
            "abababababababababababababababababababababab",
            "0123456789abcdef0123456789abcdef",
            "00112233445566778899aabbccddeeff",
            "12345678901234567890123456789012345678",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "zyxwvutsrqponmlkjihgfedcba9876543210",
            "ChangeMe123!ChangeMe123!ChangeMe123!",
            "passwordpasswordpasswordpassword",
            "my-secure-bot1-token-2024",
            "correct-horse-battery-staple-please",
            "the-key-of-this-server-0123456789",
            "9f86d081884c7d659a2feaa0c55ad01",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "=======================================",
        ] {
            assert!(is_guessable(key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn random_texts_of_twice_the_length_always_pass(
            hex in "[0-9a-f]{64}", base62 in "[0-9A-Za-z]{44}", base64 in "[0-9A-Za-z_-]{43}",
        ) {
            prop_assert!(!is_guessable(&hex) && !is_guessable(&base62) && !is_guessable(&base64));
        }

        #[test]
        fn a_text_that_is_too_short_never_passes(text in "[!-~]{0,19}") {
            prop_assert!(is_guessable(&text));
        }

        #[test]
        fn repeating_a_short_text_never_helps(part in "[!-~]{1,16}", times in 1_usize..40) {
            prop_assert!(is_guessable(&part.repeat(times)));
        }
    }
}
