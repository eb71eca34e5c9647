//! The nearest right name to a wrong one.

/// The candidate that `wrong` is most probably meant to be, if one is near enough to be worth saying.
pub fn nearest_name<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wrong.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The end of a sentence about a wrong name: `did you mean ...?`, or the names there are.
pub fn hint<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = nearest_name(wrong, candidates.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<_> = candidates.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_gets_the_list() {
        let names = ["token_url", "scope"];
        assert_eq!(hint("token_ulr", names), "did you mean `token_url`?");
        assert_eq!(hint("TOKEN_URL", names), "did you mean `token_url`?");
        assert_eq!(hint("zzz", names), "there are `token_url`, `scope`");
    }
}
