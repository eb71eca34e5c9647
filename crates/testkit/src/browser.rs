//! A browser as a person uses it: headless Chromium that does the steps of a plan.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::paths::{chromium, install_program, rig_directory};

const NAME: &str = "browser";
const PROGRAM: &str = "browser.mjs";

/// Longer than any plan may take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The windows that pages are measured in: width and height.
const WINDOWS: [(&str, u32, u32); 2] = [("desktop", 1280, 800), ("phone", 390, 844)];

/// A page as a person reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct PageContent {
    /// Its address.
    pub url: String,
    /// The status that it came with.
    pub status: u16,
    /// The title of the window.
    pub title: String,
    /// Its whole text.
    pub text: String,
    /// The paths of everything else that it loaded.
    pub loaded: Vec<String>,
    /// Warnings and errors of the browser's console, such as a violation of the page's own policy.
    pub console: Vec<String>,
}

/// How a page is laid out in a window.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PageLayout {
    /// The width of the window, in pixels.
    pub width: u32,
    /// The width of the page, in pixels; where it is wider than the window, a person has to scroll sideways.
    pub page_width: u32,
    /// The background colour.
    pub background: String,
    /// The colour of the text.
    pub color: String,
}

/// A plan of what a person does. Each name of a browser stands for one of its own, with its own cookies.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    steps: Vec<Value>,
}

impl Browser {
    /// A plan without a step.
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

    /// Loads the page again.
    #[must_use]
    pub fn reload(self, browser: &str) -> Self {
        self.step(browser, json!({ "reload": true }))
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

    /// Waits until the page has this text.
    #[must_use]
    pub fn until(self, browser: &str, text: &str) -> Self {
        self.step(browser, json!({ "until": text }))
    }

    /// Reads the page: one [`PageContent`].
    #[must_use]
    pub fn read(self, browser: &str) -> Self {
        self.step(browser, json!({ "read": true }))
    }

    /// Measures the page on a desktop and on a phone, each in light and in dark colours: four [`PageLayout`]s. Where
    /// `JETON_SHOTS` names a folder, a screenshot of each is stored there under `name`.
    #[must_use]
    pub fn measure(mut self, browser: &str, name: &str) -> Self {
        let shots = std::env::var_os("JETON_SHOTS");
        for (window, width, height) in WINDOWS {
            for scheme in ["light", "dark"] {
                let file = format!("{name}-{window}-{scheme}.png");
                let shot = shots.as_ref().map(|folder| Path::new(folder).join(file).display().to_string());
                let window = json!({ "width": width, "height": height, "scheme": scheme, "shot": shot });
                self = self.step(browser, json!({ "measure": window }));
            }
        }
        self
    }

    /// Does the steps; returns what was read and measured, in order.
    ///
    /// # Errors
    /// Its package or Chromium is not installed (`cargo xtask test` installs both), or a step failed; the error holds every
    /// page as it was then.
    pub async fn run(self) -> Result<Vec<Value>> {
        let directory = rig_directory(NAME);
        ensure!(
            directory.join("node_modules").join("playwright-core").is_dir(),
            "the packages of rigs/{NAME} are not installed: run `cargo xtask rig` once"
        );
        install_program(NAME, &[PROGRAM])?;
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
            timeout(TIMEOUT, child.wait_with_output()).await.context("the browser took too long")??;
        ensure!(
            output.status.success(),
            "a step in the browser failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("reading the results of the browser")
    }
}
