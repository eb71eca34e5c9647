//! Names that other processes resolve, until a test says that they do not.

use std::fs;

use anyhow::{Context, Result};

use crate::preload::Preload;

const SOURCE: &str = include_str!("test_resolver.c");
const LIST: &str = "failing";

/// The names below `.test`, for processes that are started with its environment: each leads to this machine, or is not resolved for
/// the moment.
#[derive(Debug)]
pub struct TestResolver {
    library: Preload,
}

impl TestResolver {
    /// Resolves every name.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub fn new() -> Result<Self> {
        let resolver = Self { library: Preload::compile("test_resolver", SOURCE)? };
        resolver.fail(&[])?;
        Ok(resolver)
    }

    /// These names are not resolved from now on, and all others are.
    pub fn fail(&self, names: &[&str]) -> Result<()> {
        // Put in place whole: a process may read it at any moment.
        let new = self.library.folder().join("new");
        fs::write(&new, names.join("\n"))?;
        fs::rename(new, self.library.folder().join(LIST)).context("writing the names that are not resolved")
    }

    /// What processes that go by it have in their environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        self.library.environment("JETON_TEST_RESOLVER", LIST)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn lookup(resolver: &TestResolver, name: &str) -> Option<String> {
        let mut getent = Command::new("getent");
        let output = getent.args(["ahostsv4", name]).envs(resolver.environment()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().map(str::to_owned)
    }

    #[test]
    fn a_name_leads_to_this_machine_until_it_is_not_resolved() {
        let resolver = TestResolver::new().unwrap();
        assert_eq!(lookup(&resolver, "a.test").as_deref(), Some("127.0.0.1"));
        resolver.fail(&["b.test", "a.test"]).unwrap();
        assert_eq!((lookup(&resolver, "a.test"), lookup(&resolver, "b.test")), (None, None));
        assert_eq!(lookup(&resolver, "c.test").as_deref(), Some("127.0.0.1"));
        assert_eq!(lookup(&resolver, "localhost").as_deref(), Some("127.0.0.1"), "others are as they were");
        resolver.fail(&[]).unwrap();
        assert_eq!(lookup(&resolver, "a.test").as_deref(), Some("127.0.0.1"));
    }
}
