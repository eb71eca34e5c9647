//! A person's browser: headless Chromium that does the steps of a plan.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::place::{place_program, rig_directory};

const NAME: &str = "browser";
const PROGRAM: &str = "browser.mjs";

/// Longer than any plan may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The windows that pages are looked at in: width and height.
const WINDOWS: [(&str, u32, u32); 2] = [("desktop", 1280, 800), ("phone", 390, 844)];

/// A page as a person read it.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// Its address.
    pub url: String,
    /// The status that it came with.
    pub status: u16,
    /// What the window is called.
    pub title: String,
    /// Everything that is written on it.
    pub text: String,
    /// The paths of everything else that it loaded.
    pub loaded: Vec<String>,
    /// What the browser complained about, such as a breach of the page's own policy.
    pub complaints: Vec<String>,
}

/// How a page stands in a window.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Look {
    /// How wide the window is.
    pub width: u32,
    /// How wide the page is; wider than the window, and a person has to scroll sideways.
    pub needed: u32,
    /// The colour behind everything.
    pub back: String,
    /// The colour of the text.
    pub ink: String,
}

/// A plan of what a person does. Each name of a browser stands for one of its own, with its own cookies.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    steps: Vec<Value>,
}

impl Browser {
    /// Nothing is done yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn step(mut self, browser: &str, mut step: Value) -> Self {
        step["in"] = browser.into();
        self.steps.push(step);
        self
    }

    /// Opens a page.
    #[must_use]
    pub fn goto(self, browser: &str, url: &str) -> Self {
        self.step(browser, json!({ "goto": url }))
    }

    /// Types into a field, named by a CSS selector.
    #[must_use]
    pub fn fill(self, browser: &str, field: &str, text: &str) -> Self {
        self.step(browser, json!({ "fill": [field, text] }))
    }

    /// Clicks what a CSS selector names.
    #[must_use]
    pub fn click(self, browser: &str, what: &str) -> Self {
        self.step(browser, json!({ "click": what }))
    }

    /// Waits until the page says that.
    #[must_use]
    pub fn until(self, browser: &str, text: &str) -> Self {
        self.step(browser, json!({ "until": text }))
    }

    /// Reads the page: one [`Seen`].
    #[must_use]
    pub fn read(self, browser: &str) -> Self {
        self.step(browser, json!({ "read": true }))
    }

    /// Looks at the page on a desktop and on a phone, by day and by night: four [`Look`]s. Where `JETON_SHOTS` names a
    /// folder, a picture of each is left there under `name`.
    #[must_use]
    pub fn look(mut self, browser: &str, name: &str) -> Self {
        let shots = std::env::var_os("JETON_SHOTS");
        for (window, width, height) in WINDOWS {
            for scheme in ["light", "dark"] {
                let file = format!("{name}-{window}-{scheme}.png");
                let shot = shots.as_ref().map(|folder| Path::new(folder).join(file).display().to_string());
                let look = json!({ "width": width, "height": height, "scheme": scheme, "shot": shot });
                self = self.step(browser, json!({ "look": look }));
            }
        }
        self
    }

    /// Does the plan; answers what was read and looked at, in order.
    ///
    /// # Errors
    /// Its package or Chromium is not installed (`cargo xtask test` installs both), or a step could not be done; the error
    /// says what every page was then.
    pub async fn run(self) -> Result<Vec<Value>> {
        let directory = rig_directory(NAME);
        ensure!(
            directory.join("node_modules").join("playwright-core").is_dir(),
            "the packages of rigs/{NAME} are not installed: run `cargo xtask rig` once"
        );
        place_program(NAME, &[PROGRAM])?;
        let mut child = Command::new("node")
            .arg(PROGRAM)
            .current_dir(&directory)
            .env("CHROMIUM", chromium()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting `node browser.mjs`; is Node.js installed?")?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        stdin.write_all(json!({ "steps": self.steps }).to_string().as_bytes()).await?;
        drop(stdin);
        let output =
            timeout(PATIENCE, child.wait_with_output()).await.context("the browser took too long")??;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the browser gave up: {complaint}");
        let said: Value = serde_json::from_slice(&output.stdout).context("reading what the browser saw")?;
        Ok(said["seen"].as_array().cloned().unwrap_or_default())
    }
}

/// Where Chromium is.
///
/// # Errors
/// It is not installed; the error says how it is.
pub fn chromium() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)))
        .find(|program| program.is_file());
    found.context("Chromium is not installed: on Debian `apt-get install chromium`; `cargo xtask test` does so by itself")
}
