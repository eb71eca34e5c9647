//! Reference pages, made from what the program itself reads: `cargo run -- docs settings > docs/reference/settings.md`.

pub(crate) mod command_line;
pub(crate) mod providers;
pub(crate) mod settings;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The page as it stands in the repository.
    fn written(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn the_page_on_settings_says_what_the_defaults_say() {
        assert_eq!(
            written("settings.md"),
            super::settings::page(),
            "run `jeton docs settings > docs/reference/settings.md`"
        );
    }

    #[test]
    fn the_page_on_providers_says_what_their_files_say() {
        let page = super::providers::page();
        assert_eq!(written("providers.md"), page, "run `jeton docs providers > docs/reference/providers.md`");
    }

    #[test]
    fn the_document_of_the_api_says_what_the_doors_say() {
        // No `assert_eq`: nobody reads two documents side by side.
        let same = written("openapi.json") == jeton_server::openapi();
        assert!(same, "run `jeton docs openapi > docs/reference/openapi.json`");
    }

    #[test]
    fn the_page_on_the_command_line_says_what_the_help_says() {
        let page = super::command_line::page();
        assert_eq!(
            written("command-line.md"),
            page,
            "run `jeton docs command-line > docs/reference/command-line.md`"
        );
    }
}
