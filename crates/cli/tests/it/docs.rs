//! The reference pages of the repository are what `jeton docs` prints.

use std::fs;

use jeton_testkit::{TestInstallation, project_root};

use crate::fixture::run;

#[tokio::test]
async fn the_reference_pages_are_up_to_date() {
    let installation = TestInstallation::new().unwrap();
    for (page, file) in [
        ("settings", "settings.md"),
        ("command-line", "command-line.md"),
        ("providers", "providers.md"),
        ("openapi", "openapi.json"),
    ] {
        let printed = run(&installation, ["docs", page]).await.success().unwrap();
        let written = fs::read_to_string(project_root().join("docs/reference").join(file)).unwrap();
        // No `assert_eq`: nobody reads two documents side by side.
        assert!(printed == written, "run `jeton docs {page} > docs/reference/{file}`");
    }
}
