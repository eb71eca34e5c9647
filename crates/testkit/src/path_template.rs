//! Paths of an `OpenAPI` document.

/// Whether a path, with or without a query, matches a template, whose parts in braces are any segment that is not empty.
pub fn matches_template(path: &str, template: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (mut path, mut template) = (path.split('/'), template.split('/'));
    loop {
        match (path.next(), template.next()) {
            (None, None) => return true,
            (Some(segment), Some(part)) if segment == part => {}
            (Some(segment), Some(part)) if part.starts_with('{') && !segment.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_in_braces_matches_any_segment_but_an_empty_one() {
        for (path, template, matches) in [
            ("/a/x/b", "/a/{name}/b", true),
            ("/a/x/b?y=/c#z", "/a/{name}/b", true),
            ("/a", "/a", true),
            ("/a//b", "/a/{name}/b", false),
            ("/a/x", "/a/{name}/b", false),
            ("/a/x/b/", "/a/{name}/b", false),
            ("/b/x", "/a/{name}", false),
        ] {
            assert_eq!(matches_template(path, template), matches, "{path}");
        }
    }
}
