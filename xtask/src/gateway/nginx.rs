//! nginx with `proxy_pass` and open connections, for comparison: it adds no token.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jeton_testkit::{Client, FreePort, stop_nginx};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A running nginx. It ends when the value is dropped.
pub(super) struct Nginx {
    child: Child,
    port: FreePort,
    _folder: TempDir,
}

impl Nginx {
    /// Starts one before the API at `base_url`; `None` where it is not installed.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn start(base_url: &str) -> Result<Option<Self>> {
        let Ok(program) = jeton_testkit::nginx_program() else { return Ok(None) };
        let port = FreePort::find()?;
        let folder = tempfile::tempdir().context("making a folder for nginx")?;
        let settings = folder.path().join("nginx.conf");
        fs::write(&settings, settings_text(&folder, &port, base_url)?).context("writing nginx.conf")?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&settings)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting nginx")?;
        let nginx = Self { child, port, _folder: folder };
        let (client, begun) = (nginx.client(), Instant::now());
        while let Err(error) = client.get_json("/small").await {
            if begun.elapsed() > TIMEOUT {
                bail!("nginx does not answer: {error:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(nginx))
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.port.base_url())
    }
}

fn settings_text(folder: &TempDir, port: &FreePort, base_url: &str) -> Result<String> {
    // Workers of a root run as root too, so that they may use the folder of this run.
    let root = fs::metadata(folder.path()).context("reading the owner of the folder of nginx")?.uid() == 0;
    let user = if root { "user root;" } else { "" };
    let api = base_url.strip_prefix("http://").context("the base URL is plain http")?;
    let (folder, address) = (folder.path().display(), port.address());
    let temp_paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join(" ");
    Ok(format!(
        r#"{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log {folder}/access.log;
    keepalive_requests 100000000;
    {temp_paths}
    upstream api {{
        server {api};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"#
    ))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        stop_nginx(&mut self.child);
    }
}
